"""Stands for the snapshot of the libraries; notes which environment took it."""

import sys
from pathlib import Path

with Path("snapshots").open("a") as file:
    file.write(f"{Path(sys.prefix).name}\n")
