"""What would fail late is said early, and a training that went astray says what to do."""

import numpy as np
import pytest
import scvi
import torch

from helpers import training
from helpers.training import training_checks
from tests.helpers.small_models import SHORT

N_CELLS = 160


def toy():
    adata = scvi.data.synthetic_iid(batch_size=N_CELLS // 2, n_genes=20, sparse_format=None)
    adata.X = adata.X.astype("float32")
    return adata


def new(adata=None, kind="SCVI", setup=None, **parameters):
    adata = toy() if adata is None else adata
    scvi.settings.seed = 0
    family = getattr(scvi.model, kind)
    family.setup_anndata(adata, **setup or {})
    return family(adata, **parameters)


def train(model, **kwargs):
    training.train(model, folder=None, **SHORT | kwargs)
    return model


# --- splits -------------------------------------------------------------------------------------

ROWS = np.arange(N_CELLS)
ONE_LEFT = [ROWS[:129], ROWS[129:]]

SPLITS = {
    "train_size": {"train_size": 129 / N_CELLS},
    "with validation_size": {"train_size": 129 / N_CELLS, "validation_size": 0.1},
    "in order": {"train_size": 129 / N_CELLS, "shuffle_set_split": False},
    "external": {"datasplitter_kwargs": {"external_indexing": ONE_LEFT}},
}


@pytest.mark.filterwarnings("ignore:Last batch will have a small size")
@pytest.mark.parametrize("name", SPLITS)
def test_a_last_minibatch_of_one_cell_is_said_before_the_first_step(name, capsys):
    with pytest.raises(ValueError, match=r"129 training cells.*one cell.*batch_size=65") as said:
        train(model := new(), **SPLITS[name])
    assert "drop_last" in str(said.value)
    # Once.
    assert "one cell" not in "".join(capsys.readouterr())
    assert not model.is_trained
    # As it says, each of them.
    train(model, batch_size=65, **SPLITS[name])
    more = SPLITS[name].get("datasplitter_kwargs", {}) | {"drop_last": True}
    assert train(new(), **SPLITS[name] | {"datasplitter_kwargs": more}).is_trained


@pytest.mark.filterwarnings("ignore:Last batch will have a small size")
def test_one_cell_is_no_obstacle_where_nothing_is_normalised():
    assert train(new(use_batch_norm="none"), **SPLITS["train_size"]).is_trained
    one_held_out = [ROWS[:-1], ROWS[-1:]]
    model = train(new(), datasplitter_kwargs={"external_indexing": one_held_out})
    assert training.curves(model)["held-out cells"].notna().all()


@pytest.mark.filterwarnings("ignore:Last batch will have a small size")
def test_labelled_cells_make_minibatches_of_their_own():
    adata = toy()
    # 65 labelled cells are one more than a minibatch of labelled cells takes.
    adata.obs["known"] = np.where(ROWS < 65, adata.obs["labels"].astype(str), "?")
    setup = {"labels_key": "known", "unlabeled_category": "?"}
    model = new(adata, "SCANVI", setup)
    split = {"external_indexing": [ROWS[:-5], ROWS[-5:]]}
    with pytest.raises(ValueError, match=r"65 training cells in minibatches of 64"):
        train(model, datasplitter_kwargs=split, check_val_every_n_epoch=None)
    # scvi-tools cannot look at held-out cells of which none has a label.
    with pytest.raises(ValueError, match="none of a kind that the model needs"):
        train(model, datasplitter_kwargs=split, batch_size=70)


NOTHING_HELD_OUT = [
    {"train_size": 1.0},
    {"train_size": 0.9, "validation_size": 0},
    {"datasplitter_kwargs": {"external_indexing": [ROWS]}},
]


@pytest.mark.parametrize("split", NOTHING_HELD_OUT)
def test_a_split_without_held_out_cells_has_no_curve(split):
    with pytest.raises(ValueError, match=r"no cells out.*check_val_every_n_epoch=None"):
        train(model := new(), **split)
    assert "elbo_validation" not in train(model, check_val_every_n_epoch=None, **split).history


def test_a_model_that_holds_no_cells_out_itself_is_trained(capsys):
    setup = {"labels_key": "labels"}
    model = train(new(kind="CondSCVI", setup=setup))
    assert "CondSCVI holds no cells out" in capsys.readouterr().err
    assert len(model.train_indices) == N_CELLS
    with pytest.raises(ValueError, match="no cells out"):
        train(new(kind="CondSCVI", setup=setup), check_val_every_n_epoch=1)
    held_out = train(new(kind="CondSCVI", setup=setup), train_size=0.9)
    assert len(training.curves(held_out)) == SHORT["max_epochs"]


# --- a divergence -------------------------------------------------------------------------------


def spoilt(value):
    adata = toy()
    adata.X[::7, 3] = value
    return adata


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.nan, "23 values of X in the data are infinite or no numbers"),
        (np.inf, "23 values of X in the data are infinite or no numbers"),
        (-3, "23 values of X in the data are negative"),
        (3e38, r"X in the data reaches 3e\+38"),
    ],
)
def test_a_training_on_what_are_no_counts_says_what_it_found(value, found):
    model = new(spoilt(value))
    before = {name: each.clone() for name, each in model.module.state_dict().items()}
    with pytest.raises(training_checks.DivergenceError, match=found) as said:
        train(model)
    text = str(said.value)
    assert "in epoch 1 of 2, minibatch" in text
    order = [text.index(each) for each in ("check_counts", '"lr": 0.001', "gradient_clip_val=1")]
    assert order == sorted(order)
    assert len(text) < 700
    assert not model.is_trained
    assert all(torch.equal(before[n], each) for n, each in model.module.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "setup", "kwargs", "remedy"),
    [
        ("SCVI", {}, {"plan_kwargs": {"lr": 1e20}}, 'plan_kwargs={"lr": 0.001}; (3) limit'),
        ("CondSCVI", {"labels_key": "labels"}, {"lr": 1e20}, "lr=0.001; (3) limit"),
        # Lightning clips no gradients where a plan makes its steps itself.
        (
            "TOTALVI",
            {"protein_expression_obsm_key": "protein_expression"},
            {"lr": 1e20},
            "lr=0.001.",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*protein")
def test_a_learning_rate_that_is_too_large_is_explained(kind, setup, kwargs, remedy):
    with pytest.raises(training_checks.DivergenceError) as said:
        train(new(kind=kind, setup=setup), max_epochs=3, **kwargs)
    assert remedy in str(said.value)
    assert "look at the data" in str(said.value)
    # What PyTorch said goes with it, without its page of numbers.
    if said.value.__cause__ is not None:
        assert "Expected parameter" in str(said.value.__cause__)
        assert "nan" not in str(said.value.__cause__)


def test_gradients_can_be_limited_as_it_says():
    assert train(new(), gradient_clip_val=1).is_trained


def test_other_errors_stay_as_they_are():
    model = new()

    def fails(*args, **kwargs):
        raise ValueError("something else")

    model.module.inference = fails
    with pytest.raises(ValueError, match=r"^something else$") as said:
        train(model)
    assert not isinstance(said.value, training_checks.DivergenceError)
