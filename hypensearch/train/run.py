# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A training run from settings to a finished checkpoint."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hypensearch.device import usable_dtype
from hypensearch.errors import HypensearchError
from hypensearch.formats.files import replace_when_whole
from hypensearch.formats.json_files import read_json
from hypensearch.models.dual_encoder import DualEncoder
from hypensearch.models.publish import check_may_upload, upload
from hypensearch.threads import default_threads, torch_threads
from hypensearch.train.batches import Collator, Examples, Tokens
from hypensearch.train.checkpoints import last_checkpoint
from hypensearch.train.config import TrainingConfig, differences, to_json
from hypensearch.train.data import RecordFile
from hypensearch.train.history import read_history
from hypensearch.train.losses import NEED_NEGATIVES, NEED_TEACHER
from hypensearch.train.model import Guide, TrainingModel
from hypensearch.train.report import other_lengths, write_report
from hypensearch.train.start import guiding_model, starting_model
from hypensearch.train.trainer import HypensearchTrainer, untouched_randomness
from hypensearch.train.validation import Validation, check_measures, read_collection

logger = logging.getLogger(__name__)


def train(config: TrainingConfig) -> DualEncoder:
    """Train as the settings say and write the checkpoint to ``config.output``.

    :return: The trained model.
    :raises HypensearchError: For bad settings or data, and when the loss is not a number.
    """
    config = _on_this_machine(config)
    folder = Path(config.output) / "training"
    checkpoint = checkpoint_to_resume(config, folder)
    if config.push_to_hub:
        check_may_upload(config.push_to_hub)
    check_measures(config.measures)
    # Setting the number of threads, even to what it is, ends MKL's own choice of fewer for small products, and so may
    # change their last bits: without this, validation would do it, before the first step of a new run but not of a
    # resumed one.
    with torch_threads(default_threads()), untouched_randomness():
        files = _open_files(config)
        collections = [read_collection(path) for path in config.validation]
        model, config = starting_model(config, files)
        guide = Guide(guiding_model(config), config.distil_temperature) if config.distil_from else None
        tokens, guide_tokens = _tokens(model, config), _tokens(guide.model, config) if guide else None
        validation = None
        if collections:
            validation = Validation(collections, tokens, measures=config.measures, bf16=config.bf16)
            _log_validation(config)
        _write_settings(config, folder)
        trainer = HypensearchTrainer(
            TrainingModel(model, config.losses, widths=config.widths, chunk_size=config.chunk_size, guide=guide),
            config,
            folder,
            Examples(files, num_negatives=config.num_negatives, seed=config.seed),
            Collator(tokens, guide_tokens, teacher_temperature=config.teacher_temperature),
            validation,
        )
        report = trainer.run(checkpoint)
        model = model.cpu().eval()
        if trainer.is_world_process_zero():
            _write(model, config, {"records": {file.path.name: len(file) for file in files}, **report})
    return model


def checkpoint_to_resume(config: TrainingConfig, folder: Path) -> Path | None:
    """Return the checkpoint to resume from, None for a new run.

    :param folder: The run's.
    :raises HypensearchError: When the folder is another run's.
    """
    checkpoint = last_checkpoint(folder)
    if checkpoint is None:
        return None
    if not config.resume:
        raise HypensearchError(f"{folder}: holds the checkpoints of another run: --resume it, or remove the folder")
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
            f"--resume: the run in {folder} has {shown}: resume it with the same, or use another --output"
        )
    return checkpoint


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


def _open_files(config: TrainingConfig) -> list[RecordFile]:
    """Open and check the files of training records.

    :raises HypensearchError: Lists what is wrong with all of them.
    """
    need_negatives = sorted(set(config.losses) & NEED_NEGATIVES)
    if need_negatives and config.num_negatives < 1:
        raise HypensearchError(f"{', '.join(need_negatives)} need negatives: raise --num-negatives")
    problems, files = [], []
    for path in config.train:
        try:
            file = RecordFile(
                path,
                label_key=config.label_key,
                least_negatives=1 if need_negatives else 0,
                needs_scores=bool(set(config.losses) & NEED_TEACHER),
            )
            files.append(file)
        except HypensearchError as error:
            problems.append(str(error))
    if problems:
        raise HypensearchError("; ".join(problems))
    logger.info("%d training records in %d files", sum(map(len, files)), len(files))
    return files


def _tokens(model: DualEncoder, config: TrainingConfig) -> Tokens:
    assert model.tokenizer is not None
    return Tokens(
        model.tokenizer,
        query_length=config.query_length,
        document_length=config.document_length,
        prompts=(model.config.query_prompt, model.config.document_prompt),
    )


def _log_validation(config: TrainingConfig) -> None:
    """Log what decides, and where validation's figures are not those of encode and search with their defaults."""
    first, *others = config.measures
    also = f", and {', '.join(others)} are measured as well" if others else ""
    logger.info("validation: the mean %s of %d collections decides%s", first, len(config.validation), also)
    if note := other_lengths(config):
        logger.info("validation %s", note)


def _write_settings(config: TrainingConfig, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with replace_when_whole(folder / "config.json", "w", follow_link=False) as file:
        file.write(to_json(config) + "\n")


def _write(model: DualEncoder, config: TrainingConfig, report: Mapping[str, Any]) -> None:
    output = Path(config.output)
    model.save_pretrained(output, compact=config.compact)
    with replace_when_whole(output / "training" / "report.json", "w", follow_link=False) as file:
        file.write(json.dumps(report, indent=2) + "\n")
    write_report(output, config, read_history(output / "training"), report)
    logger.info("wrote %s", output)
    if config.push_to_hub:
        logger.info("uploaded: %s", upload(output, config.push_to_hub))
