# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from hypensearch.train import report
from tests.train.toy import backbone, data, settings

__all__ = ["backbone", "data", "settings"]


@pytest.fixture(scope="module", autouse=True)
def few_objects_to_look_at() -> Iterator[None]:
    """Every run collects garbage, which takes a second where all that torch and transformers import is gone through."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def curves_where_they_are_looked_at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their picture takes longer than the short runs of tests: it is drawn for tests of the report, and of curves."""
    if "report" not in request.node.nodeid and "curves" not in request.node.name:
        monkeypatch.setattr(report, "draw_curves", lambda *args: False)
