"""The presets: which arguments of a training lessons choose, and why."""

from __future__ import annotations

from typing import Any

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

# What a preset may say that ``model.train`` does not take: shares of the run.
LEARNING_RATE_SHARES = ("lr_rise", "lr_fall")

SHARES = (*LEARNING_RATE_SHARES, "kl_warmup")


def merge(preset: str, train_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a preset, replaced by those that were given.

    Parameters
    ----------
    preset
        A key of ``PRESETS``.
    train_kwargs
        What a caller gave to ``train``. ``plan_kwargs`` are merged key by key.

    Raises
    ------
    ValueError
        If there is no such preset, or a share of the run is not from 0 to 1.
    """
    if preset not in PRESETS:
        raise ValueError(f"There is no preset '{preset}'. Presets: {', '.join(PRESETS)}.")
    merged = PRESETS[preset] | train_kwargs
    for name in SHARES:
        if not 0 <= merged.get(name, 0) <= 1:
            raise ValueError(
                f"{name} is a share of the run, from 0 to 1, not {merged[name]}. For the tenth: "
                f"{name}=0.1."
            )
    if "plan_kwargs" in PRESETS[preset]:
        merged["plan_kwargs"] = PRESETS[preset]["plan_kwargs"] | train_kwargs.get("plan_kwargs", {})
    return merged
