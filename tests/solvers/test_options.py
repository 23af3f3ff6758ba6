"""Options that cannot be taken are refused in the user's words; defaults follow the table."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import diffrax as dfx
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import sciml as sm
from sciml import D
from sciml.solvers import choose_controller, choose_solver, choose_tolerances

x, y = sm.unknowns("x y")
a, b = sm.parameter("a", 1.0), sm.parameter("b", 2.0)
SYSTEM = sm.System(sm.Eq(D(x), -a * x), sm.Eq(D(y), -b * y), initial={x: 1, y: 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t": (0, 0)}, r"t = \(0, 0\): the end must be after the start"),
        ({"t": (1, 0)}, "the end must be after the start; to go back in time, replace t by -t"),
        ({"t": 5}, r"t is \(t0, t1\), the interval to solve over, not 5"),
        ({"t": (0, np.nan)}, "both ends must be finite"),
        ({"t": ("now", 1)}, "t0 in t = .* is a number, not 'now'"),
        ({"initial": {"z": 1}}, "z is no unknown of this model; it has x, y"),
        ({"initial": {a: 1}}, "a is a parameter: give it in values="),
        ({"initial": {x: "one"}}, "x is given 'one', which is no number"),
        ({"initial": {x: [1, 2]}}, r"x was declared with shape \(\); .* map over the solve"),
        ({"values": {"z": 1}}, "z is no parameter of this model; it has a, b"),
        ({"values": {x: 1}}, "x is an unknown.* initial="),
        ({"solver": "bdf"}, 'solver is None, "stiff", "auto" or a Diffrax solver, not \'bdf\''),
        ({"solver": dfx.Tsit5}, r"such as diffrax.Tsit5\(\), not the class Tsit5"),
        ({"solver": 5}, r"such as diffrax.Tsit5\(\), not int"),
        ({"solver": dfx.Euler()}, "give dt0="),
        ({"stepsize_controller": dfx.ConstantStepSize()}, "give dt0="),
        ({"stepsize_controller": 1e-3}, r"such as diffrax.PIDController\(.*\), not float"),
        (
            {"solver": dfx.Euler(), "stepsize_controller": dfx.PIDController(rtol=1, atol=1)},
            "Euler does not estimate its error",
        ),
        ({"adjoint": "backward"}, r"such as diffrax.DirectAdjoint\(\), not str"),
        ({"dt0": -0.1}, "dt0 = -0.1: the first step is a positive number"),
        ({"dt0": "small"}, "dt0 is a number, not 'small'"),
        ({"stepsize_controller": dfx.StepTo(ts=[0, 1]), "dt0": 1}, "StepTo holds the steps"),
        ({"rtol": -1}, "tolerances are positive numbers"),
        ({"rtol": 0, "atol": 0}, "tolerances are positive numbers"),
        ({"max_steps": 0}, "max_steps is a positive whole number or None, not 0"),
    ],
)
def test_bad_options_are_refused_before_anything_is_compiled(options, message):
    with pytest.raises(sm.DeclarationError, match=message):
        sm.solve(SYSTEM, **{"t": (0, 1), **options})


def test_every_missing_value_is_named_at_once():
    c, d = sm.parameters("c d")
    model = sm.compile(sm.System(sm.Eq(D(x), -c * d * x), initial={x: 1}, values={c: 1, d: 1}))
    holes = model.replace(initial={x: np.nan}, values={c: np.nan, d: np.inf})
    with pytest.raises(sm.ModelError) as caught:
        sm.solve(holes, t=(0, 1))
    message = str(caught.value)
    assert "3 faults" in message
    assert "The initial value of x is not finite" in message
    assert "The value of c is not finite" in message
    assert "values={d: ...}" in message


def test_values_given_at_the_solve_replace_declared_ones_by_symbol_or_name():
    sol = sm.solve(SYSTEM, t=(0, 1), values={a: 3, "b": 0}, initial={x: 2, "y": 5}, saveat=[1.0])
    np.testing.assert_allclose([sol[x][0], sol[y][0]], [2 * np.exp(-3), 5], rtol=1e-5)
    assert float(sol[a]) == 3


def test_a_solver_without_error_estimate_takes_the_steps_it_is_given():
    sol = sm.solve(SYSTEM, t=(0, 1), solver=dfx.Euler(), dt0=0.25, saveat=[1.0])
    np.testing.assert_allclose(sol[x][0], 0.75**4, rtol=1e-12)


def test_solvers_are_chosen_by_the_table():
    assert isinstance(choose_solver(None, 1e-6), dfx.Tsit5)
    assert isinstance(choose_solver(None, 1e-8), dfx.Dopri8)
    assert isinstance(choose_solver("stiff", 1e-10), sm.Rodas5P)
    assert isinstance(choose_solver("stiff", 1e-2), sm.Rosenbrock23)
    assert isinstance(choose_solver("auto", 1e-6), sm.Switching)
    assert choose_solver(dfx.Heun(), 1e-10) == dfx.Heun()
    for solver in (dfx.Kvaerno5(), dfx.Kvaerno3(), dfx.KenCarp4()):
        assert not isinstance(choose_solver(solver, 1e-6).root_finder, dfx.VeryChord)


def test_a_root_finder_that_the_user_chose_is_kept():
    finder = optx.Newton(rtol=1e-9, atol=1e-9)
    assert choose_solver(dfx.Kvaerno5(root_finder=finder), 1e-6).root_finder is finder


def test_controllers_are_chosen_by_the_table():
    own = dfx.PIDController(rtol=1e-2, atol=1e-2)
    assert choose_controller(own, None, 1e-6, 1e-6) is own
    loose = choose_controller(None, None, 1e-6, 1e-8)
    assert (loose.rtol, loose.atol) == (1e-6, 1e-8)
    assert choose_controller(None, None, 1e-10, 1e-10).rtol < 1e-11  # so that the end is as asked
    assert choose_controller(None, dfx.Dopri8(), 1e-10, 1e-10).rtol == 1e-10
    assert isinstance(choose_controller(None, dfx.Euler(), 1e-6, 1e-8), dfx.ConstantStepSize)


def test_tolerances_follow_from_the_floating_type():
    assert choose_tolerances(None, None, jnp.float64) == (1e-6, 1e-8)
    assert choose_tolerances(None, None, jnp.float32) == (1e-4, 1e-6)
    assert choose_tolerances(1e-3, None, jnp.float32) == (1e-3, 1e-6)


@pytest.mark.parametrize(
    ("rtol", "atol", "dtype", "cure"),
    [
        (1e-9, 1e-9, jnp.float32, "enable float64"),
        (1e-9, 1e-3, jnp.float32, "enable float64"),
        (1e-17, 1e-20, jnp.float64, "loosen them"),
        (0, 1e-9, jnp.float32, "enable float64"),
    ],
)
def test_tolerances_tighter_than_the_type_warn(rtol, atol, dtype, cure):
    with pytest.warns(UserWarning, match=f"more than the precision of .*{cure}"):
        choose_tolerances(rtol, atol, dtype)


def test_a_purely_absolute_tolerance_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose_tolerances(0, 1e-4, jnp.float32)


ALONE = """
import warnings
warnings.simplefilter("error")
import numpy as np, sciml as sm
x, y = sm.unknowns("x y")
a = sm.parameter("a", 1.5)
system = sm.System(
    sm.Eq(sm.D(x), a * x - x * y), sm.Eq(sm.D(y), x * y - 3 * y), initial={x: 1, y: 1}
)
sol = sm.solve(system, t=(0, 10))
assert sol.ys.dtype == sol.ts.dtype == sol[x * y].dtype == sol(2.5)[x].dtype == np.float32
assert abs(float(sol[x][-1]) - 1.0263) < 1e-2, sol[x][-1]
stiff = sm.System(sm.Eq(sm.D(x), -30 * (x - y)), sm.Eq(sm.D(y), -y), initial={x: 0, y: 1})
sol = sm.solve(stiff, t=(0, 1), solver="stiff")
assert sol.ys.dtype == np.float32
assert abs(float(sol[y][-1]) - np.exp(-1)) < 1e-3, sol[y][-1]

# without beartype, which refuses these for us in tests
for options, message in [
    ({"initial": [1, 2]}, "initial is a mapping from symbols, {x: 1.0}, not a list"),
    ({"values": 3}, "values is a mapping from symbols"),
    ({"atol": "low"}, "atol is a number, not 'low'"),
    ({"max_steps": 10.0}, "max_steps is a positive whole number or None"),
    ({"system": [sm.Eq(sm.D(x), -x)]}, "solve takes a System or a Model, not list"),
]:
    try:
        sm.solve(**{"system": system, "t": (0, 1), **options})
    except sm.DeclarationError as error:
        assert message in str(error), error
    else:
        raise AssertionError(options)
"""


def test_everything_is_float32_where_x64_is_off_and_wrong_types_are_refused():
    environment = {**os.environ, "JAX_ENABLE_X64": "0", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
