"""Scaling: fitted to the training part, and undone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml.data import Scaling, Series

x, y = sm.unknowns("x y", unit="m")


def batch(seed=0, channels=(x, y), offset=0.0):
    random = np.random.default_rng(seed)
    values = [np.exp(random.normal(size=(n, 2)) * [1, 0.3] + 2) + offset for n in (7, 4, 9)]
    return Series([np.arange(len(one)) for one in values], values, channels, units={"t": "s"})


@pytest.mark.parametrize("kind", ["standard", "minmax", "log", "none", {"x": "log", y: "minmax"}])
def test_undo_is_the_inverse_of_apply_on_series_and_on_arrays(kind):
    train, test = batch(0).drop(0.3, key=0), batch(1).drop(0.3, key=1)
    scale = Scaling.fit(train, kind)
    back = scale.undo(scale.apply(test))
    assert back.units == test.units == {"x": "m", "y": "m", "t": "s"}
    for one, other in zip(back.values, test.values, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14)
    values = test.padded(fill=1.0).values
    for array in (values, np.asarray(values)):
        there = scale.apply(array)
        assert type(there) is type(array)
        np.testing.assert_allclose(scale.undo(there), array, rtol=1e-14)


def test_scaled_series_have_the_moments_that_their_kind_says():
    train = batch()
    every = lambda kind: np.concatenate(Scaling.fit(train, kind).apply(train).values)
    np.testing.assert_allclose(every("standard").mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(every("standard").std(axis=0), 1, rtol=1e-14)
    np.testing.assert_allclose(every("minmax").min(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(every("minmax").max(axis=0), 1, rtol=1e-15)
    logs = np.log(np.concatenate(train.values))
    np.testing.assert_allclose(every("log"), (logs - logs.mean(0)) / logs.std(0), rtol=1e-13)
    np.testing.assert_array_equal(every("none"), np.concatenate(train.values))


def test_only_the_series_of_the_fit_matter():
    train, test = batch(0), batch(1, offset=100.0)
    scaled = Scaling.fit(train).apply(test)
    column = np.concatenate(train["x"])
    expected = (test["x"][0] - column.mean()) / column.std()
    np.testing.assert_allclose(scaled["x"][0], expected, rtol=1e-14)
    assert scaled.units == {"x": "", "y": "", "t": "s"}  # of order one, not metres


def test_missing_values_are_not_counted_and_stay_missing():
    gaps = Series([[0, 1, 2]], [[1, np.nan, 3]], "x")
    scale = Scaling.fit(gaps)
    assert (scale.shift.tolist(), scale.scale.tolist()) == ([2.0], [1.0])
    np.testing.assert_array_equal(scale.apply(gaps)["x"][0], [-1, np.nan, 1])


def test_one_channel_of_a_result_is_undone_by_its_name():
    scale = Scaling.fit(batch(), {"x": "log"})
    column = np.array([[0.5, 1.0]])
    whole = np.stack([column, 0 * column], axis=-1)
    np.testing.assert_allclose(scale.undo(column, "x"), scale.undo(whole)[..., 0], rtol=1e-15)
    assert float(scale.undo(jnp.asarray(0.5), x)) == pytest.approx(scale.undo(whole)[0, 0, 0])


def test_some_channels_in_another_order_are_scaled_as_before():
    scale = Scaling.fit(batch())
    swapped = scale.apply(batch().select("y", "x"))
    np.testing.assert_array_equal(swapped["x"][1], scale.apply(batch())["x"][1])
    np.testing.assert_allclose(scale.undo(swapped)["y"][2], batch()["y"][2], rtol=1e-14)


def test_it_goes_through_jit_and_grad_and_keeps_single_precision():
    scale = Scaling.fit(batch(), {"x": "log"})
    values = batch().padded(fill=1.0).values
    there = eqx.filter_jit(lambda s, v: s.apply(v))(scale, values)
    np.testing.assert_allclose(there, scale.apply(values), rtol=1e-13)
    np.testing.assert_allclose(
        jax.jit(lambda s: s.undo(s.apply(values)))(scale), values, rtol=1e-13
    )
    shown = []
    jax.make_jaxpr(lambda s: shown.append(str(s)))(scale)
    assert shown == ["Scaling of x, y, traced"]
    slope = jax.grad(lambda v: jnp.sum(scale.undo(v)))(jnp.zeros((1, 2)))
    assert np.all(np.isfinite(slope))
    np.testing.assert_allclose(slope[0, 1], scale.scale[1], rtol=1e-14)
    assert scale.apply(values.astype(jnp.float32)).dtype == jnp.float32


def test_a_channel_that_never_changes_is_shifted_alone():
    flat = Series([[0, 1]], [[5, 5]], "x")
    for kind in ("standard", "minmax", "log"):
        scale = Scaling.fit(flat, kind)
        assert scale.apply(flat)["x"][0].tolist() == [0, 0]
        np.testing.assert_allclose(scale.undo(scale.apply(flat))["x"][0], 5, rtol=1e-15)


def test_what_cannot_be_scaled_is_refused_by_channel_and_series():
    cold = Series([[0, 1], [0, 1]], [[1, 2], [3, -1]], "x", ids=["a", "b"])
    with pytest.raises(sm.DataError, match="series 'b' has x = -1 in row 1, which has no logarith"):
        Scaling.fit(cold, "log")
    with pytest.raises(sm.DataError, match="series 'b' has x = -1"):
        Scaling.fit(cold[0], "log").apply(cold)
    absent = Series([[0, 1]], [[[1, np.nan], [2, np.nan]]], "x y")
    with pytest.raises(sm.DataError, match="no series has a value of y to scale by: leave"):
        Scaling.fit(absent)
    with pytest.raises(sm.DataError, match="one of standard, minmax, log, none, not 'robust'"):
        Scaling.fit(cold, "robust")
    scale = Scaling.fit(batch())
    with pytest.raises(sm.DataError, match=r"array of shape \(3,\) is not that of the 2 channels"):
        scale.undo(np.ones(3))
    with pytest.raises(sm.DataError, match="'z' is no channel"):
        scale.undo(np.ones(3), "z")
    with pytest.raises(sm.DataError, match="series know their channels"):
        scale.apply(batch(), "x")


def test_a_scaling_is_shown_as_a_table():
    scale = Scaling.fit(Series([[0, 1]], [[10, 30]], "x", units={"x": "m"}), "minmax")
    assert str(scale).splitlines()[-1].split() == ["x", "minmax", "10", "20", "m"]
    assert "<td>minmax</td>" in scale._repr_mimebundle_()["text/html"]
