"""The page that a learner gets back: the exercises with their replies and marks."""

from __future__ import annotations

import re
from typing import Any

from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_locked


class KeepExercises(NbGraderPreprocessor):
    """Keep the exercises of a marked notebook, and of the lesson before them what needs a look.

    That is what the learner added, and what stopped with an error.
    """

    def preprocess(
        self, nb: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """Drop the lesson before its exercises."""
        first = next(
            (
                number
                for number, cell in enumerate(nb.cells)
                if cell.cell_type == "markdown" and "## Exercises" in cell.source.splitlines()
            ),
            0,
        )
        nb.cells = [
            cell
            for number, cell in enumerate(nb.cells)
            if number >= first or (cell.cell_type == "code" and not _as_expected(cell))
        ]
        # They would be drawn with the help of a server far away.
        nb.metadata.pop("widgets", None)
        return nb, resources


def _as_expected(cell: NotebookNode) -> bool:
    """Tell whether a code cell is one of the lesson, and ran without an error."""
    return is_locked(cell) and all(output.output_type != "error" for output in cell.outputs)


class FeedbackPage(HTMLExporter):
    """A page that loads nothing from the network.

    nbgrader's own template would ask for MathJax and others.
    """

    def from_notebook_node(
        self, nb: NotebookNode, resources: Any = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """Make the page."""
        page, resources = super().from_notebook_node(nb, resources, **kw)
        return re.sub(r"""<script src=["']https?:[^>]*>\s*</script>""", "", page), resources
