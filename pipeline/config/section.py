"""What every section of the config is: frozen, strict about its keys, and sure where a relative path starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from edgeproof_edge.addresses import is_address
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo


def _resolve(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base", Path.cwd())
    return Path(base, path.expanduser()).resolve()


def _resolve_location(location: str, info: ValidationInfo) -> str:
    """A directory becomes absolute; an address stays as it is."""
    return location if is_address(location) else str(_resolve(Path(location), info))


def _resolve_module(source: str, info: ValidationInfo) -> str:
    """``file.py`` and ``file.py:function`` become absolute; a dotted module stays as it is."""
    file, colon, function = source.partition(":")
    return f"{_resolve(Path(file), info)}{colon}{function}" if file.endswith(".py") else source


ConfigPath = Annotated[Path, AfterValidator(_resolve), Field(json_schema_extra={"relative_to": "this file"})]
Location = Annotated[str, AfterValidator(_resolve_location), Field(json_schema_extra={"relative_to": "this file"})]
ModuleSource = Annotated[str, AfterValidator(_resolve_module), Field(json_schema_extra={"relative_to": "this file"})]


class Section(BaseModel):
    """A section of the config: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), use_attribute_docstrings=False)
