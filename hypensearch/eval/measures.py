# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Measures of a run against relevance judgements: ir_measures' names, trec_eval's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.hits import Hit

if TYPE_CHECKING:
    from ir_measures import CalcResults, Measure

#: The measures that the paper's authors report.
DEFAULT_MEASURES = ("nDCG@10", "nDCG@5", "P@10", "RR@10", "R@100", "R@1000", "AP")

MEASURES_PAGE = "https://ir-measur.es/en/latest/measures.html"


@dataclass(frozen=True)
class Evaluation:
    """How good one run is.

    Measures are named with their relevance level, as in ``R(rel=1)@1000``, in the order they were asked for.

    :param values: Measure to its value over all ``topics``: the mean, and the sum for counts such as ``NumRet``.
        Measures of quality lie in [0, 1].
    :param per_topic: Measure to topic id to value; every measure has every topic of ``topics``.
    :param topics: Ids of the topics that count, in the order of the judgements.
    :param missing: Judged topics that the run has no hits for.
    :param unjudged: Topics of the run without judgements; they are ignored.
    """

    values: Mapping[str, float]
    per_topic: Mapping[str, Mapping[str, float]]
    topics: tuple[str, ...]
    missing: tuple[str, ...]
    unjudged: tuple[str, ...]


def evaluate(
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Sequence[Hit]],
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    relevance_level: int = 1,
    complete: bool = True,
) -> Evaluation:
    """Measure a run, as trec_eval would measure its file.

    Hits are ranked as trec_eval ranks them (scores in single precision, higher first; equal scores by docid,
    descending), whatever their order in ``run``.

    :param qrels: Topic id to docid to relevance grade.
    :param run: Topic id to hits, as many topics as the run has.
    :param measures: Names as ir_measures has them (``nDCG@10``, ``R(rel=2)@1000``) or trec_eval (``ndcg_cut.10``).
    :param relevance_level: The least grade that binary measures count as relevant, unless their name says ``rel=``.
        The Deep Learning tracks, and the paper on them, use 2.
    :param complete: Count judged topics without hits as 0 (``trec_eval -c``); else leave them out.
    :raises HypensearchError: When a measure is unknown, the run is empty or has a document twice in a topic,
        or no topic of the run is judged.
    """
    named = resolve_measures(measures, relevance_level)
    _check_topics(qrels, run)
    judged_run = {topic: _as_trec_eval_ranks(topic, run[topic]) for topic in qrels if run.get(topic)}
    missing = tuple(topic for topic in qrels if topic not in judged_run)
    counted = qrels if complete else {topic: qrels[topic] for topic in judged_run}
    results = _calculate(named, counted, judged_run)
    assert isinstance(results.aggregated, dict)
    return Evaluation(
        values={name: float(results.aggregated[measure]) for name, measure in named.items()},
        per_topic=_values_per_topic(named, list(counted), results),
        topics=tuple(counted),
        missing=missing,
        unjudged=tuple(topic for topic in run if topic not in qrels),
    )


def resolve_measures(names: Sequence[str], relevance_level: int = 1) -> dict[str, Measure]:
    """Parse measures' names and give binary measures their relevance level.

    :param names: Names as ir_measures or trec_eval has them; repeated ones count once.
    :param relevance_level: The level of binary measures whose name does not say ``rel=``.
    :return: Full name (with relevance level) to ir_measures' measure, in the order of ``names``.
    :raises HypensearchError: When some cannot be computed; all of them are named.
    """
    measures: dict[str, Measure] = {}
    refused = []
    for name in names:
        try:
            for measure in _parse(name):
                levelled = _with_relevance_level(measure, relevance_level)
                _check_computable(levelled)
                measures[_full_name(levelled)] = levelled
        except ValueError as error:
            refused.append(f"{name!r} ({error})")
    if refused:
        raise HypensearchError(
            f"cannot compute {', '.join(refused)}: give measures such as nDCG@10, RR@10, R(rel=2)@1000; "
            f"all of them are listed at {MEASURES_PAGE}"
        )
    return measures


def _parse(name: str) -> list[Measure]:
    import ir_measures
    import pytrec_eval

    try:
        return [ir_measures.parse_measure(name)]
    except KeyError as error:
        raise ValueError(f"it has no parameter {error}") from error
    except (NameError, ValueError):
        if name in pytrec_eval.supported_nicknames:
            raise ValueError("it names a set of measures") from None
    try:
        return list(ir_measures.parse_trec_measure(name))
    except ValueError:
        raise ValueError("unknown") from None


def _with_relevance_level(measure: Measure, relevance_level: int) -> Measure:
    if "rel" in measure.params or not _is_binary(measure):
        return measure
    return measure(rel=relevance_level)


def _is_binary(measure: Measure) -> bool:
    parameter = measure.SUPPORTED_PARAMS.get("rel")
    return parameter is not None and isinstance(parameter.default, int)


def _check_computable(measure: Measure) -> None:
    import ir_measures

    try:
        measure.validate_params()
    except AssertionError as error:
        raise ValueError(str(error).split("=<object")[0]) from error
    if measure.params.get("cutoff", 1) < 1:
        raise ValueError("its cutoff is not a rank")
    if not ir_measures.DefaultPipeline.supports(measure):
        raise ValueError("no installed library computes it")


def _full_name(measure: Measure) -> str:
    """Name a measure as ir_measures does, but with the relevance level even where it is the usual one."""
    at = measure.AT_PARAM
    shown = {name: value for name, value in measure.params.items() if name != at}
    inside = ", ".join(f"{name}={value!r}" for name, value in shown.items())
    cutoff = f"@{measure.params[at]}" if at in measure.params else ""
    return f"{measure.NAME}({inside}){cutoff}" if inside else f"{measure.NAME}{cutoff}"


def _check_topics(qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Sequence[Hit]]) -> None:
    if not qrels:
        raise HypensearchError("no judgements: the qrels have no topic, so nothing can be measured")
    if not any(run.values()):
        raise HypensearchError("an empty run: it has no hits for any topic, so nothing can be measured")
    if not any(run.get(topic) for topic in qrels):
        raise HypensearchError(
            f"no topic of the run is judged: the run has topics such as {next(iter(run))!r}, "
            f"the qrels such as {next(iter(qrels))!r}; give qrels for the same topics, with ids written alike"
        )


def _as_trec_eval_ranks(topic: str, hits: Sequence[Hit]) -> dict[str, float]:
    """Order hits as trec_eval does, and say so in scores that no library can take for ties.

    :return: Docid to the negative of its rank, best first.
    """
    by_docid = sorted(hits, key=lambda hit: hit.docid, reverse=True)
    scores = np.array([hit.score for hit in by_docid], dtype=np.float64)
    with np.errstate(over="ignore"):
        order = np.argsort(-scores.astype(np.float32), kind="stable")
    ranks = {by_docid[position].docid: -float(rank) for rank, position in enumerate(order)}
    if len(ranks) < len(hits):
        repeated = next(a.docid for a, b in zip(by_docid, by_docid[1:], strict=False) if a.docid == b.docid)
        raise HypensearchError(f"topic {topic} has document {repeated} twice: a run ranks a document once per topic")
    return ranks


def _calculate(
    named: Mapping[str, Measure], qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]
) -> CalcResults:
    import ir_measures

    measures = list(named.values())
    try:
        return ir_measures.DefaultPipeline.calc(measures, {t: dict(g) for t, g in qrels.items()}, dict(run))
    except (RuntimeError, ValueError) as error:
        raise HypensearchError(f"ir_measures cannot compute {', '.join(named)}: {error}") from error


def _values_per_topic(
    named: Mapping[str, Measure], topics: Sequence[str], results: CalcResults
) -> dict[str, dict[str, float]]:
    names = {measure: name for name, measure in named.items()}
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(topics, 0.0) for name in named}
    for metric in results.per_query:
        values[names[metric.measure]][metric.query_id] = float(metric.value)
    return values
