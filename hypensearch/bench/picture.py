# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The picture of a benchmark: overlap and effectiveness against latency, with the Pareto frontier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypensearch.errors import HypensearchError

Point = tuple[float, float]


def draw(report: Mapping[str, Any], path: str) -> None:
    """Draw overlap, and the first measure of effectiveness if there is one, against median latency, for each k.

    :param report: What the command writes as JSON.
    :param path: PNG or SVG file to write.
    :raises HypensearchError: When matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError:
        raise HypensearchError("--picture needs matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = report["measurements"]
    values = sorted({one["k"] for one in found})
    measure = next(iter(found[0]["measures"]), None)
    rows: list[tuple[str, Callable[[Any], float | None]]] = [("overlap", lambda one: one["overlap"])]
    if measure is not None:
        rows.append((measure, lambda one: one["measures"].get(measure)))
    figure, panels = pyplot.subplots(
        len(rows), len(values), figsize=(6 * len(values), 4.3 * len(rows)), squeeze=False, sharex=True
    )
    for (name, value_of), line in zip(rows, panels, strict=True):
        for panel, k in zip(line, values, strict=True):
            points = [
                (one["name"], 1000 * one["p50"], value)
                for one in found
                if one["k"] == k and (value := value_of(one)) is not None
            ]
            _draw_points(panel, points)
            panel.set(xscale="log", xlabel="median milliseconds a query, its q-net given")
            panel.set_ylabel(f"overlap@{k} with exhaustive search" if name == "overlap" else name)
            panel.set_title(f"k = {k}, {report['documents']:,} documents, {report['topics']} topics", fontsize=10)
            panel.grid(alpha=0.3)
    panels[0][-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def frontier(points: Sequence[Point]) -> list[Point]:
    """Keep the points of the Pareto frontier: no other is faster and at least as good.

    :param points: Seconds and quality.
    :return: Faster ones first.
    """
    kept: list[Point] = []
    for seconds, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or quality > kept[-1][1]:
            kept.append((seconds, quality))
    return kept


def _draw_points(panel: Any, points: Sequence[tuple[str, float, float]]) -> None:
    for family in dict.fromkeys(name.split()[0] for name, _, _ in points):
        own = sorted((seconds, quality) for name, seconds, quality in points if name.split()[0] == family)
        panel.plot(*zip(*own, strict=True), marker="o", markersize=4, linewidth=0.8, label=family)
    best = frontier([(seconds, quality) for _, seconds, quality in points])
    panel.step(
        *zip(*best, strict=True), where="post", color="black", linestyle=":", linewidth=1.5, label="frontier", zorder=0
    )
