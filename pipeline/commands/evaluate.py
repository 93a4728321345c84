"""``edgeproof evaluate``: judges a .tflite file against its float model without a pipeline."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from components.evaluator.counting.metric import LabelKind, Metric
from components.evaluator.gate.thresholds import DeviceRules, GateRules, shown
from pipeline.commands.options import finish, json_option, print_json

if TYPE_CHECKING:
    from components.evaluator.case import Champion, NoChampion

#: A released model that was compared with, under OUT.
CHAMPION_FILE = "champion.tflite"
#: Thresholds that an option of its own sets, or that mean nothing here.
_NOT_OPTIONS = {"champion_min_ratio", "device"}
#: In front of the options of a device, and of a threshold that is switched off.
_DEVICE, _OFF = "device_", "off"


def _rule_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for every threshold of the gate: its name, its default and its description are the gate's own."""
    for name, field in reversed(GateRules.model_fields.items()):
        if name not in _NOT_OPTIONS:
            command = click.option(
                f"--{name.replace('_', '-')}",
                type=click.Choice([metric.value for metric in Metric]) if name == "metric" else str,
                help=_help(str(field.description), field.default),
            )(command)
    return _device_options(command)


def _device_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for everything that is said of a device, likewise."""
    for name, field in reversed(DeviceRules.model_fields.items()):
        option = f"--{_DEVICE}{name}".replace("_", "-")
        flag: dict[str, Any] = {"is_flag": True, "default": None} if field.annotation is bool else {"type": str}
        command = click.option(option, help=_help(str(field.description), field.default), **flag)(command)
    return command


def _device(options: dict[str, Any]) -> dict[str, Any] | None:
    """What was said of a device, taken out of the other options; None where nothing was."""
    given = {name: options.pop(f"{_DEVICE}{name}") for name in DeviceRules.model_fields}
    kept = {name: None if value == _OFF else value for name, value in given.items() if value is not None}
    return kept or None


def _help(description: str, default: Any) -> str:
    """The description with the default, where it does not tell it itself."""
    if default is None and "Default:" in description:
        return description
    text = shown(default) if isinstance(default, Fraction) else str(getattr(default, "value", default))
    return f"{description}  [default: {'off' if default is None else text}]"


@click.command(
    epilog="Example: edgeproof evaluate --saved-model DIR --tflite model.tflite --data holdout.npz --out verdict"
)
@click.option(
    "--saved-model", required=True, type=click.Path(path_type=Path), help="Directory of the float SavedModel."
)
@click.option("--tflite", required=True, type=click.Path(path_type=Path), help="The file that would ship.")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="The holdout: an npz file with x (or one array per input) and y, a folder <class>/<picture>, or 'records/*.gz'.",
)
@_rule_options
@click.option("--output", default="", metavar="NAME", help="The output to judge, where the models have several.")
@click.option(
    "--slice",
    "slices",
    multiple=True,
    metavar="NAME[:EDGE,EDGE]",
    help="Cut by label (real values: in quarters), brightness, or an array of DATA, in buckets where edges are given. May be given "
    "again.",
)
@click.option(
    "--champion",
    metavar="FILE|TARGET#CHANNEL",
    help="The .tflite file released now, or the channel of a repository (or of a config) that offers it; the new one must be no worse.",
)
@click.option(
    "--decision-threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Of a one-unit sigmoid output.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory for gate_report.json.")
@json_option
def command(
    saved_model: Path,
    tflite: Path,
    data: Path,
    slices: tuple[str, ...],
    champion: str | None,
    decision_threshold: float,
    output: str,
    out: Path,
    as_json: bool,
    **rule_options: Any,
) -> None:
    """Score both models on the whole of DATA and judge. Exit code 0: accepted; 1: refused.

    TFMA's metrics (gate.eval_config) are computed by `edgeproof run` only.
    """
    from components.compat import quiet_libraries
    from pipeline.console import quiet_libraries_output

    quiet_libraries()
    with quiet_libraries_output():
        from components.evaluator.arrays import evaluate_arrays, load_dataset
        from components.evaluator.case import NoChampion
        from components.evaluator.counting.flips import write_flips
        from components.evaluator.page.page import write_page
        from components.evaluator.page.run_facts import RunFacts
        from components.evaluator.report.explanation import explain
        from components.evaluator.report.gate_report import write_report
        from components.saved_models.saved_model import artifact_of, read_signature, saved_model_dir

        device = _device(rule_options)
        rules = GateRules.of({**rule_options, "champion_min_ratio": "1" if champion else None, "device": device})
        compared = _champion(champion, out) if champion else NoChampion()
        is_value = rules.metric.labels is LabelKind.VALUE
        dataset = load_dataset(data, read_signature(saved_model), real_labels=is_value)
        judgement = evaluate_arrays(
            saved_model,
            tflite,
            dataset.inputs,
            dataset.labels,
            rules,
            class_names=dataset.class_names,
            decision_threshold=decision_threshold,
            candidate_name=tflite.name,
            source=data.name,
            slices=tuple(_slice(text) for text in slices),
            slice_features=dataset.features,
            champion=compared,
            output=output,
        )
        report = judgement.report
        path = write_report(report, out)
        if judgement.tally is not None:
            write_flips(judgement.tally.flips, out)
        facts = RunFacts(
            model=saved_model.resolve().name, time=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M}", data=data.name
        )
        page = write_page(out, tflite.parent, artifact_of(saved_model_dir(str(saved_model))), facts)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        click.echo(f"{explain(report)}\n\nreport   {path}\npage     {page or 'could not be drawn'}")
    finish(0 if report.verdict.accepted else 1)


def _champion(text: str, out: Path) -> Champion | NoChampion:
    """The model to compare with, a released one as OUT/champion.tflite; or why a channel offers none yet."""
    from components.evaluator.case import Champion, NoChampion

    target, separator, channel = text.rpartition("#")
    if not separator or Path(text).is_file():
        return Champion(Path(text))
    from pipeline.commands.release.shared import find_target
    from releases.offer import NothingOffered, read_offered
    from releases.stores.location import open_store
    from releases.verification import first_root

    address = find_target(target)
    first_root(open_store(address.location))  # a mistyped place must not pass for an empty one
    offered = read_offered(address.location, address.keys, channel, address.model)
    if isinstance(offered, NothingOffered):
        return NoChampion(offered.reason)
    out.mkdir(parents=True, exist_ok=True)
    (out / CHAMPION_FILE).write_bytes(offered.data)
    return Champion(out / CHAMPION_FILE, None, offered.version, offered.channel)


def _slice(text: str) -> Any:
    """``label``, ``brightness:64,128`` or ``age:18,65``."""
    from edgeproof_edge.errors import InputError

    from components.evaluator.counting.slices import SliceBy, SliceSpec

    name, _, edges = text.partition(":")
    try:
        buckets = tuple(float(edge) for edge in edges.split(",")) if edges else ()
    except ValueError:
        raise InputError(f"--slice {text!r} has edges that are no numbers; write NAME or NAME:18,65.") from None
    built_in = name in (SliceBy.LABEL.value, SliceBy.BRIGHTNESS.value)
    return SliceSpec(SliceBy(name), "", buckets) if built_in else SliceSpec(SliceBy.FEATURE, name, buckets)
