"""What studies kept is read by the name of the study, and seeds are summed up."""

import numpy as np
import pandas as pd
import pytest

from helpers import results

TABLE = pd.DataFrame(
    {
        "design": ["one"] * 6 + ["two"] * 3,
        "method": ["b", "b", "b", "a", "a", "a", "c", "c", "c"],
        # The mean of the first three is not the one in the middle.
        "value": [0.1, 0.2, 0.9, 1, 1, 1, 5, 6, 7],
        "of b": [1.0, 2.0, 3.0, *[np.nan] * 6],
    }
)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    text = TABLE.to_csv(index=False)
    (tmp_path / "trial.csv").write_text(f"# Nine runs. Written by hand.\n{text}", "utf-8")


def test_the_summary_is_mean_lowest_and_highest(kept):
    text = results.summary("trial", ["value"], design="one")
    assert list(text.index) == ["b", "a"]
    assert list(text["value"]) == ["0.40 (0.10 to 0.90)", "1.00 (1.00 to 1.00)"]
    assert list(results.summary("trial", ["of b"]).index) == ["b"]
    assert list(results.summary("trial", ["value"]).index) == ["b", "a", "c"]


def test_the_origin_is_the_first_line_and_no_row(kept):
    assert results.origin("trial") == "Nine runs. Written by hand."
    pd.testing.assert_frame_equal(results.load("trial"), TABLE)


def test_what_is_not_kept_is_said_with_what_is(kept):
    for call in (results.load, results.origin, lambda name: results.summary(name, ["value"])):
        for name in ("tryal", "../results/trial", ""):
            with pytest.raises(ValueError, match=r"are kept\. Kept are: trial\."):
                call(name)
    with pytest.raises(ValueError, match=r"no design 'three' .*There are: one, two\."):
        results.summary("trial", ["value"], design="three")
    with pytest.raises(ValueError, match=r"no column 'values'.*Columns: design, method, value"):
        results.summary("trial", ["values"])
    with pytest.raises(ValueError, match="no column 'plan'"):
        results.summary("trial", ["value"], plan="one")
