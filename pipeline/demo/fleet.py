"""The incident as it goes with Edgeproof, on one machine: fifty devices, the light goes out for a third of them, and the loop closes.

Everything is real but the devices' clocks: the service and its database, tokens, the released model in the device's interpreter, the
trigger, the run that it starts, the gate, the channels. An hour of a device is one window of forty pictures.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click
import numpy as np
import urllib3
import yaml
from edgeproof_edge.bundle import MODEL_FILE, Bundle, open_bundle
from edgeproof_edge.interpreter import TFLiteModel
from edgeproof_edge.manifest import Histogram
from numpy.typing import NDArray
from PIL import Image

from components.evaluator.report.gate_report import GateReport
from pipeline.demo.digits import ARCHIVE, EXAMPLE, write_images
from pipeline.errors import RunError
from releases.repository import Repository
from releases.stores.store import DirectoryStore
from releases.trust.keys import KeyRing
from telemetry.database import Database, open_database
from telemetry.event import LATENCY_EDGES_MS, NUM_LATENCY_COUNTS, format_time
from telemetry.feedback import FeedbackBook
from telemetry.maintenance import maintain
from telemetry.spans import write_span
from telemetry.tokens import Kind, TokenBook
from triggers.decision import Outcome
from triggers.ledger import RunState, TriggeredRun
from triggers.settings import load_settings
from triggers.watch import Check, Watcher

NUM_DEVICES = 50
#: A third of the devices stands where the light goes out.
NUM_DARK = 17
PICTURES_PER_WINDOW = 40
#: What is left of the light.
DARK_LIGHT = 0.3
LIGHT_HOURS, DARK_HOURS, AFTER_HOURS = 3, 3, 2
#: Dark pictures that people label.
NUM_LABELLED = 900
_MODEL = "digits"
_PERSON = "demo"

_TRIGGERS = {
    "model": _MODEL,
    "database": "telemetry.db",
    "releases": ".edgeproof/digits/published",
    "keys": ".edgeproof/digits/keys",
    "channel": "stable",
    "window_hours": 3,
    "guards": {"cooldown_hours": 0},
    "launcher": {"kind": "local", "config": "config.yaml"},
    "rules": {
        "new_span": {"path": "data", "settle_minutes": 0},
        "input_drift": {"hits": 3},
        "prediction_drift": {"hits": 3},
        "feedback_accuracy": {},
    },
}


@dataclass(frozen=True)
class Told:
    """How the story went."""

    first_version: str
    suggested: str
    dark_accuracy_before: float
    run: TriggeredRun
    new_version: str
    dark_accuracy_after: float
    num_runs: int
    is_quiet_after: bool
    page: str

    @property
    def is_told(self) -> bool:
        """Whether it went as the story goes."""
        is_better = self.dark_accuracy_after > self.dark_accuracy_before
        return bool(self.suggested) and self.run.state is RunState.PUBLISHED and is_better and self.num_runs == 1


@dataclass
class Fleet:
    """Fifty devices with tokens of their own, which run what the channel ``stable`` offers."""

    url: str
    tokens: Mapping[str, str]
    random: np.random.Generator
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(timeout=30, retries=False))

    def report_hour(self, bundle: Bundle, end: datetime, *, is_dark: bool) -> float:
        """Every device reports the hour before ``end``; returns the share of right answers where it may be dark."""
        images, labels = _digits()
        model = TFLiteModel.load(bundle.files[MODEL_FILE])
        num_right = 0
        for number, device in enumerate(self.tokens):
            rows = self.random.integers(0, len(images), PICTURES_PER_WINDOW)
            is_in_the_dark = is_dark and number < NUM_DARK
            pictures = _darkened(images[rows]) if is_in_the_dark else images[rows]
            started = time.perf_counter()
            scores = _scores(model, pictures)
            milliseconds = (time.perf_counter() - started) * 1000 / len(rows)
            answers = scores.argmax(axis=1)
            if number < NUM_DARK:
                num_right += int((answers == labels[rows]).sum())
            self._post("/v1/events", device, {"events": [_event(bundle, device, end, pictures, scores, milliseconds)]})
            if is_in_the_dark:
                self._send_pictures(bundle, device, end, pictures, scores, labels[rows])
        return num_right / (NUM_DARK * PICTURES_PER_WINDOW)

    def _send_pictures(
        self,
        bundle: Bundle,
        device: str,
        end: datetime,
        pictures: NDArray[Any],
        scores: NDArray[Any],
        labels: NDArray[Any],
    ) -> None:
        """Pictures taken by chance go to people, who tell what they show; the truth travels in no device's answer."""
        names = bundle.manifest.labels
        for picture, row in list(zip(pictures, scores, strict=True))[: NUM_LABELLED // (NUM_DARK * DARK_HOURS) + 1]:
            content = {
                "model_name": _MODEL, "model_version": bundle.manifest.version, "captured_at": format_time(end),
                "media_type": "image/png", "content": base64.b64encode(_png(picture)).decode(),
                "answer": names[int(row.argmax())], "confidence": float(np.clip(row.max(), 0, 1)), "slice": "dark",
                "sampling": "random",
            }  # fmt: skip
            self._post("/v1/feedback", device, content)

    def _post(self, path: str, device: str, content: Mapping[str, Any]) -> None:
        headers = {"Authorization": f"Bearer {self.tokens[device]}", "Content-Type": "application/json"}
        answer = self.pool.request("POST", self.url + path, body=json.dumps(content).encode(), headers=headers)
        if answer.status != 200:
            raise RunError(f"the service answered {answer.status}: {answer.data.decode('utf-8', 'replace')[:300]}")


def tell(directory: Path, is_confirmed: bool) -> Told:
    """Plays the whole story in a directory, which is begun anew.

    Args:
        directory: Of the project; everything lies under it.
        is_confirmed: Whether the promotion to stable needs no answer at the terminal.

    Raises:
        RunError: A step did not go as it must.
    """
    config = _make_project(directory)
    _say("training and releasing the first model (edgeproof run)")
    _edgeproof(directory, "run", str(config), "--reason", "the fleet's first model")
    _edgeproof(directory, "release", "promote", str(config), "dev", "stable", "--yes", "--by", _PERSON)
    database = open_database(str(directory / "telemetry.db"))
    with _service(directory) as url:
        _say(f"status page: {url}/?model={_MODEL}")
        return _story(directory, config, database, url, is_confirmed)


def _story(directory: Path, config: Path, database: Database, url: str, is_confirmed: bool) -> Told:
    fleet = Fleet(url, _tokens(database), np.random.default_rng(7))
    watcher = Watcher(load_settings(directory / "triggers.yaml"), database)
    first = _offered(directory, "stable")
    hours = iter(_hours())
    for _ in range(LIGHT_HOURS):
        _hour(fleet, watcher, database, first, next(hours), is_dark=False)
    _say(f"the light goes out for {NUM_DARK} of {NUM_DEVICES} devices")
    suggested, before = "", 0.0
    for _ in range(DARK_HOURS):
        before, check = _hour(fleet, watcher, database, first, next(hours), is_dark=True)
        suggested = suggested or _suggestion(check)
    _label(database)
    span = write_span(FeedbackBook(database), _MODEL, directory / "data")
    if span is None:
        raise RunError("no picture was labelled, so there is no span to train on.")
    _say(f"people labelled {span.num_new} dark pictures: {span.directory.name} holds {span.num_all}")
    run = _run_to_its_end(watcher)
    second = _offered(directory, "dev")
    _say(f"release {second.manifest.version} is in dev: {_verdict(second)}")
    _promote(directory, config, is_confirmed)
    for _ in range(AFTER_HOURS):
        after, check = _hour(fleet, watcher, database, _offered(directory, "stable"), next(hours), is_dark=True)
    is_quiet = not any(decision.finding.has_fired for decision in check.decisions if "drift" in decision.finding.rule)
    num_runs = len(watcher.ledger.runs())
    return Told(
        first.manifest.version,
        suggested,
        before,
        run,
        second.manifest.version,
        after,
        num_runs,
        is_quiet,
        f"{url}/?model={_MODEL}",
    )


def describe(told: Told) -> str:
    """The story in five lines."""
    quiet = "no drift against the new reference" if told.is_quiet_after else "drift goes on"
    return "\n".join(
        [
            f"in the dark, {told.first_version} was right in {told.dark_accuracy_before:.0%}",
            f"the trigger named it: {told.suggested or 'nothing'}",
            f"one run: {told.run.reason}",
            f"in the dark, {told.new_version} is right in {told.dark_accuracy_after:.0%}; {quiet}",
            "the whole ledger: edgeproof trigger log triggers.yaml --all",
        ]
    )


def _make_project(directory: Path) -> Path:
    """A user's folder: config, model, the first span, the trigger file."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    shutil.copy(EXAMPLE / "model.py", directory / "model.py")
    _write_first_span(directory / "data" / "span-1")
    content = yaml.safe_load((EXAMPLE / "config.yaml").read_text(encoding="utf-8"))
    content["data"] |= {"path": "data", "pattern": "span-{SPAN}/*/*"}
    content["gate"] = {"slices": [{"by": "brightness"}], "slice_min_ratio": 0.95}
    (directory / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    (directory / "triggers.yaml").write_text(yaml.safe_dump(_TRIGGERS, sort_keys=False), encoding="utf-8")
    return directory / "config.yaml"


def _write_first_span(directory: Path) -> None:
    """The data of before, of two days ago: the story's clock begins some hours before the present."""
    write_images(directory)
    then = time.time() - 2 * 86400
    for path in (*directory.rglob("*"), directory):
        os.utime(path, (then, then))


@contextmanager
def _service(directory: Path) -> Iterator[str]:
    """``edgeproof telemetry serve`` in a process of its own."""
    command = [sys.executable, "-m", "pipeline.cli", "telemetry", "serve", "--port", "0", "--open-pages"]
    command += ["--requests-per-minute", "6000"]  # the story's hours are seconds
    process = subprocess.Popen(command, cwd=directory, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        if " on http://" not in line:
            raise RunError(f"the service did not start: {line}{process.stderr.read()}")
        yield line.split(" on ")[1].split()[0].rstrip("/")
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _tokens(database: Database) -> dict[str, str]:
    book, now = TokenBook(database), datetime.now(timezone.utc)
    return {f"cam-{number:02d}": book.issue(Kind.DEVICE, f"cam-{number:02d}", now) for number in range(NUM_DEVICES)}


def _hours() -> list[datetime]:
    """Full hours up to the present one: the story's last hours."""
    last = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    number = LIGHT_HOURS + DARK_HOURS + AFTER_HOURS
    return [last - timedelta(hours=number - 1 - step) for step in range(number)]


def _hour(
    fleet: Fleet, watcher: Watcher, database: Database, bundle: Bundle, end: datetime, *, is_dark: bool
) -> tuple[float, Check]:
    share = fleet.report_hour(bundle, end, is_dark=is_dark)
    maintain(database, datetime.now(timezone.utc), timedelta(days=30))
    check = watcher.check(end + timedelta(minutes=1))
    _say(f"{end:%H:%M}  {len(fleet.tokens)} devices reported; the {NUM_DARK} were right in {share:.0%}")
    for decision in check.decisions:
        if decision.is_new and decision.verdict.outcome is not Outcome.NO:
            because = f" ({decision.verdict.because})" if decision.verdict.because else ""
            _say(
                f"       trigger {decision.verdict.outcome.value}: {decision.finding.rule}: {decision.finding.sentence}{because}"
            )
    return share, check


def _suggestion(check: Check) -> str:
    lines = [
        d
        for d in check.decisions
        if d.is_new and d.verdict.outcome is Outcome.SUGGEST and d.finding.rule.endswith("_drift")
    ]
    return f"{lines[0].finding.rule}: {lines[0].finding.sentence}" if lines else ""


def _label(database: Database) -> None:
    """What people do on the page: here they know what the archive says a picture shows."""
    book, now = FeedbackBook(database), datetime.now(timezone.utc)
    images, labels = _digits()
    known = {_darkened(images[row : row + 1])[0].tobytes(): str(labels[row]) for row in range(len(images))}
    for example in book.waiting(_MODEL, 10 * NUM_LABELLED):
        picture = np.asarray(Image.open(io.BytesIO(example.content)), np.uint8).reshape(8, 8, 1)
        book.label(_MODEL, example.content_sha256, known[picture.astype(np.float32).tobytes()], _PERSON, now)


def _run_to_its_end(watcher: Watcher) -> TriggeredRun:
    """The check that starts the run, and those that see it end."""
    started = datetime.now(timezone.utc)
    for decision in watcher.check(started).decisions:
        if decision.is_new and decision.verdict.outcome is not Outcome.NO:
            _say(
                f"       trigger {decision.verdict.outcome.value}: {decision.finding.rule}: {decision.finding.sentence}"
            )
    while True:
        closed = watcher.check(datetime.now(timezone.utc)).closed
        if closed:
            break
        time.sleep(2)
    (run,) = closed
    if run.state is not RunState.PUBLISHED:
        raise RunError(f"the run ended as {run.state.value}; its log is {run.handle}/log")
    return run


def _promote(directory: Path, config: Path, is_confirmed: bool) -> None:
    """To canary by the pipeline's owner, to stable by a person."""
    _edgeproof(directory, "release", "promote", str(config), "dev", "canary", "--yes", "--by", _PERSON)
    _say("promoted to canary")
    if not is_confirmed:
        click.confirm("       promote it from canary to stable, for all devices?", abort=True, err=True)
    _edgeproof(directory, "release", "promote", str(config), "canary", "stable", "--yes", "--by", _PERSON)
    _say("promoted to stable")


def _offered(directory: Path, channel: str) -> Bundle:
    workspace = directory / ".edgeproof" / _MODEL
    repository = Repository.of(DirectoryStore(workspace / "published"), KeyRing.open(workspace / "keys"))
    return open_bundle(repository.read_bundle(repository.find(channel, _MODEL)))


def _verdict(bundle: Bundle) -> str:
    verdict, report = bundle.manifest.verdict, GateReport.model_validate_json(bundle.files["gate_report.json"])
    is_dark = (part for part in report.slices if part.name == "brightness" and part.value.startswith("[-inf"))
    dark = next(is_dark, None)
    sentence = (
        f"int8 {verdict.num_correct_candidate} right of {verdict.num_examples}, float {verdict.num_correct_float}"
    )
    return sentence if dark is None else f"{sentence}; dark slice {dark.num_correct_candidate} of {dark.num_examples}"


def _edgeproof(directory: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunError(
            f"edgeproof {' '.join(arguments[:2])} ended with {done.returncode}: {done.stderr.strip()[-500:]}"
        )


def _digits() -> tuple[NDArray[Any], NDArray[Any]]:
    """The demo's pictures ``[n, 8, 8, 1]`` as pixels 0..255, and what they show."""
    with np.load(ARCHIVE, allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    return np.rint(images * (255 / 16)).astype(np.float32)[..., None], labels


def _darkened(pictures: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.rint(pictures * DARK_LIGHT), np.float32)


def _scores(model: TFLiteModel, pictures: NDArray[Any]) -> NDArray[Any]:
    (name,) = (spec.name for spec in model.inputs)
    (output,) = (spec.name for spec in model.outputs)
    return np.asarray(model.predict({name: pictures})[output])


def _png(picture: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0].astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _event(
    bundle: Bundle, device: str, end: datetime, pictures: NDArray[Any], scores: NDArray[Any], milliseconds: float
) -> dict[str, Any]:
    """What a device says of its hour, over the edges of the manifest's reference."""
    manifest = bundle.manifest
    assert manifest.reference is not None
    statistics = {"mean": pictures.mean(axis=(1, 2, 3)), "deviation": pictures.std(axis=(1, 2, 3))}
    latency = np.zeros(NUM_LATENCY_COUNTS, int)
    latency[np.searchsorted(LATENCY_EDGES_MS, milliseconds, side="right")] = len(pictures)
    confidence = manifest.reference.confidence
    return {
        "schema_version": 1, "device_id": device, "model_name": _MODEL, "model_version": manifest.version,
        "window_start": format_time(end - timedelta(hours=1)), "window_seconds": 3600, "quantization": manifest.recipe,
        "runtime": "ai-edge-litert", "delegate": "xnnpack",
        "delegated_fraction": manifest.runtime.delegated_fraction, "expected_delegated_fraction": manifest.runtime.delegated_fraction,
        "device_model": "Simulated camera", "num_inferences": len(pictures), "num_errors": 0,
        "latency_ms": {"sum": milliseconds * len(pictures), "max": milliseconds, "counts": latency.tolist()},
        "confidence": None if confidence is None else _counted(confidence, scores.max(axis=1)),
        "classes": np.bincount(scores.argmax(axis=1), minlength=len(manifest.labels)).tolist(), "values": None,
        "inputs": [_counted(histogram, statistics[histogram.statistic]) for histogram in manifest.reference.inputs],
        "battery_drain_percent": None, "temperature_celsius": None, "incidents": [],
    }  # fmt: skip


def _counted(reference: Histogram, values: Sequence[float] | NDArray[Any]) -> dict[str, Any]:
    bins = np.searchsorted(reference.edges, values, side="right")
    counts = np.bincount(bins, minlength=len(reference.edges) + 1).tolist()
    return {"name": reference.name, "statistic": reference.statistic, "edges": list(reference.edges), "counts": counts}


def _say(text: str) -> None:
    click.echo(text, err=True)
