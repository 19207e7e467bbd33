"""List all packages that the kit brings, with their licences.

``make pins ARGS=licences`` writes ``docs/licences.md`` and, for a release, a software bill of
materials for each version track into ``build``.
"""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from commands.console import CommandError, say
from commands.environment import ROOT, Environment, latest_environment, own_environment, variables
from commands.set_up import EVERYTHING, set_up

PAGE = ROOT / "docs" / "licences.md"
BUILD = ROOT / "build"

# A version track is a range of Python versions that takes the same releases; here its first.
TRACKS = ("3.11", "3.12")

# What each group of pyproject.toml is for, the most needed first.
GROUPS = {
    "lessons": "the lessons",
    "sweep": "a sweep",
    "teach": "editions, slides and marks",
    "book": "the book",
    "test": "the tests",
    "lint": "the checks",
}

# torch itself asks for the versions of these that fit it, others on each kind of machine.
BROUGHT_BY_TORCH = re.compile(r"^(nvidia-.*|cuda-.*|triton)$")

# They come with Python, in a version that differs from machine to machine; setuptools no more from
# 3.12 on.
BROUGHT_BY_PYTHON = {"3.11": {"pip", "setuptools"}, "3.12": {"pip"}}

# What packages write where an SPDX expression should be. BSD: their licence file tells which of the
# two.
MEANT = {
    "Apache 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD",
    "BSD License": "BSD",
    "BSD 2-Clause License": "BSD-2-Clause",
    "3-Clause BSD License": "BSD",
    "BSD 3-Clause License": "BSD",
    "GNU General Public License (GPL)": "GPL-2.0-or-later",
    "MIT License": "MIT",
}

# Other people's work inside a package, under a licence that its metadata do not name.
CARRIED = {
    "axe-playwright-python": "MPL-2.0",  # axe-core
    "sphinx-mathjax-offline": "Apache-2.0",  # MathJax
}
THIRD_CLAUSE = re.compile(r"either\s+the\s+names?\s+of|The\s+names?\s+of")

# Licences that let anybody use, change and pass on the package, in any company.
PERMISSIVE = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "PSF-2.0",
    "Python-2.0",
    "Unlicense",
    "Zlib",
}
# Licences that ask whoever passes the package on to pass on its source as well.
COPYLEFT = {
    "Artistic-1.0-Perl",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "LGPL-2.1-or-later",
    "LGPL-3.0-or-later",
    "MPL-2.0",
}


def main() -> int:
    """Write the bills of both version tracks, and the page from them.

    Raises
    ------
    CommandError
        If the environment of a track is made of another Python, or a licence is not known.
    """
    bills = {}
    environments = (own_environment(), latest_environment())
    for track, environment in zip(TRACKS, environments, strict=True):
        set_up(environment, EVERYTHING)
        if track_of(environment) != track:
            raise CommandError(
                f"{environment.prefix.name} is made of another Python than {track}, and the "
                "licences are listed for both version tracks.\n"
                f"What to do: make clean, then make pins ARGS=licences PYTHON=python{track}"
            )
        bills[track] = bill(environment)
    write(bills)
    return 0


def write(bills: Mapping[str, dict], build: Path = BUILD, listing: Path = PAGE) -> None:
    """Write the bills and the page.

    Parameters
    ----------
    bills
        By track, as from ``bill``.
    build
        The folder that the bills go into.
    listing
        Where the page goes.
    """
    build.mkdir(parents=True, exist_ok=True)
    for track, each in bills.items():
        file = build / f"sbom-python-{track}.json"
        file.write_text(json.dumps(each, indent=1, sort_keys=True) + "\n", "utf-8")
    listing.write_text(page(bills), "utf-8")
    say(f"{listing.name} is written, and a bill of materials for each version track in build.")


def track_of(environment: Environment) -> str:
    """Give the version track that an environment belongs to."""
    newer = json.loads(_run(environment, "import sys; print(int(sys.version_info >= (3, 12)))"))
    return TRACKS[newer]


def _run(environment: Environment, script: str) -> str:
    command = [environment.python, "-I", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# --- the bill -----------------------------------------------------------------------------------


def bill(environment: Environment) -> dict:
    """Describe an environment as CycloneDX does, and leave out what differs between machines.

    Returns
    -------
    dict
        ``components`` with ``name``, ``version``, ``purl`` and ``licenses``; ``dependencies``, who
        asks for whom; ``metadata``.

    Raises
    ------
    CommandError
        Where a package does not say its licence in a way that is known, or nobody asks for it.
    """
    command = [environment.python, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    command += ["--pyproject", "pyproject.toml", environment.python]
    answer = subprocess.run(
        command, cwd=ROOT, env=variables(environment), capture_output=True, text=True
    )
    if answer.returncode:
        raise CommandError(f"cyclonedx-py stopped:\n{answer.stderr.strip()[-2000:]}")
    return assemble(json.loads(answer.stdout), stated_by(environment), track_of(environment))


def stated_by(environment: Environment) -> dict[str, dict]:
    """Return by package what ``STATED`` finds in an environment."""
    found = json.loads(_run(environment, STATED))
    return {normal(name): each for name, each in found.items()}


def assemble(raw: Mapping, stated: Mapping[str, Mapping], track: str) -> dict:
    """Make a bill, the same wherever and whenever it is made.

    Parameters
    ----------
    raw
        What cyclonedx-py says of the environment.
    stated
        By package, what ``STATED`` finds.
    track
        The version track of the environment.

    Raises
    ------
    CommandError
        As ``bill``.
    """
    components = [
        component(each, stated[normal(each["name"])])
        for each in raw["components"]
        if _is_listed(normal(each["name"]), track)
    ]
    names = {each["name"] for each in components}
    asked = dependencies_of(stated)
    if strangers := names - asked.keys():
        raise CommandError(
            f"Nobody asks for {', '.join(sorted(strangers))}, and yet it is installed for "
            f"Python {track}.\n"
            "What to do: make clean, then make pins ARGS=licences; or add what you need to "
            "pyproject.toml."
        )
    dependencies = [
        {"ref": name, "dependsOn": sorted(asked[name] & names)} for name in sorted(names)
    ]
    main = raw["metadata"]["component"]
    tools = raw["metadata"]["tools"]["components"]
    kept = ("bom-ref", "type", "name", "version", "licenses")
    return {
        "$schema": raw["$schema"],
        "bomFormat": raw["bomFormat"],
        "specVersion": raw["specVersion"],
        "version": raw["version"],
        "metadata": {
            "component": {key: main[key] for key in kept},
            "tools": {
                "components": [
                    {key: each[key] for key in ("type", "name", "version")} for each in tools
                ]
            },
        },
        "components": sorted(components, key=lambda each: each["name"]),
        "dependencies": dependencies,
    }


# What cyclonedx-py leaves out or mixes up. Of each package: the old field for its licence, where
# that is no SPDX expression; its licence file; and what it asks for, with which extras, and under
# which extra of its own (cyclonedx-py adds all extras, asked for or not).
STATED = r"""
import importlib.metadata, json, re
from packaging.requirements import Requirement

def asked(item):
    for line in item.requires or ():
        needs = Requirement(line)
        for extra in ("", *(item.metadata.get_all("Provides-Extra") or ())):
            if needs.marker is None or needs.marker.evaluate({"extra": extra}):
                yield needs.name, sorted(needs.extras), extra
                break

found = {}
for item in importlib.metadata.distributions():
    licence = re.compile(r"(?i)\.dist-info/.*(licen[cs]e|copying)[^/]*$")
    files = [file for file in item.files or () if licence.search(file.as_posix())]
    field = item.metadata.get_all("License") or [""]
    text = files[0].read_text("utf-8") if files else ""
    found[item.metadata["Name"]] = {"field": field[0], "text": text, "asks": list(asked(item))}
print(json.dumps(found))
"""


def _is_listed(name: str, track: str) -> bool:
    """Tell whether a package is the same on all machines."""
    return name not in BROUGHT_BY_PYTHON[track] and not BROUGHT_BY_TORCH.match(name)


def normal(name: str) -> str:
    """Give a package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def dependencies_of(stated: Mapping[str, Mapping]) -> dict[str, set[str]]:
    """Follow from the kit's own groups who asks for whom.

    Of extras, only those that are asked for count.

    Parameters
    ----------
    stated
        By package, what ``STATED`` finds.

    Returns
    -------
    dict
        By package, the packages that it asks for.
    """
    waiting = [requirement for group in asked_for().values() for requirement in group]
    done: set[tuple[str, str]] = set()
    found: dict[str, set[str]] = {}
    while waiting:
        name, extras = waiting.pop()
        for extra in {"", *extras} - {extra for known, extra in done if known == name}:
            done.add((name, extra))
            for other, others_extras, under in stated.get(name, {}).get("asks", ()):
                if under == extra:
                    found.setdefault(name, set()).add(normal(other))
                    waiting.append((normal(other), tuple(others_extras)))
        found.setdefault(name, set())
    return found


def component(raw: Mapping, stated: Mapping[str, str]) -> dict:
    """Describe one package.

    Parameters
    ----------
    raw
        As cyclonedx-py describes it.
    stated
        What ``STATED`` finds of it.
    """
    name, version = normal(raw["name"]), raw["version"].partition("+")[0]
    licence = expression(raw, stated["field"], stated["text"])
    if name in CARRIED and CARRIED[name] not in licence:
        licence = f"{licence} AND {CARRIED[name]}"
    return {
        "bom-ref": name,
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "licenses": [{"expression": licence}],
    }


def expression(raw: Mapping, field: str, text: str) -> str:
    """Give a package's licence as an SPDX expression.

    Parameters
    ----------
    raw
        As cyclonedx-py describes the package.
    field
        What the old field for the licence says: a name, or all of the licence.
    text
        The licence file.

    Raises
    ------
    CommandError
        Where what the package says is not known.
    """
    given = [
        each.get("expression") or each["license"].get("id") or each["license"]["name"]
        for each in raw.get("licenses", ())
    ]
    spdx = sorted({each for each in given if is_known(each)})
    if spdx:
        return spdx[0] if len(spdx) == 1 else " AND ".join(f"({each})" for each in spdx)
    classified = [each.rpartition(" :: ")[2] for each in given]
    first_lines = [each.strip().partition("\n")[0].strip() for each in (field, text)]
    for words in (*classified, *first_lines):
        if meant := MEANT.get(words):
            three = THIRD_CLAUSE.search(text or field)
            return meant if meant != "BSD" else "BSD-3-Clause" if three else "BSD-2-Clause"
    raise CommandError(
        f"{raw['name']} {raw['version']} has a licence that is not among those of "
        f"commands/licences.py: {given or field[:200]}.\n"
        "What to do: read the licence file in the package. If everybody may use it, add what is "
        "said to PERMISSIVE, COPYLEFT or MEANT; else do without the package."
    )


def parts_of(expression: str) -> list[list[str]]:
    """Split an SPDX expression into alternatives, each a list of licences that hold together."""
    bare = expression.replace("(", "").replace(")", "")
    return [
        [part.strip() for part in alternative.split(" AND ")] for alternative in bare.split(" OR ")
    ]


def is_known(expression: str) -> bool:
    """Tell whether all licences in an SPDX expression are ones that the kit may bring."""
    return all(part in PERMISSIVE | COPYLEFT for parts in parts_of(expression) for part in parts)


def is_copyleft(expression: str) -> bool:
    """Tell whether each alternative has a licence that asks for the source to be passed on."""
    return all(COPYLEFT & set(parts) for parts in parts_of(expression))


# --- the page -----------------------------------------------------------------------------------


def groups() -> dict[str, list[str]]:
    """Read from ``pyproject.toml`` what each group asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {"lessons": project["dependencies"], **project["optional-dependencies"]}


def asked_for() -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Give for each group the packages that it asks for, with their extras."""
    found = {}
    for group, requirements in groups().items():
        parts = [re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", each) for each in requirements]
        found[group] = [
            (normal(part[1]), tuple(part[2].split(",") if part[2] else ()))
            for part in parts
            if part
        ]
    return found


def reasons() -> dict[str, str]:
    """Read from ``pyproject.toml`` why each package that the kit asks for is needed."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    found: dict[str, str] = {}
    for group in GROUPS:
        _, _, listed = text.partition(
            "\ndependencies = [" if group == "lessons" else f"\n{group} = ["
        )
        lines = listed.partition("\n]")[0].splitlines()
        for requirement, (name, _) in zip(groups()[group], asked_for()[group], strict=True):
            line = next(line for line in lines if f'"{requirement}"' in line)
            found.setdefault(name, line.partition('", # ')[2])
    return found


def groups_of(bills: Iterable[dict]) -> dict[str, str]:
    """Tell for each package the first of ``GROUPS`` that needs it, itself or through others."""
    asks: dict[str, set[str]] = {}
    for each in bills:
        for row in each["dependencies"]:
            asks.setdefault(row["ref"], set()).update(row["dependsOn"])
    found: dict[str, str] = {}
    for group in GROUPS:
        waiting = [name for name, _ in asked_for()[group]]
        while waiting:
            name = waiting.pop()
            if name in asks and name not in found:
                found[name] = group
                waiting += asks[name]
    return found


def page(bills: Mapping[str, dict]) -> str:
    """Write the page with all licences.

    Parameters
    ----------
    bills
        By version track, as from ``bill``.
    """
    needed, why = groups_of(bills.values()), reasons()
    by_name: dict[str, dict[str, dict]] = {}
    for track, each in bills.items():
        for part in each["components"]:
            by_name.setdefault(part["name"], {})[track] = part
    tables, copyleft = {group: [] for group in GROUPS}, []
    for name, tracks in sorted(by_name.items()):
        licence = ", ".join(sorted({part["licenses"][0]["expression"] for part in tracks.values()}))
        if is_copyleft(licence):
            copyleft.append(f"| {name} | {licence} | {GROUPS[needed[name]]} |")
        versions = [tracks[track]["version"] if track in tracks else "-" for track in bills]
        asking = ", ".join(_asking(name, bills.values()))
        entries = [name, *versions, licence, why.get(name) or f"for {asking}"]
        tables[needed[name]].append(f"| {' | '.join(entries)} |")
    pythons = " | ".join(f"Python {track}" for track in bills)
    head = f"| package | {pythons} | licence | why it is here |\n|{' --- |' * (3 + len(bills))}\n"
    parts = "\n".join(
        f"## For {GROUPS[group]}\n\n{len(rows)} packages.\n\n{head}{chr(10).join(rows)}\n"
        for group, rows in tables.items()
    )
    return f"""\
# Licences

Written by `make pins ARGS=licences`; do not edit. The kit itself is under the
[BSD-3-Clause licence](../LICENSE). It brings no package along: pip fetches them from the index, in
the versions of `requirements/tested.txt`. The same command makes the same lists for machines
(CycloneDX, with who asks for whom) in `build`. pip, and before Python 3.12 setuptools, come with
Python and are left out.

## Licences with conditions

Everybody may use all of these. Whoever passes one of the following on, for example inside an image
of a container, has to pass on its source as well, or say where it is. All others ask at most that
their licence stays with them.

| package | licence | for |
| --- | --- | --- |
{chr(10).join(copyleft)}

On Linux, pip's PyTorch comes with NVIDIA's libraries (`nvidia-*`, `cuda-*`), except where the index
has a build for the CPU alone. They are free of charge and not open: NVIDIA's own terms hold. They
are not in the lists, as which of them come differs between machines. With conda
(`environment.yml`, Binder), on macOS and on Windows none of them come.

{parts}"""


def _asking(name: str, bills: Iterable[dict]) -> list[str]:
    """Give who asks for a package."""
    return sorted(
        {row["ref"] for each in bills for row in each["dependencies"] if name in row["dependsOn"]}
    )
