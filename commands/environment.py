"""Where the kit's Python lives, and the environment variables its programs run with."""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from commands import newer_python
from helpers.paths import ROOT

VENV = ROOT / ".venv"
# The newer version track as it is pinned, and with the newest releases of all packages.
LATEST = ROOT / ".venv-latest"
NEWEST = ROOT / ".venv-newest"

# One thread makes the numbers of a training run the same on every machine, and leaves a shared
# small machine usable.
THREAD_CAPS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}

# The learner's switch, see load_cortex() in helpers/data/datasets.py. Only Lab gets it: tests,
# stored lessons and studies are all of the packaged genes.
GENES_SWITCH = "CORTEX_GENES"

# What a shell may have set that would make our Python load other packages or data, draw figures
# elsewhere, or take another kernel.
UNWANTED = (
    GENES_SWITCH,
    "IPYTHONDIR",
    "JUPYTER_CONFIG_PATH",
    "JUPYTER_PATH",
    "MPLBACKEND",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
)


@dataclass(frozen=True)
class Environment:
    """A Python with the kit's packages.

    Attributes
    ----------
    prefix
        The folder of the environment.
    owned
        True for the kit's own, which set-up may remake; False for an environment that somebody
        else made (conda, Binder), where set-up only installs.
    base
        The interpreter that an own one is made from.
    pinned
        Whether its packages are the tested ones; otherwise the newest, asked for once a day.
    """

    prefix: Path
    owned: bool
    base: Path = Path(sys.executable)
    pinned: bool = True

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        if sys.platform == "win32":
            scripts = "Scripts/python.exe" if self.owned else "python.exe"
            return self.prefix / scripts
        return self.prefix / "bin" / "python"

    @property
    def kernel(self) -> Path:
        """The kernel that notebooks start here."""
        return self.prefix / "share" / "jupyter" / "kernels" / "python3" / "kernel.json"


def own_environment() -> Environment:
    """Give the kit's own environment, made or not."""
    return Environment(VENV, owned=True)


def latest_environment() -> Environment:
    """Give the kit's environment of Python 3.12 or newer, made or not.

    Raises
    ------
    CommandError
        Where this machine has no such Python.
    """
    return Environment(LATEST, owned=True, base=newer_python.find())


def newest_environment() -> Environment:
    """Give the same without pins: what a maintainer will meet when the pins are renewed.

    Raises
    ------
    CommandError
        As ``latest_environment``.
    """
    return Environment(NEWEST, owned=True, base=newer_python.find(), pinned=False)


def running_environment() -> Environment:
    """Give the environment of the running interpreter, for conda and Binder."""
    return Environment(Path(sys.prefix), owned=False)


def python_version(python: Path) -> str | None:
    """Give an interpreter's version, or None where it does not run."""
    if python == Path(sys.executable):
        return platform.python_version()
    command = "import platform; print(platform.python_version())"
    try:
        answer = subprocess.run(
            [python, "-I", "-c", command], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def variables(environment: Environment) -> dict[str, str]:
    """Give the variables that the kit's programs run with.

    Jupyter's and IPython's own folders are put inside the environment: a user's settings, start-up
    files and kernels cannot break a lesson, and a home folder need not be writable.
    """
    result = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    own = environment.prefix / "jupyter"
    scripts = str(environment.python.parent)
    result |= {
        "IPYTHONDIR": str(own / "ipython"),
        "JUPYTER_CONFIG_DIR": str(own / "config"),
        "JUPYTER_CONFIG_PATH": str(ROOT / "commands" / "jupyter"),
        "JUPYTER_DATA_DIR": str(own / "data"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_RUNTIME_DIR": str(own / "runtime"),
        "MPLCONFIGDIR": str(own / "matplotlib"),
        "PATH": os.pathsep.join([scripts, result.get("PATH", os.defpath)]),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_USER": "0",
        "PYTHONUTF8": "1",
    }
    if environment.owned:
        result["VIRTUAL_ENV"] = str(environment.prefix)
    return result
