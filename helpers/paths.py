"""Where things lie in the repository, written once."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
DOCS = ROOT / "docs"
NOTEBOOKS = ROOT / "notebooks"
# The tables that studies write and lessons read.
RESULTS = DOCS / "results"
