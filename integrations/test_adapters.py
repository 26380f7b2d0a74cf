# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Indexes and models of ours in other frameworks' real packages, offline."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.eval import evaluate
from hypensearch.formats.corpus import read_corpus
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.run import read_run, separate_ties
from hypensearch.formats.topics import read_topics
from hypensearch.hits import Hit
from hypensearch.search import HypencoderSearcher
from integrations.conftest import TEXTS, TOPICS
from tests.commands import encode, search, succeed, write_corpus
from tests.models.checkpoints import biencoder_config, save_checkpoint

QRELS = {"1": {"d1": 1}, "2": {"d2": 1}}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    corpus = write_corpus(folder / "corpus.jsonl", TEXTS)
    succeed("encode", *encode(corpus, folder / "index", "bundled"))
    return folder / "index"


@pytest.fixture(scope="module")
def hits(index: Path) -> dict[str, list[Hit]]:
    """What our own search finds."""
    with HypencoderSearcher(index) as searcher:
        return searcher.batch_search(list(TOPICS.values()), list(TOPICS), 10)


# PyTerrier


@pytest.fixture
def pt() -> Any:
    return pytest.importorskip("pyterrier", reason="pyterrier is not installed")


def frame(pt: Any, *rows: tuple[object, ...], columns: str) -> Any:
    import pandas as pd

    return pd.DataFrame(rows, columns=columns.split())


def topics_of(pt: Any) -> Any:
    return frame(pt, *TOPICS.items(), columns="qid query")


def run_of(results: Any) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for row in results.sort_values("rank").itertuples():
        assert row.rank == len(found.setdefault(row.qid, []))
        found[row.qid].append((row.docno, row.score))
    return found


def pairs(run: dict[str, list[Hit]], k: int = 10) -> dict[str, list[tuple[str, float]]]:
    return {topic: [(hit.docid, hit.score) for hit in hits[:k]] for topic, hits in run.items()}


def test_pyterriers_retriever_finds_what_our_search_finds(pt: Any, index: Path, hits: dict[str, list[Hit]]) -> None:
    retriever = pt.Artifact.load(str(index)).retriever()
    assert run_of(retriever(topics_of(pt))) == pairs(hits)
    assert run_of((retriever % 2).compile()(topics_of(pt))) == pairs(hits, 2)
    assert (retriever % 2).compile().num_results == 2
    assert (retriever % 2 % 5).compile().num_results == 2
    assert list(retriever.search("concussion symptoms").docno)[0] == "d1"
    assert retriever(topics_of(pt).iloc[:0]).columns.tolist() == ["qid", "query", "docno", "score", "rank"]


def test_pyterriers_rerankers_score_as_our_search_does(pt: Any, index: Path, hits: dict[str, list[Hit]]) -> None:
    from hypensearch.adapters.pyterrier import HypencoderIndex, HypencoderTextReranker

    rows = [(topic, TOPICS[topic], docno, 0.0, 0, TEXTS[docno]) for topic in TOPICS for docno in ("d3", "d2", "d1")]
    first_stage = pt.Transformer.from_df(frame(pt, *rows, columns="qid query docno score rank text"))
    wanted = {topic: [pair for pair in pairs(hits)[topic] if pair[0] in ("d1", "d2", "d3")] for topic in TOPICS}

    by_index = run_of((first_stage >> HypencoderIndex(index).reranker())(topics_of(pt)))
    by_text = run_of((first_stage >> HypencoderTextReranker("bundled"))(topics_of(pt)))

    assert by_index == wanted
    for topic, found in by_text.items():
        assert dict(found) == pytest.approx(dict(wanted[topic]), abs=1e-3)


def test_pyterrier_gets_texts_of_an_index(pt: Any, index: Path, hits: dict[str, list[Hit]]) -> None:
    from hypensearch.adapters.pyterrier import HypencoderTextReranker

    artifact = pt.Artifact.load(str(index))
    pipeline = artifact.retriever(3) >> pt.text.get_text(artifact)
    found = pipeline(topics_of(pt))
    assert found["text"].tolist() == [TEXTS[docno] for docno in found["docno"]]
    by_text = run_of((pipeline >> HypencoderTextReranker("bundled"))(topics_of(pt)))
    assert {topic: [docno for docno, _ in docs] for topic, docs in by_text.items()} == {
        topic: [hit.docid for hit in found[:3]] for topic, found in hits.items()
    }
    with pytest.raises(HypensearchError, match="has no document 'x'"):
        pt.text.get_text(artifact)(frame(pt, ("1", "x"), columns="qid docno"))


def test_a_query_id_may_come_twice(pt: Any, index: Path) -> None:
    twice = frame(pt, ("1", "concussion"), ("1", "india"), columns="qid query")
    assert pt.Artifact.load(str(index)).retriever(1)(twice)["docno"].tolist() == ["d1", "d2"]


def test_pyterriers_pipelines_combine_ours(pt: Any, index: Path, hits: dict[str, list[Hit]]) -> None:
    retriever = pt.Artifact.load(str(index)).retriever(3)
    doubled = run_of((retriever * 2 + retriever)(topics_of(pt)))
    for topic, found in doubled.items():
        assert dict(found) == pytest.approx({hit.docid: 3 * hit.score for hit in hits[topic][:3]}, rel=1e-5)
    qrels = frame(pt, *((t, d, g) for t in QRELS for d, g in QRELS[t].items()), columns="qid docno label")
    table = pt.Experiment([retriever, retriever % 1], topics_of(pt), qrels, ["recip_rank", "P_1"])
    assert table["recip_rank"].tolist() == [1.0, 1.0]


def test_pyterriers_indexer_makes_an_index_that_is_saved_and_loaded(pt: Any, tmp_path: Path) -> None:
    from lz4.frame import LZ4FrameFile

    from hypensearch.adapters.pyterrier import HypencoderIndex

    documents = [{"docno": docid, "title": "about", "body": text} for docid, text in TEXTS.items()]
    made = HypencoderIndex(tmp_path / "index", "bundled", text_fields=["title", "body"]).index(documents)
    found = made.retriever(1)(topics_of(pt))

    made.build_package(str(tmp_path / "index.tar.lz4"), verbose=False)
    with LZ4FrameFile(tmp_path / "index.tar.lz4") as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    loaded = pt.Artifact.load(str(tmp_path / "unpacked"))

    assert loaded.retriever(1)(topics_of(pt)).equals(found)
    assert pt.inspect.artifact_type_format(loaded) == ("dense_index", "hypensearch")
    with HypencoderSearcher(tmp_path / "index") as searcher:
        assert searcher.doc("d3").contents() == f"about {TEXTS['d3']}"
    with pytest.raises(HypensearchError, match="name the encoder"):
        HypencoderIndex(tmp_path / "other").index(documents)


def test_pyterrier_can_inspect_ours_and_wrong_frames_are_refused(pt: Any, index: Path) -> None:
    from hypensearch.adapters.pyterrier import HypencoderIndex, HypencoderTextReranker

    artifact = HypencoderIndex(index)
    for transformer, inputs in {
        artifact.retriever(): ["qid", "query"],
        artifact.reranker(): ["qid", "docno", "query"],
        HypencoderTextReranker("bundled"): ["qid", "docno", "query", "text"],
    }.items():
        assert pt.inspect.transformer_inputs(transformer) == [inputs]
        outputs = pt.inspect.transformer_outputs(transformer, inputs)
        assert {"qid", "query", "docno", "score", "rank"} <= set(outputs)
        with pytest.raises(pt.validate.InputValidationError):
            transformer(frame(pt, ("1",), columns="qid"))
    assert pt.inspect.indexer_inputs(artifact) == [["docno", "text"]]


# MTEB


@pytest.fixture
def make_task() -> Callable[..., Any]:
    """Makes a retrieval task of MTEB in memory."""
    mteb = pytest.importorskip("mteb", reason="mteb is not installed")
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    assert mteb

    def make(
        corpus: dict[str, str],
        topics: dict[str, str],
        qrels: dict[str, dict[str, int]],
        *,
        instructions: dict[str, str] | None = None,
        top_ranked: dict[str, list[str]] | None = None,
    ) -> Any:
        class Task(AbsTaskRetrieval):
            metadata = TaskMetadata(
                name="Toy",
                description="toy",
                type="Retrieval" if top_ranked is None else "Reranking",
                dataset={"path": "toy", "revision": "1"},
                eval_splits=["test"],
                eval_langs=["eng-Latn"],
                main_score="ndcg_at_10",
            )

            def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
                queries = [{"id": topic, "text": text} for topic, text in topics.items()]
                if instructions:
                    queries = [{**query, "instruction": instructions[query["id"]]} for query in queries]
                documents = [{"id": docid, "title": "", "text": text} for docid, text in corpus.items()]
                split = {
                    "corpus": Dataset.from_list(documents),
                    "queries": Dataset.from_list(queries),
                    "relevant_docs": qrels,
                    "top_ranked": top_ranked,
                }
                self.dataset = {"default": {"test": split}}
                self.data_loaded = True

        return Task()

    return make


def mteb_scores(model: Any, task: Any, folder: Path) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The figures and the predictions of a task."""
    import mteb

    result = mteb.evaluate(model, task, cache=None, prediction_folder=folder, co2_tracker=False)
    (path,) = folder.rglob("*predictions.json")
    return result.task_results[0].scores["test"][0], json.loads(path.read_text())["default"]["test"]


def test_mteb_searches_with_our_scores(
    make_task: Callable[..., Any], index: Path, hits: dict[str, list[Hit]], tmp_path: Path
) -> None:
    from hypensearch.adapters.mteb import HypencoderModel

    model = HypencoderModel("bundled")
    scores, found = mteb_scores(model, make_task(TEXTS, TOPICS, QRELS), tmp_path)

    assert scores["ndcg_at_10"] == scores["mrr_at_10"] == 1.0
    assert {topic: list(docs) for topic, docs in found.items()} == {t: [h.docid for h in hits[t]] for t in hits}
    assert found["1"] == pytest.approx({hit.docid: hit.score for hit in hits["1"]}, abs=1e-3)
    meta = model.mteb_model_meta
    assert meta.name == "hypensearch/bundled"
    assert meta.similarity_fn_name == "custom"
    assert meta.embed_dim == 384
    assert meta.revision != HypencoderModel("bundled", device="cpu").mteb_model_meta.name


def test_mteb_reranks_what_a_task_gives(
    make_task: Callable[..., Any], hits: dict[str, list[Hit]], tmp_path: Path
) -> None:
    from hypensearch.adapters.mteb import HypencoderModel

    given = {"1": ["d3", "d1"], "2": ["d5", "d2", "d4"]}
    _, found = mteb_scores(HypencoderModel("bundled"), make_task(TEXTS, TOPICS, QRELS, top_ranked=given), tmp_path)

    for topic, docids in given.items():
        assert list(found[topic]) == [hit.docid for hit in hits[topic] if hit.docid in docids]


def test_mteb_puts_instructions_behind_queries(make_task: Callable[..., Any], index: Path, tmp_path: Path) -> None:
    from hypensearch.adapters.mteb import HypencoderModel

    instructions = {"1": "Only documents on a cold are relevant.", "2": "Solids are relevant."}
    task = make_task(TEXTS, TOPICS, QRELS, instructions=instructions)
    _, found = mteb_scores(HypencoderModel("bundled"), task, tmp_path)

    with HypencoderSearcher(index) as searcher:
        wanted = searcher.search("concussion symptoms Only documents on a cold are relevant.")
    assert found["1"] == pytest.approx({hit.docid: hit.score for hit in wanted}, abs=1e-3)


def test_mteb_runs_bi_encoders(make_task: Callable[..., Any], tiny_checkpoint: Path, tmp_path: Path) -> None:
    from hypensearch.adapters.mteb import HypencoderModel

    model = HypencoderModel(save_checkpoint(tmp_path / "b", biencoder_config(), tiny_checkpoint))
    _, found = mteb_scores(model, make_task(TEXTS, TOPICS, QRELS), tmp_path / "out")

    assert model.mteb_model_meta.similarity_fn_name == "dot"
    assert all(len(docs) == len(TEXTS) for docs in found.values())


# Retrieval-augmented generation


def test_langchain(index: Path, hits: dict[str, list[Hit]]) -> None:
    pytest.importorskip("langchain_core", reason="langchain-core is not installed")
    from hypensearch.adapters.langchain import HypencoderReranker, HypencoderRetriever

    found = HypencoderRetriever(index=index, k=3).invoke(TOPICS["1"])
    assert [(d.id, d.metadata["score"], d.page_content) for d in found] == [
        (hit.docid, hit.score, TEXTS[hit.docid]) for hit in hits["1"][:3]
    ]
    reranker = HypencoderReranker(encoder="bundled", top_n=2)
    ranked = reranker.compress_documents(found[::-1], TOPICS["1"])
    assert [d.id for d in ranked] == [d.id for d in found[:2]]
    assert ranked[0].metadata["score"] == pytest.approx(hits["1"][0].score, abs=1e-3)
    chain = HypencoderRetriever(index=index, k=3) | (lambda docs: [d.id for d in docs])
    assert chain.batch(list(TOPICS.values())) == [[hit.docid for hit in hits[topic][:3]] for topic in TOPICS]


def test_llama_index(index: Path, hits: dict[str, list[Hit]]) -> None:
    pytest.importorskip("llama_index.core", reason="llama-index-core is not installed")
    from hypensearch.adapters.llama_index import HypencoderReranker, HypencoderRetriever

    found = HypencoderRetriever(index, similarity_top_k=3).retrieve(TOPICS["1"])
    assert [(n.node.node_id, n.score, n.text) for n in found] == [
        (hit.docid, hit.score, TEXTS[hit.docid]) for hit in hits["1"][:3]
    ]
    reranker = HypencoderReranker(encoder="bundled", top_n=2)
    ranked = reranker.postprocess_nodes(found[::-1], query_str=TOPICS["1"])
    assert [n.node.node_id for n in ranked] == [n.node.node_id for n in found[:2]]
    assert ranked[0].score == pytest.approx(hits["1"][0].score, abs=1e-3)
    with pytest.raises(ValueError, match="needs the query"):
        reranker.postprocess_nodes(found)


def test_haystack(index: Path, hits: dict[str, list[Hit]]) -> None:
    haystack = pytest.importorskip("haystack", reason="haystack-ai is not installed")
    from hypensearch.adapters.haystack import HypencoderRanker, HypencoderRetriever

    pipeline = haystack.Pipeline()
    pipeline.add_component("retriever", HypencoderRetriever(str(index), top_k=3))
    pipeline.add_component("ranker", HypencoderRanker("bundled", top_k=2))
    pipeline.connect("retriever", "ranker")
    pipeline = haystack.Pipeline.loads(pipeline.dumps(), allowed_modules=["hypensearch.*"])
    asked = {"retriever": {"query": TOPICS["1"]}, "ranker": {"query": TOPICS["1"]}}
    done = pipeline.run(asked, include_outputs_from={"retriever"})

    found, ranked = done["retriever"]["documents"], done["ranker"]["documents"]
    assert [(d.id, d.score, d.content) for d in found] == [
        (hit.docid, hit.score, TEXTS[hit.docid]) for hit in hits["1"][:3]
    ]
    assert [d.id for d in ranked] == [d.id for d in found[:2]]
    with pytest.raises(HypensearchError, match="leave filters out"):
        HypencoderRetriever(str(index)).run("x", filters={"field": "meta.a", "operator": "==", "value": 1})


# Figures


@pytest.fixture(scope="module")
def cacm(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """CACM, searched by our own commands with the bundled model."""
    data, work = shared / "data/commacm", tmp_path_factory.mktemp("cacm")
    corpus, topics, qrels = data / "corpus.jsonl", data / "topics.tsv", read_qrels(data / "qrels.txt")
    succeed("encode", *encode(corpus, work / "index", "bundled"))
    succeed("search", *search(work / "index", topics, work / "run.txt", "--hits", 100))
    return {
        "corpus": {document.docid: document.text for document in read_corpus(corpus)},
        "topics": {topic: text for topic, text in read_topics(topics).items() if topic in qrels},
        "qrels": qrels,
        "index": work / "index",
        "run": work / "run.txt",
        "figures": approx(evaluate(qrels, read_run(work / "run.txt"), MEASURES).values.values()),
    }


MEASURES = ("nDCG@10", "RR@10", "R@100")


def approx(values: Iterable[float]) -> Any:
    """Figures to more than four decimals; MTEB rounds to five."""
    return pytest.approx(list(values), abs=1e-5)


def test_ir_measures_gives_our_figures(cacm: dict[str, Any]) -> None:
    import ir_measures

    measures = [ir_measures.parse_measure(name) for name in MEASURES]
    run = list(ir_measures.read_trec_run(str(cacm["run"])))
    found = ir_measures.calc_aggregate(measures, cacm["qrels"], run)
    assert [found[measure] for measure in measures] == cacm["figures"]


def test_pyterrier_gives_our_figures(pt: Any, cacm: dict[str, Any]) -> None:
    topics = frame(pt, *cacm["topics"].items(), columns="qid query")
    judged = ((topic, docno, grade) for topic, grades in cacm["qrels"].items() for docno, grade in grades.items())
    qrels = frame(pt, *judged, columns="qid docno label")
    retriever = pt.Artifact.load(str(cacm["index"])).retriever()
    measures = [pt.measures.nDCG @ 10, pt.measures.RR @ 10, pt.measures.R @ 100]
    table = pt.Experiment([retriever % 100], topics, qrels, measures)
    assert [table[name].item() for name in MEASURES] == cacm["figures"]


def test_mteb_gives_our_figures(make_task: Callable[..., Any], cacm: dict[str, Any], tmp_path: Path) -> None:
    from hypensearch.adapters.mteb import HypencoderModel

    task = make_task(cacm["corpus"], cacm["topics"], cacm["qrels"])
    scores, _ = mteb_scores(HypencoderModel("bundled"), task, tmp_path)
    assert [scores[name] for name in ("ndcg_at_10", "mrr_at_10", "recall_at_100")] == cacm["figures"]


def test_sentence_transformers_gives_our_figures(cacm: dict[str, Any]) -> None:
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    from hypensearch.adapters.sentence_transformers import EvaluatedModel

    relevant = {topic: {docid for docid, grade in grades.items() if grade} for topic, grades in cacm["qrels"].items()}
    evaluator = InformationRetrievalEvaluator(
        cacm["topics"], cacm["corpus"], relevant, precision_recall_at_k=[100], corpus_chunk_size=1000, batch_size=64
    )
    found = evaluator(EvaluatedModel("bundled"))
    assert [found[f"q_net_{name}"] for name in ("ndcg@10", "mrr@10", "recall@100")] == cacm["figures"]
    with pytest.raises(HypensearchError, match="truncate_dim"):
        EvaluatedModel("bundled").encode_query(["x"], truncate_dim=8)


def test_frameworks_are_given_scores_that_are_ranked_as_ours(hits: dict[str, list[Hit]]) -> None:
    tied = [Hit("a", 1.0), Hit("b", 1.0)]
    assert [hit.docid for hit in sorted(separate_ties(tied), key=lambda hit: (-hit.score, hit.docid))] == ["a", "b"]
