"""What the keys of the config are, found in its models: for messages about wrong keys, and for paths given on the command line."""

from __future__ import annotations

from typing import Any, get_args, get_origin

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
    is_free = False  # the next part is a name that the user chose, such as a feature's, or a position
    for part in location:
        if is_free:
            is_free = False
            continue
        field = section.model_fields.get(str(part))
        inner = _section_of(field.annotation) if field else None
        if field is None or inner is None:
            return []
        section, is_free = inner, _is_container(field.annotation)
    return [] if is_free else sorted(section.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section behind an annotation: itself, one of its alternatives, or what a list or mapping of them holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((section for each in get_args(annotation) if (section := _section_of(each))), None)


def _is_container(annotation: Any) -> bool:
    """Whether it is a list or mapping of sections, or may be."""
    if get_origin(annotation) in (dict, list, tuple):
        return True
    return any(map(_is_container, get_args(annotation)))
