"""Exercises are found in a notebook, and one that is put together wrongly is refused."""

import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.practice.exercises import parts

SOLUTION = """<details><summary>Solution</summary>

```python
n = 3
```

It is 3.

</details>"""


def made(*left_out, solution=SOLUTION, heading="### Exercise 1 · Count"):
    cells = {
        "heading": new_markdown_cell(f"{heading}\n\nHow many?"),
        "stub": new_code_cell("n = ...", metadata={"tags": ["exercise"]}),
        "check": new_code_cell("check.count(n)", metadata={"tags": ["check"]}),
        "solution": new_markdown_cell(solution, metadata={"tags": ["solution"]}),
    }
    kept = [cell for name, cell in cells.items() if name not in left_out]
    return new_notebook(cells=[new_markdown_cell("# A lesson"), *kept])


def test_an_exercise_is_found_with_its_solution():
    (part,) = parts.find(made())
    assert part == parts.Part("Exercise 1 · Count", 2, 3, 4, "n = 3", "It is 3.")


def test_a_lesson_without_exercises_has_none():
    assert parts.find(new_notebook(cells=[new_markdown_cell("# A lesson")])) == []


@pytest.mark.parametrize("left_out", ["stub", "check", "solution"])
def test_an_exercise_without_one_of_its_cells_is_refused(left_out):
    with pytest.raises(ValueError, match="in this order"):
        parts.find(made(left_out))


def test_cells_in_another_order_are_refused():
    notebook = made()
    notebook.cells[3:] = notebook.cells[:2:-1]
    with pytest.raises(ValueError, match="in this order"):
        parts.find(notebook)


def test_a_cell_between_them_is_refused():
    notebook = made()
    notebook.cells.insert(3, new_markdown_cell("Between."))
    with pytest.raises(ValueError, match="follow one another"):
        parts.find(notebook)


def test_a_stub_without_a_heading_is_refused():
    with pytest.raises(ValueError, match="no heading"):
        parts.find(made(heading="### Count"))


@pytest.mark.parametrize(
    "solution",
    [
        SOLUTION.replace("Solution", "Answer"),
        re.sub(r"```.*```\n\n", "", SOLUTION, flags=re.DOTALL),
        SOLUTION.replace("It is 3.\n\n", ""),
        SOLUTION.replace("</details>", ""),
    ],
    ids=["summary", "code", "reason", "end"],
)
def test_a_solution_in_another_form_is_refused(solution):
    with pytest.raises(ValueError, match="Exercise 1 · Count: the solution"):
        parts.find(made(solution=solution))
