"""Small files in place of those that are large or on the web, and what is left of them."""

import dataclasses
import hashlib
import io

import numpy as np
import pandas as pd
import scipy.sparse as sp

from helpers.data import (
    source_table,
)

TEXT = source_table.SOURCES["cortex_all"].members[0]

N_CELLS = 80

N_GENES = 300


class Answer(io.BytesIO):
    """What a server sends; after its last byte the connection may break."""

    def __init__(self, content, breaks=None, length=None):
        super().__init__(content)
        self.breaks, self.length = breaks, len(content) if length is None else length

    def getheader(self, name):
        return str(self.length) if name == "Content-Length" else None

    def read(self, *size):
        if not (block := super().read(*size)) and self.breaks:
            raise self.breaks
        return block


def list_source(monkeypatch, served, md5=None):
    source = dataclasses.replace(
        source_table.SOURCES["cortex_all"],
        url=served.address,
        md5=md5 or hashlib.md5(served.content).hexdigest(),
    )
    monkeypatch.setitem(source_table.SOURCES, "cortex_all", source)


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def assert_same_cells(one, other):
    assert (one.X != other.X).nnz == 0
    assert (one.layers["counts"] != other.layers["counts"]).nnz == 0
    assert one.X.has_sorted_indices and one.X.dtype == other.X.dtype == np.float32
    assert isinstance(one.X, sp.csr_matrix) and isinstance(one.layers["counts"], sp.csr_matrix)
    pd.testing.assert_frame_equal(one.obs, other.obs)
    pd.testing.assert_frame_equal(one.var, other.var)
    proteins = (each.obsm["protein_expression"] for each in (one, other))
    pd.testing.assert_frame_equal(*proteins)
