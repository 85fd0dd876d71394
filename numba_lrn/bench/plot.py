"""Figures: time over window size, batch or channels, and bars for networks, with the roof drawn."""

import importlib.util
import pathlib
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from numba_lrn.bench.cases import BadArgumentError
from numba_lrn.bench.report import Report
from numba_lrn.bench.run import OURS, Row

FORMATS = (".png", ".svg", ".pdf")
ROOF_LABEL = "roof: the same bytes moved"
SWEEPS: dict[str, tuple[str, Callable[[Row], float]]] = {
    "window": ("window size (elements)", lambda row: row.size),
    "batch": ("batch", lambda row: row.shape[0]),
    "channels": ("channels", lambda row: row.shape[1]),
    "beta": ("beta", lambda row: row.beta),
}
COLOURS = {
    OURS: "#0b5fa5",
    "torch": "#d1495b",
    "torch.compile": "#e58e26",
    "onnxruntime": "#6c9a3b",
    "openvino": "#7b4fa3",
    "tensorflow": "#8c6d46",
}


def check_plot(path: str) -> None:
    """Refuse a figure that cannot be drawn before anything is run.

    Raises
    ------
    BadArgumentError
        For an unknown kind of file, or without matplotlib.
    """
    if pathlib.Path(path).suffix not in FORMATS:
        msg = f"--plot {path}: the name must end in {', '.join(FORMATS)}"
        raise BadArgumentError(msg)
    if importlib.util.find_spec("matplotlib") is None:
        msg = "--plot needs matplotlib: pip install 'numba-lrn[bench]'"
        raise BadArgumentError(msg)


def draw(report: Report, path: str) -> None:
    """One panel for each sweep or set of bars and direction, saved as ``path``."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(report.rows)
    if not panels:
        msg = "there are no rows to draw"
        raise BadArgumentError(msg)
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    with mpl.rc_context(
        {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}
    ):
        heights = [
            max(_height(*panel) for panel in panels[line * columns : (line + 1) * columns]) for line in range(lines)
        ]
        figure = Figure(figsize=(6.8 * columns, sum(heights) + 0.9), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(lines, columns, squeeze=False, height_ratios=heights)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (key, rows) in zip(grid.flat, panels, strict=False):
            (_sweep if len(key) == 4 else _bars)(axes, key, rows)
        handles: dict[str, Any] = {}
        for axes in grid.flat[: len(panels)]:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4, frameon=False, fontsize=9)
        figure.supxlabel(_caption(report), fontsize=8, color="#555555")
        figure.savefig(path, dpi=150)


def _panels(rows: list[Row]) -> list[tuple[tuple[str, ...], list[Row]]]:
    """Rows by (group, direction, layout, dtype); bars keep one panel a group and direction."""
    found: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    key: tuple[str, ...]
    for row in rows:
        key = (row.group, row.direction, row.layout, row.dtype) if row.group in SWEEPS else (row.group, row.direction)
        found[key].append(row)
    panels: list[tuple[tuple[str, ...], list[Row]]] = []
    for key, members in found.items():
        if key[0] in SWEEPS and len({SWEEPS[key[0]][1](row) for row in members}) < 2:
            panels.append((key[:2], members))
        else:
            panels.append((key, members))
    return panels


def _height(key: tuple[str, ...], rows: list[Row]) -> float:
    return 3.6 if len(key) == 4 else 0.9 + 0.22 * (len(rows) + 2 * len(_labels(rows)))


def _labels(rows: list[Row]) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys((row.case, row.layout, row.dtype) for row in rows))


def _sweep(axes: Any, key: tuple[str, ...], rows: list[Row]) -> None:
    group, direction, layout, dtype = key
    name, value = SWEEPS[group]
    lines: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        lines[row.contestant].append(row)
    for contestant, members in lines.items():
        members.sort(key=value)
        axes.errorbar(
            [value(row) for row in members],
            [row.median * 1e3 for row in members],
            yerr=[
                [max(row.median - row.q1, 0) * 1e3 for row in members],
                [max(row.q3 - row.median, 0) * 1e3 for row in members],
            ],
            marker="o",
            markersize=4,
            capsize=2,
            linewidth=2 if contestant == OURS else 1.2,
            color=COLOURS.get(contestant),
            label=contestant,
            zorder=3 if contestant == OURS else 2,
        )
    ours = lines[OURS]
    axes.plot(
        [value(row) for row in ours],
        [row.roof * 1e3 for row in ours],
        color="#333333",
        linestyle="--",
        linewidth=1.2,
        label=ROOF_LABEL,
    )
    if group != "beta":
        axes.set_xscale("log", base=2)
        ticks = sorted({value(row) for row in rows})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    axes.set_yscale("log")
    _plain_log(axes.yaxis)
    axes.set_xlabel(name)
    axes.set_ylabel("time a call (ms), bars: quartiles")
    axes.set_title(f"{_shape(ours, group)}, {dtype}, {layout.upper()}, {direction}", fontsize=10)
    axes.grid(True, which="major", axis="y", color="#dddddd", linewidth=0.6)


def _shape(rows: list[Row], group: str) -> str:
    """The shape that the rows share, with the swept extent as a letter."""
    shape = [str(extent) for extent in rows[0].shape]
    swept = {"batch": 0, "channels": 1}.get(group)
    if swept is not None:
        shape[swept] = "NC"[swept]
    return "×".join(shape)


def _bars(axes: Any, key: tuple[str, ...], rows: list[Row]) -> None:
    """Horizontal bars in groups, one a case, on a logarithmic axis; a mark at the roof of each."""
    direction = key[1]
    labels = _labels(rows)
    several = len({label[1:] for label in labels}) > 1
    position, ticks = 0.0, []
    for label in labels:
        members = [row for row in rows if (row.case, row.layout, row.dtype) == label]
        ticks.append(position + (len(members) - 1) / 2)
        roof = members[0].roof * 1e3
        axes.plot(
            [roof, roof],
            [position - 0.5, position + len(members) - 0.5],
            color="#333333",
            linestyle="--",
            linewidth=1.2,
            zorder=4,
            label=ROOF_LABEL,
        )
        for row in members:
            axes.barh(
                position,
                row.median * 1e3,
                height=0.85,
                color=COLOURS.get(row.contestant, "#888888"),
                label=row.contestant,
            )
            axes.annotate(
                f"{row.over_roof:.2g}×" if row.over_roof < 99.5 else f"{row.over_roof:.0f}×",
                (row.median * 1e3, position),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                color="#444444",
            )
            position += 1
        position += 1.2
    axes.set_yticks(
        ticks, [f"{case}\n{layout} {dtype}" if several else case for case, layout, dtype in labels], fontsize=8
    )
    axes.set_ylim(position - 1.2, -1.0)
    axes.set_xscale("log")
    _plain_log(axes.xaxis)
    axes.margins(x=0.12)
    axes.set_xlabel("time a call (ms); beside the bars: times over the roof")
    axes.set_title(f"{key[0]}, {direction}", fontsize=10)
    axes.grid(True, which="major", axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _plain_log(axis: Any) -> None:
    """Ticks written as plain numbers: at 1, 2 and 5 of each decade, or at 1 where there are many decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_data_interval()
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0) if high < 300 * low else (1.0,), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _caption(report: Report) -> str:
    env = report.environment
    return (
        f"numba_lrn {env['numba_lrn']}, {env['cpu']}, {report.settings['threads']} threads, "
        f"last-level cache {env['last_level_cache'] / 2**20:.0f} MiB, {env['date']}"
    )
