"""Each bad input is answered with what is wrong, where, and what to do.

Nothing is lost, and no half file is left.
"""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import scvi

from helpers import data, environment, training
from helpers.own_data import preflight, raw_counts
from studies import bad_inputs
from tests.bad_inputs import cases

MIN_CASES = 40


@pytest.fixture(autouse=True)
def prepared():
    environment.prepare(seed=0)


@pytest.fixture
def folder():
    """A folder that any user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o777)
        yield Path(path)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def by_what(case):
    return case.what


def test_there_are_enough():
    every = [*cases.CELLS, *cases.FILES, *cases.ENVIRONMENT]
    assert len(every) >= MIN_CASES
    assert len({case.what for case in every}) == len(every)


def test_good_cells_are_not_complained_of():
    """Else a report that always complains would pass all tests below."""
    adata = data.load_pbmc()
    adata.obs["day"] = np.where(np.arange(700) % 2, "a", "b")
    report = preflight.check(adata, "counts", "day", "cell_type")
    assert (report["verdict"] == preflight.OK).all()
    assert preflight.verdict(report) == "Ready."


@pytest.mark.parametrize("case", cases.CELLS, ids=by_what)
@pytest.mark.filterwarnings("ignore")
def test_bad_cells_are_found(case, folder):
    message = case.attempt(folder)
    missing = [part for part in case.says if part not in message]
    assert not missing, message


@pytest.mark.parametrize("case", cases.CELLS, ids=by_what)
@pytest.mark.filterwarnings("ignore")
def test_a_report_changes_nothing(case):
    adata, settings = case.spoilt(data.load_pbmc())
    kept = {key: np.array(table) for key, table in pictures(adata).items()}
    kind = type(adata.X)
    preflight.check(adata, **settings)
    assert type(adata.X) is kind
    for key, table in pictures(adata).items():
        np.testing.assert_array_equal(table, kept[key], err_msg=key)


def pictures(adata):
    """Return all that a report could change."""
    values = {"X": adata.X}
    if sp.issparse(adata.X):
        values = {part: getattr(adata.X, part) for part in ("data", "indices", "indptr")}
    return values | {
        "obs": adata.obs.astype(object).map(str),
        "cells": [str(name) for name in adata.obs_names],
        "genes": [str(name) for name in adata.var_names],
    }


def repaired(adata, settings, report):
    """Run the first line of Python of a report, as a learner would in a cell."""
    call = next(call for call in report["line of Python"] if call)
    names = {"adata": adata, "np": np, "sp": sp, "raw_counts": raw_counts, **settings}
    exec(call, names)
    kept = {name: names[name] for name in ("layer", "batch_key", "label_key") if name in names}
    if "raw_counts" in call:
        kept["layer"] = "counts"
    return names["adata"], kept


@pytest.mark.parametrize(
    "case", [case for case in cases.CELLS if case.verdict != cases.OK], ids=by_what
)
@pytest.mark.filterwarnings("ignore")
def test_a_line_of_python_repairs(case):
    """Run the calls one after the other.

    What they repair can be trained on, and no call is left that does nothing.
    """
    adata, settings = case.spoilt(data.load_pbmc())
    report = preflight.check(adata, **settings)
    rows = report[(report.index == case.check) & (report["verdict"] == case.verdict)]
    assert all(rows["what to do"])
    if not any(rows["line of Python"]):
        return
    for _ in range(len(report)):
        if not any(report["line of Python"]):
            break
        adata, settings = repaired(adata, settings, report)
        report = preflight.check(adata, **settings)
    assert not any(report["line of Python"])
    assert case.verdict not in set(report.loc[report.index == case.check, "verdict"])
    preflight.require_ready(report)
    layer = settings.get("layer")
    adata.layers["counts"] = adata.X.copy() if layer is None else adata.layers[layer]
    scvi.model.SCVI.setup_anndata(adata, layer="counts", batch_key=settings.get("batch_key"))
    model = scvi.model.SCVI(adata, n_hidden=8)
    training.train(model, max_epochs=1, enable_progress_bar=False)
    assert np.isfinite(training.curves(model).to_numpy()).all()


@pytest.mark.parametrize(
    "case", [case for case in cases.CELLS if case.verdict == cases.REPAIR], ids=by_what
)
@pytest.mark.filterwarnings("ignore")
def test_what_must_be_repaired_stops_a_run(case):
    adata, settings = case.spoilt(data.load_pbmc())
    with pytest.raises(ValueError, match="cannot use these data as they are"):
        preflight.require_ready(preflight.check(adata, **settings))


@pytest.mark.parametrize("case", cases.FILES, ids=by_what)
@pytest.mark.filterwarnings("ignore")
def test_bad_files_are_refused_and_left_as_they_are(case, folder):
    path = case.make(folder)
    before = contents(folder)
    message = case.read(path)
    missing = [part for part in case.says if part not in message]
    assert not missing, message
    assert "What to do" in message
    assert contents(folder) == before


@pytest.mark.parametrize("case", cases.ENVIRONMENT, ids=by_what)
@pytest.mark.filterwarnings("ignore")
def test_what_goes_wrong_around_the_lessons_is_explained(case, folder):
    message = case.attempt(folder)
    missing = [part for part in case.says if part not in message]
    assert not missing, message
    assert not [path for path in contents(folder) if path.name.startswith(".part")]


def test_the_page_has_a_row_for_each_with_what_was_said():
    rows = bad_inputs.FILE.read_text("utf-8").splitlines()
    for case in [*cases.CELLS, *cases.FILES, *cases.ENVIRONMENT]:
        row = next((row for row in rows if row.startswith(f"| {case.what} |")), None)
        assert row is not None, f"{case.what}: make study ARGS=bad_inputs"
        assert all(part in row for part in case.says), f"{case.what}: make study ARGS=bad_inputs"
