# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A training run from settings to a finished checkpoint."""

from __future__ import annotations

import copy
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hypensearch.device import usable_dtype
from hypensearch.errors import HypensearchError
from hypensearch.eval import resolve_measures
from hypensearch.formats.files import name_for_libraries, replace_when_whole
from hypensearch.formats.json_files import read_json
from hypensearch.models.config import QNetConfig
from hypensearch.models.dual_encoder import DualEncoder, QueryEncoder, hidden_size, load_model
from hypensearch.models.hub import check_may_upload, upload
from hypensearch.models.new_model import load_backbone, new_biencoder, new_hypencoder
from hypensearch.models.warm_start import LinearMaps, scale_products, warm_start
from hypensearch.threads import default_threads, torch_threads
from hypensearch.train.config import TrainingConfig, backbone_name, differences, to_json
from hypensearch.train.data import Examples, RecordFile, epoch_order
from hypensearch.train.embedding_cache import EmbeddingCache
from hypensearch.train.inputs import Collator, FrozenInputs, Inputs, TokenInputs
from hypensearch.train.losses import NEED_NEGATIVES, NEED_TEACHER
from hypensearch.train.mining import MinedNegatives
from hypensearch.train.report import other_lengths, read_history, write_report
from hypensearch.train.scorers import FixedBlocksScorer, HeadScorer, LossModel, TextScorer, TwinScorer
from hypensearch.train.step_profile import profile_steps
from hypensearch.train.trainer import HISTORY, HypensearchTrainer, last_checkpoint, untouched_randomness
from hypensearch.train.validation import Validation, read_collection

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

MAPS = "linear_maps.safetensors"
_SAMPLE_TEXTS, _SAMPLE_TOKENS = 128, 48


def train(config: TrainingConfig) -> DualEncoder:
    """Train as the settings say and write the checkpoint to ``config.output``.

    :return: The trained model.
    :raises HypensearchError: For bad settings or data, and when the loss is not a number.
    """
    config = _on_this_machine(config)
    folder = Path(config.output) / "training"
    checkpoint = last_checkpoint(folder) if config.resume else None
    if not config.resume and last_checkpoint(folder) is not None:
        raise HypensearchError(f"{folder}: holds the checkpoints of another run: --resume it, or remove the folder")
    if checkpoint is not None:
        _check_same_run(config, folder)
    if config.push_to_hub:
        check_may_upload(config.push_to_hub)
    # Setting the number of threads, even to what it is, ends MKL's own choice of fewer for small products, and so may
    # change their last bits: without this, validation would do it, before the first step of a new run but not of a
    # resumed one.
    with torch_threads(default_threads()), untouched_randomness():
        run = _prepare(config)
        config = run.config
        if run.validation is not None:
            _log_validation(config)
        folder.mkdir(parents=True, exist_ok=True)
        with replace_when_whole(folder / "config.json", "w", follow_link=False) as file:
            file.write(to_json(config) + "\n")
        trainer = HypensearchTrainer(run.loss_model, config, folder, run.examples, run.collator, run.validation)
        report = {**_profile(run, config), **_steps(trainer, config, checkpoint)}
        model = run.finish()
        if trainer.is_world_process_zero():
            _write(model, run, config, report)
    return model


def _on_this_machine(config: TrainingConfig) -> TrainingConfig:
    """Leave bfloat16 to machines that have instructions for it.

    :raises HypensearchError: When one process sees several GPUs: each wants a process of its own.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus > 1 and int(os.environ.get("WORLD_SIZE", 1)) == 1:
        raise HypensearchError(
            f"{gpus} GPUs are visible to one process: start torchrun --nproc-per-node {gpus} -m hypensearch.train ..., "
            "or choose one with CUDA_VISIBLE_DEVICES=0"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    usable = not config.bf16 or usable_dtype(device, torch.bfloat16) == torch.bfloat16
    return config if usable else replace(config, bf16=False)


def _check_same_run(config: TrainingConfig, folder: Path) -> None:
    path = folder / "config.json"
    try:
        earlier = read_json(path)
        if not isinstance(earlier, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        raise HypensearchError(f"--resume: {path}: not the settings of a run ({error}); start again") from None
    if changed := differences(config, earlier):
        shown = ", ".join(f"{name} {earlier[name]!r}" for name in changed)
        raise HypensearchError(
            f"--resume: the run in {folder} has {shown}: go on with the same, or use another --output"
        )


def _profile(run: _Run, config: TrainingConfig) -> dict[str, object]:
    if not config.profile_steps:
        return {}
    sources, size = run.examples.sources(), config.batch_size
    order = epoch_order(sources, batch_size=size, seed=config.seed, epoch=0)[: size * (config.profile_steps + 1)]
    rows = [order[start : start + size] for start in range(0, len(order), size)]
    batches = (run.collator([run.examples[row] for row in batch]) for batch in rows)
    profile = profile_steps(run.loss_model, batches, bf16=config.autocast)
    logger.info("a step: %s", json.dumps(profile))
    return {"profile": profile}


def _steps(trainer: HypensearchTrainer, config: TrainingConfig, checkpoint: Path | None) -> dict[str, object]:
    report: dict[str, object] = {}
    started = time.monotonic()
    if trainer.validation is not None and checkpoint is None:
        trainer.evaluate()
    elif trainer.validation is not None:
        history = read_history(trainer.folder / HISTORY)
        trainer.at_start = next((dict(e) for e in history if "eval_mean" in e and not e["step"]), {})
    if trainer.at_start:
        report["start"] = trainer.at_start
    if checkpoint is None or not trainer.is_done(checkpoint):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    report |= trainer.load_best()
    if config.blend and trainer.validation is not None:
        report["blend"] = trainer.blend()
    if trainer.validation is not None:
        report["end"] = trainer.measure()
    return {**report, "steps": trainer.state.global_step, "seconds": round(time.monotonic() - started)}


@dataclass
class _Run:
    """What a run needs, made of its settings."""

    config: TrainingConfig
    transformer: nn.Module
    tokenizer: PreTrainedTokenizerBase
    examples: Examples
    collator: Collator
    validation: Validation | None
    loss_model: LossModel
    model: DualEncoder | None
    sample: tuple[Tensor, Tensor]

    def finish(self) -> DualEncoder:
        """Return the trained model; a twin's is a Hypencoder of the same ranking."""
        scorer = self.loss_model.scorer
        if isinstance(scorer, TwinScorer):
            model = _new_hypencoder(self.config, copy.deepcopy(self.transformer), self.tokenizer)
            scale = self.config.logit_scale
            warm_start(model, maps=_on_cpu(scorer.maps), logit_scale=scale, sample=self.sample)
            return model.eval()
        assert self.model is not None
        return self.model.cpu().eval()


def _prepare(config: TrainingConfig) -> _Run:
    if len(resolve_measures(config.measures, 1)) != len(config.measures):
        raise HypensearchError(
            f"--measures {' '.join(config.measures)}: wanted single measures, each once, such as nDCG@10 and not a set"
        )
    files = _open_files(config)
    examples = Examples(files, num_negatives=config.num_negatives, seed=config.seed)
    collections = [read_collection(folder) for folder in config.validation]
    given = load_model(config.start_from) if config.start_from else None
    if given is None:
        transformer, tokenizer = load_backbone(config.backbone)
        document_transformer = transformer
    else:
        assert given.tokenizer is not None
        config = _settled(config, given)
        transformer, tokenizer = given.query_encoder.transformer, given.tokenizer  # type: ignore[assignment]
        document_transformer = given.passage_encoder.transformer
    tokens = TokenInputs(tokenizer, query_length=config.query_length, document_length=config.document_length)
    sample = _sample(files, tokenizer)
    inputs: Inputs = tokens
    if config.is_frozen:
        records = [record for file in files for record in file]
        texts = [item.text for record in records for item in (*record.positives, *record.negatives)]
        inputs = FrozenInputs(
            *_caches(config, transformer, document_transformer, tokenizer),
            [record.query for record in records] + [topic for c in collections for topic in c.topics.values()],
            texts + [text for c in collections for text in c.documents],
        )
    maps = _start_maps(config, transformer)
    mined = None
    if config.mined_negatives:
        first = TwinScorer(maps or LinearMaps.identity(transformer), config.pooling, 1.0)
        sources = [list(file) for file in files]
        mined = MinedNegatives(first, inputs, sources, depth=config.mined_negatives, margin=config.mining_margin)
        logger.info("mined negatives for %d records", len(examples))
    if given is None:
        model, scorer = _scorer(config, transformer, tokenizer, maps, sample)
    else:
        model, scorer = given, _given_scorer(config, given)
    return _Run(
        config=config,
        transformer=transformer,
        tokenizer=tokenizer,
        examples=examples,
        collator=Collator(inputs, examples, mined),
        validation=Validation(collections, inputs, measures=config.measures, bf16=config.autocast)
        if collections
        else None,
        loss_model=LossModel(scorer, config.losses, tuple(config.widths)),
        model=model,
        sample=sample,
    )


def _log_validation(config: TrainingConfig) -> None:
    """Log what decides, and where validation's figures are not those of encode and search as they come."""
    first, *others = config.measures
    also = f", and {', '.join(others)} are measured as well" if others else ""
    logger.info("validation: the mean %s of %d collections decides%s", first, len(config.validation), also)
    if note := other_lengths(config):
        logger.info("validation %s", note)


def _open_files(config: TrainingConfig) -> list[RecordFile]:
    losses, problems, files = set(config.losses), [], []
    least = 1 if losses & NEED_NEGATIVES and not config.mined_negatives else 0
    if losses & NEED_NEGATIVES and config.num_negatives < 1:
        raise HypensearchError(f"{', '.join(sorted(losses & NEED_NEGATIVES))} need negatives: raise --num-negatives")
    for path in config.train:
        try:
            files.append(
                RecordFile(
                    path,
                    label_key=config.label_key,
                    least_negatives=least,
                    needs_scores=bool(losses & NEED_TEACHER),
                )
            )
        except HypensearchError as error:
            problems.append(str(error))
    if problems:
        raise HypensearchError("; ".join(problems))
    logger.info("%d training records in %d files", sum(map(len, files)), len(files))
    return files


def _caches(
    config: TrainingConfig,
    transformer: nn.Module,
    document_transformer: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[EmbeddingCache, EmbeddingCache]:
    queries, documents = (
        EmbeddingCache(config.cache, encoder, tokenizer, pooling=pooling, max_length=max_length, bf16=config.bf16)
        for encoder, pooling, max_length in (
            (transformer, None, config.query_length),
            (document_transformer, config.pooling, config.document_length),
        )
    )
    return queries, documents


def _settled(config: TrainingConfig, given: DualEncoder) -> TrainingConfig:
    """Let a given checkpoint decide what it is."""
    q_net = given.config.q_net
    return replace(
        config,
        architecture=given.kind,
        num_blocks=config.num_blocks if q_net is None else q_net.num_blocks,
        pooling=given.passage_encoder.pooling,
        shared_encoder=given.config.shared_encoder,
        widths=list(given.config.widths),
    )


def _given_scorer(config: TrainingConfig, model: DualEncoder) -> nn.Module:
    if config.gradient_checkpointing:
        for encoder in (model.query_encoder, model.passage_encoder):
            encoder.transformer.gradient_checkpointing_enable()  # type: ignore[operator, union-attr]
    if isinstance(model.query_encoder, QueryEncoder):
        head = model.query_encoder.hyper_head
        head.q_net = replace(head.q_net, dropout=config.dropout)
        if config.freeze_encoder:
            return HeadScorer(head, 1.0, 1.0)
    return TextScorer(model, config.chunk_size)


def _scorer(
    config: TrainingConfig,
    transformer: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    maps: LinearMaps | None,
    sample: tuple[Tensor, Tensor],
) -> tuple[DualEncoder | None, nn.Module]:
    if config.architecture == "twin":
        return None, TwinScorer(maps or LinearMaps.identity(transformer), config.pooling, config.logit_scale)
    transformer = copy.deepcopy(transformer)
    if config.gradient_checkpointing:
        transformer.gradient_checkpointing_enable()  # type: ignore[operator]
    if config.architecture == "biencoder":
        model = new_biencoder(
            transformer,
            tokenizer,
            pooling=config.pooling,
            shared_encoder=config.shared_encoder,
            backbone_name=backbone_name(config),
        )
        if config.start == "warm":
            scale_products(model, logit_scale=config.logit_scale, sample=sample)
        return model, TextScorer(model, config.chunk_size)
    model = _new_hypencoder(config, transformer, tokenizer)
    scale = 1.0
    if config.head_from:
        _transplant(config.head_from, model)
    elif config.start == "warm":
        scale = warm_start(
            model,
            maps=maps,
            similarity=config.similarity,
            logit_scale=config.logit_scale,
            sample=sample,
            generator=torch.Generator().manual_seed(config.seed),
        )
    if not config.freeze_encoder:
        return model, TextScorer(model, config.chunk_size)
    assert isinstance(model.query_encoder, QueryEncoder)
    query_scale = scale if config.shared_encoder else 1.0
    head = model.query_encoder.hyper_head
    if config.fixed_blocks:
        return model, FixedBlocksScorer(
            head, query_scale, scale, static_bias=config.static_bias, attention_only=config.attention_only
        )
    return model, HeadScorer(head, query_scale, scale)


def _new_hypencoder(config: TrainingConfig, transformer: nn.Module, tokenizer: PreTrainedTokenizerBase) -> DualEncoder:
    q_net = QNetConfig(
        dims=(hidden_size(transformer),) * (config.num_blocks + 1) + (1,),
        dropout=config.dropout,
        residual=config.residual and not config.widths,  # a residual cannot be cut narrower than its input
    )
    return new_hypencoder(
        transformer,
        tokenizer,
        q_net=q_net,
        pooling=config.pooling,
        shared_encoder=config.shared_encoder,
        backbone_name=backbone_name(config),
        widths=tuple(config.widths),
        generator=torch.Generator().manual_seed(config.seed),
    )


def _transplant(source: str, model: DualEncoder) -> None:
    """Take another checkpoint's hyper head over."""
    donor = load_model(source)
    if not isinstance(donor.query_encoder, QueryEncoder):
        raise HypensearchError(f"--head-from {source}: a bi-encoder has no hyper head")
    assert isinstance(model.query_encoder, QueryEncoder)
    theirs, ours = donor.query_encoder.hyper_head, model.query_encoder.hyper_head
    if theirs.q_net.dims != ours.q_net.dims:
        raise HypensearchError(
            f"--head-from {source}: its q-nets are {list(theirs.q_net.dims)}, this model's {list(ours.q_net.dims)}"
        )
    ours.load_state_dict(theirs.state_dict())


def _start_maps(config: TrainingConfig, transformer: nn.Module) -> LinearMaps | None:
    if not config.start_maps:
        return None
    path = Path(config.start_maps) / MAPS
    if not path.is_file():
        raise HypensearchError(f"--start-maps {config.start_maps}: no {MAPS} there, so it is not a finished twin")
    with name_for_libraries(path) as name:
        tensors = load_file(name)
    if tensors["queries"].shape[0] != hidden_size(transformer):
        raise HypensearchError(f"{path}: maps of {tensors['queries'].shape[0]} dimensions do not fit {config.backbone}")
    return LinearMaps(tensors["queries"], tensors["documents"])


def _sample(files: Sequence[RecordFile], tokenizer: PreTrainedTokenizerBase) -> tuple[Tensor, Tensor]:
    texts = []
    for file in files:
        for row in range(0, len(file), max(1, len(file) // _SAMPLE_TEXTS)):
            texts += [file[row].query, file[row].positives[0].text]
    batch = tokenizer(
        texts[: 4 * _SAMPLE_TEXTS], padding=True, truncation=True, max_length=_SAMPLE_TOKENS, return_tensors="pt"
    )
    return batch["input_ids"], batch["attention_mask"]


def _write(model: DualEncoder, run: _Run, config: TrainingConfig, report: dict[str, object]) -> None:
    output = Path(config.output)
    model.save_pretrained(output, compact=config.compact)
    if isinstance(run.loss_model.scorer, TwinScorer):
        maps = _on_cpu(run.loss_model.scorer.maps)
        # safetensors writes to a name
        with replace_when_whole(output / MAPS, follow_link=False) as file, name_for_libraries(file.name) as name:
            save_file({"queries": maps.queries, "documents": maps.documents}, name)
    report = {"records": {str(file.path.name): len(file) for file in run.examples.files}, **report}
    with replace_when_whole(output / "training" / "report.json", "w", follow_link=False) as file:
        file.write(json.dumps(report, indent=2) + "\n")
    write_report(output, config, read_history(output / "training" / HISTORY), report)
    logger.info("wrote %s", output)
    if config.push_to_hub:
        logger.info("uploaded: %s", upload(output, config.push_to_hub))


def _on_cpu(maps: LinearMaps) -> LinearMaps:
    return LinearMaps(maps.queries.cpu().contiguous(), maps.documents.cpu().contiguous())
