# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What all commands share: the parser, one-line errors, exit codes, log lines."""

from __future__ import annotations

import argparse
import atexit
import functools
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from hypensearch.errors import HypensearchError
from hypensearch.offline import go_offline
from hypensearch.printing import visible, visible_line
from hypensearch.progress import close_bars
from hypensearch.threads import limited

_MANY_FLAGS = 12

EXIT_OK = 0
EXIT_BAD_INPUT = 2


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, "") or action.default == []:
            return action.help
        return super()._get_help_string(action)


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, as all errors of hypensearch are."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs.setdefault("formatter_class", HelpFormatter)
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def format_help(self) -> str:
        """Return the help; of many flags, the usage names the required ones."""
        usage, flags = self.usage, [action for action in self._actions if action.help != argparse.SUPPRESS]
        if usage is None and len(flags) > _MANY_FLAGS:
            needed = [action for action in flags if action.required]
            self.usage = " ".join(["%(prog)s", *map(_as_used, needed), "[...]"])
        try:
            return super().format_help()
        finally:
            self.usage = usage

    def error(self, message: str) -> NoReturn:
        """Print ``error: message`` and exit with code 2."""
        print(visible_line(f"error: {message} (see {self.prog} --help)"), file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT)


def _as_used(action: argparse.Action) -> str:
    value = str(action.metavar or action.dest.upper())
    several = f" [{value} ...]" if action.nargs in ("+", "*") else ""
    return " ".join([*action.option_strings[:1], value]) + several


def run(body: Callable[[], None], *, threads: int | None = None) -> int:
    """Run a command's body and turn what users can fix into one line on stderr.

    :param body: The command, its arguments already parsed.
    :param threads: The value of ``--threads``; see :func:`add_threads_flag`.
    :return: The exit code: 0, 2 for bad input, 130 when interrupted (Ctrl-C), 143 when asked to end (SIGTERM).
    """
    _open_standard_streams()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Visible("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    quiet_libraries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal cannot show
    try:
        with _ended_by_sigterm(), limited(threads):
            body()
        sys.stdout.flush()
    except HypensearchError as error:
        return _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except KeyboardInterrupt as stopped:
        said, code = ("terminated", 143) if isinstance(stopped, _Terminated) else ("interrupted", 130)
        close_bars()
        print(said, file=sys.stderr)
        return _end_soon(code)
    return EXIT_OK


class _Terminated(KeyboardInterrupt):
    """SIGTERM has come, which is handled as Ctrl-C is."""


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end what runs inside as Ctrl-C does, unless the process already handles it otherwise."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def terminate(number: int, frame: object) -> NoReturn:
        raise _Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_soon(code: int) -> int:
    """Let a process of ours end as soon as it has this exit code: unloading torch takes longer than a user waits."""
    program = getattr(sys.modules["__main__"], "__spec__", None)
    if os.path.basename(sys.argv[0]) == "hypensearch" or (program and program.name.startswith("hypensearch.")):
        atexit.register(_end_at_once, code)
    return code


def _end_at_once(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def quiet_libraries() -> None:
    """Keep the progress chatter of libraries out of our commands' output."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("faiss", "httpx", "urllib3", "filelock", "transformers"):
        logging.getLogger(name).setLevel(logging.WARNING)


def add_threads_flag(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--threads``, which means the same in every command; its value is for :func:`run`."""
    parser.add_argument(
        "--threads",
        type=positive_int,
        default=argparse.SUPPRESS,
        help="CPU threads of all that is computed: encoding, q-nets, scoring, building; by default one for each CPU "
        "that the process may use",
    )


def threads_of(args: argparse.Namespace) -> int | None:
    """Return the value of ``--threads``, None where it was left out."""
    return getattr(args, "threads", None)


class _Offline(argparse.Action):
    """Forbids the network as soon as the flag is read, before a library looks whether it may be reached."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=options.get("help"))

    def __call__(self, parser: object, namespace: argparse.Namespace, values: object, flag: str | None = None) -> None:
        setattr(namespace, self.dest, True)
        go_offline()


def add_offline_argument(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the flag of every command that may reach the network."""
    group = parser.add_argument_group("the network") if isinstance(parser, argparse.ArgumentParser) else parser
    group.add_argument(
        "--offline",
        action=_Offline,
        help="never reach the network",
    )


def add_model_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the flags that say how a checkpoint is loaded."""
    add_offline_argument(parser)
    parser.add_argument(
        "--backbone-config",
        metavar="PATH",
        help="folder, config.json or hub name of the checkpoint's transformer, where it cannot be found",
    )
    parser.add_argument(
        "--width", type=positive_int, help="hidden width to cut q-nets to (Matryoshka checkpoints); full by default"
    )


class _Refused(argparse.Action):
    """Ends the command with a reason, unless the flag's value changes nothing."""

    def __init__(self, harmless: Sequence[Any], reason: str, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._harmless, self._reason = harmless, reason

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: object, flag: str | None = None) -> None:
        if values not in self._harmless:
            parser.error(f"{self.option_strings[0]} has no meaning here: {self._reason}")


def add_refused_flags(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    refused: Mapping[str, tuple[tuple[Any, ...], str]],
    help: str = argparse.SUPPRESS,
) -> None:
    """Add flags of Pyserini that mean nothing here, so that they are answered with a reason.

    :param refused: Flag to the values that change nothing (False alone: a switch), and why others are refused.
    """
    for flag, (harmless, reason) in refused.items():
        action: Any = functools.partial(_Refused, harmless, reason)
        if harmless == (False,):
            parser.add_argument(flag, action=action, nargs=0, help=help)
        else:
            parser.add_argument(flag, action=action, type=int if 0 in harmless else str, help=help)


def positive_int(text: str) -> int:
    """Parse a flag's value that counts something.

    :raises argparse.ArgumentTypeError: When it is not a whole number of at least 1.
    """
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


class _Visible(logging.Formatter):
    """Shows control characters: messages may contain any file names and texts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message without control characters."""
        text = super().format(record)
        return visible(text) if record.exc_info else visible_line(text)


def _open_standard_streams() -> None:
    """Open streams that the caller has closed: the next opened file would take their number and what is printed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
        setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def _fail(message: str) -> int:
    close_bars()
    print(visible_line(f"error: {message}"), file=sys.stderr)
    return EXIT_BAD_INPUT
