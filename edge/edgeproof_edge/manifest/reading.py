"""Reads the parts of a manifest from JSON, per schema version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edgeproof_edge.manifest.checks import require
from edgeproof_edge.manifest.entries import (
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
from edgeproof_edge.manifest.json_reader import Reader, as_integer, as_number, as_text
from edgeproof_edge.tensors import TensorSpec


def read_file(reader: Reader) -> FileEntry:
    """An entry of ``files``."""
    return FileEntry(reader.text("name"), reader.text("sha256"), reader.integer("size_bytes"))


def read_tensor(reader: Reader) -> TensorEntry:
    """An entry of ``inputs`` or ``outputs`` of versions 2 and 3."""
    spec = TensorSpec(
        name=reader.text("name"),
        shape=reader.items("shape", as_integer),
        dtype=reader.text("dtype"),
        scale=reader.number("scale"),
        zero_point=reader.integer("zero_point"),
    )
    return TensorEntry(spec, reader.optional_text("layout"), _value_range(reader))


def read_tensor_4(reader: Reader) -> TensorEntry:
    """The same of version 4, which says what a device must do before."""
    entry = read_tensor(reader)
    return replace(
        entry,
        orientation=reader.optional_text("orientation"),
        resize=reader.optional_text("resize"),
        categories=reader.items("categories", as_text),
    )


def _value_range(reader: Reader) -> tuple[float, float] | None:
    place = reader.at("value_range")
    bounds = reader.take("value_range")
    if bounds is None:
        return None
    require(isinstance(bounds, list) and len(bounds) == 2, place, "[lowest, highest]", bounds)
    return as_number(bounds[0], f"{place}[0]"), as_number(bounds[1], f"{place}[1]")


def read_runtime(reader: Reader) -> RuntimeRequirements:
    """``runtime``."""
    return RuntimeRequirements(
        minimum_runtime=reader.optional_text("minimum_runtime"),
        operators=reader.objects(
            "operators", lambda item: OperatorRequirement(item.text("name"), item.integer("version"))
        ),
        delegated_fraction=reader.optional_number("delegated_fraction"),
    )


def read_answer(reader: Reader) -> Answer:
    """``answer`` of version 4."""
    return Answer(reader.text("output"), reader.optional_number("decision_threshold"))


def read_golden(reader: Reader) -> GoldenVectors:
    """``golden`` of version 2."""
    return _golden(reader, reader.number)


def read_golden_3(reader: Reader) -> GoldenVectors:
    """``golden`` of version 3, whose margin may be null."""
    return _golden(reader, reader.optional_number)


def _golden(reader: Reader, read_margin: Callable[[str], float | None]) -> GoldenVectors:
    return GoldenVectors(
        file=reader.text("file"),
        num_examples=reader.integer("num_examples"),
        output=reader.text("output"),
        minimum_margin=read_margin("minimum_margin"),
        tolerance=reader.number("tolerance"),
    )


def _read_histogram(reader: Reader) -> Histogram:
    return Histogram(
        name=reader.text("name"),
        statistic=reader.text("statistic"),
        edges=reader.items("edges", as_number),
        counts=reader.items("counts", as_integer),
    )


def read_reference(reader: Reader) -> Reference:
    """``reference`` of version 2."""
    return _reference(reader, reader.child("confidence", _read_histogram), None)


def read_reference_3(reader: Reader) -> Reference:
    """``reference`` of version 3, which may be of real values."""
    confidence = reader.optional_child("confidence", _read_histogram)
    return _reference(reader, confidence, reader.optional_child("values", _read_histogram))


def _reference(reader: Reader, confidence: Histogram | None, values: Histogram | None) -> Reference:
    return Reference(
        num_examples=reader.integer("num_examples"),
        inputs=reader.objects("inputs", _read_histogram),
        predictions=reader.items("predictions", as_integer),
        confidence=confidence,
        values=values,
    )


def read_verdict(reader: Reader) -> VerdictSummary:
    """``verdict`` of version 2: right answers."""
    return VerdictSummary(
        num_examples=reader.integer("num_examples"),
        num_correct_float=reader.integer("num_correct_float"),
        num_correct_candidate=reader.integer("num_correct_candidate"),
        minimum_ratio=reader.text("minimum_ratio"),
    )


def read_verdict_3(reader: Reader) -> VerdictSummary:
    """``verdict`` of version 3, which names its metric."""
    return VerdictSummary(
        num_examples=reader.integer("num_examples"),
        num_correct_float=reader.optional_integer("num_correct_float"),
        num_correct_candidate=reader.optional_integer("num_correct_candidate"),
        minimum_ratio=reader.optional_text("minimum_ratio"),
        metric=reader.text("metric"),
        float_value=reader.optional_text("float_value"),
        candidate_value=reader.optional_text("candidate_value"),
        maximum_error_factor=reader.optional_text("maximum_error_factor"),
    )
