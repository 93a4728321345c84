"""The manifest of a release, `manifest.json`: what a device must know about a model before it runs it.

Rules, in order: 1. a schema version this code does not know is refused. 2. Every key must be there and no other: a key
with a meaning of its own gets a new schema version. 3. A manifest has the lowest version that can say it: version 2
where right answers were counted, version 3 where another metric decided, so that devices of before go on reading what
they can. 4. A file name is a plain name, so that no release can write outside its folder. 5. Ratios, factors and
errors are text ("97/100", "0.97"), never floats. The same contract, for other languages, is schemas/manifest.schema.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeVar

from edgeproof_edge.errors import InputError
from edgeproof_edge.tensors import TensorSpec

#: Right answers of a classifier.
SCHEMA_VERSION = 2
#: Any metric; real-valued outputs.
SCHEMA_VERSION_3 = 3
SCHEMA_VERSIONS = (SCHEMA_VERSION, SCHEMA_VERSION_3)
#: The metric of version 2, which does not name it.
TOP1 = "top1"
#: Metrics of real-valued labels, where less is better.
ERROR_METRICS = ("mae", "rmse")

_CREATED_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_METRIC = re.compile(r"top[1-9][0-9]*|f1|auc|mae|rmse")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?")
_RATIO = re.compile(r"[0-9]+/[0-9]+|[0-9]+(\.[0-9]+)?")

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class FileEntry:
    """One file of the release: its plain name, the SHA-256 of its bytes in hex, its size in bytes."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class TensorEntry:
    """One input or output of the model.

    Attributes:
        spec: Name, shape (batch first, -1 = open), dtype, scale and zero point.
        layout: Meaning of the dimensions, as in "NHWC"; None where it has no name.
        value_range: Lowest and highest real-world value the model was trained on, as in (0.0, 255.0); None where
            unknown.
    """

    spec: TensorSpec
    layout: str | None = None
    value_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class OperatorRequirement:
    """An operator, with the version of it, that the device's runtime must have."""

    name: str
    version: int


@dataclass(frozen=True)
class RuntimeRequirements:
    """What the device's runtime must bring.

    Attributes:
        minimum_runtime: What the converter wrote, or None.
        operators: Operators of the graph, with versions.
        delegated_fraction: Share of the operators that the delegate computed where the model was judged, 0.0 to 1.0; a
            device far below it has fallen back to slow kernels. None where the runtime did not tell.
    """

    minimum_runtime: str | None
    operators: tuple[OperatorRequirement, ...]
    delegated_fraction: float | None = None


@dataclass(frozen=True)
class VerdictSummary:
    """What the holdout showed, and what let the model pass.

    Attributes:
        num_examples: Examples of the holdout.
        num_correct_float: Right answers of the float model; None where labels are real values.
        num_correct_candidate: Right answers of the bytes in this release; None likewise.
        minimum_ratio: The share of the float model's figure that was required, as exact text: "97/100" or "0.97"; None
            for errors.
        metric: The figure that decided: "top1", "top5" and so on (right answers), "f1", "auc", or, for real-valued
            labels, "mae" (mean absolute error) or "rmse" (root of the mean squared error).
        float_value: The float model's figure as decimal text, errors in the label's unit; None where right answers say it.
        candidate_value: The same of the bytes in this release.
        maximum_error_factor: How many times the float model's error was allowed, as exact text; None where more is better.
    """

    num_examples: int
    num_correct_float: int | None
    num_correct_candidate: int | None
    minimum_ratio: str | None
    metric: str = TOP1
    float_value: str | None = None
    candidate_value: str | None = None
    maximum_error_factor: str | None = None

    @property
    def judges_errors(self) -> bool:
        """Whether labels are real values and less is better."""
        return self.metric in ERROR_METRICS


@dataclass(frozen=True)
class GoldenVectors:
    """Inputs with the outputs they must give, for the self-test of a device.

    Attributes:
        file: Name of the .npz file: arrays `input:<name>` and `output:<name>`, real-world units, batch first.
        num_examples: Rows of each array.
        output: The output whose largest entry is the answer; it must be the same on every device. Where it is a real
            value, the tolerance alone decides.
        minimum_margin: Smallest distance between the answer and the runner-up among the rows, in the output's units;
            None where the output is a real value.
        tolerance: Largest difference that kernels of another family may make, in the output's units.
    """

    file: str
    num_examples: int
    output: str
    minimum_margin: float | None
    tolerance: float


@dataclass(frozen=True)
class Histogram:
    """Counts of a number over fixed edges, so that windows of a fleet add up and compare.

    Attributes:
        name: Name of the input or output.
        statistic: What was counted: "mean" or "deviation" of one example, "confidence" of one answer, or its "value".
        edges: Ascending; one more bin lies below the first and one above the last.
        counts: `counts[i]` examples have `edges[i - 1] <= number < edges[i]`.
    """

    name: str
    statistic: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Reference:
    """What the holdout looked like to this model: what a device's inputs and answers are compared with.

    Attributes:
        num_examples: Examples counted.
        inputs: Per input the mean and the deviation of an example.
        predictions: Answers per class; empty where the output is a real value.
        confidence: How sure the answers were; None where the output is a real value.
        values: The answers themselves where they are real values; None for classes.
    """

    num_examples: int
    inputs: tuple[Histogram, ...]
    predictions: tuple[int, ...]
    confidence: Histogram | None
    values: Histogram | None = None


@dataclass(frozen=True)
class Manifest:
    """One release of a model; see :func:`schema_version_for` for its version.

    Attributes:
        model_name: Name of the model, the same in every release.
        sequence: Position among the releases of the model, from 1, never used twice.
        version: Version for people.
        created: UTC time of the release, as in "2026-11-21T09:00:00Z".
        files: Every file of the release but the manifest itself.
        inputs: What the model takes.
        outputs: What the model returns.
        labels: Class names in the order of the output; empty where the model does not classify.
        recipe: How the model was quantized, as in "int8".
        stack: Name of the TFX stack that made it.
        runtime: What the device's runtime must bring.
        verdict: Why the model was let through.
        golden: The self-test; None where the release was made without examples.
        reference: The holdout in histograms; None likewise.
        schema_version: Version of this format.
    """

    model_name: str
    sequence: int
    version: str
    created: str
    files: tuple[FileEntry, ...]
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    labels: tuple[str, ...]
    recipe: str
    stack: str
    runtime: RuntimeRequirements
    verdict: VerdictSummary
    golden: GoldenVectors | None = None
    reference: Reference | None = None
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        """Checks the rules that types do not express; raises InputError naming the key."""
        _check_version(self.schema_version, "Update edgeproof-edge.")
        needed = schema_version_for(self.verdict, self.golden, self.reference)
        _require(self.schema_version >= needed, "schema_version", f"{needed} for this verdict", self.schema_version)
        for key in ("model_name", "version", "recipe", "stack"):
            _require(bool(getattr(self, key)), key, "a text that is not empty", getattr(self, key))
        _require(self.sequence >= 1, "sequence", "an integer from 1", self.sequence)
        _require(_is_utc_time(self.created), "created", "a UTC time like 2026-11-21T09:00:00Z", self.created)
        _check_files(self.files)
        _check_tensors("inputs", self.inputs)
        _check_tensors("outputs", self.outputs)
        for index, operator in enumerate(self.runtime.operators):
            _require(bool(operator.name), f"runtime.operators[{index}].name", "a text that is not empty", operator.name)
            _require(
                operator.version >= 1, f"runtime.operators[{index}].version", "an integer from 1", operator.version
            )
        _check_verdict(self.verdict)
        fraction = self.runtime.delegated_fraction
        _require(
            fraction is None or 0.0 <= fraction <= 1.0,
            "runtime.delegated_fraction",
            "from 0.0 to 1.0, or null",
            fraction,
        )
        if self.golden is not None:
            _check_golden(self.golden, self)
        if self.reference is not None:
            _check_reference(self.reference)

    def file(self, name: str) -> FileEntry:
        """The entry of one file.

        Raises:
            InputError: The release has no file of that name.
        """
        for entry in self.files:
            if entry.name == name:
                return entry
        raise InputError(f"release {self.version} has no file {name!r}; it has {[entry.name for entry in self.files]}.")

    def to_json(self) -> str:
        """The text of `manifest.json`: sorted keys, so that equal manifests are equal bytes; ends with a newline."""
        content = asdict(self)
        if self.schema_version == SCHEMA_VERSION:
            _drop_keys_of_version_3(content)
        content["inputs"] = [_tensor_json(entry) for entry in self.inputs]
        content["outputs"] = [_tensor_json(entry) for entry in self.outputs]
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Reads the text of a `manifest.json`.

        Raises:
            InputError: The text is no JSON, or a key is missing, unknown, or has a wrong value; the message names the
                key.
        """
        content = _object(_load(text), "")
        version = content.get("schema_version")
        _check_version(version, "Update edgeproof-edge, or check the file.")
        is_2 = version == SCHEMA_VERSION
        reader = _Reader(content, "")
        manifest = cls(
            schema_version=reader.integer("schema_version"),
            model_name=reader.text("model_name"),
            sequence=reader.integer("sequence"),
            version=reader.text("version"),
            created=reader.text("created"),
            files=reader.objects("files", _read_file),
            inputs=reader.objects("inputs", _read_tensor),
            outputs=reader.objects("outputs", _read_tensor),
            labels=reader.items("labels", _as_text),
            recipe=reader.text("recipe"),
            stack=reader.text("stack"),
            runtime=reader.child("runtime", _read_runtime),
            verdict=reader.child("verdict", _read_verdict if is_2 else _read_verdict_3),
            golden=reader.optional_child("golden", _read_golden if is_2 else _read_golden_3),
            reference=reader.optional_child("reference", _read_reference if is_2 else _read_reference_3),
        )
        reader.finish()
        return manifest


def schema_version_for(
    verdict: VerdictSummary, golden: GoldenVectors | None = None, reference: Reference | None = None
) -> int:
    """The lowest schema version that can say this."""
    is_2 = verdict.metric == TOP1 and verdict.float_value is None and verdict.candidate_value is None
    is_2 = is_2 and (golden is None or golden.minimum_margin is not None)
    is_2 = is_2 and (reference is None or (reference.confidence is not None and reference.values is None))
    return SCHEMA_VERSION if is_2 else SCHEMA_VERSION_3


def _drop_keys_of_version_3(content: dict[str, Any]) -> None:
    for key in ("metric", "float_value", "candidate_value", "maximum_error_factor"):
        del content["verdict"][key]
    if content["reference"] is not None:
        del content["reference"]["values"]


# --- Checks -----------------------------------------------------------------------------------------------------------


def _wrong(key: str, wanted: str, found: object, remedy: str = "Publish the release again.") -> InputError:
    shown = repr(found)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return InputError(f"manifest: {key or 'the document'} must be {wanted}; found {shown}. {remedy}")


def _require(holds: bool, key: str, wanted: str, found: object) -> None:
    if not holds:
        raise _wrong(key, wanted, found)


def _check_version(version: object, remedy: str) -> None:
    if version not in SCHEMA_VERSIONS or isinstance(version, bool):
        raise _wrong("schema_version", " or ".join(map(str, SCHEMA_VERSIONS)), version, remedy)


def _is_utc_time(text: str) -> bool:
    try:
        return datetime.strptime(text, _CREATED_FORMAT).strftime(_CREATED_FORMAT) == text
    except ValueError:
        return False


def _check_files(files: Sequence[FileEntry]) -> None:
    _require(bool(files), "files", "a list with at least one file", list(files))
    for index, entry in enumerate(files):
        _require(_FILE_NAME.fullmatch(entry.name) is not None, f"files[{index}].name", "a plain file name", entry.name)
        _require(_SHA256.fullmatch(entry.sha256) is not None, f"files[{index}].sha256", "64 hex digits", entry.sha256)
        _require(entry.size_bytes >= 0, f"files[{index}].size_bytes", "a size in bytes", entry.size_bytes)
    names = [entry.name for entry in files]
    _require(len(set(names)) == len(names), "files", "a list of different names", names)


def _check_tensors(key: str, entries: Sequence[TensorEntry]) -> None:
    _require(bool(entries), key, "a list with at least one tensor", list(entries))
    for index, entry in enumerate(entries):
        place = f"{key}[{index}]"
        _require(bool(entry.spec.name), f"{place}.name", "a text that is not empty", entry.spec.name)
        _require(bool(entry.spec.dtype), f"{place}.dtype", "a text that is not empty", entry.spec.dtype)
        _require(
            all(size >= -1 for size in entry.spec.shape), f"{place}.shape", "sizes from 0, or -1", entry.spec.shape
        )
        _require(0.0 <= entry.spec.scale < float("inf"), f"{place}.scale", "a number from 0", entry.spec.scale)
        _require(entry.layout != "", f"{place}.layout", "a text or null", entry.layout)
        if entry.value_range is not None:
            low, high = entry.value_range
            is_range = float("-inf") < low <= high < float("inf")
            _require(is_range, f"{place}.value_range", "[lowest, highest]", entry.value_range)


def _check_verdict(verdict: VerdictSummary) -> None:
    _require(verdict.num_examples >= 1, "verdict.num_examples", "an integer from 1", verdict.num_examples)
    _require(_METRIC.fullmatch(verdict.metric) is not None, "verdict.metric", "a metric's name", verdict.metric)
    if verdict.judges_errors:
        _check_errors(verdict)
        return
    for key in ("num_correct_float", "num_correct_candidate"):
        count = getattr(verdict, key)
        holds = count is not None and 0 <= count <= verdict.num_examples
        _require(holds, f"verdict.{key}", f"from 0 to {verdict.num_examples}", count)
    _require(_is_ratio(verdict.minimum_ratio), "verdict.minimum_ratio", 'text like "97/100"', verdict.minimum_ratio)
    _require_absent(verdict, "maximum_error_factor")
    for key in ("float_value", "candidate_value"):
        value = getattr(verdict, key)
        _require(value is None or _is_decimal(value), f"verdict.{key}", 'text like "0.97", or null', value)


def _check_errors(verdict: VerdictSummary) -> None:
    _require_absent(verdict, "num_correct_float", "num_correct_candidate", "minimum_ratio")
    for key in ("float_value", "candidate_value"):
        value = getattr(verdict, key)
        _require(value is not None and _is_decimal(value), f"verdict.{key}", 'text like "12.5"', value)
    factor = verdict.maximum_error_factor
    _require(_is_ratio(factor), "verdict.maximum_error_factor", 'text like "103/100"', factor)


def _require_absent(verdict: VerdictSummary, *keys: str) -> None:
    for key in keys:
        value = getattr(verdict, key)
        _require(value is None, f"verdict.{key}", f"null for the metric {verdict.metric}", value)


def _check_golden(golden: GoldenVectors, manifest: Manifest) -> None:
    names = [entry.name for entry in manifest.files]
    _require(golden.file in names, "golden.file", f"one of {names}", golden.file)
    _require(golden.num_examples >= 1, "golden.num_examples", "an integer from 1", golden.num_examples)
    outputs = [entry.spec.name for entry in manifest.outputs]
    _require(golden.output in outputs, "golden.output", f"one of {outputs}", golden.output)
    for key in ("minimum_margin", "tolerance"):
        value = getattr(golden, key)
        _require(value is None or 0.0 <= value < float("inf"), f"golden.{key}", "a number from 0", value)


def _check_reference(reference: Reference) -> None:
    _require(reference.num_examples >= 1, "reference.num_examples", "an integer from 1", reference.num_examples)
    histograms = {f"reference.inputs[{index}]": histogram for index, histogram in enumerate(reference.inputs)}
    answers = {"reference.confidence": reference.confidence, "reference.values": reference.values}
    histograms |= {place: histogram for place, histogram in answers.items() if histogram is not None}
    for place, histogram in histograms.items():
        edges, counts = histogram.edges, histogram.counts
        _require(
            bool(histogram.name and histogram.statistic), f"{place}.name", "texts that are not empty", histogram.name
        )
        _require(all(a < b for a, b in pairwise(edges)), f"{place}.edges", "ascending", edges)
        _require(len(counts) == len(edges) + 1, f"{place}.counts", f"{len(edges) + 1} counts", counts)
        _require(min(counts) >= 0, f"{place}.counts", "integers from 0", counts)
    _require(all(count >= 0 for count in reference.predictions), "reference.predictions", "integers from 0", None)


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


# --- Reading ----------------------------------------------------------------------------------------------------------


def _load(text: str | bytes) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # a wrong encoding is a ValueError, too
        raise InputError(f"manifest: not JSON: {error}. Check that the file is a manifest.json.") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("an object has the same key twice")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _object(value: Any, place: str) -> dict[str, Any]:
    _require(isinstance(value, dict), place, "an object", value)
    content: dict[str, Any] = value
    return content


def _as_text(value: Any, place: str) -> str:
    _require(isinstance(value, str), place, "a text", value)
    return str(value)


def _as_integer(value: Any, place: str) -> int:
    _require(isinstance(value, int) and not isinstance(value, bool), place, "an integer", value)
    return int(value)


def _as_number(value: Any, place: str) -> float:
    _require(isinstance(value, (int, float)) and not isinstance(value, bool), place, "a number", value)
    try:
        return float(value)
    except OverflowError:
        raise _wrong(place, "a number", value) from None


class _Reader:
    """Takes the keys of one object, each once; what is missing or left over is an error that names it."""

    def __init__(self, content: dict[str, Any], place: str) -> None:
        self._content = dict(content)
        self._place = place

    def take(self, key: str) -> Any:
        if key not in self._content:
            raise InputError(f"manifest: the key {self.at(key)} is missing. Publish the release again.")
        return self._content.pop(key)

    def at(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key

    def text(self, key: str) -> str:
        return _as_text(self.take(key), self.at(key))

    def optional_text(self, key: str) -> str | None:
        value = self.take(key)
        return None if value is None else _as_text(value, self.at(key))

    def integer(self, key: str) -> int:
        return _as_integer(self.take(key), self.at(key))

    def optional_integer(self, key: str) -> int | None:
        value = self.take(key)
        return None if value is None else _as_integer(value, self.at(key))

    def number(self, key: str) -> float:
        return _as_number(self.take(key), self.at(key))

    def optional_number(self, key: str) -> float | None:
        value = self.take(key)
        return None if value is None else _as_number(value, self.at(key))

    def items(self, key: str, read: Callable[[Any, str], _Value]) -> tuple[_Value, ...]:
        values, place = self.take(key), self.at(key)
        _require(isinstance(values, list), place, "a list", values)
        return tuple(read(value, f"{place}[{index}]") for index, value in enumerate(values))

    def objects(self, key: str, read: Callable[[_Reader], _Value]) -> tuple[_Value, ...]:
        return self.items(key, lambda value, place: _read_object(value, place, read))

    def child(self, key: str, read: Callable[[_Reader], _Value]) -> _Value:
        return _read_object(self.take(key), self.at(key), read)

    def optional_child(self, key: str, read: Callable[[_Reader], _Value]) -> _Value | None:
        value = self.take(key)
        return None if value is None else _read_object(value, self.at(key), read)

    def finish(self) -> None:
        if self._content:
            unknown = ", ".join(self.at(key) for key in sorted(self._content))
            raise InputError(f"manifest: unknown key {unknown} in this schema version. Update edgeproof-edge.")


def _read_object(value: Any, place: str, read: Callable[[_Reader], _Value]) -> _Value:
    reader = _Reader(_object(value, place), place)
    found = read(reader)
    reader.finish()
    return found


def _read_file(reader: _Reader) -> FileEntry:
    return FileEntry(reader.text("name"), reader.text("sha256"), reader.integer("size_bytes"))


def _read_tensor(reader: _Reader) -> TensorEntry:
    spec = TensorSpec(
        name=reader.text("name"),
        shape=reader.items("shape", _as_integer),
        dtype=reader.text("dtype"),
        scale=reader.number("scale"),
        zero_point=reader.integer("zero_point"),
    )
    layout = reader.optional_text("layout")
    place = reader.at("value_range")
    bounds = reader.take("value_range")
    if bounds is None:
        return TensorEntry(spec, layout)
    _require(isinstance(bounds, list) and len(bounds) == 2, place, "[lowest, highest]", bounds)
    return TensorEntry(spec, layout, (_as_number(bounds[0], f"{place}[0]"), _as_number(bounds[1], f"{place}[1]")))


def _read_runtime(reader: _Reader) -> RuntimeRequirements:
    return RuntimeRequirements(
        minimum_runtime=reader.optional_text("minimum_runtime"),
        operators=reader.objects(
            "operators", lambda item: OperatorRequirement(item.text("name"), item.integer("version"))
        ),
        delegated_fraction=reader.optional_number("delegated_fraction"),
    )


def _read_golden(reader: _Reader) -> GoldenVectors:
    return GoldenVectors(
        file=reader.text("file"),
        num_examples=reader.integer("num_examples"),
        output=reader.text("output"),
        minimum_margin=reader.number("minimum_margin"),
        tolerance=reader.number("tolerance"),
    )


def _read_golden_3(reader: _Reader) -> GoldenVectors:
    return GoldenVectors(
        file=reader.text("file"),
        num_examples=reader.integer("num_examples"),
        output=reader.text("output"),
        minimum_margin=reader.optional_number("minimum_margin"),
        tolerance=reader.number("tolerance"),
    )


def _read_histogram(reader: _Reader) -> Histogram:
    return Histogram(
        name=reader.text("name"),
        statistic=reader.text("statistic"),
        edges=reader.items("edges", _as_number),
        counts=reader.items("counts", _as_integer),
    )


def _read_reference(reader: _Reader) -> Reference:
    return Reference(
        num_examples=reader.integer("num_examples"),
        inputs=reader.objects("inputs", _read_histogram),
        predictions=reader.items("predictions", _as_integer),
        confidence=reader.child("confidence", _read_histogram),
    )


def _read_reference_3(reader: _Reader) -> Reference:
    return Reference(
        num_examples=reader.integer("num_examples"),
        inputs=reader.objects("inputs", _read_histogram),
        predictions=reader.items("predictions", _as_integer),
        confidence=reader.optional_child("confidence", _read_histogram),
        values=reader.optional_child("values", _read_histogram),
    )


def _read_verdict(reader: _Reader) -> VerdictSummary:
    return VerdictSummary(
        num_examples=reader.integer("num_examples"),
        num_correct_float=reader.integer("num_correct_float"),
        num_correct_candidate=reader.integer("num_correct_candidate"),
        minimum_ratio=reader.text("minimum_ratio"),
    )


def _read_verdict_3(reader: _Reader) -> VerdictSummary:
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


def _tensor_json(entry: TensorEntry) -> dict[str, Any]:
    return {**asdict(entry.spec), "layout": entry.layout, "value_range": entry.value_range}
