"""The pages of questions: each entry has its form, and code that can run runs as it stands."""

import ast
import inspect
import logging
import re
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
import scvi
import torch

from helpers import questions

ENTRIES = questions.entries()
CODE = [
    pytest.param(entry, place, id=f"{entry.page}-{entry.anchor[:40]}-{place}")
    for entry in ENTRIES
    for place, block in enumerate(entry.blocks)
    if block.kind.startswith("python")
]
SHOWN = [each for each in CODE if each.values[0].blocks[each.values[1]].kind == "python"]
RUN = [each for each in CODE if each not in SHOWN]

SAYS = {"python raises", "python warns"}
KINDS = {"python", "python run", *SAYS, "text", "r", "bash"}
MOST_SENTENCES = 4
MOST_LINES = 14
VERSIONS = re.compile(r"scvi-tools \d+\.\d+\.\d+(, \d+\.\d+\.\d+)*")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.page}-{entry.anchor[:60]}")
def test_entry_has_its_form(entry):
    assert not faults(entry)


def faults(entry) -> list[str]:
    sentences = re.findall(r"[.!?](?=\s|$)", re.sub(r"`[^`]*`", "code", entry.answer))
    right = {
        f"the answer has {len(sentences)} sentences": 1 <= len(sentences) <= MOST_SENTENCES,
        f"the list at the end is {list(entry.fields)}": tuple(entry.fields) == questions.FIELDS,
        "See links to nothing": "](" in entry.fields["See"],
        "Sources name no issue and no thread": re.search(r"(#|forum )\d", entry.fields["Sources"]),
        "Checked is no list of versions": VERSIONS.fullmatch(entry.fields["Checked"]),
        "Sure is none of the kinds of evidence": entry.fields["Sure"] in questions.EVIDENCE,
        "measured here, and neither run nor in a lesson": entry.fields["Sure"] != "measured here"
        or any(block.kind.startswith("python ") for block in entry.blocks)
        or re.search(r"notebooks/|results/", entry.fields["See"]),
    }
    found = [fault for fault, is_right in right.items() if not is_right]
    for block, following in zip(entry.blocks, [*entry.blocks[1:], None], strict=False):
        if block.kind not in KINDS:
            found.append(f"there is no kind of block '{block.kind}'")
        if block.kind.startswith("python") and len(block.text.splitlines()) > MOST_LINES:
            found.append("the code is long")
        if block.kind in SAYS and (following is None or following.kind != "text"):
            found.append("no message follows the code that shows one")
    return found


def test_no_question_is_there_twice():
    anchors = [(entry.page, entry.anchor) for entry in ENTRIES]
    assert len(set(anchors)) == len(anchors)


def test_every_page_is_in_the_list_of_pages():
    start = (questions.QUESTIONS / "index.md").read_text("utf-8")
    assert not [page for page in {entry.page for entry in ENTRIES} if f"({page}.md)" not in start]


@pytest.mark.parametrize(("entry", "place"), SHOWN)
def test_code_that_is_only_shown_names_what_there_is(entry, place):
    assert not unknown_names(entry.blocks[place].text)


def unknown_names(code: str) -> list[str]:
    """Return names of libraries, methods of models and parameters that are not there."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            meant = meanings(node)
            if meant == []:
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            given = {keyword.arg for keyword in node.keywords if keyword.arg}
            meant = meanings(node.func)
            if meant and not any(given <= parameters(each, given) for each in meant):
                found.append(f"{ast.unparse(node.func)}({', '.join(sorted(given))})")
    return found


LIBRARIES = {"scvi": scvi, "sc": sc, "ad": ad, "np": np, "pd": pd, "sp": sp, "torch": torch}
MODELS = [
    each
    for folder in (scvi.model, scvi.external)
    for each in vars(folder).values()
    if inspect.isclass(each) and hasattr(each, "setup_anndata")
]
IS_MODEL = {"model", "scanvi", "totalvi", "peakvi", "multivi", "solo"}


def meanings(node: ast.Attribute) -> list | None:
    """Return what an attribute may be; nothing where it cannot be known before the code runs."""
    if isinstance(node.value, ast.Name):
        if node.value.id in IS_MODEL:
            owners = MODELS
        elif node.value.id in LIBRARIES:
            owners = [LIBRARIES[node.value.id]]
        else:
            return None
    elif isinstance(node.value, ast.Attribute):
        owners = meanings(node.value)
        if owners is None or node.value.attr in {"history", "adata", "adata_manager", "module"}:
            return None
    else:
        return None
    return [getattr(each, node.attr) for each in owners if hasattr(each, node.attr)]


def parameters(function, given: set[str]) -> set[str]:
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return given
    # What setup_anndata does not know, it refuses.
    is_open = any(each.kind is each.VAR_KEYWORD for each in known.values())
    if is_open and function.__name__ != "setup_anndata":
        return given
    return set(known)


@pytest.mark.parametrize(
    ("code", "unknown"),
    [
        ("scvi.model.SCVI.setup_anndata(adata, layer='counts')", []),
        ("scvi.model.SCVY(adata)", ["scvi.model.SCVY"]),
        (
            "scvi.model.SCVI.setup_anndata(adata, layers='counts')",
            ["scvi.model.SCVI.setup_anndata(layers)"],
        ),
        ("model.get_normalised_expression()", ["model.get_normalised_expression"]),
        ("scvi.model.SCVI.load('model', data=adata)", ["scvi.model.SCVI.load(data)"]),
        ("adata.anything(at_all=1)", []),
    ],
)
def test_unknown_names_are_found(code, unknown):
    assert unknown_names(code) == unknown


# Kept small: what is shown is which call answers, not what a good model says.
N_CELLS, N_GENES, N_PROTEINS = 120, 50, 12
QUIET = {"max_epochs": 1, "enable_progress_bar": False}


def cells() -> ad.AnnData:
    """Return made-up cells with the columns that the pages speak of."""
    adata = scvi.data.synthetic_iid(
        batch_size=N_CELLS // 2,
        n_genes=N_GENES,
        n_proteins=N_PROTEINS,
        n_regions=40,
        n_batches=2,
        n_labels=3,
    )
    adata.X = sp.csr_matrix(adata.X, dtype="float32")
    adata.layers["counts"] = adata.X.copy()
    adata.obs_names = [f"cell_{i}" for i in range(N_CELLS)]
    numbers = np.random.default_rng(0)
    adata.obs["donor"] = pd.Categorical(numbers.choice(["d1", "d2", "d3"], N_CELLS))
    adata.obs["known"] = adata.obs["labels"].astype(str).where(numbers.random(N_CELLS) < 0.5, "?")
    adata.obs["percent_mito"] = numbers.random(N_CELLS)
    adata.obsm["protein_expression"] = pd.DataFrame(
        np.asarray(adata.obsm["protein_expression"]),
        index=adata.obs_names,
        columns=[f"CD{i}" for i in range(N_PROTEINS)],
    )
    return adata


def scvi_model(adata):
    scvi.model.SCVI.setup_anndata(adata, layer="counts", batch_key="batch", labels_key="labels")
    return scvi.model.SCVI(adata)


def scanvi_model(adata):
    scvi.model.SCANVI.setup_anndata(
        adata, layer="counts", batch_key="batch", labels_key="known", unlabeled_category="?"
    )
    return scvi.model.SCANVI(adata)


def totalvi_model(adata):
    scvi.model.TOTALVI.setup_anndata(
        adata, layer="counts", batch_key="batch", protein_expression_obsm_key="protein_expression"
    )
    # Fitting the priors of the proteins takes longer than all the rest.
    return scvi.model.TOTALVI(adata, empirical_protein_background_prior=False)


BUILD = {"model": scvi_model, "scanvi": scanvi_model, "totalvi": totalvi_model}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a trained model of each kind, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("saved")

    def path(name: str):
        if not (folder / name).exists():
            scvi.settings.seed = 0
            model = BUILD[name](cells())
            model.train(**QUIET)
            model.save(folder / name)
        return folder / name

    return path


@pytest.fixture
def apart(monkeypatch, tmp_path):
    """What the code of a page writes, and what it sets for all, is gone when it has run."""
    monkeypatch.chdir(tmp_path)
    loggers = [logging.getLogger(name) for name in ("scvi", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    loggers[1].setLevel(logging.ERROR)
    monkeypatch.setattr(scvi.settings, "logging_dir", tmp_path)
    monkeypatch.setattr(scvi.settings, "batch_size", scvi.settings.batch_size)
    monkeypatch.setattr(scvi.settings, "dl_num_workers", scvi.settings.dl_num_workers)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def given(code: str, saved) -> dict:
    """Return what the code of a page is given: the names that it uses."""
    used = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    names = {**LIBRARIES, "adata": cells()}
    scvi_model(names["adata"])
    for name in used & BUILD.keys():
        kind = type(BUILD[name](cells()))
        names[name] = kind.load(saved(name), adata=names["adata"])
    # A new sample, which lacks a fifth of the genes.
    names["query"] = cells()[:60, : N_GENES - N_GENES // 5].copy()
    names["query"].obs["batch"] = "new"
    return names


def messages(block: questions.Block) -> list[str]:
    """Return the messages of a block of text: a line that begins with a space goes on."""
    return [" ".join(each.split()) for each in re.split(r"\n(?! )", block.text)]


def is_said(message: str, said: list[str]) -> bool:
    """Tell whether a message was said, where ... stands for anything."""
    pattern = ".*".join(map(re.escape, message.split("...")))
    return any(re.search(pattern, " ".join(each.split())) for each in said)


@pytest.mark.parametrize(("entry", "place"), RUN)
def test_code_does_what_the_page_says(entry, place, saved, apart, tmp_path):
    code, kind = entry.blocks[place].text, entry.blocks[place].kind
    names = given(code, saved)
    for name in BUILD:
        if f'"{name}"' in code:
            (tmp_path / name).symlink_to(saved(name))
    program = compile(code, f"{entry.page}: {entry.question}", "exec")
    said = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            exec(program, names)
        except Exception as error:
            if kind != "python raises":
                raise
            said.append(f"{type(error).__name__}: {error}")
    assert (kind == "python raises") == bool(said)
    said += [f"{each.category.__name__}: {each.message}" for each in warned]
    if kind != "python run":
        shown = messages(entry.blocks[place + 1])
        assert not [message for message in shown if not is_said(message, said)], said


def test_a_message_with_a_gap_is_found():
    said = ["ValueError: shape (108, 10),\n but found nan"]
    assert is_said("ValueError: shape (...), but found", said)
    assert not is_said("ValueError: shape (...), but found 3", said)
    assert not is_said("TypeError: shape", said)
