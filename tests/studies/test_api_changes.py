"""The libraries are what they were when their snapshot was kept, and whatever changes is named."""

import copy
import json
import re
import warnings

import pandas as pd
import pytest
import scvi
from packaging.requirements import Requirement

from helpers import environment
from helpers.layers import architecture
from studies import api_changes, api_names, api_snapshot
from tests.helpers import small_models

MODELS = [subject.kind for subject in api_snapshot.SUBJECTS]


@pytest.fixture(scope="module")
def kept():
    return api_changes.load()


@pytest.fixture
def two(kept):
    """The snapshot of this version track, and one to be changed."""
    return kept[api_changes.track()], copy.deepcopy(kept[api_changes.track()])


def complaint(kept, now):
    """Say what changed in the libraries since a snapshot was kept, and what to do.

    Empty if nothing did. Newer versions alone are no change: a test of the pins looks at them.
    """
    found = api_changes.differences(kept, now)
    is_version = found["kind"] == "versions"
    if is_version.all():
        return ""
    lines = [
        f"  {row['kind']}, {row['where']}: {row['before']} -> {row['now']}"
        for row in pd.concat([found[~is_version], found[is_version]]).to_dict("records")
    ]
    return "\n".join(
        [
            f"The libraries changed since {api_changes.FILE.name} was written "
            f"({api_changes.track()}):",
            *lines,
            "What to do: look in lessons and helpers for what is said or assumed of these; fix "
            "it, run make notebooks where outputs change, then make study ARGS=api_changes.",
        ]
    )


# --- what is installed --------------------------------------------------------------------------


def test_libraries_are_what_they_were(kept):
    """If this fails, the message names what changed upstream, and what to do."""
    said = complaint(kept[api_changes.track()], api_changes.take())
    assert not said, said


def test_page_is_that_of_the_kept_snapshots(kept):
    assert api_changes.PAGE.read_text("utf-8") == api_changes.page(kept), (
        "make study ARGS=api_changes"
    )


# --- a change is seen and named -----------------------------------------------------------------


def change_default(now):
    now["defaults"]["scvi SCVI()"]["n_hidden"] = "256"


def drop_parameter(now):
    del now["defaults"]["scvi VAE()"]["dropout_rate"]


def drop_history_key(now):
    del now["history keys"]["SCVI: elbo_validation"]


def drop_module(now):
    del now["modules"]["SCVI: z_encoder.mean_encoder"]


def let_a_module_train(now):
    where = "SCVI: l_encoder.mean_encoder"
    now["modules"][where] = now["modules"][where].replace("idle", "trained")


def warn(now):
    now["warnings"]["FutureWarning: layer= goes away"] = "SCVI.setup_anndata"


def warn_elsewhere(now):
    where = next(text for text in now["warnings"] if text.startswith("FutureWarning"))
    now["warnings"][where] = "SCVI.train"


def lose_a_name(now):
    now["names"]["scvi.train._trainingplans._compute_kl_weight"] = "missing"


def move_a_method(now):
    now["methods"]["SCVI.train"] = "scvi OtherMixin.train()"


def change_a_type(now):
    now["tables"]["SCVI: differential_expression, column lfc_mean"] = "float16"


def change_epochs(now):
    now["epochs"]["30,000 cells"] = 100


def choose_other_genes(now):
    del now["selected genes"][min(now["selected genes"])]


def drop_a_model(now):
    del now["models"]["TOTALVI"]


def change_a_loss(now):
    now["numbers"]["SCVI: elbo_train at the end"] *= 1.01


CHANGES = {
    change_default: "defaults, scvi SCVI(): n_hidden: 128 -> 256",
    drop_parameter: "defaults, scvi VAE(): dropout_rate: 0.1 -> not there",
    drop_history_key: "history keys, SCVI: elbo_validation: 2 rows, by epoch -> not there",
    drop_module: (
        "modules, SCVI: z_encoder.mean_encoder: Linear in encoder, head, 128 to 10, 1,290 "
        "parameters, trained -> not there"
    ),
    let_a_module_train: (
        "129 parameters, idle -> Linear in l_encoder, head, 128 to 1, 129 parameters, trained"
    ),
    warn: "warnings, FutureWarning: layer= goes away: not there -> SCVI.setup_anndata",
    warn_elsewhere: "TOTALVI.train -> SCVI.train",
    lose_a_name: "names, scvi.train._trainingplans._compute_kl_weight: can be called -> missing",
    move_a_method: (
        "methods, SCVI.train: scvi UnsupervisedTrainingMixin.train() -> scvi OtherMixin.train()"
    ),
    change_a_type: "tables, SCVI: differential_expression, column lfc_mean: float32 -> float16",
    change_epochs: "epochs, 30,000 cells: 267 -> 100",
    choose_other_genes: ": selected -> not there",
    drop_a_model: "models, TOTALVI: exported -> not there",
    change_a_loss: "numbers, SCVI: elbo_train at the end: ",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_each_kind_of_change_is_named(change, two):
    before, now = two
    change(now)
    found = api_changes.differences(before, now)
    assert len(found) == 1
    said = complaint(before, now)
    assert CHANGES[change] in said
    assert api_changes.track() in said
    assert "What to do: " in said
    # The page calls the two by their tracks, and names the same entry with both values.
    shown = api_changes.page(dict(zip(api_changes.TRACKS, two, strict=True)))
    row = found.iloc[0]
    for text in (row["where"], row["before"], row["now"]):
        assert str(text) in shown
    assert f"Differences: {row['kind']} 1." in shown


def test_changes_are_all_named_at_once(two):
    before, now = two
    for change in CHANGES:
        change(now)
    assert len(api_changes.differences(before, now)) == len(CHANGES)
    said = complaint(before, now)
    assert all(expected in said for expected in CHANGES.values())


def test_every_kind_has_a_change_that_is_tried(two):
    kinds = set()
    for change in CHANGES:
        before, now = two[0], copy.deepcopy(two[0])
        change(now)
        kinds |= set(api_changes.differences(before, now)["kind"])
    assert kinds | {"versions"} == set(api_changes.KINDS) == set(two[0])


def test_equal_snapshots_have_no_difference_and_the_page_says_so(two):
    assert api_changes.differences(*two).empty
    assert complaint(*two) == ""
    shown = api_changes.page(dict(zip(api_changes.TRACKS, two, strict=True)))
    assert "Differences: none." in shown
    assert shown.count("No difference in ") == len(api_changes.KINDS)


def test_newer_versions_alone_are_no_complaint_but_stand_beside_one(two):
    before, now = two
    now["versions"]["scvi-tools"] = "9.0"
    assert complaint(before, now) == ""
    warn(now)
    assert re.search(r"versions, scvi-tools: 1\.\d\.\d -> 9\.0", complaint(before, now))


def test_rounding_of_another_processor_is_no_difference(two):
    before, now = two
    now["numbers"] = {where: value * 1.0001 for where, value in now["numbers"].items()}
    assert api_changes.differences(before, now).empty


def test_what_the_kit_itself_asks_for_anew_is_no_difference(two):
    """A new import in a helper changes no library.

    One that the library has not is missing in both version tracks.
    """
    before, now = two
    now["names"]["scvi.model.AUTOZI"] = "class"
    now["defaults"]["scvi AUTOZI()"] = {"n_hidden": "128"}
    assert api_changes.differences(before, now).empty


def test_bar_in_a_text_does_not_break_the_table(two):
    now = two[1]
    now["epochs"]["a|b"] = 1
    (line,) = [
        line
        for line in api_changes.page(dict(zip(api_changes.TRACKS, two, strict=True))).splitlines()
        if "a\\|b" in line
    ]
    assert line.replace("\\|", "").count("|") == 4


# --- what a snapshot says is true ---------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_parameters_of_the_modules_add_up(model, kept):
    for snapshot in kept.values():
        modules = {
            where: int(re.search(r"([\d,]+) parameters", what)[1].replace(",", ""))
            for where, what in snapshot["modules"].items()
            if where.startswith(f"{model}: ")
        }
        total = modules.pop(f"{model}: all")
        assert modules.pop(f"{model}: all, by torchinfo") == total
        assert sum(modules.values()) == total > 0


def test_losses_of_scvi_add_up(kept):
    """The loss is reconstruction + weight x KL; the second warm-up epoch has the weight 1/400."""
    for snapshot in kept.values():
        numbers = {
            where.removeprefix("SCVI: ").removesuffix(" at the end"): value
            for where, value in snapshot["numbers"].items()
        }
        assert numbers["kl_weight"] == pytest.approx(1 / 400)
        loss = numbers["reconstruction_loss_train"] + numbers["kl_local_train"] / 400
        assert numbers["train_loss"] == pytest.approx(loss, rel=1e-5)
        elbo = numbers["reconstruction_loss_train"] + numbers["kl_local_train"]
        assert numbers["elbo_train"] == pytest.approx(elbo, rel=1e-5)


def test_known_things_are_in_it(kept):
    for snapshot in kept.values():
        assert snapshot["defaults"]["scvi SCVI()"]["gene_likelihood"] == "'zinb'"
        assert snapshot["defaults"]["scvi TrainingPlan()"]["n_epochs_kl_warmup"] == "400"
        assert snapshot["epochs"]["20,000 cells"] == 400
        assert snapshot["epochs"]["1,000,000 cells"] == 8
        assert snapshot["modules"]["SCVI: l_encoder.mean_encoder"].endswith("idle")
        assert snapshot["names"]["scvi.model._utils.get_max_epochs_heuristic"] == "can be called"
        assert "missing" not in snapshot["names"].values()


def test_a_row_of_the_modules_is_that_of_the_module_table(kept, pbmc):
    model = small_models.build(pbmc)
    table = architecture.module_table(model).set_index("path")
    modules = kept[api_changes.track()]["modules"]
    paths = [where.removeprefix("SCVI: ") for where in modules if where.startswith("SCVI: ")]
    assert sorted(paths) == sorted([*table.index, "all", "all, by torchinfo"])
    for path, row in table.iterrows():
        said = modules[f"SCVI: {path}"]
        assert f"{row['role']}, " in said
        assert said.endswith(row["state"])


def test_versions_are_those_of_the_pins(kept):
    """Not of the tools for style, nor of libraries for graphics cards, which few machines have."""
    pins = [
        Requirement(line)
        for line in (api_changes.ROOT / "requirements/tested.txt").read_text("utf-8").splitlines()
        if not line.startswith("#")
    ]
    for track, python in zip(api_changes.TRACKS, ("3.11", "3.12"), strict=True):
        tested = {
            pin.name: pin.specifier
            for pin in pins
            if pin.marker is None or pin.marker.evaluate({"python_version": python})
        }
        versions = kept[track]["versions"]
        assert versions["Python"].startswith("3.11." if python == "3.11" else "3.")
        for package, version in versions.items():
            # Python 3.11 brings setuptools itself, as it is.
            if package not in ("Python", "setuptools"):
                assert version in tested[package], "make study ARGS=api_changes"
        assert {"scvi-tools", "torch", "scipy", "ray", "pytest"} <= set(versions)
        assert without_tools_and_graphics(versions)
    assert without_tools_and_graphics(api_names.versions())


def without_tools_and_graphics(versions):
    unwanted = ("ruff", "codespell", "basedpyright", "nvidia-", "cuda-", "triton")
    return not [package for package in versions if package.startswith(unwanted)]


# --- how it is taken ----------------------------------------------------------------------------


def test_names_of_a_file_are_found_whatever_they_are_imported_as(tmp_path):
    file = tmp_path / "lesson.py"
    file.write_text(
        "import scvi\n"
        "import scanpy as sc\n"
        "from scvi.model import SCVI as Model, Gone\n"
        "def run(adata):\n"
        "    sc.pp.no_such_step(adata)\n"
        "    model = Model(adata)\n"
        "    print(Model.no_such_thing)\n"
        "    model._no_such_member()\n"
        "    model._make_data_loader(adata)\n"
        "    return scvi.settings.seed, self._own\n"
    )
    names, called = api_names.used([file])
    assert names == {
        "scanpy": "module",
        "scanpy.pp.no_such_step": "missing",
        "scvi": "module",
        "scvi.model.Gone": "missing",
        "scvi.model.SCVI": "class",
        "scvi.model.SCVI.no_such_thing": "missing",
        "scvi.settings.seed": type(scvi.settings.seed).__name__,
        "a private member, _make_data_loader": "of a model",
        "a private member, _no_such_member": "missing",
    }
    assert called == [scvi.model.SCVI]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("see /home/me/lib/python3.11/site-packages/x.py:3", "see …/x.py:3"),
        ("in 'C:\\Users\\me\\x.py'", "in '…/x.py'"),
        ("object at 0x7f00aa", "object at …"),
        ("\x1b[34mtwo\n   lines\x1b[0m", "two lines"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("a 3/4 share", "a 3/4 share"),
    ],
)
def test_warnings_are_free_of_places_and_moments(message, expected):
    assert api_snapshot.normalised(message) == expected


def test_libraries_that_fail_are_said_with_their_error(monkeypatch, tmp_path):
    studies = tmp_path / "studies"
    studies.mkdir()
    (studies / "api_snapshot.py").write_text("raise AttributeError('scvi.model has no SCVI')")
    monkeypatch.setattr(api_changes, "ROOT", tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(RuntimeError, match=r"(?s)scvi\.model has no SCVI.*What to do: "):
        api_changes.take()


def test_a_new_snapshot_leaves_that_of_the_other_track(monkeypatch, tmp_path, kept):
    other = next(track for track in api_changes.TRACKS if track != api_changes.track())
    monkeypatch.setattr(api_changes, "FILE", tmp_path / "api_changes.json")
    monkeypatch.setattr(api_changes, "PAGE", tmp_path / "api_changes.md")
    monkeypatch.setattr(api_changes, "take", lambda: kept[api_changes.track()])
    api_changes.FILE.write_text(json.dumps({other: kept[other]}), "utf-8")
    assert api_changes.main() == 0
    assert api_changes.load() == kept
    assert api_changes.PAGE.read_text("utf-8") == api_changes.page(kept)


def test_filters_of_the_kit_hide_no_warning_and_machines_make_none():
    said = api_snapshot._Said()
    environment.prepare()
    for stage in ("build", "train"):
        with said.during(stage):
            warnings.warn("`isinstance(treespec, LeafSpec)` goes away", FutureWarning, stacklevel=1)
            warnings.warn("`isinstance(treespec, LeafSpec)` goes away", FutureWarning, stacklevel=1)
            warnings.warn("a file was left open", ResourceWarning, stacklevel=1)
            warnings.warn("The 'loader' does not have many workers", stacklevel=1)
    assert said.stages() == {
        "FutureWarning: `isinstance(treespec, LeafSpec)` goes away": "build, train"
    }
