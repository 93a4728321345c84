"""The few places where the two supported stacks differ (TFX 1.16 on Python 3.10, TFX 1.21 on 3.11-3.13).

Everything here was measured on both stacks; nothing else in the code base asks which stack it runs on.
Private TensorFlow attributes are touched only in this file and in ``tflite_converter/private_tensorflow.py``.
"""

from __future__ import annotations

import os
import warnings
from importlib import metadata
from typing import Any

from edgeproof_edge.errors import SurroundingsError

STACK_BY_TFX_VERSION = {"1.16": "tfx116", "1.21": "tfx121"}

#: Distributions whose version decides what a run produces; part of the cache key and of every report.
VERSIONED_DISTRIBUTIONS = ("tfx", "tensorflow", "tf-keras", "apache-beam", "ai-edge-litert", "numpy")

#: Packages that AutoGraph should call and never transpile: they are compiled-by-hand TensorFlow code already.
_NEVER_TRANSPILED = ("tf_keras", "tensorflow_model_optimization")

#: Modules that tell every process about Python 3.10 and gRPC, which the older stack's other pins decide.
_GREETING_MODULES = ("google.api_core._python_version_support", "google.auth.transport.grpc")


def stack_name() -> str:
    """The stack this process runs on, ``tfx116`` or ``tfx121``.

    Raises:
        SurroundingsError: The installed TFX belongs to neither stack.
    """
    version = metadata.version("tfx")
    name = STACK_BY_TFX_VERSION.get(".".join(version.split(".")[:2]))
    if name is None:
        raise SurroundingsError(
            f"tfx {version} is installed; Edgeproof runs on 1.16 or 1.21. Run make clean, then make demo."
        )
    return name


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries that decide what a run produces, by distribution name."""
    return {name: metadata.version(name) for name in VERSIONED_DISTRIBUTIONS}


def quiet_libraries() -> None:
    """Sets the environment so that TensorFlow and the Google clients start without banners; call before they are imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("PYTHONWARNINGS", ",".join(f"ignore::FutureWarning:{module}" for module in _GREETING_MODULES))
    for module in _GREETING_MODULES:
        warnings.filterwarnings("ignore", category=FutureWarning, module=module.replace(".", r"\."))


def skip_autograph_conversion() -> None:
    """Keeps AutoGraph from transpiling tf_keras: the first ``fit`` takes 1 s instead of 15 s on TF 2.16, with equal losses.

    TF 2.21 has the rule built in for tf_keras; only what is missing is added.
    """
    from tensorflow.python.autograph.core import config as autograph_config

    known = {getattr(rule, "_prefix", None) for rule in autograph_config.CONVERSION_RULES}
    missing = tuple(autograph_config.DoNotConvert(name) for name in _NEVER_TRANSPILED if name not in known)
    autograph_config.CONVERSION_RULES = missing + tuple(autograph_config.CONVERSION_RULES)


def keep_dense_per_tensor(converter: Any) -> None:
    """Makes a ``TFLiteConverter`` give Dense layers one weight scale, as TF 2.16 does.

    TF 2.17 and newer quantize FULLY_CONNECTED per channel without raising the operator's version, which NNAPI, TFLite Micro and
    older runtimes misread. TF 2.16 ignores the attribute.
    """
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
