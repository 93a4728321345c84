"""The JSON Schema of the config file, for editors and for people: ``schemas/config.schema.json``.

``python -m pipeline.config_schema`` writes it anew.
"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.config import PipelineConfig

SCHEMA_FILE = Path(__file__).parent.parent / "schemas" / "config.schema.json"


def schema_text() -> str:
    """The schema as the repository holds it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **PipelineConfig.model_json_schema()}
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
