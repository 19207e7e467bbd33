"""What a preset says reaches a model where the model takes it, and nowhere else."""

import inspect

import pandas as pd
import pytest
import scvi
from lightning.pytorch import Callback, LightningModule

from helpers import training
from helpers.training import model_arguments, runs
from tests.helpers.small_models import SHORT

FAMILIES = [
    *(getattr(scvi.model, name) for name in ("SCVI", "SCANVI", "TOTALVI", "PEAKVI", "CondSCVI")),
    *(getattr(scvi.model, name) for name in ("AmortizedLDA", "DestVI", "LinearSCVI", "MULTIVI")),
    *(getattr(scvi.external, name) for name in ("SOLO", "CellAssign", "GIMVI", "RNAStereoscope")),
    *(getattr(scvi.external, name) for name in ("Decipher", "SysVI", "VELOVI", "SCBASSET")),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_model_names_itself_it_takes(family):
    """As its own signatures say, which are read here one by one."""
    model = family.__new__(family)
    takes = model_arguments.of_train(model)
    own = set(inspect.signature(family.train).parameters) - {"self", "kwargs", "trainer_kwargs"}
    assert own - {"train_kwargs"} <= takes
    assert {"max_epochs", "check_val_every_n_epoch", "callbacks"} <= takes
    assert issubclass(model_arguments.plan_class(model), LightningModule)


def test_a_plan_takes_what_it_hands_to_its_parent():
    class Plan(scvi.train.TrainingPlan):
        def __init__(self, module, mine=1, **kwargs):
            super().__init__(module, **kwargs)

    class Other(Plan):
        def __init__(self, module):
            super().__init__(module)

    class Model(scvi.model.SCVI):
        _training_plan_cls = Plan

    model = Model.__new__(Model)
    assert {"mine", "lr", "n_epochs_kl_warmup"} <= model_arguments.of_plan(model)
    model._training_plan_cls = Other
    assert "lr" not in model_arguments.of_plan(model)


def toy(labels=2):
    scvi.settings.seed = 0
    return scvi.data.synthetic_iid(batch_size=60, n_genes=20, n_labels=labels)


def test_a_model_derived_from_one_is_told_where_its_parent_is():
    """TOTALVI.train overwrites what plan_kwargs say, whoever calls it."""

    class Derived(scvi.model.TOTALVI):
        def train(self, **kwargs):
            return super().train(**kwargs)

    cells = toy()
    Derived.setup_anndata(cells, protein_expression_obsm_key="protein_expression")
    model = Derived(cells, empirical_protein_background_prior=False)
    training.train(model, folder=None, **SHORT)
    assert model.trainer.lightning_module.lr == training.PRESETS["class"]["plan_kwargs"]["lr"]


class Inert(Callback):
    """In place of the recorder, which is not looked at here."""

    def __init__(self, model):
        self.model = model


def solo():
    cells = toy()
    scvi.model.SCVI.setup_anndata(cells)
    model = scvi.model.SCVI(cells)
    model.train(max_epochs=1, enable_progress_bar=False)
    return scvi.external.SOLO.from_scvi_model(model)


def lda():
    scvi.model.AmortizedLDA.setup_anndata(cells := toy())
    return scvi.model.AmortizedLDA(cells, n_topics=2)


def stereoscope():
    scvi.external.RNAStereoscope.setup_anndata(cells := toy(), labels_key="labels")
    return scvi.external.RNAStereoscope(cells)


def spatial():
    reference = stereoscope()
    reference.is_trained_ = True
    scvi.external.SpatialStereoscope.setup_anndata(cells := toy())
    return scvi.external.SpatialStereoscope.from_rna_model(cells, reference)


def cell_assign():
    cells = toy()
    cells.obs["size"] = 1.0
    scvi.external.CellAssign.setup_anndata(cells, size_factor_key="size")
    markers = pd.DataFrame({"x": [0, 1] * 10, "y": [1, 0] * 10}, index=cells.var_names)
    return scvi.external.CellAssign(cells, markers)


def gimvi():
    cells = [toy(), toy()]
    for each in cells:
        scvi.external.GIMVI.setup_anndata(each)
    return scvi.external.GIMVI(*cells)


BUILDERS = {
    solo: "does not take n_epochs_kl_warmup",
    lda: "neither rises nor falls",
    stereoscope: "holds no cells out",
    spatial: "holds no cells out",
    cell_assign: "",
    gimvi: "",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("build", BUILDERS)
def test_what_scvi_tools_trains_is_trained_and_what_is_left_out_is_said(build, monkeypatch, capsys):
    monkeypatch.setattr(runs.loss_recorder, "LossRecorder", Inert)
    for preset in ("class", "default"):
        model = build()
        capsys.readouterr()
        training.train(model, preset, folder=None, **SHORT)
        assert model.is_trained
        said = capsys.readouterr().err
        if preset == "class" and BUILDERS[build]:
            assert BUILDERS[build] in said


def test_a_model_that_takes_next_to_nothing_is_trained(capsys):
    class Bare(scvi.model.SCVI):
        def train(self, max_epochs=1):
            super().train(max_epochs=max_epochs, enable_progress_bar=False)

    cells = toy()
    Bare.setup_anndata(cells)
    model = Bare(cells)
    training.train(model, folder=None, max_epochs=2)
    said = capsys.readouterr().err
    assert said.count("Bare does not take") == 1
    for name in ("lr", "n_epochs_kl_warmup", "batch_size", "check_val_every_n_epoch", "lr_fall"):
        assert name in said
    assert len(model.history["train_loss"]) == 2
    assert model.train_settings_["train_kwargs"] == {"max_epochs": 2}
