"""What rows a model takes: many at once, its declared batch again and again, or one after the other with a memory.

The one home of that decision, for the gate, the search for an int8 model, the golden rows and the device. Rules, in
order: 1. What a device does is what counts: one declared batch at a time, with nothing left over from the rows before,
unless the rows are a stream. 2. State is found in the file, before anything runs: a resize under a variable corrupts the
heap; and a reduction over the rows, which few rows that are alike would hide. 3. Whether many rows may go through at once
is found by values: equal shapes prove nothing, because normalization over the batch keeps them. 4. How
many go through at once follows a budget of memory. Any doubt means rule 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_edge.errors import InputError

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Run = Callable[[Arrays], Arrays]

NUM_PROBE_ROWS = 8
"""Rows that are run by declared batch and all at once: with the second order 32 rows, 0.3 % of a holdout of 10,000."""
SAME_VALUE = 1e-4
"""Floats of two batch sizes may add up in another order; a graph that mixes rows differs by more than this share of the
largest value of the column. Codes of a quantized output must be equal."""
SAME_OUTPUT = 1e-6
"""The same, as a share of the largest value of the whole output: for columns that are zero but for rounding."""


class RowOrder(str, Enum):
    """What rows are to one another."""

    AUTO = "auto"
    """A stream where the model keeps variables from one call to the next (``tf.Variable``), else independent."""
    INDEPENDENT = "independent"
    """Every row is an example of its own: whatever a model remembers is reset before it."""
    STREAM = "stream"
    """Rows follow one another in time: what a model remembers of one is there for the next."""


class State(str, Enum):
    """What a graph keeps from one invoke to the next."""

    NONE = "none"
    """Nothing."""
    TENSORS = "tensors"
    """Variable tensors inside operators (a fused LSTM, SVDF); the interpreter can reset them."""
    VARIABLES = "variables"
    """``tf.Variable``s that the graph assigns; only a new interpreter resets them."""


class Feeding(str, Enum):
    """How rows go into a model."""

    TOGETHER = "together"
    """Many at once: every row gives what it gives alone."""
    APART = "apart"
    """The declared batch at a time: larger ones change the values, or the graph refuses them."""
    RESET = "reset"
    """The declared batch at a time, with the state reset before each."""
    STREAM = "stream"
    """The declared batch at a time, in the order given, with the state carried on."""


@dataclass(frozen=True)
class RowUse:
    """How a model was fed, and what it took to find out.

    Attributes:
        feeding: How rows went in.
        num_probe_rows: Rows that ran beside those asked for, to see whether many may go in at once.
        is_known: Whether that is settled; before enough different rows came, they go in apart.
    """

    feeding: Feeding
    num_probe_rows: int = 0
    is_known: bool = True


def feeding_of(state: State, order: RowOrder) -> Feeding | None:
    """How rows go into a graph by what is known before it runs; None where only values tell.

    Args:
        state: What the graph keeps.
        order: What the rows are to one another.
    """
    if state is State.NONE:
        return None
    if order is RowOrder.STREAM or (order is RowOrder.AUTO and state is State.VARIABLES):
        return Feeding.STREAM
    return Feeding.RESET


def rows_within(budget_bytes: int, bytes_per_row: int, most: int, declared_batch: int = 1) -> int:
    """Rows of one step: as many whole declared batches as the budget holds, at least one and at most ``most`` rows.

    Args:
        budget_bytes: Memory that the rows' activations may take together.
        bytes_per_row: What one row takes.
        most: Rows beyond which a step is no faster.
        declared_batch: Rows that the model insists on, or 1.
    """
    affordable = min(most, budget_bytes // max(1, bytes_per_row))
    return max(declared_batch, affordable // declared_batch * declared_batch)


def probe_rows(rows: Arrays, declared_batch: int = 1) -> dict[str, Array] | None:
    """A few different rows, spread over those given; None where there are not enough to tell anything.

    Args:
        rows: Arrays ``[n, ...]`` by name.
        declared_batch: Rows of one step.
    """
    num_rows = len(next(iter(rows.values())))
    wanted = max(NUM_PROBE_ROWS // declared_batch, 2) * declared_batch
    if num_rows < 2 * declared_batch:
        return None
    chosen = np.unique(np.linspace(0, num_rows - 1, min(num_rows, wanted)).astype(np.int64))
    chosen = chosen[: len(chosen) // declared_batch * declared_batch]
    probe = {name: array[chosen] for name, array in rows.items()}
    return probe if any(not _all_equal(array) for array in probe.values()) else None


def are_independent(expected: Arrays, together: Run, probe: Arrays) -> bool:
    """Whether a model gives every row, all at once in one order and in the other, what it gives by declared batch.

    Args:
        expected: The outputs of the probe's rows by declared batch.
        together: Runs all rows in one step; raises RuntimeError or ValueError where the graph refuses.
        probe: Rows of :func:`probe_rows`.
    """
    try:
        first = together(probe)
        second = reversed_rows(together(reversed_rows(probe)))
    except (RuntimeError, ValueError):
        return False
    return same_values(expected, first) and same_values(expected, second)


def filled(rows: Array, size: int) -> Array:
    """Rows filled up to a declared batch with the last one; the outputs of the filling are for the caller to drop."""
    missing = size - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows


def check_whole_steps(feeding: Feeding | None, num_rows: int, declared_batch: int) -> None:
    """Refuses rows of a stream that are no whole batches: a row that fills up the last would be remembered.

    Raises:
        InputError: They are none.
    """
    if feeding is Feeding.STREAM and num_rows % declared_batch:
        raise InputError(
            f"the model remembers rows and takes {declared_batch} at a time; found {num_rows}, which is no multiple. "
            "Give whole batches, or export the model with batch 1."
        )


def reversed_rows(rows: Arrays) -> dict[str, Array]:
    """The rows in the other order."""
    return {name: array[::-1] for name, array in rows.items()}


def same_values(expected: Arrays, actual: Arrays) -> bool:
    """Whether outputs of two runs are the same but for the rounding of sums in float; NaN equals NaN."""
    return all(_same(expected[name], actual[name]) for name in expected)


def _same(expected: Array, actual: Array) -> bool:
    if expected.shape != actual.shape:
        return False
    if expected.dtype.kind != "f" or not expected.size:
        return bool(np.array_equal(expected, actual))
    wanted, got = (values.reshape(len(values), -1).astype(np.float64) for values in (expected, actual))
    sizes = np.where(np.isfinite(wanted), np.abs(wanted), 0.0)
    allowed = SAME_VALUE * sizes.max(axis=0) + SAME_OUTPUT * sizes.max()
    with np.errstate(invalid="ignore"):
        close = np.abs(wanted - got) <= allowed
    return bool((close | (wanted == got) | (np.isnan(wanted) & np.isnan(got))).all())


def _all_equal(array: Array) -> bool:
    return bool((array == array[:1]).all())
