"""A Sphinx extension: what GitHub and JupyterLab do with a page, and what only a book needs."""

import re
import shutil
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)

# The SVG formulas need no font, which Firefox would not load from disk; the rest of MathJax's
# folder says the same in other ways, 16 MB of it. `a11y` and `sre` read formulas aloud.
MATHJAX = {"a11y", "input", "sre", "tex-svg.js", "ui"}


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx what to call, and when."""
    app.config.mathjax_path = "mathjax/tex-svg.js"
    app.connect("source-read", _lead_to_the_front_page)
    app.add_transform(LinksWithinALesson)
    app.add_post_transform(LinksToLessons)
    app.add_post_transform(OutputsWithoutAWord)
    app.connect("html-page-context", _let_empty_header_cells_be_cells)
    app.connect("build-finished", _drop_unused_formulas, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _lead_to_the_front_page(app: Sphinx, page: str, source: list[str]) -> None:
    """Let links to README.md lead to the front page, which includes it."""
    source[0] = re.sub(r"\]\(((?:\.\./)*)README\.md", r"](\1index.md", source[0])


def _lab_anchor(title: str) -> str:
    """Return the anchor that JupyterLab gives a heading."""
    return title.replace(" ", "-")


class LinksWithinALesson(SphinxTransform):
    """Links such as ``#The-answer``, to a heading of the same lesson."""

    default_priority = 878  # just before MyST resolves them

    def apply(self, **kwargs: object) -> None:
        """Put MyST's anchor in place of JupyterLab's."""
        if self.env.doc2path(self.env.docname).suffix != ".ipynb":
            return
        slugs = {
            _lab_anchor(title): slug
            for slug, (_, _, title) in getattr(self.document, "myst_slugs", {}).items()
        }
        for link in self.document.findall(nodes.reference):
            if link.get("id_link"):
                anchor = link["refuri"][1:]
                link["refuri"] = f"#{slugs.get(anchor, anchor)}"


class LinksToLessons(SphinxPostTransform):
    """Links such as ``03_hidden_layers.ipynb#The-answer``, to a heading of another page."""

    default_priority = 8  # just before MyST resolves them

    def run(self, **kwargs: object) -> None:
        """Put MyST's anchor in place of JupyterLab's, or warn where there is no such heading."""
        for link in self.document.findall(addnodes.pending_xref):
            target, anchor = link["reftarget"], link.get("reftargetid")
            if link["refdomain"] != "doc" or not anchor or target not in self.env.all_docs:
                continue
            if self.env.doc2path(target).suffix != ".ipynb":
                continue
            slugs = self.env.metadata[target].get("myst_slugs", {})
            found = [slug for slug, (_, _, title) in slugs.items() if _lab_anchor(title) == anchor]
            if found:
                link["reftargetid"] = found[0]
            elif anchor in slugs:
                # MyST would let it pass, and JupyterLab would not find it.
                LOGGER.warning(
                    "in %s.ipynb the anchor is '%s', not '%s'",
                    target,
                    _lab_anchor(slugs[anchor][2]),
                    anchor,
                    location=link,
                )


class OutputsWithoutAWord(SphinxPostTransform):
    """The line break that is printed after a text in colour, which would show as an empty box."""

    default_priority = 400

    def run(self, **kwargs: object) -> None:
        """Remove printed outputs that hold nothing."""
        for block in list(self.document.findall(nodes.literal_block)):
            if "stream" in block["classes"] and not block.astext().strip():
                block.parent.remove(block)


def _let_empty_header_cells_be_cells(
    app: Sphinx, page: str, template: str, context: dict[str, str], tree: nodes.document | None
) -> None:
    """Take the empty header out of the corner of tables: it heads nothing, and is read aloud."""
    context["body"] = re.sub(
        r"<th\b([^>]*)>(?:\s|<p>\s*</p>)*</th>", r"<td\1></td>", context.get("body", "")
    )


def _drop_unused_formulas(app: Sphinx, error: Exception | None) -> None:
    """Remove what the mathjax extension copies and no page asks for."""
    folder = Path(app.outdir, "_static", "mathjax")
    for path in folder.iterdir() if folder.exists() else ():
        if path.is_dir() and path.name not in MATHJAX:
            shutil.rmtree(path)
        elif path.name not in MATHJAX:
            path.unlink()
