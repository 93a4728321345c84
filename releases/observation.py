"""What a model did on the holdout, as its bundle carries it: golden vectors and reference histograms."""

from __future__ import annotations

from dataclasses import dataclass

from edgeproof_edge.manifest import GoldenVectors, Reference


@dataclass(frozen=True)
class Golden:
    """The golden vectors: their entry in the manifest, and the bytes of the file."""

    entry: GoldenVectors
    data: bytes


@dataclass(frozen=True)
class Observation:
    """What the model did on the holdout.

    Attributes:
        golden: Inputs with their outputs; None where no row has the same answer under both kernel families.
        reference: Histograms of inputs and answers.
        delegated_fraction: Share of the operators that XNNPACK computed; None where the runtime did not tell.
    """

    golden: Golden | None
    reference: Reference
    delegated_fraction: float | None
