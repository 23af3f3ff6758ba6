"""Constant steps that are too long for a grid: the verdict agrees with what blows up."""

import warnings

import diffrax as dfx
import numpy as np
import pytest
import sympy
from sympy import I, pi, sin

import sciml as sm
from sciml import D, t
from sciml.solvers._step_limit import stability

x, y = sm.coordinates("x y")
u, q = sm.unknown("u", t, x), sm.unknown("q", t, x, y)
psi = sm.unknown("psi", t, x, complex=True)
c = sm.parameter("c", 1.0)
HELD = {"domain": {x: (0, 1)}, "boundary": [sm.Eq(u.at(x=0), 0), sm.Eq(u.at(x=1), 0)]}
RING = {"domain": {x: (0, 1)}, "boundary": [sm.Eq(u.at(x=0), u.at(x=1))]}
SINE = {"initial": {u: sin(2 * pi * x)}}
HEAT = sm.System(sm.Eq(D(u, t), c * D(u, x, x)), **HELD, **SINE)
ADVECTION = sm.System(sm.Eq(D(u, t), -c * D(u, x)), **RING, **SINE)
WAVE = sm.System(
    sm.Eq(D(u, t, 2), c**2 * D(u, x, x)), initial={u: sin(2 * pi * x), D(u, t): 0}, **RING
)
SCHROEDINGER = sm.System(
    sm.Eq(I * D(psi, t), -c * D(psi, x, x)),
    domain={x: (0, 1)},
    boundary=[sm.Eq(psi.at(x=0), psi.at(x=1))],
    initial={psi: sympy.exp(2 * I * pi * x)},
)
PLATE = sm.System(
    sm.Eq(D(q, t), c * sm.laplacian(q, x, y)),
    domain={x: (0, 1), y: (0, 1)},
    boundary=[sm.Eq(q.at(x=0), q.at(x=1)), sm.Eq(q.at(y=0), q.at(y=1))],
    initial={q: sin(2 * pi * x)},
)
DISPERSION = sm.System(
    sm.Eq(D(u, t), -c * D(u, x, 3)), domain={x: (0, 1)}, initial={u: sin(pi * x) ** 2},
    boundary=[*HELD["boundary"], sm.Eq(sm.at(D(u, x), x=1), 0)],
)  # fmt: skip
_STEPS = 600


def solved(model, solver, dt, **options):
    return sm.solve(
        model, t=(0, _STEPS * dt), dt0=dt, solver=solver, saveat=[_STEPS * dt],
        stepsize_controller=dfx.ConstantStepSize(), max_steps=2 * _STEPS, **options,
    )  # fmt: skip


def longest(model, solver):
    """What the message says, which a step that is far too long gives."""
    with pytest.raises(sm.DeclarationError, match=r"is too long for") as caught:
        solved(model, solver, 1.0)
    return float(str(caught.value).split("takes at most ")[1].split(" here")[0])


def largest(model, solver, dt):
    """The largest value after many steps from rough values; infinite where it is no number."""
    rng = np.random.default_rng(0)
    rough = {
        s.name: np.asarray(model.initial_value(s.name)) + 1e-6 * rng.standard_normal(s.shape)
        for s in model.states
    }
    term = dfx.ODETerm(model.vector_field)
    y = dfx.diffeqsolve(
        term, solver, 0.0, _STEPS * dt, dt, model.replace(initial=rough).state(), model.constants(),
        max_steps=2 * _STEPS, throw=False,
    ).ys[-1]  # fmt: skip
    return np.max(np.abs(np.nan_to_num(np.asarray(y), nan=np.inf)))


@pytest.mark.parametrize(
    ("system", "grid", "solver", "options"),
    [
        (HEAT, {x: 33}, dfx.Euler(), {"order": 2}),
        (HEAT, {x: 33}, dfx.Tsit5(), {"order": 8}),
        (PLATE, {x: 12, y: 16}, dfx.Heun(), {"order": 4}),
        (ADVECTION, {x: 48}, dfx.Bosh3(), {"scheme": "central"}),
        (ADVECTION, {x: 48}, dfx.Tsit5(), {"scheme": "upwind"}),
        (ADVECTION, {x: 48}, dfx.Dopri5(), {"scheme": "fourier"}),
        (WAVE, {x: 48}, dfx.Dopri5(), {"order": 4}),
        (SCHROEDINGER, {x: 32}, dfx.Dopri5(), {"scheme": "fourier"}),
    ],
)  # fmt: skip
def test_what_is_refused_blows_up_and_what_is_taken_does_not(system, grid, solver, options):
    model = sm.compile(system, grid=grid, **options)
    limit = longest(model, solver)
    assert largest(model, solver, 0.8 * limit) < 10
    assert largest(model, solver, 1.3 * limit) > 1e6
    solved(model, solver, 0.8 * limit)
    with pytest.raises(sm.DeclarationError, match="is too long for"):
        solved(model, solver, 1.3 * limit)


def test_dispersion_between_ends_out_of_which_growing_waves_move():
    model = sm.compile(DISPERSION, grid={x: 48})
    limit = longest(model, dfx.Tsit5())
    assert largest(model, dfx.Tsit5(), 0.95 * limit) < 10
    assert largest(model, dfx.Tsit5(), 1.6 * limit) > 1e6


@pytest.mark.parametrize(("order", "factor"), [(2, 1 / 2), (4, 3 / 8), (6, 45 / 136)])
def test_the_limit_of_heat_is_that_of_its_order(order, factor):
    model = sm.compile(HEAT, grid={x: 33}, order=order)
    np.testing.assert_allclose(longest(model, dfx.Euler()), factor / 32**2, rtol=0.01)


def test_the_message_names_the_term_and_the_spacing():
    both = sm.System(sm.Eq(D(u, t), c * D(u, x, x) - D(u, x) / 100), **HELD, **SINE)
    model = sm.compile(both, grid={x: 33}, order=2)
    said = r"dt0 = 0\.01 is too long for Euler, .* by c\*D\(u, x, x\), .* of x is 0\.0312"
    with pytest.raises(sm.DeclarationError, match=said):
        solved(model, dfx.Euler(), 0.01)


@pytest.mark.parametrize(
    "equation",
    [
        sm.Eq(D(u, t), D((1 + u**2) * D(u, x), x)),
        sm.Eq(D(u, t), D((1 + x) * D(u, x), x)),
        sm.Eq(D(u, t), D(u, x, x) - u**3),
    ],
)
def test_of_other_equations_it_warns(equation):
    model = sm.compile(sm.System(equation, **HELD, **SINE), grid={x: 33})
    with pytest.warns(sm.ModelWarning, match="is too long for Heun"):
        solved(model, dfx.Heun(), 0.01, throw=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solved(model, dfx.Heun(), 1e-4)


def test_adaptive_steps_and_implicit_methods_are_left_alone():
    model = sm.compile(HEAT, grid={x: 33})
    sm.solve(model, t=(0, 0.1), dt0=0.05)
    constant = dfx.ConstantStepSize()
    sm.solve(model, t=(0, 0.1), dt0=0.05, solver=sm.Rodas5P(), stepsize_controller=constant)


def test_stability_functions_are_those_of_the_methods():
    z = np.array([-1.0, 0.5j, -0.3 + 0.2j])
    np.testing.assert_allclose(stability(dfx.Euler(), z), 1 + z)
    np.testing.assert_allclose(stability(dfx.Heun(), z), 1 + z + z**2 / 2)
    np.testing.assert_allclose(stability(dfx.Bosh3(), z), 1 + z + z**2 / 2 + z**3 / 6)
    np.testing.assert_allclose(stability(dfx.Dopri8(), 0.1 * z), np.exp(0.1 * z), rtol=1e-12)
