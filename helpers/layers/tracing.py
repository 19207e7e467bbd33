"""Follow one minibatch through a scvi-tools model.

It shows what ran, what fed what, and what the loss reached.

Nothing here knows a model, a class or an attribute by name. A copy of the model does one training
step on real cells; PyTorch's own record of that step, which it keeps to compute gradients, is then
read backwards from the loss.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from scvi.model.base import BaseModelClass
from scvi.module.base import LossOutput
from torch import nn
from torch.distributions import Distribution

from helpers.layers import learned_numbers
from helpers.layers.autograd_graph import (
    LOOKUP,
    LOSS_FUNCTIONS,
    PRODUCTS,
    columns,
    is_observed,
    joined,
    reachable,
    same_numbers,
)
from helpers.layers.field_codes import CodesFollowed, Fields
from helpers.layers.watched_distributions import name_of, watched
from helpers.training.minibatches import (
    FOLLOWED,
    UntraceableModelError,
    copy_of_module,
    minibatch,
    tensors_in,
)

# The stage of a module that the training step never called.
DRY_RUN = "dry run"


@dataclass(frozen=True)
class Call:
    """One run of one module: in which stage of the step, and how many columns went in and out."""

    stage: str
    width_in: int | None
    width_out: int | None


@dataclass(frozen=True)
class Part:
    """Columns of the input of a learned linear map, with all that they were computed from.

    Attributes
    ----------
    columns
        How many they are.
    fields
        The fields of the minibatch that are in them without another learned linear map between.
    kinds
        The kinds of the nodes of the graph that they come from; none if they are constants.
    """

    columns: int | None
    fields: Fields
    kinds: frozenset[str]


@dataclass
class Trace:
    """What one training step of a model showed.

    Attributes
    ----------
    module
        The copy of ``model.module`` that did the step.
    held
        By parameter, which of its numbers training leaves as they are, whatever the loss says.
    calls
        The runs of each module, by its path, in the order in which they ran first.
    gradients
        How strongly the loss depends on the output of each module, and on each parameter: the
        largest derivative, by path.
    touched
        Names of the parameters that an operation of the step was given.
    reached
        By parameter, which of its numbers have a derivative other than 0 (of its shape; those
        without any are left out).
    graph
        What feeds what. A node has a ``kind``: ``input`` (a tensor of the minibatch), ``linear`` (a
        product with learned weights), ``lookup`` (a row of learned numbers for each category),
        ``parameter`` (learned numbers that no module owns), ``codes`` (columns that stand for
        categories, such as the batch), ``sample`` (drawn from a distribution), ``likelihood`` (how
        probable the data are) or ``loss``; a ``name``; a ``width`` (columns); the ``stage`` in
        which it was computed; ``order``, a number that rises from one operation to the next; and
        the ``fields`` of the minibatch that it holds or was picked by. A linear one also has the
        ``parts`` that its input is joined of, each with its ``columns`` and ``fields``. An edge is
        ``cut`` where it passes the parameters of a distribution, a random variable, or what
        inference hands over: there one network ends and the next begins.
    """

    module: nn.Module
    held: dict[str, torch.Tensor] = field(default_factory=dict)
    calls: dict[str, list[Call]] = field(default_factory=dict)
    gradients: dict[str, float] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    reached: dict[str, torch.Tensor] = field(default_factory=dict)
    graph: nx.DiGraph = field(default_factory=nx.DiGraph)


def trace(model: BaseModelClass) -> Trace:
    """Run one training step on a copy of the model and return what it showed.

    The model itself, its running averages and the random numbers of the session stay as they are.

    Parameters
    ----------
    model
        A scvi-tools model with its data, trained or not.

    Returns
    -------
    Trace
        What ran, what fed what, and what the loss reached.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As in ``minibatch``, and if the training step fails.
    """
    with isolate_rng(), torch.inference_mode(False), torch.enable_grad():
        batch = minibatch(model)
        held = learned_numbers.held(model)
        module = copy_of_module(model).cpu().train()
        for parameter in module.parameters():
            # A frozen parameter takes part in the step like any other; that it is frozen is read
            # from the model itself.
            if parameter.is_floating_point():
                parameter.requires_grad_()
        step = _Step(Trace(module, held), batch)
        try:
            _run(step, type(model).__name__)
            _add_what_zeros_hide(model, step.trace)
            return step.read()
        finally:
            # Its tensors refer to it, and it to them: without this they all stay in memory.
            vars(step).clear()


def _run(step: _Step, model: str) -> None:
    try:
        step.run()
    except UntraceableModelError:
        raise
    except Exception as error:
        # Some errors say nothing beside their kind.
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise UntraceableModelError(
            f"The training step of {model} could not be run on its own ({reason}). {FOLLOWED}"
        ) from error


def _add_what_zeros_hide(model: BaseModelClass, trace: Trace) -> None:
    """Add the gradients of parameters that took part and had none, because of others that are 0."""
    silent = {name for name in trace.touched if not trace.gradients.get(name)}
    if silent:
        found = learned_numbers.hidden_by_zeros(model, trace.held, silent)
        trace.gradients |= {name: size for name, size in found.items() if size}


class _Step:
    """The record of one training step while it is made."""

    def __init__(self, trace: Trace, batch: dict[str, torch.Tensor]) -> None:
        self.trace = trace
        self.module = module = trace.module
        # Numbers that are followed like learned ones, so that the graph begins at the data.
        self.batch = {
            name: tensor.clone().requires_grad_() if tensor.is_floating_point() else tensor
            for name, tensor in batch.items()
        }
        self.inputs = {id(tensor): name for name, tensor in self.batch.items()}
        self.codes = CodesFollowed(self.batch, self._note_use)
        self.owners = {id(value): path for path, value in module.named_parameters()}
        self.stage = ""
        # The number of the first operation of each stage, in the order in which they began.
        self.stages: list[tuple[int, str]] = []
        self.arguments: dict[str, tuple[tuple, dict]] = {}
        self.outputs: list[torch.Tensor] = []
        self.samples: dict[Any, str] = {}
        self.likelihoods: dict[Any, tuple[str, torch.Tensor]] = {}
        self.cuts: set[Any] = set()

    def run(self) -> None:
        """Run forward and backward with every module watched."""
        with contextlib.ExitStack() as watch:
            for path, part in self.module.named_modules():
                if path:
                    hook = part.register_forward_hook(self._note_call(path), with_kwargs=True)
                    watch.callback(hook.remove)
            watch.enter_context(self._stages())
            watch.enter_context(self.codes)
            watch.enter_context(watched("__init__", self._note_distribution))
            watch.enter_context(watched("rsample", self._note_sample))
            watch.enter_context(watched("log_prob", self._note_likelihood))
            self.loss = next(
                part.loss for part in self.module(self.batch) if isinstance(part, LossOutput)
            ).sum()
            if not torch.isfinite(self.loss):
                raise UntraceableModelError(
                    f"The loss of this model on its own cells is {self.loss.item()}: its weights "
                    "have diverged, or the data hold such numbers. Build and train it again, "
                    "perhaps with a lower learning rate."
                )
            self.loss.backward(retain_graph=True)
            self._enter(DRY_RUN)
            for path, parameter in self.module.named_parameters():
                if parameter.grad is not None:
                    self._note_gradient(path, parameter.grad)
                    self.trace.reached[path] = parameter.grad.to_dense() != 0
            self._dry_run(self.module, "")

    def _dry_run(self, part: nn.Module, path: str) -> None:
        """Run what the step never called on the input of a module of its kind.

        The gradients are there already, so this changes nothing in them.
        """
        for name, child in part.named_children():
            child_path = f"{path}.{name}".strip(".")
            called = any(f"{each}.".startswith(f"{child_path}.") for each in self.trace.calls)
            if called or isinstance(child, (nn.ModuleDict, nn.ModuleList)):
                self._dry_run(child, child_path)
            else:
                self._run_like_its_kind(child)

    def _run_like_its_kind(self, part: nn.Module) -> None:
        for path, (args, kwargs) in list(self.arguments.items()):
            if type(self.module.get_submodule(path)) is type(part):
                # Its shape may differ: then the next one is tried.
                with contextlib.suppress(Exception):
                    part(*_detached(args), **_detached(kwargs))
                    return

    # --- what is watched ---

    def _enter(self, stage: str) -> None:
        """Note that a stage begins, with the number that PyTorch gives to the next operation."""
        self.stage = stage
        probe = torch.zeros(1, requires_grad=True) + 0
        self.stages.append((probe.grad_fn._sequence_nr(), stage))

    def _note_use(self, tensor: torch.Tensor) -> None:
        if self.stage != DRY_RUN and id(tensor) in self.owners:
            self.trace.touched.add(self.owners[id(tensor)])

    def _note_call(self, path: str) -> Callable[..., None]:
        def note(part: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            produced = list(tensors_in(output))
            width_in = _width([*tensors_in(args), *tensors_in(kwargs)])
            call = Call(self.stage, width_in, _width(produced))
            self.trace.calls.setdefault(path, []).append(call)
            self.arguments.setdefault(path, (args, kwargs))
            self.outputs += produced
            for tensor in produced:
                if tensor.requires_grad:
                    tensor.register_hook(lambda gradient: self._note_gradient(path, gradient))

        return note

    def _note_gradient(self, path: str, gradient: torch.Tensor) -> None:
        size = float(gradient.to_dense().abs().max()) if gradient.numel() else 0.0
        self.trace.gradients[path] = max(size, self.trace.gradients.get(path, 0.0))

    @contextlib.contextmanager
    def _stages(self) -> Iterator[None]:
        """Know at each moment whether inference, the generative part or the loss is computed."""

        def staged(name: str) -> Callable[..., Any]:
            original = getattr(self.module, name)

            def wrapped(*args: Any, **kwargs: Any) -> Any:
                before = self.stage
                self._enter(name)
                try:
                    result = original(*args, **kwargs)
                finally:
                    self._enter(before)
                self.outputs += tensors_in(result)
                return result

            return wrapped

        def handed_over(*args: Any, **kwargs: Any) -> Any:
            inputs = original_input(*args, **kwargs)
            self.cuts.update(filter(None, (tensor.grad_fn for tensor in tensors_in(inputs))))
            return inputs

        original_input = self.module._get_generative_input
        wrappers = {name: staged(name) for name in ("inference", "generative", "loss")}
        wrappers["_get_generative_input"] = handed_over
        for name, wrapper in wrappers.items():
            object.__setattr__(self.module, name, wrapper)
        try:
            yield
        finally:
            for name in wrappers:
                object.__delattr__(self.module, name)

    def _note_distribution(self, distribution: Distribution, _: Any, __: tuple) -> None:
        """Cut at its parameters: there the network that computes them ends."""
        for value in tensors_in(distribution):
            self.cuts.update(same_numbers(value.grad_fn))

    def _note_sample(self, distribution: Distribution, drawn: torch.Tensor, _: tuple) -> None:
        if drawn.grad_fn is not None:
            self.samples.setdefault(drawn.grad_fn, name_of(distribution))

    def _note_likelihood(self, distribution: Distribution, result: Any, args: tuple) -> None:
        if result.grad_fn is not None and isinstance(args[0], torch.Tensor):
            self.likelihoods.setdefault(result.grad_fn, (name_of(distribution), args[0]))
            # What has a probability is a random variable, drawn or not.
            self.cuts.update(same_numbers(args[0].grad_fn))

    # --- what it means ---

    def read(self) -> Trace:
        """Turn PyTorch's record of the step into the graph."""
        self._add_nodes()
        for node in list(self.trace.graph):
            start = self.loss.grad_fn if node == "loss" else None
            starts = [start] if start else [before for before, _ in node.next_functions]
            for source, cut, _ in self._sources(starts):
                # One way without a cut is enough to be of the same network.
                known = self.trace.graph.get_edge_data(source, node, {"cut": True})
                self.trace.graph.add_edge(source, node, cut=cut and known["cut"])
        for node, kind in self.trace.graph.nodes(data="kind"):
            if kind == "linear":
                self.trace.graph.nodes[node]["parts"] = list(self._parts(node))
        # PyTorch's operations keep every tensor of the step alive: only their numbers stay.
        operations = self.trace.graph
        self.trace.graph = nx.convert_node_labels_to_integers(operations)
        operations.clear()
        self.module.zero_grad(set_to_none=True)
        return self.trace

    def _add_nodes(self) -> None:
        for node in reachable([self.loss.grad_fn, *(tensor.grad_fn for tensor in self.outputs)]):
            if found := self._kind_and_name(node):
                kind, name, fields = found
                # A likelihood may be summed up already; it is of as many columns as its data.
                value = self.likelihoods[node][1] if node in self.likelihoods else node
                self.trace.graph.add_node(
                    node,
                    kind=kind,
                    name=name,
                    width=columns(value) or 1,
                    stage=self._stage_of(node),
                    order=node._sequence_nr(),
                    fields=fields,
                )
        self.trace.graph.add_node(
            "loss", kind="loss", name="loss", width=1, stage="loss", order=math.inf, fields=()
        )

    def _kind_and_name(self, node: Any) -> tuple[str, str, Fields] | None:
        """Say what an operation is in the graph, if it is anything, and which fields it holds."""
        picked = self.codes.picked.get(node, ())
        if node in self.samples:
            return "sample", self.samples[node], picked
        if node in self.likelihoods and self._is_data(self.likelihoods[node][1]):
            return "likelihood", self.likelihoods[node][0], ()
        if node.name() in LOSS_FUNCTIONS and is_observed(node._saved_target):
            return "likelihood", LOSS_FUNCTIONS[node.name()], ()
        if owner := self._learned_map(node)[0]:
            return "linear", owner, ()
        if node.name() == LOOKUP:
            return "lookup", self._parameter(node.next_functions[0][0]), picked
        if hasattr(node, "variable"):
            if name := self.inputs.get(id(node.variable)):
                return "input", name, (name,)
            if fields := self.codes.columns.get(id(node.variable)):
                return "codes", " and ".join(fields), fields
            if "." not in (owner := self.owners.get(id(node.variable), ".")):
                return "parameter", owner, ()
        return None

    def _stage_of(self, node: Any) -> str:
        number = node._sequence_nr()
        return next((stage for first, stage in reversed(self.stages) if first < number), "")

    def _learned_map(self, node: Any) -> tuple[str, Any]:
        """Name the parameter that this product multiplies with, if it is a learned linear map.

        The other factor, what it is applied to, comes second.
        """
        factors = [node.next_functions[position][0] for position in PRODUCTS.get(node.name(), ())]
        learned = []
        for position, factor in enumerate(factors):
            steps = reachable([factor])
            leaves = [step for step in steps if hasattr(step, "variable")]
            # What was looked up or multiplied before depends on the cell: it is no weight.
            weights = not any(step.name() in (LOOKUP, *PRODUCTS) for step in steps)
            if leaves and weights and all(id(leaf.variable) in self.owners for leaf in leaves):
                learned.append((position, self._parameter(leaves[0])))
        if not learned:
            return "", None
        # Where both are learned, such as a learned input times weights, the weights come second.
        position, owner = learned[-1]
        applied_to = factors[1 - position]
        # What no layer owns, times a category code or times other learned numbers, is a learned
        # table and maps nothing.
        table = len(learned) > 1 or self._is_codes(applied_to)
        return ("" if table and "." not in owner else owner), applied_to

    def _is_codes(self, node: Any) -> bool:
        leaves = [step for step in reachable([node]) if hasattr(step, "variable")]
        return all(id(leaf.variable) in self.codes.columns for leaf in leaves)

    def _parts(self, node: Any) -> Iterator[Part]:
        """Give what the input of a learned linear map is joined of."""
        applied_to = self._learned_map(node)[1]
        whole = columns(applied_to)
        for part in joined(applied_to):
            found = list(self._sources([part]))
            sources = {source: self.trace.graph.nodes[source] for source, _, _ in found}
            fields = [name for _, _, passed in found for name in passed]
            fields += [name for each in sources.values() for name in each["fields"]]
            kinds = frozenset(each["kind"] for each in sources.values())
            size = columns(part)
            whole = whole - size if whole and size else None
            if kinds:
                yield Part(size, tuple(dict.fromkeys(fields)), kinds)
        # Columns that nothing gives are constants, such as each category in turn.
        if whole:
            yield Part(whole, (), frozenset())

    def _parameter(self, node: Any) -> str:
        return self.owners.get(id(getattr(node, "variable", None)), "")

    def _is_data(self, value: torch.Tensor) -> bool:
        """Whether a value comes from the minibatch alone, without a learned number."""
        if value.grad_fn is None:
            return id(value) in self.inputs
        leaves = [node for node in reachable([value.grad_fn]) if hasattr(node, "variable")]
        return all(id(leaf.variable) in self.inputs for leaf in leaves)

    def _sources(self, starts: list[Any]) -> Iterator[tuple[Any, bool, Fields]]:
        """Give the nearest nodes among these and those before.

        With each comes whether a cut lies between, and the fields by which something was picked.
        """
        waiting = [(start, False, ()) for start in starts]
        seen = set()
        while waiting:
            here, cut, fields = waiting.pop()
            if here is None or (here, cut, fields) in seen:
                continue
            seen.add((here, cut, fields))
            cut = cut or here in self.cuts
            if here in self.trace.graph:
                yield here, cut, fields
            else:
                fields = tuple(sorted({*fields, *self.codes.picked.get(here, ())}))
                waiting += [(before, cut, fields) for before, _ in here.next_functions]


def _detached(value: Any) -> Any:
    """Return nested containers of tensors with their history cut off."""
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {name: _detached(part) for name, part in value.items()}
    return type(value)(map(_detached, value)) if isinstance(value, (list, tuple)) else value


def _width(tensors: list[torch.Tensor]) -> int | None:
    """Return the number of columns of the first tensor that has any."""
    return next((tensor.shape[-1] for tensor in tensors if tensor.ndim > 1), None)
