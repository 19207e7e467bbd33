"""Every kind of file ends in a result that can be written, or is refused with reason and way in.

A file is read, looked at, repaired with the lines of the report, and rehearsed: the report goes the
whole way of the script with some of its cells. No count may be lost on the way, and no name.
"""

import ast
import warnings

import anndata as ad
import numpy as np
import pytest

from helpers.data import matrices
from helpers.own_data import preflight, reading, run_script, writing
from tests.helpers.own_data import dialects

CELLS, GENES = 60, 100

MIN_DIALECTS = 60


@pytest.fixture(scope="module")
def cells(whole_pbmc):
    """Some cells, with the genes of which they have most counts."""
    most = np.argsort(-np.asarray(whole_pbmc.X.sum(axis=0)).ravel(), kind="stable")[:GENES]
    few = whole_pbmc[:CELLS, np.sort(most)]
    kind = np.where(np.arange(CELLS) % 3 == 0, "a", "b")
    adata = ad.AnnData(few.X.copy(), obs=few.obs[[]].copy(), var=few.var[[]].copy())
    adata.obs["kind"] = kind
    adata.obs["kind"] = adata.obs["kind"].astype("category")
    adata.var.index.name = None
    return adata


@pytest.fixture(scope="module")
def names_of_the_script():
    """What lines of the report may use: all that the script imports."""
    tree = ast.parse(run_script.TEMPLATE.read_text("utf-8"))
    imports = [each for each in ast.walk(tree) if isinstance(each, ast.Import | ast.ImportFrom)]
    names = {}
    exec(compile(ast.Module(imports, []), "imports", "exec"), names)
    return names


def goes_through(dialect, path, names):
    """Return the cells after the lines of the report, the layer with counts, and what was said."""
    settings = dict(dialect.settings)
    said, lines = [], 0
    adata = reading.read(path, dialect.genes_in)
    for _ in range(8):
        keys = {name: settings.get(name) for name in ("layer", "batch_key", "label_key")}
        report = preflight.check(adata, *keys.values())
        said.append(preflight.text(report) + " ".join(report["found"]))
        calls = [
            row["line of Python"]
            for row in report.to_dict("records")
            if row["line of Python"] and not is_a_batch(row["line of Python"])
        ]
        if not calls:
            return adata, keys["layer"], "\n".join(said), lines, report
        scope = {**names, "adata": adata, **keys}
        exec(calls[0], scope)
        adata, lines = scope["adata"], lines + 1
        settings |= {name: scope[name] for name in keys if scope[name] is not None}
        if "raw_counts.recover" in calls[0]:
            settings["layer"] = "counts"
        run_script.filled([calls[0]])
    raise AssertionError("the report goes on asking: " + calls[0])


def is_a_batch(call):
    """Tell whether a line only offers a batch, which is the learner's to decide."""
    return call.startswith(("batch_key", "adata.obs['sample']"))


def test_there_are_enough():
    assert len({each.name for each in dialects.DIALECTS}) == len(dialects.DIALECTS)
    assert len(dialects.DIALECTS) >= MIN_DIALECTS


@pytest.mark.parametrize("dialect", dialects.DIALECTS, ids=lambda each: each.name)
def test_file_ends_in_a_result_or_is_refused(dialect, cells, names_of_the_script, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = dialect.make(cells.copy(), tmp_path)
        try:
            adata, layer, said, lines, report = goes_through(dialect, path, names_of_the_script)
            preflight.require_ready(report)
        except (reading.ReadError, ValueError) as error:
            assert dialect.outcome == dialects.REFUSED, error
            said = str(error)
            assert "What to do" in said or "cannot use these data" in said
        else:
            assert dialect.outcome == (dialects.MENDED if lines else dialects.ENDED), said
            same_counts(adata, layer, cells)
            notes = writing.write(tmp_path / "result" / "cells.h5ad", adata)
            assert not [note for note in notes if writing.LOST in note]
            same_counts(ad.read_h5ad(tmp_path / "result" / "cells.h5ad"), layer, cells)
    missing = [part for part in dialect.says if part not in said]
    assert not missing, said
    assert "damaged" not in said


def same_counts(adata, layer, cells):
    """Each count of each cell and gene is there, by place; names may be others."""
    counts = matrices.by_cell(adata.X if layer is None else adata.layers[layer]).toarray()
    rows = [cells.obs_names.get_loc(name) for name in adata.obs_names if name in cells.obs_names]
    columns = [cells.var_names.get_loc(name) for name in adata.var_names if name in cells.var_names]
    rows = rows if len(rows) >= adata.n_obs - 1 and rows else range(adata.n_obs)
    truth = cells.X.toarray()
    if len(rows) < adata.n_obs or len(columns) < adata.n_vars:
        np.testing.assert_array_equal(counts, truth[: adata.n_obs, : adata.n_vars])
    else:
        np.testing.assert_array_equal(counts, truth[np.ix_(rows, columns)])
