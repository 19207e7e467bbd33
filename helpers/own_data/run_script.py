"""Make the script of a run: ``scripts/my_run.py`` with a learner's own settings.

The lines that repair their cells are put in, too.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.paths import ROOT

TEMPLATE = ROOT / "scripts" / "my_run.py"

# How the settings are called in the report, and in the script.
NAMED = {"layer": "LAYER", "batch_key": "BATCH", "label_key": "LABEL"}

# Below this line of the template the cells are repaired.
REPAIR_HERE = "# Repair here"


def write(path: Path | str, repairs: Sequence[str] = (), **settings: Any) -> Path:
    """Write a script that takes cells from a file to a report, and can be kept.

    Parameters
    ----------
    path
        The file to write.
    repairs
        Lines of Python that repair the cells, such as those of ``preflight.check``, in
        the order in which they run. A line of the report that only names a setting, such as
        ``layer = 'counts'``, becomes that setting.
    **settings
        The lines in capitals of ``scripts/my_run.py``: ``FILE``, ``GENES_IN``, ``LAYER``,
        ``BATCH``, ``LABEL``, ``PRESET``, ``RESULTS``. Those that are left out stay.

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
    path.write_text(filled(repairs, **settings), encoding="utf-8")
    return path


def filled(repairs: Sequence[str] = (), **settings: Any) -> str:
    """Return the text of the script.

    Parameters
    ----------
    repairs, **settings
        As for ``write``.
    """
    lines = []
    named, repairs = _settings_among(repairs)
    unused = named | settings
    for line in TEMPLATE.read_text("utf-8").splitlines():
        name, is_setting, rest = line.partition(" = ")
        if is_setting and name in unused:
            comment = rest.partition("  # ")[2]
            value = unused.pop(name)
            value = str(value) if isinstance(value, Path) else value
            lines.append(f"{name} = {value!r}  # {comment}")
        elif line.startswith(REPAIR_HERE):
            lines += [line, *repairs]
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


def _settings_among(repairs: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that lines of the report name, and the other lines."""
    settings: dict[str, Any] = {}
    others = []
    for line in repairs:
        name, _, value = line.partition(" = ")
        if name in NAMED:
            settings[NAMED[name]] = ast.literal_eval(value)
        else:
            others.append(line)
    return settings, others


def _names() -> list[str]:
    """Return the names of the settings: what the template assigns in capitals."""
    tree = ast.parse(TEMPLATE.read_text("utf-8"))
    targets = [node.targets[0] for node in tree.body if isinstance(node, ast.Assign)]
    return [each.id for each in targets if isinstance(each, ast.Name) and each.id.isupper()]
