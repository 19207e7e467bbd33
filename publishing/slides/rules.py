"""The rules by which a lesson becomes slides.

- The first slide has the question, what you will be able to do, and the minutes.
- A prompt to predict has a slide of its own, and so has what "You may think".
- What a cell shows has a slide: the paragraph before it is its lead, the paragraphs behind it are
  its comment. A small output has room for the comment; a figure gets all the room, and the comment
  is said (it is in the notes).
- Text behind a heading has slides of its own: the first sentences of each paragraph, and lists,
  tables and formulas.
- Code is behind a key. Code that shows nothing is put to the next result of its section.
- A question of the quiz has a slide, and the reasons have the next. An exercise is its statement
  and its stub; solutions are never read.
- Every text is in the notes in full, and so is what is folded away; the teacher's notes of the
  section are below it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from helpers.practice import quizzes
from publishing.slides import markup
from publishing.slides.lesson import Heading, Piece, Predict, QuizCell, Run, Stub, Text
from publishing.slides.outputs import Output

# In characters: what fits into two lines, and what fits into one.
LONGEST_TEXT, LONGEST_LEAD = 170, 120
# Lines of text on one slide, at about 80 characters.
MAX_LINES, LINE = 14, 80
# Lines of an output that leaves room for the comment on it.
SMALL, COMMENTS = 8, 2

CLAIM = re.compile(r"(You may (?:have thought|think)): (.+)", re.DOTALL)
TITLE = re.compile(r"(\w+) · (.+)", re.DOTALL)
TIME = re.compile(r"\*\*Time\*\*")


@dataclass
class Slide:
    """One slide.

    Parameters
    ----------
    kind
        ``title``, ``text``, ``predict``, ``claim``, ``result``, ``question``, ``reasons`` or
        ``exercise``.
    heading, above
        The heading, and the small line above it; HTML.
    body
        Blocks of HTML.
    notes
        What is said: Markdown.
    code
        What made the result.
    height
        Lines that the body takes, about.
    """

    kind: str
    heading: str
    above: str = ""
    body: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    code: str = ""
    height: int = 0


@dataclass
class Section:
    """The slides below one heading of level 2, and the teacher's notes about it."""

    title: str
    slides: list[Slide] = field(default_factory=list)
    notes: str = ""


@dataclass(frozen=True)
class Deck:
    """All slides of a lesson.

    Parameters
    ----------
    number, question
        The two parts of its heading; the question is Markdown.
    time
        How long it takes, in the lesson's words.
    sections
        In order; the first one has the title.
    """

    number: str
    question: str
    time: str
    sections: list[Section]

    @property
    def slides(self) -> list[Slide]:
        """All slides, in order."""
        return [slide for section in self.sections for slide in section.slides]


def deck(pieces: Sequence[Piece], teachers_notes: str = "") -> Deck:
    """Make the slides of a lesson.

    Parameters
    ----------
    pieces
        From ``lesson.read``.
    teachers_notes
        Markdown, with the headings of level 2 that the lesson has; what stands before the first of
        them goes to the title.

    Raises
    ------
    ValueError
        If the teacher's notes have a heading that the slides have not.
    """
    writer = _Writer(pieces[0])
    for piece in pieces[1:]:
        writer.take(piece)
    made = writer.finish()
    _add_teachers_notes(made.sections, teachers_notes)
    return made


class _Writer:
    """Goes through a lesson once.

    It remembers what waits for a slide: texts, and code that showed nothing.
    """

    def __init__(self, title: Heading) -> None:
        found = TITLE.fullmatch(title.text)
        self.number, self.question = found.groups() if found else ("", title.text)
        self.time = ""
        self.sections = [Section("")]
        self.heading = self.question
        self.texts: list[Text] = []
        self.code: list[str] = []
        self.before = "title"
        self.asked: Predict | None = None

    def take(self, piece: Piece) -> None:
        """Go on by one piece."""
        match piece:
            case Heading(level=2):
                self.end_section()
                self.sections.append(Section(piece.text))
                self.begin_part(piece)
            case Heading():
                self.place_texts()
                self.begin_part(piece)
            case Predict():
                self.ask(piece)
            case Text():
                self.texts.append(piece)
            case Run(outputs=()):
                self.code.append(piece.code)
            case Run():
                self.show(piece)
            case QuizCell():
                self.quiz(piece)
            case Stub():
                self.exercise(piece)

    def finish(self) -> Deck:
        """End the last section, and return all."""
        self.end_section()
        sections = [section for section in self.sections if section.slides]
        return Deck(self.number, self.question, self.time, sections)

    # --- what makes slides ------------------------------------------------------------------------

    def begin_part(self, heading: Heading) -> None:
        """Begin what is below a heading. What you may think is a slide."""
        claim = CLAIM.fullmatch(heading.text)
        if claim:
            said = f'<p class="big">{markup.line_to_html(claim[2])}</p>'
            self.add(Slide("claim", markup.line_to_html(claim[1]), body=[said], height=1))
        self.heading, self.before = heading.text, "heading"

    def ask(self, prompt: Predict) -> None:
        """Make a slide of a question to predict.

        A single sentence behind the heading goes along.
        """
        lead = self.take_lead() if self.before == "heading" and len(self.texts) == 1 else None
        self.place_texts()
        asked = f'<div class="big">{markup.to_html(prompt.text)}</div>'
        self.add(
            Slide("predict", "Predict", body=[*_lead(lead), asked], notes=_notes([lead]), height=1)
        )
        self.before, self.asked = "predict", prompt

    def show(self, run: Run) -> None:
        """Make slides of what a cell shows."""
        lead = self.take_lead()
        self.place_texts()
        words = _lead(lead) or _asked(self.asked if self.before == "predict" else None)
        code = "\n\n".join([*self.code, run.code])
        self.code = []
        for group in _groups(run.outputs):
            tall = any(output.kind == "tall figure" for output in group)
            kind = "result beside" if tall else "result"
            slide = self.new(kind, [*words, *(output.html for output in group)])
            slide.notes, slide.code = _notes([lead]), code
            slide.height = _height(group)
            self.add(slide)
            lead, words = None, []
        self.before = "result"
        self.end_claim()

    def end_claim(self) -> None:
        """Go back to the heading of the section once a result has answered what you may think."""
        if CLAIM.fullmatch(self.heading):
            self.heading = self.sections[-1].title

    def quiz(self, cell: QuizCell) -> None:
        """Make two slides of each question: the options, and the reasons."""
        questions = quizzes.of_lesson(cell.number).questions
        introduction, self.texts = self.texts, []
        for number, question in enumerate(questions, 1):
            asked = _question(self.heading, number, len(questions), question)
            if number == 1:
                asked[0].notes = _notes(introduction)
            for slide in asked:
                self.add(slide)
        self.before = "quiz"

    def exercise(self, stub: Stub) -> None:
        """Make a slide of an exercise: its whole statement, and what the learner starts from."""
        statement, self.texts = self.texts, []
        slide = self.new("exercise", [markup.to_html(text.source) for text in statement])
        slide.body.append(f'<pre class="stub">{html.escape(stub.code, quote=False)}</pre>')
        slide.notes = _notes(statement)
        self.add(slide)
        self.before = "exercise"

    def place_texts(self) -> None:
        """Put the texts that wait where they belong, which depends on what came before them."""
        texts, self.texts = self.texts, []
        if self.before == "title":
            self.add(self.title(texts))
            self.before = "heading"
        elif not texts:
            return
        elif self.before == "result":
            self.comment(texts)
        else:
            self.write(texts)

    def title(self, texts: Sequence[Text]) -> Slide:
        """Return the first slide: the question, what you will be able to do, and the minutes."""
        lists = [markup.to_html(text.source) for text in texts if text.kind == "list"][:1]
        promise = next((text.source for text in texts if text.source.endswith("to**")), "")
        time = next((text.source for text in texts if TIME.match(text.source)), "")
        self.time = re.sub(r"\s*\([^)]*\)", "", markup.without_links(time))
        body = [
            markup.to_html(promise),
            *lists,
            f'<div class="time">{markup.to_html(self.time)}</div>',
        ]
        slide = Slide("title", markup.line_to_html(self.question), f"Lesson {self.number}", body)
        slide.notes = _notes([text for text in texts if text.source not in (promise, time)])
        return slide

    def comment(self, texts: Sequence[Text]) -> None:
        """Add what is said about the result before it, where it has room.

        A list or a table needs a slide of its own.
        """
        result = self.sections[-1].slides[-1]
        if any(text.kind not in ("paragraph", "fold") for text in texts):
            self.write(texts)
            return
        paragraphs = [text for text in texts if text.kind == "paragraph"]
        result.notes += _notes(texts)
        if 0 < result.height <= SMALL:
            result.body += [_shortened(text) for text in paragraphs[:COMMENTS]]

    def write(self, texts: Sequence[Text]) -> None:
        """Make slides of texts; what is folded away is only named where nothing else would be."""
        shown = [text for text in texts if text.kind != "fold"]
        if not shown:
            folded = "".join(f"<li>{text.summary}</li>" for text in texts)
            slide = self.new("text", [f'<ul class="folded">{folded}</ul>'])
            slide.notes = _notes(texts)
            self.add(slide)
            return
        for page in _pages(shown):
            slide = self.new("text", [_shortened(text) for text in page])
            slide.notes = _notes(page)
            self.add(slide)
        self.sections[-1].slides[-1].notes += _notes(
            [text for text in texts if text.kind == "fold"]
        )

    # --- small steps ------------------------------------------------------------------------------

    def end_section(self) -> None:
        """Place what still waits in this section."""
        if self.before == "exercise" and self.texts:
            self.heading = "The end of this lesson"
        self.place_texts()
        slides = self.sections[-1].slides
        left = "\n\n".join(self.code)
        self.code = []
        results = [slide for slide in slides if slide.kind not in ("predict", "claim")]
        if left and results:
            results[-1].code = f"{results[-1].code}\n\n{left}".strip()
        elif left:
            self.add(
                self.new("text", [f'<pre class="data">{html.escape(left, quote=False)}</pre>'])
            )

    def take_lead(self) -> Text | None:
        """Take the last paragraph of the texts that wait; what is folded away may follow it."""
        unfolded = [number for number, text in enumerate(self.texts) if text.kind != "fold"]
        if self.before != "title" and unfolded and self.texts[unfolded[-1]].kind == "paragraph":
            return self.texts.pop(unfolded[-1])
        return None

    def new(self, kind: str, body: list[str]) -> Slide:
        """Return a slide with the heading of this part.

        The heading of its section is above it, where that is another.
        """
        section = self.sections[-1].title
        above = section if section != self.heading else ""
        return Slide(kind, markup.line_to_html(self.heading), markup.line_to_html(above), body=body)

    def add(self, slide: Slide) -> None:
        """Put a slide at the end; one without a line above gets the section's title there."""
        section = markup.line_to_html(self.sections[-1].title)
        is_section = slide.kind == "claim" and CLAIM.fullmatch(self.sections[-1].title)
        if not slide.above and section != slide.heading and not is_section:
            slide.above = section
        self.sections[-1].slides.append(slide)


# --- parts of slides ------------------------------------------------------------------------------


def _groups(outputs: Sequence[Output]) -> Iterator[list[Output]]:
    """Divide outputs among slides.

    Small ones share one; what is large begins one, after a few printed lines at most.
    """
    group: list[Output] = []
    for output in outputs:
        full = sum(each.height for each in group) + output.height > SMALL
        has_figure = any("figure" in each.kind for each in group)
        if group and (has_figure or (full and "figure" not in output.kind)):
            yield group
            group = []
        group.append(output)
    if group:
        yield group


def _height(outputs: Sequence[Output]) -> int:
    """Return the lines that outputs take beside a comment; 0 where a figure takes all."""
    if any(output.kind == "tall figure" for output in outputs):
        return 1
    if any(output.kind == "figure" for output in outputs):
        return 0
    return sum(output.height for output in outputs)


def _lead(text: Text | None) -> list[str]:
    """Return the sentence that leads to a result.

    It is the last one if that ends with a colon, otherwise the first ones.
    """
    if text is None:
        return []
    short = markup.beginning(text.source, LONGEST_LEAD)
    whole = " ".join(markup.without_links(text.source).split())
    if len(short) < len(whole) and whole.endswith(":"):
        short = markup.last_sentence(text.source)
    return [f'<div class="lead">{markup.to_html(short)}</div>']


def _asked(prompt: Predict | None) -> list[str]:
    """Return the question that a result answers, where nothing else leads to it."""
    if prompt is None:
        return []
    short = " ".join(markup.without_links(prompt.text).split())
    if len(short) > LONGEST_LEAD:
        sentences = markup.sentences(short)
        questions = [sentence for sentence in sentences if sentence.endswith("?")] or sentences
        short = markup.beginning(" ".join(questions), LONGEST_LEAD)
    return [f'<div class="lead asked">{markup.to_html(short)}</div>']


def _shortened(text: Text) -> str:
    """Return a text as it stands on a slide."""
    if text.kind == "paragraph":
        return markup.to_html(markup.beginning(text.source, LONGEST_TEXT))
    if text.kind == "list":
        return markup.to_html(_short_list(text.source))
    made = markup.to_html(text.source)
    if text.kind == "table":
        rows = made.count("<tr>") - 1
        return made.replace("<table>", f'<table class="data words" data-rows="{rows}">')
    if text.kind == "code":
        inside = "\n".join(text.source.splitlines()[1:-1])
        lines = inside.count("\n") + 1
        return f'<pre class="data" data-lines="{lines}">{html.escape(inside, quote=False)}</pre>'
    return f'<div class="formula">{made}</div>'


def _short_list(source: str) -> str:
    """Return a Markdown list with the first sentences of each item."""
    items = re.split(r"\n(?=[-*] |\d+\. )", source)
    return "\n".join(_short_item(item) for item in items)


def _short_item(item: str) -> str:
    marker, _, text = item.partition(" ")
    return f"{marker} {markup.beginning(text, LONGEST_TEXT)}"


def _lines(text: Text) -> int:
    """Estimate how many lines a text takes on a slide, with the space behind it."""
    if text.kind in ("paragraph", "formula"):
        shown = markup.beginning(text.source, LONGEST_TEXT)
        return 1 + len(shown) // LINE + 1
    rows = _short_list(text.source) if text.kind == "list" else text.source
    return 1 + sum(1 + len(row) // LINE for row in rows.splitlines())


def _pages(texts: Sequence[Text]) -> Iterator[list[Text]]:
    """Divide texts among slides; what leads to a list or a table stays with it."""
    page: list[Text] = []
    for text in texts:
        if page and sum(map(_lines, page)) + _lines(text) > MAX_LINES + 1:
            carried = [page.pop()] if len(page) > 1 and page[-1].source.endswith(":") else []
            yield page
            page = carried
        page.append(text)
    if page:
        yield page


def _question(heading: str, number: int, total: int, question: quizzes.Question) -> list[Slide]:
    """Return the slide of a question and that of its reasons."""
    asked = f'<p class="ask">{quizzes.markup(question.ask)}</p>'
    options = "".join(f"<li>{quizzes.markup(option.say)}</li>" for option in question.options)
    reasons = "".join(
        f'<li class="{"right" if option.right else "wrong"}">'
        f"<strong>{quizzes.markup(option.say)}</strong> "
        f'<span class="verdict">{quizzes.verdict(option)}</span> {quizzes.markup(option.why)}</li>'
        for option in question.options
    )
    title = f"Question {number} of {total}"
    return [
        Slide("question", title, heading, [asked, f'<ol type="A" class="options">{options}</ol>']),
        Slide("reasons", f"{title}: the answer", heading, [f'<ol type="A">{reasons}</ol>']),
    ]


# --- notes ----------------------------------------------------------------------------------------


def _notes(texts: Sequence[Text | None]) -> list[str]:
    """Return texts in full, for the notes; of what is folded away the summary as well."""
    return [f"{text.summary}\n\n{text.source}".strip() for text in texts if text is not None]


def _add_teachers_notes(sections: Sequence[Section], teachers_notes: str) -> None:
    """Put the teacher's notes to the sections that they are about."""
    opening, *parts = re.split(r"^## ", teachers_notes, flags=re.MULTILINE)
    by_title = {section.title: section for section in sections}
    sections[0].notes = re.sub(r"\A# .*", "", opening).strip()
    for part in parts:
        title, _, notes = part.partition("\n")
        if title.strip() not in by_title:
            raise ValueError(
                f"The teacher's notes have a section {title.strip()!r}, and no slide of the lesson "
                "is below such a heading. What to do: give both the same heading."
            )
        by_title[title.strip()].notes = notes.strip()
