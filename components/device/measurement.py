"""Has a model measured on a device, and compares what it answered there with what it answers here."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from edgeproof_edge.errors import ModelFileError
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.measuring import FACTS_MEMBER, OUTPUT_PREFIX, Facts, Machine, Request
from edgeproof_edge.rows import RowOrder
from numpy.typing import NDArray

from components.device.comparison import compare
from components.device.conversation import Errand
from components.device.errors import DeviceError
from components.device.links import run_errand
from components.device.outcome import DeviceMeasurement
from components.device.payload import affordable, as_sent, payload
from components.device.place import DevicePlace
from components.device.settings import Options

Array = NDArray[Any]


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        model: The bytes that would ship.
        twin: Those of the float model, timed in turns; None without.
        rows: Inputs by name, batch first, in real-world units.
        threshold: A one-unit output at or above it is class 1; None where outputs are real values.
        order: What rows are to one another.
    """

    model: bytes
    twin: bytes | None
    rows: Mapping[str, Array]
    threshold: float | None = None
    order: RowOrder = RowOrder.AUTO


def look(place: DevicePlace, seconds: float = 120) -> Machine:
    """Finds out what a device is, and whether it can measure at all.

    Raises:
        DeviceError: It cannot be reached, or has no interpreter.
    """
    outcome = run_errand(place, Errand(place.pythons, seconds, tmp=place.tmp))
    try:
        return Machine(**outcome["machine"])
    except (KeyError, TypeError) as error:
        raise DeviceError(f"{place.title} says what nobody here understands: {outcome!r}.") from error


def measure(
    place: DevicePlace, subject: Subject, options: Options | None = None
) -> tuple[DeviceMeasurement, dict[str, Array]]:
    """Measures.

    Returns:
        What the device did, and the outputs that it gave, by name.

    Raises:
        DeviceError: Nothing could be measured.
        InputError: The rows do not fit the model, or it cannot be loaded here.
    """
    options = options or Options()
    here = TFLiteModel.load(subject.model, order=subject.order)
    rows = as_sent(subject.rows, here.inputs)
    rows = affordable(rows, options.num_rows, here.declared_batch, in_order=subject.order is RowOrder.STREAM)
    here.predict(
        {name: array[: here.declared_batch] for name, array in rows.items()}
    )  # what does not fit is refused here
    request = Request(
        dtypes={name: array.dtype.name for name, array in rows.items()},
        order=subject.order.value,
        kernels=options.kernels,
        num_threads=options.num_threads,
        delegate=options.delegate,
        require_delegate=options.require_delegate,
        num_runs=options.num_runs,
        max_seconds=options.seconds / 4,
    )
    errand = Errand(place.pythons, options.seconds, payload(subject.model, subject.twin, rows, request), place.tmp)
    facts, outputs = _read_answer(place, run_errand(place, errand).get("answer", b""))
    measurement = DeviceMeasurement(place.title, facts, len(next(iter(rows.values()))))
    if facts.refusal:
        return measurement, {}
    _check_outputs(place, here, outputs, measurement.num_rows)
    return replace(
        measurement, agreement=compare(subject.model, rows, outputs, subject.threshold, subject.order)
    ), outputs


def _read_answer(place: DevicePlace, content: bytes) -> tuple[Facts, dict[str, Array]]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            facts = Facts.from_json(archive[FACTS_MEMBER].tobytes())
            names = [name for name in archive.files if name.startswith(OUTPUT_PREFIX)]
            return facts, {name.removeprefix(OUTPUT_PREFIX): archive[name] for name in names}
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DeviceError(f"the answer of {place.title} cannot be read: {error}. Run it again.") from error


def _check_outputs(place: DevicePlace, here: TFLiteModel, outputs: Mapping[str, Array], num_rows: int) -> None:
    for spec in here.outputs:
        if spec.name not in outputs or len(outputs[spec.name]) != num_rows:
            raise ModelFileError(
                f"the runtime of {place.title} gives the outputs {sorted(outputs)} for {num_rows} rows, and the model has "
                f"{[spec.name for spec in here.outputs]}: it reads the file otherwise than the runtime here."
            )
