"""Set the kit up: environment, packages, data, kernel and checkpoint, each only when needed."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from commands import machine
from commands.console import CommandError, say, step, tail
from commands.environment import (
    ROOT,
    THREAD_CAPS,
    Environment,
    own_environment,
    python_version,
    running_environment,
    variables,
)
from commands.lock import only_one
from commands.process import run_with_log

PINS = "requirements/tested.txt"

# The groups of pyproject.toml that the tests need, and all there are: pyright and the bill of
# packages look at what the tests import, too.
FOR_TESTS = frozenset({"book", "sweep", "teach", "test"})
EVERYTHING = FOR_TESTS | {"lint"}

# How pip says that it finds no package, and none of the version that is pinned.
NO_WHEEL = ("No matching distribution", "ResolutionImpossible")

# How pip and its libraries name a network that is not there.
NO_NETWORK = (
    "NewConnectionError",
    "Name or service not known",
    "Temporary failure in name resolution",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "Network is unreachable",
)


def main(arguments: list[str]) -> int:
    """Set up without starting anything: ``setup`` or ``setup --here``."""
    if arguments not in ([], ["--here"]):
        raise CommandError(f"setup takes --here or nothing, not: {' '.join(arguments)}")
    environment = running_environment() if arguments else own_environment()
    set_up(environment)
    say("Set-up is complete.")
    return 0


def set_up(environment: Environment, extras: frozenset[str] = frozenset()) -> None:
    """Carry out the steps that are needed; none when nothing changed.

    Parameters
    ----------
    environment
        What to set up.
    extras
        The groups of ``pyproject.toml`` that a command needs besides the lessons' packages.
    """
    made = environment.owned and environment.prefix.exists()
    if made and not os.access(environment.prefix, os.W_OK):
        # Jupyter keeps its settings and its running servers there.
        raise PermissionError(errno.EACCES, "not writable", str(environment.prefix))
    state = SetUp(ROOT, environment, extras)
    state.note_other_python(os.environ.get("PYTHON"))
    if not state.needed():
        return
    with only_one(ROOT / ".cache" / "set-up.lock") as lock:
        # Another process may have finished the work while this one looked.
        SetUp(ROOT, environment, extras, lock).run()


@dataclass(frozen=True)
class Step:
    """One step of set-up.

    Attributes
    ----------
    name
        The step's key in the record.
    title
        What a person reads.
    fingerprint
        What the result depends on; the step is done again when it changed.
    products
        Files that the step left behind; the step is done again when one is gone.
    work
        What does the step.
    """

    name: str
    title: str
    fingerprint: str
    products: Callable[[], list[Path]]
    work: Callable[[], None]


class SetUp:
    """The steps for one clone and one environment, and the record of those that are done.

    The record is a file in the environment. A step enters it once it is complete, so a set-up that
    was interrupted goes on at the step that it was at.
    """

    def __init__(
        self,
        root: Path,
        environment: Environment,
        extras: frozenset[str] = frozenset(),
        lock: int | None = None,
    ):
        self.root = root
        self.environment = environment
        self.lock = lock
        self.record_file = environment.prefix / "scvi-teaching-kit.json"
        self.log = environment.prefix / "scvi-teaching-kit.log"
        self.record = self._read_record()
        # What another command needed stays installed, at the same pins.
        self.extras = sorted(extras | set(self._done("packages").get("extras", ())))
        self.version = python_version(environment.python)

    def needed(self) -> list[Step]:
        """Give the steps that are not done, in order."""
        if self.broken() is not None:
            return self.steps()
        return [step for step in self.steps() if not self._is_done(step)]

    def broken(self) -> str | None:
        """Say why the environment has to be made afresh, or None where it is sound."""
        if not self.environment.owned:
            return None
        if not self.environment.prefix.exists():
            return "there is none yet"
        if not self._done("venv"):
            return "making it was interrupted"
        if self.record.get("folder") != str(self.root):
            return "this folder was moved, and an environment cannot be"
        if self.version is None:
            return "its Python does not run any more"
        if self.record.get("installing"):
            return "installing its packages was interrupted"
        return None

    def steps(self) -> list[Step]:
        """Give all steps in the order they build on each other."""
        packages = self._fingerprint_of_packages()
        which = "tested" if self.environment.pinned else "newest"
        data = self._sources("data")
        training = self._sources("training")
        steps = [
            Step(
                "packages",
                f"Installing the {which} packages ({machine.install_size()})",
                _digest(packages, *self.extras),
                list,
                self._install,
            ),
            Step(
                "kernel",
                "Registering the notebook kernel",
                _digest(packages, json.dumps(THREAD_CAPS)),
                lambda: [self.environment.kernel],
                self._register_kernel,
            ),
            Step(
                "data",
                "Fetching the data (32 MB)",
                _digest(packages, data),
                self._data_files,
                lambda: self._run_module("helpers.data"),
            ),
            Step(
                "checkpoint",
                "Training the models that the later lessons load (about a minute)",
                _digest(packages, data, training),
                self._data_files,
                lambda: self._run_module("helpers.training"),
            ),
        ]
        if self.environment.owned:
            steps.insert(0, Step("venv", self._venv_title(), "", list, self._make_venv))
        return steps

    def _sources(self, room: str) -> str:
        """Give the code of a room of the helpers, which decides what it leaves behind."""
        files = sorted((self.root / "helpers" / room).glob("*.py"))
        return "".join(file.read_text("utf-8") for file in files)

    def run(self) -> None:
        """Do what is needed, in order, and record each step once it is complete."""
        self._refuse_foreign()
        reason = self.broken()
        steps = self.needed()
        if not steps:
            return
        if reason is not None:
            say(f"Setting up in {self.environment.prefix}: {reason}.")
            machine.check_disk(self.root)
        machine.note_memory()
        start = time.monotonic()
        for number, item in enumerate(steps, 1):
            with step(number, len(steps), item.title):
                item.work()
            self._mark_done(item)
        say(f"Set-up took {time.monotonic() - start:.0f} s.\n")

    def note_other_python(self, asked: str | None) -> None:
        """Say that an environment keeps its Python, where a person has named one (PYTHON=...)."""
        if not asked or self.broken() is not None:
            return
        there, given = (
            str(version).split(".")[:2]
            for version in (self.version, python_version(self.environment.base))
        )
        if there != given:
            say(
                f"{self.environment.prefix.name} is made of Python {self.version} and stays so. "
                f"To change to {'.'.join(given)}, run make clean first."
            )

    def _refuse_foreign(self) -> None:
        """Raise where the folder is not set-up's own: it would be emptied."""
        prefix = self.environment.prefix
        if not self.environment.owned or self.record or not prefix.exists():
            return
        if any(prefix.iterdir()):
            raise CommandError(
                f"{prefix} was not made by this kit's set-up, which would have to empty it.\n"
                "Rename or remove that folder, then run the same command again."
            )

    def _done(self, name: str) -> dict:
        """Give what the record says of a step; nothing where it is not done."""
        return self.record.get("steps", {}).get(name, {})

    def _is_done(self, step: Step) -> bool:
        """Tell whether a step is recorded, still holds, and left its files."""
        entry = self._done(step.name)
        if entry.get("fingerprint") != step.fingerprint:
            return False
        return all((self.root / name).exists() for name in entry["products"])

    def _mark_done(self, item: Step) -> None:
        """Record a complete step."""
        # The first step may have made the Python that the later fingerprints name.
        self.version = python_version(self.environment.python)
        fresh = next(step for step in self.steps() if step.name == item.name)
        entry = {
            "fingerprint": fresh.fingerprint,
            "products": self._names(fresh.products()),
        }
        if item.name == "packages":
            entry["extras"] = self.extras
        self.record.setdefault("steps", {})[item.name] = entry
        self._write_record()

    def _names(self, files: list[Path]) -> list[str]:
        """Give paths as they are recorded: below the clone where they are in it."""
        return [
            str(file.relative_to(self.root) if file.is_relative_to(self.root) else file)
            for file in files
        ]

    def _read_record(self) -> dict:
        """Read the record; one that cannot be read counts as none."""
        try:
            return json.loads(self.record_file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}

    def _write_record(self) -> None:
        """Write the record in one go, so that a kill leaves the old one or the new one."""
        self.record["folder"] = str(self.root)
        draft = self.record_file.with_suffix(".draft")
        draft.write_text(json.dumps(self.record, indent=1), "utf-8")
        draft.replace(self.record_file)

    def _fingerprint_of_packages(self) -> str:
        """Digest what decides which packages are installed."""
        project = tomllib.loads((self.root / "pyproject.toml").read_text("utf-8"))
        decisive = {key: project[key] for key in ("build-system", "project")}
        # The newest releases are asked for anew each day.
        pinned = self.environment.pinned
        pins = (self.root / PINS).read_text("utf-8") if pinned else time.strftime("%Y-%m-%d")
        return _digest(json.dumps(decisive), pins, str(self.version), str(self.root))

    def _venv_title(self) -> str:
        """Name the folder and the Python that it is made from."""
        return (
            f"Creating {self.environment.prefix.name} with Python "
            f"{python_version(self.environment.base)}"
        )

    def _make_venv(self) -> None:
        """Make the environment afresh, whatever is there."""
        prefix = self.environment.prefix
        prefix.mkdir(exist_ok=True)
        # The record is there from the first moment, so that a half-made folder is known as ours.
        self.record = {}
        self._write_record()
        for entry in set(prefix.iterdir()) - {self.record_file}:
            _remove(entry)
        command = [str(self.environment.base), "-m", "venv", str(prefix)]
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode:
            raise CommandError(
                f"Python could not make an environment in {prefix}:\n"
                f"{(answer.stdout + answer.stderr).strip()}\n"
                "On Debian and Ubuntu the package python3-venv is often what is missing."
            )

    def _install(self) -> None:
        """Install the project and what it needs, as pinned or the newest."""
        self.record["installing"] = True
        self._write_record()
        project = f".[{','.join(self.extras)}]" if self.extras else "."
        renew = ["--upgrade", "--upgrade-strategy", "eager"]
        choice = ["-c", PINS] if self.environment.pinned else renew
        command = ["-m", "pip", "install", "--no-input", *choice, "-e", project]
        status = run_with_log(
            [str(self.environment.python), *command],
            self.log,
            env=variables(self.environment),
            cwd=self.root,
            keep_open=() if self.lock is None else (self.lock,),
        )
        # pip resolves and downloads everything before it changes anything, and says when it starts.
        untouched = b"Installing collected packages" not in self.log.read_bytes()
        if status == 0 or untouched:
            del self.record["installing"]
            self._write_record()
        if status:
            raise CommandError(_explain_pip(self.log))

    def _register_kernel(self) -> None:
        """Put the kernel where this environment's Jupyter finds it first, with capped threads."""
        caps = [word for item in THREAD_CAPS.items() for word in ("--env", *item)]
        names = ["--name", "python3", "--display-name", "Python 3 (scVI kit)"]
        command = ["-m", "ipykernel", "install", "--sys-prefix", *names, *caps]
        answer = subprocess.run(
            [self.environment.python, *command],
            env=variables(self.environment),
            capture_output=True,
            text=True,
        )
        if answer.returncode:
            raise CommandError(
                f"The notebook kernel could not be registered in {self.environment.prefix}:\n"
                f"{answer.stderr.strip()}"
            )

    def _run_module(self, module: str) -> None:
        """Run one of the kit's own modules; it prints its progress and its errors itself."""
        answer = subprocess.run(
            [self.environment.python, "-m", module],
            cwd=self.root,
            env=variables(self.environment) | THREAD_CAPS,
            stdin=subprocess.DEVNULL,
        )
        if answer.returncode:
            raise CommandError(
                f"Set-up stopped in {module}, which says above what is wrong. "
                "Once that is fixed, run the same command again: it goes on from here."
            )

    def _data_files(self) -> list[Path]:
        """List what is cached, so that a deleted file is noticed."""
        return sorted(file for file in (self.root / "data").rglob("*") if file.is_file())


def _remove(entry: Path) -> None:
    """Remove a file, a link or a folder."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _digest(*parts: str) -> str:
    """Give a short digest of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _explain_pip(log: Path) -> str:
    """Say why pip failed, as far as its output tells, and what to do."""
    end = "\n".join(tail(log, 15))
    text = log.read_text("utf-8", errors="replace")
    if "No space left on device" in text:
        fix = "The disk is full. Free some space (see the sizes above)."
    elif any(sign in text for sign in NO_NETWORK):
        fix = "The package index did not answer. Check the network, or a proxy in pip's settings."
    elif os.environ.get("PIP_NO_INDEX") and any(sign in text for sign in NO_WHEEL):
        fix = (
            "pip may look only into the folder that PIP_FIND_LINKS names, and this package is not "
            "there for this Python and machine. Fill the folder on a machine of the same kind, "
            "with the same Python."
        )
    elif "No matching distribution" in text:
        fix = (
            "The package index offers no build of this version for this Python and machine. "
            "Another Python may have one: make clean, then for example make lab PYTHON=python3.12."
        )
    else:
        fix = "What pip says above is the reason."
    return f"pip could not install the packages. Its last lines:\n\n{end}\n\n{fix}\n" + (
        f"Then run the same command again. All of pip's output is in {log}."
    )
