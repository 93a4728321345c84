"""Figures and names as the page writes them; it never promises more than was measured."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

NBSP = "\N{NO-BREAK SPACE}"
#: Letters of a name in a table; the whole one is its tooltip, and stands in the report.
NAME_LENGTH = 36
_BUCKET = re.compile(r"\[([^,]+), ([^,)\]]+)[)\]]")


def percent(share: Any, decimals: int = 2) -> str:
    """A share as a percentage, rounded down, so that the page never promises more than was kept; a dash for None."""
    if share is None:
        return "–"
    scaled = Fraction(str(share)) * 100 * 10**decimals
    whole = scaled.numerator // scaled.denominator
    return f"{whole / 10**decimals:.{decimals}f}{NBSP}%"


def size(num_bytes: Any) -> str:
    """Bytes for people; a dash for None."""
    if num_bytes is None:
        return "–"
    if num_bytes < 10_000:
        return f"{num_bytes:,}{NBSP}B"
    return f"{num_bytes / 1000:,.1f}{NBSP}kB" if num_bytes < 1_000_000 else f"{num_bytes / 1e6:,.2f}{NBSP}MB"


def short(text: Any, length: int = 12) -> str:
    """The beginning of a hash."""
    return str(text)[:length]


def clipped(name: str, length: int = NAME_LENGTH) -> str:
    """A name with its middle left out where it is long: its beginning and its end tell it from others."""
    if len(name) <= length:
        return name
    tail = (length - 1) // 3
    return f"{name[: length - 1 - tail]}…{name[len(name) - tail :]}"


def factor(value: float) -> str:
    """A factor of errors, rounded up, so that the page never promises more than was kept."""
    return f"{math.ceil(1000 * value - 1e-6) / 1000:.3f}"


def bucket(value: str) -> str:
    """A numeric bucket such as ``[64, 128)`` in words; other values as they are."""
    match = _BUCKET.fullmatch(value)
    if match is None:
        return value
    low, high = match.groups()
    if low == "-inf":
        return f"below {high}"
    return f"{low} and above" if high == "inf" else f"{low} to {high}"
