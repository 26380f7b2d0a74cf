# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' Trainer with our losses, order of examples, validation and way of stopping."""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, TrainerState

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import (
    fsync_file,
    fsync_folder,
    libraries_told_of,
    name_for_libraries,
    replace_when_whole,
    set_usual_permissions,
    sha256_of,
)
from hypensearch.formats.json_files import check_signed, parse_json, read_bounded, read_json, signed_json
from hypensearch.train.config import TrainingConfig
from hypensearch.train.data import Examples, epoch_order
from hypensearch.train.inputs import Collator
from hypensearch.train.scorers import LossModel
from hypensearch.train.validation import MEAN, Validation

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
BEST = "best.safetensors"
HISTORY = "history.jsonl"
TENSORBOARD = "tensorboard"
SEAL = "checksums.json"
_SLOW = (".weight_hyper_projection.", "_query_embeddings.", ".key_projections.")


class HypensearchTrainer(Trainer):
    """Trains a :class:`hypensearch.train.scorers.LossModel`.

    :param config: The settings.
    :param folder: Where checkpoints, the best weights and the history of the run go.
    :param validation: Measures to keep the best weights by; None without held-out topics.
    """

    def __init__(
        self,
        model: LossModel,
        config: TrainingConfig,
        folder: Path,
        examples: Examples,
        collator: Collator,
        validation: Validation | None,
    ) -> None:
        self.settings = config
        self.folder = folder
        self.validation = validation
        self.at_start: dict[str, float] = {}
        self.start = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        super().__init__(
            model=model,
            args=_arguments(config, folder),
            train_dataset=examples,  # type: ignore[arg-type]
            eval_dataset=examples if validation else None,  # type: ignore[arg-type]  # only asked for, never read
            data_collator=collator,  # type: ignore[arg-type]
        )
        self.remove_callback(PrinterCallback)
        self.add_callback(_Watch(self))
        if self.is_world_process_zero():
            for callback in _tensorboard(folder):
                self.add_callback(callback)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return a batch's loss.

        :raises HypensearchError: When it is not a finite number: nothing good can follow.
        """
        outputs = model(**inputs)
        loss: Tensor = outputs["loss"]
        if not torch.isfinite(loss):
            raise HypensearchError(
                f"the loss is {loss.item()} after step {self.state.global_step}: stopped, the checkpoints in "
                f"{self.folder} are whole; try a lower --learning-rate, or look for odd teacher scores"
            )
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measure retrieval on the held-out topics, and keep the weights when they are the best so far."""
        self._check_finite()
        metrics = self.measure()
        if not self.state.global_step:
            self.at_start = metrics
        self.log(metrics)
        if metrics["eval_mean"] >= max(value for _, value in self._validations()) and self.is_world_process_zero():
            # safetensors writes to a name
            with (
                replace_when_whole(self.folder / BEST, follow_link=False) as file,
                name_for_libraries(file.name) as name,
            ):
                save_model(self._bare(), name)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def measure(self) -> dict[str, float]:
        """Measure retrieval on the held-out topics with the weights as they are."""
        assert self.validation is not None
        model = self._bare().eval()
        started = time.monotonic()
        measured = self.validation(model.scorer)  # type: ignore[arg-type]
        return {f"eval_{name}": value for name, value in measured.items()} | {
            "eval_seconds": round(time.monotonic() - started, 1)
        }

    def is_tired(self) -> bool:
        """Tell whether the last validations brought nothing better."""
        measured = [value for _, value in self._validations()]
        since_best = len(measured) - 1 - measured.index(max(measured)) if measured else 0
        return 0 < self.settings.patience <= since_best

    def is_done(self, checkpoint: Path) -> bool:
        """Take a checkpoint over where no step is left to do behind it; tell whether that is so.

        Asked to go on, transformers would do one step more than the run was to have.
        """
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if self.state.global_step < self.settings.max_steps and not self.is_tired():
            return False
        self._load_from_checkpoint(str(checkpoint))
        return True

    def load_best(self) -> dict[str, Any]:
        """Take the best weights seen, by validation; the last ones without validation.

        :return: ``kept_step``, the step that they are of, and with validation the ``measure`` that chose it.
        """
        last = self.state.global_step
        if self.validation is None or not (self.folder / BEST).is_file():
            logger.info("kept the weights of step %d, the last one: there was no validation", last)
            return {"kept_step": last}
        with name_for_libraries(self.folder / BEST) as name:
            load_model(self._bare(), name)
        measured = self._validations()
        best, step = max((value, step) for step, value in measured)
        shown = f"{self._shown_name('eval_mean')} {best:.4f}, the best of {len(measured)} validations"
        logger.info("kept the weights of step %d of %d: %s", step, last, shown)
        return {"kept_step": step, "measure": self.settings.measures[0]}

    def blend(self) -> dict[str, float]:
        """Take the best mixture of start and trained weights by validation; return what each share measured.

        Of the shares that cost no collection more than ``blend_tolerance``, the one of the highest mean is taken.
        """
        trained = {name: p.detach().clone() for name, p in self._bare().named_parameters() if p.requires_grad}
        measured: dict[float, dict[str, float]] = {}
        for share in np.linspace(0, 1, self.settings.blend_steps + 1).tolist():
            self._mix(trained, share)
            measured[share] = self.measure()
            logger.info(
                "blend: %.2f of what was learned: %s %.4f",
                share,
                self.settings.measures[0],
                measured[share]["eval_mean"],
            )
        best = max(self._harmless(measured), key=lambda share: (measured[share]["eval_mean"], share))
        self._mix(trained, best)
        logger.info("blend: took %.2f", best)
        return {"taken": best, **{f"{share:.2f}": values["eval_mean"] for share, values in measured.items()}}

    def _harmless(self, measured: dict[float, dict[str, float]]) -> list[float]:
        names = [collection.name for collection in self.validation.collections] if self.validation else []
        floor = {name: measured[0.0][f"eval_{name}"] - self.settings.blend_tolerance for name in names}
        return [s for s, values in measured.items() if all(values[f"eval_{name}"] >= floor[name] for name in names)]

    @torch.no_grad()
    def pull_to_start(self, optimizer: torch.optim.Optimizer) -> None:
        """Decay weights towards their start values, as AdamW's weight decay does towards zero."""
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in self._bare().named_parameters():
            if id(parameter) in rates:
                start = self.start[name] = self.start[name].to(parameter.device)
                parameter.lerp_(start, min(1.0, rates[id(parameter)] * self.settings.start_decay))

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Make AdamW, attention and weights' hyper projections at a rate of their own."""
        if self.optimizer is None:
            slow: list[nn.Parameter] = []
            usual: list[nn.Parameter] = []
            for name, parameter in self._bare().named_parameters():
                if parameter.requires_grad:
                    (slow if any(part in name for part in _SLOW) else usual).append(parameter)
            rate = self.settings.learning_rate
            groups = [
                {"params": usual, "lr": rate},
                {"params": slow, "lr": rate * self.settings.projection_rate},
            ]
            self.optimizer = torch.optim.AdamW(
                [group for group in groups if group["params"]], lr=rate, weight_decay=self.settings.weight_decay
            )
        return self.optimizer

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Sampler[int]:
        size = self.args.per_device_train_batch_size * self.args.world_size
        return _EpochOrder(self.train_dataset, size, self.settings.seed)  # type: ignore[arg-type]

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self._check_finite()
        folder = Path(output_dir or str(self.folder))
        folder.mkdir(parents=True, exist_ok=True)
        with name_for_libraries(folder / WEIGHTS) as name:
            save_model(self._bare(), name)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with libraries_told_of(self.folder):
            super()._save_checkpoint(*args, **kwargs)
        if self.is_world_process_zero():
            folder = self.folder / f"checkpoint-{self.state.global_step}"
            set_usual_permissions(folder)
            _seal(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        with name_for_libraries(Path(resume_from_checkpoint) / WEIGHTS) as name:
            load_model(model or self._bare(), name)

    def _check_finite(self) -> None:
        """Let no broken weights take the place of good ones."""
        broken = [name for name, p in self._bare().named_parameters() if not torch.isfinite(p).all()]
        if broken:
            raise HypensearchError(
                f"NaN or infinity in {len(broken)} weights, such as {broken[0]}, after step {self.state.global_step}: "
                f"stopped, the checkpoints in {self.folder} are whole; try a lower --learning-rate"
            )

    def _validations(self) -> list[tuple[int, float]]:
        """Return steps and first measures so far; transformers forgets the validation before the first step."""
        later = [(int(e["step"]), e["eval_mean"]) for e in self.state.log_history if "eval_mean" in e and e["step"]]
        return ([(0, self.at_start["eval_mean"])] if self.at_start else []) + later

    def shown(self, logs: Mapping[str, Any]) -> str:
        """Give what was logged as a line, measures by their names."""
        numbers = {key: value for key, value in logs.items() if isinstance(value, (int, float))}
        return ", ".join(f"{self._shown_name(key)} {value:.4g}" for key, value in numbers.items())

    def _shown_name(self, key: str) -> str:
        name, (first, *others) = key.removeprefix("eval_"), self.settings.measures
        if name in (key, "seconds") or self.validation is None:
            return key
        for measure in others:
            if name.endswith(f"_{measure}"):
                return f"{measure} of {name.removesuffix(f'_{measure}')}"
        return f"mean {first}" if name == MEAN else f"{first} of {name}"

    def _bare(self) -> LossModel:
        model: LossModel = self.accelerator.unwrap_model(self.model)  # type: ignore[assignment]
        return model

    @torch.no_grad()
    def _mix(self, trained: dict[str, Tensor], share: float) -> None:
        for name, parameter in self._bare().named_parameters():
            if name in trained:
                parameter.copy_(torch.lerp(self.start[name].to(parameter.device), trained[name], share))


class _Watch(TrainerCallback):
    """One line a log, early stop, decay towards the start, and the history on disk."""

    def __init__(self, trainer: HypensearchTrainer) -> None:
        self.trainer = trainer

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.settings.start_decay:
            self.trainer.pull_to_start(kwargs["optimizer"])

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if not state.is_world_process_zero or not logs:
            return
        of = state.max_steps or self.trainer.settings.max_steps  # transformers sets it when the first step begins
        logger.info("step %d of %d: %s", state.global_step, of, self.trainer.shown(logs))
        _append_line(self.trainer.folder / HISTORY, json.dumps({"step": state.global_step, **logs}))

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if self.trainer.is_tired():
            logger.info(
                "stopping: no better %s in the last %d validations",
                self.trainer.settings.measures[0],
                self.trainer.settings.patience,
            )
            control.should_training_stop = True
        return control


class _EpochOrder(Sampler[int]):
    """The order of :func:`hypensearch.train.data.epoch_order`, for the epoch that the examples are in."""

    def __init__(self, examples: Examples, batch_size: int, seed: int) -> None:
        self.examples, self.batch_size, self.seed = examples, batch_size, seed

    def __iter__(self) -> Iterator[int]:
        return iter(self._order())

    def __len__(self) -> int:
        return len(self._order())

    def set_epoch(self, epoch: int) -> None:
        self.examples.set_epoch(epoch)

    def _order(self) -> list[int]:
        return epoch_order(
            self.examples.sources(), batch_size=self.batch_size, seed=self.seed, epoch=self.examples.epoch
        )


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Put the global sources of chance back as the caller had them."""
    python, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)


def _arguments(config: TrainingConfig, folder: Path) -> TrainingArguments:
    with_validation = bool(config.validation)
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=config.max_steps,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.scheduler,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        data_seed=config.seed,
        bf16=config.autocast,
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="steps" if with_validation else "no",
        eval_steps=config.eval_steps,
        save_strategy="steps",
        save_steps=config.eval_steps,
        save_total_limit=config.keep_checkpoints,
        logging_steps=max(1, min(50, config.eval_steps)),
        logging_nan_inf_filter=False,
        dataloader_drop_last=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=[],
        ddp_find_unused_parameters=True,
    )


def _tensorboard(folder: Path) -> list[TrainerCallback]:
    """Return what logs to TensorBoard where that is installed, into the run's folder from its first validation on."""
    from importlib.util import find_spec

    if find_spec("tensorboard"):
        from torch.utils.tensorboard import SummaryWriter
    elif find_spec("tensorboardX"):
        from tensorboardX import SummaryWriter  # type: ignore[no-redef]
    else:
        return []
    from transformers.integrations import TensorBoardCallback

    return [TensorBoardCallback(SummaryWriter(log_dir=str(folder / TENSORBOARD)))]


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a run that is what was written; told of those that are not."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in found:
        if _is_whole(path):
            return path
        logger.warning("%s: not whole or damaged, left out", path)
    return None


def _seal(checkpoint: Path) -> None:
    """Bring a checkpoint to disk and write the digests of its files beside them."""
    digests = {}
    for path in sorted(checkpoint.iterdir()):
        fsync_file(path)
        digests[path.name] = sha256_of(path)
    with replace_when_whole(checkpoint / SEAL, follow_link=False) as file:
        file.write(signed_json({"files": digests}))


def _is_whole(checkpoint: Path) -> bool:
    """Tell whether files have the digests of the seal; without one, whether the file before it is complete."""
    try:
        if not (checkpoint / SEAL).exists():
            return bool(read_json(checkpoint / "trainer_state.json"))
        content = read_bounded(checkpoint / SEAL)
        facts = parse_json(content)
        check_signed(content, facts)
        return all(sha256_of(checkpoint / name) == digest for name, digest in facts["files"].items())
    except (OSError, ValueError, KeyError, AttributeError, HypensearchError):
        return False


def _append_line(path: Path, line: str) -> None:
    """Write a line behind the last, which a kill may have cut, and bring it to disk.

    A run that goes on reads the validation before its first step there.
    """
    is_new = not path.exists()
    with open(path, "ab+") as file:
        cut = file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
        file.write(b"\n" * bool(cut) + line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        fsync_folder(str(path.parent))


__all__ = ["HISTORY", "HypensearchTrainer", "last_checkpoint", "untouched_randomness"]
