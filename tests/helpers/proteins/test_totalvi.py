"""What TotalVI says about proteins, against SciPy, scvi-tools, and decoders set by hand."""

import copy

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from scipy import stats
from scipy.integrate import quad

from helpers import training
from helpers.proteins import differential_proteins, totalvi
from helpers.proteins.protein_counts import NO_GROUP
from tests.helpers.random_states import move_random_states, random_states
from tests.helpers.small_models import few
from tests.helpers.spied_training import QUIET, build, small_citeseq

TERMS = ["genes", "proteins", "kl_z", "background", "efficiency", "foreground penalty"]
OF_BACKGROUND = ["background", "efficiency", "foreground penalty"]

PROTEINS = {"protein_expression_obsm_key": "protein_expression"}
BATCHES = PROTEINS | {"batch_key": "batch"}

# What a decoder says of each protein of each cell after known_decoder() has set its weights.
BACKGROUND, FOREGROUND, DISPERSION = 5.0, 50.0, 4.0
EFFICIENCY = {"10k": 2.0, "5k": 0.5}


@pytest.fixture(scope="module")
def blood():
    adata = small_citeseq()
    adata.obs["long"] = np.random.default_rng(0).normal(size=adata.n_obs)
    adata.obs["size"] = np.linspace(0.5, 2, adata.n_obs)
    return adata


def trained_on(adata, setup=BATCHES, epochs=2, **parameters):
    parameters = {"empirical_protein_background_prior": False} | parameters
    model = build(adata, "TOTALVI", setup, **parameters)
    model.train(max_epochs=epochs, n_epochs_kl_warmup=1, early_stopping=False, **QUIET)
    return model


@pytest.fixture(scope="module")
def model(blood):
    return trained_on(blood, epochs=60)


def without_cd19_in_5k(adata):
    masked = adata.copy()
    proteins = masked.obsm["protein_expression"].copy()
    proteins.loc[masked.obs["batch"] == "5k", "CD19"] = 0
    masked.obsm["protein_expression"] = proteins
    return masked


def set_to(layers, bias):
    """Let the one linear layer of a head say the same number for all cells."""
    linear = layers.fc_layers[0][0]
    linear.weight.zero_()
    linear.bias.fill_(bias)
    return linear


def known_decoder(model, probability, spread=1e-6):
    """Return the model with a decoder that says the same of all cells and proteins."""
    known = copy.copy(model)
    known.module = copy.deepcopy(model.module)
    decoder = known.module.decoder
    with torch.no_grad():
        set_to(decoder.py_back_mean_log_alpha, np.log(BACKGROUND))
        # Turned into the spread of ln(background) by a softplus.
        set_to(decoder.py_back_mean_log_beta, np.log(np.expm1(spread)))
        set_to(decoder.py_fore_scale_decoder, FOREGROUND / BACKGROUND - 1)
        # The log odds of the background.
        set_to(decoder.py_background_decoder, np.log(1 - probability) - np.log(probability))
        known.module.py_r.fill_(np.log(DISPERSION))
        efficiencies = torch.tensor([EFFICIENCY["10k"], EFFICIENCY["5k"]]).log()
        known.module.log_per_batch_efficiency.copy_(efficiencies.expand(14, 2))
    return known


def efficiency_of(model):
    return model.adata.obs["batch"].map(EFFICIENCY).astype(float).to_numpy()


def nb(mean):
    """Return scipy's negative binomial distribution with the dispersion that was set."""
    return stats.nbinom(DISPERSION, DISPERSION / (DISPERSION + mean))


# --- the loss by hand -----------------------------------------------------------------------------


SETTINGS = {
    "nb": (BATCHES, {}),
    "zinb": (BATCHES, {"gene_likelihood": "zinb"}),
    "no batches": (PROTEINS, {}),
    "dispersions by batch": (
        BATCHES,
        {"gene_dispersion": "gene-batch", "protein_dispersion": "protein-batch"},
    ),
    "logistic normal": (BATCHES, {"latent_distribution": "ln"}),
    "empirical prior": (BATCHES, {"empirical_protein_background_prior": True}),
    "covariates": (
        BATCHES | {"categorical_covariate_keys": ["chip"], "continuous_covariate_keys": ["long"]},
        {},
    ),
    "panels": (PROTEINS | {"batch_key": "chip", "panel_key": "batch"}, {}),
    "size factors": (BATCHES | {"size_factor_key": "size"}, {}),
}


@pytest.mark.parametrize("name", [*SETTINGS, "missing protein", "missing protein, panels"])
def test_the_terms_by_hand_are_those_of_the_module(name, blood):
    setup, parameters = SETTINGS.get(name, (BATCHES, {}))
    adata = blood
    if name.startswith("missing"):
        adata = without_cd19_in_5k(blood)
        setup = SETTINGS["panels"][0] if name.endswith("panels") else setup
        with pytest.warns(UserWarning, match="treated as missing"):
            model = trained_on(adata, setup, **parameters)
    else:
        model = trained_on(adata, setup, **parameters)
    table = totalvi.by_hand(model)
    assert list(table.index) == list(adata.obs_names)
    table["kl_back_pro"] = table[OF_BACKGROUND].sum(axis=1)
    for term in ("genes", "proteins", "kl_z", "kl_back_pro"):
        found, of_module = table[term], table[f"{term}_of_module"]
        # 4-byte floats in the module: the logarithm of the factorial of thousands has three digits
        # left.
        np.testing.assert_allclose(found, of_module, rtol=1e-5, atol=0.02)
        np.testing.assert_allclose(found.mean(), of_module.mean(), rtol=2e-5)
    assert (table[TERMS] > 0).all(axis=None)


def test_the_loss_is_the_genes_and_the_weight_times_the_rest(model):
    table = totalvi.by_hand(model, model.validation_indices)
    for weight in (0.0, 0.3, 1.0):
        module = copy.deepcopy(model.module).eval()
        losses = []
        with training.evaluating(model), torch.inference_mode():
            for minibatch in model._make_data_loader(model.adata, model.validation_indices):
                loss = module(minibatch, loss_kwargs={"kl_weight": weight})[-1].loss
                losses.append((len(minibatch["X"]), float(loss)))
        expected = table["genes"] + weight * table[TERMS].drop(columns="genes").sum(axis=1)
        cells, means = np.array(losses).T
        assert expected.mean() == pytest.approx((cells * means).sum() / cells.sum(), rel=1e-4)


def test_the_proteins_are_the_mixture_that_was_set(model):
    known = known_decoder(model, 0.25)
    counts = model.adata.obsm["protein_expression"].to_numpy()
    factor = efficiency_of(model)[:, None]
    mixture = 0.75 * nb(factor * BACKGROUND).pmf(counts) + 0.25 * nb(factor * FOREGROUND).pmf(
        counts
    )
    likely = (mixture > 1e-250).all(axis=1)
    assert likely.sum() > 20
    expected = -np.log(mixture[likely]).sum(axis=1)
    np.testing.assert_allclose(totalvi.by_hand(known).loc[likely, "proteins"], expected, rtol=1e-4)


def test_the_parts_of_the_background_are_what_was_set(model):
    table = totalvi.by_hand(known_decoder(model, 0.25, spread=0.7))
    of_batch = stats.lognorm(1).logpdf(efficiency_of(model))
    np.testing.assert_allclose(table["efficiency"], -14 * of_batch, rtol=1e-5)
    # Of a penalty on the foreground, the probability of the background is what counts.
    np.testing.assert_allclose(table["foreground penalty"], -0.001 * 14 * np.log(0.75), rtol=1e-5)
    said = stats.norm(np.log(BACKGROUND), 0.7)
    module = model.module
    for code, batch in enumerate(["10k", "5k"]):
        centres = module.background_pro_alpha[:, code].tolist()
        widths = module.background_pro_log_beta[:, code].exp().tolist()
        expected = 0.0
        for centre, width in zip(centres, widths, strict=True):
            prior = stats.norm(centre, width)
            expected += quad(
                lambda b, prior=prior: said.pdf(b) * (said.logpdf(b) - prior.logpdf(b)), -6, 9
            )[0]
        found = table.loc[model.adata.obs["batch"] == batch, "background"]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_penalty_grows_with_the_foreground(model):
    penalties = [
        totalvi.by_hand(known_decoder(model, probability))["foreground penalty"].mean()
        for probability in (1e-9, 0.5, 1 - 1e-9)
    ]
    assert penalties[0] == pytest.approx(0, abs=1e-6)
    assert penalties[1] == pytest.approx(0.001 * 14 * np.log(2), rel=1e-5)
    assert penalties[2] == pytest.approx(0.001 * 14 * 9 * np.log(10), rel=1e-3)


def test_the_efficiency_costs_at_least_what_is_said_of_it(model):
    cheapest = -stats.lognorm(1).logpdf(np.exp(-1))
    assert cheapest == pytest.approx(0.42, abs=0.005)
    assert totalvi.by_hand(model)["efficiency"].min() >= 14 * cheapest


def test_a_protein_that_was_not_measured_adds_nothing(blood):
    with pytest.warns(UserWarning, match="treated as missing"):
        masked = trained_on(without_cd19_in_5k(blood))
    whole = copy.copy(masked)
    whole.module = copy.deepcopy(masked.module)
    whole.module.protein_batch_mask = None
    less = totalvi.by_hand(whole)[TERMS] - totalvi.by_hand(masked)[TERMS]
    missing = masked.adata.obs["batch"] == "5k"
    for term in ("proteins", "background"):
        assert (less.loc[missing, term] > 0).all()
        assert (less.loc[~missing, term] == 0).all()
    assert (less.drop(columns=["proteins", "background"]) == 0).all(axis=None)


@pytest.mark.parametrize("reported", [True, False])
def test_a_loss_with_a_term_of_ones_own_is_refused(model, monkeypatch, reported):
    original = type(model.module).loss

    def loss(self, *args, **kwargs):
        found = original(self, *args, **kwargs)
        penalty = 0.1 * torch.ones(found.n_obs_minibatch)
        found.loss = found.loss + penalty.mean()
        if reported:
            found.kl_local["kl_div_z"] = found.kl_local["kl_div_z"] + penalty
        return found

    # On the class: a copy of the module runs.
    monkeypatch.setattr(type(model.module), "loss", loss)
    said = "KL divergence of z is not the one" if reported else r"off by \+0\.1 nats per cell"
    with pytest.raises(ValueError, match=rf"{said}.*What to do"):
        totalvi.by_hand(model)


def test_cells_are_chosen_by_position(model):
    table = totalvi.by_hand(model, [7, 3])
    assert list(table.index) == list(model.adata.obs_names[[7, 3]])
    with pytest.raises(ValueError, match="no cell at position 400"):
        totalvi.by_hand(model, [400])


def test_a_learned_library_size_is_refused(blood):
    model = trained_on(blood, epochs=1, use_observed_lib_size=False)
    with pytest.raises(ValueError, match="without use_observed_lib_size=False"):
        totalvi.by_hand(model)


# --- what it says about a protein -----------------------------------------------------------------


@pytest.mark.parametrize("n_samples", [1, 3])
def test_denoised_and_probability_are_those_of_scvi_tools(model, n_samples):
    with training.evaluating(model, 5):
        _, denoised = model.get_normalized_expression(
            gene_list=[], n_samples=n_samples, batch_size=totalvi.CELLS_AT_ONCE
        )
    with training.evaluating(model, 5):
        probability = model.get_protein_foreground_probability(
            n_samples=n_samples, batch_size=totalvi.CELLS_AT_ONCE
        )
    for protein in ("CD4", "CD127"):
        table = totalvi.describe_protein(model, protein, n_samples, seed=5)
        np.testing.assert_allclose(table["denoised"], denoised[protein], rtol=1e-5)
        np.testing.assert_allclose(
            table["probability of foreground"], probability[protein], rtol=1e-5, atol=1e-6
        )


def test_a_protein_is_described_as_it_was_set(model):
    known = known_decoder(model, 0.25)
    table = totalvi.describe_protein(known, "CD19", n_samples=2)
    assert list(table.index) == list(model.adata.obs_names)
    assert list(table["count"]) == list(model.adata.obsm["protein_expression"]["CD19"])
    np.testing.assert_allclose(table["background"], efficiency_of(model) * BACKGROUND, rtol=1e-5)
    np.testing.assert_allclose(table["foreground"], efficiency_of(model) * FOREGROUND, rtol=1e-5)
    np.testing.assert_allclose(table["probability of foreground"], 0.25, rtol=1e-5)
    # Without the efficiency.
    np.testing.assert_allclose(table["denoised"], 0.25 * FOREGROUND, rtol=1e-5)


def test_the_foreground_lies_above_the_background(model):
    table = totalvi.describe_protein(model, "CD8a")
    assert (table["foreground"] > table["background"]).all()
    assert table["probability of foreground"].between(0, 1).all()


def test_the_seed_decides(model):
    first = totalvi.describe_protein(model, "CD3", 2, seed=1)
    move_random_states()
    pd.testing.assert_frame_equal(totalvi.describe_protein(model, "CD3", 2, seed=1), first)
    other = totalvi.describe_protein(model, "CD3", 2, seed=2)
    assert not np.allclose(other["denoised"], first["denoised"], rtol=1e-3)


def test_more_draws_vary_less(model):
    def spread(n_samples):
        runs = [totalvi.describe_protein(model, "CD3", n_samples, seed) for seed in range(4)]
        return np.std([run["denoised"] for run in runs], axis=0).mean()

    assert spread(25) < 0.4 * spread(1)


def test_the_distribution_of_a_count_is_the_one_that_was_set(model):
    known = known_decoder(model, 0.25)
    for cell in model.adata.obs_names[[0, -1]]:
        factor = EFFICIENCY[model.adata.obs.loc[cell, "batch"]]
        table = totalvi.count_distribution(known, "CD25", cell, n_samples=2)
        assert list(table.index) == list(range(len(table)))
        np.testing.assert_allclose(
            table["background"], 0.75 * nb(factor * BACKGROUND).pmf(table.index), rtol=1e-4
        )
        np.testing.assert_allclose(
            table["foreground"], 0.25 * nb(factor * FOREGROUND).pmf(table.index), rtol=1e-4
        )
        # As far as 99.9 % of the foreground, and no farther.
        farthest = int(nb(factor * FOREGROUND).ppf(0.999))
        measured = model.adata.obsm["protein_expression"].loc[cell, "CD25"]
        assert table.index[-1] == pytest.approx(max(farthest, measured), abs=1)


def test_the_distribution_ends_where_the_count_is_if_that_is_farther(model):
    counts = model.adata.obsm["protein_expression"]["CD3"]
    table = totalvi.count_distribution(known_decoder(model, 0.25), "CD3", counts.idxmax())
    assert table.index[-1] == counts.max()


def test_the_distribution_is_the_likelihood_of_the_loss(model):
    # No spread: the same in each draw, so that the loss of one pass can be compared.
    known = known_decoder(model, 0.25)
    cell = model.adata.obs_names[3]
    counts = model.adata.obsm["protein_expression"].loc[cell]
    likelihoods = [
        totalvi.count_distribution(known, protein, cell, 1).sum(axis=1)[count]
        for protein, count in counts.items()
    ]
    loss = totalvi.by_hand(known).loc[cell, "proteins"]
    assert -np.log(likelihoods).sum() == pytest.approx(loss, rel=1e-4)


def test_the_distribution_adds_up_to_the_probabilities_of_the_components(model):
    cell = model.adata.obs_names[9]
    sums = totalvi.count_distribution(model, "CD4", cell, 200).sum()
    assert sums.sum() == pytest.approx(1, abs=0.002)
    expected = totalvi.describe_protein(model, "CD4", 200).loc[cell, "probability of foreground"]
    assert sums["foreground"] == pytest.approx(expected, abs=0.03)


def test_what_is_not_there_is_named(model):
    with pytest.raises(KeyError, match=r"no protein 'CD20'\. Proteins: CD3, CD4, .*CD127"):
        totalvi.describe_protein(model, "CD20")
    with pytest.raises(KeyError, match="no cell 'Bob'.*such as '" + model.adata.obs_names[0]):
        totalvi.count_distribution(model, "CD4", "Bob")
    with pytest.raises(ValueError, match="n_samples is 0"):
        totalvi.describe_protein(model, "CD4", n_samples=0)


def test_the_proteins_of_a_loaded_model_are_found(model, blood, tmp_path):
    model.save(str(tmp_path / "kept"))
    adata = model.adata.copy()
    loaded = scvi.model.TOTALVI.load(str(tmp_path / "kept"), adata=adata)
    pd.testing.assert_frame_equal(
        totalvi.describe_protein(loaded, "CD19", 2), totalvi.describe_protein(model, "CD19", 2)
    )


# --- which proteins differ ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def groups(blood):
    """Return which cells have CD19, which have CD8a, and those left over."""
    proteins = blood.obsm["protein_expression"]
    labels = pd.Series(NO_GROUP, index=blood.obs_names)
    labels[proteins["CD8a"] > 300] = "with CD8a"
    labels[proteins["CD19"] > 100] = "with CD19"
    return labels


@pytest.fixture(scope="module")
def table(model, groups):
    return differential_proteins.differences(model, groups)


def test_each_group_and_protein_has_a_row_with_its_counts(table, groups, blood):
    assert list(dict.fromkeys(table["group"])) == ["with CD19", "with CD8a"]
    proteins = blood.obsm["protein_expression"]
    for name, rows in table.groupby("group"):
        assert sorted(rows["protein"]) == sorted(proteins.columns)
        assert rows["log2 fold change"].is_monotonic_decreasing
        inside = groups == name
        by_protein = rows.set_index("protein")
        expected = {
            "mean counts": proteins[inside].mean(),
            # Those of no group are among the others.
            "mean counts elsewhere": proteins[~inside].mean(),
        }
        for column, means in expected.items():
            np.testing.assert_allclose(by_protein[column][means.index], means, rtol=1e-6)
    assert table["probability"].between(0, 1).all()


def test_the_protein_that_made_the_group_comes_first(table):
    first = table.groupby("group").first()
    assert first["protein"].to_dict() == {"with CD19": "CD19", "with CD8a": "CD8a"}
    assert (first["probability"] > 0.8).all()
    assert (first["log2 fold change"] > 2).all()


def test_nothing_differs_where_the_decoder_says_the_same_of_all(model, groups):
    table = differential_proteins.differences(known_decoder(model, 0.25), groups)
    np.testing.assert_allclose(table["log2 fold change"], 0, atol=1e-4)
    assert (table["probability"] == 0).all()


def test_the_fold_change_is_that_of_the_mean_of_the_mixture(model, groups):
    # Half of the cells are decoded with a foreground, by a latent dimension made to know the group.
    known = known_decoder(model, 0.5)
    with_cd8a = (groups == "with CD8a").to_numpy()
    original = known.module.inference

    def told(*args, **kwargs):
        outputs = original(*args, **kwargs)
        counts = kwargs["y"][:, 2:3]
        outputs["z"] = torch.zeros_like(outputs["z"])
        outputs["z"][..., 0] = (counts[:, 0] > 300).float() * 2 - 1
        return outputs

    known.module.inference = told
    linear = known.module.decoder.py_background_decoder.fc_layers[0][0]
    n_hidden = known.module.decoder.sigmoid_decoder.fc_layers[0][0].out_features
    with torch.no_grad():
        linear.bias.zero_()
        # Log odds of the background: -2 in the group, 2 elsewhere.
        linear.weight[:, n_hidden] = -2
    proteins = model.adata.obsm["protein_expression"]
    assert (proteins["CD8a"] > 300).to_numpy()[with_cd8a].all()
    labels = pd.Series(np.where(proteins["CD8a"] > 300, "high", "low"), index=proteins.index)
    table = differential_proteins.differences(known, labels).set_index(["group", "protein"])
    p = 1 / (1 + np.exp(-2))
    # scvi-tools adds a tenth of a count.
    high = p * FOREGROUND + (1 - p) * BACKGROUND + 0.1
    low = (1 - p) * FOREGROUND + p * BACKGROUND + 0.1
    expected = np.log2(high / low)
    np.testing.assert_allclose(table.loc["high", "log2 fold change"], expected, rtol=1e-3)
    np.testing.assert_allclose(table.loc["low", "log2 fold change"], -expected, rtol=1e-3)
    assert (table["probability"] == 1).all()
    wide = differential_proteins.differences(known, labels, delta=expected + 0.01)
    assert (wide["probability"] == 0).all()


def test_batches_do_not_differ_where_only_the_depth_does(model):
    deep = known_decoder(model, 0.5)
    with torch.no_grad():
        # The last two columns of the head's input say the batch.
        linear = deep.module.decoder.py_back_mean_log_alpha.fc_layers[0][0]
        linear.weight[:, -2:] = torch.tensor([1.0, -1.0])
    batch = model.adata.obs["batch"].astype(str)
    depth = totalvi.describe_protein(deep, "CD4", 1)["denoised"].groupby(batch).mean()
    assert depth["10k"] == pytest.approx(np.exp(2) * depth["5k"], rel=1e-3)
    table = differential_proteins.differences(deep, model.adata.obs["batch"])
    np.testing.assert_allclose(table["log2 fold change"], 0, atol=1e-4)
    assert (table["probability"] == 0).all()


def test_neither_the_order_nor_the_other_groups_change_a_row(model, groups, table):
    def of_cd19(found):
        return found[found["group"] == "with CD19"].reset_index(drop=True)

    shuffled = groups.sample(frac=1, random_state=0).astype("category")
    pd.testing.assert_frame_equal(differential_proteins.differences(model, shuffled), table)
    alone = groups.where(groups == "with CD19", NO_GROUP)
    pd.testing.assert_frame_equal(
        of_cd19(differential_proteins.differences(model, alone)), of_cd19(table)
    )
    move_random_states()
    pd.testing.assert_frame_equal(differential_proteins.differences(model, groups), table)
    assert not differential_proteins.differences(model, groups, seed=1).equals(table)


def test_labels_that_make_no_groups_are_refused(model, groups):
    with pytest.raises(TypeError, match="groups is a list"):
        differential_proteins.differences(model, list(groups))
    with pytest.raises(ValueError, match="390 cells have no group, the first is"):
        differential_proteins.differences(model, groups.iloc[:10])
    with pytest.raises(ValueError, match="1 cells have no group"):
        differential_proteins.differences(model, groups.where(groups.index != groups.index[5]))
    with pytest.raises(ValueError, match=f"'{groups.index[0]}' more than once"):
        differential_proteins.differences(model, pd.concat([groups, groups.iloc[:1]]))
    single = pd.Series(NO_GROUP, index=groups.index)
    for only in (single, single.replace(NO_GROUP, "all")):
        with pytest.raises(ValueError, match="no group with others"):
            differential_proteins.differences(model, only)
    single.iloc[0] = "alone"
    with pytest.raises(ValueError, match="The group 'alone' has a single cell"):
        differential_proteins.differences(model, single)
    for delta in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="delta is"):
            differential_proteins.differences(model, groups, delta)


# --- which models, and what stays as it was -------------------------------------------------------


CALLS = {
    "by_hand": totalvi.by_hand,
    "describe_protein": lambda model: totalvi.describe_protein(model, "CD4", 2),
    "count_distribution": lambda model: totalvi.count_distribution(
        model, "CD4", model.adata.obs_names[0], 2
    ),
    "differences": lambda model: differential_proteins.differences(model, model.adata.obs["chip"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_other_models_are_refused(name, blood, whole_pbmc):
    with pytest.raises(ValueError, match=r"was not trained.*training\.train\(model\)"):
        CALLS[name](build(blood, "TOTALVI", PROTEINS, empirical_protein_background_prior=False))
    with pytest.raises(TypeError, match=r"SCVI, not a TOTALVI.*loss\.by_hand"):
        CALLS[name](build(few(whole_pbmc, 50)))


def test_a_class_is_no_model():
    for call in (totalvi.by_hand, lambda kind: totalvi.describe_protein(kind, "CD4")):
        with pytest.raises(TypeError, match="This is the class TOTALVI"):
            call(scvi.model.TOTALVI)


def test_a_model_with_more_terms_is_refused(blood):
    setup = PROTEINS | {"labels_key": "chip", "unlabeled_category": "?"}
    scvi.external.TOTALANVI.setup_anndata(blood_copy := blood.copy(), layer="counts", **setup)
    model = scvi.external.TOTALANVI(blood_copy, empirical_protein_background_prior=False)
    with pytest.raises(TypeError, match="TOTALANVI, not a TOTALVI"):
        totalvi.by_hand(model)


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_disturbed(name, model):
    adata = model.adata.copy()
    weights = {key: value.clone() for key, value in model.module.state_dict().items()}
    model.module.train()
    model.module.decoder.eval()
    before = random_states(), {part: part.training for part in model.module.modules()}
    first = CALLS[name](model)
    after = random_states(), {part: part.training for part in model.module.modules()}
    assert after == before
    for key, value in model.module.state_dict().items():
        assert torch.equal(value, weights[key])
    pd.testing.assert_frame_equal(model.adata.obs, adata.obs)
    assert (model.adata.X != adata.X).nnz == 0
    proteins = "protein_expression"
    pd.testing.assert_frame_equal(model.adata.obsm[proteins], adata.obsm[proteins])
    assert dict(model.adata.uns) == dict(adata.uns)
    model.module.eval()
    # Dropout was off in both.
    pd.testing.assert_frame_equal(CALLS[name](model), first)


def test_the_counts_are_the_registered_ones(model):
    counts = totalvi.protein_counts(model)
    pd.testing.assert_frame_equal(
        counts, model.adata.obsm["protein_expression"], check_dtype=False, check_names=False
    )
