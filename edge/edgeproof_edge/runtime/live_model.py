"""The model that answers now, replaced while threads ask: the new one is loaded and proved beside it first.

Rules, in order: 1. The old model answers until the new one has passed its golden test. 2. The switch is one assignment:
a call has begun with the old model or begins with the new one. 3. A new model that cannot be loaded, or that answers
otherwise than its golden vectors, is refused, and the old one goes on. 4. The old model's memory is let go when its last
call has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike, NDArray

from edgeproof_edge.golden_test import check_golden_vectors
from edgeproof_edge.runtime.model import Answer, EdgeModel, Observer
from edgeproof_edge.runtime.options import RuntimeOptions
from edgeproof_edge.runtime.pictures import Picture


class LiveModel:
    """The current model of a process. Safe among threads."""

    def __init__(self, model: EdgeModel) -> None:
        """Takes a model that is loaded; see `start`."""
        self._model = model
        self._swapping = threading.Lock()
        self._observers: list[Observer] = []

    @classmethod
    def start(cls, home: Path | str, options: RuntimeOptions | None = None) -> LiveModel:
        """Loads what the device runs, and puts it to its golden test, which warms it up.

        Raises:
            NoModelError, ModelFileError, DelegationError, GoldenTestError: It does not run.
        """
        model = EdgeModel.current(home, options)
        check_golden_vectors(model)
        return cls(model)

    @property
    def model(self) -> EdgeModel:
        """The model that answers now; it stays usable after a switch."""
        return self._model

    def observe(self, observer: Observer) -> None:
        """As `EdgeModel.observe`, for every model that comes."""
        self._observers.append(observer)
        self._model.observe(observer)

    def predict(self, inputs: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, NDArray[Any]]:
        """As `EdgeModel.predict`."""
        return self._model.predict(inputs)

    def answer(self, example: Mapping[str, ArrayLike] | ArrayLike | Picture, num_top: int = 5) -> Answer:
        """As `EdgeModel.answer`."""
        return self._model.answer(example, num_top)

    def swap_to(self, directory: Path | str) -> EdgeModel:
        """Loads a release, proves it, and lets it answer from now on.

        Returns:
            The model that answered before.

        Raises:
            ModelFileError, DelegationError, GoldenTestError: It is refused; the old one goes on.
        """
        with self._swapping:
            fresh = EdgeModel.open(directory, self._model.options)
            check_golden_vectors(fresh)
            for observer in self._observers:
                fresh.observe(observer)
            before, self._model = self._model, fresh
            return before
