"""Errors of the pipeline's components, one per cause; each is the user's to mend and ends a command with exit code 2."""

from __future__ import annotations

from edgeproof_edge.errors import InputError


class DataError(InputError):
    """Examples cannot be read, or break the schema."""


class ModelError(InputError):
    """A SavedModel or a model module cannot be used."""


class CalibrationError(InputError):
    """The calibration pool cannot set int8 ranges."""


class ConversionError(InputError):
    """TensorFlow's converter refused the model, or its process died."""
