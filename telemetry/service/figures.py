"""What the service counts of itself, in the text format that Prometheus reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

#: Upper edges of the request duration histogram, in seconds.
DURATION_EDGES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass
class Figures:
    """Counters since the process started."""

    num_requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    durations: Counter[float] = field(default_factory=Counter)
    duration_sum: float = 0.0
    num_accepted: int = 0
    num_known: int = 0
    num_rolled_up_hours: int = 0

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        self.num_requests[path, status] += 1
        self.duration_sum += seconds
        self.durations[next((edge for edge in DURATION_EDGES if seconds <= edge), float("inf"))] += 1

    def to_text(self) -> str:
        """All of it, as Prometheus reads it."""
        lines = ["# TYPE edgeproof_requests_total counter"]
        for (path, status), number in sorted(self.num_requests.items()):
            lines.append(f'edgeproof_requests_total{{path="{path}",status="{status}"}} {number}')
        lines.append("# TYPE edgeproof_request_seconds histogram")
        total = 0
        for edge in (*DURATION_EDGES, float("inf")):
            total += self.durations[edge]
            lines.append(f'edgeproof_request_seconds_bucket{{le="{"+Inf" if edge == float("inf") else edge}"}} {total}')
        lines += [f"edgeproof_request_seconds_sum {self.duration_sum}", f"edgeproof_request_seconds_count {total}"]
        for name, number in (
            ("events_accepted", self.num_accepted),
            ("events_known", self.num_known),
            ("rolled_up_hours", self.num_rolled_up_hours),
        ):
            lines += [f"# TYPE edgeproof_{name}_total counter", f"edgeproof_{name}_total {number}"]
        return "\n".join(lines) + "\n"
