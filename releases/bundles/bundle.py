"""Puts together what a release consists of: the judged bytes, what a device must know, and the evidence.

    model.tflite labels.txt          what a device runs; their hash names the release
    manifest.json                    what a device must know before it runs them
    golden.npz                       inputs with the outputs they must give, for the self-test
    gate_report.json conversion_report.json provenance.intoto.json    why it was let through and where it comes from
    provenance.dsse.json             the same provenance, signed by whoever publishes

The parts are put together before the release has a number; packing them then is pure: equal content, number, time and signature are
equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from edgeproof_edge.bundle import GOLDEN_FILE, LABELS_FILE, MANIFEST_FILE, MODEL_FILE, content_sha256, pack
from edgeproof_edge.flatbuffer import inspect
from edgeproof_edge.manifest import (
    Answer,
    FileEntry,
    Manifest,
    OperatorRequirement,
    RuntimeRequirements,
    TensorEntry,
    VerdictSummary,
    schema_version_for,
)
from edgeproof_edge.tensors import TensorSpec
from edgeproof_edge.updating.channel import NAME
from securesystemslib.signer import Signer

from releases.bundles.observation import Observation
from releases.bundles.provenance_envelope import ENVELOPE_FILE, sealed
from releases.errors import ReleaseError

GATE_REPORT_FILE = "gate_report.json"
CONVERSION_REPORT_FILE = "conversion_report.json"
PROVENANCE_FILE = "provenance.intoto.json"

_DRAFT_VERSION = "draft"
_DRAFT_TIME = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class InputMeaning:
    """What a raw input tensor stands for; see ``TensorEntry``."""

    layout: str | None = None
    value_range: tuple[float, float] | None = None
    orientation: str | None = None
    categories: tuple[str, ...] = ()
    resize: str | None = None


@dataclass(frozen=True)
class Description:
    """What the manifest says beside what is read from the files.

    Attributes:
        labels: Class names in the order of the output; empty where the model does not classify.
        recipe: How the model was quantized, such as int8.
        stack: Name of the TFX stack that made it.
        verdict: What let it pass.
        inputs: What an input stands for, by name.
        observation: What the model did on the holdout; None where no examples were at hand.
        answer: The output that was judged and its threshold; None where nobody knows.
    """

    labels: tuple[str, ...]
    recipe: str
    stack: str
    verdict: VerdictSummary
    inputs: Mapping[str, InputMeaning]
    observation: Observation | None = None
    answer: Answer | None = None


@dataclass(frozen=True)
class Draft:
    """A release without its number.

    Attributes:
        model: The model that this is a release of.
        files: Content by file name, without the manifest.
        manifest: The manifest, as for a first release: whatever is wrong with it shows before anything is written.
    """

    model: str
    files: Mapping[str, bytes]
    manifest: Manifest

    @property
    def content_sha256(self) -> str:
        """What tells this model from others: the hash over what a device runs."""
        return content_sha256({entry.name: entry.sha256 for entry in self.manifest.files})


def draft(model: str, files: Mapping[str, bytes], description: Description) -> Draft:
    """Puts a release together.

    Args:
        model: Name of the model.
        files: Content by file name; holds ``model.tflite``, and not the manifest or the golden vectors, which are made here.
        description: What the manifest says beside.

    Raises:
        ReleaseError: A name is unusable.
        ModelFileError: Model.tflite is none.
    """
    if not NAME.fullmatch(model):
        raise ReleaseError(f"{model!r} cannot be the name of a model: use a-z, 0-9 and hyphens; set it in the config.")
    if MODEL_FILE not in files or MANIFEST_FILE in files:
        raise ReleaseError(f"a release needs {MODEL_FILE} and makes its own {MANIFEST_FILE}; found {sorted(files)}.")
    observation = description.observation
    golden = observation.golden if observation else None
    golden_entry, reference = golden.entry if golden else None, observation.reference if observation else None
    complete = {**files, GOLDEN_FILE: golden.data} if golden else dict(files)
    inspection = inspect(files[MODEL_FILE])
    operators = sorted({(use.name, use.version) for use in inspection.operators})
    meanings = description.inputs
    inputs = [(spec, meanings.get(spec.name, InputMeaning())) for spec in inspection.inputs]
    if len(inputs) == len(meanings) == 1:  # a single array fits a single input whatever its name
        inputs = [(inspection.inputs[0], next(iter(meanings.values())))]
    input_entries = tuple(TensorEntry(spec, **vars(meaning)) for spec, meaning in inputs)
    answer = _answer(description.answer, inspection.outputs)
    manifest = Manifest(
        model_name=model,
        sequence=1,
        version=_DRAFT_VERSION,
        created=_DRAFT_TIME,
        files=tuple(FileEntry(name, sha256(data).hexdigest(), len(data)) for name, data in sorted(complete.items())),
        inputs=input_entries,
        outputs=tuple(TensorEntry(spec) for spec in inspection.outputs),
        labels=description.labels,
        recipe=description.recipe,
        stack=description.stack,
        runtime=RuntimeRequirements(
            inspection.minimum_runtime,
            tuple(OperatorRequirement(*operator) for operator in operators),
            observation.delegated_fraction if observation else None,
        ),
        verdict=description.verdict,
        golden=golden_entry,
        reference=reference,
        answer=answer,
        schema_version=schema_version_for(description.verdict, golden_entry, reference, answer, input_entries),
    )
    return Draft(model, complete, manifest)


def _answer(answer: Answer | None, outputs: Sequence[TensorSpec]) -> Answer | None:
    """What the manifest has to say of the answer: nothing where it is the largest score, or the value, of the only output."""
    if answer is None:
        return None
    is_one_unit = all(spec.shape[-1:] == (1,) for spec in outputs if spec.name == answer.output)
    needed = answer if is_one_unit else replace(answer, decision_threshold=None)
    return needed if needed.decision_threshold is not None or len(outputs) > 1 else None


def build(draft: Draft, sequence: int, version: str, created: str, signer: Signer | None = None) -> bytes:
    """Returns the bundle of a draft that got its number: equal arguments are equal bytes, where equal signatures are.

    Args:
        draft: The content.
        sequence: The number of the release.
        version: Its version.
        created: When it got them, UTC.
        signer: Signs the provenance, where there is one; None leaves the envelope out.
    """
    files = dict(draft.files)
    if signer is not None and PROVENANCE_FILE in files:
        files[ENVELOPE_FILE] = sealed(files[PROVENANCE_FILE], signer)
    entries = tuple(FileEntry(name, sha256(data).hexdigest(), len(data)) for name, data in sorted(files.items()))
    manifest = replace(draft.manifest, files=entries, sequence=sequence, version=version, created=created)
    return pack({**files, MANIFEST_FILE: manifest.to_json().encode()})


def read_class_names(text: str) -> tuple[str, ...]:
    """Reads the JSON list of class names that crosses TFX.

    Raises:
        ReleaseError: It is not a list of one-line strings.
    """
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) and name and "\n" not in name for name in names):
        raise ReleaseError(
            "class_names must be a JSON list of names without line breaks, in the order of the outputs; "
            f"found {text[:80]!r}."
        )
    return tuple(names)


def labels_text(class_names: Sequence[str]) -> bytes:
    """Returns labels.txt: one name per line, line n (from 0) names output n."""
    return "".join(f"{name}\n" for name in class_names).encode()


__all__ = [
    "CONVERSION_REPORT_FILE",
    "GATE_REPORT_FILE",
    "LABELS_FILE",
    "MODEL_FILE",
    "PROVENANCE_FILE",
    "Description",
    "Draft",
    "InputMeaning",
    "build",
    "draft",
    "labels_text",
    "read_class_names",
]
