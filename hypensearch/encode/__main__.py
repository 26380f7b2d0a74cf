# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m hypensearch.encode``: a corpus to a flat index of document vectors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hypensearch import cli
from hypensearch.encode.encode_corpus import encode_corpus, import_vectors
from hypensearch.encode.flags import add_text_flags, text_rule
from hypensearch.encode.options import EncodingOptions, OutputOptions
from hypensearch.errors import HypensearchError, as_typed
from hypensearch.options import add_flags, from_args

if TYPE_CHECKING:
    from hypensearch.flat import Manifest
    from hypensearch.models import DualEncoder

GROUPS = ("input", "output", "encoder")

_REFUSED = {
    "--add-sep": ((False,), "titles are put before the text with a space, as the released models were trained"),
    "--l2-norm": ((False,), "q-nets were trained on document vectors as they come, of any length"),
    "--multimodal": ((False,), "a Hypencoder encodes text only"),
    "--use-openai": ((False,), "the vectors have to come from the Hypencoder that makes the q-nets"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments without the program's name; those of the process when left out.
    :return: The exit code.
    """
    args = parse_args(sys.argv[1:] if argv is None else argv)
    return cli.run(lambda: encode(args), threads=cli.threads_of(args.encoder))


def encode(args: argparse.Namespace) -> None:
    """Encode, or import, and say where the index lies."""
    load = None if args.encoder.encoder is None else loader(args)
    encoding, out = encoding_options(args), from_args(OutputOptions, args.output)
    folder = args.output.embeddings
    if args.input.vectors is not None:
        manifest = import_vectors(args.input.vectors, folder, load, encoding=encoding, out=out, show_progress=True)
    else:
        assert load is not None
        manifest = encode_corpus(
            args.input.corpus,
            folder,
            load,
            text=text_rule(args.input),
            encoding=encoding,
            out=out,
            shard_id=args.input.shard_id,
            shard_num=args.input.shard_num,
            allow_empty=args.input.allow_empty,
            show_progress=True,
        )
    print(last_line(folder, manifest))


def loader(args: argparse.Namespace) -> Callable[[], DualEncoder]:
    """Return what loads the model once it is needed.

    :raises HypensearchError: At once, when the device cannot be used.
    """
    from hypensearch.device import resolve_device

    flags = args.encoder
    device = resolve_device(flags.device)

    def load() -> DualEncoder:
        import torch

        from hypensearch.models import load_model

        print(f"Loading {flags.encoder} on {device} ...", file=sys.stderr)
        model = load_model(
            flags.encoder, backbone_config=flags.backbone_config, count_padding=flags.count_padding, device=device
        )
        for flag, found in (("pooling", model.config.document_pooling), ("dimension", model.dim)):
            if getattr(flags, flag) not in (None, found):
                raise HypensearchError(
                    f"--{flag} {getattr(flags, flag)}: {flags.encoder} has {found!r}; leave the flag out"
                )
        _ = model.fingerprint  # of the weights as they are on disk, so before they are rounded
        rounded = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision(args))
        return model if rounded is None else model.to(rounded)

    return load


def precision(args: argparse.Namespace) -> str:
    """Return the type the model computes in: the one asked for, where the device has instructions for it.

    Where none was asked for: bfloat16 on a GPU whose tensor cores have it, else float32.
    """
    import torch

    from hypensearch.device import resolve_device, usable_dtype, usual_precision

    device = resolve_device(args.encoder.device)
    dtypes = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    asked = next((name for name in dtypes if getattr(args.encoder, name)), usual_precision(device))
    return str(usable_dtype(device, dtypes[asked])).removeprefix("torch.")


def encoding_options(args: argparse.Namespace) -> EncodingOptions:
    """Return the options of the encoder group."""
    flags, config = args.encoder, args.encoder.backbone_config
    facts: dict[str, object] = {"precision": precision(args), "count_padding": flags.count_padding}
    facts["backbone_config"] = os.path.abspath(config) if config is not None and os.path.exists(config) else config
    return from_args(EncodingOptions, flags, sort_by_length=not flags.count_padding, model_facts=facts)


def last_line(folder: str, manifest: Manifest) -> str:
    """Say where the index lies and how to search it."""
    model = [] if manifest.model else ["--encoder", "MODEL"]
    search = as_typed("hypensearch.search", "--index", folder, *model, "--topics", "TOPICS", "--output", "RUN")
    return (
        f"{manifest.num_docs:,} document vectors ({manifest.dim} wide, {manifest.dtype}) are in {folder}; "
        f"search them: {search}"
    )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the three groups of flags."""
    parser = _GroupsParser(
        prog="python -m hypensearch.encode",
        usage="%(prog)s input --corpus CORPUS output --embeddings FOLDER encoder --encoder MODEL",
        description="Encode a corpus to an index of document vectors, by the flags of pyserini.encode in its three "
        "groups. Run the same command again to resume after an interruption.",
    )
    groups = parser.add_subparsers(
        title="groups of flags", dest="group", prog="python -m hypensearch.encode", parser_class=cli.CommandParser
    )
    parser.groups = [
        _add_input(groups.add_parser("input", help="what is encoded")),
        _add_output(groups.add_parser("output", help="where to")),
        _add_encoder(groups.add_parser("encoder", help="by what")),
    ]
    return parser


class _GroupsParser(cli.CommandParser):
    """A parser whose help shows the flags of all groups."""

    groups: list[argparse.ArgumentParser]

    def format_help(self) -> str:
        """Give the help of all groups, one below the other."""
        parts = [super().format_help()]
        for name, group in zip(GROUPS, self.groups, strict=True):
            _, _, options = group.format_help().partition("options:\n")
            parts.append(f"{name}:\n{options}")
        return "\n".join(parts)


def _add_input(group: cli.CommandParser) -> cli.CommandParser:
    add = group.add_argument
    add("--corpus", help="JSONL file, a folder of .jsonl, .json and .gz files, irds:NAME or hf:NAME")
    add(
        "--vectors",
        help="instead of --corpus: vectors that exist already, as Pyserini's embeddings.jsonl (or its folder), "
        "Pyserini's Faiss folder (index, docid) or the authors' encoded_items.docs",
    )
    add_text_flags(group)
    add("--allow-empty", action="store_true", help="encode documents without text as well")
    add("--shard-id", type=int, default=0, help="which shard to encode, from 0: every shard-num-th line")
    add("--shard-num", type=cli.positive_int, default=1, help="number of shards; hypensearch.index.join unites them")
    return group


def _add_output(group: cli.CommandParser) -> cli.CommandParser:
    group.add_argument("--embeddings", required=True, help="folder of the index")
    add_flags(group, OutputOptions)
    return group


def _add_encoder(group: cli.CommandParser) -> cli.CommandParser:
    add = group.add_argument
    add("--encoder", help="checkpoint: folder or hub name (with --vectors: what made them, if known)")
    add(
        "--encoder-class",
        choices=["auto", "hypencoder", "biencoder"],
        metavar="CLASS",
        help="accepted for auto, hypencoder and biencoder: the checkpoint knows its class",
    )
    how = group.add_argument_group("how")
    add = how.add_argument
    add_flags(how, EncodingOptions, only=["batch_size", "max_length", "prefix"])
    add("--dimension", type=cli.positive_int, help="size of the vectors, if it shall be checked")
    add("--device", default="auto", help="auto (CUDA if there is, else CPU), cpu, cuda or cuda:N")
    cli.add_threads_flag(how)
    add("--fp16", action="store_true", help="compute in float16")
    add("--bf16", action="store_true", help="compute in bfloat16: the default on a GPU")
    add("--fp32", action="store_true", help="compute in float32: the default on a CPU")
    add("--pooling", choices=["cls", "mean", "last", "eos"], help="checked against the model's pooling")
    add("--backbone-config", help="folder, config.json or hub name of the model's transformer, if not found")
    add(
        "--count-padding",
        action="store_true",
        help="pool as the released code: padding counts, vectors depend on batches",
    )
    pyserinis = group.add_argument_group("Pyserini's, without effect or refused")
    add = pyserinis.add_argument
    add("--fields", nargs="+", help="the same as input --fields, if given")
    add("--explicit-truncate", action="store_true", help="no effect: texts are always cut at --max-length")
    add("--rate-limit", type=int, default=3500, help="no effect: belongs to --use-openai")
    cli.add_refused_flags(pyserinis, _REFUSED, help="refused: not for Hypencoder")
    cli.add_offline_argument(group)
    return group


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Parse ``input ... output ... encoder ...``, in any order.

    :return: A namespace for each group, under its name.
    """
    parser = build_parser()
    assert isinstance(parser, _GroupsParser)
    before, parts = _split(list(argv), parser.groups)
    parser.parse_args(before)
    args = argparse.Namespace()
    groups = dict(zip(GROUPS, parser.groups, strict=True))
    for name in parts:  # so that `encode encoder --help` needs no other group
        setattr(args, name, groups[name].parse_args(parts[name]))
    for name in (name for name in GROUPS if name not in parts):
        if name != "encoder":
            parser.error(
                f"the group '{name}' is missing; wanted: {parser.format_usage().removeprefix('usage: ').strip()}"
            )
        setattr(args, name, groups[name].parse_args([]))
    _check_together(parser, args)
    return args


def _split(argv: list[str], groups: Sequence[argparse.ArgumentParser]) -> tuple[list[str], dict[str, list[str]]]:
    """Divide the arguments at the names of groups; such a name may also be a flag's value."""
    before: list[str] = []
    parts: dict[str, list[str]] = {}
    current = before
    group: argparse.ArgumentParser | None = None
    for place, argument in enumerate(argv):
        if argument in GROUPS and not (group and _wants_value(argv[place - 1], group)):
            current = parts.setdefault(argument, [])
            group = groups[GROUPS.index(argument)]
        else:
            current.append(argument)
    return before, parts


def _wants_value(flag: str, group: argparse.ArgumentParser) -> bool:
    """Return whether the argument after a flag must be its value."""
    if not flag.startswith("--") or "=" in flag:
        return False
    actions = [action for action in group._actions if any(name.startswith(flag) for name in action.option_strings)]
    exact = [action for action in actions if flag in action.option_strings]
    return any(action.nargs in (None, "+") for action in (exact or actions)[:1])


def _check_together(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Check what concerns more than one flag."""
    if (args.input.corpus is None) == (args.input.vectors is None):
        parser.error("input: exactly one of --corpus and --vectors is wanted")
    if args.input.vectors is None and args.encoder.encoder is None:
        parser.error("the group 'encoder' with --encoder MODEL is missing")
    if sum((args.encoder.fp32, args.encoder.fp16, args.encoder.bf16)) > 1:
        parser.error("encoder: --fp32, --fp16 and --bf16 exclude each other: give one")
    if not 0 <= args.input.shard_id < args.input.shard_num:
        parser.error(
            f"input: --shard-id {args.input.shard_id} wants a --shard-num above it, not {args.input.shard_num}"
        )
    if args.encoder.fields not in (None, args.input.fields):
        parser.error(
            f"encoder --fields {' '.join(args.encoder.fields)}: all of input --fields ({' '.join(args.input.fields)}) "
            "are encoded, in that order; name the same fields or leave the flag out"
        )


if __name__ == "__main__":
    raise SystemExit(main())
