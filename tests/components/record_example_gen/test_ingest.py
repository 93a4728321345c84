"""The ingest of records from files to files, without TensorFlow: splits, categories, statistics, images."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from components.data.data_summary import DataSummary
from components.data.example_proto import decode_example
from components.data.examples import ExampleSpec, ImageSpec, TensorFeature, read_class_names
from components.data.records import read_file_list, read_records, require_whole
from components.errors import DataError
from components.image_example_gen.splits import SPLIT_NAMES, UNDIVIDED, Shares
from components.light_workers import run_tasks
from components.record_example_gen import plan as planning
from components.record_example_gen.ingest import ingest_records
from components.record_example_gen.scanning import RecordOptions

TABLE = ExampleSpec(
    label="state",
    class_names=("ok", "worn", "broken"),
    features=(
        TensorFeature("pressure", default=5.0),
        TensorFeature("starts", "int64"),
        TensorFeature("site", "string"),
    ),
)
IMAGES = ExampleSpec(class_names=("dark", "bright"), image=ImageSpec(4, 4, 1))


def options(base: Path, **changes: Any) -> RecordOptions:
    common = RecordOptions("csv", str(base), {UNDIVIDED: "*"}, TABLE, False, "", Shares(60, 20, 20), None)
    return replace(common, **changes)


def ingest(given: RecordOptions, out: Path, num_workers: int = 1) -> dict[str, list[dict[str, Any]]]:
    """Split -> its examples, in their order."""
    (out / ".ingest").mkdir(parents=True)

    def run(function: str, tasks: Sequence[Any]) -> list[Any]:
        return run_tasks(f"components.record_example_gen.shards:{function}", tasks, num_workers=num_workers)

    ingest_records(given, str(out), str(out / ".ingest"), run)
    assert list((out / ".ingest").iterdir()) == []
    return {split: read(out / f"Split-{split}") for split in SPLIT_NAMES}


def read(split: Path) -> list[dict[str, Any]]:
    examples = []
    for path in sorted(split.glob("*")):
        with path.open("rb") as file:
            examples += [decode_example(record) for record in read_records(file, str(path), is_gzip=True)]
    return examples


def write_table(folder: Path, *, gaps: bool = False, num_files: int = 3) -> None:
    folder.mkdir(parents=True)
    for part in range(num_files):
        lines = ["serial,pressure,starts,site,state"]
        for number in range(part * 100, part * 100 + 100):
            pressure = "" if gaps and number % 40 == 7 else f"{number / 8}"
            site = ("north", "Werk Süd", "east")[number % 3]
            lines.append(f"{3_000_000_000 + number},{pressure},{number % 9},{site},{TABLE.class_names[number % 3]}")
        (folder / f"part-{part}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")


def test_a_table_with_words_and_gaps_becomes_numbers(tmp_path: Path) -> None:
    write_table(tmp_path / "data", gaps=True)
    splits = ingest(options(tmp_path / "data"), tmp_path / "out")

    everything = [example for examples in splits.values() for example in examples]
    assert sorted(example["serial"][0] for example in everything) == list(range(3_000_000_000, 3_000_000_300))
    summary = DataSummary.read(str(tmp_path / "out"))
    assert summary is not None
    vocabulary = summary.features["site"].vocabulary
    assert vocabulary == ("Werk Süd", "east", "north")
    for example in everything:
        number = example["serial"][0] - 3_000_000_000
        assert example["state"] == [number % 3]
        assert example["pressure"] == [5.0 if number % 40 == 7 else number / 8]
        assert vocabulary[example["site"][0] - 1].encode() == example["site_text"][0]
    assert summary.features["pressure"].num_defaults == 8
    assert read_class_names(str(tmp_path / "out")) == TABLE.class_names


def test_statistics_are_those_of_the_train_split(tmp_path: Path) -> None:
    write_table(tmp_path / "data")
    train = ingest(options(tmp_path / "data"), tmp_path / "out")["train"]
    summary = DataSummary.read(str(tmp_path / "out"))
    assert summary is not None

    values = [example["pressure"][0] for example in train]
    mean = sum(values) / len(values)
    pressure = summary.features["pressure"]
    assert pressure.mean == pytest.approx([mean])
    assert pressure.variance == pytest.approx([sum((value - mean) ** 2 for value in values) / len(values)])
    assert (pressure.minimum, pressure.maximum) == ((min(values),), (max(values),))
    assert summary.num_examples["train"] == len(train) == sum(summary.num_per_class["train"])


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_any_number_of_workers_writes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int
) -> None:
    monkeypatch.setattr(planning, "ROWS_PER_FILE", 50)
    write_table(tmp_path / "data", num_files=5)
    ingest(options(tmp_path / "data"), tmp_path / "once")
    ingest(options(tmp_path / "data"), tmp_path / "again", num_workers)

    names = sorted(str(path.relative_to(tmp_path / "once")) for path in (tmp_path / "once").rglob("*.gz"))
    assert len(names) > 6
    for name in [*names, "data_summary.json", "record_files.json"]:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "once" / name).read_bytes()
    assert require_whole([str(tmp_path / "again" / name) for name in names]) == 500
    assert set(read_file_list(str(tmp_path / "again"))) == set(names)


def test_sorted_data_is_mixed(tmp_path: Path) -> None:
    write_table(tmp_path / "data", num_files=2)
    train = ingest(options(tmp_path / "data"), tmp_path / "out")["train"]
    serials = [example["serial"][0] for example in train]
    assert serials != sorted(serials)
    middle = sorted(serials)[len(serials) // 2]
    assert 0.3 < sum(serial < middle for serial in serials[: len(serials) // 2]) / (len(serials) // 2) < 0.7


@pytest.mark.parametrize(
    ("feature", "column", "message"),
    [
        pytest.param(
            TensorFeature("pressure"),
            "pressure",
            r"'pressure' has no value in 8 of 300 rows \(line 9 of part-0.csv; line 49 of part-0.csv; line 89 of part-0.csv; ...\)"
            r"\. Nothing was ingested\. Next: give data\.features\.pressure\.default",
            id="empty-cells",
        ),
        pytest.param(
            TensorFeature("site"),
            "site",
            r"'site' is no number in 300 of 300 rows \(line 2 of part-0.csv: 'north'; .* set data\.features\.site\.dtype to string",
            id="words",
        ),
    ],
)
def test_what_cannot_be_used_is_counted_and_placed(
    tmp_path: Path, feature: TensorFeature, column: str, message: str
) -> None:
    write_table(tmp_path / "data", gaps=True)
    spec = replace(TABLE, features=(feature,))
    with pytest.raises(DataError, match=message):
        ingest(options(tmp_path / "data", example_spec=spec), tmp_path / "out")
    assert list((tmp_path / "out").glob("Split-*")) == []


def test_rows_of_one_group_stay_together_and_a_missing_group_is_named(tmp_path: Path) -> None:
    write_table(tmp_path / "data")
    splits = ingest(options(tmp_path / "data", group_by="starts", shares=Shares(1, 1, 1)), tmp_path / "out")
    groups = [{example["starts"][0] for example in examples} for examples in splits.values()]
    assert sum(map(len, groups)) == 9
    with pytest.raises(DataError, match=r"data\.group_by 'shift' has no value in line 2 of .*part-0\.csv"):
        ingest(options(tmp_path / "data", group_by="shift"), tmp_path / "other")


# Images in records


def picture(seed: int, size: tuple[int, int] = (4, 4), file_format: str = "PNG", **save: Any) -> bytes:
    image = Image.new("L", size)
    image.putdata([(seed * 31 + index * (1 + seed % 7)) % 256 for index in range(size[0] * size[1])])
    content = io.BytesIO()
    image.save(content, file_format, **save)
    return content.getvalue()


def write_images(path: Path, pictures: Sequence[bytes], labels: Sequence[int]) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({"image": list(pictures), "label": list(labels)})
    pyarrow.parquet.write_table(table, path, row_group_size=40)


def image_options(base: Path, **changes: Any) -> RecordOptions:
    limits: Mapping[str, int] = {"height": 4, "width": 4, "channels": 1}
    return options(base, record_format="parquet", example_spec=IMAGES, image_limits=limits, **changes)


def test_the_same_picture_never_straddles_two_splits(tmp_path: Path) -> None:
    pictures = [picture(seed) for seed in range(90)]
    again = [picture(seed, compress_level=0) for seed in range(90)]
    write_images(tmp_path / "data" / "a.parquet", pictures + again, [seed % 2 for seed in range(90)] * 2)
    splits = ingest(image_options(tmp_path / "data"), tmp_path / "out")

    pixels = {
        split: {Image.open(io.BytesIO(example["image"][0])).tobytes() for example in examples}
        for split, examples in splits.items()
    }
    assert sum(map(len, pixels.values())) == len(set().union(*pixels.values()))
    assert sum(map(len, splits.values())) == 180
    assert all(example["height"] == [4] for example in splits["eval"])


def test_what_the_holdout_of_a_person_holds_is_dropped_from_training(tmp_path: Path) -> None:
    for split, seeds in (("train", range(40)), ("calibration", range(30, 60)), ("eval", range(50, 70))):
        write_images(
            tmp_path / "data" / split / "a.parquet", [picture(seed) for seed in seeds], [0, 1] * (len(seeds) // 2)
        )
    patterns = {split: f"{split}/*" for split in SPLIT_NAMES}
    splits = ingest(image_options(tmp_path / "data", patterns=patterns), tmp_path / "out")
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 30, "calibration": 20, "eval": 20}


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        pytest.param(
            picture(1, (5, 4)), r"^1 of 61 images .*: the first is .*a\.parquet, row 61, 4 x 5 x 1", id="size"
        ),
        pytest.param(picture(1)[:-20], r"^1 of 61 images .*a\.parquet, row 61: does not decode", id="damaged"),
        pytest.param(b"text", r"^1 of 61 images .*row 61: is no PNG, JPEG", id="no-image"),
    ],
)
def test_an_image_in_a_record_is_held_to_what_a_file_is(tmp_path: Path, encoded: bytes, message: str) -> None:
    pictures = [*(picture(seed) for seed in range(60)), encoded]
    write_images(tmp_path / "data" / "a.parquet", pictures, [0] * 61)
    with pytest.raises(DataError, match=message):
        ingest(image_options(tmp_path / "data"), tmp_path / "out")


def test_pictures_on_their_side_and_of_other_formats_are_stored_as_a_decoder_wants_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, bitmap = picture(91, exif=exif), picture(92, file_format="BMP")
    pictures = [*(picture(seed) for seed in range(60)), turned, bitmap]
    write_images(tmp_path / "data" / "a.parquet", pictures, [0] * 62)
    splits = ingest(image_options(tmp_path / "data"), tmp_path / "out")
    everything = [example for examples in splits.values() for example in examples]
    assert [example["image"] for example in everything if "image_orientation" in example] == [[turned]]
    assert all(example["image"][0].startswith(b"\x89PNG") for example in everything)
