"""Converts a SavedModel to .tflite: the one way in for the pipeline's executor and for the command line.

Order: 1. everything that can be refused without TensorFlow's converter is refused. 2. Calibration rows are drawn. 3.
A child process converts SavedModel -> float .tflite -> wanted model. 4. The bytes are inspected and loaded. 5. The
candidate is compared with float on rows that set no range. 6. The report says all of it. Nothing here judges whether
the model is good enough: the Evaluator does.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from edgeproof_edge.flatbuffer import Inspection, inspect
from edgeproof_edge.interpreter import Kernels, runtime_version
from edgeproof_edge.progress import progress
from numpy.typing import NDArray

from components.compat import library_versions, stack_name
from components.errors import CalibrationError, ConversionError
from components.repair import agreement
from components.repair.facts import THE_REST, CandidateFacts, SearchFacts, SelectionScore
from components.repair.recipes import IoType, Maker, Recipe, resolve_io_types
from components.repair.settings import AutoSettings
from components.saved_models.saved_model import Signature, read_facts, read_signature, saved_model_dir
from components.tflite_converter import acceptance
from components.tflite_converter.calibration import (
    DEFAULT_MIN_SAMPLES,
    DEFAULT_NUM_SAMPLES,
    DEFAULT_SEED,
    CalibrationPool,
    CalibrationSet,
    check_pool_size,
    draw,
    draw_stream,
    fit_pool,
)
from components.tflite_converter.child_process import TIMEOUT_SECONDS, WORKER_COMMAND, run_worker
from components.tflite_converter.job import (
    CALIBRATION_FILE,
    FLOAT_FILE,
    HEAD_FILE,
    JOB_FILE,
    LABELS,
    MODEL_FILE,
    SEARCH_FILE,
    SELECTION_FILE,
    ConversionJob,
    JobResult,
)
from components.tflite_converter.report import (
    REPORT_FILE,
    CalibrationFacts,
    ConversionReport,
    FileFacts,
    LoadTest,
    SecondsFacts,
    SignatureFacts,
    StratumFacts,
    write_report,
)
from releases.stores.files import replace_file

#: Rows at the head of a pool: what a representative data set written by hand would be, by TensorFlow's guide.
HEAD_ROWS = 200


@dataclass(frozen=True)
class ConversionRequest:
    """What to convert and how.

    Attributes:
        saved_model: Directory of the SavedModel.
        recipe: How weights and activations are stored.
        pool: Calibration examples; None only where the recipe needs none.
        min_samples: Examples the pool must hold.
        num_samples: Most examples that set ranges.
        seed: Of the draw.
        input_type: Type of real-valued inputs; None for the recipe's default.
        output_type: Type of real-valued outputs; None for that of the inputs.
        allow_float_operators: Whether an integer recipe may leave float operators; they are reported either way.
        qat_saved_model: The model trained with quantization in the loop: recipe int8-qat converts it, and auto tries it last.
        select_tf_operators: Whether operators without a TFLite kernel may come along as TensorFlow's own.
        timeout_seconds: Most time the converting process may take.
        auto: Goal, bounds and fallbacks of recipe auto.
    """

    saved_model: Path
    recipe: Recipe
    pool: CalibrationPool | None = None
    min_samples: int = DEFAULT_MIN_SAMPLES
    num_samples: int = DEFAULT_NUM_SAMPLES
    seed: int = DEFAULT_SEED
    input_type: IoType | None = None
    output_type: IoType | None = None
    allow_float_operators: bool = True
    select_tf_operators: bool = False
    qat_saved_model: Path | None = None
    timeout_seconds: float = TIMEOUT_SECONDS
    auto: AutoSettings = field(default_factory=AutoSettings)


@dataclass(frozen=True)
class Conversion:
    """What came out: both models and the report on them."""

    model: bytes
    float_model: bytes
    report: ConversionReport


@dataclass(frozen=True)
class _Plan:
    """A request that passed every check that needs no converter."""

    request: ConversionRequest
    directory: Path
    signature: Signature
    input_type: IoType
    output_type: IoType
    pool: CalibrationPool | None
    drawn: CalibrationSet | None

    @property
    def sentence(self) -> str:
        """What is about to be converted, and by what its ranges are set."""
        recipe = self.request.recipe
        source = self.request.qat_saved_model if recipe is Recipe.INT8_QAT else self.directory
        rows = f" with {len(self.range_rows)} calibration examples" if recipe.needs_calibration else ""
        return f"converting {source} to {recipe.value}{rows}"

    @property
    def may_change_io(self) -> bool:
        """Whether nobody asked for a type of inputs or outputs."""
        return self.request.input_type is None and self.request.output_type is None

    @property
    def range_rows(self) -> tuple[int, ...]:
        """Pool rows that set ranges: none for a recipe without calibration."""
        return self.drawn.range_rows if self.drawn is not None and self.request.recipe.needs_calibration else ()

    @property
    def selection_rows(self) -> tuple[int, ...]:
        """Pool rows on which the candidate is compared with float."""
        rows = self.drawn.selection_rows if self.drawn is not None else ()
        if self.request.recipe.storage.maker is Maker.SEARCH:
            spare = self.drawn.spare_rows if self.drawn is not None else ()
            return (*spare, *rows)[: agreement.MAX_ROWS_TO_CHOOSE_FROM]
        return rows[: agreement.num_rows_to_compare(self.request.recipe, len(rows))]

    @property
    def head_rows(self) -> range:
        """The pool's first rows in capture order; none where it is not known."""
        is_ordered = self.pool is not None and self.pool.num_seen is None
        return range(min(HEAD_ROWS, self.pool.num_rows)) if self.pool is not None and is_ordered else range(0)


@dataclass(frozen=True)
class _Converted:
    """The child's output."""

    float_model: bytes
    model: bytes
    result: JobResult
    search: SearchFacts | None = None

    def recipe(self, asked: Recipe) -> Recipe:
        """The recipe of the model: what auto chose, or what was asked for."""
        return asked if self.search is None else next(c.recipe for c in self.search.candidates if c.chosen)

    def io_types(self, asked: tuple[IoType, IoType]) -> tuple[IoType, IoType]:
        """The types of inputs and outputs of the model."""
        return asked if self.search is None else (self.search.input_type, self.search.output_type)


def convert(request: ConversionRequest, worker_command: Sequence[str] = WORKER_COMMAND) -> Conversion:
    """Converts, inspects, loads and compares.

    Args:
        request: What to convert.
        worker_command: The command that converts; the directory of the job is appended.

    Raises:
        ModelError: The SavedModel has no raw-tensor signature, or cannot be read.
        CalibrationError: The pool is missing, too small, or does not fit the model.
        ConversionError: TensorFlow cannot convert the model, or what came out is not what was asked for.
    """
    started = time.perf_counter()
    plan = _plan(request)
    progress.info("%s", plan.sentence)
    converted = _run(plan, worker_command)
    inspection = inspect(converted.model)
    recipe = converted.recipe(request.recipe)
    warnings = acceptance.check_operators(
        inspection, recipe, request.allow_float_operators, request.select_tf_operators
    )
    warnings += acceptance.check_io_types(
        inspection, plan.signature, *converted.io_types((plan.input_type, plan.output_type)), plan.may_change_io
    )
    candidates = _candidates(plan, converted, inspection)
    report = _report(plan, converted, inspection, candidates, warnings, time.perf_counter() - started)
    progress.info("%s", summarize(report))
    return Conversion(converted.model, converted.float_model, report)


def summarize(report: ConversionReport) -> str:
    """The result in one line: size, and how often the model names the same class as float on the selection part."""
    chosen, score = report.chosen, report.chosen.score
    name = chosen.name if report.met_goal is not False else f"{chosen.name} (nothing met the goal)"
    sizes = f"{name}: {report.model.size_bytes} bytes, float {report.float_model.size_bytes}"
    same = (
        [f"{o.output} as float in {o.num_same} of {o.num_rows} rows" for o in score.outputs if o.num_same is not None]
        if score
        else []
    )
    return "; ".join([sizes, *same])


def write_conversion(directory: Path, conversion: Conversion) -> None:
    """Writes model.tflite, float.tflite and conversion_report.json; each whole, and the report last.

    Where there is a report, the models beside it are those it describes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / REPORT_FILE).unlink(missing_ok=True)
    replace_file(directory / FLOAT_FILE, conversion.float_model)
    replace_file(directory / MODEL_FILE, conversion.model)
    write_report(directory, conversion.report)


def _plan(request: ConversionRequest) -> _Plan:
    input_type, output_type = resolve_io_types(request.recipe, request.input_type, request.output_type)
    directory = saved_model_dir(str(request.saved_model)).resolve()
    signature = read_signature(directory)
    _check_shapes(signature)
    if request.recipe is Recipe.INT8_QAT and request.qat_saved_model is None:
        raise ConversionError(
            "recipe int8-qat needs a model that was trained with quantization in the loop and none was given. "
            "Set train.qat.mode: on in the config (--qat-saved-model on the command line)."
        )
    if request.pool is None:
        if request.recipe.needs_calibration:
            raise CalibrationError(
                f"recipe {request.recipe.value} needs calibration examples and none were given. "
                "Give an .npz file (--calibration) or a calibration split."
            )
        return _Plan(request, directory, signature, input_type, output_type, None, None)
    if request.recipe.needs_calibration:
        check_pool_size(request.pool, request.min_samples)
    pool = fit_pool(request.pool, signature.inputs)
    cut = draw_stream if read_facts(directory, signature.key).assigns_variables else draw
    drawn = cut(pool, request.num_samples, request.seed)
    return _Plan(request, directory, signature, input_type, output_type, pool, drawn)


def _check_shapes(signature: Signature) -> None:
    for spec in signature.inputs:
        if not spec.shape:
            raise ConversionError(
                f"input {spec.name!r} of signature {signature.key!r} has no batch dimension. "
                "Export it with shape [None, ...]."
            )
        if -1 in spec.shape[1:]:
            raise ConversionError(
                f"input {spec.name!r} of signature {signature.key!r} has shape {list(spec.shape)}; "
                "a device needs every size but the first fixed. "
                "Export the signature with a tf.TensorSpec that gives them."
            )


def _batch_size(signature: Signature) -> int:
    """The batch size fixed in the signature, or 1."""
    return max(1, *(spec.shape[0] for spec in signature.inputs))


def _run(plan: _Plan, worker_command: Sequence[str]) -> _Converted:
    job = ConversionJob(
        saved_model=str(plan.directory),
        signature=plan.signature.key,
        recipe=plan.request.recipe,
        input_type=plan.input_type,
        output_type=plan.output_type,
        inputs=tuple(spec.name for spec in plan.signature.inputs),
        batch_size=_batch_size(plan.signature),
        auto=plan.request.auto,
        may_change_io=plan.may_change_io,
        may_use_islands=plan.request.allow_float_operators,
        select_tf_operators=plan.request.select_tf_operators,
        **_qat_source(plan.request.qat_saved_model),
    )
    with tempfile.TemporaryDirectory(prefix="edgeproof-convert-") as name:
        directory = Path(name)
        (directory / JOB_FILE).write_text(job.to_json(), encoding="utf-8")
        _write_rows(plan, job.inputs, directory)
        result = run_worker(directory, worker_command, plan.request.timeout_seconds)
        _check_rows_read(result, len(plan.range_rows))
        return _Converted(
            (directory / FLOAT_FILE).read_bytes(),
            (directory / MODEL_FILE).read_bytes(),
            result,
            _read_search(directory),
        )


def _qat_source(directory: Path | None) -> dict[str, str]:
    if directory is None:
        return {}
    resolved = saved_model_dir(str(directory)).resolve()
    return {"qat_saved_model": str(resolved), "qat_signature": read_signature(resolved).key}


def _write_rows(plan: _Plan, names: Sequence[str], directory: Path) -> None:
    """Writes the rows that set ranges and, for recipe auto, those that select and those at the head of the pool."""
    if plan.pool is None or not plan.range_rows:
        return
    files: dict[str, Sequence[int]] = {CALIBRATION_FILE: plan.range_rows}
    if plan.request.recipe.storage.maker is Maker.SEARCH:
        files[SELECTION_FILE] = plan.selection_rows or plan.range_rows  # a pool of very few rows has no selection part
        if plan.head_rows:
            files[HEAD_FILE] = plan.head_rows
    for file, rows in files.items():
        inputs = plan.pool.take(rows)
        known = _known_answers(plan.pool) if file == SELECTION_FILE else None
        labels = {} if known is None else {LABELS: known[list(rows)]}
        np.savez(directory / file, *(inputs[name] for name in names), **labels)


def _known_answers(pool: CalibrationPool) -> NDArray[Any] | None:
    """Class ids, or true values; None where the pool has neither."""
    if pool.labels is not None and pool.labels.dtype.kind in "iu":
        return pool.labels
    return pool.truth


def _read_search(directory: Path) -> SearchFacts | None:
    path = directory / SEARCH_FILE
    return SearchFacts.model_validate_json(path.read_bytes()) if path.is_file() else None


def _check_rows_read(result: JobResult, num_given: int) -> None:
    if result.num_calibration_rows != num_given:
        raise ConversionError(
            f"{result.num_calibration_rows} of {num_given} calibration examples ran through the model, "
            "so the model's ranges are not those of the data. Nothing was written; report this with the model."
        )


def _candidates(plan: _Plan, converted: _Converted, inspection: Inspection) -> tuple[CandidateFacts, ...]:
    """Loads both models, which must work whatever the recipe, and compares them where auto has not done so."""
    score = None if inspection.flex_operators else _load_and_compare(plan, converted)
    if converted.search is not None:
        return converted.search.candidates
    recipe = plan.request.recipe
    return (
        CandidateFacts(
            name=recipe.value,
            recipe=recipe,
            sha256=inspection.sha256,
            size_bytes=inspection.size_bytes,
            float_operators=inspection.float_operators,
            score=score,
            seconds=converted.result.model_seconds,
            chosen=True,
        ),
    )


def _load_and_compare(plan: _Plan, converted: _Converted) -> SelectionScore | None:
    """Loads both models with LiteRT, which has no TF Select kernels, and compares them where there are rows for it."""
    float_model = acceptance.load(FLOAT_FILE, converted.float_model)
    model = acceptance.load(MODEL_FILE, converted.model)
    if converted.search is not None or plan.pool is None or not plan.selection_rows:
        return None
    labels = None if plan.pool.labels is None else plan.pool.labels[list(plan.selection_rows)]
    return agreement.score(float_model, model, plan.pool.take(plan.selection_rows), labels)


def _report(
    plan: _Plan,
    converted: _Converted,
    inspection: Inspection,
    candidates: tuple[CandidateFacts, ...],
    operator_warnings: tuple[str, ...],
    total_seconds: float,
) -> ConversionReport:
    asked = converted.io_types((plan.input_type, plan.output_type))
    score = next(candidate.score for candidate in candidates if candidate.chosen)
    search = converted.search
    return ConversionReport(
        recipe=plan.request.recipe,
        input_type=acceptance.type_of(inspection.inputs, plan.signature.inputs, asked[0]),
        output_type=acceptance.type_of(inspection.outputs, plan.signature.outputs, asked[1]),
        signature=SignatureFacts(key=plan.signature.key, inputs=plan.signature.inputs, outputs=plan.signature.outputs),
        stack=stack_name(),
        library_versions=library_versions(),
        float_model=FileFacts.of(FLOAT_FILE, converted.float_model),
        model=FileFacts.of(MODEL_FILE, converted.model),
        calibration=_calibration_facts(plan),
        inspection=inspection,
        load_test=None
        if inspection.flex_operators
        else LoadTest(runtime=runtime_version(), kernels=Kernels.XNNPACK.value),
        candidates=candidates,
        **({} if search is None else _search_facts(search)),
        warnings=(*operator_warnings, *_warnings(plan, converted, score)),
        seconds=SecondsFacts(
            float_conversion=converted.result.float_seconds,
            model_conversion=converted.result.model_seconds,
            total=total_seconds,
        ),
    )


def _search_facts(search: SearchFacts) -> dict[str, Any]:
    return {
        "goal": search.goal,
        "met_goal": search.met_goal,
        "findings": search.findings,
        "outside_ranges": search.outside_ranges,
        "changes": search.changes,
        "largest_logit_difference": search.largest_logit_difference,
        "skipped": search.skipped,
    }


def _stopped(search: SearchFacts | None) -> str:
    """Why the search did not climb to its end; "" where it did."""
    skips = search.skipped if search is not None else ()
    return next((skip.reason for skip in skips if skip.step == THE_REST), "")


def _calibration_facts(plan: _Plan) -> CalibrationFacts | None:
    if plan.pool is None or plan.drawn is None:
        return None
    drawn = plan.drawn
    used = plan.request.recipe.needs_calibration
    return CalibrationFacts(
        source=plan.pool.source,
        num_offered=plan.pool.num_offered,
        num_pool=plan.pool.num_rows,
        num_distinct=drawn.num_distinct,
        min_samples=plan.request.min_samples,
        min_samples_lowered=plan.request.min_samples < DEFAULT_MIN_SAMPLES,
        num_requested=drawn.num_requested,
        num_range=len(plan.range_rows),
        num_selection=len(plan.selection_rows),
        seed=drawn.seed,
        sha256=drawn.sha256,
        strata=tuple(
            StratumFacts(label=s.label, num_distinct=s.num_distinct, num_drawn=s.num_drawn if used else 0)
            for s in drawn.strata
        ),
        notes=plan.pool.notes,
    )


def _warnings(plan: _Plan, converted: _Converted, score: SelectionScore | None) -> tuple[str, ...]:
    notes = [*converted.result.notes, *(plan.drawn.warnings if plan.drawn is not None else ())]
    if converted.search is not None and not converted.search.met_goal:
        notes.append(
            "nothing met the goal on the selection part: the best candidate goes on, and the Evaluator decides"
        )
    if (stopped := _stopped(converted.search)) and converted.search is not None and not converted.search.met_goal:
        notes.append(stopped)
    if plan.request.recipe is Recipe.AUTO and not plan.selection_rows:
        notes.append(
            "the pool is too small to keep rows for selecting: candidates were compared on rows that set ranges"
        )
    if plan.request.recipe.needs_calibration and plan.request.min_samples < DEFAULT_MIN_SAMPLES:
        notes.append(
            f"the pool was allowed to hold {plan.request.min_samples} examples instead of {DEFAULT_MIN_SAMPLES}"
        )
    if (batch_size := _batch_size(plan.signature)) > 1:
        notes.append(
            f"signature {plan.signature.key!r} fixes the batch size at {batch_size}: devices must feed as many rows"
        )
    if converted.recipe(plan.request.recipe) is not Recipe.FLOAT32 and len(converted.model) >= len(
        converted.float_model
    ):
        notes.append(f"the recipe saved nothing: {len(converted.model)} bytes, float {len(converted.float_model)}")
    for output in score.outputs if score is not None else ():
        if output.num_not_finite:
            notes.append(
                f"output {output.output!r} is not finite in {output.num_not_finite} of {output.num_rows} selection rows"
            )
    return tuple(notes)
