# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The picture of a benchmark: how much of exhaustive search is found, against latency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypensearch.errors import HypensearchError


def draw(report: Mapping[str, Any], path: str) -> None:
    """Draw overlap against median latency, a panel for each k.

    :param report: What the command writes as JSON.
    :param path: PNG file to write.
    :raises HypensearchError: When matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError:
        raise HypensearchError("--picture needs matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    values = sorted({found["k"] for found in report["measurements"]})
    figure, panels = pyplot.subplots(1, len(values), figsize=(6 * len(values), 4.5), squeeze=False)
    for panel, k in zip(panels[0], values, strict=True):
        of_k = [found for found in report["measurements"] if found["k"] == k and found["overlap"] is not None]
        for family in dict.fromkeys(found["name"].split()[0] for found in of_k):
            points = sorted((1000 * f["p50"], f["overlap"]) for f in of_k if f["name"].split()[0] == family)
            panel.plot(*zip(*points, strict=True), marker="o", label=family)
        for found in report["measurements"]:
            if found["k"] == k and found["overlap"] is None:
                panel.axvline(1000 * found["p50"], linestyle=":", color="grey")
                panel.annotate(
                    found["name"], (1000 * found["p50"], 0.02), rotation=90, xycoords=("data", "axes fraction")
                )
        panel.set(xscale="log", xlabel="median milliseconds a query", ylabel=f"overlap@{k} with exhaustive search")
        panel.set_title(f"k = {k}, {report['documents']:,} documents")
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
