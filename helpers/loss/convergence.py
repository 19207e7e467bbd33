"""Whether a model is trained enough, answered from its ledger."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import linregress

from helpers import figures
from helpers.loss.latent_dimensions import IN_USE, dimensions_in_use
from helpers.loss.loss_ledger import in_nats, ledger, unnamed

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

# A change of less than this share of the loss is none, and a latent dimension with fewer nats per
# cell is not in use.
UNCHANGED = 1e-3

FULL_WEIGHT = "Does the KL divergence count in full at the end?"


def checklist(model: BaseModelClass) -> pd.DataFrame:
    """Answer from the ledger whether a model is trained enough.

    Parameters
    ----------
    model
        A trained model with its data.

    Returns
    -------
    DataFrame
        A row a question, columns ``found`` and ``verdict`` ("ok", or what to do). Where the loss is
        not in nats per cell, or holds more than its terms, the first rows say so.

    Raises
    ------
    TypeError, ValueError
        As for ``ledger`` and ``by_hand``.

    Notes
    -----
    The end of a curve is its last quarter (at least four epochs), because single epochs jump.
    It still falls if a straight line through it falls by more than a thousandth of the loss, and by
    more than chance would explain (p < 0.05). It rose again if its mean lies more than a thousandth
    above the best mean of as many epochs. A latent dimension is in use from 0.1 nats per cell on.
    """
    with warnings.catch_warnings():
        # The table says it in a row of its own.
        warnings.filterwarnings("ignore", "The terms that this .* reports do not make up its loss")
        table = ledger(model)
    rows = [*_what_the_loss_is(table), _end_of_warm_up(table["kl_weight"], in_nats(table))]
    curve = table["held_out_elbo"].dropna()
    rows.append(
        _row(
            "Is there a curve of held-out cells?",
            f"after {len(curve)} of {len(table)} epochs",
            len(curve) > 0,
            "train with check_val_every_n_epoch=1",
        )
    )
    rows += _end_of_curve(curve)
    dimensions = dimensions_in_use(model)["kl"]
    used = int((dimensions >= IN_USE).sum())
    rows.append(
        _row(
            "Are the latent dimensions in use?",
            f"{used} of {len(dimensions)}",
            used > 0,
            "train longer, or lower max_kl_weight: the cells all look the same to the decoder",
        )
    )
    return pd.DataFrame(rows).set_index("question")


def _what_the_loss_is(table: pd.DataFrame) -> list[dict[str, str]]:
    """Say so where the loss is no sum of known terms, or not in nats per cell."""
    rows = []
    if not in_nats(table):
        scale = table["scale"].iloc[-1]
        rows.append(
            _row(
                "Is the loss in nats per cell?",
                f"a nat of the reconstruction counts {scale:,.3g} times",
                False,
                "compare curves of elbo, which are in nats per cell, and not of train_loss: the "
                "module multiplies its terms by a number of cells",
            )
        )
    share = unnamed(table).iloc[-1]
    if share:
        rows.append(
            _row(
                "Do the terms make up the loss?",
                f"{share:.1%} of it has no name",
                False,
                "read the loss of its module: it holds something that is not reported",
            )
        )
    return rows


def _end_of_warm_up(weights: pd.Series, is_in_nats: bool) -> dict[str, str]:
    """Say whether the loss was the negative ELBO at the end, that is, the KL weight was 1."""
    last = weights.iloc[-1]
    found = f"weight {last:.2g}"
    if np.isnan(last):
        found, fix = "no divergence of single cells is weighted in its loss", ""
        return _row(FULL_WEIGHT, found, True, fix)
    # The last epoch of the default run has 399 four-hundredths.
    is_one = np.isclose(weights, 1, atol=0.01)
    if is_one[-1]:
        # A second training may have warmed up anew: the epochs since the last that had another.
        others = weights.index[~is_one]
        first = weights.index[0] if others.empty else others[-1] + 1
        found = f"weight 1, from epoch {first} on"
        fix = ""
    elif not is_in_nats:
        fix = (
            "its module weighs the two by the number of cells in a minibatch: the loss is no "
            "negative ELBO"
        )
    elif last > 1:
        fix = "use max_kl_weight=1 (the default): now the loss is more than the negative ELBO"
    elif len(weights) > 1 and last > weights.iloc[-2]:
        fix = "shorten the warm-up, plan_kwargs={'n_epochs_kl_warmup': ...}, or train longer"
    else:
        fix = "use max_kl_weight=1 (the default): now the loss is less than the negative ELBO"
    return _row(FULL_WEIGHT, found, not fix, fix)


def _end_of_curve(curve: pd.Series) -> list[dict[str, str]]:
    """Say whether the held-out loss still falls, and whether it rose again."""
    span = max(4, len(curve) // 4)
    falls = "Has the held-out loss stopped falling?"
    if len(curve) < 2 * span:
        fix = f"train longer: {2 * span} values are needed to say"
        return [_row(falls, f"there are only {len(curve)} values", False, fix)]
    end = curve.iloc[-span:]
    line = linregress(end.index, end)
    fall = -line.slope * (end.index[-1] - end.index[0])
    means = curve.rolling(span).mean().dropna()
    rise = means.iloc[-1] - means.min()
    small = UNCHANGED * abs(means.iloc[-1])
    still_falls = bool(fall > small and line.pvalue < 0.05)
    last = f"over the last {span} values"
    return [
        _row(
            falls,
            f"falls by more than {_rounded_down(fall)} nats {last}"
            if still_falls
            else f"no clear fall {last}",
            not still_falls,
            "train longer: more max_epochs",
        ),
        _row(
            "Is it still at its best?",
            f"about {figures.about(rise, 1)} nats above the best {span} values, which end at epoch "
            f"{means.idxmin()}"
            if rise > small
            else f"within {small:.2g} nats of the best {span} values",
            rise <= small,
            "stop earlier: early_stopping=True, or fewer max_epochs",
        ),
    ]


def _row(question: str, found: str, good: bool, fix: str) -> dict[str, str]:
    return {"question": question, "found": found, "verdict": "ok" if good else fix}


def _rounded_down(nats: float) -> str:
    """Return the largest of ..., 1, 3, 10, 30, ... that is not above a number.

    So coarse that it is the same on every processor.
    """
    power = 10.0 ** np.floor(np.log10(nats))
    return f"{3 * power if nats >= 3 * power else power:g}"
