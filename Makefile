# Each target works alone on a machine that has only Python and make, and makes an environment of its own.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
RUN = OMP_NUM_THREADS=1 $(BIN)/python
OLDEST = .venv-oldest
NEWEST = .venv-newest

.PHONY: demo docs test test-slow test-oldest test-newest newest-quick lint build check-release clean

demo: $(VENV)/installed
	$(BIN)/python -m pyro_flows demo

test: lint
	$(RUN) -m pytest -n auto -W error

test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -m slow

# The oldest releases that pyproject.toml allows. No compiled code is expected to differ, so all tests run.
test-oldest: $(OLDEST)/installed
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -n auto

# What pip gives today: `PYTHON=python3.13 make test-newest`.
test-newest: $(NEWEST)/installed
	OMP_NUM_THREADS=1 $(NEWEST)/bin/python -m pytest -n auto

# What breaks first with new releases: the README's blocks, ArviZ, and warnings while importing.
newest-quick: $(NEWEST)/installed
	$(NEWEST)/bin/python -W error -c "import pyro_flows"
	OMP_NUM_THREADS=1 $(NEWEST)/bin/python -m pytest -n auto tests/test_readme.py tests/diagnostics

# The site, in docs/_build/html. A warning, such as a link that leads nowhere, is an error.
docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

# A wheel and an sdist, then each installed into an empty environment, where the README's blocks run.
build: $(VENV)/installed
	rm -rf dist
	$(BIN)/pip install -q build twine
	$(BIN)/python -m build -q
	$(BIN)/twine check --strict dist/*

check-release: build
	./.ci/check-wheel $(PYTHON) dist/*.whl
	./.ci/check-wheel $(PYTHON) dist/*.tar.gz

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e ".[test]"
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/pip install -q -c constraints.txt -e ".[docs]"
	touch $@

$(OLDEST)/installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install -q -c constraints-oldest.txt torch
	$(OLDEST)/bin/pip install -q -c constraints-oldest.txt -e ".[test]"
	touch $@

$(NEWEST)/installed: pyproject.toml
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/pip install -q torch
	$(NEWEST)/bin/pip install -q -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) $(NEWEST) dist out docs/_build docs/api/generated docs/tutorials .pytest_cache .mypy_cache .ruff_cache .hypothesis
