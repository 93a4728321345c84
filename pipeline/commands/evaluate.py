"""``edgeproof evaluate``: judges a .tflite file against its float model without a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.options import finish, json_option, print_json

if TYPE_CHECKING:
    from components.evaluator.case import Champion

#: A released model that was compared with, under OUT.
CHAMPION_FILE = "champion.tflite"
_METRICS = ("top1", "topk", "f1", "auc", "mae", "rmse")


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
@click.option("--metric", type=click.Choice(_METRICS), default="top1", show_default=True, help="What is compared.")
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="For --metric topk.")
@click.option(
    "--min-ratio",
    default="0.97",
    show_default=True,
    help="Right answers (F1, AUC) of the file / those of the float model.",
)
@click.option(
    "--max-error-factor", default="1.03", show_default=True, help="For mae and rmse: error / the float model's error."
)
@click.option("--min-float-accuracy", help="Floor under the float model.  [default: clearly above chance]")
@click.option(
    "--min-examples", type=click.IntRange(min=1), default=500, show_default=True, help="Examples the holdout must hold."
)
@click.option(
    "--confidence", help="One-sided level, such as 0.95, at which the bound must keep the rule.  [default: off]"
)
@click.option(
    "--slice",
    "slices",
    multiple=True,
    metavar="NAME[:EDGE,EDGE]",
    help="Cut by label (real values: in quarters), brightness, or an array of DATA, in buckets where edges are given. May be given "
    "again.",
)
@click.option("--slice-min-ratio", help="Ratio that every slice must keep.  [default: off]")
@click.option(
    "--slice-max-error-factor", help="For mae and rmse: error factor that every slice must keep.  [default: off]"
)
@click.option("--class-min-ratio", help="Ratio that every class must keep.  [default: off]")
@click.option(
    "--champion",
    metavar="FILE|TARGET#CHANNEL",
    help="The .tflite file released now, or the channel of a repository (or of a config) that offers it; the new one must be no worse.",
)
@click.option("--max-size-ratio", help="Bytes / bytes of float.tflite beside the file.  [default: off]")
@click.option("--max-latency-ratio", help="Milliseconds on this host / those of float.tflite.  [default: off]")
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
        from components.evaluator.counting.flips import write_flips
        from components.evaluator.gate.release_rules import NOTHING_BLESSED
        from components.evaluator.report.explanation import explain
        from components.evaluator.report.gate_report import write_report
        from components.evaluator.report.page import CONVERSION_REPORT_FILE, write_page
        from components.saved_model import read_signature

        rules = _rules(champion, **rule_options)
        compared = _champion(champion, out) if champion else None
        dataset = load_dataset(data, read_signature(saved_model), real_labels=rules.metric.is_regression)
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
            champion=None if isinstance(compared, str) else compared,
            no_champion=compared if isinstance(compared, str) else NOTHING_BLESSED,
        )
        report = judgement.report
        path = write_report(report, out)
        if judgement.tally is not None:
            write_flips(judgement.tally.flips, out)
        page = write_page(out, tflite.parent / CONVERSION_REPORT_FILE)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        click.echo(f"{explain(report)}\n\nreport   {path}\npage     {page or 'could not be drawn'}")
    finish(0 if report.verdict.accepted else 1)


def _champion(text: str, out: Path) -> Champion | str:
    """The model to compare with, a released one as OUT/champion.tflite; a sentence where a channel offers none yet."""
    from components.evaluator.case import Champion

    target, separator, channel = text.rpartition("#")
    if not separator or Path(text).is_file():
        return Champion(0, Path(text))
    from pipeline.commands.release.shared import find_target
    from releases.location import open_store
    from releases.offer import NothingOffered, read_offered
    from releases.verification import first_root

    found = find_target(target)
    first_root(open_store(found.location))  # a mistyped place must not pass for an empty one
    offered = read_offered(found.location, found.keys, channel, found.model)
    if isinstance(offered, NothingOffered):
        return offered.reason
    out.mkdir(parents=True, exist_ok=True)
    (out / CHAMPION_FILE).write_bytes(offered.data)
    return Champion(0, out / CHAMPION_FILE, offered.version, offered.channel)


def _rules(
    champion: str | None,
    *,
    metric: str,
    top_k: int,
    min_ratio: str,
    max_error_factor: str,
    min_float_accuracy: str | None,
    min_examples: int,
    confidence: str | None,
    slice_min_ratio: str | None,
    slice_max_error_factor: str | None,
    class_min_ratio: str | None,
    max_size_ratio: str | None,
    max_latency_ratio: str | None,
) -> Any:
    from components.evaluator.gate.thresholds import GateRules

    return GateRules.from_text(
        min_ratio,
        min_float_accuracy,
        min_examples,
        metric=metric,
        top_k=top_k,
        maximum_error_factor=max_error_factor,
        confidence=confidence,
        slice_minimum_ratio=slice_min_ratio,
        slice_maximum_error_factor=slice_max_error_factor,
        class_minimum_ratio=class_min_ratio,
        champion_minimum_ratio="1" if champion else None,
        maximum_size_ratio=max_size_ratio,
        maximum_latency_ratio=max_latency_ratio,
    )


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
