"""``edgeproof measure``: runs a .tflite file on a device and brings back what it did there; needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.options import json_option, print_json

if TYPE_CHECKING:
    from edgeproof_edge.tensors import TensorSpec

    from components.device.outcome import DeviceMeasurement
    from components.device.place import DevicePlace

#: What ``--adb`` without a serial number means.
_ONLY_ONE = "*"
_SLA = re.compile(r"p(50|90|99)=([0-9]*\.?[0-9]+)")
#: Files of a converter's output, or of an unpacked release.
MODEL_FILE, FLOAT_FILE, GOLDEN_FILE = "model.tflite", "float.tflite", "golden.npz"


@click.command(
    epilog="Example: edgeproof measure edge/model.tflite --data holdout.npz --ssh pi@raspberrypi --sla p50=20"
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--ssh", metavar="HOST", help="The device: user@host, an alias of your ssh config, or ssh://user@host:port."
)
@click.option(
    "--adb",
    is_flag=False,
    flag_value=_ONLY_ONE,
    metavar="[SERIAL]",
    help="The device: by adb, the only one or that of SERIAL.",
)
@click.option("--local", is_flag=True, help="The device: this machine.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Examples: an npz file with x (or one array per input), or a folder of pictures.  [default: golden.npz beside MODEL]",
)
@click.option(
    "--float",
    "twin",
    type=click.Path(path_type=Path),
    help="The float model to compare with.  [default: float.tflite beside MODEL]",
)
@click.option(
    "--rows", type=click.IntRange(min=1), default=100, show_default=True, help="Examples that run there, at most."
)
@click.option("--runs", type=click.IntRange(min=1), default=200, show_default=True, help="Calls that are timed.")
@click.option(
    "--sla", "slas", multiple=True, metavar="P=MS", help="Refuse beyond it, as in p50=20 or p90=30; may be given again."
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of one call.")
@click.option(
    "--kernels",
    type=click.Choice(["xnnpack", "builtin"]),
    default="xnnpack",
    show_default=True,
    help="What computes where no delegate does.",
)
@click.option("--delegate", metavar="LIB", help="Shared library of a delegate there, as in libedgetpu.so.1.")
@click.option("--require-delegate", is_flag=True, help="Refuse where it (or XNNPACK, without one) computes nothing.")
@click.option("--python", metavar="PATH", help="The Python there.  [default: /opt/edgeproof/bin/python3, else python3]")
@click.option("--tmp", metavar="DIR", help="Directory there under which everything happens.  [default: the system's]")
@click.option("--ssh-config", type=click.Path(path_type=Path), help="Another ssh config than your own.")
@click.option(
    "--timeout",
    type=click.FloatRange(1, 86_400),
    default=300,
    show_default=True,
    help="Seconds until it ends, whatever it has.",
)
@click.option(
    "--decision-threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Of a one-unit output."
)
@click.option("--values", is_flag=True, help="Outputs are real values, not scores of classes.")
@click.option("--out", type=click.Path(path_type=Path), help="Directory for measurement.json and outputs.npz.")
@json_option
def command(
    model: Path,
    ssh: str | None,
    adb: str | None,
    local: bool,
    data: Path | None,
    twin: Path | None,
    rows: int,
    runs: int,
    slas: tuple[str, ...],
    threads: int,
    kernels: str,
    delegate: str | None,
    require_delegate: bool,
    python: str | None,
    tmp: str | None,
    ssh_config: Path | None,
    timeout: float,
    decision_threshold: float,
    values: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run MODEL (a .tflite file, or a directory that holds one) on a device: latency, memory, delegation, and whether it
    answers as here.

    Exit code 1: it answers otherwise, or misses an SLA. The device is left as it was.
    """
    from components.device.measurement import Subject, measure
    from components.device.report import describe
    from components.device.settings import Options
    from pipeline.console import quiet_libraries_output

    limits = [_sla(text) for text in slas]
    place = _place(ssh, adb, local, ssh_config, python, tmp)
    file, beside = _files(model, twin)
    with quiet_libraries_output():
        subject = Subject(
            model=_read(file),
            twin=None if beside is None else _read(beside),
            rows=_rows(file, data, rows),
            threshold=None if values else decision_threshold,
        )
    options = Options(rows, runs, timeout, kernels, threads, delegate, require_delegate)
    with quiet_libraries_output():
        measurement, outputs = measure(place, subject, options)
    problems = _problems(measurement, file.name, limits)
    if out is not None:
        _write(out, measurement, outputs, problems)
    if as_json:
        print_json({**dataclasses.asdict(measurement), "problems": problems})
    else:
        click.echo(describe(measurement, file.name, beside.name if beside is not None else FLOAT_FILE))
    for problem in problems:
        click.echo(f"refused: {problem}", err=True)
    raise SystemExit(1 if problems else 0)


def _place(
    ssh: str | None, adb: str | None, local: bool, ssh_config: Path | None, python: str | None, tmp: str | None
) -> DevicePlace:
    from edgeproof_edge.errors import InputError

    from components.device.place import DevicePlace, Way

    ways = [(Way.SSH, ssh), (Way.ADB, adb), (Way.LOCAL, "" if local else None)]
    given = [(way, address) for way, address in ways if address is not None]
    if len(given) != 1:
        raise InputError(
            f"a device is one of --ssh HOST, --adb [SERIAL] and --local; {len(given) or 'none'} of them is given. Give one."
        )
    way, address = given[0]
    return DevicePlace(way, "" if address == _ONLY_ONE else address, ssh_config, python, tmp)


def _files(model: Path, twin: Path | None) -> tuple[Path, Path | None]:
    """The model's file, and that of its float twin where there is one."""
    file = model / MODEL_FILE if model.is_dir() else model
    beside = file.parent / FLOAT_FILE
    if twin is None and beside.is_file() and beside != file:
        twin = beside
    return file, twin


def _read(file: Path) -> bytes:
    from edgeproof_edge.errors import InputError

    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}. Give the path of a .tflite file.") from error


def _rows(file: Path, data: Path | None, most: int) -> dict[str, Any]:
    """Examples for the model, spread over the whole of the data."""
    from edgeproof_edge.answers import named_inputs
    from edgeproof_edge.errors import InputError
    from edgeproof_edge.interpreter import TFLiteModel

    inputs = TFLiteModel.load(file).inputs
    golden = file.parent / GOLDEN_FILE
    if data is None and golden.is_file():
        return _golden_rows(golden, inputs)
    if data is None:
        raise InputError(
            f"there are no examples for {file}: give --data FILE.npz (an array x, or one per input), or a folder of pictures."
        )
    if data.is_dir():
        return _pictures(data, inputs, most)
    arrays = _arrays(data, most)
    return named_inputs({n: a for n, a in arrays.items() if n != "y"}, [spec.name for spec in inputs])


def _arrays(data: Path, most: int) -> dict[str, Any]:
    from components.data.npz import read_headers
    from components.data.row_sources import DATA_FILE, NpzRows, spread_rows
    from components.errors import DataError

    headers = read_headers(data, DATA_FILE, DataError)
    names = [name for name in headers if name != "y"]
    if not names:
        raise DataError(f"{data} holds no inputs. Write them with numpy.savez(file, x=...), or one array per input.")
    lengths = {name: headers[name].num_rows for name in names}
    if len(set(lengths.values())) != 1 or not next(iter(lengths.values())):
        lengths = {name: length for name, length in lengths.items() if name == "x"} or lengths
    if len(set(lengths.values())) != 1 or not next(iter(lengths.values())):
        raise DataError(f"{data} has inputs of length {lengths}; give as many rows of each, and at least one.")
    return spread_rows(NpzRows(data, {name: name for name in lengths}), next(iter(lengths.values())), most)


def _golden_rows(golden: Path, inputs: tuple[TensorSpec, ...]) -> dict[str, Any]:
    import numpy as np
    from edgeproof_edge.errors import InputError

    try:
        with np.load(golden, allow_pickle=False) as archive:
            return {spec.name: archive[f"input:{spec.name}"] for spec in inputs}
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{golden} holds no golden rows for this model: {error}. Give --data FILE.npz.") from error


def _pictures(folder: Path, inputs: tuple[TensorSpec, ...], most: int) -> dict[str, Any]:
    """Pictures of any depth below a folder; classes do not matter here."""
    import numpy as np

    from components.data.row_sources import picture_input, read_picture, spread_positions
    from components.errors import DataError
    from components.image_example_gen.folders import is_hidden

    spec = picture_input(inputs, folder)
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not is_hidden(path.relative_to(folder).as_posix())
    ]
    if not files:
        raise DataError(f"{folder} holds no pictures.")
    return {spec.name: np.stack([read_picture(files[index], spec) for index in spread_positions(len(files), most)])}


def _sla(text: str) -> tuple[str, float]:
    from edgeproof_edge.errors import InputError

    match = _SLA.fullmatch(text)
    if match is None:
        raise InputError(f"--sla {text!r} is not of the form p50=MS, p90=MS or p99=MS.")
    return f"p{match[1]}", float(match[2])


def _problems(measurement: DeviceMeasurement, name: str, limits: list[tuple[str, float]]) -> list[str]:
    facts = measurement.facts
    if facts.times is None:
        return [f"{measurement.device} does not run {name}: {facts.refusal}"]
    problems = [
        f"output {each.output!r} differs there: {each.sentence}" for each in measurement.agreement if not each.holds
    ]
    for share, limit in limits:
        milliseconds = getattr(facts.times, f"{share}_ms")
        if milliseconds > limit:
            problems.append(f"{share} is {milliseconds:.3f} ms, the SLA {limit:g} ms")
    return problems


def _write(directory: Path, measurement: DeviceMeasurement, outputs: dict[str, Any], problems: list[str]) -> None:
    import json

    import numpy as np

    directory.mkdir(parents=True, exist_ok=True)
    content = {**dataclasses.asdict(measurement), "problems": problems}
    (directory / "measurement.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    np.savez_compressed(directory / "outputs.npz", **outputs)
