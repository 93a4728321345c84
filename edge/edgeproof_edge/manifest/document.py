"""The manifest as a whole: one value, checked when it is made, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgeproof_edge.answers import judged_output
from edgeproof_edge.errors import InputError
from edgeproof_edge.manifest.checks import (
    SCHEMA_VERSION,
    SCHEMA_VERSION_3,
    SCHEMA_VERSION_4,
    check_answer,
    check_files,
    check_golden,
    check_reference,
    check_tensors,
    check_verdict,
    check_version,
    is_utc_time,
    require,
)
from edgeproof_edge.manifest.entries import (
    TOP1,
    Answer,
    FileEntry,
    GoldenVectors,
    Reference,
    RuntimeRequirements,
    TensorEntry,
    VerdictSummary,
)
from edgeproof_edge.manifest.json_reader import Reader, as_text, load, object_at
from edgeproof_edge.manifest.reading import (
    read_answer,
    read_file,
    read_golden,
    read_golden_3,
    read_reference,
    read_reference_3,
    read_runtime,
    read_tensor,
    read_tensor_4,
    read_verdict,
    read_verdict_3,
)


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
        answer: How the answer is read; None in versions before 4: the largest score of the only output, or its value.
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
    answer: Answer | None = None
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        """Checks the rules that types do not express; raises InputError naming the key."""
        check_version(self.schema_version, "Update edgeproof-edge.")
        needed = schema_version_for(self.verdict, self.golden, self.reference, self.answer, self.inputs)
        require(self.schema_version >= needed, "schema_version", f"{needed} for this content", self.schema_version)
        for key in ("model_name", "version", "recipe", "stack"):
            require(bool(getattr(self, key)), key, "a text that is not empty", getattr(self, key))
        require(self.sequence >= 1, "sequence", "an integer from 1", self.sequence)
        require(is_utc_time(self.created), "created", "a UTC time like 2026-11-21T09:00:00Z", self.created)
        check_files(self.files)
        check_tensors("inputs", self.inputs)
        check_tensors("outputs", self.outputs)
        for index, operator in enumerate(self.runtime.operators):
            require(bool(operator.name), f"runtime.operators[{index}].name", "a text that is not empty", operator.name)
            require(operator.version >= 1, f"runtime.operators[{index}].version", "an integer from 1", operator.version)
        check_verdict(self.verdict)
        fraction = self.runtime.delegated_fraction
        require(
            fraction is None or 0.0 <= fraction <= 1.0,
            "runtime.delegated_fraction",
            "from 0.0 to 1.0, or null",
            fraction,
        )
        if self.golden is not None:
            check_golden(self.golden, [entry.name for entry in self.files], [entry.spec.name for entry in self.outputs])
        if self.reference is not None:
            check_reference(self.reference)
        if self.answer is not None:
            check_answer(self.answer, [entry.spec.name for entry in self.outputs])

    @property
    def judged_output(self) -> str | None:
        """The output that holds the answer; None where an old manifest of several outputs does not say."""
        if self.answer is not None:
            return self.answer.output
        if self.golden is not None:
            return self.golden.output
        return judged_output([entry.spec.name for entry in self.outputs])

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
        if self.schema_version < SCHEMA_VERSION_4:
            del content["answer"]
        for key, entries in (("inputs", self.inputs), ("outputs", self.outputs)):
            content[key] = [_tensor_json(entry, self.schema_version) for entry in entries]
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Reads the text of a `manifest.json`.

        Raises:
            InputError: The text is no JSON, or a key is missing, unknown, or has a wrong value; the message names the
                key.
        """
        content = object_at(load(text), "")
        version = content.get("schema_version")
        check_version(version, "Update edgeproof-edge, or check the file.")
        is_2, is_4 = version == SCHEMA_VERSION, version == SCHEMA_VERSION_4
        read_tensor_of = read_tensor_4 if is_4 else read_tensor
        reader = Reader(content, "")
        manifest = cls(
            schema_version=reader.integer("schema_version"),
            model_name=reader.text("model_name"),
            sequence=reader.integer("sequence"),
            version=reader.text("version"),
            created=reader.text("created"),
            files=reader.objects("files", read_file),
            inputs=reader.objects("inputs", read_tensor_of),
            outputs=reader.objects("outputs", read_tensor_of),
            labels=reader.items("labels", as_text),
            recipe=reader.text("recipe"),
            stack=reader.text("stack"),
            runtime=reader.child("runtime", read_runtime),
            verdict=reader.child("verdict", read_verdict if is_2 else read_verdict_3),
            golden=reader.optional_child("golden", read_golden if is_2 else read_golden_3),
            reference=reader.optional_child("reference", read_reference if is_2 else read_reference_3),
            answer=reader.optional_child("answer", read_answer) if is_4 else None,
        )
        reader.finish()
        return manifest


def schema_version_for(
    verdict: VerdictSummary,
    golden: GoldenVectors | None = None,
    reference: Reference | None = None,
    answer: Answer | None = None,
    inputs: Sequence[TensorEntry] = (),
) -> int:
    """The lowest schema version that can say this."""
    if answer is not None or any(entry.orientation or entry.resize or entry.categories for entry in inputs):
        return SCHEMA_VERSION_4
    is_2 = verdict.metric == TOP1 and verdict.float_value is None and verdict.candidate_value is None
    is_2 = is_2 and (golden is None or golden.minimum_margin is not None)
    is_2 = is_2 and (reference is None or (reference.confidence is not None and reference.values is None))
    return SCHEMA_VERSION if is_2 else SCHEMA_VERSION_3


def _drop_keys_of_version_3(content: dict[str, Any]) -> None:
    for key in ("metric", "float_value", "candidate_value", "maximum_error_factor"):
        del content["verdict"][key]
    if content["reference"] is not None:
        del content["reference"]["values"]


def _tensor_json(entry: TensorEntry, version: int) -> dict[str, Any]:
    content = {**asdict(entry.spec), "layout": entry.layout, "value_range": entry.value_range}
    if version >= SCHEMA_VERSION_4:
        content |= {"orientation": entry.orientation, "resize": entry.resize, "categories": list(entry.categories)}
    return content
