"""The one line that matters of TensorFlow's error texts, which begin with where the graph was built."""

from __future__ import annotations

import re

#: ``{{function_node __wrapped__Decode_device_/...}}`` and ``[[{{node Decode}}]]``
_GRAPH_PLACES = re.compile(r"\[?\[?\{\{[^}]*\}\}\]?\]?")
_OPERATION = re.compile(r"\[Op:[^\]]*\](?: name:)?")
_HEADINGS = ("graph execution error", "detected at node", "detected unsupported operations")
#: Lines that tell where the graph was built.
_WHERE = (*_HEADINGS, 'file "', "<stack")


def cause_of(text: str, most: int = 300) -> str:
    """The reason in a message of TensorFlow, at most ``most`` characters.

    A message that begins with a heading carries its reason in the last line that names a place in the graph, or else in its last line.
    """
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if not lines:
        return "no message"
    if not lines[0].lower().startswith(_HEADINGS):
        return _without_places(lines[0])[:most]
    telling = [line for line in lines if _without_places(line) and not line.lower().startswith(_WHERE)]
    placed = [line for line in telling if line.startswith("{{")]
    return _without_places((placed or telling or lines)[-1])[:most]


def _without_places(line: str) -> str:
    return " ".join(_OPERATION.sub(" ", _GRAPH_PLACES.sub(" ", line)).split())
