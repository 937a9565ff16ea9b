"""Makes the library's docstrings, which are plain text with formulas, safe for reStructuredText."""

import re

from sphinx.application import Sphinx

LITERAL = re.compile(r"(``.+?``|`[^`]+`|(?<!\w)\*\w+\*(?!\w))")
SPECIAL = re.compile(r"([*|\\])|(?<=\w)(_)(?=\W|$)")


def escape(line: str) -> str:
    """Escape |x|, *batch and x_ outside of `literals` and *emphasis*: a norm is no substitution."""
    parts = LITERAL.split(line)
    parts[::2] = [SPECIAL.sub(r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Escape a docstring before Napoleon reads it; examples and indented formulas stay as they are."""
    result: list[str] = []
    section = shown = example = False
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        indented = line.startswith("    ")
        if line.strip() and not indented:
            section, shown = after.startswith("    "), False  # a section's lines follow its heading at once
        elif indented and not section and not shown:
            result += ["::", ""]
            shown = True
        example = (example or line.strip().startswith(">>>")) and bool(line.strip())
        result.append(line if example or shown else escape(line))
    lines[:] = result


def setup(app: Sphinx) -> dict[str, bool]:
    """Come before Napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"parallel_read_safe": True}
