"""What the verdict costs beyond the bare work: the Evaluator node against a plain loop over both models, and its memory.

    python -m benchmarks.evaluator_cost                        # synthetic 28 x 28 images
    python -m benchmarks.evaluator_cost --data mnist.npz       # arrays xe uint8 [n, 28, 28] and ye [n]
    python -m benchmarks.evaluator_cost --repeats 100          # memory and time at 100 times the images as well
    python -m benchmarks.evaluator_cost --photos --images 2000 # an untrained MobileNetV2 and 224 x 224 color images

Both read the same gzip TFRecords of PNG images, decode with the same parser, and run the same float SavedModel and the same int8 bytes
with one interpreter thread; runs alternate, and the median of the ratios counts. The loop counts right answers and nothing else. The
node is ``Executor.Do``: scoring on Beam, slices by label and brightness, built-in kernels on 1,000 examples, rules, reports, blessing.
Memory is the peak of a process of its own for each size; the repeats are links to one file, so only the work grows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.compat import library_versions, quiet_libraries

quiet_libraries()


@dataclass(frozen=True)
class Pictures:
    """What is judged: ``size`` x ``size`` pictures, and how many of them the plain loop takes at once."""

    size: int
    channels: int
    rows_at_once: int


DIGITS = Pictures(28, 1, 256)
PHOTOS = Pictures(224, 3, 32)


def images_and_labels(pictures: Pictures, data: Path | None, count: int) -> tuple[np.ndarray, np.ndarray]:
    """MNIST's test images, or noisy prototypes of ten classes; uint8 ``[n, size, size, channels]`` and labels ``[n]``."""
    size, shape = pictures.size, (pictures.size, pictures.size, pictures.channels)
    if data is not None:
        with np.load(data, allow_pickle=False) as arrays:
            return arrays["xe"].reshape(-1, *shape)[:count], arrays["ye"][:count]
    random = np.random.default_rng(1)
    labels = random.integers(0, 10, count)
    prototypes = np.kron(random.integers(0, 2, (10, 7, 7)), np.ones((size // 7, size // 7), np.int64))[..., None] * 200
    noise = (random.normal(0, 60, shape) for _ in labels)
    images = (np.clip(prototypes[label] + each, 0, 255) for label, each in zip(labels, noise, strict=True))
    return np.stack([image.astype(np.uint8) for image in images]), labels


def write_examples(directory: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """One gzip TFRecord of PNG images, as image_example_gen writes them."""
    import tensorflow as tf

    file = directory / "data-00000.gz"
    with tf.io.TFRecordWriter(str(file), options="GZIP") as writer:
        for image, label in zip(images, labels, strict=True):
            png = tf.io.encode_png(image).numpy()
            feature = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(label)])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return file


def save_float_model(pictures: Pictures, images: np.ndarray, labels: np.ndarray, directory: Path) -> None:
    """Exports the float model with the signature ``edge``."""
    import tensorflow as tf

    model = _float_model(pictures, images, labels)
    edge = tf.function(
        lambda image: {"scores": model(image, training=False)},
        input_signature=[tf.TensorSpec([None, *images.shape[1:]], tf.float32, "image")],
    )
    tf.saved_model.save(model, str(directory), signatures={"edge": edge})


def _float_model(pictures: Pictures, images: np.ndarray, labels: np.ndarray) -> Any:
    """The small CNN of examples/mnist after one epoch, or an untrained MobileNetV2: there, only its size matters."""
    import tf_keras as keras

    from benchmarks.evaluate_memory import mobilenet
    from components.compat import skip_autograph_conversion
    from examples.mnist.model import build_model

    skip_autograph_conversion()
    keras.utils.set_random_seed(1)
    if pictures is PHOTOS:
        return mobilenet()
    model = build_model({})
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy())
    model.fit(images.astype(np.float32), labels, epochs=1, batch_size=64, verbose=0)
    return model


def make_models(directory: Path, pictures: Pictures, images: np.ndarray, labels: np.ndarray) -> None:
    """The float model and its int8 conversion."""
    import tensorflow as tf

    from components.compat import keep_dense_per_tensor

    saved = directory / "trained" / "Format-Serving"
    save_float_model(pictures, images, labels, saved)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=["edge"])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        {"image": row[None].astype(np.float32)} for row in images[: 300 if pictures is DIGITS else 30]
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    keep_dense_per_tensor(converter)
    (directory / "converted").mkdir()
    (directory / "converted" / "model.tflite").write_bytes(converter.convert())


def example_spec(pictures: Pictures) -> Any:
    """How both sides read the examples."""
    from components.data.examples import ExampleSpec, ImageSpec

    return ExampleSpec(image=ImageSpec(pictures.size, pictures.size, pictures.channels))


def plain_loop(directory: Path, pictures: Pictures, files: list[str]) -> tuple[int, int, int]:
    """Decode, float model, int8 model, argmax: what any script would do."""
    from edgeproof_edge.interpreter import TFLiteModel

    from components.data.examples import read_batches
    from components.saved_models.saved_model import FloatModel

    float_model = FloatModel.load(directory / "trained")
    candidate = TFLiteModel.load(directory / "converted" / "model.tflite")
    total = right_float = right_candidate = 0
    for file in files:
        for batch in read_batches([file], example_spec(pictures), pictures.rows_at_once):
            (scores,) = float_model.predict(batch.inputs).values()
            image = batch.inputs["image"]
            (codes,) = candidate.predict({candidate.inputs[0].name: image}).values()
            total += len(batch.labels)
            right_float += int((scores.argmax(axis=1) == batch.labels).sum())
            right_candidate += int((codes.argmax(axis=1) == batch.labels).sum())
    return total, right_float, right_candidate


def evaluator_node(directory: Path, pictures: Pictures, files: list[str], num_examples: int) -> tuple[int, int, int]:
    """The component's executor on artifacts of its own; its counts in the loop's order."""
    from tensorflow_metadata.proto.v0 import statistics_pb2
    from tfx.types import standard_artifacts

    from components.evaluator.counting.slices import SliceBy, SliceSpec, slices_to_json
    from components.evaluator.executor import Executor
    from components.evaluator.gate.thresholds import GateRules
    from components.evaluator.report.gate_report import read_report

    out = Path(tempfile.mkdtemp(dir=directory))
    for folder in ("examples/Split-eval", "statistics/Split-eval"):
        (out / folder).mkdir(parents=True)
    for number, file in enumerate(files):
        (out / "examples" / "Split-eval" / f"data-{number:05}.gz").symlink_to(file)
    record = statistics_pb2.DatasetFeatureStatisticsList()
    record.datasets.add(num_examples=num_examples)
    (out / "statistics" / "Split-eval" / "FeatureStats.pb").write_bytes(record.SerializeToString())

    def artifact(kind: str, uri: Path) -> Any:
        made = getattr(standard_artifacts, kind)()
        made.uri = str(uri)
        made.set_string_custom_property("tfx_version", library_versions()["tfx"])
        if kind in ("Examples", "ExampleStatistics"):
            made.split_names = '["eval"]'
        return made

    candidate = artifact("Model", directory / "converted")
    data = (directory / "converted" / "model.tflite").read_bytes()
    candidate.set_string_custom_property("sha256", hashlib.sha256(data).hexdigest())
    context = Executor.Context(
        beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=local"], tmp_dir=str(out), unique_id="1"
    )
    Executor(context).Do(
        {
            "examples": [artifact("Examples", out / "examples")],
            "statistics": [artifact("ExampleStatistics", out / "statistics")],
            "float_model": [artifact("Model", directory / "trained")],
            "tflite_model": [candidate],
        },
        {
            "evaluation": [artifact("ModelEvaluation", out / "evaluation")],
            "blessing": [artifact("ModelBlessing", out / "blessing")],
        },
        {
            "eval_split": "eval",
            "example_spec": example_spec(pictures).to_json(),
            "num_classes": 10,
            "decision_threshold": 0.5,
            "rules": GateRules().to_json(),
            "slices": slices_to_json((SliceSpec(SliceBy.LABEL), SliceSpec(SliceBy.BRIGHTNESS))),
            "kernel_sample_size": 1000,
            "code_version": "benchmark",
        },
    )
    counts = read_report(out / "evaluation").counts
    assert counts is not None
    return counts.num_examples, counts.num_correct_float, counts.num_correct_candidate


def timed(function: Any, *arguments: Any) -> tuple[float, float, Any]:
    """Wall seconds, CPU seconds of this process (which a busy machine disturbs less), and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return time.perf_counter() - wall, time.process_time() - cpu, result


def compare_times(directory: Path, pictures: Pictures, file: str, count: int, runs: int) -> None:
    """Alternates loop and node, and prints every pair."""
    evaluator_node(directory, pictures, [file], count)  # imports, and TensorFlow's first touch, weigh on neither
    plain_loop(directory, pictures, [file])
    wall_ratios, cpu_ratios = [], []
    for run in range(runs):
        loop_wall, loop_cpu, by_loop = timed(plain_loop, directory, pictures, [file])
        node_wall, node_cpu, by_node = timed(evaluator_node, directory, pictures, [file], count)
        assert by_loop == by_node, (by_loop, by_node)
        wall_ratios.append(node_wall / loop_wall)
        cpu_ratios.append(node_cpu / loop_cpu)
        print(
            f"run {run + 1}: loop {loop_wall:.2f} s (CPU {loop_cpu:.2f}), node {node_wall:.2f} s (CPU {node_cpu:.2f}), "
            f"ratio {wall_ratios[-1]:.2f} (CPU {cpu_ratios[-1]:.2f})",
            flush=True,
        )
    print(f"{count} images, right of them {by_node[1]} float and {by_node[2]} int8, the same both ways")
    print(
        f"node / loop: median {statistics.median(wall_ratios):.2f} in wall time, {statistics.median(cpu_ratios):.2f} in CPU "
        f"time, of {runs} runs",
        flush=True,
    )


def measure_memory(directory: Path, pictures: Pictures, file: str, count: int, repeats: int) -> None:
    """Peak memory and CPU time at ``count`` and at ``count * repeats`` images, a process each."""
    results = {}
    for times in sorted({1, repeats}):
        command = [
            sys.executable,
            "-m",
            "benchmarks.evaluator_cost",
            "--child",
            str(directory),
            file,
            str(count),
            str(times),
            *(["--photos"] if pictures is PHOTOS else []),
        ]
        results[times] = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        )
        print(
            f"{count * times} images: {results[times]['seconds']:.1f} CPU s, peak {results[times]['peak_mb']:.0f} MB",
            flush=True,
        )
    if repeats == 1:
        return
    growth = results[repeats]["peak_mb"] / results[1]["peak_mb"]
    slope = results[repeats]["seconds"] / results[1]["seconds"] / repeats
    print(f"peak memory x{growth:.2f}; CPU time per image x{slope:.2f}")


def child(pictures: Pictures, directory: str, file: str, count: str, times: str) -> None:
    """One evaluation in this process; prints what it took."""
    _, seconds, found = timed(evaluator_node, Path(directory), pictures, [file] * int(times), int(count) * int(times))
    assert found[0] == int(count) * int(times)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


def main() -> None:
    """Makes data and models, then measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="npz file with xe and ye; synthetic images without it")
    parser.add_argument("--photos", action="store_true", help="224 x 224 color images instead of digits")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--repeats", type=int, default=0, help="measure memory and time at so many times the images too"
    )
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.argv = sys.argv[:1]  # TFX's Beam executors parse it
    pictures = PHOTOS if options.photos else DIGITS
    if options.child:
        child(pictures, *options.child)
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        images, labels = images_and_labels(pictures, options.data, options.images)
        make_models(directory, pictures, images[:3000], labels[:3000])
        file = write_examples(directory, images, labels)
        compare_times(directory, pictures, str(file), len(images), options.runs)
        if options.repeats:
            measure_memory(directory, pictures, str(file), len(images), options.repeats)


if __name__ == "__main__":
    main()
