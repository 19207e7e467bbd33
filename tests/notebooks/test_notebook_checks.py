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


# --- in the run of the lessons by make test -----------------------------------------------------


def picture(pixels, sentence):
    """The output of a cell that shows a figure."""
    html = f'<img src="data:image/png;base64,{pixels}" alt="{sentence}">'
    data = {"text/html": html, "text/plain": sentence}
    return [new_output("execute_result", data, execution_count=1)]


PICTURE = """
class Picture:
    def _repr_html_(self):
        return '<img src="data:image/png;base64,AAAA" alt="3 cells">'
    def __repr__(self):
        return '3 cells'
Picture()
"""


def exercise(number, solution):
    """The cells of an exercise of lesson 03."""
    return [
        new_markdown_cell(f"### Exercise {number} · Count"),
        new_code_cell("n_parameters = ...", metadata={"tags": ["exercise"]}),
        new_code_cell("check.cost_of_a_layer(n_parameters)", metadata={"tags": ["check"]}),
        new_markdown_cell(
            "<details><summary>Solution</summary>\n\n"
            f"```python\nn_parameters = {solution}\n```\n\nIt is so.\n\n</details>",
            metadata={"tags": ["solution"]},
        ),
    ]


def made(cell, outputs=None):
    """A lesson of one cell, which ran."""
    return new_notebook(cells=[new_code_cell(cell, execution_count=1, outputs=outputs or [])])


LESSONS_THAT_RUN = {
    "sound": made("print(1 + 2)", [stream("3\n")]),
    "digit": made("print(1 + 2)", [stream("4\n")]),
    "warning": made("import warnings\nwarnings.warn('old')"),
    "pixels": made(PICTURE, picture("BBBB", "3 cells")),
    "sentence": made(PICTURE, picture("BBBB", "4 cells")),
    "03_exercises": new_notebook(
        cells=[
            new_code_cell("from helpers.practice import exercises"),
            new_code_cell("check = exercises.of_lesson('03')\nn_parameters = before = 1"),
            *exercise(1, "(128 * 64) + 3 * 64"),
            *exercise(2, "128 * 64"),
            new_code_cell("print(n_parameters)", execution_count=1, outputs=[stream("Ellipsis\n")]),
        ]
    ),
}
LESSONS_THAT_RUN["warning"].cells[0].metadata["tags"] = ["nbval-ignore-output"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What `make test` says of these lessons, with the kit's own conftest."""
    folder = tmp_path_factory.mktemp("lessons")
    for name, lesson in LESSONS_THAT_RUN.items():
        nbformat.write(lesson, folder / f"{name}.ipynb")
    # Lab leaves copies of what was opened in it.
    (folder / ".ipynb_checkpoints").mkdir()
    nbformat.write(LESSONS_THAT_RUN["digit"], folder / ".ipynb_checkpoints/copy.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "-rA", "-p", "no:xdist", "-p", "conftest"]
    command += ["--rootdir", str(folder), "-c", os.devnull]
    command += [f"--nbval-sanitize-with={Path(__file__).with_name('sanitize.cfg')}", str(folder)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env).stdout


# No "::" in an id: there pytest-xdist would divide the module, and each part would run the lessons.
@pytest.mark.parametrize(
    ("lesson", "test", "verdict"),
    [
        ("sound", "Cell 0", "PASSED"),
        ("digit", "Cell 0", "FAILED"),
        ("warning", "Cell 0", "FAILED"),
        ("pixels", "Cell 0", "PASSED"),
        ("sentence", "Cell 0", "FAILED"),
        ("03_exercises", "Exercise 1", "PASSED"),
        ("03_exercises", "Exercise 2", "FAILED"),
    ],
)
def test_a_fault_fails_with_the_lesson_and_the_cell(lesson, test, verdict, ran):
    assert f"{verdict} {lesson}.ipynb::{test}" in ran, ran


def test_what_is_wrong_is_said(ran):
    assert "UserWarning: old" in ran
    assert "stdout" in ran
    assert "03_exercises, Exercise 2 · Count, check in Cell 5" in ran
    assert "the reply does not begin with ✓ Right." in ran


def test_the_lesson_goes_on_as_it_is_stored_after_answers_were_tried(ran):
    assert "PASSED 03_exercises.ipynb::Cell 6" in ran, ran


def test_what_lab_left_is_no_lesson(ran):
    assert "copy.ipynb" not in ran
