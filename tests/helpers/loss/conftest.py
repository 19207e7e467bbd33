"""Models that are trained once and shared by the tests of the loss."""

import pytest

from helpers import environment
from tests.helpers.loss.ledger_runs import SETTINGS, Run, train
from tests.helpers.spied_training import build, build_totalvi, small_citeseq, small_pbmc


@pytest.fixture(scope="session")
def adata(whole_pbmc):
    return small_pbmc(whole_pbmc)


@pytest.fixture(scope="session")
def citeseq():
    return small_citeseq()


@pytest.fixture(scope="session")
def runs(adata, citeseq):
    """A function that trains each setting once."""
    kept = {}

    def run_of(name):
        if name not in kept:
            environment.prepare(seed=0)
            setting = SETTINGS[name]
            if setting.model.get("kind") == "TOTALVI":
                model = build_totalvi(citeseq)
            else:
                model = build(adata, **setting.model)
            kept[name] = Run(model, train(model, setting), setting)
        return kept[name]

    return run_of


@pytest.fixture(params=SETTINGS)
def run(request, runs):
    return runs(request.param)


@pytest.fixture
def trained(runs):
    """The model of the class preset. No test may change it for good."""
    return runs("class preset").model
