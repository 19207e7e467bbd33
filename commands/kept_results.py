"""Measure and train what takes long, once, and keep the results in ``docs/``."""

import subprocess
from collections.abc import Callable

from commands.console import CommandError, say
from commands.environment import ROOT, THREAD_CAPS, own_environment, variables
from commands.set_up import set_up

FINISHED_RUNS_ARE_KEPT = "If it is stopped, finished runs are kept for the next call."


def _command(
    name: str, module: str, notice: str, extra: str = "test"
) -> Callable[[list[str]], int]:
    """Make a command that sets up, and then runs one of the kit's modules, which writes into ``docs/``."""

    def main(arguments: list[str]) -> int:
        if arguments:
            raise CommandError(f"{name} takes no arguments, not: {' '.join(arguments)}")
        environment = own_environment()
        set_up(environment, frozenset({extra}))
        say(notice)
        command = [environment.python, "-m", module]
        return subprocess.run(
            command, cwd=ROOT, env=variables(environment) | THREAD_CAPS
        ).returncode

    return main


bench = _command(
    "bench",
    "studies.costs",
    "Measuring (about 45 minutes); finished pairs of training runs are kept.",
)
reference_run = _command(
    "reference-run",
    "studies.default_run",
    "A finished run is kept: a second call only writes it.",
)
batch_runs = _command("batch-runs", "studies.batches", FINISHED_RUNS_ARE_KEPT)
citeseq_runs = _command("citeseq-runs", "studies.citeseq", FINISHED_RUNS_ARE_KEPT)
scaling_runs = _command("scaling-runs", "helpers.scale.scaling", FINISHED_RUNS_ARE_KEPT)
sweep_runs = _command(
    "sweep-runs",
    "studies.architectures",
    "If it is stopped, finished trials are kept for the next call.",
    extra="sweep",
)
out_of_core_runs = _command("out-of-core-runs", "studies.out_of_core_costs", FINISHED_RUNS_ARE_KEPT)
process_runs = _command(
    "process-runs", "studies.ddp_runs", "Finished runs are kept for the next call."
)
cortex_text_runs = _command("cortex-text-runs", "studies.cortex_text_runs", FINISHED_RUNS_ARE_KEPT)
classroom = _command(
    "classroom",
    "publishing.classroom",
    "Computing what a class needs from what was measured.",
)
bad_inputs = _command(
    "bad-inputs",
    "tests.bad_inputs.page",
    "Doing all that goes wrong, and writing what is said.",
)
teaching = _command(
    "teaching",
    "publishing.teaching_pages",
    "Reading the lessons, and writing what teachers need of them.",
)
