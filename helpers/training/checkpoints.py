"""Keep trained models in files that hold data only, so that reading one runs no code from it.

scvi-tools' own ``model.save`` writes a pickle, and ``SCVI.load`` runs whatever a pickle asks for.
The files written here are read with ``torch.load(weights_only=True)``: tensors, numbers, text, and
tables taken apart into these. ``load_model`` does the same for a file of scvi-tools that came from
somebody else.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import re
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import psutil
import scvi
import torch
from scvi.model._utils import parse_device_args
from scvi.model.base import BaseModelClass

from helpers.paths import DATA
from helpers.training.model_state import is_whole_in_pytorch

FOLDER = DATA / "checkpoints"

# A file that says another number was written by another version of this module, and is left aside.
FORMAT = 1

# What a model file may name as the method that set up its data: scvi-tools calls it.
SETUP_METHODS = ("setup_anndata", "setup_mudata")

# All that ``model.save`` of scvi-tools 1.4 and 1.5 asks for: tensors, NumPy arrays, pandas tables,
# and the text columns of pandas 3. They build values out of values; none opens a file, starts a
# process or reaches the network.
HARMLESS = {
    "_codecs.encode",
    "builtins.bytearray",
    "builtins.bytes",
    "builtins.dict",
    "builtins.slice",
    "collections.OrderedDict",
    "collections.defaultdict",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "pandas.Categorical",
    "pandas.CategoricalDtype",
    "pandas.CategoricalIndex",
    "pandas.DataFrame",
    "pandas.Index",
    "pandas.MultiIndex",
    "pandas.RangeIndex",
    "pandas.StringDtype",
    "pandas._libs.internals._unpickle_block",
    "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked",
    "pandas.arrays.ArrowStringArray",
    "pandas.core.arrays.categorical.Categorical",
    "pandas.core.dtypes.dtypes.CategoricalDtype",
    "pandas.core.frame.DataFrame",
    "pandas.core.indexes.base.Index",
    "pandas.core.indexes.base._new_Index",
    "pandas.core.indexes.category.CategoricalIndex",
    "pandas.core.indexes.multi.MultiIndex",
    "pandas.core.indexes.range.RangeIndex",
    "pandas.core.internals.managers.BlockManager",
    "pyarrow.lib._restore_array",
    "pyarrow.lib.py_buffer",
    "pyarrow.lib.type_for_alias",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor_v2",
    "torch.distributions.constraints._Real",
}


# --- a trained model ----------------------------------------------------------------------------


def path(settings: dict[str, Any], folder: Path) -> Path:
    """Return where the trained model of a run is kept."""
    return folder / f"{settings['model']}-{settings['key']}.pt"


def save(model: BaseModelClass, folder: Path = FOLDER) -> Path:
    """Keep a trained model.

    Parameters
    ----------
    model
        A model trained with ``training.train``.
    folder
        Where checkpoints are kept.

    Returns
    -------
    Path
        The file. It appears whole or not at all.

    Raises
    ------
    ValueError
        If the model was not trained with ``training.train``, has weights that PyTorch does not know
        of, or its run has no key.
    OSError
        If the file cannot be written. The model stays as it is.
    """
    settings = getattr(model, "train_settings_", None)
    if settings is None:
        raise ValueError(
            "Only a model trained with training.train(model) can be kept: its settings make the "
            "key of the checkpoint."
        )
    if not is_whole_in_pytorch(model):
        raise ValueError(
            f"A {type(model).__name__} keeps its weights outside PyTorch, so it cannot be kept "
            "here. What to do: model.save(folder)."
        )
    if settings["key"] is None:
        raise ValueError(
            f"This training has no key to be found by again: {settings['why no key']}. What to do: "
            "model.save(folder)."
        )
    content = {
        "weights": model.module.state_dict(),
        "history": model.history_,
        "loss record": getattr(model, "loss_record_", None),
        "training cells": model.train_indices,
        "held-out cells": model.validation_indices,
        "test cells": model.test_indices,
    }
    return write(path(settings, folder), settings["key"], content)


def load(
    model: BaseModelClass, settings: dict[str, Any], folder: Path = FOLDER
) -> BaseModelClass | None:
    """Give an untrained model what was kept of its training.

    Parameters
    ----------
    model
        An untrained model. It stays untrained if there is no checkpoint for it, or a damaged one.
    settings
        How it would be trained, with its ``key``; None finds nothing.
    folder
        Where checkpoints are kept.

    Returns
    -------
    BaseModelClass or None
        The model itself, now trained; or None. A checkpoint that cannot be read is said on stderr.
    """
    content = settings["key"] and read(path(settings, folder), settings["key"])
    if not content:
        return None
    model.module.load_state_dict(content["weights"])
    model.history_ = content["history"]
    if content["loss record"] is not None:
        model.loss_record_ = content["loss record"]
    model.train_indices = content["training cells"]
    model.validation_indices = content["held-out cells"]
    model.test_indices = content["test cells"]
    model.train_settings_ = settings
    model.is_trained_ = True
    # As scvi-tools does when it loads a model.
    device = parse_device_args("auto", "auto", return_device="torch")[-1]
    model.to_device(device)
    model.module.eval()
    return model


# --- files that hold data only ------------------------------------------------------------------


def write(file: Path, key: str, content: dict[str, Any]) -> Path:
    """Write a file that appears whole or not at all, however the process ends.

    Parameters
    ----------
    file
        Where to. A file that is there is replaced.
    key
        The key of the run.
    content
        Tensors, arrays, tables, numbers and text, in dicts, lists and tuples.

    Raises
    ------
    OSError
        If there is no room, or the folder cannot be written to. Nothing is left behind.
    """
    packed = io.BytesIO()
    torch.save({"format": FORMAT, "key": key, "content": _taken_apart(content)}, packed)
    file.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(file.parent)
    draft = file.with_name(f".{file.name.lstrip('.')}.{os.getpid()}.part")
    try:
        with draft.open("wb") as opened:
            opened.write(_seal(packed.getbuffer()))
            opened.write(packed.getbuffer())
        draft.replace(file)
    finally:
        # A disk that is full, or a folder that cannot be written to, is told by the first error.
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return file


def read(file: Path, key: str) -> dict[str, Any] | None:
    """Return what ``write`` wrote, or None if there is nothing for this key.

    No code from the file is run. What cannot be read is said on stderr, and left aside.
    """
    try:
        packed = _unsealed(file.read_bytes())
        found = torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)
        if (found["format"], found["key"]) != (FORMAT, key):
            raise ValueError("it belongs to another run or another version of this kit")
        return _put_together(found["content"])
    except FileNotFoundError:
        return None
    except (
        Exception
    ) as error:  # a damaged file fails inside PyTorch in many ways; all have the same remedy
        print(
            f"The checkpoint {file.name} cannot be read ({_reason(error)}); it is left aside.",
            file=sys.stderr,
        )
        return None


def _seal(packed: Any) -> bytes:
    """Return a checksum that goes before the content.

    PyTorch does not notice a flipped bit in a weight.
    """
    return hashlib.sha256(packed).digest()


def _unsealed(content: bytes) -> memoryview:
    packed = memoryview(content)[hashlib.sha256().digest_size :]
    if not content.startswith(_seal(packed)):
        raise ValueError("it is damaged or was not written by this kit")
    return packed


def _reason(error: Exception) -> str:
    """Return the first line of an error.

    PyTorch's advice to switch the safety off is not for learners.
    """
    asked = re.search(r"GLOBAL ([\w.]+)", str(error))
    if asked:
        return f"it asks to run {asked[1]}, which a checkpoint never does"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _remove_leftovers(folder: Path) -> None:
    """Remove the drafts of processes that were killed while they wrote."""
    for draft in folder.glob(".*.part"):
        # Another process may remove it first.
        with contextlib.suppress(OSError, ValueError):
            process = int(draft.name.split(".")[-2])
            # One with the number of this process is of an earlier one: this one writes nothing now.
            if process == os.getpid() or not psutil.pid_exists(process):
                draft.unlink()


def _taken_apart(value: Any) -> Any:
    """Replace tables and arrays by what ``torch.load(weights_only=True)`` can read."""
    if isinstance(value, dict):
        return {name: _taken_apart(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_taken_apart(part) for part in value)
    if isinstance(value, pd.DataFrame):
        return _taken_apart_table(value)
    if isinstance(value, np.ndarray):
        return {"array of": str(value.dtype), "values": value.tolist()}
    return value.item() if isinstance(value, np.generic) else value


def _taken_apart_table(table: pd.DataFrame) -> dict[str, Any]:
    index = table.index
    steps = [index.start, index.stop, index.step] if isinstance(index, pd.RangeIndex) else None
    return {
        "columns": table.columns.tolist(),
        "dtypes": [str(dtype) for dtype in table.dtypes],
        "values": [_taken_apart(table.iloc[:, i].tolist()) for i in range(table.shape[1])],
        "range": steps,
        "index": None if steps else _taken_apart(index.tolist()),
        "index name": index.name,
    }


def _put_together(value: Any) -> Any:
    """Undo ``_taken_apart``."""
    if isinstance(value, dict) and set(value) == {"array of", "values"}:
        return np.array(value["values"], dtype=value["array of"])
    if isinstance(value, dict) and "index name" in value:
        return _table(value)
    if isinstance(value, dict):
        return {name: _put_together(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_put_together(part) for part in value)
    return value


def _table(parts: dict[str, Any]) -> pd.DataFrame:
    name = parts["index name"]
    index = (
        pd.RangeIndex(*parts["range"], name=name)
        if parts["range"]
        else pd.Index(parts["index"], name=name)
    )
    columns = [
        pd.Series(values, index=index, dtype=dtype)
        for values, dtype in zip(parts["values"], parts["dtypes"], strict=True)
    ]
    table = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=index)
    several = any(isinstance(column, tuple) for column in parts["columns"])
    make = pd.MultiIndex.from_tuples if several else pd.Index
    table.columns = make(parts["columns"])
    return table


# --- model files of scvi-tools ------------------------------------------------------------------


def load_model(folder: Path | str, adata: ad.AnnData) -> BaseModelClass:
    """Load a model that ``model.save`` of scvi-tools wrote, without running code from its file.

    ``SCVI.load`` runs whatever ``model.pt`` asks for. Use this one for a model from somebody else.

    Parameters
    ----------
    folder
        What was given to ``model.save``.
    adata
        The cells, as for ``SCVI.load``. A file with cells beside the model is not read.

    Returns
    -------
    BaseModelClass
        The model, as ``SCVI.load`` (or ``TOTALVI.load``, ...) gives it back.

    Raises
    ------
    FileNotFoundError
        If there is no ``model.pt``.
    ValueError
        If the file asks to run something, is damaged, or holds no model that this scvi-tools
        exports. Nothing of it was run.
    """
    file = Path(folder) / "model.pt"
    if not file.exists():
        raise FileNotFoundError(
            f"There is no {file}. What to do: give the folder that model.save wrote."
        )
    content = file.read_bytes()
    _require_harmless(file, content)
    try:
        # ``weights_only=True`` knows no tables, whatever is added to what it allows.
        found = torch.load(
            io.BytesIO(content),
            map_location="cpu",
            weights_only=False,
            pickle_module=_HARMLESS_PICKLE,
        )
        registry = found["attr_dict"]["registry_"]
        family = _exported(registry["model_name"])
        known = registry["setup_method_name"] in SETUP_METHODS
    except (
        Exception
    ) as error:  # a damaged file fails inside PyTorch in many ways; all have the same remedy
        raise _not_loaded(file, _reason(error)) from error
    if not known:
        raise _not_loaded(file, f"it names the model {registry['model_name']}")
    # Written anew from what was read, so that scvi-tools itself loads what was looked at and
    # nothing else.
    with tempfile.TemporaryDirectory() as scratch:
        torch.save(found, Path(scratch) / "model.pt")
        return family.load(scratch, adata=adata)


def _exported(name: str) -> type[BaseModelClass]:
    """Return the model of scvi-tools that has this name."""
    for package in (scvi.model, scvi.external):
        if name in package.__all__:
            found = getattr(package, name)
            if issubclass(found, BaseModelClass):
                return found
    raise ValueError(f"scvi-tools {scvi.__version__} has no model {name}")


def _require_harmless(file: Path, content: bytes) -> None:
    """Raise unless all that a model file asks for is in ``HARMLESS``."""
    try:
        asked = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content))
    except Exception as error:
        raise _not_loaded(file, _reason(error)) from error
    unknown = sorted(set(asked) - set(HARMLESS))
    if unknown:
        raise ValueError(
            f"{file} asks to run {', '.join(unknown)} when it is loaded, which a model does not "
            "need. It was not loaded, and nothing was run. What to do: ask whoever made it how it "
            "was written, or train the model yourself."
        )


def _not_loaded(file: Path, why: str) -> ValueError:
    return ValueError(
        f"{file} cannot be loaded as a model of scvi-tools ({why}). Nothing of it was run. What to "
        "do: get the file again, or train the model yourself."
    )


class _HarmlessUnpickler(pickle.Unpickler):
    """Read a pickle that asks for nothing but ``HARMLESS``."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Return what the pickle asks for, or raise."""
        # The protocol that PyTorch writes uses the names of Python 2.
        module_name = "builtins" if module_name == "__builtin__" else module_name
        if f"{module_name}.{global_name}" not in HARMLESS:
            raise pickle.UnpicklingError(f"it asks to run {module_name}.{global_name}")
        return super().find_class(module_name, global_name)


# What ``torch.load`` takes in place of the module ``pickle``.
_HARMLESS_PICKLE = types.SimpleNamespace(
    __name__="pickle",
    Unpickler=_HarmlessUnpickler,
    load=lambda file, **how: _HarmlessUnpickler(file, **how).load(),
)
