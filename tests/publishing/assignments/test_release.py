"""The assignments of all lessons as they are: stubs and checks that give marks, and no solution."""

import os

import nbformat
import pytest

from commands import command_line
from helpers.paths import NOTEBOOKS
from helpers.practice.exercises import parts
from publishing.assignments import grading, release
from publishing.assignments.course import MARKS, Course, with_lessons
from publishing.editions import EditionError
from tests.notebooks import notebook_checks as checks


def read(lesson):
    return nbformat.read(lesson, as_version=4)


def code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """Made where the user has settings for nbgrader, and no scripts of the kit on the path."""
    base = tmp_path_factory.mktemp("base")
    home = base / "home"
    home.mkdir()
    elsewhere = f"sqlite:///{home / 'elsewhere.db'}"
    (home / "nbgrader_config.py").write_text(
        f"c = get_config()\nc.CourseDirectory.db_url = '{elsewhere}'\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("HOME", str(home)),
            ("JUPYTER_CONFIG_DIR", str(home)),
            ("PATH", os.defpath),
        ):
            patch.setenv(name, value)
        patch.chdir(home)
        folder = release.write([], build=base / "build")
        assert os.environ["PATH"] == os.defpath
    return Course(folder)


WITH_EXERCISES = with_lessons()


@pytest.mark.parametrize("number", WITH_EXERCISES)
def test_release_is_the_lesson_with_stubs_and_checks_that_give_marks(number, course):
    stored, made = read(WITH_EXERCISES[number]), read(course.release(number))
    nbformat.validate(made)
    found = parts.find(stored)
    given = code(stored)
    for part in found:
        check = stored.cells[part.check].source
        given[given.index(check)] = f"{check}.marks({MARKS})"
    assert code(made) == given
    text = "\n".join(cell.source for cell in made.cells)
    for part in found:
        assert part.why not in text and "<details><summary>Solution" not in text
    assert "folded" not in next(c.source for c in made.cells if "## Exercises" in c.source)
    assert "stub" not in {key for cell in made.cells for key in cell.metadata}
    told = [cell.metadata.nbgrader for cell in made.cells if cell.cell_type == "code"]
    assert sum(each.grade for each in told) == sum(each.solution for each in told) == len(found)
    assert all(each.grade or each.solution or each.locked for each in told)
    assert sum(each.get("points", 0) for each in told) == len(found) * MARKS


@pytest.mark.parametrize("number", WITH_EXERCISES)
def test_links_of_a_release_hold_beside_the_lessons(number, course):
    text = "\n".join(
        c.source for c in read(course.release(number)).cells if c.cell_type == "markdown"
    )
    assert not checks.link_faults(text, NOTEBOOKS)


def test_source_has_the_solutions(course):
    for number, lesson in WITH_EXERCISES.items():
        made = read(course.source(number))
        for part in parts.find(read(lesson)):
            assert part.code in code(made)


def test_lesson_without_exercises_is_an_error_and_nothing_is_written(tmp_path):
    with pytest.raises(EditionError, match=r"no lesson '99' with exercises. There are: "):
        release.write(["99"], build=tmp_path)
    assert not list(tmp_path.iterdir())


def test_settings_of_the_user_are_neither_read_nor_written(course):
    home = course.folder.parents[1] / "home"
    assert (course.folder / "gradebook.db").exists()
    assert [path.name for path in home.iterdir()] == ["nbgrader_config.py"]


def test_checks_are_loaded_from_the_kit_and_not_from_the_notebook(course):
    """The hidden lines of each check run in an empty Python."""
    for number in WITH_EXERCISES:
        checks_of = [c.source for c in read(course.source(number)).cells if _is_check(c)]
        hidden = checks_of[0].partition("### END HIDDEN TESTS")[0]
        exec(hidden, found := {})
        for source in checks_of:
            asked = source.rpartition("### END HIDDEN TESTS\n")[2].removesuffix(f".marks({MARKS})")
            name = parts.check_name(asked)
            assert callable(getattr(found["check"], name)), name


def _is_check(cell):
    return cell.metadata.get("nbgrader", {}).get("grade", False)


# --- the commands -------------------------------------------------------------------------------


def test_marking_without_a_folder_is_an_error_that_says_what_to_do(capsys):
    assert command_line.main(["assignment", "grade"]) == 1
    assert 'make assignment ARGS="grade FOLDER"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        (release, ["99"], "There are: "),
        (grading, ["nowhere"], "There is no folder nowhere."),
    ],
)
def test_modules_show_errors_without_a_traceback(module, arguments, said, capsys):
    assert module.main(arguments) == 1
    assert said in capsys.readouterr().err
