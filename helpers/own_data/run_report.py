"""One page about one training.

It has settings, versions, hidden layers, loss, verdicts and figures, in a file that opens
anywhere.
"""

from __future__ import annotations

import base64
import datetime
import importlib.metadata
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import pandas as pd
import scvi

from helpers import figures
from helpers.expression import differential_expression, marker_genes
from helpers.genes import log_normalisation
from helpers.latent import embedding_figures, neighbours
from helpers.layers import architecture, architecture_drawing, descriptions
from helpers.loss import convergence, elbo_figures, loss_ledger
from helpers.own_data import preflight
from helpers.scratch import scratch_folder
from helpers.training import model_state, scvi_defaults

if TYPE_CHECKING:
    from scvi.model import SCVI

TEMPLATE = Path(__file__).with_name("run_report.html")

PACKAGES = (
    "scvi-tools",
    "torch",
    "lightning",
    "scanpy",
    "anndata",
    "numpy",
    "pandas",
    "scikit-misc",
)

DEFAULT_RATE = scvi_defaults.defaults(scvi.model.SCVI, 1000).loc["lr", "default"]

# The parts of the loss add up to it within the rounding of 32-bit floats; more than this would be a
# term that the ledger does not know.
ADDS_UP = 0.01

# Where neighbours tell the batch better than that share of the way from chance to certainty, the
# batches are not mixed.
APART = 1 / 3

# With more values a figure has no colours left, and a table no end.
MOST_LABELS = 24
TOP_GENES = 5


@dataclass(frozen=True)
class Part:
    """A paragraph, a table or a picture of the page."""

    kind: str
    text: str = ""
    caption: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    png: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page with its own heading."""

    title: str
    parts: list[Part]

    @property
    def anchor(self) -> str:
        """The name by which the contents link to it."""
        return self.title.lower().replace(" ", "-").strip("?")


def write(
    path: Path | str,
    model: SCVI,
    findings: pd.DataFrame,
    source: Path | str,
    cluster_key: str = "scvi_cluster",
    label_key: str | None = None,
) -> Path:
    """Write the page. It holds its figures, and asks no network for anything.

    Parameters
    ----------
    path
        The HTML file. A page that is there is replaced once the new one is whole.
    model
        An SCVI trained with ``training.train``. Its data have ``layers["counts"]``,
        ``obsm["X_scVI"]`` (the latent representation), ``obsm["X_umap"]`` and the column
        ``cluster_key``.
    findings
        What ``preflight.check`` said of the cells before the training.
    source
        The file that the cells come from. Its name is written down, not its folder.
    cluster_key, label_key
        Columns of ``obs``: the clusters, and what was known of the cells before (None if nothing).

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If the model was not trained, or its data lack one of these.
    OSError
        If the page cannot be written. A page that was there is left as it was.
    """
    model_state.require_held_out(model)
    _require(model, cluster_key, label_key)
    sections = [
        Section("Verdicts", list(_verdicts(model, findings, label_key))),
        Section("The cells", list(_cells(model, findings, source))),
        Section("Settings and versions", list(_settings(model))),
        Section("How many hidden layers?", list(_layers(model))),
        Section("What is the loss?", list(_loss(model))),
        Section("The latent space", list(_latent(model, cluster_key, label_key))),
        Section("Genes of the clusters", list(_genes(model, cluster_key))),
        Section("For your methods section", [_text(methods(model))]),
    ]
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        TEMPLATE.read_text("utf-8")
    )
    text = page.render(
        title=f"scVI on {Path(source).name}",
        subtitle=(
            f"{model.adata.n_obs:,} cells x {model.adata.n_vars:,} genes, "
            f"{datetime.date.today():%Y-%m-%d}"
        ),
        sections=sections,
    )
    return _replace(Path(path), text)


def _replace(path: Path, text: str) -> Path:
    """Put a whole file in the place of another, or leave the other as it is."""
    try:
        with scratch_folder(path.parent) as scratch:
            draft = scratch / path.name
            draft.write_text(text, encoding="utf-8")
            return draft.replace(path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"Cannot write {path}: {error.strerror}. What to do: free some disk, or give a file in "
            "a folder of your own",
        ) from error


def _require(model: SCVI, cluster_key: str, label_key: str | None) -> None:
    adata = model.adata
    calls = {
        "obsm['X_scVI']": ("X_scVI" in adata.obsm, "model.get_latent_representation()"),
        "obsm['X_umap']": ("X_umap" in adata.obsm, "embeddings.umap(adata.obsm['X_scVI'])"),
        f"obs['{cluster_key}']": (
            cluster_key in adata.obs,
            "clusters.leiden(clusters.graph(adata.obsm['X_scVI']))",
        ),
        "layers['counts']": ("counts" in adata.layers, "adata.X.copy(), if X holds the counts"),
    }
    for name, (there, call) in calls.items():
        if not there:
            raise ValueError(f"The report needs adata.{name}.\nWhat to do: adata.{name} = {call}.")
    if label_key is not None:
        neighbours.column(adata, label_key)


def _batch_key(model: SCVI) -> str | None:
    return model.registry["setup_args"].get("batch_key")


# --- the sections -------------------------------------------------------------------------------


def _verdicts(model: SCVI, findings: pd.DataFrame, label_key: str | None) -> Iterator[Part]:
    rows = verdicts(model, findings, label_key)
    yield _table("What to trust, and what to look at", rows)


def verdicts(model: SCVI, findings: pd.DataFrame, label_key: str | None = None) -> pd.DataFrame:
    """Say what can be said of a run without looking at a figure.

    Parameters
    ----------
    model, findings, label_key
        As for ``write``.

    Returns
    -------
    DataFrame
        One row per question: ``found``, and ``verdict`` ("ok", or what to do).
    """
    ready = preflight.verdict(findings)
    # Findings that do not keep anybody from training are for the learner to weigh.
    rows = {
        "Were the cells ready?": (
            ready,
            "ok" if ready == "Ready." else "see the section about the cells",
        )
    }
    gap = float(loss_ledger.ledger(model)["residual"].abs().max())
    rows["Do the parts of the loss add up?"] = (
        f"to within {figures.about(max(gap, 1e-4), 1)} nats per cell in each epoch",
        "ok" if gap < ADDS_UP else "read lesson 04: there is a term that the ledger does not know",
    )
    for question, row in convergence.checklist(model).iterrows():
        rows[str(question)] = (row["found"], row["verdict"])
    batch_key = _batch_key(model)
    if batch_key is not None:
        rows["Are the batches mixed?"] = _mixing(model.adata, batch_key)
    if label_key is not None:
        rows[f"Is scVI better than PCA at finding {label_key}?"] = _rival(model.adata, label_key)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["found", "verdict"])


def _mixing(adata: Any, batch_key: str) -> tuple[str, str]:
    batches = adata.obs[batch_key].astype(str)
    if batches.nunique() < 2:
        return "there is one batch only", "leave batch_key out"
    largest = batches.value_counts(normalize=True).iloc[0]
    guessed = neighbours.label_accuracy(adata.obsm["X_scVI"], batches)
    found = (
        f"the {neighbours.NEIGHBOURS} nearest cells tell the batch in {guessed:.0%} of cells; "
        f"always naming the largest would, in {largest:.0%}"
    )
    if guessed > largest + APART * (1 - largest):
        return (
            found,
            "look at the map: do kinds of cell differ between batches, or is it the batch effect? "
            "The default preset mixes more (05c)",
        )
    return found, "ok"


def _rival(adata: Any, label_key: str) -> tuple[str, str]:
    labels = adata.obs[label_key]
    known = labels.notna().to_numpy()
    latent = adata.obsm["X_scVI"]
    size = min(latent.shape[1], adata.n_vars, adata.n_obs)
    if labels.nunique() < 2 or known.sum() <= neighbours.NEIGHBOURS:
        return (
            f"{known.sum():,} cells have a label, of {labels.nunique()} values: too few to tell",
            "ok",
        )
    baselines = {"scVI": latent, "PCA": log_normalisation.principal_components(adata, size)}
    share = {
        name: neighbours.label_accuracy(each[known], labels[known])
        for name, each in baselines.items()
    }
    found = (
        f"the {neighbours.NEIGHBOURS} nearest cells tell it in {share['scVI']:.1%} of cells with "
        f"scVI, in {share['PCA']:.1%} with PCA of the same size"
    )
    # Two standard errors of the difference of two shares.
    chance = 2 * np.sqrt(sum(each * (1 - each) for each in share.values()) / known.sum())
    behind = share["PCA"] - share["scVI"]
    if behind > chance:
        return (
            found,
            "PCA is ahead: ask what you need scVI for here (lesson 05). Labels that were made "
            "with PCA favour it",
        )
    return found, "ok" if -behind > chance else "ok: about even"


def _cells(model: SCVI, findings: pd.DataFrame, source: Path | str) -> Iterator[Part]:
    yield _text(
        f"Read from {Path(source).name}. After the selection of genes: {model.adata.n_obs:,} cells "
        f"x {model.adata.n_vars:,} genes. {preflight.verdict(findings)}"
    )
    yield _table("Looked at before the training", findings)


def _settings(model: SCVI) -> Iterator[Part]:
    yield _table("Settings", settings(model).to_frame())
    yield _table("Versions", versions().to_frame())


def settings(model: SCVI) -> pd.Series:
    """Return what a model was set up, built and trained with, as text.

    Parameters
    ----------
    model
        An SCVI trained with ``training.train``.
    """
    noted = model.train_settings_
    rows: dict[str, Any] = {"model": noted["model"]}
    rows |= {
        f"setup_anndata: {name}": value
        for name, value in model.registry["setup_args"].items()
        if value
    }
    rows |= {
        f"{noted['model']}: {name}": value
        for name, value in model.init_params_["non_kwargs"].items()
    }
    rows |= {f"train: {name}": value for name, value in noted["train_kwargs"].items()}
    rows |= {
        "preset": noted["preset"],
        "epochs": len(loss_ledger.ledger(model)),
        "seed": noted["seed"],
        "training cells": f"{len(model.train_indices):,}",
        "held-out cells": f"{len(model.validation_indices):,}",
    }
    return pd.Series({name: str(value) for name, value in rows.items()}, name="value")


def versions() -> pd.Series:
    """Return the versions of Python and of the packages that decide a result."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return pd.Series({"Python": platform.python_version(), **found}, name="version")


def _layers(model: SCVI) -> Iterator[Part]:
    for line in descriptions.explain(model).splitlines():
        yield _text(line)
    yield _table("Parameters", architecture.parameters_by_state(model))
    yield _figure(architecture_drawing.draw(model))


def _loss(model: SCVI) -> Iterator[Part]:
    table = loss_ledger.ledger(model)
    yield _text(
        "In each step the loss is the reconstruction loss plus the KL weight times the KL "
        "divergence, in nats per cell. With weight 1 it is the negative ELBO."
    )
    yield _figure(elbo_figures.plot_ledger(table))
    columns = {
        "reconstruction": "reconstruction loss",
        "kl": "KL divergence",
        "kl_weight": "KL weight",
        "train_loss": "loss",
        "elbo": "negative ELBO",
        "held_out_elbo": "negative ELBO, held-out cells",
    }
    epochs = sorted({1, max(1, len(table) // 2), len(table)})
    shown = table.loc[epochs, list(columns)].rename(columns=columns)
    yield _table(
        "The ledger of the loss (nats per cell)", shown.map(lambda value: figures.about(value, 4))
    )


def _latent(model: SCVI, cluster_key: str, label_key: str | None) -> Iterator[Part]:
    adata = model.adata
    batch_key = _batch_key(model)
    yield _text(
        "UMAP of the latent space. Neighbours mean something on it; distances between groups and "
        "their sizes do not (lesson 05)."
    )
    for key in dict.fromkeys(key for key in (cluster_key, batch_key, label_key) if key):
        labels = adata.obs[key]
        known = labels.notna().to_numpy()
        if 2 <= labels.nunique() <= MOST_LABELS and known.sum() > neighbours.NEIGHBOURS:
            drawn = {f"UMAP, {key}": adata.obsm["X_umap"][known]}
            yield _figure(embedding_figures.plot_labels(drawn, labels[known].astype(str)))
            if not known.all():
                yield _text(f"{(~known).sum():,} cells have no {key}, and are not drawn.")
        else:
            yield _text(
                f"No map of {key}: it has {labels.nunique()} values; a map shows 2 to "
                f"{MOST_LABELS}."
            )
    for key in dict.fromkeys(key for key in (batch_key, label_key) if key):
        if adata.obs[key].nunique() <= MOST_LABELS:
            yield _table(
                f"Cells of each cluster by {key}",
                pd.crosstab(adata.obs[cluster_key], adata.obs[key]),
            )


def _genes(model: SCVI, cluster_key: str) -> Iterator[Part]:
    sizes = model.adata.obs[cluster_key].value_counts()
    sizes = sizes[sizes > 0]
    if len(sizes) < 2 or sizes.min() < 2:
        yield _text(
            f"There are {len(sizes)} clusters, the smallest of {sizes.min()} cells; to compare "
            "takes two clusters of two cells each."
        )
        return
    yield _text(
        "Genes that the model expects to be higher in a cluster than elsewhere (lesson 05b). The "
        "clusters were made from the same counts, so that genes differ between them proves "
        "nothing: it describes them. Only genes that were selected for the training can be named."
    )
    table = differential_expression.one_vs_rest(model, cluster_key)
    yield _table(
        f"First {TOP_GENES} genes of each cluster",
        marker_genes.top(table, min(TOP_GENES, model.adata.n_vars)),
    )


def methods(model: SCVI) -> str:
    """Return a paragraph for the methods section of a paper, made from the model.

    Parameters
    ----------
    model
        An SCVI trained with ``training.train``.
    """
    built, noted = model.init_params_["non_kwargs"], model.train_settings_
    layers = architecture.hidden_layers(model)
    table = loss_ledger.ledger(model)
    rate = noted["train_kwargs"].get("plan_kwargs", {}).get("lr", DEFAULT_RATE)
    batch_key = _batch_key(model)
    batches = f" with '{batch_key}' as batch" if batch_key else ""
    counted = " and ".join(
        f"{n} hidden {'layer' if n == 1 else 'layers'} in the {name}" for name, n in layers.items()
    )
    return (
        f"We trained {noted['model']} (scvi-tools {noted['versions']['scvi-tools']}) on the counts "
        f"of {model.adata.n_vars:,} genes in {model.adata.n_obs:,} cells{batches}: "
        f"{built['n_latent']} latent dimensions, {counted} ({built['n_hidden']} neurons), "
        f"{built['gene_likelihood']} likelihood, {built['dispersion']} dispersion. It was trained "
        f"with the {noted['preset']} preset of the scVI teaching kit, learning rate {rate:g}, for "
        f"{len(table)} epochs on {len(model.train_indices):,} cells (minibatches of "
        f"{noted['train_kwargs'].get('batch_size', 128)}, seed {noted['seed']}), with a KL weight "
        f"of {table['kl_weight'].iloc[-1]:.2g} in the last epoch; the negative ELBO of "
        f"{len(model.validation_indices):,} held-out cells ended at "
        f"{figures.about(table['held_out_elbo'].dropna().iloc[-1], 4)} nats per cell."
    )


# --- parts --------------------------------------------------------------------------------------


def _text(text: str) -> Part:
    return Part("text", text=text)


def _table(caption: str, table: pd.DataFrame) -> Part:
    rows = [
        [str(name), *(_said(value) for value in values)]
        for name, values in zip(table.index, table.to_numpy(dtype=object), strict=True)
    ]
    header = [str(table.index.name or ""), *map(str, table.columns)]
    return Part("table", caption=caption, header=header, rows=rows)


def _said(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:,.3g}"
    return (
        f"{value:,}"
        if isinstance(value, int | np.integer) and not isinstance(value, bool)
        else str(value)
    )


def _figure(figure: figures.DescribedFigure) -> Part:
    return Part("figure", png=base64.b64encode(figure.png()).decode(), alt=figure.alt)
