"""Backslashes in ML Metadata on PostgreSQL, which ``ml_metadata`` 1.16 and 1.17 cannot write.

Their client has libpq escape a text and takes off what it thinks are the quotes; but where a text holds a backslash, libpq writes
``E'...'``, and what is left is a syntax error (``VALUES(5, 'custom_config', TRUE, 'E'{"training...``). JSON inside JSON is full of
backslashes, and so is text that is not ASCII. So a sign of Unicode's private area stands for them in the database, and whoever reads
through this process gets backslashes again. Other kinds of store are left alone.
"""

from __future__ import annotations

from typing import Any

_STAND_IN = "\ue05c"


def keep_backslashes() -> None:
    """Has every store of this process that is kept in PostgreSQL write and read backslashes; doing it again changes nothing."""
    from ml_metadata.metadata_store.metadata_store import MetadataStore

    call = MetadataStore._call_method
    if getattr(call, "keeps_backslashes", False):
        return

    def _call_method(self: Any, method_name: str, request: Any, response: Any) -> None:
        if not getattr(self, "_using_db_connection", False) or not self._config.HasField("postgresql"):
            call(self, method_name, request, response)
            return
        sent = type(request)()
        sent.CopyFrom(request)
        _replace(sent, "\\", _STAND_IN)
        call(self, method_name, sent, response)
        _replace(response, _STAND_IN, "\\")

    _call_method.keeps_backslashes = True  # type: ignore[attr-defined]
    MetadataStore._call_method = _call_method


def _replace(message: Any, text: str, replacement: str) -> None:
    """Replaces in every text of a message of protobuf, however deep; names of a map's entries stay."""
    for field, value in message.ListFields():
        if isinstance(value, str):
            if text in value:
                setattr(message, field.name, value.replace(text, replacement))
        elif hasattr(value, "ListFields"):
            _replace(value, text, replacement)
        elif hasattr(value, "items"):
            _replace_in_entries(value, text, replacement)
        elif not isinstance(value, (int, float, bytes)):
            _replace_in_list(value, text, replacement)


def _replace_in_entries(entries: Any, text: str, replacement: str) -> None:
    for name in list(entries):
        if isinstance(entries[name], str):
            entries[name] = entries[name].replace(text, replacement)
        elif hasattr(entries[name], "ListFields"):
            _replace(entries[name], text, replacement)


def _replace_in_list(values: Any, text: str, replacement: str) -> None:
    for number, value in enumerate(values):
        if isinstance(value, str):
            values[number] = value.replace(text, replacement)
        elif hasattr(value, "ListFields"):
            _replace(value, text, replacement)
