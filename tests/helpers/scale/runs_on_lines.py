"""Made-up runs whose seconds and memory lie exactly on lines."""

import numpy as np
import pandas as pd

# Fixed part and slope per 1,000 cells of each quantity.
LINES = {
    "set-up seconds": (0.4, 0.001),
    "epoch seconds": (0.02, 0.19),
    "latent seconds": (0.01, 0.03),
    "data MiB": (1.0, 1.6),
    "peak MiB": (90.0, 1.7),
}


SIZES = (300, 1_000, 3_000, 10_000, 30_000, 100_000)


def linear(cells=SIZES, preset="default"):
    """Return runs that lie on the lines."""
    cells = np.array(cells)
    runs = {name: fixed + cells / 1000 * slope for name, (fixed, slope) in LINES.items()}
    return pd.DataFrame({"cells": cells, "preset": preset, "import MiB": 700.0, **runs})
