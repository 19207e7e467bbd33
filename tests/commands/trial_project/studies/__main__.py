"""Stands for a study; notes which one, and which environment makes it."""

import sys
from pathlib import Path

with Path("snapshots").open("a") as file:
    file.write(f"{Path(sys.prefix).name}\n")
if Path("unmakeable").exists():
    sys.exit(3)
