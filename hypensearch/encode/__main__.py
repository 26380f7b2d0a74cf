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
from hypensearch.errors import HypensearchError, as_typed
from hypensearch.formats.corpus import TextRule

if TYPE_CHECKING:
    from hypensearch.encode.encode_corpus import DocumentEncoder, EncodingOptions, OutputOptions
    from hypensearch.flat import Manifest
    from hypensearch.models import DualEncoder

GROUPS = ("input", "output", "encoder")
OUR_CLASSES = ("auto", "hypencoder", "biencoder")
OTHER_CLASSES = ["dpr", "bpr", "tct_colbert", "ance", "sentence-transformers", "openai-api", "contriever", "arctic"]
OTHER_CLASSES += ["splade", "uniir", "qwen3", "dse", "mmeb"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments without the program's name; those of the process when left out.
    :return: The exit code.
    """
    args = parse_args(sys.argv[1:] if argv is None else argv)
    return cli.run(lambda: encode(args), threads=cli.threads_of(args.encoder))


def encode(args: argparse.Namespace) -> None:
    """Encode, or import, and say where the index lies."""
    refuse_meaningless(args)
    from hypensearch.encode.encode_corpus import encode_corpus, import_vectors

    load = None if args.encoder.encoder is None else loader(args)
    if args.input.vectors is not None:
        manifest = import_vectors(
            args.input.vectors,
            args.output.embeddings,
            load,
            encoding=encoding_options(args),
            out=output_options(args),
            show_progress=True,
        )
    else:
        assert load is not None
        manifest = encode_corpus(
            args.input.corpus,
            args.output.embeddings,
            load,
            text=text_rule(args),
            encoding=encoding_options(args),
            out=output_options(args),
            shard_id=args.input.shard_id,
            shard_num=args.input.shard_num,
            allow_empty=args.input.allow_empty,
            show_progress=True,
        )
    print(last_line(args.output.embeddings, manifest))


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the three groups of flags."""
    parser = _GroupsParser(
        prog="python -m hypensearch.encode",
        usage="%(prog)s input --corpus CORPUS output --embeddings FOLDER encoder --encoder MODEL",
        description="Encode a corpus to an index of document vectors, by the flags of pyserini.encode in its three "
        "groups. Run the same command again to go on after an interruption.",
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


def refuse_meaningless(args: argparse.Namespace) -> None:
    """Refuse what Pyserini knows and a Hypencoder cannot do.

    :raises HypensearchError: Naming flag and reason.
    """
    encoder = args.encoder
    if encoder.encoder_class is not None and encoder.encoder_class not in OUR_CLASSES:
        raise HypensearchError(
            f"--encoder-class {encoder.encoder_class}: not a class of Hypencoder; the checkpoint's config tells "
            "which class it is, so leave the flag out"
        )
    reasons = {
        "add_sep": "titles are put before the text with a space, as the released models were trained",
        "l2_norm": "q-nets were trained on document vectors as they come, of any length",
        "multimodal": "a Hypencoder encodes text only",
        "use_openai": "the vectors have to come from the Hypencoder that makes the q-nets",
    }
    for name, reason in reasons.items():
        if getattr(encoder, name):
            raise HypensearchError(f"--{name.replace('_', '-')}: {reason}; leave the flag out")
    fields = args.input.fields
    if encoder.fields is not None and encoder.fields != fields:
        raise HypensearchError(
            f"encoder --fields {' '.join(encoder.fields)}: all of input --fields ({' '.join(fields)}) are encoded, "
            "in that order; name the same fields or leave the flag out"
        )


def loader(args: argparse.Namespace) -> Callable[[], DocumentEncoder]:
    """Give what loads the model once it is needed.

    :raises HypensearchError: At once, when the device cannot be used.
    """
    from hypensearch.device import resolve_device

    device = resolve_device(args.encoder.device)

    def load() -> DualEncoder:
        import torch

        from hypensearch.models import load_model

        flags = args.encoder
        print(f"Loading {flags.encoder} on {device} ...", file=sys.stderr)
        model = load_model(
            flags.encoder, backbone_config=flags.backbone_config, count_padding=flags.count_padding, device=device
        )
        _check_model(args, model)
        _ = model.fingerprint  # of the weights as they are on disk, so before they are rounded
        rounded = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision(args))
        return model if rounded is None else model.to(rounded)

    return load


def precision(args: argparse.Namespace) -> str:
    """Give the type the model computes in: the one asked for, where the device has instructions for it.

    Where none was asked for: bfloat16 on a GPU whose tensor cores have it, else float32.
    """
    import torch

    from hypensearch.device import resolve_device, usable_dtype, usual_precision

    device = resolve_device(args.encoder.device)
    dtypes = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    asked = next((name for name in dtypes if getattr(args.encoder, name)), usual_precision(device))
    return str(usable_dtype(device, dtypes[asked])).removeprefix("torch.")


def text_rule(args: argparse.Namespace) -> TextRule:
    """Give the options of the input group."""
    return TextRule(
        fields=tuple(args.input.fields),
        docid_field=args.input.docid_field,
        delimiter=args.input.delimiter.replace("\\n", "\n"),  # a shell passes \n as two letters
        title_field=None if args.input.no_title else "title",
    )


def encoding_options(args: argparse.Namespace) -> EncodingOptions:
    """Give the options of the encoder group."""
    from hypensearch.encode.encode_corpus import EncodingOptions

    flags = args.encoder
    facts: dict[str, object] = {"precision": precision(args), "count_padding": flags.count_padding}
    facts["backbone_config"] = _absolute(flags.backbone_config)
    return EncodingOptions(
        batch_size=flags.batch_size,
        max_length=flags.max_length,
        prefix=flags.prefix,
        sort_by_length=not flags.count_padding,
        model_facts=facts,
    )


def output_options(args: argparse.Namespace) -> OutputOptions:
    """Give the options of the output group."""
    from hypensearch.encode.encode_corpus import OutputOptions

    flags = args.output
    return OutputOptions(
        dtype=flags.dtype, store_documents=flags.store_documents, to_faiss=flags.to_faiss, overwrite=flags.overwrite
    )


def last_line(folder: str, manifest: Manifest) -> str:
    """Say where the index lies and how to search it."""
    model = [] if manifest.model else ["--encoder", "MODEL"]
    search = as_typed("hypensearch.search", "--index", folder, *model, "--topics", "TOPICS", "--output", "RUN")
    return (
        f"{manifest.num_docs:,} document vectors ({manifest.dim} wide, {manifest.dtype}) are in {folder}; "
        f"search them: {search}"
    )


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
    add("--corpus", default=argparse.SUPPRESS, help="JSONL file, or a folder of .jsonl, .json, and .gz files of them")
    add(
        "--vectors",
        default=argparse.SUPPRESS,
        help="instead of --corpus: vectors that exist already, as Pyserini's embeddings.jsonl (or its folder), "
        "Pyserini's Faiss folder (index, docid) or the authors' encoded_items.docs",
    )
    add(
        "--fields", nargs="+", default=["text"], help="fields to encode, or what the parts of 'contents' are (in order)"
    )
    add("--docid-field", default=None, help="field that holds the id, if it is not id, _id or docid")
    add("--delimiter", default="\\n", help="what separates the fields within 'contents'")
    add("--no-title", action="store_true", help="do not put a document's title before its text")
    add("--allow-empty", action="store_true", help="encode documents without text as well")
    add("--shard-id", type=_not_negative, default=0, help="which shard to encode, from 0: every shard-num-th line")
    add("--shard-num", type=cli.positive_int, default=1, help="number of shards; hypensearch.index.join unites them")
    return group


def _add_output(group: cli.CommandParser) -> cli.CommandParser:
    add = group.add_argument
    add("--embeddings", required=True, default=argparse.SUPPRESS, help="folder of the index")
    add("--to-faiss", action="store_true", help="write Pyserini's Faiss index and docid into the folder as well")
    add("--dtype", choices=["float32", "float16"], default="float32", help="type in which vectors are stored")
    add("--store-documents", action="store_true", help="keep the documents in the index, for doc() without the corpus")
    add("--overwrite", action="store_true", help="replace an index; it can be searched until the new one is whole")
    return group


def _add_encoder(group: cli.CommandParser) -> cli.CommandParser:
    add = group.add_argument
    add("--encoder", default=None, help="checkpoint: folder or hub name (with --vectors: what made them, if known)")
    add(
        "--encoder-class",
        choices=[*OUR_CLASSES, *OTHER_CLASSES],
        metavar="CLASS",
        help="accepted for auto, hypencoder and biencoder: the checkpoint knows its class",
    )
    add = group.add_argument_group("how").add_argument
    add("--batch-size", type=cli.positive_int, default=64, help="texts encoded at a time")
    add("--max-length", type=cli.positive_int, default=256, help="tokens kept of each text")
    add("--dimension", type=cli.positive_int, default=None, help="size of the vectors, if it shall be checked")
    add("--device", default="auto", help="auto (CUDA if there is, else CPU), cpu, cuda or cuda:N")
    cli.add_threads_flag(group)
    add("--fp16", action="store_true", help="compute in float16")
    add("--bf16", action="store_true", help="compute in bfloat16: the default on a GPU")
    add("--fp32", action="store_true", help="compute in float32: the default on a CPU")
    add("--pooling", choices=["cls", "mean", "last", "eos"], default=None, help="checked against the model's pooling")
    add("--prefix", default=None, help="put before every text, with a space")
    add(
        "--backbone-config",
        default=None,
        help="folder, config.json or hub name of the model's transformer, if not found",
    )
    add(
        "--count-padding",
        action="store_true",
        help="pool as the released code: padding counts, vectors depend on batches",
    )
    add = group.add_argument_group("Pyserini's, without effect or refused").add_argument
    add("--fields", nargs="+", default=None, help="the same as input --fields, if given")
    add("--explicit-truncate", action="store_true", help="no effect: texts are always cut at --max-length")
    for flag in ("--add-sep", "--l2-norm", "--multimodal", "--use-openai"):
        add(flag, action="store_true", help="refused: not for Hypencoder")
    add("--rate-limit", type=int, default=3500, help="no effect: belongs to --use-openai")
    cli.add_offline_argument(group)
    return group


def _split(argv: list[str], groups: Sequence[argparse.ArgumentParser]) -> tuple[list[str], dict[str, list[str]]]:
    """Divide the arguments at the names of groups; such a name may also be a flag's value."""
    before: list[str] = []
    parts: dict[str, list[str]] = {}
    current = before
    group: argparse.ArgumentParser | None = None
    for place, argument in enumerate(argv):
        if argument in GROUPS and not (group and place and _wants_value(argv[place - 1], group)):
            current = parts.setdefault(argument, [])
            group = groups[GROUPS.index(argument)]
        else:
            current.append(argument)
    return before, parts


def _wants_value(flag: str, group: argparse.ArgumentParser) -> bool:
    """Tell whether the argument behind a flag must be its value."""
    if not flag.startswith("--") or "=" in flag:
        return False
    actions = [action for action in group._actions if any(name.startswith(flag) for name in action.option_strings)]
    exact = [action for action in actions if flag in action.option_strings]
    return any(action.nargs in (None, "+") for action in (exact or actions)[:1])


def _check_together(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Check what concerns more than one flag."""
    corpus, vectors = (getattr(args.input, name, None) for name in ("corpus", "vectors"))
    args.input.corpus, args.input.vectors = corpus, vectors
    if (corpus is None) == (vectors is None):
        parser.error("input: exactly one of --corpus and --vectors is wanted")
    if vectors is None and args.encoder.encoder is None:
        parser.error("the group 'encoder' with --encoder MODEL is missing")
    if sum((args.encoder.fp32, args.encoder.fp16, args.encoder.bf16)) > 1:
        parser.error("encoder: --fp32, --fp16 and --bf16 exclude each other: give one")
    if not 0 <= args.input.shard_id < args.input.shard_num:
        parser.error(
            f"input: --shard-id {args.input.shard_id} wants a --shard-num above it, not {args.input.shard_num}"
        )


def _check_model(args: argparse.Namespace, model: DualEncoder) -> None:
    """Check the flags that only the loaded model can answer."""
    pooling = model.config.document_pooling
    if args.encoder.pooling not in (None, pooling):
        raise HypensearchError(
            f"--pooling {args.encoder.pooling}: {args.encoder.encoder} was trained with {pooling!r}; leave the flag out"
        )
    if args.encoder.dimension not in (None, model.dim):
        raise HypensearchError(
            f"--dimension {args.encoder.dimension}: the vectors of {args.encoder.encoder} have {model.dim}; "
            "leave the flag out"
        )


def _absolute(name: str | None) -> str | None:
    return os.path.abspath(name) if name is not None and os.path.exists(name) else name


def _not_negative(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
