"""The trigger file: which model is watched, with which rules, and how a run is started.

A path in the file is relative to the file. A rule that is not listed is off; ``manual`` is always there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from telemetry.event import MODEL_NAME_PATTERN
from triggers.errors import TriggerConfigError
from triggers.rule import Mode, Rule, RuleSettings
from triggers.rules import RULES
from triggers.rules.manual import Manual, ManualSettings

_RULES_BY_NAME = {rule.name: rule for rule in RULES}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Guards(_Section):
    """What holds every rule back."""

    cooldown_hours: float = Field(6.0, ge=0, description="Hours between two runs.")
    max_runs_per_week: int = Field(7, gt=0, description="Runs in any seven days.")


class LocalLauncherSettings(_Section):
    """A process on this machine: ``edgeproof run``."""

    kind: Literal["local"] = "local"
    config: Path = Field(description="The pipeline's config.")
    overrides: tuple[str, ...] = Field((), description="As --set takes them.")


class KubeflowLauncherSettings(_Section):
    """A run of a pipeline that is uploaded to Kubeflow Pipelines."""

    kind: Literal["kubeflow"] = "kubeflow"
    host: str = Field(description="Address of the API, as in http://ml-pipeline.kubeflow:8888.")
    pipeline_id: str = Field(description="Of the uploaded pipeline.")
    pipeline_version_id: str | None = Field(None, description="Default: the newest version.")
    experiment_id: str | None = Field(
        None, description="Where runs are listed. Default: Kubeflow's default experiment."
    )
    parameters: dict[str, str | int | float | bool] = Field({}, description="Runtime parameters of the pipeline.")
    reason_parameter: str | None = Field(
        "reason", description="The runtime parameter that takes the reason; null where the pipeline has none."
    )
    key_parameter: str | None = Field(
        "trigger_key",
        description="The runtime parameter that takes the trigger's key; null where the pipeline has none.",
    )
    span_parameter: str | None = Field(
        "data_span", description="The runtime parameter that takes the data span; null where the pipeline has none."
    )
    token_file: Path | None = Field(None, description="File with the bearer token, read at each request.")


LauncherSettings = Annotated[LocalLauncherSettings | KubeflowLauncherSettings, Field(discriminator="kind")]


class TriggerSettings(_Section):
    """The trigger file."""

    model: str = Field(pattern=MODEL_NAME_PATTERN, description="Name of the model, as devices report it.")
    database: str = Field(
        "telemetry.db", description="Of telemetry: postgresql://user@host/name, or the path of an SQLite file."
    )
    releases: str = Field(description="The release repository: a directory or an address.")
    keys: Path | None = Field(
        None, description="Directory of its keys, for the trusted root. Default: the repository's first root."
    )
    channel: str = Field("stable", description="Whose release is watched.")
    window_hours: float = Field(
        24.0, gt=0, description="Of telemetry that drift looks at; a day, so that nights count."
    )
    max_devices: int = Field(
        500, gt=0, description="Devices that drift looks at: a sample, drawn by hash, where there are more."
    )
    guards: Guards = Guards()
    launcher: LauncherSettings
    rules: dict[str, Any] = Field(description="Settings by rule.")

    @field_validator("rules")
    @classmethod
    def _rules_are_known(cls, given: dict[str, Any]) -> dict[str, RuleSettings]:
        unknown = sorted(set(given) - set(_RULES_BY_NAME))
        if unknown:
            raise ValueError(f"no rule is called {unknown[0]!r}; there are {', '.join(_RULES_BY_NAME)}")
        return {name: _RULES_BY_NAME[name].settings_type.model_validate(values or {}) for name, values in given.items()}

    def active_rules(self) -> tuple[Rule[Any], ...]:
        """The rules that are on, in their order."""
        settings: Mapping[str, RuleSettings] = {Manual.name: ManualSettings(), **self.rules}
        return tuple(
            rule(settings[rule.name])
            for rule in RULES
            if rule.name in settings and settings[rule.name].mode is not Mode.OFF
        )


def load_settings(file: Path) -> TriggerSettings:
    """Reads a trigger file.

    Raises:
        TriggerConfigError: It cannot be read, or a key is wrong; the message names the key.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TriggerConfigError(f"{file} does not exist. docs/triggers.md shows one to begin with.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TriggerConfigError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    try:
        settings = TriggerSettings.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the file"
        raise TriggerConfigError(f"{file}: {place}: {problem['msg'].removeprefix('Value error, ')}") from None
    return _resolved(settings, file.absolute().parent)


def _resolved(settings: TriggerSettings, base: Path) -> TriggerSettings:
    """The settings with paths that no longer depend on where the file lies."""
    changes: dict[str, Any] = {}
    if "://" not in settings.database:
        changes["database"] = str(base / settings.database)
    if "://" not in settings.releases:
        changes["releases"] = str(base / settings.releases)
    if settings.keys is not None:
        changes["keys"] = base / settings.keys
    if isinstance(settings.launcher, LocalLauncherSettings):
        changes["launcher"] = settings.launcher.model_copy(update={"config": base / settings.launcher.config})
    elif settings.launcher.token_file is not None:
        changes["launcher"] = settings.launcher.model_copy(update={"token_file": base / settings.launcher.token_file})
    rules = dict(settings.rules)
    if "new_span" in rules:
        rules["new_span"] = rules["new_span"].model_copy(update={"path": base / rules["new_span"].path})
    return settings.model_copy(update={**changes, "rules": rules})
