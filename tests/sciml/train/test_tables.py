"""Claims about data: every accepted form says the same, every other is refused with a cure."""

import numpy as np
import pandas as pd
import pytest

import sciml as sm
from sciml import D, t
from sciml.train._data import read_data

x, y = sm.unknowns("x y")
u = sm.unknown("u", shape=2)
k = sm.parameter("k", 0.5)
TIMES = np.linspace(0.0, 3.0, 7)
X, Y = np.exp(-0.5 * TIMES), np.sin(TIMES)
U = np.stack([X, Y], axis=1)


@pytest.fixture(scope="module")
def model():
    equations = sm.Eq(D(x), -k * x), sm.Eq(D(y), x - y), sm.Eq(D(u), -u)
    return sm.compile(sm.System(*equations, initial={x: 1, y: 0, u: [1, 0]}))


FORMS = {
    "mapping by symbol": {t: TIMES, x: X, y: Y},
    "mapping by name": {"t": list(TIMES), "x": list(X), "y": Y},
    "time by its other name": {"time": TIMES, "x": X, y: Y},
    "frame with a column of times": pd.DataFrame({"t": TIMES, "x": X, "y": Y}),
    "frame keyed by symbols": pd.DataFrame({t: TIMES, x: X, y: Y}),
    "frame with times as named index": pd.DataFrame(
        {"x": X, "y": Y}, index=pd.Index(TIMES, name="time")
    ),
    "frame with times as index": pd.DataFrame({"x": X, "y": Y}, index=TIMES),
    "list of one trajectory": [{t: TIMES, x: X, y: Y}],
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_a_table_are_read_alike(model, form):
    data = read_data(model, FORMS[form])
    np.testing.assert_array_equal(data.times, TIMES[None])
    np.testing.assert_array_equal(data.observed["x"], X[None])
    np.testing.assert_array_equal(data.observed["y"], Y[None])
    assert data.count == 14


def test_a_solved_table_can_be_fitted_to(model):
    frame = sm.solve(model, (0, 3), saveat=TIMES).to_pandas()
    data = read_data(model, frame)
    assert set(data.expressions) == {"x", "y", "u[0]", "u[1]"}
    np.testing.assert_array_equal(data.observed["u[0]"][0], frame["u[0]"])


def test_expressions_elements_and_arrays_are_columns(model):
    columns = {t: TIMES, x + y: X + Y, u[0]: X, "u[1]": Y, u: U, D(y): X - Y}
    data = read_data(model, columns)
    assert list(data.expressions) == ["x + y", "u[0]", "u[1]", "u", "D(y)"]
    assert data.observed["u"].shape == (1, 7, 2)


MISSING = {
    "NaN": np.where(TIMES > 2, np.nan, X),
    "None": [None if s > 2 else v for s, v in zip(TIMES, X, strict=True)],
    "masked": np.ma.masked_where(TIMES > 2, X),
    "pandas": pd.Series(np.where(TIMES > 2, np.nan, X)).convert_dtypes(),
}


@pytest.mark.parametrize("form", MISSING)
def test_missing_entries_are_not_counted(model, form):
    data = read_data(model, {t: TIMES, x: MISSING[form]})
    assert data.count == 5
    np.testing.assert_array_equal(np.isnan(data.observed["x"][0]), TIMES > 2)


def test_trajectories_may_differ_in_times_and_columns(model):
    data = read_data(model, [{t: TIMES, u: U, x: X}, {t: TIMES[:3] + 1, x: X[:3]}])
    assert data.count == 14 + 7 + 3
    assert data.observed["u"].shape == (2, 7, 2)
    assert np.all(np.isnan(data.observed["u"][1]))
    np.testing.assert_array_equal(data.lengths, [7, 3])
    np.testing.assert_array_equal(data.starts, [0, 1])
    np.testing.assert_array_equal(data.times[1, 2:], TIMES[2] + 1)
    assert not data.training[1, 3:].any()


def test_a_fraction_holds_out_the_end_of_each_trajectory(model):
    data = read_data(model, [{t: TIMES, x: X}, {t: TIMES[:4], x: X[:4]}], 0.4)
    np.testing.assert_array_equal(data.validation[0], TIMES > 3 - 1.2)
    np.testing.assert_array_equal(data.validation[1], [False, False, True, True] + [False] * 3)
    np.testing.assert_array_equal(data.training[0], TIMES <= 1.8)


def test_further_data_are_held_out(model):
    data = read_data(model, {t: TIMES, x: X}, {t: TIMES, y: Y})
    assert data.count == 7
    np.testing.assert_array_equal(data.validation, [[False] * 7, [True] * 7])


def test_initial_values_may_hold_before_the_first_measurement(model):
    data = read_data(model, [{t: TIMES + 1, x: X}, {t: [5.0], x: [2.0]}], None, [0, 4])
    np.testing.assert_array_equal(data.starts, [0, 4])


REFUSED = {
    "no table": (
        "data.csv",
        "a mapping .*, a DataFrame, a Dataset of xarray, or a list of these, not str",
    ),
    "no trajectory": ([], "not an empty list"),
    "a bare array": (X, "not ndarray"),
    "a list of arrays": ([X], "a trajectory is a mapping or a DataFrame, not ndarray"),
    "no times": ({x: X}, "no times: add a column t"),
    "rows counted, not timed": (pd.DataFrame({"x": X}), "no times"),
    "two columns of times": ({"t": TIMES, "time": TIMES, x: X}, "given twice"),
    "no measurement": ({t: TIMES}, "no measured column"),
    "nothing finite": ({t: TIMES, x: np.nan * X}, "no finite value"),
    "infinite values": ({t: TIMES, x: [*X[:-1], np.inf]}, "column x holds infinite values"),
    "too short": ({t: TIMES, x: X[:3]}, "column x has 3 rows, the times have 7"),
    "a number": ({t: TIMES, x: 1.0}, "column x is one number"),
    "words": ({t: TIMES, "x": ["a"] * 7}, "column x: its values are not all numbers"),
    "ragged": ({t: TIMES, "x": [[1], [1, 2]] * 3}, "not all numbers"),
    "complex": ({t: TIMES, x: X + 1j}, "column x holds complex128: give real numbers"),
    "dates": ({t: pd.date_range("1900", periods=7), x: X}, "column t holds datetime64.* unit"),
    "a misspelt name": ({t: TIMES, "kk": X}, "column 'kk' is no symbol.*did you mean k?"),
    "an unrelated name": ({t: TIMES, "weight": X}, "which has .*; drop it, or key it by"),
    "an undeclared symbol": (
        {t: TIMES, x + sm.unknown("z"): X},
        r"column x \+ z: z is not a declared symbol",
    ),
    "another symbol of that name": (
        {t: TIMES, sm.unknown("x", unit="m"): X},
        "another x: key the column by name, 'x'",
    ),
    "a number as key": ({t: TIMES, 0: X}, "column 0 is keyed by neither"),
    "a tuple as key": ({t: TIMES, (x, y): U}, "is keyed by neither a symbol nor a name"),
    "one quantity twice": ({t: TIMES, x: X, "x": X}, "column x is given twice"),
    "two columns of a name": (
        pd.DataFrame(np.stack([TIMES, X, X], axis=1), columns=["t", "x", "x"]),
        "two columns have the same name",
    ),
    "a matrix for a scalar": ({t: TIMES, x: U}, r"column x has shape \(7, 2\).*have \(7,\)"),
    "a vector for an array": ({t: TIMES, u: X}, r"column u has shape \(7,\).*have \(7, 2\)"),
    "an element that is not there": ({t: TIMES, "u[2]": X}, r"column 'u\[2\]'.* outside the shape"),
    "times in reverse": ({t: TIMES[::-1], x: X}, "must increase: row 1 .*sort the rows"),
    "repeated times": ({t: [0, 1, 1, 2, 3, 4, 5], x: X}, "row 2 has 1 after 1; average"),
    "a missing time": ({t: [*TIMES[:-1], np.nan], x: X}, "the times must be finite"),
    "one time": ({t: [0.0], x: [1.0]}, "too few times to fit to: 1"),
    "a table of times": ({t: np.stack([TIMES, TIMES], axis=1), x: X}, "the times are a list"),
    "a bad second trajectory": (
        [{t: TIMES, x: X}, {t: TIMES[::-1], x: X}],
        "data, trajectory 1: the times must increase",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_such_table_is_refused(model, case):
    data, message = REFUSED[case]
    with pytest.raises(sm.DataError, match=message):
        read_data(model, data)


def test_times_that_single_precision_cannot_tell_apart_are_refused(model):
    single = sm.compile(model.system, dtype=np.float32)
    with pytest.raises(sm.DataError, match="one number in float32: count from a later origin"):
        read_data(single, {t: 1e9 + TIMES, x: X})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 1.0}, "validation is a fraction in"),
        ({"validation": -0.1}, "validation is a fraction in"),
        ({"validation": "last"}, "validation is a mapping"),
        ({"t0": 1.0}, "t0 = 1 is after the first time, 0"),
        ({"t0": np.nan}, "t0 = nan is after the first time"),
        ({"t0": [0, 0]}, "t0 has 2 entries for 1 trajectories"),
        ({"t0": "start"}, "t0 is a number, or one for each"),
    ],
)
def test_options_that_do_not_fit_the_data_are_refused(model, options, message):
    with pytest.raises(sm.DataError, match=message):
        read_data(model, {t: TIMES, x: X}, **options)
