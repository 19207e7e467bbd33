"""Training from a file learns what training in memory learns, bit by bit.

And what cannot be trained on says why.
"""

import os
import tracemalloc

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from helpers import environment
from helpers.scale import out_of_core
from tests.helpers.scale.small_files import cells


@pytest.fixture
def file(tmp_path):
    pieces = [cells(start=0, seed=1), cells(start=300, seed=2), cells(start=600, seed=3)]
    return out_of_core.write(tmp_path / "cells.h5ad", iter(pieces))


# --- files --------------------------------------------------------------------------------------


def test_pieces_are_written_one_below_the_other(file):
    whole = ad.read_h5ad(file)
    pieces = [cells(start=0, seed=1), cells(start=300, seed=2), cells(start=600, seed=3)]
    expected = sp.vstack([piece.X for piece in pieces])
    assert (expected != whole.X).nnz == 0
    assert list(whole.obs_names) == [f"cell {number}" for number in range(900)]
    assert whole.obs["batch"].tolist() == ["a", "b"] * 450
    assert list(whole.var_names) == [f"gene {number}" for number in range(20)]
    assert os.listdir(file.parent) == [file.name], "a draft was left"  # noqa: PTH208


def test_rows_are_stored_so_that_single_ones_can_be_read(file):
    with h5py.File(file) as store:
        matrix = store["X"]
        assert matrix.attrs["encoding-type"] == "csr_matrix"
        assert matrix["data"].compression is None


def test_reading_a_minibatch_in_memory_copies_no_more_than_that(file):
    matrix = out_of_core.load_counts(file).X
    tracemalloc.start()
    matrix[[3, 700, 40]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < matrix.data.nbytes / 2


def test_more_counts_than_32_bits_can_number(tmp_path):
    positions = np.array([0, 5, 2**31 - 1])
    for last, kind in ((2**31 - 1, np.int32), (2**31, np.int64)):
        positions[-1] = last
        with h5py.File(tmp_path / "matrix.h5", "w") as store:
            store["X/indptr"] = positions
            out_of_core._shorten(store["X"])
            assert store["X/indptr"].dtype == kind
            assert (store["X/indptr"][:] == positions).all()
    assert out_of_core._rows(cells()).indptr.dtype == np.int64, "what is appended would overflow"


def test_only_one_piece_is_in_memory_at_a_time(tmp_path):
    asked = []

    def pieces():
        for number in range(3):
            asked.append((number, (tmp_path / "cells.h5ad.draft").exists()))
            yield cells(start=300 * number)

    out_of_core.write(tmp_path / "cells.h5ad", pieces())
    assert asked == [(0, False), (1, True), (2, True)], (
        "a piece was asked for before the last was written"
    )


def spoiled(piece):
    piece.X.data[5] = 0.5
    return piece


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([], "nothing to write"),
        ([cells(), spoiled(cells(start=300))], "Piece 2: "),
        ([cells(), cells(start=300)[:, ::-1].copy()], "Piece 2 has other genes"),
        ([cells(), cells(start=299)], "Two cells have the name 'cell 299'"),
    ],
    ids=["no piece", "no counts", "other genes", "same name"],
)
def test_what_cannot_be_written_leaves_no_file(pieces, message, tmp_path):
    kept = tmp_path / "cells.h5ad"
    kept.write_bytes(b"what was there before")
    with pytest.raises(ValueError, match=message):
        out_of_core.write(kept, pieces)
    assert kept.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [kept], "a half-written file was left"


def test_copies_of_cortex_are_thinned_differently(whole_cortex):
    first, second = out_of_core.copies_of_cortex(2, n_genes=50)
    assert first.shape == second.shape == (3005, 50)
    assert first.obs["cell_type"].tolist() == whole_cortex.obs["cell_type"].tolist()
    assert not set(first.obs_names) & set(second.obs_names)
    assert (first.X != second.X).nnz > 1000
    before = whole_cortex[:, first.var_names].layers["counts"].sum()
    for copy in (first, second):
        assert copy.X.sum() / before == pytest.approx(0.5, abs=0.01)


# --- opening ------------------------------------------------------------------------------------


def test_opened_counts_stay_in_the_file(file):
    adata = out_of_core.open_counts(file)
    assert adata.isbacked
    assert not sp.issparse(adata.X)
    assert not isinstance(adata.X, np.ndarray)
    assert (adata.X[[3, 700]] != out_of_core.load_counts(file).X[[3, 700]]).nnz == 0
    adata.file.close()


def test_bytes_in_memory_are_those_that_memory_takes(file):
    matrix = out_of_core.load_counts(file).X
    taken = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    assert out_of_core.bytes_in_memory(file) == pytest.approx(taken, rel=0.05)


def write_plain(adata, path):
    adata.write_h5ad(path)
    return path


def with_layer(adata):
    adata.layers["counts"] = adata.X
    return adata


def by_columns(adata):
    adata.X = adata.X.tocsc()
    return adata


def without_x(adata):
    return ad.AnnData(obs=adata.obs, var=adata.var)


def fraction_far_down(adata):
    adata.X[250, 3] = 1.5
    return adata


def empty_cell(adata):
    adata.X[250] = 0
    return adata


@pytest.mark.filterwarnings("ignore:Changing the sparsity structure")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_layer, "has layers (counts), which are read into memory"),
        (by_columns, "is stored by columns (CSC)"),
        (without_x, "has no matrix in X"),
        (fraction_far_down, "cells 200 to 299: "),
        (empty_cell, "cell 250"),
    ],
)
def test_what_cannot_be_trained_on_says_why(change, message, tmp_path, monkeypatch):
    monkeypatch.setattr(out_of_core, "BLOCK", 100)
    path = write_plain(change(cells()), tmp_path / "mine.h5ad")
    with pytest.raises(ValueError) as caught:
        out_of_core.open_counts(path)
    assert message in str(caught.value)
    assert "mine.h5ad" in str(caught.value)
    # It is closed again, so that it can be written anew.
    write_plain(cells(), path)


def test_files_that_are_missing_cut_off_or_something_else(file, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        out_of_core.open_counts(tmp_path / "nowhere.h5ad")
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:100], b"", b"gene,cell\n" * 100):
        broken = tmp_path / "broken.h5ad"
        broken.write_bytes(content)
        for read in (out_of_core.open_counts, out_of_core.load_counts, out_of_core.bytes_in_memory):
            with pytest.raises(ValueError, match=r"broken\.h5ad cannot be read as a \.h5ad file"):
                read(broken)
    with h5py.File(tmp_path / "other.h5", "w") as store:
        store["x"] = [1, 2]
    with pytest.raises(ValueError, match="no obs or no var"):
        out_of_core.open_counts(tmp_path / "other.h5")


def test_too_large_for_memory_is_said_before_reading(file, monkeypatch):
    monkeypatch.setattr(environment, "available_memory", lambda: 1000)
    monkeypatch.setattr(ad, "read_h5ad", lambda *_: pytest.fail("it was read"))
    with pytest.raises(MemoryError, match=r"Reading cells\.h5ad needs"):
        out_of_core.load_counts(file)


# --- training -----------------------------------------------------------------------------------


def weights(model):
    return torch.cat([each.detach().ravel() for each in model.module.parameters()])


def losses(model):
    return model.history["train_loss"].iloc[:, 0].to_numpy(float)


def test_the_model_is_that_of_memory_bit_by_bit_if_rows_come_in_the_same_order(file):
    from_file = out_of_core.train(out_of_core.open_counts(file), epochs=3)
    in_memory = out_of_core.load_counts(file)
    usual = out_of_core.train(in_memory, epochs=3)
    with out_of_core.rows_in_order():
        ordered = out_of_core.train(in_memory, epochs=3)
    assert torch.equal(weights(from_file), weights(ordered))
    assert out_of_core.same_weights(from_file, ordered)
    assert not out_of_core.same_weights(from_file, usual)
    assert (losses(from_file) == losses(ordered)).all()
    # The order alone makes the difference to the usual run, and it is small.
    assert not torch.equal(weights(usual), weights(ordered))
    np.testing.assert_allclose(losses(usual), losses(from_file), rtol=0.02)
    np.testing.assert_array_equal(
        from_file.get_latent_representation(), ordered.get_latent_representation()
    )
    again = out_of_core.train(in_memory, epochs=3)
    assert torch.equal(weights(again), weights(usual)), "rows_in_order went on after its block"


def test_another_seed_is_another_model(file):
    adata = out_of_core.open_counts(file)
    one, other = (out_of_core.train(adata, seed=seed) for seed in (0, 1))
    assert not torch.equal(weights(one), weights(other))


def test_from_a_file_positions_come_in_the_order_of_the_file_not_as_asked(file):
    """What the lesson warns of. If this fails, scvi-tools has fixed it, and the warning can go."""
    model = out_of_core.train(out_of_core.open_counts(file))
    every = model.get_latent_representation()
    asked = np.array([700, 3, 512, 20])
    given = model.get_latent_representation(indices=asked)
    np.testing.assert_allclose(given, every[np.sort(asked)], rtol=1e-4, atol=1e-5)
    assert np.abs(given - every[asked]).max() > 0.01
    # With more than a minibatch, each minibatch is sorted on its own.
    many = np.random.default_rng(0).permutation(900)[:200]
    in_parts = np.concatenate([np.sort(many[:128]), np.sort(many[128:])])
    given = model.get_latent_representation(indices=many)
    np.testing.assert_allclose(given, every[in_parts], rtol=1e-4, atol=1e-5)
