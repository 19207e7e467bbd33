"""What the texts say of scvi-tools, of kept results and of the kit is so."""

import inspect
import json
import re

import numpy as np
import pytest
import scvi
import torch
from scvi.distributions import ZeroInflatedNegativeBinomial

from helpers import environment, results
from helpers.memory import MEASUREMENTS
from helpers.paths import DOCS, ROOT
from helpers.scale import classroom
from publishing.teaching import lessons
from tests.docs.glossary import PAGE as GLOSSARY

README = (ROOT / "README.md").read_text("utf-8")


pytestmark = pytest.mark.filterwarnings("ignore:We recommend using setup_mudata")


@pytest.fixture(scope="module", autouse=True)
def cells():
    environment.prepare(seed=0)
    return scvi.data.synthetic_iid(n_proteins=10)


@pytest.fixture(scope="module")
def scvi_model(cells):
    scvi.model.SCVI.setup_anndata(cells, batch_key="batch")
    return scvi.model.SCVI(cells, n_layers=3)


@pytest.fixture(scope="module")
def totalvi_model(cells):
    scvi.model.TOTALVI.setup_anndata(cells, "protein_expression", batch_key="batch")
    return scvi.model.TOTALVI(cells)


def as_if_trained(model) -> None:
    """Let a model be asked as it is after a training, without one."""
    model.is_trained = True
    model.module.eval()


def said(lesson: str) -> str:
    """Return the prose of a lesson, and what its quiz and its notes say, on one line."""
    prose = [cell.source for cell in lessons.read(lesson).cells if cell.cell_type == "markdown"]
    folders = (ROOT / "notebooks" / "quizzes", DOCS / "teaching" / "notes")
    for folder, ending in zip(folders, ("toml", "md"), strict=True):
        prose.append((folder / f"{lesson}.{ending}").read_text("utf-8"))
    return " ".join(" ".join(prose).split())


# --- scvi-tools -----------------------------------------------------------------------------------


def test_the_encoder_of_library_sizes_has_one_hidden_layer_whatever_n_layers_is(scvi_model):
    module = scvi_model.module
    parts = (module.z_encoder.encoder, module.decoder.px_decoder, module.l_encoder.encoder)
    assert [len(part.fc_layers) for part in parts] == [3, 3, 1]
    assert "so 7 are built" in said("03_hidden_layers")


def test_early_stopping_watches_the_negative_elbo_for_45_epochs():
    defaults = inspect.signature(scvi.train.Trainer.__init__).parameters
    assert defaults["early_stopping_monitor"].default == "elbo_validation"
    assert defaults["early_stopping_patience"].default == 45
    assert defaults["early_stopping_min_delta"].default == 0
    text = GLOSSARY.read_text("utf-8")
    assert "(`elbo_validation`) has reached" in text
    assert "45 by default" in text
    assert inspect.signature(scvi.model.SCVI.train).parameters["early_stopping"].default is False
    assert inspect.signature(scvi.model.TOTALVI.train).parameters["early_stopping"].default is True


@pytest.fixture
def plan_of(monkeypatch):
    """Return the training plan that a call of ``train`` would follow."""

    def plan(model, **how):
        monkeypatch.setattr(
            type(model),
            "_train_runner_cls",
            staticmethod(lambda _, training_plan, **__: lambda: training_plan),
        )
        return model.train(max_epochs=1, **how)

    return plan


def test_totalvi_overwrites_its_own_settings_in_plan_kwargs(plan_of, scvi_model, totalvi_model):
    warm_up = {"n_epochs_kl_warmup": 30}
    assert plan_of(scvi_model, plan_kwargs=warm_up).n_epochs_kl_warmup == 30
    assert plan_of(totalvi_model, plan_kwargs=warm_up).n_epochs_kl_warmup is None
    assert plan_of(totalvi_model, **warm_up).n_epochs_kl_warmup == 30


def test_a_second_training_has_a_plan_of_its_own(plan_of, scvi_model):
    first, second = plan_of(scvi_model), plan_of(scvi_model)
    assert first is not second
    assert first.module is second.module
    assert second.kl_weight == 0


def test_with_extra_zeros_the_mean_is_smaller_than_mu():
    logits, mu = torch.randn(5), torch.rand(5) * 10
    counts = ZeroInflatedNegativeBinomial(mu=mu, theta=torch.ones(5), zi_logits=logits)
    assert torch.allclose(counts.mean, (1 - torch.sigmoid(logits)) * mu)


def test_shares_add_up_to_one_without_size_factors_only(cells):
    sized = cells.copy()
    sized.obs["size"] = 2.0
    sums = {}
    for name, key in {"library size": None, "size factor": "size"}.items():
        scvi.model.SCVI.setup_anndata(sized, size_factor_key=key)
        model = scvi.model.SCVI(sized)
        as_if_trained(model)
        sums[name] = model.get_normalized_expression().sum(axis=1)
    assert np.allclose(sums["library size"], 1, atol=1e-4)
    assert not np.allclose(sums["size factor"], 1, atol=0.1)


def test_the_elbo_that_is_printed_is_an_estimate(scvi_model):
    as_if_trained(scvi_model)
    assert float(scvi_model.get_elbo()) != float(scvi_model.get_elbo())


def test_probability_and_fold_change_have_different_pseudocounts(scvi_model):
    """Ten times all counts of a cell hide every difference, but from the probability only."""
    environment.prepare(seed=0)
    as_if_trained(scvi_model)
    found = scvi_model.differential_expression(
        groupby="labels", mode="change", pseudocounts=10.0, silent=True
    )
    assert found["proba_de"].max() == 0
    assert found["lfc_max"].max() > np.log2(11 / 10)


def test_background_of_few_proteins_starts_from_constants(totalvi_model):
    module = totalvi_model.module
    assert (module.background_pro_alpha == 3).all()
    assert (module.background_pro_log_beta == 0).all()
    assert module.background_pro_alpha.requires_grad
    many = scvi.data.synthetic_iid(n_proteins=11)
    scvi.model.TOTALVI.setup_anndata(many, "protein_expression", batch_key="batch")
    assert scvi.model.TOTALVI(many).module.background_pro_alpha.std() > 0


def test_differential_proteins_are_compared_without_background_and_batches_by_default():
    defaults = inspect.signature(scvi.model.TOTALVI.differential_expression).parameters
    for name in ("batch_correction", "include_protein_background"):
        assert defaults[name].default is False
        assert f"`{name}=False`" in said("06b_proteins")


def test_ray_refuses_a_grid_with_the_default_searcher():
    tune = pytest.importorskip("ray.tune")
    pytest.importorskip("hyperopt")
    from ray.tune.search.hyperopt import HyperOptSearch
    from scvi.autotune import run_autotune

    call = inspect.signature(run_autotune).parameters
    assert (call["searcher"].default, call["scheduler"].default) == ("hyperopt", "asha")
    with pytest.raises(ValueError, match="Grid search"):
        HyperOptSearch.convert_search_space({"n_layers": tune.grid_search([1, 2])})


# --- kept results ---------------------------------------------------------------------------------


def test_what_is_said_of_the_default_run():
    kept = results.load("default_run", index_col="epoch")
    gap = kept["held_out_elbo"] - kept["elbo"]
    assert round(gap[20], -1) == 60
    assert gap[[20, 50, 100, 200, 400]].is_monotonic_increasing
    stops = kept["held_out_elbo"].idxmin() + 45
    assert kept["held_out_elbo"].idxmin() == 264
    assert (kept["held_out_elbo"][:stops] >= kept["held_out_elbo"][264]).all()
    text = said("02_training")
    assert f"in epoch {stops}, after 45 epochs" in text
    assert f"KL weight is {kept['kl_weight'][stops]:.2f} there" in text
    assert round(kept["kl_weight"][400] * 400) == 399
    lowest = (kept["held_out_loss"].idxmin(), kept["held_out_loss"].rolling(20).mean().idxmin())
    assert f"in epoch {lowest[0]}, its mean of 20 epochs in {lowest[1]}," in said("04_loss")


def test_what_longer_training_costs_is_said():
    table = results.load("batches").query("design == 'real PBMCs'")
    means = table.groupby("method")[["kNN class accuracy", "silhouette"]].mean()
    short, long = (means.loc[f"scVI with batch_key{end}"] for end in (", class preset", ""))
    name = "kNN class accuracy"
    assert (
        f"{name} falls from {short[name]:.2f} to {long[name]:.2f}, the silhouette from "
        f"{short['silhouette']:.2f} to {long['silhouette']:.2f}." in said("05c_batches")
    )


# --- the kit --------------------------------------------------------------------------------------


def test_minutes_in_the_readme_add_up():
    rows = re.findall(r"^\| \[(\w+) .* \| (\d+) \+ (\d+) \|$", README, flags=re.MULTILINE)
    assert len(rows) == len(lessons.names())
    basic = [row for row in rows if row[0] <= "04"]
    for some in (basic, rows):
        reading, practice = (sum(int(row[place]) for row in some) for place in (1, 2))
        assert f"{reading} + {practice}" in README
    assert f"({(reading + practice) / 60:.1f} hours)" in README


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", DOCS / "teaching" / "trouble.md"], ids=str
)
def test_memory_of_two_lessons_is_computed(document):
    measured = json.loads(MEASUREMENTS.read_text("utf-8"))["lessons"]
    largest = round(max(row["peak MiB"] for row in measured))
    together = (2 * largest + classroom.LAB_SERVER) / 1024
    said_there = f"{together:.1f} GiB (2 × {largest} + {classroom.LAB_SERVER} MiB"
    assert said_there in " ".join(document.read_text("utf-8").split())


def test_how_many_exercises_ask_for_a_function():
    stubs = [
        cell.source
        for name in lessons.names()
        for cell in lessons.read(name).cells
        if "exercise" in cell.metadata.get("tags", [])
    ]
    functions = sum("def " in stub for stub in stubs)
    guide = " ".join((DOCS / "teaching" / "guide.md").read_text("utf-8").split())
    assert f"{functions} of the {len(stubs)} ask for a short function" in guide
