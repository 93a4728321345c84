"""A rule: one class in one file, one line in ``triggers/rules/__init__.py``."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from triggers.evidence import Evidence


class Mode(str, Enum):
    """What a rule may do by itself."""

    OFF = "off"
    SUGGEST = "suggest"
    AUTO = "auto"


class Action(str, Enum):
    """What a finding calls for."""

    RETRAIN = "retrain"
    ALERT = "alert"


class RuleSettings(BaseModel):
    """What every rule has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = Field(Mode.SUGGEST, description="off; suggest: say so and wait for a person; auto: start a run.")


SettingsT = TypeVar("SettingsT", bound=RuleSettings)


@dataclass(frozen=True)
class Finding:
    """What a rule says of evidence.

    Attributes:
        rule: Its name.
        has_fired: Whether it calls for something.
        facts: What makes this evidence what it is: equal facts are the same evidence.
        sentence: For people, with its numbers.
        numbers: For the ledger.
        action: What it calls for.
        subject: What it is about, such as a release: a new subject starts afresh.
    """

    rule: str
    has_fired: bool
    facts: Mapping[str, Any]
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    action: Action = Action.RETRAIN
    subject: str = ""

    def key(self, model_name: str) -> str:
        """Names the evidence, whoever looks at it and whenever."""
        content = json.dumps([model_name, self.rule, self.facts], sort_keys=True, default=str)
        return sha256(content.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Patience:
    """How a rule's findings become a decision.

    Attributes:
        num_hits: Different evidence that must fire in a row before anything is done.
        rearm_hours: Quiet time after which a rule that has spoken may speak of the same subject again.
        is_urgent: Whether neither cooldown nor budget hold it back: a person asked.
    """

    num_hits: int = 1
    rearm_hours: float = 0.0
    is_urgent: bool = False


class Rule(ABC, Generic[SettingsT]):
    """Decides nothing: finds."""

    #: Its name in the trigger file and in the ledger.
    name: ClassVar[str]
    #: The type of its settings.
    settings_type: ClassVar[type[RuleSettings]]

    def __init__(self, settings: SettingsT) -> None:
        self.settings = settings

    @abstractmethod
    def judge(self, evidence: Evidence) -> Finding:
        """Looks at evidence; pure."""

    @property
    def patience(self) -> Patience:
        """How its findings become a decision."""
        return Patience()

    def quiet(self, sentence: str, facts: Mapping[str, Any], **numbers: Any) -> Finding:
        """A finding that calls for nothing."""
        return Finding(self.name, False, facts, sentence, numbers)
