"""Run the lessons afresh, so that the stored outputs come from one clean run.

The pages for teachers, which are made from the lessons, follow.
"""

import json
import subprocess
from pathlib import Path

from commands.console import CommandError, say, step
from commands.environment import ROOT, Environment, own_environment, variables
from commands.set_up import set_up

KEPT = ("--keep-output", "--keep-count", "--keep-id")
# These differ between machines and versions, and say nothing to a reader.
DROPPED_METADATA = "metadata.language_info.version metadata.widgets"

WIDGET = "application/vnd.jupyter.widget-view+json"


def main(arguments: list[str]) -> int:
    """Renew all lessons, or those whose .py is named, and the pages for teachers."""
    environment = own_environment()
    set_up(environment, frozenset({"test"}))
    lessons = [Path(name).resolve() for name in arguments] or lesson_files()
    for lesson in lessons:
        if lesson.suffix != ".py" or not lesson.is_file():
            raise CommandError(f"{lesson} is not a lesson's .py file.")
    for number, lesson in enumerate(lessons, 1):
        with step(number, len(lessons), f"Running {lesson.name}"):
            renew(environment, lesson)
    _run(environment, ["publishing.teaching.pages"], "the pages for teachers")
    say("Look at the difference (git diff) before you commit it.")
    return 0


def lesson_files() -> list[Path]:
    """List the lessons' .py files; copies of lessons that somebody made are left out."""
    files = (ROOT / "notebooks").glob("[0-9]*.py")
    return sorted(file for file in files if "-" not in file.name)


def renew(environment: Environment, lesson: Path) -> None:
    """Bring a lesson's .ipynb in step with its .py, run it, and drop passing metadata."""
    notebook = str(lesson.with_suffix(".ipynb"))
    execute = ["--execute", "--ExecutePreprocessor.record_timing=False", "--to", "notebook"]
    for command in (
        ["jupytext", "--quiet", "--to", "ipynb", "--update", str(lesson)],
        ["nbconvert", "--log-level=WARN", *execute, "--inplace", notebook],
        ["nbstripout", *KEPT, "--extra-keys", DROPPED_METADATA, notebook],
    ):
        _run(environment, command, lesson.name)
    tidy(Path(notebook))


def _run(environment: Environment, command: list[str], subject: str) -> None:
    """Run a module in an environment, and stop where it stops."""
    answer = subprocess.run(
        [environment.python, "-m", *command], cwd=ROOT, env=variables(environment)
    )
    if answer.returncode:
        raise CommandError(f"{command[0]} stopped at {subject}; it says above why.")


def tidy(notebook: Path) -> None:
    """Take out widgets, and all output of cells tagged ``progress``; join printed parts.

    A widget belongs to the kernel that drew it: stored, it shows as an error. What a cell shows
    beside its widget stays. In how many parts the kernel sends what a cell prints hangs on how busy
    the machine is.
    """
    content = json.loads(notebook.read_text("utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            progress = "progress" in cell["metadata"].get("tags", ())
            cell["outputs"] = _joined(
                [
                    output
                    for output in cell["outputs"]
                    if not progress and WIDGET not in output.get("data", {})
                ]
            )
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    notebook.write_text(text, "utf-8")


def _joined(outputs: list[dict]) -> list[dict]:
    """Join what was printed to the same stream, piece after piece."""
    joined: list[dict] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output["output_type"] == "stream" and output["name"] == last.get("name"):
            last["text"] = [*last["text"], *output["text"]]
        else:
            joined.append(output)
    return joined
