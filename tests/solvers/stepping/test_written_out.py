"""Methods of Diffrax with their stages written out take the steps that Diffrax takes."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml import D
from sciml.solvers.stepping._written_out import WrittenOut, written_out

x, y = sm.unknowns("x y")
a, b, c, d = sm.parameters("a b c d")
PREY = sm.System(
    sm.Eq(D(x), a * x - b * x * y), sm.Eq(D(y), d * x * y - c * y),
    initial={x: 1, y: 1}, values={a: 1.5, b: 1, c: 3, d: 1},
)  # fmt: skip
CONTROL = dfx.PIDController(rtol=1e-8, atol=1e-8)
ADAPTIVE = [dfx.Bosh3(), dfx.Dopri5(), dfx.Dopri8(), dfx.Tsit5()]
CONSTANT = [dfx.Heun(), dfx.Midpoint(), dfx.Ralston()]


def name(solver):
    return type(solver).__name__


def by_diffrax(solver, control, dt0, saveat):
    model = sm.compile(PREY)
    term = dfx.ODETerm(model.vector_field)
    return dfx.diffeqsolve(
        term, solver, 0.0, 3.0, dt0, model.state(), saveat=saveat, stepsize_controller=control
    )


@pytest.mark.parametrize("solver", ADAPTIVE + CONSTANT, ids=name)
def test_steps_and_dense_output_are_those_of_diffrax(solver):
    adaptive = solver in ADAPTIVE
    control, dt0 = (CONTROL, None) if adaptive else (dfx.ConstantStepSize(), 0.01)
    saveat = dfx.SaveAt(ts=jnp.linspace(0, 3, 7), dense=True)
    theirs = by_diffrax(solver, control, dt0, saveat)
    ours = sm.solve(
        PREY, t=(0, 3), dt0=dt0, solver=solver, stepsize_controller=control, saveat=saveat
    )
    assert ours.stats["num_steps"] == theirs.stats["num_steps"]
    assert ours.stats["num_rejected_steps"] == theirs.stats["num_rejected_steps"]
    assert np.asarray(ours.ys) == pytest.approx(np.asarray(theirs.ys), rel=1e-11)
    assert np.asarray(ours(1.234)[x]) == pytest.approx(float(theirs.evaluate(1.234)[0]), rel=1e-11)


def taken(solver, **options):
    usual = {"size": 2, "controller": CONTROL, "adjoint": dfx.RecursiveCheckpointAdjoint()}
    return isinstance(written_out(solver, **{**usual, **options}), WrittenOut)


def test_what_looks_into_steps_and_large_states_keep_diffraxs_own():
    assert taken(dfx.Tsit5())
    assert not taken(dfx.Tsit5(), size=1000)
    assert not taken(dfx.Tsit5(), adjoint=dfx.BacksolveAdjoint())
    assert not taken(dfx.Tsit5(), controller=dfx.ClipStepSizeController(CONTROL, jump_ts=[1.0]))
    assert not taken(dfx.Kvaerno5())
    assert not taken(dfx.Tsit5(scan_kind="lax"))


def test_many_solves_at_once_are_those_one_by_one():
    rates = jnp.asarray([1.2, 1.5, 1.8])

    def end(value):
        options = {"saveat": [3.0], "rtol": 1e-8, "atol": 1e-8}
        return sm.solve(PREY, t=(0, 3), values={a: value}, **options).ys[-1]

    apart = np.stack([end(value) for value in rates])
    assert np.asarray(jax.vmap(end)(rates)) == pytest.approx(apart, rel=1e-10)


@pytest.mark.parametrize("adjoint", [None, dfx.ForwardMode()], ids=["backwards", "forwards"])
def test_sensitivities_are_the_listed_ones(adjoint):
    def end(values):
        given = dict(zip((a, b, c), values, strict=True))
        options = {"saveat": [10.0], "rtol": 1e-10, "atol": 1e-10, "adjoint": adjoint}
        return sm.solve(PREY, t=(0, 10), values=given, **options).ys[-1]

    derivative = jax.jacrev(end) if adjoint is None else jax.jacfwd(end)
    listed = [[2.160557524, 0.1885687771, 0.5631827942], [-6.256770517, -0.697977589, -1.709017681]]
    found = np.asarray(derivative(jnp.asarray([1.5, 1.0, 3.0])))
    assert found == pytest.approx(np.array(listed), rel=1e-7)
