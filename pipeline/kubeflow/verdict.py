"""How a pod tells the verdict to whoever waits for its run: one line of its log, which Kubeflow's API hands out.

Kubeflow's API lists no outputs of a task, and a refusal ends green, so neither says what the gate decided.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

_MARK = "edgeproof-verdict "


@dataclass(frozen=True)
class Verdict:
    """What the gate decided; ``text`` says it to people."""

    is_accepted: bool
    text: str


def verdict_line(verdict: Verdict) -> str:
    """The line."""
    return _MARK + json.dumps({"accepted": verdict.is_accepted, "text": verdict.text})


def verdict_in(log: str) -> Verdict | None:
    """The last verdict that a log tells; None where it tells none that can be read."""
    for line in reversed(log.splitlines()):
        _, mark, text = line.partition(_MARK)
        if not mark:
            continue
        try:
            told = json.loads(text)
            return Verdict(told["accepted"] is True, str(told["text"]))
        except (ValueError, KeyError, TypeError):
            continue  # cut off, or somebody else's words
    return None
