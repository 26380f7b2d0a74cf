# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from hypensearch.search.report import OfThisThread
from tests.search import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return load.make_index(tmp_path_factory.mktemp("load") / "index", 300)


@pytest.mark.parametrize("name", load.SEARCHERS)
def test_sixteen_threads_share_a_searcher(name: str, folder: Path) -> None:
    with load.open_searcher(folder, name) as searcher:
        wanted = load.one_by_one(searcher)
        load.check(load.by_threads(searcher, 16, 20), wanted)
        assert searcher.stats.queries == load.DISTINCT + 16 * 20


def test_every_thread_has_its_own_value() -> None:
    class Owner:
        values = OfThisThread[list[int]](list)

    one, other = Owner(), Owner()
    one.values = [1]
    assert (one.values, other.values) == ([1], [])
    found = load.ThreadPoolExecutor(1).submit(lambda: one.values).result()
    assert found == []
    assert isinstance(Owner.values, OfThisThread)
