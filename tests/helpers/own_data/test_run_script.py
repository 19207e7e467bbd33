"""The script that a learner keeps: filled in, and run for real from a file to a page."""

import ast
import html.parser
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from helpers.own_data import run_script
from helpers.paths import ROOT


def values(text):
    """Return the settings of a script by running nothing."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id.isupper()
    }


def test_settings_are_filled_in_and_others_stay():
    before = values(run_script.TEMPLATE.read_text("utf-8"))
    after = values(run_script.filled(FILE=Path("it's mine.h5ad"), BATCH="day"))
    assert set(before) == {"FILE", "GENES_IN", "LAYER", "BATCH", "LABEL", "PRESET", "RESULTS"}
    assert after == before | {"FILE": "it's mine.h5ad", "BATCH": "day"}


def test_nothing_filled_in_is_the_template():
    assert run_script.filled() == run_script.TEMPLATE.read_text("utf-8")


def test_lines_that_mend_come_after_the_cells_are_read_and_before_they_are_checked():
    lines = run_script.filled(["adata.var_names_make_unique()"]).splitlines()
    at = lines.index("adata.var_names_make_unique()")
    assert any("reading.read" in line for line in lines[:at])
    assert any("preflight.check" in line for line in lines[at:])


def test_lines_that_name_a_setting_become_that_setting():
    """The report says layer = 'umi'; in the script it is called LAYER."""
    text = run_script.filled(["layer = 'umi'", "adata.var_names_make_unique()"], FILE="a.h5ad")
    assert values(text)["LAYER"] == "umi"
    assert "layer = 'umi'" not in text.splitlines()
    assert values(run_script.filled(["layer = 'umi'"], LAYER="other"))["LAYER"] == "other"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"LAYERS": "umi"}, "no setting LAYERS[^$]*FILE, GENES_IN, LAYER, BATCH"),
        ({"repairs": ["adata = adata[", "x"]}, "is no Python"),
    ],
)
def test_what_is_no_setting_or_no_python_is_refused(how, said):
    with pytest.raises(ValueError, match=said):
        run_script.filled(**how)


def run(script, folder, **variables):
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | variables,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory, whole_pbmc):
    """A run of the script on the 700 blood cells, half of them called another batch."""
    folder = tmp_path_factory.mktemp("run")
    adata = ad.AnnData(whole_pbmc.X.copy(), obs=whole_pbmc.obs.copy(), var=whole_pbmc.var.copy())
    adata.obs["day"] = np.where(np.arange(700) % 2, "odd", "even")
    adata.var_names = ["<b>bold</b>", *adata.var_names[1:]]
    adata.write_h5ad(folder / "mine & yours.h5ad")
    script = run_script.write(
        folder / "my_run.py",
        FILE="mine & yours.h5ad",
        BATCH="day",
        LABEL="cell_type",
        RESULTS="out",
    )
    answer = run(script, folder)
    assert answer.returncode == 0, answer.stderr
    return folder, answer


class Page(html.parser.HTMLParser):
    """Collects what is in a page, and that its tags are closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(folder):
    return Page((folder / "out" / "report.html").read_text("utf-8"))


def test_cells_model_and_page_are_kept(finished):
    folder, answer = finished
    assert sorted(each.name for each in (folder / "out").iterdir()) == [
        "cells.h5ad",
        "model",
        "report.html",
    ]
    kept = ad.read_h5ad(folder / "out" / "cells.h5ad")
    assert kept.obsm["X_scVI"].shape == (700, 10)
    assert kept.obsm["X_umap"].shape == (700, 2)
    assert kept.obs["scvi_cluster"].nunique() > 1
    assert str((folder / "out" / "report.html").resolve()) in answer.stdout


def test_the_page_says_what_the_model_says(finished):
    """Each figure in it is recomputed here from what was kept."""
    import scvi

    from helpers.layers import descriptions
    from helpers.loss import convergence, loss_ledger

    folder, _ = finished
    model = scvi.model.SCVI.load(str(folder / "out" / "model"))
    text = " ".join(page_of(folder).text)
    for line in descriptions.explain(model).splitlines():
        assert line in text
    table = loss_ledger.ledger(model)
    assert f"{table['reconstruction'].iloc[-1]:.4g}" in text
    for question in convergence.checklist(model).index:
        assert question in text
    assert (
        f"We trained SCVI (scvi-tools {scvi.__version__}) on the counts of 765 genes in 700 cells "
        "with 'day' as batch" in text
    )
    assert "mine & yours.h5ad" in text


def test_the_page_stands_alone(finished):
    folder, _ = finished
    page = page_of(folder)
    assert page.open == []
    sources = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href")
    ]
    assert len(sources) >= 10
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in sources)
    assert not page.all("script")
    assert not page.all("link")


def test_the_page_can_be_read_without_eyes(finished):
    page = page_of(finished[0])
    assert page.all("html")[0]["lang"] == "en"
    assert all(
        len(image["alt"]) > 40 and any(map(str.isdigit, image["alt"])) for image in page.all("img")
    )
    assert len(page.all("img")) >= 5
    assert len(page.all("caption")) == len(page.all("table"))
    targets = {attributes.get("id") for _, attributes in page.tags}
    assert {link["href"][1:] for link in page.all("a")} <= targets


def test_names_from_the_data_are_text_and_no_html(finished):
    """A gene may be called as it likes."""
    page = page_of(finished[0])
    assert not page.all("b")


@pytest.fixture(scope="module")
def again(finished, tmp_path_factory):
    """A second run, started in another folder, which is empty."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    answer = run(finished[0] / "my_run.py", elsewhere)
    assert answer.returncode == 0, answer.stderr
    return elsewhere, answer


def test_a_second_run_does_not_train_again(again):
    assert "Epoch" not in again[1].stderr


def test_paths_begin_in_the_folder_of_the_script(finished, again):
    """The results are found again from another folder, and nothing is written there."""
    elsewhere, answer = again
    assert str((finished[0] / "out" / "report.html").resolve()) in answer.stdout
    assert not list(elsewhere.iterdir())


def test_script_says_the_version_of_the_kit(finished):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"the script of the teaching kit {version}." in finished[1].stdout


def test_script_stands_alone_where_the_kit_is_missing(tmp_path, whole_pbmc):
    """It runs in a folder of its own, with a package of the same name that is another."""
    (tmp_path / "helpers.py").write_text("")
    adata = ad.AnnData(whole_pbmc.X[:200].copy(), obs=whole_pbmc.obs[:200], var=whole_pbmc.var)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    script = run_script.write(tmp_path / "my_run.py", FILE="cells.h5ad", BATCH="cell_type")
    answer = run(script, tmp_path, PYTHONPATH=str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    assert sorted(each.name for each in (tmp_path / "my_run").iterdir()) == ["cells.h5ad", "model"]
    kept = ad.read_h5ad(tmp_path / "my_run" / "cells.h5ad")
    assert kept.obsm["X_scVI"].shape == (200, 10)
    assert (kept.X != adata.X).nnz == 0
    assert kept.obs["scvi_cluster"].nunique() > 1


def test_cells_that_are_not_ready_stop_the_script_before_the_training(finished, whole_pbmc):
    folder, _ = finished
    adata = whole_pbmc.copy()
    adata.X = adata.X * 0.5
    adata.write_h5ad(folder / "halved.h5ad")
    script = run_script.write(folder / "halved.py", FILE="halved.h5ad", RESULTS="none")
    answer = run(script, folder)
    assert answer.returncode == 1
    assert "scVI cannot use these data as they are" in answer.stderr
    assert "layer = 'counts'" in answer.stderr
    assert not (folder / "none").exists()
