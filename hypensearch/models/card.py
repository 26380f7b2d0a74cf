# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Model cards: the header that the hub reads, and a plain card for checkpoints that have none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from hypensearch.errors import as_typed
from hypensearch.formats.files import replace_when_whole

if TYPE_CHECKING:
    from hypensearch.models.dual_encoder import DualEncoder

CARD = "README.md"


def header(backbone: str) -> list[str]:
    """Return the lines of YAML that a card starts with.

    :param backbone: The transformer's name; it is given as the base model where it can be a hub name.
    """
    base = [f"base_model: {backbone}"] if re.fullmatch(r"[\w.-]+/[\w.-]+", backbone) else []
    tags = ["tags:", "- hypencoder", "- passage-retrieval"]
    return ["---", "library_name: hypensearch", "pipeline_tag: feature-extraction", *base, *tags, "---", ""]


def usage(name: str) -> list[str]:
    """Return the lines that say how a checkpoint is used.

    :param name: What to load it as.
    """
    encode = ["input", "--corpus", "CORPUS", "output", "--embeddings", "INDEX"]
    return [
        "Use it with hypensearch:",
        "",
        f"    {as_typed('hypensearch.encode', *encode, 'encoder', '--encoder', name)}",
        "    python -m hypensearch.search --index INDEX --topics TOPICS --output RUN",
        "",
    ]


def write_missing_card(folder: str | Path, model: DualEncoder, name: str) -> None:
    """Write a card of what the checkpoint itself tells, unless there is one."""
    if (Path(folder) / CARD).exists():
        return
    with replace_when_whole(Path(folder) / CARD, "w", follow_link=False) as file:
        file.write("\n".join([*header(model.config.query_backbone), *_facts(model, name), *usage(name)]))


def _facts(model: DualEncoder, name: str) -> list[str]:
    kind, q_net = "Bi-encoder", "queries are vectors"
    if model.config.q_net is not None:
        kind, widths = "Hypencoder", ", ".join(map(str, model.config.q_net.dims))
        q_net = f"{model.config.q_net.num_blocks} hidden blocks, widths {widths}"
    count = sum(parameter.numel() for parameter in model.parameters())
    sides = "one encoder for queries and documents" if model.config.shared_encoder else "an encoder for each side"
    return [
        f"# {name.rpartition('/')[2]}",
        "",
        f"{kind} of {count:,} weights: {sides}, {model.passage_encoder.pooling} pooling, document vectors of "
        f"{model.dim} numbers; q-nets: {q_net}.",
        "",
    ]
