"""What the checks are made of: right, wrong in a known way, wrong in any other."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from helpers.practice.exercises import answer_checks
from helpers.practice.exercises.answer_checks import Mistake
from helpers.practice.exercises.replies import Reply

PRAISE = "It is."


def number(answer, expected=8.0, **more):
    return answer_checks.number("loss", answer, expected, praise=PRAISE, **more)


@pytest.mark.parametrize(
    "answer",
    [
        8,
        8.0,
        np.float32(8),
        np.int64(8),
        np.array(8.0),
        np.array([8]),
        torch.tensor(8.0),
        pd.Series([8]),
    ],
)
def test_a_number_of_any_kind_is_taken(answer):
    assert number(answer) == Reply(Reply.RIGHT, PRAISE)


@pytest.mark.parametrize(
    ("answer", "is_right"), [(8.4, True), (8.5, True), (8.51, False), (7.49, False)]
)
def test_a_number_may_be_off_by_what_is_allowed(answer, is_right):
    assert number(answer, tolerance=0.5).is_right == is_right


def test_computed_digits_beyond_float_do_not_matter_and_others_do():
    assert number(0.1 + 0.2, 0.3).is_right
    assert not number(0.300001, 0.3).is_right


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("8", "without quotation marks"),
        (True, "not True or False"),
        (np.True_, "not True or False"),
        (max, "Call it"),
        ([8], "is a list"),
        ({}, "is a dict"),
        (8j, "is a complex"),
        (object(), "is an object"),
        (np.zeros((2, 3)), "shape (2, 3)"),
        (pd.DataFrame({"a": [1, 2]}), "shape (2, 1)"),
        (sp.eye(2), "shape (2, 2)"),
        (np.array(["x"]), "is text"),
        (float("nan"), "NaN"),
        (np.array(np.nan), "NaN"),
        (-math.inf, "infinite"),
        (-8, "the sign is not"),
        (800, "per cent"),
        (0.08, "share between 0 and 1"),
        (8.1, "very near"),
        (20, "too large"),
        (2, "too small"),
    ],
)
def test_each_way_of_being_wrong_is_named(answer, words):
    reply = number(answer)
    assert reply.verdict == Reply.NOT_YET
    assert words in reply.text


def test_bits_are_told_from_nats_only_where_nats_are_asked_for():
    assert "bits" in number(8 / math.log(2), unit="nats per cell").text
    assert "bits" not in number(8 / math.log(2), unit="counts").text


def test_unit_is_said():
    assert "nats per cell" in number("8", unit="nats per cell").text
    assert "nats per cell" in number(20, unit="nats per cell").text


def test_the_right_number_is_never_given_away():
    for answer in (-2857.9, 285790, 28.579, 2860, 9, 2857.9 / math.log(2)):
        reply = number(answer, 2857.9, unit="nats")
        shown = reply.text.replace(f"{answer:,.6g}", "")
        assert "2857" not in shown and "2,857" not in shown


def test_reply_made_for_a_mistake_comes_first_and_the_first_mistake_wins():
    mistakes = [Mistake(-8, "You subtracted."), Mistake(-8.2, "Another.")]
    assert number(-8, mistakes=mistakes).text == "You subtracted."
    assert number(-8.1, mistakes=mistakes, tolerance=0.15).text == "You subtracted."
    assert number(-9, mistakes=mistakes).text != "You subtracted."


def test_right_answer_is_right_even_where_a_mistake_is_as_near():
    assert number(8.1, mistakes=[Mistake(8.2, "No.")], tolerance=0.3).is_right


def test_zero_has_no_sign_and_no_share():
    assert "too large" in number(3, 0.0).text
    assert number(0, 0.0).is_right


def test_a_class_and_what_is_no_model_are_told_apart():
    def problem(answer):
        return answer_checks.model_problem("net", answer, torch.nn.Module, "`Linear(2, 1)`.")

    assert problem(torch.nn.Linear(2, 1)) == ""
    assert (
        problem(torch.nn.Linear)
        == "`net` is the class `Linear`, not a model. Call it: `Linear(2, 1)`."
    )
    assert problem([]) == "`net` is a list. It should be a model: `Linear(2, 1)`."
    assert problem(3).startswith("`net` is an int.")


def choice(answer):
    others = {"decoder": "That one runs.", "Both": "One does."}
    return answer_checks.choice("idle", answer, "encoder", praise=PRAISE, others=others)


@pytest.mark.parametrize("answer", ["encoder", " Encoder ", "ENCODER"])
def test_a_word_is_taken_in_any_case(answer):
    assert choice(answer).is_right


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("decoder", "That one runs."),
        ("both", "One does."),
        ("endocer", 'none of the words to choose from: "Both", "decoder", "encoder"'),
        (3, "is an int"),
        (["encoder"], "is a list"),
        (max, "quotation marks"),
    ],
)
def test_a_wrong_word_gets_its_reason(answer, words):
    reply = choice(answer)
    assert reply.verdict == Reply.NOT_YET and words in reply.text


def names(answer, **more):
    return answer_checks.names("parts", answer, {"a", "b"}, {"a", "b", "c"}, praise=PRAISE, **more)


@pytest.mark.parametrize(
    "answer",
    [
        ["a", "b"],
        ("b", "a"),
        {"a", "b"},
        ["a", "b", "a"],
        np.array(["a", "b"]),
        pd.Index(["b", "a"]),
        pd.Series(["a", "b"]),
    ],
)
def test_names_are_taken_in_any_order_and_container(answer):
    assert names(answer).is_right


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("a", "one text"),
        ([], "is empty. 2 are missing."),
        (["a"], "1 of your 1 name is right. 1 is missing."),
        (["a", "c"], '1 of your 2 names are right. "c" does not belong there. 1 is missing.'),
        (["a", "b", "c"], '2 of your 3 names are right. "c" does not belong there.'),
        (["a", "x"], '"x" does not exist here'),
        (["a", 3], "3 is an int"),
        (7, "is an int"),
        (len, "Write a list"),
        (sp.eye(2), "Write a list"),
    ],
)
def test_wrong_names_are_told_one_by_one(answer, words):
    reply = names(answer)
    assert reply.verdict == Reply.NOT_YET and words in reply.text


def test_missing_names_are_not_given_away_and_have_reasons():
    reply = names(["a", "c"], wrong={"c": "c feeds nothing."}, missing={"b": "One is an encoder."})
    assert "c feeds nothing." in reply.text and "One is an encoder." in reply.text
    assert '"b"' not in reply.text and "does not belong" not in reply.text


def test_spelling_makes_several_forms_alike():
    assert names(["x.a", "b"], spelling=lambda each: each.rpartition(".")[2]).is_right


TABLE = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def numbers(answer, **more):
    return answer_checks.numbers("rates", answer, TABLE, praise=PRAISE, unit="counts", **more)


@pytest.mark.parametrize(
    "answer",
    [
        TABLE,
        TABLE.tolist(),
        sp.csr_matrix(TABLE),
        pd.DataFrame(TABLE),
        torch.tensor(TABLE),
        TABLE + 1e-9,
    ],
)
def test_numbers_are_taken_in_any_container(answer):
    assert numbers(answer).is_right


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (TABLE.T, "Have rows and columns changed places?"),
        (TABLE[:2], "shape (2, 2); it should be (3, 2)"),
        (7, "is one number. It should hold 6"),
        (-TABLE, "wrong sign"),
        (TABLE[::-1], "another order"),
        (TABLE + np.eye(3, 2), "4 of the 6 numbers in `rates` (counts) are right."),
        (np.where(TABLE == 1, np.nan, TABLE), "1 of the 6 numbers"),
        ("text", "is text"),
        (len, "is a function"),
        ([["a", "b"]], "does not hold only numbers"),
        ([[1], [2, 3]], "does not hold only numbers"),
        (None, "NaN"),
    ],
)
def test_wrong_numbers_are_described(answer, words):
    reply = numbers(answer if answer is not None else np.full((3, 2), np.nan))
    assert reply.verdict == Reply.NOT_YET and words in reply.text


def test_a_table_made_by_a_mistake_gets_its_reply_whatever_its_shape():
    mistakes = [(TABLE.sum(axis=0), "These are the sums."), (TABLE + 1, "One too many.")]
    assert numbers(TABLE.sum(axis=0), mistakes=mistakes).text == "These are the sums."
    assert numbers(TABLE + 1, mistakes=mistakes).text == "One too many."
    assert numbers(TABLE, mistakes=mistakes).is_right
    assert "One." not in numbers(np.ones((3, 2)), mistakes=[(np.ones(()), "One.")]).text


CASES = [((2.0, 3.0), 6.0), ((np.array([1.0, 2.0]), 4.0), np.array([4.0, 8.0]))]


def function(answer, **more):
    return answer_checks.function("product", answer, CASES, praise=PRAISE, **more)


def never_ending(a, b):
    raise KeyboardInterrupt


def leaving(a, b):
    raise SystemExit(3)


def broken(a, b):
    total = a * b
    return total / 0 if isinstance(total, float) else total


def test_a_function_is_right_if_all_it_returns_is():
    assert function(lambda a, b: a * b).is_right
    assert function(
        lambda a, b: (a * np.float32(b)).tolist() if hasattr(a, "tolist") else b * a
    ).is_right


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (6, "should be a function: begin with `def product(`"),
        (lambda a, b: a + b, "0 of 2 trials are right. `product(2, 3)` returns 5; expected was 6."),
        (
            lambda a, b: 6.0,
            "1 of 2 trials are right. `product([1., 2.], 4)` returns 6; expected was [4., 8.].",
        ),
        (lambda a: a, "stopped with TypeError"),
        (lambda a, b: None, "returns nothing. Does its last line begin with `return`?"),
        (lambda a, b: "6", "0 of 2 trials are right. `product(2, 3)` returns '6'; expected was 6."),
        (
            broken,
            "stopped in its line `return total / 0 if isinstance(total, float) else total` with "
            "ZeroDivisionError",
        ),
        (never_ending, "a loop in it that never ends"),
        (leaving, "SystemExit: 3"),
    ],
)
def test_a_wrong_function_is_described(answer, words):
    reply = function(answer)
    assert reply.verdict == Reply.NOT_YET and words in reply.text


def test_a_function_that_is_wrong_in_a_known_way_gets_its_reply():
    mistakes = [(lambda a, b: a + b, "You added."), (lambda a, b: a * b**2, "Squared.")]
    assert function(lambda x, y: y + x, mistakes=mistakes).text == "You added."
    assert "trials are right" in function(lambda x, y: 1.0, mistakes=mistakes).text


def test_a_function_cannot_change_what_it_is_called_with():
    given = np.ones(3)
    cases = [((given,), 3.0), ((given,), 3.0)]

    def spoiling(values):
        total = values.sum()
        values[:] = 0
        return total

    assert answer_checks.function("total", spoiling, cases, praise=PRAISE).is_right
    assert (given == 1).all()


def test_claims_tell_what_is_met_and_what_is_not():
    reply = answer_checks.requirements(
        (True, "Two layers.", "No."), (False, "Yes.", "Too many."), praise=PRAISE
    )
    assert reply.text == "✓ Two layers. ✗ Too many."
    assert answer_checks.requirements((True, "Yes.", "No."), praise=PRAISE).is_right


def test_parts_together_are_right_only_if_all_are():
    good, bad = number(8), number(9)
    assert answer_checks.combine(good, good).is_right
    assert answer_checks.combine(good, bad).text.startswith("✓ It is. ✗ ")
    assert not answer_checks.combine(bad, bad).is_right
