"""``edgeproof convert``: quantizes a SavedModel without a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from components.repair.recipes import FALLBACKS, IoType, Recipe, parse_fallbacks
from components.repair.settings import DEFAULT_MAX_CANDIDATES
from pipeline.commands.options import finish, json_option, print_json

IO_TYPES = click.Choice([io_type.value for io_type in IoType])


@click.command(epilog="Example: edgeproof convert --saved-model DIR --calibration pool.npz --out edge")
@click.option("--saved-model", required=True, type=click.Path(path_type=Path), help="Directory of the SavedModel.")
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Calibration examples (auto, int8, int16x8): an npz with x (or one array per input) and y, <class>/<picture>, or 'records/*.gz'.",
)
@click.option(
    "--recipe",
    type=click.Choice([recipe.value for recipe in Recipe]),
    default=Recipe.AUTO.value,
    show_default=True,
    help="How weights and activations are stored; auto is int8 by the cheapest cure that meets the goal.",
)
@click.option("--min-samples", type=click.IntRange(min=1), help="Examples the file must hold.  [default: 500]")
@click.option(
    "--num-samples", type=click.IntRange(min=1), help="Examples drawn from it, by seed and label.  [default: 500]"
)
@click.option("--seed", type=int, help="Of the draw.")
@click.option("--input-type", type=IO_TYPES, help="Type of the model's inputs.")
@click.option("--output-type", type=IO_TYPES, help="Type of the model's outputs.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Directory for model.tflite, float.tflite and the report.",
)
@click.option(
    "--fallback",
    "fallbacks",
    multiple=True,
    type=click.Choice([recipe.value for recipe in FALLBACKS]),
    help="Recipe that auto may try where no int8 model meets the goal; repeatable.",
)
@click.option(
    "--max-candidates",
    type=click.IntRange(min=1),
    help=f"Models that auto makes at most.  [default: {DEFAULT_MAX_CANDIDATES}]",
)
@click.option(
    "--max-seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds of processor time after which auto makes no further model.  [default: 120, more for large models]",
)
@click.option(
    "--float-operators",
    type=click.Choice(["allowed", "none"]),
    default="allowed",
    show_default=True,
    help="none: every operator computes in integers, or nothing is written.",
)
@click.option(
    "--select-tf-operators", is_flag=True, help="Let operators without a TFLite kernel come along as TensorFlow's own."
)
@click.option(
    "--qat-saved-model",
    type=click.Path(path_type=Path),
    help="SavedModel trained with quantization in the loop: int8-qat converts it, auto tries it last.",
)
@click.option(
    "--stratify-by", multiple=True, help="Array of the npz file, [n], that stratifies the draw beside y; repeatable."
)
@json_option
def command(
    saved_model: Path,
    calibration: Path | None,
    recipe: str,
    min_samples: int | None,
    num_samples: int | None,
    seed: int | None,
    input_type: str | None,
    output_type: str | None,
    out: Path,
    fallbacks: tuple[str, ...],
    max_candidates: int | None,
    max_seconds: float | None,
    float_operators: str,
    select_tf_operators: bool,
    qat_saved_model: Path | None,
    stratify_by: tuple[str, ...],
    as_json: bool,
) -> None:
    """Quantize a SavedModel; write model.tflite, float.tflite and conversion_report.json."""
    from components.compat import quiet_libraries
    from pipeline.console import quiet_libraries_output

    quiet_libraries()
    draw: dict[str, Any] = {"min_samples": min_samples, "num_samples": num_samples, "seed": seed}
    caps: dict[str, Any] = {"max_candidates": max_candidates, "max_seconds": max_seconds}
    with quiet_libraries_output():
        from components.repair.settings import AutoSettings, Caps
        from components.saved_models.saved_model import read_signature
        from components.tflite_converter.calibration import load_pool
        from components.tflite_converter.conversion import ConversionRequest, convert, write_conversion
        from components.tflite_converter.report import useless_outputs
        from pipeline.history.outcome import describe_conversion

        request = ConversionRequest(
            saved_model=saved_model,
            recipe=Recipe(recipe),
            pool=load_pool(calibration, read_signature(saved_model).inputs, stratify_by) if calibration else None,
            allow_float_operators=float_operators == "allowed",
            select_tf_operators=select_tf_operators,
            qat_saved_model=qat_saved_model,
            input_type=IoType(input_type) if input_type else None,
            output_type=IoType(output_type) if output_type else None,
            auto=AutoSettings(caps=Caps(**_given(caps)), fallbacks=parse_fallbacks(fallbacks)),
            **_given(draw),
        )
        conversion = convert(request)
        write_conversion(out, conversion)
    if as_json:
        print_json(conversion.report.model_dump(mode="json"))
    else:
        click.echo(describe_conversion(conversion.report, saved_model, out))
    finish(1 if useless_outputs(conversion.report) else 0)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
