"""The thresholds of the gate: what a team may set, in exact arithmetic, and what cannot be meant.

One field is one threshold: the config's section ``gate``, the options of ``edgeproof evaluate`` and the report have its
name, its bounds and its description from here. A threshold that is None is off. Everything crosses TFX as one line of
JSON in the exec property ``rules``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from edgeproof_edge.errors import InputError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from components.device.place import DevicePlace, Way
from components.device.settings import DEFAULT_NUM_ROWS, DEFAULT_NUM_RUNS, DEFAULT_SECONDS, Options
from components.evaluator.counting.metric import LabelKind, Metric

#: Share of the float model's accuracy a candidate must keep: the promise of this product. MLPerf asks 99 % of FP32 on
#: servers and 98 % on phones; a team that needs more raises it.
DEFAULT_MINIMUM_RATIO = Fraction(97, 100)
#: Fewest examples that a verdict may rest on.
DEFAULT_MINIMUM_EXAMPLES = 500
#: Errors may grow by as much as right answers may shrink: 3 %.
DEFAULT_MAXIMUM_ERROR_FACTOR = Fraction(103, 100)
#: Fewest examples of a slice or a class that is judged by itself: below, one example moves a ratio by more than a point.
DEFAULT_SLICE_MINIMUM_EXAMPLES = 100
#: Labels ranked in a top-k answer; the benchmark that made top-k usual (ImageNet) takes 5.
DEFAULT_TOP_K = 5
#: Stands for the only device of adb.
ANY_DEVICE = "any"


def _exact(value: object) -> Fraction:
    """The number that was written: YAML hands 0.97 over as the float whose shortest text is 0.97."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal, Fraction)):
        raise ValueError("takes a decimal number such as 0.97")
    try:
        return Fraction(repr(value) if isinstance(value, float) else value)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError("takes a decimal number such as 0.97") from None


def shown(value: Fraction) -> str:
    """The shortest text of a threshold: ``0.97``, or ``1/3`` where no decimal number of six digits says it."""
    text = f"{float(value):.6g}"
    return text if Fraction(text) == value else str(value)


#: Names of bounds, in pydantic and in JSON Schema.
_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
_FLOAT = {"type": "number"}
_NUMBER = {"anyOf": [_FLOAT, {"type": "string"}]}
#: A number in exact arithmetic.
Exact = Annotated[Fraction, BeforeValidator(_exact), PlainSerializer(str, return_type=str), WithJsonSchema(_NUMBER)]


def _bound_numbers(part: dict[str, Any], bounds: Mapping[str, float]) -> None:
    """Writes the bounds at the number among the forms that a threshold may have."""
    for key in _BOUNDS:
        part.pop(key, None)
    if _FLOAT in part.get("anyOf", ()):
        part["anyOf"] = [{**form, **bounds} if form == _FLOAT else form for form in part["anyOf"]]


@dataclass(frozen=True)
class Only:
    """Marks a threshold that means something for one kind of label only."""

    labels: LabelKind


#: Thresholds of right answers, and of errors.
_OF_CLASSES, _OF_VALUES = Only(LabelKind.CLASS), Only(LabelKind.VALUE)


class Thresholds(BaseModel):
    """What several kinds of thresholds share: they are frozen, strict about their names, and tell their bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Bounds of exact numbers in JSON Schema's own words, which pydantic does not give to custom types."""
        schema = handler(core)
        for name, prop in handler.resolve_ref_schema(schema).get("properties", {}).items():
            marks = cls.model_fields[name].metadata if name in cls.model_fields else ()
            bounds = {
                word: float(getattr(mark, key)) for mark in marks for key, word in _BOUNDS.items() if hasattr(mark, key)
            }
            for part in (prop, *prop.get("anyOf", ())):
                _bound_numbers(part, bounds)
        return schema


class DeviceRules(Thresholds):
    """A device that the model is measured on before it is published, and what it must keep there."""

    ssh: str | None = Field(
        None, description="The device: user@host, an alias of the ssh config, or ssh://user@host:port."
    )
    adb: str | None = Field(None, description="The device: its serial number in adb devices, or any for the only one.")
    local: bool = Field(False, description="The device: the machine that judges.")
    ssh_config: Path | None = Field(None, description="Another ssh config than the user's own.")
    python: str | None = Field(
        None,
        description="The Python there that has NumPy and ai-edge-litert (or tflite-runtime). Default: /opt/edgeproof/bin/python3, else "
        "python3.",
    )
    tmp: str | None = Field(None, description="Directory there under which everything happens. Default: the system's.")
    threads: int = Field(1, gt=0, description="Threads of one call there.")
    delegate: str | None = Field(None, description="Shared library of a delegate there, as in libedgetpu.so.1.")
    require_delegate: bool = Field(
        False, description="Refuse where the delegate (or XNNPACK, without one) computes nothing there."
    )
    examples: int = Field(
        DEFAULT_NUM_ROWS, gt=0, description="Examples of the holdout that run there; fewer where they are large."
    )
    runs: int = Field(DEFAULT_NUM_RUNS, gt=0, description="Calls that are timed there.")
    timeout_seconds: float = Field(
        DEFAULT_SECONDS, gt=0, le=86_400, description="Until a measurement ends, whatever it has."
    )
    max_p50_ms: Exact | None = Field(None, gt=0, description="Median milliseconds of one call there, at most.")
    max_p90_ms: Exact | None = Field(None, gt=0, description="Milliseconds of nine calls of ten there, at most.")
    max_latency_ratio: Exact | None = Field(
        Fraction(1),
        gt=0,
        description="Milliseconds of the edge model there / those of its float twin; 1 means not slower. Less than 0.1 ms is no "
        "difference; off (null) where speed does not matter.",
    )

    @field_validator("max_p50_ms", "max_p90_ms", "max_latency_ratio", mode="before")
    @classmethod
    def _may_be_off(cls, value: object) -> object:
        """YAML reads the word off as false."""
        return None if value is False or value == "off" else value

    @model_validator(mode="after")
    def _is_one_device(self) -> DeviceRules:
        given = [name for name, value in (("ssh", self.ssh), ("adb", self.adb), ("local", self.local or None)) if value]
        if len(given) != 1:
            raise ValueError(
                f"a device is one of ssh, adb and local; {' and '.join(given) or 'none'} is given. Give one, as in ssh: pi@raspberrypi"
            )
        _ = self.place
        return self

    @property
    def place(self) -> DevicePlace:
        """The device, and how it is reached."""
        way = Way.SSH if self.ssh else Way.ADB if self.adb else Way.LOCAL
        address = (self.ssh or self.adb or "") if self.adb != ANY_DEVICE else ""
        try:
            return DevicePlace(way, address, self.ssh_config, self.python, self.tmp)
        except InputError as error:
            raise ValueError(str(error)) from error

    @property
    def options(self) -> Options:
        """How it is measured there."""
        return Options(
            num_rows=self.examples,
            num_runs=self.runs,
            seconds=self.timeout_seconds,
            num_threads=self.threads,
            delegate=self.delegate,
            require_delegate=self.require_delegate,
        )


class GateRules(Thresholds):
    """Thresholds of the gate; ratios, shares and factors are exact fractions."""

    metric: Metric = Field(
        Metric.TOP1,
        description="What is compared: right answers (top1, topk), F1 or AUC of two classes, or, where labels are real values, the mean "
        "absolute error (mae) or the root of the mean squared error (rmse).",
    )
    top_k: Annotated[int, _OF_CLASSES] = Field(
        DEFAULT_TOP_K, gt=0, description="For topk: so many of the best scores may hold the label."
    )
    min_ratio: Annotated[Exact, _OF_CLASSES] = Field(
        DEFAULT_MINIMUM_RATIO,
        gt=0,
        le=1,
        description="Right answers (or F1, AUC) of the edge model / those of the float model, compared exactly.",
    )
    max_error_factor: Annotated[Exact, _OF_VALUES] = Field(
        DEFAULT_MAXIMUM_ERROR_FACTOR,
        ge=1,
        description="For mae and rmse: error of the edge model / that of the float model, compared exactly. Default: errors may grow by as "
        "much as right answers may shrink.",
    )
    min_float_accuracy: Annotated[Exact | None, _OF_CLASSES] = Field(
        None,
        ge=0,
        le=1,
        description="Floor under the float model. Default: three standard errors above always naming the commonest class.",
    )
    min_examples: int = Field(
        DEFAULT_MINIMUM_EXAMPLES,
        gt=0,
        description="Size of the holdout below which nothing is judged; at 500 a model truly at 95 % passes in 7 % of runs.",
    )
    confidence: Exact | None = Field(
        None,
        ge=Fraction(1, 2),
        lt=1,
        description="One-sided level, such as 0.95, at which the bound of the ratio must keep the rule too (paired closed form).",
    )
    slice_min_ratio: Annotated[Exact | None, _OF_CLASSES] = Field(
        None, gt=0, le=2, description="Ratio that every slice must keep."
    )
    slice_max_error_factor: Annotated[Exact | None, _OF_VALUES] = Field(
        None, ge=1, description="For mae and rmse: error factor that every slice must keep."
    )
    slice_min_examples: int = Field(
        DEFAULT_SLICE_MINIMUM_EXAMPLES, gt=0, description="Smaller slices are reported and not judged."
    )
    class_min_ratio: Annotated[Exact | None, _OF_CLASSES] = Field(
        None, gt=0, le=2, description="Ratio that every class must keep."
    )
    class_min_examples: Annotated[int, _OF_CLASSES] = Field(
        DEFAULT_SLICE_MINIMUM_EXAMPLES,
        gt=0,
        description="Smaller classes are reported and not judged by class_min_ratio.",
    )
    champion_min_ratio: Annotated[Exact | None, _OF_CLASSES] = Field(
        None,
        gt=0,
        le=2,
        description="Right answers over those of the last model that was blessed (or of champion_channel's), on this holdout; 1 means no "
        "worse.",
    )
    max_size_ratio: Exact | None = Field(None, gt=0, description="Bytes of the edge model / bytes of its float twin.")
    max_latency_ratio: Exact | None = Field(
        None,
        gt=0,
        description="Milliseconds of the edge model / those of its float twin on this host, which says little about devices.",
    )
    min_kernel_agreement: Annotated[Exact | None, _OF_CLASSES] = Field(
        None, gt=0, le=1, description="Share of same answers of built-in kernels and XNNPACK, on the sample."
    )
    device: DeviceRules | None = Field(
        None, description="A device that the model is measured on: its speed, and whether it answers as was judged."
    )

    @model_validator(mode="after")
    def _fit_the_metric(self) -> GateRules:
        """Thresholds that have no meaning for the metric are refused, not skipped: a rule that never fires reads like a pass."""
        meaningless = sorted(name for name in self._given() if not self.means(name))
        if meaningless:
            them = "it" if len(meaningless) == 1 else "them"
            raise ValueError(f"metric {self.metric.value} has no {', '.join(meaningless)}; remove {them}")
        if self.confidence is not None and not self.metric.has_bound:
            raise ValueError(f"there is no confidence bound for metric {self.metric.value}; remove confidence")
        return self

    def _given(self) -> set[str]:
        """Thresholds that somebody set: here, those that are not the default."""
        return {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}

    @classmethod
    def takes(cls, name: str, labels: LabelKind) -> bool:
        """Whether a threshold means something for labels of that kind."""
        marks = [mark for mark in cls.model_fields[name].metadata if isinstance(mark, Only)]
        return all(mark.labels is labels for mark in marks)

    def means(self, name: str) -> bool:
        """Whether a threshold means something for the metric."""
        return self.takes(name, self.metric.labels)

    @property
    def answers_ranked(self) -> int:
        """How many of the best scores may hold the label for an answer to be right."""
        return self.top_k if self.metric is Metric.TOPK else 1

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> GateRules:
        """Makes rules from decimal text, as a command line gives it; None means the default.

        Raises:
            InputError: A number is none, or out of its range, or there is no such rule.
        """
        try:
            return cls.model_validate({name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            raise InputError(f"the gate's rules: {_sentence(error)}.") from error

    def to_json(self) -> str:
        """The rules as one line of JSON, fractions as text."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> GateRules:
        """Reads what :meth:`to_json` wrote; fractions are text, as in ``"97/100"`` or ``"0.97"``.

        Raises:
            InputError: A field is unknown, or a value is not what the rule takes.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(f"these are not gate rules: {text!r} ({_sentence(error)}).") from error


def _sentence(error: ValidationError) -> str:
    """What is wrong, by key."""
    parts = []
    for detail in error.errors():
        key, message = ".".join(map(str, detail["loc"])), detail["msg"].removeprefix("Value error, ")
        parts.append(f"{key}: {message}; found {detail['input']!r}" if key else message)
    return "; ".join(parts)
