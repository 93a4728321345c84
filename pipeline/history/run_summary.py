"""One past run as people list it: when, why, from what, with which result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipeline.mlmd import NodeRun


@dataclass(frozen=True)
class RunSummary:
    """One run; a figure is None where the run did not get that far.

    Attributes:
        number: Counted from 1 in the order of starting.
        run_id: TFX's id.
        pipeline: Name of the pipeline.
        started: In UTC.
        state: ``complete``, or how and where it ended otherwise, such as ``failed at Trainer``.
        why: Why it was started, as whoever started it said; None where that was not kept (killed, or on another machine).
        changed: What differs from the run before.
        data: The data's span and version, and its examples by split; of the holdout where nobody counted the others.
        data_fingerprint: Of the data's files and what is in them; None where the ExampleGen records none.
        num_examples: By split, also of a cached ExampleGen; empty where nobody counted.
        git_commit: Of the project, and whether files differed from it; None where that was not kept.
        recipe: How the edge model was made.
        float_accuracy: Share of right answers of the float model on the holdout.
        candidate_accuracy: The same for the edge model.
        metric: Which error was compared, of real-valued labels; None where right answers were counted.
        float_error: That error of the float model, in the label's unit.
        candidate_error: The same for the edge model.
        ratio: Of the two accuracies, as the gate compared them; of errors how many times the float model's.
        verdict: ``accepted`` or ``refused``.
        release: Version that was published.
        size_bytes: Of the edge model.
        model_sha256: Of the edge model.
        nodes: In the order of starting.
        config: Every key of the config, dotted; empty where it was not kept.
        files: The model's own source files and their digests; empty where they were not kept.
        span: Of the data, and its version; empty where there are none.
        examples: URI of the examples; None where there are none.
        evaluation: URI of the gate's report and what lies beside it.
        trigger_key: Of the trigger that started it; empty where none did.
        data_span: Which it was run for; where nobody named one, the span that was read.
    """

    number: int
    run_id: str
    pipeline: str
    started: datetime
    state: str
    why: str | None
    changed: str
    data: str
    data_fingerprint: str | None
    num_examples: Mapping[str, int]
    git_commit: str | None
    recipe: str | None
    float_accuracy: float | None
    candidate_accuracy: float | None
    metric: str | None
    float_error: float | None
    candidate_error: float | None
    ratio: float | None
    verdict: str | None
    release: str | None
    size_bytes: int | None
    model_sha256: str | None
    nodes: tuple[NodeRun, ...]
    config: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    span: str = ""
    examples: str | None = None
    evaluation: str | None = None
    trigger_key: str = ""
    data_span: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            **vars(self),
            "started": self.started.isoformat(),
            "nodes": [{**node.model_dump(), "settings": dict(node.settings)} for node in self.nodes],
        }
