"""What the numbers of the latent space are, and what may be read from them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import scvi
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import ArrayLike, NDArray
from scvi.module.base import LossOutput
from torch import nn

from helpers import figures
from helpers.figures import COLOURS, about
from helpers.latent import neighbours
from helpers.loss.forward_pass import Minibatch, Outputs
from helpers.training import minibatches, model_state

# The largest share by which 4-byte floats may differ that were added in another order.
SAME = 2e-5

SUPPORTED = "What to do: use a scvi.model.SCVI with latent_distribution='normal', the default."


def renamed(
    model: scvi.model.SCVI, order: Sequence[int], signs: Sequence[int] | None = None
) -> scvi.model.SCVI:
    """Return the same model with its latent dimensions in another order, some of them mirrored.

    The weights into and out of the latent space are put in the new order, with the new signs; no
    number is learned. The model describes each cell exactly as before.

    Parameters
    ----------
    model
        A trained SCVI. It is not changed; both models share the data.
    order
        Which dimension (from 0) becomes the first, the second, and so on.
    signs
        1 or -1 for each of the new dimensions; -1 mirrors it. All 1 if not given.

    Returns
    -------
    SCVI
        The renamed model.

    Raises
    ------
    TypeError
        If the model is another kind, its latent space is not normal (mirrored positions would have
        another prior), or its cells would have another loss: then the positions go to other places
        than the weights of linear maps.
    ValueError
        If the model is untrained or the counts were taken out of its data, if ``order`` does not
        name each dimension once, or a sign is neither 1 nor -1.

    Notes
    -----
    With the permutation and signs in a matrix P, the encoder's mean becomes P times itself,
    and P transposed is put before each linear map of the decoder that is given the positions, where
    it cancels. The widths of a cloud have no sign, and are only reordered. The prior is the same in
    each dimension and on both sides of 0.
    """
    if not isinstance(model, scvi.model.SCVI) or model.module.latent_distribution != "normal":
        raise _way_of_its_own(model)
    model_state.require_trained(model)
    n_latent = model.module.n_latent
    rows = np.array(order)
    factors = np.ones(n_latent, int) if signs is None else np.array(signs)
    if sorted(rows.tolist()) != list(range(n_latent)):
        raise ValueError(
            f"The order is {rows.tolist()}; each of the numbers 0 to {n_latent - 1} is needed "
            "once.\n"
            f"What to do: for example np.random.default_rng(0).permutation({n_latent})."
        )
    if factors.shape != (n_latent,) or not np.isin(factors, (-1, 1)).all():
        raise ValueError(
            f"The signs are {factors.tolist()}; {n_latent} numbers are needed, each 1 or -1."
        )
    # The copy of the model refers to the same AnnData; only the module is doubled.
    twin = copy.copy(model)
    twin.module = minibatches.copy_of_module(model)
    with model_state.evaluating(twin), torch.no_grad():
        try:
            off = _rename(twin.module, minibatches.minibatch(model), rows, factors)
        except AttributeError as error:
            raise _way_of_its_own(model) from error
    # Not ``>``: what is no number is not the same either.
    if not off <= SAME:
        raise _way_of_its_own(model, f": renamed, a cell's loss would change by {off:.2g} of it")
    return twin


def _way_of_its_own(model: scvi.model.SCVI, how: str = "") -> TypeError:
    return TypeError(
        f"A {type(model).__name__} keeps its latent space in a way of its own{how}. {SUPPORTED}"
    )


def _rename(
    module: nn.Module, batch: Minibatch, order: NDArray[np.int_], signs: NDArray[np.int_]
) -> float:
    """Rename in the weights, and return by which share the loss or cloud of a cell changes."""
    batch = {name: tensor.to(module.device) for name, tensor in batch.items()}
    turn = torch.as_tensor(signs, device=module.device)
    inference, _, before = module(batch)
    maps = _maps_of_positions(module, batch, inference)
    means, variances = module.z_encoder.mean_encoder, module.z_encoder.var_encoder
    means.weight.copy_(means.weight[order] * turn[:, None])
    means.bias.copy_(means.bias[order] * turn)
    variances.weight.copy_(variances.weight[order])
    variances.bias.copy_(variances.bias[order])
    for linear, start in maps:
        # Columns for batch and covariates stand beside those of the latent dimensions.
        columns = linear.weight[:, start : start + len(order)]
        columns.copy_(columns[:, order] * turn)
    # The same positions by their new names, and not another draw from the same clouds.
    cloud = module.inference(**module._get_inference_input(batch))["qz"]
    renamed = inference | {"qz": cloud, "z": inference["z"][:, order] * turn}
    generative = module.generative(**module._get_generative_input(batch, renamed))
    after = module.loss(batch, renamed, generative)
    pairs = (
        (cloud.loc, inference["qz"].loc[:, order] * turn),
        (cloud.scale, inference["qz"].scale[:, order]),
        (after.loss, before.loss),
        *((_of_cells(loss) for loss in (after, before)),),
    )
    return max(float(((new - old).abs() / (1 + old.abs())).max()) for new, old in pairs)


def _of_cells(loss: LossOutput) -> torch.Tensor:
    return sum([*loss.reconstruction_loss.values(), *loss.kl_local.values()])


def _maps_of_positions(
    module: nn.Module, batch: Minibatch, inference: Outputs
) -> list[tuple[nn.Linear, int]]:
    """Return the linear maps that are given the positions, and from which column on."""
    z, found = inference["z"], {}

    def note(linear: nn.Linear, given: tuple[torch.Tensor]) -> None:
        for start in range(given[0].shape[-1] - z.shape[-1] + 1):
            if torch.equal(given[0][..., start : start + z.shape[-1]], z):
                # By the weights, which two maps may share.
                found[id(linear.weight), start] = linear

    linears = [part for part in module.modules() if isinstance(part, nn.Linear)]
    hooks = [linear.register_forward_pre_hook(note) for linear in linears]
    module.generative(**module._get_generative_input(batch, inference))
    for hook in hooks:
        hook.remove()
    return [(linear, start) for (_, start), linear in found.items()]


def variance_explained(positions: ArrayLike, labels: ArrayLike) -> NDArray[np.floating]:
    """Return how much of each dimension's variance lies between groups of cells.

    Parameters
    ----------
    positions
        A position a cell (cells x dimensions).
    labels
        The group of each cell, such as its published class.

    Returns
    -------
    ndarray
        A share a dimension: 1 if all cells of a group have the same value, 0 if all groups have the
        same mean. A dimension in which all cells have the same value has nothing to explain: 0.

    Raises
    ------
    ValueError
        If the numbers of labels and of positions differ, if a label is missing or there is only
        one.

    Notes
    -----
    The square of the correlation ratio, eta squared: sum of squares between groups / total
    sum of squares.
    """
    table = pd.DataFrame(np.asarray(positions, dtype=float))
    groups = neighbours.require_labels(labels, len(table))
    between = (table.groupby(groups).transform("mean") - table.mean()).pow(2).sum()
    total = (table - table.mean()).pow(2).sum()
    return (between / total.where(total > 0)).fillna(0).to_numpy()


# --- figures ------------------------------------------------------------------------------------


def plot_posteriors(
    model: scvi.model.SCVI, classes: ArrayLike, n_cells: int = 100
) -> figures.DescribedFigure:
    """Draw the posteriors of some cells among the means of all cells.

    Parameters
    ----------
    model
        A trained model.
    classes
        The class of each cell of the model.
    n_cells
        How many posteriors, at even steps through the data.

    Raises
    ------
    ValueError
        If the model is untrained or has fewer than two latent dimensions, or if the classes do not
        fit.
    """
    model_state.require_trained(model)
    centres, variances = model.get_latent_representation(return_dist=True)
    if centres.shape[1] < 2:
        raise ValueError(
            "The model has one latent dimension, and the drawing needs two.\n"
            "What to do: draw a histogram of model.get_latent_representation()."
        )
    classes = neighbours.require_labels(classes, len(centres))
    chosen = minibatches.evenly_spaced(len(centres), n_cells)
    # The two dimensions in which the cells differ most.
    first, second = np.sort(np.argsort(centres.std(axis=0))[::-1][:2])
    stds = np.sqrt(variances)
    colours = dict(zip(np.unique(classes), (COLOURS * 3), strict=False))
    with figures.style():
        figure = Figure(figsize=(7.5, 5.2))
        axes = figure.subplots()
        axes.scatter(centres[:, first], centres[:, second], s=3, color="lightgrey")
        for cell in chosen:
            axes.add_patch(
                Ellipse(
                    (centres[cell, first], centres[cell, second]),
                    4 * stds[cell, first],
                    4 * stds[cell, second],
                    color=colours[classes[cell]],
                    alpha=0.45,
                )
            )
        for name, colour in colours.items():
            axes.scatter([], [], s=90, color=colour, alpha=0.6, label=name)
        axes.set_xlabel(f"latent dimension {first + 1} (no unit)", fontsize=12)
        axes.set_ylabel(f"latent dimension {second + 1} (no unit)", fontsize=12)
        axes.set_aspect("equal")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=11)
        figure.tight_layout()
    ratio = stds.mean() / centres.std(axis=0).mean()
    return figures.DescribedFigure(
        figure,
        f"The centres of {len(centres):,} cells in the two latent dimensions in which they differ "
        f"most, and {len(chosen)} of them as clouds of two standard deviations to each side, "
        "coloured by class. In all dimensions together, the mean width of a cloud is "
        f"{about(ratio, 1)} of the standard deviation of the centres.",
    )


def plot_class_means(
    representations: Mapping[str, ArrayLike], classes: ArrayLike
) -> figures.DescribedFigure:
    """Draw the mean of each class in each dimension, a heat map a representation.

    Parameters
    ----------
    representations
        Positions of the same cells by name (cells x dimensions each).
    classes
        The class of each cell.

    Raises
    ------
    ValueError
        If there is no representation, or the classes do not fit.
    """
    if not representations:
        raise ValueError("There is nothing to draw: give at least one representation.")
    means = {}
    for name, positions in representations.items():
        table = pd.DataFrame(np.asarray(positions, dtype=float))
        means[name] = table.groupby(neighbours.require_labels(classes, len(table))).mean()
    highest = max(table.abs().to_numpy().max() for table in means.values())
    with figures.style():
        figure = Figure(figsize=(1.6 + 4.2 * len(means), 3.6), layout="constrained")
        panels = figure.subplots(1, len(means), sharey=True, squeeze=False)[0]
        image = None
        for axes, (name, table) in zip(panels, means.items(), strict=True):
            # Blue, white, orange: apart for colour-blind readers, and 0 is white.
            image = axes.imshow(table, cmap="PuOr", vmin=-highest, vmax=highest, aspect="auto")
            axes.set_title(name, fontsize=12)
            axes.set_xlabel("dimension", fontsize=12)
            axes.set_xticks(range(table.shape[1]), range(1, table.shape[1] + 1))
            axes.set_yticks(range(len(table)), table.index, fontsize=11)
        figure.colorbar(image, ax=panels, label="mean position (no unit)")
    shares = {
        name: variance_explained(positions, classes).max()
        for name, positions in representations.items()
    }
    # Not in digits: they differ from processor to processor.
    said = ", ".join(
        f"{'more' if share > 0.5 else 'less'} than half ({name})" for name, share in shares.items()
    )
    return figures.DescribedFigure(
        figure,
        f"{len(means)} heat maps of the mean of {len(next(iter(means.values())))} classes in each "
        "dimension. The largest share of a dimension's variance that the classes explain is "
        f"{said}.",
    )
