"""The charts of `plot.py`."""

from __future__ import annotations

from xml.etree import ElementTree

from benchmarks.plot import HEIGHT, WIDTH, Axis, Panel, chart

X = Axis("load", 0, 3, (1, 2, 3))
Y = Axis("goodput", 0, 100, (0, 50, 100))
SVG = "{http://www.w3.org/2000/svg}"


def parsed(*panels: Panel) -> ElementTree.Element:
    return ElementTree.fromstring(chart(panels, X, Y))


def test_every_series_of_every_panel_is_a_line_through_its_points() -> None:
    drawn = parsed(Panel("fixed", {"a": [(0, 0), (3, 100)]}), Panel("mixed", {"a": [(1.5, 50)]}))
    lines = [line.get("points") for line in drawn.iter(f"{SVG}polyline")]
    assert lines == [f"0.0,{HEIGHT}.0 {WIDTH}.0,0.0", f"{WIDTH / 2},{HEIGHT / 2}"]


def test_a_series_has_one_colour_in_all_panels_and_in_the_legend() -> None:
    drawn = parsed(Panel("fixed", {"a": [(1, 1)], "b": [(1, 1)]}), Panel("mixed", {"b": [(1, 1)]}))
    lines = [line.get("stroke") for line in drawn.iter(f"{SVG}polyline")]
    legend = [line.get("stroke") for line in drawn.iter(f"{SVG}path") if line.get("stroke")]
    assert lines == [*legend, legend[1]]


def test_a_value_outside_the_axis_is_drawn_at_its_end() -> None:
    drawn = parsed(Panel("fixed", {"a": [(1.5, 140)]}))
    (line,) = drawn.iter(f"{SVG}polyline")
    assert line.get("points") == f"{WIDTH / 2},0.0"


def test_names_are_escaped() -> None:
    drawn = parsed(Panel("<fixed> & mixed", {"a": []}))
    assert "<fixed> & mixed" in [text.text for text in drawn.iter(f"{SVG}text")]


def test_a_logarithmic_axis_has_equal_distances_for_equal_ratios() -> None:
    axis = Axis("waiters", 1, 100, (1, 10, 100), is_logarithmic=True)
    assert [axis.position(tick, 80) for tick in axis.ticks] == [0, 40, 80]


def test_the_third_panel_begins_a_new_row_inside_the_picture() -> None:
    drawn = parsed(*(Panel(str(number), {"a": [(1, 1)]}) for number in range(3)))
    _, second, third = [
        group.get("transform", "").removeprefix("translate(").rstrip(")").split()
        for group in drawn.findall(f"{SVG}g")
    ]
    assert float(third[0]) < float(second[0])
    assert float(second[1]) + HEIGHT < float(third[1]) < float(drawn.get("height", "0")) - HEIGHT
