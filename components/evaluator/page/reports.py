"""The reports that the page is made of, each read as the model that its writer wrote.

Rules: 1. A report that is absent is left out. 2. A report that is no report of this version is left out, and the page says so: a part that
vanishes without a word would pass for one that never was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from components.evaluator.page.run_facts import RunFacts
from components.evaluator.report.gate_report import GateReport, read_report
from components.tflite_converter.report import REPORT_FILE as CONVERSION_REPORT_FILE
from components.tflite_converter.report import ConversionReport
from components.trainer.history import HISTORY_FILE, History
from components.trainer.qat_report import REPORT_FILE as QAT_REPORT_FILE
from components.trainer.qat_report import QatReport

FLIPS_FILE = "flipped.npz"
_Report = TypeVar("_Report", bound=BaseModel)


@dataclass(frozen=True)
class Reports:
    """What the page shows.

    Attributes:
        gate: The verdict and what it rests on.
        conversion: The converter's report.
        qat: The report of quantization-aware training.
        history: Every epoch of the float model's training.
        flips: File of examples whose answer changed; it may be absent.
        facts: What is known of the run.
        problems: Sentences on reports that could not be read.
    """

    gate: GateReport
    conversion: ConversionReport | None = None
    qat: QatReport | None = None
    history: History | None = None
    flips: Path | None = None
    facts: RunFacts = field(default_factory=RunFacts)
    problems: tuple[str, ...] = ()


def read_reports(
    evaluation: Path, converted: Path | None = None, trained: Path | None = None, facts: RunFacts | None = None
) -> Reports:
    """Reads what lies in the directories of three artifacts.

    Args:
        evaluation: Holds ``gate_report.json`` and, where examples flipped, ``flipped.npz``.
        converted: Where the candidate lies, and perhaps ``conversion_report.json``.
        trained: Where the float model lies, and perhaps ``history.json`` and ``qat_report.json``.
        facts: What is known of the run.

    Raises:
        DataError: There is no gate report.
    """
    problems: list[str] = []

    def read(directory: Path | None, name: str, parse: Callable[[bytes], _Report]) -> _Report | None:
        if directory is None or not (directory / name).is_file():
            return None
        try:
            return parse((directory / name).read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            problems.append(f"{name} is not shown: it is no report of this version ({where}: {first['msg']}).")
            return None

    return Reports(
        gate=read_report(evaluation),
        conversion=read(converted, CONVERSION_REPORT_FILE, ConversionReport.model_validate_json),
        qat=read(trained, QAT_REPORT_FILE, QatReport.model_validate_json),
        history=read(trained, HISTORY_FILE, History.model_validate_json),
        flips=evaluation / FLIPS_FILE,
        facts=facts or RunFacts(),
        problems=tuple(problems),
    )
