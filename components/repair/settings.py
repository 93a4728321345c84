"""What a user may say about recipe auto; crosses from the config to the converting process as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from components.errors import ConversionError
from components.repair.recipes import Recipe, parse_fallbacks

#: The promise is 99.5 % of float's right answers on data never seen.
DEFAULT_MAX_ACCURACY_LOSS = 0.005
#: Root mean square of the difference / spread of the float output. Errors add in squares: 0.05 adds 12 % to the error of
#: a float model that explains 99 % of the variance (its own error is 0.1 of the spread), 1 % at 90 %.
DEFAULT_MAX_RELATIVE_ERROR = 0.05
#: Longest ladder of the models measured, float islands included: about 30.
DEFAULT_MAX_CANDIDATES = 40

OutputKindName = Literal["classes", "ids", "values"]
OUTPUT_KINDS: tuple[OutputKindName, ...] = get_args(OutputKindName)


@dataclass(frozen=True)
class GoalSettings:
    """What a candidate must keep.

    Attributes:
        max_accuracy_loss: Share of float's right answers that may be lost, for outputs that name classes.
        max_relative_error: Root mean square error in units of the output's spread, for outputs that are values.
        outputs: Kinds of outputs (of ``OUTPUT_KINDS``) by name, where what the float outputs look like is not to decide.
    """

    max_accuracy_loss: float = DEFAULT_MAX_ACCURACY_LOSS
    max_relative_error: float = DEFAULT_MAX_RELATIVE_ERROR
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Caps:
    """Bounds of a search.

    Attributes:
        max_candidates: Models made at most.
        max_seconds: Seconds of processor time; None for a budget that grows with the model.
    """

    max_candidates: int = DEFAULT_MAX_CANDIDATES
    max_seconds: float | None = None


@dataclass(frozen=True)
class AutoSettings:
    """Everything about recipe auto.

    Attributes:
        goal: What a candidate must keep.
        caps: Bounds of the search.
        fallbacks: Recipes that may compete where no int8 model meets the goal.
    """

    goal: GoalSettings = field(default_factory=GoalSettings)
    caps: Caps = field(default_factory=Caps)
    fallbacks: tuple[Recipe, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> AutoSettings:
        """Reads and checks settings.

        Raises:
            ConversionError: A fallback or kind of output is unknown, or a number is out of range.
        """
        values: dict[str, Any] = json.loads(text)
        settings = cls(GoalSettings(**values["goal"]), Caps(**values["caps"]), parse_fallbacks(values["fallbacks"]))
        settings.check()
        return settings

    def check(self) -> None:
        """Raises ConversionError where a value makes no sense."""
        for name, kind in self.goal.outputs.items():
            if kind not in OUTPUT_KINDS:
                raise ConversionError(f"output {name!r} cannot be {kind!r}; choose one of {', '.join(OUTPUT_KINDS)}.")
        numbers = {
            "goal.max_accuracy_loss": self.goal.max_accuracy_loss,
            "goal.max_relative_error": self.goal.max_relative_error,
            "max_candidates": self.caps.max_candidates,
            "max_seconds": self.caps.max_seconds,
        }
        for name, value in numbers.items():
            if value is not None and not value > 0:
                raise ConversionError(f"convert.{name} is {value}; it must be greater than 0.")
