"""Record, while a model trains, what each term adds to its loss.

scvi-tools' own history keeps sums (all KL divergences together, all reconstruction losses together)
and the KL weight of some steps only. For the ledger of a loss that is not enough.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback
from scvi.module.base import LossOutput
from torch.distributions import Normal, kl_divergence

from helpers.training import loss_terms

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

TRAINING, HELD_OUT = "training", "held-out"

# The name of the term that an adversarial training plan adds, which no module reports.
ADVERSARIAL = "adversarial"


def _harmless(watch: Callable[..., None]) -> Callable[..., None]:
    """Let a method that watches a training never break it: if it fails, the watching ends."""

    @functools.wraps(watch)
    def watched(recorder: LossRecorder, *args: Any, **kwargs: Any) -> None:
        if recorder.gave_up is None:
            try:
                watch(recorder, *args, **kwargs)
            except Exception as error:
                recorder.gave_up = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"

    return watched


class LossRecorder(Callback):
    """Note for each epoch what each term of the loss was, and what it added.

    What a term adds is not taken from a formula (see ``loss_terms``). So the record holds for any
    weights, for a warm-up in epochs or in steps, and for any model whose loss is a weighted sum of
    the terms that it reports. What the loss holds beyond these is the residual of its ledger.

    A training never ends because it is watched: where the loss cannot be recorded, that is said on
    stderr when the training is over.

    Parameters
    ----------
    model
        The model that is trained. Its attribute ``loss_record_`` becomes a DataFrame with a row an
        epoch and kind of cells (``epoch`` from 1, ``cells``), in nats per cell:

        - ``("term", name)``: the mean of the term over cells;
        - ``("added", name)``: what it added to the loss;
        - ``("kl_weight", "mean" | "first" | "last")``: of the epoch's minibatches. It is the weight
          that the training plan set if a KL divergence counts that much, beside the reconstruction,
          in the loss; else the weight with which all of them together do count;
        - ``("scale", "mean")``: how many times a nat of the reconstruction counts in the loss; 1 if
          that is in nats per cell;
        - ``("minibatches", "number" | "smallest" | "loss")``: how many, the cells in the smallest,
          and the mean of their losses if all of them counted alike;
        - ``("kl per dimension", 1)`` and so on: the KL divergence of each latent dimension.

        It is None if nothing could be recorded. ``model.save`` stores it. Training the model
        further adds rows.

    Examples
    --------
    ``training.train`` uses one. With scvi-tools alone:
    ``model.train(callbacks=[LossRecorder(model)])``.
    """

    def __init__(self, model: BaseModelClass) -> None:
        self.model = model
        self.hook: Any = None
        self.split: str | None = None
        self.sums: dict[str, _Sums] = {}
        self.weights = _Weights()
        self.epochs_before = 0
        self.gave_up: str | None = None

    # --- called by Lightning ---

    @_harmless
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch the module."""
        if self.model.is_trained:
            losses = logged_column(self.model.history, "train_loss")
            self.epochs_before = 0 if losses is None else len(losses)
        else:
            # scvi-tools forgets the epochs of a training that was interrupted, and so does the
            # record.
            self.epochs_before = 0
            self.model.loss_record_ = None
        self.hook = self.model.module.register_forward_hook(self._note, with_kwargs=True)
        if getattr(pl_module, "adversarial_classifier", False) is not False:
            self._watch_adversary(pl_module)

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note what follows as training."""
        self.split = TRAINING

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note nothing between two minibatches."""
        self.split = None

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Note what follows as held-out, unless it is a trial run before the training."""
        self.split = None if trainer.sanity_checking else HELD_OUT

    def on_validation_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note nothing between two minibatches."""
        self.split = None

    @_harmless
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Add the epoch to the model's record, so that an interrupted run keeps what it did."""
        epoch = self.epochs_before + trainer.current_epoch + 1
        if not self.sums:
            raise ValueError("its module returns no LossOutput of scvi-tools in a training step")
        rows = [pd.DataFrame([sums.row(epoch, split)]) for split, sums in self.sums.items()]
        earlier = getattr(self.model, "loss_record_", None)
        record = pd.concat([earlier, *rows] if earlier is not None else rows, ignore_index=True)
        record.columns = pd.MultiIndex.from_tuples(list(record.columns))
        self.model.loss_record_ = record
        self.sums, self.weights = {}, _Weights()

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop watching, and say so if the loss could not be recorded."""
        self._stop(pl_module)
        if self.gave_up is not None:
            print(
                f"The training went on, but what its loss is made of could not be recorded for "
                f"this {type(self.model).__name__} ({self.gave_up}). A ledger of it can rely only "
                "on the history of scvi-tools.",
                file=sys.stderr,
            )

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Stop watching."""
        self._stop(pl_module)

    # --- what is noted ---

    def _stop(self, plan: Any) -> None:
        if self.hook is not None:
            self.hook.remove()
            self.hook = None
        vars(plan).pop("loss_adversarial_classifier", None)

    @_harmless
    def _note(self, module: Any, args: tuple, kwargs: dict, output: Any) -> None:
        if self.split is None or not isinstance(output, tuple):
            return
        loss = output[-1]
        if not isinstance(loss, LossOutput):
            return
        terms = loss_terms.reported(loss)
        size = loss.n_obs_minibatch
        planned = float(kwargs.get("loss_kwargs", {}).get("kl_weight", math.nan))
        if self.split == TRAINING:
            with torch.inference_mode(False):
                slopes = loss_terms.slopes(loss, terms)
            added = {
                name: float((slope * terms.all[name].detach()).sum())
                for name, slope in slopes.items()
            }
            weights = {name: float(slope.sum()) for name, slope in slopes.items()}
            self.weights.note(size, planned, weights)
        else:
            # Held-out cells are weighed as in the step before, and there PyTorch keeps no
            # derivatives.
            weights = self.weights.of(size)
            added = {
                name: weight * float(terms.all[name].mean())
                for name, weight in weights.items()
                if name in terms.all
            }
        # Where there are several, the others may have a weight of their own, as TOTALVI's proteins.
        scale = next((weights[name] for name in terms.reconstruction if name in weights), 1.0)
        self.sums.setdefault(self.split, _Sums()).add(
            cells=size,
            loss=float(loss.loss.detach().sum()),
            scale=scale,
            kl_weight=_kl_weight(planned, terms, weights, scale),
            terms={
                name: float(term.detach().mean())
                for name, term in terms.all.items()
                if name in added or name not in terms.other
            },
            added=added,
            dimensions=_mean_per_dimension(*output),
        )

    def _watch_adversary(self, plan: Any) -> None:
        """Note the loss of fooling the classifier of batches, times its weight in the plan."""
        original = plan.loss_adversarial_classifier

        def watched(z: Any, batch_index: Any, predict_true_class: bool = True) -> Any:
            loss = original(z, batch_index, predict_true_class)
            # The other call, with the true batch, trains the classifier and not the model.
            if self.split == TRAINING and not predict_true_class:
                self._note_adversary(plan, loss)
            return loss

        # On this plan only, beside the method of its class.
        vars(plan)["loss_adversarial_classifier"] = watched

    @_harmless
    def _note_adversary(self, plan: Any, loss: torch.Tensor) -> None:
        scale = plan.scale_adversarial_loss
        kappa = 1 - float(plan.kl_weight) if scale == "auto" else float(scale)
        self.sums[TRAINING].add_to_last(ADVERSARIAL, float(loss.detach()), kappa)


class _Weights:
    """With which weight each term counted in the minibatches of one epoch, by their size.

    A module that takes the mean over the cells gives a term the same weight in any minibatch, one
    that takes the sum gives it more in a larger one.
    """

    def __init__(self) -> None:
        self.last_size = 0
        self.by_size: dict[int, tuple[float, dict[str, float]]] = {}

    def note(self, size: int, planned: float, weights: dict[str, float]) -> None:
        self.last_size = size
        self.by_size[size] = planned, weights

    def of(self, size: int) -> dict[str, float]:
        """Return the weights of the last step, for a minibatch of another size."""
        if not self.by_size:
            return {}
        planned, last = self.by_size[self.last_size]
        # With another KL weight in between, the weights differ for that reason.
        other = next(
            (
                known
                for known, (then, _) in self.by_size.items()
                if known != self.last_size and then == planned
            ),
            None,
        )
        if other is None:
            return last
        return {
            name: weight * (size / self.last_size) ** self._power(name, other)
            for name, weight in last.items()
        }

    def _power(self, name: str, other: int) -> int:
        """Return with which power of the minibatch's size a weight grows; 0 if with none."""
        last, then = self.by_size[self.last_size][1][name], self.by_size[other][1].get(name, 0)
        if last * then <= 0:
            return 0
        power = math.log(last / then) / math.log(self.last_size / other)
        # Else it depends on the cells, such as on those that have a label.
        return round(power) if abs(power - round(power)) < 0.1 else 0


class _Sums:
    """Sums over the minibatches of one epoch, each counted by its number of cells."""

    def __init__(self) -> None:
        self.minibatches: list[dict[tuple[str, Any], float]] = []
        self.cells: list[int] = []
        self.losses: list[float] = []
        self.kl_weights: list[float] = []
        self.scales: list[float] = []

    def add(
        self,
        cells: int,
        loss: float,
        scale: float,
        kl_weight: float,
        terms: dict[str, float],
        added: dict[str, float],
        dimensions: dict[int, float],
    ) -> None:
        self.cells.append(cells)
        self.losses.append(loss)
        self.kl_weights.append(kl_weight)
        self.scales.append(scale)
        groups: dict[str, dict[Any, float]] = {
            "term": terms,
            "added": added,
            "kl per dimension": dimensions,
        }
        self.minibatches.append(
            {(group, name): value for group, part in groups.items() for name, value in part.items()}
        )

    def add_to_last(self, name: str, value: float, weight: float) -> None:
        """Add a term that the module does not report to the minibatch that was noted last."""
        self.minibatches[-1] |= {("term", name): value, ("added", name): weight * value}
        self.losses[-1] += weight * value

    def row(self, epoch: int, split: str) -> dict[tuple[str, Any], Any]:
        """Return the epoch's row: means over cells."""
        cells = pd.Series(self.cells)
        # A term that a minibatch does not have adds nothing there.
        noted = pd.DataFrame(self.minibatches).fillna(0)
        means = noted.mul(cells, axis=0).sum() / cells.sum()
        weights, scales = pd.Series(self.kl_weights), pd.Series(self.scales)
        return {
            ("epoch", ""): epoch,
            ("cells", ""): split,
            ("minibatches", "number"): len(cells),
            ("minibatches", "smallest"): int(cells.min()),
            ("minibatches", "loss"): sum(self.losses) / len(self.losses),
            ("kl_weight", "mean"): float((weights * cells).sum() / cells.sum()),
            ("kl_weight", "first"): self.kl_weights[0],
            ("kl_weight", "last"): self.kl_weights[-1],
            ("scale", "mean"): float((scales * cells).sum() / cells.sum()),
            **means.to_dict(),
        }


def logged_column(history: Mapping[str, pd.DataFrame], key: str) -> pd.Series | None:
    """Return a column of scvi-tools' history, or None.

    With ``on_step=True`` its name carries ``_epoch``.
    """
    for name in (f"{key}_epoch", key):
        if name in history:
            return history[name].iloc[:, 0].astype(float)
    return None


def _kl_weight(
    planned: float, terms: loss_terms.Terms, weights: dict[str, float], scale: float
) -> float:
    """Return how much a nat of KL divergence counts in the loss beside one of the reconstruction.

    It is what the training plan set if any KL divergence counts that much: others may have a weight
    of their own. A module that has no use for the plan's weight, or divides it, has another. NaN
    where no cell has a divergence.
    """
    sizes = {name: float(term.detach().mean()) for name, term in terms.kl_local.items()}
    if not any(sizes.values()):
        return math.nan
    counted = {name: weights[name] / scale for name in sizes if name in weights and scale}
    total = sum(sizes[name] for name in counted)
    as_planned = any(
        math.isclose(weight, planned, rel_tol=1e-2, abs_tol=1e-6) for weight in counted.values()
    )
    if as_planned or not total:
        return planned
    return sum(weight * sizes[name] for name, weight in counted.items()) / total


def kl_of_dimensions(
    inference: dict[str, Any], generative: dict[str, Any], loss: LossOutput
) -> torch.Tensor | None:
    """Return the KL divergence of each latent dimension of each cell, or None.

    Parameters
    ----------
    inference, generative, loss
        What a module returned for a minibatch.

    Returns
    -------
    Tensor or None
        Cells x latent dimensions, in nats; None if they do not add up to one of the terms of the
        loss, as in a model with more than one latent space, or with a prior that is no normal
        distribution.
    """
    cloud, prior = inference.get("qz"), generative.get("pz") or Normal(0, 1)
    if not (isinstance(cloud, Normal) and isinstance(prior, Normal)):
        return None
    with torch.no_grad():
        parts = kl_divergence(cloud, prior)
        terms = [term for term in loss.kl_local.values() if term.shape == parts.shape[:1]]
        if any(torch.allclose(parts.sum(dim=1), term, rtol=1e-3) for term in terms):
            return parts
    return None


def _mean_per_dimension(*output: Any) -> dict[int, float]:
    """Return the mean of ``kl_of_dimensions`` over cells, by latent dimension from 1."""
    parts = kl_of_dimensions(*output)
    return {} if parts is None else dict(enumerate(parts.mean(dim=0).tolist(), start=1))
