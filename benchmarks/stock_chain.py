"""`edgeproof run` against a TFX chain as a user writes it, on MNIST: the same nodes, model, epochs and examples.

    python -m benchmarks.stock_chain --data FOLDER [--pairs 3] [--tuned]

FOLDER is laid out as examples/mnist says. The stock chain packs the pictures into TFRecords in a plain loop, and has
ImportExampleGen, StatisticsGen, SchemaGen, ExampleValidator, a Trainer that decodes one example after the other, exports,
and converts to int8 with 500 representative images, an Evaluator (TFMA, float model only) and a Pusher; no cache. With
``--tuned`` its Trainer knows what we know: Keras is not transpiled by AutoGraph, and tf.data's tuner is off. Each is a
fresh process in a folder of its own; the two of a pair run one after the other in alternating order, with warm files.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.process_cost import Cost, measure

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "examples" / "mnist" / "config.yaml"
TRAIN, CALIBRATION, EVAL = "train", "calibration", "eval"


def ours(data: Path, directory: Path) -> list[str]:
    """The command that runs our chain."""
    settings = (f"data.path={data}", f"workspace={directory}")
    changes = [argument for setting in settings for argument in ("--set", setting)]
    return [sys.executable, "-m", "pipeline.cli", "run", str(CONFIG), *changes]


def stock(data: Path, directory: Path, is_tuned: bool) -> list[str]:
    """The command that runs the stock chain."""
    command = [sys.executable, "-m", "benchmarks.stock_chain", "--data", str(data), "--stock-in", str(directory)]
    return [*command, "--tuned"] if is_tuned else command


def run_stock(data: Path, directory: Path, is_tuned: bool) -> None:
    """The stock chain, in this process."""
    from tensorflow_model_analysis.proto import config_pb2
    from tfx import v1 as tfx  # noqa: TID251 - as its users write it, at its price
    from tfx.proto import example_gen_pb2

    records = pack(data, directory / "records")
    splits = [example_gen_pb2.Input.Split(name=name, pattern=f"{name}-*.gz") for name in (TRAIN, CALIBRATION, EVAL)]
    examples = tfx.components.ImportExampleGen(
        input_base=str(records), input_config=example_gen_pb2.Input(splits=splits)
    ).outputs["examples"]
    figures = tfx.components.StatisticsGen(examples=examples).outputs["statistics"]
    schema = tfx.components.SchemaGen(statistics=figures).outputs["schema"]
    validator = tfx.components.ExampleValidator(statistics=figures, schema=schema)
    trainer = tfx.components.Trainer(
        run_fn="benchmarks.stock_trainer.run_fn",
        examples=examples,
        train_args=tfx.proto.TrainArgs(splits=[TRAIN]),
        eval_args=tfx.proto.EvalArgs(splits=[CALIBRATION]),
        custom_config={"is_tuned": is_tuned},
    )
    eval_config = config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(label_key="label", signature_name="serving_default")],
        slicing_specs=[config_pb2.SlicingSpec(), config_pb2.SlicingSpec(feature_keys=["label"])],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    config_pb2.MetricConfig(
                        class_name="SparseCategoricalAccuracy",
                        threshold=config_pb2.MetricThreshold(
                            value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": 0.9})
                        ),
                    )
                ]
            )
        ],
    )
    evaluator = tfx.components.Evaluator(
        examples=examples, model=trainer.outputs["model"], example_splits=[EVAL], eval_config=eval_config
    )
    pusher = tfx.components.Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(directory / "pushed"))
        ),
    )
    nodes = [examples.producer_component, figures.producer_component, schema.producer_component]
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="stock",
        pipeline_root=str(directory / "artifacts"),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(directory / "metadata.sqlite")
        ),
        components=[*nodes, validator, trainer, evaluator, pusher],
        enable_cache=False,
        beam_pipeline_args=["--runner=FnApiRunner"],
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)
    assert list((directory / "pushed").iterdir()), "the stock chain pushed nothing"


def pack(data: Path, records: Path) -> Path:
    """The pictures as gzip TFRecords: 54,000 to train, 6,000 to calibrate, the test set."""
    import tensorflow as tf

    records.mkdir(parents=True)
    train = sorted((data / "train").glob("*/*"))
    members = {
        TRAIN: [file for number, file in enumerate(train) if number % 10],
        CALIBRATION: train[::10],
        EVAL: sorted((data / "test").glob("*/*")),
    }
    for split, files in members.items():
        with tf.io.TFRecordWriter(str(records / f"{split}-00000.gz"), options="GZIP") as writer:
            for file in files:
                image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[file.read_bytes()]))
                label = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(file.parent.name)]))
                features = tf.train.Features(feature={"image": image, "label": label})
                writer.write(tf.train.Example(features=features).SerializeToString())
    return records


def compare(data: Path, pairs: int, is_tuned: bool) -> None:
    """Prints each pair, then the medians of the ratios."""
    name = "stock chain, tuned" if is_tuned else "stock chain as a user writes it"
    for file in data.glob("*/*/*"):
        file.read_bytes()
    ratios = []
    for number in range(pairs):
        costs: dict[str, Cost] = {}
        for who in ("ours", "stock") if number % 2 else ("stock", "ours"):
            with tempfile.TemporaryDirectory(prefix="edgeproof-chain-") as directory:
                place = Path(directory) / "run"
                costs[who] = measure(ours(data, place) if who == "ours" else stock(data, place, is_tuned))
        our, their = costs["ours"], costs["stock"]
        ratios.append((our.seconds / their.seconds, our.cpu_seconds / their.cpu_seconds))
        print(
            f"ours {our.seconds:.1f} s, CPU {our.cpu_seconds:.1f}; {name} {their.seconds:.1f} s, CPU {their.cpu_seconds:.1f};"
            f" wall {ratios[-1][0]:.2f}x, CPU {ratios[-1][1]:.2f}x",
            flush=True,
        )
    wall, cpu = (statistics.median(values) for values in zip(*ratios, strict=True))
    print(f"median of {pairs}, {os.cpu_count()} cores: wall {wall:.2f}x, CPU {cpu:.2f}x of {name}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder with train/<label>/<file> and test/.")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--tuned", action="store_true", help="The stock chain has our AutoGraph rule, and no tuner.")
    parser.add_argument("--stock-in", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.stock_in:
        run_stock(asked.data, asked.stock_in, asked.tuned)
    else:
        compare(asked.data.absolute(), asked.pairs, asked.tuned)


if __name__ == "__main__":
    main()
