"""Scenario files: round trip, kinds, and what a wrong file is told."""

import string

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import CheapModelShock, UsageError
from engine.errors import BallastError, DataError
from engine.shocks import files, parameters, read_shock, read_shocks, register_kind
from engine.shocks._kinds_tables import quoted
from engine.shocks.chain import ALL_PRESETS
from engine.shocks.rebound import HORIZONS

PROPERTY = settings(
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FIELDS = (
    "preset",
    "variant",
    "lens",
    "name",
    "horizon",
    "ai_capex",
    "training_costs",
    "source",
    "note",
    "parameters",
)


def same(a, b):
    return all(getattr(a, f) == getattr(b, f) for f in FIELDS)


def written(tmp_path, text, name="shock.toml"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Round trip -------------------------------------------------------------------


@pytest.mark.parametrize("preset", ALL_PRESETS)
def test_presets_read_back(preset, tmp_path):
    shock = CheapModelShock(preset)
    text = shock.to_toml(tmp_path / "s.toml")
    assert same(CheapModelShock.from_toml(tmp_path / "s.toml"), shock)
    assert text == f'[shock]\nkind = "cheap-model"\npreset = "{preset}"\n'


def test_everything_reads_back(tmp_path):
    shock = CheapModelShock(
        "substitution",
        variant="flat",
        lens="worst",
        horizon="month",
        name='committee "Q3"\\\n\t\x7f é 指',
        citation="minutes of 3 July",
        note="two lines\r\nhere",
        ai_capex={"MSFT": 0.02, "0700.HK": 1e-3, 'a"b': 0.5},
        training_cost_before=100e6,
        training_cost_after=3e6,
        severity=1 / 3,
        growth_years=7,
        overseas_rerating=-0.125,
    )
    shock.to_toml(tmp_path / "s.toml")
    again = read_shock(tmp_path / "s.toml")
    assert same(again, shock)
    assert again.citation.startswith("minutes of 3 July; structural model")
    # At another horizon the name stays that of the shock it came from.
    moved = CheapModelShock().with_horizon("persistent")
    moved.to_toml(tmp_path / "m.toml")
    assert same(read_shock(tmp_path / "m.toml"), moved)


@PROPERTY
@given(st.data())
def test_any_shock_reads_back(tmp_path, data):
    dials = {}
    for p in data.draw(
        st.lists(st.sampled_from(parameters()), max_size=5, unique_by=lambda p: p.name)
    ):
        low, high = p.domain[0], min(p.domain[1], 1e6)
        whole = p.name == "growth_years"
        values = st.integers(1, 100) if whole else st.floats(low, high)
        dials[p.name] = data.draw(values)
    shock = CheapModelShock(
        data.draw(st.sampled_from(list(ALL_PRESETS))),
        horizon=data.draw(st.sampled_from([None, *HORIZONS])),
        name=data.draw(st.none() | st.text(st.characters(codec="utf-8"), min_size=1)),
        note=data.draw(st.text(st.characters(codec="utf-8"))),
        **dials,
    )
    path = tmp_path / "s.toml"
    shock.to_toml(path)
    assert same(read_shock(path), shock)


def test_a_lone_surrogate_cannot_be_written():
    with pytest.raises(BallastError, match="cannot be written as UTF-8"):
        CheapModelShock(name="\ud800").to_toml()


# Reading ----------------------------------------------------------------------


def test_letters_and_several_shocks(tmp_path):
    path = written(
        tmp_path,
        """
        [[shock]]
        kind = "cheap-model"
        name = "first"
        [shock.parameters]
        k = 30
        c = 0.7
        [shock.ai_capex]
        MSFT = 0.02
        [[shock]]
        kind = "cheap-model"
        preset = "jevons"
        """,
    )
    first, second = read_shocks(path)
    assert same(
        first, CheapModelShock(k=30, c=0.7, name="first", ai_capex={"MSFT": 0.02})
    )
    assert same(second, CheapModelShock("jevons"))
    with pytest.raises(DataError, match="several shocks; received 2; expected 1"):
        read_shock(path)


HEAD = '[shock]\nkind = "cheap-model"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no shock in the scenario file; received an empty file"),
        ("[shocks]\n", "unknown key 'shocks'; expected shock. Did you mean shock?"),
        ("shock = 3\n", "no shock in the scenario file"),
        ("shock = [3]\n", "no shock in the scenario file"),
        ("shock = []\n", "no shock in the scenario file"),
        ("[shock]\n", 'shock: no kind; expected kind = "cheap-model"'),
        ('[shock]\nkind = "cheap-modle"', "unknown kind 'cheap-modle'"),
        ('[shock]\nkind = "cheap-modle"', "Did you mean cheap-model?"),
        ("[shock]\nkind = 3", "kind is not text; received 3"),
        (HEAD + 'pre_set = "jevons"', "unknown key 'pre_set'"),
        (HEAD + 'pre_set = "jevons"', "Did you mean preset?"),
        (HEAD + "preset = 3", "preset is not text; received 3"),
        (HEAD + 'preset = "jevon"', "unknown preset; received 'jevon'"),
        (HEAD + 'horizon = "week"', "unknown shock horizon"),
        (HEAD + "severity = 2", "unknown key 'severity'"),
        (HEAD + "parameters = 2", "parameters is not a table"),
        (HEAD + "[shock.parameters]\nsevrity = 2", "shock.parameters: unknown key 's"),
        (HEAD + "[shock.parameters]\nsevrity = 2", "Did you mean severity?"),
        (
            HEAD + '[shock.parameters]\nseverity = "2"',
            "parameters.severity is not a number",
        ),
        (
            HEAD + "[shock.parameters]\nseverity = true",
            "parameters.severity is not a number; received True",
        ),
        (HEAD + "[shock.parameters]\nseverity = nan", "severity is out of range"),
        (HEAD + "[shock.parameters]\nseverity = 21", "expected 0 to 20"),
        (HEAD + "[shock.parameters]\nk = 5\ncost_ratio = 6", "given twice"),
        (HEAD + "[shock.ai_capex]\nMSFT = 2.0", "at asset MSFT; received 2.0"),
        (HEAD + "kind = 3", "not a TOML file"),
        ("[shock", "not a TOML file"),
        (b"\xff\xfe", "not UTF-8"),
        ("a = " + "[" * 5000, "not a TOML file"),
        ("#" * 1_000_001, "too large; expected 1000000 bytes"),
        (
            "".join(f'[[shock]]\nkind = "cheap-model"\n{x}' for x in ("", "")),
            "two shocks have one name; received 'cheap-model:market_view'",
        ),
        (
            '[[shock]]\nkind = "cheap-model"\n[[shock]]\nkind = "x"\n',
            "shock 2: unknown kind 'x'",
        ),
    ],
)
def test_wrong_files_name_the_file_and_the_key(text, words, tmp_path):
    path = written(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_shocks(path)
    assert words in str(caught.value)
    assert "shock.toml" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"absent.toml: cannot read.*No such file"):
        read_shocks(tmp_path / "absent.toml")
    with pytest.raises(DataError, match="cannot read the scenario file"):
        read_shocks(tmp_path)


@PROPERTY
@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(tmp_path, content):
    with pytest.raises(DataError):
        read_shocks(written(tmp_path, content))


WORDS = st.sampled_from(["preset", "kind", "name", "severity", "parameters", "k", "x"])
VALUES = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.text(string.printable, max_size=8),
    st.sampled_from(["cheap-model", "jevons"]),
)


@PROPERTY
@given(
    st.dictionaries(WORDS, VALUES, max_size=4),
    st.dictionaries(WORDS, VALUES, max_size=3),
)
def test_any_keys_give_a_shock_or_a_typed_error(tmp_path, keys, dials):
    def toml(value):
        if isinstance(value, bool):
            return str(value).lower()
        return quoted(value) if isinstance(value, str) else repr(value)

    lines = ["[shock]", *(f"{k} = {toml(v)}" for k, v in keys.items())]
    lines += ["[shock.parameters]", *(f"{k} = {toml(v)}" for k, v in dials.items())]
    path = written(tmp_path, "\n".join(lines))
    try:
        assert isinstance(read_shock(path), CheapModelShock)
    except DataError as error:
        assert "shock.toml" in str(error)


# Kinds ------------------------------------------------------------------------


def test_another_kind_can_be_registered(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_KINDS", dict(files._KINDS))

    class Flat:
        known_from = np.datetime64("2025-01-27")

        def __init__(self, name, move):
            self.name, self.move = name, move

    def build(table, where):
        files.check_keys(table, ("name", "move"), where)
        return Flat(files.checked_text(table, "name", where), table["move"])

    register_kind("flat", build)
    register_kind("flat", build)  # the same one again is no conflict
    assert files.kinds()[-1] == "flat"
    path = written(tmp_path, '[shock]\nkind = "flat"\nname = "ten"\nmove = -0.1\n')
    shock = read_shock(path)
    assert (shock.name, shock.move) == ("ten", -0.1)
    with pytest.raises(DataError, match="holds another kind of shock; received Flat"):
        CheapModelShock.from_toml(path)
    path = written(tmp_path, '[shock]\nkind = "flat"\nmoves = -0.1\n')
    with pytest.raises(DataError, match=r"unknown key 'moves'.*Did you mean move\?"):
        read_shock(path)
    with pytest.raises(UsageError, match="registered already"):
        register_kind("flat", lambda table, where: None)
    with pytest.raises(UsageError, match="needs a name"):
        register_kind("", build)
