# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""One reader fed by atheris, which keeps those damages that reach other code; ``python -m integrations.fuzz --guided``.

``python -m integrations.guided READER SECONDS SEED FOLDER`` writes ``FOLDER/outcome.json``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

import atheris

_COMPILED = ["hypensearch.scoring.epilogue"]  # by Numba, which does not take instrumented code
with atheris.instrument_imports(include=["hypensearch"], exclude=_COMPILED, enable_loader_override=False):
    from tests.fuzzing import MEMORY_BYTES, TOKENS, Outcome, feed, memory_bounded, quiet, whole_examples
    from tests.readers import READERS

_TIMES_LONGEST = 2  # how much longer than the longest example a file may be
_SECONDS_A_FILE = 60


def main(name: str, seconds: int, seed: int, folder: Path) -> NoReturn:
    """Feed a reader until the time is up; ends the process."""
    reader, outcome = READERS[name], Outcome()
    (folder / "files").mkdir()
    examples = whole_examples(reader, folder / "files")
    end = time.monotonic() + seconds

    def feed_one(data: bytes) -> None:
        """Damage the example of the first byte's number."""
        if time.monotonic() > end:
            _end(outcome, folder)
        if data:
            feed(reader, examples[data[0] % len(examples)], data[1:], outcome)

    contents = [bytes([number]) + example.content for number, example in enumerate(examples)]
    longest = _TIMES_LONGEST * max(map(len, contents))
    options = [f"-seed={seed + 1}", f"-max_len={longest}", f"-timeout={_SECONDS_A_FILE}", "-rss_limit_mb=0"]
    options += ["-len_control=0", f"-artifact_prefix={folder}/", f"-dict={_dictionary(folder)}"]
    with memory_bounded(MEMORY_BYTES), quiet():
        atheris.Setup([sys.argv[0], *options, _corpus(folder, contents)], feed_one)
        atheris.Fuzz()
    raise AssertionError("atheris has returned")


def _end(outcome: Outcome, folder: Path) -> NoReturn:
    facts = dataclasses.asdict(outcome)
    facts["findings"] = {where: data.hex() for where, data in outcome.findings.items()}
    (folder / "outcome.json").write_text(json.dumps(facts))
    os._exit(0)


def _corpus(folder: Path, contents: list[bytes]) -> str:
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, content in enumerate(contents):
        (corpus / str(number)).write_bytes(content)
    return str(corpus)


def _dictionary(folder: Path) -> str:
    """Write the tokens that parsers stumble over in the form that libFuzzer reads; it takes short ones only."""
    path = folder / "tokens"
    short = [token for token in TOKENS if len(token) <= 64]
    path.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n' for token in short))
    return str(path)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
