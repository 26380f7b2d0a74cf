# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes that share a search, as ``torchrun`` starts them: each scores a range of documents."""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed

from hypensearch.errors import HypensearchError


@dataclass(frozen=True)
class Ranks:
    """The processes of a search.

    :param rank: The number of this process.
    :param size: How many processes there are.
    """

    rank: int = 0
    size: int = 1

    def share_of(self, num_rows: int) -> range:
        """Return the rows of this process; the shares of all processes are all rows, in order."""
        return range(num_rows * self.rank // self.size, num_rows * (self.rank + 1) // self.size)

    def exchange(self, part: Any) -> list[Any] | None:
        """Send something to all processes.

        :param part: What JSON can hold.
        :return: The parts of all processes, the same in each of them; None where this process is the only one.
        """
        if self.size == 1:
            return None
        content = json.dumps(part).encode()
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        distributed.all_gather(lengths, torch.tensor([len(content)]))
        longest = int(max(lengths))
        padded = torch.frombuffer(bytearray(content.ljust(longest)), dtype=torch.uint8)
        parts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
        distributed.all_gather(parts, padded)
        return [json.loads(part[: int(length)].numpy().tobytes()) for part, length in zip(parts, lengths, strict=True)]


ALONE = Ranks()


def ranks_of(environment: Mapping[str, str] = os.environ) -> Ranks:
    """Return this process' rank, after it has joined the others.

    :raises HypensearchError: When ``torchrun``'s variables make no sense.
    """
    try:
        ranks = Ranks(int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1)))
    except ValueError as error:
        raise HypensearchError(f"RANK and WORLD_SIZE, which torchrun sets, are no numbers ({error})") from None
    if ranks.size > 1 and not distributed.is_initialized():
        distributed.init_process_group("gloo")  # results are small: they need no GPU to travel
        atexit.register(distributed.destroy_process_group)
    return ranks


def own_device(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the GPU of this process, where several processes on a machine are to use GPUs."""
    if int(environment.get("WORLD_SIZE", 1)) > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{environment.get('LOCAL_RANK', 0)}"
    return name
