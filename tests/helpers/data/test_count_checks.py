"""What is wrong with a matrix of counts is named, with where it is and what to do."""

import numpy as np
import pytest

from helpers import data
from helpers.data import count_checks


def normalised(adata):
    adata.X = adata.X.multiply(1 / adata.X.sum(axis=1)).tocsr()


def negative(adata):
    adata.X[3, 5] = -2


def not_a_number(adata):
    adata.X[3, 5] = np.nan


def infinite(adata):
    adata.X[3, 5] = np.inf


def empty_cell(adata):
    adata.X[7] = 0
    adata.X.eliminate_zeros()


def dense_fraction(adata):
    adata.X = adata.X.toarray()
    adata.X[3, 5] = 0.5


@pytest.mark.parametrize(
    ("spoil", "what", "where", "fix"),
    [
        (normalised, "Not whole numbers", "entries of X", "layer = 'counts'"),
        (
            dense_fraction,
            "Not whole numbers: 1 entries",
            "0.5 (cell {cells[3]}, gene {genes[5]})",
            "layer = 'counts'",
        ),
        (
            negative,
            "Negative: 1 entries",
            "-2 (cell {cells[3]}, gene {genes[5]})",
            "layer = 'counts'",
        ),
        (
            not_a_number,
            "Not a number or infinite: 1 entries",
            "nan (cell {cells[3]}, gene {genes[5]})",
            "Find the step",
        ),
        (
            infinite,
            "Not a number or infinite: 1 entries",
            "inf (cell {cells[3]}, gene {genes[5]})",
            "Find the step",
        ),
        (empty_cell, "1 cells without any count", "{cells[7]}", "sum(axis=1)).ravel() > 0]"),
    ],
)
@pytest.mark.filterwarnings("ignore:Changing the sparsity")
def test_bad_values_are_named_with_place_and_fix(spoil, what, where, fix, pbmc):
    spoil(pbmc)
    with pytest.raises(ValueError, match="not ready for scVI") as caught:
        data.check_counts(pbmc)
    message = str(caught.value)
    assert what in message
    assert where.format(cells=pbmc.obs_names, genes=pbmc.var_names) in message
    assert fix in message


def test_the_layer_with_all_counts_is_offered_first(pbmc):
    """Beside them there may be some of the counts only, such as those that were spliced."""
    pbmc.layers["a part"] = pbmc.layers["counts"].copy()
    pbmc.layers["a part"].data[::2] = 0
    normalised(pbmc)
    assert count_checks.matrices_with_counts(pbmc) == ["layer = 'counts'", "layer = 'a part'"]


def test_missing_layer_is_named_with_those_there_are(pbmc):
    with pytest.raises(ValueError, match=r"no layer 'raw'. Layers: 'counts'"):
        data.check_counts(pbmc, layer="raw")


def test_missing_batch_column_is_named_with_those_there_are(pbmc):
    with pytest.raises(ValueError, match=r"no column 'donor' in obs. Columns: 'cell_type'"):
        data.check_counts(pbmc, batch_key="donor")


def test_cells_without_a_batch_are_counted(pbmc):
    pbmc.obs["donor"] = ["a", None] * 350
    with pytest.raises(
        ValueError,
        match=rf"350 cells have no batch in obs\['donor'\], the first is {pbmc.obs_names[1]}",
    ):
        data.check_counts(pbmc, batch_key="donor")


@pytest.mark.parametrize("shape", ["no cells", "no genes"])
def test_an_empty_matrix_is_refused(shape, pbmc):
    empty = pbmc[:0] if shape == "no cells" else pbmc[:, :0]
    with pytest.raises(ValueError, match="The matrix is empty"):
        data.check_counts(empty)


def test_all_that_is_wrong_is_said_at_once(pbmc):
    with pytest.raises(ValueError) as caught:
        data.check_counts(pbmc, layer="raw", batch_key="donor")
    assert str(caught.value).count("\n- ") == 2


def test_without_raw_counts_the_fix_says_where_to_keep_them(pbmc):
    del pbmc.layers["counts"]
    normalised(pbmc)
    with pytest.raises(ValueError, match=r"Go back to the raw counts"):
        data.check_counts(pbmc)


@pytest.mark.parametrize("form", ["csc", "dense", "int64"])
def test_counts_in_other_forms_are_accepted(form, pbmc):
    pbmc.X = {"csc": pbmc.X.tocsc(), "dense": pbmc.X.toarray(), "int64": pbmc.X.astype(np.int64)}[
        form
    ]
    data.check_counts(pbmc)
