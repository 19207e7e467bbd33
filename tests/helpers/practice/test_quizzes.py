"""The quizzes: each option has a reason, and what is shown can be clicked, read, and stored."""

import html
import re

import nbformat
import pytest

from helpers.practice import quizzes
from helpers.practice.quizzes import Option, Question, Quiz

FILES = sorted(quizzes.FOLDER.glob("*.toml"))
LESSONS = sorted((quizzes.FOLDER.parent).glob("*.py"))


def question(*right):
    return Question(
        "Which?", tuple(Option(f"{n}", f"Because {n}.", each) for n, each in enumerate(right))
    )


def test_every_lesson_has_a_quiz_and_shows_it():
    assert [file.stem for file in FILES] == [lesson.stem for lesson in LESSONS]
    for lesson in LESSONS:
        number = lesson.stem.partition("_")[0]
        assert f'quizzes.of_lesson("{number}")' in lesson.read_text("utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_quiz_has_four_to_six_questions_of_three_options_or_more(file):
    quiz = quizzes.read(file)
    assert 4 <= len(quiz.questions) <= 6
    for each in quiz.questions:
        assert 3 <= len(each.options) <= 5, each.ask
        assert len({option.say for option in each.options}) == len(each.options), each.ask
        assert len({option.why for option in each.options}) == len(each.options), each.ask


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_right_option_is_not_given_away_by_its_place(file):
    places = {
        [option.right for option in each.options].index(True)
        for each in quizzes.read(file).questions
    }
    assert len(places) > 1


def test_right_option_is_mostly_not_the_longest():
    longest = [
        max(each.options, key=lambda option: len(option.say)).right
        for file in FILES
        for each in quizzes.read(file).questions
    ]
    assert sum(longest) <= 0.5 * len(longest)


@pytest.mark.parametrize("right", [(False, False), (True, True)])
def test_a_question_with_no_or_two_right_options_is_refused(right):
    with pytest.raises(ValueError, match="question 1: exactly one option"):
        Quiz("x", (question(*right),))


def test_an_option_without_a_reason_is_refused():
    with pytest.raises(ValueError, match="no reason"):
        Quiz("x", (Question("Which?", (Option("a", "Yes.", True), Option("b", " "))),))


def test_a_quiz_without_questions_is_refused():
    with pytest.raises(ValueError, match="no question"):
        Quiz("x", ())


def test_unknown_lesson_lists_those_that_exist():
    with pytest.raises(ValueError, match=r"'99'.*03"):
        quizzes.of_lesson("99")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_plain_text_holds_all_options_and_after_them_all_reasons(file):
    quiz = quizzes.read(file)
    asked, _, answers = repr(quiz).partition("The answers, with reasons:")
    for each in quiz.questions:
        assert each.ask in asked
        for option in each.options:
            assert option.say in asked
            assert option.why in answers and option.why not in asked


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_shown_part_is_the_same_each_time_and_asks_nothing_of_the_network(file):
    shown = [quizzes.read(file)._repr_mimebundle_()["text/html"] for _ in range(2)]
    assert shown[0] == shown[1]
    # jupyterquiz's own pattern for links in a question is no address.
    assert not re.findall(r"https?://|//cdn", shown[0])


def test_text_in_the_page_can_be_read_without_scripts():
    quiz = quizzes.of_lesson("03")
    without_scripts = re.sub(r"<(script|style)>.*?</\1>", "", quiz.page_part(), flags=re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]+>", "", without_scripts))
    for each in quiz.questions:
        for option in each.options:
            assert option.why.replace("`", "").replace("*", "") in text


def test_markup_is_code_and_emphasis_and_nothing_else():
    assert quizzes.markup("`a_b*c` is *so*") == "<code>a_b*c</code> is <em>so</em>"
    assert quizzes.markup("3 * 4 * 5 < 6 & 7") == "3 * 4 * 5 &lt; 6 &amp; 7"


def test_stored_lesson_shows_its_quiz_as_the_file_has_it():
    for lesson in LESSONS:
        quiz = quizzes.of_lesson(lesson.stem.partition("_")[0])
        stored = nbformat.read(lesson.with_suffix(".ipynb"), as_version=4)
        outputs = [out for cell in stored.cells for out in cell.get("outputs", ())]
        texts = ["".join(out.get("data", {}).get("text/plain", "")) for out in outputs]
        assert repr(quiz) in texts, f"{lesson.name}: run `make notebooks`"
