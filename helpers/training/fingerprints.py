"""A fingerprint of any Python value that is the same in every process, or the reason why not.

What decides a result may be a number, an array, a network, or code: a function with its default
arguments and all that it reaches, a class of the user's own. Code of an installed package is known
by its name and version; all other code by what it does. What cannot be told from another one of its
kind elsewhere, such as a generator or an open file, has no fingerprint.
"""

from __future__ import annotations

import builtins
import contextlib
import copyreg
import functools
import hashlib
import itertools
import sys
import types
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from helpers.training import python_code

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented))

# What Python and scvi-tools write into a class themselves: names and texts, and the data sets that
# were set up with it.
NOT_OF_A_CLASS = {
    "__abstractmethods__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__orig_bases__",
    "__parameters__",
    "__qualname__",
    "__static_attributes__",
    "__weakref__",
    "_abc_impl",
    "_per_instance_manager_store",
    "_setup_adata_manager_store",
}

# Attributes of classes that are not written in Python, such as those of ``__slots__``.
NOT_IN_PYTHON = (
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)


class NoFingerprintError(ValueError):
    """A value cannot be told from another one in another process."""


def fingerprint(
    parts: Mapping[str, Any],
    leave_out: Mapping[type, Iterable[str]],
    package: str,
    if_asked_for: Mapping[str, Any],
) -> str:
    """Return a text that is the same for the same values, in this and any other process.

    Parameters
    ----------
    parts
        The values, under names that whoever reads an error understands.
    leave_out
        For a class, those attributes of its objects that say nothing, such as a random name; for
        ``dict``, such keys.
    package
        An installed package whose code the values use. What somebody has replaced in it counts.
    if_asked_for
        Values that count only if code of the user's own, found among the others, uses their name.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    NoFingerprintError
        If a value, or something inside it, has none. The message names it.
    """
    with warnings.catch_warnings():
        # Python warns of some objects that a later version will not take apart.
        warnings.simplefilter("ignore", DeprecationWarning)
        reader = _Fingerprints(leave_out)
        found = reader.of({**parts, package: reader.replaced_in(package)}, "")
        used = {name: part for name, part in if_asked_for.items() if name in reader.attributes}
        return _hash(found, reader.of(used, "")).hex()


def _hash(*parts: Any) -> bytes:
    """Return a digest of texts and bytes, each with its length, so that none runs into the next."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else memoryview(part)
        digest.update(f"{len(content) if isinstance(content, bytes) else content.nbytes} ".encode())
        digest.update(content)
    return digest.digest()


class _Fingerprints:
    """Fingerprints of values and of what is inside them, each taken once.

    A value that is met inside itself, as a network by its own method, counts as the number of steps
    back to it.
    """

    def __init__(self, leave_out: Mapping[type, Iterable[str]]) -> None:
        self.leave_out = {kind: frozenset(names) for kind, names in leave_out.items()}
        # With the value itself: what Python numbers a value by may be given again once it is gone.
        self.known: dict[Any, tuple[Any, bytes]] = {}
        self.begun: dict[Any, int] = {}
        self.installed: dict[str | None, bool] = {}
        self.path: list[str] = []
        # What code of the user's own asks some object for.
        self.attributes: set[str] = set()

    def of(self, value: Any, name: str, reached: frozenset[str] = frozenset()) -> bytes:
        """Return the fingerprint of a value that was found under a name.

        Of a module of the user's own, only the names that were ``reached`` count.
        """
        if type(value) in PLAIN:
            # Where something lies in the memory of this process says nothing.
            lies = (value, frozenset()) in self.begun or (value, frozenset()) in self.known
            return _hash(type(value).__name__, "address" if lies else repr(value))
        place = id(value), reached
        if place in self.known:
            return self.known[place][1]
        if place in self.begun:
            return _hash("steps back", str(len(self.begun) - self.begun[place]))
        self.begun[place] = len(self.begun)
        self.path.append(name)
        try:
            found = _hash(*self._parts(value, reached))
        except NoFingerprintError:
            raise
        except RecursionError:
            raise self._none(value, "is nested too deeply") from None
        except Exception as error:  # an object may answer anything when asked what it holds
            raise self._none(value, f"cannot be taken apart: {error}") from error
        finally:
            self.path.pop()
            del self.begun[place]
        self.known[place] = value, found
        return found

    def _none(self, value: Any, why: str) -> NoFingerprintError:
        where = ".".join(name for name in self.path if name)
        return NoFingerprintError(f"{where} ({type(value).__name__}) {why}")

    # --- values -----------------------------------------------------------------------------------

    def _parts(self, value: Any, reached: frozenset[str]) -> Iterator[Any]:
        """Give the texts and fingerprints that make a value what it is."""
        yield type(value).__qualname__
        if isinstance(value, types.ModuleType):
            yield from self._python_module(value, reached)
        else:
            kinds = (kind for kind in READERS if isinstance(value, kind))
            yield from READERS[next(kinds, object)](self, value)

    def _named(self, parts: Mapping[Any, Any]) -> Iterator[bytes]:
        """Give names and values, in an order that does not hang on which came first."""
        pairs = [(self.of(key, ""), self.of(value, str(key))) for key, value in parts.items()]
        for pair in sorted(pairs):
            yield from pair

    def _listed(self, values: Iterable[Any], name: str = "") -> Iterator[bytes]:
        for value in values:
            yield self.of(value, name)

    def _array(self, value: np.ndarray | np.generic) -> Iterator[Any]:
        value = np.asarray(value)
        yield f"{value.dtype.descr if value.dtype.names else value.dtype} {value.shape}"
        if value.dtype.hasobject:
            yield from self._listed(value.ravel().tolist())
        else:
            yield np.ascontiguousarray(value).reshape(-1).view(np.uint8).data

    def _sparse(self, value: sp.spmatrix | sp.sparray) -> Iterator[Any]:
        """Give shape and entries; SciPy also notes what it has found out about their order."""
        rows = sp.csr_matrix(value)
        yield f"{value.format} {value.shape}"
        indices = [each.astype(np.int64) for each in (rows.indptr, rows.indices)]
        yield from self._listed([*indices, rows.data])

    def _table(self, value: pd.DataFrame | pd.Series | pd.Index) -> Iterator[Any]:
        if isinstance(value, pd.DataFrame):
            yield from self._listed([value.columns, value.index])
            yield from self._listed(value.iloc[:, n] for n in range(value.shape[1]))
        else:
            yield f"{value.dtype} {value.name}"
            yield self.of(np.asarray(value), "")

    def _tensor(self, value: torch.Tensor) -> Iterator[Any]:
        yield f"{value.dtype} {tuple(value.shape)} {value.layout} {value.requires_grad}"
        numbers = value.detach().cpu()
        numbers = numbers if numbers.layout is torch.strided else numbers.to_dense()
        numbers = numbers.contiguous().reshape(-1)
        yield numbers.view(torch.uint8).numpy().data if numbers.numel() else b""
        # Functions that change a gradient, and whatever somebody else noted on a weight.
        for hooks in ("_backward_hooks", "_post_accumulate_grad_hooks"):
            yield from self._listed((getattr(value, hooks, None) or {}).values(), hooks)
        yield from self._named(vars(value))

    def _network(self, value: nn.Module) -> Iterator[Any]:
        """Give a PyTorch module: its class, weights, parts, hooks, and all else that it holds."""
        yield self.of(type(value), "")
        state = dict(vars(value))
        flags = {name: state.pop(name) for name in sorted(state) if "_hooks_" in name}
        for name in sorted(name for name in state if name.endswith("_hooks")):
            # PyTorch numbers the hooks of a process through, so a number is only good to look up.
            for number, function in state.pop(name).items():
                yield name + "".join(flag for flag in flags if number in flags[flag])
                yield self.of(function, name)
        # Its parts stand beside all else, as in Python: `decoder`, not `_modules.decoder`.
        for name in ("_parameters", "_buffers", "_modules"):
            yield from self._named(state.pop(name))
        yield from self._named(state)

    def _handle(self, value: RemovableHandle) -> Iterator[Any]:
        """Give nothing: a handle only takes a hook away, which counts where it is."""
        yield from ()

    def _object(self, value: Any) -> Iterator[Any]:
        if type(value) in (list, tuple):
            yield from self._listed(value)
        elif type(value) in (dict, types.MappingProxyType):
            yield from self._named(self._that_count(value, value))
        elif type(value) in (set, frozenset):
            yield from sorted(self._listed(value))
        elif isinstance(value, weakref.ref):
            yield self.of(value(), "")
        elif type(value) in python_code.WRAPPERS:
            yield from self._listed(
                getattr(value, name) for name in python_code.WRAPPERS[type(value)]
            )
        elif any(isinstance(value, kind) for kind in self.leave_out.keys() - {dict}):
            yield self.of(type(value), "")
            yield from self._named(self._that_count(value, vars(value)))
        else:
            yield from self._as_for_a_pickle(value)

    def _that_count(self, value: Any, parts: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return those parts of an object that say something."""
        kinds = [names for kind, names in self.leave_out.items() if isinstance(value, kind)]
        left_out = frozenset().union(*kinds)
        return {name: part for name, part in parts.items() if name not in left_out}

    def _as_for_a_pickle(self, value: Any) -> Iterator[Any]:
        """Give what a pickle would be written from; an object that has no such parts raises."""
        reduce = copyreg.dispatch_table.get(type(value))
        parts = value.__reduce_ex__(4) if reduce is None else reduce(value)
        if isinstance(parts, str):
            # A pickle would hold this name only, whatever is behind it.
            if not (
                self._comes_with_a_package(value) and python_code.is_found_by_name(value, parts)
            ):
                raise TypeError("it is known by its name alone")
            yield f"{getattr(value, '__module__', None)}.{parts}"
        else:
            # A constructor with its arguments, a state, items of a list, and items of a dict.
            for part, kind in itertools.zip_longest(parts, (None, None, None, list, dict)):
                yield self.of(kind(part) if kind and part is not None else part, "")

    # --- code -------------------------------------------------------------------------------------

    def _method(self, value: types.MethodType) -> Iterator[Any]:
        yield from self._listed([value.__func__, value.__self__])

    def _builtin(self, value: types.BuiltinFunctionType) -> Iterator[Any]:
        yield f"{value.__module__}.{value.__qualname__}"
        owner = value.__self__
        if owner is not None and not isinstance(owner, (type, types.ModuleType)):
            yield self.of(owner, "")

    def _descriptor(self, value: Any) -> Iterator[Any]:
        """Give the name of an attribute that is not written in Python."""
        yield f"{value.__objclass__.__qualname__}.{value.__name__}"

    def _class(self, value: type) -> Iterator[Any]:
        installed = self.is_installed(value.__module__) and python_code.is_found_by_name(value)
        if installed:
            yield f"{value.__module__}.{value.__qualname__}"
            yield self.of(sys.modules[value.__module__], "")
            members = self._not_as_installed(value)
        else:
            members = {n: part for n, part in vars(value).items() if n not in NOT_OF_A_CLASS}
        yield from self._named(members)
        yield from self._listed([*value.__bases__, type(value)] if value is not type else [])

    def _not_as_installed(self, value: type) -> dict[str, Any]:
        """Return the members of an installed class that may have been set from outside."""
        found = {}
        for name, member in vars(value).items():
            function = python_code.unwrapped(member)
            if isinstance(function, types.FunctionType):
                own = (value.__module__, f"{value.__qualname__}.{name}")
                if not self.is_installed(python_code.module_of(function)):
                    found[name] = member
                elif (function.__module__, function.__qualname__) != own:
                    found[name] = f"{function.__module__}.{function.__qualname__}"
            elif name not in NOT_OF_A_CLASS and (
                isinstance(member, (type, functools.partial, *PLAIN))
                or not self._comes_with_a_package(member)
            ):
                found[name] = member
        return found

    def replaced_in(self, package: str) -> dict[str, Any]:
        """Return the functions and classes in a package that do not come with any."""
        found = {}
        for module in sorted(name for name in sys.modules if f"{name}.".startswith(f"{package}.")):
            parts = vars(sys.modules[module])
            classes = {
                name: vars(part)
                for name, part in parts.items()
                if isinstance(part, type) and part.__module__ == module
            }
            for owner, members in {"": parts, **classes}.items():
                for name, value in members.items():
                    code = python_code.unwrapped(value)
                    # Nearly all of it is written in this module: it need not be looked at.
                    is_here = getattr(code, "__globals__", None) is parts
                    if not is_here and self._is_own_code(code):
                        found[f"{module}.{owner}.{name}"] = value
        return found

    def _is_own_code(self, value: Any) -> bool:
        """Tell whether a value is code of the user's own, and not such as Python itself writes."""
        if not isinstance(value, (types.FunctionType, type)):
            return False
        module = python_code.module_of(value)
        return not self.is_installed(module) and (module is None or module in sys.modules)

    def _comes_with_a_package(self, value: Any) -> bool:
        modules = {type(value).__module__, getattr(value, "__module__", None)}
        return any(self.is_installed(name) for name in modules)

    def _function(self, value: types.FunctionType) -> Iterator[Any]:
        module = python_code.module_of(value)
        installed = self.is_installed(module)
        if installed and python_code.is_found_by_name(value):
            yield f"{value.__module__}.{value.__qualname__}"
            yield self.of(sys.modules[module], "")
            return
        yield self.of(value.__code__, "")
        yield from self._listed([value.__defaults__, value.__kwdefaults__])
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            # A cell is empty until the function around it has run so far.
            with contextlib.suppress(ValueError):
                yield self.of(cell.cell_contents, name)
        if not installed:
            yield from self._reached(value)

    def _code(self, value: types.CodeType) -> Iterator[Any]:
        yield f"{sys.implementation.cache_tag} {value.co_flags}"
        yield f"{value.co_argcount} {value.co_posonlyargcount} {value.co_kwonlyargcount}"
        yield from (value.co_code, value.co_exceptiontable)
        yield repr((value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars))
        yield from self._listed(value.co_consts)

    def _reached(self, function: types.FunctionType) -> Iterator[bytes]:
        """Give the global names and the imports that the code of a function uses."""
        used = python_code.names_in(function.__code__)
        attributes = frozenset(used["attributes"])
        self.attributes |= attributes
        for name in sorted(used["globals"]):
            if name in function.__globals__:
                yield _hash(name)
                yield self._used(function.__globals__[name], name, attributes)
            elif not hasattr(builtins, name):
                yield _hash(name, "missing")
        for name in sorted(used["imports"]):
            yield self._used(python_code.imported(name, function.__globals__), name, attributes)

    def _used(self, value: Any, name: str, attributes: frozenset[str]) -> bytes:
        """Return the fingerprint of what code uses; of a module, only what the code asks it for."""
        own = isinstance(value, types.ModuleType) and not self.is_installed(value.__name__)
        return self.of(value, name, attributes if own else frozenset())

    def _python_module(self, value: types.ModuleType, reached: frozenset[str]) -> Iterator[Any]:
        if self.is_installed(value.__name__):
            yield f"{value.__name__} {python_code.version(value.__name__.partition('.')[0])}"
        else:
            for name in sorted(name for name in vars(value) if name in reached):
                yield _hash(name)
                yield self._used(vars(value)[name], name, reached)

    def is_installed(self, name: str | None) -> bool:
        """Tell whether a module belongs to Python or to a package of this environment."""
        if name not in self.installed:
            self.installed[name] = python_code.is_installed(name)
        return self.installed[name]


# What a value of a kind consists of; the first kind that fits.
READERS: dict[type, Callable[[_Fingerprints, Any], Iterator[Any]]] = {
    torch.Tensor: _Fingerprints._tensor,
    np.ndarray: _Fingerprints._array,
    np.generic: _Fingerprints._array,
    sp.spmatrix: _Fingerprints._sparse,
    sp.sparray: _Fingerprints._sparse,
    pd.DataFrame: _Fingerprints._table,
    pd.Series: _Fingerprints._table,
    pd.Index: _Fingerprints._table,
    nn.Module: _Fingerprints._network,
    RemovableHandle: _Fingerprints._handle,
    type: _Fingerprints._class,
    types.FunctionType: _Fingerprints._function,
    types.MethodType: _Fingerprints._method,
    types.BuiltinFunctionType: _Fingerprints._builtin,
    types.CodeType: _Fingerprints._code,
    **dict.fromkeys(NOT_IN_PYTHON, _Fingerprints._descriptor),
    object: _Fingerprints._object,
}
