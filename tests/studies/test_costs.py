"""What is measured is what ran, a pair compares equal cells, the page says what the JSON says."""

import io
import json
import subprocess
import time

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import training
from helpers.proteins import protein_counts
from helpers.scale import evaluation
from helpers.training import runs
from studies import costs, costs_page, keeping, presets
from studies.presets import COMPARED

# In place of what agrees with the types of cells.
NO_TYPES = (np.nan, np.nan, np.nan)

# Class minus default in negative ELBO is +2 and -1 for one data set, +3 for the other.
RUNS = pd.DataFrame(
    [
        ("cortex", 1, "default", 400.0, 500.0, 400, 1.0, 100.0, 0.5, 0.4, 0.9, "9 cells, a"),
        ("cortex", 1, "class", 40.0, 50.0, 14, 1.0, 102.0, 0.6, 0.4, 0.8, "9 cells, a"),
        ("cortex", 2, "default", 300.0, 300.0, 400, 1.0, 110.0, 0.5, 0.4, 0.9, "9 cells, b"),
        ("cortex", 2, "class", 10.0, 10.0, 14, 1.0, 109.0, 0.9, 0.5, 0.9, "9 cells, b"),
        ("simulated", 1, "default", 60.0, 60.0, 400, 1.0, 50.0, *NO_TYPES, "7 cells, c"),
        ("simulated", 1, "class", 30.0, 30.0, 14, 1.0, 53.0, *NO_TYPES, "7 cells, c"),
    ],
    columns=[
        "data set", "seed", "preset", "CPU seconds", "wall seconds", "epochs", "final KL weight",
        *COMPARED, "held-out cells",
    ],
)  # fmt: skip

STEPS = pd.DataFrame(
    [
        {"step": "set-up", "not measured": "fatal: no network"},
        {"step": "t-SNE", "CPU seconds": 9.87, "wall seconds": 10.0, "peak MiB": 700.0},
        {"step": "UMAP", "CPU seconds": 12.6, "wall seconds": 13.0, "peak MiB": 800.0},
    ]
)
LESSONS = pd.DataFrame(
    {
        "lesson": "01_genes",
        "cores": [1, 2],
        "CPU seconds": [15.0, 19.0],
        "wall seconds": 20.0,
        "peak MiB": 900,
    }
)


@pytest.fixture
def measured(tmp_path):
    return costs.gather(STEPS, LESSONS, RUNS, tmp_path / "none.json")


# --- pairs --------------------------------------------------------------------------------------


def test_differences_are_class_minus_default_of_the_same_seed():
    found = presets.paired(RUNS.sample(frac=1, random_state=0)).set_index(["data set", "seed"])
    assert found["negative ELBO"].to_dict() == {
        ("cortex", 1): 2.0,
        ("cortex", 2): -1.0,
        ("simulated", 1): 3.0,
    }
    np.testing.assert_allclose(found.loc["cortex", "k-means ARI"].sort_index(), [0.1, 0.4])
    np.testing.assert_allclose(found.loc["cortex", "kNN accuracy"].sort_index(), [-0.1, 0])
    np.testing.assert_allclose(found.loc["cortex", "CPU ratio"].sort_index(), [10, 30])
    assert found.loc["simulated", "k-means NMI"].isna().all()


def test_the_verdict_is_that_of_the_mean_difference():
    found = presets.verdicts(presets.paired(RUNS))
    assert list(found.index) == ["cortex", "simulated"]
    cortex = found.loc["cortex"]
    assert cortex[["seeds", "mean", "lowest", "highest"]].tolist() == [2, 0.5, -1.0, 2.0]
    assert cortex["CPU ratio"] == pytest.approx(20)
    assert found["reached"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("one", "other", "reached"), [(0, 2.0, True), (0, 2.02, False), (-5, 7, True), (-5, 9, False)]
)
def test_reached_is_a_mean_of_at_most_one_nat_per_cell(one, other, reached):
    table = RUNS[RUNS["data set"] == "cortex"].copy()
    table["negative ELBO"] = [0.0, one, 0.0, other]
    assert presets.verdicts(presets.paired(table))["reached"].tolist() == [reached]


def test_runs_on_other_cells_or_without_a_partner_are_not_paired():
    table = RUNS.copy()
    table.loc[3, "held-out cells"] = "9 cells, z"
    with pytest.raises(ValueError, match="different held-out cells for cortex with seed 2,"):
        presets.paired(table)
    with pytest.raises(ValueError, match="only one preset for simulated with seed 1"):
        presets.paired(RUNS.drop(index=5))


@pytest.fixture
def short(monkeypatch):
    """Let both presets train two epochs; minibatches of the one leave one of 630 cells over."""
    common = {"check_val_every_n_epoch": 1, "max_epochs": 2}
    quick = common | {"batch_size": 37, "plan_kwargs": {"n_epochs_kl_warmup": 1}}
    monkeypatch.setattr("helpers.training.presets.PRESETS", {"default": common, "class": quick})


def test_a_real_pair_is_judged_on_the_cells_that_both_held_out(short, monkeypatch):
    order, held_out = [], []
    train = runs.train

    def spied(model, preset, **how):
        order.append(preset)
        train(model, preset, **how)
        held_out.append(set(model.validation_indices))

    monkeypatch.setattr(runs, "train", spied)
    rows = presets.pair("PBMC", 2)
    assert order == ["class", "default"], "even seeds begin with the class preset"
    assert [len(cells) for cells in held_out] == [71, 70]
    assert held_out[1] < held_out[0]
    assert rows[["data set", "seed", "preset"]].to_numpy().tolist() == [
        ["PBMC", 2, "default"],
        ["PBMC", 2, "class"],
    ]
    assert rows["held-out cells"].str.startswith("70 cells, ").all()
    assert rows["held-out cells"].nunique() == 1
    assert (rows["epochs"] == 2).all()
    assert rows["final KL weight"].tolist() == pytest.approx([1 / 400, 1.0])
    assert (rows[["CPU seconds", "wall seconds"]] > 0.05).to_numpy().all()
    assert rows[list(COMPARED)].notna().to_numpy().all()
    assert rows["negative ELBO"].between(100, 2000).all()
    again = presets.pair("PBMC", 2)
    pd.testing.assert_frame_equal(
        again.drop(columns=["CPU seconds", "wall seconds"]),
        rows.drop(columns=["CPU seconds", "wall seconds"]),
    )
    presets.paired(rows)


@pytest.mark.parametrize("name", presets.DATA_SETS)
def test_a_data_set_is_what_it_says(name):
    data_set = presets.DATA_SETS[name]
    model = data_set.model(1)
    cells, genes = model.adata.shape
    assert f"{cells:,} " in data_set.what
    assert f"{genes:,} genes" in data_set.what
    labels = data_set.labels(model.adata)
    assert list(labels.index) == list(model.adata.obs_names)
    known = {"cortex": cells, "PBMC": cells, "simulated": 0}
    if name in known:
        assert labels.notna().sum() == known[name]
    else:
        assert set(labels.dropna()) == set(protein_counts.GATES)
        assert labels.isna().any()


def test_finished_pairs_are_kept_but_not_those_of_other_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "DATA", tmp_path)
    made = []

    def pair(name, seed):
        if stop and len(made) == 7:
            raise KeyboardInterrupt
        made.append((name, seed))
        rows = {"data set": name, "seed": seed, "preset": presets.PRESETS, "made": len(made)}
        return pd.DataFrame(rows)

    monkeypatch.setattr(presets, "pair", pair)
    wanted = [(name, seed) for name, each in presets.DATA_SETS.items() for seed in each.seeds]
    stop = True
    with pytest.raises(KeyboardInterrupt):
        presets.runs()
    stop = False
    table = presets.runs()
    assert made == wanted, "a finished pair was made again, or one is missing"
    assert list(table.columns) == ["data set", "seed", "preset", "made"]
    assert table["made"].tolist() == [number for number in range(1, 11) for _ in range(2)]
    monkeypatch.setattr(evaluation, "settings_key", lambda: "other settings")
    table = presets.runs()
    assert made == wanted + wanted
    assert len(table) == 20
    assert table["made"].min() == 11, "pairs of other presets were taken for these"


# --- steps, lessons, set-up ---------------------------------------------------------------------


def test_a_step_is_timed_without_what_comes_before(monkeypatch):
    busy = "while time.process_time() - start < {}: pass"
    before, work = (f"start = time.process_time()\n{busy.format(s)}" for s in (1, 0.3))
    monkeypatch.setitem(costs.STEPS, "busy", (before, work))
    monkeypatch.setitem(costs.STEPS, "lazy", ("", "time.sleep(0.5)"))
    monkeypatch.setitem(costs.STEPS, "broken", ("", "1 / 0"))
    cost = costs.step_cost("busy")
    assert cost["step"] == "busy"
    assert 0.3 <= cost["CPU seconds"] < 0.5
    assert cost["wall seconds"] >= 0.29
    lazy = costs.step_cost("lazy")
    assert lazy["CPU seconds"] < 0.1 < 0.5 <= lazy["wall seconds"]
    with pytest.raises(subprocess.CalledProcessError):
        costs.step_cost("broken")


def test_the_median_of_several_rounds_counts(monkeypatch):
    seconds = iter([1.0, 10.0, 9.0, 20.0, 2.0, 30.0])

    def step_cost(name):
        return {"step": name, "CPU seconds": next(seconds), "wall seconds": 1.0, "peak MiB": 5}

    monkeypatch.setattr(costs, "STEPS", {"b": (), "a": ()})
    monkeypatch.setattr(costs, "step_cost", step_cost)
    found = costs.step_costs()
    assert found[["step", "CPU seconds"]].to_numpy().tolist() == [["b", 2.0], ["a", 20.0]]


@pytest.mark.parametrize("name", ["load the cortex cells", "latent representation"])
def test_the_calls_of_a_step_work(name):
    start = time.perf_counter()
    cost = costs.step_cost(name)
    assert 0 < cost["wall seconds"] < time.perf_counter() - start
    assert cost["peak MiB"] > 300


def test_a_lesson_is_measured_and_a_failed_one_raises(tmp_path):
    def lesson(name, code):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        nbformat.write(notebook, tmp_path / name)
        return tmp_path / name

    kept = lesson("09_works.ipynb", "print(sum(range(10)))")
    text = kept.read_text("utf-8")
    cost = costs.lesson_cost(kept, 1)
    assert list(cost) == ["lesson", "cores", "CPU seconds", "wall seconds", "peak MiB"]
    assert (cost["lesson"], cost["cores"]) == ("09_works", 1)
    assert kept.read_text("utf-8") == text
    with pytest.raises(subprocess.CalledProcessError):
        costs.lesson_cost(lesson("09_fails.ipynb", "1 / 0"), 1)


def test_set_up_that_fails_gives_its_reason_and_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "ROOT", tmp_path / "nothing here")
    cost = costs.set_up_cost()
    assert list(cost) == ["step", "not measured"]
    assert "does not" in cost["not measured"]
    assert str(tmp_path) not in cost["not measured"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert costs.set_up_cost()["not measured"].startswith("git: ")


# --- results ------------------------------------------------------------------------------------


def test_what_is_a_quarter_slower_than_last_time_is_marked(measured, tmp_path):
    before = json.loads(json.dumps(measured))
    before["date"] = "2001-02-03"
    before["steps"][1]["CPU seconds"] = 9.87 / 1.2
    before["steps"][2]["CPU seconds"] = 12.6 / 1.3
    before["lessons"][0]["CPU seconds"] = 30.0
    before["lessons"][1]["lesson"] = "01_renamed"
    last = tmp_path / "last.json"
    last.write_text(json.dumps(before), "utf-8")
    found = costs.gather(STEPS, LESSONS, RUNS, last)["comparison"]
    assert found["with"].startswith("2001-02-03, Python 3.")
    assert [(row["what"], row["ratio"], row["slower"]) for row in found["rows"]] == [
        ("t-SNE", 1.2, False),
        ("UMAP", 1.3, True),
        ("01_genes, cores: 1", 0.5, False),
    ]
    text = costs_page.page(measured | {"comparison": found})
    assert "1 of 3 are slower by more than 25 %." in text
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    assert [row[1] for row in rows if "slower" in row] == ["what", "UMAP"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"date": 1}', '"text"', "null", '{"steps": {}}', "\udcff"]
)
def test_a_damaged_last_result_is_said_and_not_compared(text, tmp_path, capsys):
    last = tmp_path / "last.json"
    last.write_bytes(text.encode("utf-8", "surrogateescape"))
    found = costs.gather(STEPS, LESSONS, RUNS, last)
    assert "damaged" in found["comparison"]["none"]
    assert "damaged" in capsys.readouterr().err
    assert found["comparison"]["none"] in costs_page.page(found)


def test_a_step_of_hundredths_of_a_second_is_not_marked(measured):
    before = json.loads(json.dumps(measured))
    for now, old, slower in ((0.06, 0.04, False), (0.9, 0.6, True), (0.7, 0.6, False)):
        measured["steps"][1]["CPU seconds"] = now
        before["steps"][1]["CPU seconds"] = old
        found = costs.compare(measured, before)[0]
        assert (found["what"], found["slower"]) == ("t-SNE", slower), (now, old)


def test_a_first_result_has_nothing_to_be_compared_with(measured):
    assert measured["comparison"] == {"none": "There is no earlier result."}


def test_results_with_nothing_in_common_are_not_compared(measured, tmp_path):
    last = tmp_path / "last.json"
    last.write_text(json.dumps(measured | {"steps": [], "lessons": []}), "utf-8")
    found = costs.gather(STEPS, LESSONS, RUNS, last)
    assert "in common" in found["comparison"]["none"]
    assert "in common" in costs_page.page(found)


def test_the_page_is_made_from_what_the_file_says(measured, tmp_path):
    file = tmp_path / "costs.json"
    costs.write(measured, file)
    again = json.loads(file.read_text("utf-8"))
    assert again == measured
    page = file.with_suffix(".md").read_text("utf-8")
    assert page == costs_page.page(again)
    # README and lessons link to these two.
    assert "\n## What a lesson costs\n" in page
    assert "\n## The class preset against the default\n" in page
    assert "Not measured: set-up (fatal: no network)." in page
    verdict = next(line for line in page.splitlines() if line.startswith("| cortex "))
    assert [cell.strip() for cell in verdict.split("|")[1:-1]] == [
        "cortex", "2", "+0.5 (-1.0 to +2.0)", "reached", "20.0", "+0.25", "+0.05", "-0.05"
    ]  # fmt: skip
    assert (
        "- cortex: reached. With the class preset the negative ELBO differs by +0.5 nats per cell"
        in page
    )
    assert "- simulated: not reached." in page
    assert "nan" not in page.lower()
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "costs.json",
        "costs.md",
        "costs.png",
    ]
    with Image.open(io.BytesIO(file.with_suffix(".png").read_bytes())) as picture:
        assert picture.width > 800


def test_the_picture_says_what_it_shows(measured):
    shown = costs_page.figure(measured)
    assert f"![{shown.alt}](costs.png)" in costs_page.page(measured)
    assert (
        "Bars of the CPU seconds of 3 steps and lessons, from 9.9 (t-SNE) to 15 (01_genes)."
        in shown.alt
    )
    assert "Beside them 3 dots" in shown.alt
    assert "cortex +0.5, simulated +3.0; the limit is +1." in shown.alt
    bars, dots = shown.figure.axes
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], [9.87, 12.6, 15.0])
    heights = [line.get_ydata() for line in dots.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(np.concatenate(heights), [2, -1, 3])


def test_nothing_is_written_where_the_page_cannot_be_made(measured, tmp_path):
    file = tmp_path / "costs.json"
    file.write_text("the last one", "utf-8")
    measured["preset runs"][1]["held-out cells"] = "other cells"
    with pytest.raises(ValueError, match="different held-out cells"):
        costs.write(measured, file)
    assert [each.name for each in tmp_path.iterdir()] == ["costs.json"]
    assert file.read_text("utf-8") == "the last one"


@pytest.mark.skipif(not costs.FILE.exists(), reason="the study was not made yet")
def test_the_stored_page_says_what_the_stored_file_says():
    stored = json.loads(costs.FILE.read_text("utf-8"))
    page = costs.FILE.with_suffix(".md").read_text("utf-8")
    assert page == costs_page.page(stored)
    assert costs.FILE.with_suffix(".png").exists()
    now = {preset: training.PRESETS[preset] for preset in presets.PRESETS}
    assert stored["presets"] == now, "the presets changed: make study ARGS=costs"
