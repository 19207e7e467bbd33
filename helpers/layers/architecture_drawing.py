"""A drawing of a model that fits one screen, made from its anatomy."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path
from scvi.model.base import BaseModelClass

from helpers import figures
from helpers.layers import descriptions, model_anatomy, side_inputs, untrained_parts

# Inches: the size of a box, and the space from one box to the next.
WIDTH, HEIGHT, ACROSS, DOWN = 1.34, 0.46, 1.46, 0.66

# Letters in a line of a note.
LONGEST_NOTE = 36

# The room of an arrow between two boxes, in boxes.
BEND = 0.12

# A column and a row.
Place = tuple[float, float]

GREY = "#767676"

# What the fields of a minibatch are called; "" are columns that are the same for all cells.
FIELDS = {
    "": "constants",
    "extra_categorical_covs": "covariates",
    "extra_continuous_covs": "continuous",
}
MEANING = {
    "ignored": "ignored: runs, but nothing of it reaches the loss",
    "idle": "idle: built, never runs",
}


@dataclass
class Box:
    """One thing in the drawing."""

    lines: tuple[str, str]
    network: str
    state: str
    kind: str
    notes: list[str] = field(default_factory=list)
    order: int = 0


def draw(model: BaseModelClass) -> figures.DescribedFigure:
    """Draw what a model is made of, from the data at the top to their distribution at the bottom.

    Parameters
    ----------
    model
        A scvi-tools model with its data, trained or not.

    Returns
    -------
    DescribedFigure
        Inputs, hidden layers and heads with their widths, samples and distributions; where dropout
        is and where the batch and other covariates enter; what is frozen, in part or as a whole;
        what is ignored (hatched) and idle (dashed) in grey.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As ``architecture.hidden_layers``.
    """
    return draw_anatomy(model_anatomy.read(model))


def draw_anatomy(anatomy: model_anatomy.Anatomy) -> figures.DescribedFigure:
    """Draw an anatomy that was read before; see ``draw``."""
    boxes = _boxes(anatomy)
    places, routes = _places_and_routes(boxes)
    across, down = zip(*places.values(), strict=True)
    left, right = min(across) * ACROSS - WIDTH * 0.55, max(across) * ACROSS + WIDTH * 0.55
    bottom, top = -max(down) * DOWN - HEIGHT * 0.7, HEIGHT * 0.8
    colours = _colours(anatomy)
    key = _key(anatomy, boxes, colours)
    right = max(right, left + 3.6)
    with figures.style():
        figure = Figure(figsize=(right - left, top - bottom + 0.22 * len(key)))
        axes = figure.add_axes((0, 0, 1, (top - bottom) / figure.get_figheight()))
        axes.set_axis_off()
        axes.set(xlim=(left, right), ylim=(bottom, top))
        for name in boxes:
            _draw_box(axes, boxes.nodes[name]["box"], *places[name], colours)
        for (_, after), route in routes.items():
            _draw_arrow(axes, route, boxes.nodes[after]["box"].state in MEANING)
        figure.legend(
            handles=key, loc="upper left", fontsize=9, borderaxespad=0.2, labelspacing=0.35
        )
    return figures.DescribedFigure(figure, _alt(anatomy, boxes))


# --- what is drawn --------------------------------------------------------------------------------


def _boxes(anatomy: model_anatomy.Anatomy) -> nx.DiGraph:
    """Turn the graph of operations into one of boxes, a box a module."""
    graph = anatomy.trace.graph
    table = anatomy.table.set_index("path")
    notes = _notes(anatomy)
    names = {}
    boxes = nx.DiGraph()
    for node, data in graph.nodes(data=True):
        if data["kind"] in ("linear", "lookup"):
            path = model_anatomy.linear_path(anatomy.trace, node)
            if table.loc[path, "state"] != "idle":
                names[node] = path
                boxes.add_node(path, box=_module_box(path, table.loc[path], notes.get(path, [])))
        elif data["kind"] not in ("loss", "codes") and not _only_noted(anatomy, node):
            names[node] = f"{data['kind']} {data['name']} {node}"
            boxes.add_node(names[node], box=_other_box(anatomy, node))
    for before, after in sorted(graph.edges, key=lambda edge: graph.nodes[edge[1]]["order"]):
        known = before in names and after in names
        # A module that runs again, on what it gave before, has one box: no way leads back.
        if known and not nx.has_path(boxes, names[after], names[before]):
            boxes.add_edge(names[before], names[after])
    _drop_asides(boxes)
    boxes = _without_shortcuts(boxes)
    for part in _idle_parts(anatomy):
        boxes.add_node(part.lines[0], box=part)
    built = {path: number for number, path in enumerate(anatomy.table["path"])}
    for name, data in boxes.nodes(data=True):
        data["box"].order = built.get(name, 0)
    return boxes


def _only_noted(anatomy: model_anatomy.Anatomy, node: int) -> bool:
    """Whether an input is a covariate that is noted wherever it enters, so that it needs no box."""
    graph = anatomy.trace.graph
    return graph.nodes[node]["name"] in anatomy.covariates and all(
        graph.nodes[after]["kind"] == "linear" for after in graph.successors(node)
    )


def _module_box(path: str, row: Any, notes: list[str]) -> Box:
    title = "hidden layer" if row["role"] == "hidden" else _short(path)
    return Box((title, f"{row['out']:,}"), row["network"], row["state"], row["role"], notes)


def _other_box(anatomy: model_anatomy.Anatomy, node: Any) -> Box:
    data = anatomy.trace.graph.nodes[node]
    width, title = data["width"], data["name"]
    if data["kind"] == "input":
        title = f"{'' if title in anatomy.covariates else 'data: '}{title.replace('_', ' ')}"
    elif data["kind"] == "likelihood":
        title = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", title).capitalize()
    elif data["kind"] == "sample":
        title = (
            "latent dimensions"
            if node in model_anatomy.decoded_samples(anatomy.trace)
            else "sample"
        )
    elif data["kind"] == "parameter":
        width = int(anatomy.numbers.loc[title].sum())
        return Box((title, f"{width:,}"), "", "", data["kind"], _held(anatomy, title))
    return Box((title, f"{width:,}"), "", "", data["kind"])


def _short(path: str) -> str:
    """Name a module by the attribute under its network.

    The deeper ones are called Layer 0 and the like.
    """
    parts = path.split(".")
    return parts[1] if len(parts) > 1 and not parts[1].isdigit() else parts[0]


def _notes(anatomy: model_anatomy.Anatomy) -> dict[str, list[str]]:
    """Say of each learned map what enters it from the side, and whether dropout follows it."""
    table = anatomy.table.set_index("path")
    notes: dict[str, list[str]] = {}
    last = ""
    for path in anatomy.trace.calls:
        if path not in table.index:
            continue
        if table.loc[path, "role"] in ("hidden", "head"):
            last = path
            notes[path] = [*_side_inputs(anatomy, path), *_held(anatomy, path)]
        elif table.loc[path, "role"] == "dropout" and last:
            notes[last].append(f"dropout {anatomy.trace.module.get_submodule(path).p:g}")
    return notes


def _side_inputs(anatomy: model_anatomy.Anatomy, path: str) -> list[str]:
    """Say which covariates enter a learned map, and as how many columns of their own, if any."""
    return [
        f"+{f'{columns} ' if columns else ''}{FIELDS.get(name, name.replace('_', ' '))}"
        for name, columns in side_inputs.told(anatomy, path).items()
        if name in anatomy.covariates or not name
    ]


def _held(anatomy: model_anatomy.Anatomy, path: str) -> list[str]:
    if path in anatomy.partly_trained:
        return ["partly frozen"]
    return ["frozen"] if anatomy.numbers.loc[path, "frozen"] else []


def _drop_asides(boxes: nx.DiGraph) -> None:
    """Leave out what only the loss uses (priors), and samples that nothing is made from."""
    aside = [
        name
        for name, data in boxes.nodes(data=True)
        if data["box"].kind in ("parameter", "sample", "lookup")
        and not any(True for _ in boxes.successors(name))
    ]
    # The data are compared with their distribution: that arrow is the loss, not the model.
    compared = [
        (before, after)
        for before, after in boxes.edges
        if boxes.nodes[before]["box"].kind == "input"
        and boxes.nodes[before]["box"].lines[0].startswith("data: ")
        and boxes.nodes[after]["box"].kind == "likelihood"
    ]
    boxes.remove_nodes_from(aside)
    boxes.remove_edges_from(compared)


def _without_shortcuts(boxes: nx.DiGraph) -> nx.DiGraph:
    """Replace arrows that skip a layer, as into some heads, by a note where they end."""
    needed = set(nx.transitive_reduction(boxes).edges)
    plain = nx.DiGraph()
    plain.add_nodes_from(boxes.nodes(data=True))
    for before, after in boxes.edges:
        source, box = boxes.nodes[before]["box"], boxes.nodes[after]["box"]
        if (before, after) in needed:
            plain.add_edge(before, after)
        elif box.kind == "head":
            box.notes.insert(0, f"+{source.lines[1]} {source.lines[0].partition(' ')[0]}")
    return plain


def _idle_parts(anatomy: model_anatomy.Anatomy) -> Iterator[Box]:
    for path, inside in untrained_parts.unused_parts(anatomy):
        if (inside["state"] == "idle").all():
            size = f"{inside['parameters'].sum():,} parameters"
            yield Box((path, size), inside["network"].iloc[0], "idle", "idle")


# --- where it is drawn ----------------------------------------------------------------------------


def _places_and_routes(boxes: nx.DiGraph) -> tuple[dict[str, Place], dict[Any, list[Place]]]:
    """Give each box its column and its row, and each arrow the places that it passes."""
    wired = boxes.subgraph(n for n, data in boxes.nodes(data=True) if data["box"].kind != "idle")
    row = _rows(wired)
    laid_out, ways = _with_bends(wired, row)
    places: dict[Any, Place] = {}
    for number in range(1 + max(row.values())):
        members = [name for name in laid_out if row[name] == number]
        members.sort(key=lambda name: _left_to_right(laid_out, places, name))
        widths = [1 if name in wired else BEND for name in members]
        x = -sum(widths) / 2
        for name, width in zip(members, widths, strict=True):
            places[name] = (x + width / 2, number)
            x += width
    routes = {edge: [places[name] for name in way] for edge, way in ways.items()}
    places = {name: place for name, place in places.items() if name in wired}
    edge = max(x for x, _ in places.values()) + 1.15
    idle = [name for name in boxes if name not in places]
    return places | {name: (edge, 1 + number) for number, name in enumerate(idle)}, routes


def _rows(wired: nx.DiGraph) -> dict[Any, int]:
    """Put each box as far down as its sources need, and the distributions of the data last."""
    row: dict[Any, int] = {}
    for name in nx.topological_sort(wired):
        row[name] = max((row[before] + 1 for before in wired.predecessors(name)), default=0)
    for name in wired:
        if wired.nodes[name]["box"].kind == "likelihood":
            row[name] = max(row.values())
    for name in wired:
        # What has no source stands one row above what it is used for.
        after = [row[each] for each in wired.successors(name)]
        if wired.nodes[name]["box"].kind in ("parameter", "lookup") and after:
            row[name] = max(min(after) - 1, 0)
    return row


def _with_bends(wired: nx.DiGraph, row: dict[Any, int]) -> tuple[nx.DiGraph, dict[Any, list]]:
    """Add a bend to an arrow in each row that it passes, so that it runs between the boxes there.

    Return the boxes with the bends, and the way of each arrow.
    """
    laid_out = nx.DiGraph()
    laid_out.add_nodes_from(wired.nodes(data=True))
    ways = {}
    for before, after in wired.edges:
        bends = [(before, after, at) for at in range(row[before] + 1, row[after])]
        for bend in bends:
            row[bend] = bend[-1]
            laid_out.add_node(bend, box=wired.nodes[before]["box"])
        ways[before, after] = [before, *bends, after]
        nx.add_path(laid_out, ways[before, after])
    return laid_out, ways


def _left_to_right(laid_out: nx.DiGraph, places: dict, name: Any) -> tuple[int, float, int]:
    """Keep a box below its sources.

    What is ignored, and parameters, go to the right of what counts.
    """
    box = laid_out.nodes[name]["box"]
    aside = 1 if box.state == "ignored" else 2 if box.kind in ("parameter", "lookup") else 0
    sources = [places[before][0] for before in laid_out.predecessors(name) if before in places]
    return aside, sum(sources) / len(sources) if sources else 0.0, box.order


# --- how it is drawn ------------------------------------------------------------------------------


def _colours(anatomy: model_anatomy.Anatomy) -> dict[str, str]:
    return dict(zip(anatomy.hidden_layers, itertools.cycle(figures.COLOURS[:6]), strict=False))


def _draw_box(axes: Axes, box: Box, x: float, y: float, colours: dict[str, str]) -> None:
    grey = box.state in MEANING
    edge = GREY if grey else colours.get(box.network, "black")
    tint = [1 - (1 - part) * 0.18 for part in to_rgb(edge)]
    centre, middle = x * ACROSS, -y * DOWN
    shape = {
        "xy": (centre - WIDTH / 2, middle - HEIGHT / 2),
        "width": WIDTH,
        "height": HEIGHT,
        "boxstyle": f"round,pad=0,rounding_size={0.04 if box.network else 0.2}",
    }
    if box.state == "ignored":
        axes.add_patch(FancyBboxPatch(**shape, fc="white", ec="#D8D8D8", lw=0, hatch="////"))
    axes.add_patch(
        FancyBboxPatch(
            **shape,
            facecolor="none" if grey else tint if box.network else "white",
            edgecolor=edge,
            linewidth=2.2 if box.kind == "hidden" and not grey else 1,
            linestyle="--" if box.state == "idle" else "-",
        )
    )
    # A network's number is its width; the name of a distribution may need two lines.
    title = textwrap.wrap(box.lines[0], 20) if box.kind == "likelihood" else [box.lines[0]]
    lines = [*title, box.lines[1], *_in_lines(box.notes)]
    # More than three lines stand closer together.
    spacing = min(0.145, 0.435 / len(lines))
    for number, text in enumerate(lines):
        is_width = number == len(title)
        axes.text(
            centre,
            middle + ((len(lines) - 1) / 2 - number) * spacing,
            text,
            fontsize=_fitting(text, (7 if number > len(title) else 8.5) * spacing / 0.145),
            fontweight="bold" if is_width and box.kind == "hidden" else "normal",
            color=GREY if grey else "black",
            ha="center",
            va="center",
        )


def _in_lines(notes: list[str]) -> list[str]:
    """Join notes to lines that end between two of them."""
    unbroken = ", ".join(note.replace(" ", "\N{NO-BREAK SPACE}") for note in notes)
    lines = textwrap.wrap(unbroken, LONGEST_NOTE, break_long_words=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def _fitting(text: str, size: float) -> float:
    """Return a font size (points), smaller where the text would not fit into its box."""
    return min(size, 104 * WIDTH / max(len(text), 1))


def _draw_arrow(axes: Axes, route: list[Place], grey: bool) -> None:
    """Draw from the lower edge of the first place to the upper edge of the last."""
    points = [
        (x * ACROSS, -y * DOWN + side * HEIGHT / 2)
        for number, (x, y) in enumerate(route)
        for side in (1, -1)
        if (number, side) not in ((0, 1), (len(route) - 1, -1))
    ]
    axes.add_patch(
        FancyArrowPatch(
            path=Path(points),
            arrowstyle="-|>",
            mutation_scale=8,
            linewidth=0.8,
            color="#AAAAAA" if grey else "#444444",
            linestyle=":" if grey else "-",
            zorder=0,
        )
    )


def _key(anatomy: model_anatomy.Anatomy, boxes: nx.DiGraph, colours: dict[str, str]) -> list[Patch]:
    """Say which colour is which network, with its hidden layers, and what grey means."""
    key = []
    for network, number in anatomy.hidden_layers.items():
        text = f"{network}: {number} hidden layer{'' if number == 1 else 's'}"
        key.append(Patch(color=colours[network], label=text))
    states = {data["box"].state for _, data in boxes.nodes(data=True)}
    styles = {"ignored": {"hatch": "////"}, "idle": {"linestyle": "--"}}
    for state in styles:
        if state in states:
            look = {"facecolor": "white", "edgecolor": GREY, **styles[state]}
            key.append(Patch(label=MEANING[state], **look))
    return key


def _alt(anatomy: model_anatomy.Anatomy, boxes: nx.DiGraph) -> str:
    found = [data["box"] for _, data in boxes.nodes(data=True)]

    def all_of(kind: str) -> list[Box]:
        return sorted((box for box in found if box.kind == kind), key=lambda box: box.lines)

    inputs = " and ".join(f"{box.lines[1]} columns of {box.lines[0]}" for box in all_of("input"))
    latent = " and ".join(
        f"{box.lines[1]} {box.lines[0]}"
        for box in all_of("sample")
        if box.lines[0] == "latent dimensions"
    )
    ends = " and ".join(box.lines[0].lower() for box in all_of("likelihood"))
    sentences = [
        f"From {inputs}, through {latent or 'no latent dimensions'}, to {ends or 'the loss'}.",
        descriptions.trained_layers(anatomy),
        descriptions.dropout(anatomy),
        *descriptions.frozen(anatomy),
    ]
    unused = [
        (part, inside["state"].iloc[0]) for part, inside in untrained_parts.unused_parts(anatomy)
    ]
    for state, meaning in MEANING.items():
        if parts := [part for part, its_state in unused if its_state == state]:
            sentences.append(f"{meaning.capitalize()}: {', '.join(parts)}.")
    return " ".join(sentences)
