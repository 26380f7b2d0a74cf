# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Topics and judgements by Pyserini's names; they are downloaded."""

from __future__ import annotations

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.pyserini import bridge as pyserini_bridge


def or_skip(fetch, name):
    try:
        return fetch(name)
    except HypensearchError as error:
        if "cannot download" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.usefixtures("pyserini")
def test_named_topics():
    topics = or_skip(pyserini_bridge.named_topics, "dl19-passage")

    assert len(topics) == 43
    assert topics["19335"] == "anthropological definition of environment"
    assert list(topics) == sorted(topics, key=int)


@pytest.mark.usefixtures("pyserini")
def test_named_qrels():
    qrels = or_skip(pyserini_bridge.named_qrels, "dl19-passage")

    assert len(qrels) == 43
    assert sum(len(grades) for grades in qrels.values()) == 9260
    assert qrels["1133167"]["8804478"] == 1


@pytest.mark.usefixtures("pyserini")
@pytest.mark.parametrize("fetch", [pyserini_bridge.named_topics, pyserini_bridge.named_qrels])
def test_unknown_names(fetch):
    with pytest.raises(HypensearchError, match="no-such-set.*give a file of your own"):
        fetch("no-such-set")
