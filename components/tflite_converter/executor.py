"""Opens the float model and the calibration split, calls the core, writes what came out. Never opens the holdout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.artifacts import local_copy, local_output
from components.data.examples import ExampleSpec, read_batches, split_files
from components.errors import CalibrationError
from components.repair.recipes import IoType, Recipe, parse_recipe
from components.repair.settings import AutoSettings
from components.saved_models.saved_model import qat_saved_model, saved_model_dir
from components.tflite_converter.calibration import CalibrationPool, bounded_pool, stratified_by_value
from components.tflite_converter.conversion import Conversion, ConversionRequest, convert, write_conversion

READ_BATCH_SIZE = 64


class Executor(base_executor.BaseExecutor):
    """Converts `model` with calibration examples from one split of `examples`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes model.tflite, float.tflite and conversion_report.json to the root of `tflite_model`.

        Raises:
            CalibrationError: The calibration split is missing, too small or does not fit the model.
            ConversionError: The model cannot be converted.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        output = artifact_utils.get_single_instance(output_dict["tflite_model"])
        model = artifact_utils.get_single_instance(input_dict["model"])
        with local_copy(model.uri) as directory:
            conversion = convert(_request(str(directory), input_dict["examples"], exec_properties))
        with local_output(output.uri) as written:
            write_conversion(written, conversion)
        _describe(output, conversion)


def _request(model: str, examples: list[types.Artifact], exec_properties: dict[str, Any]) -> ConversionRequest:
    """What is asked for, of the model in a local directory."""
    recipe = parse_recipe(exec_properties["recipe"])
    return ConversionRequest(
        saved_model=saved_model_dir(model),
        recipe=recipe,
        pool=_read_pool(artifact_utils.get_single_instance(examples), recipe, exec_properties),
        min_samples=exec_properties["min_samples"],
        num_samples=exec_properties["num_samples"],
        seed=exec_properties["seed"],
        input_type=_io_type(exec_properties["input_type"]),
        output_type=_io_type(exec_properties["output_type"]),
        allow_float_operators=bool(exec_properties["allow_float_operators"]),
        qat_saved_model=qat_saved_model(model),
        select_tf_operators=bool(exec_properties["select_tf_operators"]),
        auto=AutoSettings.from_json(exec_properties["auto_settings"]),
    )


def _read_pool(examples: types.Artifact, recipe: Recipe, exec_properties: dict[str, Any]) -> CalibrationPool | None:
    """Reads the pool from the calibration split; None where there is no such split and the recipe needs none."""
    split = exec_properties["calibration_split"]
    splits = artifact_utils.decode_split_names(examples.split_names)
    if split not in splits:
        if not recipe.needs_calibration:
            return None
        raise CalibrationError(
            f"recipe {recipe.value} needs a split named {split!r}; the examples have "
            f"{', '.join(splits) or 'no splits'}. "
            "Give the split a share in data.splits of the config."
        )
    spec = ExampleSpec.from_json(exec_properties["example_spec"])
    files = split_files(artifact_utils.get_split_uri([examples], split))
    batches = _rows(files, spec)
    pool = bounded_pool(batches, f"calibration split {split!r}", exec_properties["min_samples"])
    unknown = [name for name, values in pool.groups.items() if all(value == b"" for value in values)]
    if unknown:
        raise CalibrationError(
            f"convert.calibration.stratify_by names {unknown[0]!r}, which no example of split {split!r} has. "
            "Correct the name, or add the feature to the data."
        )
    return stratified_by_value(pool, spec.label) if spec.has_real_label else pool


def _rows(files: list[str], spec: ExampleSpec) -> Iterator[tuple[dict[str, Any], Any, dict[str, Any]]]:
    for batch in read_batches(files, spec, READ_BATCH_SIZE):
        yield batch.inputs, batch.labels, batch.slice_features


def _io_type(text: str) -> IoType | None:
    return IoType(text) if text else None


def _describe(output: types.Artifact, conversion: Conversion) -> None:
    report = conversion.report
    output.set_string_custom_property("format", "tflite")
    output.set_string_custom_property("recipe", report.chosen.recipe.value)
    output.set_string_custom_property("sha256", report.model.sha256)
    output.set_int_custom_property("size_bytes", report.model.size_bytes)
    output.set_int_custom_property("calibration_examples", report.calibration.num_range if report.calibration else 0)
