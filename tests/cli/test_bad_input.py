"""Every kind of bad input: one message, what and where, status 2, nothing written."""

import pandas as pd
import pytest
from test_cli import BOOK, MODEL, flags, make_market

from backtests.cli import run


@pytest.fixture
def place(tmp_path):
    make_market(tmp_path)
    return tmp_path


def prices_of(place):
    return pd.read_csv(place / "prices.csv", dtype=object)


def put(place, frame):
    frame.to_csv(place / "prices.csv", index=False)


def change(row, column, value):
    def edit(place):
        frame = prices_of(place)
        frame.loc[row, column] = value
        put(place, frame)

    return edit


def rows(order):
    def edit(place):
        frame = prices_of(place)
        put(place, frame.iloc[order(len(frame))])

    return edit


def write(name, content):
    def edit(place):
        (place / name).write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )

    return edit


def remove(name):
    def edit(place):
        (place / name).unlink()

    return edit


def doubled_column(place):
    lines = (place / "prices.csv").read_text().splitlines()
    lines = [f"{line},{line.split(',')[1]}" for line in lines]
    (place / "prices.csv").write_text("\n".join(lines))


def short_history(place):
    frame = prices_of(place)
    frame.loc[:99, "CRM"] = None
    put(place, frame)


def book(text):
    return write("book.csv", "ticker,weight\n" + text.replace(" ", "\n"))


def add_euro_asset(place):
    frame = prices_of(place).assign(SAP="200.0")
    put(place, frame)
    table = pd.read_csv(place / "universe.csv")
    row = {"ticker": "SAP", "asset_class": "equity", "venue": "XETRA"}
    row["quote_currency"] = "EUR"
    pd.concat([table, pd.DataFrame([row])]).to_csv(place / "universe.csv", index=False)


CASES = {
    "missing prices": (remove("prices.csv"), "prices: no such file; received "),
    "empty prices": (write("prices.csv", ""), "prices: the file is empty; received "),
    "prices of bytes": (write("prices.csv", bytes(range(256))), "prices.csv"),
    "prices without rows": (write("prices.csv", "date,NVDA\n"), "prices: no rows in "),
    "missing book": (remove("book.csv"), "portfolio: no such file; received "),
    "empty book": (write("book.csv", ""), "portfolio: the file is empty"),
    "book of bytes": (write("book.csv", bytes(range(256))), "portfolio: "),
    "book without rows": (write("book.csv", "ticker,weight\n"), "portfolio: no rows"),
    "missing universe": (remove("universe.csv"), "universe: no such file; received "),
    "empty universe": (write("universe.csv", ""), "universe: the file is empty"),
    "duplicate date": (
        rows(lambda n: [*range(5), 4, *range(5, n)]),
        "prices.csv: duplicate date; at date 2024-09-06. Keep one row per date.",
    ),
    "unsorted dates": (
        rows(lambda n: [0, 2, 1, *range(3, n)]),
        "dates are not in order; at date 2024-09-03; received 2024-09-03 after 2024-09",
    ),
    "newest first": (
        rows(lambda n: list(range(n))[::-1]),
        "dates are not in order; at date 2025-02-13",
    ),
    "duplicate ticker": (
        doubled_column,
        "duplicate ticker in prices.csv; at asset NVDA",
    ),
    "zero price": (
        change(7, "VST", "0"),
        "price must be positive and finite; at asset VST, date 2024-09-11; received 0",
    ),
    "negative price": (
        change(7, "PG", "-3"),
        "price must be positive and finite; at asset PG, date 2024-09-11; received -3",
    ),
    "infinite price": (
        change(7, "PG", "inf"),
        "price must be positive and finite; at asset PG, date 2024-09-11; received inf",
    ),
    "textual price": (
        change(7, "TLT", "n/q"),
        "a price is not a number; at asset TLT, date 2024-09-11; received 'n/q'",
    ),
    "unreadable date": (change(7, "date", "soon"), "not a date; received 'soon'"),
    "held without prices": (
        book("NVDX,0.5 CASH:USD,0.5"),
        "no prices for this ticker; at asset NVDX. Did you mean NVDA?",
    ),
    "weights short of one": (
        book("NVDA,0.5 CRM,0.4"),
        "weights do not sum to one; received 0.900000; expected 1, cash included. "
        "Add CASH:USD with 0.100000",
    ),
    "duplicate holding": (
        book("NVDA,0.5 NVDA,0.5"),
        "duplicate ticker in the portfolio; at asset NVDA",
    ),
    "textual weight": (
        book("NVDA,half CRM,0.5"),
        "column weight holds something that is not a number; at asset NVDA; received '",
    ),
    "cash without a rate": (
        book("NVDA,0.5 CASH:EUR,0.5"),
        "no exchange rate from EUR to USD",
    ),
    "price without a rate": (
        add_euro_asset,
        "no exchange rate from EUR to USD; at asset SAP. Pass fx= (CLI: --fx)",
    ),
    "short history": (
        short_history,
        "too short a history for the estimation window; at asset CRM, date 2025-02-14; "
        "received 20 prices; expected 61. Shorten the window (CLI: --window)",
    ),
    "unknown role": (
        write("universe.csv", "ticker,role\nNVDA,chips\n"),
        "unknown AI role; at asset NVDA; received 'chips'",
    ),
    "unknown venue": (
        write("universe.csv", "ticker,venue\nNVDA,MOON\n"),
        "unknown trading venue; received 'MOON'",
    ),
    "currency unstated": (
        write("universe.csv", "ticker,name\nNVDA,Nvidia\n"),
        "the currency of a price is not stated; at asset NVDA",
    ),
}


def check_refused(status, out, err, words):
    assert status == 2
    assert out == ""
    assert err.startswith("ballast: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    assert words in err


@pytest.mark.parametrize("command", ["stress", "propose"])
@pytest.mark.parametrize("case", CASES)
def test_bad_input(case, command, place, capfd):
    edit, words = CASES[case]
    edit(place)
    before = sorted(p.name for p in place.iterdir())
    status = run(
        [
            command, str(place / "book.csv"), *flags(place), *MODEL,
            "--out", str(place / "out.csv"),
        ]
    )  # fmt: skip
    check_refused(status, *capfd.readouterr(), words)
    assert sorted(p.name for p in place.iterdir()) == before


FLAGS = {
    "as-of is no date": (["--as-of", "soon"], "not a date or time; received 'soon'"),
    "as-of too early": (["--as-of", "2020-01-01"], "nothing is known at this time"),
    "negative value": (["--value", "-1"], "portfolio value must be positive"),
    "level in per cent": (["--level", "95"], "level is a confidence in (0, 1)"),
    "no horizon": (["--horizon", "0"], "at least one scenario over at least one sess"),
    "preset": (
        ["--preset", "crash"],
        "unknown preset; received 'crash'; expected mark",
    ),
    "severity": (["--severity", "-1"], "severity is out of range; received -1"),
    "funds": (["--funds", "guess"], "unknown treatment of funds; received 'guess'"),
    "look-through": (["--look-through", "no.csv"], "no.csv"),
    "seed": (["--seed", "-1"], "seed must lie in"),
    "base currency": (
        ["--base-currency", "DOLLAR"],
        "not a currency code; received 'D",
    ),
    "tickers": (
        ["--tickers", "NVDA,ANETT"],
        "no prices for this ticker; at asset ANETT",
    ),
}
PROPOSE_FLAGS = {
    "group that is none": (
        ["--group", "country:Jpan<=0.1"],
        "no asset has country 'Jpan'; expected Japan, United States. Did you mean J",
    ),
    "grouping that is none": (["--group", "contry:Japan<=0.1"], "unknown grouping"),
    "group that cannot be read": (["--group", "Japan"], "cannot read a group limit"),
    "candidate without prices": (["--candidates", "TLTT"], "no prices for this ticker"),
    "empty candidates": (["--candidates", ","], "an empty list of tickers"),
    "limit": (["--limit", "nan"], "--limit is a loss as a decimal; received nan"),
    "turnover": (["--turnover", "-0.1"], "turnover must not be negative"),
    "es-cap": (["--es-cap", "-0.1"], "es_cap must not be negative"),
    "spread": (
        ["--half-spread-bps", "-5"],
        "half_spread_bps must not be negative; rece",
    ),
    "max weight": (["--max-weight", "nan"], "upper bound is not a number"),
}


@pytest.mark.parametrize(
    ("command", "extra", "words"),
    [("stress", *v) for v in FLAGS.values()]
    + [("propose", *v) for v in PROPOSE_FLAGS.values()],
)
def test_flags_that_mean_nothing(command, extra, words, place, capfd):
    status = run([command, str(place / "book.csv"), *flags(place), *MODEL, *extra])
    check_refused(status, *capfd.readouterr(), words)


@pytest.mark.parametrize(
    "tokens",
    [
        ["nothing"],
        ["stress"],
        ["stress", "book.csv", "--nonsense", "1"],
        ["stress", "book.csv", "--window", "many"],
        ["stress", "book.csv", "--window", "1", "--window", "2"],
        ["--nonsense"],
    ],
)
def test_usage_that_does_not_exist(tokens, capfd):
    assert run(tokens) == 2
    out, err = capfd.readouterr()
    assert out == "" and err and "Traceback" not in err


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--strategy", "magic"], "unknown strategy; received 'magic'; expected hold"),
        (["--schedule", "fortnightly"], "unknown schedule; received 'fortnightly'"),
        (["--start", "soon"], "not a date or time; received 'soon'"),
        (["--start", "2025-02-10", "--end", "2025-01-01"], "start is after end"),
        (["--start", "2024-09-03"], "no asset has a full estimation window yet"),
    ],
)
def test_backtests_that_cannot_be_run(extra, words, place, capfd):
    extra = [*extra, *([] if "--start" in extra else ["--start", "2024-12-16"])]
    status = run(
        [
            "backtest", str(place / "book.csv"), *flags(place), *MODEL, *extra,
            "--hindsight-parameters", "--out", str(place / "runs"),
        ]
    )  # fmt: skip
    check_refused(status, *capfd.readouterr(), words)
    assert not (place / "runs").exists()


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--grid", "limit"], "cannot read a grid item; received 'limit'"),
        (["--grid", "limit=a,b"], "cannot read a grid item"),
        (["--grid", "colour=1"], "cannot be swept; received 'colour'"),
        (["--strategy", "hold"], "this strategy has no parameters to sweep"),
        (["--executor", "spark"], "unknown executor; received 'spark'"),
        (["--n-jobs", "0"], "n_jobs must be positive"),
    ],
)
def test_sweeps_that_cannot_be_run(extra, words, place, capfd):
    status = run(
        [
            "sweep", str(place / "book.csv"), *flags(place), *MODEL, *extra,
            "--hindsight-parameters", "--start", "2024-12-16",
        ]
    )  # fmt: skip
    check_refused(status, *capfd.readouterr(), words)


def test_the_price_basis_must_be_stated(place, capfd):
    status = run(["data", *flags(place)[:4]])
    check_refused(status, *capfd.readouterr(), "price_basis must be stated")


def test_what_cannot_be_written_is_named_and_the_old_file_stays(place, capfd):
    target = place / "file" / "out.csv"
    (place / "file").write_text("old")
    status = run(
        ["stress", str(place / "book.csv"), *flags(place), *MODEL, "--out", str(target)]
    )
    out, err = capfd.readouterr()
    assert (status, out) == (1, "")
    assert err.startswith(f"ballast: cannot write {target}")
    assert (place / "file").read_text() == "old"
    status = run(["data", *flags(place), "--out", str(place / "x.xlsx")])
    check_refused(status, *capfd.readouterr(), "unknown file type to export to")


def test_the_book_used_here_is_sound(place, capfd):
    assert (place / "book.csv").read_text() == BOOK
    assert run(["stress", str(place / "book.csv"), *flags(place), *MODEL]) == 0
    capfd.readouterr()


@pytest.mark.parametrize("command", ["report", "demo"])
def test_a_validation_that_is_not_there_is_named_before_the_work(place, capfd, command):
    book = [str(place / "book.csv"), *flags(place), *MODEL] * (command == "report")
    out = ["--out", str(place / "made")]
    status = run([command, *book, *out, "--validation", str(place / "none.json")])
    check_refused(status, *capfd.readouterr(), "the validation cannot be read")
    assert not (place / "made").exists()
