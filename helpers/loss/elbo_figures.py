"""Figures of the loss: the ledger stacked, runs side by side, and where the loss arises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse

from helpers import figures
from helpers.figures import COLOURS, about
from helpers.loss import attribution, loss_ledger

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

# More names, or posteriors, would hide one another.
NAMED_GENES = 4
DRAWN_CELLS = 60

HATCHES = ("", "//", "..", "\\\\", "xx")

# One colour for each thing, in all figures.
RECONSTRUCTION, KL, WEIGHT, HELD_OUT = COLOURS[0], COLOURS[4], COLOURS[2], COLOURS[1]


def plot_ledger(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw what the loss is made of, stacked, with the KL divergence and its weight below.

    Parameters
    ----------
    table
        What ``loss.ledger`` returned, of a loss that is reconstruction + weight x KL divergence.

    Raises
    ------
    ValueError
        If the loss is made of other terms, or the reconstruction loss has a weight (as that of
        TotalVI's proteins).
    """
    _require_one_reconstruction(table)
    epochs = table.index
    weighted = table["train_loss"] - table["reconstruction"]
    full = _warm_up_end(table)
    held_out = table["held_out_elbo"].dropna()
    with figures.style():
        figure = Figure(figsize=(6.4, 7.4))
        top, middle, bottom = figure.subplots(3, sharex=True, height_ratios=(3, 1.5, 1))
        top.stackplot(
            epochs,
            table["reconstruction"],
            weighted,
            colors=(RECONSTRUCTION, KL),
            alpha=0.55,
            labels=("reconstruction loss", "+ KL weight × KL divergence"),
        )
        top.plot(epochs, table["train_loss"], color="black", label="= train_loss")
        top.plot(epochs, table["elbo"], ":", color="black", label="elbo_train (weight 1)")
        lowest = table["reconstruction"].min()
        # The first epochs are far above, and would flatten all that follows.
        highest = table["elbo"].iloc[len(table) // 20]
        if len(held_out):
            top.plot(held_out.index, held_out, color=HELD_OUT, label="held-out negative ELBO")
            best = held_out.idxmin()
            label = f"its lowest value: epoch {best}"
            top.plot(best, held_out[best], "v", color=HELD_OUT, label=label, clip_on=False)
        top.set_ylim(lowest - 0.15 * (highest - lowest), highest)
        top.set(ylabel="nats per cell\n(axis cut at both ends)", xlim=(epochs[0], epochs[-1]))
        top.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        middle.plot(epochs, table["kl"], color=KL, label="KL divergence")
        middle.fill_between(epochs, weighted, color=KL, alpha=0.55, label="× its weight")
        middle.set(ylabel="nats per cell", ylim=(0, None))
        middle.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        bottom.plot(epochs, table["kl_weight"], color=WEIGHT)
        bottom.set(xlabel="epoch", ylabel="KL weight", ylim=(0, None))
        if full is not None:
            for axes in (top, middle, bottom):
                axes.axvline(full, color="grey", linewidth=0.8, linestyle="--")
            bottom.annotate("warm-up ends", (full, 0.1), xytext=(4, 0), textcoords="offset points")
    return figures.DescribedFigure(figure, _say_ledger(table, full, held_out))


def _require_one_reconstruction(table: pd.DataFrame) -> None:
    """Raise unless the loss is the reconstruction loss without a weight, and KL divergences."""
    added = loss_ledger.contributions(table)
    others = [name for name in added if not name.startswith("kl")]
    if len(others) != 1 or not np.allclose(added[others[0]], table["reconstruction"], rtol=1e-4):
        raise ValueError(
            "This loss is not reconstruction + weight x KL divergence. It is made of: "
            f"{', '.join(added)}. What to do: elbo_figures.plot_contributions(table), which draws "
            "any terms that add up to the loss."
        )


def _warm_up_end(table: pd.DataFrame) -> int | None:
    """Return the epoch from which on the weight rose no more, or None if it never rose or ended."""
    rising = table.index[table["kl_weight"] < table["kl_weight"].iloc[-1]]
    end = 1 if rising.empty else int(rising[-1]) + 1
    return end if 1 < end < table.index[-1] else None


def _say_ledger(table: pd.DataFrame, full: int | None, held_out: pd.Series) -> str:
    first, last = table.iloc[0], table.iloc[-1]
    said = (
        f"Three charts against {len(table)} epochs; the axis of the first is cut at both ends. The "
        f"reconstruction loss falls from {about(first['reconstruction'])} to "
        f"{about(last['reconstruction'])} nats per cell. The KL divergence goes from "
        f"{about(first['kl'], 2)} to {about(last['kl'], 2)}; times its weight it is added on top "
        "and gives train_loss. "
    )
    said += (
        f"The weight rises to {last['kl_weight']:.3g} by epoch {full}."
        if full
        else f"The weight still rises at the end, where it is {last['kl_weight']:.3g}."
        if last["kl_weight"] > first["kl_weight"]
        else f"The weight is {last['kl_weight']:.3g} throughout."
    )
    if len(held_out):
        said += f" The held-out negative ELBO ends at {about(held_out.iloc[-1])} nats per cell."
    return said


def plot_contributions(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw the terms that add up to the loss, each with its weight, and the KL weight below.

    Parameters
    ----------
    table
        What ``loss_ledger.ledger`` returned.

    Notes
    -----
    The areas lie on top of one another in the order of the ``+`` columns of the ledger, and
    end at ``train_loss``; what the ledger cannot name is the last. Most of the first one is cut
    off, and what lies above the largest loss after the first twentieth of the epochs.
    """
    epochs = table.index
    added = loss_ledger.contributions(table).rename(columns=loss_ledger.term_name)
    if loss_ledger.unnamed(table).any():
        added["without a name"] = table["residual"]
    lowest = added.iloc[:, 0].min()
    # It may rise again while the weight does.
    highest = table["train_loss"].iloc[len(table) // 20 :].max()
    with figures.style():
        figure = Figure(figsize=(7.2, 5.6))
        top, bottom = figure.subplots(2, sharex=True, height_ratios=(4, 1))
        areas = top.stackplot(
            epochs,
            added.to_numpy().T,
            colors=[COLOURS[number % 6] for number in range(added.shape[1])],
            alpha=0.55,
        )
        for number, area in enumerate(areas):
            # For those who do not see the colours.
            area.set(hatch=HATCHES[number % len(HATCHES)], edgecolor="white", linewidth=0)
        (line,) = top.plot(epochs, table["train_loss"], color="black")
        top.set_ylim(lowest - 0.15 * (highest - lowest), highest)
        top.set_xlim(epochs[0], epochs[-1])
        top.set_ylabel(f"{_unit(table)}\n(axis cut at both ends)", fontsize=12)
        # In the order of the areas, from the top.
        labels = [f"{'+ ' if number else ''}{name}" for number, name in enumerate(added)]
        top.legend(
            [line, *areas[::-1]],
            ["= train_loss", *labels[::-1]],
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            fontsize=12,
        )
        bottom.plot(epochs, table["kl_weight"], color="black")
        bottom.set_xlabel("epoch", fontsize=12)
        bottom.set_ylabel("KL weight", fontsize=12)
        bottom.set_ylim(0, None)
        for axes in (top, bottom):
            axes.tick_params(labelsize=11)
    return figures.DescribedFigure(figure, _say_contributions(table, added))


def _unit(table: pd.DataFrame) -> str:
    return "nats per cell" if loss_ledger.in_nats(table) else "units of the loss"


def _say_contributions(table: pd.DataFrame, added: pd.DataFrame) -> str:
    last = added.iloc[-1]
    parts = ", ".join(f"{name} {about(value, 1)}" for name, value in last.items())
    return (
        f"Stacked areas against {len(table)} epochs, which add up to train_loss; the axis is cut "
        "at both ends. In the last epoch the loss is about "
        f"{about(table['train_loss'].iloc[-1], 1)} {_unit(table)}, made of about: {parts}. The KL "
        f"weight goes from {table['kl_weight'].iloc[0]:.2g} to {table['kl_weight'].iloc[-1]:.2g}."
    )


def plot_runs(runs: Mapping[str, pd.DataFrame]) -> figures.DescribedFigure:
    """Draw runs side by side: the held-out negative ELBO, the KL divergence and its weight.

    Parameters
    ----------
    runs
        What ``loss_ledger.ledger`` returned, by name.
    """
    panels = {
        "held_out_elbo": "held-out negative ELBO\n(nats per cell)",
        "kl": "KL divergence\n(nats per cell)",
        "kl_weight": "KL weight",
    }
    dashes = ("-", "--", ":", "-.")
    with figures.style():
        figure = Figure(figsize=(7.2, 6.4))
        rows = figure.subplots(len(panels), sharex=True, height_ratios=(2.4, 1.4, 1))
        for axes, (column, label) in zip(rows, panels.items(), strict=True):
            for number, (name, table) in enumerate(runs.items()):
                values = table[column].dropna()
                axes.plot(
                    values.index,
                    values,
                    dashes[number % len(dashes)],
                    color=COLOURS[number],
                    label=name,
                )
            axes.set(ylabel=label)
        ends = [table["held_out_elbo"].dropna().iloc[-1] for table in runs.values()]
        # The first epochs are far above, and would flatten all that follows.
        rows[0].set_ylim(min(ends) - 30, max(ends) + 250)
        rows[0].legend()
        rows[-1].set(xlabel="epoch (logarithmic)", xscale="log")
        rows[-1].xaxis.set_major_formatter("{x:.0f}")
    said = [
        f"{name} ends after {len(table)} epochs with a held-out negative ELBO of "
        f"{about(table['held_out_elbo'].dropna().iloc[-1])} nats per cell, a KL divergence of "
        f"{about(table['kl'].iloc[-1], 2)} and a weight of {table['kl_weight'].iloc[-1]:.3g}"
        for name, table in runs.items()
    ]
    return figures.DescribedFigure(
        figure, f"Line charts of {len(runs)} runs against epoch. {'; '.join(said)}."
    )


def plot_held_out(table: pd.DataFrame) -> figures.DescribedFigure:
    """Draw why the loss of held-out cells can fall and then rise.

    It shows the parts of the loss, in the epochs after the first tenth.

    Parameters
    ----------
    table
        What ``loss_ledger.ledger`` returned, with held-out cells.
    """
    late = table.iloc[len(table) // 10 :].dropna(subset="held_out_loss")
    lines = {
        "held_out_elbo": ("negative ELBO (weight 1)", ":", "black"),
        "held_out_loss": ("loss (weight in force)", "-", HELD_OUT),
        "held_out_reconstruction": ("reconstruction loss", "--", RECONSTRUCTION),
    }
    lowest = late["held_out_loss"].idxmin()
    with figures.style():
        figure = Figure(figsize=(7.2, 3.8))
        axes = figure.subplots()
        for column, (label, dashes, colour) in lines.items():
            axes.plot(late.index, late[column], dashes, color=colour, label=label)
        axes.fill_between(
            late.index,
            late["held_out_reconstruction"],
            late["held_out_loss"],
            color=KL,
            alpha=0.5,
            label="KL weight × KL divergence",
        )
        label = f"lowest loss: epoch {lowest}"
        axes.plot(lowest, late["held_out_loss"][lowest], "v", color=HELD_OUT, label=label)
        axes.set(xlabel="epoch", ylabel="held-out cells (nats per cell;\naxis does not start at 0)")
        axes.legend()
    return figures.DescribedFigure(
        figure,
        f"Line chart from epoch {late.index[0]} on, for held-out cells. The loss is lowest at "
        f"epoch {lowest}, {about(late['held_out_loss'][lowest], 4)} nats per cell, and "
        f"{about(late['held_out_loss'].iloc[-1], 4)} at the end. From that epoch to the end the "
        f"negative ELBO goes from {about(late['held_out_elbo'][lowest], 4)} to "
        f"{about(late['held_out_elbo'].iloc[-1], 4)}, the reconstruction loss from "
        f"{about(late['held_out_reconstruction'][lowest], 4)} to "
        f"{about(late['held_out_reconstruction'].iloc[-1], 4)}.",
    )


def plot_posteriors(models: Mapping[str, BaseModelClass]) -> figures.DescribedFigure:
    """Draw the posteriors of held-out cells in two latent dimensions, one panel per model.

    Parameters
    ----------
    models
        Trained models by name.
    """
    posteriors = {
        name: model.get_latent_representation(
            indices=model.validation_indices[:DRAWN_CELLS], return_dist=True
        )
        for name, model in models.items()
    }
    farthest = 1.05 * max(np.abs(centres).max() for centres, _ in posteriors.values())
    n_drawn = min(DRAWN_CELLS, len(next(iter(posteriors.values()))[0]))
    spread, mean_std = {}, {}
    with figures.style():
        figure = Figure(figsize=(2.5 * len(models), 3.1))
        panels = figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (name, (centres, variances)) in zip(panels, posteriors.items(), strict=True):
            # The two dimensions in which the cells differ most.
            chosen = np.argsort(centres.std(axis=0))[::-1][:2]
            centres, stds = centres[:, chosen], np.sqrt(variances[:, chosen])
            for centre, (across, up) in zip(centres, stds, strict=True):
                # Two standard deviations to either side, as for the prior.
                axes.add_patch(
                    Ellipse(centre, 4 * across, 4 * up, color=RECONSTRUCTION, alpha=0.35)
                )
            axes.add_patch(Circle((0, 0), 2, fill=False, linestyle="--"))
            axes.set(title=name, xlabel="a latent dimension", aspect="equal")
            axes.set(xlim=(-farthest, farthest), ylim=(-farthest, farthest))
            spread[name], mean_std[name] = centres.std(), stds.mean()
        panels[0].set_ylabel("another one")
        figure.tight_layout()
    return figures.DescribedFigure(
        figure,
        f"{len(models)} panels with the clouds of {n_drawn} held-out cells in the two latent "
        "dimensions in which they differ most, around a circle of radius 2, within which the "
        "prior has most of its mass. The centres lie farthest apart for "
        f"{max(spread, key=spread.__getitem__)} and closest for "
        f"{min(spread, key=spread.__getitem__)}. The clouds are narrowest for "
        f"{min(mean_std, key=mean_std.__getitem__)} and widest for "
        f"{max(mean_std, key=mean_std.__getitem__)}.",
    )


def plot_genes(costs: attribution.LossBreakdown) -> figures.DescribedFigure:
    """Draw what each gene costs against its mean count, and name the most costly.

    Parameters
    ----------
    costs
        What ``attribution.attribute_loss`` returned.
    """
    genes = costs.genes
    costly = genes.head(NAMED_GENES)
    with figures.style():
        figure = Figure(figsize=(7.2, 4.2))
        axes = figure.subplots()
        axes.plot(
            genes["mean_count"], genes["reconstruction"], ".", color=RECONSTRUCTION, alpha=0.4
        )
        for name, gene in costly.iterrows():
            axes.annotate(
                str(name),
                (gene["mean_count"], gene["reconstruction"]),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=8,
            )
        axes.set(
            xscale="log", xlabel="mean count per cell", ylabel="reconstruction loss (nats per cell)"
        )
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(0)
    tenth = genes["share"].head(len(genes) // 10).sum()
    return figures.DescribedFigure(
        figure,
        f"Scatter plot of {len(genes):,} genes: a gene costs more the higher its mean count. The "
        f"most costly, {costly.index[0]}, costs {about(costly['reconstruction'].iloc[0], 1)} nats "
        f"per cell; the cheapest {about(genes['reconstruction'].iloc[-1], 1)}. The most costly "
        f"tenth of the genes makes up about one part in {1 / tenth:.0f} of the loss.",
    )


def plot_cells(costs: attribution.LossBreakdown, classes: pd.Series) -> figures.DescribedFigure:
    """Draw what each cell costs against its library size, by class.

    Parameters
    ----------
    costs
        What ``attribution.attribute_loss`` returned.
    classes
        The class of each cell, by name of the cell.
    """
    cells = costs.cells.assign(group=classes.reindex(costs.cells.index).astype(str))
    medians = cells.groupby("group")["loss"].median().sort_values()
    markers = "osD^vP*X"
    with figures.style():
        figure = Figure(figsize=(7.2, 4.2))
        axes = figure.subplots()
        for number, name in enumerate(medians.index):
            group = cells[cells["group"] == name]
            axes.plot(
                group["library_size"],
                group["loss"],
                markers[number % len(markers)],
                color=COLOURS[number % 7],
                markersize=4,
                alpha=0.7,
                label=name,
            )
        axes.set(xscale="log", xlabel="library size (counts)", ylabel="loss (nats)")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    together = cells["loss"].corr(cells["library_size"], method="spearman")
    return figures.DescribedFigure(
        figure,
        f"Scatter plot of {len(cells)} cells: loss against library size, which "
        f"{'rise together' if together > 0.9 else 'go together loosely'} (rank correlation "
        f"{'above 0.9' if together > 0.9 else f'{together:.1f}'}). By class, the median loss is "
        f"lowest for {medians.index[0]} (about {about(medians.iloc[0], 1)} nats) and highest for "
        f"{medians.index[-1]} (about {about(medians.iloc[-1], 1)}).",
    )
