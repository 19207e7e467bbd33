"""A build backend that needs no other package, and writes what set-up calls as tiny wheels."""

import os
import time
import zipfile
from pathlib import Path

DEPENDENCIES = """\
Requires-Dist: ipykernel
Provides-Extra: test
Requires-Dist: pytest; extra == 'test'
"""


def build_editable(folder, config_settings=None, metadata_directory=None):
    """Build the trial project; the file ``slow`` gives time to kill set-up while pip is at work."""
    if Path("slow").exists():
        Path("pip-at-work").write_text(str(os.getpid()))
        time.sleep(60)
    return write_wheel(folder, "trial", "1", metadata=DEPENDENCIES)


def write_wheel(folder, name, version, files=(), metadata=""):
    """Write a wheel and give its file name."""
    about = f"{name}-{version}.dist-info"
    contents = dict(files)
    contents[f"{about}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}"
    )
    contents[f"{about}/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: trial\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    paths = [*contents, f"{about}/RECORD"]
    contents[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in paths)
    file = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder) / file, "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
    return file
