"""Replies, hints one after another, and what is said where there is no answer."""

import types

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.practice import exercises
from helpers.practice.exercises import answer_checks
from helpers.practice.exercises.replies import Reply, exercise, untouched


def half(answer): ...


def with_words(answer):
    """Return half of it."""
    ...


def returning_nothing(answer):
    return None


def tried(answer):
    return answer / 2


def forgot_return(answer):
    answer / 2


@pytest.fixture
def checks():
    @exercise("Think.", "Think of 8.", "It is 8.")
    def half_of_16(half, *, of=16):
        """Half of a number."""
        return answer_checks.number("half", half, of / 2, praise="Yes.")

    @exercise("Look.")
    def fragile(thing):
        return thing.nothing

    @exercise("One.")
    def two_answers(first, second):
        return answer_checks.combine(
            answer_checks.number("first", first, 1, praise="One."),
            answer_checks.number("second", second, 2, praise="Two."),
        )

    return exercises.Checks(
        types.SimpleNamespace(
            half_of_16=half_of_16, fragile=fragile, two_answers=two_answers, other=3
        )
    )


@pytest.mark.parametrize("answer", [..., None, half, with_words, returning_nothing])
def test_an_untouched_stub_is_known(answer):
    assert untouched(answer)


@pytest.mark.parametrize("answer", [0, "", [], tried, forgot_return, max, lambda x: 3, int])
def test_an_attempt_is_no_stub(answer):
    assert not untouched(answer)


def test_hints_come_one_after_another_and_the_last_stays(checks):
    hints = [checks.half_of_16(3).hint for _ in range(4)]
    assert hints == [
        "Hint 1 of 3: Think.",
        "Hint 2 of 3: Think of 8.",
        "Hint 3 of 3: It is 8.",
        "Hint 3 of 3: It is 8.",
    ]


def test_no_answer_and_a_right_one_use_no_hint_up(checks):
    assert checks.half_of_16(...).hint == checks.half_of_16(8).hint == ""
    assert checks.half_of_16(3).hint.startswith("Hint 1")


def test_hints_of_one_exercise_are_not_those_of_another(checks):
    checks.half_of_16(3)
    assert checks.two_answers(1, 3).hint == "Hint 1 of 1: One."


def test_missing_answers_are_named(checks):
    assert "`first` and `second`" in checks.two_answers(..., None).text
    assert "`second`" in checks.two_answers(1, ...).text
    assert "`first`" not in checks.two_answers(1, ...).text


def test_what_no_check_thought_of_is_said_kindly(checks):
    reply = checks.fragile(3)
    assert reply.verdict == Reply.NOT_YET
    assert "could not make sense of your answer (AttributeError" in reply.text


def test_what_the_lesson_gives_is_used(checks):
    assert checks.half_of_16(5, of=10).is_right


def test_too_few_answers_is_an_error_of_the_cell(checks):
    with pytest.raises(TypeError, match="half"):
        checks.half_of_16()


def test_unknown_check_lists_those_that_exist(checks):
    with pytest.raises(AttributeError, match="half_of_16, fragile, two_answers"):
        checks.hlaf_of_16  # noqa: B018
    assert dir(checks) == ["fragile", "half_of_16", "two_answers"]


def test_help_of_a_check_is_that_of_its_exercise(checks):
    assert checks.half_of_16.__doc__ == "Half of a number."


def test_unknown_lesson_lists_those_that_exist():
    with pytest.raises(ValueError, match=r"no lesson '99'.*03"):
        exercises.of_lesson("99")


def test_an_exercise_without_a_hint_is_refused():
    with pytest.raises(ValueError, match="needs a hint"):
        exercise()


def test_reply_is_read_without_colour_and_as_markdown(checks):
    reply = checks.half_of_16(3)
    assert repr(reply).startswith("✗ Not yet. `half` is 3.")
    assert repr(reply).endswith("\nHint 1 of 3: Think.")
    assert reply._repr_markdown_().startswith("**✗ Not yet.** `half` is 3.")
    assert repr(checks.half_of_16(8)) == "✓ Right. Yes."


def test_marks_are_all_or_nothing_and_the_reply_is_printed(checks, capsys):
    assert checks.half_of_16(8).marks(2) == 2
    assert checks.half_of_16(7).marks(2) == 0
    assert checks.half_of_16(...).marks(2) == 0
    said = capsys.readouterr().out
    assert said.startswith("✓ Right.") and "✗ Not yet." in said and "… Not answered" in said


def test_missing_answer_is_an_error_without_a_traceback():
    """In a real kernel: the answer's cell stopped, so its name does not exist."""
    cells = [
        "from helpers.practice import exercises\ncheck = exercises.of_lesson('03')",
        "n_parameters = 1 / 0",
        "check.cost_of_a_layer(n_parameters)",
        "print(no_such_name)",
        "n_parameters = 3\ncheck.cost_of_a_layer(n_parameters)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in cells])
    NotebookClient(notebook, kernel_name="python3", allow_errors=True, timeout=120).execute()
    outputs = [cell.outputs for cell in notebook.cells]
    (missing,), (other,), (reply,) = outputs[2:]
    assert missing.output_type == "error" and missing.ename == "NameError"
    assert missing.traceback == [missing.evalue]
    assert missing.evalue.startswith("There is no `n_parameters` yet.")
    assert "no_such_name" in "".join(other.traceback) and len(other.traceback) > 1
    assert reply.data["text/plain"].startswith("✗ Not yet.")
