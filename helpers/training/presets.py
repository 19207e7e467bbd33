"""The presets: which arguments of a training lessons choose, and why."""

from __future__ import annotations

from typing import Any

from scvi.train import merge_kwargs

# Both presets ask for the validation curve, which `model.train()` leaves out. The look at the
# held-out cells draws random numbers, so from the second epoch on the run is as good as one without
# the curve, but not equal to it digit by digit.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {"check_val_every_n_epoch": 1},
    # At least as good on held-out cells as the default run: measured with SCVI on 400 to 20,000
    # cells, for a twentieth of its time on the cortex cells and a sixth to a sixteenth on others
    # (docs/results/costs.md). Half the minibatch makes twice the steps for a third more time. A
    # large learning rate makes up for the fewer epochs; its fall to 0 ends the jumps that large
    # steps make.
    "class": {
        "check_val_every_n_epoch": 1,
        "max_epochs": 14,
        "least_steps": 300,
        "batch_size": 64,
        "lr_rise": 0.1,
        "lr_fall": 0.4,
        "kl_warmup": 0.3,
        "plan_kwargs": {"lr": 0.015},
    },
    # For TOTALVI on some hundred cells, and for SCVI beside it. On the 400 blood cells the held-out
    # negative ELBO of TOTALVI ends 9 to 12 nats per cell below that of its default training, and
    # that of SCVI between 5 below and 29 above (docs/results/citeseq.csv). TOTALVI would stop
    # early,
    # and at another epoch on another processor.
    "few cells": {
        "check_val_every_n_epoch": 1,
        "max_epochs": 80,
        "batch_size": 64,
        "early_stopping": False,
        "plan_kwargs": {"lr": 4e-3, "n_epochs_kl_warmup": 30},
    },
}

# What a preset may say that ``model.train`` does not take: shares of the run, and its least length.
LEARNING_RATE_SHARES = ("lr_rise", "lr_fall")

SHARES = (*LEARNING_RATE_SHARES, "kl_warmup")

# Any of these chooses how the KL weight rises, so that the preset's own choice no longer holds.
WARM_UPS = ("n_epochs_kl_warmup", "n_steps_kl_warmup", "kl_warmup")

# Arguments of a training plan that bring an optimizer with a learning rate of its own.
OWN_OPTIMIZERS = {"optimizer_creator", "optim", "optim_kwargs"}


def merge(preset: str, train_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a preset, replaced by those that were given.

    Parameters
    ----------
    preset
        A key of ``PRESETS``.
    train_kwargs
        What a caller gave to ``train``. ``plan_config`` and ``plan_kwargs`` are merged key by key,
        and become ``plan_kwargs``; what ``trainer_config`` says wins over the preset as well. An
        argument that is given as None is what scvi-tools makes of None. Steps of a KL warm-up
        replace the epochs of the preset's, where no epochs are asked for.

    Raises
    ------
    ValueError
        If there is no such preset, a share of the run is not from 0 to 1, or the run would have no
        epochs or no end.
    """
    if preset not in PRESETS:
        raise ValueError(f"There is no preset '{preset}'. Presets: {', '.join(PRESETS)}.")
    asked_plan = asked_of_the_plan(train_kwargs)
    chosen, plan = dict(PRESETS[preset]), dict(PRESETS[preset].get("plan_kwargs", {}))
    # scvi-tools reads all but the number of epochs from a configuration of the trainer.
    configured = merge_kwargs(train_kwargs.get("trainer_config"), None, name="trainer")
    for name in configured.keys() - {"max_epochs"}:
        chosen.pop(name, None)
    asked = {name: each for name, each in (asked_plan | train_kwargs).items() if name in WARM_UPS}
    if asked.keys() - {"n_steps_kl_warmup"} or asked.get("n_steps_kl_warmup") is not None:
        own = [chosen.pop("kl_warmup", None), plan.pop("n_epochs_kl_warmup", None)]
        # scvi-tools looks at the steps only where there are no epochs, and has 400 by default.
        if asked.keys() == {"n_steps_kl_warmup"} and any(own):
            plan["n_epochs_kl_warmup"] = None
    if OWN_OPTIMIZERS & asked_plan.keys():
        plan.pop("lr", None)
    merged = chosen | {n: each for n, each in train_kwargs.items() if n != "plan_config"}
    merged["plan_kwargs"] = plan | asked_plan
    for name in (*SHARES, "least_steps"):
        if name in merged and merged[name] is None:
            del merged[name]
    _require_sense(merged)
    return merged


def asked_of_the_plan(train_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the training plan that a caller gave to ``train``."""
    return merge_kwargs(
        train_kwargs.get("plan_config"), train_kwargs.get("plan_kwargs"), name="plan"
    )


def _require_sense(merged: dict[str, Any]) -> None:
    for name in SHARES:
        if not 0 <= merged.get(name, 0) <= 1:
            raise ValueError(
                f"{name} is a share of the run, from 0 to 1, not {merged[name]}. For the tenth: "
                f"{name}=0.1."
            )
    for name, least in (("max_epochs", 1), ("max_steps", -1)):
        value = merged.get(name)
        if value is not None and (value < least or value == 0):
            raise ValueError(
                f"{name}={value} trains nothing, or without an end. What to do: pass 1 or more, or "
                "leave it out; to train until early stopping ends it, a large number."
            )
