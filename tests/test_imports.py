"""Importing is cheap and lazy; every promised public name exists."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("pandas", "numba", "scipy", "cvxpy", "matplotlib", "riskfolio", "pyarrow")


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("package", ["engine", "strategies", "backtests"])
def test_import_of_a_package_loads_nothing_heavy(package):
    loaded = run_python(
        f"import sys, {package}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    )
    assert loaded == ""


def test_public_names_work_from_a_plain_import():
    text = run_python(
        "from engine import Portfolio, load_panel\n"
        "import engine\n"
        "print(Portfolio.__name__, engine.__version__, 'Portfolio' in dir(engine))"
    )
    assert text.startswith("Portfolio ") and text.endswith(" True")


def names_in_stub(package: str) -> list[str]:
    tree = ast.parse((ROOT / package / "__init__.pyi").read_text())
    return [
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


@pytest.mark.parametrize(
    ("package", "name"),
    [
        (package, name)
        for package in ("engine", "backtests", "strategies")
        for name in names_in_stub(package)
    ],
)
def test_every_name_of_the_stub_resolves(package, name):
    module = importlib.import_module(package)
    assert getattr(module, name) is not None
    assert name in dir(module)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    import engine

    with pytest.raises(AttributeError, match="no_such_name"):
        engine.no_such_name  # noqa: B018
