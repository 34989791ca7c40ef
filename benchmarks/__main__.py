"""``python -m benchmarks [--case SUBSTRING] [--json FILE]``."""

import argparse
from pathlib import Path

from benchmarks.run import run

parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
parser.add_argument("--case", default="", help="only cases whose name contains this")
parser.add_argument(
    "--json",
    type=Path,
    default=Path(__file__).parent / "results" / "latest.json",
    help="where the figures go",
)
options = parser.parse_args()
if not run(options.case, options.json):
    parser.error(f"no case matches {options.case!r}")
print(f"figures: {options.json}")
