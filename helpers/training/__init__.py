"""Lesson 02: train a model in class time, see how it went, and keep the result."""

from helpers.training.checkpoints import save as save_checkpoint
from helpers.training.loss_curves import curves, plot_curves
from helpers.training.minibatches import evenly_spaced, minibatch
from helpers.training.model_state import evaluating
from helpers.training.presets import PRESETS
from helpers.training.runs import load_or_train, train
from helpers.training.schedules import plot_schedule, run_length
from helpers.training.scvi_defaults import default_epochs, defaults, dropout, plot_default_epochs
from helpers.training.shared_models import blood_model

__all__ = [
    "PRESETS",
    "blood_model",
    "curves",
    "default_epochs",
    "defaults",
    "dropout",
    "evaluating",
    "evenly_spaced",
    "load_or_train",
    "minibatch",
    "plot_curves",
    "plot_default_epochs",
    "plot_schedule",
    "run_length",
    "save_checkpoint",
    "train",
]
