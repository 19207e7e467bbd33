"""A study is declared once, in its module, and found there without being imported."""

import importlib
import subprocess
import sys

import pytest

from helpers.paths import RESULTS, ROOT
from studies import catalogue

STUDIES = catalogue.studies()


@pytest.mark.parametrize("name", STUDIES)
def test_what_is_declared_is_so(name):
    study = STUDIES[name]
    module = importlib.import_module(f"studies.{name}")
    assert study == module.STUDY
    assert callable(module.main)
    assert study.minutes >= 1
    assert study.question.split("?")[0] != study.question, "it asks nothing"
    for file in study.writes:
        assert (ROOT / file).parent == RESULTS
        assert (ROOT / file).stem == name
        assert (ROOT / file).exists()


def test_every_result_is_that_of_a_study():
    written = {file for study in STUDIES.values() for file in study.writes}
    kept = {path.relative_to(ROOT).as_posix() for path in RESULTS.iterdir() if path.suffix}
    assert kept == written


def test_studies_are_read_without_what_they_need():
    code = (
        "import sys; from studies import catalogue; print(len(catalogue.studies())); "
        "print(sorted({'numpy', 'pandas', 'scvi', 'helpers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-S", "-c", code]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == [str(len(STUDIES)), "[]"]


def test_a_module_without_a_declaration_is_no_study(tmp_path):
    (tmp_path / "parts.py").write_text("STUDIES = 1\n\n\ndef main(): ...\n")
    (tmp_path / "walk.py").write_text(
        'import nothing_of_this_name\n\nSTUDY = Study(\n    name="walk", question="Where to?", '
        'minutes=3,\n    writes=("a", "b"), extra="sweep",\n)\n'
    )
    found = catalogue.studies(tmp_path)
    assert found == {"walk": catalogue.Study("walk", "Where to?", 3, ("a", "b"), "sweep")}


def test_the_listing_has_each_with_its_minutes_and_files():
    lines = catalogue.listing().splitlines()
    for study in STUDIES.values():
        row = next(i for i, line in enumerate(lines) if line.split()[0] == study.name)
        assert f" {study.minutes} min  {study.question}" in lines[row]
        assert all(file in lines[row + 1] for file in study.writes)
        assert len(lines[row]) <= 100


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 0, "architectures"),
        (["nope"], 2, "There is no study 'nope'. Studies: api_changes, "),
        (["batches", "ddp"], 2, "One study at a time"),
    ],
)
def test_the_package_lists_and_refuses(arguments, status, said, capsys):
    main = importlib.import_module("studies.__main__").main
    assert main(arguments) == status
    shown = capsys.readouterr()
    assert said in (shown.out if status == 0 else shown.err)


def test_the_package_makes_the_study_that_is_named(monkeypatch):
    main = importlib.import_module("studies.__main__").main
    monkeypatch.setattr(importlib.import_module("studies.ddp"), "main", lambda: 7)
    assert main(["ddp"]) == 7
