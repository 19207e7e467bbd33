"""How many hidden layers each model of scvi-tools has, and how wide they are.

The models are those that the installed scvi-tools exports. Each is built with its defaults and read
by ``helpers.layers.architecture``; a recipe says no more than which data a model must have
registered.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import scvi
from IPython.utils.capture import capture_output
from lightning.pytorch.utilities.seed import isolate_rng
from scvi.model.base import BaseModelClass
from sklearn.neighbors import NearestNeighbors

from helpers.layers import model_anatomy
from helpers.training import minibatches

# Layers and widths depend on the columns of the data, not on the rows. Few cells keep it quick;
# POISSONVI takes no fewer than 100.
N_CELLS = 100
STATES = ["trained", "frozen", "ignored", "idle"]
NUMBERS = ["encoder", "decoder", "latent", *STATES]
COLUMNS = ["encoder", "decoder", "other networks", "width", "latent", "likelihood", *STATES, "note"]


def all_models(
    cortex: ad.AnnData, blood: ad.AnnData, models: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return what the models of scvi-tools are made of when they are built with their defaults.

    Parameters
    ----------
    cortex
        Cells x genes, with ``layers["counts"]`` and ``obs["cell_type"]``; 100 of them are used.
    blood
        Cells x as many genes, with ``layers["counts"]`` and ``obsm["protein_expression"]``, for the
        models of proteins; 100 of them are used.
    models
        Names of the models; all that scvi-tools exports if None.

    Returns
    -------
    DataFrame
        A row a model. ``encoder``, ``decoder``: hidden layers; empty where there is none or more
        than one. ``other networks``: name and hidden layers of each. ``width``: columns of the
        hidden layers. ``latent``: columns of the sample that is decoded. ``likelihood``: the
        distributions whose probability of the data is in the loss. ``trained``, ``frozen``,
        ``ignored``, ``idle``: parameters by what a training step does with them
        (``helpers.layers.architecture`` defines these four); together they are all of the model.
        ``note``: what to know about a row, or why it has no numbers.

    Raises
    ------
    ValueError
        If there is no such model, or if the two have different numbers of genes.

    Notes
    -----
    What stands for the counts of
    accessible regions, methylated or unspliced reads, or positions in space, are gene counts too:
    an architecture depends on the number of columns, not on what they mean. No model is trained.
    The first cell gets a count of each gene, so that every column is at work.
    Some parameters belong to single cells: ``DestVI`` and ``SpatialStereoscope`` are built for 10
    spots, and ``Tangram`` for 100 cells and 100 spots.
    """
    known = exported_models()
    wanted = list(known if models is None else models)
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(
            f"scvi-tools {scvi.__version__} exports no model {', '.join(unknown)}. It has: "
            f"{', '.join(known)}."
        )
    if cortex.n_vars != blood.n_vars:
        raise ValueError(
            f"The cells have {cortex.n_vars:,} genes, those with proteins {blood.n_vars:,}. Select "
            "as many in both, or the models cannot be compared."
        )
    # scvi-tools draws random numbers, warns and prints while it builds.
    with isolate_rng(), warnings.catch_warnings(), capture_output():
        warnings.simplefilter("ignore")
        cells = some_cells(cortex, blood)
        rows = [_row(name, cells) for name in wanted]
    table = pd.DataFrame(rows, index=wanted, columns=COLUMNS)
    table[NUMBERS] = table[NUMBERS].astype("Int64")
    return table.fillna(dict.fromkeys(set(COLUMNS).difference(NUMBERS), ""))


def exported_models() -> dict[str, type[BaseModelClass]]:
    """Return the models that the installed scvi-tools exports, by name."""
    exported = {
        name: getattr(package, name)
        for package in (scvi.model, scvi.external)
        for name in package.__all__
    }
    return {
        name: part
        for name, part in exported.items()
        if inspect.isclass(part) and issubclass(part, BaseModelClass)
    }


@dataclass(frozen=True)
class Cells:
    """The data from which the recipes take what a model needs.

    Attributes
    ----------
    cortex
        Cells x genes, counts in ``X``, with types, batches, size factors and neighbours.
    blood
        Cells x genes, counts in ``X``, with proteins.
    """

    cortex: ad.AnnData
    blood: ad.AnnData


Recipe = Callable[[Any, Cells], BaseModelClass]


def some_cells(cortex: ad.AnnData, blood: ad.AnnData) -> Cells:
    """Return 100 cells of each, with what any recipe asks for.

    Parameters
    ----------
    cortex, blood
        As for ``all_models``.
    """
    cortex, blood = _few(cortex), _few(blood)
    totals = cortex.X.sum(axis=1)
    cortex.obs["batch"] = pd.Categorical(np.where(np.arange(N_CELLS) % 2, "odd", "even"))
    cortex.obs["size factor"] = totals / totals.mean()
    cortex.layers["normalised"] = np.log1p(cortex.X / totals[:, None] * 1e4)
    cortex.obsm["spatial"] = cortex.X[:, :2]
    cortex.obsm["X_scVI"] = cortex.X[:, :10]
    return Cells(cortex, blood)


def _few(adata: ad.AnnData) -> ad.AnnData:
    """Return cells at even steps through the data; dense, which some models ask for.

    The first gets a count of each gene that it has none of. Else the weights of genes that none of
    so few cells has would learn nothing, as they do from all cells.
    """
    few = adata[minibatches.evenly_spaced(adata.n_obs, N_CELLS)]
    counts = few.layers["counts"].toarray()
    counts[0] = np.maximum(counts[0], 1)
    return ad.AnnData(counts, obs=few.obs, var=few.var, obsm=dict(few.obsm))


def _build(kind: Any, cells: Cells, **registered: Any) -> BaseModelClass:
    return _registered(kind, cells.cortex.copy(), **registered)


def _build_on_few(kind: Any, cells: Cells, **registered: Any) -> BaseModelClass:
    """Build a model whose training step holds many numbers for each cell and gene."""
    return _registered(kind, cells.cortex[::10].copy(), **registered)


def _registered(kind: Any, adata: ad.AnnData, **registered: Any) -> BaseModelClass:
    kind.setup_anndata(adata, **registered)
    return kind(adata)


def _with_proteins(kind: Any, cells: Cells, **registered: Any) -> BaseModelClass:
    proteins = {"protein_expression_obsm_key": "protein_expression"}
    return _registered(kind, cells.blood.copy(), **proteins, **registered)


def _on_proteins(kind: Any, cells: Cells) -> BaseModelClass:
    proteins = ad.AnnData(cells.blood.obsm["protein_expression"].astype(np.float32))
    proteins.layers["scaled"] = np.arcsinh(proteins.X / 5)
    return _registered(kind, proteins, layer="scaled")


def _multivi(kind: Any, cells: Cells) -> BaseModelClass:
    half = cells.cortex.n_vars // 2
    parts = {"genes": cells.cortex[:, :half].copy(), "regions": cells.cortex[:, half:].copy()}
    both = mudata.MuData(parts)
    kind.setup_mudata(both, modalities={"rna_layer": "genes", "atac_layer": "regions"})
    return kind(both, n_genes=parts["genes"].n_vars, n_regions=parts["regions"].n_vars)


def _methylation(kind: Any, cells: Cells, **registered: Any) -> BaseModelClass:
    context = "CpG"
    cpg = cells.cortex.copy()
    cpg.layers["methylated"] = cpg.layers["covered"] = cpg.X
    sites = mudata.MuData({context: cpg})
    kind.setup_mudata(
        sites,
        mc_layer="methylated",
        cov_layer="covered",
        methylation_contexts=[context],
        modalities=dict.fromkeys(registered, context),
        **registered,
    )
    return kind(sites)


def _cellassign(kind: Any, cells: Cells) -> BaseModelClass:
    """Build with each gene as a marker of the type in which it is seen most."""
    mean = cells.cortex.to_df().groupby(cells.cortex.obs["cell_type"], observed=True).mean()
    # A step holds ten numbers for each cell, gene and type at once.
    few = cells.cortex[::10].copy()
    kind.setup_anndata(few, size_factor_key="size factor")
    return kind(few, pd.get_dummies(mean.idxmax(), dtype=int))


def _destvi(kind: Any, cells: Cells) -> BaseModelClass:
    single, spots = cells.cortex.copy(), cells.cortex[::10].copy()
    scvi.model.CondSCVI.setup_anndata(single, **TYPES)
    # The default prior of DestVI is made with a trained CondSCVI; this one needs no training.
    return kind.from_rna_model(spots, scvi.model.CondSCVI(single, prior="mog"))


def _spatial_stereoscope(kind: Any, cells: Cells) -> BaseModelClass:
    spots = cells.cortex[::10].copy()
    kind.setup_anndata(spots)
    return kind.from_rna_model(spots, _build(scvi.external.RNAStereoscope, cells, **TYPES))


def _tangram(kind: Any, cells: Cells) -> BaseModelClass:
    both = mudata.MuData({"cells": cells.cortex.copy(), "places": cells.cortex.copy()})
    kind.setup_mudata(
        both,
        density_prior_key=None,
        modalities={"density_prior_key": "places", "sc_layer": "cells", "sp_layer": "places"},
    )
    return kind(both)


def _scviva(kind: Any, cells: Cells) -> BaseModelClass:
    adata = cells.cortex.copy()
    kind.preprocessing_anndata(adata, sample_key="batch")
    return _registered(kind, adata, sample_key="batch")


def _resolvi(kind: Any, cells: Cells) -> BaseModelClass:
    adata = cells.cortex.copy()
    # Its own search for neighbours takes seconds.
    distances, index = NearestNeighbors(n_neighbors=10).fit(adata.obsm["spatial"]).kneighbors()
    adata.obsm["distance_neighbor"], adata.obsm["index_neighbor"] = distances, index
    return _registered(kind, adata, prepare_data=False)


TYPES = {"labels_key": "cell_type"}
SOME_TYPES = {**TYPES, "unlabeled_category": "unknown"}
RECIPES: dict[str, Recipe] = {
    "CellAssign": _cellassign,
    "CondSCVI": partial(_build, **TYPES),
    "CYTOVI": _on_proteins,
    "DestVI": _destvi,
    "METHYLANVI": partial(_methylation, **SOME_TYPES),
    "METHYLVI": _methylation,
    "MRVI": partial(_build, sample_key="batch"),
    "MULTIVI": _multivi,
    "RESOLVI": _resolvi,
    "RNAStereoscope": partial(_build, **TYPES),
    "SCANVI": partial(_build, **SOME_TYPES),
    "SCVIVA": _scviva,
    "SpatialStereoscope": _spatial_stereoscope,
    "SysVI": partial(_build, layer="normalised", batch_key="batch"),
    "Tangram": _tangram,
    "TorchMRVI": partial(_build, sample_key="batch"),
    # The blood cells have no types; any grouping takes the same place.
    "TOTALANVI": partial(_with_proteins, labels_key="batch", unlabeled_category="unknown"),
    "TOTALVI": _with_proteins,
    "VELOVI": partial(_build_on_few, spliced_layer="normalised", unspliced_layer="normalised"),
    "VIVS": partial(_build, y_obsm_key="spatial"),
}
NO_RECIPE = {
    "ContrastiveVI": "it trains on pairs of background and target cells",
    "DIAGVI": "it trains on two data sets at once",
    "GIMVI": "it trains on two data sets in turn",
    "SCBASSET": "it needs the DNA sequence of each region",
}
NOTES = {
    "CYTOVI": "built for the 14 proteins of the blood cells",
    "DestVI": "its decoder comes from a CondSCVI model, and stays as it is",
    "MULTIVI": "half of the columns stand for genes, half for regions",
    "VIVS": "trains in two phases; this is the first",
}


def build(name: str, cells: Cells) -> BaseModelClass:
    """Return the model of this name as scvi-tools makes it, untrained, on some cells."""
    return RECIPES.get(name, _build)(exported_models()[name], cells)


def _row(name: str, cells: Cells) -> dict[str, Any]:
    if name in NO_RECIPE:
        return {"note": f"no recipe: {NO_RECIPE[name]}"}
    try:
        model = build(name, cells)
    except Exception as error:
        return {"note": f"could not be built: {_first_sentence(error)}"}
    try:
        anatomy = model_anatomy.read(model)
    except minibatches.UntraceableModelError as error:
        return {"note": _first_sentence(error)}
    return summary_numbers(anatomy) | {"note": "; ".join(_notes(name, anatomy))}


def _notes(name: str, anatomy: model_anatomy.Anatomy) -> list[str]:
    notes = [NOTES[name]] if name in NOTES else []
    networks = anatomy.hidden_layers
    if not networks:
        notes.append("no network trains, only bare parameters")
    elif missing := [kind for kind in ("encoder", "decoder") if kind not in networks]:
        notes.append(f"no single {' or '.join(missing)}: see the other networks")
    return notes


def summary_numbers(anatomy: model_anatomy.Anatomy) -> dict[str, Any]:
    """Return the numbers of a row of ``all_models``: layers, widths, likelihoods and parameters."""
    others = anatomy.hidden_layers.copy()
    graph = anatomy.trace.graph
    latent = {graph.nodes[node]["width"] for node in model_anatomy.decoded_samples(anatomy.trace)}
    likelihoods = {
        node["name"] for _, node in graph.nodes(data=True) if node["kind"] == "likelihood"
    }
    return {
        "encoder": others.pop("encoder", pd.NA),
        "decoder": others.pop("decoder", pd.NA),
        "other networks": ", ".join(f"{name} {number}" for name, number in others.items()),
        "width": ", ".join(map(str, anatomy.widths())),
        "latent": latent.pop() if len(latent) == 1 else pd.NA,
        "likelihood": ", ".join(sorted(likelihoods)),
        **anatomy.parameters.reindex(STATES, fill_value=0),
    }


def _first_sentence(error: Exception) -> str:
    return str(error).partition(". ")[0]
