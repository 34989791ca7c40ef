"""The documentation's examples run, its links lead somewhere, every name has a page."""

import ast
import importlib
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if "_static" not in p.parts)
MODULES = (
    "engine",
    "engine.risk",
    "engine.covariance",
    "engine.shocks",
    "engine.sampling",
    "engine.optimize",
    "strategies",
    "backtests",
    "backtests.metrics",
)
SLOW_PAGES = {"guides/backtest.md"}
"""Pages whose examples take more than three seconds together."""


def named(page):
    return page.relative_to(DOCS).as_posix()


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.S | re.M)


def public_names(module):
    found = importlib.import_module(module)
    names = getattr(found, "__all__", None) or [
        n for n in dir(found) if getattr(getattr(found, n), "__module__", "") == module
    ]
    return [
        n
        for n in names
        if not n.startswith("_") and not inspect.ismodule(getattr(found, n))
    ]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            p, id=named(p), marks=[pytest.mark.slow] if named(p) in SLOW_PAGES else []
        )
        for p in PAGES
        if blocks(p, "python")
    ],
)
def test_examples_of_a_page_run_in_one_namespace(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "documentation"}
    sys.modules.pop("documentation", None)
    for block in blocks(page, "python"):
        exec(compile(block, named(page), "exec"), names)


@pytest.mark.parametrize(
    "page", [pytest.param(p, id=named(p)) for p in PAGES if blocks(p, "python")]
)
def test_examples_compile(page):
    for block in blocks(page, "python"):
        ast.parse(block)


def commands():
    for page in PAGES:
        for block in blocks(page, "console"):
            for line in block.splitlines():
                if line.startswith("$ ballast"):
                    yield pytest.param(line[2:], id=f"{named(page)}: {line[2:60]}")


@pytest.mark.parametrize("line", list(commands()))
def test_flags_of_a_printed_command_exist(line):
    from backtests.cli.app import app

    program, *words = shlex.split(line)
    assert program == "ballast"
    app.parse_args(words, exit_on_error=False, print_error=False)


def test_a_flag_that_does_not_exist_is_noticed():
    from cyclopts import CycloptsError

    from backtests.cli.app import app

    with pytest.raises(CycloptsError):
        app.parse_args(
            ["stress", "book.csv", "--no-such-flag", "1"],
            exit_on_error=False,
            print_error=False,
        )


def test_the_printed_scenario_file_is_read(tmp_path):
    from engine.shocks.files import kinds, read_scenarios

    page = DOCS / "guides" / "scenario-files.md"
    (text,) = blocks(page, "toml")
    path = tmp_path / "scenarios.toml"
    path.write_text(text)
    found = read_scenarios(path)
    assert found.limits == {"committee": 0.12, "chips fall together": 0.10}
    shown = set(re.findall(r'^kind = "(.*?)"', text, re.M))
    assert shown == set(kinds()), "the page shows every kind there is"


@pytest.mark.slow
def test_printed_commands_run_on_the_reference_market(tmp_path, monkeypatch, capsys):
    from backtests.cli import main

    monkeypatch.chdir(tmp_path)
    (book,) = [b for b in blocks(DOCS / "quickstart.md", "text") if "ticker" in b]
    Path("book.csv").write_text(book)
    (text,) = blocks(DOCS / "guides" / "scenario-files.md", "toml")
    Path("scenarios.toml").write_text(text)
    for line in (
        "shocks check scenarios.toml",
        "stress book.csv",
        "propose book.csv --limit 0.08",
    ):
        assert line in "".join(
            block for page in PAGES for block in blocks(page, "console")
        )
        monkeypatch.setattr(sys, "argv", ["ballast", *shlex.split(line)])
        try:
            status = main()
        except SystemExit as end:
            status = end.code
        assert not status, line
        assert capsys.readouterr().out


@pytest.mark.parametrize("page", [pytest.param(p, id=named(p)) for p in PAGES])
def test_links_lead_to_pages_that_exist(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target


def test_roles_name_what_exists():
    for page in PAGES:
        for name in re.findall(r"\{py:(?:obj|mod)\}`([\w.]+)`", page.read_text()):
            module, _, attribute = name.rpartition(".")
            if name not in MODULES:
                assert module in MODULES, f"{named(page)}: {name}"
                assert attribute in public_names(module), f"{named(page)}: {name}"


def test_contents_list_every_page():
    listed = set()
    for page in PAGES:
        for block in re.findall(
            r"^```\{toctree\}\n(.*?)^```", page.read_text(), re.S | re.M
        ):
            for line in block.splitlines():
                if line and not line.startswith(":"):
                    listed |= {p.resolve() for p in page.parent.glob(line + ".md")}
    assert {p.resolve() for p in PAGES} - listed == {(DOCS / "index.md").resolve()}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_an_entry(module):
    page = DOCS / "api" / f"{module.replace('.', '-')}.md"
    shown = re.findall(r"^   (\w+)$", page.read_text(), re.M)
    text = page.read_text()
    if "\n   ...\n" in text or f".. names:: {module}\n```" in text:
        assert set(shown) <= set(public_names(module))
        shown = public_names(module)  # the directive lists the others
    assert sorted(shown) == sorted(public_names(module))


@pytest.mark.slow
def test_pages_build_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="Sphinx is a development tool")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html",
         "-d", str(tmp_path / "trees"), str(DOCS), str(tmp_path / "html")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "html" / "methods" / "shortfall.html").read_text()
    assert "<math" in page, "formulas are MathML"
    assert "cdn" not in page, "nothing is fetched"
