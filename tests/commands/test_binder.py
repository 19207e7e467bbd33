"""The Binder files become an image: repo2docker reads them and writes the Dockerfile."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="repo2docker does not run on Windows"
)


def dockerfile(folder: Path) -> str:
    """Let repo2docker write the Dockerfile of a repository; no engine is needed for that."""
    command = ["repo2docker", "--no-build", "--debug", "--user-id", "1000", "--user-name", "jovyan"]
    answer = subprocess.run(
        [sys.executable, "-m", *command, str(folder)], capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout + answer.stderr


@pytest.fixture(scope="module")
def kit(tmp_path_factory) -> Path:
    """Give a copy of what Binder reads."""
    folder = tmp_path_factory.mktemp("clone") / "kit"
    shutil.copytree(ROOT / "binder", folder / "binder", symlinks=True)
    shutil.copy(ROOT / "environment.yml", folder)
    return folder


PARTS = (
    'env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"',
    "conda environment for python=3.12",
    "apt-get install --yes --no-install-recommends graphviz",
    "RUN ./binder/postBuild",
    'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"',
)


def test_dockerfile_has_every_part(kit):
    text = dockerfile(kit)
    for part in PARTS:
        assert part in text


def test_dockerfile_lacks_the_parts_whose_files_are_gone(kit, tmp_path):
    # Shows that the test above can fail.
    bare = tmp_path / "bare"
    shutil.copytree(kit, bare, symlinks=True)
    for name in ("environment.yml", "apt.txt", "postBuild", "start"):
        (bare / "binder" / name).unlink()
    text = dockerfile(bare)
    for part in PARTS:
        assert part not in text


def test_environment_file_is_one_file():
    link = ROOT / "binder" / "environment.yml"
    assert link.is_symlink()
    assert os.readlink(link) == "../environment.yml"  # noqa: PTH115


@pytest.mark.parametrize("name", ["binder/postBuild", "binder/start", ".ci/run"])
def test_scripts_may_be_run_and_parse(name):
    assert os.access(ROOT / name, os.X_OK), f"{name} is not executable"
    subprocess.run(["bash", "-n", ROOT / name], check=True)


def test_start_caps_threads_and_points_at_our_settings():
    show = 'echo "$OMP_NUM_THREADS $NUMBA_NUM_THREADS $JUPYTER_CONFIG_PATH"'
    answer = subprocess.run(
        [ROOT / "binder" / "start", "bash", "-c", show],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    omp, numba, settings = answer.stdout.strip().split(" ", 2)
    assert (omp, numba) == ("1", "1")
    assert (Path(settings) / "jupyter_lab_config.json").is_file()
