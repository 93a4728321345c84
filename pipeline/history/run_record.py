"""What happened in a run: its nodes, its verdict and its release, as one JSON file that later commands read.

MLMD stays the source; the record is what a person asks for after the run, kept so that ``edgeproof report`` needs no TensorFlow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import ConfigError
from pipeline.mlmd import NodeRun
from releases.stores.files import replace_file

#: The record of the last finished run, under the workspace.
LAST_RUN = "last_run.json"
#: What a run leaves before its first step, under the workspace: it shows later runs that came to no verdict.
LAST_ATTEMPT = "last_attempt.json"
#: Why a run was started, unless whoever starts it says so.
BY_HAND = "by hand"


class ReleaseRecord(BaseModel):
    """A published release: its files for people lie at `path`, its bundle in `repository`.

    ``offered_version`` is what the channel offers: a newer release stays where the same content was published before.
    """

    model_config = ConfigDict(frozen=True)

    version: str
    path: str
    repository: str
    channel: str
    offered_version: str = ""

    @property
    def is_offered(self) -> bool:
        """Whether the channel offers this release."""
        return self.offered_version in ("", self.version)


class NodeUsage(BaseModel):
    """What a step cost.

    Attributes:
        cpu_seconds: Processor time, user and system, of this process and of its children that have ended.
        peak_bytes: Most memory at once of this process and all below it.
    """

    model_config = ConfigDict(frozen=True)

    cpu_seconds: float
    peak_bytes: int


class RunRecord(BaseModel):
    """One run that came to a verdict; files of artifacts are URIs. Of records of before, the last seven are empty.

    ``usage`` is by node; ``number`` is that of ``edgeproof runs``; ``judged_by`` is the run that gave the verdict, which the cache may have
    kept, and ``judged_at`` when (UTC); ``data`` is span and version; ``num_examples`` is by split.
    """

    model_config = ConfigDict(frozen=True)

    pipeline: str
    run_id: str
    reason: str = BY_HAND
    nodes: tuple[NodeRun, ...]
    is_accepted: bool
    examples: str
    float_model: str
    gate_report: str
    conversion_report: str
    release: ReleaseRecord | None
    log: str
    seconds: float = 0.0
    usage: Mapping[str, NodeUsage] = Field(default_factory=dict)
    number: int | None = None
    git_commit: str = ""
    judged_by: str = ""
    judged_at: str = ""
    data: str = ""
    num_examples: Mapping[str, int] = Field(default_factory=dict)


class Attempt(BaseModel):
    """A run that was started; one that came to a verdict has a record with the same log."""

    model_config = ConfigDict(frozen=True)

    started: str
    log: str


def write_record(record: RunRecord, workspace: Path) -> Path:
    """Writes the record under its run's id and replaces the last run's, each in one step."""
    text = json.dumps(record.model_dump(), indent=2, sort_keys=True) + "\n"
    own = workspace / "runs" / f"{record.run_id.replace(':', '')}.json"
    own.parent.mkdir(parents=True, exist_ok=True)
    for path in (own, workspace / LAST_RUN):
        replace_file(path, text.encode())
    return own


def write_attempt(workspace: Path, started: str, log: Path) -> None:
    """Notes that a run was started.

    Args:
        workspace: The run's workspace.
        started: Local time, for people.
        log: Its log file.
    """
    replace_file(workspace / LAST_ATTEMPT, Attempt(started=started, log=str(log)).model_dump_json().encode() + b"\n")


def read_later_attempt(workspace: Path, record: RunRecord) -> Attempt | None:
    """The run that was started after the recorded one and came to no verdict, if there is one."""
    try:
        attempt = Attempt.model_validate_json((workspace / LAST_ATTEMPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a workspace of before, or damaged: nothing depends on it
        return None
    return None if attempt.log == record.log else attempt


def previous_record(workspace: Path, record: RunRecord) -> RunRecord | None:
    """The last run before this one that came to a verdict; None where there is none, or it cannot be read."""
    files = sorted((workspace / "runs").glob("*.json"))
    earlier = [file for file in files if file.stem < record.run_id.replace(":", "")]
    try:
        return RunRecord.model_validate_json(earlier[-1].read_text(encoding="utf-8")) if earlier else None
    except (OSError, ValueError):  # a workspace of before, or damaged: nothing depends on it
        return None


def read_last_record(workspace: Path, *, is_default: bool = False) -> RunRecord:
    """The record of the last run that came to a verdict.

    Args:
        workspace: Where runs are kept.
        is_default: Whether the config names no workspace, so that it lies under the current directory.

    Raises:
        ConfigError: There has been none, or the file is damaged.
    """
    path = workspace / LAST_RUN
    try:
        return RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        elsewhere = (
            " The config has no `workspace:`, so workspaces lie under the current directory: for a run started in another one, "
            "go there."
        )
        raise ConfigError(
            f"no run has come to a verdict under {workspace}. Start one with edgeproof run CONFIG.{elsewhere if is_default else ''}"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Run edgeproof run CONFIG again.") from error
