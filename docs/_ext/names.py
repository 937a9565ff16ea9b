"""Turns names of the library in Markdown, as in `pf.Flow`, into links to their reference."""

import re

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

NAME = re.compile(r"(?:pf|pyro_flows)((?:\.\w+)+)(\(.*\))?", re.DOTALL)


class Link(SphinxTransform):
    """Wraps literals that are names; one that the reference lacks gives a warning, which ends the build."""

    default_priority = 400

    def apply(self, **kwargs: object) -> None:
        """Visit every literal of a page."""
        if self.env.docname.startswith("tutorials/"):  # they say pf.… of what they define, too
            return
        for literal in list(self.document.findall(nodes.literal)):
            found = NAME.fullmatch(literal.astext())
            if not found or isinstance(literal.parent, (pending_xref, nodes.reference, nodes.title)):
                continue
            target = f"pyro_flows{found[1]}"
            target = self.config.documented_elsewhere.get(target, target)
            link = pending_xref(
                "",
                refdomain="py",
                reftype="obj",
                reftarget=target,
                refexplicit=True,
                refwarn=True,
                refdoc=self.env.docname,
            )
            literal.replace_self(link)
            link += literal


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_config_value("documented_elsewhere", {}, "env")
    app.add_transform(Link)
    return {"parallel_read_safe": True}
