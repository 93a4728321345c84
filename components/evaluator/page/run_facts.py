"""Which model, when, which run, which data: what the page says beside the reports.

Rules: 1. Whoever draws the page says what it knows; what it does not know is left out, never guessed. 2. The Evaluator knows the pipeline,
the run that judged and the data; the release, the reason and the commit are known after the run, and ``edgeproof report`` adds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from components.data.data_summary import DataSummary, in_order

#: Properties of a ModelEvaluation artifact: the run that judged, and when. A later run may take the verdict from the cache.
JUDGED_BY, JUDGED_AT = "judged_by", "judged_at"


@dataclass(frozen=True)
class RunFacts:
    """What is known of the run behind a verdict; empty where it is not.

    Attributes:
        model: Name of the pipeline, and of its model.
        run: Number and id of the run, for people.
        judged_by: Id of the run that judged, where this one took the verdict from the cache.
        time: When the verdict was given, in UTC, for people.
        reason: Why the run was started.
        release: Version that was published, and where.
        commit: Git's commit of the project.
        data: Which data: span and version, or the name of a file.
        num_examples: By split.
        num_train_by_class: Examples of the train split by label.
    """

    model: str = ""
    run: str = ""
    judged_by: str = ""
    time: str = ""
    reason: str = ""
    release: str = ""
    commit: str = ""
    data: str = ""
    num_examples: Mapping[str, int] = field(default_factory=dict)
    num_train_by_class: tuple[int, ...] = ()

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """What is known, by name."""
        splits = ", ".join(f"{split} {number:,}" for split, number in in_order(self.num_examples).items())
        known = {
            "model": self.model,
            "release": self.release,
            "run": self.run,
            "judged in run": self.judged_by,
            "judged at (UTC)": self.time,
            "started": self.reason,
            "data": self.data,
            "examples": splits,
            "git commit": self.commit,
        }
        return tuple((name, text) for name, text in known.items() if text)

    def title(self, verdict: str, candidate: str) -> str:
        """The page's title: two saved pages can be told apart."""
        named = (
            ("", f"{self.model} {candidate}".strip()),
            ("release ", self.release),
            ("run ", self.run),
            ("", self.time),
        )
        return f"{verdict}: {', '.join(f'{name}{text}' for name, text in named if text)}"


def data_text(properties: Mapping[str, object]) -> str:
    """Span and version of the examples."""
    return ", ".join(f"{name} {properties[name]}" for name in ("span", "version") if properties.get(name) is not None)


def train_counts(summary: DataSummary | None) -> tuple[int, ...]:
    """Examples of the train split by label; empty where nobody counted them."""
    return tuple(summary.num_per_class.get("train", ())) if summary is not None else ()
