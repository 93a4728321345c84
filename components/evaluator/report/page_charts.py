"""The charts of report.html: inline SVG by pygal, in the page's own colors, without scripts and without anything from the network.

Colors are CSS variables, so that one chart serves light and dark; a chart is drawn 440 units wide, which a phone shrinks to three quarters.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

WIDTH = 440
ROW_HEIGHT = 34
#: Height of what stands below the rows: the axis.
FRAME_HEIGHT = 34
#: Labels that fit under a chart, and how far they may be apart, in percentage points.
MAX_TICKS = 3
TICK_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
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
    chart = pygal.XY(
        **_options(len(rows)),
        stroke=True,
        range=(-0.5, len(rows) - 0.5),
        xrange=(low, high),
        x_value_formatter=lambda share: f"{100 * share:.{decimals}f} %",
        dots_size=5,
        show_y_guides=False,
    )
    chart.x_labels = ticks
    positions = {len(rows) - 1 - number: row for number, row in enumerate(rows)}
    chart.y_labels = [{"label": _shortened(row.label), "value": position} for position, row in positions.items()]
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
    chart = pygal.HorizontalBar(**_options(height), value_formatter=_formatter(unit), **_BARS)
    return _bars(chart, name, title, labels, series)


def stacked_chart(
    name: str, title: str, labels: Sequence[str], series: Mapping[str, Sequence[float]], unit: str
) -> Chart:
    """Horizontal bars of parts, the first label on top."""
    pygal = _pygal()
    chart = pygal.HorizontalStackedBar(**_options(len(labels)), value_formatter=_formatter(unit), **_BARS)
    return _bars(chart, name, title, labels, series)


#: The values stand in the bars, so there is no axis to read them off.
_BARS = {"print_values": True, "show_x_guides": False, "show_y_guides": False, "show_x_labels": False}


def _bars(chart: Any, name: str, title: str, labels: Sequence[str], series: Mapping[str, Sequence[float]]) -> Chart:
    chart.x_labels = [_shortened(label) for label in reversed(labels)]
    for part, values in series.items():
        chart.add(part, list(reversed(values)))
    return _finished(chart, name, title, tuple(zip(COLORS, series, strict=False)))


def _pygal() -> Any:
    """pygal, without the finder for map plugins that it puts into ``sys.meta_path``, which makes every missing import a warning."""
    import pygal

    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != pygal.__name__]
    return pygal


def _formatter(unit: str) -> Any:
    """Figures inside bars; none where there is no bar to stand in."""

    def text(value: float) -> str:
        figure = f"{value:,.0f}" if value == int(value) else f"{value:,.1f}" if value >= 10 else f"{value:.2f}"
        return f"{figure}{unit}" if value else ""

    return text


def axis_ticks(low: float, high: float) -> tuple[list[float], int]:
    """Round shares between ``low`` and ``high``, at most :data:`MAX_TICKS`, and the decimals that their percentages need."""
    for step in TICK_STEPS:
        first, last = math.ceil(100 * low / step - 1e-9), math.floor(100 * high / step + 1e-9)
        if 2 <= last - first + 1 <= MAX_TICKS:
            return [round(number * step / 100, 6) for number in range(first, last + 1)], 0 if step >= 1 else 1
    return [low, high], 2


def _shortened(label: str, length: int = 22) -> str:
    return label if len(label) <= length else f"{label[: length - 1]}…"


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
