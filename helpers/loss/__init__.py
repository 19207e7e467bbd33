"""Lesson 04: what the loss is made of, term by term, and what it means."""

from helpers.loss.attribution import attribute_loss
from helpers.loss.convergence import checklist
from helpers.loss.evaluation import compare, reevaluate
from helpers.loss.latent_dimensions import IN_USE, dimensions_in_use
from helpers.loss.loss_ledger import contributions, kl_per_dimension, ledger, term_name
from helpers.loss.model_comparison import side_by_side
from helpers.loss.terms_by_hand import by_hand

__all__ = [
    "IN_USE",
    "attribute_loss",
    "by_hand",
    "checklist",
    "compare",
    "contributions",
    "dimensions_in_use",
    "kl_per_dimension",
    "ledger",
    "reevaluate",
    "side_by_side",
    "term_name",
]
