"""Pods of tasks are found among the nodes that the real server listed, and the fake one lists its nodes alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.kubeflow.pods import executor_ids, pod_names
from tests.pipeline.kubeflow.fake_server import node_id, nodes_of

RECORDED = json.loads((Path(__file__).parent / "recorded_run.json").read_text(encoding="utf-8"))


def children(details: list[dict[str, Any]]) -> set[str]:
    return {child["pod_name"] for task in details for child in task.get("child_tasks", ())}


def test_the_container_of_a_task_is_found_among_recorded_nodes() -> None:
    details = RECORDED["run_details"]["task_details"]
    names = {task["display_name"] for task in details}
    assert executor_ids(names, children(details)) == {"a": ("fail-kv964-3968716334",)}
    assert pod_names("a", "fail-kv964-3968716334") == (
        "fail-kv964-retry-system-container-impl-3968716334",
        "fail-kv964-system-container-impl-3968716334",
        "fail-kv964-a-system-container-impl-3968716334",
        "fail-kv964-3968716334",
    )


def test_the_fake_server_lists_the_nodes_that_the_real_one_listed() -> None:
    details = RECORDED["run_details"]["task_details"]
    nodes = nodes_of("fail-kv964", ("a",))
    assert {path.rpartition(".")[2] for path in nodes} == {task["display_name"] for task in details}
    assert {node_id(child) for those in nodes.values() for child in those} == children(details)


def test_without_tries_and_with_many_the_newest_container_is_last() -> None:
    paths = ["w.root-driver", "w.root", "w.root.a-driver", "w.root.a"]
    names = {"root-driver", "root", "a-driver", "a", "executor"}
    once = [*paths, "w.root.a.executor"]
    assert executor_ids(names, {id_of(path) for path in once}) == {"a": (id_of("w.root.a.executor"),)}
    again = [*once, *(f"w.root.a.executor({number})" for number in range(11))]
    (ids,) = executor_ids(names, {id_of(path) for path in again}).values()
    assert ids == tuple(id_of(f"w.root.a.executor({number})") for number in range(11))


def test_nothing_is_listed_before_the_workflow_starts() -> None:
    assert executor_ids(set(), set()) == {}


def id_of(path: str) -> str:
    return "w-" + node_id(path).rpartition("-")[2]
