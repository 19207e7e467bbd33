"""The time of a training step.

Nothing is lost, each operator counts where it belongs, and the floor can be recomputed.
"""

import time

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.training import minibatches, step_time
from tests.helpers.random_states import random_states
from tests.helpers.small_models import N_CELLS, build, few

N_GENES, BATCH = 60, 32


@pytest.fixture(scope="module")
def model(whole_cortex):
    return build(few(whole_cortex, N_GENES))


@pytest.fixture(scope="module")
def operators(model):
    return step_time.operators(model, BATCH)


def learned(model):
    """What takes part in a step.

    Not the encoder of library sizes, nor the dispersion of each cell.
    """
    idle = ("l_encoder", "decoder.px_r_decoder")
    parameters = dict(model.module.named_parameters())
    return {name: each for name, each in parameters.items() if not name.startswith(idle)}


def record(rows):
    return pd.DataFrame(rows, columns=["minibatch", "work", "operator", "ms"])


# --- where the time goes --------------------------------------------------------------------------


def test_the_parts_add_up_to_the_whole():
    rows = [(1, "Adam", "a", 3.0), (1, "Adam", "b", 1.0), (1, "Adam", "b", 0.5)]
    found = step_time.summary(record(rows), 0.5, 10.0)
    assert found.loc["Adam", "ms a minibatch"] == 4.5
    assert found.loc["fetching cells", "ms a minibatch"] == 0.5
    assert found["ms a minibatch"].sum() == pytest.approx(10)
    assert found.loc[step_time.BOOKKEEPING].tolist() == pytest.approx([5, 0.5])
    assert found["share"].sum() == pytest.approx(1)
    assert set(found.index) == {*step_time.GROUPS, step_time.BOOKKEEPING}
    assert found.index[-1] == step_time.BOOKKEEPING


def test_an_interruption_of_one_minibatch_does_not_count():
    """Nor does what only one of many minibatches did."""
    rows = [(step, "Adam", "a", 1.0) for step in range(8) for _ in range(2)]
    rows[5] = (*rows[5][:-1], 500.0)
    rows.append((3, "matrix products", "b", 70.0))
    found = step_time.summary(record(rows), 0.0, 10.0)["ms a minibatch"]
    assert found["Adam"] == pytest.approx(2)
    assert found["matrix products"] == 0


def test_all_minibatches_but_the_first_are_measured(model, operators):
    """Of 4 minibatches an epoch, so that several epochs are needed."""
    found = operators["minibatch"].unique().tolist()
    assert found == list(range(1, len(found) + 1))
    assert len(found) >= step_time.MINIBATCHES


def test_all_minibatches_are_full(model, monkeypatch):
    """Of 128 cells, 2 times 50 are used in each epoch, and never the last 28."""
    sizes = []
    forward = type(model.module).forward

    def noted(self, tensors, *args, **kwargs):
        sizes.append(len(tensors["X"]))
        return forward(self, tensors, *args, **kwargs)

    monkeypatch.setattr(type(model.module), "forward", noted)
    step_time.whole(model, 50)
    assert len(sizes) > step_time.MINIBATCHES
    assert set(sizes) == {50}


def test_each_operator_counts_where_it_belongs(model, operators):
    works = operators.groupby("operator")["work"].agg(set)
    assert works["lgamma"] == works["digamma"] == {step_time.GAMMAS}
    assert works["addmm"] == works["mm"] == {step_time.PRODUCTS}
    # Only the likelihood uses these.
    assert works["softplus"] == works["softplus_backward"] == {step_time.ARITHMETIC}


def test_the_update_of_the_weights_is_adams(model, operators):
    """One division a parameter, or one operator for all, as the version of PyTorch has it."""
    fused = "_fused_adam_" in set(operators["operator"])
    updates = operators[operators["operator"] == ("_fused_adam_" if fused else "addcdiv_")]
    assert set(updates["work"]) == {step_time.ADAM}
    assert (updates.groupby("minibatch").size() == (1 if fused else len(learned(model)))).all()


def test_products_are_those_of_the_layers(model, operators):
    """One forward for each layer that runs.

    Backward two, and one for the first, whose input needs no gradient.
    """
    layers = sum(each.ndim == 2 for each in learned(model).values())
    counted = operators.groupby("minibatch")["operator"].value_counts().unstack()
    assert (counted["addmm"] == layers).all()
    assert (counted["mm"] == 2 * layers - 1).all()


def test_operators_take_processor_time(model, monkeypatch):
    """A clock that moves by 1 s at each look: then each takes 1,000 ms."""
    looks = iter(range(10**9))
    monkeypatch.setattr(step_time.time, "process_time", lambda: next(looks))
    assert set(step_time.operators(model, BATCH)["ms"]) == {1000.0}


def test_a_likelihood_without_gamma_functions_has_none(whole_cortex):
    model = build(few(whole_cortex, N_GENES), gene_likelihood="normal")
    found = step_time.shares(model, BATCH)["ms a minibatch"]
    assert found[step_time.GAMMAS] == 0
    assert (found.drop(step_time.GAMMAS) > 0).all()


def test_the_whole_is_the_processor_time_of_training(whole_cortex):
    """Roughly, as a run also begins and ends, and other programs run beside."""
    model = build(few(whole_cortex, N_GENES))
    found = step_time.whole(model, BATCH)
    steps = 40
    start = time.process_time()
    model.train(
        max_epochs=steps * BATCH // N_CELLS,
        train_size=1.0,
        batch_size=BATCH,
        enable_progress_bar=False,
    )
    spent = (time.process_time() - start) * 1e3 / steps
    assert spent / 4 < found < 1.5 * spent


def test_fetching_is_the_time_between_minibatches(model, monkeypatch):
    looks = iter(range(10**9))
    monkeypatch.setattr(step_time.time, "process_time", lambda: next(looks))
    assert step_time.fetching(model, BATCH) == 1000


@pytest.mark.parametrize("trained", [False, True])
def test_the_model_and_the_session_stay_as_they_were(whole_cortex, trained):
    model = build(few(whole_cortex, N_GENES))
    if trained:
        model.train(max_epochs=2, enable_progress_bar=False)
    weights = {name: each.clone() for name, each in model.module.state_dict().items()}
    history = {name: each.copy() for name, each in (model.history or {}).items()}
    known, mode, numbers = set(vars(model)), model.module.training, random_states()
    step_time.shares(model, BATCH)
    step_time.floor(model, BATCH)
    assert random_states() == numbers
    assert (model.is_trained, model.module.training) == (trained, mode)
    assert set(vars(model)) == known
    for name, each in model.module.state_dict().items():
        assert torch.equal(each, weights[name]), name
    assert all(each.grad is None for each in model.module.parameters()) or trained
    assert set(model.history or {}) == set(history)
    for name, each in history.items():
        pd.testing.assert_frame_equal(model.history[name], each)


def test_too_few_cells_for_a_minibatch_are_refused(model):
    with pytest.raises(ValueError, match="smaller batch_size"):
        step_time.shares(model, N_CELLS + 1)


@pytest.mark.parametrize("measure", [step_time.shares, step_time.floor])
def test_what_is_no_model_is_refused(model, measure):
    with pytest.raises(TypeError, match=r"model\.module"):
        measure(model.module)


# --- what no program could save -------------------------------------------------------------------


@pytest.mark.parametrize("n_layers", [1, 3])
def test_operations_are_those_counted_by_hand(whole_cortex, n_layers):
    """2 x cells x inputs x outputs for each product.

    Forward, gradient of the weights, and of the input but for the data.
    """
    model = build(few(whole_cortex, N_GENES), n_layers=n_layers, n_hidden=20, n_latent=5)
    encoder = [(N_GENES, 20)] + [(20, 20)] * (n_layers - 1) + [(20, 5), (20, 5)]
    # With one batch, a layer of the decoder has no column for it.
    decoder = [(5, 20)] + [(20, 20)] * (n_layers - 1) + [(20, N_GENES)] * 2
    products = [3 * n_in * n_out for n_in, n_out in encoder + decoder]
    by_hand = 2 * BATCH * (sum(products) - N_GENES * 20)
    found = step_time.floor(model, BATCH).loc["matrix products"]
    assert found["of"] == "operations"
    assert found["million"] * 1e6 == pytest.approx(by_hand, rel=1e-12)


def test_bytes_are_those_of_what_is_learned_and_seen(model):
    numbers = sum(each.numel() for each in learned(model).values())
    found = step_time.floor(model, BATCH)["million"] * 1e6
    # 4 bytes each.
    assert found["weights, gradients, Adam's states"] == pytest.approx(8 * 4 * numbers)
    cells = minibatches.minibatch(model, BATCH)
    assert cells["X"].shape == (BATCH, N_GENES)
    # Batch and label of each cell are whole numbers of 8 bytes or others of 4.
    rest = found["cells of the minibatch"] - 2 * 4 * BATCH * N_GENES
    assert 0 < rest <= 2 * 2 * 8 * BATCH


def test_the_floor_is_amount_by_rate_and_below_the_whole(model):
    floor = step_time.floor(model, BATCH)
    assert (floor["million a ms"] > 0).all()
    expected = floor["million"] / floor["million a ms"]
    assert floor["ms"].to_numpy() == pytest.approx(expected.to_numpy())
    assert floor["ms"].sum() < step_time.whole(model, BATCH)


def test_rates_are_of_the_work_that_is_asked_for(monkeypatch):
    """A millisecond for each: then the rates are the operations and the bytes, in millions."""
    done = []
    monkeypatch.setattr(step_time, "_least_ms", lambda work: done.append(work()) or 1.0)
    assert step_time.product_rate(4, 30, 500) == pytest.approx(2 * 4 * 30 * 500 / 1e6)
    assert [tuple(each.shape) for each in done] == [(4, 30), (4, 500), (30, 500)]
    assert step_time.copy_rate(8000) == pytest.approx(8000 / 1e6)
    assert done[-1].nbytes == 4000


# --- figure ---------------------------------------------------------------------------------------


@pytest.fixture
def drawn():
    table = step_time.summary(
        record([(0, "Adam", "a", 2.0), (0, "matrix products", "b", 5.0)]), 0.25, 10.0
    )
    floor = pd.DataFrame({"ms": [0.75, 0.5]})
    return table, step_time.plot_shares(table, floor)


def test_the_bars_are_the_whole_and_its_parts(drawn):
    table, described = drawn
    axes = described.figure.axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx([10, *table["ms a minibatch"]])
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["a whole training step", *table.index]
    assert np.asarray(axes.lines[0].get_xdata()) == pytest.approx([1.25, 1.25])
    assert "ms" in axes.get_xlabel()


def test_the_figure_says_what_it_shows(drawn):
    _, described = drawn
    for part in ("10 ms", "matrix products 5 ms (50%)", "Adam 2 ms (20%)", "1.2 ms", "12% of"):
        assert part in described.alt
    assert described.png()
