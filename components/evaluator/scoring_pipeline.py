"""Scores the files of a split on Beam: each worker streams whole files, and what they counted is summed.

Rules: 1. Memory is that of one batch, whatever the split holds. 2. The result does not depend on the runner, the number
of workers or the order. 3. An error that Edgeproof explains travels as data and is raised after the pipeline: Beam
would wrap it in its own.
"""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from edgeproof_edge.errors import EdgeproofError, InputError, ModelFileError, SurroundingsError

from components.errors import DataError, ModelError
from components.evaluator.scoring import BATCH_SIZE, CandidateError, Measurement, Scorer
from components.evaluator.tally import Tally
from components.examples import ExampleSpec, read_batches

_TALLY, _PROBLEM = "tally", "problem"
#: Errors that keep their type on the way through Beam, most special first.
_RAISED = (CandidateError, ModelFileError, DataError, ModelError, InputError, SurroundingsError, EdgeproofError)


@dataclass(frozen=True)
class ScoringJob:
    """What a worker needs; ``sha256`` is of the candidate's bytes, and every worker checks it when it loads them."""

    saved_model: Path
    tflite: Path
    sha256: str
    example_spec: ExampleSpec
    measurement: Measurement
    champion: Path | None = None


class ScoreFile(beam.DoFn):
    """A TFRecord file in; its tally out, or the problem that kept it from being scored."""

    def __init__(self, job: ScoringJob) -> None:
        self._job = job
        self._scorer: Scorer | None = None

    def setup(self) -> None:
        """Makes a scorer, once per worker."""
        job = self._job
        self._scorer = Scorer(job.saved_model, job.tflite, job.measurement, job.sha256, job.champion)

    def process(self, file: str) -> Iterator[Any]:
        """Yields one pair: a kind, and a tally or a problem."""
        try:
            yield _TALLY, self._score(file)
        except EdgeproofError as error:
            yield _PROBLEM, _describe(error)

    def _score(self, file: str) -> Tally:
        assert self._scorer is not None, "Beam calls setup first"
        total = Tally()
        for batch in read_batches([file], self._job.example_spec, BATCH_SIZE):
            total += self._scorer.score(batch)
        return total


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


def _write_result(result: tuple[Tally, str], path: str) -> None:
    """Writes the one element; a bundle that is tried again writes the same. (WriteToText takes six stages and 0.3 s.)"""
    with FileSystems.create(path) as file:
        file.write(pickle.dumps(result))


def score_files(make_pipeline: Callable[[], Any], files: Sequence[str], job: ScoringJob, scratch: Path) -> Tally:
    """Runs the pipeline and returns the sum over all files.

    Args:
        make_pipeline: Makes the Beam pipeline.
        files: TFRecord files of the split.
        job: What every worker needs.
        scratch: Where the result crosses from the workers to here; nothing is left there.

    Raises:
        CandidateError: The candidate cannot be judged.
        EdgeproofError: The data or the float model cannot be used.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".scoring-") as directory:
        file = Path(directory) / "result"
        with make_pipeline() as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create(list(files), reshuffle=False)
                | "Spread" >> beam.Reshuffle()
                | "Score" >> beam.ParDo(ScoreFile(job))
                | "Sum" >> beam.CombineGlobally(SumResults())
                | "Write" >> beam.Map(_write_result, str(file))
            )
        tally: Tally
        tally, problem = pickle.loads(file.read_bytes())  # written above, in a directory of our own
    if problem:
        raise _revive(problem)
    return tally


def _describe(error: EdgeproofError) -> str:
    kind = next(kind for kind in _RAISED if isinstance(error, kind))
    return json.dumps([kind.__name__, str(error)])


def _revive(problem: str) -> EdgeproofError:
    name, message = json.loads(problem)
    return next(kind for kind in _RAISED if kind.__name__ == name)(message)
