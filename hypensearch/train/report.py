# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The report of a finished run: a model card and a picture of its curves, both from the run's own files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hypensearch.formats.files import replace_when_whole
from hypensearch.models.dual_encoder import DEFAULT_MAX_LENGTH
from hypensearch.models.publish import card, usage
from hypensearch.options import default_of
from hypensearch.train.config import TrainingConfig, backbone_name
from hypensearch.train.history import Entry

CARD, CURVES = "README.md", "curves.png"
_KINDS = {"hypencoder": "Hypencoder", "biencoder": "Bi-encoder"}


def write_report(output: Path, config: TrainingConfig, history: Sequence[Entry], report: Mapping[str, Any]) -> None:
    """Write the model card, and the curves where matplotlib is installed.

    :param output: The checkpoint's folder.
    :param history: What was logged, in order.
    :param report: What :func:`hypensearch.train.run.train` measured at start and end.
    """
    has_curves = draw_curves(output / CURVES, history, config.measures)
    with replace_when_whole(output / CARD, "w", follow_link=False) as file:
        # names may hold bytes that are not UTF-8
        file.write(model_card(config, report, has_curves=has_curves).encode("utf-8", "backslashreplace").decode())


def model_card(config: TrainingConfig, report: Mapping[str, Any], *, has_curves: bool) -> str:
    """Return the card: what was trained on what, all settings that are not the default, and what was measured."""
    name = backbone_name(config)
    changed = {key: value for key, value in asdict(config).items() if value != default_of(TrainingConfig, key)}
    kept = f", the weights of step {report['kept_step']} kept by {report['measure']}," if "measure" in report else ""
    lines = [
        f"# {_KINDS[config.architecture]} over {name.rpartition('/')[2]}",
        "",
        f"Trained with hypensearch in {report['steps']} steps ({report['seconds']} seconds){kept} on:",
        "",
        *(f"- {name}: {count} records" for name, count in report["records"].items()),
        "",
        *_measures(report, config),
        "Settings that are not the default:",
        "",
        *(f"    {name}: {json.dumps(value)}" for name, value in changed.items()),
        "",
        "    python -m hypensearch.train --config training/config.json",
        "",
        *usage(config.push_to_hub or Path(config.output).name),
    ]
    return card([*lines, *([f"![Loss and {config.measures[0]}](curves.png)", ""] if has_curves else [])], name)


def other_lengths(config: TrainingConfig) -> str | None:
    """Say that validation cuts texts at another length than encode and search do by default; None where it does not."""
    queries, documents = config.query_length, config.document_length
    if queries == documents == DEFAULT_MAX_LENGTH:
        return None
    return (
        f"cuts queries at {queries} tokens and documents at {documents}, encode and search at {DEFAULT_MAX_LENGTH}; "
        f"for the same figures set --max-length {documents} of encode and --max-length {queries} of search"
    )


def draw_curves(path: Path, history: Sequence[Entry], measures: Sequence[str]) -> bool:
    """Draw loss and first measure over steps; return whether matplotlib is there to do so.

    :param measures: As in the settings.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    others = (*(f"_{measure}" for measure in measures[1:]), "_seconds")
    keys = sorted({key for entry in history for key in entry if key.startswith("eval_") and not key.endswith(others)})
    figure = Figure(figsize=(8, 3), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.set(title="training loss", xlabel="step")
    right.set(title=f"{measures[0]} on held-out topics", xlabel="step")
    for axes, key in ((left, "loss"), *((right, key) for key in keys)):
        if points := [(entry["step"], entry[key]) for entry in history if key in entry]:
            axes.plot(*zip(*points, strict=True), marker=".", label=key.removeprefix("eval_"))
    if keys:
        right.legend(fontsize="small")
    with replace_when_whole(path) as file:
        figure.savefig(file, format="png", dpi=120)
    return True


def _measures(report: Mapping[str, Any], config: TrainingConfig) -> list[str]:
    if "end" not in report:
        return []
    names = [name for name in report["end"] if name.startswith("eval_") and name != "eval_seconds"]
    rows = [
        f"| {name.removeprefix('eval_')} | {report.get('start', {}).get(name, float('nan')):.4f} "
        f"| {report['end'][name]:.4f} |"
        for name in names
    ]
    note = other_lengths(config)
    return [
        f"{config.measures[0]} on held-out topics, and what else is named:",
        "",
        "| | start | end |",
        "|---|---|---|",
        *rows,
        "",
        *([f"Validation {note}.", ""] if note else []),
    ]
