"""Texts that the kit writes: templates with gaps, which are filled."""

from __future__ import annotations

from pathlib import Path

import jinja2

TEMPLATES = Path(__file__).parent / "templates"


def fill(template: str, **values: object) -> str:
    """Fill the gaps of a template.

    Parameters
    ----------
    template
        The name of the file to be made, such as ``jupyterhub.md``; its template is in
        ``publishing/templates`` with ``.jinja`` behind its name.
    values
        What goes into its gaps, by name.

    Raises
    ------
    jinja2.UndefinedError
        If nothing is given for a gap.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{template}.jinja").render(values)


def write(file: Path, text: str) -> None:
    """Write a text file in one go, and the folder that it is in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.draft")
    draft.write_text(text, "utf-8")
    draft.replace(file)
