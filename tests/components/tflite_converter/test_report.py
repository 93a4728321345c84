from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from edgeproof_edge.flatbuffer import Crossing, Inspection, OperatorUse
from edgeproof_edge.tensors import TensorSpec
from pydantic import ValidationError

from components.repair.facts import (
    THE_REST,
    CandidateFacts,
    ChangeFacts,
    FindingFacts,
    GoalFacts,
    OutputAgreement,
    OutputGoalFacts,
    OutputLossFacts,
    SelectionScore,
    SkippedFacts,
)
from components.repair.recipes import IoType, Recipe
from components.tflite_converter.conversion import Conversion, summarize, write_conversion
from components.tflite_converter.description import describe_search
from components.tflite_converter.report import (
    REPORT_FILE,
    ConversionReport,
    FileFacts,
    LoadTest,
    SecondsFacts,
    SignatureFacts,
    report_schema,
)

SCHEMA_FILE = Path(__file__).parents[3] / "schemas" / "conversion_report.schema.json"

REPORT = ConversionReport(
    recipe=Recipe.INT8,
    input_type=IoType.INT8,
    output_type=IoType.INT8,
    signature=SignatureFacts(key="edge", inputs=(TensorSpec("x", (-1, 2), "float32"),), outputs=()),
    stack="tfx116",
    library_versions={"tensorflow": "2.16.2"},
    float_model=FileFacts.of("float.tflite", b"float model"),
    model=FileFacts.of("model.tflite", b"model"),
    calibration=None,
    inspection=Inspection(
        size_bytes=5,
        sha256="0" * 64,
        operators=(OperatorUse("CONV_2D", 3, 1, ("int8", "int8", "none"), ("int8",), 10),),
        float_operators=(),
        num_float_operators=0,
        crossings=(Crossing("QUANTIZE", "a", "b"),),
        custom_operators=(),
        flex_operators=(),
        inputs=(TensorSpec("x", (-1, 2), "int8", 0.5, -3),),
        outputs=(),
        signature_key=None,
        minimum_runtime="1.14.0",
    ),
    load_test=LoadTest(runtime="ai-edge-litert 2.3.0", kernels="xnnpack"),
    candidates=(
        CandidateFacts(
            name="int8",
            recipe=Recipe.INT8,
            sha256="0" * 64,
            size_bytes=5,
            float_operators=(),
            score=SelectionScore(
                outputs=(
                    OutputAgreement(output="probs", num_rows=300, num_same=297, num_not_finite=0, relative_error=0.01),
                ),
                labels=None,
            ),
            seconds=0.25,
            chosen=True,
        ),
    ),
    warnings=("careful",),
    seconds=SecondsFacts(float_conversion=0.5, model_conversion=0.25, total=5.0),
)


GOAL = GoalFacts(
    outputs=(OutputGoalFacts(output="probs", kind="classes", reason="its rows add up to 1", limit=0.005),),
    num_rows=297,
    num_set_aside=3,
)


def candidate(name: str, loss: float, chosen: bool) -> CandidateFacts:
    return REPORT.candidates[0].model_copy(
        update={
            "name": name,
            "steps": ("stratified calibration", "equalization") if chosen else ("stratified calibration",),
            "ranges": "minmax",
            "losses": (OutputLossFacts(output="probs", loss=loss, met=loss <= 0.005),),
            "met_goal": loss <= 0.005,
            "chosen": chosen,
            "why_chosen": "the cheapest that meets the goal" if chosen else "",
        }
    )


AUTO_REPORT = REPORT.model_copy(
    update={
        "recipe": Recipe.AUTO,
        "goal": GOAL,
        "met_goal": True,
        "findings": (
            FindingFacts(
                name="outliers", tensor="relu;conv", figure=0.001, threshold=0.05, remedy="ranges from percentiles"
            ),
        ),
        "candidates": (candidate("int8 minmax", 0.4, False), candidate("int8 minmax, equalization", 0.001, True)),
        "changes": (ChangeFacts(tensor="relu", what="channels scaled between layers", figure=32.0, figure_after=1.5),),
        "largest_logit_difference": 1e-6,
        "skipped": tuple(SkippedFacts(step=f"step {n}", reason="it does not apply") for n in range(6)),
    }
)


def test_the_search_fits_a_screen() -> None:
    lines = describe_search(AUTO_REPORT)
    assert lines == [
        "goal     probs (classes: its rows add up to 1): at most 0.5% of the right answers lost, "
        "on 297 examples that set no range, 3 with fault codes set aside",
        "aim      a third of that ends the search at once; float operators come only where no integer model meets the goal",
        "found    outliers: 0.001 at relu (below 0.05); ranges from percentiles",
        "tried                                    probs      bytes  float ops      s",
        "         int8 minmax                   40.00%!          5          0   0.25",
        "      -> int8 minmax, equalization      0.10%           5          0   0.25",
        "changed  1 tensors equalized; outputs of the float model moved by at most 1.0e-06 of their spread",
        "skipped  step 0: it does not apply",
        "skipped  step 1: it does not apply",
        "skipped  step 2: it does not apply",
        "         and 3 more (see the report)",
        "chosen   int8 minmax, equalization: the cheapest that meets the goal",
    ]


def test_long_names_are_told_apart() -> None:
    islands = "int8 p99_99, saturated ranges cut, float islands: model/crepe/classifier, model/crepe/conv"
    made = tuple(candidate(f"{islands}{number}", 0.4, number == 2) for number in range(3))
    report = AUTO_REPORT.model_copy(update={"candidates": made})
    names = [line[9:81] for line in describe_search(report) if line[9:].startswith("int8") and "%" in line]
    assert len(set(names)) == 3


def test_a_search_that_was_stopped_says_so_and_how_it_goes_on() -> None:
    reason = "the search stopped after 120 seconds of processor time, before float islands; --max-seconds 600 goes on"
    report = AUTO_REPORT.model_copy(update={"skipped": (SkippedFacts(step=THE_REST, reason=reason),)})
    assert f"stopped  {reason}" in describe_search(report)


def test_a_finding_whose_remedy_was_not_needed_is_not_told_as_done() -> None:
    finding = FindingFacts(
        name="concat scale",
        tensor="join",
        figure=20.0,
        threshold=10.0,
        remedy="the branches are equalized",
        step="equalization",
    )
    plain = AUTO_REPORT.model_copy(
        update={
            "findings": (finding,),
            "candidates": (candidate("int8 minmax", 0.001, True).model_copy(update={"steps": ()}),),
        }
    )
    (line,) = [line for line in describe_search(plain) if line.startswith("found")]
    assert "are equalized" not in line
    (line,) = [
        line for line in describe_search(AUTO_REPORT.model_copy(update={"findings": (finding,)})) if line[:5] == "found"
    ]
    assert line.endswith("the branches are equalized")


def test_other_recipes_have_no_search() -> None:
    assert describe_search(REPORT) == []


def test_a_goal_that_nothing_met_is_marked() -> None:
    marked = AUTO_REPORT.model_copy(update={"met_goal": False})
    assert summarize(marked).startswith("int8 minmax, equalization (nothing met the goal): 5 bytes")
    assert summarize(AUTO_REPORT).startswith("int8 minmax, equalization: 5 bytes")


@pytest.mark.parametrize("report", [REPORT, AUTO_REPORT], ids=["int8", "auto"])
def test_a_report_survives_its_file(report: ConversionReport) -> None:
    assert ConversionReport.from_json(report.to_json()) == report


def test_the_json_is_sorted_and_ends_with_a_newline() -> None:
    text = REPORT.to_json()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_the_schema_in_the_repository_is_current_and_fits() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == report_schema(), (
        "write components.tflite_converter.report.report_schema() to schemas/conversion_report.schema.json"
    )
    schema = json.loads(report_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    for report in (REPORT, AUTO_REPORT):
        jsonschema.validate(json.loads(report.to_json()), schema)


def test_unknown_keys_and_nan_are_refused() -> None:
    values = json.loads(REPORT.to_json())
    with pytest.raises(ValidationError, match="surprise"):
        ConversionReport.from_json(json.dumps({**values, "surprise": 1}))
    with pytest.raises(ValidationError, match="finite"):
        SecondsFacts(float_conversion=float("nan"), model_conversion=0, total=0)


def test_a_report_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        REPORT.stack = "tfx121"  # type: ignore[misc]


def test_the_summary_is_one_line() -> None:
    assert summarize(REPORT) == "int8: 5 bytes, float 11; probs as float in 297 of 300 rows"


def test_a_conversion_is_written_whole(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "model"
    write_conversion(directory, Conversion(b"model", b"float model", REPORT))
    assert {path.name for path in directory.iterdir()} == {"model.tflite", "float.tflite", REPORT_FILE}
    assert (directory / "model.tflite").read_bytes() == b"model"
    assert ConversionReport.from_json((directory / REPORT_FILE).read_text()) == REPORT


def test_a_report_never_stands_beside_models_it_does_not_describe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversion = Conversion(b"model", b"float model", REPORT)
    write_conversion(tmp_path, conversion)

    def fail(directory: Path, report: ConversionReport) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("components.tflite_converter.conversion.write_report", fail)
    with pytest.raises(OSError, match="disk full"):
        write_conversion(tmp_path, replace(conversion, model=b"other"))
    assert not (tmp_path / REPORT_FILE).exists()
