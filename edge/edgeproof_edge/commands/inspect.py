"""`inspect`: what is inside a .tflite file, whether the installed runtime takes it, and what accelerators probably would."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edgeproof_edge.commands.arguments import add_home, add_json

EXAMPLE = "edgeproof-edge inspect model.tflite"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("file", nargs="?", type=Path, help="a .tflite file; without one, the model that runs here")
    add_home(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Shows."""
    from edgeproof_edge.agent.enrollment import home_of
    from edgeproof_edge.bundle import MODEL_FILE
    from edgeproof_edge.examinations.examination import examine
    from edgeproof_edge.microcontroller import missing_operators
    from edgeproof_edge.updating.device_home import DeviceHome

    file = arguments.file or DeviceHome(home_of(arguments.home)).startable().installed.directory / MODEL_FILE
    examination = examine(file)
    if arguments.json:
        missing = list(missing_operators(examination.inspection))
        print(json.dumps({**examination.to_json(), "missing_in_tflite_micro": missing}, indent=2))
    else:
        print("\n".join(_lines(examination)))
    return 0


def _lines(examination: Any) -> list[str]:
    from edgeproof_edge.microcontroller import missing_operators

    inspection = examination.inspection
    uses = ", ".join(f"{use.count} {use.name}" for use in inspection.operators)
    lines = [
        *(f"input      {spec.name} {list(spec.shape)} {spec.dtype}" for spec in inspection.inputs),
        *(f"output     {spec.name} {list(spec.shape)} {spec.dtype}" for spec in inspection.outputs),
        f"operators  {uses}",
    ]
    for test in examination.load_tests:
        how = (
            f"{test.delegated_fraction:.0%} in {test.partitions} pieces"
            if test.partitions is not None
            else "share unknown"
        )
        lines.append(f"{test.kernels.value:<10} {test.runtime}: {f'loads, {how}' if test.loads else test.reason}")
    missing = missing_operators(inspection)
    lines.append(
        f"micro      {'TFLite Micro lacks ' + ', '.join(missing) if missing else 'TFLite Micro has all operators'}"
    )
    lines += [f"estimate   {estimate.target.value}: {estimate.verdict.value}" for estimate in examination.estimates]
    return lines
