"""The root of every error that Edgeproof raises on purpose, and the exit code each cause maps to.

A message says what is wrong, where, what was found and what to do next. A refusal by a rule is a value
(a verdict with its reasons), never an exception.
"""

from __future__ import annotations


class EdgeproofError(Exception):
    """Something Edgeproof can explain. Exit code 3: the surroundings are broken, unless a subclass says otherwise."""

    exit_code = 3


class SurroundingsError(EdgeproofError):
    """The machine, the disk, a library or a server does not do what is needed of it."""


class InputError(EdgeproofError):
    """The user's command, config, data or model cannot be used as it is."""

    exit_code = 2


class ModelFileError(InputError):
    """A .tflite file cannot be read, or cannot be loaded by the installed interpreter."""
