"""What must hold for every stored lesson.

Each check returns the faults that it finds, as sentences.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jupytext
from nbformat import NotebookNode

# A cell with one of these tags is not compared with its stored output.
NOT_COMPARED = {"nbval-ignore-output", "nbval-skip"}

# Longer cells belong into a helper with a name.
MOST_LINES = 10

# The largest stored notebook, in bytes.
MOST_BYTES = 1_000_000

FRAME = (
    "**You will be able to**",
    "**Time**",
    "**Needs**",
    "Predict.",
    "## The answer",
    "## What you know now",
    "## Check yourself",
    "## Exercises",
)


def pair_faults(text: str, notebook: NotebookNode) -> list[str]:
    """Compare a lesson's .py with its .ipynb, cell by cell: kind, source and tags."""
    pairs = [
        [_content(cell) for cell in cells]
        for cells in (jupytext.reads(text, fmt="py:percent").cells, notebook.cells)
    ]
    faults = [
        f"cell {number}: the .py has {ours!r}, the .ipynb has {theirs!r}"
        for number, (ours, theirs) in enumerate(zip(*pairs, strict=False), 1)
        if ours != theirs
    ]
    if len(pairs[0]) != len(pairs[1]):
        faults.append(f"the .py has {len(pairs[0])} cells, the .ipynb {len(pairs[1])}")
    return faults


def _content(cell: NotebookNode) -> tuple[str, str, tuple[str, ...]]:
    return cell.cell_type, cell.source, tuple(cell.metadata.get("tags", ()))


def run_faults(notebook: NotebookNode) -> list[str]:
    """Every code cell ran once, in order, in one fresh kernel, and without an error."""
    faults = []
    for number, cell in enumerate(_code_cells(notebook), 1):
        if cell.execution_count != number:
            faults.append(
                f"code cell {number} has the count {cell.execution_count}: run all cells in a new "
                "kernel"
            )
        faults += [
            f"code cell {number} stopped with {out.ename}"
            for out in cell.outputs
            if out.output_type == "error"
        ]
        faults += [
            f"code cell {number} wrote to stderr: {out.text[:200]}"
            for out in cell.outputs
            if out.get("name") == "stderr"
        ]
    return faults


def noise(outputs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what a cell that just ran shows and should not.

    That is an error, a warning, or a word on stderr.
    """
    return [
        str(output)[:500]
        for output in outputs
        if output.get("name", output["output_type"]) in ("error", "stderr")
        or "Warning" in json.dumps(output)
    ]


def compared_share(notebook: NotebookNode) -> float:
    """Return the share of the cells with output that a test compares."""
    # A cell whose passing output is not stored counts as one that has output and is not compared.
    cells = [cell for cell in _code_cells(notebook) if cell.outputs or _not_compared(cell)]
    return sum(not _not_compared(cell) for cell in cells) / len(cells)


def figure_faults(notebook: NotebookNode) -> list[str]:
    """Every picture has a sentence to hear, and that sentence has a number from the data."""
    faults = []
    for number, cell in enumerate(_code_cells(notebook), 1):
        for output in cell.outputs:
            bundle = output.get("data", {})
            if any(kind in bundle for kind in ("image/png", "image/svg+xml", "image/jpeg")):
                faults.append(f"code cell {number}: a picture without alternative text")
            for image in re.findall(r"<img [^>]*>", "".join(bundle.get("text/html", ""))):
                alt = re.search(r'alt="([^"]*)"', image)
                if alt is None or not re.search(r"\d", alt.group(1)):
                    faults.append(f"code cell {number}: the alternative text holds no number")
    return faults


def form_faults(notebook: NotebookNode) -> list[str]:
    """The lesson has the frame, and its code cells are short and say something."""
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    faults = [f"'{part}' is missing" for part in FRAME if part not in prose]
    for number, cell in enumerate(_code_cells(notebook), 1):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if len(lines) > MOST_LINES:
            faults.append(f"code cell {number} has {len(lines)} lines; {MOST_LINES} is the most")
        if not ast.parse(cell.source).body:
            faults.append(f"code cell {number} holds no code")
        if cell.source.rstrip().endswith(";"):
            faults.append(f"code cell {number} hides its output with a semicolon")
    return faults


def link_faults(markdown: str, folder: Path) -> list[str]:
    """Every link to a file of the kit leads to that file, and to a heading in a Markdown file."""
    faults = []
    for target in re.findall(r"\]\(([^)\s]+)\)", markdown):
        path, _, anchor = target.partition("#")
        file = folder / path
        if re.match(r"[a-z]+:", target):
            continue
        if not file.exists():
            faults.append(f"{target}: there is no such file")
        elif anchor and file.suffix == ".md" and anchor not in headings(file.read_text("utf-8")):
            faults.append(f"{target}: there is no such heading")
    return faults


def remote_faults(notebook: NotebookNode) -> list[str]:
    """Nothing in a lesson, prose or output, is fetched from another machine when it is opened."""
    tag = r"""<(?:img|script|link|iframe|video)\b[^>]*(?:src|href)=["']"""
    loaded = rf"(?:{tag}|!\[[^\]]*\]\(|url\()https?:"
    faults = []
    for number, cell in enumerate(notebook.cells, 1):
        html = [
            "".join(out.get("data", {}).get("text/html", "")) for out in cell.get("outputs", [])
        ]
        if any(re.search(loaded, text) for text in [cell.source, *html]):
            faults.append(f"cell {number} loads something from the network")
    return faults


def headings(markdown: str) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub and JupyterLab make them."""
    titles = re.findall(r"^#+ +(.+)$", markdown, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _not_compared(cell: NotebookNode) -> bool:
    return bool(NOT_COMPARED & set(cell.metadata.get("tags", ())))
