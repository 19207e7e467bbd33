"""Record, while a model trains, what each term adds to its loss.

scvi-tools' own history keeps sums (all KL divergences together, all reconstruction losses together)
and the KL weight of some steps only. For the ledger of a loss that is not enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback
from scvi.module.base import LossOutput
from torch.distributions import Normal, kl_divergence

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

TRAINING, HELD_OUT = "training", "held-out"

# The name of the term that an adversarial training plan adds, which no module reports.
ADVERSARIAL = "adversarial"


class LossRecorder(Callback):
    """Note for each epoch what each term of the loss was, and what it added.

    What a term adds is not taken from a formula: it is the term times the derivative of the loss
    with respect to it, which PyTorch knows in each step. So the record holds for any weights, for a
    warm-up in epochs or in steps, and for any model whose loss is a weighted sum of the terms that
    it reports.

    Parameters
    ----------
    model
        The model that is trained. Its attribute ``loss_record_`` becomes a DataFrame with a row an
        epoch and kind of cells (``epoch`` from 1, ``cells``), in nats per cell:

        - ``("term", name)``: the mean of the term over cells;
        - ``("added", name)``: what it added to the loss;
        - ``("kl_weight", "mean" | "first" | "last")``: of the epoch's minibatches;
        - ``("minibatches", "number" | "smallest" | "loss")``: how many, the cells in the smallest,
          and the mean of their losses if all of them counted alike;
        - ``("kl per dimension", 1)`` and so on: the KL divergence of each latent dimension.

        ``model.save`` stores it. Training the model further adds rows.

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
        self.weights: dict[str, float] = {}
        self.epochs_before = 0

    # --- called by Lightning ---

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch the module."""
        if self.model.is_trained:
            losses = logged_column(self.model.history, "train_loss")
            self.epochs_before = 0 if losses is None else len(losses)
        else:
            # scvi-tools forgets the epochs of a training that was interrupted, and so does the
            # record.
            self.epochs_before = 0
            vars(self.model).pop("loss_record_", None)
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

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Add the epoch to the model's record, so that an interrupted run keeps what it did."""
        epoch = self.epochs_before + trainer.current_epoch + 1
        rows = [pd.DataFrame([sums.row(epoch, split)]) for split, sums in self.sums.items()]
        earlier = getattr(self.model, "loss_record_", None)
        record = pd.concat([earlier, *rows] if earlier is not None else rows, ignore_index=True)
        record.columns = pd.MultiIndex.from_tuples(list(record.columns))
        self.model.loss_record_ = record
        self.sums = {}

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Stop watching."""
        self._stop(pl_module)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Stop watching."""
        self._stop(pl_module)

    # --- what is noted ---

    def _stop(self, plan: Any) -> None:
        if self.hook is not None:
            self.hook.remove()
            self.hook = None
        vars(plan).pop("loss_adversarial_classifier", None)

    def _note(self, module: Any, args: tuple, kwargs: dict, output: Any) -> None:
        if self.split is None or not isinstance(output, tuple):
            return
        loss = output[-1]
        if not isinstance(loss, LossOutput):
            return
        terms = _terms(loss)
        with torch.inference_mode(False):
            added = self._added(loss, terms)
        weight = kwargs.get("loss_kwargs", {}).get("kl_weight", float("nan"))
        sums = self.sums.setdefault(self.split, _Sums())
        sums.add(
            cells=loss.n_obs_minibatch,
            loss=float(loss.loss.detach()),
            kl_weight=float(weight),
            terms={name: float(term.detach().mean()) for name, term in terms.items()},
            added=added,
            dimensions=_mean_per_dimension(*output),
        )

    def _added(self, loss: LossOutput, terms: dict[str, torch.Tensor]) -> dict[str, float]:
        """Return what each term adds to the loss of this minibatch."""
        if self.split == TRAINING:
            learned = {name: term for name, term in terms.items() if term.requires_grad}
            slopes = torch.autograd.grad(
                loss.loss, list(learned.values()), retain_graph=True, allow_unused=True
            )
            pairs = zip(learned, slopes, strict=True)
            known = {name: slope for name, slope in pairs if slope is not None}
            # Held-out cells are weighed as in the step before, and there PyTorch keeps no
            # derivatives.
            self.weights = {name: float(slope.sum()) for name, slope in known.items()}
            return {
                name: float((slope * terms[name].detach()).sum()) for name, slope in known.items()
            }
        return {name: weight * float(terms[name].mean()) for name, weight in self.weights.items()}

    def _watch_adversary(self, plan: Any) -> None:
        """Note the loss of fooling the classifier of batches, times its weight in the plan."""
        original = plan.loss_adversarial_classifier

        def watched(z: Any, batch_index: Any, predict_true_class: bool = True) -> Any:
            loss = original(z, batch_index, predict_true_class)
            # The other call, with the true batch, trains the classifier and not the model.
            if self.split == TRAINING and not predict_true_class:
                scale = plan.scale_adversarial_loss
                kappa = 1 - float(plan.kl_weight) if scale == "auto" else float(scale)
                self.sums[TRAINING].add_to_last(ADVERSARIAL, float(loss.detach()), kappa)
            return loss

        # On this plan only, beside the method of its class.
        vars(plan)["loss_adversarial_classifier"] = watched


class _Sums:
    """Sums over the minibatches of one epoch, each counted by its number of cells."""

    def __init__(self) -> None:
        self.minibatches: list[dict[tuple[str, Any], float]] = []
        self.cells: list[int] = []
        self.losses: list[float] = []
        self.kl_weights: list[float] = []

    def add(
        self,
        cells: int,
        loss: float,
        kl_weight: float,
        terms: dict[str, float],
        added: dict[str, float],
        dimensions: dict[int, float],
    ) -> None:
        self.cells.append(cells)
        self.losses.append(loss)
        self.kl_weights.append(kl_weight)
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
        weights = pd.Series(self.kl_weights)
        return {
            ("epoch", ""): epoch,
            ("cells", ""): split,
            ("minibatches", "number"): len(cells),
            ("minibatches", "smallest"): int(cells.min()),
            ("minibatches", "loss"): sum(self.losses) / len(self.losses),
            ("kl_weight", "mean"): float((weights * cells).sum() / cells.sum()),
            ("kl_weight", "first"): self.kl_weights[0],
            ("kl_weight", "last"): self.kl_weights[-1],
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


def _terms(loss: LossOutput) -> dict[str, torch.Tensor]:
    """Return the terms that a module reports, by its own names for them."""
    parts: list[Any] = [loss.reconstruction_loss, loss.kl_local, loss.kl_global]
    terms = {name: term for part in parts for name, term in part.items()}
    if loss.classification_loss is not None:
        terms["classification_loss"] = loss.classification_loss
    return terms


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
