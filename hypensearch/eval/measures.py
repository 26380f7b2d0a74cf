# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Measures of a run against relevance judgements: ir_measures' names, trec_eval's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.eval.trec_measures import JudgedShare, TrecMeasure, calculate, judged_share, parse_trec_name
from hypensearch.hits import Hit

if TYPE_CHECKING:
    from ir_measures import Measure

    AnyMeasure: TypeAlias = Measure | TrecMeasure | JudgedShare

#: The measures that the paper's authors report.
DEFAULT_MEASURES = ("nDCG@10", "nDCG@5", "P@10", "RR@10", "R@100", "R@1000", "AP")

_COUNTED = ("NumQ", "NumRel")  # here: ir_measures counts the former wrongly, the latter at rel=1 only

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

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {value:.4f}" for name, value in self.values.items())
        return f"<Evaluation of {len(self.topics):,} topics: {values}>"


def evaluate(
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Sequence[Hit]],
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    relevance_level: int = 1,
    complete: bool = True,
    max_hits: int | None = None,
    remove_unjudged: bool = False,
) -> Evaluation:
    """Measure a run, as trec_eval would measure its file.

    Hits are ranked as trec_eval ranks them (scores in single precision, higher first; equal scores by docid,
    descending), whatever their order in ``run``.

    :param qrels: Topic id to docid to relevance grade. Negative grades are "not judged", as in trec_eval.
    :param run: Topic id to hits, as many topics as the run has.
    :param measures: Names as ir_measures has them (``nDCG@10``, ``R(rel=2)@1000``) or trec_eval (``ndcg_cut.10``,
        ``set_P``, or a set such as ``official``); ``judged.10`` as Pyserini's command.
    :param relevance_level: The least grade that binary measures count as relevant, unless their name says ``rel=``.
        The Deep Learning tracks, and the paper on them, use 2.
    :param complete: Count judged topics without hits as 0 (``trec_eval -c``); else leave them out.
    :param max_hits: Look at so many hits of each topic, best first (``trec_eval -M``); None for all.
    :param remove_unjudged: Leave out hits that the qrels do not name, as Pyserini's ``-remove-unjudged``.
    :raises HypensearchError: When a measure is unknown, the run is empty or has a document twice in a topic,
        or no topic of the run is judged.
    """
    named = resolve_measures(measures, relevance_level)
    _check_topics(qrels, run)
    if remove_unjudged:
        run = _only_judged(run, qrels)
    ranked = {topic: _as_trec_eval_ranks(topic, run[topic], max_hits) for topic in qrels if run.get(topic)}
    topics = tuple(qrels if complete else ranked)
    found = _per_topic(named, {topic: qrels[topic] for topic in topics}, run, ranked)

    def overall(name: str, measure: AnyMeasure) -> float:
        if isinstance(measure, JudgedShare):
            return judged_share(run, qrels, measure.cutoff)
        if isinstance(measure, TrecMeasure) and measure.key == "num_rel" and complete:
            # trec_eval then counts all above 0, whatever the level
            return sum(_num_relevant(grades, 1) for grades in qrels.values())
        return _mean(measure, found[name], topics)

    return Evaluation(
        values={name: overall(name, measure) for name, measure in named.items()},
        per_topic={
            name: {topic: _shown(measure, found[name].get(topic)) for topic in topics}
            for name, measure in named.items()
        },
        topics=topics,
        missing=tuple(topic for topic in qrels if topic not in ranked),
        unjudged=tuple(topic for topic in run if topic not in qrels),
    )


def resolve_measures(names: Sequence[str], relevance_level: int = 1) -> dict[str, AnyMeasure]:
    """Parse measures' names and give binary measures their relevance level.

    :param names: Names as ir_measures or trec_eval has them; repeated ones count once, sets such as ``official`` are
        their measures.
    :param relevance_level: The level of binary measures whose name does not say ``rel=``.
    :return: Full name (with relevance level) to measure, with ``params``, in the order of ``names``.
    :raises HypensearchError: When some cannot be computed; all of them are named.
    """
    measures: dict[str, AnyMeasure] = {}
    refused = []
    for name in names:
        try:
            for measure in _parse(name, relevance_level):
                if isinstance(measure, (TrecMeasure, JudgedShare)):
                    measures[measure.name] = measure
                    continue
                parameter = measure.SUPPORTED_PARAMS.get("rel")
                if parameter and isinstance(parameter.default, int) and "rel" not in measure.params:  # a binary one
                    measure = measure(rel=relevance_level)
                _check_computable(measure)
                measures[_full_name(measure)] = measure
        except ValueError as error:
            refused.append(f"{name!r} ({error})")
    if refused:
        raise HypensearchError(
            f"cannot compute {', '.join(refused)}: give measures such as nDCG@10, RR@10, R(rel=2)@1000; "
            f"all of them are listed at {MEASURES_PAGE}"
        )
    return measures


def _parse(name: str, relevance_level: int) -> Sequence[AnyMeasure]:
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
    except KeyError as error:
        raise ValueError(f"it has no parameter {error}") from error
    except (NameError, ValueError):
        return parse_trec_name(name, relevance_level)
    if name == "P":  # trec_eval's, at all of its cutoffs; ir_measures' wants one
        return parse_trec_name(name, relevance_level)
    if measure.NAME == "NumRet" and measure.params == {"rel": 1} and "rel=" not in name:  # NumRelRet
        return [measure(rel=relevance_level)]
    return [measure]


def _check_computable(measure: Measure) -> None:
    import ir_measures

    try:
        measure.validate_params()
    except AssertionError as error:
        raise ValueError(str(error).split("=<object")[0]) from error
    if measure.params.get("cutoff", 1) < 1:
        raise ValueError("its cutoff is not a rank")
    if measure.NAME not in _COUNTED and not ir_measures.DefaultPipeline.supports(measure):
        raise ValueError("no installed library computes it")


def _full_name(measure: Measure) -> str:
    """Name a measure as ir_measures does, but with the relevance level even where it is the usual one."""
    at = measure.AT_PARAM
    inside = ", ".join(f"{name}={value!r}" for name, value in measure.params.items() if name != at)
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


def _only_judged(run: Mapping[str, Sequence[Hit]], qrels: Mapping[str, Mapping[str, int]]) -> dict[str, list[Hit]]:
    kept = {topic: [hit for hit in hits if hit.docid in qrels.get(topic, {})] for topic, hits in run.items()}
    if not any(kept.values()):
        raise HypensearchError("no hit of the run is judged, so nothing is left where unjudged ones are removed")
    return kept


def _as_trec_eval_ranks(topic: str, hits: Sequence[Hit], max_hits: int | None) -> dict[str, float]:
    """Order hits as trec_eval does, and give them scores that no library can take for ties.

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
    return ranks if max_hits is None else dict(islice(ranks.items(), max_hits))


def _per_topic(
    named: Mapping[str, AnyMeasure],
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Sequence[Hit]],
    ranked: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float]]:
    """Compute measures' values by topic, those of topics that have any.

    :param qrels: Of the topics that count.
    :param run: Hits as they came.
    :param ranked: Topic id to docid to score, of topics with hits and judgements.
    """
    found: dict[str, dict[str, float]] = {}
    of_library: dict[str, Measure] = {}
    of_trec: dict[str, TrecMeasure] = {}
    for name, measure in named.items():
        if isinstance(measure, JudgedShare):
            found[name] = {topic: judged_share({topic: run.get(topic, ())}, qrels, measure.cutoff) for topic in qrels}
        elif isinstance(measure, TrecMeasure):
            if measure.key == "num_rel":
                found[name] = {topic: _num_relevant(grades, measure.level) for topic, grades in qrels.items()}
            else:
                of_trec[name] = measure
        elif measure.NAME == "NumRel":
            found[name] = {topic: _num_relevant(grades, measure["rel"]) for topic, grades in qrels.items()}
        elif measure.NAME == "NumQ":
            found[name] = dict.fromkeys(qrels, 1.0)
        else:
            of_library[name] = measure
    # To trec_eval all negative grades are alike, but from -2 on it, and pytrec_eval, may end the process.
    bounded = {topic: {docid: max(grade, -1) for docid, grade in grades.items()} for topic, grades in qrels.items()}
    return found | _by_ir_measures(of_library, bounded, ranked) | calculate(of_trec, bounded, ranked)


def _num_relevant(grades: Mapping[str, int], level: int) -> float:
    return float(sum(grade >= level for grade in grades.values()))


def _by_ir_measures(
    named: Mapping[str, Measure], qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    import ir_measures

    if not named:
        return {}
    names = {measure: name for name, measure in named.items()}
    found: dict[str, dict[str, float]] = {name: {} for name in named}
    try:
        for metric in ir_measures.DefaultPipeline.iter_calc(list(names), qrels, dict(run)):
            found[names[metric.measure]][metric.query_id] = float(metric.value)
    except (RuntimeError, ValueError) as error:
        raise HypensearchError(f"ir_measures cannot compute {', '.join(named)}: {error}") from error
    return found


def _mean(measure: Measure | TrecMeasure, values: Mapping[str, float], topics: Sequence[str]) -> float:
    """Return a measure's value over all topics, of which some have one."""
    topics = sorted(topics, key=str.encode)  # trec_eval's order: added so, the last digit is the same
    if isinstance(measure, TrecMeasure):
        return measure.overall([values[topic] for topic in topics if topic in values], len(topics))
    aggregator = measure.aggregator()
    for topic in topics:
        aggregator.add(values.get(topic, measure.DEFAULT))
    return float(aggregator.result())


def _shown(measure: AnyMeasure, value: float | None) -> float:
    """Return a topic's value, None standing for one without hits."""
    if isinstance(measure, TrecMeasure):
        return measure.shown(value)
    if value is None:
        return 0.0 if isinstance(measure, JudgedShare) else float(measure.DEFAULT)
    return value
