"""The quiz at the end of a lesson.

It has questions with a reason for each option, to click and to read.
"""

from __future__ import annotations

import html
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyterquiz.dynamic.loader import load_questions_script
from jupyterquiz.dynamic.renderer import build_script, build_styles, render_div

from helpers.paths import ROOT

FOLDER = ROOT / "notebooks" / "quizzes"

LETTERS = "ABCDEFGH"

# Contrast of at least 4.5:1 between text and ground, also where an answer is marked. The verdict is
# written out as well, so that nobody has to tell the colours apart.
COLOURS = {
    "--jq-multiple-choice-bg": "#1f3a5f",
    "--jq-text-color": "#ffffff",
    "--jq-mc-button-bg": "#ffffff",
    "--jq-mc-button-border": "#5f6b7a",
    "--jq-correct-color": "#00695c",
    "--jq-incorrect-color": "#a3261b",
}

# Radio buttons that can be seen, so that the focus of the keyboard can be followed. The ground is
# light whatever the page is, so the buttons must not be those of a dark page.
LOOK = """
.Quiz { color-scheme: light; }
.Quiz { font-size: 1rem; line-height: 1.4; text-align: left; }
.Quiz .Answer { grid-template-columns: 1fr; }
.Quiz .MCButton { display: block; color: #1a1a1a; font-size: 1rem; text-align: left; }
.Quiz .MCButton input { margin-right: 0.6em; }
.Quiz .MCButton:focus-within { outline: 3px solid #d55e00; outline-offset: 2px; }
.Quiz .MCButton.correctButton, .Quiz .MCButton.incorrectButton { color: #ffffff; }
.Quiz .MultipleChoiceQn code { background: transparent; color: inherit; }
.Quiz .Feedback { background: #ffffff; color: #1a1a1a; font-size: 1rem; padding: 0.5em 0.8em;
    text-align: left; border: 1px solid #5f6b7a; border-radius: inherit; }
.Quiz .Feedback:empty { display: none; }
@media (prefers-reduced-motion: reduce) { .Quiz * { animation-duration: 1ms !important; } }
"""

# What jupyterquiz leaves out for those who listen, and the text that the buttons replace.
FINISH = """
(function finish(left) {
    const quiz = document.getElementById("%(id)s");
    const parts = quiz ? [...quiz.querySelectorAll(".Quiz")] : [];
    if (parts.length < %(number)d) { if (left) setTimeout(finish, 100, left - 1); return; }
    parts.forEach(part => {
        const question = part.querySelector(".MultipleChoiceQn > div");
        const answers = part.querySelector(".Answer");
        answers.setAttribute("role", "radiogroup");
        answers.setAttribute("aria-labelledby", question.id);
        part.querySelector(".Feedback").setAttribute("role", "status");
        // The arrow keys move between options; JupyterLab would take them to move between cells.
        answers.querySelectorAll("input").forEach(each => { \
each.dataset.lmSuppressShortcuts = "true"; });
    });
    document.getElementById("%(id)s-text").hidden = true;
})(100);
"""


@dataclass(frozen=True)
class Option:
    """One answer to choose.

    Parameters
    ----------
    say
        The answer.
    why
        Why it is right, or why it is not.
    right
        Whether it is.
    """

    say: str
    why: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question and its options, one of which is right."""

    ask: str
    options: tuple[Option, ...]


class Quiz:
    """The questions of a lesson.

    Jupyter shows buttons; as plain text it is a list with the answers below.

    Parameters
    ----------
    name
        For the names of its parts in a page: letters, digits and hyphens.
    questions
        At least one.

    Raises
    ------
    ValueError
        If a question has not exactly one right option, or an option no reason.
    """

    def __init__(self, name: str, questions: tuple[Question, ...]) -> None:
        if not questions:
            raise ValueError(f"Quiz {name} has no question.")
        for number, question in enumerate(questions, 1):
            if sum(option.right for option in question.options) != 1:
                raise ValueError(
                    f"Quiz {name}, question {number}: exactly one option must be right."
                )
            if not all(option.why.strip() for option in question.options):
                raise ValueError(f"Quiz {name}, question {number}: an option has no reason.")
        self.name = name
        self.questions = questions

    def __repr__(self) -> str:
        lines = []
        for number, question in enumerate(self.questions, 1):
            lines.append(f"{number}. {question.ask}")
            lines += [
                f"   {letter}  {option.say}"
                for letter, option in zip(LETTERS, question.options, strict=False)
            ]
        lines.append("\nThe answers, with reasons:")
        for number, question in enumerate(self.questions, 1):
            for letter, option in zip(LETTERS, question.options, strict=False):
                lines.append(f"{number}{letter}  {verdict(option)} {option.why}")
        return "\n".join(lines)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.page_part(), "text/plain": repr(self)}

    def page_part(self) -> str:
        """Return the HTML: the questions as text, and the script that puts buttons in their place.

        A page that runs no scripts, such as a notebook that nobody has run yet, shows the text.
        """
        # The parts of display_quiz, which would draw a random name: the stored output would never
        # be the same.
        name = "quiz" + re.sub(r"\W", "", self.name)
        questions, static, url = load_questions_script(self.for_jupyterquiz(), name)
        script = build_script(questions, static, url, name, load_js=True)
        place = render_div(name, False, False, False, len(self.questions), 800, 6, "left")
        # It would fetch MathJax where a page is slow to load its own. There are no formulas in a
        # quiz.
        script = re.sub(r"https://cdn\.[^']*", "", script)
        finish = FINISH % {"id": name, "number": len(self.questions)}
        return (
            f"{self.as_text(name)}{place}</div>{build_styles(name, COLOURS)}<style>{LOOK}</style>"
            f"<script>{script}</script><script>{finish}</script>"
        )

    def for_jupyterquiz(self) -> list[dict[str, Any]]:
        """Return the questions in jupyterquiz's form."""
        return [
            {
                "question": f"{number}. {markup(question.ask)}",
                "type": "multiple_choice",
                "answers": [
                    {
                        "answer": markup(option.say),
                        "correct": option.right,
                        "feedback": f"<strong>{verdict(option)}</strong> {markup(option.why)}",
                    }
                    for option in question.options
                ],
            }
            for number, question in enumerate(self.questions, 1)
        ]

    def as_text(self, name: str) -> str:
        """Return the questions as an HTML list, with the answers folded away."""
        items = []
        for question in self.questions:
            options = "".join(f"<li>{markup(option.say)}</li>" for option in question.options)
            reasons = "".join(
                f"<li><strong>{verdict(option)}</strong> {markup(option.why)}</li>"
                for option in question.options
            )
            items.append(
                f'<li>{markup(question.ask)}<ol type="A">{options}</ol>'
                f'<details><summary>Answer</summary><ol type="A">{reasons}</ol></details></li>'
            )
        return f'<div id="{name}-text"><ol>{"".join(items)}</ol></div>'


def of_lesson(number: str) -> Quiz:
    """Open the quiz of a lesson.

    Parameters
    ----------
    number
        Of the lesson, as its name begins: ``"03"`` or ``"05b"``.

    Raises
    ------
    ValueError
        If the lesson has no quiz.
    """
    files = {file.stem.partition("_")[0]: file for file in FOLDER.glob("*.toml")}
    if number not in files:
        raise ValueError(
            f"There is no quiz for lesson {number!r}. There are: {', '.join(sorted(files))}."
        )
    return read(files[number])


def read(file: Path) -> Quiz:
    """Read a quiz from its TOML file.

    Parameters
    ----------
    file
        With a list ``questions``: each has ``ask`` and a list ``options`` with ``say``, ``why``
        and, for one of them, ``right = true``.
    """
    content = tomllib.loads(file.read_text("utf-8"))
    return Quiz(
        file.stem.replace("_", "-"),
        tuple(
            Question(each["ask"], tuple(Option(**option) for option in each["options"]))
            for each in content["questions"]
        ),
    )


def verdict(option: Option) -> str:
    """Return the word before the reason."""
    return "Right." if option.right else "No."


def markup(text: str) -> str:
    """Turn `code` and *emphasis* into HTML, and leave everything else as text."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
    return re.sub(r"(?<!\w)\*(\S|\S[^*]*\S)\*(?!\w)", r"<em>\1</em>", text)
