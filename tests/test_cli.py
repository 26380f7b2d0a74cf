# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hypensearch import __version__, cli
from hypensearch.__main__ import COMMANDS, main
from hypensearch.errors import HypensearchError
from hypensearch.progress import progress_bar


def raising(error: BaseException) -> None:
    raise error


def test_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(lambda: print("done")) == 0
    assert capsys.readouterr().out == "done\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (HypensearchError("c.jsonl:3: not JSON"), "error: c.jsonl:3: not JSON"),
        (HypensearchError("two\nlines"), "error: two lines"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), "error: runs: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device"),
        (OSError("odd"), "error: odd"),
    ],
)
def test_what_users_can_mend_is_one_line(error: Exception, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(lambda: raising(error)) == 2
    assert capsys.readouterr() == ("", line + "\n")


def test_defects_of_ours_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda: raising(ZeroDivisionError()))


def test_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(lambda: raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        line = [sys.executable, "-m", "hypensearch"]
        done = subprocess.run(line, stdout=pipe, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_terminal_cannot_show_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    assert cli.run(lambda: print("caf\u00e9", os.fsdecode(b"\xff"))) == 0
    assert written.getvalue() == b"caf\\xe9 \\udcff\n"


def test_wrong_arguments_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.CommandParser(prog="python -m hypensearch.toy")
    parser.add_argument("--k", type=cli.positive_int, help="how many")
    with pytest.raises(SystemExit) as end:
        parser.parse_args(["--k", "0"])
    assert end.value.code == 2
    wanted = "error: argument --k: '0' is not a whole number of at least 1 (see python -m hypensearch.toy --help)\n"
    assert capsys.readouterr() == ("", wanted)


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", "", "9" * 5000, "inf"])
def test_not_positive(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number of at least 1"):
        cli.positive_int(text)


def test_positive() -> None:
    assert cli.positive_int("12") == 12


def test_defaults_stand_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_exit(["search", "--help"]) == 0
    assert "(default: 1000)" in " ".join(capsys.readouterr().out.split())


SCREEN = 24  # lines of a terminal, 80 columns wide


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_in_groups_and_shows_defaults_that_say_something(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main_exit([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "usage: python -m hypensearch" in shown
    for nothing in ("None", "False", "[]", "none", ""):
        assert f"(default: {nothing})" not in " ".join(shown.split()), nothing
    longest = max(shown.split("\n\n"), key=lambda part: part.count("\n"))
    assert longest.count("\n") < SCREEN, longest


def test_usage_of_many_flags_names_those_that_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    parser = cli.CommandParser(prog="toy")
    parser.add_argument("words", nargs="+", metavar="WORD")
    parser.add_argument("--needed", required=True)
    for number in range(20):
        parser.add_argument(f"--flag-{number}")
    assert parser.format_help().startswith("usage: toy WORD [WORD ...] --needed NEEDED [...]\n")
    with pytest.raises(SystemExit):
        parser.parse_args(["word"])
    assert "--needed (see toy --help)" in capsys.readouterr().err


def test_console_script_reaches_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    usage = capsys.readouterr().out
    assert all(f"  {name} " in usage for name in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hypensearch {__version__}\n"


def test_console_script_hands_on_arguments_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--qrels", "nowhere.txt", "--run", "nowhere.run"]) == 2
    assert capsys.readouterr().err == "error: nowhere.txt: no such file\n"


def test_console_script_on_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serch"]) == 2
    assert capsys.readouterr().err.startswith("error: no command 'serch': known are encode, encode.query,")


def main_exit(argv: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as end:
        main(argv)
    return end.value.code


INTERRUPTED = """
import atexit, sys
from hypensearch import cli
sys.argv[0] = sys.argv[1]
def body():
    print("so far")
    raise KeyboardInterrupt
atexit.register(print, "taken apart")
raise SystemExit(cli.run(body))
"""


@pytest.mark.parametrize(("program", "shown"), [("/bin/hypensearch", "so far\n"), ("other", "so far\ntaken apart\n")])
def test_an_interrupted_command_ends_at_once(program: str, shown: str) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, shown, "interrupted\n")


def test_an_error_stands_in_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> None:
        progress_bar(9, unit="topic", description="searching").update(1)
        raise HypensearchError("broken")

    assert cli.run(body) == 2
    assert capsys.readouterr().err.replace("\r", "\n").split("\n")[-2:] == ["error: broken", ""]


@pytest.mark.parametrize(("redirect", "told"), [("| cat", ""), (">> {out}", ""), (">&-", "")])
def test_output_goes_to_the_stream_that_a_path_names(redirect: str, told: str, tmp_path: Path) -> None:
    write = "import sys; from hypensearch.cli import run; from hypensearch.formats.files import replace_when_whole\n"
    write += "def body():\n    print('first')\n"
    write += "    with replace_when_whole('/dev/stdout', 'w') as file:\n        file.write('a run\\n')\n"
    write += "    print('last')\nsys.exit(run(body))"
    out = tmp_path / "out"
    out.write_text("kept\n")
    line = f"'{sys.executable}' -c \"$SCRIPT\" {redirect.format(out=out)}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        env={**os.environ, "SCRIPT": write},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stderr) == (0, told)
    written = "first\na run\nlast\n"
    assert done.stdout == (written if "cat" in redirect else "")
    assert out.read_text() == ("kept\n" + written if ">>" in redirect else "kept\n")


def test_control_characters_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> None:
        raise HypensearchError("a\x1b]0;owned\x07b\u202ec\x9bd\nerror: e")

    assert cli.run(body) == 2
    assert capsys.readouterr().err == "error: a\\x1b]0;owned\\x07b\\u202ec\\x9bd error: e\n"
    with pytest.raises(SystemExit):
        cli.CommandParser(prog="toy").parse_args(["\x1b[2J"])
    assert "\x1b" not in capsys.readouterr().err


OFFLINE = """
import os, sys
from hypensearch.__main__ import main
try:
    main([*sys.argv[1:], "--offline", "--help"])
except SystemExit:
    print(os.environ["HF_HUB_OFFLINE"], os.environ["TRANSFORMERS_OFFLINE"], os.environ["HYPENSEARCH_OFFLINE"])
"""


@pytest.mark.parametrize(
    "command", ["encode encoder", *sorted(COMMANDS.keys() - {"encode", "index.join", "convert.run", "pyserini"})]
)
def test_every_command_that_may_reach_the_network_can_be_told_not_to(command: str) -> None:
    done = subprocess.run([sys.executable, "-c", OFFLINE, *command.split()], capture_output=True, text=True)
    assert done.stdout.endswith("1 1 1\n"), done.stderr
