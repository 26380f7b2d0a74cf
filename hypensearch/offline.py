# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the network may be reached.

The hub's own variables forbid the hub; ``HYPENSEARCH_OFFLINE`` and ``--offline``, which sets it and them, forbid all.
"""

from __future__ import annotations

import os
import sys

from hypensearch.errors import HypensearchError

VARIABLE = "HYPENSEARCH_OFFLINE"
OF_THE_HUB = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def is_offline() -> bool:
    """Return whether the hub may not be reached."""
    return any(map(_is_set, (VARIABLE, *OF_THE_HUB)))


def check_may_download(what: str) -> None:
    """Refuse what would be downloaded from elsewhere than the hub.

    :param what: Its kind and name, for the message.
    :raises HypensearchError: When ``--offline`` was given.
    """
    if _is_set(VARIABLE):
        raise HypensearchError(f"{what}: not on this machine, and nothing is downloaded with --offline ({VARIABLE})")


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() not in ("", "0", "no", "off", "false")


def go_offline() -> None:
    """Forbid the network to this process and to those that it starts."""
    for name in (VARIABLE, *OF_THE_HUB):
        os.environ[name] = "1"
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]  # read from the variable once, when imported
