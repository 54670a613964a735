"""Line charts as SVG, without a library.

One grey is readable on light and on dark pages, also where a page ignores the system's setting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log10
from xml.sax.saxutils import escape

Point = tuple[float, float]

COLORS = ("#2f81f7", "#d9822b", "#8957e5", "#bf4b8a", "#2da44e", "#8b949e")
WIDTH, HEIGHT = 360, 240  # of one panel, without its margins
LEFT, RIGHT, TOP, BOTTOM, GAP = 56, 40, 64, 48, 60
TITLE = 32  # of a panel

STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #6e7781 }
.title { font-weight: 600 }
.grid { stroke: #8b949e; stroke-opacity: 0.3 }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round }"""


@dataclass(frozen=True)
class Axis:
    """The label of an axis, its range and the values with a line."""

    label: str
    start: float
    end: float
    ticks: Sequence[float]
    is_logarithmic: bool = False

    def position(self, value: float, length: float) -> float:
        """Where a value is on an axis of this length; values outside are moved to the end."""
        inside = min(max(value, self.start), self.end)
        start, end, at = self.start, self.end, inside
        if self.is_logarithmic:
            start, end, at = log10(start), log10(end), log10(at)
        return length * (at - start) / (end - start)


@dataclass(frozen=True)
class Panel:
    """One coordinate system: a title, and points for each name."""

    title: str
    lines: Mapping[str, Sequence[Point]]


def chart(panels: Sequence[Panel], x: Axis, y: Axis, *, columns: int = 2) -> str:
    """Panels in rows, with one legend.

    :param columns: panels in a row; one is readable on a phone.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    colors = {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}
    body = [*_legend(colors)]
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        left, top = LEFT + column * (WIDTH + GAP), TOP + row * (HEIGHT + BOTTOM + TITLE)
        body.append(f'<g transform="translate({left} {top})">')
        body += _panel(panel, x, y, colors, has_labels=column == 0)
        body.append("</g>")
    rows = max(1, ceil(len(panels) / columns))
    width = LEFT + (WIDTH + GAP) * min(len(panels), columns) - (GAP - RIGHT)
    height = TOP - TITLE + (HEIGHT + BOTTOM + TITLE) * rows
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    title = f"<title>{escape(y.label)}, over {escape(x.label)}</title>"
    return "\n".join([opening, title, f"<style>{STYLE}</style>", *body, "</svg>", ""])


def _legend(colors: Mapping[str, str]) -> Iterator[str]:
    left = 4.0
    for name, color in colors.items():
        yield f'<path class="line" stroke="{color}" d="M{left:g} 16h18"/>'
        yield _text(left + 24, 20, name)
        left += 40 + 7.4 * len(name)


def _panel(
    panel: Panel, x: Axis, y: Axis, colors: Mapping[str, str], *, has_labels: bool
) -> Iterator[str]:
    yield _text(0, -12, panel.title, kind="title")
    for tick in y.ticks:
        at = HEIGHT - y.position(tick, HEIGHT)
        yield f'<path class="grid" d="M0 {at:g}h{WIDTH}"/>'
        if has_labels:
            yield _text(-8, at + 4, f"{tick:,g}", anchor="end")
    for tick in x.ticks:
        yield _text(x.position(tick, WIDTH), HEIGHT + 18, f"{tick:,g}", anchor="middle")
    yield _text(WIDTH / 2, HEIGHT + 38, x.label, anchor="middle")
    if has_labels:
        yield f'<g transform="translate({12 - LEFT} {HEIGHT / 2:g}) rotate(-90)">'
        yield _text(0, 0, y.label, anchor="middle") + "</g>"
    for name, points in panel.lines.items():
        yield _line(points, x, y, colors[name])


def _line(points: Sequence[Point], x: Axis, y: Axis, color: str) -> str:
    places = [(x.position(px, WIDTH), HEIGHT - y.position(py, HEIGHT)) for px, py in points]
    path = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
    dots = "".join(
        f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{color}"/>' for left, top in places
    )
    return f'<polyline class="line" stroke="{color}" points="{path}"/>{dots}'


def _text(left: float, top: float, text: str, *, kind: str = "", anchor: str = "start") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{left:g}" y="{top:g}" text-anchor="{anchor}"{style}>{escape(text)}</text>'
