"""A question, a message or an error finds the entry that answers it."""

import pytest

from helpers import questions

ENTRIES = questions.entries()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.page}-{entry.anchor[:60]}")
def test_an_entry_is_found_by_its_heading_and_its_messages(entry):
    assert questions.find(entry.question)[0] == entry
    for message in entry.messages:
        found = questions.find(message)
        # The same message may have two entries, one for each cause.
        assert any(message.splitlines()[0] in "\n".join(each.messages) for each in found[:2])


# As they are pasted: with paths, numbers and names of somebody else's data.
PASTED = {
    "ValueError: Expected more than 1 value per channel when training, got input size "
    "torch.Size([1, 256])": ("training", "more than 1 value"),
    "ValueError: Expected parameter loc (Tensor of shape (128, 10)) of distribution Normal(loc: "
    "torch.Size([128, 10]), scale: torch.Size([128, 10])) to satisfy the constraint Real(), but "
    "found invalid values:\ntensor([[nan, nan]], device='cuda:0')": ("training", "NaN"),
    "ValueError: The parameter mu has invalid values": ("training", "NaN"),
    "TypeError: Trainer.__init__() got an unexpected keyword argument 'use_gpu'":
        ("speed_and_memory", "use_gpu"),
    "/home/me/lib/python3.10/site-packages/scvi/data/fields/_layer_field.py:91: UserWarning: "
    "adata.layers[counts] does not contain unnormalized count data. Are you sure this is what you "
    "want?": ("counts", "unnormalized count data"),
    "ValueError: b'reciprocal condition number  3.9554e-16\\n'": ("genes", "reciprocal"),
    "Category sample_12 not found in source registry. Cannot transfer setup without "
    "`extend_categories = True`.": ("batches", "registry"),
    "ValueError: Number of vars in adata_target not the same as source. Expected: 16964 Received: "
    "5000": ("saving", "Number of vars"),
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB":
        ("speed_and_memory", "CUDA out of memory"),
    "AttributeError: 'MuData' object has no attribute 'concatenate'":
        ("chromatin_and_multiome", "organize"),
    "Can't run Early Stopping with validation monitor with no validation set":
        ("training", "Early stopping complains"),
    "The 'train_dataloader' does not have many workers which may be a bottleneck":
        ("speed_and_memory", "bottleneck"),
    "ImportError: cannot import name 'ShapedArray' from 'jax' (/home/me/jax/__init__.py)":
        ("installing", "import scvi fails"),
    "Initializing a SOLO model from SCVI with registered categorical covariates is currently "
    "unsupported.": ("doublets", "SOLO"),
}  # fmt: skip

ASKED = {
    "my loss is nan": ("training", "NaN"),
    "how many epochs": ("training", "epochs do I need"),
    "batch key or categorical covariates?": ("batches", "categorical_covariate_keys"),
    "can I use SoupX corrected counts": ("counts", "SoupX"),
    "TPM input": ("counts", "TPM"),
    "p-values for DE genes": ("differential_expression", "p-values"),
    "train on Apple M1 mps": ("speed_and_memory", "Apple"),
    "corrected expression matrix": ("expression", "batch-corrected"),
    "regress out cell cycle": ("batches", "cell-cycle"),
    "convert Seurat to AnnData": ("r_and_seurat", "Seurat"),
    "pseudotime": ("latent_space", "pseudotime"),
    "RNA velocity": ("latent_space", "velocity"),
    "gene_likelihood zinb vs nb": ("model", "zinb"),
    "query genes missing in reference": ("reference_mapping", "lacks genes"),
    "different UMAP every run although seed is set": ("training", "same result"),
}


@pytest.mark.parametrize(("message", "expected"), PASTED.items())
def test_what_people_paste_finds_its_entry_first(message, expected):
    assert is_meant(questions.find(message)[0], *expected)


@pytest.mark.parametrize(("words", "expected"), ASKED.items())
def test_what_people_ask_finds_its_entry_among_the_first_two(words, expected):
    assert any(is_meant(entry, *expected) for entry in questions.find(words, n=2))


def is_meant(entry: questions.Entry, page: str, part: str) -> bool:
    return entry.page == page and part.lower() in entry.question.lower()


def test_an_error_finds_what_its_text_finds():
    text = "raw is not a valid key in adata.layers."
    assert questions.find(ValueError(text)) == questions.find(f"ValueError: {text}")
    assert questions.find(ValueError(text))[0].page == "counts"


def test_a_traceback_finds_what_its_last_message_finds():
    message = "KeyError: 'donors not found in adata.obs.'"
    frames = "".join(
        f'  File "/home/me/scvi/train/_trainer.py", line {n}, in fit\n    model.train(batch_size)\n'
        for n in range(60)
    )
    pasted = f"Traceback (most recent call last):\n{frames}{message}\n"
    assert questions.find(pasted) == questions.find(message)
    assert is_meant(questions.find(pasted)[0], "installing", "not found in adata.obs")


def test_an_error_finds_what_it_was_raised_from():
    try:
        try:
            raise ValueError("Expected more than 1 value per channel when training")
        except ValueError as cause:
            raise RuntimeError("The step failed.") from cause
    except RuntimeError as error:
        assert is_meant(questions.find(error)[0], "training", "more than 1 value")


def test_so_many_are_found_as_asked_and_no_more_than_fit():
    assert len(questions.find("batch", n=5)) == 5
    assert questions.find("batch", n=5)[:2] == questions.find("batch", n=2)
    assert questions.find("zzz qqq") == ()
    assert "What to do" in repr(questions.find("zzz qqq"))


@pytest.mark.parametrize(("asked", "n"), [("", 3), (" \n", 3), ("batch", 0)])
def test_a_question_that_is_none_is_refused(asked, n):
    with pytest.raises(ValueError, match="What to do"):
        questions.find(asked, n=n)


def test_a_kit_without_its_pages_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="What to do"):
        questions.entries(tmp_path)


def test_an_entry_without_its_list_says_where():
    with pytest.raises(
        ValueError, match=r"page\.md: the entry 'Why\?' lacks Sources, Checked, Sure"
    ):
        questions.parse("# Page\n\n## Why?\n\nSo.\n\n- **See:** [x](y.md)\n", "page")


def test_code_that_looks_like_a_heading_begins_no_entry():
    fields = "".join(f"- **{name}:** x\n" for name in questions.FIELDS)
    text = f"# Page\n\n## Why?\n\nSo.\n\n```python run\n## no heading\n```\n\n{fields}"
    (entry,) = questions.parse(text, "page")
    assert entry.blocks == (questions.Block("python run", "## no heading"),)
    assert (entry.answer, entry.anchor) == ("So.", "why")


def test_what_lab_shows_has_the_answer_and_links_from_a_lesson():
    (entry,) = questions.find("Expected more than 1 value per channel", n=1)
    shown = questions.Entries([entry])._repr_markdown_()
    assert entry.answer in shown
    for block in entry.blocks:
        assert block.text in shown
    for target in questions._LINK.findall(shown):
        assert (questions.NOTEBOOKS / target[0]).resolve().exists(), target
