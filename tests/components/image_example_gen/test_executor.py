"""The whole ingest of a small folder, through Beam, to TFRecord files."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from components.errors import DataError

pytestmark = pytest.mark.tfx

Ingest = Callable[..., Any]


def _save(path: Path, seed: int, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (8, 8))
    image.putdata([(seed * 37 + index * (seed % 7 + 1)) % 256 for index in range(64)])
    image.save(path, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """120 images of two classes."""
    for seed in range(120):
        _save(tmp_path / "images" / ("cat", "dog")[seed % 2] / f"{seed:03d}.png", seed)
    return tmp_path / "images"


@pytest.fixture
def ingest(tmp_path: Path) -> Ingest:
    from tfx.proto import example_gen_pb2
    from tfx.types import standard_artifacts
    from tfx.utils import proto_utils

    from components.image_example_gen.executor import Executor
    from components.image_example_gen.splits import Shares

    def run(
        base: Path,
        patterns: Mapping[str, str] | None = None,
        group_by: str = "",
        out: str = "out",
        image_limits: Mapping[str, int] | None = None,
        ignore: Sequence[str] = (),
        beam_args: Sequence[str] = ("--runner=FnApiRunner", "--sdk_container_image=local"),
    ) -> Any:
        splits = [example_gen_pb2.Input.Split(name=n, pattern=p) for n, p in (patterns or {"all": "*/*"}).items()]
        artifact = standard_artifacts.Examples()
        artifact.uri = str(tmp_path / out)
        artifact.set_string_custom_property("tfx_version", "1.16.0")
        properties = {
            "input_base": str(base),
            "input_config": proto_utils.proto_to_json(example_gen_pb2.Input(splits=splits)),
            "class_names": "[]",
            "group_by": group_by,
            "shares": Shares(60, 20, 20).to_json(),
            "image_limits": json.dumps(image_limits or {}),
            "ignore": json.dumps(list(ignore)),
            "code_version": "1",
        }
        context = Executor.Context(beam_pipeline_args=list(beam_args), tmp_dir=str(tmp_path), unique_id="1")
        Executor(context).Do({}, {"examples": [artifact]}, properties)
        return artifact

    return run


def _read(artifact: Any) -> dict[str, list[Any]]:
    import tensorflow as tf

    splits = {}
    for split in json.loads(artifact.split_names):
        files = sorted(str(path) for path in Path(artifact.uri, f"Split-{split}").iterdir())
        records = tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator()
        splits[split] = [tf.train.Example.FromString(record) for record in records]
    return splits


def _texts(examples: list[Any], name: str = "path") -> list[str]:
    return [example.features.feature[name].bytes_list.value[0].decode() for example in examples]


def _number(example: Any, name: str) -> int:
    return int(example.features.feature[name].int64_list.value[0])


def test_every_image_is_ingested_once_as_it_is(folder: Path, ingest: Ingest) -> None:
    (folder / "cat" / ".DS_Store").write_bytes(b"x")

    artifact = ingest(folder)

    splits = _read(artifact)
    assert list(splits) == ["train", "calibration", "eval"]
    everything = [example for examples in splits.values() for example in examples]
    assert len(everything) == 120 == len(set(_texts(everything)))
    for example in everything:
        path = _texts([example])[0]
        assert example.features.feature["image"].bytes_list.value[0] == (folder / path).read_bytes()
        assert _number(example, "label") == path.startswith("dog")
        assert [_number(example, name) for name in ("height", "width", "channels")] == [8, 8, 1]
    assert {split: artifact.get_int_custom_property(f"num_examples_{split}") for split in splits} == {
        split: len(examples) for split, examples in splits.items()
    }


def test_the_artifact_says_what_the_stock_example_gen_says_and_carries_the_classes(
    folder: Path, ingest: Ingest
) -> None:
    from tfx.components.util import examples_utils
    from tfx.proto import example_gen_pb2

    artifact = ingest(folder)

    assert examples_utils.get_payload_format(artifact) == example_gen_pb2.FORMAT_TF_EXAMPLE
    assert examples_utils.get_file_format(artifact) == "tfrecords_gzip"
    assert json.loads(artifact.get_string_custom_property("class_names")) == ["cat", "dog"]
    assert json.loads((Path(artifact.uri) / "class_names.json").read_text()) == ["cat", "dog"]
    assert sorted(path.name for path in Path(artifact.uri).iterdir()) == [
        "Split-calibration",
        "Split-eval",
        "Split-train",
        "class_names.json",
        "data_summary.json",
        "record_files.json",
    ]
    assert [path.name for path in (Path(artifact.uri) / "Split-eval").iterdir()] == ["data_tfrecord-00000-of-00001.gz"]


def test_many_shards_give_the_same_examples_in_the_same_order(
    folder: Path, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.image_example_gen import executor

    whole = _read(ingest(folder, out="whole"))
    monkeypatch.setattr(executor, "IMAGES_PER_SHARD", 7)
    artifact = ingest(folder, out="shards")

    assert _read(artifact) == whole
    names = sorted(path.name for path in (Path(artifact.uri) / "Split-train").iterdir())
    assert names[0] == f"data_tfrecord-00000-of-{len(names):05d}.gz"
    assert len(names) > 1


@pytest.mark.parametrize("way", ["one", "two", "beam"])
def test_whoever_reads_the_images_writes_the_same_records(
    folder: Path, ingest: Ingest, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    from components import light_workers
    from components.image_example_gen import executor

    for name, file_format in (("odd.jpg", "JPEG"), ("odd.bmp", "BMP")):
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif} if file_format == "JPEG" else {}
        Image.effect_noise((8, 8), 90).save(folder / "cat" / name, file_format, **options)
    whole = _read(ingest(folder, out="whole"))
    monkeypatch.setattr(executor, "IMAGES_PER_SHARD", 7)
    monkeypatch.setattr(light_workers, "usable_cores", lambda: {"one": 1, "two": 2, "beam": 1}[way])
    if way == "beam":
        monkeypatch.setattr(executor, "is_local_runner", lambda _: False)

    assert _read(ingest(folder, out="again")) == whole
    features = [example.features.feature for examples in whole.values() for example in examples]
    turned = [feature for feature in features if "image_orientation" in feature]
    assert [feature["path"].bytes_list.value[0] for feature in turned] == [b"cat/odd.jpg"]
    (converted,) = (feature for feature in features if feature["path"].bytes_list.value[0] == b"cat/odd.bmp")
    assert converted["image"].bytes_list.value[0].startswith(b"\x89PNG")


def test_copies_and_re_encodings_stay_in_one_split_and_conflicts_are_told(
    folder: Path, ingest: Ingest, caplog: pytest.LogCaptureFixture
) -> None:
    for copy in range(6):
        _save(folder / ("cat", "dog")[copy % 2] / f"copy-{copy}.png", seed=1000, compress_level=copy)

    with caplog.at_level(logging.INFO, "edgeproof.progress"):
        artifact = ingest(folder)

    holding = [split for split, examples in _read(artifact).items() if any("copy" in path for path in _texts(examples))]
    assert len(holding) == 1
    assert artifact.get_int_custom_property("num_label_conflicts") == 1
    assert "carry two labels, for example cat/copy-0.png and dog/copy-1.png" in caplog.text


def test_bursts_stay_together(tmp_path: Path, ingest: Ingest) -> None:
    for seed in range(200):
        _save(tmp_path / "bursts" / "cat" / f"burst{seed // 5:02d}_frame{seed}.png", seed)

    splits = _read(ingest(tmp_path / "bursts", group_by=r"(burst\d+)_"))

    bursts = {split: {path.split("/")[1][:7] for path in _texts(examples)} for split, examples in splits.items()}
    assert sum(len(names) for names in bursts.values()) == 40 == len(set().union(*bursts.values()))
    assert all(len(set(_texts(splits[split], "group"))) == len(names) for split, names in bursts.items())


def test_the_holdout_of_a_person_stays_whole(folder: Path, tmp_path: Path, ingest: Ingest) -> None:
    for seed in range(30):
        _save(tmp_path / "images" / "holdout" / "cat" / f"{seed}.png", seed if seed < 4 else 5000 + seed)
    folder.rename(tmp_path / "moved")
    (tmp_path / "moved" / "holdout").rename(tmp_path / "holdout")
    (tmp_path / "moved").rename(tmp_path / "training")

    artifact = ingest(tmp_path, {"train": "training/*/*", "eval": "holdout/*/*"})

    splits = _read(artifact)
    assert len(splits["eval"]) == 30
    assert artifact.get_int_custom_property("num_dropped_duplicates") == 4
    assert len(splits["train"]) + len(splits["calibration"]) == 116


def test_bad_files_are_named_together_and_nothing_is_ingested(folder: Path, tmp_path: Path, ingest: Ingest) -> None:
    (folder / "cat" / "000.png").write_bytes((folder / "cat" / "000.png").read_bytes()[:50])
    (folder / "dog" / "notes.txt").write_text("labels by Ann")
    (folder / "dog" / "deeper").mkdir()

    with pytest.raises(DataError) as refusal:
        ingest(folder)

    message = str(refusal.value)
    assert "3 of 122 files under " in message
    assert "cat/000.png: does not decode" in message
    assert "dog/notes.txt: is no PNG, JPEG" in message
    assert "dog/deeper: is a folder" in message
    assert not list((tmp_path / "out").glob("Split-*"))


def test_what_is_ignored_is_not_read(folder: Path, ingest: Ingest) -> None:
    (folder / "dog" / "notes.txt").write_text("labels by Ann")
    _save(folder / "masks" / "1.png", 1)

    artifact = ingest(folder, ignore=["*.txt", "masks"])

    assert json.loads(artifact.get_string_custom_property("class_names")) == ["cat", "dog"]
    assert sum(len(examples) for examples in _read(artifact).values()) == 120


def test_an_image_of_an_odd_size_is_named(folder: Path, ingest: Ingest, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("L", (9, 8)).save(folder / "dog" / "odd.png")

    with caplog.at_level(logging.INFO, "edgeproof.progress"):
        ingest(folder)

    assert "images of 2 sizes (height x width x channels): 8 x 8 x 1 (120, for example" in caplog.text
    assert "8 x 9 x 1 (1, for example dog/odd.png)" in caplog.text


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        pytest.param(
            {"height": 8, "width": 8, "channels": 1},
            r"^1 of 121 files under .* says, 8 x 8 x 1: the first is dog/odd\.png, 8 x 9 x 1\. .*data\.image\.resize",
            id="one-image",
        ),
        pytest.param(
            {"channels": 3}, r"^121 of 121 .*: the first is cat/000\.png.* converts no channels", id="channels"
        ),
    ],
)
def test_an_image_of_a_size_that_is_not_allowed_stops_the_ingest(
    folder: Path, tmp_path: Path, ingest: Ingest, limits: dict[str, int], message: str
) -> None:
    Image.new("L", (9, 8)).save(folder / "dog" / "odd.png")

    with pytest.raises(DataError, match=message):
        ingest(folder, image_limits=limits)
    assert not list((tmp_path / "out").glob("Split-*"))


def test_a_path_without_a_group_is_named(folder: Path, ingest: Ingest) -> None:
    with pytest.raises(
        DataError, match=r"120 of 120 files.*cat/000\.png: data\.group_by .* finds no group.*and 115 more"
    ):
        ingest(folder, group_by=r"(burst\d+)_")


def test_a_file_that_changes_between_the_passes_stops_the_run(
    folder: Path, ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.image_example_gen import executor

    def plan_and_meddle(*arguments: Any) -> Any:
        _save(folder / "cat" / "000.png", seed=9999)
        return original(*arguments)

    original = executor.plan_splits
    monkeypatch.setattr(executor, "plan_splits", plan_and_meddle)

    with pytest.raises(DataError, match=r"cat/000\.png .* changed while it was read"):
        ingest(folder)


@pytest.fixture
def job_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sequence[str]]:
    """Beam's own job service and a pool that starts worker processes: a runner of other machines, as far as one has it."""
    from apache_beam.runners.portability.local_job_service import LocalJobServicer
    from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

    monkeypatch.setenv("PATH", os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(entry for entry in sys.path if entry))
    servicer = LocalJobServicer(str(tmp_path / "staging"))
    port = servicer.start_grpc_server()
    pool, pool_server = BeamFnExternalWorkerPoolServicer.start(use_process=True)
    yield (
        "--runner=PortableRunner",
        f"--job_endpoint=localhost:{port}",
        "--environment_type=EXTERNAL",
        f"--environment_config={pool}",
    )
    pool_server.stop(grace=None).wait()
    servicer.stop(timeout=10)


def test_workers_of_another_machine_write_the_same_records(
    folder: Path, ingest: Ingest, job_service: Sequence[str]
) -> None:
    here, there = ingest(folder, out="here"), ingest(folder, out="there", beam_args=job_service)
    records = [
        {path.name: path.read_bytes() for path in sorted(Path(artifact.uri).glob("Split-*/*.gz"))}
        for artifact in (here, there)
    ]
    assert records[0]
    assert records[0] == records[1]
