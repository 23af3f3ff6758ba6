"""Batches from DataFrames and from xarray, and back."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import sciml as sm
from sciml import D
from sciml.data import Series

x, y = sm.unknowns("x y")
LONG = pd.DataFrame(
    {
        "who": ["b", "a", "b", "a", "b"],
        "time": [0.0, 0.5, 1.0, 2.0, 3.0],
        "hare": [1.0, 4.0, np.nan, 5.0, 3.0],
        "lynx": [10, 40, 20, 50, 30],
        "site": ["north", "south", "north", "south", "north"],
    }
)


def test_the_rows_of_a_long_frame_are_sorted_into_series():
    batch = Series.from_pandas(LONG, series="who", label="site")
    assert batch.ids == ("b", "a")
    assert batch.labels == ("north", "south")
    assert batch.channels == ("hare", "lynx")
    assert [times.tolist() for times in batch.times] == [[0, 1, 3], [0.5, 2]]
    np.testing.assert_array_equal(batch["hare"][0], [1, np.nan, 3])


def test_columns_are_chosen_by_name_and_given_to_symbols():
    batch = Series.from_pandas(LONG, series="who", channels=["lynx"], units={"lynx": "pelts"})
    assert (batch.channels, batch.units) == (("lynx",), {"lynx": "pelts"})
    batch = Series.from_pandas(LONG, "time", series="who", channels={x: "hare", y: "lynx"})
    assert batch.channels == (x, y)
    assert batch[y][1].tolist() == [40, 50]


def test_each_frame_can_be_a_series_of_its_own():
    frames = {who: rows.drop(columns=["who", "site"]) for who, rows in LONG.groupby("who")}
    assert Series.from_pandas(frames).ids == ("a", "b")
    assert Series.from_pandas(list(frames.values())).ids == (0, 1)
    assert len(Series.from_pandas(frames["a"])) == 1
    indexed = [rows.set_index("time") for rows in frames.values()]
    assert Series.from_pandas(indexed).times[0].tolist() == [0.5, 2]
    unnamed = [rows.rename_axis(None) for rows in indexed]
    assert Series.from_pandas(unnamed).times[0].tolist() == [0.5, 2]


def test_nullable_columns_keep_their_gaps():
    frame = pd.DataFrame({"t": [0, 1], "x": pd.array([1, None], dtype="Int64")})
    np.testing.assert_array_equal(Series.from_pandas(frame)["x"][0], [1, np.nan])


def test_a_frame_goes_there_and_back():
    batch = Series.from_pandas(LONG, series="who", label="site")
    again = Series.from_pandas(batch.to_pandas(), series="series", label="label")
    assert (again.ids, again.labels, again.channels) == (batch.ids, batch.labels, batch.channels)
    for one, other in zip(again.times + again.values, batch.times + batch.values, strict=True):
        np.testing.assert_array_equal(one, other)


FRAMES = {
    "column": (LONG, {"series": "whom"}, "there is no column 'whom'; the frame has who, time"),
    "index": (
        LONG.set_index("who"),
        {"series": "who"},
        "there is no column 'who'; the frame has time, hare, lynx, site: make a column of it",
    ),
    "text": (LONG, {"series": "who"}, "series 'b': the values of column site hold 'north'"),
    "labels": (
        LONG.assign(site=list("abcde")),
        {"series": "who", "label": "site"},
        "series 'b': column site holds 3 labels ('a', 'c', 'e'): a series has one",
    ),
    "no times": (
        LONG.rename(columns={"time": "day"}),
        {"series": "who", "channels": ["hare"]},
        "series 'b': there are no times: say which column holds them, time='day'",
    ),
    "not sorted": (
        LONG.iloc[::-1],
        {"series": "who", "channels": ["hare"]},
        "series 'b' has times that do not increase",
    ),
    "no id": (
        LONG.assign(who=["a", None, "a", None, "a"]),
        {"series": "who"},
        "column who does not say to which series 2 of the rows belong: drop them",
    ),
    "empty": (LONG.iloc[:0], {"series": "who"}, "there are no series: the frames hold no rows"),
    "list with a column": ([LONG], {"series": "who"}, "concatenate these first"),
    "no frames": ("data.csv", {}, "expected a DataFrame, or several, not str"),
    "one is none": ([LONG, 3], {}, "series 1 is a int, not a DataFrame"),
    "dates": (
        pd.DataFrame({"t": pd.date_range("2020", periods=2), "x": [1, 2]}),
        {},
        "series 0: the values of column t are dates: give numbers",
    ),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_that_hold_no_series_are_refused_with_a_remedy(name):
    frames, options, fault = FRAMES[name]
    with pytest.raises(sm.DataError) as caught:
        Series.from_pandas(frames, **options)
    assert fault in str(caught.value)


def dataset():
    values = np.arange(6.0).reshape(2, 3)
    values[1, 2] = np.nan
    variables = {
        "x": (("run", "t"), values, {"units": "m"}),
        "y": (("t", "run"), 10 * values.T),
        "kind": (("run",), ["a", "b"]),
    }
    return xr.Dataset(variables, coords={"t": ("t", [0, 1, 3], {"units": "s"}), "run": [7, 9]})


def test_a_dataset_is_cut_at_its_padding():
    batch = Series.from_xarray(dataset(), series="run", label="kind", channels=["x", "y"])
    assert batch.ids == (7, 9)
    assert batch.labels == ("a", "b")
    assert batch.lengths.tolist() == [3, 2]
    assert batch.units == {"x": "m", "t": "s"}
    assert batch["y"][1].tolist() == [30, 40]


def test_variables_are_given_to_symbols_and_the_series_are_found():
    batch = Series.from_xarray(dataset()[["x", "y"]], channels={x: "x", y: "y"})
    assert batch.channels == (x, y)
    assert len(batch) == 2


def test_a_dataset_without_further_dimensions_is_one_series():
    batch = Series.from_xarray(dataset()[["x", "y"]].isel(run=0, drop=True))
    assert batch.ids == (0,)
    assert batch["x"][0].tolist() == [0, 1, 2]


def test_names_along_a_dimension_of_an_array_are_channels():
    array = xr.DataArray(
        np.arange(12.0).reshape(2, 3, 2),
        dims=("run", "time", "channel"),
        coords={"time": [0, 1, 2], "channel": ["u", "v"]},
    )
    batch = Series.from_xarray(array)
    assert batch.channels == ("u", "v")
    assert batch["v"][1].tolist() == [7, 9, 11]
    plain = array.isel(channel=0, drop=True).rename("u")
    assert Series.from_xarray(plain).channels == ("u",)


def test_solutions_become_series_element_by_element():
    u = sm.unknown("u", shape=2)
    sol = sm.solve(sm.System(sm.Eq(D(u), -u), initial={u: [1, 2]}), t=(0, 1), saveat=[0, 0.5, 1])
    batch = Series.from_xarray(sol.to_xarray())
    assert batch.channels == ("u[0]", "u[1]")
    np.testing.assert_array_equal(batch.values[0], sol[u])
    assert batch.trajectories()[0]["u[1]"][0] == 2


def test_series_with_times_of_their_own_have_a_coordinate_over_both_dimensions():
    data = xr.Dataset(
        {"x": (("batch_0", "step"), [[1.0, 2.0], [3.0, np.nan]])},
        coords={"t": (("batch_0", "step"), [[0.0, 1.0], [0.5, np.nan]])},
    )
    batch = Series.from_xarray(data)
    assert [times.tolist() for times in batch.times] == [[0, 1], [0.5]]


ARRAYS = {
    "no times": (dataset().drop_vars("t"), {}, "there is no coordinate t or time with the times"),
    "named": (dataset(), {"time": "day"}, "there is no coordinate day with the times"),
    "other shape": (dataset(), {"series": "run"}, "variable kind has no dimension t: choose"),
    "two dimensions": (
        xr.Dataset({"x": (("a", "b", "t"), np.ones((2, 2, 1)))}, coords={"t": [0]}),
        {},
        "the series may be along a or b: name one, series='a', or make one of them, data.stack",
    ),
    "no variable": (dataset(), {"channels": ["z"]}, "there is no variable 'z'; there are x, y"),
    "no array": (LONG, {}, "expected a Dataset or a DataArray of xarray, not DataFrame"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_hold_no_series_are_refused_with_a_remedy(name):
    data, options, fault = ARRAYS[name]
    with pytest.raises(sm.DataError) as caught:
        Series.from_xarray(data, **options)
    assert fault in str(caught.value)
