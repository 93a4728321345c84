"""What the repository knows about a release: an entry of the role ``archive``, which publishers read and devices never fetch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgeproof_edge.manifest import TOP1
from edgeproof_edge.updating.channel import ReleaseReference, bundle_path
from tuf.api.metadata import TargetFile, Targets

from releases.errors import ReleaseError

ARCHIVE = "archive"
_DIGEST_CHARACTERS = 12  # for people; the archive carries the whole hash
_VERSION = re.compile(rf"(\d{{6,}})-[0-9a-f]{{{_DIGEST_CHARACTERS}}}")
#: Field of the role that remembers the numbers given, so that pruning never frees one.
_SEQUENCES = "sequences"


@dataclass(frozen=True)
class Retirement:
    """Why a release must not be offered again."""

    by: str
    at: str
    reason: str


@dataclass(frozen=True)
class Release:
    """One published release.

    Attributes:
        model: The model that it is a release of.
        sequence: 1 for the first release of a model; never given twice.
        version: ``sequence`` with six digits, a hyphen, the first 12 hex digits of ``content_sha256``.
        created: UTC time, as in "2026-11-21T09:00:00Z".
        content_sha256: Hash over what a device runs; the same model again is the same release.
        bundle_sha256: SHA-256 of the bundle, which names its file.
        size_bytes: Size of the bundle.
        recipe: How the model was quantized.
        num_examples: Examples of the holdout that judged it.
        num_correct_float: Right answers of the float model among them; None where labels are real values.
        num_correct_candidate: Right answers of this model among them; None likewise.
        retired: Set where it must not be offered again.
        metric, float_value, candidate_value: See ``VerdictSummary``; not written for right answers, so that publishers of
            before go on reading those entries.
    """

    model: str
    sequence: int
    version: str
    created: str
    content_sha256: str
    bundle_sha256: str
    size_bytes: int
    recipe: str
    num_examples: int
    num_correct_float: int | None
    num_correct_candidate: int | None
    retired: Retirement | None = None
    metric: str = TOP1
    float_value: str | None = None
    candidate_value: str | None = None

    @property
    def path(self) -> str:
        """The TUF target of the bundle."""
        return bundle_path(self.model, self.version)

    @property
    def file(self) -> str:
        """Where the bundle lies in the store."""
        return f"targets/models/{self.model}/{self.bundle_sha256}.{self.version}.tar"

    @property
    def reference(self) -> ReleaseReference:
        return ReleaseReference(self.version, self.sequence, self.bundle_sha256, self.size_bytes)

    def to_target(self) -> TargetFile:
        """The release as a target of the archive."""
        custom = asdict(self)
        of_other_metrics = ("metric", "float_value", "candidate_value") if self.metric == TOP1 else ()
        for key in ("bundle_sha256", "size_bytes", *of_other_metrics):
            del custom[key]
        hashes = {"sha256": self.bundle_sha256}
        return TargetFile(self.size_bytes, hashes, self.path, {"custom": custom})

    @classmethod
    def from_target(cls, target: TargetFile) -> Release:
        """Reads a target of the archive.

        Raises:
            ReleaseError: An entry that this version of Edgeproof did not write.
        """
        try:
            fields: dict[str, Any] = dict(target.custom)
            retired = fields.pop("retired")
            return cls(
                **fields,
                bundle_sha256=target.hashes["sha256"],
                size_bytes=target.length,
                retired=None if retired is None else Retirement(**retired),
            )
        except (KeyError, TypeError) as error:
            raise ReleaseError(
                f"the archive's entry {target.path} cannot be understood: {error}. Update Edgeproof."
            ) from error


def version_of(sequence: int, content_sha256: str) -> str:
    """The version of a release, for people: number and the start of its content's hash."""
    return f"{sequence:06d}-{content_sha256[:_DIGEST_CHARACTERS]}"


def sequence_of(version: str) -> int | None:
    """The number in a version; None for a text that is no version."""
    match = _VERSION.fullmatch(version)
    return int(match[1]) if match else None


def releases(archive: Targets) -> tuple[Release, ...]:
    """All releases in the archive, by model and number."""
    unordered = (Release.from_target(target) for target in archive.targets.values())
    return tuple(sorted(unordered, key=lambda release: (release.model, release.sequence)))


def last_sequence(archive: Targets, model: str) -> int:
    """The highest number ever given to a release of ``model``; 0 before the first."""
    given: Mapping[str, int] = archive.unrecognized_fields.get(_SEQUENCES, {})
    return given.get(model, 0)


def put(archive: Targets, release: Release) -> None:
    """Writes a release into the archive and notes its number."""
    archive.targets[release.path] = release.to_target()
    given = archive.unrecognized_fields.setdefault(_SEQUENCES, {})
    given[release.model] = max(given.get(release.model, 0), release.sequence)
