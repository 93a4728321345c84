"""Makes candidates, keeps those that load, and bounds how many are made.

Rules, in order: 1. A try is a value: a candidate, or a skip with the reason. A file that was made before, that does not
load, or that float islands have turned into a float model is skipped; it never ends the search. 2. Candidates are scored
on the selection rows and nothing else. 3. The search is bounded in candidates and in seconds; nothing else depends on the
clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from edgeproof_edge.errors import EdgeproofError
from edgeproof_edge.flatbuffer import Inspection, inspect
from edgeproof_edge.progress import progress

from components.repair import agreement
from components.repair.goal import Goal
from components.repair.recipes import Recipe
from components.repair.running import predict
from components.repair.search.budget import Budget
from components.repair.search.candidates import Array, Candidate, SearchRequest, Skip
from components.repair.search.proposals import BIAS_CORRECTION, Proposal, Source

#: Largest file, as a share of the float file, that float islands may grow to; a small model's int8 file may be larger
#: by itself, and may then grow by a tenth.
MAX_ISLAND_SIZE = 0.5
ISLAND_GROWTH = 1.1
#: In models of a few kilobytes the names and tensors of an island's casts alone are more than a tenth: some 400 bytes each.
ISLAND_BYTES = 2048
#: A file of fewer bytes holds more names than weights; there, and for a front end that no integers can hold (a
#: spectrogram), a file may be as large as this share of the float file.
SMALL_MODEL_BYTES = 16 * 1024
MAX_FRONT_SIZE = 1.0
#: Share of the operators, and of the weights, that may be in float: beyond both it is a float model with int8 islands.
MAX_FLOAT_SHARE = 0.5


class Trials:
    """The candidates of one search."""

    def __init__(self, request: SearchRequest, goal: Goal, reference: Mapping[str, Array]) -> None:
        """Starts the clock.

        Args:
            request: With as many selection rows as every candidate is scored on.
            goal: What a candidate is scored against.
            reference: The float model's outputs on the selection rows.
        """
        self._request = request
        self._goal = goal
        self._reference = reference
        self._budget = Budget(request.settings.caps.max_seconds)
        self._seen: dict[str, str] = {}
        self._int8_bytes: int | None = None
        self.candidates: list[Candidate] = []
        self.skipped: list[Skip] = []

    def make(self, proposal: Proposal) -> Candidate | Skip:
        """Makes, loads and scores one; what fails comes back as a skip."""
        started, started_cpu = time.perf_counter(), time.process_time()
        try:
            model = proposal.make()
            inspection = inspect(model)
        except (EdgeproofError, RuntimeError, ValueError) as error:
            return self._not_made(Skip(proposal.name, _one_line(error), proposal))
        if reason := self._refusal(proposal, inspection):
            return self._not_made(Skip(proposal.name, reason, proposal))
        self._seen[inspection.sha256] = proposal.name
        if self._int8_bytes is None and proposal.recipe is Recipe.INT8:
            self._int8_bytes = len(model)
        refused = [scale for scale in inspection.refused_requantizations if scale.prevents_loading]
        if refused:  # not even loaded: LiteRT refuses most such files, and aborts the process over some
            overflowing = tuple(scale.output for scale in refused)
            return self._not_made(Skip(proposal.name, refused[0].sentence, proposal, overflowing, does_not_load=True))
        try:
            outputs = predict(model, self._request.selection_rows)
        except (EdgeproofError, RuntimeError, ValueError) as error:
            return self._not_made(Skip(proposal.name, _one_line(error), proposal, does_not_load=True))
        candidate = Candidate(
            name=self._free_name(proposal.name),
            proposal=proposal,
            model=model,
            inspection=inspection,
            score=self._goal.score(outputs),
            agreement=agreement.compare(self._reference, outputs, self._request.labels),
            seconds=time.perf_counter() - started,
        )
        self._budget.saw_candidate(time.process_time() - started_cpu)
        self.candidates.append(candidate)
        self._report(candidate)
        return candidate

    def make_each(self, proposals: Iterable[Proposal]) -> None:
        """Makes one after the other until the search is over."""
        for proposal in proposals:
            if self.is_over:
                return
            self.make(proposal)

    def skip(self, step: str, reason: str) -> None:
        """Notes a step that was not taken, or gave nothing."""
        self.skipped.append(Skip(step, reason.rstrip(".")))

    @property
    def is_done(self) -> bool:
        """Whether a candidate meets the goal with room to spare."""
        return any(candidate.score.is_ample for candidate in self.candidates)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be made."""
        return self.is_done or bool(self.limit_reached)

    @property
    def limit_reached(self) -> str:
        """The bound that ends the search, in words; "" before that."""
        caps = self._request.settings.caps
        if len(self.candidates) >= caps.max_candidates:
            return f"{caps.max_candidates} candidates, as many as allowed"
        if self._budget.is_spent and (self.candidates or self.skipped):
            return f"{self._budget.limit:.3g} seconds of processor time"
        return ""

    @property
    def how_to_go_on(self) -> str:
        """What lets a search that reached a bound go on."""
        caps = self._request.settings.caps
        if len(self.candidates) >= caps.max_candidates:
            return f"--max-candidates {2 * caps.max_candidates} (convert.max_candidates) goes on"
        return f"--max-seconds {5 * self._budget.limit:.3g} (convert.max_seconds) goes on"

    @property
    def has_met(self) -> bool:
        """Whether a candidate meets the goal."""
        return any(candidate.score.met for candidate in self.candidates)

    @property
    def sources(self) -> list[Source]:
        """What int8 files were made of, whether or not they load; in order."""
        tried = [*(c.proposal for c in self.candidates), *(s.proposal for s in self.skipped if s.proposal)]
        return [proposal.source for proposal in tried if proposal.source is not None]

    def best_int8(self, is_eligible: Callable[[Candidate], bool]) -> Candidate | None:
        """The closest int8 model of those that are eligible and whose biases are not corrected."""
        made = [
            candidate
            for candidate in self.candidates
            if candidate.recipe is Recipe.INT8 and BIAS_CORRECTION not in candidate.steps and is_eligible(candidate)
        ]
        return min(made, key=lambda candidate: candidate.score.order) if made else None

    def _not_made(self, skip: Skip) -> Skip:
        self.skipped.append(skip)
        return skip

    def _refusal(self, proposal: Proposal, inspection: Inspection) -> str:
        """Why a file is not worth loading; "" where it is."""
        if inspection.sha256 in self._seen:
            return f"the file is the same as that of {self._seen[inspection.sha256]!r}"
        if proposal.source is None or not proposal.source.freed or self._int8_bytes is None:
            return ""
        if inspection.size_bytes > (allowed := self._allowed_bytes(proposal.source)):
            return f"{inspection.size_bytes} bytes; float islands may take {allowed:.0f}"
        num_float, num_all = inspection.num_float_operators, inspection.num_computing_operators
        in_float = sum(use.weight_bytes for use in inspection.operators if use.has_float_activation)
        most = 1.0 if proposal.source.has_float_front else MAX_FLOAT_SHARE  # a filter bank may hold most of the weights
        if num_float > MAX_FLOAT_SHARE * num_all and in_float > most * inspection.weight_bytes:
            return f"{num_float} of {num_all} operators, and most of the weights, would compute in float"
        return ""

    def _allowed_bytes(self, source: Source) -> float:
        """How large a file with these islands may be."""
        float_bytes, int8_bytes = len(self._request.float_model), self._int8_bytes or 0
        is_generous = source.has_float_front or float_bytes <= SMALL_MODEL_BYTES
        share = MAX_FRONT_SIZE if is_generous else MAX_ISLAND_SIZE
        return max(share * float_bytes, ISLAND_GROWTH * int8_bytes, int8_bytes + ISLAND_BYTES)

    def _free_name(self, name: str) -> str:
        taken = {candidate.name for candidate in self.candidates}
        names = (name, *(f"{name} ({number})" for number in range(2, len(taken) + 2)))
        return next(free for free in names if free not in taken)

    def _report(self, candidate: Candidate) -> None:
        worst = max(output.distance for output in candidate.score.outputs)
        verdict = "meets the goal" if candidate.score.met else f"{worst:.1f} times the allowed loss"
        step = (len(self.candidates), self._request.settings.caps.max_candidates)
        progress.info("%s: %s", candidate.name, verdict, extra={"step": step})


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
