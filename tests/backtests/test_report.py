"""The report: one file, escaped, stamped, worded from the numbers, the same bytes."""

import base64
import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from backtests.report import ReportInputs, read_validation, write_report
from backtests.report._inputs import (
    MINUS,
    loss_money,
    loss_text,
    loss_words,
    number,
    percent,
    signed,
)
from backtests.report._validation import verdict
from engine import (
    CheapModelShock,
    DataError,
    Portfolio,
    Proposal,
    StoreError,
    Universe,
    simulate,
    stress,
)
from engine.data.look_through import FundExposure
from engine.fund_table import FundTable
from tests.backtests.report_cases import (
    BOOK,
    DATES,
    EVIL,
    FORMULA,
    full,
    made_parts,
    model_of,
    run_of,
)


@pytest.fixture(scope="module")
def parts():
    return made_parts()


def written(tmp_path, inputs, name="report.html"):
    return write_report(tmp_path / name, inputs).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(parts, tmp_path_factory):
    return written(tmp_path_factory.mktemp("full"), full(parts))


def plain(page, section):
    body = re.search(rf'<section id="{section}">(.*?)</section>', page, re.S)
    assert body is not None
    return re.sub(r"<[^>]+>", " ", body.group(1))


def test_every_part_is_there(page):
    for key in (
        "presets",
        "agreement",
        "holdings",
        "groups",
        "roles_after",
        "places_after",
        "waterfall",
        "heat_map",
        "plausibility",
        "trades",
        "prices",
        "walk",
        "around",
        "exposure",
        "costs",
        "intervals",
        "regimes",
        "seeds",
    ):
        assert f'id="picture-{key}"' in page
    for key in ("presets", "limits", "trades", "walk_forward", "seeds", "provenance"):
        assert f'id="table-{key}"' in page
    assert "27 Jan 2025" in page
    assert len(page.encode()) < 1_500_000


def test_one_file_that_loads_nothing(page):
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(scripts) == page.count("<script") == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy.group(1).startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}';" in policy.group(1)
    assert "connect-src" not in policy.group(1)
    assert not re.search(r"""(?:src|href|action)\s*=\s*["'](?!#)""", page)
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page
    assert "http:" not in page.replace("http-equiv", "")
    assert "https:" not in page


def test_svg_is_named_and_its_ids_are_distinct(page):
    pictures = re.findall(r"<svg[^>]*>", page)
    assert len(pictures) == 18
    assert all(
        'role="img"' in p and re.search('aria-label="[^"]+"', p) for p in pictures
    )
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'(?:href="|url\()#([^")]+)', page):
        assert target in ids


def test_text_from_users_is_escaped(parts, tmp_path):
    title = f"{EVIL} & \" onload='x'"
    text = written(tmp_path, full(parts, title=title))
    assert EVIL not in text
    assert text.count("<script") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    pictures = "".join(re.findall(r"<svg.*?</svg>", text, re.S))
    assert "&lt;script&gt;" in pictures
    assert "積體$電$" in pictures


def test_a_formula_is_neutralised_in_the_tables(parts, tmp_path):
    written(tmp_path, full(parts))
    folder = tmp_path / "report_tables"
    names = {p.stem for p in folder.glob("*.csv")}
    assert {"presets", "holdings", "by_role", "by_country", "trades", "value"} <= names
    for path in folder.glob("*.csv"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"(?:^|,)\"?=", line), path.name
    assert f"'{FORMULA}" in (folder / "holdings.csv").read_text(encoding="utf-8")
    roles = pd.read_csv(folder / "by_role.csv")
    assert roles["weight"].sum() == pytest.approx(1.0)
    presets = pd.read_csv(folder / "presets.csv")
    assert presets["loss"].to_numpy() == pytest.approx(
        [r.loss for r in parts[True][0].results]
    )


def test_funds_show_where_their_exposure_comes_from(parts, tmp_path):
    """The basis is on the page, and losses by role look through and still add up."""
    held = FundExposure(
        "CHIP",
        ("network", "none"),
        np.array([0.6, 0.3]),
        np.full(2, np.nan),
        "look-through",
        np.datetime64("2024-12-31"),
        f"sheet {EVIL}",
    )
    model = replace(model_of(synthetic=False), funds=FundTable((held,)))
    scenarios = simulate(model, 1000, horizon=5, seed=1)
    book = Portfolio.from_weights(BOOK, 1e6, "USD")
    shocks = [CheapModelShock(p) for p in ("market_view", "substitution", "jevons")]
    now = stress(book, scenarios, shocks, hindsight_parameters=True)
    text = written(tmp_path, full(parts, synthetic=False, stress=now))
    table = plain(text, "stress")
    assert "Funds, and holdings of unknown exposure" in table
    assert "look-through: sheet" in table and "unknown 10%" in table
    assert text.count("<script") == 1
    assert "Funds are looked through" in text
    roles = pd.read_csv(tmp_path / "report_tables" / "by_role.csv").set_index("role")
    assert roles["weight"].sum() == pytest.approx(1.0)
    for result in now.results:
        name = result.name.split(":")[1].replace("_", " ")
        assert roles[f"loss:{name}"].sum() == pytest.approx(result.loss)
    assert {"network", "unknown"} <= set(roles.index)
    shown = pd.read_csv(tmp_path / "report_tables" / "exposures.csv")
    assert shown["Ticker"].tolist()[0] == "CHIP"


def test_stamps_stand_before_everything_else(page):
    top = page[page.index("<body>") : page.index('<section id="summary">')]
    assert "SYNTHETIC" in top
    assert "HINDSIGHT PARAMETERS" in top
    assert "SAME-BAR FILLS" in top
    # In every picture too: pictures get copied.
    for picture in re.findall(r"<svg.*?</svg>", page, re.S):
        assert "SYNTHETIC" in picture
    walk = re.search(r'<figure id="picture-walk">.*?</figure>', page, re.S)
    assert walk is not None
    assert "HINDSIGHT PARAMETERS" in walk.group(0)
    assert "SAME-BAR FILLS" in walk.group(0)


def test_stamps_are_told_once_the_gravest_first(parts):
    inputs = full(parts, stamps=("SAMPLE MEAN: by hand", "SAMPLE MEAN: by hand"))
    stamps = inputs.all_stamps()
    assert stamps[0].startswith("SYNTHETIC")
    assert stamps.count("SAMPLE MEAN: by hand") == 1
    # The bare form gives way to the one with dates.
    assert [s for s in stamps if s.upper().startswith("HINDSIGHT")] == [
        s for s in stamps if s.startswith("HINDSIGHT PARAMETERS:")
    ]


def test_synthetic_is_said_exactly_when_it_is_so(parts, page, tmp_path):
    assert "synthetic" in plain(page, "summary").lower()
    real = written(tmp_path, full(parts, synthetic=False))
    assert "synthetic" not in real.lower()


def test_the_summary_claims_nothing(page):
    words = plain(page, "summary").lower()
    for word in ("outperform", "beats", "superior", "recommend", "you should", "alpha"):
        assert word not in words
    assert "not a target" in words
    assert "5-95% band" in words
    assert "±" in words
    assert "unsourced" in words
    assert (
        5
        <= len(
            re.findall(r"<li>", page.split('<ul class="summary">')[1].split("</ul>")[0])
        )
        <= 8
    )


def test_distance_is_not_called_a_probability(page):
    assert "a distance, not a probability" in page


def test_a_gain_is_called_a_gain(parts, page):
    jevons = parts[True][0]["jevons"]
    assert jevons.loss < 0
    assert f"a gain of {percent(-jevons.loss)}" in plain(page, "summary")
    assert loss_text(jevons.loss) in plain(page, "stress")
    assert not re.search(rf"(?:loss|loses) (?:of )?[-{MINUS}]\d", page)


def test_no_minus_zero(page):
    assert not re.search(rf"[-{MINUS}]0(?:\.0+)?%", page)
    assert not re.search(rf"[-{MINUS}]0(?:\.0+)?(?![\d.])", plain(page, "walk-forward"))


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (percent(-1e-9), "0.00%"),
        (percent(-0.0123), f"{MINUS}1.23%"),
        (percent(np.nan), "n/a"),
        (percent(12.5), "1,250.00%"),
        (signed(0.012, 1), "+1.2%"),
        (signed(-1e-9), "0.00%"),
        (signed(np.nan), "n/a"),
        (loss_text(-1e-9), "0.00%"),
        (loss_text(-0.0947), "gain 9.47%"),
        (loss_text(0.087), "8.70%"),
        (loss_words(-0.0947), "a gain of 9.47%"),
        (loss_words(0.0), "a loss of 0.00%"),
        (loss_money(-94_685.2, "USD"), "gain USD 94,685"),
        (loss_money(-0.2, "USD"), "USD 0"),
        (loss_money(86_957.6, "EUR"), "EUR 86,958"),
        (number(-0.001), "0.00"),
    ],
)
def test_numbers_are_worded(made, wanted):
    assert made == wanted


def test_the_same_inputs_give_the_same_bytes(parts, page, tmp_path):
    first = page.encode()
    second = write_report(tmp_path / "two.html", full(parts)).read_bytes()
    assert first == second


@pytest.mark.parametrize(
    "without",
    [
        ("proposal", "stress_after", "backtests", "realised", "seeds", "history"),
        ("proposal", "stress_after"),
        ("realised", "history"),
        ("backtests", "seeds"),
        ("stress_after",),
    ],
)
def test_parts_may_be_missing(parts, tmp_path, without):
    empty = {name: () if name == "backtests" else None for name in without}
    text = written(tmp_path, full(parts, synthetic=False, **empty))
    assert 'id="table-presets"' in text
    assert ("picture-walk" in text) == ("backtests" not in without)
    assert ("picture-agreement" in text) == ("realised" not in without)
    assert ("picture-roles_after" in text) == ("proposal" not in without)
    assert "None" not in plain(text, "summary")


def test_a_book_of_many_holdings_is_cut_and_says_so(tmp_path):
    names = tuple(f"N{i:02d}" for i in range(40))
    model = replace(
        model_of(synthetic=False),
        assets=names,
        mean=np.zeros(40),
        covariance=np.eye(40) * 4e-4,
        universe=Universe(names, role=("accelerator", "memory") * 20),
    )
    report = stress(
        {k: 1 / 40 for k in names},
        simulate(model, 500, seed=2),
        CheapModelShock(),
        hindsight_parameters=True,
    )
    text = written(tmp_path, ReportInputs(title="Many", stress=report))
    assert "The 30 largest of 40 holdings" in text


def test_a_rule_that_trades_nothing(parts, tmp_path):
    now, proposal, _ = parts[False]
    still = Proposal(proposal.labels, proposal.current, proposal.current)
    text = written(tmp_path, ReportInputs("Still", now, proposal=still))
    assert still.outcome.value in text


def test_long_names_do_not_break_the_pictures(parts, tmp_path):
    long = "A strategy with a name that nobody would ever fit beside an axis " * 3
    inputs = full(parts, backtests=[run_of(long, 1, 0.0), run_of("b", 2, 0.0)])
    assert "…" in written(tmp_path, inputs)


def test_an_unwritable_folder_is_a_store_error(parts, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("here first")
    with pytest.raises(StoreError, match="cannot write"):
        write_report(blocked / "report.html", ReportInputs("A", parts[True][0]))
    assert blocked.read_text() == "here first"


def test_inputs_that_do_not_belong_together_are_refused(parts):
    now, _, after = parts[True]
    with pytest.raises(DataError, match="not of the same shocks"):
        ReportInputs("A", now, stress_after=replace(after, results=after.results[:1]))
    with pytest.raises(DataError, match="one loss per date"):
        ReportInputs("A", now, history=(DATES, np.zeros(3)))
    other = replace(run_of("b", 2, 0.0), dates=DATES + 1)
    with pytest.raises(DataError, match="same dates"):
        ReportInputs("A", now, backtests=[run_of("a", 1, 0.0), other])


def test_seeds_without_their_columns_are_refused(parts, tmp_path):
    inputs = ReportInputs("A", parts[True][0], seeds=pd.DataFrame({"seed": [1]}))
    with pytest.raises(DataError, match="lacks a column"):
        write_report(tmp_path / "r.html", inputs)


# The day itself ---------------------------------------------------------------------


def validation(**changes):
    """A validation of two roles and two predictors, by hand."""
    rows = [
        {
            "predictor": name,
            "n": 3,
            "r2": r2,
            "spearman": 0.5,
            "mae": mae,
            "bias": 0.01,
            "balanced_hits": 0.75,
            "seen": seen,
        }
        for name, r2, mae, seen in (
            ("structural, flat", 0.2, 0.06, "nothing: validation"),
            (f"replay {EVIL}", 0.6, 0.05, "the day"),
        )
    ]
    moves = {"structural, flat": -0.05, "structural, calibrated": -0.08}
    found = {
        "event": "2025-01-27",
        "exposures_frozen_at": "e62e8b5",
        "synthetic": False,
        "names": 3,
        "aims": {"spearman": 0.75, "r2": 0.55, "mae": 0.055, "balanced_hits": 0.7},
        "table": rows,
        "common_names": rows,
        "winners": {"r2": f"replay {EVIL}", "r2, nothing seen": "structural, flat"},
        "by_role": [
            {"role": "accelerator", "realised": -0.17, "n": 2} | moves,
            {"role": "software", "realised": 0.01, "n": 1} | moves,
        ],
        "by_name": [
            {"asset": "A", "role": "accelerator", "realised": -0.17} | moves,
            {"asset": "B", "role": "accelerator", "realised": -0.17} | moves,
            {"asset": "C", "role": "software", "realised": 0.01} | moves,
        ],
    }
    return found | changes


def test_the_day_is_shown_when_a_validation_is_given(parts, page, tmp_path):
    assert "How well did the model do" not in page and 'id="validation"' not in page
    path = tmp_path / "validation.json"
    path.write_text(json.dumps(validation()))
    stress_only = ReportInputs("A", parts[True][0])
    pages = [
        written(tmp_path, replace(stress_only, validation=source), f"{k}.html")
        for k, source in enumerate((validation(), path, tmp_path))
    ]
    assert pages[0] == pages[1] == pages[2]
    text = pages[0]
    assert "How well did the model do on 27 Jan 2025" in text
    assert 'id="picture-validation"' in text and 'id="table-validation"' in text
    assert "meets 1 of 4 aims" in text
    assert "mean absolute error 6.0% (at most 5.5%)" in text
    assert "Met: right sign 75.0% (at least 70.0%)" in text
    assert "has seen: the day" in text and EVIL not in text
    assert f"{MINUS}17.0%" in text and "+12.0 points" in text
    assert (tmp_path / "0_tables" / "validation_roles.csv").exists()


def test_a_validation_on_generated_prices_says_so(parts, tmp_path):
    text = written(
        tmp_path, full(parts, synthetic=False, validation=validation(synthetic=True))
    )
    section = text[text.index('<section id="validation">') :]
    assert "nothing in this section happened" in section
    assert (
        "SYNTHETIC prices" in section[section.index("<svg") : section.index("</svg>")]
    )


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"by_name": None}, "by_name"),
        ({"common_names": []}, "empty"),
        ({"winners": 3}, "winners"),
        ({"aims": {"r2": 0.5}}, "aims"),
        ({"by_role": [{"role": "accelerator", "n": 1}]}, "realised"),
        (
            {"by_role": [validation()["by_role"][0] | {"role": "wizard"}]},
            "unknown AI role",
        ),
    ],
)
def test_what_is_no_validation_is_refused(broken, words):
    with pytest.raises(DataError, match=words):
        read_validation(validation(**broken))


def test_a_file_that_is_no_validation_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_validation(tmp_path)
    (tmp_path / "validation.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        read_validation(tmp_path)
    (tmp_path / "validation.json").write_text("[1]")
    with pytest.raises(DataError, match="validation"):
        read_validation(tmp_path / "validation.json")


def test_a_figure_that_is_not_known_is_not_a_number():
    rows = [validation()["table"][0] | {"spearman": None}]
    text = verdict(read_validation(validation(table=rows)))[1]
    assert "rank correlation n/a" in text and "Missed" in text
