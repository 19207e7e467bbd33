"""The page and the picture that the study ``costs`` makes from what it measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers import figures, markdown
from helpers.scale import evaluation
from studies import keeping, presets

# --- the page -----------------------------------------------------------------------------------


def page(measured: Mapping[str, Any]) -> str:
    """Write measurements as a page.

    Parameters
    ----------
    measured
        As from ``costs.gather``, or read back from ``docs/results/costs.json``.

    Returns
    -------
    str
        Markdown.
    """
    parts = [
        "# Measurements",
        f"{keeping.written_by('costs')} The numbers are in [costs.json](costs.json). "
        "Measured on one machine: look at the order of magnitude, not at the last digit.",
        _origin(measured),
        f"![{figure(measured).alt}](costs.png)",
        "## What a step costs",
        *_steps(measured),
        "## What a lesson costs",
        "From a clean start, with the kernel's own start and all imports. CPU seconds are those "
        "of all processes together, memory that of the largest.",
        _table(measured["lessons"], ".0f"),
        "## The class preset against the default",
        *_presets(measured),
        "## Compared with the last result",
        *_comparison(measured["comparison"]),
    ]
    return "\n\n".join(parts) + "\n"


def _origin(measured: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in measured["versions"].items())
    return f"{measured['date']}, Python {measured['python']}, {measured['platform']}, {versions}."


def _steps(measured: Mapping[str, Any]) -> list[str]:
    done = [row for row in measured["steps"] if "not measured" not in row]
    missing = [row for row in measured["steps"] if "not measured" in row]
    said = [
        "Each in a process of its own, with the calls of the lessons on the 3,005 cortex cells; "
        "the memory includes what comes before the step. What a library compiles at its first "
        "call is included. Set-up is that of a fresh clone, with what pip has in its cache.",
        _table(done, ".2f"),
    ]
    return said + [f"Not measured: {row['step']} ({row['not measured']})." for row in missing]


def _presets(measured: Mapping[str, Any]) -> list[str]:
    runs = pd.DataFrame(measured["preset runs"])
    found = presets.verdicts(presets.paired(runs))
    cells = "; ".join(f"{name}: {what}" for name, what in measured["data sets"].items())
    settings = "; ".join(f"{name}: `{what}`" for name, what in measured["presets"].items())
    return [
        f"The two presets are {settings}. {cells}.",
        "The same seed holds out the same cells, so only rows of one seed are compared: splits "
        "differ by more than presets do. The two of a pair run one after the other, and take "
        "turns in who goes first. The negative ELBO is that of the held-out cells (nats per cell, "
        f"lower is better), mean over {evaluation.ELBO_DRAWS} draws. A preset is as good as the "
        f"default where it is higher by at most {presets.LIMIT:g} on average.",
        _verdicts(found),
        "\n".join(_verdict(name, row) for name, row in found.to_dict("index").items()),
        "Single runs. Agreement with the types of the cells: of k-means clusters (ARI and NMI, "
        f"mean over {len(evaluation.KMEANS_SEEDS)} seeds), and of the 15 nearest cells (kNN "
        "accuracy).",
        _runs(runs),
    ]


def _verdicts(found: pd.DataFrame) -> str:
    table = pd.DataFrame(
        {
            "seeds": found["seeds"].astype(str),
            "difference in negative ELBO, mean (lowest to highest)": [
                f"{row['mean']:+z.1f} ({row['lowest']:+z.1f} to {row['highest']:+z.1f})"
                for _, row in found.iterrows()
            ],
            "verdict": found["reached"].map({True: "reached", False: "not reached"}),
            "CPU seconds, default over class": found["CPU ratio"].map("{:.1f}".format),
            **{
                f"difference in {name}": found[name].map(lambda value: _number(value, "+z.2f"))
                for name in presets.COMPARED[1:]
            },
        }
    )
    return _as_text(table.reset_index())


def _verdict(name: Any, row: Mapping[Any, Any]) -> str:
    over = f"average over {row['seeds']} seeds" if row["seeds"] > 1 else "one seed"
    return (
        f"- {name}: {'reached' if row['reached'] else 'not reached'}. With the class preset the "
        f"negative ELBO differs by {row['mean']:+z.1f} nats per cell on {over}, and the training "
        f"takes {row['CPU ratio']:.1f} times fewer CPU seconds."
    )


def _runs(runs: pd.DataFrame) -> str:
    formats = {
        "CPU seconds": ".1f",
        "wall seconds": ".1f",
        "final KL weight": ".3g",
        "negative ELBO": ".1f",
        **dict.fromkeys(presets.COMPARED[1:], ".2f"),
    }
    return _as_text(_formatted(runs, formats))


def _comparison(comparison: Mapping[str, Any]) -> list[str]:
    if "none" in comparison:
        return [comparison["none"]]
    rows = pd.DataFrame(comparison["rows"])
    slower = rows[rows["slower"]]
    said = f"{len(slower)} of {len(rows)} are slower by more than 25 %."
    shown = rows.assign(slower=rows["slower"].map({True: "slower", False: ""}))
    shown = _formatted(shown, dict.fromkeys(["before", "now", "ratio"], ".2f"))
    return [f"CPU seconds against those of {comparison['with']}. {said}", _as_text(shown)]


def _table(rows: list[dict[str, Any]], seconds: str) -> str:
    """Return rows as Markdown, with their seconds in a format and their memory without decimals."""
    formats = {"CPU seconds": seconds, "wall seconds": seconds, "peak MiB": ".0f"}
    return _as_text(_formatted(pd.DataFrame(rows), formats))


def _as_text(table: pd.DataFrame) -> str:
    return markdown.table(list(table), table.to_numpy(), numbers=list(table)[1:])


def _formatted(table: pd.DataFrame, formats: Mapping[str, str]) -> pd.DataFrame:
    return table.assign(
        **{
            column: [_number(value, how) for value in table[column]]
            for column, how in formats.items()
        }
    )


def _number(value: float, how: str) -> str:
    """Return a number in a format, and nothing where it is missing."""
    return "" if pd.isna(value) else f"{value:{how}}"


# --- the picture --------------------------------------------------------------------------------


def figure(measured: Mapping[str, Any]) -> figures.DescribedFigure:
    """Draw the CPU seconds of steps and lessons, and the paired differences between the presets.

    Parameters
    ----------
    measured
        As for ``page``.
    """
    seconds = _bars(measured)
    differences = presets.paired(pd.DataFrame(measured["preset runs"]))
    with figures.style():
        drawing = Figure(figsize=(11, 5.6), layout="constrained")
        left, right = drawing.subplots(1, 2)
        _draw_seconds(left, seconds)
        _draw_differences(right, differences)
    found = presets.verdicts(differences)["mean"]
    said = ", ".join(f"{name} {mean:+z.1f}" for name, mean in found.items())
    return figures.DescribedFigure(
        drawing,
        f"Bars of the CPU seconds of {len(seconds)} steps and lessons, from "
        f"{figures.about(seconds.min(), 2)} ({seconds.idxmin()}) to "
        f"{figures.about(seconds.max(), 2)} ({seconds.idxmax()}). Beside them {len(differences)} "
        "dots: the negative ELBO of held-out cells with the class preset minus that with the "
        f"default, one dot per seed. Means in nats per cell: {said}; the limit is "
        f"{presets.LIMIT:+g}.",
    )


def _bars(measured: Mapping[str, Any]) -> pd.Series:
    steps = {row["step"]: row["CPU seconds"] for row in measured["steps"] if "CPU seconds" in row}
    lessons = {
        row["lesson"]: row["CPU seconds"] for row in measured["lessons"] if row["cores"] == 1
    }
    return pd.Series(steps | lessons, dtype=float)


def _draw_seconds(axes: Axes, seconds: pd.Series) -> None:
    heights = np.arange(len(seconds))
    drawn = axes.barh(heights, seconds, color=figures.COLOURS[0])
    axes.bar_label(drawn, [figures.about(value, 2) for value in seconds], padding=3)
    axes.set_yticks(heights, list(seconds.index))
    axes.set(xlabel="CPU seconds", title="Steps, and lessons on one core")
    axes.margins(x=0.12)
    axes.invert_yaxis()


def _draw_differences(axes: Axes, differences: pd.DataFrame) -> None:
    names = list(differences["data set"].unique())
    for index, name in enumerate(names):
        values = differences.loc[differences["data set"] == name, "negative ELBO"]
        # Beside one another, or equal differences would hide each other.
        beside = index + 0.06 * (np.arange(len(values)) - (len(values) - 1) / 2)
        axes.plot(beside, values, "o", color=figures.COLOURS[index])
        axes.hlines(values.mean(), index - 0.25, index + 0.25, color=figures.COLOURS[index])
    axes.axhline(0, color=figures.COLOURS[6], linewidth=0.8)
    axes.axhline(presets.LIMIT, color=figures.COLOURS[6], linewidth=0.8, linestyle="--")
    axes.annotate(
        f"limit\n{presets.LIMIT:+g}",
        (1.02, presets.LIMIT),
        xycoords=("axes fraction", "data"),
        va="center",
    )
    axes.set_xticks(range(len(names)), names)
    axes.set(
        xlim=(-0.5, len(names) - 0.5),
        ylabel="class minus default, negative ELBO (nats per cell)",
        title="Held-out cells, one dot per seed (line: mean)",
    )
