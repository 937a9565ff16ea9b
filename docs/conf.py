"""How the site is built: `make docs`. Nothing is executed; notebooks show their stored outputs."""

import inspect
import shutil
import sys
from pathlib import Path

import pyro_flows

here = Path(__file__).parent
sys.path.insert(0, str(here / "_ext"))
shutil.rmtree(here / "tutorials", ignore_errors=True)
shutil.copytree(here.parent / "tutorials", here / "tutorials")  # with their times, so that none is read twice

project = "pyro_flows"
copyright = "the authors of pyro_flows, Apache 2.0"
release = version = pyro_flows.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "docstrings",
    "names",
]
exclude_patterns = ["_build", "which_flow/*.md", "**/.ipynb_checkpoints"]
templates_path = ["_templates"]
nitpicky = False
default_role = "py:obj"  # docstrings write `Flow` for what is a name in Python, and for arguments

myst_enable_extensions = ["amsmath", "dollarmath", "deflist", "fieldlist"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True

autodoc_mock_imports = ["sbi"]
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "extra_repr, set_fit_request, set_score_request"}
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
maximum_signature_line_length = 140
toc_object_entries_show_parents = "hide"


def also_at_the_top() -> dict[str, str]:
    """Return names in modules of what `pyro_flows` exports too, and the name it is documented under."""
    found = {}
    for name in pyro_flows.__all__:
        module = getattr(pyro_flows, name)
        for inner in getattr(module, "__all__", ()) if inspect.ismodule(module) else ():
            if getattr(module, inner) is getattr(pyro_flows, inner, None):
                found[f"pyro_flows.{name}.{inner}"] = f"pyro_flows.{inner}"
    return found


documented_elsewhere = also_at_the_top()
autosummary_context = {"elsewhere": documented_elsewhere}

html_theme = "furo"
html_title = "pyro_flows"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
