# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a finished run says of itself: a model card and a picture of its curves, both from the run's own files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hypensearch.formats.files import replace_when_whole
from hypensearch.formats.json_files import parse_json
from hypensearch.models.card import header, usage
from hypensearch.models.dual_encoder import DEFAULT_MAX_LENGTH
from hypensearch.train.config import TrainingConfig, backbone_name

CARD, CURVES = "README.md", "curves.png"

Entry = Mapping[str, Any]
Curve = tuple[str, Sequence[Entry], str]


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


def read_history(path: Path) -> list[Entry]:
    """Read a run's history; a resumed run's steps count once, as they were done last."""
    kinds = ("loss", "eval_mean")
    entries: dict[tuple[int, int], Entry] = {}
    if path.is_file():
        for entry in _whole_lines(path):
            kind = next((number for number, key in enumerate(kinds) if key in entry), len(kinds))
            entries[entry["step"], kind] = entry
    return [entries[key] for key in sorted(entries)]


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Give the lines that are entries; a kill may have cut one."""
    for line in path.read_bytes().split(b"\n"):
        with suppress(ValueError):
            entry = parse_json(line)
            if isinstance(entry, dict) and type(entry.get("step")) is int:
                yield entry


def model_card(config: TrainingConfig, report: Mapping[str, Any], *, has_curves: bool) -> str:
    """Return the card: what was trained on what, all settings that are not the default, and what was measured."""
    kind = {"hypencoder": "Hypencoder", "biencoder": "Bi-encoder", "twin": "Hypencoder of two linear maps"}
    name = backbone_name(config)
    lines = [
        *header(name),
        f"# {kind[config.architecture]} over {name.rpartition('/')[2]}",
        "",
        f"Trained with hypensearch in {report['steps']} steps ({report['seconds']} seconds){_kept(report)} on:",
        "",
        *(f"- {name}: {count} records" for name, count in report["records"].items()),
        "",
        *_measures(report, config),
        *_profile(report),
        "Settings that are not the default:",
        "",
        *(f"    {name}: {json.dumps(value)}" for name, value in _changed(config).items()),
        "",
        "    python -m hypensearch.train --config training/config.json",
        "",
        *usage(config.push_to_hub or Path(config.output).name),
    ]
    return "\n".join([*lines, *([f"![Loss and {config.measures[0]}](curves.png)", ""] if has_curves else [])])


def draw_curves(path: Path, history: Sequence[Entry], measures: Sequence[str]) -> bool:
    """Draw one run's loss and first measure over steps; return whether that was possible.

    :param measures: As in the settings.
    """
    keys = {key for entry in history for key in entry if key.startswith("eval_")} - {"eval_seconds"}
    names = sorted(key for key in keys if not key.endswith(tuple(f"_{measure}" for measure in measures[1:])))
    curves = [(name.removeprefix("eval_"), history, name) for name in names]
    return _draw(path, [("loss", history, "loss")], curves, measures[0])


def compare_curves(path: Path, histories: Mapping[str, Sequence[Entry]], measure: str = "RR@10") -> bool:
    """Draw several runs' loss and mean first measure in one picture; return whether that was possible.

    :param histories: Of each run, by the name to show.
    :param measure: What the runs' first measure is called.
    """
    return _draw(
        path,
        [(name, history, "loss") for name, history in histories.items()],
        [(name, history, "eval_mean") for name, history in histories.items()],
        measure,
    )


def _draw(path: Path, losses: Sequence[Curve], measured: Sequence[Curve], measure: str) -> bool:
    try:
        import matplotlib
    except ImportError:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    assert matplotlib
    figure = Figure(figsize=(8, 3), layout="constrained")
    FigureCanvasAgg(figure)
    loss, measures = figure.subplots(1, 2)
    for axes, curves in ((loss, losses), (measures, measured)):
        for curve in curves:
            _plot(axes, *curve)
    loss.set(title="training loss", xlabel="step")
    if len(losses) > 1:
        loss.legend(fontsize="small")
    measures.set(title=f"{measure} on held-out topics", xlabel="step")
    if measures.lines:
        measures.legend(fontsize="small")
    with replace_when_whole(path) as file:
        figure.savefig(file, format="png", dpi=120)
    return True


def _plot(axes: Any, label: str, history: Sequence[Entry], key: str) -> None:
    points = [(entry["step"], entry[key]) for entry in history if key in entry]
    if points:
        axes.plot(*zip(*points, strict=True), marker=".", label=label)


def other_lengths(config: TrainingConfig) -> str | None:
    """Say that validation cuts texts at another length than encode and search do by default; None where it does not."""
    queries, documents = config.query_length, config.document_length
    if queries == documents == DEFAULT_MAX_LENGTH:
        return None
    return (
        f"cuts queries at {queries} tokens and documents at {documents}, encode and search at {DEFAULT_MAX_LENGTH}; "
        f"the same figures want encoder --max-length {documents} and search --max-length {queries}"
    )


def _kept(report: Mapping[str, Any]) -> str:
    if "measure" not in report:
        return ""
    return f", the weights of step {report['kept_step']} kept by {report['measure']},"


def _measures(report: Mapping[str, Any], config: TrainingConfig) -> list[str]:
    if "end" not in report:
        return []
    names = [name for name in report["end"] if name.startswith("eval_") and name != "eval_seconds"]
    rows = [
        f"| {name.removeprefix('eval_')} | {report.get('start', {}).get(name, float('nan')):.4f} "
        f"| {report['end'][name]:.4f} |"
        for name in names
    ]
    return [
        f"{config.measures[0]} on held-out topics, and what else is named:",
        "",
        "| | start | end |",
        "|---|---|---|",
        *rows,
        "",
        *([f"Validation {note}.", ""] if (note := other_lengths(config)) else []),
    ]


def _profile(report: Mapping[str, Any]) -> list[str]:
    if "profile" not in report:
        return []
    profile = report["profile"]
    whole = profile["step_seconds"] or 1.0
    rows = [f"| {part} | {seconds:.3f} | {seconds / whole:.0%} |" for part, seconds in profile["seconds"].items()]
    return [
        f"A step, mean of {profile['steps']}: {whole:.3f} seconds; at most {profile['peak_memory_mb']} MB:",
        "",
        "| part, forwards and backwards | seconds | share |",
        "|---|---|---|",
        *rows,
        "",
    ]


def _changed(config: TrainingConfig) -> dict[str, Any]:
    usual = asdict(TrainingConfig(train=[], output=""))
    return {name: value for name, value in asdict(config).items() if value != usual[name]}
