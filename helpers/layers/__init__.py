"""Lesson 03: how many hidden layers a model has, counted while one minibatch runs through it."""

from helpers.layers.architecture import (
    compare,
    hidden_layers,
    linear_layers,
    module_table,
    parameters_by_state,
)
from helpers.layers.descriptions import explain, summary
from helpers.layers.untrained_parts import unused

__all__ = [
    "compare",
    "explain",
    "hidden_layers",
    "linear_layers",
    "module_table",
    "parameters_by_state",
    "summary",
    "unused",
]
