"""The lessons under other instruction sets and with two threads: same outputs, same replies.

Processors add in other orders and round in other places, and a training makes much of a last digit.
Here every lesson runs as on an old processor, as on one with AVX2, and with two threads. Each time
its models are trained anew, in a copy of the kit: those in ``data/`` would hide every difference.
With one thread and all that this processor has, the lessons run in any case.
"""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__ as dispatched

from helpers import paths
from helpers.paths import DATA, ROOT

pytestmark = pytest.mark.slow("every lesson runs under each variant, and trains its models anew")

LESSONS = [path.stem for path in paths.lessons()]

# What torch calls the instruction sets, from the oldest to the newest.
TORCH_SETS = ("DEFAULT", "AVX2", "AVX512")

# What a checkout has beside what belongs to the kit: environments, caches, data, what was built.
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
LEFT_OUT_OF_ROOT = {"data", "build"}

# What pytest's report makes of a change of colour.
COLOUR = re.compile(r"#x1B\[\d+m")

# Longer than the lessons of one variant take on a busy machine, in seconds.
PATIENCE = 3_600


def _at_most(
    torch_set: str, mkl: str, openblas: str, numba: str, numpy: str = ""
) -> dict[str, str]:
    """Give the variables that hold all libraries back to an instruction set."""
    no_more = [name for name in dispatched if name not in numpy.split()]
    return {
        "ATEN_CPU_CAPABILITY": torch_set.lower(),
        "MKL_CBWR": mkl,
        "OPENBLAS_CORETYPE": openblas,
        "NUMBA_CPU_NAME": numba,
        "NPY_DISABLE_CPU_FEATURES": " ".join(no_more),
    }


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

VARIANTS = {
    "no AVX": _at_most("DEFAULT", "COMPATIBLE", "Prescott", "nehalem"),
    # Before version 2.4, NumPy has a name for each part of what is X86_V3 now.
    "AVX2": _at_most("AVX2", "AVX2", "Haswell", "haswell", "X86_V3 AVX F16C FMA3 AVX2"),
    "two threads": dict.fromkeys(THREADS, "2"),
}


@dataclass
class Run:
    """What came out of the lessons under one variant.

    Attributes
    ----------
    tests
        How many cells (and exercises) of each lesson were run.
    failures
        For each lesson, the cell and what differs in it.
    log
        What pytest said.
    """

    tests: dict[str, int] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    log: str = ""


@pytest.fixture(scope="module", params=VARIANTS)
def run(request, tmp_path_factory):
    """Run the lessons that are asked for under a variant, in a copy of the kit without models."""
    variables = {**os.environ, **VARIANTS[request.param]}
    _skip_where_it_changes_nothing(variables)
    tree = tmp_path_factory.mktemp("kit") / "kit"
    shutil.copytree(ROOT, tree, ignore=_left_out)
    (tree / "data").mkdir()
    for path in DATA.glob("*.h5ad"):
        shutil.copy2(path, tree / "data")
    if (DATA / "downloads").exists():
        shutil.copytree(DATA / "downloads", tree / "data" / "downloads")
    # The kernels take the copy and not the installed kit, whose models are trained already.
    variables["PYTHONPATH"] = str(tree)
    _python(["-m", "helpers.training"], tree, variables)
    assert list((tree / "data" / "checkpoints").glob("*.pt")), "no model was trained in the copy"
    report = tree / "report.xml"
    options = ["--nbval", "-q", f"--junit-xml={report}"]
    options += ["-o", "junit_family=xunit1"]
    tests = [item for item in request.session.items if item.path == request.path]
    asked_for = {item.callspec.params["lesson"] for item in tests}
    lessons = [f"notebooks/{lesson}.ipynb" for lesson in sorted(asked_for)]
    log = _python(["-m", "pytest", *options, *lessons], tree, variables, fine=(0, 1))
    yield read(report, log)
    shutil.rmtree(tree, ignore_errors=True)


def _left_out(folder, names):
    of_root = LEFT_OUT_OF_ROOT if folder == str(ROOT) else set()
    return LEFT_OUT(folder, names) | of_root & set(names)


def _python(arguments, folder, variables, fine=(0,)):
    """Run a program, and return what it said."""
    answer = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    assert answer.returncode in fine, answer.stdout[-5_000:]
    return answer.stdout


def _skip_where_it_changes_nothing(variables):
    """Skip what this processor cannot do, or does anyway."""
    found, asked = (_torch_set(each) for each in (os.environ, variables))
    wanted = variables.get("ATEN_CPU_CAPABILITY", found).upper()
    if found not in TORCH_SETS or TORCH_SETS.index(wanted) > TORCH_SETS.index(found):
        pytest.skip(f"this processor has {found}")
    if (os.cpu_count() or 1) < 2 and variables.get("OMP_NUM_THREADS") == "2":
        pytest.skip("this machine has a single core")
    assert asked == wanted, "the variable that limits torch has no effect any more"


def _torch_set(variables):
    code = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    return _python(["-c", code], ROOT, variables).strip()


def read(report, log=""):
    """Read pytest's report of lessons."""
    found = Run(log=log)
    for case in ET.parse(report).iter("testcase"):
        lesson = case.get("file", "").rpartition("/")[2].removesuffix(".ipynb")
        found.tests[lesson] = found.tests.get(lesson, 0) + 1
        for fault in (*case.findall("failure"), *case.findall("error")):
            said = COLOUR.sub("", fault.text or fault.get("message", ""))
            found.failures.setdefault(lesson, []).append(f"{case.get('name')}\n{said}")
    return found


@pytest.mark.parametrize("lesson", LESSONS)
def test_outputs_and_replies_are_the_same(run, lesson):
    assert run.tests.get(lesson), run.log[-5_000:]
    differing = run.failures.get(lesson, [])
    assert not differing, f"{lesson}, {len(differing)} differ:\n\n" + "\n\n".join(differing)
