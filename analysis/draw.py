"""Draws the figures of a report once, as SVG and PNG of the same picture."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis.answers.report_parts import Figure, Series

_WIDTH, _HEIGHT = 6.4, 4.0
"""Size of a figure in inches: half of a printed page, and all of a phone."""

_COMPACT_WIDTH, _COMPACT_HEIGHT = 4.6, 4.2
"""Size of a compact figure in inches: its text of 9 points is one of 10 pixels on a phone."""

_RANGE_POINTS = 11
"""Width of the pale bar of a range, points."""

_LONGEST_LEVEL = 5
"""Characters of a category's name up to which names stand side by side."""

_PNG_DPI = 160

_COLOURS = ("#0b6e99", "#c4451c", "#4f7f2a", "#7b4ea3", "#b8860b", "#2f4b7c", "#a0325b", "#5b5b5b")
"""Colours that differ in print and for those who see fewer colours, dark enough on white."""

_MARKERS = ("o", "s", "^", "v", "P", "X", "<", ">")
"""Marks that differ where colours do not: in grey, and for those who see fewer colours."""

_GREY = "#8a8a8a"

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    # Ids that depend on the drawing alone: the same records give the same bytes.
    "svg.hashsalt": "report",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.edgecolor": "#777777",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}


def draw(figure: Figure) -> tuple[str, bytes]:
    """Return a figure as SVG text and as PNG bytes.

    Every point has the id ``<figure>--<series>--<point>`` and every entry of the legend
    ``<figure>--legend--<series>``, so that a page can let a reader touch them.
    """
    with mpl.rc_context(_STYLE):
        size = (_COMPACT_WIDTH, _COMPACT_HEIGHT) if figure.is_compact else (_WIDTH, _HEIGHT)
        canvas = Canvas(figsize=size, layout="constrained")
        axes = canvas.add_subplot()
        if figure.log_x:
            axes.set_xscale("log")
        if figure.log_y:
            axes.set_yscale("log")
        colours = _colours(figure.series)
        for index, series in enumerate(figure.series):
            _add(axes, figure, series, index, colours[index])
        axes.set_title(figure.title)
        axes.set_xlabel(figure.x_label)
        axes.set_ylabel(figure.y_label)
        _label_ticks(axes, figure)
        if len(figure.series) > 1:
            _add_legend(canvas, axes, figure)
        FigureCanvasSVG(canvas)
        text = io.StringIO()
        canvas.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        FigureCanvasAgg(canvas)
        image = io.BytesIO()
        canvas.savefig(image, format="png", dpi=_PNG_DPI, metadata={"Software": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :], image.getvalue()


def point_id(figure: Figure, series: int, point: int) -> str:
    """Return the id of a point in the SVG."""
    return f"{figure.name}--{series}--{point}"


def _colours(series: Sequence[Series]) -> list[str]:
    """Return a colour for each series; a line has that of the points of its name."""
    by_name: dict[str, str] = {}
    for each in series:
        name = each.name.removesuffix(", fit")
        if each.is_reference:
            by_name.setdefault(name, _GREY)
        else:
            used = sum(colour != _GREY for colour in by_name.values())
            by_name.setdefault(name, _COLOURS[used % len(_COLOURS)])
    return [by_name[each.name.removesuffix(", fit")] for each in series]


def _add(axes: Axes, figure: Figure, series: Series, index: int, colour: str) -> None:
    if series.is_range:
        assert series.low is not None
        assert series.high is not None
        bars = axes.vlines(
            series.x, series.low, series.high, color=colour, linewidth=_RANGE_POINTS, alpha=0.28,
            label=series.name, zorder=1,
        )  # fmt: skip
        bars.set_gid(f"{figure.name}--{index}--range")
        return
    if series.is_line:
        (line,) = axes.plot(
            series.x, series.y, color=colour, linewidth=1.4, label=series.name,
            linestyle="--" if series.is_reference else "-",
        )  # fmt: skip
        line.set_gid(f"{figure.name}--{index}--line")
        if series.low is not None and series.high is not None:
            band = axes.fill_between(
                series.x, series.low, series.high, color=colour, alpha=0.15, linewidth=0
            )
            band.set_gid(f"{figure.name}--{index}--band")
        return
    marker = "D" if series.is_reference else _MARKERS[_COLOURS.index(colour) % len(_MARKERS)]
    for point, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
        if series.low is not None and series.high is not None:
            low, high = series.low[point], series.high[point]
            bar = axes.vlines(x, low, high, color=colour, linewidth=1.2, alpha=0.8)
            bar.set_gid(f"{figure.name}--{index}--bar{point}")
        (dot,) = axes.plot(
            [x], [y], marker=marker, color=colour, markersize=5, linestyle="none",
            label=series.name if point == 0 else "_nolegend_", alpha=0.9,
        )  # fmt: skip
        dot.set_gid(point_id(figure, index, point))


def _add_legend(canvas: Canvas, axes: Axes, figure: Figure) -> None:
    if figure.is_compact:
        legend = canvas.legend(loc="outside lower left", ncols=2, fontsize=9)
    else:
        legend = axes.legend(fontsize=8, loc="best")
    for entry in legend.get_texts():
        names = [series.name for series in figure.series]
        index = names.index(entry.get_text())
        entry.set_gid(f"{figure.name}--legend--{index}")


def _label_ticks(axes: Axes, figure: Figure) -> None:
    if figure.categories:
        is_turned = max(map(len, figure.categories)) > _LONGEST_LEVEL
        axes.set_xticks(
            range(len(figure.categories)), figure.categories, rotation=35 if is_turned else 0,
            ha="right" if is_turned else "center", rotation_mode="anchor",
        )  # fmt: skip
        axes.set_xlim(-0.5, len(figure.categories) - 0.5)
        axes.grid(visible=False, axis="x")
    elif figure.log_x:
        axes.xaxis.set_major_locator(FixedLocator(sorted(set(figure.series[0].x))))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))

    if figure.log_y:
        # Losses lie within a tenth of each other: powers of ten would say nothing.
        for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            set_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def _short(value: float) -> str:
    """Return a count as people say it: 750k, 2M, 2B."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"
