"""What the tests of expression share."""

import numpy as np

SHORT = {"max_epochs": 3, "enable_progress_bar": False}

# Long enough for classes to differ.
LONGER = SHORT | {"max_epochs": 80, "plan_kwargs": {"lr": 1e-2}}
CLASS = "cell_type"


def counts_of(adata):
    return adata.layers["counts"].toarray().astype(float)


def normalised(counts):
    return np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
