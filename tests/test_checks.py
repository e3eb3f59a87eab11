"""Argument checks: what passes comes back plain, what does not is named with what was expected."""

import importlib.util
import sys
from fractions import Fraction

import numpy as np
import pytest

from snn_helpers._checks import check_choice, check_float, check_int, register


def test_choice_returns_the_choice():
    assert check_choice("norm", "none", ("batch", "none")) == "none"


def test_choice_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"`split` must be one of 'train', 'test'; got 'tset'\. Did you mean 'test'\?"):
        check_choice("split", "tset", ("train", "test"))


def test_choice_suggests_nothing_when_nothing_is_near():
    with pytest.raises(ValueError, match=r"got 'xyzzy'\.$"):
        check_choice("split", "xyzzy", ("train", "test"))


@pytest.mark.parametrize("value", [None, 3, ["train"], b"train"])
def test_choice_refuses_what_is_no_string(value):
    with pytest.raises(ValueError, match="`split` must be one of"):
        check_choice("split", value, ("train", "test"))


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_int_comes_back_plain(value):
    checked = check_int("n", value, low=3, high=3)
    assert checked == 3
    assert type(checked) is int


@pytest.mark.parametrize("value", [True, 2.0, np.float32(2), "2", None, np.True_])
def test_int_refuses_other_types(value):
    with pytest.raises(TypeError, match="`n` must be a whole number; got"):
        check_int("n", value)


@pytest.mark.parametrize(("value", "expected"), [(1, r"in \[2, 4\]; got 1"), (5, r"in \[2, 4\]; got 5")])
def test_int_refuses_what_is_out_of_range(value, expected):
    with pytest.raises(ValueError, match=f"`n` must be a whole number {expected}"):
        check_int("n", value, low=2, high=4)


def test_int_names_an_open_range():
    with pytest.raises(ValueError, match="<= 4; got 5"):
        check_int("n", 5, high=4)


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int32(1), Fraction(1)])
def test_float_comes_back_plain(value):
    checked = check_float("beta", value, low=0, high=1)
    assert checked == 1.0
    assert type(checked) is float


@pytest.mark.parametrize("value", ["0.5", None, True, 1j])
def test_float_refuses_other_types(value):
    with pytest.raises(TypeError, match="`beta` must be a number; got"):
        check_float("beta", value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.float64("nan")])
def test_float_refuses_what_is_not_finite(value):
    with pytest.raises(ValueError, match="`beta` must be a number; got"):
        check_float("beta", value)


def test_float_bounds_are_inclusive_unless_above():
    assert check_float("lr", 0, low=0) == 0.0
    with pytest.raises(ValueError, match="`lr` must be a number > 0; got 0"):
        check_float("lr", 0, low=0, above=True)
    with pytest.raises(ValueError, match=r"in \(0, 1\]; got 1.5"):
        check_float("lr", 1.5, low=0, high=1, above=True)


def test_a_plugin_that_is_imported_too_is_the_same_definition(tmp_path, monkeypatch):
    path = tmp_path / "twice_loaded.py"
    path.write_text("def derivative(v, slope):\n    return v\n")
    table = {}
    for name in ("twice_loaded", "snn_plugin_twice_loaded"):
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        register(table, "twice", module.derivative)
    assert table["twice"] is module.derivative
