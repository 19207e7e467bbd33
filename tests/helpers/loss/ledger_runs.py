"""Models trained under a spy in many ways, which the tests of the loss share."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from lightning.pytorch.callbacks import Callback

from helpers import training
from helpers.training.loss_recorder import LossRecorder
from tests.helpers.spied_training import EVERY, QUIET, in_epochs, minibatches_of, of_kind, spied

SCANVI = {"labels_key": "known", "unlabeled_category": "?"}


class Setting(NamedTuple):
    """A model and its training.

    Attributes
    ----------
    trainings
        The arguments of each call of ``train``.
    warm_up
        The arguments of ``warmed_up`` that these calls stand for.
    model
        The arguments of ``build``.
    """

    trainings: list[dict[str, Any]]
    warm_up: Mapping[str, Any] = MappingProxyType({})
    model: Mapping[str, Any] = MappingProxyType({})


def steps(n, **more):
    return {"n_epochs_kl_warmup": None, "n_steps_kl_warmup": n, **more}


# Without a choice of its own, the loss of two or three epochs would have next to no KL divergence.
SHORT = {"n_epochs_kl_warmup": 3}
ONCE = [EVERY | {"max_epochs": 3, "plan_kwargs": SHORT}]
SETTINGS = {
    "class preset": Setting([{}], {"epochs": 12}),
    "short warm-up": Setting([EVERY | {"max_epochs": 5, "plan_kwargs": SHORT}], {"epochs": 3}),
    "default warm-up": Setting([EVERY | {"max_epochs": 3}], {"epochs": 400}),
    "warm-up in steps": Setting(
        [EVERY | {"max_epochs": 5, "plan_kwargs": steps(20)}], {"steps": 20}
    ),
    "from 0.2 to 5": Setting(
        [
            EVERY
            | {
                "max_epochs": 4,
                "plan_kwargs": {"min_kl_weight": 0.2, "max_kl_weight": 5, **SHORT},
            }
        ],
        {"epochs": 3, "low": 0.2, "high": 5},
    ),
    "in steps from 0.2 to 5": Setting(
        [EVERY | {"max_epochs": 2, "plan_kwargs": steps(7, min_kl_weight=0.2, max_kl_weight=5)}],
        {"steps": 7, "low": 0.2, "high": 5},
    ),
    "no warm-up": Setting([EVERY | {"max_epochs": 2, "plan_kwargs": steps(None)}], {}),
    "weight 0": Setting(
        [EVERY | {"max_epochs": 3, "plan_kwargs": {"max_kl_weight": 0}}],
        {"epochs": 400, "high": 0},
    ),
    "stopped early": Setting(
        [
            QUIET
            | {
                "max_epochs": 8,
                "early_stopping": True,
                "early_stopping_patience": 2,
                "early_stopping_min_delta": 1e9,
                "plan_kwargs": SHORT,
            }
        ],
        {"epochs": 3},
    ),
    "never validated": Setting([QUIET | {"max_epochs": 3, "plan_kwargs": SHORT}], {"epochs": 3}),
    "nothing held out": Setting(
        [QUIET | {"max_epochs": 2, "train_size": 1.0, "plan_kwargs": SHORT}], {"epochs": 3}
    ),
    "validated every 2 epochs": Setting(
        [QUIET | {"max_epochs": 5, "check_val_every_n_epoch": 2, "plan_kwargs": SHORT}],
        {"epochs": 3},
    ),
    "resumed": Setting(
        [
            QUIET | {"max_epochs": 3, "check_val_every_n_epoch": 2, "plan_kwargs": SHORT},
            QUIET | {"max_epochs": 4, "check_val_every_n_epoch": 2, "plan_kwargs": SHORT},
        ],
        {"epochs": 3},
    ),
    "learned library size": Setting(ONCE, {"epochs": 3}, {"use_observed_lib_size": False}),
    "two batches": Setting(ONCE, {"epochs": 3}, {"setup": {"batch_key": "chip"}}),
    "nb": Setting(ONCE, {"epochs": 3}, {"gene_likelihood": "nb"}),
    "poisson": Setting(ONCE, {"epochs": 3}, {"gene_likelihood": "poisson"}),
    "small last minibatch": Setting([ONCE[0] | {"batch_size": 200}], {"epochs": 3}),
    "equal minibatches": Setting([ONCE[0] | {"batch_size": 90}], {"epochs": 3}),
    "logged in steps": Setting(
        [EVERY | {"max_epochs": 3, "plan_kwargs": {"on_step": True, **SHORT}}], {"epochs": 3}
    ),
    "TOTALVI": Setting([EVERY | {"max_epochs": 3}], {"steps": 300}, {"kind": "TOTALVI"}),
    # Two steps of the count a minibatch: the adversary has an optimizer of its own.
    "TOTALVI, adversary": Setting(
        [EVERY | {"max_epochs": 4, "adversarial_classifier": True, "n_steps_kl_warmup": 10}],
        {"steps": 10, "optimizers": 2},
        {"kind": "TOTALVI"},
    ),
    "TOTALVI, proteins at half": Setting(
        [
            EVERY
            | {
                "max_epochs": 3,
                "n_steps_kl_warmup": 5,
                "plan_kwargs": {"pro_recons_weight": 0.5},
            }
        ],
        {"steps": 5},
        {"kind": "TOTALVI"},
    ),
    "SCANVI": Setting(ONCE, {"epochs": 3}, {"kind": "SCANVI", "setup": SCANVI}),
}


def warmed_up(epoch, step, epochs=None, steps=None, low=0.0, high=1.0, optimizers=1):
    """Return the KL weight in an epoch and step, both counted from 0.

    A straight line up to the end of the warm-up.

    The rule is that of scvi-tools' reference (TrainingPlan), written anew.
    """
    share = min(1.0, epoch / epochs if epochs else step * optimizers / steps if steps else 1.0)
    return (1 - share) * low + share * high


def weights_in_loss(setting, call):
    """Return what each term counts in the loss, from the sources of the three modules."""
    w = call["own_weight"]
    half = 0.5 if "plan_kwargs" in setting.trainings[0] else 1
    return {
        "SCVI": {"reconstruction_loss": 1, "kl_divergence_z": w, "kl_divergence_l": 1},
        "TOTALVI": {
            "reconst_loss_gene": 1,
            "reconst_loss_protein": w * half,
            "kl_div_z": w,
            "kl_div_l_gene": 1,
            "kl_div_back_pro": w,
        },
        "SCANVI": {"reconstruction_loss": 1, "kl_local": w, "classification_loss": 50},
    }[setting.model.get("kind", "SCVI")]


class Run(NamedTuple):
    model: Any
    calls: list[dict[str, Any]]
    setting: Setting

    def of(self, cells):
        return of_kind(self.calls, cells)


class Classifier(Callback):
    """Keep what the adversary's classifier answered after each call of the module's loss."""

    def __init__(self, calls):
        self.calls = calls

    def on_fit_start(self, trainer, pl_module):
        if getattr(pl_module, "adversarial_classifier", False):
            pl_module.adversarial_classifier.register_forward_hook(self.note)

    def note(self, classifier, inputs, logits):
        self.calls[-1].setdefault("logits", []).append(logits.detach().double().numpy())


def train(model, setting, recorded=True):
    """Train as the setting says, and return what the spy saw, with epochs counted on."""
    calls, epochs = [], 0
    for kwargs in setting.trainings:
        with spied(model) as seen:
            if kwargs:
                callbacks = [Classifier(seen), *([LossRecorder(model)] if recorded else [])]
                model.train(callbacks=callbacks, **kwargs)
            else:
                # As many epochs as the synthetic curves have values.
                training.train(model, max_epochs=40, **QUIET)
        others = 256 if setting.model.get("kind") == "TOTALVI" else 128
        default = others if kwargs else training.PRESETS["class"]["batch_size"]
        numbered = in_epochs(seen, minibatches_of(model, kwargs.get("batch_size", default)))
        for call in numbered:
            call["own_weight"] = warmed_up(call["epoch"] - 1, call["step"], **setting.warm_up)
            call["epoch"] += epochs
        calls += numbered
        epochs = calls[-1]["epoch"]
    return calls


def logged(model, key):
    """Return a column of scvi-tools' history; with ``on_step`` its name is another."""
    history = model.history
    return history[f"{key}_epoch" if f"{key}_epoch" in history else key].iloc[:, 0].astype(float)
