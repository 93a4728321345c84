"""Which pods a task of a run has: Kubeflow's API lists the workflow's nodes, and hands out logs by the name of a pod.

Argo's rules, in order: 1. A node's id is ``<workflow>-<FNV-1a of its path>``; a path goes from the workflow through every node and every
try, as in ``digits-x7(0).root(0).trainer(0).executor(0)``. 2. Its pod is ``<workflow>-<template>-<the same hash>``, or, where the cluster
keeps to names of before, the id itself. 3. The API names nodes without their ids and lists ids only as somebody's children, so paths are
made of the names and kept where their hash is among the ids.

https://github.com/argoproj/argo-workflows/blob/main/workflow/util/pod_name.go
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

#: Name of the node that runs a task's own container; what stands beside it runs Kubeflow's driver.
EXECUTOR = "executor"
#: Tries that are looked for; Kubeflow and Argo multiply theirs.
_MAX_TRIES = 12
_TRY = re.compile(r"\(\d+\)$")
#: Templates of a task's own container: with retries, without, and with retries before Kubeflow 2.14.
_TEMPLATES = ("retry-system-container-impl", "system-container-impl", "{task}-system-container-impl")


def without_try(name: str) -> str:
    """``trainer`` for the node ``trainer(0)``."""
    return _TRY.sub("", name)


def executor_ids(names: Collection[str], ids: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The nodes that ran each task's own container, in the order of tries.

    Args:
        names: Of all nodes of a run, as the API lists them.
        ids: Of all nodes, as the API lists them among children.
    """
    paths = sorted(_paths({without_try(name) for name in names}, set(ids)), key=_in_order_of_tries)
    ended: dict[str, list[str]] = {}
    for path, node_id in paths:
        parts = [without_try(part) for part in path.split(".")]
        if len(parts) > 1 and parts[-1] == EXECUTOR and not _has_tries(path, paths):
            ended.setdefault(parts[-2], []).append(node_id)
    return {task: tuple(node_ids) for task, node_ids in ended.items()}


def pod_names(task: str, node_id: str) -> tuple[str, ...]:
    """The names that the pod of a node may have, the likeliest first."""
    workflow, _, number = node_id.rpartition("-")
    return (*(f"{workflow}-{template.format(task=task)}-{number}" for template in _TEMPLATES), node_id)


def workflow_of(ids: Collection[str]) -> str:
    """The workflow's name; empty where no node is listed yet."""
    return next(iter(ids), "").rpartition("-")[0]


def _in_order_of_tries(node: tuple[str, str]) -> list[str | int]:
    """The path with its tries as numbers: the tenth comes after the second."""
    parts = re.split(r"\((\d+)\)", node[0])
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]


def _has_tries(path: str, paths: list[tuple[str, str]]) -> bool:
    """A node with tries has no pod: they have."""
    return any(_TRY.sub("", longer) == path for longer, _ in paths if longer != path)


def _paths(names: Collection[str], ids: Collection[str]) -> Iterator[tuple[str, str]]:
    workflow = workflow_of(ids)
    reached = [workflow]
    while reached:
        before = reached.pop()
        tries = [] if before.endswith(")") else [f"{before}({number})" for number in range(_MAX_TRIES)]
        for path in [*tries, *(f"{before}.{name}" for name in names)]:
            node_id = f"{workflow}-{_fnv(path)}"
            if node_id in ids:
                yield path, node_id
                reached.append(path)


def _fnv(text: str) -> int:
    """FNV-1a with 32 bits, as Go's ``hash/fnv`` reckons it."""
    number = 0x811C9DC5
    for byte in text.encode():
        number = ((number ^ byte) * 0x01000193) & 0xFFFFFFFF
    return number
