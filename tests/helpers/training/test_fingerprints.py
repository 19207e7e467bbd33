"""A fingerprint changes with the value, with nothing else, and is the same in every process."""

import functools
import itertools
import os
import subprocess
import sys
import threading
import types

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scvi
import torch
from torch import nn

from helpers.paths import ROOT
from helpers.training import fingerprints


def of(value, **more):
    return fingerprints.fingerprint({"it": value}, {dict: {"random"}}, "scvi", more)


def module_with(**attributes):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.1), nn.BatchNorm1d(2))
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def changed(change):
    module = module_with()
    change(module)
    return module


# --- values -------------------------------------------------------------------------------------

MANY = np.arange(5000)
OTHER = np.where(MANY == 2500, 7, MANY)

VALUES = {
    "number": [1, 2, 1.0, True, None, "1", b"1", 1j],
    "nan and zeros": [float("nan"), 0.0, -0.0],
    "many numbers": [MANY, OTHER, MANY.astype("int32"), MANY.reshape(50, 100), list(MANY)],
    "order": [[1, 2], [2, 1], (1, 2), {1: 2}, {2: 1}, {1, 2}, [[1], 2], [[1, 2]]],
    "text": [["ab", "c"], ["a", "bc"], np.array(["a", None], dtype=object), np.array(["a", "b"])],
    "table": [
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
        pd.DataFrame({"a": [1, 2], "c": ["x", "y"]}),
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=["p", "q"]),
        pd.DataFrame({"a": [1, 2], "b": pd.Categorical(["x", "y"])}),
    ],
    "tensor": [torch.ones(3), torch.ones(3, dtype=torch.float64), torch.ones(1, 3), nn.ReLU()],
    "generator of numbers": [np.random.default_rng(0), np.random.default_rng(1)],
    "an object": [itertools.count(3), itertools.count(4), functools.partial(print, sep="")],
}


@pytest.mark.parametrize("kind", VALUES)
def test_other_values_have_other_fingerprints(kind):
    found = [of(value) for value in VALUES[kind]]
    assert len(set(found)) == len(found)
    assert found == [of(value) for value in VALUES[kind]]


def test_the_order_of_names_and_random_names_say_nothing():
    assert of({"a": 1, "b": 2}) == of({"b": 2, "a": 1, "random": object()})
    assert of({"a", "b", "c"}) == of({"c", "b", "a"})


def test_what_was_found_out_about_a_value_says_nothing():
    for kind in (sp.csr_matrix, sp.csc_matrix, sp.csr_array):
        matrix = kind(np.eye(3))
        before = of(matrix)
        assert matrix.has_canonical_format and matrix.has_sorted_indices
        assert of(matrix) == before
        assert of(kind(np.eye(3) * 2)) != before != of(kind(np.eye(4)))
    table = pd.DataFrame({"a": pd.Categorical(["x", "y"])}, index=["p", "q"])
    before = of(table)
    assert table.index.is_unique and table.loc["p", "a"] == "x" and hash(table["a"].dtype)
    assert of(table) == before


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ((n for n in range(3)), "generator"),
        (threading.Lock(), "lock"),
        (np.frompyfunc(len, 1, 1), "ufunc"),
    ],
)
def test_what_has_no_fingerprint_is_named(value, kind):
    with pytest.raises(fingerprints.NoFingerprintError, match=rf"it\.inside \({kind}\)"):
        of({"inside": value})
    with pytest.raises(fingerprints.NoFingerprintError, match=rf"it\.part\.inside \({kind}\)"):
        of(module_with(part=module_with(inside=value)))


# --- networks -----------------------------------------------------------------------------------


def tie(module):
    module.append(nn.Linear(3, 2))
    module[3].weight = module[0].weight


CHANGES = {
    "a weight": lambda m: nn.init.zeros_(m[0].bias),
    "frozen": lambda m: m[0].requires_grad_(False),
    "dropout": lambda m: setattr(m[1], "p", 0.9),
    "momentum": lambda m: setattr(m[2], "momentum", 0.5),
    "a buffer": lambda m: m[2].running_mean.add_(1),
    "mode": lambda m: m[2].eval(),
    "another part": lambda m: m.__setitem__(1, nn.AlphaDropout(0.1)),
    "a name": lambda m: setattr(m, "gene_likelihood", "nb"),
    "forward hook": lambda m: m.register_forward_hook(lambda *a: None),
    "other forward hook": lambda m: m.register_forward_hook(lambda *a: a[-1]),
    "hook with kwargs": lambda m: m.register_forward_hook(lambda *a: None, with_kwargs=True),
    "pre-hook": lambda m: m.register_forward_pre_hook(lambda *a: None),
    "backward hook": lambda m: m.register_full_backward_hook(lambda *a: None),
    "gradient hook": lambda m: m[0].weight.register_hook(lambda g: g * 0),
    "other gradient hook": lambda m: m[0].weight.register_hook(lambda g: g * 2),
    "hook after the gradient": lambda m: m[0].weight.register_post_accumulate_grad_hook(print),
    "a method": lambda m: setattr(m, "forward", types.MethodType(lambda self, x: x, m)),
    "weight norm": lambda m: nn.utils.parametrizations.weight_norm(m[0]),
}


def test_all_that_a_network_does_and_holds_counts():
    found = {name: of(changed(change)) for name, change in CHANGES.items()}
    assert len(set(found.values()) | {of(module_with())}) == len(CHANGES) + 1
    assert found == {name: of(changed(change)) for name, change in CHANGES.items()}


def test_a_hook_that_is_gone_leaves_no_trace():
    module = module_with()
    for hook in (module.register_forward_hook(print), module[0].weight.register_hook(print)):
        hook.remove()
    assert of(module) == of(module_with())


# --- code ---------------------------------------------------------------------------------------

SOURCE = """
import math
import torch
import typing

FACTOR = 2

def helper(x):
    return x * FACTOR

class Tool:
    weight = 3
    def __call__(self, x, beta=1):
        return helper(x) * beta + math.pi

def made(bound):
    return lambda x: Tool()(x) + bound

class Module(torch.nn.Linear, typing.Generic[typing.TypeVar("T")]):
    __slots__ = ("slot",)
    def forward(self, x):
        return super().forward(helper(x))

things = [Tool, Tool(), made(5), Module, {"helper", "tool", "factor"}]
"""


def things(source=SOURCE, name="__main__"):
    names = {"__name__": name}
    exec(compile(source, "<cell>", "exec"), names)  # as a cell of a notebook
    return names


def test_code_counts_by_what_it_does():
    assert of(things()["things"]) == of(things("# A comment.\n" + SOURCE)["things"])
    edits = {
        "beta=1": "beta=2",
        "x * FACTOR": "x + FACTOR",
        "FACTOR = 2": "FACTOR = 4",
        "weight = 3": "weight = 4",
        "made(5)": "made(6)",
        "math.pi": "math.e",
    }
    found = {of(things(SOURCE.replace(old, new))["made"](5)) for old, new in edits.items()}
    assert len(found) == len(edits)  # the edit of what is bound in the list changes nothing here
    for reached in ("Tool", "made", "Module"):
        edited = things(SOURCE.replace("x * FACTOR", "x + FACTOR"))
        assert of(things()[reached]) != of(edited[reached]), reached


def test_a_function_of_a_module_of_ones_own_is_followed(tmp_path, monkeypatch):
    (tmp_path / "a_module_of_mine.py").write_text("def f(x):\n    return g(x)\ng = abs\nh = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    for source in (
        "import a_module_of_mine as mine\ndef code(x): return mine.f(x)",
        "from a_module_of_mine import f\ndef code(x): return f(x)",
        "def code(x):\n    from a_module_of_mine import f\n    return f(x)",
    ):
        code = things(source)["code"]
        before = of(code)
        mine = sys.modules["a_module_of_mine"]
        with monkeypatch.context() as patch:
            patch.setattr(mine, "h", 2)
            assert of(code) == before
            patch.setattr(mine, "g", hash)
            assert of(code) != before
        assert of(code) == before
    monkeypatch.delitem(sys.modules, "a_module_of_mine")


def test_code_of_a_package_is_known_by_its_name_unless_somebody_replaced_it(monkeypatch):
    before, counts = of(nn.Linear), of(np.mean)
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: x)
    assert of(nn.Linear) != before
    assert of(np.mean) == counts
    monkeypatch.undo()
    assert of(nn.Linear) == before
    # Wherever it is in the package whose code is used.
    before = of(1)
    monkeypatch.setattr(scvi.distributions.NegativeBinomial, "log_prob", lambda self, x: x)
    assert of(1) != before


def test_data_count_where_code_asks_for_them():
    reads, does_not = things("def a(m): return m.cells.obs\ndef b(m): return m")["a"], print
    assert of(reads, cells=1) != of(reads, cells=2)
    assert of(does_not, cells=1) == of(does_not, cells=2)


PRINT = """
import sys
from tests.helpers.training.test_fingerprints import module_with, of, things
names = things()
print(of([names["things"], module_with(code=names["made"](5), text={"a", "b"})]))
"""


def test_a_fingerprint_is_the_same_in_another_process():
    names = things()
    here = of([names["things"], module_with(code=names["made"](5), text={"b", "a"})])
    other = subprocess.run(
        [sys.executable, "-c", PRINT],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.split()[-1] == here
