# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The small trained model that ships inside the package."""

from __future__ import annotations

from pathlib import Path

import hypensearch
from hypensearch.errors import HypensearchError

NAME = "bundled"
FOLDER = Path(hypensearch.__file__).parent / "resources" / "model"


def bundled_model(folder: Path = FOLDER) -> Path:
    """Give the checkpoint folder of the model inside the package.

    :raises HypensearchError: When this copy of the package has none.
    """
    if not (folder / "config.json").is_file():
        raise HypensearchError(
            f"no model in {folder}: this copy of hypensearch was built without it; reinstall hypensearch, "
            "or name a model with --encoder (a checkpoint's folder or hub name)"
        )
    return folder
