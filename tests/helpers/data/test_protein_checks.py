"""What is wrong with a table of proteins is named, with where it is and what to do."""

import numpy as np
import pytest
import scipy.sparse as sp
import scvi

from helpers import data
from helpers.data import protein_checks

KEY = "protein_expression"


@pytest.fixture(scope="module")
def whole_blood():
    return data.load_citeseq()


@pytest.fixture
def blood(whole_blood):
    return whole_blood[:, :300].copy()


def replaced(change):
    """Return what puts a changed copy of the table in its place."""

    def spoil(adata):
        adata.obsm[KEY] = change(adata.obsm[KEY].copy())

    return spoil


def with_value(value):
    def change(table):
        table = table.astype(float)
        table.iloc[3, 2] = value
        return table

    return replaced(change)


def renamed(*first):
    return replaced(lambda table: table.set_axis([*first, *table.columns[len(first) :]], axis=1))


def zero(adata, proteins, batch):
    table = adata.obsm[KEY].copy()
    table.loc[(adata.obs["batch"] == batch).to_numpy(), proteins] = 0
    adata.obsm[KEY] = table


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda adata: adata.obsm.pop(KEY),
            ["no table 'protein_expression' in obsm. Tables: none"],
        ),
        (
            replaced(lambda table: sp.csr_matrix(table.to_numpy())),
            ["is a csr_matrix", "neither a DataFrame nor", "= pd.DataFrame("],
        ),
        (replaced(lambda table: np.ones((400, 2, 2))), ["is a ndarray", "cells x proteins"]),
        (replaced(lambda table: table.iloc[:, :0]), ["400 cells x 0 proteins"]),
        (renamed("CD4"), ["More than one column", "is called 'CD4'"]),
        (renamed("CD4", "CD4", "CD4"), ["is called 'CD4'."]),
        (renamed("CD3", None), ["Column 1 ", "has no name"]),
        (renamed("CD3", "CD4", ""), ["Column 2 ", "has no name"]),
        (
            replaced(lambda table: table.astype({"CD14": str})),
            ["No plain numbers", "in 'CD14'.", "astype('float32')"],
        ),
        (
            replaced(lambda table: table.astype({"CD14": bool, "CD19": bool})),
            ["but bool", "in 'CD14', 'CD19'."],
        ),
        (replaced(lambda table: table.astype("Int64")), ["but Int64", "'CD3', 'CD4'"]),
        (
            with_value(np.nan),
            [
                "Not a number or infinite: 1 entries of obsm['protein_expression']",
                "nan (cell {cell}, protein CD8a)",
                "Find the step",
            ],
        ),
        (
            with_value(np.inf),
            ["Not a number or infinite: 1 entries", "inf (cell {cell}, protein CD8a)"],
        ),
        (
            with_value(-2),
            ["Negative: 1 entries", "-2 (cell {cell}, protein CD8a)", "counts of the antibodies"],
        ),
        (
            with_value(2.5),
            [
                "Not whole numbers: 1 entries",
                "2.5 (cell {cell}, protein CD8a)",
                "counts of the antibodies",
            ],
        ),
        (
            replaced(np.log1p),
            ["Not whole numbers: 5,5", "(cell {first}, protein CD3)", "log-transformed"],
        ),
        (
            lambda adata: zero(adata, slice(None), "5k"),
            [
                "Batch 5k (200 cells) has no count of any protein",
                "adversarial",
                "load its proteins",
            ],
        ),
        (
            lambda adata: zero(adata, ["CD3", "TIGIT"], "10k"),
            [
                "Batch 10k (200 cells) has no count of 'CD3', 'TIGIT'.",
                "adversarial",
                "override_missing_proteins=True",
            ],
        ),
        (
            lambda adata: setattr(adata.obsm[KEY], "index", adata.obs_names[::-1]),
            ["other rows than the cells", "Load the data again"],
        ),
        (
            lambda adata: adata.obsm[KEY].sort_values("CD3", inplace=True),
            ["in another order", "Load the data again"],
        ),
    ],
)
def test_bad_proteins_are_named_with_place_and_fix(spoil, said, blood):
    data.check_proteins(blood, batch_key="batch")
    spoil(blood)
    with pytest.raises(ValueError, match="TotalVI cannot use these proteins") as caught:
        data.check_proteins(blood, batch_key="batch")
    message = str(caught.value)
    for part in said:
        assert part.format(cell=blood.obs_names[3], first=blood.obs_names[0]) in message
    assert message.count("\n- ") == 1


@pytest.mark.parametrize("wrong", ["other order", "other names", "fewer rows"])
def test_anndata_refuses_other_rows_when_a_table_is_put_there(wrong, blood):
    """So only a change in place goes on, and `check_proteins` says that one."""
    table = blood.obsm[KEY]
    rows = {
        "other order": table.iloc[::-1],
        "other names": table.reset_index(drop=True),
        "fewer rows": table.iloc[:-1],
    }
    with pytest.raises(ValueError):
        blood.obsm[KEY] = rows[wrong]


def test_a_protein_that_no_cell_has_is_named_without_batches_too(blood):
    blood.obsm[KEY] = blood.obsm[KEY].assign(CD56=0)
    with pytest.raises(ValueError, match=r"all cells \(400 cells\) has no count of 'CD56'\."):
        data.check_proteins(blood)


def test_no_cells_are_no_proteins(blood):
    with pytest.raises(ValueError, match="0 cells x 14 proteins"):
        data.check_proteins(blood[:0])


def test_batches_of_proteins_are_checked_as_those_of_counts(blood):
    with pytest.raises(ValueError, match=r"no column 'donor' in obs. Columns: 'batch'"):
        data.check_proteins(blood, batch_key="donor")
    blood.obs["donor"] = ["a", None] * 200
    with pytest.raises(ValueError, match="200 cells have no batch"):
        data.check_proteins(blood, batch_key="donor")
    del blood.obsm[KEY]
    with pytest.raises(ValueError) as caught:
        data.check_proteins(blood, batch_key="donor")
    assert str(caught.value).count("\n- ") == 2


def test_a_batch_needs_cells_for_the_empirical_prior(blood):
    """Fitted only if there are more than ten proteins."""
    few = blood[: 200 + protein_checks.FEWEST_CELLS - 1].copy()
    with pytest.raises(ValueError, match="Batch 5k has 19 cells, fewer than 20") as caught:
        data.check_proteins(few, batch_key="batch")
    assert "empirical_protein_background_prior=False" in str(caught.value)
    data.check_proteins(blood[: 200 + protein_checks.FEWEST_CELLS], batch_key="batch")
    data.check_proteins(few)
    few.obsm[KEY] = few.obsm[KEY].iloc[:, : protein_checks.MANY_PROTEINS]
    data.check_proteins(few, batch_key="batch")


def test_all_batches_are_said_at_once(blood):
    zero(blood, ["CD3"], "10k")
    zero(blood, ["CD4"], "5k")
    with pytest.raises(ValueError, match=r"(?s)10k .* 'CD3'.*5k .* 'CD4'"):
        data.check_proteins(blood, batch_key="batch")


@pytest.mark.parametrize(
    "form", ["array", "float32", "one protein", "empty cell", "number as batch"]
)
def test_proteins_in_other_forms_are_accepted(form, blood):
    table = blood.obsm[KEY].copy()
    if form == "number as batch":
        blood.obs["batch"] = (blood.obs["batch"] == "5k").astype(int)
    elif form == "empty cell":
        table.iloc[3] = 0
    blood.obsm[KEY] = {
        "array": table.to_numpy(),
        "float32": table.astype(np.float32),
        "one protein": table[["CD3"]],
    }.get(form, table)
    kept = blood.obsm[KEY].copy()
    data.check_proteins(blood, batch_key="batch")
    np.testing.assert_array_equal(blood.obsm[KEY], kept)


def test_proteins_under_another_name_are_checked(blood):
    blood.obsm["antibodies"] = blood.obsm.pop(KEY)
    data.check_proteins(blood, key="antibodies")
    with pytest.raises(ValueError, match="Tables: 'antibodies'"):
        data.check_proteins(blood)


def totalvi(adata, **setup):
    adata = adata.copy()
    scvi.model.TOTALVI.setup_anndata(adata, KEY, batch_key="batch", layer="counts", **setup)
    model = scvi.model.TOTALVI(adata, n_latent=2)
    model.train(max_epochs=1, batch_size=64, enable_progress_bar=False)
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["as loaded", "one protein", "empty cell"])
def test_what_passes_can_be_trained(form, blood):
    table = blood.obsm[KEY].copy()
    if form == "empty cell":
        table.iloc[3] = 0
    blood.obsm[KEY] = table[["CD3"]] if form == "one protein" else table
    blood = blood[blood.X.sum(axis=1).A1 > 0].copy()
    data.check_proteins(blood, batch_key="batch")
    model = totalvi(blood)
    assert np.isfinite(model.get_latent_representation()).all()
    assert not model._use_adversarial_classifier


@pytest.mark.filterwarnings("ignore")
def test_what_is_said_of_a_batch_without_counts_is_so(blood):
    blood = blood[blood.X.sum(axis=1).A1 > 0].copy()
    zero(blood, ["CD3"], "5k")
    assert totalvi(blood)._use_adversarial_classifier
