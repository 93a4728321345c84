"""Which of the two library stacks fits this machine.

One code base runs on two sets of libraries, because TFX 1.21 has wheels only for glibc >= 2.39 (ml-metadata and
tensorflow-data-validation carry the tag manylinux_2_39) and TFX 1.16 only for Python 3.10. There is no packaging
marker for glibc, so the set-up decides, in this order:

1. What EDGEPROOF_STACK names, if this machine can run it.
2. tfx121 where glibc >= 2.39 and a Python 3.11-3.13 is at hand.
3. tfx116 where a Python 3.10 is at hand.
4. With no suitable Python at hand, the newest stack that glibc allows; the set-up then fetches its Python.

Standard library only, and syntax of Python 3.8: `constraints/bootstrap.py` imports it before anything is installed.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import Enum
from typing import Iterable, Tuple

Version = Tuple[int, ...]

OVERRIDE_VARIABLE = "EDGEPROOF_STACK"
MINIMUM_GLIBC_OF_TFX121: Version = (2, 39)


class Stack(str, Enum):
    """A set of library versions that is resolved, pinned and tested together."""

    TFX121 = "tfx121"
    TFX116 = "tfx116"

    @property
    def tfx_version(self) -> str:
        """The TFX release this stack is built around."""
        return {"tfx121": "1.21.0", "tfx116": "1.16.0"}[self.value]

    @property
    def python_versions(self) -> tuple[Version, ...]:
        """Python minor versions this stack runs on, the preferred one first."""
        return {"tfx121": ((3, 13), (3, 12), (3, 11)), "tfx116": ((3, 10),)}[self.value]

    @property
    def python_names(self) -> str:
        """The same for people: '3.11-3.13' or '3.10'."""
        newest, oldest = self.python_versions[0], self.python_versions[-1]
        return dotted(oldest) if newest == oldest else f"{dotted(oldest)}-{dotted(newest)}"


class StackError(Exception):
    """No stack fits; the message is one sentence with what to do."""


@dataclass(frozen=True)
class Choice:
    """The stack that fits and the reason, which is a clause for people ('glibc 2.36 is older than 2.39')."""

    stack: Stack
    reason: str


def choose(glibc: Version | None, pythons: Iterable[Version], override: str = "") -> Choice:
    """Returns the stack for a machine with this glibc (None: not glibc) and these Python versions.

    Args:
        glibc: for example (2, 36); None on musl, macOS or Windows.
        pythons: versions at hand, (major, minor[, micro]), in any order; may be empty.
        override: value of EDGEPROOF_STACK, '' when unset.

    Raises:
        StackError: when the override names no stack, or one this machine cannot run, or when there is no glibc.
    """
    if glibc is None:
        raise StackError(
            "Edgeproof needs Linux with glibc, and this system has none (musl or not Linux): "
            "use Debian 12 or newer, Ubuntu 22.04 or newer, or a container of one of them."
        )
    if override:
        return Choice(_named(override, glibc), f"{OVERRIDE_VARIABLE} asks for it")
    minors = {tuple(version[:2]) for version in pythons}
    if glibc < MINIMUM_GLIBC_OF_TFX121:
        reason = f"glibc {dotted(glibc)} is older than {dotted(MINIMUM_GLIBC_OF_TFX121)}"
        return Choice(Stack.TFX116, reason)
    if minors.intersection(Stack.TFX121.python_versions) or not minors.intersection(Stack.TFX116.python_versions):
        return Choice(Stack.TFX121, f"glibc {dotted(glibc)} can run it")
    return Choice(Stack.TFX116, f"Python 3.10 is here and {Stack.TFX121.python_names} is not")


def _named(override: str, glibc: Version) -> Stack:
    try:
        stack = Stack(override)
    except ValueError:
        known = " or ".join(member.value for member in Stack)
        raise StackError(f"{OVERRIDE_VARIABLE} is {override!r}; set it to {known}, or unset it.") from None
    if stack is Stack.TFX121 and glibc < MINIMUM_GLIBC_OF_TFX121:
        raise StackError(
            f"{OVERRIDE_VARIABLE}=tfx121 needs glibc {dotted(MINIMUM_GLIBC_OF_TFX121)} or newer "
            f"(Debian 13, Ubuntu 24.04), and this system has {dotted(glibc)}: unset {OVERRIDE_VARIABLE} to use tfx116."
        )
    return stack


def of_python(version: Version | None = None) -> Stack | None:
    """The stack that a Python version means in pyproject.toml: 3.10 is tfx116, 3.11-3.13 tfx121, others None."""
    minor = tuple((version or sys.version_info)[:2])
    return next((stack for stack in Stack if minor in stack.python_versions), None)


def glibc_version() -> Version | None:
    """This machine's glibc version, None where the C library is another one."""
    try:
        name, _, number = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (AttributeError, OSError, ValueError):  # no os.confstr on Windows, no such name on musl and macOS
        return None
    return parse(number) if name == "glibc" else None


def parse(text: str) -> Version:
    """'3.10.13' -> (3, 10, 13); whatever follows the leading numbers is dropped ('3.13.0rc1' -> (3, 13, 0))."""
    numbers = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def dotted(version: Version) -> str:
    """(2, 36) -> '2.36'."""
    return ".".join(str(number) for number in version)
