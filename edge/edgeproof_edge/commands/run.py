"""`run`: answers for pictures, folders of them, arrays (.npy) and tables (.csv), or whatever of these comes on stdin."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproof_edge.commands.arguments import add_home, add_json, add_model, positive

if TYPE_CHECKING:
    from edgeproof_edge.runtime import EdgeModel
    from edgeproof_edge.tensors import TensorSpec

EXAMPLE = "edgeproof-edge run photos/ --top 3"

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
_ROWS_AT_ONCE = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("source", nargs="+", metavar="SOURCE", help="picture, folder, .npy, .csv, or - for stdin")
    add_home(parser)
    add_model(parser)
    parser.add_argument(
        "--top", type=positive, default=1, metavar="N", help="how many of the likeliest classes to name (1)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Answers; nothing is printed of a source that is wrong, but what was answered before stays."""
    from edgeproof_edge.commands.arguments import open_model
    from edgeproof_edge.errors import InputError

    with open_model(arguments) as model:
        num_answers = 0
        for name, rows in _batches(model, arguments.source):
            for row, answer in enumerate(model.answers_of(model.predict(rows), arguments.top)):
                num_answers += 1
                _print(name(row), answer, arguments.json)
        if num_answers == 0:
            raise InputError(f"there is nothing to run in {', '.join(arguments.source)}: no picture, .npy or .csv.")
    return 0


def _print(name: str, answer: Any, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print(json.dumps({"source": name, **asdict(answer)}, ensure_ascii=False))
    elif answer.label is None:
        print(f"{name}\t{answer.value:g}")
    elif len(answer.top) > 1:
        print(f"{name}\t" + "\t".join(f"{ranked.label} {ranked.score:.4g}" for ranked in answer.top))
    else:
        print(f"{name}\t{answer.label}\t{answer.confidence:.4f}")


def _batches(model: EdgeModel, sources: list[str]) -> Iterator[tuple[Any, Any]]:
    """Rows for `predict`, with a function from a row's number to its name."""
    for source in sources:
        if source == "-":
            yield from _of_bytes(model, sys.stdin.buffer.read(), "stdin")
            continue
        path = Path(source)
        for file in _files_of(path):
            yield from _of_file(model, file)


def _files_of(path: Path) -> list[Path]:
    """The file, or what a folder holds that can be run; a folder that may not be read is no empty one."""
    from edgeproof_edge.errors import InputError

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}. Run as a user who may read it.")

    try:
        is_folder = path.is_dir()
    except OSError as error:
        refuse(error)
    if not is_folder:
        return [path]
    walked = (Path(folder, name) for folder, _, names in os.walk(path, onerror=refuse) for name in names)
    return sorted(file for file in walked if file.suffix.lower() in {*_PICTURES, ".npy", ".csv"} and file.is_file())


def _of_file(model: EdgeModel, file: Path) -> Iterator[tuple[Any, Any]]:
    from edgeproof_edge.errors import InputError

    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error
    yield from _of_bytes(model, data, str(file))


def _of_bytes(model: EdgeModel, data: bytes, name: str) -> Iterator[tuple[Any, Any]]:
    from edgeproof_edge.errors import InputError
    from edgeproof_edge.runtime.pictures import Picture

    if not data:
        raise InputError(f"{name} is empty.")
    if data.startswith(b"\x93NUMPY"):
        yield from _of_array(data, name)
    elif model.takes_pictures and not name.lower().endswith(".csv"):
        picture = model.prepared(Picture.read(data, name))
        yield (lambda _: name), picture[None]
    else:
        yield from _of_table(model, data, name)


def _of_array(data: bytes, name: str) -> Iterator[tuple[Any, Any]]:
    import numpy as np

    from edgeproof_edge.errors import InputError

    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise InputError(f"{name} is no .npy file of numbers: {error}.") from error
    if array.ndim == 0:
        raise InputError(f"{name} holds a single number; the first dimension must be the examples.")
    for start in range(0, len(array), _ROWS_AT_ONCE):
        yield (lambda row, start=start: f"{name}[{start + row}]"), array[start : start + _ROWS_AT_ONCE]


def _of_table(model: EdgeModel, data: bytes, name: str) -> Iterator[tuple[Any, Any]]:
    """A CSV: columns named after the inputs where there are several of one number each, else the numbers of the input."""
    from edgeproof_edge.errors import InputError

    try:
        lines = [line for line in csv.reader(io.StringIO(data.decode("utf-8-sig"))) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        kinds = "a picture, a .npy array or a .csv table" if model.takes_pictures else "a .npy array or a .csv table"
        raise InputError(f"{name} is not {kinds}: {error}.") from error
    header = None if _is_numbers(lines[0]) else lines.pop(0)
    for start in range(0, len(lines), _ROWS_AT_ONCE):
        rows = lines[start : start + _ROWS_AT_ONCE]
        first_line = start + (1 if header is None else 2)
        yield (lambda row, first=first_line: f"{name}:{first + row}"), _columns(model, header, rows, name, first_line)


def _columns(model: EdgeModel, header: list[str] | None, rows: list[list[str]], name: str, first_line: int) -> Any:
    """Rows of text as arrays by input."""
    import numpy as np

    from edgeproof_edge.errors import InputError

    numbers = np.array([_numbers(row, len(rows[0]), f"{name}:{first_line + index}") for index, row in enumerate(rows)])
    if len(model.inputs) == 1:
        return {model.inputs[0].name: _shaped(numbers, model.inputs[0])}
    names = [spec.name for spec in model.inputs]
    if header is None or not set(names) <= set(header):
        raise InputError(f"{name} needs a first line with the columns {names}; found {header or 'numbers'}.")
    return {spec.name: _shaped(numbers[:, [header.index(spec.name)]], spec) for spec in model.inputs}


def _shaped(numbers: Any, spec: TensorSpec) -> Any:
    """The numbers of one input in its shape and type; in their own where they do not fit, for the model to say so."""
    import numpy as np

    sizes = [max(1, size) for size in spec.shape[1:]]
    fits = int(np.prod(sizes)) == numbers.shape[1]
    values = numbers.reshape(len(numbers), *sizes) if fits else numbers
    is_integer = np.dtype(spec.dtype).kind in "iu" and not spec.is_quantized and bool((values == np.rint(values)).all())
    return values.astype(np.int64 if is_integer else np.float32)


def _is_numbers(cells: list[str]) -> bool:
    try:
        return bool([float(cell) for cell in cells])
    except ValueError:
        return False


def _numbers(cells: list[str], num_columns: int, place: str) -> list[float]:
    from edgeproof_edge.errors import InputError

    if len(cells) != num_columns:
        raise InputError(f"{place} has {len(cells)} columns; the lines before have {num_columns}.")
    try:
        return [float(cell) for cell in cells]
    except ValueError as error:
        raise InputError(f"{place}: {error}.") from error
