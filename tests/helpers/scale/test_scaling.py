"""What is measured and what is estimated stay apart, and the estimate is the line it says."""

import warnings

import numpy as np
import pandas as pd
import pytest
from lightning.pytorch.callbacks import Callback
from scvi.model._utils import get_max_epochs_heuristic
from scvi.train._trainingplans import _compute_kl_weight

from helpers import results, training
from helpers.scale import scaling
from tests.helpers.scale.runs_on_lines import LINES, SIZES, linear
from tests.helpers.small_models import build, few


@pytest.fixture(scope="module")
def kept():
    return results.load("scaling")


# --- lines ----------------------------------------------------------------------------------------


def test_the_line_through_runs_on_a_line_is_that_line():
    found = scaling.lines(linear().sample(frac=1, random_state=0))
    expected = pd.DataFrame.from_dict(LINES, orient="index", columns=["fixed", "per 1,000 cells"])
    pd.testing.assert_frame_equal(found, expected, check_names=False)


def test_the_line_is_that_of_least_squares():
    runs = linear()
    runs["peak MiB"] = [100.0, 80, 120, 90, 200, 260]
    x = np.column_stack([np.ones(len(runs)), runs["cells"] / 1000])
    expected = np.linalg.solve(x.T @ x, x.T @ runs["peak MiB"])
    np.testing.assert_allclose(scaling.lines(runs).loc["peak MiB"], expected)


def test_tables_that_make_no_line_are_refused():
    with pytest.raises(ValueError, match="no column 'import MiB'"):
        scaling.largest_that_fits(linear().drop(columns="import MiB"), 2)
    with pytest.raises(ValueError, match="no column 'epoch seconds'"):
        scaling.lines(linear().drop(columns="epoch seconds"))
    both = pd.concat([linear(), linear(preset="class")])
    with pytest.raises(ValueError, match=r"mixes the presets class, default.*load\('class'\)"):
        scaling.estimate(both)
    with pytest.raises(ValueError, match="at least two sizes, and the table has 1"):
        scaling.largest_that_fits(linear([300, 300]), 2)
    with pytest.raises(ValueError, match="at least three sizes"):
        scaling.check_of_the_line(linear([300, 1000]))


def test_runs_on_a_line_are_predicted_without_error():
    runs = linear()
    found = scaling.predict_the_largest(runs)
    np.testing.assert_allclose(found["measured"], runs.iloc[-1][list(scaling.QUANTITIES)].tolist())
    np.testing.assert_allclose(found["predicted"], found["measured"])
    errors = scaling.check_of_the_line(runs)
    assert list(errors.index) == [30_000, 10_000, 3_000, 1_000]
    np.testing.assert_allclose(errors.pop("reach"), [100 / 30, 10, 100 / 3, 100])
    assert list(errors.columns) == list(scaling.QUANTITIES)
    np.testing.assert_allclose(errors, 0, atol=1e-12)


def test_the_error_is_the_share_by_which_the_prediction_is_too_high():
    runs = linear()
    runs.loc[5, "epoch seconds"] *= 2
    assert scaling.predict_the_largest(runs).loc["epoch seconds", "error"] == pytest.approx(-0.5)
    np.testing.assert_allclose(scaling.check_of_the_line(runs)["epoch seconds"], -0.5)


def test_a_prediction_sees_no_larger_size():
    runs = linear()
    runs.loc[3:, list(scaling.QUANTITIES)] *= 7
    found = scaling.predict_the_largest(runs, up_to=3_000)
    np.testing.assert_allclose(found["predicted"], linear().iloc[5][list(LINES)].tolist())
    np.testing.assert_allclose(found["error"], 1 / 7 - 1)
    with pytest.raises(ValueError, match="not up to 100,000"):
        scaling.predict_the_largest(runs, up_to=100_000)


# --- the estimate ---------------------------------------------------------------------------------


def test_measured_rows_stay_and_estimated_rows_lie_on_the_line():
    runs = linear()
    runs.loc[2, "latent seconds"] *= 3
    table = scaling.estimate(runs)
    assert list(table["kind"]) == ["measured"] * 6 + ["estimated"] * 2
    assert list(table["cells"]) == [*SIZES, 1_000_000, 10_000_000]
    assert set(table["preset"]) == {"default"}
    columns = ["cells", *scaling.QUANTITIES]
    pd.testing.assert_frame_equal(table[:6][columns], runs[columns])
    for name, (fixed, slope) in LINES.items():
        if name != "latent seconds":
            np.testing.assert_allclose(table[name][6:], [fixed + 1000 * slope, fixed + 1e4 * slope])
    own = scaling.estimate(linear(), [123_456])
    assert own.iloc[-1]["epoch seconds"] == pytest.approx(0.02 + 123.456 * 0.19)
    assert list(scaling.estimate(runs, [])["kind"]) == ["measured"] * 6
    between = scaling.estimate(runs, [2_000_000, 50_000]).set_index("cells")["kind"]
    assert list(between.index) == [*SIZES[:5], 50_000, 100_000, 2_000_000]
    assert list(between[between == "estimated"].index) == [50_000, 2_000_000]
    with pytest.raises(ValueError, match="0 cells cannot be estimated"):
        scaling.estimate(runs, [10, 0])


def test_what_follows_is_recomputed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = scaling.estimate(linear()).set_index("cells")
    for n, row in table.iterrows():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            epochs = get_max_epochs_heuristic(n)
        steps = -(-int(np.ceil(0.9 * n)) // 128)
        assert row["epochs"] == epochs
        assert row["steps"] == epochs * steps
        assert row["final KL weight"] == _compute_kl_weight(epochs - 1, 0, 400, None)
        assert row["training seconds"] == pytest.approx(epochs * row["epoch seconds"])
        assert row["ms a step"] == pytest.approx(1000 * row["epoch seconds"] / steps)
        assert row["dense MiB"] * 2**20 == 4 * 2000 * n
        # The import of the same runs, not that of another program.
        assert row["memory MiB"] - row["peak MiB"] == pytest.approx(700)
        # A value and the index of its gene, 4 bytes each, and where each cell ends.
        assert row["sparse MiB"] * 2**20 == 8 * 200 * n + 4 * (n + 1)
    assert table.loc[[300, 100_000, 1_000_000, 10_000_000], "epochs"].tolist() == [400, 80, 8, 1]
    assert table.loc[10_000_000, "final KL weight"] == 0


@pytest.mark.filterwarnings("ignore:The default number of maximum epochs")
def test_the_class_preset_never_trains_less_than_its_epochs():
    table = scaling.estimate(linear(preset="class")).set_index("cells")
    for n, row in table.iterrows():
        length = training.run_length(n, "class")
        assert row[["epochs", "steps"]].tolist() == [length["epochs"], length["steps"]]
    assert table.loc[10_000_000, "epochs"] == 14
    assert (table["final KL weight"] == 1).all()


def test_the_final_kl_weight_is_that_of_a_real_run(whole_cortex):
    n_cells = 1_000_000
    found = scaling.estimate(linear(), [n_cells]).iloc[-1]
    model = build(few(whole_cortex, 50))
    training.train(model, "default", max_epochs=8, enable_progress_bar=False)
    assert found["epochs"] == len(training.curves(model)) == 8
    last = model.loss_record_["kl_weight", "last"].iloc[-1]
    assert found["final KL weight"] == pytest.approx(last)


@pytest.mark.parametrize(
    ("epochs", "plan"),
    [(8, {"n_epochs_kl_warmup": 3}), (1, {"n_epochs_kl_warmup": None, "n_steps_kl_warmup": 2})],
)
def test_a_warm_up_that_is_cut_short_arrives(whole_cortex, epochs, plan):
    """What the lesson recommends for many cells, with fewer steps."""
    model = build(few(whole_cortex, 400))
    weights = []

    class Weights(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            weights.append(float(pl_module.kl_weight))

    how = {"batch_size": 32, "accelerator": "cpu", "enable_progress_bar": False}
    model.train(max_epochs=epochs, plan_kwargs=plan, callbacks=[Weights()], **how)
    assert weights[0] < 1 == weights[-1]


def test_wide_indices_are_added_where_scipy_needs_them():
    most = scaling.MAXIMUM_CELLS_WITH_SMALL_INDICES
    assert most * 200 <= np.iinfo(np.int32).max < (most + 1) * 200
    table = scaling.estimate(linear(), [most, most + 1]).iloc[-2:]
    narrow, wide = table["sparse MiB"] * 2**20
    assert narrow == 8 * 200 * most + 4 * (most + 1)
    assert wide == 12 * 200 * (most + 1) + 8 * (most + 2)
    # One cell more takes 4 bytes more for each value and each cell.
    for name in ("data MiB", "peak MiB", "memory MiB"):
        jump = np.diff(table[name]).item() - LINES["peak MiB"][1] / 1000
        assert jump == pytest.approx(4 * 201 * most / 2**20, rel=1e-5)
    assert np.diff(table["epoch seconds"]).item() == pytest.approx(0.19 / 1000, rel=1e-3)


def test_the_memory_of_measured_rows_is_what_the_process_held(kept):
    rows = kept[kept["preset"] == "default"]
    whole = (rows["import MiB"] + rows["peak MiB"]).groupby(rows["cells"]).median()
    table = scaling.estimate(scaling.load(), []).set_index("cells")
    np.testing.assert_allclose(table["memory MiB"], whole, atol=1)


def test_epochs_times_seconds_are_about_what_whole_runs_took():
    whole = scaling.whole_runs()
    assert len(whole) >= 3
    table = scaling.estimate(scaling.load(), [3_005]).set_index("cells")
    assert table.loc[3_005, "training seconds"] == pytest.approx(np.mean(whole), rel=0.15)


@pytest.mark.parametrize("gibibytes", [1, 2, 16, 64, 1000])
def test_the_largest_that_fits_does_and_one_more_does_not(gibibytes):
    most = scaling.largest_that_fits(linear(), gibibytes)
    assert isinstance(most, int)
    fits, one_more = scaling.estimate(linear(), [most, most + 1])["memory MiB"][-2:]
    assert fits <= 1024 * gibibytes + 1e-5 and one_more > 1024 * gibibytes - 1e-5


def test_where_indices_get_wider_there_is_a_gap():
    most = scaling.MAXIMUM_CELLS_WITH_SMALL_INDICES
    below = scaling.estimate(linear(), [most])["memory MiB"].iloc[-1] / 1024
    for more in (0.1, 3, 7):
        assert scaling.largest_that_fits(linear(), below + more) == most


def test_memory_that_sets_no_limit_or_holds_nothing_is_refused():
    with pytest.raises(ValueError, match=r"0\.5 GiB do not hold one cell: .* take 0\.\d\d GiB"):
        scaling.largest_that_fits(linear(), 0.5)
    flat = linear().assign(**{"peak MiB": 90.0})
    flat["peak MiB"] -= flat["cells"] / 1e6
    with pytest.raises(ValueError, match="does not grow with the cells"):
        scaling.largest_that_fits(flat, 2)


def test_memory_goes_before_time_and_the_longest_work_is_named():
    table = scaling.estimate(linear())
    table.loc[0, "latent seconds"] = 1e6
    table.loc[1, "memory MiB"] = 2048
    table.loc[2, "memory MiB"] = 2049
    found = scaling.bottlenecks(table)
    assert list(found.columns) == ["kind", "Binder (2 GiB)", "laptop (16 GiB)", "share of the time"]
    assert list(found["Binder (2 GiB)"]) == [
        "latent space", "training", "memory", *["training"] * 3, "memory", "memory",
    ]  # fmt: skip
    assert list(found["laptop (16 GiB)"]) == ["latent space", *["training"] * 6, "memory"]
    row = table.iloc[7]
    whole = row["training seconds"] + row["latent seconds"] + row["set-up seconds"]
    assert found["share of the time"].iloc[7] == pytest.approx(row["training seconds"] / whole)
    assert list(found["kind"]) == list(table["kind"])


# --- what is kept ---------------------------------------------------------------------------------


def test_the_memory_of_the_kept_runs_is_that_of_the_counts_and_more(kept):
    counts = kept["cells"].map(scaling._sparse_mib)
    assert ((kept["data MiB"] - counts).between(0, 3 + 0.1 * counts)).all()
    assert (kept["peak MiB"] > kept["data MiB"] + 30).all()


@pytest.mark.parametrize("preset", scaling.PRESETS)
def test_the_medians_are_recomputed(kept, preset):
    table = scaling.load(preset)
    assert list(table["cells"]) == list(SIZES)
    for _, row in table.iterrows():
        rounds = kept[(kept["cells"] == row["cells"]) & (kept["preset"] == preset)]
        for name in (*scaling.QUANTITIES, "import MiB", "steps an epoch"):
            assert row[name] == sorted(rounds[name])[1]
    with pytest.raises(
        ValueError, match=r"no runs with preset 'few cells'\. Presets: default, class"
    ):
        scaling.load("few cells")


def test_the_kept_runs_say_what_the_lesson_says():
    runs = scaling.load()
    errors = scaling.check_of_the_line(runs).loc[30_000]
    assert errors[["epoch seconds", "data MiB", "peak MiB"]].abs().max() < 0.2
    by_reach = scaling.check_of_the_line(runs).set_index("reach")
    assert by_reach["epoch seconds"].abs().max() == pytest.approx(0.07, abs=0.005)
    assert by_reach.loc[10, "peak MiB"] == pytest.approx(-0.18, abs=0.005)
    assert by_reach.loc[100, "peak MiB"] == pytest.approx(0.91, abs=0.005)
    table = scaling.estimate(runs).set_index("cells")
    assert table.loc[1_000_000, "final KL weight"] < 0.02
    assert 400 * table.loc[1_000_000, "epoch seconds"] / 3600 == pytest.approx(21, abs=0.5)
    assert table.loc[1_000_000, "memory MiB"] / 1024 == pytest.approx(2.5, abs=0.05)
    found = scaling.bottlenecks(scaling.estimate(runs))
    trained = (found.iloc[:, 1:3] == "training").any(axis=1)
    assert (found.loc[trained, "share of the time"] > 0.99).all()
    assert found.loc[1_000_000].iloc[1:3].tolist() == ["memory", "training"]
    assert (found[found["kind"] == "measured"].iloc[:, 1:3] == "training").all(axis=None)
    assert found.loc[10_000_000, "laptop (16 GiB)"] == "memory"
    # A step costs the same however many cells there are; the first size has no full epoch of whole
    # minibatches.
    steps = scaling.estimate(runs, [])["ms a step"][1:]
    assert steps.max() < 1.5 * steps.min()
