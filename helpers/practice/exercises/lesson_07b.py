"""Lesson 07b: what counts take, a warm-up that ends, rows in order, and computers for a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from scvi.model import SCVI

from helpers.practice.exercises.answer_checks import as_number, function, requirements
from helpers.practice.exercises.replies import Reply, exercise, not_yet
from helpers.scale import classroom
from helpers.training import schedules

GIB = 2**30

# The data of exercise 2: so many cells that a default training ends long before its warm-up.
MANY_CELLS = 250_000

# Epochs over which the KL weight should at least rise, so that it does not jump.
MIN_RISING = 3

# The class of exercise 4, what it may wait for (seconds), and what is paid for (GiB).
LEARNERS, PATIENCE, MAX_GIB = 80, 120, 160


@exercise(
    "How many counts are not 0? And how many bytes does each of them take, with its place?",
    "A count is a 32-bit float: 4 bytes. The number of its gene takes 4 bytes more. Where each "
    "cell begins is so little that you may leave it out.",
    "Cells × genes × share × 8 bytes. 1 GiB is 2**30 bytes.",
)
def size_of_counts(gib_of_counts: Any, *, counts: sp.csr_matrix) -> Reply:
    """Write a function for the memory that sparse counts take."""
    each = (counts.data.nbytes + counts.indices.nbytes) / counts.nnz
    values = counts.data.itemsize
    sizes = [(1_000_000, 2_000, 0.1), (400_000, 20_000, 0.07), (5_000_000, 1_000, 0.25)]

    def gib(bytes_of_one: float, unit: float = GIB, dense: bool = False) -> Any:
        return lambda cells, genes, share: (
            cells * genes * (1 if dense else share) * bytes_of_one / unit
        )

    return function(
        "gib_of_counts",
        gib_of_counts,
        [(size, gib(each)(*size)) for size in sizes],
        tolerance=0.03,  # with or without the place where each cell begins
        praise=(
            f"A count that is not 0 takes {each:g} bytes with its place, as in the counts of this "
            f"lesson. With every 0 written out each count takes {values}. So sparse is smaller "
            "while fewer than half of the counts are not 0."
        ),
        mistakes=[
            (
                gib(values, dense=True),
                "That is *dense*: with every 0 written out. Sparse, only the share that is not 0 "
                "is kept, each with its place.",
            ),
            (
                gib(values),
                "The numbers are right, their places are missing: beside each count stands the "
                "number of its gene, 4 bytes more.",
            ),
            (
                gib(each, dense=True),
                "You count the zeros, too. Multiply with the share of the counts that are not 0.",
            ),
            (
                gib(each, 1e9),
                "That is in GB, of 1,000,000,000 bytes. A GiB has 1,024 × 1,024 × 1,024.",
            ),
            (gib(each, 2**20), "That is in MiB. 1,024 of them are a GiB."),
            (gib(each, 1), "That is in bytes. Asked are GiB."),
            (
                gib(8 + 8),
                "That is twice as much: 8 bytes for each number. Here counts are 32-bit floats, "
                "and places 32-bit whole numbers: 4 bytes each.",
            ),
        ],
    )


@exercise(
    "How many epochs does the training have in all? In the table of the lesson the default "
    "warm-up is longer than most trainings.",
    "32 epochs. In the last 16 of them the weight has to be 1, so it has to arrive before.",
    "The weight of an epoch is its number, counted from 0, over the length of the warm-up. With a "
    "warm-up of 10 epochs it is 1 from the eleventh on.",
)
def warm_up_that_ends(warmup_epochs: Any) -> Reply:
    """Choose a KL warm-up for a training of many cells."""
    value, problem = as_number("warmup_epochs", warmup_epochs, "epochs")
    if value is None:
        return not_yet(problem)
    if value != int(value) or value < 0:
        return not_yet(f"`warmup_epochs` is {value:,g}. Give a whole number of epochs, 1 or more.")
    epochs = schedules.run_length(MANY_CELLS, "default")["epochs"]
    if value == 0:
        return not_yet(
            "With 0 there is no warm-up: the KL divergence counts in full from the first step. It "
            "should rise over some epochs."
        )
    weights = np.array(
        [schedules.kl_weight(epoch, 0, int(value), None, 1.0, 0.0) for epoch in range(epochs)]
    )
    full, rising = int((weights == 1).sum()), int((weights < 1).sum())
    if value > 1000:
        return not_yet(
            f"That is so long that the weight ends at {weights[-1]:.2%}. Is it a number of "
            "*steps*? It has another name, `n_steps_kl_warmup`. Here epochs are counted, and "
            f"there are {epochs}."
        )
    if not full:
        why = " The first epoch has weight 0." if value == epochs else ""
        return not_yet(
            f"The training ends after {epochs} epochs, before the warm-up does. In the last epoch "
            f"the weight is {weights[-1]:.0%}, and it is never 1.{why} So a part of the loss is "
            "left out."
        )
    return requirements(
        (
            full >= epochs / 2,
            f"The weight is 1 in {full} of {epochs} epochs.",
            f"The weight arrives at 1, but is there in {full} of {epochs} epochs only. Half of "
            "them are asked for.",
        ),
        (
            rising >= MIN_RISING,
            f"It rises over {rising}.",
            f"It rises over {rising} {'epoch' if rising == 1 else 'epochs'} only, so it jumps. At "
            f"least {MIN_RISING} are asked for.",
        ),
        praise=(
            f"The weight rises over {rising} epochs and is 1 in the other {full} of {epochs}. By "
            "default the warm-up takes 400 epochs, and the weight would end below 8 %."
        ),
    )


@exercise(
    "From a file, ask in ascending order: then the answer comes in that order too. How do you get "
    "back from there to the order of the question?",
    "`np.argsort(indices)` tells which of the indices is the smallest, the next and so on.",
    "`order = np.argsort(indices)`, then `found[order] = "
    "model.get_latent_representation(indices=np.asarray(indices)[order])`, with `found` an empty "
    "array of the right shape.",
)
def rows_as_asked(positions: Any, *, model: SCVI) -> Reply:
    """Write a function that gives positions in the order of the question, from a file too."""
    many = np.random.default_rng(0).permutation(model.adata.n_obs)[:300].tolist()
    cases = [([700, 3, 512],), (many,)]

    def ascending(indices: Sequence[int]) -> np.ndarray:
        return np.asarray(model.get_latent_representation(indices=sorted(indices)))

    def as_asked(indices: Sequence[int]) -> np.ndarray:
        found = np.empty((len(indices), model.module.n_latent))
        found[np.argsort(indices)] = ascending(indices)
        return found

    return function(
        "positions",
        positions,
        [(case, as_asked(*case)) for case in cases] if callable(positions) else [],
        tolerance=1e-3,
        praise=(
            "The first row belongs to the first index, with three cells and with 300. Now you may "
            "put types, batches or colours beside them."
        ),
        mistakes=[
            (
                lambda indices: model.get_latent_representation(indices=indices),
                "These are the right cells in another order. From a file the rows come sorted "
                "within each minibatch of 128 cells, and nothing says so.",
            ),
            (
                ascending,
                "All rows are sorted by the number of the cell. That is a known order, so nearly "
                "there: now put them back into the order of `indices`.",
            ),
            (
                lambda indices: ascending(indices)[np.argsort(indices)],
                "You sort, and then sort once more. `np.argsort(indices)` leads from the question "
                "to the sorted order; here you need the way back: `found[order] = ...`, not "
                "`...[order]`.",
            ),
        ],
    )


@exercise(
    "What is set aside for each learner: how much memory, and how much of a core? "
    "`classroom.nodes` computes how many fit on a node.",
    "`classroom.nodes(lessons_measured, learners=80)` shows what four usual sizes need; with "
    "`sizes=[(cores, gib)]` it takes yours. How long they wait when all press Run, "
    "`classroom.waiting` tells.",
    "Nodes of 8 cores and 32 GiB hold more than 20 learners each. How many such nodes are there "
    "for 160 GiB?",
)
def computers_for_a_class(
    cores: Any, gib: Any, n_nodes: Any, *, lessons_measured: Mapping[str, Any]
) -> Reply:
    """Choose the nodes of a cluster for a class of 80."""
    given = {}
    for name, answer, unit in (
        ("cores", cores, "cores of one node"),
        ("gib", gib, "GiB of one node"),
        ("n_nodes", n_nodes, "nodes"),
    ):
        value, problem = as_number(name, answer, unit)
        if value is None:
            return not_yet(problem)
        if value <= 0 or (name != "gib" and value != int(value)):
            return not_yet(f"`{name}` is {value:,g}. Give a whole number of {unit}, 1 or more.")
        given[name] = value
    return _of_the_cluster(
        int(given["cores"]), given["gib"], int(given["n_nodes"]), lessons_measured
    )


def _of_the_cluster(
    cores: int, gib: float, n_nodes: int, lessons_measured: Mapping[str, Any]
) -> Reply:
    """Look at places, waiting and price."""
    try:
        row = classroom.nodes(lessons_measured, LEARNERS, sizes=[(cores, gib)]).iloc[0]
    except ValueError:
        return not_yet(
            f"A node of {cores:,} cores and {gib:,g} GiB is too small for a single learner: half a "
            "core and 1.5 GiB of it are left to the system. Take larger nodes."
        )
    by_memory, by_cpu, places = (
        n_nodes * int(row[name]) for name in ("by memory", "by CPU", "learners a node")
    )
    all_cores = n_nodes * (cores - classroom.NODE_CORES)
    wait = int(classroom.waiting(lessons_measured, LEARNERS, [all_cores]).iloc[:, 0].max())
    together = n_nodes * gib
    if by_memory < LEARNERS <= by_cpu:
        full = f"The cores would do for {by_cpu:,}, the memory is full first."
    elif by_cpu < LEARNERS <= by_memory:
        full = (
            f"The memory would do for {by_memory:,}: here it is the cores that are full first, a "
            "quarter of one for each."
        )
    else:
        full = (
            "Too few by memory and by cores alike."
            if by_memory < LEARNERS
            else "A node holds no more programs."
        )
    return requirements(
        (
            places >= LEARNERS,
            f"There is room for {places:,}.",
            f"There is room for {places:,} of {LEARNERS} learners. {full}",
        ),
        (
            wait <= PATIENCE,
            f"When all press Run at once they wait {wait} seconds at most.",
            f"When all press Run at once they wait up to {wait:,} seconds; {PATIENCE} are allowed. "
            "That is a matter of cores.",
        ),
        (
            together <= MAX_GIB,
            f"{together:,g} GiB together.",
            f"{together:,g} GiB together, more than the {MAX_GIB} that are paid for. Do you set "
            "aside two kernels for each, or a node more than is needed?",
        ),
        praise=(
            f"Room for {places}, at most {wait} seconds of waiting, {together:g} GiB. {LEARNERS} "
            f"learners share {all_cores:g} cores: reading takes none."
        ),
    )
