"""The page as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from evoopt.report.blocks import Column, Page, Shown
from evoopt.report.figures import HeatMap, Intervals, Lines, Numbers, Panel, Tree, thinned

_STATIC = Path(__file__).parent / "static"
_COLUMN, _ROW, _MARGIN = 56, 24, 16  # of a family tree, in CSS pixels
_DIGITS = 6


def render_page(page: Page) -> str:
    """HTML of a page, with its styles, scripts and data inside.

    Everything that comes from the run is escaped. Beyond that, the page's own policy lets no script run but
    the two that belong to it, and no request leave it.
    """
    scripts = [_read("uPlot.iife.min.js"), _read("report.js")]
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return _template("page").render(
        page=page,
        styles=Markup(_read("uPlot.min.css") + _read("report.css")),
        scripts=[Markup(script) for script in scripts],
        policy=f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {hashes}",
        data={
            block.name: [_panel_data(thinned(panel)) for panel in block.figure.panels]
            for section in page.sections
            for block in section.blocks
            if isinstance(block, Shown) and isinstance(block.figure, Lines)
        },
    )


def render_index(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """HTML of a table of runs, the first of whose columns is ``run``; every row has what ``columns`` name."""
    styles = Markup(_read("report.css"))
    return _template("index").render(title=title, columns=columns, rows=rows, styles=styles)


def _panel_data(panel: Panel) -> dict[str, Any]:
    return {
        "x": _rounded(panel.x),
        "xLabel": panel.x_label,
        "yLabel": panel.y_label,
        "title": panel.title,
        "log": panel.log and _is_wide(panel),
        "percent": panel.percent,
        "series": [
            {
                "label": s.label,
                "role": s.role,
                "y": _rounded(s.y),
                **({"low": _rounded(s.low), "high": _rounded(s.high)} if s.low and s.high else {}),
            }
            for s in panel.series
        ],
    }


def _is_wide(panel: Panel) -> bool:
    """Whether a logarithmic axis shows the values better."""
    rows = [row for s in panel.series for row in (s.y, s.low, s.high) if row is not None]
    known = [value for row in rows for value in row if value is not None and math.isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) > 8 * min(known)


def _rounded(values: Numbers | None) -> list[float | None]:
    return [
        None if value is None or not math.isfinite(value) else float(f"{value:.{_DIGITS}g}")
        for value in values or ()
    ]


def interval_scale(figure: Intervals) -> list[dict[str, Any]]:
    """Rows of intervals with their ends in percent of the width, zero in view."""
    known = [x for row in figure.rows for x in (row.mean, row.low, row.high) if x is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    margin = 0.04 * (high - low) or 1.0
    low, high = low - margin, high + margin

    def along(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - low) / (high - low), 2)

    zero = along(0.0)
    return [
        {"row": row, "zero": zero, "mean": along(row.mean), "low": along(row.low), "high": along(row.high)}
        for row in figure.rows
    ]


def tree_drawing(figure: Tree) -> dict[str, Any]:
    """Places of a family tree's nodes and edges in CSS pixels."""
    columns = {x: k for k, x in enumerate(sorted({node.x for node in figure.nodes}))}
    tallest = max((sum(n.x == x for n in figure.nodes) for x in columns), default=1)
    height = max(4, min(tallest, 24)) * _ROW + 2 * _MARGIN
    places = {
        node.id: (
            _MARGIN + _COLUMN // 2 + _COLUMN * columns[node.x],
            round(_MARGIN + node.y * (height - 2 * _MARGIN - _ROW) + _ROW / 2, 1),
        )
        for node in figure.nodes
    }
    return {
        "width": _COLUMN * len(columns) + 2 * _MARGIN,
        "height": height + 20,
        "nodes": [(node, *places[node.id]) for node in figure.nodes],
        "edges": [(*places[a], *places[b], main) for a, b, main in sorted(figure.edges, key=lambda e: e[2])],
        "columns": [(_MARGIN + _COLUMN // 2 + _COLUMN * k, x) for x, k in columns.items()],
    }


def heat_colours(figure: HeatMap) -> dict[str, Any]:
    """Cells of a heat map with their colours, on a logarithmic scale."""
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    known = [math.log(value) for _, row in figure.rows for value in row if value > 0]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    colours = mpl.colormaps["viridis"]

    def colour(value: float) -> str:
        share = (math.log(value) - low) / (high - low) if value > 0 and high > low else 0.0
        return to_hex(colours(share))

    return {
        "rows": [
            (label, [(colour(v), f"{label}, gene {k + 1}: {v:.3g}") for k, v in enumerate(row)])
            for label, row in figure.rows
        ],
        "scale": [to_hex(colours(k / 24)) for k in range(25)],
        "low": f"{math.exp(low):.3g}",
        "high": f"{math.exp(high):.3g}",
    }


def sort_value(column: Column, value: Any) -> str | None:
    """What a cell is sorted by where that is not its text, for JavaScript's ``Number``."""
    if column.format is None or isinstance(value, str) or value is None or math.isnan(value):
        return None
    return repr(float(value)).replace("inf", "Infinity")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _read(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8").strip()


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evoopt.report"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = lambda value: type(value).__name__.lower()
    environment.filters["intervals"] = interval_scale
    environment.filters["tree"] = tree_drawing
    environment.filters["heat"] = heat_colours
    environment.globals["sort_value"] = sort_value
    return environment.get_template(f"{name}.html.jinja")
