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
from hypensearch.formats.topics import TOPICS_FORMATS
from hypensearch.graph.options import VARIANTS
from hypensearch.scoring.options import PRECISIONS

if TYPE_CHECKING:
    from hypensearch.bench.contenders import Contender
    from hypensearch.bench.measure import Measurement
    from hypensearch.models.q_net import QNets
    from hypensearch.scoring.found import Found
    from hypensearch.search.searcher import HypencoderSearcher

SEARCHES = ("exhaustive", "surrogate", "graph", "faiss")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _bench(args), threads=cli.threads_of(args))


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.bench",
        description="Measure searches of an index against each other: overlap with exhaustive search, documents "
        "scored, latency of single queries (their q-nets given), throughput, effectiveness where there are qrels.",
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument("--index", required=True, help="index folder")
    what.add_argument("--topics", required=True, help="topics file, or the name of a set known to Pyserini")
    what.add_argument("--topics-format", default="default", choices=TOPICS_FORMATS, help="form of --topics")
    what.add_argument("--encoder", help="checkpoint; the index's own model by default")
    cli.add_offline_argument(what)
    what.add_argument("--hits", nargs="+", type=cli.positive_int, default=[10, 100], help="values of k")
    what.add_argument("--max-topics", type=cli.positive_int, default=100, help="topics measured, at most")
    what.add_argument(
        "--searches",
        nargs="+",
        choices=SEARCHES,
        default=list(SEARCHES),
        help="what to measure",
    )
    what.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    cli.add_threads_flag(what)
    judged = parser.add_argument_group("effectiveness, where there are judgements")
    judged.add_argument("--qrels", help="qrels file, for effectiveness")
    judged.add_argument("--metrics", nargs="+", default=["nDCG@10", "RR@10"], help="measures of effectiveness")
    written = parser.add_argument_group("what is written")
    written.add_argument("--output", help="JSON file to write")
    written.add_argument("--picture", help="PNG file to draw: overlap against latency (needs matplotlib)")
    settings = parser.add_argument_group("settings of each search")
    settings.add_argument(
        "--precision", nargs="+", choices=PRECISIONS, default=["fp32"], help="precisions of exhaustive search"
    )
    settings.add_argument("--targets", nargs="+", type=float, metavar="RECALL", help="of surrogate search")
    settings.add_argument(
        "--graph-settings",
        nargs="+",
        type=_setting,
        metavar="E/C/I",
        help="entry points, candidates and iterations; by default two small ones and the paper's Efficient 1 and 2",
    )
    settings.add_argument("--variants", nargs="+", choices=VARIANTS, default=["released"], help="of graph search")
    faiss = parser.add_argument_group("the bi-encoder in Faiss")
    faiss.add_argument("--ef-search", nargs="*", type=cli.positive_int, help="of Faiss' HNSW; none to leave it out")
    faiss.add_argument(
        "--reranked",
        nargs="*",
        type=cli.positive_int,
        default=[],
        metavar="N",
        help="also score the best N of Faiss' flat scan with the q-nets",
    )
    faiss.add_argument("--no-faiss", action="store_true", help="leave the bi-encoder in Faiss out")
    return parser


def _bench(args: argparse.Namespace) -> None:
    from hypensearch.formats.files import replace_when_whole
    from hypensearch.search.searcher import HypencoderSearcher
    from hypensearch.topics import load_topics

    topics = dict(list(load_topics(args.topics, args.topics_format).items())[: args.max_topics])
    with HypencoderSearcher(args.index, args.encoder, device=args.device) as searcher:
        q_nets = searcher.encode(list(topics.values()))
        generation = {stage: seconds / len(topics) for stage, seconds in searcher.stats.seconds.items() if seconds}
        print(", ".join(f"{stage} {1000 * seconds:.1f} ms a topic" for stage, seconds in generation.items()))
        measurements = list(_measurements(args, topics, searcher, q_nets))
        facts = {"machine": _machine(searcher), "documents": searcher.num_docs, "topics": len(topics)}
        facts["query_encoder_seconds"] = generation
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
    args: argparse.Namespace, topics: Mapping[str, str], searcher: HypencoderSearcher, q_nets: QNets
) -> Iterator[Measurement]:
    from hypensearch.bench.measure import measure
    from hypensearch.exhaustive.options import ExhaustiveOptions

    plain = ExhaustiveOptions(precision="fp32").open(searcher.index, searcher.device)
    exact = plain.search(q_nets, min(max(args.hits), searcher.num_docs))
    effectiveness = _effectiveness(args, list(topics), searcher)
    measures = args.metrics if args.qrels else ()
    print(_line("search", "k", "overlap", "scored", "p50 ms", "p95 ms", "p99 ms", "a second", "peak MB", *measures))
    for contender in _contenders(args, topics, searcher, q_nets):
        for k in args.hits:
            found = measure(contender, len(q_nets), min(k, searcher.num_docs), exact, effectiveness)
            print(_row(found), flush=True)
            yield found


def _contenders(
    args: argparse.Namespace, topics: Mapping[str, str], searcher: HypencoderSearcher, q_nets: QNets
) -> Iterator[Contender]:
    import numpy as np

    from hypensearch.bench import contenders

    index, device = searcher.index, searcher.device
    wanted = set(args.searches) - ({"faiss"} if args.no_faiss else set())
    if "exhaustive" in wanted:
        yield from contenders.exhaustive(index, q_nets, device, args.precision)
    if "surrogate" in wanted:
        yield from contenders.surrogates(index, q_nets, device, args.targets or contenders.TARGETS)
    if "graph" in wanted:
        settings = args.graph_settings or contenders.GRAPH_SETTINGS
        yield from contenders.graphs(index, q_nets, device, settings, args.variants)
    if "faiss" in wanted:
        embed, length = searcher.query_encoder.encode_documents, searcher.max_length
        vectors = np.concatenate([embed([text], max_length=length) for text in topics.values()])
        ef_search = contenders.EF_SEARCH if args.ef_search is None else args.ef_search
        yield from contenders.faiss(index, q_nets, vectors, device, ef_search=ef_search, reranked=args.reranked)


def _effectiveness(
    args: argparse.Namespace, topic_ids: Sequence[str], searcher: HypencoderSearcher
) -> Callable[[list[Found]], Mapping[str, float]]:
    if not args.qrels:
        return lambda found: {}
    from hypensearch.eval import evaluate
    from hypensearch.formats.ids import with_ids_of
    from hypensearch.formats.qrels import read_qrels

    wanted = set(topic_ids)
    judged = with_ids_of(wanted, read_qrels(args.qrels), args.qrels)
    qrels = {topic: grades for topic, grades in judged.items() if topic in wanted}
    if not qrels:
        raise HypensearchError(f"--qrels {args.qrels}: judges none of the topics in {args.topics}")

    def measured(found: list[Found]) -> Mapping[str, float]:
        hits = (of_topic.hits(searcher.index.docid) for of_topic in found)
        return evaluate(qrels, dict(zip(topic_ids, hits, strict=True)), args.metrics).values

    return measured


def _row(found: Measurement) -> str:
    times = [f"{1000 * seconds:.1f}" for seconds in (found.p50, found.p95, found.p99)]
    measures = [f"{value:.4f}" for value in found.measures.values()]
    numbers = (f"{1 / found.batched:,.0f}", found.memory["peak"], *measures)
    scored = f"{found.documents_scored:,.0f}"
    return _line(found.name, found.k, f"{found.overlap:.4f}", scored, *times, *numbers)


def _line(name: str, *cells: Any) -> str:
    return f"{name:<44}" + "".join(f"{cell!s:>10}" for cell in cells)


def _machine(searcher: HypencoderSearcher) -> dict[str, Any]:
    import torch

    return {
        "device": str(searcher.device),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _setting(text: str) -> tuple[int, int, int]:
    try:
        entries, candidates, iterations = (cli.positive_int(part) for part in text.split("/"))
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is not ENTRIES/CANDIDATES/ITERATIONS, like 10000/64/16") from None
    return entries, candidates, iterations


if __name__ == "__main__":
    raise SystemExit(main())
