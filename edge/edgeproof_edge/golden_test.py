"""The self-test of a release: it must answer its golden vectors as it did where it was judged.

Kernels of different families differ in the last bits, so a difference up to the manifest's tolerance is none; the answer
itself must be the same on every row (the rows were chosen so that no kernel family changes it). A file that was changed
in memory, a broken delegate or a runtime that computes something else shows here.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_edge.answers import answered_classes
from edgeproof_edge.errors import EdgeproofError

if TYPE_CHECKING:
    from edgeproof_edge.runtime.model import EdgeModel


class GoldenTestError(EdgeproofError):
    """A release answers otherwise on this device than where it was judged."""


@dataclass(frozen=True)
class GoldenResult:
    """How a release did on its golden vectors.

    Attributes:
        num_examples: Rows; 0 where the release has no golden vectors.
        largest_difference: Of any number of the output, in its units.
        tolerance: What was allowed.
    """

    num_examples: int
    largest_difference: float
    tolerance: float


def check_golden_vectors(model: EdgeModel) -> GoldenResult:
    """Runs the golden vectors of a release.

    Raises:
        GoldenTestError: An answer differs, or a number does by more than the tolerance; or the file cannot be read.
    """
    golden = model.manifest.golden
    if golden is None:
        return GoldenResult(0, 0.0, 0.0)
    inputs, expected = _arrays(model)
    outputs = np.concatenate(
        [
            model.predict({name: rows[index : index + 1] for name, rows in inputs.items()})[golden.output]
            for index in range(golden.num_examples)
        ]
    )
    found, wanted = (array.reshape(golden.num_examples, -1) for array in (outputs, expected))
    difference = float(np.abs(found.astype(np.float64) - wanted).max(initial=0.0))
    if not model.manifest.verdict.judges_errors:
        _check_answers(model, found, wanted)
    if not difference <= golden.tolerance:
        raise GoldenTestError(
            f"release {model.version} differs by {difference:g} from its golden vectors, where {golden.tolerance:g} is allowed "
            f"({model.runtime}, {model.delegation.delegate}). Keep the release before, and report this device."
        )
    return GoldenResult(golden.num_examples, difference, golden.tolerance)


def _check_answers(model: EdgeModel, answers: NDArray[Any], wanted: NDArray[Any]) -> None:
    threshold = model.decision_threshold
    agreeing = answered_classes(answers, threshold) == answered_classes(wanted, threshold)
    if not agreeing.all():
        raise GoldenTestError(
            f"release {model.version} answers {int((~agreeing).sum())} of {len(agreeing)} golden vectors otherwise than where "
            f"it was judged ({model.runtime}, {model.delegation.delegate}). Keep the release before, and report this device."
        )


def _arrays(model: EdgeModel) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    golden = model.manifest.golden
    assert golden is not None
    path = model.directory / golden.file
    try:
        with np.load(path, allow_pickle=False) as archive:
            inputs = {spec.name: archive[f"input:{spec.name}"] for spec in model.inputs}
            expected: NDArray[Any] = archive[f"output:{golden.output}"]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise GoldenTestError(f"{path} cannot be read: {error}. Publish the release again.") from error
    if {len(array) for array in (*inputs.values(), expected)} != {golden.num_examples}:
        raise GoldenTestError(f"{path} has not the {golden.num_examples} rows that the manifest says.")
    return inputs, expected
