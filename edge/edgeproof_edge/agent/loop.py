"""The loop of a device: asks for releases, hands them to the model that serves, and reports.

Rules, in order: 1. A start of a release on trial is counted before it is loaded. 2. A release is trusted when it has
answered, or stood ready, for the length of the trial without failing; where most of its first answers fail, it is taken
back. 3. A device without a network goes on for as long as it has power: windows wait in the outbox. 4. What went wrong is
told once per cause, not once per try. 5. SIGTERM ends it within a second: what is open is closed and kept.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edgeproof_edge.agent.enrollment import HEARTBEAT_FILE, OUTBOX_FILE, Enrollment, RuntimeSettings, read_token
from edgeproof_edge.agent.machine import surroundings
from edgeproof_edge.agent.updating import UpdateReport, update_in_child
from edgeproof_edge.errors import EdgeproofError
from edgeproof_edge.interpreter import Kernels
from edgeproof_edge.measuring.hardware import device_model
from edgeproof_edge.outbox import IncidentKind, Outbox, Receiver, TelemetryEvent, WindowRecorder, send
from edgeproof_edge.runtime import LiveModel, RuntimeOptions
from edgeproof_edge.updating.boot_guard import TRIAL_SECONDS, BootGuard, RolledBack
from edgeproof_edge.updating.device_home import DeviceHome, NoModelError
from edgeproof_edge.updating.polling import Polling

#: How often `current` is looked at, the trial judged and the heartbeat written.
TICK_SECONDS = 2.0
SEND_SECONDS = 60.0
#: Of the answers of a release on trial: with fewer nobody can tell.
MIN_JUDGED_CALLS = 20
MAX_FAILED_SHARE = 0.5

_KINDS = {
    "ClockError": IncidentKind.CLOCK_SUSPECT,
    "ExpiredError": IncidentKind.CLOCK_SUSPECT,
    "SelfTestError": IncidentKind.RELEASE_REFUSED,
    "TamperedError": IncidentKind.RELEASE_REFUSED,
    "WrongKeyError": IncidentKind.RELEASE_REFUSED,
}

log = logging.getLogger("edgeproof.agent")


def runtime_options(settings: RuntimeSettings) -> RuntimeOptions:
    """The settings of a device as the runtime takes them."""
    return RuntimeOptions(
        kernels=Kernels(settings.kernels),
        num_threads=settings.num_threads,
        num_interpreters=settings.num_interpreters,
        delegate=settings.delegate,
        require_delegate=settings.require_delegate,
        minimum_delegated_fraction=settings.minimum_delegated_fraction,
    )


class Agent:
    """One device at work.

    Attributes:
        live: The model that answers; None before the first.
        num_calls: Answers asked for since the model was loaded.
        num_failures: Those that failed for the model's fault.
    """

    def __init__(
        self,
        home: Path,
        enrollment: Enrollment,
        update: Callable[[Path], UpdateReport] | None = None,
        clock: Callable[[], float] = time.monotonic,
        trial_seconds: float = TRIAL_SECONDS,
    ) -> None:
        """Opens the outbox; nothing runs yet."""
        self.home = home
        self.enrollment = enrollment
        self.live: LiveModel | None = None
        self.num_calls = self.num_failures = 0
        self._directory = DeviceHome(home)
        self._guard = BootGuard(self._directory)
        self._update = update or self._update_in_child
        self._clock = clock
        self._trial_seconds = trial_seconds
        self._options = runtime_options(enrollment.runtime)
        self._polling = Polling(enrollment.poll_seconds)
        self._outbox = Outbox(home / OUTBOX_FILE)
        self.recorder = WindowRecorder(
            enrollment.device_id,
            self._keep,
            enrollment.window_seconds,
            device_model(),
            surroundings,
        )
        self._loaded_at = 0.0
        self._name: str | None = None
        self._told: dict[str, str] = {}
        self._stopped = threading.Event()
        (home / HEARTBEAT_FILE).unlink(missing_ok=True)  # a sign of life of the process before is none of this one

    @property
    def num_waiting(self) -> int:
        """Windows that no server has yet."""
        return len(self._outbox)

    def load(self) -> None:
        """Loads what the device runs, or should run now; a release that does not load is counted and taken back.

        Raises:
            EdgeproofError: Nothing on the device runs.
        """
        rolled_back = self._guard.starting()
        if rolled_back is not None:
            self._tell_rolled_back(rolled_back)
        try:
            live = LiveModel.start(self.home, self._options)
        except NoModelError:
            raise
        except EdgeproofError as error:
            rolled_back = self._guard.roll_back(f"it does not start: {error}")
            if rolled_back is None:
                raise
            self._tell_rolled_back(rolled_back)
            live = LiveModel.start(self.home, self._options)
        self.live = live
        self._begin_trial()

    def run(self) -> None:
        """Runs until `stop`."""
        next_update = self._clock() + (0.0 if self.live is None else self._polling.first_wait())
        next_send = self._clock() + SEND_SECONDS
        while not self._stopped.is_set():
            if self._clock() >= next_update:
                next_update = self._clock() + self._ask()
            self.tick()
            if self._clock() >= next_send:
                next_send = self._clock() + max(SEND_SECONDS, self.report())
            self._stopped.wait(min(TICK_SECONDS, max(0.01, next_update - self._clock())))

    def stop(self) -> None:
        """Ends `run`."""
        self._stopped.set()

    def close(self) -> None:
        """Keeps the open window."""
        self.recorder.close()
        self._outbox.close()

    def failed(self) -> None:
        """Notes an answer that the model failed to give."""
        self.num_failures += 1
        self.recorder.failed()

    def tick(self) -> None:
        """Follows `current`, judges a trial, closes windows, and shows that the loop is alive."""
        self._follow()
        self._judge_trial()
        self.recorder.tick()
        self._show_life()

    def report(self) -> float:
        """Sends what waits; returns for how long the server asks to be left alone."""
        token = read_token(self.home)
        if self.enrollment.telemetry_url is None or token is None:
            return 0.0
        dropped = self._outbox.take_num_dropped()
        if dropped:
            self.recorder.tell(IncidentKind.WINDOWS_DROPPED, f"{dropped} windows did not fit into the outbox", None)
        sent = send(self._outbox, Receiver(self.enrollment.telemetry_url, token))
        if sent.num_dropped:
            detail = f"the service takes {sent.num_dropped} windows for malformed: {sent.drop_reason}"
            self.recorder.tell(IncidentKind.WINDOWS_DROPPED, detail, None)
            log.warning("telemetry: %s", detail)
        self._once("telemetry", sent.problem)
        return sent.wait_seconds

    def ask_now(self) -> UpdateReport:
        """Asks for a release, and follows it."""
        report = self._update(self.home)
        if self._stopped.is_set():
            return report
        self._tell_update(report)
        self._follow()
        return report

    def _update_in_child(self, home: Path) -> UpdateReport:
        return update_in_child(home, self._is_stopped)

    def _is_stopped(self) -> bool:
        """Asked all the while that an update lasts, which may be a quarter of an hour: so long the loop is alive, too."""
        self._show_life()
        return self._stopped.is_set()

    def _show_life(self) -> None:
        (self.home / HEARTBEAT_FILE).touch()

    def _ask(self) -> float:
        """Asks for a release; returns how long to wait until the next time."""
        report = self.ask_now()
        if report.error is None or report.error == "SelfTestError":
            return self._polling.succeeded()
        return self._polling.failed()

    def _tell_update(self, report: UpdateReport) -> None:
        if report.damage is not None:
            self.recorder.tell(IncidentKind.INSTALLED_DAMAGED, report.damage, report.version)
            log.warning("the installed model was damaged: %s", report.damage)
        if report.is_new:
            log.info("release %s is installed", report.version)
        if self._once("update", report.message) and report.error is not None:
            kind = _KINDS.get(report.error, IncidentKind.UPDATE_FAILED)
            self.recorder.tell(kind, report.message or report.error, report.version)

    def _follow(self) -> None:
        """Takes up a release that `current` names now; one that does not load is taken back."""
        current = self._directory.current()
        if current is None or current.name == self._name:
            return
        if self.live is None:
            try:
                self.load()
            except EdgeproofError as error:
                self._once("load", str(error))
            return
        self._guard.starting()
        current = self._directory.current()  # the guard may have gone back
        if current is None or current.name == self._name:
            return
        try:
            self.live.swap_to(current.directory)
        except EdgeproofError as error:
            self._take_back(f"it does not start: {error}")
            return
        self._begin_trial()

    def _begin_trial(self) -> None:
        assert self.live is not None
        current = self._directory.current()
        self._name = None if current is None or self.live.model.damage is not None else current.name
        self._loaded_at = self._clock()
        self.num_calls = self.num_failures = 0
        self.recorder.follow(self.live.model)
        log.info("release %s answers", self.live.model.version)

    def _judge_trial(self) -> None:
        if self._name is None:
            return
        if self.num_calls >= MIN_JUDGED_CALLS and self.num_failures > MAX_FAILED_SHARE * self.num_calls:
            trial = self._guard.state().trial
            if trial is not None and trial.name == self._name:
                self._take_back(f"{self.num_failures} of its first {self.num_calls} calls failed")
        elif self._clock() - self._loaded_at >= self._trial_seconds:
            self._guard.confirm(self._name)

    def _take_back(self, reason: str) -> None:
        rolled_back = self._guard.roll_back(reason)
        if rolled_back is None:
            self._once("load", reason)
            return
        self._tell_rolled_back(rolled_back)
        if self.live is not None and self.live.model.version != rolled_back.to.version:
            self.live.swap_to(rolled_back.to.directory)
            self._begin_trial()
        else:
            self._name = rolled_back.to.name

    def _tell_rolled_back(self, rolled_back: RolledBack) -> None:
        detail = f"back to {rolled_back.to.version}: {rolled_back.reason}"
        log.warning("release %s is marked bad, %s", rolled_back.bad.version, detail)
        self.recorder.tell(IncidentKind.ROLLED_BACK, detail, rolled_back.bad.version)

    def _once(self, what: str, problem: str | None) -> bool:
        """Logs a problem where it is another than the last time; returns whether it is."""
        is_new = problem is not None and self._told.get(what) != problem
        if problem is None:
            self._told.pop(what, None)
        elif is_new:
            self._told[what] = problem
            log.warning("%s: %s", what, problem)
        return is_new

    def _keep(self, event: TelemetryEvent) -> None:
        try:
            self._outbox.add(event)
        except EdgeproofError as error:
            self._once("outbox", str(error))
