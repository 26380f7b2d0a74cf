# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.models.checkpoint import BUNDLED_FOLDER, bundled_model


def test_a_package_without_its_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HypensearchError, match="--encoder"):
        bundled_model(tmp_path)


@pytest.mark.skipif(not BUNDLED_FOLDER.is_dir(), reason="this checkout holds no model")
def test_the_model_of_this_package_loads() -> None:
    from hypensearch.models import load_model

    model = load_model("bundled")
    assert model.kind == "hypencoder"
    scores = model.encode_queries(["parse a date"])
    assert scores.dim == model.dim
