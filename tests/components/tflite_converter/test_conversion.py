"""Real conversions. All but one run the worker's code in this process, which saves an import of TensorFlow each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edgeproof_edge.interpreter import TFLiteModel
from numpy.typing import NDArray

from components.errors import CalibrationError, ConversionError, ModelError
from components.repair.recipes import IoType, Recipe
from components.repair.settings import AutoSettings, GoalSettings
from components.tflite_converter import conversion, worker
from components.tflite_converter.calibration import CalibrationPool
from components.tflite_converter.conversion import ConversionRequest, convert

pytestmark = pytest.mark.tfx


def image_request(saved_models: dict[str, Path], images: NDArray[np.float32], recipe: Recipe) -> ConversionRequest:
    return ConversionRequest(saved_models["images"], recipe, CalibrationPool({"x": images}, np.arange(len(images)) % 3))


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("recipe", "input_type", "output_type", "convolution"),
    [
        pytest.param(Recipe.FLOAT32, None, None, ("float32", "float32", "float32"), id="float32"),
        pytest.param(Recipe.DYNAMIC, None, None, ("float32", "float32", "float32"), id="dynamic"),
        pytest.param(Recipe.FLOAT16, None, None, ("float32", "float32", "float32"), id="float16"),
        pytest.param(Recipe.INT8, None, None, ("int8", "int8", "int32"), id="int8"),
        pytest.param(Recipe.INT8, IoType.UINT8, None, ("int8", "int8", "int32"), id="int8-with-uint8"),
        pytest.param(Recipe.INT8, IoType.INT8, IoType.FLOAT32, ("int8", "int8", "int32"), id="int8-with-float-output"),
        pytest.param(Recipe.INT16X8, None, None, ("int16", "int8", "int64"), id="int16x8"),
    ],
)
def test_each_recipe_gives_what_its_name_says(
    saved_models: dict[str, Path],
    images: NDArray[np.float32],
    recipe: Recipe,
    input_type: IoType | None,
    output_type: IoType | None,
    convolution: tuple[str, ...],
) -> None:
    request = replace(image_request(saved_models, images, recipe), input_type=input_type, output_type=output_type)
    done = convert(request)
    report = done.report
    (use,) = [use for use in report.inspection.operators if use.name == "CONV_2D"]
    assert use.input_dtypes == convolution
    model = TFLiteModel.load(done.model)
    assert [spec.dtype for spec in model.inputs] == [report.input_type.value]
    assert [spec.dtype for spec in model.outputs] == [report.output_type.value]
    assert (report.model.size_bytes, report.float_model.size_bytes) == (len(done.model), len(done.float_model))
    assert report.calibration is not None
    assert report.calibration.num_range == (300 if recipe.needs_calibration else 0)
    (candidate,) = report.candidates
    assert candidate.score is not None
    assert candidate.score.outputs[0].num_same is not None
    assert candidate.score.outputs[0].num_same >= 0.95 * candidate.score.outputs[0].num_rows
    assert candidate.score.labels is not None


@pytest.mark.usefixtures("in_process")
def test_the_same_request_gives_the_same_bytes_and_dense_has_one_scale(
    saved_models: dict[str, Path], images: NDArray[np.float32]
) -> None:
    request = image_request(saved_models, images, Recipe.INT8)
    first, second = convert(request), convert(request)
    assert (first.model, first.float_model) == (second.model, second.float_model)
    assert set(dense_weight_scales(first.model)) == {1}


def dense_weight_scales(data: bytes) -> list[int]:
    """How many scales the weights of each FULLY_CONNECTED have."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data), 0))
    graph = model.subgraphs[0]
    dense = [o for o in graph.operators if model.operatorCodes[o.opcodeIndex].builtinCode == 9]
    return [len(graph.tensors[operator.inputs[1]].quantization.scale) for operator in dense]


@pytest.mark.usefixtures("in_process")
def test_token_ids_stay_int32(saved_models: dict[str, Path]) -> None:
    random = np.random.default_rng(1)
    inputs = {"tokens": random.integers(0, 10, (520, 4)), "features": random.random((520, 3))}
    done = convert(ConversionRequest(saved_models["two_inputs"], Recipe.INT8, CalibrationPool(inputs)))
    assert {spec.name: spec.dtype for spec in done.report.inspection.inputs} == {"tokens": "int32", "features": "int8"}
    assert done.report.calibration is not None
    assert [stratum.label for stratum in done.report.calibration.strata] == ["all"]


@pytest.mark.usefixtures("in_process")
def test_a_fixed_batch_is_converted_with_a_warning(saved_models: dict[str, Path]) -> None:
    rows = np.random.default_rng(4).normal(size=(511, 6)).astype(np.float32)
    done = convert(ConversionRequest(saved_models["fixed_batch"], Recipe.INT8, CalibrationPool({"x": rows})))
    assert any("fixes the batch size at 4" in warning for warning in done.report.warnings)
    assert done.report.candidates[0].score is not None


@pytest.mark.usefixtures("in_process")
def test_calibration_that_sets_no_range_cannot_pass(
    saved_models: dict[str, Path], images: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = image_request(saved_models, images, Recipe.INT8)
    monkeypatch.setattr(worker, "_read_rows", lambda *_: {})
    with pytest.raises(ConversionError, match="0 of 300 calibration examples ran"):
        convert(request)
    monkeypatch.setattr(conversion, "_check_rows_read", lambda *_: None)
    with pytest.raises(ConversionError, match="gave a float model"):
        convert(request)


def test_what_cannot_be_converted_is_refused_before_converting(
    saved_models: dict[str, Path], images: NDArray[np.float32], tmp_path: Path
) -> None:
    good = image_request(saved_models, images, Recipe.INT8)
    never = ("false",)
    with pytest.raises(CalibrationError, match="needs calibration examples and none were given"):
        convert(replace(good, pool=None), never)
    with pytest.raises(CalibrationError, match="has 600 examples; int8 calibration needs 601"):
        convert(replace(good, min_samples=601), never)
    with pytest.raises(CalibrationError, match=r"wants shape \['n', 8, 8, 1\]; found \[600, 8, 8\]"):
        convert(replace(good, pool=CalibrationPool({"x": images[..., 0]})), never)
    with pytest.raises(ConversionError, match="input_type 'int8' does not fit recipe float16"):
        convert(replace(good, recipe=Recipe.FLOAT16, input_type=IoType.INT8), never)
    with pytest.raises(ConversionError, match="a device needs every size but the first fixed"):
        convert(replace(good, saved_model=saved_models["open_size"]), never)
    with pytest.raises(ModelError, match="holds no SavedModel"):
        convert(replace(good, saved_model=tmp_path), never)


@pytest.mark.usefixtures("in_process")
def test_a_lowered_minimum_is_said_aloud(saved_models: dict[str, Path], images: NDArray[np.float32]) -> None:
    pool = CalibrationPool({"x": images[:40]})
    done = convert(ConversionRequest(saved_models["images"], Recipe.INT8, pool, min_samples=40))
    assert done.report.calibration is not None
    assert done.report.calibration.min_samples_lowered
    assert any("40 examples instead of 500" in warning for warning in done.report.warnings)


def test_the_real_child_lists_unsupported_operators(saved_models: dict[str, Path]) -> None:
    with pytest.raises(ConversionError) as refusal:
        convert(ConversionRequest(saved_models["unsupported"], Recipe.FLOAT32))
    assert "Igamma from odd_layer/Igamma" in str(refusal.value)
    assert "MatrixDeterminant from det_layer/" in str(refusal.value)


def test_the_real_child_converts_as_this_process_does(
    saved_models: dict[str, Path], images: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    request = image_request(saved_models, images, Recipe.INT8)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "components").mkdir()  # a user's folder of that name must not be in the way
    (tmp_path / "components" / "__init__.py").write_text("raise ImportError('the wrong one')")
    by_child = convert(request)
    monkeypatch.setattr(conversion, "run_worker", lambda directory, *_: worker.run(directory))
    assert by_child.model == convert(request).model


@pytest.mark.exhaustive
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", ["images", "residual", "branches", "two_inputs", "fixed_batch"])
def test_the_first_candidate_of_auto_is_what_int8_gives(
    saved_models: dict[str, Path], images: NDArray[np.float32], name: str
) -> None:
    """Byte for byte; where it meets the goal nothing else is made, and the files are the same."""
    request = ConversionRequest(saved_models[name], Recipe.INT8, a_pool(name))
    plain, auto = convert(request), convert(replace(request, recipe=Recipe.AUTO))
    first = auto.report.candidates[0]
    assert first.sha256 == plain.report.model.sha256
    assert auto.float_model == plain.float_model
    assert (auto.model == plain.model) is first.chosen
    assert auto.report.chosen.sha256 == auto.report.model.sha256
    assert auto.report.goal is not None
    assert auto.report.met_goal is not None
    assert auto.report == type(auto.report).from_json(auto.report.to_json())


def a_pool(name: str) -> CalibrationPool:
    random = np.random.default_rng(8)
    rows = {
        "images": {"image": random.random((600, 8, 8, 1))},
        "residual": {"image": random.normal(size=(600, 8, 8, 2))},
        "branches": {"x": random.normal(size=(600, 6))},
        "two_inputs": {"tokens": random.integers(0, 10, (600, 4)), "features": random.random((600, 3))},
        "fixed_batch": {"x": random.normal(size=(600, 6))},
    }
    return CalibrationPool(rows[name])


@pytest.mark.usefixtures("in_process")
def test_auto_keeps_types_that_were_asked_for(saved_models: dict[str, Path]) -> None:
    request = ConversionRequest(saved_models["branches"], Recipe.AUTO, a_pool("branches"), input_type=IoType.UINT8)
    done = convert(request)
    assert (done.report.input_type, done.report.output_type) == (IoType.UINT8, IoType.UINT8)


@pytest.mark.usefixtures("in_process")
def test_fallbacks_are_made_only_where_nothing_else_is_close(saved_models: dict[str, Path]) -> None:
    settings = AutoSettings(
        GoalSettings(max_relative_error=1e-12, outputs={"y": "values"}),
        fallbacks=(Recipe.INT16X8, Recipe.FLOAT16),
    )
    done = convert(ConversionRequest(saved_models["branches"], Recipe.AUTO, a_pool("branches"), auto=settings))
    recipes = [candidate.recipe for candidate in done.report.candidates]
    assert recipes[-2:] == [Recipe.INT16X8, Recipe.FLOAT16]
    assert done.report.met_goal is False
    assert any("nothing met the goal" in warning for warning in done.report.warnings)


@pytest.mark.usefixtures("in_process")
def test_float_operators_that_are_not_allowed_are_not_tried(saved_models: dict[str, Path]) -> None:
    settings = AutoSettings(GoalSettings(max_relative_error=1e-12, outputs={"y": "values"}))
    pool = a_pool("branches")
    request = ConversionRequest(saved_models["branches"], Recipe.AUTO, pool, allow_float_operators=False, auto=settings)
    report = convert(request).report
    assert {candidate.float_operators for candidate in report.candidates} == {()}
    assert "float islands" in {skipped.step for skipped in report.skipped}


@pytest.mark.usefixtures("in_process")
def test_a_tiny_pool_selects_on_the_rows_that_set_ranges(saved_models: dict[str, Path]) -> None:
    pool = CalibrationPool({"x": np.random.default_rng(8).normal(size=(1, 6))})
    report = convert(ConversionRequest(saved_models["branches"], Recipe.AUTO, pool, min_samples=1)).report
    assert any("compared on rows that set ranges" in warning for warning in report.warnings)


def test_progress_of_the_real_child_is_said_here(
    saved_models: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "edgeproof.progress")
    report = convert(ConversionRequest(saved_models["branches"], Recipe.AUTO, a_pool("branches"))).report
    steps = [record for record in caplog.records if hasattr(record, "step")]
    assert len(steps) == len(report.candidates)
    assert steps[0].getMessage().startswith("int8 minmax: ")


@pytest.mark.exhaustive
@pytest.mark.tfx
def test_operators_without_a_kernel_come_along_where_that_is_allowed(saved_models: dict[str, Path]) -> None:
    request = ConversionRequest(saved_models["select_tf"], Recipe.FLOAT32)
    with pytest.raises(ConversionError, match=r"no kernel for 1 operator\(s\).*select_tf_operators: true"):
        convert(request)
    done = convert(replace(request, select_tf_operators=True))
    assert done.report.inspection.flex_operators
    assert done.report.load_test is None
    assert any("TF Select library" in warning for warning in done.report.warnings)


@pytest.mark.exhaustive
@pytest.mark.tfx
def test_a_model_trained_for_int8_brings_its_own_ranges(
    saved_models: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "edgeproof.progress")
    request = ConversionRequest(saved_models["dense"], Recipe.INT8_QAT)
    with pytest.raises(ConversionError, match=r"int8-qat needs a model .* train\.qat\.mode: on"):
        convert(request)
    done = convert(replace(request, qat_saved_model=saved_models["dense_qat"]))
    assert f"converting {saved_models['dense_qat']} to int8-qat" in caplog.messages
    given = done.report.inspection.inputs[0]
    assert done.report.inspection.float_operators == ()
    assert given.dtype == "int8"
    assert given.scale == pytest.approx(
        8 / 255, rel=1e-3
    )  # the range -4..4 of its training, though no row was measured


@pytest.mark.exhaustive
@pytest.mark.tfx
def test_auto_tries_the_model_trained_for_int8_when_nothing_else_is_good_enough(saved_models: dict[str, Path]) -> None:
    rows = np.random.default_rng(5).normal(size=(600, 6)).astype(np.float32)
    unreachable = AutoSettings(GoalSettings(max_relative_error=1e-9, outputs={"y": "values"}))
    request = ConversionRequest(saved_models["dense"], Recipe.AUTO, CalibrationPool({"x": rows}), auto=unreachable)
    report = convert(replace(request, qat_saved_model=saved_models["dense_qat"])).report
    assert "int8-qat" in {candidate.recipe.value for candidate in report.candidates}
    assert report.met_goal is False


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("name", "is_fixed"),
    [
        pytest.param("sequence", False, id="lstm-of-batch-1", marks=pytest.mark.exhaustive),
        pytest.param("open_sequence", True, id="lstm-of-open-batch"),
        pytest.param("loop", False, id="gru-of-batch-1", marks=pytest.mark.exhaustive),
        pytest.param("open_loop", True, id="gru-of-open-batch", marks=pytest.mark.exhaustive),
    ],
)
def test_recurrent_layers_convert_whatever_their_batch(
    saved_models: dict[str, Path], name: str, is_fixed: bool
) -> None:
    x = np.random.default_rng(2).normal(size=(700, 5, 3)).astype(np.float32)
    done = convert(ConversionRequest(saved_models[name], Recipe.AUTO, CalibrationPool({"x": x})))
    assert any("batch was fixed at 1" in warning for warning in done.report.warnings) is is_fixed
    in_float, in_int8 = (
        TFLiteModel.load(model).predict({"x": x[:200]})["y"] for model in (done.float_model, done.model)
    )
    assert np.sqrt(((in_int8 - in_float) ** 2).mean()) < 0.1 * in_float.std()
