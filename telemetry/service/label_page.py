"""The page to label what devices were unsure of: one picture at a time, keyboard first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from telemetry.database.database import Database
from telemetry.feedback import Example, FeedbackBook
from telemetry.fleet import model_names
from telemetry.service.status_page import stylesheet, template

#: Examples on one page.
PAGE_SIZE = 100


def label_page(database: Database, model: str | None, class_names: Mapping[str, Sequence[str]]) -> str:
    """The page of a model; of the first one where none is named.

    Args:
        database: Where the examples are.
        model: Its name.
        class_names: Classes by model; where they are not given, those that were answered or given before.
    """
    models = model_names(database)
    chosen = model if model in models else next(iter(models), None)
    book = FeedbackBook(database)
    examples = () if chosen is None else book.waiting(chosen, PAGE_SIZE)
    labels = () if chosen is None else class_names.get(chosen) or book.labels(chosen)
    data = {"model": chosen, "examples": [_entry(example) for example in examples], "labels": list(labels)}
    return template("label.html.j2").render(css=stylesheet(), model=chosen, examples=examples, data=_for_script(data))


def _entry(example: Example) -> dict[str, Any]:
    address = f"/examples/{example.model_name}/{example.content_sha256}"
    return {
        "address": address,
        "picture": f"{address}/picture",
        "answer": example.answer,
        "confidence": example.confidence,
        "slice": example.slice,
        "device": example.device_id,
        "captured": f"{example.captured_at:%Y-%m-%d %H:%M} UTC",
    }


def _for_script(data: Any) -> Markup:
    """JSON that no text in it can end the element of."""
    text = json.dumps(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(text)
