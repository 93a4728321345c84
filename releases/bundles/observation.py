"""What a model did on the holdout, as its bundle carries it: golden vectors and reference histograms.

The Evaluator writes it in its one pass, and the Pusher reads it: ``observation.json``, and ``golden.npz`` where there are
golden rows. These are raw examples, and travel to every device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgeproof_edge.bundle import GOLDEN_FILE
from edgeproof_edge.manifest import GoldenVectors, Reference
from pydantic import TypeAdapter, ValidationError

from releases.errors import ReleaseError

OBSERVATION_FILE = "observation.json"


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


@dataclass(frozen=True)
class _Record:
    """``observation.json``."""

    golden: GoldenVectors | None
    reference: Reference
    delegated_fraction: float | None


_RECORDS: TypeAdapter[_Record] = TypeAdapter(_Record)


def write_observation(observation: Observation, directory: Path) -> None:
    """Writes the files into ``directory``, which is made where it does not exist."""
    directory.mkdir(parents=True, exist_ok=True)
    golden = observation.golden
    record = _Record(golden.entry if golden else None, observation.reference, observation.delegated_fraction)
    if golden is not None:
        (directory / GOLDEN_FILE).write_bytes(golden.data)
    (directory / OBSERVATION_FILE).write_bytes(_RECORDS.dump_json(record, indent=2) + b"\n")


def read_observation(directory: Path) -> Observation | None:
    """Reads what :func:``write_observation`` wrote; None where nothing was observed.

    Raises:
        ReleaseError: The files are damaged.
    """
    file = directory / OBSERVATION_FILE
    if not file.is_file():
        return None
    try:
        record = _RECORDS.validate_json(file.read_bytes())
        golden = Golden(record.golden, (directory / GOLDEN_FILE).read_bytes()) if record.golden else None
    except (ValidationError, OSError) as error:
        raise ReleaseError(
            f"{file} cannot be read: {error}. Nothing was published; run the Evaluator again."
        ) from error
    return Observation(golden, record.reference, record.delegated_fraction)


def with_golden(observation: Observation, golden: Golden | None) -> Observation:
    """The observation with golden vectors of another split."""
    return replace(observation, golden=golden)
