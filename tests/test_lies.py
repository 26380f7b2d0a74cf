# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from tests.liars import FORMATS
from tests.lies import tell_lies


@pytest.mark.parametrize("name", FORMATS)
def test_lies_are_used_or_refused(name: str, tmp_path: Path) -> None:
    found = tell_lies(FORMATS[name], tmp_path, 40, seed=1)
    assert not found.findings, found.findings
    assert found.refused > found.count / 10
