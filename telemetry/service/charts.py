"""Line charts as inline SVG: no script, no font, no request; colors are the page's CSS variables, so light and dark are one drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

WIDTH, HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 30
COLORS = ("--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6")
#: Of lines in one chart; the oldest go.
MAX_LINES = len(COLORS)


@dataclass(frozen=True)
class Line:
    """A line of a chart; a point without a value is a gap."""

    name: str
    points: Sequence[tuple[datetime, float | None]]


@dataclass(frozen=True)
class Chart:
    """A drawing and its legend of (CSS variable, text)."""

    title: str
    svg: str
    legend: tuple[tuple[str, str], ...]


def line_chart(title: str, lines: Sequence[Line], unit: str, threshold: float | None = None) -> Chart:
    """Lines over time, from zero; a dashed one at the threshold.

    Args:
        title: Read by screen readers.
        lines: In the order of their colors.
        unit: Behind the numbers of the axis.
        threshold: What must not be crossed.
    """
    shown = list(lines)[-MAX_LINES:]
    times = sorted({time for line in shown for time, _ in line.points})
    values = [value for line in shown for _, value in line.points if value is not None]
    if not times or not values:
        return Chart(title, "", ())
    top = _ceiling(max([*values, threshold or 0.0]))
    scale = _Scale(times[0], times[-1], top)
    marks = [_grid(scale, top * step / 4, unit) for step in range(5)]
    marks += [_time(scale, time) for time in _ends(times)]
    if threshold is not None:
        y = scale.y(threshold)
        marks.append(f'<line class="threshold" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
    marks += [_path(scale, line, color) for line, color in zip(shown, COLORS, strict=False)]
    drawing = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">'
        f"{''.join(marks)}</svg>"
    )
    return Chart(title, drawing, tuple((color, line.name) for line, color in zip(shown, COLORS, strict=False)))


@dataclass(frozen=True)
class _Scale:
    start: datetime
    end: datetime
    top: float

    def x(self, time: datetime) -> float:
        length = (self.end - self.start).total_seconds()
        share = (time - self.start).total_seconds() / length if length else 0.5
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - _BOTTOM - value / self.top * (HEIGHT - _TOP - _BOTTOM), 1)


def _path(scale: _Scale, line: Line, color: str) -> str:
    parts, is_open = [], False
    drawn = [(time, value) for time, value in line.points if value is not None]
    for time, value in line.points:
        if value is not None:
            parts.append(f"{'L' if is_open else 'M'}{scale.x(time)} {scale.y(value)}")
        is_open = value is not None
    dots = "".join(f'<circle cx="{scale.x(time)}" cy="{scale.y(value)}" r="2.5"/>' for time, value in drawn)
    style = f"stroke:var({color});fill:var({color})"
    return f'<g style="{style}"><path d="{" ".join(parts)}"/>{dots if len(drawn) < 60 else ""}</g>'


def _grid(scale: _Scale, value: float, unit: str) -> str:
    y = scale.y(value)
    line = f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
    return f'{line}<text text-anchor="end" x="{_LEFT - 6}" y="{y + 4}">{value:.3g}{unit}</text>'


def _time(scale: _Scale, time: datetime) -> str:
    anchor = "start" if time == scale.start and scale.start != scale.end else "end" if time == scale.end else "middle"
    return f'<text text-anchor="{anchor}" x="{scale.x(time)}" y="{HEIGHT - 8}">{time:%m-%d %H:%M}</text>'


def _ends(times: Sequence[datetime]) -> list[datetime]:
    return sorted({times[0], times[len(times) // 2], times[-1]})


def _ceiling(value: float) -> float:
    """The next 1, 2, 4, 6 or 8 times a power of ten: quarters of it are short numbers."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value * 0.999)
