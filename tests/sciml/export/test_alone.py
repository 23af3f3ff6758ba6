"""Exported models are run in a process that finds jax, and neither sympy nor this package."""

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

import sciml as sm
from sciml import D, t
from sciml.export import export

NEEDED = ("jax", "jaxlib", "numpy", "ml_dtypes", "opt_einsum", "scipy")


def lotka_volterra():
    x, y = sm.unknowns("x y")
    a, b, c, d = sm.parameters("a b c d")
    return sm.System(
        sm.Eq(D(x), a * x - b * x * y),
        sm.Eq(D(y), d * x * y - c * y),
        initial={x: 10, y: c + 2},
        values={a: 1.5, b: 1, c: 3, d: 1},
        observed={"total": x + y},
    )


def universal():
    """A network, a table and a callable inside the equations, one of second order."""
    x, y = sm.unknowns("x y")
    a, c = sm.parameters("a c")
    f = sm.neural("f", eqx.nn.MLP(2, 2, 8, 2, activation=jnp.tanh, key=jax.random.key(0)))
    u = sm.forcing("u", [0.0, 0.5, 2.0], [1.0, -1.0, 3.0], kind="cubic")
    g = sm.forcing("g", lambda s: jnp.exp(-s) * jnp.cos(s))
    return sm.System(
        sm.Eq(D(x, 2), -a * x + f(x, y)[0] + u(t)),
        sm.Eq(D(y), f(x, y)[1] - c * y * g(x)),
        initial={x: 1, D(x): 0, y: a},
        values={a: 1.5, c: 3},
        observed={"energy": D(x) ** 2 / 2 + a * x**2 / 2},
    )


def arrays():
    """Whole arrays, a mass matrix, a network on each element, a branch, a Bessel function."""
    n = 12
    u, v = sm.unknown("u", shape=n), sm.unknown("v", shape=2)
    k, A = sm.parameter("k", np.linspace(0.1, 1, n)), sm.parameter("A", np.diag([0.5, 1.0]))
    r = sm.parameter("r", 0.7)
    net = eqx.nn.MLP(1, 1, 4, 1, activation=jax.nn.softplus, key=jax.random.key(1))
    f = sm.neural("f", net, pointwise=True)
    laplacian = sm.roll(u, 1) - 2 * u + sm.roll(u, -1)
    switch = sympy.Piecewise((r * sympy.sin(t), r > 0.5), (sympy.sqrt(t - 9), True))
    return sm.System(
        sm.Eq(D(u), k * laplacian + f(u) + switch),
        sm.Eq(A @ D(v), sm.mean(u) - v),
        initial={u: np.sin(np.arange(n)), v: 1},
        observed={"mass": sm.total(u), "ring": sympy.besselj(1, v)},
    )


def many():
    """Enough scalar equations to be written as operations on groups, with tables of indices."""
    xs = sm.unknowns([f"x{i}" for i in range(60)])
    ks = sm.parameters([f"k{i}" for i in range(60)], value=0.3)
    rng = np.random.default_rng(0)
    equations = []
    for x, k in zip(xs, ks, strict=True):
        i, j, m = rng.integers(0, 60, 3)
        equations.append(sm.Eq(D(x), k * xs[i] * xs[j] - xs[m] * sympy.sin(x) - k * x))
    return sm.System(*equations, initial=dict(zip(xs, rng.random(60), strict=True)))


def robertson():
    """Stiff: rate constants from 0.04 to 3e7."""
    a, b, c = sm.unknowns("a b c")
    p, q, r = sm.parameters("p q r")
    slow, fast, mixed = p * a, q * b**2, r * b * c
    return sm.System(
        sm.Eq(D(a), mixed - slow),
        sm.Eq(D(b), slow - mixed - fast),
        sm.Eq(D(c), fast),
        initial={a: 1, b: 0, c: 0},
        values={p: 0.04, q: 3e7, r: 1e4},
    )


def plate():
    """A field with conditions at all ends, beside an unknown without coordinates."""
    r, s = sm.coordinates("r s")
    u, w = sm.unknown("u", t, r, s), sm.unknown("w")
    k = sm.parameter("k", 0.3)
    return sm.System(
        sm.Eq(D(u, t), k * sm.laplacian(u, r, s) + w),
        sm.Eq(D(w), -w),
        domain={r: (0, 1), s: (0, 1)},
        boundary=[
            sm.Eq(u.at(r=0), k * sympy.sin(t)),
            sm.Eq(sm.at(D(u, r), r=1), -u.at(r=1)),
            sm.Eq(u.at(s=0), u.at(s=1)),
        ],
        initial={u: sympy.sin(2 * sympy.pi * s) * r * (3 - 2 * r), w: 1},
        observed={"flux": -k * D(u, r), "mean": sm.integral(u, r, s)},
    )


SYSTEMS = {
    "lotka_volterra": (lotka_volterra, "tsit5", 4.0),
    "universal": (universal, "tsit5", 1.5),
    "arrays": (arrays, "tsit5", 1.0),
    "many": (many, "tsit5", 1.0),
    "robertson": (robertson, "rodas4", 40.0),
    "plate": (lambda: sm.compile(plate(), grid={"r": 7, "s": 8}), "rodas4", 0.5),
}


@pytest.fixture(scope="module")
def models():
    made = {name: system() for name, (system, _, _) in SYSTEMS.items()}
    return {k: sm.compile(m) if isinstance(m, sm.System) else m for k, m in made.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, models):
    folder = tmp_path_factory.mktemp("exported")
    cases = {}
    for name, (_, method, end) in SYSTEMS.items():
        model = models[name]
        export(model, folder / name, method=method)
        cases[name] = {
            "t": 0.4,
            "y": model.state().tolist(),
            "parameters": {key: (1.1 * value).tolist() for key, value in model.parameters.items()},
            "ts": np.linspace(0, end, 5).tolist(),
            "solve": name != "many",
            "sensitivities": name == "lotka_volterra",
        }
    (folder / "models.json").write_text(json.dumps(cases))
    return folder


@pytest.fixture(scope="module")
def cases(folder):
    return json.loads((folder / "models.json").read_text())


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    """What the artefacts give in a process with an empty path but for jax and what jax needs."""
    bare = tmp_path_factory.mktemp("bare")
    for name in NEEDED:
        home = Path(importlib.import_module(name).__path__[0])
        (bare / name).symlink_to(home)
        libraries = home.parent / f"{name}.libs"
        if libraries.exists():
            (bare / libraries.name).symlink_to(libraries)
    script = Path(__file__).with_name("alone.py")
    done = subprocess.run(
        [sys.executable, "-S", "-P", str(script), str(folder)],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(bare),
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # quicker
        },
        cwd=bare,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


EACH = pytest.mark.parametrize("name", SYSTEMS)


def given(model, case):
    """The model with the case's parameters, its time and its state."""
    return model.replace(values=case["parameters"]), jnp.asarray(case["t"]), jnp.asarray(case["y"])


@EACH
def test_rates_observed_quantities_and_initial_states_are_the_models(name, alone, models, cases):
    model, time, y = given(models[name], cases[name])
    expected = jax.jit(lambda t, y: (model.vector_field(t, y), model.observed(t, y)))(time, y)
    expected[1].update({field: model.evaluate(field, time, y) for field in model.fields})
    for found in alone[name].values():
        np.testing.assert_allclose(found["vector_field"], expected[0], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found["initial_state"], model.state(), rtol=1e-12)
        assert found["observed"].keys() == expected[1].keys()
        for key, value in expected[1].items():
            np.testing.assert_allclose(found["observed"][key], value, rtol=1e-12)


@EACH
def test_the_vector_field_has_the_models_gradient(name, alone, models, cases):
    model, time, y = given(models[name], cases[name])

    def total(values):
        return jnp.sum(jnp.sin(model.replace(values=values).vector_field(time, y)))

    expected = jax.jit(jax.grad(total))(model.parameters)
    for found in alone[name].values():
        assert found["gradient"].keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(found["gradient"][key], value, rtol=1e-9, atol=1e-11)


def reference(model, case, **settings):
    field = jax.jit(lambda t, y: model.vector_field(t, y))
    return solve_ivp(
        lambda t, y: np.asarray(field(jnp.asarray(t), jnp.asarray(y))),
        (case["ts"][0], case["ts"][-1]),
        case["y"],
        t_eval=case["ts"],
        **settings,
    ).y.T


@pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "many"])
def test_a_solve_agrees_with_scipy(name, alone, models, cases):
    model, _, _ = given(models[name], cases[name])
    stiff = {"method": "Radau", "rtol": 1e-9, "atol": 1e-12}
    precise = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12}
    expected = reference(model, cases[name], **(stiff if name == "robertson" else precise))
    for found in alone[name].values():
        solution = found["solution"]
        assert solution["success"]
        assert solution["status"] == 0
        np.testing.assert_allclose(solution["ys"], expected, rtol=3e-7, atol=3e-8)


@pytest.mark.parametrize("kind", ["Python", "StableHLO"])
def test_sensitivities_of_a_solve_agree_with_finite_differences(kind, alone, cases):
    case = cases["lotka_volterra"]
    names = list(case["parameters"])
    values = np.array([*case["parameters"].values(), *case["y"]])

    def field(t, y, a, b, c, d):
        return a * y[0] - b * y[0] * y[1], d * y[0] * y[1] - c * y[1]

    def ends(vector):
        span, settings = (case["ts"][0], case["ts"][-1]), {"rtol": 1e-12, "atol": 1e-12}
        args = tuple(dict(zip(names, vector, strict=False))[key] for key in "abcd")
        solution = solve_ivp(field, span, vector[4:], "DOP853", args=args, **settings)
        return solution.y[:, -1].sum()

    by_parameter, by_state = alone["lotka_volterra"][kind]["sensitivities"]
    received = [*(by_parameter[key] for key in names), *by_state]
    shifts = np.eye(len(values)) * 1e-5
    expected = [(ends(values + shift) - ends(values - shift)) / 2e-5 for shift in shifts]
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-6)


@EACH
def test_the_python_file_imports_nothing_but_jax(name, folder):
    source = (folder / f"{name}.py").read_text()
    imports = [
        n for n in ast.walk(ast.parse(source)) if isinstance(n, (ast.Import, ast.ImportFrom))
    ]
    named = {a.name for n in imports if isinstance(n, ast.Import) for a in n.names}
    named |= {n.module for n in imports if isinstance(n, ast.ImportFrom)}
    assert {item.split(".")[0] for item in named} == {"jax"}
    assert max(map(len, source.splitlines())) <= 100
