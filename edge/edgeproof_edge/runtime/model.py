"""`EdgeModel`: one release, loaded once, answering many threads.

Rules, in order: 1. Files are held against the manifest before anything is loaded. 2. Inputs and outputs have the names of
the manifest, in real-world units, batch first. 3. An interpreter computes for one thread at a time: there is a fixed
number of them, and threads wait. 4. A picture goes in as it went into training: turned, sized and typed by the manifest,
or refused. 5. Every answer is timed.
"""

from __future__ import annotations

import queue
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeproof_edge.answers import DEFAULT_DECISION_THRESHOLD, answered_classes
from edgeproof_edge.bundle import MANIFEST_FILE, MODEL_FILE
from edgeproof_edge.codes import Transform, dequantizer, quantizer, takes_one_shape
from edgeproof_edge.errors import InputError, ModelFileError
from edgeproof_edge.interpreter import TFLiteModel, delegation
from edgeproof_edge.litert import open_delegate, runtime_version
from edgeproof_edge.manifest import Manifest
from edgeproof_edge.observing import are_probabilities, confidence
from edgeproof_edge.runtime.latency import LatencyHistogram
from edgeproof_edge.runtime.options import DelegationReport, RuntimeOptions, delegation_report
from edgeproof_edge.runtime.pictures import Picture, picture_rules
from edgeproof_edge.tensors import TensorSpec
from edgeproof_edge.updating.boot_guard import guard_of
from edgeproof_edge.updating.device_home import DeviceHome, manifest_damage

Array = NDArray[Any]
Arrays = Mapping[str, Array]
#: Called after every batch that was answered: inputs and outputs by name, in real-world units, batch first.
Observer = Callable[[Arrays, Arrays, float], None]


@dataclass(frozen=True)
class Ranked:
    """One class among the most likely.

    Attributes:
        index: Position in the output.
        label: Its name; the number as text where the manifest names no classes.
        score: The output's number for it.
    """

    index: int
    label: str
    score: float


@dataclass(frozen=True)
class Answer:
    """What the model says of one example.

    Attributes:
        label: Name of the class; None where the output is a real value.
        index: Number of the class; None likewise.
        confidence: How sure it is, 0 to 1; None likewise.
        value: The real value; None where the output is classes.
        top: The most likely classes, the best first; empty where the output is a real value.
    """

    label: str | None
    index: int | None
    confidence: float | None
    value: float | None
    top: tuple[Ranked, ...]


class EdgeModel:
    """A release that runs. Safe among threads.

    Attributes:
        manifest: What the release says of itself.
        directory: Where its files are.
        delegation: What computes it, proved.
        latency: How long answers took.
        damage: Why this is not the release that `current` names; None where it is, or was opened by its path.
    """

    def __init__(self, directory: Path, options: RuntimeOptions, damage: str | None = None) -> None:
        """Used by `open` and `current`."""
        self.directory = directory
        self.damage = damage
        self.latency = LatencyHistogram()
        self.options = options
        self.manifest = _read_manifest(directory, options)
        self._observers: list[Observer] = []
        self._open_interpreters(options)
        self._output = self.manifest.judged_output
        self._gives_probabilities = _gives_probabilities(directory, self.manifest)
        self._picture_rules = picture_rules(self.manifest)
        self._categories = {
            entry.spec.name: {text: number for number, text in enumerate(entry.categories, start=1)}
            for entry in self.manifest.inputs
        }

    @classmethod
    def open(cls, bundle: Path | str, options: RuntimeOptions | None = None) -> EdgeModel:
        """Loads a release from the directory of its files.

        Raises:
            ModelFileError: The files are not what the manifest says, or the runtime refuses the model.
            DelegationError: A required delegate does not compute what it must.
            SurroundingsError: A delegate cannot be loaded.
        """
        return cls(Path(bundle), options or RuntimeOptions())

    @classmethod
    def current(cls, home: Path | str, options: RuntimeOptions | None = None) -> EdgeModel:
        """Loads the release that a device runs; where it is damaged, the one before (see `damage`).

        Raises:
            NoModelError: No release on the device is sound.
            Others: As `open`.
        """
        path = Path(home)
        startable = DeviceHome(path).startable(guard_of(path).state().fallback)
        return cls(startable.installed.directory, options or RuntimeOptions(), startable.damage)

    @property
    def version(self) -> str:
        """The version of the release."""
        return self.manifest.version

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model takes."""
        return self._specs[0]

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the model returns."""
        return self._specs[1]

    @property
    def runtime(self) -> str:
        """Name and version of the runtime."""
        return runtime_version()

    @property
    def takes_pictures(self) -> bool:
        """Whether the only input is a picture."""
        return self._picture_rules is not None

    def observe(self, observer: Observer) -> None:
        """Has every answered batch shown to a function, in the thread that asked."""
        self._observers.append(observer)

    def predict(self, inputs: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, Array]:
        """Runs the model.

        Args:
            inputs: One array per input, by name, batch first, in real-world units; a single array where the model has one
                input. An input whose manifest lists categories may be given their texts.

        Returns:
            One array per output, by name, batch first, in real-world units.

        Raises:
            InputError: A name, shape, type or value is not what the model takes.
        """
        started = time.perf_counter()
        arrays = self._bound(inputs)
        interpreter = self._free.get()
        try:
            if self._is_declared_batch(arrays):
                codes = [quantize(arrays[name]) for name, quantize in self._quantizers]
                raw = interpreter.invoke_codes(codes)
                outputs = {
                    name: transform(codes) for (name, transform), codes in zip(self._dequantizers, raw, strict=True)
                }
            else:
                outputs = interpreter.predict(arrays)
        finally:
            self._free.put(interpreter)
        milliseconds = (time.perf_counter() - started) * 1000.0
        self.latency.add(milliseconds)
        for observer in self._observers:
            observer(arrays, outputs, milliseconds)
        return outputs

    def answer(self, example: Mapping[str, ArrayLike] | ArrayLike | Picture, num_top: int = 5) -> Answer:
        """What the model says of one example.

        Args:
            example: Its values by input, without the batch dimension; a single array where the model has one input; or a
                picture, which is prepared as the manifest says.
            num_top: How many of the most likely classes to name.

        Raises:
            InputError: The example is not what the model takes, or the manifest does not say which output is the answer.
        """
        if isinstance(example, Picture):
            example = self.prepared(example)
        rows: Any = (
            {name: np.asarray(values)[None] for name, values in example.items()}
            if isinstance(example, Mapping)
            else np.asarray(example)[None]
        )
        return self.answers_of(self.predict(rows), num_top)[0]

    def prepared(self, picture: Picture) -> Array:
        """A picture as the model takes it: uint8 `[height, width, channels]`.

        Raises:
            InputError: The model takes no pictures, or not of this size or these channels.
        """
        if self._picture_rules is None:
            raise InputError(
                f"the inputs {[spec.name for spec in self.inputs]} of {self.manifest.model_name} are no pictures. Give arrays."
            )
        return self._picture_rules.prepare(picture)

    def answers_of(self, outputs: Arrays, num_top: int = 5) -> list[Answer]:
        """Reads what `predict` returned: one answer per row."""
        if self._output is None:
            raise InputError(
                f"release {self.version} does not say which of its outputs {sorted(outputs)} is the answer. Use predict()."
            )
        scores = outputs[self._output].reshape(len(outputs[self._output]), -1)
        if self.manifest.verdict.judges_errors:
            return [Answer(None, None, None, float(row[0]), ()) for row in scores]
        threshold = self.decision_threshold
        classes, sure = answered_classes(scores, threshold), self.confidence(scores)
        return [
            Answer(self.label(int(index)), int(index), float(certainty), None, self._ranked(row, num_top))
            for row, index, certainty in zip(scores, classes, sure, strict=True)
        ]

    @property
    def decision_threshold(self) -> float:
        """Where a one-unit output becomes class 1."""
        answer = self.manifest.answer
        stated = None if answer is None else answer.decision_threshold
        return DEFAULT_DECISION_THRESHOLD if stated is None else stated

    def confidence(self, scores: Array) -> Array:
        """How sure answers are, 0 to 1, for scores `[n, classes]`; probabilities are told from logits by the golden rows."""
        return confidence(scores, self._gives_probabilities)

    def label(self, index: int) -> str:
        """Name of a class."""
        return self.manifest.labels[index] if index < len(self.manifest.labels) else str(index)

    def close(self) -> None:
        """Lets go of the interpreters, when the last of them is free."""
        for _ in range(self.options.num_interpreters):
            self._free.get()

    def __enter__(self) -> EdgeModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_interpreters(self, options: RuntimeOptions) -> None:
        content = (self.directory / MODEL_FILE).read_bytes()
        delegates = [open_delegate(options.delegate, dict(options.delegate_options))] if options.delegate else []
        opened = [
            TFLiteModel.load(content, options.kernels, options.num_threads, delegates=delegates)
            for _ in range(options.num_interpreters)
        ]
        first = opened[0]
        _check_interface(self.manifest, first)
        expected = self.manifest.runtime.delegated_fraction
        self.delegation: DelegationReport = delegation_report(delegation(first), expected, options)
        self._specs = first.inputs, first.outputs
        self._quantizers: list[tuple[str, Transform]] = [(spec.name, quantizer(spec)) for spec in first.inputs]
        self._dequantizers: list[tuple[str, Transform]] = [(spec.name, dequantizer(spec)) for spec in first.outputs]
        self._shapes = {spec.name: (first.declared_batch, *spec.shape[1:]) for spec in first.inputs}
        self._is_simple = all(takes_one_shape(spec) for spec in first.inputs)
        self._free: queue.SimpleQueue[TFLiteModel] = queue.SimpleQueue()
        for interpreter in opened:
            self._free.put(interpreter)

    def _bound(self, inputs: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, Array]:
        if not isinstance(inputs, np.ndarray) and isinstance(
            inputs, Mapping
        ):  # a Mapping is slow to tell from an array
            return {name: self._numbers(name, np.asarray(values)) for name, values in inputs.items()}
        if len(self._shapes) != 1:
            raise InputError(f"the model has the inputs {sorted(self._shapes)}; give one array for each, by name.")
        name = next(iter(self._shapes))
        return {name: self._numbers(name, np.asarray(inputs))}

    def _numbers(self, name: str, values: Array) -> Array:
        """Texts of an input with categories as their numbers: 0 stands for one that training did not see."""
        if values.dtype.kind not in "UO" or not self._categories.get(name):
            return values
        numbers = self._categories[name]
        return np.array([numbers.get(str(text), 0) for text in values.ravel()], np.int64).reshape(values.shape)

    def _is_declared_batch(self, arrays: Arrays) -> bool:
        """Whether the arrays can go in as they are, in one invoke; `TFLiteModel.predict` checks and cuts all others."""
        if not self._is_simple or len(arrays) != len(self._shapes):
            return False
        for name, array in arrays.items():  # noqa: SIM110 - a generator costs half a microsecond
            if array.shape != self._shapes.get(name) or array.dtype.char not in "fB":  # float32, uint8
                return False
        return True

    def _ranked(self, row: Array, num_top: int) -> tuple[Ranked, ...]:
        if len(row) == 1:
            return ()
        best = np.argsort(-row, kind="stable")[:num_top]
        return tuple(Ranked(int(index), self.label(int(index)), float(row[index])) for index in best)


def _read_manifest(directory: Path, options: RuntimeOptions) -> Manifest:
    try:
        manifest = Manifest.from_json((directory / MANIFEST_FILE).read_bytes())
    except (OSError, InputError) as error:
        raise ModelFileError(
            f"{directory} holds no release: {error}. Give the directory of an unpacked bundle."
        ) from error
    damage = manifest_damage(directory, manifest) if options.is_verified else None
    if damage is not None:
        raise ModelFileError(f"{damage}. Run `edgeproof-edge update`, or copy the release again.")
    return manifest


def _check_interface(manifest: Manifest, model: TFLiteModel) -> None:
    """The manifest's names are the model's: a device that trusts one must find the other."""
    for what, entries, specs in (
        ("inputs", manifest.inputs, model.inputs),
        ("outputs", manifest.outputs, model.outputs),
    ):
        stated, loaded = [entry.spec.name for entry in entries], [spec.name for spec in specs]
        if sorted(stated) != sorted(loaded):
            raise ModelFileError(
                f"the manifest of {manifest.version} names the {what} {stated}; the model has {loaded}."
            )


def _gives_probabilities(directory: Path, manifest: Manifest) -> bool | None:
    """Whether the output that is judged holds probabilities; None where there are no golden rows to tell."""
    if manifest.golden is None:
        return None
    try:
        with np.load(directory / manifest.golden.file, allow_pickle=False) as archive:
            return are_probabilities(archive[f"output:{manifest.golden.output}"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None  # the golden test says what is wrong with it
