"""Stands for the fetching of the data."""

from pathlib import Path

Path("data").mkdir(exist_ok=True)
Path("data/cells").write_text("counts")
