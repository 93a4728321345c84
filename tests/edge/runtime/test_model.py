"""`EdgeModel`: what goes in and comes out, and what it refuses."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from edgeproof_edge.bundle import file_sha256
from edgeproof_edge.codes import dequantizer, quantizer
from edgeproof_edge.errors import InputError, ModelFileError, SurroundingsError
from edgeproof_edge.golden_test import GoldenTestError, check_golden_vectors
from edgeproof_edge.interpreter import Kernels, TFLiteModel
from edgeproof_edge.runtime import DelegationError, EdgeModel, LiveModel, RuntimeOptions
from edgeproof_edge.tensors import TensorSpec, dequantize, quantize

from tests.edge.bundles import MODELS, golden_draft, rows_for, unpacked


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("bundles"), golden_draft())


@pytest.fixture
def model(bundle: Path) -> EdgeModel:
    return EdgeModel.open(bundle)


@pytest.mark.parametrize(
    "file",
    [
        "int8.tflite",
        "float32.tflite",
        "uint8.tflite",
        "int8_float_io.tflite",
        "int16x8.tflite",
        "two_inputs_int8.tflite",
    ],
)
@pytest.mark.parametrize("num_rows", [1, 5])
def test_predictions_are_those_of_the_gate_to_the_last_bit(tmp_path: Path, file: str, num_rows: int) -> None:
    model = EdgeModel.open(unpacked(tmp_path, golden_draft(file)))
    judged = TFLiteModel.load(MODELS / file)
    rows = rows_for(judged, num_rows, seed=7)
    expected = judged.predict(rows)
    found = model.predict(rows)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype


SPECS = [
    pytest.param(TensorSpec("x", (1,), "int8", 1.0, -128), id="pixels-to-int8"),
    pytest.param(TensorSpec("x", (1,), "int8", 1 / 255, -128), id="unit-range-to-int8"),
    pytest.param(TensorSpec("x", (1,), "uint8", 0.0078125, 127), id="uint8"),
    pytest.param(TensorSpec("x", (1,), "int16", 0.001, 0), id="int16"),
    pytest.param(TensorSpec("x", (1,), "float32"), id="float32"),
]


@pytest.mark.parametrize("spec", SPECS)
def test_the_quick_way_to_codes_and_back_is_the_definition(spec: TensorSpec) -> None:
    random = np.random.default_rng(1)
    real = np.concatenate(
        [
            random.normal(0, 3, 20_000),
            random.uniform(-400, 400, 20_000),
            np.arange(-300, 300) * (spec.scale or 1.0) / 2,
            [np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-40, 0.0, -0.0],
        ]
    ).astype(np.float32)
    pixels = np.arange(256, dtype=np.uint8)
    to_codes, from_codes = quantizer(spec), dequantizer(spec)
    if not spec.is_quantized:
        np.testing.assert_array_equal(to_codes(real), real)
        np.testing.assert_array_equal(to_codes(pixels), pixels.astype(np.float32))
        return
    for values in (real, pixels, real.astype(np.float64), real.reshape(2, -1)):
        expected = quantize(values, spec)
        np.testing.assert_array_equal(to_codes(values), expected)
        assert to_codes(values).dtype == expected.dtype
    specials = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-40, -0.0], np.float32)
    for start in range(0, len(real), 97):  # a handful takes another way
        handful = real[start : start + 8]
        np.testing.assert_array_equal(to_codes(handful), quantize(handful, spec))
    for special in specials:
        handful = np.array([[0.5, special, -1.0]], np.float32)
        np.testing.assert_array_equal(to_codes(handful), quantize(handful, spec))
    codes = quantize(real, spec)
    np.testing.assert_array_equal(from_codes(codes), dequantize(codes, spec))


def test_an_answer_has_a_label_a_confidence_and_the_next_best(model: EdgeModel) -> None:
    example = rows_for(TFLiteModel.load(MODELS / "int8.tflite"), 1, seed=3)["x"][0]
    answer = model.answer(example, num_top=3)
    scores = model.predict(example[None])["scores"][0]
    assert answer.index == int(scores.argmax())
    assert answer.label == f"class {answer.index}"
    assert answer.confidence is not None
    assert 0.25 <= answer.confidence <= 1.0
    assert [ranked.index for ranked in answer.top] == list(np.argsort(-scores, kind="stable")[:3])
    assert model.answer({"x": example}).index == answer.index


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        pytest.param({"y": np.zeros((1, 8))}, "wants the inputs", id="another-name"),
        pytest.param(np.zeros((1, 7)), "has shape", id="another-shape"),
        pytest.param(np.array([["a"] * 8]), "real numbers", id="texts"),
    ],
)
def test_what_the_model_does_not_take_is_refused(model: EdgeModel, inputs: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.predict(inputs)  # type: ignore[arg-type]


def test_threads_share_a_model(model: EdgeModel) -> None:
    rows = rows_for(TFLiteModel.load(MODELS / "int8.tflite"), 64, seed=5)["x"]
    expected = model.predict(rows)["scores"]
    wrong: list[int] = []

    def ask(offset: int) -> None:
        for index in range(offset, 64, 4):
            if not np.array_equal(model.predict(rows[index : index + 1])["scores"][0], expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=ask, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    counts, total, longest = model.latency.read()
    assert sum(counts) == 65
    assert 0 < longest <= total
    assert (model.latency.percentile(0.5) or 0) <= longest


def test_damaged_files_are_not_loaded(tmp_path: Path) -> None:
    bundle = unpacked(tmp_path, golden_draft())
    data = bytearray((bundle / "model.tflite").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "model.tflite").write_bytes(data)
    with pytest.raises(ModelFileError, match="SHA-256 differs"):
        EdgeModel.open(bundle)


def test_a_path_without_a_release_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="holds no release"):
        EdgeModel.open(tmp_path)


def test_golden_vectors_pass_under_both_kernel_families(bundle: Path) -> None:
    for kernels in Kernels:
        result = check_golden_vectors(EdgeModel.open(bundle, RuntimeOptions(kernels=kernels)))
        assert result.num_examples >= 8
        assert result.largest_difference <= result.tolerance


def _with_other_golden(bundle: Path, change: str) -> None:
    """A release whose golden file was signed, and is wrong."""
    with np.load(bundle / "golden.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    output = next(name for name in arrays if name.startswith("output:"))
    if change == "answers":
        arrays[output] = np.roll(arrays[output], 1, axis=1)
    elif change == "numbers":
        arrays[output] = arrays[output] * 3.0
    else:
        arrays.pop(output)
    np.savez(bundle / "golden.npz", **arrays)
    manifest = json.loads((bundle / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["name"] == "golden.npz":
            entry["sha256"] = file_sha256(bundle / "golden.npz")
            entry["size_bytes"] = (bundle / "golden.npz").stat().st_size
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "message"),
    [("answers", "golden vectors otherwise"), ("numbers", "differs by"), ("missing", "cannot be read")],
)
def test_wrong_golden_vectors_are_refused(tmp_path: Path, change: str, message: str) -> None:
    bundle = unpacked(tmp_path, golden_draft())
    _with_other_golden(bundle, change)
    with pytest.raises(GoldenTestError, match=message):
        check_golden_vectors(EdgeModel.open(bundle))


def test_delegation_is_proved_and_its_lack_is_told(bundle: Path) -> None:
    fast = EdgeModel.open(bundle).delegation
    assert (fast.delegate, fast.partitions, fast.is_fallback) == ("xnnpack", 1, False)
    assert fast.fraction == fast.expected_fraction == 1.0
    slow = EdgeModel.open(bundle, RuntimeOptions(kernels=Kernels.BUILTIN)).delegation
    assert slow.is_fallback
    assert slow.warning is not None
    assert "0% of the operators here, 100% where the model was judged" in slow.warning


def test_a_required_delegate_that_computes_nothing_refuses_to_start(bundle: Path) -> None:
    with pytest.raises(DelegationError, match="builtin computes 0%"):
        EdgeModel.open(bundle, RuntimeOptions(kernels=Kernels.BUILTIN, require_delegate=True))
    with pytest.raises(SurroundingsError, match=r"libmissing\.so\.1 cannot be loaded"):
        EdgeModel.open(bundle, RuntimeOptions(delegate="libmissing.so.1"))


def test_a_live_model_keeps_the_old_one_where_the_new_one_is_refused(tmp_path: Path) -> None:
    live = LiveModel(EdgeModel.open(unpacked(tmp_path, golden_draft())))
    bad = unpacked(tmp_path, golden_draft(text="b"), 2)
    _with_other_golden(bad, "answers")
    with pytest.raises(GoldenTestError):
        live.swap_to(bad)
    assert live.model.manifest.sequence == 1


def test_models_are_swapped_under_load_without_a_failed_call(tmp_path: Path) -> None:
    bundles = [unpacked(tmp_path, golden_draft(text=str(number)), number) for number in (1, 2)]
    live = LiveModel(EdgeModel.open(bundles[0]))
    row = rows_for(TFLiteModel.load(MODELS / "int8.tflite"), 1)["x"]
    expected = live.predict(row)["scores"]
    failures: list[str] = []
    num_calls = [0] * 4
    stopped = threading.Event()

    def ask(worker: int) -> None:
        while not stopped.is_set():
            try:
                if not np.array_equal(live.predict(row)["scores"], expected):
                    failures.append("another answer")
            except Exception as error:
                failures.append(repr(error))
            num_calls[worker] += 1

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    num_swaps = 0
    while num_swaps < 10 or min(num_calls) < 25:
        num_swaps += 1
        live.swap_to(bundles[num_swaps % 2])
    stopped.set()
    for thread in threads:
        thread.join()
    assert failures == []
