"""report.html: the evidence on one self-contained page, for people who decide whether to ship.

Rules, in order: 1. The page shows what the reports beside it say and computes no verdict. 2. It needs nothing but itself: no network, no
script (its own Content-Security-Policy forbids both). 3. A part whose report is absent is left out. 4. The same reports and the same facts
of the run give the same bytes.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from edgeproof_edge.progress import progress

from components.evaluator.page.classes import (
    MAX_CLASSES,
    class_rows,
    commonest_changes,
    commonest_confusions,
    confusion_difference,
    confusion_matrix,
    lost_classes_chart,
    missing_classes,
    mistakes_chart,
)
from components.evaluator.page.conversion import candidates, device, latencies, latency_chart, lineage, sizes_chart
from components.evaluator.page.flips import read_flipped
from components.evaluator.page.reports import Reports, read_reports
from components.evaluator.page.run_facts import RunFacts
from components.evaluator.page.slices import MAX_ROWS, error_slices, errors_chart, kept_chart, worst_slices
from components.evaluator.page.tiles import tiles
from components.evaluator.page.training import qat_notes, qat_scores, training_charts, training_sentences
from components.evaluator.page.wording import clipped, percent, short, size

PAGE_FILE = "report.html"
TEMPLATE = Path(__file__).parent / "page.html.j2"


def write_page(
    directory: Path, converted: Path | None = None, trained: Path | None = None, facts: RunFacts | None = None
) -> Path | None:
    """Writes ``report.html`` beside the gate report, which has to be there.

    A page that cannot be drawn is logged and left out: raising would make TFX delete the verdict and its reports.

    Args:
        directory: Holds ``gate_report.json`` and, where examples flipped, ``flipped.npz``.
        converted: Directory of the candidate and of the converter's report, which may be absent.
        trained: Directory of the float model, its history and the report of quantization-aware training, which may be absent.
        facts: What is known of the run.

    Returns:
        The page's path; None where it could not be drawn.
    """
    path, reports = directory / PAGE_FILE, read_reports(directory, converted, trained, facts)
    try:
        path.write_text(render_page(reports), encoding="utf-8")
    except Exception:  # whatever a library, or a damaged file, has in store
        logging.getLogger(__name__).exception("report.html was not drawn")
        progress.warning("report.html could not be drawn; the log says why")
        return None
    return path


def render_page(reports: Reports) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, size=size, short=short, clipped=clipped)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(_values(reports))


def _values(reports: Reports) -> dict[str, Any]:
    """What the template names."""
    gate, conversion, facts = reports.gate, reports.conversion, reports.facts
    verdict = "Accepted" if gate.verdict.accepted else "Refused"
    return {
        "gate": gate,
        "verdict": gate.verdict,
        "title": facts.title(verdict, gate.candidate.name),
        "facts": facts,
        "problems": reports.problems,
        "sentence": _without_first_word(gate.verdict.sentence),
        "candidate_name": gate.candidate.name,
        "tiles": tiles(gate),
        "broken": [rule for rule in gate.verdict.rules if not rule.passed],
        "ratio_chart": kept_chart(gate),
        "errors_chart": errors_chart(gate),
        "slices": worst_slices(gate),
        "error_slices": error_slices(gate),
        **_class_values(reports),
        "training_charts": training_charts(reports.history),
        "training_sentences": training_sentences(reports.history),
        "qat_scores": qat_scores(reports.qat),
        "qat_notes": qat_notes(reports.qat),
        "conversion": conversion,
        "candidates": candidates(conversion),
        "sizes_chart": sizes_chart(gate, conversion),
        "latency": latencies(gate),
        "device": device(gate),
        "latency_chart": latency_chart(gate),
        "inspection": conversion.inspection if conversion is not None else None,
        "kernels": gate.kernel_agreement,
        "champion": gate.champion,
        "lineage": lineage(gate, conversion),
    }


def _class_values(reports: Reports) -> dict[str, Any]:
    gate = reports.gate
    return {
        "mistakes_chart": mistakes_chart(gate),
        "classes_chart": lost_classes_chart(gate),
        "classes": class_rows(gate, reports.facts.num_train_by_class),
        "num_open_classes": MAX_ROWS,
        "max_classes": MAX_CLASSES,
        "missing_classes": missing_classes(gate),
        "matrix": confusion_matrix(gate),
        "confusions": commonest_confusions(gate),
        "difference": confusion_difference(gate),
        "changes": commonest_changes(gate),
        "flips": read_flipped(reports.flips, gate.class_names) if reports.flips is not None else (),
    }


def _without_first_word(sentence: str) -> str:
    """The heading already says ACCEPTED or REFUSED."""
    first, _, rest = sentence.partition(" ")
    return rest.strip() if first.isupper() and rest else sentence
