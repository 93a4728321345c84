"""edge/android, compiled against TensorFlow Lite's and Android's classes and held against the code that judges models."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edgeproof_edge.android import MAX_LABELS, export
from edgeproof_edge.bundle import Bundle, open_bundle
from edgeproof_edge.errors import InputError
from edgeproof_edge.tensors import TensorSpec, dequantize, quantize

from tests.android import vectors

MODULE = Path(__file__).parents[2] / "edge/android"
REPORTS = MODULE / "maven/edgeproof/target/surefire-reports"
LABELS = ('say "cheese"', "back\\slash", "Größe 7", "*/ \\u000a \U0001f600\n")

HARNESS = """
import java.io.*;
import java.nio.*;
import edgeproof.models.DigitsModel;
public class Harness {
  public static void main(String[] arguments) throws IOException {
    DataInputStream in = new DataInputStream(new BufferedInputStream(new FileInputStream(arguments[0])));
    DataOutputStream out = new DataOutputStream(new BufferedOutputStream(new FileOutputStream(arguments[1])));
    ByteBuffer input = DigitsModel.newInput0();
    ByteBuffer output = DigitsModel.newOutput0();
    for (int rows = in.readInt(); rows > 0; rows--) {
      float[] values = new float[DigitsModel.INPUT_0_NUM_ELEMENTS];
      for (int index = 0; index < values.length; index++) values[index] = in.readFloat();
      DigitsModel.writeInput0(values, input);
      for (int index = 0; index < input.limit(); index++) out.writeByte(input.get(index));
      output.clear();
      while (output.hasRemaining()) output.put(in.readByte());
      for (float value : DigitsModel.readOutput0(output)) out.writeFloat(value);
    }
    for (int index = 0; index < NUM_LABELS; index++) out.writeUTF(DigitsModel.label(index));
    out.close();
    try {
      DigitsModel.writeInput0(new float[1000], input);
      throw new AssertionError();
    } catch (IllegalArgumentException expected) {
    }
  }
}
"""


def java() -> None:
    if shutil.which("javac") is None:
        pytest.skip("NOTHING OF ANDROID WAS COMPILED HERE: javac is not installed")


@pytest.mark.android
def test_the_module_compiles_and_agrees_with_numpy(tmp_path: Path) -> None:
    if shutil.which("mvn") is None:
        pytest.skip("NOTHING OF ANDROID WAS BUILT HERE: Maven is not installed")
    java()
    vectors.write(tmp_path)
    shutil.rmtree(REPORTS, ignore_errors=True)
    command = ["mvn", "-q", "-B", "verify", f"-Dedgeproof.vectors={tmp_path}"]
    done = subprocess.run(command, cwd=MODULE, capture_output=True, text=True)
    print("\n".join(line for line in done.stdout.splitlines() if ":" in line and "ERROR" not in line))
    assert done.returncode == 0, done.stdout[-4000:]
    suites = [ElementTree.parse(path).getroot() for path in REPORTS.glob("TEST-*.xml")]
    counts = {
        kind: sum(int(suite.attrib[kind]) for suite in suites) for kind in ("tests", "skipped", "failures", "errors")
    }
    print(f"JUnit: {counts}")
    assert counts["tests"] >= 17
    assert counts["skipped"] == counts["failures"] == counts["errors"] == 0


@pytest.mark.android
@pytest.mark.parametrize("model", ["int8", "uint8", "int16x8"])
def test_the_generated_class_agrees_with_numpy(model: str, tmp_path: Path) -> None:
    java()
    bundle = labelled(open_bundle(vectors.bundle_of(model)))
    written = write_export(bundle, tmp_path)
    (tmp_path / "Harness.java").write_text(HARNESS.replace("NUM_LABELS", str(len(LABELS))))
    compile_java(tmp_path, *written, "Harness.java")
    source, target = (entries[0].spec for entries in (bundle.manifest.inputs, bundle.manifest.outputs))
    rows, codes = sample(source, target)
    (tmp_path / "in").write_bytes(interleaved(rows.astype(">f4"), codes))
    subprocess.run(["java", "-cp", ".", "Harness", "in", "out"], cwd=tmp_path, check=True)
    printed = (tmp_path / "out").read_bytes()
    wanted = interleaved(quantize(rows, source), dequantize(codes, target).astype(">f4"))[4:]
    assert printed[: len(wanted)] == wanted
    texts = b"".join(label.encode("utf-16", "surrogatepass").decode("utf-16").encode() for label in LABELS[:3])
    assert all(label.encode() in printed for label in LABELS[:3])
    assert len(printed) > len(wanted) + len(texts)
    print(f"{model}: {rows.size} values in and {codes.size} codes out are NumPy's")


@pytest.mark.android
@pytest.mark.parametrize("model", ["float32", "two_inputs_int8", "two_inputs", "int8_float_io"])
def test_the_class_of_any_model_compiles(model: str, tmp_path: Path) -> None:
    java()
    compile_java(tmp_path, *write_export(open_bundle(vectors.bundle_of(model)), tmp_path))


@pytest.mark.android
def test_a_class_holds_thousands_of_labels(tmp_path: Path) -> None:
    java()
    bundle = open_bundle(vectors.bundle_of("int8"))
    many = replace(
        bundle, manifest=replace(bundle.manifest, labels=tuple(f"label number {n}" for n in range(MAX_LABELS)))
    )
    compile_java(tmp_path, *write_export(many, tmp_path))


def test_the_export_has_what_an_app_needs() -> None:
    bundle = open_bundle(vectors.bundle_of("int8"))
    files = export(bundle)
    assert sorted(files) == [
        "assets/edgeproof/digits/golden.npz",
        "assets/edgeproof/digits/labels.txt",
        "assets/edgeproof/digits/manifest.json",
        "assets/edgeproof/digits/model.tflite",
        "java/edgeproof/models/DigitsModel.java",
    ]
    assert files["assets/edgeproof/digits/model.tflite"] == bundle.files["model.tflite"]
    source = files["java/edgeproof/models/DigitsModel.java"].decode()
    assert f"INPUT_0_SCALE = {bundle.manifest.inputs[0].spec.scale!r};" in source


def test_a_type_that_java_cannot_say_is_refused_by_name() -> None:
    bundle = open_bundle(vectors.bundle_of("int8"))
    entry = replace(bundle.manifest.inputs[0], spec=TensorSpec("x", (1, 8), "float16"))
    strange = replace(bundle, manifest=replace(bundle.manifest, inputs=(entry,)))
    with pytest.raises(InputError, match="'x' holds float16"):
        export(strange)


def labelled(bundle: Bundle) -> Bundle:
    return replace(bundle, manifest=replace(bundle.manifest, labels=LABELS))


def write_export(bundle: Bundle, directory: Path) -> list[str]:
    """Writes an export; returns the Java files."""
    for path, data in export(bundle).items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    return [path for path in export(bundle) if path.endswith(".java")]


def compile_java(directory: Path, *files: str) -> None:
    command = ["javac", "--release", "8", "-Xlint:all,-options", "-Werror", "-d", ".", *files]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def sample(source: TensorSpec, target: TensorSpec) -> tuple[np.ndarray, np.ndarray]:
    """Rows of real values, with what is hard to round and to clip, and rows of codes."""
    random = np.random.default_rng(3)
    sizes = [int(np.prod([max(1, size) for size in spec.shape])) for spec in (source, target)]
    bounds = np.iinfo(source.dtype)
    codes = random.integers(bounds.min - 3, bounds.max + 4, (3000, sizes[0]))
    rows = ((codes - source.zero_point + random.choice([0.0, 0.5, 0.25], codes.shape)) * source.scale).astype(
        np.float32
    )
    rows[0, :4] = (np.nan, np.inf, -np.inf, 1e38)
    range_out = np.iinfo(target.dtype)
    return rows, random.integers(range_out.min, range_out.max, (3000, sizes[1]), endpoint=True).astype(target.dtype)


def interleaved(first: np.ndarray, second: np.ndarray) -> bytes:
    """Row by row, both after each other."""
    rows = (a.tobytes() + b.tobytes() for a, b in zip(first, second, strict=True))
    return len(first).to_bytes(4, "big") + b"".join(rows)
