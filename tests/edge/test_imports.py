"""The device library must run where there is no TensorFlow."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys
import edgeproof_edge
for module in pkgutil.walk_packages(edgeproof_edge.__path__, "edgeproof_edge."):
    importlib.import_module(module.name)
print(*sorted({"tensorflow", "tfx", "apache_beam", "components", "pipeline"} & set(sys.modules)))
"""


def test_no_module_of_the_device_library_imports_tensorflow() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == ""
