"""How nbgrader runs one notebook of a learner, and takes the marks from its checks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from nbgrader.utils import is_grade, is_locked
from traitlets import Integer

from publishing.assignments.course import LIMIT

# Seconds for a cell of the lesson itself, which always ends: enough for a slow machine.
LESSON_LIMIT = 1800

# So often a notebook is run, each time without one more cell, before it counts as one that cannot
# be marked.
RUNS = 6

REASONS = {
    DeadKernelError: "This cell ended Python.",
    CellTimeoutError: "This cell took too long, and could not be stopped.",
}


class RunSubmission(Execute):
    """Run a notebook in an empty folder.

    A cell that ends Python, or that cannot be stopped, is left out in another run.

    Raises
    ------
    DeadKernelError, CellTimeoutError
        If so many runs did not reach the end that something else must be wrong.
    """

    limit = Integer(LIMIT, help="Seconds that a cell of a learner may take.").tag(config=True)

    def preprocess(
        self, nb: NotebookNode, resources: Any = None, km: Any = None
    ) -> tuple[NotebookNode, Any]:
        """Run all cells; each cell that had to be left out holds an error."""
        self.timeout_func = self.seconds_for
        left_out: dict[int, str] = {}
        while True:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
                # A lesson writes into ../data.
                (Path(scratch) / "notebooks").mkdir()
                resources["metadata"]["path"] = str(Path(scratch, "notebooks"))
                try:
                    nb, resources = super().preprocess(nb, resources, km)
                    break
                except (DeadKernelError, CellTimeoutError) as error:
                    if len(left_out) == RUNS - 1:
                        raise
                    left_out[self.index] = REASONS[type(error)]
            nb.cells[self.index].metadata.setdefault("tags", []).append(self.skip_cells_with_tag)
        for index, reason in left_out.items():
            nb.cells[index].metadata.tags.remove(self.skip_cells_with_tag)
            text = f"{reason} It was left out, and all others were run again."
            nb.cells[index].outputs = [_error("LeftOut", text)]
        return nb, resources

    def preprocess_cell(
        self, cell: NotebookNode, resources: Any, index: int
    ) -> tuple[NotebookNode, Any]:
        """Run one cell."""
        self.index = index
        return super().preprocess_cell(cell, resources, index)

    def on_cell_executed(self, **told: Any) -> None:
        """Notice ``exit()``, after which Python ends while the next cell runs."""
        super().on_cell_executed(**told)
        payload = told["execute_reply"]["content"].get("payload", ())
        if any(each.get("source") == "ask_exit" for each in payload):
            raise DeadKernelError("The cell asked Python to end.")

    def seconds_for(self, cell: NotebookNode) -> int:
        """Return the limit for a cell: that for learners, unless it is one of the lesson."""
        return LESSON_LIMIT if is_locked(cell) and not is_grade(cell) else self.limit


class TakeMarks(NbGraderPreprocessor):
    """Leave marks in the output of a check only where it is as ``Reply.marks`` makes it.

    nbgrader gives full marks to a check that shows nothing, or text, or a number below zero, and
    none where anything was written to stderr, such as a warning of a package. Here the first three
    get none, and the last costs none.
    """

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict[str, Any], index: int
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """Change the outputs of one cell, if it is a check."""
        if not is_grade(cell):
            return cell, resources
        results = [out for out in cell.outputs if out.output_type == "execute_result"]
        others = [out for out in cell.outputs if out.output_type != "execute_result"]
        for output in others:
            if output.get("name") == "stderr":
                output.name = "stdout"
        if any(output.output_type == "error" for output in others):
            cell.outputs = others
        elif len(results) != 1 or not _is_mark(results[0], cell.metadata.nbgrader.points):
            text = "This check gave no marks as the kit's checks do. Has its code been changed?"
            cell.outputs = [*others, _error("NoMarks", text)]
        else:
            cell.outputs = [*others, *results]
        return cell, resources


def _is_mark(output: NotebookNode, maximum: float) -> bool:
    """Tell whether a result is a number from 0 to the maximum."""
    try:
        return 0 <= float(output.data["text/plain"]) <= maximum
    except (KeyError, ValueError):
        return False


def _error(name: str, text: str) -> NotebookNode:
    """Return an output that is an error."""
    return nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[text])
