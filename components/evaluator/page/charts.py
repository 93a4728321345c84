"""The charts of report.html: inline SVG by pygal, in the page's own colors, without scripts and without anything from the network.

Colors are CSS variables, so that one chart serves light and dark; a chart is drawn 440 units wide, which a phone shrinks to three quarters.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree

from components.evaluator.page.wording import clipped

WIDTH = 440
ROW_HEIGHT = 34
#: Height of what stands below the rows: the axis.
FRAME_HEIGHT = 34
#: Height of a chart of lines, in rows.
LINE_ROWS = 5
#: Units that a letter of a label takes.
LETTER_WIDTH = 9
#: Labels that fit under a chart, and how far they may be apart, in percentage points.
MAX_TICKS = 3
TICK_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
#: Letters of a row's label.
LABEL_LENGTH = 22
#: CSS variables of the series, in order.
COLORS = ("--first", "--second", "--third")
_SVG = "http://www.w3.org/2000/svg"


@dataclass(frozen=True)
class Chart:
    """An SVG element, its title, and a legend of (CSS variable, text); the page sets the legend, whose length pygal does not measure."""

    svg: str
    title: str
    legend: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RatioRow:
    """A kept ratio, with its interval where there is one (the upper end None where nothing bounds it)."""

    label: str
    ratio: float
    lower: float | None = None
    upper: float | None = None


def ratio_chart(name: str, title: str, rows: Sequence[RatioRow], required: float) -> Chart:
    """Dots with intervals against a line at the required ratio; the first row on top.

    Args:
        name: Unique within the page.
        title: Read aloud by screen readers.
        rows: At least one.
        required: Where the line stands.
    """
    pygal = _pygal()
    ends = [end for row in rows for end in (row.ratio, row.lower, row.upper) if end is not None]
    low, high = min([*ends, required]), max([*ends, required])
    margin = max(0.005, 0.08 * (high - low))
    low, high = max(0.0, low - margin), high + margin
    ticks, decimals = axis_ticks(low, high)
    options = _options(len(rows)) | {"margin_right": _room_for(f"{100 * ticks[-1]:.{decimals}f} %")}
    chart = pygal.XY(
        **options,
        stroke=True,
        range=(-0.5, len(rows) - 0.5),
        xrange=(low, high),
        x_value_formatter=lambda share: f"{100 * share:.{decimals}f} %",
        dots_size=5,
        show_y_guides=False,
    )
    chart.x_labels = ticks
    positions = {len(rows) - 1 - number: row for number, row in enumerate(rows)}
    chart.y_labels = [
        {"label": clipped(row.label, LABEL_LENGTH), "value": position} for position, row in positions.items()
    ]
    chart.add("kept", [(row.ratio, position) for position, row in positions.items()], stroke=False)
    chart.add(
        "required",
        [(required, -0.5), (required, len(rows) - 0.5)],
        show_dots=False,
        stroke_style={"width": 3, "dasharray": "5, 4"},
    )
    legend = [("--first", "kept"), ("--second", f"required, {100 * required:g} %")]
    bars: list[tuple[float, float] | tuple[None, None]] = []
    for position, row in positions.items():
        if row.lower is not None:
            upper = row.upper if row.upper is not None else high
            bars += [(row.lower, position), (upper, position), (None, None)]
    if bars:
        chart.add("interval", bars, show_dots=False, allow_interruptions=True)
        legend.append(("--third", "interval"))
    return _finished(chart, name, title, tuple(legend))


def bar_chart(name: str, title: str, labels: Sequence[str], series: Mapping[str, Sequence[float]], unit: str) -> Chart:
    """Horizontal bars from zero, one group per label, the first on top."""
    pygal = _pygal()
    height = len(labels) * max(1, 0.75 * len(series))
    longest = max(value for values in series.values() for value in values)
    chart = pygal.HorizontalBar(**_options(height), **_bar_options(labels, longest, unit))
    return _bars(chart, name, title, labels, series)


def stacked_chart(
    name: str, title: str, labels: Sequence[str], series: Mapping[str, Sequence[float]], unit: str
) -> Chart:
    """Horizontal bars of parts, the first label on top; the legend has the figures, because a part may be too small for its own."""
    pygal = _pygal()
    longest = max(sum(parts) for parts in zip(*series.values(), strict=True))
    chart = pygal.HorizontalStackedBar(**_options(len(labels)), **_bar_options(labels, longest, unit))
    texts = {part: ", ".join(_figure(value, unit) for value in values) for part, values in series.items()}
    legend = tuple((color, f"{part}: {text}") for color, (part, text) in zip(COLORS, texts.items(), strict=False))
    return replace(_bars(chart, name, title, labels, series), legend=legend)


def line_chart(name: str, title: str, series: Mapping[str, Sequence[tuple[int, float] | None]]) -> Chart:
    """Lines over whole numbers, such as epochs; a point that is None interrupts its line.

    Args:
        name: Unique within the page.
        title: Read aloud by screen readers.
        series: Points by name; at most as many series as there are colors.
    """
    pygal = _pygal()
    points = [point for line in series.values() for point in line if point is not None]
    ends = [point[0] for point in points] or [0]
    low, high = value_range([point[1] for point in points])
    ticks, labels = number_ticks(low, high)
    chart = pygal.XY(
        **_options(LINE_ROWS),
        stroke=True,
        range=(min(low, ticks[0]), max(high, ticks[-1])),
        xrange=(min(ends), max(ends) if max(ends) > min(ends) else max(ends) + 1),
        x_value_formatter=lambda number: f"{number:.0f}",
        dots_size=2.5,
        show_x_guides=False,
        allow_interruptions=True,
    )
    chart.x_labels = whole_ticks(min(ends), max(ends))
    chart.y_labels = [{"label": label, "value": tick} for tick, label in zip(ticks, labels, strict=True)]
    for part, line in series.items():
        chart.add(part, [point or (None, None) for point in line])
    return _finished(chart, name, title, tuple(zip(COLORS, series, strict=False)))


def value_range(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and the highest value, never the same."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = max(abs(low), 1e-3) * 0.05 if high - low < 1e-12 else 0.0
    return low - margin, high + margin


def number_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Two to five round numbers from about ``low`` to ``high``, and how they are written."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = [number * step for number in range(first, last + 1)]
    return ticks, [f"{tick:.{decimals}f}" if decimals <= 6 and abs(tick) < 1e6 else f"{tick:.3g}" for tick in ticks]


def whole_ticks(first: int, last: int, most: int = 6) -> list[int]:
    """Whole numbers from ``first`` to ``last``, both of them where they differ, at most ``most``."""
    step = max(1, math.ceil((last - first) / (most - 1)))
    ticks = list(range(first, last + 1, step))
    return ticks if ticks[-1] == last else [*(ticks[:-1] if last - ticks[-1] < step / 2 else ticks), last]


def _bar_options(labels: Sequence[str], longest: float, unit: str) -> dict[str, Any]:
    """The values stand in the bars, so there is no axis to read them off; where one does not fit, there is none."""
    room = WIDTH - LETTER_WIDTH * max(len(clipped(label, LABEL_LENGTH)) for label in labels)

    def text(value: float) -> str:
        figure = _figure(value, unit)
        return figure if longest and room * value / longest > LETTER_WIDTH * len(figure) else ""

    hidden = dict.fromkeys(("show_x_guides", "show_y_guides", "show_x_labels"), False)
    return {"print_values": True, "value_formatter": text, **hidden}


def _bars(chart: Any, name: str, title: str, labels: Sequence[str], series: Mapping[str, Sequence[float]]) -> Chart:
    chart.x_labels = [clipped(label, LABEL_LENGTH) for label in reversed(labels)]
    for part, values in series.items():
        chart.add(part, list(reversed(values)))
    return _finished(chart, name, title, tuple(zip(COLORS, series, strict=False)))


def _pygal() -> Any:
    """pygal, without the finder for map plugins that it puts into ``sys.meta_path``, which makes every missing import a warning."""
    import pygal

    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != pygal.__name__]
    return pygal


def _figure(value: float, unit: str) -> str:
    figure = f"{value:,.0f}" if value == int(value) else f"{value:,.1f}" if value >= 10 else f"{value:.2f}"
    return f"{figure}{unit}"


def axis_ticks(low: float, high: float) -> tuple[list[float], int]:
    """Round shares between ``low`` and ``high``, at most :data:`MAX_TICKS`, and the decimals that their percentages need."""
    for step in TICK_STEPS:
        first, last = math.ceil(100 * low / step - 1e-9), math.floor(100 * high / step + 1e-9)
        if 2 <= last - first + 1 <= MAX_TICKS:
            return [round(number * step / 100, 6) for number in range(first, last + 1)], 0 if step >= 1 else 1
    return [low, high], 2


def _room_for(label: str) -> int:
    """Margin that the half of a label at the end of an axis needs."""
    return max(24, 6 + LETTER_WIDTH * len(label) // 2)


def _options(num_rows: float) -> dict[str, Any]:
    _pygal()
    from pygal.style import Style

    style = Style(
        background="transparent",
        plot_background="transparent",
        foreground="var(--muted)",
        foreground_strong="var(--muted)",
        foreground_subtle="var(--line)",
        guide_stroke_color="var(--line)",
        major_guide_stroke_color="var(--line)",
        guide_stroke_dasharray="0",
        major_guide_stroke_dasharray="0",
        font_family="system-ui, sans-serif",
        label_font_size=16,
        major_label_font_size=16,
        value_font_size=15,
        opacity=".92",
        opacity_hover="1",
        transition="0s",
        stroke_width="3",
        stroke_width_hover="3",
        colors=tuple(f"var({color})" for color in COLORS),
        value_colors=("var(--on-bar)",) * len(COLORS),
    )
    return {
        "style": style,
        "js": (),
        "width": WIDTH,
        "height": int(FRAME_HEIGHT + ROW_HEIGHT * num_rows),
        "show_legend": False,
        "margin": 4,
        "margin_right": 24,
        "spacing": 8,
        "disable_xml_declaration": True,
        "explicit_size": False,
        "no_prefix": False,
        "truncate_label": -1,
        "no_data_text": "nothing to show",
        "include_x_axis": False,
        "title": None,
    }


def _finished(chart: Any, name: str, title: str, legend: tuple[tuple[str, str], ...]) -> Chart:
    """Renders: no script, an id of ours instead of a random one, a name for screen readers."""
    chart.uuid = name
    root = ElementTree.fromstring(chart.render(is_unicode=True))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{{{_SVG}}}script":
                parent.remove(child)
    root.set("role", "img")
    root.set("aria-label", title)
    ElementTree.register_namespace("", _SVG)
    return Chart(ElementTree.tostring(root, encoding="unicode"), title, legend)
