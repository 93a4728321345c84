"""The section ``data``: where examples come from, what is in them, and how they are split."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from components.formats.data_format import DataFormat as FormatKind
from components.formats.table import FORMATS
from pipeline.config.section import ConfigPath, Section

if TYPE_CHECKING:

    class DataFormat(str, Enum):
        """What examples come in."""

else:
    #: What examples come in: a member per line of the table of formats.
    DataFormat = Enum("DataFormat", {name.upper(): name for name in FORMATS}, type=str)


class LabelType(str, Enum):
    """What a label is."""

    CLASS = "class"
    VALUE = "value"


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
    """A feature of a tf.Example, a CSV row or a Parquet row."""

    dtype: Literal["float32", "int32", "int64", "string"] = Field(
        "float32",
        description="Type of the values. string: texts, which become categories; the model sees their numbers as int32.",
    )
    shape: tuple[int, ...] = Field(
        (), description="Shape of one example; empty for a scalar, the only shape that CSV can hold."
    )
    default: float | str | None = Field(
        None,
        description="What stands for a missing value (an empty cell, a null, NaN). Without it, a missing value is an error.",
    )
    pad: float | None = Field(
        None,
        description="What fills up examples with fewer values than shape, at the end. Without it, another number of values is an error.",
    )
    vocabulary: tuple[str, ...] = Field(
        (),
        description="Texts of a string feature by number, from 1; 0 is any other. Default: the texts of the train split, sorted.",
    )

    @model_validator(mode="after")
    def _check_together(self) -> TensorFeatureConfig:
        is_text = self.dtype == "string"
        if self.vocabulary and not is_text:
            raise ValueError("vocabulary is for dtype string")
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise ValueError("vocabulary names a text twice")
        if isinstance(self.default, str) != is_text and self.default is not None:
            raise ValueError(f"default must be {'a text' if is_text else 'a number'}, as dtype {self.dtype} says")
        whole = [value for value in (self.default, self.pad) if isinstance(value, float)]
        if self.dtype.startswith("int") and any(not value.is_integer() for value in whole):
            raise ValueError(f"default and pad must be whole numbers, as dtype {self.dtype} says")
        if self.pad is not None and (is_text or not self.shape):
            raise ValueError("pad is for numbers with a shape")
        return self


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
    ignore: tuple[str, ...] = Field(
        (),
        description="Names of files and folders under data.path that are no data, with wildcards, such as masks or *.txt. Files that a "
        "desktop leaves behind (.DS_Store, Thumbs.db) are ignored anyway.",
    )
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
        (),
        description="Names by class number; records may hold a name or its number as label. Default: an image folder's sorted folder "
        "names.",
    )
    num_classes: int | None = Field(None, gt=1, description="Number of classes, where class_names is not given.")
    image: ImageConfig | None = Field(None, description="Image models: the size of the image tensor.")
    image_feature: str = Field(
        "image", description="Name of the feature that holds the encoded image, in tfrecord and parquet data."
    )
    features: dict[str, TensorFeatureConfig] = Field(
        {}, description="Other models: the features the model sees, by name of column and model input."
    )
    schema_file: ConfigPath | None = Field(None, description="A TFDV schema (.pbtxt). Default: made from this section.")

    @property
    def kind(self) -> FormatKind:
        """The format's class."""
        return FORMATS[self.format.value]

    @model_validator(mode="after")
    def _check_together(self) -> DataConfig:
        if self.pattern and self.patterns:
            raise ValueError("give pattern or patterns, not both")
        if self.kind.is_image_folder:
            self._check_image_folder()
        elif bool(self.image) == bool(self.features):
            raise ValueError(
                f"{self.kind.name} data needs either image (encoded images) or features (numbers and categories)"
            )
        elif self.label_type is LabelType.VALUE:
            self._check_real_label()
        elif not self.class_names and self.num_classes is None:
            raise ValueError(
                f"{self.kind.name} data needs class_names or num_classes, or label_type: value where the label is a real number"
            )
        if self.kind.holds_scalars_only and any(f.shape for f in self.features.values()):
            raise ValueError(
                f"{self.kind.name} holds scalars only; give features without shape, or use tfrecord or parquet"
            )
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
