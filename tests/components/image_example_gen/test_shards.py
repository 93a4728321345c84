"""The work on images in light processes: what is scanned, and the records that come of it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from components.data.example_proto import decode_example
from components.data.records import read_records
from components.image_example_gen.shards import scan, write
from components.light_workers import run_tasks


def _save(path: Path, seed: int, **options: Any) -> str:
    image = Image.new("L", (8, 6))
    image.putdata([(seed * 37 + index * (seed % 7 + 1)) % 256 for index in range(48)])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path.name


def _scan(folder: Path, names: list[str], group_by: str = "") -> dict[str, Any]:
    return scan({"input_base": str(folder), "group_by": group_by, "paths": names})


def _records(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        return [decode_example(record) for record in read_records(file, str(path), is_gzip=True)]


def test_good_and_bad_images_are_told_apart(tmp_path: Path) -> None:
    names = [_save(tmp_path / f"{seed}.png", seed) for seed in range(3)]
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:-9])
    (tmp_path / "folder").mkdir()

    answer = _scan(tmp_path, [*names, "folder", "gone.png"])

    assert [image["height"] for image in answer["images"]] == [6, 6]
    assert [path for path, _ in answer["bad"]] == ["1.png", "folder", "gone.png"]
    reasons = [reason for _, reason in answer["bad"]]
    assert reasons[0].startswith("does not decode")
    assert reasons[1] == "is a folder"
    assert reasons[2].startswith("cannot be read")


def test_a_group_is_found_in_the_path(tmp_path: Path) -> None:
    names = [_save(tmp_path / f"burst{number}_{seed}.png", seed) for number, seed in ((1, 1), (1, 2), (2, 3))]
    groups = [image["group_key"] for image in _scan(tmp_path, names, r"(burst\d)")["images"]]
    assert groups[0] == groups[1] != groups[2]
    assert "finds no group" in _scan(tmp_path, names, r"(frame\d)")["bad"][0][1]


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_whoever_writes_writes_the_same(tmp_path: Path, num_workers: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    names = [_save(tmp_path / "images" / f"{seed}.png", seed) for seed in range(20)]
    names += [_save(tmp_path / "images" / "t.png", 90, exif=exif), _save(tmp_path / "images" / "b.bmp", 91)]
    tasks = []
    for part in (names[:8], names[8:15], names[15:]):
        images = [
            {"path": name, "input_split": "all", "label": 3, **facts}
            for name, facts in zip(part, _scan(tmp_path / "images", part)["images"], strict=True)
        ]
        tasks.append(
            {"input_base": str(tmp_path / "images"), "file": str(tmp_path / part[0]) + ".gz", "images": images}
        )

    answers = run_tasks("components.image_example_gen.shards:write", tasks, num_workers=num_workers)

    assert answers == [{"num_written": number, "changed": None} for number in (8, 7, 7)]
    examples = {e["path"][0].decode(): e for task in tasks for e in _records(Path(task["file"]))}
    assert list(examples) == names
    for name in names[:20]:
        assert examples[name]["image"] == [(tmp_path / "images" / name).read_bytes()]
        assert "image_orientation" not in examples[name]
    assert (examples["t.png"]["image_orientation"], examples["t.png"]["height"]) == ([8], [8])
    converted = Image.open(io.BytesIO(examples["b.bmp"]["image"][0]))
    assert (converted.format, converted.tobytes()) == ("PNG", Image.open(tmp_path / "images" / "b.bmp").tobytes())


def test_a_file_that_has_changed_since_the_scan_is_named(tmp_path: Path) -> None:
    name = _save(tmp_path / "1.png", 1)
    (facts,) = _scan(tmp_path, [name])["images"]
    _save(tmp_path / "1.png", 2)
    image = {"path": name, "input_split": "all", "label": 0, **facts}
    answer = write({"input_base": str(tmp_path), "file": str(tmp_path / "out.gz"), "images": [image]})
    assert answer["changed"] == "1.png"


def test_a_worker_imports_nothing_heavy() -> None:
    code = "import sys, components.image_example_gen.shards; print(sorted({n.split('.')[0] for n in sys.modules}))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"tensorflow", "tfx", "apache_beam", "numpy", "pyarrow"} & set(eval(modules))
