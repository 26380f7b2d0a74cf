# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a client of the service may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from hypensearch.options import Options, option


@dataclass(frozen=True)
class Limits(Options):
    """Bounds on requests; what goes beyond them is refused with a status of 422, or 503 for the queue."""

    max_hits: int = option("hits that a query may ask for", 1000, at_least=1)
    max_query_length: int = option("characters of a query, at most", 10_000, at_least=1)
    max_queries: int = option("queries of one request, at most", 256, at_least=1)
    max_batch: int = option("queries searched together, at most", 64, at_least=1)
    max_queue: int = option("queries that may wait, at most; others are answered with status 503", 1024, at_least=1)
