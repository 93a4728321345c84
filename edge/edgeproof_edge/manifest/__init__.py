"""The manifest of a release, `manifest.json`: what a device must know about a model before it runs it.

Rules, in order: 1. a schema version this code does not know is refused. 2. Every key must be there and no other: a key
with a meaning of its own gets a new schema version. 3. A manifest has the lowest version that can say it: version 2
where right answers were counted, version 3 where another metric decided, version 4 where it has to say how the answer is
read (a threshold, or one of several outputs) or what a device must do with an input first (turn a picture, look a text
up), so that devices of before go on reading what they can. 4. A file name is a plain name, so that no release can write
outside its folder. 5. Ratios, factors and errors are text ("97/100", "0.97"), never floats. The same contract, for other
languages, is schemas/manifest.schema.json.
"""

from __future__ import annotations

from edgeproof_edge.manifest.checks import SCHEMA_VERSION, SCHEMA_VERSION_3, SCHEMA_VERSION_4, SCHEMA_VERSIONS
from edgeproof_edge.manifest.document import Manifest, schema_version_for
from edgeproof_edge.manifest.entries import (
    ERROR_METRICS,
    TOP1,
    UPRIGHT,
    Answer,
    FileEntry,
    GoldenVectors,
    Histogram,
    OperatorRequirement,
    Reference,
    RuntimeRequirements,
    TensorEntry,
    VerdictSummary,
)

__all__ = [
    "ERROR_METRICS",
    "SCHEMA_VERSION",
    "SCHEMA_VERSIONS",
    "SCHEMA_VERSION_3",
    "SCHEMA_VERSION_4",
    "TOP1",
    "UPRIGHT",
    "Answer",
    "FileEntry",
    "GoldenVectors",
    "Histogram",
    "Manifest",
    "OperatorRequirement",
    "Reference",
    "RuntimeRequirements",
    "TensorEntry",
    "VerdictSummary",
    "schema_version_for",
]
