"""What starts a run, by its kind in the trigger file: one file and one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from triggers.launchers.kubeflow import KubeflowLauncher
from triggers.launchers.launcher import Launcher
from triggers.launchers.local import LocalLauncher

LAUNCHERS: Mapping[str, Callable[[Any], Launcher]] = {"local": LocalLauncher, "kubeflow": KubeflowLauncher}

__all__ = ["LAUNCHERS", "KubeflowLauncher", "Launcher", "LocalLauncher"]
