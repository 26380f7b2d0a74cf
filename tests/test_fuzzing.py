# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from tests.fuzzing import fuzz, memory_bounded
from tests.readers import READERS


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    found = fuzz(READERS[name], tmp_path, 60_000, seed=1)
    assert not found.findings, list(found.findings)
    assert found.refused > found.num_files / 10


def test_the_bound_on_memory_holds() -> None:
    with memory_bounded(2**28), pytest.raises(MemoryError):
        bytearray(2**30)
