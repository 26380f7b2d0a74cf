# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: is an index (with its graphs and codes), a folder of q-nets or a checkpoint what was written?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hypensearch import cli
from hypensearch.errors import HypensearchError
from hypensearch.printing import visible, visible_line

if TYPE_CHECKING:
    from hypensearch.verify.findings import Finding

EXIT_SOUND, EXIT_DAMAGED = 0, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: The exit code: 0 when all is sound, 1 for damage, 2 when it cannot tell.
    """
    args = build_parser().parse_args(argv)
    codes = [EXIT_SOUND]
    failed = cli.run(lambda: codes.append(_verified(args)), threads=cli.threads_of(args))
    return failed or codes[-1]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's flags."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.verify",
        description="Check that an index with its graphs and codes, stored q-nets or a checkpoint are what was "
        "written. Looks at manifests and sizes, or at every byte. Exit code: 0 sound, 1 damaged, 2 cannot tell.",
    )
    parser.add_argument("folder", help="index, folder of q-nets, or checkpoint in our own format")
    parser.add_argument("--full", action="store_true", help="read every byte and compare it with its checksum")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="repair a damaged index: encode the damaged rows again, from the corpus (implies --full)",
    )
    parser.add_argument("--corpus", help="the corpus for --repair, where it has moved since it was encoded")
    cli.add_offline_argument(parser)
    parser.add_argument(
        "--device", default="auto", help="of --repair: auto (CUDA if there is one), cpu, cuda or cuda:N"
    )
    cli.add_threads_flag(parser)
    return parser


def _verified(args: argparse.Namespace) -> int:
    """Verify; an error of a library that nobody has met before means that it cannot be told."""
    try:
        return _verify(args)
    except (HypensearchError, OSError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or "no reason given"
        raise HypensearchError(f"{args.folder}: cannot tell ({type(error).__name__}: {reason})") from error


def _verify(args: argparse.Namespace) -> int:
    findings = _look(args.folder, full=args.full or args.repair)
    for finding in findings:
        print(visible_line(f"damaged: {finding.text}"))
    for advice in dict.fromkeys(finding.advice for finding in findings if finding.advice):
        print(visible_line(f"to do: {advice}"))
    if args.repair and any(finding.shard is not None for finding in findings):
        return _repair(args, findings)
    if findings:
        return EXIT_DAMAGED
    print(f"{args.folder}: sound, {'every byte' if args.full or args.repair else 'by its manifest and all sizes'}")
    return EXIT_SOUND


def _look(folder: str, *, full: bool) -> list[Finding]:
    from hypensearch.verify.findings import findings_of, size_of

    interval = 0.2 if sys.stderr.isatty() else 10
    from tqdm import tqdm

    total = size_of(folder)
    with tqdm(total=total, unit="B", unit_scale=True, desc="reading", mininterval=interval, disable=not full) as bar:
        return list(findings_of(folder, full=full, done=bar.update))


def _repair(args: argparse.Namespace, findings: Sequence[Finding]) -> int:
    from hypensearch.device import resolve_device
    from hypensearch.verify.repair import repair_index

    manifest, same = repair_index(args.folder, findings, resolve_device(args.device), corpus=args.corpus)
    left = _look(args.folder, full=True)
    if any(finding.shard is not None for finding in left):
        raise HypensearchError(f"{args.folder}: repaired, and damaged again ({left[0].text}): is the disk failing?")
    exactly = "every file is byte for byte what it was" if same else "encoded rows differ in their last bits"
    print(f"repaired: {manifest.num_docs:,} documents in {args.folder}, {exactly}")
    for finding in left:  # graphs and codes, which are compared with sound vectors only
        print(visible(f"damaged: {finding.text}" + f"\nto do: {finding.advice}" * bool(finding.advice)))
    return EXIT_DAMAGED if left else EXIT_SOUND


if __name__ == "__main__":
    raise SystemExit(main())
