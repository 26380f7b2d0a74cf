# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Concurrent queries searched together: what waits while one batch is searched is the next batch."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypensearch.scoring.found import Found
    from hypensearch.search import HypencoderSearcher


class QueueFullError(Exception):
    """More queries wait than the service allows."""


class ClosedError(Exception):
    """The service is shutting down."""


@dataclass(frozen=True)
class _Waiting:
    query: str
    k: int
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Found]


class Batches:
    """Searches in one thread of its own, with as many waiting queries at a time as share a k.

    A query's hits do not depend on its batch: they are those of ``python -m hypensearch.search``, bit for bit.

    :param searcher: What is searched.
    :param max_batch: Queries searched together, at most.
    :param max_queue: Queries that may wait, at most.
    :param threads: CPU threads of a search; None for the default.
    """

    def __init__(
        self, searcher: HypencoderSearcher, *, max_batch: int, max_queue: int, threads: int | None = None
    ) -> None:
        self._searcher = searcher
        self._max_batch, self._max_queue, self._threads = max_batch, max_queue, threads
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._worker = threading.Thread(target=self._work, name="search", daemon=True)
        self._worker.start()

    def __len__(self) -> int:
        """Queries that wait."""
        return len(self._waiting)

    @property
    def is_alive(self) -> bool:
        """Whether queries are answered."""
        return self._worker.is_alive() and not self._closed

    async def search(self, query: str, k: int) -> Found:
        """Search with one query, when its turn comes.

        :return: What was found, and how many documents were scored for it.
        :raises QueueFullError: When too many wait already.
        :raises ClosedError: When the service is shutting down.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(query, k, loop, loop.create_future())
        with self._changed:
            if self._closed:
                raise ClosedError
            if len(self._waiting) >= self._max_queue:
                raise QueueFullError
            self._waiting.append(waiting)
            self._changed.notify()
        return await waiting.answer

    def close(self) -> None:
        """Refuse what waits and what comes, and wait for the batch that is being searched."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = list(self._waiting), deque()
            self._changed.notify()
        for one in waiting:
            _settle(one, ClosedError())
        self._worker.join()

    def _work(self) -> None:
        while batch := self._next():
            try:
                found = self._searcher.find([one.query for one in batch], batch[0].k, self._threads)
            except Exception as error:
                for one in batch:
                    _settle(one, error)
                continue
            for one, of_query in zip(batch, found, strict=True):
                _settle(one, of_query)

    def _next(self) -> list[_Waiting]:
        """Wait for queries, and take those that share the first one's k; none when closed."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            batch: list[_Waiting] = []
            others: deque[_Waiting] = deque()
            while self._waiting and len(batch) < self._max_batch:
                one = self._waiting.popleft()
                if one.answer.cancelled():
                    continue  # its client has gone
                (others if batch and one.k != batch[0].k else batch).append(one)
            self._waiting.extendleft(reversed(others))
        return batch if batch or self._closed else self._next()


def _settle(waiting: _Waiting, result: Found | Exception) -> None:
    def settle() -> None:
        if waiting.answer.done():
            return
        if isinstance(result, Exception):
            waiting.answer.set_exception(result)
        else:
            waiting.answer.set_result(result)

    if not waiting.loop.is_closed():
        waiting.loop.call_soon_threadsafe(settle)
