"""Work in light processes: the same results with 1, 2 and N of them, and a clear end where one dies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from edgeproof_edge.errors import SurroundingsError

from components import light_workers
from components.errors import DataError
from components.light_workers import run_tasks, usable_cores

SQUARES = [(number, number * number) for number in range(40)]


def named(function: str) -> str:
    return f"light_tasks:{function}"


@pytest.fixture(autouse=True)
def _tasks_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_results_come_in_order_whoever_made_them(num_workers: int) -> None:
    reports: list[tuple[int, int]] = []
    results = run_tasks(
        named("square"),
        [number for number, _ in SQUARES],
        num_workers=num_workers,
        report=lambda *done: reports.append(done),
    )
    assert [result[0] for result in results] == [square for _, square in SQUARES]
    assert sorted(reports) == [(number, 40) for number in range(1, 41)]
    processes = {result[1] for result in results}
    assert (os.getpid() in processes) == (num_workers == 1)
    assert len(processes) <= num_workers


def test_few_tasks_start_no_process() -> None:
    results = run_tasks(named("square"), [1, 2])
    assert {result[1] for result in results} == {os.getpid()}


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_refusal_arrives_as_it_was_raised(num_workers: int) -> None:
    with pytest.raises(DataError, match=r"^number \d*7 is bad\.$"):
        run_tasks(named("refuse"), list(range(40)), num_workers=num_workers)


def test_a_bug_is_named_by_its_kind() -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError: integer"):
        run_tasks(named("fail"), list(range(8)), num_workers=2)


def test_a_worker_that_dies_is_said_to_be_killed() -> None:
    with pytest.raises(SurroundingsError, match="a worker process was ended by SIGKILL while it read the data"):
        run_tasks(named("die"), list(range(8)), num_workers=2)


def test_a_worker_that_runs_out_of_memory_says_so() -> None:
    with pytest.raises(SurroundingsError, match="a worker process ran out of memory while it read"):
        run_tasks(named("outgrow"), list(range(8)), num_workers=2)


def test_affinity_is_respected() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("content", "cores"), [("max 100000", 64), ("150000 100000", 2), ("50000 100000", 1)], ids=["none", "1.5", "half"]
)
def test_the_quota_of_the_control_group_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, cores: int
) -> None:
    (tmp_path / "cpu.max").write_text(f"{content}\n")
    monkeypatch.setattr(light_workers, "_CGROUP_LIMITS", (tmp_path / "cpu.max",))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert usable_cores() == cores
