# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint to ONNX, for scorers without torch: ``python -m hypensearch.convert.onnx --encoder .. --output ..``.

Three graphs are written, beside the tokenizer's files. All axes named here are dynamic:

- ``query_encoder.onnx``: ``input_ids`` and ``attention_mask`` (``num_queries, seq_len``) to the q-nets' tensors,
  ``weight_0`` .. ``weight_N`` (``num_queries, in, out``) and ``bias_0`` .. (``num_queries, out``).
- ``q_net.onnx``: those tensors and ``vectors`` (``num_docs, dim``) to ``scores`` (``num_queries, num_docs``).
- ``document_encoder.onnx``: ``input_ids`` and ``attention_mask`` (``num_docs, seq_len``) to ``vectors``.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypensearch import cli
from hypensearch.errors import HypensearchError
from hypensearch.options import Options, add_flags, from_args, option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hypensearch.models import DualEncoder, QNetConfig

logger = logging.getLogger(__name__)

OPSET = 18
GRAPHS = ("query_encoder", "q_net", "document_encoder")


@dataclass(frozen=True)
class OnnxOptions(Options):
    """What is exported, and where to."""

    encoder: str = option("checkpoint folder, hub name or bundled")
    output: str = option("folder to write the graphs to")
    width: int | None = option("hidden width to cut q-nets to (Matryoshka checkpoints)", None, at_least=1)
    backbone_config: str | None = option(
        "configuration of the checkpoint's transformer, where none is found", None, metavar="PATH"
    )
    revision: str | None = option("branch, tag or commit of --encoder on the hub", None)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.convert.onnx",
        description="Write a checkpoint's query encoder, q-net and document encoder as ONNX graphs.",
    )
    add_flags(parser, OnnxOptions)
    cli.add_offline_argument(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments; those of the process by default.
    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _export(from_args(OnnxOptions, args)))


def _export(options: OnnxOptions) -> None:
    from hypensearch.models import load_model

    if missing := [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]:
        raise HypensearchError(f"{' and '.join(missing)} not installed: pip install 'hypensearch[onnx]'")
    for library in ("onnx_ir", "onnxscript", "torch.onnx"):  # which log every step
        logging.getLogger(library).setLevel(logging.WARNING)
    config, revision = options.backbone_config, options.revision
    model = load_model(options.encoder, width=options.width, backbone_config=config, revision=revision)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export(model, options.output)
    logger.info("wrote %s", ", ".join(os.path.join(options.output, f"{name}.onnx") for name in GRAPHS))


def export(model: DualEncoder, folder: str | os.PathLike[str]) -> None:
    """Write a model as ONNX graphs.

    :param model: It is moved to the CPU, to float32 and to plain attention.
    :param folder: Files of the same names in it are replaced.
    :raises HypensearchError: When torch cannot export its transformer.
    """
    import torch

    model = model.eval().float().cpu()
    os.makedirs(folder, exist_ok=True)
    for side in (model.query_encoder, model.passage_encoder):
        side.transformer.set_attn_implementation("eager")  # type: ignore[union-attr, operator]
    config = model.q_net_config
    weights = [torch.zeros((2, *shape)) for shape in config.weight_shapes]
    biases = [torch.zeros((2, width)) for _, width in config.weight_shapes[:-1]]
    names = [f"weight_{i}" for i in range(len(weights))] + [f"bias_{i}" for i in range(len(biases))]
    tokens = (torch.zeros((2, 8), dtype=torch.long), torch.ones((2, 8), dtype=torch.long))
    token_names = ["input_ids", "attention_mask"]
    dim = torch.export.Dim
    queries, docs, length = dim("num_queries"), dim("num_docs"), dim("seq_len")

    def write(name: str, module: nn.Module, inputs: Any, axes: Any, input_names: list[str], outputs: list[str]) -> None:
        try:
            torch.onnx.export(
                module,
                inputs,
                os.path.join(folder, f"{name}.onnx"),
                input_names=input_names,
                output_names=outputs,
                dynamic_shapes=axes,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = error.__cause__ or error
            raise HypensearchError(f"{model.name}: torch cannot export its {name} ({str(reason)[:200]})") from error

    write("query_encoder", _queries(model), tokens, ({0: queries, 1: length},) * 2, token_names, names)
    scored = (torch.zeros((3, config.dims[0])), [*weights, *biases])
    write("q_net", _scorer(config), scored, ({0: docs}, [{0: queries}] * len(names)), ["vectors", *names], ["scores"])
    write("document_encoder", model.passage_encoder, tokens, ({0: docs, 1: length},) * 2, token_names, ["vectors"])
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(os.fspath(folder))


def _queries(model: DualEncoder) -> nn.Module:
    """Return the query encoder as a module of tensors to tensors."""
    from torch import Tensor, nn

    class Queries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = model.query_encoder

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            encoded = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
            if isinstance(encoded, Tensor):
                return (encoded.unsqueeze(2),)
            q_nets = encoded if model.width is None else encoded.truncated(model.width)
            return (*q_nets.weights, *q_nets.biases)

    return Queries().eval()


def _scorer(config: QNetConfig) -> nn.Module:
    """Return the q-net as a module of tensors to scores."""
    from torch import nn

    from hypensearch.models import QNets

    class Scorer(nn.Module):
        def forward(self, vectors: Tensor, tensors: list[Tensor]) -> Tensor:
            q_nets = QNets(config, tensors[: config.num_blocks + 1], tensors[config.num_blocks + 1 :])
            return q_nets.score_each(vectors.expand(tensors[0].shape[0], -1, -1))

    return Scorer().eval()


if __name__ == "__main__":
    raise SystemExit(main())
