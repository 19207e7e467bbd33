"""The shared models are the same wherever they are built."""

import numpy as np
import torch

from helpers import training


def test_the_models_of_the_blood_cells_see_what_they_say():
    totalvi, scvi_model = (training.blood_model(kind) for kind in ("TOTALVI", "SCVI"))
    assert totalvi.summary_stats.n_proteins == 14
    for model in (totalvi, scvi_model):
        assert model.summary_stats.n_batch == 2
        assert model.summary_stats.n_vars == 2000
    assert list(totalvi.adata.var_names) == list(scvi_model.adata.var_names)
    fewer = training.blood_model("TOTALVI", proteins=["CD25", "CD3"])
    assert list(fewer.protein_state_registry.column_names) == ["CD25", "CD3"]
    # Built again, whatever ran before, it is the same model, so its checkpoint is found.
    np.random.normal(size=3)  # noqa: NPY002 -- moves the global generator on purpose
    again = training.blood_model("TOTALVI")
    for name, weights in totalvi.module.state_dict().items():
        assert torch.equal(weights, again.module.state_dict()[name]), name
