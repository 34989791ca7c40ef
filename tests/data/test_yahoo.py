"""The Yahoo provider against a local server that replays answers of recorded shape."""

import datetime as dt
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from engine import DataError, load_panel
from engine.data.adjust import total_return
from engine.data.provider import provider
from engine.data.providers.yahoo import (
    SourceError,
    YahooProvider,
    _retry_after,
)
from engine.data.quality import check
from engine.data.store import StoreProvider, load_snapshot, pull

NY = "America/New_York"


def stamp(day, zone=NY, hour=9, minute=30):
    """Seconds since 1970 of a session's opening."""
    y, m, d = map(int, day.split("-"))
    return int(dt.datetime(y, m, d, hour, minute, tzinfo=ZoneInfo(zone)).timestamp())


def chart(
    days, close, *, symbol="NVDA", currency="USD", zone=NY, exchange="NMS", hour=9,
    adjusted=None, events=None, volume=None, meta=None,
):  # fmt: skip
    """An answer with the keys and nesting Yahoo uses."""
    stamps = [stamp(d, zone, hour) for d in days]
    n = len(stamps)
    quote = {
        "open": list(close),
        "high": list(close),
        "low": list(close),
        "close": list(close),
        "volume": volume or [1000] * n,
    }
    result = {
        "meta": {
            "currency": currency,
            "symbol": symbol,
            "exchangeName": exchange,
            "fullExchangeName": "NasdaqGS",
            "instrumentType": "EQUITY",
            "longName": f"{symbol} Corporation",
            "exchangeTimezoneName": zone,
            "gmtoffset": -18000,
            "dataGranularity": "1d",
            **(meta or {}),
        },
        "timestamp": stamps,
        "indicators": {
            "quote": [quote],
            "adjclose": [{"adjclose": list(adjusted or close)}],
        },
    }
    if events:
        result["events"] = events
    return {"chart": {"result": [result], "error": None}}


def dated(day, **values):
    return {str(stamp(day)): {"date": stamp(day), **values}}


NOT_FOUND = {
    "chart": {
        "result": None,
        "error": {
            "code": "Not Found",
            "description": "No data found, symbol may be delisted",
        },
    }
}
DAYS = ("2024-06-06", "2024-06-07", "2024-06-10", "2024-06-11", "2024-06-12")
# NVDA around its 10:1 split: closes as Yahoo gives them, after the split.
NVDA = chart(
    DAYS,
    [120.998, 120.888, 121.79, 120.91, 125.20],
    adjusted=[120.98, 120.87, 121.77, 120.90, 125.19],
    events={
        "splits": dated(
            "2024-06-10", numerator=10.0, denominator=1.0, splitRatio="10:1"
        ),
        "dividends": dated("2024-06-11", amount=0.01),
    },
)


class Replay:
    """A server on a free local port; each path answers from its own list."""

    def __init__(self, answers):
        self.answers = {k: list(v) for k, v in answers.items()}
        self.asked = []
        self.clock = "Mon, 27 Jan 2025 20:00:00 GMT"
        replay = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                parts = urlsplit(self.path)
                ticker = unquote(parts.path.rsplit("/", 1)[-1])
                agent = self.headers.get("User-Agent")
                replay.asked.append((ticker, parse_qs(parts.query), agent, parts.path))
                queue = replay.answers.get(ticker, [(404, NOT_FOUND)])
                status, body, *headers = queue.pop(0) if len(queue) > 1 else queue[0]
                if body == "drop":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers[0].items() if headers else ():
                    self.send_header(name, value)
                short = 10 if body == b"cut" else 0
                self.send_header("Content-Length", str(len(data) + short))
                self.end_headers()
                self.wfile.write(data)

            def date_time_string(self, timestamp=None):
                return replay.clock

            def log_message(self, format, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.daemon = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *details):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def serve(monkeypatch):
    """Start a replay; its provider records every wait instead of sleeping."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = []

    def start(answers, **options):
        replay = Replay(answers)
        running.append(replay)
        replay.__enter__()
        replay.waits = []
        made = YahooProvider(replay.url, sleep=replay.waits.append, **options)
        return replay, made

    yield start
    for replay in running:
        replay.__exit__()


def ok(body, **headers):
    return [(200, body, headers)]


# What the numbers are ---------------------------------------------------------


def test_closes_are_brought_back_to_what_was_traded(serve):
    _, yahoo = serve({"NVDA": ok(NVDA)})
    frames = yahoo.load(["NVDA"])
    raw = frames.prices["NVDA"]
    assert frames.price_basis == "raw"
    assert raw.loc["2024-06-07"] == pytest.approx(1208.88)  # as printed that day
    assert raw.loc["2024-06-10"] == 121.79
    assert frames.volume["NVDA"].tolist() == [100.0, 100.0, 1000.0, 1000.0, 1000.0]
    assert frames.actions.kind == ("split", "dividend")
    assert frames.actions.dividend_basis == "split_adjusted"


def test_the_other_bases_are_yahoos_own_columns(serve):
    _, yahoo = serve({"NVDA": ok(NVDA)}, price_basis="split_adjusted")
    frames = yahoo.load(["NVDA"])
    assert frames.price_basis == "split_adjusted"
    assert frames.prices["NVDA"].iloc[1] == 120.888
    _, yahoo = serve({"NVDA": ok(NVDA)}, price_basis="total_return")
    frames = yahoo.load(["NVDA"])
    assert frames.prices["NVDA"].iloc[1] == 120.87
    assert frames.open["NVDA"].iloc[1] == pytest.approx(120.87)  # open equals close


def test_a_panel_by_provider_carries_currency_venue_and_basis(serve):
    _, yahoo = serve({"NVDA": ok(NVDA)})
    panel = load_panel(yahoo, ["NVDA"])
    assert panel.price_basis == "raw"
    assert panel.universe.quote_currency == ("USD",)
    assert panel.universe.venue == ("NYSE",)
    assert panel.universe.name == ("NVDA Corporation",)
    frames = yahoo.load(["NVDA"])
    derived = total_return(panel, frames.actions).prices[:, 0]
    # The dividend of 0.01 lowers everything before its ex-date by 0.01 / 121.79.
    assert derived[2] == pytest.approx(121.79 * (1 - 0.01 / 121.79), rel=1e-12)
    assert derived[-1] == 125.20


def test_a_split_after_the_end_of_the_range_is_still_undone(serve):
    replay, yahoo = serve({"NVDA": ok(NVDA)})
    raw = yahoo.load(["NVDA"], "2024-06-06", "2024-06-07").prices["NVDA"]
    assert raw.tolist() == pytest.approx([1209.98, 1208.88])
    query = replay.asked[0][1]
    assert int(query["period2"][0]) > stamp("2030-01-02")
    assert int(query["period1"][0]) <= stamp("2024-06-05", "UTC", 0, 0)
    assert query["events"] == ["div,splits,capitalGains"]


def test_pence_become_pounds_and_it_is_said(serve):
    body = chart(
        ["2025-01-24", "2025-01-27"], [2650.0, 2600.0], symbol="SHEL.L",
        currency="GBp", zone="Europe/London", exchange="LSE", hour=8,
        events={"dividends": dated("2025-01-27", amount=27.5)},
    )  # fmt: skip
    _, yahoo = serve({"SHEL.L": ok(body)})
    got = yahoo.fetch(["SHEL.L"])
    assert got.frames.prices["SHEL.L"].tolist() == pytest.approx([26.5, 26.0])
    assert got.frames.universe.quote_currency == ("GBP",)
    assert got.frames.universe.venue == ("LSE",)
    assert got.frames.actions.value.tolist() == pytest.approx([0.275])
    assert "GBp" in got.notes[0] and "SHEL.L" in got.notes[0]


def test_the_session_date_is_the_exchanges_not_greenwichs(serve):
    # Sydney opens at 10:00, 23:00 UTC of the day before.
    body = chart(
        ["2025-01-28"], [40.0], symbol="BHP.AX", currency="AUD",
        zone="Australia/Sydney", exchange="ASX", hour=10,
    )  # fmt: skip
    _, yahoo = serve({"BHP.AX": ok(body)})
    prices = yahoo.load(["BHP.AX"], "2025-01-28", "2025-01-28").prices
    assert str(prices.index[0].date()) == "2025-01-28"


def test_capital_gains_are_not_dividends_and_a_double_entry_is_noted(serve):
    body = chart(
        ["2024-12-12", "2024-12-13"], [20.0, 18.0], symbol="FUND",
        events={
            "dividends": dated("2024-12-13", amount=1.8),
            "capitalGains": dated("2024-12-13", amount=1.5),
        },
    )  # fmt: skip
    _, yahoo = serve({"FUND": ok(body)})
    got = yahoo.fetch(["FUND"])
    kinds = dict(
        zip(got.frames.actions.kind, got.frames.actions.value.tolist(), strict=True)
    )
    assert kinds == {"dividend": 1.8, "capital_gain": 1.5}
    assert "counts the second in the first" in got.notes[0]


def test_a_session_still_open_is_not_a_close(serve):
    start, end = stamp("2025-01-27"), stamp("2025-01-27", hour=16, minute=0)
    meta = {
        "regularMarketTime": end - 3600,
        "currentTradingPeriod": {"regular": {"start": start, "end": end}},
    }
    days = ["2025-01-24", "2025-01-27"]
    _, yahoo = serve({"NVDA": ok(chart(days, [142.62, 120.0], meta=meta))})
    got = yahoo.fetch(["NVDA"])
    assert [str(d.date()) for d in got.frames.prices.index] == ["2025-01-24"]
    assert "had not ended" in got.notes[0]
    meta["regularMarketTime"] = end
    body = ok(chart(days, [142.62, 118.42], meta=meta))
    _, yahoo = serve({"NVDA": body})
    assert yahoo.load(["NVDA"]).prices["NVDA"].iloc[-1] == 118.42
    # Not traded in the last minutes: the clock of the answer decides.
    meta["regularMarketTime"] = end - 240
    replay, yahoo = serve({"NVDA": ok(chart(days, [142.62, 118.42], meta=meta))})
    replay.clock = "Mon, 27 Jan 2025 21:29:00 GMT"
    assert len(yahoo.load(["NVDA"]).prices) == 1
    replay.clock = "Mon, 27 Jan 2025 21:30:00 GMT"
    assert len(yahoo.load(["NVDA"]).prices) == 2


def test_a_last_session_that_comes_twice_is_kept_once_and_noted(serve):
    days = ["2025-01-24", "2025-01-27", "2025-01-27"]
    _, yahoo = serve({"NVDA": ok(chart(days, [142.62, 118.40, 118.42]))})
    got = yahoo.fetch(["NVDA"])
    assert got.frames.prices["NVDA"].tolist() == [142.62, 118.42]
    assert "came twice" in got.notes[0]


def test_empty_cells_are_left_out_not_filled(serve):
    _, yahoo = serve({"NVDA": ok(chart(DAYS[:3], [1.0, None, 3.0]))})
    prices = yahoo.load(["NVDA"]).prices["NVDA"]
    assert len(prices) == 2 and not prices.isna().any()


def test_an_impossible_split_is_left_out_and_noted(serve):
    events = {"splits": dated(DAYS[1], numerator=1.0, denominator=0.0)}
    _, yahoo = serve({"NVDA": ok(chart(DAYS[:2], [1.0, 2.0], events=events))})
    got = yahoo.fetch(["NVDA"])
    assert len(got.frames.actions) == 0 and "left out" in got.notes[0]


# Manners ----------------------------------------------------------------------


def test_one_request_a_ticker_with_a_pause_and_a_name(serve):
    replay, yahoo = serve(
        {"NVDA": ok(NVDA), "BRK/B": ok(chart(DAYS, [1.0] * 5))}, delay=0.7
    )
    yahoo.load(["NVDA", "BRK/B", "NVDA"])
    assert [a[0] for a in replay.asked] == ["NVDA", "BRK/B"]
    assert replay.asked[1][3] == "/v8/finance/chart/BRK%2FB"
    assert replay.waits == [0.7]
    assert "ballast" in replay.asked[0][2]


def test_a_rate_limit_is_waited_out_as_long_as_asked(serve):
    busy = (429, b"Too Many Requests\r\n", {"Retry-After": "7"})
    replay, yahoo = serve({"NVDA": [busy, (503, b"busy"), (200, NVDA)]})
    assert yahoo.load(["NVDA"]).prices.shape == (5, 1)
    assert replay.waits == [7.0, 2.0]


def test_retries_are_bounded_and_the_rest_is_not_asked_for(serve):
    replay, yahoo = serve(
        {"NVDA": ok(NVDA), "AMD": [(429, b"Too Many Requests")], "MU": ok(NVDA)},
        attempts=3,
        delay=0.0,
    )
    got = yahoo.fetch(["NVDA", "AMD", "MU"])
    assert list(got.frames.prices.columns) == ["NVDA"]
    assert [a[0] for a in replay.asked] == ["NVDA", "AMD", "AMD", "AMD"]
    assert replay.waits == [1.0, 2.0]
    assert "too many requests" in got.missing["AMD"]
    assert "not asked for" in got.missing["MU"]


def test_a_wait_beyond_the_bound_ends_the_pull(serve):
    replay, yahoo = serve({"NVDA": [(429, b"", {"Retry-After": "3600"})]})
    with pytest.raises(SourceError, match="asking to wait 3600 s"):
        yahoo.load(["NVDA"])
    assert replay.waits == [] and len(replay.asked) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12.0),
        ("Mon, 27 Jan 2025 12:00:30 GMT", 30.0),
        ("Mon, 27 Jan 2025 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        ("nan", None),
        (None, None),
    ],
)
def test_what_retry_after_means(text, seconds):
    headers = {"Retry-After": text, "Date": "Mon, 27 Jan 2025 12:00:00 GMT"}
    assert _retry_after(headers) == seconds


# What does not come -----------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, NOT_FOUND), "may be delisted"),
        ((404, b"<html>"), "does not know this ticker"),
        ((200, b"<html>consent</html>"), "not JSON"),
        ((200, b""), "not JSON"),
        ((200, b"[]"), "unknown shape"),
        ((200, {"chart": {"result": [], "error": None}}), "unknown shape"),
        ((200, {"finance": {"error": "x"}}), "unknown shape"),
        ((200, chart([], [])), "has no prices"),
        ((200, chart(DAYS[:2], [1.0, "x"])), "unknown shape"),
        ((200, chart(DAYS[:2], [1.0, 0.0])), "not positive"),
        ((200, chart(DAYS[:2], [1.0])), "does not match its dates"),
        ((200, chart(DAYS[:2], [None, None])), "no finished session"),
        ((200, chart([DAYS[0], DAYS[0], DAYS[1]], [1.0] * 3)), "two prices"),
        ((200, chart(DAYS[:2], [1.0, float("inf")])), "not positive and finite"),
        ((200, chart(DAYS[:1], [1.0], currency=None)), "known currency"),
        ((200, chart(DAYS[:1], [1.0], meta={"exchangeTimezoneName": "X"})), "zone"),
        (
            (422, {"chart": {"result": None, "error": {"description": "no start"}}}),
            "reports an error",
        ),
    ],
)
def test_an_answer_that_cannot_be_used_names_its_ticker(serve, answer, message):
    _, yahoo = serve({"GONE": [answer]})
    with pytest.raises(DataError, match=message) as caught:
        yahoo.load(["GONE"])
    assert caught.value.asset == "GONE"


def test_what_arrived_is_kept_and_what_did_not_is_named(serve):
    _, yahoo = serve({"NVDA": ok(NVDA)})
    got = yahoo.fetch(["NVDA", "NOPE", "NADA"])
    assert list(got.frames.prices.columns) == ["NVDA"]
    assert set(got.missing) == {"NOPE", "NADA"}
    with pytest.raises(DataError, match=r"NOPE \(and NADA\)"):
        yahoo.load(["NVDA", "NOPE", "NADA"])


def test_a_range_without_prices_says_which_there_is(serve):
    _, yahoo = serve({"NVDA": ok(NVDA)})
    with pytest.raises(DataError, match="2024-06-06 to 2024-06-12"):
        yahoo.load(["NVDA"], "2025-01-01", "2025-02-01")


@pytest.mark.parametrize("body", ["drop", b"cut"])
def test_a_broken_answer_is_asked_for_again(serve, body):
    replay, yahoo = serve({"NVDA": [(200, body), (200, NVDA)]})
    assert yahoo.load(["NVDA"]).prices.shape == (5, 1)
    assert replay.waits == [1.0]


def test_a_silent_server_times_out(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        yahoo = YahooProvider(url, timeout=0.05, attempts=2, sleep=lambda s: None)
        with pytest.raises(SourceError, match="no answer in time"):
            yahoo.load(["NVDA"])


def test_no_server_at_all(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    yahoo = YahooProvider(url, attempts=2, sleep=lambda s: None)
    with pytest.raises(SourceError, match="Check the connection"):
        yahoo.load(["NVDA"])


def test_refusals_are_not_retried(serve):
    replay, yahoo = serve({"NVDA": [(403, b"Forbidden")]})
    with pytest.raises(SourceError, match="403"):
        yahoo.load(["NVDA"])
    assert len(replay.asked) == 1


def test_arguments_are_checked():
    with pytest.raises(DataError, match="web server"):
        YahooProvider("file:///etc")
    with pytest.raises(DataError, match="price_basis"):
        YahooProvider(price_basis="adjusted")
    with pytest.raises(DataError, match="needs a list"):
        YahooProvider().load(None)
    assert provider("yahoo").name == "yahoo"
    assert np.isfinite(YahooProvider().delay)


def test_a_pull_into_the_store_and_out_again(serve, tmp_path):
    amd = chart(DAYS, [160.0, 161.0, 162.0, 163.0, 164.0], symbol="AMD")
    _, yahoo = serve({"NVDA": ok(NVDA), "AMD": ok(amd)})
    made = pull(yahoo, ["NVDA", "GONE", "AMD"], "2024-06-07", None, tmp_path, "chips")
    assert made.tickers == ("NVDA", "AMD") and "delisted" in made.missing["GONE"]
    assert made.price_basis == "raw" and made.source == "Yahoo Finance"
    panel = load_panel(StoreProvider(tmp_path, "chips"))
    assert panel.prices[0, 0] == pytest.approx(1208.88)
    actions = load_snapshot(tmp_path, "chips").actions
    moved = total_return(panel, actions).prices
    assert moved[1, 0] / moved[0, 0] == pytest.approx(121.79 / 120.888)
    assert check(panel, actions=actions).exit_status == 0
    assert check(panel).exit_status == 1  # without its actions the split is an error
