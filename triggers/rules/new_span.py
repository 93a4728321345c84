"""New data: a span whose content was not there before."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from triggers.evidence import Evidence
from triggers.rule import Finding, Mode, Rule, RuleSettings


class NewSpanSettings(RuleSettings):
    """Where spans are, and when one is complete."""

    mode: Mode = Mode.AUTO
    path: Path = Field(description="Directory of the spans.")
    pattern: str = Field("span-{SPAN}", description="Name of a span's directory.")
    min_files: int = Field(1, gt=0, description="Files that a span must hold.")
    settle_minutes: float = Field(5.0, ge=0, description="Quiet time after which a span counts as written.")
    marker: str | None = Field(None, description="A file that says that a span is complete, such as _SUCCESS.")


class NewSpan(Rule[NewSpanSettings]):
    """Fires for a span whose content the ledger has not settled."""

    name: ClassVar[str] = "new_span"
    settings_type: ClassVar[type[RuleSettings]] = NewSpanSettings

    def judge(self, evidence: Evidence) -> Finding:
        span = evidence.span
        if span is None:
            return self.quiet("there is no span of data yet", {"fingerprint": None})
        facts = {"fingerprint": span.fingerprint}
        numbers: dict[str, int | str] = {"span": span.number, "num_files": span.num_files}
        if span.fingerprint in evidence.known_spans:
            return self.quiet(f"span {span.number} is known", facts, **numbers)
        if not span.is_whole or evidence.now - span.newest_file < timedelta(minutes=self.settings.settle_minutes):
            return self.quiet(f"span {span.number} is still being written", {**facts, "settled": False}, **numbers)
        if span.num_files < self.settings.min_files:
            return self.quiet(
                f"span {span.number} has {span.num_files} of {self.settings.min_files} files", facts, **numbers
            )
        if not evidence.known_spans and (evidence.release is None or evidence.release.span in (None, span.number)):
            return self.quiet(
                f"first look: span {span.number} is taken as known", facts, **numbers, known=span.fingerprint
            )
        numbers["known"] = span.fingerprint  # once it is acted on; see the ledger
        return Finding(self.name, True, facts, f"span {span.number} is new: {span.num_files} files", numbers)
