"""The bar that shows how far a solve is."""

import jax
import numpy as np
import pytest

import sciml as sm
from sciml import D

x, k = sm.unknown("x"), sm.parameter("k", 0.5)
MODEL = sm.compile(sm.System(sm.Eq(D(x), -k * x), initial={x: 1}))


@pytest.mark.parametrize(
    "adjoint", ["checkpointed", "direct", "backsolve", "gauss", "forward", "reversible"]
)
def test_it_goes_to_the_end_and_changes_nothing(adjoint, capfd):
    def last(value, progress):
        options = {"adjoint": adjoint, "progress": progress, "saveat": [1.0, 2.0]}
        return sm.solve(MODEL, t=(0, 2), values={k: value}, **options)[x][-1]

    derivative = jax.jacfwd if adjoint == "forward" else jax.grad
    quiet = derivative(lambda value: last(value, False))(0.5)
    assert "%" not in capfd.readouterr().err
    shown = derivative(lambda value: last(value, True))(0.5)
    jax.effects_barrier()
    assert "100.00%" in capfd.readouterr().err
    np.testing.assert_array_equal(shown, quiet)


def test_stiff_solvers_and_many_solves_at_once_have_it_too(capfd):
    sm.solve(MODEL, t=(0, 2), solver="stiff", progress=True)
    several = jax.vmap(
        lambda value: sm.solve(MODEL, t=(0, 2), values={k: value}, progress=True)[x][-1]
    )(np.array([0.5, 1.0]))
    jax.effects_barrier()
    assert capfd.readouterr().err.count("100.00%") >= 2
    np.testing.assert_allclose(several, np.exp([-1.0, -2.0]), rtol=1e-4)
