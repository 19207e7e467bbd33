"""What a cell shows, as clean HTML: printed text, tables and figures."""

from __future__ import annotations

import base64
import html
import re
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from bs4 import BeautifulSoup, Tag
from nbformat import NotebookNode

# More than any slide can hold. The browser cuts what is left to what fits, and says so.
MAX_LINES, MAX_ROWS, MAX_COLUMNS = 60, 40, 20
# A cell of so many characters is not broken into lines.
SHORT_CELL = 30
# A figure that is less wide than this times its height stands beside the words.
TALL = 1.4

NUMBER = re.compile(r"[-+\u2212]?[\d,]+(\.\d+)?(e[-+]?\d+)?%?|NaN|nan|<NA>")


@dataclass(frozen=True)
class Output:
    """Something that a cell shows.

    Parameters
    ----------
    kind
        ``text``, ``table``, ``figure``, ``tall figure``, or ``caption``: words beside a figure.
    html
        What stands on the slide.
    height
        Lines or rows; of a figure 0.
    """

    kind: str
    html: str
    height: int = 0


def outputs_of(stored: Sequence[NotebookNode]) -> Iterator[Output]:
    """Give what a cell shows, in order; warnings and errors are left out."""
    for output in stored:
        if output.output_type == "stream" and output.name == "stdout":
            yield from _text(output.text)
        elif "data" in output:
            if "text/html" in output.data:
                yield from _page_part(output.data["text/html"])
            else:
                yield from _text(output.data.get("text/plain", ""))


def _text(text: str) -> Iterator[Output]:
    """Give printed text, unless it is blank."""
    lines = text.expandtabs().rstrip().splitlines()
    while lines and not lines[0].strip():
        del lines[0]
    if lines:
        shown = html.escape("\n".join(lines[:MAX_LINES]), quote=False)
        yield Output(
            "text", f'<pre class="data" data-lines="{len(lines)}">{shown}</pre>', len(lines)
        )


def _page_part(source: str) -> Iterator[Output]:
    """Give the tables and figures in HTML; where there are none, its text."""
    soup = BeautifulSoup(source, "html.parser")
    found = soup.find_all(["table", "img", "p"])
    for each in found:
        if each.name == "table":
            yield _table(each)
        elif each.name == "img":
            yield _figure(each)
        elif each.get_text(strip=True):
            yield Output("caption", f"<p>{each.decode_contents()}</p>", 1)
    if not found:
        for unseen in soup.find_all(["style", "script"]):
            unseen.decompose()
        yield from _text(soup.get_text())


def _figure(image: Tag) -> Output:
    """Return a figure with its alternative text."""
    source, alt = (html.escape(str(image.get(name, ""))) for name in ("src", "alt"))
    kind = "tall figure" if _is_tall(source) else "figure"
    return Output(kind, f'<img class="figure" src="{source}" alt="{alt}">')


def _is_tall(source: str) -> bool:
    """Tell from the head of an embedded PNG whether it is tall; other pictures are not."""
    kind, _, content = source.partition("base64,")
    # The first 24 bytes end with width and height.
    head = base64.b64decode(content[:32])
    if kind != "data:image/png;" or len(head) < 24:
        return False
    width, height = struct.unpack(">II", head[16:24])
    return width < TALL * height


def _table(table: Tag) -> Output:
    """Return a table without the styles of pandas, whose headers say what they head."""
    _merge_names_of_rows(table)
    rows = table.find_all("tr")
    head = len(table.select("thead tr"))
    width = max(len(row.find_all(["th", "td"])) for row in rows) if rows else 0
    body = rows[head : head + MAX_ROWS]
    numbers = _columns_of_numbers(body)
    size = f'data-rows="{len(rows) - head}" data-columns="{width}"'
    heads = "".join(_row(row, "col", numbers) for row in rows[:head])
    lines = "".join(_row(row, "row") for row in body)
    return Output(
        "table",
        f'<table class="data" {size}><thead>{heads}</thead><tbody>{lines}</tbody></table>',
        len(rows),
    )


def _columns_of_numbers(rows: Sequence[Tag]) -> set[int]:
    """Return the indices of columns that hold numbers alone, whose headers stand right as well."""
    columns = zip(*(row.find_all(["th", "td"]) for row in rows), strict=False)
    return {
        index
        for index, cells in enumerate(columns)
        if all(NUMBER.fullmatch(cell.get_text(strip=True)) for cell in cells)
    }


def _merge_names_of_rows(table: Tag) -> None:
    """Put the names of the rows into the first line of headers, where it is empty.

    pandas makes a second line of headers for them.
    """
    lines = [line.find_all(["th", "td"]) for line in table.select("thead tr")]
    if len(lines) != 2 or len(lines[0]) != len(lines[1]):
        return
    pairs = list(zip(*lines, strict=True))
    if all(
        not (upper.get_text(strip=True) and lower.get_text(strip=True)) for upper, lower in pairs
    ):
        for upper, lower in pairs:
            upper.string = upper.get_text(strip=True) or lower.get_text(strip=True)
        table.select("thead tr")[1].decompose()


def _row(row: Tag, scope: str, numbers: Collection[int] = ()) -> str:
    """Return one row of a table; in a row of headers, those above numbers are told by index."""
    cells = []
    for index, cell in enumerate(row.find_all(["th", "td"])[:MAX_COLUMNS]):
        text = html.escape(cell.get_text(" ", strip=True), quote=False)
        spans = "".join(f' {n}="{cell[n]}"' for n in ("colspan", "rowspan") if cell.get(n))
        of_column = "number" if index in numbers else ""
        look = of_column if scope == "col" else _look(text)
        if cell.name == "th" and text:
            cells.append(f'<th scope="{scope}"{spans} class="{look}">{text}</th>')
        else:
            cells.append(f'<td{spans} class="{look}">{text}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _look(text: str) -> str:
    """Return the class of a cell.

    A number stands to the right, and what is short stays in one line.
    """
    if NUMBER.fullmatch(text):
        return "number"
    return "short" if len(text) <= SHORT_CELL else ""
