"""The editions for students and teachers, of all lessons as they are."""

import ast
import re
from pathlib import Path

import nbclient
import nbformat
import pytest

from commands import command_line
from helpers import paths
from helpers.practice.exercises import parts
from publishing import editions
from tests.notebooks import notebook_checks as checks
from tests.notebooks.needed_cells import needed

LESSONS = paths.lessons()

every_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return editions.write_student(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return editions.write_teacher(tmp_path_factory.mktemp("build"))


def read(lesson):
    return nbformat.read(lesson, as_version=4)


def code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def substance(text):
    """Return the lines of a solution that nobody could have written by chance."""
    return {line.strip() for line in text.splitlines() if len(line.strip()) >= 20}


# --- for students ---------------------------------------------------------------------------------


@every_lesson
def test_student_edition_holds_no_solution(lesson, student):
    everything = (student / "notebooks" / lesson.name).read_text("utf-8")
    edition = read(student / "notebooks" / lesson.name)
    stored = read(lesson)
    # What the lesson itself shows, its stubs and statements too, is no secret.
    shown = "\n".join(
        cell.source for cell in stored.cells if "solution" not in cell.metadata.get("tags", [])
    )
    for part in parts.find(stored):
        secret = {line for line in substance(part.code) | substance(part.why) if line not in shown}
        assert secret, part.title
        assert not secret & set(everything.splitlines())
        for line in secret:
            assert line not in "\n".join(cell.source for cell in edition.cells), part.title
    assert not any("solution" in cell.metadata.get("tags", []) for cell in edition.cells)
    assert "folded" not in "".join(
        cell.source for cell in edition.cells if "## Exercises" in cell.source
    )


@every_lesson
def test_student_edition_has_the_lesson_and_no_outputs(lesson, student):
    edition = read(student / "notebooks" / lesson.name)
    nbformat.validate(edition)
    assert code(edition) == code(read(lesson))
    for cell in edition.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def test_student_folder_holds_nothing_for_teachers(student):
    names = {path.relative_to(student).as_posix() for path in student.rglob("*")}
    assert not {name for name in names if name.startswith(("docs/teaching", "tests"))}
    assert not list((student / "notebooks").glob("*.py"))


@every_lesson
def test_student_folder_has_the_code_behind_the_lesson(lesson, student):
    """Also what that code imports in turn."""
    waiting, done = [source for source in code(read(lesson)) if "%" not in source], set()
    while waiting:
        for name in imported(waiting.pop()) - done:
            done.add(name)
            file = next(filter(Path.exists, files_of(editions.ROOT, name)), None)
            if file is not None:
                assert any(map(Path.exists, files_of(student, name))), name
                waiting.append(file.read_text("utf-8"))
    assert "helpers.environment" in done


def imported(source):
    """Return the names of all modules that a program may import."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def files_of(root, name):
    """Return the two files that a module may be."""
    path = root.joinpath(*name.split("."))
    return path.with_suffix(".py"), path / "__init__.py"


def test_what_lab_keeps_is_not_handed_out(tmp_path, monkeypatch):
    kept = tmp_path / "docs" / ".ipynb_checkpoints" / "x-checkpoint.md"
    kept.parent.mkdir(parents=True)
    kept.write_text("# X")
    (tmp_path / "docs" / "x.md").write_text("# X")
    monkeypatch.setattr(editions, "ROOT", tmp_path)
    editions._copy("docs", tmp_path / "edition")
    assert [path.name for path in (tmp_path / "edition").rglob("*")] == ["docs", "x.md"]


def markdown_of(folder):
    """Yield each page and lesson of an edition with its Markdown."""
    for page in folder.rglob("*.md"):
        yield page, page.read_text("utf-8")
    for lesson in folder.rglob("*.ipynb"):
        yield lesson, "\n".join(c.source for c in read(lesson).cells if c.cell_type == "markdown")


@pytest.mark.parametrize("edition", ["student", "teacher"])
def test_links_lead_somewhere_in_the_folder(edition, request):
    folder = request.getfixturevalue(edition)
    found = list(markdown_of(folder))
    assert len(found) > len(LESSONS)
    for file, text in found:
        assert not checks.link_faults(text, file.parent), file
        for target in re.findall(r"\]\((\.\.[^)#\s]*)", text):
            assert (file.parent / target).resolve().is_relative_to(folder.resolve()), file


def test_untouched_lesson_of_the_student_folder_runs_with_what_is_in_it(student, monkeypatch):
    """Helpers, quiz and checks are those of the folder.

    The data are what set-up would have fetched.
    """
    (student / "data").symlink_to(paths.DATA)
    monkeypatch.setenv("PYTHONPATH", str(student))
    file = student / "notebooks" / "03_hidden_layers.ipynb"
    sources = [c.source if c.cell_type == "code" else "" for c in read(file).cells]
    asked = [n for n, source in enumerate(sources) if source.startswith("check.")]
    last = "\n".join(sources[n] for n in asked)
    chosen = needed([*sources, last], len(sources))[:-1]
    cells = [sources[n] for n in sorted({*chosen, *asked})]
    cells += ["import helpers; print(helpers.__file__)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbclient.execute(notebook, cwd=str(file.parent), kernel_name="python3", timeout=300)
    said = [
        output.data["text/plain"]
        for cell in notebook.cells
        if cell.source.startswith("check.")
        for output in cell.outputs
    ]
    assert len(said) == 4
    assert all(each.startswith("… Not answered yet.") for each in said)
    assert str(student) in notebook.cells[-1].outputs[0].text


# --- for teachers ---------------------------------------------------------------------------------


@every_lesson
def test_teacher_edition_has_each_solution_open(lesson, teacher):
    edition = read(teacher / "notebooks" / lesson.name)
    nbformat.validate(edition)
    for part in parts.find(read(lesson)):
        (place,) = (
            n
            for n, cell in enumerate(edition.cells)
            if cell.cell_type == "code" and cell.source == part.code
        )
        check, why = edition.cells[place + 1 : place + 3]
        assert check.source.startswith("check.")
        assert part.why in why.source and "<details>" not in why.source
        assert edition.cells[place].outputs == [] and check.outputs == []


@every_lesson
def test_teacher_edition_keeps_the_outputs_that_still_hold(lesson, teacher):
    stored, edition = read(lesson), read(teacher / "notebooks" / lesson.name)
    asked = {place for part in parts.find(stored) for place in (part.stub, part.check)}
    kept = [
        (cell.source, cell.outputs)
        for n, cell in enumerate(stored.cells)
        if cell.cell_type == "code" and n not in asked
    ]
    exercises = {"exercise", "check"}
    assert kept == [
        (cell.source, cell.outputs)
        for cell in edition.cells
        if cell.cell_type == "code" and not exercises & set(cell.metadata.get("tags", []))
    ]


@every_lesson
def test_each_note_is_right_below_its_heading_and_nothing_else_moved(lesson, teacher):
    edition = read(teacher / "notebooks" / lesson.name)
    page = editions.NOTES / f"{lesson.stem}.md"
    places = [n for n, c in enumerate(edition.cells) if editions.NOTE in c.metadata.get("tags", [])]
    if page.exists():
        headings = re.findall(r"^## (.+)$", page.read_text("utf-8"), re.MULTILINE)
        found = [edition.cells[n - 1].source for n in places]
        assert found[0].startswith("# ")
        assert sorted(found[1:]) == sorted(f"## {each}" for each in headings)
        written = re.sub(r"^#.*$", "", page.read_text("utf-8"), flags=re.MULTILINE)
        noted = "\n".join(edition.cells[n].source for n in places)
        mark = r"^>|\*\*For the teacher\.\*\*"
        assert sorted(re.sub(mark, "", noted, flags=re.MULTILINE).split()) == sorted(
            written.split()
        )
    else:
        assert not places

    def words(cells):
        tags = {"exercise", "check", "solution", editions.NOTE}
        texts = [c.source for c in cells if not tags & set(c.metadata.get("tags", []))]
        return editions.FOLDED.sub(" Here the solutions are filled in.", "\n".join(texts)).split()

    assert words(edition.cells) == words(read(lesson).cells)


def test_note_for_a_section_that_is_not_there_is_an_error_that_names_both(monkeypatch, tmp_path):
    (tmp_path / "03_hidden_layers.md").write_text(
        "# Teaching\n\nAll.\n\n## The answers\n\n**1 minute.**\n"
    )
    monkeypatch.setattr(editions, "NOTES", tmp_path)
    with pytest.raises(editions.EditionError) as error:
        editions.write_teacher(tmp_path / "build")
    assert "'The answers'" in str(error.value)
    assert "03_hidden_layers.md" in str(error.value)
    assert "03_hidden_layers.ipynb" in str(error.value)
    assert not (tmp_path / "build" / "teacher").exists()


def test_links_of_a_note_are_turned_to_where_the_lesson_is(tmp_path):
    page = editions.NOTES / "page.md"
    text = "See [a word](../../glossary.md#head), [a site](https://example.org) and [here](#top)."
    assert editions._seen_from_lesson(text, page.parent) == text.replace("../../", "../docs/")


def test_an_edition_is_replaced_as_a_whole_and_an_error_leaves_the_old(tmp_path):
    final = tmp_path / "student"
    for text in ("old", "new"):
        with editions.new_folder(final) as folder:
            (folder / text).write_text(text)
    with pytest.raises(KeyError), editions.new_folder(final) as folder:
        (folder / "half").write_text("half")
        raise KeyError
    assert [path.name for path in final.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [final]


def test_an_edition_takes_no_arguments(capsys):
    assert command_line.main(["student", "03"]) == 1
    assert "student takes no arguments, not: 03" in capsys.readouterr().err
