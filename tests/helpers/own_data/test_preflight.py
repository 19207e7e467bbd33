"""What the report says of cells is so. (Each problem, and its repair, is in tests/bad_inputs.)"""

import pytest

from helpers import data
from helpers.own_data import preflight

CHECKS = ["size", "counts", "depth", "cell names", "gene names", "batches", "memory", "time"]


def test_the_report_has_a_row_a_check(pbmc):
    report = preflight.check(pbmc)
    assert list(report.index) == CHECKS
    assert list(report.columns) == ["found", "verdict", "what to do", "line of Python"]


def test_the_verdict_counts(pbmc, blood):
    few = preflight.check(blood, batch_key="batch")
    assert preflight.verdict(few) == "Ready."
    report = preflight.check(pbmc).assign(verdict=["repair", "repair", "decide", *["ok"] * 5])
    assert preflight.verdict(report) == "Not ready: 2 to repair, 1 thing to decide."
    report["verdict"] = ["decide", "decide", *["ok"] * 6]
    assert preflight.verdict(report) == "Ready, with 2 things to decide."
    preflight.require_ready(report)


def test_what_stops_scvi_stops_the_report_too(pbmc):
    """check_counts and the report agree, as one is made of the other."""
    pbmc.X.data[3] = -1
    report = preflight.check(pbmc)
    with pytest.raises(ValueError) as caught:
        data.check_counts(pbmc)
    assert report.loc["counts", "found"] in str(caught.value)


def test_a_finding_is_a_line_with_its_fix(pbmc):
    pbmc.X.data[3] = -1
    text = preflight.text(preflight.check(pbmc))
    assert text.startswith("- repair: Negative: 1 entries of X")
    assert "layer = 'counts'" in text
    assert preflight.text(preflight.check(pbmc, "counts", None).iloc[:2]) == ""
