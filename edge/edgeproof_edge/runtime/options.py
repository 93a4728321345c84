"""How a model is to be run on this device, and the proof of what really runs it.

A delegate that was asked for and silently does nothing is the commonest cause of a slow model in the field. Rules, in
order: 1. What a delegate computes is counted in the loaded graph, never taken from its name. 2. A required delegate that
computes nothing, or less than was required, refuses to start. 3. Otherwise the shortfall against what the manifest says
of the machine that judged the model is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeproof_edge.errors import SurroundingsError
from edgeproof_edge.interpreter import Delegation, Kernels
from edgeproof_edge.litert import DISTRIBUTION

#: A delegated share this far below the manifest's is a fallback to slow kernels; rounding is far less.
MAX_SHORTFALL = 0.1


class DelegationError(SurroundingsError):
    """A required delegate does not compute what it must."""


@dataclass(frozen=True)
class RuntimeOptions:
    """How a model is to be run.

    Attributes:
        kernels: Which kernels compute what no delegate takes.
        num_threads: Threads of one invoke; on small models more are slower.
        num_interpreters: How many examples may be computed at once; each costs the model's memory.
        delegate: Shared library of a delegate, as in "libedgetpu.so.1"; None for none.
        delegate_options: What the delegate is told.
        require_delegate: Whether to refuse where the delegate (or XNNPACK, without one) computes nothing.
        minimum_delegated_fraction: Refuse where it computes less than this share of the operators.
        is_verified: Whether files are held against the manifest before they are loaded; off only where that was done.
    """

    kernels: Kernels = Kernels.XNNPACK
    num_threads: int = 1
    num_interpreters: int = 1
    delegate: str | None = None
    delegate_options: Mapping[str, str] = field(default_factory=dict)
    require_delegate: bool = False
    minimum_delegated_fraction: float = 0.0
    is_verified: bool = True

    @property
    def delegate_name(self) -> str:
        """What is asked to compute, as reports name it."""
        if self.delegate is not None:
            return Path(self.delegate).name
        return self.kernels.value


@dataclass(frozen=True)
class DelegationReport:
    """What really computes.

    Attributes:
        delegate: What was asked to.
        partitions: Pieces of the graph that it runs; None where the runtime does not tell.
        fraction: Share of the operators that it computes; None likewise.
        expected_fraction: The same where the model was judged; None where the manifest does not say.
        builtin_operators: Operators left to built-in kernels.
    """

    delegate: str
    partitions: int | None
    fraction: float | None
    expected_fraction: float | None
    builtin_operators: tuple[str, ...] = ()

    @property
    def is_fallback(self) -> bool:
        """Whether far less is delegated than where the model was judged."""
        if self.fraction is None or self.expected_fraction is None:
            return False
        return self.fraction < self.expected_fraction - MAX_SHORTFALL

    @property
    def warning(self) -> str | None:
        """The shortfall in a sentence; None where there is none."""
        if not self.is_fallback:
            return None
        return (
            f"{self.delegate} computes {self.fraction:.0%} of the operators here, {self.expected_fraction:.0%} where the "
            f"model was judged: built-in kernels run {', '.join(self.builtin_operators)}, and are slower."
        )


def delegation_report(
    delegation: Delegation | None, expected: float | None, options: RuntimeOptions
) -> DelegationReport:
    """What is proved of a loaded model.

    Raises:
        DelegationError: Less is delegated than the options require.
    """
    if delegation is None:
        report = DelegationReport(options.delegate_name, None, None, expected)
    else:
        report = DelegationReport(
            options.delegate_name,
            delegation.partitions,
            delegation.delegated_fraction,
            expected,
            delegation.builtin_operators,
        )
    minimum = max(options.minimum_delegated_fraction, 1e-9 if options.require_delegate else 0.0)
    if minimum and (report.fraction or 0.0) < minimum:
        computed = "an unknown share" if report.fraction is None else f"{report.fraction:.0%}"
        raise DelegationError(
            f"{options.delegate_name} computes {computed} of the operators under {DISTRIBUTION}, and "
            f"{max(minimum, 0.01):.0%} are required. Check the delegate's driver, or run without requiring it."
        )
    return report
