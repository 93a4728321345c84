"""`bench`: latency of the model on this device, with warm-up; exit code 1 where it misses an SLA or a delegate falls short."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any

from edgeproof_edge.commands.arguments import add_home, add_json, add_model, positive

if TYPE_CHECKING:
    from edgeproof_edge.runtime import EdgeModel

EXAMPLE = "edgeproof-edge bench --threads 4 --sla p90=20"

_SLA = re.compile(r"p(50|90|99)=([0-9]+(?:\.[0-9]+)?)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_home(parser)
    add_model(parser)
    parser.add_argument("--runs", type=positive, default=200, help="measured calls (200)")
    parser.add_argument("--warm-up", type=positive, default=20, help="calls before, not measured (20)")
    parser.add_argument(
        "--sla",
        type=_sla,
        action="append",
        default=[],
        metavar="P=MS",
        help="refuse beyond it, as in p90=20; may be given again",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measures."""
    from dataclasses import asdict

    from edgeproof_edge.commands.arguments import open_model

    with open_model(arguments) as model:
        content = {
            "model": model.manifest.model_name,
            "version": model.version,
            "runtime": model.runtime,
            "threads": model.options.num_threads,
            "delegation": asdict(model.delegation),
            "runs": arguments.runs,
            **_measured(model, arguments.warm_up, arguments.runs),
        }
        warning = model.delegation.warning
    missed = [(share, limit) for share, limit in arguments.sla if content[f"{share}_ms"] > limit]
    content["sla"] = dict(arguments.sla)
    content["is_within_sla"] = not missed
    _show(content, arguments.json, warning)
    for share, limit in missed:
        print(f"refused: {share} is {content[f'{share}_ms']:.3f} ms, the SLA {limit:g} ms", file=sys.stderr)
    return 1 if missed else 0


def _show(content: dict[str, Any], as_json: bool, warning: str | None) -> None:
    if as_json:
        print(json.dumps(content, indent=2))
    else:
        numbers = "  ".join(f"{share} {content[f'{share}_ms']:.3f} ms" for share in ("p50", "p90", "p99"))
        fraction = content["delegation"]["fraction"]
        share = "unknown" if fraction is None else f"{fraction:.0%}"
        print(f"{numbers}  ({content['runs']} calls, {content['threads']} threads, {content['runtime']}, "
              f"{content['delegation']['delegate']} computes {share})")  # fmt: skip
    if warning is not None:
        print(f"warning: {warning}", file=sys.stderr)


def _measured(model: EdgeModel, num_warm_up: int, num_runs: int) -> dict[str, float]:
    import numpy as np

    example = _example(model)
    for _ in range(num_warm_up):
        model.predict(example)
    milliseconds = np.empty(num_runs)
    for index in range(num_runs):
        started = time.perf_counter()
        model.predict(example)
        milliseconds[index] = (time.perf_counter() - started) * 1000.0
    shares = {f"p{share}_ms": float(np.percentile(milliseconds, share)) for share in (50, 90, 99)}
    return {**shares, "mean_ms": float(milliseconds.mean()), "max_ms": float(milliseconds.max())}


def _example(model: EdgeModel) -> dict[str, Any]:
    """One row: the first golden vector where there is one, else zeros."""
    import numpy as np

    golden = model.manifest.golden
    if golden is not None:
        with np.load(model.directory / golden.file, allow_pickle=False) as archive:
            return {spec.name: archive[f"input:{spec.name}"][:1] for spec in model.inputs}
    return {
        spec.name: np.zeros(
            (1, *(max(1, size) for size in spec.shape[1:])), np.float32 if spec.is_quantized else spec.dtype
        )
        for spec in model.inputs
    }


def _sla(text: str) -> tuple[str, float]:
    match = _SLA.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form p50=MS, p90=MS or p99=MS")
    return f"p{match[1]}", float(match[2])
