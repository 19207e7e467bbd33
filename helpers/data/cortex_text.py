"""The full cortex as its authors published it.

A text file with one row per gene, read as a stream into a sparse matrix.

Ten rows about the cells come first, then one without content, then the genes: name, number of a
cluster of genes, and one count for each cell. About one count in five is not zero, so the matrix
takes 100 MB as CSR, and 240 MB as the dense one that ``scvi.data.cortex`` returns.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.utils import make_index_unique

ABOUT_CELLS = (
    "tissue",
    "group #",
    "total mRNA mol",
    "well",
    "sex",
    "age",
    "diameter",
    "cell_id",
    "level1class",
    "level2class",
)
CELL_NAMES = "cell_id"

# What is kept of the rows about the cells, and its name here. Of the others, the number of
# molecules is the sum of the counts.
COLUMNS = {
    "level1class": "cell_type",
    "level2class": "subclass",
    "group #": "group",
    "tissue": "tissue",
    "sex": "sex",
    "age": "age",
}

# As a dense block, so many genes are a few MB.
GENES_AT_A_TIME = 200

# A count takes two bytes while the file is read. The largest one of the packaged genes is 6,732.
LARGEST_COUNT = 2**16 - 1


class _Gene(NamedTuple):
    """A line with a gene: its number, name and cluster of the gene, and the counts as text."""

    line: int
    name: str
    cluster: str
    counts: str


def read(file: Path, genes: int | None = None) -> ad.AnnData:
    """Read the file.

    Parameters
    ----------
    file
        The text, with tabs between the columns.
    genes
        How many genes there must be; any number if left out.

    Returns
    -------
    AnnData
        ``X``: UMI counts, cells x genes, CSR float32, both in the order of the file. ``obs``, all
        of it categorical: ``cell_type`` (level-1 class), ``subclass`` (level-2 class), ``group``
        (number of a class), ``tissue``, ``sex`` (1 or -1; the file does not say which is which) and
        ``age`` (days). ``var["cluster"]``: number of the cluster of genes, categorical.

    Raises
    ------
    ValueError
        If the file has another layout, breaks off, or holds anything but counts; the message says
        in which line.

    Notes
    -----
    ``scvi.data.cortex`` returns the same counts as dense int32. Where several genes have one
    name, it leaves that as it is; here the second gene is called ``name-1`` and so on, as by
    ``AnnData.var_names_make_unique``, so that a name means one gene.
    """
    # What is no text becomes text without the expected words, and is reported as such.
    with file.open(encoding="utf-8", errors="replace") as text:
        cells = _about_cells(text, file)
        names, clusters, counts = _read_genes(text, cells.index, file)
    if genes is not None and len(names) != genes:
        last = len(ABOUT_CELLS) + 1 + len(names)
        raise _problem(file, last, f"the file ends after {len(names):,} of {genes:,} genes")
    with warnings.catch_warnings():
        # anndata warns of names that look as if they were made unique before.
        warnings.simplefilter("ignore", UserWarning)
        unique = make_index_unique(pd.Index(names))
    return ad.AnnData(
        counts, cells, pd.DataFrame({"cluster": pd.Categorical(clusters)}, index=unique)
    )


def _about_cells(text: TextIO, file: Path) -> pd.DataFrame:
    """Read the rows above the genes, and return one row per cell."""
    rows: dict[str, list[str]] = {}
    for number, expected in enumerate(ABOUT_CELLS, start=1):
        line = text.readline().rstrip("\n")
        name, *rows[expected] = line.split("\t")[1:] or [""]
        if name != expected:
            raise _problem(
                file,
                number,
                f"the row '{expected}' should be here, and not {line[:40]!r}"
                if line
                else f"the file ends before the row '{expected}'",
            )
        if len(rows[expected]) != len(rows[ABOUT_CELLS[0]]):
            raise _problem(
                file,
                number,
                f"the row '{expected}' is of {len(rows[expected]):,} cells, the first row of "
                f"{len(rows[ABOUT_CELLS[0]]):,}",
            )
    text.readline()
    return pd.DataFrame(
        {column: pd.Categorical(rows[row]) for row, column in COLUMNS.items()},
        index=pd.Index(rows[CELL_NAMES]),
    )


def _read_genes(
    text: TextIO, cells: pd.Index, file: Path
) -> tuple[list[str], list[str], sp.csr_matrix]:
    """Read names, clusters and counts of all genes; the counts are cells x genes."""
    names, clusters, ends = [], [], [0]
    # Buffers that grow take no more memory than they hold. A list of arrays would leave holes
    # behind that stay with the process.
    values, cell_numbers = bytearray(), bytearray()
    lines = _gene_lines(text, len(cells), file)
    while genes := list(itertools.islice(lines, GENES_AT_A_TIME)):
        names += [gene.name for gene in genes]
        clusters += [gene.cluster for gene in genes]
        block = _counts(genes, cells, file)
        gene, cell = np.nonzero(block)
        values += block[gene, cell].astype(np.uint16).tobytes()
        cell_numbers += cell.astype(np.int32).tobytes()
        ends += np.count_nonzero(block, axis=1).tolist()
    if not names:
        raise _problem(file, len(ABOUT_CELLS) + 1, "the file ends before the first gene")
    by_gene = sp.csc_matrix(
        (
            np.frombuffer(values, np.uint16),
            np.frombuffer(cell_numbers, np.int32),
            np.cumsum(ends, dtype=np.int32),
        ),
        shape=(len(cells), len(names)),
    )
    counts = sp.csr_matrix(by_gene)
    # Here goes one of the two matrices, before the other becomes larger.
    del by_gene, values, cell_numbers
    counts.data = counts.data.astype(np.float32)
    return names, clusters, counts


def _gene_lines(text: TextIO, n_cells: int, file: Path) -> Iterator[_Gene]:
    """Yield the genes, each with the right number of counts."""
    for number, line in enumerate(text, start=len(ABOUT_CELLS) + 2):
        if (tabs := line.count("\t")) != n_cells + 1:
            where = "" if line.endswith("\n") else ", and the file breaks off here"
            raise _problem(
                file,
                number,
                f"gene {line.split(chr(9))[0].strip()[:40]!r} has {max(tabs - 1, 0):,} counts for "
                f"{n_cells:,} cells{where}",
            )
        yield _Gene(number, *line.split("\t", 2))


def _counts(genes: list[_Gene], cells: pd.Index, file: Path) -> np.ndarray:
    """Return the counts of some genes (genes x cells)."""
    with warnings.catch_warnings():
        # Older NumPy only warns where it reads 1.5 as 1, and all where a line is empty.
        warnings.simplefilter("error")
        try:
            counts = np.loadtxt(
                [gene.counts for gene in genes],
                dtype=np.int32,
                delimiter="\t",
                comments=None,
                ndmin=2,
            )
        except (ValueError, DeprecationWarning, UserWarning) as error:
            raise _wrong_count(genes, cells, file) from error
    if counts.shape != (len(genes), len(cells)) or counts.min() < 0 or counts.max() > LARGEST_COUNT:
        raise _wrong_count(genes, cells, file)
    return counts


def _wrong_count(genes: list[_Gene], cells: pd.Index, file: Path) -> ValueError:
    """Return an error that says which of the values is the first that is no count."""
    for gene in genes:
        for cell, value in zip(cells, gene.counts.split("\t"), strict=True):
            text = value.strip()
            if not (text.isascii() and text.isdecimal() and int(text) <= LARGEST_COUNT):
                what = f"{text[:40]!r} is no count (gene {gene.name!r}, cell {cell})"
                return _problem(file, gene.line, what)
    return _problem(file, genes[0].line, "NumPy cannot read the counts from here on")


def _problem(file: Path, line: int, what: str) -> ValueError:
    return ValueError(
        f"Cannot read the cortex cells from {file}, line {line:,}: {what}.\n"
        "What to do: delete this file, then let it be fetched again: data.load_cortex(genes='all')."
    )
