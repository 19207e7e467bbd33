"""What is said to be trained is what a training changes, number by number."""

import copy

import pandas as pd
import pytest
import scvi
import torch
from scvi.train import TrainingPlan
from torch import nn

from helpers.layers import (
    architecture,
    architecture_drawing,
    descriptions,
    model_anatomy,
)
from studies import states_witness
from tests.helpers.layers.toy_models import N_GENES, TO_MAP_TO, toy_cells, toy_model, waiting

WIDTH = 128


def numbers(model):
    return architecture.parameters_by_state(model)["parameters"].to_dict()


def first_weight(model):
    return model.module.z_encoder.encoder.fc_layers[0][0].weight


# --- a model that waits for new cells -------------------------------------------------------------


@pytest.fixture(scope="module")
def query():
    return waiting(**TO_MAP_TO)


def test_of_a_query_only_the_weights_of_its_batches_are_trained(query):
    # Two layers in each network have a column a batch: three old ones, and two new ones.
    found = numbers(query)
    assert found["trained"] == 4 * WIDTH * 2
    assert found["ignored"] == 4 * WIDTH * 3
    assert found["all"] == sum(value.numel() for value in query.module.parameters())
    assert sum(found.values()) == 2 * found["all"]


def test_the_rows_of_a_query_say_how_many_numbers_are_held(query):
    table = architecture.module_table(query).set_index("path")
    first = table.loc["z_encoder.encoder.fc_layers.Layer 0.0"]
    assert first["state"] == "trained"
    assert first["held"] == WIDTH * N_GENES + WIDTH
    assert table.loc["z_encoder.mean_encoder", "state"] == "frozen"
    assert (table["held"] <= table["parameters"]).all()


def test_sentences_and_drawing_of_a_query_say_what_is_held(query):
    text = descriptions.explain(query)
    assert text.startswith("SCVI uses 2 hidden layers")
    assert "trained in part: 4, with 1,024 of their" in text
    assert "weight_decay" in text
    drawing = architecture_drawing.draw(query)
    assert "are frozen" in drawing.alt
    found = [each.get_text() for each in drawing.figure.axes[0].texts]
    assert sum("partly frozen" in each for each in found) == 4
    assert "+5 batch" in " ".join(found)


def test_a_model_without_held_numbers_has_no_column_for_them():
    assert list(architecture.module_table(toy_model())) == model_anatomy.COLUMNS


def test_weight_decay_changes_what_is_frozen_by_hooks(query):
    # That is why scvi-tools' guide sets it to 0.
    moved = copy.deepcopy(query)
    moved.train(max_epochs=1, plan_kwargs={"weight_decay": 0.1}, enable_progress_bar=False)
    before = dict(query.module.named_parameters())
    changed = sum(
        int((value != before[name]).sum()) for name, value in moved.module.named_parameters()
    )
    assert changed > numbers(query)["trained"]


# --- the witness: a training ----------------------------------------------------------------------


def with_hook(hook):
    model = toy_model()
    first_weight(model).register_hook(hook)
    return model


def with_a_hook_after(columns):
    def stop(parameter):
        parameter.grad[:, :columns] = 0

    model = toy_model()
    first_weight(model).register_post_accumulate_grad_hook(stop)
    return model


def half_frozen():
    model = toy_model()
    model.module.decoder.requires_grad_(False)
    return model


class DecoderPlan(TrainingPlan):
    """Gives its optimiser the decoder alone."""

    def configure_optimizers(self):
        chosen = [value for name, value in self.module.named_parameters() if "decoder" in name]
        return torch.optim.Adam(chosen, lr=1e-3, eps=1e-8)


class DecoderSCVI(scvi.model.SCVI):
    _training_plan_cls = DecoderPlan


class CalmVAE(scvi.module.VAE):
    """Its batch normalisations always use the running averages."""

    def train(self, mode=True):
        super().train(mode)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.eval()
        return self


class CalmSCVI(scvi.model.SCVI):
    _module_cls = CalmVAE


class ZeroGate(nn.Module):
    """A branch that starts out multiplied by a learned 0."""

    def __init__(self):
        super().__init__()
        self.gate, self.branch = nn.Parameter(torch.zeros(1)), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return x + self.gate * self.branch(x)


def with_gate(learns):
    model = toy_model()
    gate = ZeroGate()
    gate.gate.requires_grad_(learns)
    model.module.z_encoder.encoder.fc_layers[0].append(gate)
    return model


def with_weight_norm():
    model = toy_model()
    layers = model.module.z_encoder.encoder.fc_layers[0]
    layers[0] = nn.utils.parametrizations.weight_norm(layers[0])
    return model


def with_silent_columns():
    adata = toy_cells()
    adata.X[:, 7] = 0
    adata.obs["batch"] = adata.obs["batch"].astype("category").cat.add_categories(["none"])
    return toy_model(adata=adata, encode_covariates=True)


FROZEN_COLUMNS = 5
WITNESSED = {
    "as it is": (toy_model, {}),
    "a row held": (lambda: with_hook(lambda g: g * (torch.arange(WIDTH) != 3)[:, None]), N_GENES),
    "a hook that changes the size": (lambda: with_hook(lambda gradient: gradient / 2), 0),
    "columns held after": (lambda: with_a_hook_after(FROZEN_COLUMNS), WIDTH * FROZEN_COLUMNS),
    "half frozen": (half_frozen, None),
    "left out by the optimiser": (lambda: toy_model(DecoderSCVI), None),
    "calm normalisations": (lambda: toy_model(CalmSCVI), 0),
    "a gate that opens": (lambda: with_gate(True), 0),
    "a gate that stays shut": (lambda: with_gate(False), 1),
    "weight norm": (with_weight_norm, 0),
    "silent columns": (with_silent_columns, 0),
    "batches in a table": (lambda: toy_model(batch_representation="embedding"), 0),
    "labels": (
        lambda: toy_model(scvi.model.SCANVI, {"labels_key": "known", "unlabeled_category": "?"}),
        3,
    ),
    "a query with another covariate": (
        lambda: waiting(setup={"categorical_covariate_keys": ["donor"]}, **TO_MAP_TO),
        None,
    ),
    "a query of regions": (lambda: waiting(scvi.model.PEAKVI, encode_covariates=True), None),
    "a query with free first layers": (
        lambda: waiting(
            freeze={"freeze_expression": False, "freeze_decoder_first_layer": False}, **TO_MAP_TO
        ),
        None,
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", WITNESSED)
def test_a_training_changes_the_numbers_that_are_said_to_train_and_no_others(case):
    make, frozen = WITNESSED[case]
    scvi.settings.seed = 0
    model = make()
    said = numbers(model)
    table = states_witness.witness(model)
    assert table["agrees"].all(), table[~table["agrees"]].to_string()
    assert table["said to train"].sum() == said["trained"]
    assert table["parameters"].sum() == said["all"]
    if frozen:
        assert said["frozen"] == frozen


# --- what one minibatch does not show -------------------------------------------------------------


def test_a_category_of_a_single_cell_is_found_among_many_cells():
    adata = scvi.data.synthetic_iid(batch_size=1500, n_genes=10, n_batches=2)
    adata.obs["batch"] = adata.obs["batch"].astype(str)
    adata.obs.iloc[1234, adata.obs.columns.get_loc("batch")] = "rare"
    found = numbers(toy_model(adata=adata))
    assert "ignored" not in found


def test_a_category_without_cells_and_a_gene_without_counts_learn_nothing():
    found = numbers(with_silent_columns())
    # A gene in the encoder; a batch in the encoder and in the decoder.
    assert found["ignored"] == 3 * WIDTH


def test_a_neuron_that_no_cell_activates_is_trained_all_the_same():
    model = toy_model(use_batch_norm="none")
    with torch.no_grad():
        first = model.module.z_encoder.encoder.fc_layers[0][0]
        first.weight[3], first.bias[3] = 0.0, -1.0
    assert "ignored" not in numbers(model)


def test_a_table_without_cells_in_a_row_learns_the_other_rows():
    adata = toy_cells()
    adata.obs["batch"] = adata.obs["batch"].astype("category").cat.add_categories(["none"])
    model = toy_model(adata=adata, batch_representation="embedding")
    inside = model_anatomy.read(model)
    row = inside.numbers[inside.table["role"].eq("embedding").to_numpy()].iloc[0]
    assert row["trained"] == 3 * row["ignored"] > 0


def test_looking_leaves_hooks_gradients_and_random_numbers_alone():
    model = with_hook(lambda gradient: gradient * 0)
    hooks = dict(first_weight(model)._backward_hooks)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    pd.testing.assert_frame_equal(
        architecture.parameters_by_state(model), architecture.parameters_by_state(model)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert dict(first_weight(model)._backward_hooks) == hooks
    assert all(value.grad is None for value in model.module.parameters())
