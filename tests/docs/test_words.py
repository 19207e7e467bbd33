"""The words and symbols of the lessons.

Each is explained once, and linked where a learner meets it first.
"""

import re
from functools import cache
from pathlib import Path

import pytest
import scvi

from helpers import paths
from helpers.paths import ROOT
from publishing.teaching import lessons as stored
from tests.docs import glossary

NOTATION = (ROOT / "docs" / "notation.md").read_text("utf-8")
ENTRIES = glossary.entries()

# Words of the field that a beginner does not know. Where a lesson uses one, the glossary has to
# have it.
OF_THE_FIELD = (
    *(
        "activation",
        "antibody",
        "backed",
        "batch normalisation",
        "Bayes factor",
        "bias",
        "CITE-seq",
    ),
    *(
        "confounding",
        "decoder",
        "dispersion",
        "dropout",
        "dump",
        "early stopping",
        "ELBO",
        "encoder",
    ),
    *("epoch", "evidence", "gradient", "Harmony", "held-out", "hidden layer", "hyperparameter"),
    *("iLISI", "importance sampling", "k-means", "KL divergence", "kNN", "latent dimension"),
    *("latent space", "learning rate", "Leiden", "library size", "likelihood", "log odds"),
    *("marker gene", "median", "minibatch", "mRNA", "nat", "negative binomial", "neuron"),
    *("normal distribution", "overfitting", "p-value", "parameter", "PCA", "perplexity", "Poisson"),
    *("posterior", "preset", "prior", "pseudobulk", "rank correlation", "reconstruction loss"),
    *("running average", "silhouette", "standard deviation", "sweep", "t-SNE", "trustworthiness"),
    *("UMAP", "UMI", "variance", "weight", "Wilcoxon test", "zinb"),
)


@cache
def lessons():
    return {
        name: [cell.source for cell in stored.read(name).cells if cell.cell_type == "markdown"]
        for name in stored.names()
    }


@cache
def first_uses():
    return glossary.first_uses(lessons())


# --- glossary -------------------------------------------------------------------------------------


def test_each_word_has_one_entry_in_alphabetical_order_that_says_something():
    titles = re.findall(r"^## (.+)$", glossary.PAGE.read_text("utf-8"), flags=re.MULTILINE)
    assert titles == sorted(set(titles), key=str.lower)
    assert titles == list(ENTRIES)
    assert not [title for title, text in ENTRIES.items() if len(text.split()) < 5]


def test_each_word_is_used_in_a_lesson():
    assert not set(ENTRIES) - set(first_uses())


@pytest.mark.parametrize("title", ENTRIES)
def test_word_is_linked_where_a_learner_meets_it_first(title):
    lesson, _, use, linked = first_uses()[title]
    text = lessons()[lesson][first_uses()[title][1]]
    around = text[max(0, use.start - 60) : use.end + 30]
    assert linked, f"{lesson}: link it to ../docs/glossary.md#{glossary.anchor(title)}: {around}"


def test_only_words_with_an_everyday_use_are_let_off():
    """The list would hide a missing link otherwise."""
    texts = [text for each in lessons().values() for text in each[1:]]
    ways = glossary.written(texts, list(ENTRIES))
    first = {}
    for text in texts:
        for use in glossary.uses(text, ways):
            first.setdefault(use.term, use.linked)
    assert set(ENTRIES) >= glossary.EVERYDAY
    assert not [title for title in glossary.EVERYDAY if first.get(title)]


def test_words_of_the_field_are_in_the_glossary():
    texts = [text for each in lessons().values() for text in each]
    prose = " ".join(glossary.NO_PROSE.sub(" ", text) for text in texts)
    ways = glossary.written(texts, list(ENTRIES))
    known = {way for each in ways.values() for way in each}
    used = [
        word for word in OF_THE_FIELD if re.search(rf"\b{re.escape(word)}\b", prose, re.IGNORECASE)
    ]
    assert len(used) > 50
    assert not [word for word in used if word.lower() not in known]


def test_every_link_to_the_glossary_leads_to_an_entry():
    anchors = {glossary.anchor(title) for title in ENTRIES}
    texts = [text for each in lessons().values() for text in each]
    texts += [page.read_text("utf-8") for page in paths.pages()]
    linked = {target for text in texts for _, target in glossary.links(text)}
    assert len(linked) > 80
    assert not linked - anchors
    own = set(re.findall(r"\]\(#([^)]+)\)", glossary.PAGE.read_text("utf-8")))
    assert own and not own - anchors


# --- how uses are found ---------------------------------------------------------------------------


WAYS = {"Batch": {"batch", "batches"}, "Batch effect": {"batch effect"}, "Step": {"step"}}


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("A batch.", [("Batch", False)]),
        ("A [batch](../docs/glossary.md#batch).", [("Batch", True)]),
        ("A [`day`](../docs/glossary.md#batch).", [("Batch", True)]),
        ("A batch\neffect.", [("Batch effect", False)]),
        ("`batch` and batch_key, minibatch, a-batch", []),
        ("## A batch\n\n```\nbatch\n```\n\n$batch$ <b title='batch'>", []),
        ("Another [batch](04_loss.ipynb), Batches", [("Batch", False)]),
        ("[step](../docs/glossary.md#other) step", [("Step", False)]),
    ],
)
def test_uses_are_found_in_prose_only(markdown, expected):
    assert [(use.term, use.linked) for use in glossary.uses(markdown, WAYS)] == expected


def test_first_use_counts_as_linked_if_its_paragraph_links_the_entry():
    near = "**UMAP** ([uniform manifold](../docs/glossary.md#umap)) is a map."
    far = "**UMAP** is a map.\n\nA [map](../docs/glossary.md#umap)."
    for text, linked in ((near, True), (far, False)):
        found = glossary.first_uses({"05": ["UMAP: what is to come", text]})["UMAP"]
        assert (found[0], found[1], found[3]) == ("05", 1, linked)


def test_everyday_words_count_where_they_are_linked():
    texts = ["", "No network is needed.", "A [network](../docs/glossary.md#network)."]
    assert glossary.first_uses({"00": texts})["Network"][1] == 2


# --- notation -------------------------------------------------------------------------------------


@cache
def symbols():
    rows = [
        [part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in NOTATION.splitlines()
        if line.startswith("| ") and "---" not in line
    ]
    names, *rows = rows
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_each_symbol_is_there_once_in_alphabetical_order():
    said = [row["say"] for row in symbols()]
    assert said == sorted(set(said))
    written = [row["symbol"] for row in symbols()]
    assert len(written) == len(set(written))
    assert all(all(row.values()) for row in symbols())


def test_names_in_the_code_are_names_of_scvi_tools():
    package = Path(scvi.__file__).parent
    folders = ("data", "distributions", "model/base", "module", "nn", "train")
    files = [file for folder in folders for file in (package / folder).rglob("*.py")]
    files.append(package / "_constants.py")
    source = "\n".join(file.read_text("utf-8") for file in files)
    for row in symbols():
        for name in re.findall(r"`(\w+)`", row["in the code"]):
            # Keys of the history and columns of obs are put together from parts.
            part = name.removesuffix("_train").removesuffix("_validation").removeprefix("_scvi_")
            assert re.search(rf"(?<![a-z]){part}\b", source), name


@pytest.mark.parametrize("row", symbols(), ids=lambda row: row["say"])
def test_a_symbol_is_said_to_come_first_where_it_does(row):
    """By the word of the glossary, or by the name in the code that its row gives."""
    lesson = re.search(r"notebooks/(\w+)\.ipynb", row["first in lesson"])[1]
    order = stored.names()
    names = [*re.findall(r"`(\w+)`", row["in the code"]), row["symbol"].strip("$")]
    names = [name for name in names if len(name) > 2 and name not in ("scale", "library", "log")]
    for earlier in order[: order.index(lesson)]:
        text = (ROOT / "notebooks" / f"{earlier}.py").read_text("utf-8")
        assert not [name for name in names if re.search(rf"\b{re.escape(name)}\b", text)], earlier


def test_formulas_of_the_lessons_use_symbols_of_the_notation():
    known = " ".join(row["symbol"] for row in symbols()) + NOTATION
    for lesson, texts in lessons().items():
        prose = re.sub(r"```.*?```|`[^`]+`", "", "\n".join(texts), flags=re.DOTALL)
        formulas = re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", prose, flags=re.DOTALL)
        formulas = [
            re.sub(r"\\text\{.*?\}|\\operatorname\{.*?\}", "", "".join(f)) for f in formulas
        ]
        letters = {
            x for each in formulas for x in re.findall(r"\\[A-Za-z]+|(?<![\\A-Za-z])[a-z]", each)
        }
        greek = {
            each for each in letters if each in {r"\theta", r"\Gamma", r"\rho", r"\pi", r"\mu"}
        }
        for symbol in greek | (letters & {"x", "y", "z", "q", "p", "s"}):
            assert symbol in known, (lesson, symbol)
        if greek or {"q", "z"} & letters:
            assert "(../docs/notation.md)" in "\n".join(texts), f"{lesson}: link the notation"
