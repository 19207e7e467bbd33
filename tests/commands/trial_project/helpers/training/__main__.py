"""Stands for the training of the checkpoint; the file ``untrainable`` makes it fail."""

import sys
from pathlib import Path

if Path("untrainable").exists():
    sys.exit("the model cannot be trained")
Path("data/model").write_text("weights")
