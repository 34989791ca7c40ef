"""Examples shown under the help of each command; a test parses every one of them."""

from __future__ import annotations

_ALL = {
    "": (
        "ballast demo",
        "ballast stress book.csv --prices prices.csv --price-basis total_return "
        "--currency USD",
        "ballast run --template > run.toml",
    ),
    "demo": ("ballast demo --out out", "ballast demo --seeds 0 --json | head"),
    "covariance": (
        "ballast covariance",
        "ballast covariance --estimators ewma,oas --window 252 --out scores.csv",
    ),
    "risk": (
        "ballast risk book.csv",
        "ballast risk book.csv --level 0.99 --start 2022-01-03 --out checks.csv",
    ),
    "stress": (
        "ballast stress book.csv",
        "ballast stress book.csv --preset substitution --explain NVDA,VST",
        "ballast stress book.csv --replay deepseek-monday --json",
    ),
    "propose": (
        "ballast propose book.csv --limit 0.08",
        'ballast propose book.csv --limit 0.08 --limit "Taiwan + Korea <= 0.15"',
        "ballast propose book.csv --candidates PG,EWJ,TLT --out trades.csv",
    ),
    "backtest": (
        "ballast backtest book.csv --hindsight-parameters --start 2022-01-03",
        "ballast backtest book.csv --strategy hold --strategy hrp --out runs",
    ),
    "backtest diff": ("ballast backtest diff runs/hold runs/hrp",),
    "sweep": (
        "ballast sweep book.csv --grid limit=0.06,0.08 --hindsight-parameters",
        "ballast sweep book.csv --grid window=252,504 --executor processes --out cells",
        "ballast sweep grid.toml",
    ),
    "report": (
        "ballast report book.csv --hindsight-parameters --out out",
        "ballast report book.csv --committee --title 'Investment committee'",
    ),
    "run": (
        "ballast run --template > run.toml",
        "ballast run run.toml --check",
        "ballast run run.toml",
    ),
    "completion": (
        "ballast completion bash > ~/.local/share/bash-completion/completions/ballast",
        "ballast completion zsh > ~/.zfunc/_ballast",
        "ballast completion fish > ~/.config/fish/completions/ballast.fish",
    ),
    "schema": ("ballast schema", "ballast schema stress"),
    "data": (
        "ballast data",
        "ballast data --prices prices.csv --price-basis raw --currency USD --json",
    ),
    "data pull": (
        "ballast data pull --store store --name mine --tickers NVDA,PG "
        "--start 2018-01-02",
    ),
    "data import": (
        "ballast data import --store store --name mine --prices prices.csv "
        "--price-basis raw --currency USD",
    ),
    "data list": ("ballast data list --store store",),
    "data check": (
        "ballast data check --prices prices.csv --price-basis raw --currency USD",
    ),
    "data repair": (
        "ballast data repair --steps steps.json --out clean.csv --prices prices.csv "
        "--price-basis raw --currency USD",
    ),
    "shocks": ("ballast shocks", "ballast shocks --moves --preset jevons"),
    "shocks library": ("ballast shocks library", "ballast shocks library --json"),
    "shocks check": ("ballast shocks check scenarios.toml",),
    "shocks replay": (
        "ballast shocks replay deepseek-monday",
        "ballast shocks replay 2024-08-01..2024-08-05",
    ),
    "shocks validate": (
        "ballast shocks validate --prices prices.csv --universe labels.csv "
        "--currency USD --out out",
    ),
}
_WIDTH = 78


def lines(command: str = "") -> tuple[str, ...]:
    """Examples of a command, such as ``"stress"`` or ``"data pull"``; as typed."""
    return _ALL[command]


def epilogue(command: str = "") -> str:
    """The examples as they stand under the help, broken to be pasted as they are."""
    shown = []
    for line in _ALL[command]:
        text, width = "  ", 2
        for word in line.split(" "):
            if width + len(word) + 3 > _WIDTH:
                text, width = text + "\\\n      ", 6
            text, width = text + word + " ", width + len(word) + 1
        shown.append(text.rstrip())
    return "\n".join(["Examples:", *shown])
