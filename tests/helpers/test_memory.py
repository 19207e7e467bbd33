"""What is left below each limit, and what a kernel says before a lesson that does not fit."""

import os

import psutil
import pytest
from jupyter_client.manager import KernelManager

from helpers import environment, memory
from helpers.paths import ROOT
from helpers.scale import classroom

MB = 1_000_000


# --- control groups -----------------------------------------------------------------------------


def write_group(folder, names, limit, used, files):
    """Write the files of a control group as the system does."""
    folder.mkdir(parents=True, exist_ok=True)
    limit_file, usage_file, row = names
    (folder / limit_file).write_text(f"{limit}\n")
    (folder / usage_file).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{row} {files}\nactive_file 7\n")


@pytest.mark.parametrize(
    ("names", "top", "line"),
    [(memory.VERSION_2, "", "0::"), (memory.VERSION_1, "memory", "4:cpu,memory:")],
    ids=["version 2", "version 1"],
)
def test_what_the_system_keeps_of_files_counts_as_free(names, top, line, tmp_path):
    groups = tmp_path / "groups"
    write_group(tmp_path / "mounted" / top, names, 1000 * MB, 900 * MB, 300 * MB)
    groups.write_text(f"1:name=systemd:/\n{line}/\n")
    assert memory.left_by_control_groups(tmp_path / "mounted", groups) == [400 * MB]


@pytest.mark.parametrize(
    ("names", "top", "line"),
    [(memory.VERSION_2, "", "0::"), (memory.VERSION_1, "memory", "4:memory:")],
    ids=["version 2", "version 1"],
)
def test_every_group_around_this_process_counts(names, top, line, tmp_path):
    groups, mounted = tmp_path / "groups", tmp_path / "mounted"
    write_group(mounted / top / "users" / "one", names, 700 * MB, 100 * MB, 0)
    write_group(mounted / top / "users", names, 5000 * MB, 4800 * MB, 0)
    write_group(mounted / top / "others", names, 10 * MB, 0, 0)
    groups.write_text(f"{line}/users/one\n")
    assert memory.left_by_control_groups(mounted, groups) == [600 * MB, 200 * MB]


def test_a_container_that_names_a_group_outside_has_its_limit_at_the_top(tmp_path):
    groups = tmp_path / "groups"
    write_group(tmp_path / "mounted", memory.VERSION_2, 1000 * MB, 900 * MB, 0)
    groups.write_text("0::/system/docker-1234\n")
    assert memory.left_by_control_groups(tmp_path / "mounted", groups) == [100 * MB]


def test_without_a_limit_nothing_is_left_out(tmp_path):
    groups = tmp_path / "groups"
    assert memory.left_by_control_groups(tmp_path, groups) == []
    groups.write_text("0::/\n")
    assert memory.left_by_control_groups(tmp_path, groups) == []
    write_group(tmp_path, memory.VERSION_2, "max", 900 * MB, 0)
    assert memory.left_by_control_groups(tmp_path, groups) == []


def test_the_limit_of_a_container_is_what_is_available(monkeypatch):
    monkeypatch.delenv("MEM_LIMIT", raising=False)
    monkeypatch.setattr(memory, "left_by_control_groups", lambda: [70 * MB, 90 * MB])
    assert environment.available_memory() == 70 * MB


# --- what lessons take --------------------------------------------------------------------------


def test_a_lesson_takes_its_peak_less_its_imports():
    measured = classroom.load()
    imports = next(
        row["peak MiB"] for row in measured["steps"] if row["step"] == "import scvi-tools"
    )
    peaks = classroom.lessons(measured)["peak MiB"]
    for lesson, peak in peaks.items():
        for name in (f"{lesson}.ipynb", f"{lesson}.py", f"{lesson}-Copy1.ipynb"):
            assert memory.measured_growth(name) == (peak - imports) * 2**20
    for name in ("Untitled.ipynb", ""):
        assert memory.measured_growth(name) == (peaks.max() - imports) * 2**20
    assert peaks.max() * 2**20 <= environment.MEMORY_GB * 1e9


@pytest.mark.parametrize(
    "text", [None, "no JSON", "{}", '{"lessons": [3]}', '{"lessons": [], "steps": []}']
)
def test_without_measurements_nothing_is_known(text, tmp_path):
    file = tmp_path / "measurements.json"
    if text is not None:
        file.write_text(text)
    assert memory.measured_growth("06_totalvi.ipynb", file) is None


# --- real kernels -------------------------------------------------------------------------------


@pytest.fixture
def start_kernel():
    """Start kernels as Jupyter's server does: a variable says to which notebook each belongs."""
    running = []

    def start(notebook=None, **variables):
        manager = KernelManager(kernel_name="python3")
        env = {
            **{name: value for name, value in os.environ.items() if name != "MEM_LIMIT"},
            "PYTHONPATH": str(ROOT),
            **({} if notebook is None else {"JPY_SESSION_NAME": f"/lessons/{notebook}"}),
            **variables,
        }
        manager.start_kernel(env=env)
        client = manager.blocking_client()
        client.start_channels()
        running.append((manager, client))
        client.wait_for_ready(timeout=120)
        return client

    yield start
    for manager, client in running:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client, code):
    """Run a cell, and return the error's text or None, and what it printed on stderr."""
    said = []

    def note(message):
        if message["content"].get("name") == "stderr":
            said.append(message["content"]["text"])

    content = client.execute_interactive(code, output_hook=note, timeout=120)["content"]
    error = f"{content['ename']}: {content['evalue']}" if content["status"] == "error" else None
    return error, "".join(said)


def limit_that_leaves(free):
    """Return code that announces a limit, so that so many bytes are left when it runs."""
    return (
        "import os; from helpers import environment, memory\n"
        f"os.environ['MEM_LIMIT'] = str(memory.used_together() + {free})\n"
    )


PREPARE = "from helpers import environment; environment.prepare()"


def test_a_lesson_that_does_not_fit_says_which_kernel_to_close(start_kernel):
    # Names of their own: a Lab that another test has opened may have kernels of lessons.
    start_kernel("small.ipynb")
    first = start_kernel("large.ipynb")
    assert run(first, f"kept = b'x' * {300 * MB}") == (None, "")
    second = start_kernel("06b_proteins.ipynb")
    error, said = run(second, limit_that_leaves(10 * MB) + PREPARE)
    growth = (memory.measured_growth("06b_proteins.ipynb") or 0) / 1e9
    assert error.startswith(
        f"MemoryError: 06b_proteins.ipynb takes up to {growth:.2f} GB of memory"
    )
    # Between the limit's cell and its end the kernels themselves take some more, or give it back.
    free = float(error.partition("more than its kernel has now, and ")[2].partition(" GB")[0])
    assert free < 0.05
    held = float(error.partition("large.ipynb holds ")[2].partition(" GB")[0])
    assert 0.3 <= held < 0.45
    assert "06b_proteins.ipynb holds" not in error
    # The one that frees most comes first.
    assert 0 < error.index("large.ipynb holds") < error.index("small.ipynb holds")
    assert "What to do: shut down" in error
    assert said == ""
    # Run again, it goes on: whoever knows better is not kept from the lesson.
    assert run(second, PREPARE) == (None, "")
    # What fitted at the start is not told later that it does not.
    assert run(first, limit_that_leaves(2000 * MB) + PREPARE) == (None, "")
    assert run(first, limit_that_leaves(10 * MB) + PREPARE) == (None, "")


def test_kernels_without_a_notebook_are_named_by_their_process(start_kernel):
    first, second = start_kernel(), start_kernel()
    printed = []
    first.execute_interactive(
        "import os; print(os.getpid())",
        output_hook=lambda message: printed.append(message["content"].get("text", "")),
        timeout=60,
    )
    error, _ = run(second, limit_that_leaves(10 * MB) + PREPARE)
    assert error.startswith("MemoryError: This lesson takes up to ")
    assert f"the kernel of process {''.join(printed).strip()} holds" in error


def test_a_lesson_that_fits_says_nothing(start_kernel):
    kernel = start_kernel("06_totalvi.ipynb")
    assert run(kernel, limit_that_leaves(2000 * MB) + PREPARE) == (None, "")


def test_the_limit_of_a_hub_counts_for_all_kernels_together(start_kernel):
    kernel = start_kernel("00_setup.ipynb")
    code = "from helpers import memory; print(memory.used_together())"
    printed = []

    def used():
        printed.clear()
        kernel.execute_interactive(
            code,
            output_hook=lambda message: printed.append(message["content"].get("text", "")),
            timeout=60,
        )
        return int("".join(printed))

    alone = used()
    other = start_kernel("01_genes.ipynb")
    run(other, f"kept = b'x' * {200 * MB}")
    assert used() - alone > 200 * MB


def test_outside_a_kernel_there_are_no_other_kernels(start_kernel):
    start_kernel("00_setup.ipynb")
    assert not memory.in_kernel()
    assert memory.other_kernels() == []


# --- where the system has a say -----------------------------------------------------------------


@pytest.fixture
def short_of_memory(monkeypatch):
    """Let only 100 MB be free, without a limit, and no lesson have been told of it."""
    machine = psutil.virtual_memory()._replace(available=100 * MB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    monkeypatch.setattr(memory, "left_by_limits", lambda: [])
    monkeypatch.setattr(environment, "_settled", set())
    monkeypatch.setattr(memory, "measured_growth", lambda notebook: 50_000 * MB)


def swap(monkeypatch, free):
    pages = psutil.swap_memory()._replace(free=free)
    monkeypatch.setattr(psutil, "swap_memory", lambda: pages)


def test_on_linux_a_lesson_stops_where_memory_and_swap_do_not_do(
    short_of_memory, monkeypatch, capsys
):
    monkeypatch.setattr("sys.platform", "linux")
    swap(monkeypatch, free=0)
    with pytest.raises(MemoryError, match="dead kernel"):
        environment.require_lesson("04_loss.ipynb")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("system", "free"), [("linux", 60_000 * MB), ("darwin", 0)])
def test_where_there_is_swap_a_lesson_only_says_that_it_will_be_slow(
    system, free, short_of_memory, monkeypatch, capsys
):
    monkeypatch.setattr("sys.platform", system)
    swap(monkeypatch, free)
    environment.require_lesson("04_loss.ipynb")
    said = capsys.readouterr().err
    assert said.startswith("04_loss.ipynb takes up to 50.00 GB")
    assert "slowly" in said
    environment.require_lesson("04_loss.ipynb")
    assert capsys.readouterr().err == "", "it was said twice"


def test_a_limit_stops_a_lesson_on_every_system(short_of_memory, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(memory, "left_by_limits", lambda: [100 * MB])
    with pytest.raises(MemoryError):
        environment.require_lesson("04_loss.ipynb")
