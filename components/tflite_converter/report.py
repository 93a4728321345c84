"""conversion_report.json: what was converted, with which examples, what is in the bytes, how close to float it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from edgeproof_edge.flatbuffer import Inspection
from edgeproof_edge.tensors import TensorSpec
from pydantic import Field

from components.repair.facts import (
    CandidateFacts,
    ChangeFacts,
    Facts,
    FindingFacts,
    GoalFacts,
    SkippedFacts,
)
from components.repair.recipes import IoType, Recipe
from releases.stores.files import replace_file

REPORT_FILE = "conversion_report.json"
SCHEMA_ID = "conversion_report.schema.json"


class FileFacts(Facts):
    """A file beside the report."""

    file: str
    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, file: str, data: bytes) -> FileFacts:
        """Describes ``data``, which will be written as ``file``."""
        return cls(file=file, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


class SignatureFacts(Facts):
    """The raw-tensor signature that was converted."""

    key: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class StratumFacts(Facts):
    """One label of the calibration pool."""

    label: str
    num_distinct: int = Field(description="Distinct examples in the pool.")
    num_drawn: int = Field(description="Of them, examples that set ranges.")


class CalibrationFacts(Facts):
    """Where the calibration examples came from and which were used for what."""

    source: str
    num_offered: int = Field(description="Examples at the source.")
    num_pool: int = Field(description="Examples read into the pool.")
    num_distinct: int = Field(description="Distinct examples in the pool.")
    min_samples: int = Field(description="Examples the source had to hold.")
    min_samples_lowered: bool = Field(description="Whether that is below the default.")
    num_requested: int
    num_range: int = Field(description="Examples that set ranges; 0 where the recipe needs none.")
    num_selection: int = Field(description="Examples kept to compare the model with float.")
    seed: int
    sha256: str = Field(description="SHA-256 over the sorted SHA-256 of the examples that set ranges.")
    strata: tuple[StratumFacts, ...]
    notes: tuple[str, ...]


class LoadTest(Facts):
    """The runtime that loaded the model, with its default kernels."""

    runtime: str
    kernels: str


class SecondsFacts(Facts):
    """Wall time, in seconds."""

    float_conversion: float
    model_conversion: float
    total: float


class ConversionReport(Facts):
    """The converter's report."""

    schema_version: Literal[1] = 1
    recipe: Recipe
    input_type: IoType
    output_type: IoType
    signature: SignatureFacts
    stack: str
    library_versions: dict[str, str]
    float_model: FileFacts
    model: FileFacts
    calibration: CalibrationFacts | None
    inspection: Inspection
    load_test: LoadTest | None = Field(
        description="Null for a model with TF Select operators, which LiteRT does not run."
    )
    goal: GoalFacts | None = Field(None, description="Null unless the recipe is auto.")
    met_goal: bool | None = Field(
        None, description="False: nothing met the goal and the best candidate goes on; the Evaluator decides."
    )
    findings: tuple[FindingFacts, ...] = ()
    candidates: tuple[CandidateFacts, ...]
    changes: tuple[ChangeFacts, ...] = Field((), description="What equalization changed, where it was tried.")
    largest_logit_difference: float | None = Field(
        None,
        description="Largest difference of an output before and after equalization / its spread; null where nothing was changed.",
    )
    skipped: tuple[SkippedFacts, ...] = Field((), description="Steps of recipe auto that do not apply, or failed.")
    outside_ranges: dict[str, float] = Field(
        {}, description="Recipe auto: share of the selection examples' values outside the calibrated range, by tensor."
    )
    warnings: tuple[str, ...]
    seconds: SecondsFacts

    @property
    def chosen(self) -> CandidateFacts:
        """The candidate whose bytes lie beside the report."""
        return next(candidate for candidate in self.candidates if candidate.chosen)

    def to_json(self) -> str:
        """The report as sorted, indented JSON with a trailing newline."""
        return _to_text(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, text: str) -> ConversionReport:
        """Reads a report.

        Raises:
            pydantic.ValidationError: The text is no report of this version.
        """
        return cls.model_validate_json(text)


def useless_outputs(report: ConversionReport) -> list[str]:
    """One sentence per output of the chosen model that tells nothing; none unless the recipe is auto."""
    return [
        f"output {loss.output!r}{f' ({loss.part})' if loss.part else ''} tells no more than its "
        "mean or its commonest class would: nothing that was tried keeps what the float model knows"
        for loss in report.chosen.losses
        if loss.is_useless
    ]


def write_report(directory: Path, report: ConversionReport) -> None:
    """Writes the report; readers see the old one or the new one."""
    replace_file(directory / REPORT_FILE, report.to_json().encode("utf-8"))


def report_schema() -> str:
    """The JSON Schema of the report, as it lies in schemas/."""
    schema = ConversionReport.model_json_schema(mode="serialization")
    return _to_text({"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema})


def _to_text(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
