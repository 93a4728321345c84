"""What a device says to Prometheus, in its text format 0.0.4."""

from __future__ import annotations

from edgeproof_edge.agent.loop import Agent
from edgeproof_edge.runtime.latency import EDGES_MS


def metrics_text(agent: Agent) -> str:
    """All metrics of a device."""
    lines = [
        "# HELP edgeproof_up Whether a model answers.",
        "# TYPE edgeproof_up gauge",
        f"edgeproof_up {0 if agent.live is None else 1}",
        "# HELP edgeproof_outbox_windows Telemetry windows that no server has yet.",
        "# TYPE edgeproof_outbox_windows gauge",
        f"edgeproof_outbox_windows {agent.num_waiting}",
    ]
    return "\n".join(lines + (_of_model(agent) if agent.live is not None else [])) + "\n"


def _of_model(agent: Agent) -> list[str]:
    assert agent.live is not None
    model = agent.live.model
    delegation = model.delegation
    labels = f'model="{model.manifest.model_name}",version="{model.version}"'
    info = f'{labels},recipe="{model.manifest.recipe}",runtime="{model.runtime}",delegate="{delegation.delegate}"'
    fraction = "NaN" if delegation.fraction is None else f"{delegation.fraction:g}"
    return [
        "# HELP edgeproof_model_info The release that answers.",
        "# TYPE edgeproof_model_info gauge",
        f"edgeproof_model_info{{{info}}} 1",
        "# HELP edgeproof_delegated_fraction Share of the operators that the delegate computes.",
        "# TYPE edgeproof_delegated_fraction gauge",
        f"edgeproof_delegated_fraction{{{labels}}} {fraction}",
        "# HELP edgeproof_requests_total Calls since this release was loaded.",
        "# TYPE edgeproof_requests_total counter",
        f"edgeproof_requests_total{{{labels}}} {agent.num_calls}",
        "# HELP edgeproof_failures_total Calls that the model failed to answer.",
        "# TYPE edgeproof_failures_total counter",
        f"edgeproof_failures_total{{{labels}}} {agent.num_failures}",
        *_latency(model.latency.read(), labels),
    ]


def _latency(read: tuple[list[int], float, float], labels: str) -> list[str]:
    counts, total_ms, _ = read
    name = "edgeproof_latency_seconds"
    lines = [f"# HELP {name} Time to an answer, queueing included.", f"# TYPE {name} histogram"]
    reached = 0
    for edge, count in zip(EDGES_MS, counts, strict=False):
        reached += count
        lines.append(f'{name}_bucket{{{labels},le="{edge / 1000:.9g}"}} {reached}')
    lines.append(f'{name}_bucket{{{labels},le="+Inf"}} {sum(counts)}')
    return [*lines, f"{name}_sum{{{labels}}} {total_ms / 1000:.9g}", f"{name}_count{{{labels}}} {sum(counts)}"]
