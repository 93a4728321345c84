"""What is noted at the end of every epoch, and what follows: a checkpoint, the end of training, the weights that are kept."""

from __future__ import annotations

import math
import posixpath
import time
from typing import Any

from edgeproof_edge.progress import progress

from components.errors import ModelError
from components.trainer.checkpoints import Checkpoints, Progress
from components.trainer.history import Epoch, History, best_epoch
from components.trainer.spec import TrainingSpec

#: ``keep_epoch`` that puts the weights of the best epoch into the model.
BEST = "best"
_VALIDATION = "val_"
#: What Keras's schedulers add to the figures of an epoch.
_RATE = "lr"


class EpochLog:
    """The epochs of one training, those before a kill included; whether it is over follows from them alone."""

    def __init__(self, spec: TrainingSpec, model: Any, reached: Progress, checkpoints: Checkpoints | None) -> None:
        self._spec = spec
        self._model = model
        self._progress = reached
        self._checkpoints = checkpoints
        self._epoch_began = time.monotonic()
        #: The epoch whose loss was not finite.
        self.lost_epoch: int | None = None

    @property
    def num_epochs(self) -> int:
        """Epochs that are through."""
        return len(self._progress.epochs)

    @property
    def is_over(self) -> bool:
        """Whether all epochs are through, or patience is."""
        return self.num_epochs >= self._spec.epochs or self._is_out_of_patience

    @property
    def _is_out_of_patience(self) -> bool:
        stopping = self._spec.early_stopping
        if stopping is None or not self._progress.epochs:
            return False
        best = best_epoch(self._progress.epochs, self._spec.monitor, stopping.min_delta)
        return self.num_epochs - best.number >= stopping.patience

    def callback(self) -> Any:
        """A Keras callback that keeps this log."""
        import tf_keras as keras

        return keras.callbacks.LambdaCallback(on_epoch_begin=self._begin, on_epoch_end=self._end)

    def _begin(self, epoch: int, logs: dict[str, float]) -> None:
        self._epoch_began = time.monotonic()

    def _end(self, epoch: int, logs: dict[str, float]) -> None:
        if not math.isfinite(logs.get("loss", 0.0)):
            self.lost_epoch = epoch + 1
            self._model.stop_training = True
            return
        figures = {name: float(value) for name, value in logs.items()}
        self._check_monitor(figures)
        seconds = round(time.monotonic() - self._epoch_began, 3)
        self._progress.epochs.append(Epoch(number=epoch + 1, figures=figures, seconds=seconds))
        if self._spec.keep_epoch == BEST and best_epoch(self._progress.epochs, self._spec.monitor).number == epoch + 1:
            self._progress.best_weights = self._model.get_weights()
        if self._is_out_of_patience:
            self._model.stop_training = True
        elif self._checkpoints is not None:
            self._checkpoints.save_if_due(self._progress)

    def _check_monitor(self, figures: dict[str, float]) -> None:
        is_used = self._spec.early_stopping is not None or self._spec.keep_epoch == BEST
        if is_used and self._spec.monitor not in figures:
            raise ModelError(
                f"train.monitor is {self._spec.monitor!r}, but the figures of an epoch are "
                f"{', '.join(sorted(set(figures) - {_RATE}))}. Set train.monitor to one of them."
            )

    def put_weights(self) -> None:
        """Gives the model the weights of the epoch that is kept."""
        if self._progress.best_weights is not None and self._kept_epoch != self.num_epochs:
            self._model.set_weights(self._progress.best_weights)

    @property
    def _kept_epoch(self) -> int:
        if self._spec.keep_epoch != BEST:
            return self.num_epochs
        return best_epoch(self._progress.epochs, self._spec.monitor).number

    def history(self, class_weights: dict[int, float]) -> History:
        """The training as it went; call it when it is over."""
        return History(
            epochs=tuple(self._progress.epochs),
            monitor=self._spec.monitor,
            kept_epoch=self._kept_epoch,
            stopped_early=self.num_epochs < self._spec.epochs,
            resumed_after=tuple(self._progress.resumed_after),
            class_weights=class_weights,
        )


def write_summaries(history: History, directory: str) -> None:
    """Writes TensorBoard's logs of a training: two runs, ``train`` and ``validation``, so that their curves share a chart."""
    import tensorflow as tf

    for run in ("train", "validation"):
        with tf.summary.create_file_writer(posixpath.join(directory, run)).as_default():
            for epoch in history.epochs:
                for name, value in epoch.figures.items():
                    if name.startswith(_VALIDATION) == (run == "validation"):
                        tf.summary.scalar(f"epoch_{name.removeprefix(_VALIDATION)}", value, step=epoch.number)


def epoch_reporter(epochs: int, what: str = "epoch") -> Any:
    """A Keras callback that says every epoch's figures."""
    import tf_keras as keras

    def report(epoch: int, logs: dict[str, float]) -> None:
        figures = "  ".join(f"{name} {value:.4f}" for name, value in logs.items() if name != "lr")
        progress.info("%s %d/%d  %s", what, epoch + 1, epochs, figures, extra={"step": (epoch + 1, epochs)})

    return keras.callbacks.LambdaCallback(on_epoch_end=report)
