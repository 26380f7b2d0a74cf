# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes that share a search, as ``torchrun`` starts them: each scores a range of documents, one merge."""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import distributed

from hypensearch.errors import HypensearchError
from hypensearch.hits import Hit, in_rank_order


@dataclass(frozen=True)
class Ranks:
    """The processes of a search.

    :param rank: This one's number.
    :param size: How many there are.
    """

    rank: int = 0
    size: int = 1

    def share_of(self, num_rows: int) -> range:
        """Return the rows that are this process's; those of all processes are all rows, in order."""
        return range(num_rows * self.rank // self.size, num_rows * (self.rank + 1) // self.size)

    def merged(self, hits: Sequence[Sequence[Hit]], k: int) -> list[list[Hit]]:
        """Return the best hits of all processes, the same in each of them.

        :param hits: This process's, for each query.
        :param k: Hits wanted of each query.
        """
        if self.size == 1:
            return [list(of_query) for of_query in hits]
        content = json.dumps([[(hit.docid, hit.score) for hit in of_query] for of_query in hits]).encode()
        of_all = [json.loads(part) for part in _exchanged(content, self.size)]
        return [
            in_rank_order(Hit(docid, score) for of_rank in of_all for docid, score in of_rank[query])[:k]
            for query in range(len(hits))
        ]


ALONE = Ranks()


def ranks_of(environment: Mapping[str, str] = os.environ) -> Ranks:
    """Tell which of how many processes this is, and join the others.

    :raises HypensearchError: When ``torchrun``'s variables make no sense.
    """
    try:
        ranks = Ranks(int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1)))
    except ValueError as error:
        raise HypensearchError(f"RANK and WORLD_SIZE, which torchrun sets, are no numbers ({error})") from None
    if ranks.size > 1 and not distributed.is_initialized():
        distributed.init_process_group("gloo")  # hits are few: they need no GPU to travel
        atexit.register(distributed.destroy_process_group)
    return ranks


def own_device(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the GPU of this process, where several on a machine are told to use GPUs."""
    if int(environment.get("WORLD_SIZE", 1)) > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{environment.get('LOCAL_RANK', 0)}"
    return name


def _exchanged(content: bytes, size: int) -> list[bytes]:
    """Send bytes to all processes, and return what each of them has sent."""
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(size)]
    distributed.all_gather(lengths, torch.tensor([len(content)]))
    longest = int(max(lengths))
    padded = torch.frombuffer(bytearray(content.ljust(longest)), dtype=torch.uint8)
    parts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(size)]
    distributed.all_gather(parts, padded)
    return [part[: int(length)].numpy().tobytes() for part, length in zip(parts, lengths, strict=True)]
