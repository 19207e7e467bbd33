"""The full cortex text is read as scvi-tools reads it, and a bad file is named with its line."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi

from helpers.data import cortex_text
from tests.helpers.data import synthetic_cortex

CELLS, GENES = 60, 450  # more genes than are read at a time


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return synthetic_cortex.write(
        tmp_path_factory.mktemp("cortex") / "expression.bin", CELLS, GENES
    )


@pytest.fixture(scope="module")
def read(file):
    return cortex_text.read(file, GENES)


@pytest.fixture(scope="module")
def read_by_scvi(file):
    return scvi.data.cortex(save_path=str(file.parent))


def test_counts_are_those_that_scvi_tools_reads_cell_for_cell(read, read_by_scvi):
    assert read.shape == read_by_scvi.shape == (CELLS, GENES)
    assert isinstance(read.X, sp.csr_matrix)
    assert read.X.dtype == np.float32
    assert (read.X.data > 0).all()
    assert read.X.has_canonical_format
    np.testing.assert_array_equal(read.X.toarray(), read_by_scvi.X)
    assert list(read.var_names) == list(read_by_scvi.var_names)


def test_classes_are_those_that_scvi_tools_reads(read, read_by_scvi):
    assert list(read.obs["cell_type"]) == list(read_by_scvi.obs["cell_type"])
    assert list(read.obs["cell_type"].cat.codes) == list(read_by_scvi.obs["labels"])
    assert list(read.obs["group"].cat.codes) == list(read_by_scvi.obs["precise_labels"])


def test_what_the_file_says_of_cells_and_genes_is_kept(file, read):
    lines = [line.split("\t") for line in file.read_text("utf-8").splitlines()]
    for row, column in {0: "tissue", 4: "sex", 5: "age", 8: "cell_type", 9: "subclass"}.items():
        assert list(read.obs[column]) == lines[row][2:]
    assert list(read.obs_names) == lines[7][2:]
    assert list(read.var_names) == [line[0] for line in lines[11:]]
    assert list(read.var["cluster"]) == [line[1] for line in lines[11:]]


def test_the_stand_in_has_the_real_cells(whole_cortex, read):
    """Its packaged genes have the packaged counts, and its cells the packaged classes."""
    packaged = read[:, read.var_names.isin(whole_cortex.var_names)]
    assert packaged.n_vars == 90
    names = read.obs_names.str.removeprefix("made_up_")
    real = whole_cortex[names, packaged.var_names]
    assert (real.X != packaged.X).nnz == 0
    for column in ("cell_type", "subclass"):
        assert list(real.obs[column]) == list(read.obs[column])


@pytest.fixture
def lines(file):
    """Copies of the lines, each a list of fields, and a way to read what was made of them."""
    return [line.split("\t") for line in file.read_text("utf-8").splitlines()]


@pytest.fixture
def reread(tmp_path):
    def write_and_read(lines, end="\n", genes=None):
        path = tmp_path / "changed.txt"
        path.write_bytes("\n".join("\t".join(line) for line in lines).encode() + end.encode())
        return cortex_text.read(path, genes)

    return write_and_read


def put(line, column, value):
    def spoil(lines):
        lines[line - 1][column] = value

    return spoil


def without(line, *columns):
    def spoil(lines):
        for column in columns or [slice(None)]:
            del lines[line - 1][column]

    return spoil


@pytest.mark.parametrize(
    ("spoil", "line", "said"),
    [
        (put(300, 7, "x"), 300, "'x' is no count (gene '{gene}', cell {cell})"),
        (put(300, 7, ""), 300, "'' is no count (gene '{gene}', cell {cell})"),
        (put(300, 7, "-1"), 300, "'-1' is no count (gene '{gene}', cell {cell})"),
        (put(300, 7, "1.5"), 300, "'1.5' is no count"),
        (put(300, 7, "1e3"), 300, "'1e3' is no count"),
        (put(300, 7, "nan"), 300, "'nan' is no count"),
        (put(300, 7, "65536"), 300, "'65536' is no count"),
        (put(300, 7, "99999999999999999999"), 300, "'99999999999999999999' is no count"),
        (put(12, 2, "#"), 12, "'#' is no count"),
        (put(461, 61, "x"), 461, "'x' is no count"),
        (put(461, 61, "3#"), 461, "'3#' is no count"),
        (without(300, 7), 300, "gene '{gene}' has 59 counts for 60 cells"),
        (lambda lines: lines[299].append("0"), 300, "gene '{gene}' has 61 counts for 60 cells"),
        (lambda lines: lines.insert(299, [""]), 300, "gene '' has 0 counts for 60 cells"),
        (
            lambda lines: lines.__delitem__(slice(11, None)),
            11,
            "the file ends before the first gene",
        ),
        (
            lambda lines: lines.__delitem__(slice(6, None)),
            7,
            "the file ends before the row 'diameter'",
        ),
        (
            lambda lines: lines.__delitem__(1),
            2,
            "the row 'group #' should be here, and not '\\ttotal mRNA mol",
        ),
        (put(9, 1, "class"), 9, "the row 'level1class' should be here"),
        (without(9, 5), 9, "the row 'level1class' is of 59 cells, the first row of 60"),
        (
            lambda lines: lines.insert(0, ["<!DOCTYPE html>"]),
            1,
            "the row 'tissue' should be here, and not '<!DOCTYPE html>'",
        ),
        (lambda lines: lines.clear(), 1, "the file ends before the row 'tissue'"),
    ],
)
def test_a_bad_file_is_named_with_line_and_fix(spoil, line, said, lines, reread):
    gene, cell = lines[299][0], lines[7][7]
    spoil(lines)
    with pytest.raises(ValueError) as caught:
        reread(lines, end="\n" if lines else "")
    message = str(caught.value)
    assert "changed.txt" in message
    assert f"line {line}: " in message
    assert said.format(gene=gene, cell=cell) in message
    assert "What to do: delete this file" in message


def test_a_file_that_breaks_off_is_named(file, tmp_path):
    whole = file.read_bytes()
    cut = tmp_path / "cut.txt"
    cut.write_bytes(whole[: whole.rindex(b"\t")])
    with pytest.raises(
        ValueError, match=r"line 461: .* 59 counts for 60 cells, and the file breaks off here"
    ):
        cortex_text.read(cut)
    cut.write_bytes(whole[: whole[:-1].rindex(b"\n") + 1])
    with pytest.raises(ValueError, match="line 460: the file ends after 449 of 450 genes"):
        cortex_text.read(cut, GENES)


@pytest.mark.parametrize("content", [b"\x1f\x8b\x08\x00\xff\xfe\x00", b"\xff" * 10_000, b"\n" * 20])
def test_a_file_that_is_no_text_is_named(content, tmp_path):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="line 1: the "):
        cortex_text.read(path)


def test_line_ends_of_windows_and_a_missing_last_one_change_nothing(file, read, tmp_path):
    other = tmp_path / "windows.txt"
    other.write_bytes(file.read_bytes().replace(b"\n", b"\r\n").rstrip())
    again = cortex_text.read(other, GENES)
    assert (again.X != read.X).nnz == 0
    pd.testing.assert_frame_equal(again.obs, read.obs)
    pd.testing.assert_frame_equal(again.var, read.var)


def test_the_largest_count_is_read(lines, reread):
    lines[299][7] = "65535"
    assert reread(lines).X[5, 288] == 65535


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_genes_of_one_name_are_told_apart_and_stay_in_place(lines, reread, tmp_path):
    """scvi-tools leaves the name; with it no gene could be chosen by name."""
    lines[20][0] = lines[30][0] = lines[40][0] = "Same"
    read = reread(lines)
    assert [read.var_names[at] for at in (9, 19, 29)] == ["Same", "Same-1", "Same-2"]
    (tmp_path / "changed.txt").rename(tmp_path / "expression.bin")
    by_scvi = scvi.data.cortex(save_path=str(tmp_path))
    assert [by_scvi.var_names[at] for at in (9, 19, 29)] == ["Same"] * 3
    np.testing.assert_array_equal(read.X.toarray(), by_scvi.X)


def test_one_cell_and_one_gene_are_read(lines, reread):
    first = [line[:3] for line in lines[:13]]
    read = reread(first[:12])
    assert read.shape == (1, 1)
    assert read.X[0, 0] == int(lines[11][2])
    # To NumPy an empty line is none.
    first[11][2] = ""
    for few in (first[:12], first):
        with pytest.raises(ValueError, match="line 12: '' is no count"):
            reread(few)
