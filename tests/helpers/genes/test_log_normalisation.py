"""Log-normalised counts and their principal components, recomputed from the definition."""

import numpy as np
import pytest
import scipy.sparse as sp

from helpers.genes import log_normalisation


def by_definition(counts):
    counts = counts.toarray().astype(float)
    return np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))


def test_values_are_logarithms_of_counts_per_10_000_of_the_chosen_genes(pbmc):
    pbmc.layers["raw"] = pbmc.layers["counts"] * 2
    every = log_normalisation.log_counts(pbmc)
    assert every.X.toarray() == pytest.approx(by_definition(pbmc.layers["counts"]), rel=1e-5)
    # A factor common to a cell goes out.
    assert log_normalisation.log_counts(pbmc, "raw").X.toarray() == pytest.approx(every.X.toarray())
    most = np.asarray(pbmc.layers["counts"].sum(axis=0)).ravel().argsort()[::-1][:50]
    genes = list(pbmc.var_names[most])
    some = log_normalisation.log_counts(pbmc, genes=genes)
    assert list(some.var_names) == genes
    assert list(some.obs_names) == list(pbmc.obs_names)
    expected = by_definition(pbmc[:, genes].layers["counts"])
    assert some.X.toarray() == pytest.approx(expected, rel=1e-5)


def test_the_cells_stay_as_they_are(pbmc):
    counts, columns = pbmc.layers["counts"].copy(), list(pbmc.obs)
    log_normalisation.log_counts(pbmc)
    log_normalisation.principal_components(pbmc, 3)
    assert (pbmc.layers["counts"] != counts).nnz == 0
    assert list(pbmc.obs) == columns


def test_what_is_missing_is_named(pbmc):
    with pytest.raises(ValueError, match="no layer 'umis'"):
        log_normalisation.log_counts(pbmc, "umis")
    with pytest.raises(KeyError, match="1 genes are not in var_names: Nope"):
        log_normalisation.log_counts(pbmc, genes=[pbmc.var_names[0], "Nope"])


def test_components_are_those_of_the_dense_log_normalised_counts(whole_pbmc):
    counts = whole_pbmc.layers["counts"].toarray().astype(float)
    logs = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    left, values, _ = np.linalg.svd(logs - logs.mean(axis=0), full_matrices=False)
    ours = log_normalisation.principal_components(whole_pbmc, 4)
    signs = np.sign((ours * left[:, :4]).sum(axis=0))
    assert ours.shape == (700, 4)
    assert ours * signs == pytest.approx(left[:, :4] * values[:4], abs=2e-3)


def test_components_read_the_counts_layer_and_are_ten_by_default(pbmc):
    expected = log_normalisation.principal_components(pbmc)
    pbmc.X = pbmc.X * 0
    assert expected.shape == (700, 10)
    assert (log_normalisation.principal_components(pbmc) == expected).all()


@pytest.mark.parametrize("number", [0, -1, 700])
def test_impossible_numbers_of_components_are_refused(whole_pbmc, number):
    with pytest.raises(ValueError, match=rf"{number} components .* 700 cells and 765 genes.\nWhat"):
        log_normalisation.principal_components(whole_pbmc, number)


def test_cells_without_counts_are_refused(pbmc):
    counts = pbmc.layers["counts"].toarray()
    counts[[4, 9]] = 0
    pbmc.layers["counts"] = sp.csr_matrix(counts)
    with pytest.raises(ValueError, match=r"2 cells without any count in layers\['counts'\]"):
        log_normalisation.principal_components(pbmc)
