"""Holds releases against their golden vectors on the machine that runs this: python check_bundles.py DIR. No test itself.

Needs nothing but `edgeproof-edge`. Every release is tried in a child process, as a device does it. Exit code 1: one of them answers
otherwise, or none was tried.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

from edgeproof_edge.litert import runtime_version
from edgeproof_edge.self_test import SelfTestOptions, run_self_test


def main() -> int:
    kernels = sys.argv[2] if len(sys.argv) > 2 else "xnnpack"
    num_rows, failed, worst = 0, [], 0.0
    directories = sorted(path.parent for path in Path(sys.argv[1]).glob("*/1/manifest.json"))
    for directory in directories:
        name = directory.parent.name
        result = run_self_test(directory, SelfTestOptions(kernels=kernels), timeout_seconds=600)
        num_rows += result.num_examples
        share = result.largest_difference / result.tolerance if result.tolerance else 0.0
        worst = max(worst, share)
        print(
            f"{'ok    ' if result.passed else 'FAILED'} {name:<24} {result.num_examples:>3} rows, largest difference "
            f"{result.largest_difference:.6g} of {result.tolerance:.6g}, {_share(result.delegated_fraction)} by XNNPACK {result.reason}",
            flush=True,
        )
        if not result.passed:
            failed.append(name)
    summary = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "runtime": runtime_version(),
        "kernels": kernels,
        "releases": len(directories),
        "rows": num_rows,
        "failed": failed,
        "largest_share_of_tolerance": round(worst, 4),
    }
    print(json.dumps(summary))
    return 1 if failed or not num_rows else 0


def _share(fraction: float | None) -> str:
    return "?" if fraction is None else f"{fraction:.0%}"


if __name__ == "__main__":
    sys.exit(main())
