"""What a device reports: windows of time in histograms, kept until a server has them, and never an input or an answer.

window    counts what the model does, and closes a window every few minutes
event     one closed window; the contract is schemas/telemetry_event.schema.json
store     the windows that no server has yet, in SQLite
sender    brings them to the server
"""

from __future__ import annotations

from edgeproof_edge.outbox.event import Histogram, Incident, IncidentKind, Latency, TelemetryEvent
from edgeproof_edge.outbox.sender import Receiver, Sent, send
from edgeproof_edge.outbox.store import Outbox
from edgeproof_edge.outbox.window import WindowRecorder

__all__ = [
    "Histogram",
    "Incident",
    "IncidentKind",
    "Latency",
    "Outbox",
    "Receiver",
    "Sent",
    "TelemetryEvent",
    "WindowRecorder",
    "send",
]
