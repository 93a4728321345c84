"""Scores the files of a split on Beam: each worker streams whole files, and what they counted is summed.

Rules: 1. Memory is that of one batch, whatever the split holds. 2. The result does not depend on the runner, the number
of workers or the order. 3. An error that Edgeproof explains travels as data and is raised after the pipeline: Beam
would wrap it in its own. 4. Where an EvalConfig asks for more, TFMA gets the outputs that were just counted, in the same
pipeline; without one, its stages are not there.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from edgeproof_edge.errors import EdgeproofError, InputError, ModelFileError, SurroundingsError
from edgeproof_edge.progress import progress

from components.artifacts import join, local_copy, read_bytes, scratch_directory
from components.data.examples import ExampleSpec, read_batches
from components.errors import DataError, ModelError
from components.evaluator.counting.extra_figures import TfmaResults
from components.evaluator.counting.tally import Tally
from components.evaluator.scoring.both_models import CandidateError, Scorer, ScoringPlan
from components.evaluator.tfma.eval_config import KEY, try_metrics
from components.evaluator.tfma.extracts import ExtractMaker, ScoredRows
from components.evaluator.tfma.pipeline import ComputeMetrics

_TALLY, _PROBLEM = "tally", "problem"
#: Outputs of the scoring where TFMA computes metrics too.
_RESULTS, _EXTRACTS = "results", "extracts"
#: Rows that every metric is tried on before TFMA gets any.
_NUM_TRIED = 8
#: Name of TFMA's part of the pipeline, which Beam's messages about it carry.
EXTRA_STEP = "EvalConfig"
#: Errors that keep their type on the way through Beam, most special first.
_RAISED = (CandidateError, ModelFileError, DataError, ModelError, InputError, SurroundingsError, EdgeproofError)


@dataclass(frozen=True)
class ScoringJob:
    """What a worker needs; ``sha256`` is of the candidate's bytes, and every worker checks it when it loads them.

    ``saved_model`` (a SavedModel, or a Model artifact that holds one), ``tflite`` and ``champion`` are URIs: a worker may be on another
    machine.
    ``eval_config`` is an EvalConfig of :func:`read_eval_config`, or None; ``num_files`` is what all workers together score.
    """

    saved_model: str
    tflite: str
    sha256: str
    example_spec: ExampleSpec
    plan: ScoringPlan
    champion: str | None = None
    eval_config: Any = None
    num_files: int = 0


class ScoreFile(beam.DoFn):
    """A TFRecord file in; its tally out, or the problem that kept it from being scored, and on the side what TFMA reads."""

    def __init__(self, job: ScoringJob) -> None:
        self._job = job
        self._scorer: Scorer | None = None
        self._copies: ExitStack | None = None
        self._extract_maker: ExtractMaker | None = None
        self._are_metrics_tried = False
        self._num_scored = 0

    def setup(self) -> None:
        """Makes a scorer, once per worker."""
        job = self._job
        self._copies = ExitStack()
        saved_model, tflite = (self._copies.enter_context(local_copy(uri)) for uri in (job.saved_model, job.tflite))
        champion = self._copies.enter_context(local_copy(job.champion)) if job.champion else None
        self._scorer = Scorer(saved_model, tflite, job.plan, job.sha256, champion)
        if job.eval_config is not None:
            self._extract_maker = ExtractMaker(job.eval_config)

    def teardown(self) -> None:
        """Removes what was copied to this worker."""
        if self._copies is not None:
            self._copies.close()

    def process(self, file: str) -> Iterator[Any]:
        """Yields one pair: a kind, and a tally or a problem; before it extracts, where TFMA is to have them."""
        assert self._scorer is not None, "Beam calls setup first"
        total = Tally()
        try:
            self._scorer.restart()  # a file is a sequence of its own, whichever worker reads it
            for batch in read_batches([file], self._job.example_spec, self._scorer.rows_per_batch):
                outputs = self._scorer.predict(batch)
                total += self._scorer.tally(outputs)
                if self._extract_maker is not None:
                    yield from self._extracts(self._extract_maker, self._scorer.usable_rows(outputs))
            self._tell_progress()
            yield _TALLY, total
        except EdgeproofError as error:
            yield _PROBLEM, _describe(error)

    def _tell_progress(self) -> None:
        """Shows how far this worker is: a person reads it where the one worker is this machine, a log elsewhere."""
        self._num_scored += 1
        if self._job.num_files > 1:
            step = min(self._num_scored, self._job.num_files), self._job.num_files
            progress.info("%d of %d files scored", *step, extra={"step": step})

    def _extracts(self, maker: ExtractMaker, rows: ScoredRows) -> Iterator[Any]:
        if not len(rows.labels):
            return
        extracts = maker.make(rows)
        if not self._are_metrics_tried:
            first = list(islice(extracts, _NUM_TRIED))
            try_metrics(self._job.eval_config, first)
            self._are_metrics_tried = True
            extracts = chain(first, extracts)
        for extract in extracts:
            yield beam.pvalue.TaggedOutput(_EXTRACTS, extract)


class SumResults(beam.CombineFn):
    """Adds up tallies, and keeps the alphabetically first problem: no result depends on the order of files."""

    def create_accumulator(self) -> tuple[Tally, str]:
        """Nothing counted, no problem."""
        return Tally(), ""

    def add_input(self, accumulator: tuple[Tally, str], element: tuple[str, Any]) -> tuple[Tally, str]:
        """Takes one file's result in."""
        kind, value = element
        return self.merge_accumulators([accumulator, (value, "") if kind == _TALLY else (Tally(), value)])

    def merge_accumulators(self, accumulators: Iterable[tuple[Tally, str]]) -> tuple[Tally, str]:
        """Merges parts, in any order."""
        total, problems = Tally(), set()
        for tally, problem in accumulators:
            problems.add(problem)
            try:
                total += tally
            except (ModelError, DataError) as error:
                problems.add(_describe(error))
        return total, min(problems - {""}, default="")

    def extract_output(self, accumulator: tuple[Tally, str]) -> tuple[Tally, str]:
        """The sum, and the problem or an empty text."""
        return accumulator


def _write_result(result: Any, path: str) -> None:
    """Writes the one element; a bundle that is tried again writes the same. (WriteToText takes six stages and 0.3 s.)"""
    with FileSystems.create(path) as file:
        file.write(pickle.dumps(result))


def score_files(make_pipeline: Callable[[], Any], files: Sequence[str], job: ScoringJob, scratch: str) -> Tally:
    """Runs the pipeline and returns the sum over all files.

    Args:
        make_pipeline: Makes the Beam pipeline.
        files: TFRecord files of the split.
        job: What every worker needs.
        scratch: URI of a directory in which the result crosses from the workers to here; nothing is left there.

    Raises:
        CandidateError: The candidate cannot be judged.
        EdgeproofError: The data or the float model cannot be used.
    """
    with scratch_directory(scratch) as directory:
        file, extra_file = join(directory, "result"), join(directory, "extra")
        try:
            with make_pipeline() as pipeline:
                _add_scoring(pipeline, files, job, file, extra_file)
        except Exception as error:
            if job.eval_config is None or f"while running '{EXTRA_STEP}/" not in str(error):
                raise
            raise InputError(
                f"{KEY}: TFMA could not compute its metrics: {_reason(error)}. Remove the metric, or the key."
            ) from error
        tally: Tally
        tally, problem = pickle.loads(read_bytes(file))  # written above, in a directory of our own
        if problem:
            raise _revive(problem)
        extra: TfmaResults | None = pickle.loads(read_bytes(extra_file)) if job.eval_config is not None else None
    return tally if extra is None else replace(tally, extra=extra)


def _add_scoring(pipeline: Any, files: Sequence[str], job: ScoringJob, file: str, extra_file: str) -> None:
    score = beam.ParDo(ScoreFile(job))
    spread = pipeline | "Files" >> beam.Create(list(files), reshuffle=False) | "Spread" >> beam.Reshuffle()
    if job.eval_config is None:
        results = spread | "Score" >> score
    else:
        scored = spread | "Score" >> score.with_outputs(_EXTRACTS, main=_RESULTS)
        results = scored[_RESULTS]
        extra = scored[_EXTRACTS] | EXTRA_STEP >> ComputeMetrics(job.eval_config)
        _ = extra | "WriteExtra" >> beam.Map(_write_result, extra_file)
    _ = results | "Sum" >> beam.CombineGlobally(SumResults()) | "Write" >> beam.Map(_write_result, file)


def _reason(error: BaseException) -> str:
    """Beam's message may be a worker's whole traceback, and ends in the reason and the step."""
    lines = [line for line in str(error).partition(" [while running ")[0].splitlines() if line.strip()]
    return " ".join(lines[-1].split())[:300].rstrip(".")


def _describe(error: EdgeproofError) -> str:
    kind = next(kind for kind in _RAISED if isinstance(error, kind))
    return json.dumps([kind.__name__, str(error)])


def _revive(problem: str) -> EdgeproofError:
    name, message = json.loads(problem)
    return next(kind for kind in _RAISED if kind.__name__ == name)(message)
