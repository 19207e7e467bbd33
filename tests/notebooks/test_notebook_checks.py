"""The checks of the lessons, on lessons that are broken on purpose."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.paths import ROOT
from tests.notebooks import notebook_checks as checks

LESSON = """# %% [markdown]
# # A lesson

# %%
total = 1 + 2
print(total)

# %% tags=["nbval-ignore-output"]
print("passing")
"""


@pytest.fixture
def notebook():
    """The notebook that belongs to LESSON, as one clean run leaves it."""
    return new_notebook(
        cells=[
            new_markdown_cell("# A lesson"),
            new_code_cell(
                "total = 1 + 2\nprint(total)", execution_count=1, outputs=[stream("3\n")]
            ),
            new_code_cell(
                'print("passing")',
                execution_count=2,
                outputs=[stream("passing\n")],
                metadata={"tags": ["nbval-ignore-output"]},
            ),
        ]
    )


def stream(text, name="stdout"):
    return new_output("stream", text=text, name=name)


def test_a_sound_pair_has_no_faults(notebook):
    assert checks.pair_faults(LESSON, notebook) == []
    assert checks.run_faults(notebook) == []


@pytest.mark.parametrize(
    "edited",
    [
        LESSON.replace("1 + 2", "1 + 3"),
        LESSON.replace("# # A lesson", "# # Another lesson"),
        LESSON.replace(' tags=["nbval-ignore-output"]', ""),
        LESSON + "\n# %%\nprint(4)\n",
    ],
    ids=["code", "prose", "tag", "cell"],
)
def test_a_py_edited_without_its_pair_is_found(edited, notebook):
    assert checks.pair_faults(edited, notebook)


def test_swapped_cells_are_found(notebook):
    notebook.cells[1:] = notebook.cells[:0:-1]
    assert checks.pair_faults(LESSON, notebook)
    assert checks.run_faults(notebook)


@pytest.mark.parametrize("count", [None, 7])
def test_a_cell_that_did_not_run_in_order_is_found(count, notebook):
    notebook.cells[1].execution_count = count
    assert "code cell 1" in checks.run_faults(notebook)[0]


def test_errors_and_warnings_are_found(notebook):
    notebook.cells[1].outputs = [new_output("error", ename="KeyError", evalue="", traceback=[])]
    notebook.cells[2].outputs = [stream("UserWarning: old", name="stderr")]
    first, second = checks.run_faults(notebook)
    assert "KeyError" in first
    assert "UserWarning" in second


@pytest.mark.parametrize(
    ("output", "noisy"),
    [
        (stream("3\n"), False),
        (stream("3\n", name="stderr"), True),
        (stream("FutureWarning: old\n"), True),
        (new_output("error", ename="KeyError", evalue="", traceback=[]), True),
        (new_output("display_data", {"text/plain": "UserWarning: old"}), True),
    ],
)
def test_what_a_running_cell_should_not_show_is_found(output, noisy):
    assert bool(checks.noise([output])) is noisy


def test_the_share_of_compared_outputs_counts_the_tags(notebook):
    assert checks.compared_share(notebook) == 0.5
    notebook.cells[2].metadata.tags = []
    assert checks.compared_share(notebook) == 1
    notebook.cells[1].metadata.tags = ["nbval-skip"]
    notebook.cells[1].outputs = []
    assert checks.compared_share(notebook) == 0.5


@pytest.mark.parametrize(
    "bundle",
    [
        {"image/png": "iVBOR"},
        {"text/html": '<img src="data:image/png;base64,iVBOR">'},
        {"text/html": '<img src="data:image/png;base64,iVBOR" alt="">'},
        {"text/html": '<img src="data:image/png;base64,iVBOR" alt="A nice picture">'},
    ],
    ids=["bare png", "no alt", "empty alt", "no number"],
)
def test_a_figure_without_alternative_text_is_found(bundle, notebook):
    notebook.cells[1].outputs = [new_output("display_data", bundle)]
    assert checks.figure_faults(notebook)


def test_a_figure_with_alternative_text_passes(notebook):
    image = '<img src="data:image/png;base64,iVBOR" alt="Bar chart: 3 of 4 cells.">'
    notebook.cells[1].outputs = [new_output("display_data", {"text/html": image})]
    assert checks.figure_faults(notebook) == []


@pytest.mark.parametrize(
    ("source", "word"),
    [("x = 1\n" * 11, "11 lines"), ("# only a comment", "no code"), ("total;", "semicolon")],
)
def test_bad_cells_are_found(source, word, notebook):
    notebook.cells[1].source = source
    assert any(word in fault for fault in checks.form_faults(notebook))


def test_a_missing_part_of_the_frame_is_found(notebook):
    notebook.cells[0].source = "\n".join(checks.FRAME)
    assert checks.form_faults(notebook) == []
    notebook.cells[0].source = "\n".join(checks.FRAME[:-1])
    assert checks.FRAME[-1] in checks.form_faults(notebook)[0]


@pytest.mark.parametrize(
    ("link", "good"),
    {
        "glossary.md": True,
        "glossary.md#kl-divergence-nats": True,
        "glossary.md#elbo": False,
        "words.md": False,
        "https://example.org": True,
    }.items(),
)
def test_links_are_followed(link, good, tmp_path):
    (tmp_path / "glossary.md").write_text("# Glossary\n\n## KL divergence (nats)\n", "utf-8")
    assert (checks.link_faults(f"See [this]({link}).", tmp_path) == []) is good


def test_what_is_loaded_from_the_network_is_found(notebook):
    assert checks.remote_faults(notebook) == []
    notebook.cells[0].source = "![badge](https://example.org/badge.svg)"
    script = '<script src="https://example.org/plot.js"></script>'
    notebook.cells[1].outputs = [new_output("display_data", {"text/html": script})]
    assert len(checks.remote_faults(notebook)) == 2


def run_nbval(notebook, folder: Path) -> subprocess.CompletedProcess:
    """Run a notebook as `make test` does.

    With the pixels left out, and with the kit's own conftest.
    """
    nbformat.write(notebook, folder / "lesson.ipynb")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "-p",
        "no:xdist",
        "-p",
        "conftest",
        "--rootdir",
        str(folder),
        "-c",
        "/dev/null",
    ]
    sanitize = Path(__file__).with_name("sanitize.cfg")
    command += [f"--nbval-sanitize-with={sanitize}", str(folder / "lesson.ipynb")]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, check=False)


def test_one_changed_digit_in_a_stored_output_fails(notebook, tmp_path):
    assert run_nbval(notebook, tmp_path).returncode == 0
    notebook.cells[1].outputs = [stream("4\n")]
    result = run_nbval(notebook, tmp_path)
    assert result.returncode == 1
    assert "Cell 0" in result.stdout
    assert "'stdout'" in result.stdout or "stdout" in result.stdout


def test_a_warning_fails_where_no_output_is_compared(notebook, tmp_path):
    notebook.cells[2].source = "import warnings\nwarnings.warn('old')"
    result = run_nbval(notebook, tmp_path)
    assert result.returncode == 1
    assert "UserWarning: old" in result.stdout
    assert "1 failed, 1 passed" in result.stdout


def test_pixels_may_differ_but_the_sentence_of_a_figure_may_not(notebook, tmp_path):
    source = (
        "class Picture:\n"
        "    def _repr_html_(self):\n"
        '        return \'<img src="data:image/png;base64,AAAA" alt="3 cells">\'\n'
        "    def __repr__(self):\n"
        "        return '3 cells'\n"
        "Picture()"
    )
    notebook.cells[1].source = source

    def stored(pixels, sentence):
        html = f'<img src="data:image/png;base64,{pixels}" alt="{sentence}">'
        return [
            new_output(
                "execute_result", {"text/html": html, "text/plain": sentence}, execution_count=1
            )
        ]

    notebook.cells[1].outputs = stored("BBBB", "3 cells")
    assert run_nbval(notebook, tmp_path).returncode == 0
    notebook.cells[1].outputs = stored("BBBB", "4 cells")
    assert run_nbval(notebook, tmp_path).returncode == 1
