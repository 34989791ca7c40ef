"""The main job on the reference market: stages agree, stamps travel, seeds differ."""

from dataclasses import replace

import numpy as np
import pytest

from backtests.cli.demo import demo_book
from backtests.job import Settings, rules, run_job
from backtests.seeds import seed_study
from engine import DataError, LookAheadError, load_panel
from engine.constraints import StressCap
from engine.optimize.problem import stress_measure

CANDIDATES = ("AAPL", "JPM", "JNJ", "PG", "EFA", "EWJ", "EWT", "TLT", "GLD", "USMV")
SETTINGS = Settings(
    as_of="2025-01-24",
    candidates=CANDIDATES,
    start="2024-06-03",
    end="2025-03-31",
    schedule="quarterly",
    window=252,
    n_scenarios=2000,
    hindsight_parameters=True,
)


@pytest.fixture(scope="module")
def panel():
    return load_panel("reference")


@pytest.fixture(scope="module")
def job(panel):
    return run_job(demo_book(), panel, SETTINGS)


def test_limit_proposal_and_stress_agree(job):
    cap = StressCap(rules_shock(), job.limit)
    measure = stress_measure(cap, job.scenarios, cap.moves(job.scenarios))
    before = measure.value(job.scenarios.align(job.portfolio))
    after = measure.value(job.scenarios.align(job.proposal.weights))
    assert job.limit == pytest.approx(before / 2)
    assert after <= job.limit + 1e-6
    assert after == pytest.approx(job.stress_after["market_view"].severe, abs=1e-12)
    assert before == pytest.approx(job.stress["market_view"].severe, abs=1e-12)


def rules_shock():
    from backtests.job import shock_of

    return shock_of(SETTINGS)


def test_everything_made_from_the_reference_market_says_so(job):
    assert any("SYNTHETIC" in s for s in job.stress.stamps)
    assert any("HINDSIGHT" in s for s in job.stress.stamps)
    assert any("SYNTHETIC" in w for w in job.proposal.warnings)
    for result in job.backtests:
        assert any("SYNTHETIC" in s for s in result.stamps)
        assert any("hindsight" in s.lower() for s in result.stamps)


def test_realised_is_the_planted_day_and_is_not_an_input(job, panel):
    realised = job.report.realised
    assert realised.date == np.datetime64("2025-01-27")
    assert realised.by_asset["NVDA"] == pytest.approx(-0.1697, abs=2e-4)
    ordinary = load_panel(_without_the_day())
    other = run_job(demo_book(), ordinary, replace(SETTINGS, start=None))
    assert other.stress.to_frame().equals(job.stress.to_frame())
    assert other.proposal.weights == job.proposal.weights
    assert other.report.realised.book_loss != realised.book_loss


def _without_the_day():
    from engine.data.provider import ReferenceProvider

    return ReferenceProvider(event_day=False)


def test_a_past_date_needs_the_admission_of_hindsight(panel):
    with pytest.raises(LookAheadError, match="hindsight"):
        run_job(demo_book(), panel, replace(SETTINGS, hindsight_parameters=False))


def test_a_holding_with_a_short_history_is_named(panel):
    from engine import Portfolio

    book = Portfolio.from_weights({"GEV": 0.5, "NVDA": 0.5}, 1e6, "USD")
    with pytest.raises(DataError, match=r"GEV.*2025-01-24"):
        run_job(book, panel, SETTINGS)


def test_every_rule_is_free_of_look_ahead(panel):
    from backtests import assert_no_lookahead

    small = panel.select([*_names(), *CANDIDATES, "SPY"]).between("2023-01-03")
    weights = dict(zip(demo_book().labels, demo_book().weights, strict=True))
    settings = replace(SETTINGS, window=120)
    for rule in rules(weights, settings, 0.1, small):
        assert_no_lookahead(
            rule, small, dates=["2024-09-03", "2025-01-24"], hindsight_parameters=True
        )


def _names():
    return [a for a in demo_book().assets]


def test_seed_study_runs_with_and_without_the_planted_day():
    settings = replace(
        SETTINGS, start="2025-01-02", end="2025-02-28", schedule="monthly"
    )
    weights = dict(zip(demo_book().labels, demo_book().weights, strict=True))
    frame = seed_study(weights, settings, 0.1, seeds=(1, 2), n_jobs=1)
    assert len(frame) == 2 * 2 * 3
    hold = frame[frame["strategy"] == "hold"].pivot(
        index="seed", columns="event_day", values="max_drawdown"
    )
    assert (hold[True] > hold[False]).all()
    assert frame.groupby("seed")["volatility"].first().nunique() == 2
