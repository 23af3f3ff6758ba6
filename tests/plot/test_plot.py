"""The verb `plot`."""

import inspect

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

import sciml as sm
from sciml import D, t

x, y = sm.unknowns("x y", unit="m")
k = sm.parameter("k", guess=1.0, unit="1/s")
u = sm.unknown("u", shape=3)
model = sm.compile(
    sm.System(sm.Eq(D(x), -k * x), sm.Eq(D(y), k * x), sm.Eq(D(u), -u), initial={x: 1, y: 0, u: 1})
)
solution = sm.solve(model, t=(0, 2), values={k: 0.5})


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_every_unknown_is_drawn_if_none_is_named():
    lines = sm.plot(solution).get_lines()
    assert [line.get_label() for line in lines] == ["x", "y", "u[0]", "u[1]", "u[2]"]


def test_an_expression_is_drawn_with_its_values_and_its_text_as_label():
    (line,) = sm.plot(solution, x + y).get_lines()
    assert line.get_label() == "x + y"
    np.testing.assert_allclose(line.get_ydata(), 1.0, rtol=1e-6)


def test_a_common_unit_is_on_the_axis_and_a_mixture_is_not():
    assert sm.plot(solution, x, y).get_ylabel() == "m"
    assert sm.plot(solution, x, u).get_ylabel() == ""


def test_given_axes_are_drawn_in():
    axes = plt.subplots()[1]
    assert sm.plot(solution, x, ax=axes) is axes


def test_a_fit_is_drawn_with_its_measurements():
    data = {t: [0.0, 1.0, 2.0], x: [1.0, 0.61, 0.37]}
    fitted = sm.fit(model, data, key=jax.random.key(0), steps=2, polish=None, progress=False)
    curve, points, held_out = sm.plot(fitted).get_lines()
    assert curve.get_label() == "x"
    np.testing.assert_allclose(points.get_xdata(), data[t])
    assert not len(held_out.get_xdata())
    with pytest.raises(sm.DeclarationError, match="fitted.solve"):
        sm.plot(fitted, x)


def test_what_is_neither_a_solution_nor_a_fit_is_refused_with_a_cure():
    with pytest.raises(sm.DeclarationError, match="not System: solve the model first"):
        inspect.unwrap(sm.plot)(model.system)  # beartype, which is here in tests only, refuses it
