# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""trec_eval's names of measures: those that ir_measures has too, those that it lacks, and names of sets.

What ir_measures lacks is computed by pytrec_eval, which is trec_eval's own code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypensearch.hits import Hit

if TYPE_CHECKING:
    from ir_measures import Measure

#: trec_eval's name, and Pyserini's, of the share of judged documents.
JUDGED = "judged"

_NO_NUMBERS = {"runid": "it is the run's tag, not a measure", "relstring": "it is a string, not a number"}
_OF_PREFERENCES = ("prefs", "all_prefs", "qrels_jg")
_GRADED = ("G", "Rndcg", "ndcg_rel")  # they go by grades, so a relevance level changes nothing
_GEOMETRIC = ("gm_map", "gm_bpref")
_LEAST_LOG = math.log(0.00001)  # what trec_eval takes for a topic of value 0 in a geometric mean
_CUTOFFS = re.compile(r"(\w+?)[._]([0-9.]+(?:,[0-9.]+)*)")


@dataclass(frozen=True)
class TrecMeasure:
    """A measure that trec_eval has and ir_measures lacks.

    :param key: trec_eval's name with its parameter, such as ``gm_map`` or ``relative_P_5``.
    :param level: The least relevant grade.
    """

    key: str
    level: int

    @property
    def name(self) -> str:
        """What evaluations call it."""
        return self.key if self.key in _GRADED else f"{self.key}(rel={self.level})"

    @property
    def params(self) -> Mapping[str, Any]:
        """Its parameters, as ir_measures' measures have them."""
        family, _, cutoff = self.key.rpartition("_")
        return {"rel": self.level, **({"cutoff": int(cutoff)} if family == "relative_P" else {})}

    def overall(self, values: Sequence[float], num_topics: int) -> float:
        """Return the value over all topics.

        :param values: Those of topics that have hits, in trec_eval's order.
        :param num_topics: Topics that count.
        """
        total = 0.0
        for value in values:  # one by one, as trec_eval adds: the last digit is then the same
            total += value
        if self.key in _GEOMETRIC:
            return math.exp((total + (num_topics - len(values)) * _LEAST_LOG) / num_topics)
        return total if self.key.startswith("num_") else total / num_topics

    def shown(self, value: float | None) -> float:
        """Return a topic's value as it is shown; None for a topic without hits."""
        if self.key in _GEOMETRIC:
            return math.exp(_LEAST_LOG if value is None else value)
        return 0.0 if value is None else value


@dataclass(frozen=True)
class JudgedShare:
    """Pyserini's ``judged.k``: of the first k hits of all topics, in the run's order, the share that is judged.

    Topics of the run without judgements count as well: none of their hits is judged.

    :param cutoff: k.
    """

    cutoff: int

    @property
    def name(self) -> str:
        """What evaluations call it."""
        return f"{JUDGED}_{self.cutoff}"

    @property
    def params(self) -> Mapping[str, Any]:
        """Its parameters, as ir_measures' measures have them."""
        return {"cutoff": self.cutoff}


def parse_trec_name(name: str, level: int) -> list[Measure | TrecMeasure | JudgedShare]:
    """Parse a name that trec_eval or Pyserini's command takes behind ``-m``.

    :param level: The relevance level.
    :raises ValueError: When there is no such measure, or it cannot be computed; says why.
    """
    import pytrec_eval

    if name in _OF_PREFERENCES:
        raise ValueError("it is a set of measures of preferences, which qrels do not hold")
    if names := pytrec_eval.supported_nicknames.get(name):
        return [measure for one in sorted(names - _NO_NUMBERS.keys()) for measure in parse_trec_name(one, level)]
    if name in _NO_NUMBERS:
        raise ValueError(_NO_NUMBERS[name])
    if match := re.fullmatch(rf"{JUDGED}[._]([0-9]+(?:,[0-9]+)*)", name):
        return [JudgedShare(_cutoff(text)) for text in match[1].split(",")]
    if name == JUDGED:
        raise ValueError("give it ranks, as in judged.10")
    if name == "num_rel" and level != 1:
        return [TrecMeasure(name, level)]
    return list(_known_to_ir_measures(name, level) or _known_to_pytrec_eval(name, level))


def _known_to_ir_measures(name: str, level: int) -> list[Measure]:
    import ir_measures

    try:
        measures = ir_measures.parse_trec_measure(name)
    except ValueError:
        return []
    # "num_rel_ret" comes with rel=1, whatever the level
    return [measure(rel=level) if "rel" in measure.params else measure for measure in measures]


def _known_to_pytrec_eval(name: str, level: int) -> list[TrecMeasure]:
    import pytrec_eval

    if name in pytrec_eval.supported_measures:
        return [TrecMeasure(key, level) for key in _keys(name)]
    match = _CUTOFFS.fullmatch(name)
    if match is None or match[1] not in pytrec_eval.supported_measures:
        raise ValueError("unknown")
    checks: dict[str, Callable[[str], object]] = {"relative_P": _cutoff, "Rprec_mult": _multiple}
    if match[1] not in checks:
        raise ValueError(f"{match[1]} is computed with trec_eval's own parameters only; leave them out")
    parameters = dict.fromkeys(match[2].split(","))
    for parameter in parameters:
        checks[match[1]](parameter)
    return [TrecMeasure(key, level) for key in _keys(f"{match[1]}.{','.join(parameters)}")]


def _keys(name: str) -> list[str]:
    """Return the names under which pytrec_eval gives the values of a measure, one for each of its parameters."""
    import pytrec_eval

    return list(pytrec_eval.RelevanceEvaluator({"q": {"d": 1}}, {name}).evaluate({"q": {"d": 1.0}})["q"])


def _cutoff(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10**6:
        raise ValueError(f"its cutoff {text!r} is not a rank")
    return int(text)


def _multiple(text: str) -> None:
    with suppress(ValueError):
        if 0.01 <= float(text) <= 100:
            return
    raise ValueError(f"{text!r} is not a multiple from 0.01 to 100")


def calculate(
    named: Mapping[str, TrecMeasure], qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Compute measures as trec_eval does.

    :param named: Measures by name.
    :param run: Topic id to docid to score, topics without hits left out.
    :return: Name to topic id to value, logarithms for geometric means; the topics of ``run`` that are judged.
    """
    import pytrec_eval

    found: dict[str, dict[str, float]] = {name: {} for name in named}
    for level in {measure.level for measure in named.values()}:
        keys = {name: measure.key for name, measure in named.items() if measure.level == level}
        evaluator = pytrec_eval.RelevanceEvaluator(qrels, set(map(_asked, keys.values())), relevance_level=level)
        for topic, values in evaluator.evaluate(run).items():
            for name, key in keys.items():
                found[name][topic] = float(values[key])
    return found


def judged_share(run: Mapping[str, Sequence[Hit]], qrels: Mapping[str, Mapping[str, int]], cutoff: int) -> float:
    """Return the share of judged documents among the first hits of all topics, 0 where there are none."""
    judged = [hit.docid in qrels.get(topic, {}) for topic, hits in run.items() for hit in hits[:cutoff]]
    return sum(judged) / max(1, len(judged))


def _asked(key: str) -> str:
    """Return what pytrec_eval is asked for to get a value under a key."""
    family, _, parameter = key.rpartition("_")
    return f"{family}.{parameter}" if family in ("relative_P", "Rprec_mult") else key
