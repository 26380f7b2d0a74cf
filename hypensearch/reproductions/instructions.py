# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""p-MRR: how far a run follows changed instructions (Weller et al., FollowIR, NAACL 2025, section 3).

Tested on cases worked by hand; not yet compared with the authors' own program: do so before quoting a figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypensearch.errors import HypensearchError
from hypensearch.hits import Hit


def p_mrr(
    original: Mapping[str, Sequence[Hit]], changed: Mapping[str, Sequence[Hit]], lost: Mapping[str, Sequence[str]]
) -> float:
    """Measure whether documents fall that are no longer relevant once the instruction has changed.

    :param original: Hits by topic under the original instruction, best first.
    :param changed: Hits by topic under the changed one.
    :param lost: Documents by topic that were relevant and are not any more.
    :return: The mean over topics of the mean over documents, from -1 (they rise) to 1 (they fall); papers print it
        times 100.
    :raises HypensearchError: When no topic lost a document.
    """
    values = [_of_topic(original.get(topic, ()), changed.get(topic, ()), docids) for topic, docids in lost.items()]
    measured = [value for value in values if value is not None]
    if not measured:
        raise HypensearchError("p-MRR: no topic has a document that is no longer relevant: are the qrels those of two?")
    return sum(measured) / len(measured)


def lost_documents(
    original: Mapping[str, Mapping[str, int]], changed: Mapping[str, Mapping[str, int]]
) -> dict[str, list[str]]:
    """Return what is relevant by the first judgements and not by the second, by topic."""
    return {
        topic: [docid for docid, grade in grades.items() if grade > 0 and changed[topic].get(docid, 0) <= 0]
        for topic, grades in original.items()
        if topic in changed
    }


def _of_topic(original: Sequence[Hit], changed: Sequence[Hit], docids: Sequence[str]) -> float | None:
    if not docids:
        return None
    return sum(_change(_rank(original, docid), _rank(changed, docid)) for docid in docids) / len(docids)


def _change(before: int, after: int) -> float:
    """Compare reciprocal ranks, so that both directions are measured alike."""
    return after / before - 1 if before >= after else 1 - before / after


def _rank(hits: Sequence[Hit], docid: str) -> int:
    """Return a document's rank; behind the last hit where it was not found."""
    return next((rank for rank, hit in enumerate(hits, 1) if hit.docid == docid), len(hits) + 1)
