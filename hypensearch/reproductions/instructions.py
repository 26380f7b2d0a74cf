# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""p-MRR: how far a run follows changed instructions (Weller et al., FollowIR, NAACL 2025, section 3).

The definition is the paper's, and its details are those of the authors' program (``evaluate_change`` in their fork of
MTEB): a document that was not found ranks behind the last hit, documents are averaged within their topic and topics
after that, and topics that one of the runs lacks do not count.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from hypensearch.errors import HypensearchError
from hypensearch.hits import Hit

LOGGER = logging.getLogger(__name__)


def p_mrr(
    original: Mapping[str, Sequence[Hit]], changed: Mapping[str, Sequence[Hit]], fallen: Mapping[str, Sequence[str]]
) -> float:
    """Measure whether documents fall that are no longer relevant once the instruction has changed.

    :param original: Hits by topic under the original instruction, best first.
    :param changed: Hits by topic under the changed one.
    :param fallen: Documents by topic that became less relevant, as :func:`fallen_documents` gives them.
    :return: The mean over topics of the mean over documents, from -1 (they rise) to 1 (they fall); papers print it
        times 100.
    :raises HypensearchError: When no topic of both runs has such a document.
    """
    wanted = [topic for topic, docids in fallen.items() if docids]
    searched = [topic for topic in wanted if topic in original and topic in changed]
    if not searched:
        raise HypensearchError(
            "p-MRR: no topic of both runs has a document that is no longer relevant: are qrels and runs those of the "
            "original and of the changed instructions?"
        )
    if len(searched) < len(wanted):
        LOGGER.warning(
            "p-MRR: %d of %d topics are not in both runs and do not count", len(wanted) - len(searched), len(wanted)
        )
    values = [_of_topic(original[topic], changed[topic], fallen[topic]) for topic in searched]
    return sum(values) / len(values)


def fallen_documents(
    original: Mapping[str, Mapping[str, int]], changed: Mapping[str, Mapping[str, int]]
) -> dict[str, list[str]]:
    """Return what is less relevant by the second judgements than by the first, by topic.

    FollowIR's instructions only ever become narrower, so these are all documents whose grade changed.
    """
    return {
        topic: [docid for docid, grade in grades.items() if max(0, changed[topic].get(docid, 0)) < grade]
        for topic, grades in original.items()
        if topic in changed
    }


def _of_topic(original: Sequence[Hit], changed: Sequence[Hit], docids: Sequence[str]) -> float:
    return sum(_change(_rank(original, docid), _rank(changed, docid)) for docid in docids) / len(docids)


def _change(before: int, after: int) -> float:
    """Compare reciprocal ranks, so that both directions are measured alike."""
    return after / before - 1 if before >= after else 1 - before / after


def _rank(hits: Sequence[Hit], docid: str) -> int:
    """Return a document's rank; behind the last hit where it was not found."""
    return next((rank for rank, hit in enumerate(hits, 1) if hit.docid == docid), len(hits) + 1)
