"""Counts come back exactly from what was made of them cell by cell, and from nothing else."""

import warnings

import numpy as np
import pytest
import scanpy as sc
import scipy.sparse as sp

from helpers.own_data import raw_counts

TOTALS = {
    "normalised": lambda values: values,
    "normalised, and ln(1 + x) taken": np.log1p,
    "normalised, and log2(1 + x) taken": lambda values: np.log2(1 + values),
    "normalised, and log10(1 + x) taken": lambda values: np.log10(1 + values),
}


def made(adata, way, target_sum=1e4):
    normal = adata.copy()
    sc.pp.normalize_total(normal, target_sum=target_sum)
    normal.X.data = TOTALS[way](normal.X.data)
    return normal.X


@pytest.fixture(params=["cortex", "pbmc", "blood"])
def cells(request, whole_cortex, whole_pbmc, whole_blood):
    return {"cortex": whole_cortex[::5], "pbmc": whole_pbmc, "blood": whole_blood}[request.param]


@pytest.mark.parametrize("way", TOTALS)
def test_counts_come_back_exactly(way, cells):
    values = made(cells, way)
    assert raw_counts.how_made(values) == way
    recovered = raw_counts.recover(values)
    assert recovered.dtype == np.float32
    assert (recovered != cells.X).nnz == 0


@pytest.mark.parametrize("form", [np.asarray, sp.csc_matrix, sp.csr_matrix])
def test_any_form_of_matrix_is_taken(form, pbmc):
    values = made(pbmc, "normalised, and ln(1 + x) taken").toarray()
    assert (raw_counts.recover(form(values)) != pbmc.X).nnz == 0


def test_a_total_of_the_median_cell_is_no_different(pbmc):
    values = made(pbmc, "normalised, and ln(1 + x) taken", target_sum=None)
    assert (raw_counts.recover(values) != pbmc.X).nnz == 0


def test_a_logarithm_without_a_total_is_no_different(pbmc):
    pbmc.X.data = np.log1p(pbmc.X.data)
    assert (raw_counts.recover(pbmc.X) != pbmc.layers["counts"]).nnz == 0


def test_the_published_cells_have_the_counts_that_the_kit_loads(whole_pbmc):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        published = sc.datasets.pbmc68k_reduced()
    assert list(raw_counts.candidates(published)) == [("raw.X", "normalised, and ln(1 + x) taken")]
    assert (raw_counts.recover(published.raw.X) != whole_pbmc.X).nnz == 0


def test_an_empty_cell_stays_empty(pbmc):
    values = made(pbmc, "normalised").tolil()
    values[3] = 0
    recovered = raw_counts.recover(values.tocsr())
    assert recovered[3].nnz == 0
    assert (recovered[4:] != pbmc.X[4:]).nnz == 0


def scaled(values):
    return (values - values.mean(axis=0)) / values.std(axis=0).clip(min=1)


def test_zeros_that_are_stored_are_zeros(pbmc):
    values = made(pbmc, "normalised, and ln(1 + x) taken")
    values.data[values.indptr[3] : values.indptr[4]] = 0
    recovered = raw_counts.recover(values)
    assert recovered[3].nnz == 0
    assert (recovered[4:] != pbmc.X[4:]).nnz == 0


SPOILT = {
    "scaled": scaled,
    "smoothed": lambda values: (values + np.roll(values, 1, axis=0)) / 2,
    "less a background": lambda values: np.maximum(values - 0.3 * values.mean(axis=0), 0),
    "noise": lambda values: np.random.default_rng(0).gamma(2, size=values.shape),
    "not a number": lambda values: np.where(values == values.max(), np.nan, values),
    "one wrong cell at the end": lambda values: np.vstack(
        [values[:-1], values[-1:] + np.linspace(0, 1, values.shape[1])]
    ),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_other_values_are_refused(spoil, pbmc):
    values = spoil(made(pbmc, "normalised, and ln(1 + x) taken").toarray())
    assert raw_counts.how_made(values) is None
    with pytest.raises(ValueError, match="go back to the file of counts"):
        raw_counts.recover(values)


def test_counts_need_not_be_recovered(pbmc):
    assert raw_counts.how_made(pbmc.X) is None
    assert raw_counts.how_made(pbmc.X.astype(int)) is None


def test_no_cells_hold_nothing(pbmc):
    assert raw_counts.how_made(pbmc.X[:0]) is None
