# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import argparse
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from hypensearch.device import usable_dtype
from hypensearch.encode.__main__ import build_parser, main, parse_args
from hypensearch.flat import FlatIndex
from tests.commands import encode, piped, refuse, succeed

PYSERINI_FLAGS = {
    "input": "--corpus --fields --docid-field --delimiter --shard-id --shard-num",
    "output": "--embeddings --to-faiss",
    "encoder": "--encoder --encoder-class --fields --batch-size --max-length --dimension --device --fp16 --add-sep "
    "--pooling --l2-norm --prefix --multimodal --use-openai --rate-limit --explicit-truncate",
}


def command(corpus, output, checkpoint, *, more_input=(), more_output=(), more_encoder=()):
    parts = ["input", "--corpus", corpus, *more_input, "output", "--embeddings", output, *more_output]
    return [str(part) for part in [*parts, "encoder", "--encoder", checkpoint, *more_encoder]]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"id": n, "contents": f"water and stone number {n}"}) + "\n" for n in range(9)))
    return path


def test_encodes_as_the_authors_do(variant, tmp_path, capsys):
    base = ["--backbone-config", variant / "base_encoder", "--max-length", "512"]
    inputs = ["--allow-empty", "--no-title"]
    argv = command(
        variant / "documents.jsonl", tmp_path / "i", variant / "checkpoint", more_input=inputs, more_encoder=base
    )
    assert main(argv) == 0
    assert "200 document vectors" in capsys.readouterr().out
    wanted = np.load(variant / "documents.npz")
    with FlatIndex.open(tmp_path / "i") as index:
        assert list(index.docids()) == wanted["ids"].tolist()
        np.testing.assert_allclose(index.shards[0].vectors, wanted["embeddings"], atol=2e-5)
        assert index.model["kind"] == "hypencoder"
        assert index.model["backbone_config"] == str(variant / "base_encoder")


def test_last_line_says_where_and_how_to_search(corpus, tiny_checkpoint, tmp_path, capsys):
    argv = command(corpus, tmp_path / "i", tiny_checkpoint, more_encoder=["--batch", "4", "--bf16"])
    assert main(argv) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert f"are in {tmp_path / 'i'}; search them: python -m hypensearch.search --index {tmp_path / 'i'}" in line
    usable = usable_dtype(torch.device("cpu"), torch.bfloat16)
    assert FlatIndex.open(tmp_path / "i").model["precision"] == str(usable).removeprefix("torch.")


TITLED = {"id": "d", "title": "T", "abstract": "a", "text": "x"}


@pytest.mark.parametrize(
    ("record", "more", "said"),
    [
        (TITLED, [], "title and text; Pyserini's default is text alone, here: input --no-title"),
        (TITLED, ["--no-title"], "text"),
        (TITLED, ["--fields", "title", "text"], "title and text; Pyserini's default is .*: input --fields text"),
        (TITLED, ["--fields", "abstract", "text"], "title, abstract and text; .*: input --fields text --no-title"),
        ({"id": "d", "contents": "x"}, [], "contents"),
        ({"id": "d", "contents": "T\nx"}, ["--fields", "title", "text"], "title and text; .*: input --fields text"),
        ({"id": "d", "text": "x"}, [], "text"),
    ],
)
def test_logs_which_fields_it_encodes(record, more, said, tiny_checkpoint, tmp_path, caplog):
    caplog.set_level("INFO")
    for name, corpus in {"lines": json.dumps(record), "array": json.dumps([record])}.items():
        (tmp_path / f"{name}.json").write_text(corpus + "\n")
        line = command(tmp_path / f"{name}.json", tmp_path / name, tiny_checkpoint, more_input=more)
        caplog.clear()
        succeed("encode", *line)
        (logged,) = (text for text in caplog.messages if text.startswith("Encoding"))
        assert re.fullmatch(f"Encoding {said}", logged)


def test_import_asks_for_the_model_when_searching(tmp_path, capsys):
    (tmp_path / "embeddings.jsonl").write_text('{"id": "a", "contents": "b", "vector": [1, 2]}\n')
    assert main(["input", "--vectors", str(tmp_path), "output", "--embeddings", str(tmp_path / "i")]) == 0
    assert "--encoder MODEL" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--pooling", "last"], "--pooling last: .* has '"),
        (["--dimension", "768"], "--dimension 768: .* has 32"),
        (["--device", "cuda"], "--device cuda: "),
        (["--device", "abacus"], "--device abacus: "),
        (["--max-length", "100000"], "--max-length 100000"),
    ],
)
def test_flags_that_make_no_sense(corpus, tiny_checkpoint, tmp_path, capfd, flags, said):
    if flags[1:] == ["cuda"]:
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device")
    assert main(command(corpus, tmp_path / "i", tiny_checkpoint, more_encoder=flags)) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert re.search(said, errors[0])
    assert not (tmp_path / "i").exists()


def test_flags_that_are_right_anyway(corpus, tiny_checkpoint, tmp_path):
    config = json.loads((tiny_checkpoint / "config.json").read_text())
    pooling = config["passage_encoder_kwargs"].get("pooling_type", "cls")
    flags = ["--pooling", pooling, "--dimension", "32", "--encoder-class", "hypencoder", "--fields", "text"]
    assert main(command(corpus, tmp_path / "i", tiny_checkpoint, more_encoder=[*flags, "--explicit-truncate"])) == 0


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "the group 'input' is missing"),
        (["encoder", "--bogus"], "unrecognized arguments: --bogus (see python -m hypensearch.encode encoder --help)"),
        (["input", "--corpus", "c", "encoder", "--encoder", "m"], "the group 'output' is missing"),
        (["input", "--corpus", "c", "output", "--embeddings", "o"], "--encoder MODEL is missing"),
        (["input", "output", "--embeddings", "o"], "exactly one of --corpus and --vectors"),
        (["input", "--corpus", "c", "--vectors", "v", "output", "--embeddings", "o"], "exactly one of"),
        (command("c", "o", "m", more_input=["--shard-id", "2", "--shard-num", "2"]), "--shard-id 2 wants"),
        (command("c", "o", "m", more_input=["--shard-id", "-1"]), "--shard-id -1 wants"),
        (command("c", "o", "m", more_encoder=["--batch-size", "0"]), "--batch-size: '0' is not"),
        (command("c", "o", "m", more_encoder=["--fp16", "--bf16"]), "exclude each other"),
        (command("c", "o", "m", more_output=["--dtype", "int8"]), "--dtype: invalid choice"),
        (command("c", "o", "m", more_encoder=["--l2-norm"]), "--l2-norm has no meaning here: q-nets were trained on"),
        (command("c", "o", "m", more_encoder=["--multimodal"]), "--multimodal has no meaning here: "),
        (command("c", "o", "m", more_encoder=["--use-openai"]), "--use-openai has no meaning here: "),
        (command("c", "o", "m", more_encoder=["--add-sep"]), "--add-sep has no meaning here: "),
        (command("c", "o", "m", more_encoder=["--encoder-class", "ance"]), "--encoder-class: invalid choice: 'ance'"),
        (command("c", "o", "m", more_encoder=["--fields", "title", "text"]), "encoder --fields title text: "),
        (["input", "--corpse", "c", "output", "--embeddings", "o"], "--corpse"),
    ],
)
def test_wrong_command_lines(argv, said, capsys):
    with pytest.raises(SystemExit) as error:
        main(argv)
    assert error.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert said in message
    assert "(see python -m hypensearch.encode" in message


@pytest.mark.parametrize(("group", "flag"), [("input", "--corpus"), ("output", "--dtype"), ("encoder", "--prefix")])
def test_a_group_alone_shows_its_help(group, flag, capsys):
    with pytest.raises(SystemExit) as end:
        main([group, "--help"])
    assert end.value.code == 0
    assert flag in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["corpus", "checkpoint"])
def test_what_is_not_there(corpus, tiny_checkpoint, tmp_path, capfd, missing):
    places = {"corpus": corpus, "checkpoint": tiny_checkpoint, missing: tmp_path / "nowhere"}
    assert main(command(places["corpus"], tmp_path / "i", places["checkpoint"])) == 2
    assert "nowhere" in capfd.readouterr().err
    assert not (tmp_path / "i").exists()


def test_a_value_may_be_called_like_a_group():
    args = parse_args(
        ["output", "--embeddings", "output", "input", "--corpus", "input", "encoder", "--encoder", "encoder"]
    )
    assert (args.input.corpus, args.output.embeddings, args.encoder.encoder) == ("input", "output", "encoder")


def test_every_flag_of_pyserini_is_known():
    for group, flags in zip(build_parser().groups, PYSERINI_FLAGS.values(), strict=True):
        known = {name for action in group._actions for name in action.option_strings}
        assert set(flags.split()) <= known


def test_every_flag_has_help_and_the_help_shows_it():
    parser = build_parser()
    text = parser.format_help()
    for group in parser.groups:
        for action in group._actions:
            assert action.help
            assert action.help is not argparse.SUPPRESS
            assert action.option_strings[-1] in text


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from hypensearch.encode.__main__ import main\n"
        "try: main(['--help'])\n"
        "finally: print(sorted({'torch', 'transformers', 'pyserini', 'tqdm'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_pipes_are_refused_before_any_work(tmp_path):
    with piped('{"id": "a", "contents": "x"}\n') as pipe:
        said = refuse("encode", *encode(pipe, tmp_path / "index", tmp_path / "no-model"))
        assert "a pipe, but the index notes where each document stands" in said
        said = refuse("encode", "input", "--vectors", pipe, "output", "--embeddings", tmp_path / "index")
        assert "a pipe, but an import resumes after a kill" in said
    assert not (tmp_path / "index").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="broken pipes are for POSIX")
def test_ends_where_nobody_reads_its_progress(corpus, tiny_checkpoint, tmp_path):
    """A bar that cannot be drawn, whoever of the threads tries to, must not keep the command from ending."""
    reading, writing = os.pipe()
    os.close(reading)
    flags = ["--batch-size", "1", "--threads", "3"]
    arguments = command(corpus, tmp_path / "index", tiny_checkpoint, more_encoder=flags)
    try:
        subprocess.run([sys.executable, "-m", "hypensearch.encode", *arguments], stderr=writing, timeout=120)
    finally:
        os.close(writing)
