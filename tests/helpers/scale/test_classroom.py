"""What a class needs follows from what the lessons take."""

import json

import pytest

from helpers import paths
from helpers.scale import classroom, ddp


def measured(**peaks):
    """Give measurements of two lessons.

    100 CPU seconds and 120 wall seconds each, and 1,000 MiB or what is said.
    """
    peaks = peaks or {"00_a": 1000, "01_b": 500}
    return {
        "lessons": [
            {
                "lesson": name,
                "CPU seconds": 100.0,
                "wall seconds": 120.0,
                "peak MiB": peak,
                "cores": 1,
            }
            for name, peak in peaks.items()
        ]
    }


def test_memory_adds_up():
    table = classroom.memory(measured())
    assert table["one kernel"].tolist() == [1000, 85, 272, 1357, 1408]
    assert table["two kernels"].tolist() == [2000, 85, 522, 2607, 2624]
    assert (table.loc["rounded up"] % classroom.STEP == 0).all()


def test_the_largest_lesson_decides():
    before = classroom.memory(measured()).loc["together"]
    assert (classroom.memory(measured(a=1000, b=900)).loc["together"] == before).all()
    assert (classroom.memory(measured(a=1001, b=900)).loc["together"] > before).all()


def test_learners_fit_into_the_nodes():
    table = classroom.nodes(measured(), learners=200)
    asked = classroom.memory(measured()).loc["rounded up", "one kernel"]
    for row in table.itertuples(index=False):
        row = dict(zip(table.columns, row, strict=True))
        each = row["learners a node"]
        assert each * asked <= (row["GiB"] - classroom.NODE_GIB) * 1024
        assert each * classroom.CPU_GUARANTEE <= row["cores"] - classroom.NODE_CORES
        assert each <= classroom.NODE_PODS
        assert row["nodes"] * each >= 200 > (row["nodes"] - 1) * each
        assert row["GiB together"] == row["nodes"] * row["GiB"]
        # What is set aside: in the worst case four times as long as alone.
        assert 120 <= row["longest lesson (s)"] <= 100 / classroom.CPU_GUARANTEE


def test_nodes_can_be_short_of_memory_of_cores_or_of_pods():
    table = classroom.nodes(measured(), 10, [(64, 16), (4, 256), (64, 512)])
    asked = classroom.memory(measured()).loc["rounded up", "one kernel"]
    assert table["learners a node"].tolist() == [14.5 * 1024 // asked, 14, 100]


@pytest.mark.parametrize(
    ("learners", "cores", "seconds"),
    [
        (200, 200, 120),
        (200, 1000, 120),
        (200, 180, 120),
        (200, 50, 400),
        (1, 0.5, 200),
        (1, 1, 120),
    ],
)
def test_waiting_shares_the_cores_but_is_never_faster_than_alone(learners, cores, seconds):
    assert (classroom.waiting(measured(), learners, [cores]) == seconds).all(axis=None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: classroom.nodes(measured(), 0), "A class of 0"),
        (lambda: classroom.waiting(measured(), -3), "A class of -3"),
        (lambda: classroom.waiting(measured(), 10, [4, 0]), "0 cores cannot compute"),
        (lambda: classroom.nodes(measured(), 10, [(2, 2)]), "too small for one learner"),
    ],
)
def test_senseless_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_measurements_that_are_missing_or_damaged(tmp_path):
    file = tmp_path / "measurements.json"
    with pytest.raises(FileNotFoundError, match="make study ARGS=costs"):
        classroom.load(file)
    for content in (
        "{",
        "[]",
        "{}",
        '{"lessons": []}',
        '{"lessons": [{"lesson": "a"}]}',
        '{"lessons": [{"lesson": "a", "CPU seconds": 1, "peak MiB": 1}]}',
        '{"lessons": [3]}',
    ):
        file.write_text(content, "utf-8")
        with pytest.raises(ValueError, match=r"measurements\.json .*make study ARGS=costs"):
            classroom.load(file)
    file.write_text(json.dumps(measured()), "utf-8")
    assert classroom.load(file) == measured()


def test_every_lesson_was_measured():
    """If this fails: `make study ARGS=costs`, then `make hub`."""
    assert sorted(classroom.lessons(classroom.load()).index) == [
        lesson.stem for lesson in paths.lessons()
    ]


def test_the_lesson_says_what_the_tables_say():
    known = classroom.load()
    table = classroom.nodes(known)
    # Half of the cores, with the memory as it was: some learners find no place.
    cores = table["nodes"] * (table["cores"] - classroom.NODE_CORES)
    assert (cores / 2 < classroom.CPU_GUARANTEE * classroom.LEARNERS).all()
    # Of a node with 4 cores the memory is full first.
    assert table["by memory"][0] < table["by CPU"][0]
    assert classroom.lessons(known)["wall seconds"].max() < 60
    # Kernels that fit into the limit: two large ones and not three; nor a notebook and the two
    # processes of lesson 07b.
    limit = classroom.memory(known).loc["rounded up", "two kernels"] - classroom.LAB_SERVER
    largest = classroom.lessons(known)["peak MiB"].max()
    assert 2 * largest < limit < 3 * largest
    assert limit < 1024 + 2 * ddp.PROCESS_BYTES / 2**20
