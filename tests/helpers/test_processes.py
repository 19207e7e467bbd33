"""A command is measured with all the processes that it starts."""

import sys

from helpers import processes


def test_a_process_is_measured_with_those_that_it_starts():
    busy = (
        "import time\n"
        "held = b'1' * (200 * 2**20)\n"
        "while time.process_time() < 1: pass\n"
        "print('done')"
    )
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}], check=True)"
    cost = processes.watch([sys.executable, "-c", code])
    assert cost["output"].strip() == "done"
    assert 0.9 < cost["CPU seconds"] < 2
    assert cost["wall seconds"] >= 1
    assert 200 < cost["peak MiB"] < 300
