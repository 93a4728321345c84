"""The sections ``model`` and ``train``: where the float model comes from, and how a model module is trained."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.config.section import ConfigPath, Location, ModuleSource, Section


class ModelConfig(Section):
    """The float model, in one of three ways."""

    module: ModuleSource | None = Field(
        None, description="Python file or dotted module with build_model(hyperparameters)."
    )
    run_fn: ModuleSource | None = Field(
        None, description="A team's own TFX run_fn: file.py:function or package.module.function."
    )
    saved_model: ConfigPath | None = Field(None, description="An existing SavedModel; nothing is trained.")
    files: tuple[Location, ...] = Field(
        (),
        description="Files, folders or globs that the module reads outside its own folder, or while it trains: a change of them trains "
        "anew. What building the model opens beside the module counts by itself.",
    )
    hyperparameters: dict[str, Any] = Field({}, description="Handed to build_model and run_fn as they are.")

    @model_validator(mode="after")
    def _exactly_one_source(self) -> ModelConfig:
        given = [name for name in ("module", "run_fn", "saved_model") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of module, run_fn, saved_model; found {', '.join(given) or 'none'}")
        if self.files and self.saved_model is not None:
            raise ValueError("files are what a module reads, and a SavedModel is taken as it is; take them out")
        return self


class QatMode(str, Enum):
    """Whether a second model is fine-tuned with quantization in the loop."""

    OFF = "off"
    ON = "on"


#: Sections for which one word may stand, and the key that it is the value of.
SHORT_FORMS = {"train.qat": "mode"}


class QatConfig(Section):
    """Quantization-aware training: fine-tunes the trained float model, which stays the baseline of the gate."""

    mode: QatMode = Field(
        QatMode.OFF, description="on: the fine-tuned model joins the converter's candidates; `qat: on` is short for it."
    )
    epochs: int = Field(
        3, gt=0, description="Passes over the train split after float training; a fifth of float's epochs is usual."
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="Of Adam, falling along train.learning_rate_decay. Default: a tenth of train.learning_rate, so that the weights "
        "settle beside where float training left them.",
    )
    equalize: bool = Field(
        True,
        description="Channels of very different range are brought to one range first, where that leaves the function as it is.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, values: Any) -> Any:
        """Takes ``on`` for ``{mode: on}``; YAML 1.1 reads on and off as true and false."""
        if isinstance(values, (bool, str)):
            values = {SHORT_FORMS["train.qat"]: values}
        if isinstance(values, dict) and isinstance(values.get("mode"), bool):
            return {**values, "mode": "on" if values["mode"] else "off"}
        return values


class EpochKept(str, Enum):
    """Which epoch's weights the trained model has."""

    LAST = "last"
    BEST = "best"


class EarlyStoppingConfig(Section):
    """When training ends before all epochs are through."""

    patience: int = Field(
        5, gt=0, description="Epochs without an improvement of train.monitor after which training ends."
    )
    min_delta: float = Field(
        0.0, ge=0, description="Improvements up to this size do not count; in units of train.monitor."
    )


class TrainConfig(Section):
    """Training of a model module."""

    epochs: int = Field(10, gt=0, description="Passes over the train split.")
    batch_size: int = Field(64, gt=0, description="Examples per step; 64 suits small CNNs on a CPU.")
    learning_rate: float = Field(
        1e-3, gt=0, description="Of Adam, unless the module brings its own optimizer; Keras's default."
    )
    learning_rate_decay: Literal["cosine", "none"] = Field(
        "cosine",
        description="How the rate falls over the epochs: a constant one leaves BatchNorm models up to a point apart from "
        "epoch to epoch. Not used where the module brings its own optimizer.",
    )
    seed: int = Field(
        7, ge=0, description="Of weights, shuffling and augmentation; fixed so that a rerun gives the same model."
    )
    monitor: str = Field(
        "val_loss",
        description="Figure that early_stopping and keep_epoch go by, as the epoch lines name it; val_ is of the calibration split, never "
        "of the holdout.",
    )
    keep_epoch: EpochKept = Field(EpochKept.LAST, description="last, or best: the epoch whose train.monitor is best.")
    early_stopping: EarlyStoppingConfig | None = Field(
        None, description="Give {} for the defaults; without it all epochs are trained."
    )
    class_weights: Literal["balanced"] | dict[str, float] | None = Field(
        None,
        description="How much an example of a class counts in the loss: balanced (the rarer the class, the more; one more pass over the "
        "train split), or weights by class name (by number where classes have no names); classes left out count 1.",
    )
    qat: QatConfig = QatConfig()
