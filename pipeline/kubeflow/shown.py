"""What Kubeflow's pages show of a verdict: its figures as metrics, and the report page.

Kubeflow tells a task where its outputs belong and which file lists them; its launcher uploads what lies at the local path of an address.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.artifacts import join, local_copy, read_bytes_if_there
from components.evaluator.page.page import PAGE_FILE
from components.evaluator.report.explanation import explain
from components.evaluator.report.gate_report import REPORT_FILE, GateReport, read_report
from pipeline.kubeflow.verdict import Verdict
from pipeline.mlmd import NodeRun

#: Scheme of an address -> the directory at which Kubeflow's launcher expects its files.
_LOCAL = {"minio://": "/minio/", "s3://": "/s3/", "gs://": "/gcs/", "oci://": "/oci/"}


def show_evaluation(evaluator: NodeRun, executor_input: str) -> Verdict:
    """Writes metrics and page where Kubeflow looks for them.

    Args:
        evaluator: The node, done.
        executor_input: Kubeflow's ``{{$}}``; empty outside of Kubeflow Pipelines, which shows nothing.

    Returns:
        What the gate decided.
    """
    evaluation = evaluator.output("ModelEvaluation")
    with local_copy(join(evaluation.uri, REPORT_FILE)) as file:
        report = read_report(file)
    if executor_input:
        _show(json.loads(executor_input)["outputs"], report, read_bytes_if_there(join(evaluation.uri, PAGE_FILE)))
    return Verdict(report.verdict.accepted, explain(report))


def _show(outputs: dict[str, Any], report: GateReport, page: bytes | None) -> None:
    shown = {name: described["artifacts"][0] for name, described in outputs.get("artifacts", {}).items()}
    written: dict[str, Any] = {}
    if "metrics" in shown:
        written["metrics"] = {"artifacts": [{**_named(shown["metrics"]), "metadata": metrics(report)}]}
    if "report" in shown and page is not None:
        _write(_local_path(shown["report"]["uri"]), page)
        written["report"] = {"artifacts": [_named(shown["report"])]}
    _write(Path(outputs["outputFile"]), json.dumps({"artifacts": written}).encode())


def metrics(report: GateReport) -> dict[str, float | str]:
    """The figures that a person looks for, by the name that the page shows."""
    figures: dict[str, float | str] = {"accepted": float(report.verdict.accepted)}
    counts = report.counts
    if counts is not None and counts.num_examples:
        figures["float_accuracy"] = counts.num_correct_float / counts.num_examples
        figures["edge_accuracy"] = counts.num_correct_candidate / counts.num_examples
        figures["num_examples"] = float(counts.num_examples)
    if report.ratio is not None:
        figures["ratio"] = float(report.ratio.decimal)
    return figures


def _named(artifact: dict[str, Any]) -> dict[str, Any]:
    return {key: artifact[key] for key in ("name", "uri") if key in artifact}


def _local_path(address: str) -> Path:
    scheme = next((scheme for scheme in _LOCAL if address.startswith(scheme)), "")
    return Path(f"{_LOCAL.get(scheme, '')}{address[len(scheme) :]}")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
