"""Models of few cells with scvi-tools' own defaults."""

import scvi

from helpers import data


def scvi_model():
    adata = data.load_cortex()[::30, :2000].copy()
    scvi.model.SCVI.setup_anndata(adata, layer="counts")
    return scvi.model.SCVI(adata)


def scanvi_model():
    adata = data.load_cortex()[::30, :2000].copy()
    scvi.model.SCANVI.setup_anndata(
        adata, layer="counts", labels_key="cell_type", unlabeled_category="none"
    )
    return scvi.model.SCANVI(adata)


def totalvi_model():
    adata = data.load_citeseq()[::4, :2000].copy()
    scvi.model.TOTALVI.setup_anndata(
        adata, layer="counts", protein_expression_obsm_key="protein_expression"
    )
    return scvi.model.TOTALVI(adata)


def peakvi_model():
    adata = data.load_cortex()[::30, :2000].copy()
    scvi.model.PEAKVI.setup_anndata(adata, layer="counts")
    return scvi.model.PEAKVI(adata)
