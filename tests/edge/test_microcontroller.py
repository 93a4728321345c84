"""A release for microcontrollers: the same bytes, sound C, and TFLite Micro's own verdict on every golden vector."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edgeproof_edge.bundle import Bundle, open_bundle
from edgeproof_edge.errors import InputError
from edgeproof_edge.flatbuffer import inspect
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.microcontroller import MICRO_OPERATORS, Layout, export, missing_operators
from edgeproof_edge.tensors import quantize

from releases.bundles.bundle import build
from tests.edge.bundles import CREATED, MODELS, draft_of, golden_draft

#: A Python that has the package tflite-micro.
MICRO_PYTHON = os.environ.get("EDGEPROOF_TFLITE_MICRO_PYTHON")
LABELS = ('say "cheese"', "back\\slash", "Größe 7", "??/ trigraph\n")

CHECK = """
#include <stdio.h>
#include <string.h>
#include "digits_model.h"
int main() {
  DIGITS_INPUT_0_TYPE input[DIGITS_INPUT_0_NUM_ELEMENTS];
  printf("%u %zu %.9g %d %d\\n", g_digits_model_len, sizeof input, DIGITS_INPUT_0_SCALE, DIGITS_INPUT_0_ZERO_POINT,
         (int)(reinterpret_cast<uintptr_t>(g_digits_model) % 16));
  fwrite(g_digits_model, 1, g_digits_model_len, stdout);
  for (int i = 0; i < DIGITS_NUM_LABELS; i++) fwrite(g_digits_labels[i], 1, strlen(g_digits_labels[i]) + 1, stdout);
}
"""

RUN = """
import json, sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
content, rows = open(sys.argv[1], "rb").read(), np.load(sys.argv[2])
def run(arena):
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena)
    answers = []
    for row in rows:
        interpreter.set_input(row[None], 0)
        interpreter.invoke()
        answers.append(interpreter.get_output(0)[0].tolist())
    return answers
print(json.dumps(run(int(sys.argv[3]))))
"""


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(build(golden_draft(labels=("a", "b", "c", "d")), 3, "000003-abcdefabcdef", CREATED))


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_the_array_compiles_and_holds_the_judged_bytes(bundle: Bundle, tmp_path: Path) -> None:
    labelled = replace(bundle, manifest=replace(bundle.manifest, labels=LABELS))
    for path, data in export(labelled, Layout.C_ARRAY).items():
        (tmp_path / path).write_bytes(data)
    (tmp_path / "check.cc").write_text(CHECK)
    command = ["g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-o", "check", "check.cc", "digits_model.cc"]
    subprocess.run(command, cwd=tmp_path, check=True)
    printed = subprocess.run([tmp_path / "check"], capture_output=True, check=True).stdout
    facts, rest = printed.split(b"\n", 1)
    model = bundle.files["model.tflite"]
    spec = bundle.manifest.inputs[0].spec
    length, size, scale, zero_point, misalignment = facts.split()
    assert (int(length), int(size), int(zero_point), int(misalignment)) == (len(model), 8, spec.zero_point, 0)
    assert np.float32(float(scale)) == np.float32(spec.scale)
    assert rest == model + b"".join(label.encode() + b"\0" for label in LABELS)


def test_the_arduino_library_has_its_files_where_the_ide_looks(bundle: Bundle) -> None:
    files = export(bundle, Layout.ARDUINO)
    assert sorted(files) == ["library.properties", "src/digits_model.cpp", "src/digits_model.h"]
    assert b"version=1.0.3\n" in files["library.properties"]
    assert re.search(rb"^includes=digits_model\.h$", files["library.properties"], re.MULTILINE)


def test_an_operator_that_micro_lacks_is_named_before_anything_is_written() -> None:
    lacking = open_bundle(build(draft_of((MODELS / "custom.tflite").read_bytes()), 1, "1", CREATED))
    with pytest.raises(InputError, match="TFLite Micro lacks"):
        export(lacking, Layout.C_ARRAY)
    assert missing_operators(inspect((MODELS / "int8.tflite").read_bytes())) == ()
    assert {"CONV_2D", "SOFTMAX", "SVDF"} <= MICRO_OPERATORS


@pytest.mark.exhaustive
@pytest.mark.skipif(MICRO_PYTHON is None, reason="EDGEPROOF_TFLITE_MICRO_PYTHON names no Python with tflite-micro")
def test_tflite_micro_answers_every_golden_vector(bundle: Bundle, tmp_path: Path) -> None:
    golden = bundle.manifest.golden
    assert golden is not None
    with np.load(io.BytesIO(bundle.files["golden.npz"])) as archive:
        rows, expected = archive["input:x"], archive[f"output:{golden.output}"]
    source = next(data for path, data in export(bundle, Layout.C_ARRAY).items() if path.endswith(".cc")).decode()
    array = source.split("= {", 1)[1].split("};", 1)[0]
    (tmp_path / "model.tflite").write_bytes(bytes(int(byte, 16) for byte in re.findall(r"0x[0-9a-f]{2}", array)))
    np.save(tmp_path / "rows.npy", quantize(rows, bundle.manifest.inputs[0].spec))
    arena_bytes, answers = _smallest_arena(tmp_path)
    spec = TFLiteModel.load(tmp_path / "model.tflite").outputs[0]
    found = (np.array(answers) - spec.zero_point) * spec.scale
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert np.abs(found - expected).max() <= golden.tolerance
    print(f"arena: {arena_bytes} bytes")
    assert arena_bytes <= 64 * 1024


def _smallest_arena(directory: Path) -> tuple[int, list[list[int]]]:
    """Powers of two, from 1 KiB."""
    for exponent in range(10, 24):
        arguments = [str(directory / "model.tflite"), str(directory / "rows.npy"), str(2**exponent)]
        done = subprocess.run([str(MICRO_PYTHON), "-c", RUN, *arguments], capture_output=True, text=True)
        if done.returncode == 0:
            return 2**exponent, json.loads(done.stdout.splitlines()[-1])
    raise AssertionError(f"TFLite Micro cannot run the model in 8 MiB: {done.stderr[-500:]}")
