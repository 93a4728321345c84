"""Writes releases with golden vectors, as x86 answered them, for `constraints/test-arm`. No test itself.

    python -m tests.arm.write_bundles DIR

Every model of `tests/edge/models` that runs here becomes one. Of a stream no row is golden (its answer depends on the rows before it).
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgeproof_edge.manifest import Manifest

from tests.edge.bundles import MODELS, golden_draft, unpacked

#: Models whose rows follow one another.
STREAMS = ("running_mean.tflite",)


def main() -> None:
    target = Path(sys.argv[1])
    for file in sorted(MODELS.glob("*.tflite")):
        if file.name in STREAMS:
            continue
        try:
            draft = golden_draft(file.name)
        except Exception as error:  # two signatures, operators that this runtime lacks: not models that are released
            print(f"left out: {file.name}: {str(error).splitlines()[0][:100]}")
            continue
        directory = unpacked(target / file.stem, draft)
        golden = Manifest.from_json((directory / "manifest.json").read_bytes()).golden
        print(f"{file.name}: {0 if golden is None else golden.num_examples} golden rows")


if __name__ == "__main__":
    main()
