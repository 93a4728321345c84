"""The rules of a manifest that types do not express; what breaks one is an InputError that names the key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction
from itertools import pairwise

from edgeproof_edge.errors import InputError
from edgeproof_edge.manifest.entries import (
    RESIZES,
    UPRIGHT,
    Answer,
    FileEntry,
    GoldenVectors,
    Reference,
    TensorEntry,
    VerdictSummary,
)

#: Right answers of a classifier.
SCHEMA_VERSION = 2
#: Any metric; real-valued outputs.
SCHEMA_VERSION_3 = 3
#: Says how the answer is read, and what a device must do with an input before the model takes it.
SCHEMA_VERSION_4 = 4
SCHEMA_VERSIONS = (SCHEMA_VERSION, SCHEMA_VERSION_3, SCHEMA_VERSION_4)

_CREATED_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_METRIC = re.compile(r"top[1-9][0-9]*|f1|auc|mae|rmse")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?")
_RATIO = re.compile(r"[0-9]+/[0-9]+|[0-9]+(\.[0-9]+)?")


def wrong(key: str, wanted: str, found: object, remedy: str = "Publish the release again.") -> InputError:
    """The error for a key with a wrong value."""
    shown = repr(found)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return InputError(f"manifest: {key or 'the document'} must be {wanted}; found {shown}. {remedy}")


def require(holds: bool, key: str, wanted: str, found: object) -> None:
    """Raises InputError where a rule does not hold."""
    if not holds:
        raise wrong(key, wanted, found)


def check_version(version: object, remedy: str) -> None:
    """A schema version that this code knows."""
    if version not in SCHEMA_VERSIONS or isinstance(version, bool):
        raise wrong("schema_version", " or ".join(map(str, SCHEMA_VERSIONS)), version, remedy)


def is_utc_time(text: str) -> bool:
    """Whether it is a time like 2026-11-21T09:00:00Z."""
    try:
        return datetime.strptime(text, _CREATED_FORMAT).strftime(_CREATED_FORMAT) == text
    except ValueError:
        return False


def check_files(files: Sequence[FileEntry]) -> None:
    """Plain, different names; hashes and sizes that can be."""
    require(bool(files), "files", "a list with at least one file", list(files))
    for index, entry in enumerate(files):
        require(_FILE_NAME.fullmatch(entry.name) is not None, f"files[{index}].name", "a plain file name", entry.name)
        require(_SHA256.fullmatch(entry.sha256) is not None, f"files[{index}].sha256", "64 hex digits", entry.sha256)
        require(entry.size_bytes >= 0, f"files[{index}].size_bytes", "a size in bytes", entry.size_bytes)
    names = [entry.name for entry in files]
    require(len(set(names)) == len(names), "files", "a list of different names", names)


def check_tensors(key: str, entries: Sequence[TensorEntry]) -> None:
    """Named tensors with shapes, scales and ranges that can be."""
    require(bool(entries), key, "a list with at least one tensor", list(entries))
    for index, entry in enumerate(entries):
        place = f"{key}[{index}]"
        require(bool(entry.spec.name), f"{place}.name", "a text that is not empty", entry.spec.name)
        require(bool(entry.spec.dtype), f"{place}.dtype", "a text that is not empty", entry.spec.dtype)
        require(all(size >= -1 for size in entry.spec.shape), f"{place}.shape", "sizes from 0, or -1", entry.spec.shape)
        require(0.0 <= entry.spec.scale < float("inf"), f"{place}.scale", "a number from 0", entry.spec.scale)
        require(entry.layout != "", f"{place}.layout", "a text or null", entry.layout)
        require(entry.orientation in (None, UPRIGHT), f"{place}.orientation", f"{UPRIGHT!r} or null", entry.orientation)
        require(entry.resize in (None, *RESIZES), f"{place}.resize", f"one of {RESIZES}, or null", entry.resize)
        distinct = len(set(entry.categories)) == len(entry.categories)
        require(distinct, f"{place}.categories", "a list of different texts", entry.categories)
        if entry.value_range is not None:
            low, high = entry.value_range
            is_range = float("-inf") < low <= high < float("inf")
            require(is_range, f"{place}.value_range", "[lowest, highest]", entry.value_range)


def check_verdict(verdict: VerdictSummary) -> None:
    """Counts, ratios and errors that fit the metric."""
    require(verdict.num_examples >= 1, "verdict.num_examples", "an integer from 1", verdict.num_examples)
    require(_METRIC.fullmatch(verdict.metric) is not None, "verdict.metric", "a metric's name", verdict.metric)
    if verdict.judges_errors:
        _check_errors(verdict)
        return
    for key in ("num_correct_float", "num_correct_candidate"):
        count = getattr(verdict, key)
        holds = count is not None and 0 <= count <= verdict.num_examples
        require(holds, f"verdict.{key}", f"from 0 to {verdict.num_examples}", count)
    require(_is_ratio(verdict.minimum_ratio), "verdict.minimum_ratio", 'text like "97/100"', verdict.minimum_ratio)
    _require_absent(verdict, "maximum_error_factor")
    for key in ("float_value", "candidate_value"):
        value = getattr(verdict, key)
        require(value is None or _is_decimal(value), f"verdict.{key}", 'text like "0.97", or null', value)


def _check_errors(verdict: VerdictSummary) -> None:
    _require_absent(verdict, "num_correct_float", "num_correct_candidate", "minimum_ratio")
    for key in ("float_value", "candidate_value"):
        value = getattr(verdict, key)
        require(value is not None and _is_decimal(value), f"verdict.{key}", 'text like "12.5"', value)
    factor = verdict.maximum_error_factor
    require(_is_ratio(factor), "verdict.maximum_error_factor", 'text like "103/100"', factor)


def _require_absent(verdict: VerdictSummary, *keys: str) -> None:
    for key in keys:
        value = getattr(verdict, key)
        require(value is None, f"verdict.{key}", f"null for the metric {verdict.metric}", value)


def check_answer(answer: Answer, outputs: Sequence[str]) -> None:
    """The answer is read from an output that is there, at a threshold that can be."""
    require(answer.output in outputs, "answer.output", f"one of {list(outputs)}", answer.output)
    threshold = answer.decision_threshold
    is_number = threshold is None or float("-inf") < threshold < float("inf")
    require(is_number, "answer.decision_threshold", "a number, or null", threshold)


def check_golden(golden: GoldenVectors, files: Sequence[str], outputs: Sequence[str]) -> None:
    """The self-test names a file and an output that are there."""
    require(golden.file in files, "golden.file", f"one of {list(files)}", golden.file)
    require(golden.num_examples >= 1, "golden.num_examples", "an integer from 1", golden.num_examples)
    require(golden.output in outputs, "golden.output", f"one of {list(outputs)}", golden.output)
    for key in ("minimum_margin", "tolerance"):
        value = getattr(golden, key)
        require(value is None or 0.0 <= value < float("inf"), f"golden.{key}", "a number from 0", value)


def check_reference(reference: Reference) -> None:
    """Histograms whose counts fit their edges."""
    require(reference.num_examples >= 1, "reference.num_examples", "an integer from 1", reference.num_examples)
    histograms = {f"reference.inputs[{index}]": histogram for index, histogram in enumerate(reference.inputs)}
    answers = {"reference.confidence": reference.confidence, "reference.values": reference.values}
    histograms |= {place: histogram for place, histogram in answers.items() if histogram is not None}
    for place, histogram in histograms.items():
        edges, counts = histogram.edges, histogram.counts
        require(
            bool(histogram.name and histogram.statistic), f"{place}.name", "texts that are not empty", histogram.name
        )
        require(all(a < b for a, b in pairwise(edges)), f"{place}.edges", "ascending", edges)
        require(len(counts) == len(edges) + 1, f"{place}.counts", f"{len(edges) + 1} counts", counts)
        require(min(counts) >= 0, f"{place}.counts", "integers from 0", counts)
    require(all(count >= 0 for count in reference.predictions), "reference.predictions", "integers from 0", None)


def _is_decimal(text: str) -> bool:
    return _DECIMAL.fullmatch(text) is not None


def _is_ratio(text: str | None) -> bool:
    if text is None or _RATIO.fullmatch(text) is None:
        return False
    try:
        Fraction(text)
    except ZeroDivisionError:
        return False
    return True
