"""The report page of a run, with what only the run knows: its number, its reason, its commit, its release.

The Evaluator's own page, beside its report, was written before there was a release, and a later run may have taken it from the cache.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from components.artifacts import exists, join, parent_of, read_bytes_if_there
from components.data.data_summary import DataSummary
from components.evaluator.page.page import PAGE_FILE, render_page
from components.evaluator.page.reports import FLIPS_FILE, read_reports
from components.evaluator.page.run_facts import RunFacts, train_counts
from components.evaluator.report.gate_report import REPORT_FILE
from components.tflite_converter.report import REPORT_FILE as CONVERSION_REPORT_FILE
from components.trainer.history import HISTORY_FILE
from components.trainer.qat_report import REPORT_FILE as QAT_REPORT_FILE
from pipeline.history.run_record import RunRecord
from releases.stores.files import replace_file

#: Under the workspace.
PAGES = "pages"


def page_of(record: RunRecord, workspace: Path) -> str | None:
    """Draws the page of a run; where that cannot be done, the Evaluator's own stands in. None where there is neither."""
    path = workspace / PAGES / f"{record.run_id.replace(':', '')}.html"
    try:
        text = _drawn(record)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
    except Exception:  # a workspace that is somebody else's, artifacts that were cleared away
        logging.getLogger(__name__).info("the page of the run was not drawn", exc_info=True)
        own = join(parent_of(record.gate_report), PAGE_FILE)
        return own if exists(own) else None
    return str(path)


def _drawn(record: RunRecord) -> str:
    """The page as text; of artifacts in a bucket, only the reports are fetched."""
    places = {
        parent_of(record.gate_report): (REPORT_FILE, FLIPS_FILE),
        parent_of(record.conversion_report): (CONVERSION_REPORT_FILE,),
        record.float_model: (HISTORY_FILE, QAT_REPORT_FILE),
    }
    with tempfile.TemporaryDirectory(prefix="edgeproof-page-") as name:
        directory = Path(name)
        for uri, files in places.items():
            for file in files:
                data = read_bytes_if_there(join(uri, file))
                if data is not None:
                    (directory / file).write_bytes(data)
        return render_page(read_reports(directory, directory, directory, facts_of(record)))


def facts_of(record: RunRecord) -> RunFacts:
    """What a record knows of its run."""
    release, run_id = record.release, record.run_id.partition(".")[0]
    channel = f" on channel {release.channel}" if release is not None and release.is_offered else ""
    return RunFacts(
        model=record.pipeline,
        run=run_id if record.number is None else f"{record.number} ({run_id})",
        judged_by="" if record.judged_by in ("", record.run_id) else record.judged_by.partition(".")[0],
        time=record.judged_at,
        reason=record.reason,
        release="" if release is None else f"{release.version}{channel}",
        commit=record.git_commit,
        data=record.data,
        num_examples=record.num_examples,
        num_train_by_class=train_counts(DataSummary.read(record.examples)),
    )
