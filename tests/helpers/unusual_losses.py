"""Modules as users and other packages write them, each with another way to report its loss.

The loss of all but two is reconstruction + KL weight x KL divergence, for each cell.
"""

import functools
import inspect

import scvi
import torch
from scvi.module.base import LossOutput

from helpers.training.loss_recorder import LossRecorder

# The training cells make one minibatch of 48 cells and one of 33.
N_CELLS, BATCH_SIZE = 90, 48
PENALTY = 7.0


class _Module(scvi.module.VAE):
    """SCVI's module, with the parts of its loss handed to a way to report them."""

    def loss(self, tensors, inference_outputs, generative_outputs, kl_weight=1.0):
        log_lik = generative_outputs["px"].log_prob(tensors["X"]).sum(dim=-1)
        kl = torch.distributions.kl_divergence(inference_outputs["qz"], generative_outputs["pz"])
        return self.report(log_lik, kl, kl_weight, tensors, generative_outputs)


def _whole(log_lik, kl, weight):
    return (-log_lik + weight * kl.sum(dim=1)).mean()


class Anew(_Module):
    """Both terms are computed anew for the report, as in a tutorial of scvi-tools."""

    def report(self, log_lik, kl, weight, *_):
        halves = kl[:, :5].sum(dim=1), kl[:, 5:].sum(dim=1)
        loss = (-log_lik + weight * (halves[0] + halves[1])).mean()
        return LossOutput(loss, reconstruction_loss=-log_lik, kl_local=halves[0] + halves[1])


class Twice(_Module):
    """The log probability of the report comes from a second call, and a term is a plain number."""

    def report(self, log_lik, kl, weight, tensors, generative):
        again = -generative["px"].log_prob(tensors["X"]).sum(dim=-1)
        return LossOutput(
            _whole(log_lik, kl, weight),
            reconstruction_loss=again,
            kl_local=kl.sum(dim=1),
            kl_global=0.0,
        )


class Detached(_Module):
    """The terms of the report have no history."""

    def report(self, log_lik, kl, weight, *_):
        return LossOutput(
            _whole(log_lik, kl, weight),
            reconstruction_loss=-log_lik.detach(),
            kl_local=kl.sum(dim=1).detach(),
        )


class Reported(_Module):
    """Another term is in the loss, and reported as an extra metric; others are not in the loss."""

    def report(self, log_lik, kl, weight, *_):
        spread = kl.var(dim=1)
        return LossOutput(
            _whole(log_lik, kl, weight) + 3 * spread.mean(),
            reconstruction_loss=-log_lik,
            kl_local=kl.sum(dim=1),
            extra_metrics={"spread": spread.mean(), "largest": kl.max(), "positions": kl},
        )


class Hidden(_Module):
    """A penalty is in the loss, and not reported."""

    def report(self, log_lik, kl, weight, *_):
        return LossOutput(
            _whole(log_lik, kl, weight) + PENALTY,
            reconstruction_loss=-log_lik,
            kl_local=kl.sum(dim=1),
        )


class Summed(_Module):
    """The reconstruction is summed over the minibatch before the rest is, as in PEAKVI."""

    def report(self, log_lik, kl, weight, *_):
        loss = (-log_lik.sum() + weight * kl.sum(dim=1)).sum()
        return LossOutput(loss, reconstruction_loss=-log_lik, kl_local=kl.sum(dim=1))


class Unweighted(scvi.module.VAE):
    """The loss takes no KL weight."""

    def loss(self, tensors, inference_outputs, generative_outputs):
        return super().loss(tensors, inference_outputs, generative_outputs, 1.0)


class PassedOn(scvi.module.VAE):
    """The loss takes whatever comes, so the training plan finds no KL weight in its signature."""

    def loss(self, *args, **kwargs):
        return super().loss(*args, **kwargs)


@functools.cache
def cells():
    """Return 90 made-up cells x 20 genes in three batches."""
    return scvi.data.synthetic_iid(batch_size=N_CELLS // 3, n_genes=20, n_batches=3)


def build(module, seed=0):
    """Return an untrained model of one of these modules, or of one of scvi-tools by its name."""
    family = getattr(scvi.model, module) if isinstance(module, str) else scvi.model.SCVI
    if not isinstance(module, str):
        family = type(f"My{module.__name__}", (family,), {"_module_cls": module})
    adata = cells().copy()
    family.setup_anndata(adata, batch_key="batch")
    scvi.settings.seed = seed
    return family(adata)


def train(model, epochs=3, warm_up=2, **kwargs):
    """Train with a recorder, looking at the held-out cells after each epoch."""
    # PEAKVI would overwrite the plan's with its own.
    plan = {"n_epochs_kl_warmup": warm_up}
    own = "n_epochs_kl_warmup" in inspect.signature(model.train).parameters
    model.train(
        max_epochs=epochs,
        batch_size=BATCH_SIZE,
        check_val_every_n_epoch=1,
        enable_progress_bar=False,
        callbacks=[LossRecorder(model)],
        **plan if own else {"plan_kwargs": plan},
        **kwargs,
    )
    return model
