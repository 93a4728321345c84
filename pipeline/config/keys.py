"""What the keys of the config are, found in its models: for messages about wrong keys, and for paths given on the command line."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from pipeline.config import PipelineConfig


def path_keys(section: type[BaseModel] = PipelineConfig, prefix: str = "") -> frozenset[str]:
    """Dotted keys whose values are paths, found in the models themselves."""
    keys: set[str] = set()
    for name, field in section.model_fields.items():
        inner = _section_of(field.annotation)
        if inner is not None:
            keys |= path_keys(inner, f"{prefix}{name}.")
        elif "AfterValidator" in repr((field.annotation, field.metadata)):
            keys.add(prefix + name)
    return frozenset(keys)


def allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys that may stand at ``location`` of the config, sorted; empty where free keys are allowed."""
    section: type[BaseModel] = PipelineConfig
    for part in location:
        field = section.model_fields.get(str(part))
        inner = _section_of(field.annotation) if field else None
        if inner is None:
            return []
        section = inner
    return sorted(section.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
