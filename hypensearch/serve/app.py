# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The ASGI application: search, documents, health, metrics, and one page to search with.

``/openapi.json`` describes it, ``/docs`` shows the description.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, Field

import hypensearch
from hypensearch.errors import HypensearchError
from hypensearch.scoring.found import Found
from hypensearch.search import HypencoderSearcher
from hypensearch.serve.batches import Batches, ClosedError, QueueFullError
from hypensearch.serve.limits import Limits

logger = logging.getLogger(__name__)

PAGE = Path(hypensearch.__file__).parent / "resources" / "serve" / "page.html"
_SCORED = (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000, 1_000_000, 10_000_000)
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class FoundDocument(BaseModel):
    """A hit."""

    docid: str
    score: float = Field(description="The q-net's score, float32; higher is better")
    text: str | None = Field(None, description="The document's text, where it was asked for and can be had")


class Answer(BaseModel):
    """What was found for a query."""

    query: str
    hits: list[FoundDocument] = Field(description="Best first")
    documents_scored: int = Field(description="Exact scores computed for it")


class Answers(BaseModel):
    """What was found for each of several queries, in their order."""

    answers: list[Answer]


class Document(BaseModel):
    """A document of the corpus."""

    docid: str
    text: str
    raw: str = Field(description="The corpus' own record")


class Health(BaseModel):
    """Whether queries are answered, and from what."""

    status: str
    version: str
    index: str
    documents: int
    model: str
    searcher: str
    waiting: int = Field(description="Queries in the queue")


def build_app(searcher: HypencoderSearcher, limits: Limits | None = None, threads: int | None = None) -> FastAPI:
    """Build the application over a searcher.

    :param searcher: Its model is loaded before the first request; it is closed when the application ends.
    :param limits: What a client may ask for.
    :param threads: CPU threads of a search.
    """
    bounds = limits or Limits()
    batches = Batches(searcher, max_batch=bounds.max_batch, max_queue=bounds.max_queue, threads=threads)
    default_hits = min(10, bounds.max_hits)
    metrics = _Metrics(batches)
    model = searcher.query_encoder.name

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(batches.close)
        searcher.close()

    app = FastAPI(
        title="hypensearch", version=hypensearch.__version__, lifespan=lifespan, description="Search with q-nets."
    )
    app.middleware("http")(metrics.measured)
    hit_count = Annotated[int, Query(ge=1, le=bounds.max_hits, description="Hits wanted")]
    query_text = Annotated[str, Field(min_length=1, max_length=bounds.max_query_length)]

    class Queries(BaseModel):
        queries: list[query_text] = Field(min_length=1, max_length=bounds.max_queries)  # type: ignore[valid-type]
        hits: int = Field(default_hits, ge=1, le=bounds.max_hits)
        texts: bool = Field(False, description="Whether to return the documents' texts")

    async def answer(query: str, hits: int, texts: bool) -> Answer:
        found = await batches.search(query, hits)
        metrics.scored.observe(found.scored)
        documents = await run_in_threadpool(_documents, searcher, found, texts)
        return Answer(query=query, hits=documents, documents_scored=found.scored)

    @app.get("/search")
    async def search(
        query: Annotated[str, Query(min_length=1, max_length=bounds.max_query_length)],
        hits: hit_count = default_hits,  # type: ignore[valid-type]
        texts: Annotated[bool, Query(description="Whether to return the documents' texts")] = False,
    ) -> Answer:
        """Search with one query."""
        return await answer(query, hits, texts)

    @app.post("/search")
    async def search_all(wanted: Queries) -> Answers:
        """Search with several queries."""
        found = await asyncio.gather(*(answer(query, wanted.hits, wanted.texts) for query in wanted.queries))
        return Answers(answers=list(found))

    @app.get("/documents/{docid:path}")
    async def document(docid: str) -> Document:
        """Return a document of the index."""
        found = await run_in_threadpool(searcher.doc, docid)
        if found is None:
            raise HTTPException(404, f"the index has no document {docid!r}")
        return Document(docid=docid, text=found.contents(), raw=found.raw())

    @app.get("/health")
    async def health() -> Health:
        """Say whether queries are answered."""
        if not batches.is_alive:
            raise HTTPException(503, "the search thread has ended")
        return Health(
            status="ok",
            version=hypensearch.__version__,
            index=searcher.index.folder,
            documents=searcher.num_docs,
            model=model,
            searcher=searcher.stats.searcher,
            waiting=len(batches),
        )

    @app.get("/metrics", include_in_schema=False)
    async def show_metrics() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE, media_type="text/html")

    @app.exception_handler(QueueFullError)
    @app.exception_handler(ClosedError)
    async def busy(request: Request, error: Exception) -> JSONResponse:
        reason = "too many queries wait" if isinstance(error, QueueFullError) else "the service is shutting down"
        return JSONResponse({"detail": f"{reason}; try again later"}, 503, {"Retry-After": "1"})

    @app.exception_handler(HypensearchError)
    async def failed(request: Request, error: HypensearchError) -> JSONResponse:
        logger.error("%s: %s", request.url.path, error)
        return JSONResponse({"detail": str(error)}, 500)

    return app


def _documents(searcher: HypencoderSearcher, found: Found, texts: bool) -> list[FoundDocument]:
    def text_of(docid: str) -> str | None:
        try:
            document = searcher.doc(docid)
        except HypensearchError as error:
            logger.warning("Hits are returned without their texts: %s", error)
            return None
        return None if document is None else document.contents()

    hits = found.hits(searcher.index.docid)
    return [FoundDocument(docid=hit.docid, score=hit.score, text=text_of(hit.docid) if texts else None) for hit in hits]


class _Metrics:
    """Prometheus metrics of one application."""

    def __init__(self, batches: Batches) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("hypensearch_requests", "Requests answered", ["path", "status"], registry=self.registry)
        self.seconds = Histogram(
            "hypensearch_request_seconds", "Time to answer", ["path"], buckets=_SECONDS, registry=self.registry
        )
        self.scored = Histogram(
            "hypensearch_documents_scored", "Documents scored for a query", buckets=_SCORED, registry=self.registry
        )
        waiting = Gauge("hypensearch_queue_length", "Queries that wait", registry=self.registry)
        waiting.set_function(lambda: len(batches))

    async def measured(self, request: Request, handle: Callable[[Request], Awaitable[Any]]) -> Any:
        """Count and time a request, by the path of its route."""
        started = time.perf_counter()
        status = 500
        try:
            response = await handle(request)
            status = response.status_code
            return response
        finally:
            route = request.scope.get("route")
            path = getattr(route, "path", "other")
            self.requests.labels(path, status).inc()
            self.seconds.labels(path).observe(time.perf_counter() - started)
