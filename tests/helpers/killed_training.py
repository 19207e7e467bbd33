"""A training to kill, stop or interrupt: ``python -m tests.helpers.killed_training FOLDER WHERE``.

WHERE is a step, from 1: there it says so and waits for a signal. Or it dies by itself, at the
second time it writes its progress: ``half``, in the middle of the draft; ``draft``, when the draft
is whole.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

import scvi

from helpers import data, environment, training
from helpers.training import resuming
from helpers.training.training_checks import TrainingChecks
from tests.helpers.small_models import build, few

EPOCHS = 12
KWARGS = {"max_epochs": EPOCHS, "enable_progress_bar": False}


def untrained():
    environment.prepare(0)
    scvi.settings.seed = 0
    return build(few(data.load_citeseq(), 50), "SCVI", {"batch_key": "chip"})


def wait_at(step):
    steps = itertools.count(1)
    original = TrainingChecks.on_train_batch_start

    def wait(*args, **kwargs):
        original(*args, **kwargs)
        if next(steps) == step:
            # Each signal leaves a byte, one that comes too early for the reading as well.
            signals, here = os.pipe()
            os.set_blocking(here, False)
            signal.set_wakeup_fd(here)
            print("waiting", flush=True)
            os.read(signals, 1)

    # Not in the model: one whose loss does something else is another run.
    TrainingChecks.on_train_batch_start = wait


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_writing(name):
    """Let the first draft through, and die at the second."""
    original, times = getattr(Path, name), itertools.count(1)

    def method(path, *args, **kwargs):
        if path.suffix == ".part" and next(times) == 2:
            if name == "open":
                with original(path, "wb") as half:
                    half.write(b"half of it")
            die()
        return original(path, *args, **kwargs)

    setattr(Path, name, method)


def main(folder, where):
    signal.signal(signal.SIGUSR1, lambda *received: None)
    # As in a kernel, whoever began this process.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    resuming.SECONDS_BETWEEN_SAVES = 0
    model = untrained()
    if where.isdigit():
        wait_at(int(where))
    else:
        die_while_writing({"half": "open", "draft": "replace"}[where])
    training.load_or_train(model, folder=Path(folder), **KWARGS)


if __name__ == "__main__":
    main(*sys.argv[1:])
