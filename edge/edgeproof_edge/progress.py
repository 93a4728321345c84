"""What a person reads while something runs: one logger, whose name is typed here and nowhere else."""

from __future__ import annotations

import logging

PROGRESS_LOGGER = "edgeproof.progress"
progress = logging.getLogger(PROGRESS_LOGGER)
