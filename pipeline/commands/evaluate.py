"""``edgeproof evaluate``: judges a .tflite file against its float model without a pipeline."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.options import finish, json_option, print_json


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
    help="npz file of the holdout: x (or one array per input) and y.",
)
@click.option(
    "--min-ratio",
    default="0.97",
    show_default=True,
    help="Right answers of the file / right answers of the float model.",
)
@click.option("--min-float-accuracy", help="Floor under the float model.  [default: clearly above chance]")
@click.option(
    "--min-examples", type=click.IntRange(min=1), default=500, show_default=True, help="Examples the holdout must hold."
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
    min_ratio: str,
    min_float_accuracy: str | None,
    min_examples: int,
    decision_threshold: float,
    out: Path,
    as_json: bool,
) -> None:
    """Score both models on the whole of DATA and judge. Exit code 0: accepted; 1: refused."""
    from components.compat import quiet_libraries
    from pipeline.console import quiet_libraries_output

    quiet_libraries()
    with quiet_libraries_output():
        import tensorflow  # noqa: F401  # the float model needs it, and its Select kernels serve LiteRT too

        from components.evaluator.arrays import evaluate_arrays, load_npz_dataset
        from components.evaluator.gate import GateRules
        from components.evaluator.report import explain, write_report
        from components.saved_model import read_signature

        rules = GateRules.from_text(min_ratio, min_float_accuracy, min_examples)
        inputs, labels = load_npz_dataset(data, read_signature(saved_model))
        report = evaluate_arrays(
            saved_model,
            tflite,
            inputs,
            labels,
            rules,
            decision_threshold=decision_threshold,
            candidate_name=tflite.name,
            source=data.name,
        )
        path = write_report(report, out)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        click.echo(f"{explain(report)}\n\nreport   {path}")
    finish(0 if report.verdict.accepted else 1)
