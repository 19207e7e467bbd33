"""Interrupted training goes on where it was, and ends as if nobody had interrupted it.

While a model trains, the state of the run is written after an epoch, a few seconds apart: weights,
optimizers, counters of Lightning, history, and where the random numbers stand. It is data only, see
``checkpoints``.
"""

from __future__ import annotations

import contextlib
import copy
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import lightning
import numpy as np
import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch.callbacks import Callback
from torch import nn

from helpers.training import checkpoints

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

# How long the work may be that a killed kernel loses. An interrupted one loses no finished epoch.
SECONDS_BETWEEN_SAVES = 5.0


class Progress(CheckpointIO):
    """The state of one run, in memory after each epoch and in a file from time to time.

    Lightning hands its part of the state over through ``save_checkpoint`` and asks for it with
    ``load_checkpoint``.

    Parameters
    ----------
    settings
        How the model is trained, with the ``key`` of the run.
    folder
        Where checkpoints are kept.
    """

    def __init__(self, settings: dict[str, Any], folder: Path) -> None:
        self.key = settings["key"]
        self.file = folder / f".{settings['model']}-{self.key}.progress"
        self.lock = filelock.FileLock(self.file.with_suffix(".lock"), blocking=False)
        self.from_lightning: dict[str, Any] = {}
        self.state: dict[str, Any] | None = None
        self.found: dict[str, Any] | None = None
        self.saved_at = time.monotonic()
        self.epochs_saved = 0
        self.is_kept = True
        self.was_mine = False

    # --- called by Lightning ---

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Take over Lightning's part of the state."""
        self.from_lightning = checkpoint

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return Lightning's part of the state that was found."""
        assert self.found is not None
        return self.found["lightning"]

    def remove_checkpoint(self, path: Any) -> None:
        """Leave the file where it is; Lightning is not asked to remove any."""

    # --- the file ---

    def find(self) -> None:
        """Look for the state of an interrupted run, unless another kernel goes on with it."""
        if self.file.exists() and self._is_mine():
            found = checkpoints.read(self.file, self.key)
            # What Lightning counts, and how, is its own affair.
            if found and found["version"] == lightning.__version__:
                self.found = found
                self.epochs_saved = found["epochs"]

    def note(self, state: dict[str, Any]) -> None:
        """Keep a copy of the state after an epoch, and write it from time to time."""
        self.state = copy.deepcopy(state | {"lightning": self.from_lightning})
        if time.monotonic() - self.saved_at >= SECONDS_BETWEEN_SAVES:
            self.save()

    def save(self) -> None:
        """Write the state after the last whole epoch.

        Where that cannot be, say so once and go on.
        """
        if self.state is None or self.state["epochs"] == self.epochs_saved:
            return
        if self._is_mine():
            try:
                content = self.state | {"version": lightning.__version__}
                checkpoints.write(self.file, self.key, content)
                self.epochs_saved = self.state["epochs"]
            except OSError as error:
                self._give_up(error)
        self.saved_at = time.monotonic()

    def remove(self) -> None:
        """Remove the file: the run is over.

        Where another kernel keeps the same run, its file stays.
        """
        if self.was_mine and self.file.exists() and self._is_mine():
            with contextlib.suppress(OSError):
                self.file.unlink(missing_ok=True)
            self.release()

    def release(self) -> None:
        """Let other kernels go on with this run, and free the memory.

        ``model.trainer`` would hold it.
        """
        self.from_lightning, self.state, self.found = {}, None, None
        if self.lock.is_locked:
            self.lock.release(force=True)
            # Held by nobody, it means nothing. Two kernels that cross here write the same state.
            with contextlib.suppress(OSError):
                Path(self.lock.lock_file).unlink(missing_ok=True)

    def _is_mine(self) -> bool:
        """Hold the lock of this run, or say why not and keep nothing from then on."""
        if not self.is_kept:
            return False
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            if not self.lock.is_locked:
                self.lock.acquire()
            self.was_mine = True
        except filelock.Timeout:
            self.is_kept = False
            print(
                "Another kernel trains this same model and keeps its progress. This one trains as "
                "well, but keeps none.",
                file=sys.stderr,
            )
        except OSError as error:
            self._give_up(error)
        return self.is_kept

    def afterwards(self) -> str:
        """Say where the run goes on if it is interrupted now."""
        return f"goes on after epoch {self.epochs_saved}" if self.epochs_saved else "begins anew"

    def _give_up(self, error: OSError) -> None:
        self.is_kept = False
        print(
            f"The progress of this training cannot be kept in {self.file.parent} "
            f"({error.strerror or error}). The training goes on; if it is interrupted, it "
            f"{self.afterwards()}. What to do: make room on the disk, or make the folder writable.",
            file=sys.stderr,
        )


class KeepProgress(Callback):
    """Note the state of a run at the end of each epoch, and put it back when the run goes on.

    Parameters
    ----------
    model
        The model that is trained.
    progress
        Where its state goes, and the state that was found.
    """

    def __init__(self, model: BaseModelClass, progress: Progress) -> None:
        self.model = model
        self.progress = progress

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Put back what Lightning does not.

        These are history, record of the loss, and at last the random numbers.
        """
        state = self.progress.found
        if state is None:
            return
        print(f"Going on after epoch {trainer.current_epoch} of {trainer.max_epochs}.")
        trainer.logger.experiment.data.update(state["history"])
        self.model.loss_record_ = state["loss record"]
        if trainer.early_stopping_callback is not None:
            trainer.early_stopping_callback._current_step = state["checks"]
        # Lightning would take the minibatches of this epoch in an order that it drew before the
        # random numbers were put back.
        trainer.fit_loop._resuming_from_checkpoint = False
        _set_random_states(state["random states"])

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Note the state after the epoch before; only here all that belongs to it is done."""
        epoch = trainer.current_epoch
        if self.progress.found is not None and epoch == self.progress.found["epochs"]:
            _show_epochs_done(trainer)
        elif epoch and self.progress.is_kept:
            trainer.save_checkpoint(self.progress.file)
            _take_back_the_epoch_that_begins(self.progress.from_lightning)
            stopping = trainer.early_stopping_callback
            self.progress.note(
                {
                    "epochs": epoch,
                    "history": trainer.logger.history,
                    "loss record": self.model.loss_record_,
                    "checks": getattr(stopping, "_current_step", 0),
                    "random states": _random_states(),
                }
            )


def _take_back_the_epoch_that_begins(state: dict[str, Any]) -> None:
    """Undo that Lightning has counted it as ready.

    It would take the run for one that was stopped inside this epoch.
    """
    for counts in (
        state["loops"]["fit_loop"]["epoch_progress"][name] for name in ("total", "current")
    ):
        counts["ready"] = counts["completed"]


def _show_epochs_done(trainer: Any) -> None:
    """Let the progress bar begin where the run goes on."""
    bar = getattr(trainer.progress_bar_callback, "main_progress_bar", None)
    if bar is not None:
        bar.initial = bar.n = trainer.current_epoch
        bar.refresh()


def _random_states() -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002 -- the generator that scvi-tools draws from
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


@contextlib.contextmanager
def keeping(model: BaseModelClass, progress: Progress | None) -> Iterator[dict[str, Any]]:
    """Keep the progress of the training inside this block.

    Parameters
    ----------
    model
        The untrained model. If its training is interrupted it is again what it was before: training
        it with the same settings then goes on, training it with others begins anew.
    progress
        Where the state of the run goes; None to keep nothing.

    Yields
    ------
    dict
        What ``model.train`` is given in addition: ``callbacks``, ``plugins`` and ``ckpt_path``.
    """
    # Some models are made when they are trained, or outside PyTorch.
    module = model.module if isinstance(model.module, nn.Module) else nn.Module()
    before = copy.deepcopy(module.state_dict())
    # Modes, and what a module notes in a step.
    attributes = {part: dict(vars(part)) for part in module.modules()}
    try:
        yield {} if progress is None else _arguments(model, progress)
    except BaseException as error:
        # A module of Pyro may have got parameters in its first step.
        module.load_state_dict(before, strict=False)
        for part, noted in attributes.items():
            vars(part).clear()
            vars(part).update(noted)
        if progress is not None:
            progress.save()
        if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
            # Lightning would end the process; a notebook shows that as an error of its own.
            raise KeyboardInterrupt(_stopped(progress)) from None
        raise
    finally:
        if progress is not None:
            progress.release()


def _arguments(model: BaseModelClass, progress: Progress) -> dict[str, Any]:
    progress.find()
    arguments = {"callbacks": [KeepProgress(model, progress)], "plugins": [progress]}
    return arguments | ({"ckpt_path": progress.file} if progress.found else {})


def _stopped(progress: Progress | None) -> str:
    afterwards = "begins anew" if progress is None else progress.afterwards()
    return f"Training was stopped. Run it again with the same settings, and it {afterwards}."
