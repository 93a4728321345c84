"""Reads the config file and ``--set`` overrides, and explains what is wrong by key path."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from edgeproof_edge.addresses import is_address
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.config import WORKSPACES, PipelineConfig, validated
from pipeline.config.keys import allowed_keys, path_keys
from pipeline.config.model import SHORT_FORMS
from pipeline.errors import ConfigError

#: Keys that name a file or a dotted module.
MODULE_KEYS = ("model.module", "model.run_fn")


def load_config(path: Path, overrides: Sequence[str] = ()) -> PipelineConfig:
    """Reads ``path`` and applies overrides such as ``train.epochs=3``.

    Raises:
        ConfigError: The file cannot be read, an override is malformed, or keys are wrong (all wrong keys are listed); or the config's
            workspace lies elsewhere.
    """
    values = _read_yaml(path)
    for override in overrides:
        _apply(values, override)
    try:
        config = validated(values, path.resolve().parent)
    except ValidationError as error:
        lines = [f"  {_explain(detail)}" for detail in error.errors()]
        raise ConfigError(f"{path} has {len(lines)} wrong key{'s' * (len(lines) > 1)}:\n" + "\n".join(lines)) from error
    _check_workspace(config, path)
    return config


def _check_workspace(config: PipelineConfig, path: Path) -> None:
    """Refuses to go to a new workspace while there is one beside the config: it would publish into another repository, with other keys."""
    beside = path.resolve().parent / WORKSPACES / config.name
    if config.workspace is None and beside.is_dir() and not config.workspace_dir.is_dir():
        raise ConfigError(
            f"the runs, releases and keys of {path} are in {beside}, and the current directory is {Path.cwd()}, where a new one "
            f"would be made. Go on there with --set workspace={beside}, or begin anew here with --set workspace={config.workspace_dir}."
        )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"config file {path} does not exist. Start from examples/digits/config.yaml.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"config file {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"config file {path} must hold keys such as name, data and model; found {type(values).__name__}."
        )
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r} must look like a.b=value, for example --set train.epochs=3.")
    *sections, last = key.split(".")
    for depth, section in enumerate(sections, start=1):
        child = values.setdefault(section, {})
        short = SHORT_FORMS.get(".".join(sections[:depth]))
        if short is not None and not isinstance(child, dict):
            child = values[section] = {short: child}
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override!r}: {section} is not a section of the config.")
        values = child
    value = _override_value(key, text)
    if key in SHORT_FORMS and isinstance(values.get(last), dict) and not isinstance(value, dict):
        values[last][SHORT_FORMS[key]] = value  # the section's other keys stay
    else:
        values[last] = value


def _override_value(key: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text  # such as */*/*, which YAML takes for an alias: the shell has its own quotes
    is_path = isinstance(value, str) and not is_address(value) and key in path_keys()
    is_dotted_module = key in MODULE_KEYS and ".py" not in text
    return str(Path.cwd() / value) if is_path and not is_dotted_module else value


def _explain(detail: ErrorDetails) -> str:
    location = detail["loc"]
    key = ".".join(str(part) for part in location) or "config"
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key; {_suggest(str(location[-1]), allowed_keys(location[:-1]))}"
    if detail["type"] == "missing":
        return f"{key}: missing"
    found = detail["input"]
    message = detail["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if isinstance(found, dict) else f"{key}: {message}; found {found!r}"


def _suggest(key: str, allowed: list[str]) -> str:
    if not allowed:
        return "nothing can be set below it"
    close = difflib.get_close_matches(key, allowed, n=1)
    return f"did you mean {close[0]}? allowed: {', '.join(allowed)}" if close else f"allowed: {', '.join(allowed)}"
