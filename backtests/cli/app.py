"""The commands. Each is a few lines: read flags, call the library, show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

import engine
from backtests.cli.data import data_app
from backtests.cli.examples import epilogue
from backtests.cli.models import covariance, risk
from backtests.cli.options import (
    ChosenShock,
    Limits,
    Meter,
    Prices,
    Run,
    Walk,
    names,
    settings,
)
from backtests.cli.shocks import shocks_app
from engine.errors import UsageError

Flag = Annotated[bool, Parameter(negative=())]

app = App(
    name="ballast",
    help="Stress a portfolio with a cheap-efficient-model shock, propose the cheapest "
    "trades that bring the loss within a limit, and walk the rule forward.",
    version=engine.__version__,
    help_format="plaintext",
    help_epilogue=epilogue(),
    suppress_keyboard_interrupt=False,
)

app.command(data_app)
app.command(shocks_app)
app.command(covariance, help_epilogue=epilogue("covariance"))
app.command(risk, help_epilogue=epilogue("risk"))


@app.command(help_epilogue=epilogue("demo"))
def demo(
    *,
    out: Path = Path("out"),
    seed: int = 0,
    seeds: int = 5,
    json: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(negative=())] = False,
    validation: Path | None = None,
) -> None:
    """Run the whole job on the embedded reference market (synthetic prices).

    Parameters
    ----------
    out
        Folder for the report.
    seed
        Seed of the scenarios.
    seeds
        Other draws of the market on which the rule is repeated, with the planted day
        and without it; 0 leaves that out.
    json
        Print JSON for machines instead of tables.
    quiet
        No progress on the error stream.
    validation
        Show how the model did on 27 January 2025, on real prices: validation.json of
        "ballast shocks validate --out", or its folder.
    """
    from backtests.cli.demo import run_demo

    with Meter(quiet) as meter:
        run_demo(
            out,
            seed=seed,
            seeds=seeds,
            json=json,
            progress=meter,
            validation=validation,
        )


@app.command(help_epilogue=epilogue("stress"))
def stress(
    book: Path,
    /,
    *,
    source: Prices | None = None,
    run: Run | None = None,
    shock: ChosenShock | None = None,
    explain: str | None = None,
    ratios: Path | None = None,
    replay: tuple[str, ...] = (),
) -> None:
    """Show what a book would lose under a shock, and which holdings cause it.

    Parameters
    ----------
    book
        Portfolio file: ticker and one of shares, value, weight.
    explain
        Tickers, separated by commas, whose moves are put in words.
    ratios
        Price-earnings ratios: ticker, and pe or both earnings and price; shown before
        and after.
    replay
        Also an episode of "ballast shocks library"; may repeat.
    """
    from backtests.cli import show, stressing
    from backtests.job import compared_shocks, on_prices, prepare, realised_loss
    from engine._stress import stress as run_stress
    from engine.shocks import replay as make_replay

    source, run, shock = source or Prices(), run or Run(), shock or ChosenShock()
    chosen = settings(run, shock)
    with Meter(run.quiet, run.verbose) as meter:
        holdings = run.book(book, source)
        panel = source.load(holdings)
        meter.stage("prices", panel)
        _, priced, scenarios = prepare(holdings, panel, chosen)
        meter.stage("model and scenarios")
        shocks = compared_shocks(on_prices(chosen, panel))
        shocks += [make_replay(name, panel=panel) for name in replay]
        report = run_stress(priced, scenarios, shocks, level=run.level)
        meter.stage("stress")
    more = stressing.More(
        stressing.explanations(report, names(explain) or ()),
        None if ratios is None else stressing.ratios(report, ratios),
    )
    if run.out is not None:
        from engine.data.files import write_csv

        write_csv(run.out, report.holdings_frame())
    if run.json:
        show.emit_json(
            stressing.document(report, panel, chosen, more), "stress", panel=panel
        )
        return
    show.stress_table(report, realised_loss(report, panel))
    stressing.tables(report, panel, chosen, more)


@app.command(help_epilogue=epilogue("propose"))
def propose(
    book: Path,
    /,
    *,
    source: Prices | None = None,
    run: Run | None = None,
    shock: ChosenShock | None = None,
    limits: Limits | None = None,
    frontier: Annotated[bool, Parameter(negative=())] = False,
    robustness: Annotated[bool, Parameter(negative=())] = False,
    alternatives: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Propose the cheapest trades that bring the shock loss within the limit.

    Parameters
    ----------
    book
        Portfolio file: ticker and one of shares, value, weight.
    frontier
        Also the proposal at every limit from the loss today to the tightest.
    robustness
        Also under other lenses, presets, past episodes and scenarios drawn again.
    alternatives
        Also the proposals almost as good: fewest trades, least turnover, farthest.
    """
    from backtests.cli import proposing, show
    from backtests.job import compared_shocks, on_prices, prepare, propose_within
    from backtests.limited import constraints_of, shock_limits
    from engine import alternatives as run_alternatives
    from engine import proposal_frontier
    from engine import robustness as run_robustness

    source, run, shock = source or Prices(), run or Run(), shock or ChosenShock()
    chosen = settings(run, shock, limits)
    with Meter(run.quiet, run.verbose) as meter:
        holdings = run.book(book, source)
        panel = source.load(holdings)
        meter.stage("prices", panel)
        view, priced, scenarios = prepare(holdings, panel, chosen)
        meter.stage("model and scenarios")
        chosen = on_prices(chosen, panel)
        caps = shock_limits(priced, scenarios, chosen)
        proposal = propose_within(priced, scenarios, chosen, caps, view)
        meter.stage(f"proposal, {'; '.join(proposal.solve_path)}")
        problem = (
            priced,
            scenarios,
            constraints_of(priced, scenarios, chosen, caps, view),
            chosen.costs,
        )
        more = proposing.More(
            proposal_frontier(*problem, market=view) if frontier else None,
            run_robustness(
                proposal, priced, scenarios, shocks=compared_shocks(chosen), panel=view
            )
            if robustness
            else None,
            run_alternatives(*problem, market=view) if alternatives else None,
        )
    if run.out is not None:
        from engine.data.files import write_csv

        write_csv(run.out, proposal.to_frame())
    if run.json:
        show.emit_json(proposing.document(proposal, more), "propose", panel=panel)
        return
    show.proposal_table(proposal, source.base_currency)
    proposing.tables(proposal, more)


backtest_app = App(
    name="backtest",
    help_format="plaintext",
    result_action="return_value",
    help_epilogue=epilogue("backtest"),
)
app.command(backtest_app)


@backtest_app.default
def backtest(
    book: Path,
    /,
    *,
    strategy: tuple[str, ...] = ("hold", "hold-cash", "shock-aware"),
    source: Prices | None = None,
    run: Run | None = None,
    shock: ChosenShock | None = None,
    limits: Limits | None = None,
    walk: Walk | None = None,
    judge: Annotated[bool, Parameter(negative=())] = False,
    trials: int | None = None,
) -> None:
    """Walk strategies forward with only what was known at each date.

    Parameters
    ----------
    book
        Portfolio file: ticker and one of shares, value, weight.
    strategy
        hold, hold-cash, hold-swap, hold-overseas, hold-short, shock-aware,
        shock-aware-multi-period, equal, fixed-mix, inverse-volatility, min-variance,
        min-shortfall, risk-parity, max-diversification, hrp, herc or momentum; may
        repeat. hold-swap:XLP and hold-short:QQQ name another fund.
    judge
        Every table of the judgement: intervals, differences, regimes, attribution,
        AI factor, exposure, capacity; with --out also as files.
    trials
        Strategies tried before these were chosen, for the deflated Sharpe ratio.
    """
    from backtests.cli import show, walking

    source, run, shock = source or Prices(), run or Run(), shock or ChosenShock()
    walk = walk or Walk()
    chosen = settings(run, shock, limits, walk)
    with Meter(run.quiet, run.verbose) as meter:
        holdings = run.book(book, source)
        panel = source.load(holdings)
        meter.stage("prices", panel)
        results = walking.compare(holdings, panel, chosen, strategy, progress=meter)
        verdict = walking.judged(results, panel, trials)
        meter.stage("walk-forward")
    if run.out is not None:
        for result in results:
            result.write(run.out / result.name.replace(" ", "_"))
        if judge and verdict is not None:
            verdict.write(run.out / "judgement")
    if run.json:
        rows = [
            {"strategy": r.name, "stamps": list(r.stamps), **r.metrics()}
            | {"judgement": walking.judgement_of(verdict, r.name)}
            for r in results
        ]
        show.emit_json({"strategies": rows}, "backtest", panel=panel)
        return
    show.backtest_table(results)
    walking.show_judgement(verdict, everything=judge)
    if run.out is not None:
        print(f"\nresults in {run.out}")


@backtest_app.command(name="diff", help_epilogue=epilogue("backtest diff"))
def backtest_diff(
    first: Path,
    second: Path,
    /,
    *,
    exit_code: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Compare two stored results: where they came from, and where they part.

    Parameters
    ----------
    first
        Folder of a result, as "ballast backtest --out" or a sweep writes it.
    second
        The other folder; differences are second less first.
    exit_code
        Exit status 1 when a number, fill or decision differs.
    json
        Print JSON for machines, with every decision and fill that differs.
    """
    from backtests.cli import comparing

    return comparing.compare(first, second, exit_code=exit_code, json=json)


@app.command(help_epilogue=epilogue("sweep"))
def sweep(
    book: Path,
    /,
    *,
    grid: tuple[str, ...] = (),
    strategy: str | None = None,
    executor: str | None = None,
    n_jobs: int | None = None,
    source: Prices | None = None,
    run: Run | None = None,
    shock: ChosenShock | None = None,
    limits: Limits | None = None,
    walk: Walk | None = None,
) -> int:
    """Walk strategies forward for every combination of parameters; resumable.

    Parameters
    ----------
    book
        Portfolio file: ticker and one of shares, value, weight. Or a grid file in TOML
        (book, [data], [walk], [costs], [[strategy]]), which takes only --executor,
        --n-jobs, --out, --json and --quiet beside it; its cells are kept next to it,
        in NAME-sweep, by default.
    grid
        Parameter and its values, such as "limit=0.06,0.08"; may repeat. By default
        limit=0.06,0.08,0.10.
    strategy
        shock-aware (default) or hold-cash; a grid file takes every strategy.
    executor
        serial (default), threads, processes or ray.
    n_jobs
        Workers, 1 by default; -1 for one per core.
    """
    from backtests.cli import sweeping, walking

    if book.suffix == ".toml":
        others = {"grid": grid, "strategy": strategy, "prices": source}
        others |= {"shock": shock, "limit": limits, "start": walk}
        return sweeping.run_file(
            book, executor=executor, n_jobs=n_jobs, run=run or Run(), others=others
        )
    source, run, shock = source or Prices(), run or Run(), shock or ChosenShock()
    chosen = settings(run, shock, limits, walk or Walk())

    def work(progress):
        holdings = run.book(book, source)
        return walking.sweep(
            holdings,
            source.load(holdings),
            chosen,
            strategy or "shock-aware",
            grid or ("limit=0.06,0.08,0.10",),
            executor=executor or "serial",
            n_jobs=1 if n_jobs is None else n_jobs,
            out=run.out,
            progress=progress,
        )

    return sweeping.finish(work, out=run.out, json=run.json, quiet=run.quiet)


@app.command(help_epilogue=epilogue("report"))
def report(
    book: Path,
    /,
    *,
    source: Prices | None = None,
    run: Run | None = None,
    shock: ChosenShock | None = None,
    limits: Limits | None = None,
    walk: Walk | None = None,
    title: str = "Cheap-model shock: stress, proposal, backtest",
    validation: Path | None = None,
    committee: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Stress, propose, backtest, and write one HTML file.

    Parameters
    ----------
    book
        Portfolio file: ticker and one of shares, value, weight.
    title
        Heading of the report.
    validation
        Show how the model did on 27 January 2025: validation.json of "ballast shocks
        validate --out", or its folder.
    committee
        Also the frontier of the proposal, other views of it and alternatives.
    """
    from backtests.cli import show
    from backtests.job import run_job
    from backtests.report import read_validation, write_report

    checked = None if validation is None else read_validation(validation)
    source, run, shock = source or Prices(), run or Run(), shock or ChosenShock()
    chosen = replace(settings(run, shock, limits, walk or Walk()), committee=committee)
    target = run.out or Path("out")
    if target.suffix != ".html":
        target = target / "report.html"
    with Meter(run.quiet, run.verbose) as meter:
        holdings = run.book(book, source)
        panel = source.load(holdings)
        meter.stage("prices", panel)
        result = run_job(holdings, panel, chosen, title=title, progress=meter)
        meter.stage("stress, proposal and walk-forward")
        written = write_report(target, replace(result.report, validation=checked))
        meter.stage("report")
    if run.json:
        show.emit_json(show.job_dict(result, written), "report", panel=panel)
        return
    show.stress_table(result.stress, result.report.realised)
    show.proposal_table(result.proposal, source.base_currency)
    show.backtest_table(result.backtests)
    print(f"\nreport: {written}")


@app.command(help_epilogue=epilogue("run"))
def run(
    file: Path | None = None,
    /,
    *,
    check: Flag = False,
    template: Flag = False,
    out: Path | None = None,
    json: Flag = False,
    quiet: Flag = False,
    verbose: Flag = False,
) -> None:
    """Do the whole job that a file states: stress, propose, walk forward, report.

    Finished walk-forwards are kept in the folder of the outputs, and are not run again.

    Parameters
    ----------
    file
        A run file in TOML; its paths are relative to it.
    check
        Read the file, the book and the shocks, say what would run, and stop.
    template
        Print a commented run file.
    out
        Folder of the outputs, in place of the file's.
    json
        Print JSON for machines instead of tables.
    quiet
        No progress on the error stream.
    verbose
        Timings, data hash and versions on the error stream.
    """
    from backtests.cli import run_file, running

    if template:
        print(run_file.template(), end="")
        return
    if file is None:
        raise UsageError(
            "no run file", fix="ballast run --template > run.toml writes one."
        )
    with Meter(quiet, verbose) as meter:
        plan = run_file.read_run(file)
        if out is not None:
            plan = replace(plan, outputs=replace(plan.outputs, folder=out))
        if check:
            running.show_plan(plan, json=json)
            return
        finished = running.execute(plan, meter)
    running.show_finished(finished, json=json)


@app.command(help_epilogue=epilogue("completion"))
def completion(shell: str, /) -> None:
    """Print a completion script for a shell; completing never starts Python.

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    from backtests.cli.completion import script

    print(script(shell, app), end="")


@app.command(help_epilogue=epilogue("schema"))
def schema(document: str | None = None, /) -> None:
    """Print the JSON Schema of what a command prints with --json; or their names.

    Parameters
    ----------
    document
        Such as stress, propose or data-check.
    """
    from backtests.cli import show
    from backtests.cli.documents import FIELDS
    from backtests.cli.documents import schema as schema_of

    if document is None:
        print("\n".join(FIELDS))
        return
    print(show.json_text(schema_of(document)))
