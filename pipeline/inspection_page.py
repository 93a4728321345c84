"""What ``edgeproof inspect`` prints: one screen about a .tflite file; lists that grow with the model are cut, the JSON has them whole."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from edgeproof_edge.examinations.delegates import CpuOperator, Estimate
from edgeproof_edge.examinations.ethos_u import EthosUVerdict
from edgeproof_edge.examinations.examination import Examination
from edgeproof_edge.examinations.load_test import LoadTest
from edgeproof_edge.flatbuffer import Crossing, FloatIsland, Inspection, OperatorUse, RequantizationScale
from edgeproof_edge.interpreter import Kernels
from edgeproof_edge.tensors import TensorSpec

MAX_OPERATOR_ROWS = 24
MAX_LISTED = 3
_LABEL_WIDTH = 16
_LINE_WIDTH = 118
_MAX_REASON = 240
_MAX_NAME = 48

_Item = TypeVar("_Item")


def describe_examination(examination: Examination) -> str:
    """Operators, tensors, float islands, load test and estimates of a file on one screen."""
    inspection = examination.inspection
    blocks = [
        _header(inspection),
        _operator_table(inspection.operators),
        _facts(inspection),
        _load_tests(examination.load_tests),
        [
            *(_labelled(estimate.target.value, _describe_estimate(estimate)) for estimate in examination.estimates),
            *(_labelled("" if row else "Ethos-U", line) for row, line in enumerate(_ethos_u(examination.ethos_u))),
        ],
    ]
    return "\n\n".join("\n".join(block) for block in blocks)


def _header(inspection: Inspection) -> list[str]:
    signature = inspection.signature_key or "none that names the inputs and outputs"
    return [
        f"{inspection.size_bytes:,} bytes, sha256 {inspection.sha256}",
        f"signature {signature}; minimum runtime {inspection.minimum_runtime or 'not stated'}",
        *(_labelled("input", _describe_tensor(tensor)) for tensor in inspection.inputs),
        *(_labelled("output", _describe_tensor(tensor)) for tensor in inspection.outputs),
    ]


def _describe_tensor(tensor: TensorSpec) -> str:
    quantization = f", scale {tensor.scale:.6g}, zero point {tensor.zero_point}" if tensor.is_quantized else ""
    return f"{_short(tensor.name)} {list(tensor.shape)} {tensor.dtype}{quantization}"


def _operator_table(operators: Sequence[OperatorUse]) -> list[str]:
    shown = operators[:MAX_OPERATOR_ROWS]
    rows = [("count", "operator", "version", "weight bytes", "types")]
    rows += [
        (
            str(use.count),
            _short(use.name),
            str(use.version),
            f"{use.weight_bytes:,}",
            f"{_types(use.input_dtypes)} -> {_types(use.output_dtypes)}",
        )
        for use in shown
    ]
    total = f"{sum(use.weight_bytes for use in operators):,}"
    rows.append((str(sum(use.count for use in operators)), "in all", "", total, ""))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{count:>{widths[0]}}  {name:<{widths[1]}}  {version:>{widths[2]}}  {weights:>{widths[3]}}  {types}".rstrip()
        for count, name, version, weights, types in rows
    ]
    hidden = len(operators) - len(shown)
    return [*lines, f"({hidden} more kinds of operators in --json)"] if hidden else lines


def _types(dtypes: Sequence[str]) -> str:
    """Types in order; many inputs of one type, as CONCATENATION has, become "12 x int8"."""
    if len(dtypes) > MAX_LISTED:
        return ", ".join(f"{number} x {dtype}" for dtype, number in Counter(dtypes).items())
    return " ".join(dtypes) or "nothing"


def _facts(inspection: Inspection) -> list[str]:
    facts = {
        "float islands": _describe_islands(inspection),
        "crossings": _counted(inspection.crossings, _describe_crossing),
        "custom": _counted(inspection.custom_operators, _short),
        "TF Select": _counted(inspection.flex_operators, _short),
        "requantization": _describe_requantizations(inspection.refused_requantizations),
    }
    return [_labelled(label, text) for label, text in facts.items()]


def _describe_islands(inspection: Inspection) -> str:
    if inspection.float_islands and inspection.num_float_operators == inspection.num_computing_operators:
        return "the whole model computes in float"
    return _counted(inspection.float_islands, _describe_island)


def _describe_island(island: FloatIsland) -> str:
    tensors = ", ".join(_short(name) for name in island.tensors[:MAX_LISTED])
    more = f" and {len(island.tensors) - MAX_LISTED} more" if len(island.tensors) > MAX_LISTED else ""
    names = list(dict.fromkeys(island.operators))
    operators = " ".join(names[:MAX_LISTED]) + (" ..." if len(names) > MAX_LISTED else "")
    return f"{len(island.operators)} x {operators} around {tensors}{more}"


def _describe_crossing(crossing: Crossing) -> str:
    return f"{crossing.operator} {_short(crossing.from_tensor)} -> {_short(crossing.to_tensor)}"


def _describe_requantizations(scales: Sequence[RequantizationScale]) -> str:
    if not scales:
        return "every scale is in XNNPACK's range, [2^-32, 256)"
    return f"outside XNNPACK's range, [2^-32, 256): {_counted(scales, _describe_requantization)}"


def _describe_requantization(scale: RequantizationScale) -> str:
    effect = "XNNPACK refuses the model" if scale.prevents_loading else "rounds to zero"
    return f"{scale.operator} {_short(scale.output)} {scale.scale:.6g} ({effect})"


def _load_tests(tests: Sequence[LoadTest]) -> list[str]:
    is_repeated = len({test.reason for test in tests}) == 1 and len(tests) > 1
    lines = [_labelled("load test", _describe_load_test(test)) for test in tests[: 1 if is_repeated else None]]
    return [*lines, _labelled("", "built-in kernels refuse it likewise")] if is_repeated else lines


def _describe_load_test(test: LoadTest) -> str:
    with_what = f"{test.runtime}, {test.kernels.value} kernels"
    if not test.loads:
        return f"{with_what}: REFUSED: {textwrap.shorten(test.reason or 'no reason given', _MAX_REASON)}"
    if test.kernels is Kernels.BUILTIN:
        return f"{with_what}: loads"
    if test.partitions is None or test.delegated_fraction is None:
        return f"{with_what}: loads; the runtime does not tell what it delegates"
    left = ", ".join(test.builtin_operators or ())
    rest = f", the rest built-in: {left}" if left and test.partitions else ""
    hint = "; expect it to be slow" if test.looks_slow else ""
    share = f"{100 * test.delegated_fraction:.0f} % of the operators in {_num(test.partitions, 'partition')}"
    return f"{with_what}: loads; delegated {share}{rest}{hint}"


def _describe_estimate(estimate: Estimate) -> str:
    verdict = f"estimate: {estimate.verdict.value}"
    if not estimate.cpu_operators:
        return f"{verdict}; {estimate.reason}, assuming {estimate.assumption}"
    return f"{verdict}; {estimate.reason}: {_describe_cpu_operators(estimate.cpu_operators)}"


def _ethos_u(verdict: EthosUVerdict | None) -> list[str]:
    if verdict is None:
        return ["not asked; --ethos-u compiles the file with Arm's vela"]
    if verdict.verdict is None:
        return [verdict.reason]
    lines = [f"vela {verdict.version}, {verdict.accelerator}: {verdict.verdict.value}; {verdict.reason}"]
    if verdict.cpu_operators:
        lines.append(f"on the CPU: {_describe_cpu_operators(verdict.cpu_operators)}")
    if verdict.estimated_ms is not None:
        lines.append(
            f"{_kib(verdict.sram_kib)} SRAM, {_kib(verdict.flash_kib)} flash; "
            f"estimate: {verdict.estimated_ms:.3g} ms on {verdict.system_config}"
        )
    return lines


def _describe_cpu_operators(operators: Sequence[CpuOperator]) -> str:
    shown = "; ".join(
        f"{operator.count} x {_short(operator.name)} ({operator.reason})" for operator in operators[:MAX_LISTED]
    )
    hidden = sum(operator.count for operator in operators[MAX_LISTED:])
    return f"{shown}; {hidden} more in --json" if hidden else shown


def _counted(items: Sequence[_Item], describe: Callable[[_Item], str]) -> str:
    if not items:
        return "none"
    shown = "; ".join(describe(item) for item in items[:MAX_LISTED])
    hidden = len(items) - MAX_LISTED
    return f"{len(items)}: {shown}" + (f"; {hidden} more in --json" if hidden > 0 else "")


def _kib(size: float | None) -> str:
    return "unknown" if size is None else f"{size:,.1f} KiB"


def _num(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _labelled(label: str, text: str) -> str:
    indent = " " * _LABEL_WIDTH
    return textwrap.fill(
        text, _LINE_WIDTH, initial_indent=f"{label:<{_LABEL_WIDTH}}", subsequent_indent=indent, break_on_hyphens=False
    )


def _short(name: str) -> str:
    """A name from the file, on one line and not longer than a column."""
    line = "".join(character if character.isprintable() else "?" for character in name) or "(no name)"
    return line if len(line) <= _MAX_NAME else f"...{line[3 - _MAX_NAME :]}"
