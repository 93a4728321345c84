"""A release at work on a device: loaded once, asked by name, safe among threads, measured, and replaced under load.

Rules, in order: 1. Nothing runs that is not what its manifest says. 2. Numbers go in and come out in real-world units,
quantized by the code that judged the model. 3. What a device reports of itself (latency, delegation) is what happened,
not what was asked for.
"""

from __future__ import annotations

from edgeproof_edge.runtime.latency import LatencyHistogram
from edgeproof_edge.runtime.live_model import LiveModel
from edgeproof_edge.runtime.model import Answer, EdgeModel, Ranked
from edgeproof_edge.runtime.options import DelegationError, DelegationReport, RuntimeOptions

__all__ = [
    "Answer",
    "DelegationError",
    "DelegationReport",
    "EdgeModel",
    "LatencyHistogram",
    "LiveModel",
    "Ranked",
    "RuntimeOptions",
]
