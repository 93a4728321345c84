"""A measurement as a table for people."""

from __future__ import annotations

from edgeproof_edge.measuring import Facts, Machine, Times

from components.device.outcome import DeviceMeasurement

_HEADING = f"{'':<14}{'p50':>11}{'p90':>11}{'p99':>11}{'mean':>11}   calls"


def describe_machine(machine: Machine) -> str:
    """The device in a line."""
    model = f"{machine.model}, " if machine.model else ""
    return f"{model}{machine.processor}, {machine.num_processors} processors, {machine.system}, Python {machine.python}, {machine.runtime}"


def describe(measurement: DeviceMeasurement, model: str, twin: str = "float.tflite") -> str:
    """What a device did, on one screen.

    Args:
        measurement: What it did.
        model: How to call the model.
        twin: How to call the float model.
    """
    facts = measurement.facts
    lines = [f"{measurement.device}: {describe_machine(facts.machine)}"]
    if facts.refusal or facts.times is None:
        return "\n".join([*lines, f"its runtime refuses {model}: {facts.refusal}"])
    lines += [_HEADING, _times_line(model, facts.times)]
    if facts.float_times is not None:
        lines.append(_times_line(twin, facts.float_times))
        lines.append(
            f"{model} takes {100 * facts.times.p50_ms / facts.float_times.p50_ms:.1f} % of {twin}'s time (p50)"
        )
    elif facts.float_refusal:
        lines.append(f"{twin} does not run there: {facts.float_refusal}")
    lines += [_delegation_line(facts), _memory_line(facts)]
    lines += [f"answers of {each.output!r}: {each.sentence}" for each in measurement.agreement]
    return "\n".join(lines)


def _times_line(name: str, times: Times) -> str:
    figures = "".join(f"{value:>8.3f} ms" for value in (times.p50_ms, times.p90_ms, times.p99_ms, times.mean_ms))
    return f"{name[:13]:<14}{figures}   {times.num_runs}"


def _delegation_line(facts: Facts) -> str:
    if facts.delegated_fraction is None:
        return f"{facts.delegate}: the runtime does not tell what it computes"
    rest = f"; built-in kernels run {', '.join(facts.builtin_operators)}" if facts.builtin_operators else ""
    pieces = f"{facts.partitions} partition{'s' * (facts.partitions != 1)}"
    return f"{facts.delegate} computes {100 * facts.delegated_fraction:.1f} % of the operators in {pieces}{rest}"


def _memory_line(facts: Facts) -> str:
    memory = "memory unknown" if facts.memory_mb is None else f"{facts.memory_mb:.1f} MB of memory at most"
    if facts.model_memory_mb is not None:
        memory += f", {facts.model_memory_mb:.1f} of them for the model"
    batch = f", {facts.declared_batch} examples per call" if facts.declared_batch > 1 else ""
    heat = f", {facts.temperature_c:.1f} °C" if facts.temperature_c is not None else ""
    loaded = "" if facts.load_ms is None else f"; loaded in {facts.load_ms:.1f} ms"
    first = "" if facts.first_call_ms is None else f", first call {facts.first_call_ms:.3f} ms"
    return f"{memory}{loaded}{first}{batch}{heat}"
