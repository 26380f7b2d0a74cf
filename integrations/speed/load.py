# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What other programs on the machine cost: ``python -m integrations.speed.load --folder FOLDER``.

Runs commands alone, beside four busy processes, beside another job in torch that uses all cores and whose threads spin
while they wait, and, where this user may make control groups, with a quota of one CPU. Each command is a new process,
and its time is from start to end. Prints a line of JSON for each: seconds, how many times that is of its time alone,
how many times it would be with a fair share of the machine (cores / (cores + n) beside n other threads), and the
quotient of both, which is to stay below 1.5.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hypensearch.demo.folder import DemoFolder
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.topics import read_topics
from hypensearch.threads import available_cpus

BUSY = "while True: pass"
TORCH_JOB = """
import os
os.environ["OMP_WAIT_POLICY"] = "ACTIVE"
import torch
weight = torch.randn(384, 1536)
states = torch.randn(512, 384)
while True:
    torch.nn.functional.gelu(states @ weight).sum()
"""
QUOTA_GROUPS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print.

    :return: The exit code, 0.
    """
    parser = argparse.ArgumentParser(prog="python -m integrations.speed.load", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the corpus and all that is made lie")
    parser.add_argument("--documents", type=int, default=1500, help="documents of the corpus (1500)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, of which the fastest counts (3)")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="commands to measure (all)")
    parser.add_argument("--wait-policy", choices=["PASSIVE", "ACTIVE"], help="OMP_WAIT_POLICY to set; ours if left out")
    args = parser.parse_args(argv)
    cores = available_cpus()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    if args.wait_policy:
        environment["OMP_WAIT_POLICY"] = args.wait_policy
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        commands = make_commands(args.folder, Path(folder), args.documents, environment)
        for name in args.only:
            alone = 0.0
            for load, others in (("alone", 0), ("4 busy processes", 4), ("a torch job", cores), ("1 CPU of quota", 0)):
                with under(load, environment) as prefix:
                    if prefix is None:
                        continue
                    seconds = min(timed([*prefix, *commands[name]], environment) for _ in range(args.repeats))
                alone = alone or seconds
                fair = cores / 1 if load == "1 CPU of quota" else (cores + others) / cores
                facts = {
                    "command": name,
                    "load": load,
                    "seconds": round(seconds, 2),
                    "times": round(seconds / alone, 2),
                }
                print(json.dumps({**facts, "fair": fair, "of_fair": round(seconds / alone / fair, 2)}), flush=True)
    return 0


NAMES = ["encode", "index", "exhaustive", "surrogate", "train"]


def make_commands(folder: Path, out: Path, documents: int, environment: dict[str, str]) -> dict[str, list[str]]:
    """Make corpus, topics, index, codes and training records, and return the commands to measure by name."""
    demo = DemoFolder(folder / "corpus")
    if not demo.has_corpus(documents):
        demo.make_corpus(documents)
    texts = {}
    with open(demo.documents, encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            texts[record["id"]] = record["contents"]
    topics = read_topics(demo.topics)
    with open(out / "train.jsonl", "w", encoding="utf-8") as file:
        for topic, of_topic in read_qrels(demo.qrels).items():
            docid = next(iter(of_topic))
            others = [text for other, text in list(texts.items())[:2] if other != docid]
            file.write(json.dumps({"query": topics[topic], "positive": texts[docid], "negatives": others[:1]}) + "\n")

    def command(name: str, *flags: object) -> list[str]:
        return [sys.executable, "-m", f"hypensearch.{name}", *map(str, flags)]

    index, run = out / "index", out / "run"
    encoding = ["input", "--corpus", demo.corpus, "--fields", "contents", "output", "--embeddings"]
    ending = ["--overwrite", "encoder", "--encoder", "bundled"]
    search = ["search", "--index", index, "--topics", demo.topics, "--output", run, "--hits", 100, "--searcher"]
    training = ["--start-from", "bundled", "--train", out / "train.jsonl", "--losses", "cross_entropy=1"]
    training += ["--num-negatives", 1, "--batch-size", 16, "--max-steps", 6, "--eval-steps", 1000, "--output"]
    for needed in (command("encode", *encoding, index, *ending), command("index", "--index", index, "--surrogate")):
        timed(needed, environment)
    return {
        "encode": command("encode", *encoding, out / "again", *ending),
        "index": command("index", "--index", index, "--surrogate"),
        "exhaustive": command(*search, "exhaustive"),
        "surrogate": command(*search, "surrogate"),
        "train": [
            "sh", "-c", 'rm -rf "$0"; exec "$@"', str(out / "model"), *command("train", *training, out / "model")
        ],
    }  # fmt: skip


@contextmanager
def under(load: str, environment: dict[str, str]) -> Iterator[list[str] | None]:
    """Put the machine under a load; gives what a command has to begin with, None where the load cannot be made."""
    others = {"4 busy processes": [BUSY] * 4, "a torch job": [TORCH_JOB]}.get(load, [])
    started = [subprocess.Popen([sys.executable, "-c", code], env=environment) for code in others]
    group = make_quota() if load == "1 CPU of quota" else None
    try:
        if started:
            time.sleep(3)  # until they have loaded what they need
        if load == "1 CPU of quota":
            yield None if group is None else ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
        else:
            yield []
    finally:
        for process in started:
            process.kill()
            process.wait()
        if group is not None:
            group.rmdir()


def make_quota() -> Path | None:
    """Make a control group that may use one CPU; None where this user may not."""
    for parent in QUOTA_GROUPS:
        group = parent / f"hypensearch-{os.getpid()}"
        try:
            group.mkdir()
            if (group / "cpu.max").exists():
                (group / "cpu.max").write_text("100000 100000")
            else:
                (group / "cpu.cfs_period_us").write_text("100000")
                (group / "cpu.cfs_quota_us").write_text("100000")
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        return group
    return None


def timed(command: Sequence[str], environment: dict[str, str]) -> float:
    """Run a command and return its seconds."""
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
