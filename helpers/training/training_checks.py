"""What a training is looked at for while it runs, so that an error says what to do.

How cells are split and put into minibatches is known only once scvi-tools has done it: each model
has a way of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import scvi
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from scvi.model.base import BaseModelClass
from torch import nn
from torch.utils.data import BatchSampler, DataLoader

from helpers.training import model_arguments
from helpers.training.schedules import parameter_groups

# Arguments of ``train`` that say which cells are held out.
SPLITTING = {"train_size", "validation_size", "datasplitter_kwargs", "external_indexing"}

# Under which names training plans report the loss of an epoch.
LOSSES = ("train_loss", "train_loss_epoch", "elbo_train")

# The learning rate that scvi-tools takes for most models.
DEFAULT_RATE = 1e-3

# More than a cell holds of one molecule.
LARGEST_COUNT = 1e6

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

# How PyTorch begins where a distribution is given numbers that it cannot have.
IMPOSSIBLE = re.compile(r"Expected (parameter|value argument) .*(constraint|support)", re.DOTALL)


class DivergenceError(ValueError):
    """A training went astray: its loss or its weights are no numbers any more."""


class TrainingChecks(Callback):
    """Raise before the first step for what would fail in the last one, and explain a divergence.

    Parameters
    ----------
    model
        The model that is trained.
    asked
        The arguments of ``train`` that the caller gave.

    Attributes
    ----------
    explanation
        What happened and what to do if the training diverged, else None.
    """

    def __init__(self, model: BaseModelClass, asked: dict[str, Any]) -> None:
        self.model = model
        self.asked = asked
        self.weights: dict[str, torch.Tensor] = {}
        self.place = "before the first epoch"
        self.explanation: str | None = None

    # --- called by Lightning ---

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave the curve of held-out cells out where there are none, unless they were asked for.

        scvi-tools looks at no held-out cells by default, so the model may be one that has none.
        """
        if trainer.check_val_every_n_epoch == sys.maxsize or trainer.datamodule is None:
            return
        held_out = None
        # Some loaders draw random numbers when they are made.
        with isolate_rng():
            if is_overridden("val_dataloader", trainer.datamodule):
                held_out = trainer.datamodule.val_dataloader()
        if held_out is not None and all(len(each.sampler) for each in _samplers(held_out)):
            return
        if self.asked.get("check_val_every_n_epoch") or SPLITTING.intersection(self.asked):
            raise ValueError(
                "This split holds no cells out, or none of a kind that the model needs, and the "
                "presets ask for the curve of held-out cells. What to do: leave train_size out, or "
                "choose another split that holds some out, or pass check_val_every_n_epoch=None as "
                "well."
            )
        trainer.check_val_every_n_epoch = sys.maxsize
        say(f"{type(self.model).__name__} holds no cells out, so there is no curve of them.")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Raise where a minibatch has one cell and the model normalises over minibatches."""
        weights = dict(pl_module.named_parameters())
        self.weights = {name: each for name, each in weights.items() if _is_finite(each)}
        norms = [part for part in pl_module.modules() if isinstance(part, NORMS)]
        if any(part.training or part.running_mean is None for part in norms):
            self._require_whole_minibatches(list(_samplers(trainer.train_dataloader)))

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note where the training is."""
        self.place = (
            f"in epoch {trainer.current_epoch + 1} of {trainer.max_epochs}, minibatch "
            f"{batch_idx + 1} of {trainer.num_training_batches}"
        )

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Raise where the epoch left a loss or weights that are no numbers."""
        losses = [trainer.callback_metrics.get(name) for name in LOSSES]
        if self._spoiled() or not all(_is_finite(loss) for loss in losses if loss is not None):
            self.explanation = self._explained(trainer, pl_module)
            raise DivergenceError(self.explanation)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Note whether a divergence is behind an error, and cut the page of numbers off it."""
        if not isinstance(exception, Exception) or isinstance(exception, DivergenceError):
            return
        impossible = isinstance(exception, ValueError) and IMPOSSIBLE.match(str(exception))
        if impossible:
            exception.args = (str(exception).partition(":\n")[0],)
        if impossible or self._spoiled():
            self.explanation = self._explained(trainer, pl_module)

    # --- what is said ---

    def _require_whole_minibatches(self, samplers: list[BatchSampler]) -> None:
        """Raise where a last minibatch would have one cell.

        With its own default split scvi-tools avoids it, else it does not.
        """
        for each in samplers:
            cells, size = len(each.sampler), each.batch_size
            if cells % size == 1 and not each.drop_last:
                others = [len(other.sampler) for other in samplers]
                raise ValueError(
                    f"{cells:,} training cells in minibatches of {size} leave a last minibatch of "
                    "one cell, which batch normalisation cannot use. What to do: "
                    f"{self._way_out(size, others)}."
                )

    def _way_out(self, size: int, numbers: list[int]) -> str:
        if min(numbers) == 1:
            return "train on more cells: there is only one of a kind"
        better = next(n for n in itertools.count(size + 1) if all(m % n != 1 for m in numbers))
        ways = [f"pass batch_size={better}"]
        if "datasplitter_kwargs" in model_arguments.of_train(self.model):
            ways.append('datasplitter_kwargs={"drop_last": True}, which leaves that cell out')
        return ", or ".join([*ways, "split the cells in another way"])

    def _spoiled(self) -> list[str]:
        """Return the names of weights that were numbers at the start, and are none now."""
        return [name for name, weight in self.weights.items() if not _is_finite(weight)]

    def _explained(self, trainer: Any, plan: Any) -> str:
        name, spoiled = type(self.model).__name__, self._spoiled()
        weights = f", {len(spoiled)} of its {len(self.weights)} arrays of weights among them"
        registry = getattr(self.model, "registry_", None) or {}
        layer = registry.get("setup_args", {}).get("layer")
        where = "adata" if layer is None else f"adata, layer={layer!r}"
        advice = [
            "look at the data that the model was set up with (for counts, "
            f"data.check_counts({where}))"
        ]
        rates = [group.get("initial_lr", group["lr"]) for group in parameter_groups(trainer)]
        if rates:
            lower = f"{min(max(rates) / 10, DEFAULT_RATE):g}"
            of_train = "lr" in model_arguments.of_train(self.model)
            how = f"lr={lower}" if of_train else f'plan_kwargs={{"lr": {lower}}}'
            advice.append(f"lower the learning rate, which is {max(rates):g}: {how}")
        if plan.automatic_optimization:
            advice.append("limit the gradients: gradient_clip_val=1")
        listed = "; ".join(f"({n}) {each}" for n, each in enumerate(advice, start=1))
        return (
            f"The training diverged {self.place}: numbers inside {name} became infinite or no "
            f"numbers at all (NaN){weights if spoiled else ''}. "
            f"{' '.join([*_found_in_data(self.model), 'What to do:'])} in this order, {listed}."
        )


def _found_in_data(model: BaseModelClass) -> Iterator[str]:
    """Say which fields that a model reads hold numbers that may be the cause."""
    manager = getattr(model, "_adata_manager", None)
    for name in manager.data_registry if manager is not None else ():
        field = manager.get_from_registry(name)
        values = field.data if sp.issparse(field) else np.asarray(field)
        if values.dtype.kind != "f" and values.dtype.kind not in "iu":
            continue
        infinite = int((~np.isfinite(values)).sum())
        if infinite:
            yield f"{infinite:,} values of {name} in the data are infinite or no numbers."
        if name == "X" and (negative := int((values < 0).sum())):
            yield f"{negative:,} values of {name} in the data are negative."
        if name == "X" and values.size and np.nanmax(values) > LARGEST_COUNT:
            yield f"{name} in the data reaches {np.nanmax(values):g}."


@contextlib.contextmanager
def errors_not_printed() -> Iterator[None]:
    """Let scvi-tools raise an error inside this block without printing it as well.

    It prints each one as a ``NameError``, which it is not, above the error that is then raised.
    """
    names = vars(sys.modules[scvi.train.TrainRunner.__module__])
    names["print"] = lambda *args: None
    try:
        yield
    finally:
        names.pop("print", None)


def say(line: str) -> None:
    """Say something about a training on stderr."""
    print(line, file=sys.stderr)


def _is_finite(numbers: torch.Tensor) -> bool:
    return bool(torch.isfinite(torch.as_tensor(numbers)).all())


def _samplers(loader: Any) -> Iterator[BatchSampler]:
    """Give what puts cells into minibatches, in each of the loaders that a loader is made of."""
    if isinstance(loader, (list, tuple)):
        for each in loader:
            yield from _samplers(each)
    elif isinstance(loader, DataLoader):
        parts = [each for each in vars(loader).values() if isinstance(each, (list, tuple))]
        nested = [each for part in parts for each in part if isinstance(each, DataLoader)]
        own = [each for each in (loader.sampler, loader.batch_sampler) if each is not None]
        yield from (
            _samplers(nested)
            if nested
            else (each for each in own if isinstance(each, BatchSampler))
        )
