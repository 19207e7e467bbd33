"""Say which lessons' .py and .ipynb differ, for the hook that looks before a commit."""

import sys
from pathlib import Path

import nbformat

from tests.notebooks.notebook_checks import pair_faults


def main(files: list[str]) -> int:
    """Compare the pairs that these files belong to; give 1 where one is out of step."""
    out_of_step = 0
    for lesson in sorted({Path(name).with_suffix(".py") for name in files}):
        notebook = nbformat.read(lesson.with_suffix(".ipynb"), as_version=4)
        faults = pair_faults(lesson.read_text("utf-8"), notebook)
        if faults:
            out_of_step = 1
            print(f"{lesson}: run `make notebooks ARGS={lesson}`", *faults[:3], sep="\n  ")
    return out_of_step


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
