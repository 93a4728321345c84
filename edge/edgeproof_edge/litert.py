"""Which runtime is installed: LiteRT, or tflite-runtime where only that exists. Nothing else imports either.

`ai-edge-litert` has wheels for 64-bit Linux on x86 and ARM; 32-bit ARM has only `tflite-runtime` 2.14, which needs Python
3.11 or older and NumPy below 2, and computes int8 with built-in kernels alone: its answers differ from XNNPACK's in the
last bits (within the golden tolerance), and int8 is slower there than float.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
from typing import Any

from edgeproof_edge.errors import SurroundingsError

try:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType, load_delegate

    DISTRIBUTION = "ai-edge-litert"
except ImportError as _litert_error:
    try:
        from tflite_runtime.interpreter import Interpreter, OpResolverType, load_delegate

        DISTRIBUTION = "tflite-runtime"
    except ImportError:
        raise SurroundingsError(
            f"no runtime for .tflite files is installed ({_litert_error}). Run: pip install ai-edge-litert "
            "(on 32-bit ARM: pip install 'tflite-runtime==2.14.0' 'numpy<2')."
        ) from _litert_error

__all__ = ["DISTRIBUTION", "Interpreter", "OpResolverType", "open_delegate", "runtime_version"]


def runtime_version() -> str:
    """Name and version of the installed runtime, as in "ai-edge-litert 2.3.0"."""
    return f"{DISTRIBUTION} {importlib.metadata.version(DISTRIBUTION)}"


def open_delegate(library: str, options: dict[str, str]) -> Any:
    """Loads the shared library of a delegate.

    Raises:
        SurroundingsError: There is no such library, or it does not start; the message has its reason.
    """
    try:
        ctypes.CDLL(library)  # LiteRT's own failure leaves an object whose end fails, too
        return load_delegate(library, options or None)
    except (OSError, ValueError, RuntimeError) as error:
        raise SurroundingsError(
            f"the delegate {library} cannot be loaded: {' '.join(str(error).split()) or 'it gives no reason'}. "
            "Install it, or run without --delegate."
        ) from error
