# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: searches of one index measured against each other, in one process, on the same topics."""

from __future__ import annotations

import argparse
import json
import platform
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hypensearch import cli
from hypensearch.errors import HypensearchError

if TYPE_CHECKING:
    from hypensearch.bench.measure import Contender, Measurement
    from hypensearch.hits import Hit
    from hypensearch.search.searcher import HypencoderSearcher


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _bench(args))


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.bench",
        description="Measure searches of an index against each other: overlap with exhaustive search, documents "
        "scored, latency of single queries (their q-nets given), throughput, effectiveness where there are qrels.",
    )
    parser.add_argument("--index", required=True, help="index folder")
    parser.add_argument("--topics", required=True, help="topics file, or the name of a set known to Pyserini")
    parser.add_argument("--qrels", help="qrels file, for effectiveness")
    parser.add_argument("--metrics", nargs="+", default=["nDCG@10", "RR@10"], help="measures of effectiveness")
    parser.add_argument("--encoder", help="checkpoint; the index's own model by default")
    parser.add_argument("--hits", nargs="+", type=cli.positive_int, default=[10, 100], help="values of k")
    parser.add_argument("--max-topics", type=cli.positive_int, default=100, help="topics measured, at most")
    parser.add_argument("--precision", nargs="+", default=["fp32"], help="precisions of exhaustive search")
    parser.add_argument("--no-faiss", action="store_true", help="leave the bi-encoder in Faiss out")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--output", help="JSON file to write")
    parser.add_argument("--picture", help="PNG file to draw: overlap against latency (needs matplotlib)")
    return parser


def _bench(args: argparse.Namespace) -> None:
    from hypensearch.formats.files import replace_when_whole
    from hypensearch.search.searcher import HypencoderSearcher
    from hypensearch.topics import load_topics

    topics = dict(list(load_topics(args.topics).items())[: args.max_topics])
    with HypencoderSearcher(args.index, args.encoder, device=args.device) as searcher:
        measurements = list(_measurements(args, topics, searcher))
        facts = {"machine": _machine(searcher), "documents": searcher.num_docs, "topics": len(topics)}
    report = {**facts, "measurements": [measurement.facts() for measurement in measurements]}
    if args.output:
        with replace_when_whole(args.output, "w") as file:
            json.dump(report, file, indent=1)
        print(f"the figures are in {args.output}")
    if args.picture:
        from hypensearch.bench.picture import draw

        draw(report, args.picture)
        print(f"the picture is {args.picture}")


def _measurements(
    args: argparse.Namespace, topics: Mapping[str, str], searcher: HypencoderSearcher
) -> Iterator[Measurement]:
    from hypensearch.bench.measure import measure
    from hypensearch.search.exhaustive import ExhaustiveSearch

    q_nets = searcher.encode(list(topics.values()))
    exact = ExhaustiveSearch(searcher.index, searcher.device).search(q_nets, max(args.hits))
    effectiveness = _effectiveness(args, list(topics))
    print(
        _line("search", "k", "overlap", "scored", "p50 ms", "p99 ms", "batch ms", *args.metrics if args.qrels else ())
    )
    for contender in _contenders(args, topics, searcher):
        for k in args.hits:
            wanted = None if contender.queries is not None else [hits[:k] for hits in exact]
            found = measure(contender, q_nets, k, searcher.num_docs, wanted, effectiveness)
            print(_row(found), flush=True)
            yield found


def _contenders(
    args: argparse.Namespace, topics: Mapping[str, str], searcher: HypencoderSearcher
) -> Iterator[Contender]:
    from hypensearch.bench import contenders

    yield from contenders.exhaustive(searcher.index, searcher.device, args.precision)
    yield from contenders.surrogates(searcher.index, searcher.device)
    yield from contenders.graphs(searcher.index, searcher.device)
    if not args.no_faiss:
        vectors = searcher.query_encoder.encode_documents(list(topics.values()))
        yield from contenders.faiss(searcher.index, vectors)


def _effectiveness(
    args: argparse.Namespace, topic_ids: Sequence[str]
) -> Callable[[list[list[Hit]]], Mapping[str, float]]:
    if not args.qrels:
        return lambda hits: {}
    from hypensearch.eval import evaluate
    from hypensearch.formats.qrels import read_qrels

    qrels = {topic: grades for topic, grades in read_qrels(args.qrels).items() if topic in set(topic_ids)}
    if not qrels:
        raise HypensearchError(f"--qrels {args.qrels}: judges none of the topics in {args.topics}")
    return lambda hits: evaluate(qrels, dict(zip(topic_ids, hits, strict=True)), args.metrics).values


def _row(found: Measurement) -> str:
    overlap = "-" if found.overlap is None else f"{found.overlap:.4f}"
    times = [f"{1000 * seconds:.1f}" for seconds in (found.p50, found.p99, found.batched)]
    measures = [f"{value:.4f}" for value in found.measures.values()]
    return _line(found.name, found.k, overlap, f"{found.documents_scored:,.0f}", *times, *measures)


def _line(name: str, *cells: Any) -> str:
    return f"{name:<28}" + "".join(f"{cell!s:>13}" for cell in cells)


def _machine(searcher: HypencoderSearcher) -> dict[str, Any]:
    import torch

    return {
        "device": str(searcher.device),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


if __name__ == "__main__":
    raise SystemExit(main())
