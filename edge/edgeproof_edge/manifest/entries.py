"""The parts of a manifest, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from edgeproof_edge.tensors import TensorSpec

#: The metric of version 2, which does not name it.
TOP1 = "top1"
#: The only orientation of an input that is said.
UPRIGHT = "upright"
#: Ways to resize a picture that a device knows.
RESIZES = ("area", "bilinear", "nearest")
#: Metrics of real-valued labels, where less is better.
ERROR_METRICS = ("mae", "rmse")


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
        orientation: "upright" where the model was trained on pictures that EXIF says lie on their side or mirrored, turned
            as it says: a device that takes pictures from files must turn them, too. None where no picture needed it.
        resize: How pictures of another size were brought to the input's: a method of TensorFlow's ``tf.image.resize``,
            "bilinear", "area" or "nearest"; a device must do the same. None where they were refused.
        categories: The texts that the numbers of this input stand for, from 1; 0 stands for any other. Empty where the
            input is a number.
    """

    spec: TensorSpec
    layout: str | None = None
    value_range: tuple[float, float] | None = None
    orientation: str | None = None
    categories: tuple[str, ...] = ()
    resize: str | None = None


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
class Answer:
    """Which output was judged, and how its answer is read; see ``edgeproof_edge.answers``.

    Attributes:
        output: Name of the output.
        decision_threshold: A one-unit output at or above it is class 1; None where the largest score is the answer, or
            the output is a real value.
    """

    output: str
    decision_threshold: float | None = None


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
