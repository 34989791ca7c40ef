"""The command line in a shell: help, completion, pipes, colours, signals, locales."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backtests.cli import run, show
from backtests.cli.app import app
from backtests.cli.completion import FILES, choices, script, tree
from backtests.cli.examples import _ALL, epilogue, lines
from tests.cli.test_cli import MODEL, flags, make_market

ROOT = Path(__file__).parents[2]
WALK = ["--start", "2024-12-16", "--hindsight-parameters"]
BALLAST = [sys.executable, "-m", "backtests.cli"]


def process(*tokens, **environment):
    return subprocess.run(
        [*BALLAST, *map(str, tokens)],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        timeout=120,
    )


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shell")
    make_market(folder)
    return folder


# Help -------------------------------------------------------------------------


def test_every_command_shows_examples_that_parse(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = tree(app)
    assert set(_ALL) == set(commands)
    for command in commands:
        for line in lines(command):
            # What the shell does itself: pipes, redirections, quotes.
            tokens = shlex.split(line.split(" > ")[0].split(" | ")[0])
            assert tokens[0] == "ballast"
            _, bound, ignored = app.parse_args(
                tokens[1:], exit_on_error=False, print_error=False
            )
            assert bound is not None and not ignored
            assert command.split() == tokens[1 : 1 + len(command.split())]


@pytest.mark.parametrize("command", ["", "propose", "data pull", "shocks validate"])
def test_help_fits_eighty_columns_and_can_be_pasted(command, monkeypatch, capfd):
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*command.split(), "--help"]) == 0
    out = capfd.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert out.rstrip().endswith(epilogue(command))
    pasted = epilogue(command).replace("\\\n", "").split("\n")[1:]
    again = [" ".join(shlex.split(line)) for line in pasted]
    assert again == [" ".join(shlex.split(line)) for line in lines(command)]


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom backtests.cli import run\nassert run(['--help']) == 0\n"
        "heavy = ('pandas', 'numba', 'cvxpy', 'scipy', 'matplotlib', 'pyarrow')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


# Suggestions --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["propos", "book.csv"], 'Did you mean "propose"?'),
        (["stress", "book.csv", "--presett", "x"], "Did you mean --preset?"),
        (["stress", "book.csv", "--shock", "jevons"], "Did you mean --preset jevons?"),
        (["stress", "book.csv", "--shock", "cheep-model"], "Did you mean cheap-model"),
        (["stress", "book.csv", "--tickers", "NVDIA"], "Did you mean NVDA"),
        (["stress", "book.csv", "--explain", "NVDAA"], "Did you mean NVDA"),
        (["stress", "book.csv", "--preset", "jevon"], "Did you mean jevons"),
        (["stress", "book.csv", "--replay", "deepseek-moday"], "deepseek-monday"),
        (["stress", "book.csv", "--covariance", "ledoit_wolff"], "Did you mean ledoit"),
        (["stress", "book.csv", "--funds", "band"], "Did you mean bands"),
        (["backtest", "book.csv", "--strategy", "hrpp"], "Did you mean hrp"),
        (["propose", "book.csv", "--limit", "nams <= 3"], "Did you mean names"),
        (["propose", "book.csv", "--group", "contry:Japan<=0.1"], "country"),
        (["propose", "book.csv", "--candidates", "PGG"], "Did you mean PG"),
        (
            ["backtest", "book.csv", "--schedule", "montly", *WALK],
            "Did you mean monthly",
        ),
        (["completion", "bsh"], "Did you mean bash"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(
    market, monkeypatch, capfd, tokens, said
):
    monkeypatch.chdir(market)
    monkeypatch.setenv("COLUMNS", "200")
    more = [] if tokens[0] == "completion" else [*flags(market), *MODEL]
    assert run([*tokens, *more]) == 2
    out, err = capfd.readouterr()
    assert out == "" and said in err


def test_quiet_and_verbose(market, capfd):
    command = ["propose", str(market / "book.csv"), *flags(market)]
    short = ["--window", "60", "--scenarios", "1000"]
    assert run([*command, *short, "--verbose", "--json"]) == 0
    out, err = capfd.readouterr()
    for word in (
        "prices: ",
        "data hash: ",
        "numpy ",
        "model and scenarios",
        "proposal",
    ):
        assert word in err
    assert out.startswith("{")
    assert run([*command, *short, "--quiet", "--json"]) == 0
    assert capfd.readouterr() == (out, "")
    assert run([*command, *short, "--quiet", "--verbose"]) == 2
    assert "contradict" in capfd.readouterr().err


# Colours, locales, pipes, signals -------------------------------------------------


class Stream:
    def __init__(self, terminal):
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (True, {"FORCE_COLOR": "0"}, False),
        (True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colours(monkeypatch, terminal, environment, coloured):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert show.coloured(Stream(terminal)) is coloured
    text = show.paint("!", "1", Stream(terminal))
    assert text == ("\x1b[1m!\x1b[0m" if coloured else "!")


def test_json_is_never_coloured():
    done = process("shocks", "--json", FORCE_COLOR="1")
    assert done.returncode == 0 and b"\x1b" not in done.stdout


def test_a_plain_locale_shows_every_name(market, tmp_path):
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    book = tmp_path / "b\u00fccher.csv"
    done = process("stress", book, **plain)
    assert done.returncode == 2
    assert b"no such file" in done.stderr and b"Traceback" not in done.stderr
    for command in (["--help"], ["shocks", "library"], ["run", "--template"]):
        done = process(*command, **plain)
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["shocks library", "schema propose", "--help"])
def test_a_pipe_that_closes_is_no_error(command):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    line = f"{shlex.join(BALLAST)} {command} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


INTERRUPTED = """\
import os, signal, sys
import backtests.cli.running as r
whole, count = r.walk, []
def walk(rules, *args, **kwargs):
    if count:
        os.kill(os.getpid(), signal.SIGINT)
    count.append(1)
    return whole(rules, *args, **kwargs)
r.walk = walk
from backtests.cli import main
main(["run", sys.argv[1], "--quiet"])
"""


def test_an_interrupted_run_goes_on(market, capfd):
    (market / "run.toml").write_text(
        '[book]\npath = "book.csv"\n[data]\nprices = "prices.csv"\n'
        'universe = "universe.csv"\nprice_basis = "total_return"\n'
        "[estimation]\nwindow = 60\nscenarios = 1000\nhindsight_parameters = true\n"
        '[walk_forward]\nstart = 2024-12-16\nstrategies = ["hold", "equal"]\n'
        "[report]\nwrite = false\n"
    )
    (market / "out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(market / "run.toml")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 130
    assert "interrupted" in done.stderr and done.stderr.count("\n") == 2
    assert "Traceback" not in done.stderr
    kept = [
        p for p in (market / "out" / "walks").iterdir() if (p / "result.json").exists()
    ]
    assert len(kept) == 1
    assert run(["run", str(market / "run.toml"), "--quiet"]) == 0
    assert "kept from an earlier run: hold" in capfd.readouterr().out


@pytest.mark.slow
def test_an_interrupt_from_outside_leaves_one_sentence():
    """At any moment: while it starts, while it reads, while it computes."""
    for delay in (0.05, 0.3, 1.0, 2.5):
        child = subprocess.Popen(
            [*BALLAST, "demo", "--seeds", "0", "--quiet"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        time.sleep(delay)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
        if delay > 0.2:  # before that Python itself may still be starting
            assert child.returncode == 130, (delay, err)
            assert "Traceback" not in err


# Completion -----------------------------------------------------------------------


def complete(*words):
    """What bash would offer for the last word."""
    code = (
        f"{script('bash', app)}\n"
        f"COMP_WORDS=({' '.join(map(shlex.quote, words))})\n"
        f"COMP_CWORD={len(words) - 1}\n_ballast\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(
        ["bash", "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=20
    )
    assert done.stderr == ""
    return done.stdout.split()


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


@needs_bash
def test_bash_completes_commands_flags_and_words():
    assert complete("ballast", "st") == ["stress"]
    assert complete("ballast", "shocks", "r") == ["replay"]
    assert complete("ballast", "stress", "b.csv", "--pres") == ["--preset"]
    assert "--strategy" not in complete("ballast", "stress", "b.csv", "--")
    jevons = ["jevons", "jevons_persistent"]
    assert complete("ballast", "stress", "b.csv", "--preset", "jev") == jevons
    assert complete("ballast", "stress", "b.csv", "--preset", "=", "jev") == jevons
    assert complete("ballast", "backtest", "b", "--strategy", "risk") == ["risk-parity"]
    found = complete("ballast", "shocks", "replay", "deepseek-m")
    assert found == ["deepseek-monday"]
    assert complete("ballast", "run", "pyproj") == ["pyproject.toml"]
    assert complete("ballast", "data", "--prices", "ref") == ["reference"]
    assert complete("ballast", "stress", "b.csv", "--seed", "") == []
    # A value that reads like a command is no command.
    assert "--strategy" in complete(
        "ballast", "backtest", "b.csv", "--out", "stress", "--st"
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_hold_every_command_and_are_read_by_their_shell(shell, tmp_path):
    text = script(shell, app)
    for command in ("stress", "propose", "validate", "run"):
        assert command in text
    assert "ballast __" not in text and "python3" not in text  # static: starts nothing
    path = tmp_path / "script"
    path.write_text(text)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: read by eye only")
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_offered_is_what_the_library_takes():
    """Flags with words exist, and the words that stand here as text are accepted."""
    from engine.shocks import CheapModelShock
    from strategies.schedules import SCHEDULES

    offered = {f for c in tree(app).values() for f in c.flags}
    words = choices()
    assert set(words) <= offered
    for preset in words["--preset"]:
        CheapModelShock(preset)
    for horizon in words["--shock-horizon"]:
        CheapModelShock(horizon=horizon)
    assert FILES in words["--prices"]
    assert set(words["--schedule"]) == set(SCHEDULES)
