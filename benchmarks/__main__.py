"""Measure, compare with another revision, or write the table of docs/speed.md.

Exit status: 0 done; 1 a case failed, gave another answer or became slower; 2 bad usage.
"""

import argparse
import subprocess
from pathlib import Path

from benchmarks import compare as revisions
from benchmarks import run as house
from benchmarks.cases import CASES
from benchmarks.cold_start import cold_start
from benchmarks.process import PeerError
from benchmarks.table import FiguresError, add, publish
from engine.errors import UsageError

RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--case", default="", help="only cases whose name contains it")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument(
        "--readme",
        type=Path,
        metavar="FILE.json",
        help="rewrite the table of docs/speed.md from these figures, and keep them",
    )
    parser.add_argument(
        "--add",
        type=Path,
        nargs="+",
        metavar="FILE.json",
        help="put these rows into the table and the figures kept, with their commit",
    )
    parser.add_argument("--compare", metavar="REVISION", help="ours there and here")
    parser.add_argument(
        "--threshold",
        type=float,
        default=revisions.THRESHOLD,
        help="slowdown that counts when comparing (default %(default)s)",
    )
    parser.add_argument(
        "--shared-environment",
        action="store_true",
        help="compare within this environment; refused where the packages differ",
    )
    options = parser.parse_args(arguments)
    try:
        if options.readme is not None:
            publish(options.readme)
            return 0
        if options.add is not None:
            add(options.add)
            return 0
        if options.compare is not None:
            return _compare(options)
    except (FiguresError, FileNotFoundError, UsageError) as error:
        parser.error(str(error))
    word = options.case.lower()
    names = [case.name.lower() for case in CASES] + [house.COLD_START]
    if not any(word in name for name in names):
        parser.error(f"no case matches {options.case!r}")
    out = options.json or RESULTS / "latest.json"
    rows = house.run(options.case, out, CASES, cold_start=cold_start)
    print(f"figures: {out}")
    bad = [f"{r['case']} ({r['size']})" for r in rows if house.failed(r)]
    if bad:
        print("failed: " + "; ".join(bad))
    return 1 if bad else 0


def _compare(options: argparse.Namespace) -> int:
    if not 0.0 < options.threshold < 10.0:
        raise UsageError("--threshold lies in (0, 10)", received=options.threshold)
    out = options.json or RESULTS / "compare.json"
    try:
        report = revisions.compare(
            options.compare,
            pattern=options.case,
            threshold=options.threshold,
            shared=options.shared_environment,
            out=out,
        )
    except PeerError as error:
        print(f"the table of cases could not be read: {error}")
        return 1
    except subprocess.CalledProcessError as error:
        print(f"{options.compare} could not be built: {error}")
        return 1
    bad = revisions.regressed(report)
    print(f"{len(report['results'])} compared, {len(bad)} to look at; figures: {out}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
