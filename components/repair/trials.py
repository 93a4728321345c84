"""Makes candidates, keeps those that load, and bounds how many are made.

Rules, in order: 1. A file that was seen before, that does not load, or that float islands have turned into a float model
is skipped with the reason; it never ends the search. 2. Candidates are scored on the selection rows and nothing else.
3. The search is bounded in candidates and in seconds; nothing else depends on the clock.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgeproof_edge.errors import EdgeproofError
from edgeproof_edge.flatbuffer import Inspection, inspect
from edgeproof_edge.interpreter import TFLiteModel

from components.repair import agreement
from components.repair.candidates import Array, Candidate, SearchRequest, Skipped
from components.repair.goal import Goal
from components.repair.graph import FloatGraph
from components.repair.range_statistics import Statistics
from components.repair.recipes import IoType, Recipe

_progress = logging.getLogger("edgeproof.progress")

#: Largest file, as a share of the float file, that float islands may grow to; a small model's int8 file may be larger
#: by itself, and may then grow by a tenth.
MAX_ISLAND_SIZE = 0.5
ISLAND_GROWTH = 1.1
#: In models of a few kilobytes the names and tensors of an island's casts alone are more than a tenth: some 400 bytes each.
ISLAND_BYTES = 2048
#: Share of the operators that may compute in float: beyond it the model is a float model with int8 islands.
MAX_FLOAT_SHARE = 0.5

STRATIFIED = "stratified calibration"
BIAS_CORRECTION = "bias correction"

_CASTS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class Variant:
    """A float graph that computes the wanted function, and what runs through it."""

    graph: FloatGraph
    statistics: Statistics
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """A candidate to make."""

    steps: tuple[str, ...]
    ranges: str
    make: Callable[[], bytes]
    input_type: IoType
    output_type: IoType
    recipe: Recipe = Recipe.INT8
    variant: Variant | None = None
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    freed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How the report calls it."""
        return ", ".join([" ".join([self.recipe.value, self.ranges]).strip(), *self.steps])


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
        self._started = time.perf_counter()
        self._proposals: dict[str, Proposal] = {}
        self._seen: dict[str, str] = {}
        self.candidates: list[Candidate] = []
        self.skipped: list[Skipped] = []

    def run(self, proposal: Proposal) -> None:
        """Makes, loads and scores one; what fails is skipped."""
        started = time.perf_counter()
        try:
            model = proposal.make()
            digest = hashlib.sha256(model).hexdigest()
            if digest in self._seen:
                self.skip(proposal.name, f"the file is the same as that of {self._seen[digest]!r}")
                return
            inspection = inspect(model)
            if reason := self._refusal(proposal, inspection):
                self.skip(proposal.name, reason)
                return
            found = TFLiteModel.load(model).predict(self._request.selection_rows)
        except (EdgeproofError, RuntimeError, ValueError) as error:
            self.skip(proposal.name, " ".join(str(error).split())[:300])
            return
        self._seen[digest] = proposal.name
        self._proposals[proposal.name] = proposal
        candidate = Candidate(
            name=proposal.name,
            recipe=proposal.recipe,
            steps=(*([STRATIFIED] if proposal.recipe.needs_calibration else []), *proposal.steps),
            ranges=proposal.ranges,
            model=model,
            input_type=proposal.input_type,
            output_type=proposal.output_type,
            float_operators=inspection.float_operators,
            score=self._goal.score(found),
            agreement=agreement.compare(self._reference, found, self._request.labels),
            seconds=time.perf_counter() - started,
            freed=proposal.freed,
        )
        self.candidates.append(candidate)
        self._report(candidate)

    def _refusal(self, proposal: Proposal, inspection: Inspection) -> str:
        """Why a model with float islands is not worth having; "" where it is."""
        if not proposal.freed:
            return ""
        int8_bytes = len(self.candidates[0].model)
        growth = max(ISLAND_GROWTH * int8_bytes, int8_bytes + ISLAND_BYTES)
        allowed = max(MAX_ISLAND_SIZE * len(self._request.float_model), growth)
        if inspection.size_bytes > allowed:
            return f"{inspection.size_bytes} bytes; float islands may take {allowed:.0f}"
        num_computing = sum(use.count for use in inspection.operators if use.name not in _CASTS)
        if inspection.num_float_operators > MAX_FLOAT_SHARE * num_computing:
            return f"{inspection.num_float_operators} of {num_computing} operators would compute in float"
        return ""

    def _report(self, candidate: Candidate) -> None:
        worst = max(output.distance for output in candidate.score.outputs)
        verdict = "meets the goal" if candidate.score.met else f"{worst:.1f} times the allowed loss"
        step = (len(self.candidates), self._request.settings.caps.max_candidates)
        _progress.info("%s: %s", candidate.name, verdict, extra={"step": step})

    @property
    def is_done(self) -> bool:
        """Whether a candidate meets the goal with room to spare."""
        return any(candidate.score.is_ample for candidate in self.candidates)

    def is_capped(self) -> bool:
        """Whether no further candidate may be made; the reason is noted."""
        caps = self._request.settings.caps
        if len(self.candidates) >= caps.max_candidates:
            self.skip("the rest", f"{caps.max_candidates} candidates were made, as many as allowed")
            return True
        if time.perf_counter() - self._started > caps.max_seconds:
            self.skip("the rest", f"{caps.max_seconds:.0f} seconds were over")
            return True
        return False

    def was_made(self, proposal: Proposal) -> bool:
        """Whether the newest candidate is the one of this proposal."""
        return bool(self.candidates) and self.candidates[-1].name == proposal.name

    def best_int8(self, step: str = "", has_islands: bool = False) -> Candidate | None:
        """The closest int8 model without corrected biases, of those with a certain step or of all."""
        made = [
            candidate
            for candidate in self.candidates
            if candidate.recipe is Recipe.INT8
            and bool(candidate.freed) is has_islands
            and BIAS_CORRECTION not in candidate.steps
            and (not step or step in candidate.steps)
        ]
        return min(made, key=lambda candidate: candidate.score.distance) if made else None

    def proposal_of(self, candidate: Candidate) -> Proposal:
        """What a candidate was made from."""
        return self._proposals[candidate.name]

    def skip(self, step: str, reason: str) -> None:
        """Notes a step that was not taken, or gave nothing."""
        self.skipped.append(Skipped(step, reason.rstrip(".")))
