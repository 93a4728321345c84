"""What the stock TFX Trainer hands to our ``run_fn``: one frozen value that crosses as JSON in ``custom_config``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from components.data.examples import ExampleSpec

#: The key of ``custom_config`` that holds the JSON.
TRAINING_SPEC_KEY = "training_spec"


@dataclass(frozen=True)
class QatSpec:
    """Quantization-aware fine-tuning: passes over the train split, the rate it starts with, and whether channels are equalized first."""

    epochs: int
    learning_rate: float
    equalize: bool


@dataclass(frozen=True)
class EarlyStopping:
    """Training ends after ``patience`` epochs without an improvement of the monitored figure by more than ``min_delta``."""

    patience: int
    min_delta: float


@dataclass(frozen=True)
class TrainingSpec:
    """The model's source (``module``, or a team's ``run_fn``), its data and the knobs of training; ``qat`` is None where it is off.

    ``code_version`` and ``module_files`` are read by nobody here: they put the sources and what they read into the key of the TFX cache.
    """

    examples: ExampleSpec
    num_classes: int
    code_version: str
    module: str | None = None
    run_fn: str | None = None
    module_files: dict[str, str] = field(default_factory=dict)
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    learning_rate_decay: str = "cosine"
    seed: int = 7
    monitor: str = "val_loss"
    keep_epoch: str = "last"
    early_stopping: EarlyStopping | None = None
    class_weights: str | dict[str, float] | None = None
    qat: QatSpec | None = None

    def to_json(self) -> str:
        fields = asdict(self)
        fields["examples"] = self.examples.to_json()
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TrainingSpec:
        fields = json.loads(text)
        fields["examples"] = ExampleSpec.from_json(fields["examples"])
        stopping = fields.get("early_stopping")
        fields["early_stopping"] = EarlyStopping(**stopping) if stopping else None
        fields["qat"] = QatSpec(**fields["qat"]) if fields.get("qat") else None
        return cls(**fields)
