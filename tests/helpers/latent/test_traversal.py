"""A path leads through its cell and nowhere else, and the decoder's answer is the model's own."""

import copy

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from scipy.spatial.distance import cdist
from scipy.special import softmax

from helpers.latent import traversal
from tests.helpers.small_models import N_CELLS, build, few

COVARIATES = {
    "batch_key": "chip",
    "categorical_covariate_keys": ["plate"],
    "continuous_covariate_keys": ["age"],
}


def train(adata, kind="SCVI", setup=None, epochs=15, **parameters):
    model = build(adata, kind, setup, n_latent=4, n_hidden=16, **parameters)
    model.train(max_epochs=epochs, enable_progress_bar=False, plan_kwargs={"lr": 1e-2})
    return model


@pytest.fixture(scope="module")
def cells(whole_cortex):
    return few(whole_cortex, 60)


@pytest.fixture(scope="module")
def trained(cells):
    scvi.settings.seed = 0
    return train(cells.copy(), setup=COVARIATES)


@pytest.fixture
def model(trained):
    """The trained model, with a module that a test may change."""
    model = copy.copy(trained)
    model.module = copy.deepcopy(trained.module)
    return model


def without_width(model):
    """Make each cell's cloud a point, so that a position drawn from it is its centre."""
    encoder = model.module.z_encoder
    with torch.no_grad():
        encoder.var_encoder.weight.zero_()
        encoder.var_encoder.bias.fill_(-80)
    encoder.var_eps = 0
    return model


def linear_model(cells, weights, levels):
    """Return LinearSCVI whose expected fractions are softmax(levels + weights z)."""
    model = train(cells.copy(), "LinearSCVI", epochs=1)
    linear, norm = model.module.decoder.factor_regressor.fc_layers[0][:2]
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(weights))
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
        norm.weight.fill_(1)
        norm.bias.copy_(torch.tensor(levels))
    return model


# --- the path -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [1, 4])
def test_a_path_leads_through_its_cell_along_one_dimension(model, dimension):
    latent = model.get_latent_representation()
    column = latent[:, dimension - 1]
    low, high = np.quantile(column, [0.01, 0.99])
    for row in range(N_CELLS):
        path = traversal.path(model, row, dimension, steps=12)
        values = path.index.to_numpy()
        assert path.shape == (12, 4)
        assert (np.diff(values) > 0).all()
        assert values[0] == pytest.approx(min(low, column[row]))
        assert values[-1] == pytest.approx(max(high, column[row]))
        assert path.loc[column[row]].to_numpy() == pytest.approx(latent[row])
        assert (path[dimension] == values).all()
        others = path.drop(columns=dimension).to_numpy()
        assert (others == np.delete(latent[row], dimension - 1)).all()


def test_some_cells_lie_outside_the_percentiles(model):
    column = model.get_latent_representation()[:, 0]
    for row, end in ((column.argmin(), 0), (column.argmax(), -1)):
        path = traversal.path(model, row, 1)
        assert not np.quantile(column, 0.01) <= column[row] <= np.quantile(column, 0.99)
        assert path.index[end] == column[row]
        assert np.diff(path.index) == pytest.approx(np.ptp(path.index) / 40, rel=1e-3)


def test_steps_are_even_but_for_the_cell_itself(model):
    for row in range(N_CELLS):
        path = traversal.path(model, row, 2, steps=20)
        even = np.linspace(path.index[0], path.index[-1], 20)
        moved = np.flatnonzero(~np.isclose(path.index, even, atol=1e-4))
        assert len(moved) <= 1
        step = even[1] - even[0]
        for number in moved:
            # The ends stay, so a cell next to an end takes the place of the step after it.
            allowed = 1 if number in {1, 18} else 0.501
            assert abs(path.index[number] - even[number]) <= allowed * step


def test_a_cell_has_a_row_and_a_name(model):
    name = model.adata.obs_names[7]
    pd.testing.assert_frame_equal(traversal.path(model, name, 3), traversal.path(model, 7, 3))
    path = traversal.path(model, 7, 3)
    genes = list(model.adata.var_names[:3])
    pd.testing.assert_frame_equal(
        traversal.expected(model, path, genes, cell=name),
        traversal.expected(model, path, genes, cell=np.int64(7)),
    )


def test_centres_are_those_of_the_model(model):
    assert (traversal.centres(model) == model.get_latent_representation()).all()


# --- what the decoder expects -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "setup", "parameters"),
    [
        ("SCVI", {}, {}),
        ("SCVI", COVARIATES, {"gene_likelihood": "nb", "n_layers": 2}),
        ("SCVI", COVARIATES, {"encode_covariates": True, "deeply_inject_covariates": False}),
        ("SCVI", {"batch_key": "chip"}, {"batch_representation": "embedding"}),
        ("SCVI", {"batch_key": "chip", "labels_key": "type"}, {"dispersion": "gene-label"}),
        ("SCVI", {"batch_key": "chip"}, {"use_observed_lib_size": False}),
        ("SCVI", {}, {"gene_likelihood": "poisson"}),
        ("LinearSCVI", {"batch_key": "chip"}, {}),
    ],
)
def test_at_its_own_position_a_cell_gets_what_the_model_says_of_it(cells, kind, setup, parameters):
    model = without_width(train(cells.copy(), kind, setup, epochs=2, **parameters))
    model.module.eval()
    of_model = model.get_normalized_expression(library_size=1e4)
    genes = list(model.adata.var_names)
    centres = traversal.centres(model)
    for row in (0, 1, 2, 50, 127):
        found = traversal.expected(model, centres[[row]], genes, cell=row)
        assert found.to_numpy()[0] == pytest.approx(of_model.to_numpy()[row], rel=1e-4)


def test_batch_and_covariates_are_those_of_the_given_cell(model):
    without_width(model)
    genes, centres = list(model.adata.var_names), traversal.centres(model)
    obs, row = model.adata.obs, 0
    same = (obs["plate"] == obs["plate"].iloc[row]) & (obs["chip"] != obs["chip"].iloc[row])
    other = int(np.flatnonzero(same)[0])
    found = traversal.expected(model, centres[[row]], genes, cell=other)
    own = traversal.expected(model, centres[[row]], genes, cell=row)
    assert np.abs(np.log(found / own)).to_numpy().max() > 0.01
    # The same cell with the other's batch and covariates in the decoder: its encoder does not see
    # them.
    changed = model.adata.copy()
    for column in ("chip", "plate", "age"):
        changed.obs[column] = changed.obs[column].to_numpy()
        changed.obs.iloc[row, changed.obs.columns.get_loc(column)] = obs[column].iloc[other]
    of_model = model.get_normalized_expression(changed, indices=[row], library_size=1e4)
    assert found.to_numpy() == pytest.approx(of_model.to_numpy(), rel=1e-4)


def test_expected_of_a_linear_decoder_is_computed_by_hand(cells):
    numbers = np.random.default_rng(0)
    weights = numbers.normal(size=(60, 4)).astype(np.float32)
    levels = numbers.normal(size=60).astype(np.float32)
    model = linear_model(cells, weights, levels)
    path = traversal.path(model, 5, 2, steps=9)
    genes = list(model.adata.var_names[[30, 4, 59]])
    found = traversal.expected(model, path, genes, cell=5)
    by_hand = 1e4 * softmax(levels + path.to_numpy() @ weights.T, axis=1)
    assert found.to_numpy() == pytest.approx(by_hand[:, [30, 4, 59]], rel=1e-4)
    assert list(found.columns) == genes
    assert found.index.equals(path.index)


def test_all_genes_make_up_the_library_size(model):
    path = traversal.path(model, 3, 1)
    genes = list(model.adata.var_names)
    assert traversal.expected(model, path, genes, 3).sum(axis=1).to_numpy() == pytest.approx(1e4)
    whole = traversal.expected(model, path, genes, cell=3, library_size=250)
    assert whole.sum(axis=1).to_numpy() == pytest.approx(250)


def test_positions_may_be_an_array_and_a_gene_counts_once(model):
    path = traversal.path(model, 3, 1)
    one, other = model.adata.var_names[[9, 2]]
    found = traversal.expected(model, path.to_numpy(), [one, other, one], cell=3)
    assert list(found.columns) == [one, other]
    assert list(found.index) == list(range(41))
    of_frame = traversal.expected(model, path, [one, other], cell=3)
    assert (found.to_numpy() == of_frame.to_numpy()).all()


# --- responders ---------------------------------------------------------------------------------


def test_a_planted_gene_responds_and_a_rare_one_does_not(cells):
    weights, levels = np.zeros((60, 4), np.float32), np.zeros(60, np.float32)
    levels[3] = -25.0
    # Along dimension 2, gene 3 is multiplied by far more than the others, but is hardly ever seen.
    weights[3, 1], weights[10, 1], weights[20, 1] = 4.0, -2.5, 1.0
    model = linear_model(cells, weights, levels)
    latent = traversal.centres(model)
    row = int(np.abs(latent[:, 1] - np.median(latent[:, 1])).argmin())
    found = traversal.responders(model, row, 2, n=2)
    names = model.adata.var_names
    assert list(found.index) == [names[10], names[20]]
    assert found["log2 ratio"].iloc[0] < 0 < found["log2 ratio"].iloc[1]
    ends = traversal.path(model, row, 2).iloc[[0, -1]].to_numpy()
    low, high = 1e4 * softmax(levels + ends @ weights.T, axis=1)
    assert high[3] / low[3] > 2 * low[10] / high[10], "the rare gene changes by the largest factor"
    by_hand = np.log2((high + 1) / (low + 1))[[10, 20]]
    assert found["log2 ratio"].to_numpy() == pytest.approx(by_hand, rel=1e-3)
    assert found["lowest value"].to_numpy() == pytest.approx(low[[10, 20]], rel=1e-3)
    assert found["highest value"].to_numpy() == pytest.approx(high[[10, 20]], rel=1e-3)


def test_responders_are_chosen_from_the_genes_given(model):
    of_all = traversal.responders(model, 0, 1, n=60)
    assert sorted(of_all.index) == sorted(model.adata.var_names)
    assert of_all["log2 ratio"].abs().is_monotonic_decreasing
    pool = list(of_all.index[[40, 12, 30, 7]])
    found = traversal.responders(model, 0, 1, n=3, genes=pool)
    pd.testing.assert_frame_equal(found, of_all.iloc[[7, 12, 30]])
    assert len(traversal.responders(model, 0, 1)) == 5
    assert len(traversal.responders(model, 0, 1, genes=pool)) == 4


# --- the cells near the path --------------------------------------------------------------------


def test_nearest_cells_are_recomputed_from_all_distances():
    numbers = np.random.default_rng(0)
    latent, steps = numbers.normal(size=(200, 3)), numbers.normal(scale=2, size=(50, 3))
    found = traversal.nearest_cells(latent, steps)
    between = cdist(latent, latent)
    np.fill_diagonal(between, np.inf)
    own, to_cells = between.min(axis=1), cdist(steps, latent)
    assert (found["row"] == to_cells.argmin(axis=1)).all()
    assert found["distance"].to_numpy() == pytest.approx(
        to_cells.min(axis=1) / np.median(own), rel=1e-5
    )
    near = to_cells.min(axis=1) <= np.quantile(own, 0.99)
    assert (found["near"] == near).all()
    assert 5 < near.sum() < 45


def test_a_cell_is_near_itself_and_a_far_place_is_near_none(model):
    latent = traversal.centres(model)
    path = traversal.path(model, 20, 3)
    found = traversal.nearest_cells(latent, path)
    assert found.index.equals(path.index)
    itself = list(path.index).index(latent[20, 2])
    assert list(found.iloc[itself]) == [20, 0, True]
    assert sum(traversal.nearest_cells(latent, latent + 100)["near"]) == 0


def test_distances_have_no_unit():
    numbers = np.random.default_rng(0)
    latent, steps = numbers.normal(size=(100, 2)), numbers.normal(size=(20, 2))
    pd.testing.assert_frame_equal(
        traversal.nearest_cells(8 * latent, 8 * steps), traversal.nearest_cells(latent, steps)
    )


def test_typical_cells_are_the_medoids():
    numbers = np.random.default_rng(0)
    # So many that distances are not computed all at once, and so skewed that a mean lies elsewhere.
    latent = numbers.lognormal(sigma=1.5, size=(2600, 3)).astype(np.float32)
    classes = np.where(np.arange(2600) < 1300, "b", "a")
    classes[::7] = "c"
    found = traversal.typical_cells(latent, classes)
    assert list(found.index) == ["a", "b", "c"]
    for name, row in found.items():
        rows = np.flatnonzero(classes == name)
        sums = cdist(latent[rows], latent[rows]).sum(axis=1)
        assert row == rows[sums.argmin()]


# --- what stays as it was -----------------------------------------------------------------------


def walk(model):
    path = traversal.path(model, 4, 2)
    genes = traversal.responders(model, 4, 2).index
    return traversal.expected(model, path, genes, cell=4)


def test_training_mode_changes_nothing_and_stays(model):
    model.module.eval()
    at_rest = walk(model)
    model.module.train()
    model.module.decoder.eval()
    modes = [part.training for part in model.module.modules()]
    running = copy.deepcopy(model.module.state_dict())
    pd.testing.assert_frame_equal(walk(model), at_rest, check_exact=True)
    assert [part.training for part in model.module.modules()] == modes
    now = model.module.state_dict()
    assert all(torch.equal(now[name], value) for name, value in running.items())


def test_training_mode_stays_after_an_error(model, monkeypatch):
    model.module.train()

    def fail():
        raise RuntimeError("on the way")

    monkeypatch.setattr(model, "get_latent_representation", fail)
    with pytest.raises(RuntimeError, match="on the way"):
        traversal.centres(model)
    assert model.module.z_encoder.training


def test_cells_and_random_numbers_stay_as_they_were(model):
    columns, counts = list(model.adata.obs), model.adata.layers["counts"].copy()
    state = torch.get_rng_state()
    walk(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(model.adata.obs) == columns
    assert (model.adata.layers["counts"] != counts).nnz == 0


# --- errors -------------------------------------------------------------------------------------


def test_cells_and_dimensions_that_are_not_there_are_refused(model):
    for row in (-1, N_CELLS):
        with pytest.raises(ValueError, match=rf"no cell in row {row}.*128 cells"):
            traversal.path(model, row, 1)
    with pytest.raises(KeyError, match=r"No cells .* named 'nobody'.*What to do"):
        traversal.path(model, "nobody", 1)
    with pytest.raises(TypeError, match="not as float"):
        traversal.path(model, 1.0, 1)
    for dimension in (0, 5):
        with pytest.raises(ValueError, match=rf"no latent dimension {dimension}.*from 1 to 4"):
            traversal.path(model, 0, dimension)
        with pytest.raises(ValueError, match=f"no latent dimension {dimension}"):
            traversal.responders(model, 0, dimension)
    with pytest.raises(ValueError, match="2 steps"):
        traversal.path(model, 0, 1, steps=2)
    assert len(traversal.path(model, 0, 1, steps=3)) == 3


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_a_name_that_two_cells_have_is_refused(cells):
    adata = cells.copy()
    adata.obs_names = ["twin", "twin", *adata.obs_names[2:]]
    model = train(adata, epochs=1)
    with pytest.raises(KeyError, match=r"2 cells .* named 'twin'"):
        traversal.path(model, "twin", 1)


def test_genes_and_positions_that_do_not_fit_are_refused(model):
    path, gene = traversal.path(model, 0, 1), model.adata.var_names[0]
    with pytest.raises(KeyError, match=r"does not know 'Nonsense'.*60 genes.*What to do"):
        traversal.expected(model, path, [gene, "Nonsense"], cell=0)
    with pytest.raises(KeyError, match="Nonsense"):
        traversal.responders(model, 0, 1, genes=["Nonsense"])
    for genes in ("Plp1", []):
        with pytest.raises(ValueError, match="as a list"):
            traversal.expected(model, path, genes, cell=0)
    with pytest.raises(ValueError, match="no cell in row 500"):
        traversal.expected(model, path, [gene], cell=500)
    holed = path.to_numpy(copy=True)
    holed[3, 3] = np.nan
    for positions in (path.iloc[:, :3], path.iloc[0], holed):
        with pytest.raises(ValueError, match=r"4 finite numbers.*traversal\.path"):
            traversal.expected(model, positions, [gene], cell=0)
        with pytest.raises(ValueError, match=r"4 finite numbers.*traversal\.path"):
            traversal.nearest_cells(traversal.centres(model), positions)


def test_cells_that_lie_on_one_another_are_refused():
    with pytest.raises(ValueError, match=r"no typical distance.*twice in the data"):
        traversal.nearest_cells(np.repeat(np.eye(3), 4, axis=0), np.eye(3))
    with pytest.raises(ValueError, match="5 labels and 6 positions"):
        traversal.typical_cells(np.zeros((6, 2)), list("aabba"))


def test_models_without_such_a_decoder_are_refused(cells, whole_cortex):
    with pytest.raises(ValueError, match=r"not trained.*training\.train"):
        traversal.path(build(cells.copy()), 0, 1)
    with pytest.raises(TypeError, match=r"SCANVI.*What to do: .*scvi\.model\.SCVI"):
        traversal.path(train(cells.copy(), "SCANVI", epochs=1), 0, 1)
    for wrong in (scvi.model.SCVI, None):
        with pytest.raises(TypeError, match="What to do"):
            traversal.path(wrong, 0, 1)
    with pytest.raises(
        ValueError, match=r"fractions of a library size.*'zinb' or 'nb' or 'poisson'"
    ):
        traversal.path(train(cells.copy(), epochs=1, gene_likelihood="normal"), 0, 1)
    with pytest.raises(ValueError, match=r"add up to 1.*latent_distribution='normal'"):
        traversal.path(train(cells.copy(), epochs=1, latent_distribution="ln"), 0, 1)
    sized = cells.copy()
    sized.obs["size"] = np.asarray(sized.layers["counts"].sum(axis=1)).ravel()
    with pytest.raises(ValueError, match="without size_factor_key"):
        traversal.path(train(sized, setup={"size_factor_key": "size"}, epochs=1), 0, 1)
