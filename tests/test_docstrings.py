"""Every public name is documented as numpydoc wants it, and its examples run."""

import ast
import doctest
import enum
import importlib
import inspect
import itertools
import re
import textwrap

import pytest

from tests.test_documentation import MODULES, public_names

validate = pytest.importorskip("numpydoc.validate", reason="a development tool")

CHECKS = {
    "GL05": "tabs",
    "GL06": "a section that does not exist",
    "GL07": "sections out of order",
    "GL08": "no docstring",
    "GL10": "a directive that numpydoc cannot read",
    "SS01": "no summary",
    "SS02": "a summary in lower case",
    "SS04": "a summary with leading spaces",
    "PR01": "a parameter without a place",
    "PR02": "a parameter that does not exist",
    "PR03": "parameters out of order",
    "PR05": "a type that ends in a full stop",
    "PR10": "no space before a colon",
    "RT01": "a result without a place",
    "YD01": "a yield without a place",
    "SA02": "a reference without its full stop",
}
"""Left out: PR04 and PR07 (parameters that are "as in" another function share a line),
PR08 and RT04 (a description may begin with the symbol of the paper), RT03 (a class says
what it is), SS03 (a summary may end in its formula), SS05 (a plural noun is no verb),
ES01, SA01 and EX01 (not every function needs them)."""


def found_in(module, name):
    return getattr(importlib.import_module(module), name)


def callables():
    for module in MODULES:
        for name in public_names(module):
            if callable(found_in(module, name)):
                yield module, name


def documented_fields(cls):
    """Names in the sections of a class, and fields with a text of their own below."""
    names = set()
    for line in (inspect.getdoc(cls) or "").splitlines():
        if line and not line.startswith(" "):
            names |= {n.strip(" `*") for n in line.split(" : ")[0].split(",")}
    for base in cls.__mro__:
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError):
            continue
        rows = getattr(body, "body", [])
        for field, text in itertools.pairwise(rows):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                names.add(getattr(field.target, "id", ""))
    return names


def problems(module, name):
    found = found_in(module, name)
    is_class = inspect.isclass(found)
    errors = validate.validate(f"{module}.{name}")["errors"]
    said = [f"{code} {text}" for code, text in errors if code in CHECKS]
    if is_class:  # fields may stand under Attributes, or have a text below them
        said = [text for text in said if text[:4] not in ("PR01", "PR02", "PR03")]
        plain = issubclass(found, (BaseException, enum.Enum))
        known = set() if plain else documented_fields(found)
        for field in () if plain else inspect.signature(found).parameters:
            hidden = field.startswith("_") or field in ("args", "kwargs")
            if not hidden and field not in known:
                said.append(f"PR01 field {field!r} is not documented")
    elif re.search(r"^Yields\n-+$", inspect.getdoc(found) or "", re.M):
        said = [text for text in said if not text.startswith("RT01")]
    return said


def test_docstrings_of_public_names():
    wrong = {
        f"{module}.{name}": said
        for module, name in callables()
        if (said := problems(module, name))
    }
    assert not wrong, "\n".join(f"{name}: {said}" for name, said in wrong.items())


def test_public_methods_and_properties_are_documented():
    silent = set()
    for module, name in callables():
        found = found_in(module, name)
        if inspect.isclass(found):
            for key, value in vars(found).items():
                method = isinstance(value, (property, classmethod, staticmethod))
                if (method or inspect.isfunction(value)) and not key.startswith("_"):
                    if not inspect.getdoc(getattr(found, key)):
                        silent.add(f"{module}.{name}.{key}")
    assert not silent


def test_a_missing_parameter_is_noticed(monkeypatch):
    def function(first, second):
        """Sum.

        Parameters
        ----------
        first : int

        Returns
        -------
        int
        """
        return first + second

    import engine

    monkeypatch.setattr(engine, "function", function, raising=False)
    assert any(text.startswith("PR01") for text in problems("engine", "function"))


def examples():
    done = set()
    finder = doctest.DocTestFinder(recurse=False)
    for module, name in callables():
        found = inspect.unwrap(found_in(module, name))
        if id(found) not in done and ">>>" in (inspect.getdoc(found) or ""):
            done.add(id(found))
            home = inspect.getmodule(found)
            yield from finder.find(found, f"{module}.{name}", home, vars(home).copy())


@pytest.mark.parametrize("case", [pytest.param(t, id=t.name) for t in examples()])
def test_examples_of_docstrings(case):
    said = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(case, out=said.append)
    assert not runner.failures, "".join(said)


def test_the_most_used_functions_have_examples():
    shown = {case.name for case in examples()}
    assert {
        "engine.load_panel",
        "engine.fit",
        "engine.simulate",
        "engine.stress",
        "engine.risk.value_at_risk",
        "engine.risk.expected_shortfall",
        "engine.risk.kupiec",
        "engine.covariance.sample",
        "engine.covariance.ewma",
        "engine.covariance.ledoit_wolf",
        "engine.nearest_correlation",
        "engine.optimize.minimum_variance",
        "engine.optimize.minimum_shortfall",
        "backtests.simulate_weights",
        "backtests.metrics.max_drawdown",
    } <= shown
