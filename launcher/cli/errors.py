"""Every ending that is not fine, in words on stderr (with --json: as JSON on stdout) and as an exit code."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, TextIO

import click

from launcher.cli.escapes import neutralise
from launcher.errors import EXIT_ERROR, EXIT_USAGE, LaunchError

EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE: what a program ends with that nobody reads any more
RED, BOLD, RESET = "\x1b[31m", "\x1b[1m", "\x1b[0m"


def report(error: BaseException, arguments: Sequence[str]) -> int:
    """Say what went wrong, once; returns the exit code."""
    if isinstance(error, SystemExit):
        return _exit_code(error)
    if isinstance(error, BrokenPipeError):
        _silence(sys.stdout)
        return EXIT_BROKEN_PIPE
    if isinstance(error, (KeyboardInterrupt, EOFError, click.Abort)):
        _finish_line()
        return EXIT_INTERRUPTED
    if _debugging() and not isinstance(error, (LaunchError, click.ClickException)):
        _say_traceback(error)
    said = _in_words(error, arguments)
    if wants_json(arguments):
        _write(sys.stdout, json.dumps({"error": said}) + "\n")
    else:
        _write(sys.stderr, as_text(said))
    code = said["exit_code"]
    return code if isinstance(code, int) else EXIT_ERROR


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether `--json` stands among the arguments; known also where parsing them failed."""
    words = list(arguments)
    return "--json" in (words[: words.index("--")] if "--" in words else words)


def as_text(said: dict[str, Any]) -> str:
    """`error: tried: what came back`, what is left behind, `hint: ...`; each a line or more, with a newline at the end."""
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    label, hint = (f"{RED}{BOLD}error:{RESET} ", f"{BOLD}hint:{RESET} ") if colour else ("error: ", "hint: ")
    message = str(said["message"])
    if said.get("came_back"):
        message += f": {said['came_back']}"
    lines = [label + neutralise(message)]
    if said.get("left"):
        lines.append(neutralise(str(said["left"])))
    if said.get("hint"):
        lines.append(hint + neutralise(str(said["hint"])))
    return "\n".join(lines) + "\n"


def _in_words(error: BaseException, arguments: Sequence[str]) -> dict[str, Any]:
    if isinstance(error, FileNotFoundError) and _folder_is_gone():
        error = LaunchError("the folder that this shell is in exists no more", hint="cd to the project, and try again")
    if isinstance(error, LaunchError):
        if _debugging():
            _say_traceback(error)
        return error.as_json()
    if isinstance(error, click.ClickException):
        return _usage(error)
    where = _keep(error, arguments)
    said = {
        "kind": "Unexpected",
        "message": "launch failed in a way that it does not know",
        "came_back": f"{type(error).__name__}: {str(error)[:300]}".rstrip(": "),
        "exit_code": EXIT_ERROR,
        "hint": "LAUNCH_DEBUG=1 shows where; jobs that run go on, nothing of theirs depends on this command",
    }
    if where is not None:
        said["left"] = f"the details are in {where}"
    return said


def _folder_is_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _usage(error: click.ClickException) -> dict[str, Any]:
    said: dict[str, Any] = {"kind": "UsageError", "message": error.format_message(), "exit_code": EXIT_USAGE}
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is not None:
        said["hint"] = f"{context.command_path} --help"
    return said


def _keep(error: BaseException, arguments: Sequence[str]) -> Optional[Path]:
    """Write the traceback to a file of its own; None where that fails too. Values on the command line are left out: they
    may be secrets."""
    import platform
    import traceback

    from launcher import __version__

    words = [word.partition("=")[0] for word in arguments if word.startswith("-") or word == arguments[0]]
    text = (
        f"launch {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"launch {' '.join(words)}\n\n{''.join(traceback.format_exception(error))}"
    )
    try:
        folder = state_folder() / "crashes"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}.txt"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except (OSError, RuntimeError):  # RuntimeError: no home folder can be found
        return None
    return path


def state_folder() -> Path:
    """Where this user's machine keeps what is no cache: `$XDG_STATE_HOME/launch`."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "launch"


def _debugging() -> bool:
    return os.environ.get("LAUNCH_DEBUG", "") not in ("", "0")


def _say_traceback(error: BaseException) -> None:
    import traceback

    _write(sys.stderr, "".join(traceback.format_exception(error)))


def _exit_code(error: SystemExit) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)
    if error.code is None:
        return 0
    return error.code if isinstance(error.code, int) else EXIT_ERROR


def _finish_line() -> None:
    """The terminal has echoed ^C: go to the next line."""
    if sys.stderr.isatty():
        _write(sys.stderr, "\n")


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except (BrokenPipeError, ValueError):
        _silence(stream)


def _silence(stream: TextIO) -> None:
    """Python flushes its streams again at its end, and would complain of the broken pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    except (OSError, ValueError):
        pass
    finally:
        os.close(nowhere)
