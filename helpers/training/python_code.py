"""Where Python code comes from, and what it uses.

Code of Python and of installed packages is known by its name and version. All other code is the
user's own: that of cells of a notebook, of scripts, and of modules beside them.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import importlib
import importlib.metadata
import importlib.util
import os
import site
import sys
import sysconfig
import types
from collections.abc import Mapping
from typing import Any

# What is wrapped around a function, and under which names the function is found in it.
WRAPPERS: dict[type, tuple[str, ...]] = {
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    property: ("fget", "fset"),
    functools.cached_property: ("func",),
    type(functools.cache(len)): ("__wrapped__",),
}


def is_installed(name: str | None) -> bool:
    """Tell whether a module belongs to Python or to a package of this environment."""
    # The cells of a notebook are in `__main__`, whatever began the kernel.
    module = sys.modules.get(name or "") if name != "__main__" else None
    spec = getattr(module, "__spec__", None)
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), None)
    if file is None:
        return name in sys.builtin_module_names or getattr(spec, "origin", None) == "frozen"
    return is_below_installation(file)


def is_below_installation(file: str) -> bool:
    """Tell whether a file is one of Python or of an installed package."""
    return os.path.realpath(file).startswith(installation())


@functools.cache
def installation() -> tuple[str, ...]:
    """Return the folders of Python and of the packages that are installed."""
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    return tuple(os.path.realpath(folder) + os.sep for folder in folders)


def version(package: str) -> str:
    """Return the version of a package that was imported; that of Python for its own."""
    if package in sys.stdlib_module_names:
        return sys.version
    # Not asked for as an attribute: some packages warn of that.
    told = vars(sys.modules[package]).get("__version__")
    if told is not None:
        return str(told)
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    distributions = importlib.metadata.packages_distributions().get(package, [])
    return " ".join(importlib.metadata.version(name) for name in distributions)


def module_of(code: Any) -> str | None:
    """Return the module that a class or function is written in.

    A function that is wrapped around another one may carry the name of that one's module.
    """
    own = isinstance(code, types.FunctionType)
    return code.__globals__.get("__name__") if own else code.__module__


def unwrapped(member: Any) -> Any:
    """Return the function inside a method or property of a class; anything else as it is."""
    return getattr(member, WRAPPERS[type(member)][0]) if type(member) in WRAPPERS else member


def is_found_by_name(value: Any, name: str | None = None) -> bool:
    """Tell whether its module has a class or function under its name, and not another one.

    Some objects do not know their module, but it is that of their type.
    """
    found = []
    for module in (getattr(value, "__module__", None), type(value).__module__):
        place = sys.modules.get(module or "")
        for part in (name or value.__qualname__).split("."):
            place = getattr(place, part, None)
        found.append(place)
    return any(each is value for each in found)


def names_in(code: types.CodeType) -> dict[str, set[str]]:
    """Return the names that code and the functions inside it use, by what they stand for."""
    found: dict[str, set[str]] = {"globals": set(), "imports": set(), "attributes": set()}
    kinds = {"LOAD_GLOBAL": "globals", "LOAD_NAME": "globals", "IMPORT_NAME": "imports"}
    for step in dis.get_instructions(code):
        found[kinds.get(step.opname, "attributes")] |= (
            {step.argval} if isinstance(step.argval, str) else set()
        )
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            for kind, names in names_in(inner).items():
                found[kind] |= names
    return found


def imported(name: str, names: Mapping[str, Any]) -> types.ModuleType | str | None:
    """Return a module that a function imports where it runs, or its name if it is installed.

    The same, whether it has run or not.
    """
    for full in (name, f"{names.get('__package__')}.{name}".rstrip(".")):
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(full.partition(".")[0])
            origin = (spec and spec.origin) or ""
            if origin in ("built-in", "frozen") or is_below_installation(origin):
                return full
            return importlib.import_module(full)
    return None
