# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' Trainer with our order of examples, validation and way of stopping."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
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
    name_for_libraries,
    replace_when_whole,
    set_usual_permissions,
    write_errors,
)
from hypensearch.train.batches import Collator, EpochOrder, Examples
from hypensearch.train.checkpoints import seal
from hypensearch.train.config import TrainingConfig
from hypensearch.train.history import append_history, read_history
from hypensearch.train.model import TrainingModel
from hypensearch.train.validation import MEAN, Validation

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
BEST = "best.safetensors"
TENSORBOARD = "tensorboard"
_SLOW = (".weight_hyper_projection.", "_query_embeddings.", ".key_projections.")


class HypensearchTrainer(Trainer):
    """Trains a :class:`hypensearch.train.model.TrainingModel`.

    :param config: The settings.
    :param folder: Where checkpoints, the best weights and the history of the run go.
    :param validation: Measures to keep the best weights by; None without held-out topics.
    """

    def __init__(
        self,
        model: TrainingModel,
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
        self.start = {name: p.detach().cpu().clone() for name, p in model.named_parameters() if config.mix_with_start}
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

    def run(self, checkpoint: Path | None) -> dict[str, Any]:
        """Train from the first step, or from a checkpoint, to the last, and take the best weights.

        :return: The facts for the run's report.
        """
        started = time.monotonic()
        if self.validation is not None and checkpoint is None:
            self.evaluate()
        elif self.validation is not None:
            validations = (entry for entry in read_history(self.folder) if "eval_mean" in entry)
            self.at_start = next((dict(entry) for entry in validations if not entry["step"]), {})
        if checkpoint is None or not self._is_done(checkpoint):
            self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        report: dict[str, Any] = {"start": self.at_start} if self.at_start else {}
        report |= self._load_best()
        if self.settings.mix_with_start:
            self._mix_with_start()
        if self.validation is not None:
            report["end"] = self.measure()
        return {**report, "steps": self.state.global_step, "seconds": round(time.monotonic() - started)}

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return a batch's loss.

        :raises HypensearchError: When it is not a finite number.
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
                save_model(_as_stored(self.bare()), name)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def measure(self) -> dict[str, float]:
        """Measure retrieval on the held-out topics with the weights as they are."""
        assert self.validation is not None
        started = time.monotonic()
        measured = self.validation(self.bare().eval())
        return {f"eval_{name}": value for name, value in measured.items()} | {
            "eval_seconds": round(time.monotonic() - started, 1)
        }

    def has_stalled(self) -> bool:
        """Whether the last validations brought nothing better."""
        measured = [value for _, value in self._validations()]
        since_best = len(measured) - 1 - measured.index(max(measured)) if measured else 0
        return 0 < self.settings.patience <= since_best

    def bare(self) -> TrainingModel:
        """Return the model without what accelerate wraps it in."""
        model: TrainingModel = self.accelerator.unwrap_model(self.model)  # type: ignore[assignment]
        return model

    def shown(self, logs: Mapping[str, Any]) -> str:
        """Return what was logged as a line, measures by their names."""
        numbers = {key: value for key, value in logs.items() if isinstance(value, (int, float))}
        return ", ".join(f"{self._shown_name(key)} {value:.4g}" for key, value in numbers.items())

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Make AdamW, with a learning rate of its own for the hyper head's attention and weight projections."""
        if self.optimizer is None:
            slow: list[nn.Parameter] = []
            usual: list[nn.Parameter] = []
            for name, parameter in self.bare().named_parameters():
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

    def _is_done(self, checkpoint: Path) -> bool:
        """Return whether a checkpoint is of the last step, and load it if so.

        Resuming from it, transformers would do one step too many.
        """
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if self.state.global_step < self.settings.max_steps and not self.has_stalled():
            return False
        self._load_from_checkpoint(str(checkpoint))
        return True

    def _load_best(self) -> dict[str, Any]:
        """Load the best weights seen, by validation; without validation the last ones stay.

        :return: ``kept_step``, the step that they are of, and with validation the ``measure`` that chose it.
        """
        last = self.state.global_step
        if self.validation is None or not (self.folder / BEST).is_file():
            logger.info("kept the weights of step %d, the last one: there was no validation", last)
            return {"kept_step": last}
        self._load(self.folder / BEST)
        measured = self._validations()
        best, step = max((value, step) for step, value in measured)
        shown = f"{self._shown_name('eval_mean')} {best:.4f}, the best of {len(measured)} validations"
        logger.info("kept the weights of step %d of %d: %s", step, last, shown)
        return {"kept_step": step, "measure": self.settings.measures[0]}

    @torch.no_grad()
    def _mix_with_start(self) -> None:
        share = self.settings.mix_with_start
        for name, parameter in self.bare().named_parameters():
            parameter.lerp_(self.start[name].to(parameter.device), share)
        logger.info("mixed: %g of the weights that training started with, %g of the trained ones", share, 1 - share)

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Sampler[int]:
        size = self.args.per_device_train_batch_size * self.args.world_size
        return EpochOrder(self.train_dataset, batch_size=size, seed=self.settings.seed)  # type: ignore[arg-type]

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self._check_finite()
        folder = Path(output_dir or str(self.folder))
        folder.mkdir(parents=True, exist_ok=True)
        with name_for_libraries(folder / WEIGHTS) as name:
            save_model(_as_stored(self.bare()), name)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with write_errors(self.folder):
            super()._save_checkpoint(*args, **kwargs)
        if self.is_world_process_zero():
            folder = self.folder / f"checkpoint-{self.state.global_step}"
            set_usual_permissions(folder)
            seal(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self._load(Path(resume_from_checkpoint) / WEIGHTS)

    def _load(self, path: Path) -> None:
        with name_for_libraries(path) as name:
            load_model(_as_stored(self.bare()), name)

    def _check_finite(self) -> None:
        """Keep broken weights from replacing good ones."""
        broken = [name for name, p in self.bare().named_parameters() if not torch.isfinite(p).all()]
        if broken:
            raise HypensearchError(
                f"NaN or infinity in {len(broken)} weights, such as {broken[0]}, after step {self.state.global_step}: "
                f"stopped, the checkpoints in {self.folder} are whole; try a lower --learning-rate"
            )

    def _validations(self) -> list[tuple[int, float]]:
        """Return steps and first measures so far; transformers forgets the validation before the first step."""
        later = [(int(e["step"]), e["eval_mean"]) for e in self.state.log_history if "eval_mean" in e and e["step"]]
        return ([(0, self.at_start["eval_mean"])] if self.at_start else []) + later

    def _shown_name(self, key: str) -> str:
        name, (first, *others) = key.removeprefix("eval_"), self.settings.measures
        if name in (key, "seconds") or self.validation is None:
            return key
        for measure in others:
            if name.endswith(f"_{measure}"):
                return f"{measure} of {name.removesuffix(f'_{measure}')}"
        return f"mean {first}" if name == MEAN else f"{first} of {name}"


class _Watch(TrainerCallback):
    """One line a log, early stop, and the history on disk."""

    def __init__(self, trainer: HypensearchTrainer) -> None:
        self.trainer = trainer

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if not state.is_world_process_zero or not logs:
            return
        of = state.max_steps or self.trainer.settings.max_steps  # transformers sets it when the first step begins
        logger.info("step %d of %d: %s", state.global_step, of, self.trainer.shown(logs))
        append_history(self.trainer.folder, {"step": state.global_step, **logs})

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if self.trainer.has_stalled():
            settings = self.trainer.settings
            logger.info("stopping: no better %s in the last %d validations", settings.measures[0], settings.patience)
            control.should_training_stop = True
        return control


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Put the global random generators back as the caller had them."""
    python, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)


def _as_stored(model: TrainingModel) -> nn.Module:
    """Return the model with the names that its weights have in files."""
    return nn.ModuleDict({"scorer": model})


def _arguments(config: TrainingConfig, folder: Path) -> TrainingArguments:
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
        bf16=config.bf16,
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="steps" if config.validation else "no",
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
    """Return a callback that logs to TensorBoard, where that is installed, from the first validation on."""
    if find_spec("tensorboard"):
        from torch.utils.tensorboard import SummaryWriter
    elif find_spec("tensorboardX"):
        from tensorboardX import SummaryWriter  # type: ignore[no-redef]
    else:
        return []
    from transformers.integrations import TensorBoardCallback

    return [TensorBoardCallback(SummaryWriter(log_dir=str(folder / TENSORBOARD)))]


__all__ = ["HypensearchTrainer", "untouched_randomness"]
