"""Batches of series: what they are made of, what they refuse, and their parts."""

import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import sciml as sm
from sciml import D, t
from sciml.data import Series

NAN = np.nan
x, y = sm.unknowns("x y", unit="m")


def ragged(**changes):
    """Three series of two channels, 3, 2 and 4 times, 13 of 18 values known."""
    given = {
        "times": [[0, 1, 3], [0.5, 2], [0, 1, 2, 5]],
        "values": [
            [[1, 10], [NAN, 20], [3, 30]],
            [[4, NAN], [5, 50]],
            [[6, 60], [NAN, NAN], [7, 70], [8, NAN]],
        ],
        "channels": "x y",
        "labels": ["b", "a", "b"],
        "ids": ["p1", "p2", "p3"],
    }
    return Series(**(given | changes))


def many(count=40, length=25, seed=0):
    random = np.random.default_rng(seed)
    values = [random.normal(size=(length, 2)) for _ in range(count)]
    return Series(np.arange(length), values, "x y", labels=[n % 4 for n in range(count)])


def test_lengths_missing_labels_and_masks_are_counted():
    batch = ragged()
    assert len(batch) == 3
    assert batch.lengths.tolist() == [3, 2, 4]
    assert batch.missing == pytest.approx(5 / 18)
    assert batch.classes == ("a", "b")
    assert batch.targets.tolist() == [1, 0, 1]
    assert batch.masks[1].tolist() == [[True, False], [True, True]]


def test_one_list_of_times_serves_all_series_and_one_channel_needs_no_axis():
    batch = Series(np.array([0, 1, 2]), np.ones((4, 3)), "x")
    assert len(batch) == 4
    assert batch.values[3].shape == (3, 1)
    assert batch.ids == (0, 1, 2, 3)
    named = Series(
        np.arange(3), np.ones((2, 3)), "x", labels=np.array([4, 2]), ids=jnp.array([7, 8])
    )
    assert (repr(named.labels), repr(named.ids)) == ("(4, 2)", "(7, 8)")


def test_masked_entries_and_none_are_missing():
    masked = np.ma.masked_array([1.0, 2.0], mask=[False, True])
    batch = Series([[0, 1], [0, 1]], [masked, [None, 3]], "x")
    assert np.isnan(batch.values[0][1, 0])
    assert np.isnan(batch.values[1][0, 0])


def test_a_batch_cannot_be_changed():
    values = np.ones((1, 2, 1))
    batch = Series([[0, 1]], values, "x")
    values[:] = 7
    assert batch.values[0][0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        batch.values[0][0, 0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.ids = ()


def test_numbers_slices_lists_and_masks_make_smaller_batches():
    batch = ragged()
    assert batch[-1].ids == ("p3",)
    assert batch[1:].ids == ("p2", "p3")
    assert batch[[2, 0]].labels == ("b", "b")
    assert batch[np.array([False, True, False])].lengths.tolist() == [2]
    assert [one.ids[0] for one in batch] == ["p1", "p2", "p3"]
    with pytest.raises(sm.DataError, match="no series 3: it holds 3"):
        batch[3]
    with pytest.raises(sm.DataError, match="there are no series"):
        batch[3:]


def test_a_channel_is_found_by_name_and_by_symbol():
    for batch in (ragged(), ragged(channels=[x, y])):
        for key in ("y", y):
            assert [column.tolist()[0] for column in batch[key]][::2] == [10, 60]
    with pytest.raises(sm.DataError, match="'why' is no channel of these series; they have x, y"):
        ragged()["why"]


def test_select_keeps_channels_in_the_order_asked_for():
    batch = ragged(units={"x": "m", "t": "s"}).select("y", "x")
    assert batch.channels == ("y", "x")
    assert batch.values[0][0].tolist() == [10, 1]
    assert batch.select("y").units == {"t": "s"}
    with pytest.raises(sm.DataError, match="series 'p2' has no value of y: all are missing"):
        ragged()[1].drop(0, key=0).select("y").between(0, 1)


def test_units_of_symbols_are_known_and_strange_ones_refused():
    assert ragged(channels=[x, y]).units == {"x": "m", "y": "m"}
    assert ragged(channels=[x, y], units={x: "km", t: "s"}).units == {"x": "km", "y": "m", "t": "s"}
    with pytest.raises(sm.DataError, match="a unit is given for z, which is no channel"):
        ragged(units={"z": "m"})


FAULTS = {
    "late": (
        {"times": [[0, 3, 1], [0.5, 2], [0, 1, 2, 5]]},
        "series 'p1' has times that do not increase: row 2 has 1 after 3; sort them",
    ),
    "twice": (
        {"times": [[0, 1, 3], [2, 2], [0, 1, 2, 5]]},
        "series 'p2' has the time 2 twice, in rows 0 and 1: average",
    ),
    "no time": (
        {"times": [[0, 1, 3], [0.5, NAN], [0, 1, 2, 5]]},
        "series 'p2' has no finite time in row 1: drop the rows without one",
    ),
    "several": (
        {"times": [[0, 3, 1], [2, 2], [0, 1, 2, 5]]},
        "2 series are at fault\n  series 'p1' has times that do not increase",
    ),
    "no value": (
        {"times": [[0], [0], [0]], "values": [[[1, 2]], [[NAN, NAN]], [[1, 2]]]},
        "series 'p2' has no value of x, y: all are missing; leave it out",
    ),
    "infinite": (
        {"times": [[0], [0], [0]], "values": [[[1, 2]], [[1, np.inf]], [[1, 2]]]},
        "series 'p2' has an infinite y in row 0: use NaN",
    ),
    "ragged channels": (
        {"times": [[0], [0], [0]], "values": [[[1, 2]], [[1]], [[1, 2]]]},
        "series 'p2' has 1 columns for 2 channels (x, y): give a column of NaN",
    ),
    "lengths": (
        {"times": [[0, 1], [0], [0]], "values": [[[1, 2]], [[1, 2]], [[1, 2]]]},
        "series 'p1' has 2 times and 1 rows of values",
    ),
    "empty series": (
        {"times": [[0], [], [0]], "values": [[[1, 2]], np.ones((0, 2)), [[1, 2]]]},
        "series 'p2' is empty: leave it out",
    ),
    "empty": ({"times": [], "values": [], "ids": []}, "there are no series"),
    "text": (
        {"times": [[0], [0], [0]], "values": [[[1, 2]], [["a", "2"]], [[1, 2]]]},
        "series 'p2': its values hold 'a', which is no real number",
    ),
    "complex": (
        {"times": [[0], [0], [0]], "values": [[[1, 2]], [[1j, 2]], [[1, 2]]]},
        "series 'p2': its values hold 1j, which is no real number",
    ),
    "dates": (
        {"times": [np.array(["2020-01-01"], "M8[D]")] * 3, "values": [[[1, 2]]] * 3},
        "series 'p1': its times are dates: give numbers in a unit of your own",
    ),
    "counts": ({"ids": ["p1"]}, "there are times of 3 series, values of 3 and 1 ids"),
    "no label": ({"labels": ["a", None, "b"]}, "series 'p2' has no label: leave it out"),
    "mixed labels": ({"labels": ["a", 1, "b"]}, "labels are all numbers, or all names"),
    "classes": ({"labels": list("abc"), "classes": "ab"}, "the label 'c' is none of the classes"),
    "labels": ({"labels": ["a"]}, "there are 1 labels for 3 series"),
    "channels": ({"channels": ["x", 2]}, "a channel is a symbol, an expression or a name, not 2"),
    "channel twice": ({"channels": "x x"}, "two channels are called x"),
    "channel t": ({"channels": "x t"}, "a channel cannot be called t"),
    "no channels": ({"channels": ""}, "the series have no channels"),
    "shape": (
        {"times": [[0]] * 3, "values": np.ones((3, 1, 2, 2))},
        "series 'p1' has values of shape (1, 2, 2), not (time, channel)",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_batch_is_refused_by_name_with_a_remedy(name):
    changes, fault = FAULTS[name]
    with pytest.raises(sm.DataError) as caught:
        ragged(**{"labels": None, **changes})
    assert fault in str(caught.value)


def test_of_many_faults_five_are_listed():
    with pytest.raises(sm.DataError, match="9 series are at fault") as caught:
        Series([[1, 0]] * 9, [[1, 2]] * 9, "x")
    assert str(caught.value).count("sort them") == 5
    assert "... and 4 more" in str(caught.value)


def test_a_part_of_a_batch_counts_the_classes_of_the_whole():
    batch = ragged()
    assert batch[2:].targets.tolist() == [1]
    assert batch[2:].classes == ("a", "b")
    with pytest.raises(sm.DataError, match="the series have no labels"):
        ragged(labels=None).targets


def test_between_keeps_the_times_from_one_to_another():
    batch = ragged().between(0.5, 2)
    assert [times.tolist() for times in batch.times] == [[1], [0.5, 2], [1, 2]]
    with pytest.raises(sm.DataError, match="nothing would be left of series 'p2'"):
        ragged().between(2.5, 9)


def test_windows_are_every_stretch_of_a_series():
    batch = Series([np.arange(7), np.arange(2)], [np.arange(7), np.arange(2)], "x", labels=[0, 1])
    cut = batch.windows(3, stride=2)
    assert cut.ids == ((0, 0), (0, 2), (0, 4))
    assert [one.tolist() for one in cut["x"]] == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert cut.labels == (0, 0, 0)
    with pytest.raises(sm.DataError, match="no series has 8 times: the longest has 7"):
        batch.windows(8)


def test_the_parts_of_a_split_are_all_of_the_batch_and_share_nothing():
    parts = many().split((0.7, 0.2, 0.1), key=jax.random.key(1))
    assert [len(part) for part in parts] == [28, 8, 4]
    assert sorted(who for part in parts for who in part.ids) == list(range(40))
    again = many().split((0.7, 0.2, 0.1), key=jax.random.key(1))
    other = many().split((0.7, 0.2, 0.1), key=jax.random.key(2))
    assert [part.ids for part in parts] == [part.ids for part in again]
    assert [part.ids for part in parts] != [part.ids for part in other]


def test_a_stratified_split_gives_each_label_its_share():
    for part, share in zip(many().split((0.7, 0.3), key=3, stratify=True), (7, 3), strict=True):
        assert np.bincount(part.targets).tolist() == [share] * 4


def test_shares_that_leave_a_part_empty_or_do_not_add_up_are_refused():
    with pytest.raises(sm.DataError, match="add up to 1"):
        many().split((0.5, 0.4), key=0)
    with pytest.raises(sm.DataError, match="a share of 0.01 of 40 series is none of them"):
        many().split((0.99, 0.01), key=0)
    with pytest.raises(sm.DataError, match="key is a jax.random.key"):
        many().split((0.5, 0.5), key="seed")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7])
def test_just_the_share_of_each_series_is_dropped(share):
    batch = many().drop(share, key=jax.random.key(0))
    assert [int(np.isnan(one).sum()) for one in batch.values] == [round(share * 50)] * 40
    kept = np.concatenate(batch.masks)
    before = np.concatenate(many().values)
    np.testing.assert_array_equal(np.concatenate(batch.values)[kept], before[kept])


def test_what_is_missing_at_a_share_is_missing_at_a_larger_one():
    few, most = (np.concatenate(many().drop(share, key=5).masks) for share in (0.3, 0.7))
    assert np.all(most <= few)


def test_whole_times_can_be_dropped_and_one_value_is_always_left():
    batch = many().drop(0.4, key=0, rows=True)
    assert batch.lengths.tolist() == [15] * 40
    assert batch.missing == 0
    assert ragged().drop(0.99, key=0).masks[1].sum() == 1
    assert ragged().drop(0.99, key=0, rows=True).lengths.tolist() == [1, 1, 2]  # one has no value
    with pytest.raises(sm.DataError, match=r"the share to drop is in \[0, 1\)"):
        ragged().drop(1.0, key=0)


def test_padding_repeats_the_last_time_and_masks_what_is_missing():
    times, values, mask = ragged().padded(5, fill=-1.0)
    assert times.tolist() == [[0, 1, 3, 3, 3], [0.5, 2, 2, 2, 2], [0, 1, 2, 5, 5]]
    assert values[1].tolist() == [[4, -1], [5, 50], [-1, -1], [-1, -1], [-1, -1]]
    assert mask.sum() == 13
    assert bool(jnp.all((values != -1) == mask))
    assert ragged().padded().lengths.tolist() == [3, 2, 4]
    with pytest.raises(sm.DataError, match="series 'p3' has 4 times, which do not fit into 3"):
        ragged().padded(3)


def test_a_padded_batch_goes_through_jit_once_for_each_length():
    traced = []

    @jax.jit
    def masked_mean(batch):
        traced.append(batch.times.shape)
        return jnp.mean(batch.values, axis=1, where=batch.mask)

    means = masked_mean(ragged().padded(5))
    expected = [np.nanmean(one, axis=0) for one in ragged().values]
    np.testing.assert_allclose(means, np.stack(expected), rtol=1e-15)
    masked_mean(ragged().drop(0.3, key=0).padded(5))
    assert traced == [(3, 5)]


def test_times_that_are_one_number_in_single_precision_are_refused():
    batch = Series([[1e8, 1e8 + 1]], [[1, 2]], "x", ids=["late"])
    batch.padded()
    with (
        jax.enable_x64(False),
        pytest.raises(sm.DataError, match="series 'late' .* one number in float32: count from"),
    ):
        batch.padded()


@pytest.mark.parametrize("channels", ["x y", [x, y]])
def test_fit_takes_a_batch_with_gaps_as_it_is(channels):
    k = sm.parameter("k", guess=1.0)
    decay = sm.System(sm.Eq(D(x), -k * x), sm.Eq(D(y), k * x))
    starts, moments = (2.0, 3.0), (np.array([0, 0.5, 2, 3]), np.array([0, 0.7, 1.5]))
    values = [
        np.stack([a * np.exp(-0.6 * s), a * (1 - np.exp(-0.6 * s))], axis=1)
        for a, s in zip(starts, moments, strict=True)
    ]
    batch = Series(moments, values, channels).drop(0.3, key=4)
    assert batch.missing > 0.25
    fitted = sm.fit(decay, batch, key=jax.random.key(0), steps=200, progress=False)
    assert float(fitted[k]) == pytest.approx(0.6, rel=1e-4)
    checked = sm.fit(
        decay, batch[0], key=jax.random.key(0), validation=batch[1], steps=2, progress=False
    )
    assert np.isfinite(checked.validation_loss)
    same = sm.fit(decay, batch.trajectories(), key=jax.random.key(0), steps=200, progress=False)
    assert float(same[k]) == float(fitted[k])


def test_a_batch_is_shown_with_its_channels_and_what_is_missing():
    batch = ragged(units={"x": "<m>", "t": "s"}, source="a book")
    shown = batch._repr_mimebundle_()
    assert shown["text/plain"] == str(batch)
    assert "Series: 3 of 2 channels, 2 to 4 times, t = 0 to 5 s, 27.8 % missing; 2 classes" in str(
        batch
    )
    row = next(line for line in str(batch).splitlines() if line.startswith("x"))
    assert row.split() == ["x", "<m>", "7", "22.2", "%", "1", "4.857", "8"]
    assert "source: a book" in str(batch)
    assert "&lt;m&gt;" in shown["text/html"]


def test_channels_are_drawn_in_their_colours_and_labels_in_theirs():
    batch = ragged(units={"x": "m", "y": "m", "t": "s"})
    ax = sm.plot(batch)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["x", "y"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("t (s)", "m")
    first = ax.get_lines()[0]
    assert first.get_xdata().tolist() == [0, 3]  # joined across the gap
    ax = batch.plot("x")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["b", "a"]
    colours = [line.get_color() for line in ax.get_lines()]
    assert colours[0] == colours[2] != colours[1]
    given = plt.subplots()[1]
    assert many(100).plot("x", ax=given) is given
    assert len(given.get_lines()) == 60
    assert given.get_title() == "60 of 100 series"
    plt.close("all")
