"""The typed config: one YAML file becomes frozen models, or one error per wrong key.

Rules, in order: 1. an unknown key is refused. 2. A path in the file is relative to the file; a path given by ``--set`` is relative
to the current directory, as a shell user expects. 3. Every default says its unit and where it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator


def _resolve(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base", Path.cwd())
    return Path(base, path.expanduser()).resolve()


def _resolve_location(location: str, info: ValidationInfo) -> str:
    """A directory becomes absolute; an address stays as it is."""
    return location if "://" in location else str(_resolve(Path(location), info))


def _resolve_module(source: str, info: ValidationInfo) -> str:
    """``file.py`` and ``file.py:function`` become absolute; a dotted module stays as it is."""
    file, colon, function = source.partition(":")
    return f"{_resolve(Path(file), info)}{colon}{function}" if file.endswith(".py") else source


ConfigPath = Annotated[Path, AfterValidator(_resolve), Field(json_schema_extra={"relative_to": "this file"})]
Location = Annotated[str, AfterValidator(_resolve_location), Field(json_schema_extra={"relative_to": "this file"})]
ModuleSource = Annotated[str, AfterValidator(_resolve_module), Field(json_schema_extra={"relative_to": "this file"})]


class Section(BaseModel):
    """A section of the config: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), use_attribute_docstrings=False)


class DataFormat(str, Enum):
    """What examples come in."""

    IMAGE_FOLDER = "image_folder"
    TFRECORD = "tfrecord"
    CSV = "csv"
    PARQUET = "parquet"


class LabelType(str, Enum):
    """What a label is."""

    CLASS = "class"
    VALUE = "value"


class RecipeName(str, Enum):
    """Recipes of ``components.tflite_converter.recipes``, by their names in the config."""

    AUTO = "auto"
    FLOAT32 = "float32"
    DYNAMIC = "dynamic"
    FLOAT16 = "float16"
    INT8 = "int8"
    INT8_QAT = "int8-qat"
    INT16X8 = "int16x8"


class ImageConfig(Section):
    """The size of the image tensor that the model takes."""

    height: int = Field(gt=0, description="Rows, in pixels.")
    width: int = Field(gt=0, description="Columns, in pixels.")
    channels: Literal[1, 3] = Field(description="1 for gray, 3 for RGB.")
    resize: Literal["bilinear", "area", "nearest"] | None = Field(
        None,
        description="How images of another size are brought to height x width; without it they are an error, because a device that "
        "resizes differently than training sees another picture (the commonest cause of a bad field score).",
    )


class TensorFeatureConfig(Section):
    """A numeric feature of a tf.Example, a CSV row or a Parquet row."""

    dtype: Literal["float32", "int32", "int64"] = Field("float32", description="Type of the values.")
    shape: tuple[int, ...] = Field(
        (), description="Shape of one example; empty for a scalar, the only shape that CSV can hold."
    )


class SplitPatterns(Section):
    """File patterns of splits that a person has already made, relative to ``data.path``."""

    train: str | None = Field(None, description="Files to train on; not needed where the model comes as a SavedModel.")
    calibration: str | None = Field(
        None,
        description="Files that set int8 ranges; image folders may leave it out and have it cut from the train files.",
    )
    eval: str = Field(description="The holdout: only the Evaluator reads it.")


class SplitShares(Section):
    """Parts of the data per split, in hash buckets; only their proportions count."""

    train: int = Field(
        80,
        ge=0,
        description="Buckets for training (0 where the model comes as a SavedModel). Default: the usual 80/10/10.",
    )
    calibration: int = Field(
        10, gt=0, description="Buckets for calibration; the pool needs convert.calibration.min_samples examples."
    )
    eval: int = Field(10, gt=0, description="Buckets for the holdout; the gate needs gate.min_examples examples.")


class DataConfig(Section):
    """Where examples come from and how they are split."""

    format: DataFormat = Field(description="What lies under data.path.")
    path: ConfigPath = Field(description="Directory of the data.")
    pattern: str | None = Field(
        None,
        description="Files under data.path; may hold {SPAN} and {VERSION}, and the newest span and version are taken. "
        "Default: */* for an image folder (label/file), * otherwise.",
    )
    patterns: SplitPatterns | None = Field(None, description="Instead of pattern: splits that exist already.")
    shares: SplitShares = Field(
        SplitShares(), description="How a hash of the content (or of group_by) cuts the data into splits."
    )
    group_by: str | None = Field(
        None,
        description="Keeps related examples in one split: a regular expression with one group over an image's path, or the name of a "
        "feature. Default: the content itself, so that duplicates never straddle splits.",
    )
    label: str = Field(
        "label", description="Name of the label feature, one number per example; image folders always call it label."
    )
    label_type: LabelType = Field(
        LabelType.CLASS,
        description="class: the label is a class number from 0. value: it is a real number in a unit of its own, such as a price, and "
        "gate.metric is mae or rmse.",
    )
    class_names: tuple[str, ...] = Field(
        (), description="Names by class number. Default: an image folder's sorted folder names."
    )
    num_classes: int | None = Field(None, gt=1, description="Number of classes, where class_names is not given.")
    image: ImageConfig | None = Field(None, description="Image models: the size of the image tensor.")
    image_feature: str = Field(
        "image", description="Name of the feature that holds the encoded image, in tfrecord and parquet data."
    )
    features: dict[str, TensorFeatureConfig] = Field(
        {}, description="Other models: the features the model sees, by name."
    )
    schema_file: ConfigPath | None = Field(None, description="A TFDV schema (.pbtxt). Default: made from this section.")

    @model_validator(mode="after")
    def _check_together(self) -> DataConfig:
        if self.pattern and self.patterns:
            raise ValueError("give pattern or patterns, not both")
        if self.format is DataFormat.IMAGE_FOLDER:
            self._check_image_folder()
        elif bool(self.image) == bool(self.features):
            raise ValueError(
                f"{self.format.value} data needs either image (encoded images) or features (numeric tensors)"
            )
        elif self.label_type is LabelType.VALUE:
            self._check_real_label()
        elif not self.class_names and self.num_classes is None:
            raise ValueError(
                f"{self.format.value} data needs class_names or num_classes, or label_type: value where the label is a real number"
            )
        if self.format is DataFormat.CSV and any(f.shape for f in self.features.values()):
            raise ValueError("csv holds scalars only; give features without shape, or use tfrecord or parquet")
        return self

    def _check_real_label(self) -> None:
        given = [name for name in ("class_names", "num_classes") if getattr(self, name)]
        if given:
            raise ValueError(f"label_type value has no classes; remove {' and '.join(given)}, or label_type")
        if self.label in self.features:
            raise ValueError(
                f"the label {self.label!r} is among the features, so the model would see what it is to predict"
            )

    def _check_image_folder(self) -> None:
        if self.label_type is LabelType.VALUE:
            raise ValueError(
                "an image folder's labels are its folders, which are classes; for images with real-valued labels use format "
                "tfrecord or parquet"
            )
        if self.image is None:
            raise ValueError("image_folder data needs image: {height, width, channels}")
        if self.features:
            raise ValueError("image_folder data has no features beside the image; remove features")
        if self.group_by and _num_groups(self.group_by) != 1:
            raise ValueError(f"group_by {self.group_by!r} must be a regular expression with one group in parentheses")


def _num_groups(pattern: str) -> int:
    try:
        return re.compile(pattern).groups
    except re.error:
        return 0


class ModelConfig(Section):
    """The float model, in one of three ways."""

    module: ModuleSource | None = Field(
        None, description="Python file or dotted module with build_model(hyperparameters)."
    )
    run_fn: ModuleSource | None = Field(
        None, description="A team's own TFX run_fn: file.py:function or package.module.function."
    )
    saved_model: ConfigPath | None = Field(None, description="An existing SavedModel; nothing is trained.")
    hyperparameters: dict[str, Any] = Field({}, description="Handed to build_model and run_fn as they are.")

    @model_validator(mode="after")
    def _exactly_one_source(self) -> ModelConfig:
        given = [name for name in ("module", "run_fn", "saved_model") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of module, run_fn, saved_model; found {', '.join(given) or 'none'}")
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
    qat: QatConfig = QatConfig()


class CalibrationConfig(Section):
    """How int8 ranges are measured."""

    min_samples: int = Field(
        500,
        gt=0,
        description="Examples the calibration split must hold; 200 rows moved agreement by half a point from draw to draw.",
    )
    num_samples: int = Field(
        500, gt=0, description="Examples drawn from it, stratified by label; TensorFlow's guide says 100-500."
    )
    seed: int = Field(7, ge=0, description="Of the draw.")
    stratify_by: tuple[str, ...] = Field(
        (), description="Features that the draw is stratified by beside the label, such as the domain of a frame."
    )


class GoalConfig(Section):
    """What recipe auto must keep of the float model on calibration examples that set no range."""

    max_accuracy_loss: float = Field(
        0.005, gt=0, lt=1, description="Share of float's right answers that may be lost, where an output names classes."
    )
    max_relative_error: float = Field(
        0.05,
        gt=0,
        description="Root mean square error / spread of the output, where it is a real value; a tenth of it is aimed at. 0.05 adds 1 % "
        "to the error of a model that explains 90 % of the variance.",
    )
    outputs: dict[str, Literal["classes", "ids", "values"]] = Field(
        {}, description="What outputs are, by name. Default: found from what the float model gives."
    )


class ConvertConfig(Section):
    """The edge model."""

    recipe: RecipeName = Field(
        RecipeName.AUTO,
        description="How the weights and activations are stored; auto is int8 by the cheapest cure that meets the goal.",
    )
    select_tf_operators: bool = Field(
        False,
        description="Whether operators without a TFLite kernel may come along as TensorFlow's own; the device then needs TF Select, "
        "some 100 MB.",
    )
    goal: GoalConfig = GoalConfig()
    fallbacks: tuple[Literal["int16x8", "float16", "dynamic"], ...] = Field(
        (), description="Recipes that auto may try where no int8 model meets the goal, in this order."
    )
    max_candidates: int = Field(24, gt=0, description="Models that auto makes at most; the longest ladder is about 20.")
    max_seconds: float = Field(
        120.0, gt=0, description="Seconds after which auto makes no further model; small models take one or two."
    )
    input_type: Literal["int8", "uint8", "float32"] | None = Field(
        None,
        description="Type of the model's input. Default: int8 for auto (float32 where only a float input meets the goal) and int8, "
        "float32 otherwise.",
    )
    output_type: Literal["int8", "uint8", "float32"] | None = Field(
        None, description="Type of the model's output. Default: as input_type."
    )
    calibration: CalibrationConfig = CalibrationConfig()


class SliceConfig(Section):
    """One way to cut the holdout."""

    by: Literal["label", "brightness"] | None = Field(
        None,
        description="Built in: the label (a slice per class; of real-valued labels quarters, or buckets), or the mean brightness of an "
        "image in quarters of 0..255.",
    )
    feature: str | None = Field(
        None, description="Name of a feature of the examples; the model need not see it. Its first value counts."
    )
    buckets: tuple[float, ...] = Field(
        (), description="Rising edges for a number; an edge belongs to the bucket above it. Without: a slice per value."
    )

    @model_validator(mode="after")
    def _one_source(self) -> SliceConfig:
        if (self.by is None) == (self.feature is None):
            raise ValueError("give either by (label, brightness) or feature")
        if list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError(f"buckets {list(self.buckets)} must rise")
        return self


#: Keys that mean nothing for the other kind of label. Refused, not skipped: a rule that never fires reads like a pass.
_RULES_FOR_CLASSES = {
    "top_k",
    "min_ratio",
    "min_float_accuracy",
    "decision_threshold",
    "slice_min_ratio",
    "class_min_ratio",
    "class_min_examples",
    "champion_channel",
    "champion_min_ratio",
    "min_kernel_agreement",
}
_RULES_FOR_ERRORS = {"max_error_factor", "slice_max_error_factor"}


def _them(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"


class GateConfig(Section):
    """What a model must prove before it is published. Rules without a default are off."""

    metric: Literal["top1", "topk", "f1", "auc", "mae", "rmse"] = Field(
        "top1",
        description="What is compared: right answers (top1, topk), F1 or AUC of two classes, or, where data.label_type is value, the mean "
        "absolute error (mae) or the root of the mean squared error (rmse).",
    )
    top_k: int = Field(5, gt=0, description="For topk: so many of the best scores may hold the label.")
    min_ratio: Decimal = Field(
        Decimal("0.97"),
        gt=0,
        le=1,
        description="Right answers (or F1, AUC) of the edge model / those of the float model, compared exactly.",
    )
    max_error_factor: Decimal = Field(
        Decimal("1.03"),
        ge=1,
        description="For mae and rmse: error of the edge model / that of the float model, compared exactly. Default: errors may grow by as "
        "much as right answers may shrink.",
    )
    min_float_accuracy: Decimal | None = Field(
        None,
        ge=0,
        le=1,
        description="Floor under the float model. Default: three standard errors above always naming the commonest class.",
    )
    min_examples: int = Field(
        500,
        gt=0,
        description="Size of the holdout below which nothing is judged; at 500 a model truly at 95 % passes in 7 % of runs.",
    )
    decision_threshold: float = Field(
        0.5, ge=0, le=1, description="Of a one-unit sigmoid output: at or above it, class 1."
    )
    confidence: Decimal | None = Field(
        None,
        ge=Decimal("0.5"),
        lt=1,
        description="One-sided level, such as 0.95, at which the bound of the ratio must keep the rule too (paired closed form).",
    )
    slices: tuple[SliceConfig, ...] | None = Field(
        None, description="How the holdout is cut. Default: by label, and by brightness for images."
    )
    slice_min_ratio: Decimal | None = Field(
        None, gt=0, le=2, description="Ratio that every slice must keep, other than by label."
    )
    slice_max_error_factor: Decimal | None = Field(
        None, ge=1, description="For mae and rmse: error factor that every slice must keep."
    )
    slice_min_examples: int = Field(100, gt=0, description="Smaller slices are reported and not judged.")
    class_min_ratio: Decimal | None = Field(None, gt=0, le=2, description="Ratio that every class must keep.")
    class_min_examples: int = Field(100, gt=0, description="Smaller classes are reported and not judged.")
    champion_min_ratio: Decimal | None = Field(
        None,
        gt=0,
        le=2,
        description="Right answers over those of the last model that was blessed (or of champion_channel's), on this holdout; 1 means no "
        "worse.",
    )
    champion_channel: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9-]{0,62}$",
        description="Channel of release.path whose release champion_min_ratio compares with, as most of its devices run it when the gate "
        "looks. Default: the last model of this workspace that was blessed, released or not.",
    )
    max_size_ratio: Decimal | None = Field(None, gt=0, description="Bytes of the edge model / bytes of its float twin.")
    max_latency_ratio: Decimal | None = Field(
        None,
        gt=0,
        description="Milliseconds of the edge model / those of its float twin on this host, which says little about devices.",
    )
    min_kernel_agreement: Decimal | None = Field(
        None, gt=0, le=1, description="Share of same answers of built-in kernels and XNNPACK, on the sample."
    )
    kernel_sample: int = Field(
        1000, ge=0, description="Examples that built-in kernels score too, for the report; 0 switches that off."
    )
    eval_config: ConfigPath | None = Field(
        None,
        description="A TFMA EvalConfig (.pbtxt): metrics and plots that TFMA computes on the same predictions. No rule reads them.",
    )

    @model_validator(mode="after")
    def _rules_fit_the_metric(self) -> GateConfig:
        other = _RULES_FOR_CLASSES if self.judges_errors else _RULES_FOR_ERRORS
        meaningless = sorted(other & self.model_fields_set)
        if meaningless:
            raise ValueError(f"metric {self.metric} has no {', '.join(meaningless)}; remove {_them(meaningless)}")
        if self.confidence is not None and self.metric in ("f1", "auc"):
            raise ValueError(f"there is no confidence bound for metric {self.metric}")
        if self.champion_channel is not None and self.champion_min_ratio is None:
            raise ValueError(
                "champion_channel says what champion_min_ratio compares with; give both, as in champion_min_ratio: 1"
            )
        return self

    @property
    def judges_errors(self) -> bool:
        """Whether labels are real numbers and less is better."""
        return self.metric in ("mae", "rmse")


class ReleaseConfig(Section):
    """Where accepted models go."""

    path: Location | None = Field(
        None,
        description="Directory of the release repository, or its address: s3://, gs:// or az:// (needs edgeproof[buckets]). "
        "Default: published under the workspace.",
    )
    channel: str = Field(
        "dev",
        pattern=r"^[a-z][a-z0-9-]{0,62}$",
        description="Channel that an accepted model is published to; people promote from there.",
    )
    keys: ConfigPath | None = Field(
        None,
        description="Directory of the repository's keys, as `edgeproof release init` makes it. Default: keys under the workspace, and a "
        "directory without a repository gets one with development keys.",
    )


class PipelineConfig(Section):
    """One pipeline: data in, a judged and published edge model out."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9-]{0,62}$", description="Name of the pipeline and of its model: a-z, 0-9 and hyphens."
    )
    workspace: ConfigPath | None = Field(
        None,
        description="Directory of artifacts, metadata and logs. Default: .edgeproof/<name> in the current directory.",
    )
    data: DataConfig
    model: ModelConfig
    train: TrainConfig = TrainConfig()
    convert: ConvertConfig = ConvertConfig()
    gate: GateConfig = GateConfig()
    release: ReleaseConfig = ReleaseConfig()

    @model_validator(mode="after")
    def _qat_needs_a_module(self) -> PipelineConfig:
        if self.train.qat.mode is QatMode.ON and self.model.module is None:
            raise ValueError(
                "train.qat is on, but it fine-tunes the model of model.module; a run_fn or a SavedModel brings its own training"
            )
        return self

    @model_validator(mode="after")
    def _gate_fits_the_label(self) -> PipelineConfig:
        is_value = self.data.label_type is LabelType.VALUE
        if is_value and not self.gate.judges_errors:
            raise ValueError(
                f"data.label_type is value, and gate.metric {self.gate.metric} is for classes; set gate.metric to mae (mean absolute "
                "error) or rmse"
            )
        if self.gate.judges_errors and not is_value:
            raise ValueError(
                f"gate.metric {self.gate.metric} is for real-valued labels, and data.label_type is class; set data.label_type to value, "
                "or another metric"
            )
        if not is_value and any(part.by == "label" and part.buckets for part in self.gate.slices or ()):
            raise ValueError(
                "gate.slices has buckets of the label, which is a class; buckets are for data.label_type value"
            )
        if is_value and self.train.qat.mode is QatMode.ON:
            raise ValueError("train.qat counts right answers, and data.label_type is value; turn it off")
        return self

    @property
    def workspace_dir(self) -> Path:
        return self.workspace or Path.cwd() / ".edgeproof" / self.name

    @property
    def release_location(self) -> str:
        """Directory or address of the release repository."""
        return self.release.path or str(self.workspace_dir / "published")

    @property
    def keys_dir(self) -> Path:
        """Directory of the repository's keys."""
        return self.release.keys or self.workspace_dir / "keys"

    @property
    def makes_repository(self) -> bool:
        """Whether a missing repository is made: not where a person has made keys for one."""
        return self.release.keys is None


def path_keys(section: type[BaseModel] = PipelineConfig, prefix: str = "") -> frozenset[str]:
    """Dotted keys whose values are paths, found in the models themselves."""
    keys: set[str] = set()
    for name, field in section.model_fields.items():
        inner = _section_of(field.annotation)
        if inner is not None:
            keys |= path_keys(inner, f"{prefix}{name}.")
        elif "AfterValidator" in repr((field.annotation, field.metadata)):
            keys.add(prefix + name)
    return frozenset(keys)


def allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys that may stand at ``location`` of the config, sorted; empty where free keys are allowed."""
    section: type[BaseModel] = PipelineConfig
    for part in location:
        field = section.model_fields.get(str(part))
        inner = _section_of(field.annotation) if field else None
        if inner is None:
            return []
        section = inner
    return sorted(section.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def validated(values: Mapping[str, Any], base: Path) -> PipelineConfig:
    """Builds the config; relative paths start at ``base``.

    Raises:
        pydantic.ValidationError: A key is unknown, missing or wrong.
    """
    return PipelineConfig.model_validate(values, context={"base": base})
