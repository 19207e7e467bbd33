"""The house: which room may import from which, how long a module may be, and what a face holds."""

import ast
import os
import shutil
import subprocess
import sys

import pytest

from commands import layers
from helpers.paths import ROOT

FOLDERS = ("helpers", "studies", "publishing", "commands")
MODULES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
ROOMS = sorted(path.parent.name for path in (ROOT / "helpers").glob("*/__init__.py"))

LONGEST = 500

# Modules that are longer, each with its reason.
LONG: dict[str, str] = {}


def defined_in(face: str) -> list[str]:
    """Return what a face holds besides its docstring, imports and ``__all__``."""
    docstring, *rest = ast.parse(face).body
    found = [] if isinstance(docstring, ast.Expr) else [docstring]
    for node in rest:
        names = [ast.unparse(each) for each in getattr(node, "targets", [])]
        if not isinstance(node, (ast.Import, ast.ImportFrom)) and names != ["__all__"]:
            found.append(node)
    return [f"line {node.lineno}: {ast.unparse(node).splitlines()[0]}" for node in found]


def faces_used(module: str) -> list[str]:
    """Return which rooms a module of the helpers takes by their faces, and not by their modules."""
    nodes = [node for node in ast.walk(ast.parse(module)) if isinstance(node, ast.ImportFrom)]
    taken = [alias.name for node in nodes if node.module == "helpers" for alias in node.names]
    # A name that is no module of a room was handed on by its face.
    by_name = [
        f"{node.module}.{alias.name}"
        for node in nodes
        for alias in node.names
        if node.module in {f"helpers.{room}" for room in ROOMS}
        and not (ROOT / node.module.replace(".", "/") / f"{alias.name}.py").exists()
        and not (ROOT / node.module.replace(".", "/") / alias.name).is_dir()
    ]
    return [*sorted({*ROOMS} & {*taken}), *by_name]


def checked(folder) -> subprocess.CompletedProcess[str]:
    """Check the imports of the house in a folder, in a process: the linter sets up logging anew."""
    return subprocess.run(
        [sys.executable, "-m", "commands.layers"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "", "COLUMNS": "200", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_every_import_goes_down_the_house():
    ran = checked(ROOT)
    assert not ran.returncode, ran.stdout + ran.stderr


@pytest.fixture
def copy_of_the_house(tmp_path):
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        (
            "helpers/data/counts.py",
            "from helpers.latent import neighbours",
            "helpers.data.counts -> helpers.latent.neighbours",
        ),
        (
            "helpers/figures.py",
            "from helpers.genes import selection",
            "helpers.figures -> helpers.genes.selection",
        ),
        (
            "helpers/genes/selection.py",
            "import publishing.editions",
            "helpers.genes.selection -> publishing.editions",
        ),
        ("helpers/sauna/__init__.py", '"""A room without a place."""', "sauna"),
    ],
)
def test_import_up_the_house_is_named_with_what_to_do(copy_of_the_house, module, line, said):
    broken = copy_of_the_house / module
    broken.parent.mkdir(exist_ok=True)
    with broken.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    ran = checked(copy_of_the_house)
    assert ran.returncode, ran.stdout
    assert said in ran.stdout
    assert layers.WHAT_TO_DO in ran.stdout


def lines_of(paths) -> dict[str, int]:
    """Count the lines of modules, by their path in the repository."""
    return {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in paths
    }


def too_long(lengths, reasons) -> list[str]:
    """Name modules that are too long without a reason, and reasons without such a module."""
    found = {name for name, lines in lengths.items() if lines > LONGEST}
    return [
        f"{name}: divide it by topic, or give a reason" for name in sorted(found - {*reasons})
    ] + [f"{name}: it is not long, take it out of LONG" for name in sorted({*reasons} - found)]


def test_modules_are_short():
    assert not too_long(lines_of(MODULES), LONG)


def test_long_module_is_found():
    lengths = {"long.py": 501, "reasoned.py": 600, "short.py": 500, "shortened.py": 400}
    reasons = {"reasoned.py": "one table", "shortened.py": "it was long", "gone.py": "it was there"}
    assert [line.partition(":")[0] for line in too_long(lengths, reasons)] == [
        "long.py",
        "gone.py",
        "shortened.py",
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_face_defines_nothing(room):
    face = (ROOT / "helpers" / room / "__init__.py").read_text("utf-8")
    assert not defined_in(face), "Move it into a module of this room, and hand on its name."


def test_definition_in_a_face_is_found():
    face = (
        '"""A room."""\n\nfrom a import b\n\n__all__ = ["b"]\nLIMIT = 3\n\n\ndef f():\n    pass\n'
    )
    assert defined_in(face) == ["line 6: LIMIT = 3", "line 9: def f():"]
    assert defined_in("from a import b\n") == ["line 1: from a import b"]


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.is_relative_to(ROOT / "helpers")],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_helpers_import_modules_and_not_the_faces_of_rooms(path):
    if path.name != "__init__.py" or path.parent.name == "exercises":
        assert not faces_used(path.read_text("utf-8"))


def test_a_face_that_is_used_is_found():
    assert faces_used("from helpers import figures, training") == ["training"]
    assert faces_used("from helpers.loss import ledger") == ["helpers.loss.ledger"]
    assert faces_used("from helpers.genes import select") == ["helpers.genes.select"]
    assert not faces_used("from helpers import figures\nfrom helpers.loss import loss_ledger")
