"""`python -m backtests.cli`: the command line without the console script."""

from backtests.cli import main

main()
