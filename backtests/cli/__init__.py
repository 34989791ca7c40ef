"""The command line: `ballast demo | data | shocks | stress | propose | ...`.

Exit status: 0 done, 1 failed or infeasible, 2 bad usage or input.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


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
    import os

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
        sys.stdout.flush()
    except CycloptsError:
        return 2  # cyclopts has printed what was wrong
    except (DataError, UsageError, LookAheadError) as error:
        _complain(error)
        return 2
    except BallastError as error:
        _complain(error)
        return 1
    except BrokenPipeError:
        # The reader of a pipe went away: nothing more to say, and no traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\ninterrupted; finished work is kept", file=sys.stderr)
        return 1
    return int(status)


def _complain(error: Exception) -> None:
    print(f"ballast: {error}", file=sys.stderr)
