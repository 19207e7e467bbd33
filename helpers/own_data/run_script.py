"""Make the script of a run: ``scripts/my_run.py`` with a learner's own settings, and the lines that mend their cells."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.paths import ROOT

TEMPLATE = ROOT / "scripts" / "my_run.py"

# Below this line of the template the cells are mended.
MEND_HERE = "# Mend here"


def write(path: Path | str, mending: Sequence[str] = (), **settings: Any) -> Path:
    """Write a script that takes cells from a file to a report, and can be kept.

    Parameters
    ----------
    path
        The file to write.
    mending
        Lines of Python that mend the cells, such as the mending calls of ``preflight.check``, in
        the order in which they run.
    **settings
        The lines in capitals of ``scripts/my_run.py``: ``FILE``, ``LAYER``, ``BATCH``, ``LABEL``,
        ``RESULTS``. Those that are left out stay.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If there is no such setting, or a line is no Python.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(filled(mending, **settings), encoding="utf-8")
    return path


def filled(mending: Sequence[str] = (), **settings: Any) -> str:
    """Return the text of the script.

    Parameters
    ----------
    mending, **settings
        As for ``write``.
    """
    lines = []
    unused = dict(settings)
    for line in TEMPLATE.read_text("utf-8").splitlines():
        name, is_setting, rest = line.partition(" = ")
        if is_setting and name in unused:
            comment = rest.partition("  # ")[2]
            value = unused.pop(name)
            value = str(value) if isinstance(value, Path) else value
            lines.append(f"{name} = {value!r}  # {comment}")
        elif line.startswith(MEND_HERE):
            lines += [line, *mending]
        else:
            lines.append(line)
    if unused:
        raise ValueError(
            f"The script has no setting {', '.join(unused)}.\n"
            f"What to do: name one of its lines in capitals: {', '.join(_names())}."
        )
    text = "\n".join(lines) + "\n"
    try:
        ast.parse(text)
    except SyntaxError as error:
        raise ValueError(
            f"This line is no Python: {error.text}\n"
            "What to do: write each line as you would in a cell."
        ) from error
    return text


def _names() -> list[str]:
    """Return the names of the settings: what the template assigns in capitals."""
    tree = ast.parse(TEMPLATE.read_text("utf-8"))
    targets = [node.targets[0] for node in tree.body if isinstance(node, ast.Assign)]
    return [each.id for each in targets if isinstance(each, ast.Name) and each.id.isupper()]
