# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

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
