"""Tells an address (``s3://bucket/path``) from a path of this machine: the one place that decides it."""

from __future__ import annotations


def is_address(location: str) -> bool:
    """Whether ``location`` is an address with a scheme and not a path of this machine."""
    return "://" in location
