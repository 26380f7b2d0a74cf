# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from integrations.same_bits import compare


def test_commands_write_the_same_bytes_however_they_are_run(tmp_path: Path) -> None:
    found = list(compare(tmp_path, documents=1500, hits=100, encoder="bundled"))
    assert len(found) > 30
    assert [line for line, is_same in found if not is_same] == []
