"""Pictures of solutions: the right lines over the right times."""

from __future__ import annotations

import sys

import equinox as eqx
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import sciml as sm
from sciml import D

x, y = sm.unknown("x", unit="mol"), sm.unknown("y", unit="mol")
u, k = sm.unknown("u", shape=2), sm.parameter("k", 0.5)
SYSTEM = sm.System(
    sm.Eq(D(x), -k * x),
    sm.Eq(D(y), k * x),
    sm.Eq(D(u), -u),
    initial={x: 1, y: 0, u: [1, 2]},
)


@pytest.fixture(scope="module")
def sol():
    return sm.solve(SYSTEM, t=(0, 4))


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def labels(ax):
    return [line.get_label() for line in ax.get_lines()]


def test_every_unknown_is_drawn_if_none_is_named(sol):
    assert labels(sol.plot()) == ["x", "y", "u[0]", "u[1]"]


def test_named_expressions_are_drawn_as_smooth_curves(sol):
    ax = sol.plot(x + y, "x", k)
    assert labels(ax) == ["x + y", "x", "k"]
    total, curve, parameter = ax.get_lines()
    np.testing.assert_allclose(total.get_ydata(), 1, rtol=1e-6)
    np.testing.assert_allclose(curve.get_ydata(), np.exp(-0.5 * curve.get_xdata()), rtol=1e-4)
    np.testing.assert_allclose(parameter.get_ydata(), 0.5)
    assert curve.get_xdata()[[0, -1]].tolist() == [0, 4]
    assert len(curve.get_xdata()) > 201


def test_axes_are_labelled_with_time_and_the_common_unit(sol):
    ax = sol.plot(x, y)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("t", "mol")
    assert sol.plot(x, u).get_ylabel() == ""


def test_given_axes_are_drawn_on_and_returned(sol):
    ax = plt.figure().subplots()
    assert sol.plot(x, ax=ax) is ax
    assert sol.plot(y, ax=ax) is ax
    assert labels(ax) == ["x", "y"]


def test_without_dense_output_the_saved_points_are_joined():
    sol = sm.solve(SYSTEM, t=(0, 4), saveat=[0.0, 1.0, 4.0])
    (line,) = sol.plot(x).get_lines()
    np.testing.assert_allclose(line.get_xdata(), [0, 1, 4])
    np.testing.assert_allclose(line.get_ydata(), np.exp([0, -0.5, -2]), rtol=1e-5)


def test_a_batch_is_drawn_in_one_colour_for_each_expression():
    solve = lambda rate: sm.solve(SYSTEM, t=(0, 4), values={k: rate})
    ax = eqx.filter_vmap(solve)(jnp.array([0.5, 1.0, 2.0])).plot(x, y)
    lines = ax.get_lines()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["x", "y"]
    assert len({line.get_color() for line in lines[:3]}) == 1
    assert lines[0].get_color() != lines[3].get_color()
    for line, rate in zip(lines[:3], (0.5, 1.0, 2.0), strict=True):
        np.testing.assert_allclose(line.get_ydata()[-1], np.exp(-4 * rate), rtol=1e-3)


def test_without_matplotlib_the_extra_is_named(sol, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(sm.SciMLError, match=r"pip install 'sciml-jax\[plot\]'"):
        sol.plot()
