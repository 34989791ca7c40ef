"""The command line: `ballast demo | data | shocks | stress | propose | ...`.

Exit status: 0 done, 1 failed or infeasible, 2 bad usage or input, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    sys.exit(run(tokens))


def run(tokens: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Parameters
    ----------
    tokens : sequence of str, optional
        Arguments; those of the process by default.
    """
    _tolerant_streams()
    try:
        with warnings.catch_warnings():
            _show_notes()
            status = _dispatch(tokens)
        sys.stdout.flush()
    except BrokenPipeError:
        return _nobody_reads()
    except SystemExit as left:  # how the printer of the help reports a closed pipe
        if not isinstance(left.__context__, BrokenPipeError):
            raise
        return _nobody_reads()
    except KeyboardInterrupt:
        print(
            "\nballast: interrupted; finished work is kept, and the same command goes "
            "on from there",
            file=sys.stderr,
        )
        return 130  # 128 + SIGINT, as shells report it
    return status


def _dispatch(tokens: Sequence[str] | None) -> int:
    from cyclopts import CycloptsError

    from backtests.cli.app import app
    from engine.errors import BallastError, DataError, LookAheadError, UsageError

    arguments = list(sys.argv[1:] if tokens is None else tokens)
    if not arguments:
        arguments = ["--help"]
    try:
        status = app(
            arguments,
            exit_on_error=False,
            print_error=True,
            result_action="return_int_as_exit_code_else_zero",
        )
    except CycloptsError:
        return 2  # cyclopts has printed what was wrong
    except (DataError, UsageError, LookAheadError) as error:
        _complain(error)
        return 2
    except BallastError as error:
        _complain(error)
        return 1
    return int(status)


def _show_notes() -> None:
    """Print how unusual input was read; other warnings keep their way."""
    from engine.errors import InputNote

    usual = warnings.showwarning

    def show(message, category, *details) -> None:
        if issubclass(category, InputNote):
            print(f"ballast: note: {message}", file=sys.stderr)
        else:
            usual(message, category, *details)

    warnings.simplefilter("always", InputNote)
    warnings.showwarning = show


def _nobody_reads() -> int:
    """The reader of a pipe went away: nothing more to say, and no traceback."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _tolerant_streams() -> None:
    """Under LANG=C a name with an accent is shown escaped rather than not at all."""
    for stream in (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", "") or "").lower()
        if encoding.replace("-", "") != "utf8" and isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _complain(error: Exception) -> None:
    from backtests.cli.show import paint

    sys.stdout.flush()
    print(f"{paint('ballast:', '1;31', sys.stderr)} {error}", file=sys.stderr)
