"""Where the time of a training step goes, and how much of it no program could save.

All times are those that the processor spent on this program, so that other programs which interrupt
it do not count. (PyTorch's own profiler measures by the clock on the wall, and on a busy machine
counts them.) They are for the processor that runs the cell, and for one thread
(``environment.prepare``).
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.seed import isolate_rng
from matplotlib.figure import Figure
from scvi.module.base import LossOutput
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from helpers import figures
from helpers.training import minibatches

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass

# How many minibatches are measured, after one that warms up.
MINIBATCHES = 12

GAMMAS, PRODUCTS, ADAM = "log gamma and digamma", "matrix products", "Adam"
ARITHMETIC, FETCHING = "all other arithmetic", "fetching cells"
BOOKKEEPING = "bookkeeping (Python, Lightning, autograd)"
GROUPS = (GAMMAS, PRODUCTS, ADAM, ARITHMETIC, FETCHING)

# As PyTorch names them.
OPERATORS = dict.fromkeys(("lgamma", "digamma", "polygamma"), GAMMAS) | dict.fromkeys(
    ("addmm", "addmv", "baddbmm", "bmm", "mm", "mv"), PRODUCTS
)

# Weight, gradient and two states, each read and written once.
VISITS = 4 * 2


# --- where the time goes --------------------------------------------------------------------------


def shares(model: BaseModelClass, batch_size: int = 128) -> pd.DataFrame:
    """Return where the time of a training step goes.

    A copy of the model is trained on some minibatches; the model and the random numbers of the
    session stay as they are.

    Parameters
    ----------
    model
        A scvi-tools model with its data, trained or not.
    batch_size
        Cells in a minibatch.

    Returns
    -------
    DataFrame
        A row a kind of work: ``ms a minibatch`` (of processor time) and ``share`` of the whole,
        from 0 to 1. What is left of the whole without the measured operators is the last row.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As in ``minibatches.minibatch``, and if there are too few cells for one minibatch.
    """
    ran = operators(model, batch_size)
    return summary(ran, fetching(model, batch_size), whole(model, batch_size))


def whole(model: BaseModelClass, batch_size: int = 128) -> float:
    """Return the time of a training step with all that belongs to it, in ms (the median of some).

    Parameters
    ----------
    model, batch_size
        As for ``shares``.
    """
    clock = _Clock()
    _train_copy(model, batch_size, [clock])
    return float(pd.Series(clock.ends).diff().median() * 1e3)


def fetching(model: BaseModelClass, batch_size: int = 128) -> float:
    """Return the time to take the cells of a minibatch out of the data, in ms (the median of some).

    Parameters
    ----------
    model, batch_size
        As for ``shares``.
    """
    _require_a_minibatch(model, batch_size)
    spent = []
    with isolate_rng():
        while len(spent) < MINIBATCHES:
            cells = model._make_data_loader(
                adata=model.adata, batch_size=batch_size, shuffle=True, drop_last=True
            )
            ends = [time.process_time() for _ in cells]
            spent += [end - start for start, end in itertools.pairwise(ends)] or ends
    return float(pd.Series(spent).median() * 1e3)


def operators(model: BaseModelClass, batch_size: int = 128) -> pd.DataFrame:
    """Return how long each operator of PyTorch took in each minibatch, once it had its cells.

    To start an operator takes some microseconds, which count too.

    Parameters
    ----------
    model, batch_size
        As for ``shares``.

    Returns
    -------
    DataFrame
        A row an operator run: ``minibatch``, ``work`` (one of ``GROUPS``), ``operator`` and ``ms``.
    """
    meter = _Meter()
    with meter:
        _train_copy(model, batch_size, [_Stages(meter)])
    table = pd.DataFrame(meter.rows, columns=["minibatch", "work", "operator", "ms"])
    return table.query("minibatch > 0")


def summary(operators: pd.DataFrame, fetching: float, whole: float) -> pd.DataFrame:
    """Return the table of ``shares``.

    Parameters
    ----------
    operators, fetching, whole
        What the functions of these names returned; times in ms.
    """
    sums = operators.pivot_table(
        index="minibatch", columns="work", values="ms", aggfunc="sum", fill_value=0
    )
    table = sums.median().reindex(GROUPS, fill_value=0.0)
    table[FETCHING] = fetching
    table = table.sort_values(ascending=False, kind="stable")
    table[BOOKKEEPING] = whole - table.sum()
    table.index.name = "work"
    return pd.DataFrame({"ms a minibatch": table, "share": table / whole})


class _Clock(Callback):
    """Note the processor time at the end of each minibatch, in seconds."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Look at the clock."""
        self.ends.append(time.process_time())


class _Meter(TorchDispatchMode):
    """Note the processor time of each operator inside of a minibatch, in ms."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, str, str, float]] = []
        self.minibatch = -1
        self.running = self.updating = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        start = time.process_time()
        result = func(*args, **(kwargs or {}))
        spent = (time.process_time() - start) * 1e3
        if self.running:
            name = func.overloadpacket.__name__
            work = ADAM if self.updating else OPERATORS.get(name, ARITHMETIC)
            self.rows.append((self.minibatch, work, name, spent))
        return result


class _Stages(Callback):
    """Tell the meter when a minibatch begins and ends, and when weights are updated.

    Lightning computes loss and gradients inside of the optimizer's step, and calls
    ``on_before_optimizer_step`` when they are there.
    """

    def __init__(self, meter: _Meter) -> None:
        self.meter = meter

    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        """Begin the next minibatch."""
        self.meter.minibatch += 1
        self.meter.running, self.meter.updating = True, False

    def on_before_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Begin the update."""
        self.meter.updating = True

    def on_before_zero_grad(self, *args: Any, **kwargs: Any) -> None:
        """End the update of another optimizer, where a model has several."""
        self.meter.updating = False

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Stop until the next one."""
        self.meter.running = False


def _require_a_minibatch(model: BaseModelClass, batch_size: int) -> None:
    minibatches.require_traceable(model)
    if model.adata.n_obs < batch_size:
        raise ValueError(
            f"There are {model.adata.n_obs} cells, too few for a minibatch of {batch_size}. What "
            "to do: a smaller batch_size."
        )


def _train_copy(model: BaseModelClass, batch_size: int, callbacks: Sequence[Callback]) -> None:
    """Train a copy of the model on one more minibatch than are measured, all of them full."""
    _require_a_minibatch(model, batch_size)
    in_an_epoch = min(MINIBATCHES + 1, model.adata.n_obs // batch_size)
    twin = copy.copy(model)
    twin.module = minibatches.copy_of_module(model)
    # The record of its training would else be added to that of the model.
    twin.is_trained_, twin.history_ = False, None
    with isolate_rng():
        twin.train(
            max_epochs=math.ceil((MINIBATCHES + 1) / in_an_epoch),
            limit_train_batches=in_an_epoch,
            batch_size=batch_size,
            train_size=1.0,
            early_stopping=False,
            accelerator="cpu",
            enable_progress_bar=False,
            callbacks=list(callbacks),
        )


# --- what no program could save -------------------------------------------------------------------


def floor(model: BaseModelClass, batch_size: int = 128) -> pd.DataFrame:
    """Return the time that a training step takes at least.

    It takes it for its matrix products, and to move what must be moved.

    Parameters
    ----------
    model, batch_size
        As for ``shares``.

    Returns
    -------
    DataFrame
        A row a kind of work: ``million`` (how much), ``of`` (operations or bytes), ``million a ms``
        (what this machine reaches) and ``ms``, the first divided by the third.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As in ``minibatches.minibatch``.

    Notes
    -----
    Operations are the multiplications and additions of forward and backward, as
    ``torch.utils.flop_counter`` counts them. Their rate is that of the fastest product with the
    largest layer. Bytes are those of the weights that have a gradient, the gradients and Adam's two
    states (each read and written once), and of the minibatch (likewise). Their rate is that of a
    copy of as many bytes. The arithmetic of each cell and gene in the likelihood comes on top, and
    the two are taken one after the other.
    """
    batch = minibatches.minibatch(model, batch_size)
    module, operations = _step(model, batch)
    learned = [each for each in module.parameters() if each.grad is not None]
    bytes_of_weights = VISITS * sum(each.nbytes for each in learned)
    bytes_of_cells = 2 * sum(each.nbytes for each in batch.values())
    bandwidth = copy_rate(bytes_of_weights + bytes_of_cells)
    largest = max((each for each in learned if each.ndim == 2), key=torch.numel)
    rows = {
        PRODUCTS: (operations, "operations", product_rate(len(batch["X"]), *largest.shape)),
        "weights, gradients, Adam's states": (bytes_of_weights, "bytes", bandwidth),
        "cells of the minibatch": (bytes_of_cells, "bytes", bandwidth),
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["million", "of", "million a ms"])
    table["million"] /= 1e6
    table["ms"] = table["million"] / table["million a ms"]
    table.index.name = "work"
    return table


def product_rate(cells: int, outputs: int, inputs: int) -> float:
    """Return the rate (millions of operations per ms) of a layer's fastest matrix product.

    Parameters
    ----------
    cells, outputs, inputs
        Cells in the minibatch, and the width of the layer on both sides.
    """
    x, y = torch.ones(cells, inputs), torch.ones(cells, outputs)
    weights = torch.ones(outputs, inputs)
    # Its output, and the gradients of its input and of its weights.
    products = (lambda: x @ weights.T, lambda: y @ weights, lambda: y.T @ x)
    return 2 * cells * outputs * inputs / 1e6 / min(_least_ms(product) for product in products)


def copy_rate(moved: int) -> float:
    """Return the bytes in millions a ms that a copy reads and writes.

    Parameters
    ----------
    moved
        Bytes to read and to write, together.
    """
    source = torch.ones(moved // 8)
    target = torch.empty_like(source)
    return 2 * source.nbytes / 1e6 / _least_ms(lambda: target.copy_(source))


def _step(model: BaseModelClass, batch: dict[str, torch.Tensor]) -> tuple[torch.nn.Module, int]:
    """Return a copy of the module after one step, and the operations of its matrix products."""
    module = minibatches.copy_of_module(model).cpu().train()
    module.zero_grad()
    with isolate_rng(), FlopCounterMode(display=False) as counter:
        next(part.loss for part in module(batch) if isinstance(part, LossOutput)).sum().backward()
    return module, counter.get_total_flops()


def _least_ms(work: Callable[[], Any], times: int = 30) -> float:
    """Return the least processor time of some runs, in ms: the one that was disturbed least."""
    spent = []
    for _ in range(times):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent) * 1e3


# --- figure ---------------------------------------------------------------------------------------


def plot_shares(table: pd.DataFrame, floor: pd.DataFrame) -> figures.DescribedFigure:
    """Draw the table of ``shares`` as bars (ms a minibatch), with the sum of ``floor`` as a line.

    Parameters
    ----------
    table
        What ``shares`` returned.
    floor
        What ``floor`` returned for the same model and size of minibatch.
    """
    spent, least = table["ms a minibatch"], floor["ms"].sum()
    bars = pd.concat([pd.Series({"a whole training step": spent.sum()}), spent])
    colours = [figures.COLOURS[6], *[figures.COLOURS[0]] * len(spent)]
    with figures.style():
        figure = Figure(figsize=(6.4, 3.4))
        axes = figure.subplots()
        drawn = axes.barh(bars.index, bars, color=colours)
        said = f"floor: {figures.about(least, 2)} ms"
        axes.axvline(least, color=figures.COLOURS[1], linestyle="--", label=said)
        # The line may pass behind a number.
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.bar_label(drawn, [figures.about(value, 2) for value in bars], padding=4, bbox=behind)
        axes.invert_yaxis()
        axes.set(xlabel="time (ms a minibatch)", xlim=(min(0, bars.min()), 1.1 * bars.max()))
        axes.legend(loc="lower right")
    parts = ", ".join(
        f"{name} {figures.about(row['ms a minibatch'], 2)} ms ({row['share']:.0%})"
        for name, row in table.iterrows()
    )
    return figures.DescribedFigure(
        figure,
        f"Bar chart of the time of a training step, {figures.about(spent.sum(), 2)} ms a "
        f"minibatch: {parts}. A line marks the floor of {figures.about(least, 2)} ms for matrix "
        f"products and moving bytes, {least / spent.sum():.0%} of the whole.",
    )
