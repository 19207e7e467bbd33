"""What a model is made of, read from one training step.

A *hidden layer* is a learned linear map (a product with learned weights) whose output feeds another
learned linear map of the same network. A *head* is the last learned linear map on a path: its
output is a parameter of a distribution. A *network* runs from data, or from a sample, to the
parameters of a distribution; where it has parallel branches, the longest counts.

Whether something counts is decided by one training step on real cells (see
``helpers.layers.tracing``):

- *trained*: it runs, and the loss depends on it, so training changes it;
- *frozen*: the same, but it is held as it is: it was set not to learn, or hooks on it set its
  gradient to 0, as on a model of scvi-tools that waits for new cells (``load_query_data``);
- *ignored*: it runs, but nothing of it reaches the loss;
- *idle*: it is built, and the step never calls it.

A module is trained if any of its numbers is. Parameters are counted number by number: of a partly
trained module, those that are held are frozen ones. A number that multiplies nothing but zeros,
such as the weight of a category that no cell has, is ignored (``helpers.layers.learned_numbers``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import networkx as nx
import pandas as pd
from scvi.model.base import BaseModelClass
from torch import nn
from torch.nn.modules import batchnorm, normalization
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from helpers.layers import field_codes, learned_numbers, tracing
from helpers.training import minibatches

NORMALISATIONS = (
    batchnorm._NormBase,  # batch and instance normalisation
    normalization.GroupNorm,
    normalization.LayerNorm,
    normalization.RMSNorm,
)
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
USED = ("trained", "frozen")
STATES = ["trained", "frozen", "ignored", "idle"]

# What is masked out can leave a trace of rounding. A gradient this much smaller than the largest
# one moves no weight.
ROUNDING = 1e-12
COLUMNS = ["path", "network", "role", "in", "out", "parameters", "state"]


@dataclass(frozen=True)
class Anatomy:
    """What a model is made of.

    Attributes
    ----------
    model
        The name of its class.
    table
        A row a leaf module or bare parameter, as ``module_table`` returns it.
    hidden_layers
        Hidden layers of each network that reaches the loss, in the order in which they run.
    numbers
        How many parameters are in each state, a row a row of the table and a column a state.
    learned
        By parameter that the loss depends on, which of its numbers are trained (of its shape).
    covariates
        The fields of the minibatch that describe a cell beside its data, such as the batch, with
        the number of their categories (None for numbers).
    trace
        The training step that this was read from.
    """

    model: str
    table: pd.DataFrame
    hidden_layers: dict[str, int]
    numbers: pd.DataFrame
    learned: learned_numbers.Masks
    covariates: dict[str, int | None]
    trace: tracing.Trace

    def rows(self, **wanted: str) -> pd.DataFrame:
        """Return the rows of the table that reach the loss and have these values."""
        chosen = self.is_used
        for column, value in wanted.items():
            chosen &= self.table[column] == value
        return self.table.loc[chosen]

    @property
    def is_used(self) -> pd.Series:
        """Which rows of the table reach the loss."""
        return self.table["state"].isin(USED)

    @property
    def parameters(self) -> pd.Series:
        """How many parameters there are in each state that occurs, number by number."""
        sums = self.numbers.sum().rename("parameters").rename_axis("state").sort_index()
        occurs = [
            state in self.table["state"].to_numpy() or sums[state] > 0 for state in sums.index
        ]
        return sums[occurs]

    @property
    def partly_trained(self) -> list[str]:
        """The rows of the table of which some parameters are trained and others are held."""
        both = (self.numbers[["trained", "frozen"]] > 0).all(axis=1)
        return list(self.numbers.index[both])

    def widths(self, **wanted: str) -> list[int]:
        """Return the widths of the hidden layers that have these values, widest first."""
        widths = self.rows(role="hidden", **wanted)["out"].dropna()
        return sorted(set(widths), reverse=True)

    def hidden_layers_in(self, paths: Collection[str]) -> int:
        """Count the hidden layers on the longest way through some of the modules."""
        graph = self.trace.graph
        hidden = set(self.table.loc[self.table["role"] == "hidden", "path"]).intersection(paths)
        nodes = [
            node
            for node, kind in graph.nodes(data="kind")
            if kind == "linear" and linear_path(self.trace, node) in hidden
        ]
        return nx.dag_longest_path_length(graph.subgraph(nodes), weight=None) + 1 if nodes else 0


def read(model: BaseModelClass) -> Anatomy:
    """Run one training step on a copy of the model, and read its anatomy from that.

    Parameters
    ----------
    model
        A scvi-tools model with its data, trained or not.

    Returns
    -------
    Anatomy
        The table, the hidden layers, and the step.

    Raises
    ------
    TypeError, ValueError, UntraceableModelError
        As ``hidden_layers``.
    """
    return _Reader(model).read()


class _Reader:
    """From a traced step to the anatomy."""

    def __init__(self, model: BaseModelClass) -> None:
        self.name = type(model).__name__
        self.trace = tracing.trace(model)
        self.covariates = field_codes.covariates(model)
        self.graph = self.trace.graph
        self.threshold = ROUNDING * max(self.trace.gradients.values(), default=0.0)
        self.parameters = dict(self.trace.module.named_parameters())
        # A parameter that two modules share is counted once, under its first name.
        first = {id(value): name for name, value in self.parameters.items()}
        self.first_name = {
            name: first[id(value)]
            for name, value in self.trace.module.named_parameters(remove_duplicate=False)
        }
        self.leaves = [
            path
            for path, part in self.trace.module.named_modules()
            if path and not any(part.children()) and not isinstance(part, CONTAINERS)
        ]
        self.linear = [node for node, kind in self.graph.nodes(data="kind") if kind == "linear"]
        self.order = {path: number for number, path in enumerate(self.trace.calls)}
        self.networks = self._networks()
        self.learned = self._learned(model)

    def read(self) -> Anatomy:
        rows = [self._leaf(path) for path in self.leaves]
        owned = {name for path in self.leaves for name in self._own(path)}
        rows += [self._bare(name) for name in self.parameters if name not in owned]
        table = pd.DataFrame(rows, columns=COLUMNS).astype({"in": "Int64", "out": "Int64"})
        self._require_understood(table)
        counted = [self._numbers(path) for path in table["path"]]
        numbers = pd.DataFrame(counted, index=table["path"], columns=STATES)
        if (numbers[["trained", "frozen"]] > 0).all(axis=1).any():
            table["held"] = numbers["frozen"].to_numpy()
        return Anatomy(
            self.name, table, self._counts(), numbers, self.learned, self.covariates, self.trace
        )

    # --- networks ---

    def _networks(self) -> dict[str, str]:
        """Name the network of each module or bare parameter that is a learned linear map."""
        together = nx.Graph()
        for node in self.linear:
            stage = self._stage(node)
            if stage != tracing.DRY_RUN:
                path = self._path(node)
                together.add_edge(path, (_top(path), stage))
                together.add_edges_from((path, self._path(after)) for after in self._feeds(node))
        groups = [
            {path for path in group if isinstance(path, str)}
            for group in nx.connected_components(together)
        ]
        groups.sort(key=lambda group: min(map(self._when, group)))
        encoders = [group for group in groups if self._makes_what_is_decoded(group)]
        decoders = [group for group in groups if self._is_generative(group)]
        named: dict[str, str] = {}
        if len(encoders) == 1:
            named |= dict.fromkeys(encoders[0], "encoder")
        if len(decoders) == 1 and decoders != encoders:
            named |= dict.fromkeys(decoders[0], "decoder")
        for group in groups:
            if not group & named.keys():
                name = self._attribute(min(group, key=self._when), set(named.values()))
                named |= dict.fromkeys(group, name)
        return dict(sorted(named.items(), key=lambda item: self._when(item[0])))

    def _when(self, path: str) -> tuple[int, str]:
        """Return when a module ran; what has no module of its own comes last, by name."""
        return self.order.get(path, len(self.order)), path

    @staticmethod
    def _attribute(path: str, taken: set[str]) -> str:
        """Return the shortest beginning of a path that is not taken as a name."""
        parts = path.split(".")
        names = (".".join(parts[:number]) for number in range(1, len(parts) + 1))
        return next((name for name in names if name not in taken), path)

    def _makes_what_is_decoded(self, group: set[str]) -> bool:
        """Whether what is decoded was sampled from this network's distribution."""
        return any(
            self._path(head) in group and self._stage(head) == "inference"
            for sample in decoded_samples(self.trace)
            for head in self.graph.predecessors(sample)
            if self.graph.nodes[head]["kind"] == "linear"
        )

    def _is_generative(self, group: set[str]) -> bool:
        return any(
            self._stage(node) == "generative" and self._is_used(self._path(node))
            for node in self.linear
            if self._path(node) in group
        )

    def _network(self, path: str) -> str:
        """Name the network that a module belongs to: its own, or that of its siblings."""
        if path in self.networks:
            return self.networks[path]
        top = _top(path)
        return next((name for at, name in self.networks.items() if _top(at) == top), top)

    def _counts(self) -> dict[str, int]:
        """Count, by network, the learned maps on the longest path, less the last: the head."""
        used = {node for node in self.linear if self._is_used(self._path(node))}
        paths = self.graph.edge_subgraph(
            [(node, after) for node in used for after in self._feeds(node) if after in used]
        )
        counts = {name: 0 for path, name in self.networks.items() if self._is_used(path)}
        for name in counts:
            members = [node for node in paths if self.networks.get(self._path(node)) == name]
            counts[name] = nx.dag_longest_path_length(paths.subgraph(members), weight=None)
        return counts

    # --- rows ---

    def _leaf(self, path: str) -> tuple:
        part = self.trace.module.get_submodule(path)
        return (
            path,
            self._network(path),
            self._role(path, part),
            *self._widths(path),
            sum(self.parameters[name].numel() for name in self._counted(path)),
            self._state(path),
        )

    def _bare(self, name: str) -> tuple:
        value = self.parameters[name]
        network = self._network(name) if "." in name or name in self.networks else ""
        role = self._linear_role(name) or "parameter"
        return name, network, role, *self._widths(name), value.numel(), self._state(name)

    def _widths(self, path: str) -> tuple[int | None, int | None]:
        """Return how many columns go into a module and come out, as far as that was seen.

        Those of a convolution are its channels.
        """
        part = self.trace.module.get_submodule(path) if path not in self.parameters else None
        if isinstance(part, _ConvNd):
            return part.in_channels, part.out_channels
        if calls := self.trace.calls.get(path):
            return calls[0].width_in, calls[0].width_out
        # Weights that are used without a call of the module that holds them.
        outs = [self.graph.nodes[node]["width"] for node in self.linear if self._path(node) == path]
        return None, outs[0] if outs else None

    def _role(self, path: str, part: nn.Module) -> str:
        if isinstance(part, RECURRENT):
            return "unknown"
        if role := self._linear_role(path):
            return role
        if isinstance(part, nn.Embedding):
            return "embedding"
        if isinstance(part, NORMALISATIONS):
            return "normalisation"
        if isinstance(part, _DropoutNd):
            return "dropout"
        # A number for each neuron, such as a learned slope, mixes no neurons: that takes a matrix.
        mixes = any(self.parameters[name].ndim > 1 for name in self._own(path))
        return "unknown" if mixes else "activation"

    def _linear_role(self, path: str) -> str:
        """Say whether a learned linear map is hidden or a head; nothing if it is none."""
        names = {path, *(name.rpartition(".")[0] for name in self._own(path))}
        nodes = [node for node in self.linear if self._path(node) in names]
        if not nodes:
            return ""
        # What is thrown away does not make the layer before it a hidden one.
        used = self._is_used(path)
        fed = (after for node in nodes for after in self._feeds(node))
        return (
            "hidden"
            if any(self._is_used(self._path(after)) or not used for after in fed)
            else "head"
        )

    def _state(self, path: str) -> str:
        if self._is_used(path):
            own = [name for name in self._own(path) if name in self.learned]
            learn = any(bool(self.learned[name].any()) for name in own)
            return "trained" if learn or not own else "frozen"
        ran = any(call.stage != tracing.DRY_RUN for call in self.trace.calls.get(path, []))
        return "ignored" if ran or self.trace.touched.intersection(self._own(path)) else "idle"

    def _numbers(self, path: str) -> dict[str, int]:
        """Count the parameters of a row by what becomes of each single number."""
        counts = dict.fromkeys(STATES, 0)
        for name in self._counted(path):
            size = self.parameters[name].numel()
            if name in self.learned:
                learned, held = int(self.learned[name].sum()), int(self.trace.held[name].sum())
                counts["trained"] += learned
                counts["frozen"] += held
                counts["ignored"] += size - learned - held
            elif self._is_used(path):
                # A module may be used without all of its parameters.
                counts["ignored" if name in self.trace.touched else "idle"] += size
            else:
                counts[self._state(path)] += size
        return counts

    def _learned(self, model: BaseModelClass) -> learned_numbers.Masks:
        """Return which numbers of each parameter that the loss depends on are trained."""
        used = filter(self._is_used, [*self.leaves, *self.parameters])
        names = dict.fromkeys(name for path in used for name in self._own(path))
        # In a module that is used, even rounding moves a number a little.
        free = {name: ~self.trace.held[name] for name in names if self.trace.gradients.get(name)}
        reached = learned_numbers.reached(model, self.trace.reached, free)
        return {name: mask & reached[name] for name, mask in free.items()}

    def _require_understood(self, table: pd.DataFrame) -> None:
        """Refuse to count where a module mixes its inputs in a way that is not followed."""
        for row in table.itertuples():
            if row.role == "unknown" and row.state in USED:
                kind = type(self.trace.module.get_submodule(row.path)).__name__
                raise minibatches.UntraceableModelError(
                    f"{self.name} trains {row.path} (a {kind}), which is no plain product with "
                    "learned weights, so its hidden layers cannot be counted. Models of linear "
                    "layers, such as SCVI or TOTALVI, can be."
                )

    # --- small questions ---

    def _own(self, path: str) -> list[str]:
        """Return the first names of the parameters of a module, or of a bare parameter itself."""
        if path in self.parameters:
            return [path]
        part = self.trace.module.get_submodule(path)
        return [
            self.first_name[f"{path}.{name}"] for name, _ in part.named_parameters(recurse=False)
        ]

    def _counted(self, path: str) -> list[str]:
        """Return those of the parameters that are counted here: each has one row."""
        own = self._own(path)
        return (
            own
            if path in self.parameters
            else [name for name in own if name.rpartition(".")[0] == path]
        )

    def _path(self, node: int) -> str:
        return linear_path(self.trace, node)

    def _stage(self, node: int) -> str:
        return self.graph.nodes[node]["stage"]

    def _feeds(self, node: int) -> Iterator[int]:
        """Give the learned linear maps that this one feeds inside its network."""
        for after in self.graph.successors(node):
            if (
                self.graph.nodes[after]["kind"] == "linear"
                and not self.graph.edges[node, after]["cut"]
            ):
                yield after

    def _counts_for_the_loss(self, path: str) -> bool:
        return self.trace.gradients.get(path, 0.0) > self.threshold

    def _is_used(self, path: str) -> bool:
        # What has parameters is judged by what training does to them.
        return any(map(self._counts_for_the_loss, self._own(path) or [path]))


def linear_path(trace: tracing.Trace, node: int) -> str:
    """Return the path of a learned linear map's module, or of its bare parameter."""
    name = trace.graph.nodes[node]["name"]
    path = name.rpartition(".")[0]
    owner = trace.module.get_submodule(path)
    bare = not path or any(owner.children()) or isinstance(owner, CONTAINERS)
    return name if bare else path


def decoded_samples(trace: tracing.Trace) -> list[int]:
    """Return the nodes of the graph that are samples from which the data are decoded.

    They hold the latent dimensions.
    """
    graph = trace.graph
    return [
        node
        for node, kind in graph.nodes(data="kind")
        if kind == "sample"
        and any(
            graph.nodes[after]["kind"] == "linear" and graph.nodes[after]["stage"] == "generative"
            for after in graph.successors(node)
        )
    ]


def _top(path: str) -> str:
    return path.partition(".")[0]
