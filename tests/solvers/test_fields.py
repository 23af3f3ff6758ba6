"""Solutions of fields: asked for by symbol, at places, as tables and pictures."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sympy import pi, sin

import sciml as sm
from sciml import D, t

s = sm.coordinate("s", unit="m")
u = sm.unknown("u", t, s, unit="K")
k = sm.parameter("k", 0.5)
HEAT = sm.System(
    sm.Eq(D(u, t), k * D(u, s, s)),
    domain={s: (0, 1)},
    initial={u: sin(pi * s)},
    boundary=[sm.Eq(u.at(s=0), 0), sm.Eq(u.at(s=1), 0)],
    observed={"middle": u.at(s=0.5), "warmth": u**2},
)


def exact(x, time):
    return np.exp(-0.5 * np.pi**2 * time) * np.sin(np.pi * np.asarray(x))


@pytest.fixture(scope="module")
def solution():
    what = dfx.SaveAt(ts=np.linspace(0, 0.2, 5), dense=True)
    return sm.solve(HEAT, t=(0, 0.2), grid={s: 33}, saveat=what, rtol=1e-8, atol=1e-10)


def test_a_field_has_a_value_at_each_time_and_node(solution):
    x = solution.model.grid["s"]
    assert solution[u].shape == (5, 33)
    np.testing.assert_allclose(solution[u], exact(x, np.asarray(solution.ts)[:, None]), atol=1e-5)
    np.testing.assert_array_equal(solution["u"], solution[u])
    np.testing.assert_allclose(solution[2 * u + s][2], 2 * solution[u][2] + x, rtol=1e-15)


def test_its_derivatives_can_be_asked_for(solution):
    slope = np.pi * np.exp(-0.5 * np.pi**2 * np.asarray(solution.ts))
    np.testing.assert_allclose(solution[D(u, s)][:, 0], slope, rtol=1e-4)
    rate = solution[D(u, t)][:, 16]
    np.testing.assert_allclose(
        rate, -0.5 * np.pi**2 * exact(0.5, np.asarray(solution.ts)), rtol=1e-4
    )


def test_it_is_interpolated_in_time_and_space(solution):
    np.testing.assert_allclose(solution(t=0.07, s=0.3)[u], exact(0.3, 0.07), atol=1e-5)
    several = solution(t=[0.05, 0.1], s=[0.1, 0.55, 0.9])[u]
    assert several.shape == (2, 3)
    np.testing.assert_allclose(several[1], exact([0.1, 0.55, 0.9], 0.1), atol=1e-5)
    np.testing.assert_allclose(solution[u.at(s=0.3)][-1], exact(0.3, 0.2), atol=1e-5)
    np.testing.assert_allclose(solution["middle"], solution[u][:, 16], rtol=1e-15)
    np.testing.assert_allclose(solution["warmth"], solution[u] ** 2, rtol=1e-14)


@pytest.mark.parametrize("place", [{"s": 1.5}, {"s": [0.5, -0.1]}, {"x": 0.5}])
def test_places_outside_of_the_domain_are_refused(solution, place):
    with pytest.raises(sm.DeclarationError):
        solution(t=0.1, **place)[u]


def test_a_dataset_has_the_nodes_as_coordinates(solution):
    table = solution.to_xarray()
    assert table["u"].dims == ("t", "s")
    assert table["middle"].dims == ("t",)
    assert table["warmth"].dims == ("t", "s")
    assert table["u"].attrs["units"] == "K"
    np.testing.assert_allclose(table["u"].sel(s=0.5).values, solution[u][:, 16])
    assert set(table.data_vars) == {"u", "middle", "warmth"}


def test_it_is_drawn(solution, tmp_path):
    ax = solution.plot(u)
    assert ax.get_xlabel() == "s [m]"
    assert ax.get_ylabel() == "t"
    curves = solution.slices(u, [0, 0.1])
    np.testing.assert_allclose(
        curves.lines[1].get_ydata(), exact(solution.model.grid["s"], 0.1), atol=1e-5
    )
    film = solution.animate(u, tmp_path / "u.gif", seconds=1)
    assert film.stat().st_size > 1000
    with pytest.raises(sm.DeclarationError):
        solution.animate(u, tmp_path / "u.txt")
    plt.close("all")


def test_initial_values_and_parameters_are_replaced():
    model = sm.compile(HEAT, grid={s: 9})
    x = model.grid["s"]
    at_nodes = model.replace(initial={u: x * (1 - x)})
    np.testing.assert_allclose(at_nodes.initial_value("u"), (x * (1 - x))[1:-1])
    assert sm.compile(HEAT, grid={s: 9}) is model
    with pytest.raises(sm.DeclarationError, match="one value for each node"):
        model.replace(initial={u: x[:4]})


def test_gradients_go_through_the_conditions():
    """By a parameter that stands in the equation, in a condition and in the initial values."""
    a = sm.parameter("a", 0.3)
    system = sm.System(
        sm.Eq(D(u, t), a * D(u, s, s)),
        domain={s: (0, 1)},
        initial={u: a * (1 - s)},
        boundary=[sm.Eq(u.at(s=0), a), sm.Eq(sm.at(D(u, s), s=1), -a * u.at(s=1) - a)],
    )
    model = sm.compile(system, grid={s: 9})

    def end(value):
        changed = model.replace(values={a: value})
        control = dfx.StepTo(ts=jnp.linspace(0, 0.05, 41))
        sol = sm.solve(
            changed, t=(0, 0.05), saveat=[0.05], solver=dfx.Tsit5(), stepsize_controller=control
        )
        return jnp.sum(sol[u] ** 2)

    value, slope = jax.jit(jax.value_and_grad(end))(0.3)
    h = 1e-5
    assert jnp.isfinite(value)
    np.testing.assert_allclose(slope, (end(0.3 + h) - end(0.3 - h)) / (2 * h), rtol=1e-7)


def test_a_nonlinear_condition_becomes_an_algebraic_equation():
    """Radiation: the flux at the end is the fourth power of the value there. Exact at rest."""
    system = sm.System(
        sm.Eq(D(u, t), D(u, s, s)),
        domain={s: (0, 1)},
        initial={u: 2 - s},
        boundary=[sm.Eq(u.at(s=0), 2), sm.Eq(sm.at(D(u, s), s=1), -(u.at(s=1) ** 4))],
    )
    sol = sm.solve(system, t=(0, 5), grid={s: 9}, saveat=[5.0])
    end = float(sol[u][0, -1])
    np.testing.assert_allclose(2 - end, end**4, rtol=1e-5)  # a straight line, whose slope is that
    np.testing.assert_allclose(sol[u][0], 2 + (end - 2) * sol.model.grid["s"], atol=1e-5)


def test_fields_are_coupled_to_ordinary_equations():
    """A bath that a rod warms: what leaves the rod enters the bath."""
    bath = sm.unknown("b")
    system = sm.System(
        sm.Eq(D(u, t), D(u, s, s)),
        sm.Eq(D(bath), -sm.at(D(u, s), s=1)),
        domain={s: (0, 1)},
        initial={u: 1 + (1 - s) ** 2 / 2, bath: 1},
        boundary=[sm.Eq(sm.at(D(u, s), s=0), -1), sm.Eq(u.at(s=1), bath)],
    )
    sol = sm.solve(system, t=(0, 3), grid={s: 17}, saveat=[2.9, 3.0], rtol=1e-8, atol=1e-10)
    # In the end all grows alike: the flux 1 that comes in warms the rod (1) and the bath (1).
    rate = (sol[bath][1] - sol[bath][0]) / 0.1
    np.testing.assert_allclose(rate, 0.5, rtol=1e-3)
    np.testing.assert_allclose(sol[u][:, -1], sol[bath], rtol=1e-12)


def test_a_coefficient_with_a_value_at_each_node():
    field = sm.parameter("c", np.linspace(1, 2, 33) ** 2)
    whole = sm.System(
        sm.Eq(D(u, t), D(field * D(u, s), s)),
        domain={s: (0, 1)},
        initial={u: sin(pi * s)},
        boundary=[sm.Eq(u.at(s=0), 0), sm.Eq(u.at(s=1), 0)],
    )
    spelled = sm.System(
        sm.Eq(D(u, t), D((1 + s) ** 2 * D(u, s), s)),
        domain={s: (0, 1)},
        initial={u: sin(pi * s)},
        boundary=[sm.Eq(u.at(s=0), 0), sm.Eq(u.at(s=1), 0)],
    )
    rates = []
    for system in (whole, spelled):
        model = sm.compile(system, grid={s: 33})
        rates.append(model.vector_field(0.0, model.state()))
    np.testing.assert_allclose(rates[0], rates[1], rtol=1e-9, atol=1e-9)


def test_exported_rates_are_the_models(tmp_path):
    model = sm.compile(HEAT, grid={s: 17})
    python, _ = sm.export(model, tmp_path / "heat")
    names: dict = {"__name__": "heat"}
    exec(compile(python.read_text(), "heat.py", "exec"), names)
    y = model.state()
    found = names["vector_field"](0.0, y)
    np.testing.assert_allclose(found, model.vector_field(0.0, y), rtol=1e-12)


def test_fit_takes_fields_sensors_and_datasets():
    times = np.linspace(0, 0.2, 6)
    model = sm.compile(HEAT.replace(values={k: 0.5}), grid={s: 17})
    truth = sm.solve(model, t=(0, 0.2), saveat=times, rtol=1e-8, atol=1e-10)
    start = model.replace(values={k: 1.0})
    data = [
        {t: times, u: truth[u]},
        {t: times, u.at(s=0.3): truth[u.at(s=0.3)], u.at(s=0.5): truth["middle"]},
        truth.to_xarray()[["u"]].interp(s=[0.2, 0.35, 0.8], method="cubic"),
    ]
    for columns in data:
        fitted = sm.fit(start, columns, key=jax.random.key(0), steps=20, progress=False)
        np.testing.assert_allclose(float(fitted[k]), 0.5, rtol=1e-3)


def test_the_text_of_a_system_shows_its_domain_and_conditions():
    shown = str(HEAT)
    assert "u.at(s=0) = 0" in shown
    assert "0 <= s <= 1" in shown
    assert "D(u, t) = k*D(u, s, s)" in shown
    assert r"\in" in HEAT._repr_latex_()


def test_the_rate_of_a_field_may_be_given_at_the_start():
    s = sm.coordinate("s")
    w = sm.unknown("w", t, s)
    ring = sm.System(
        sm.Eq(D(w, t, t), D(w, s, s)), domain={s: (0, 1)}, initial={w: 0, D(w, t): 1},
        boundary=[sm.Eq(w.at(s=0), w.at(s=1))],
    )  # fmt: skip
    sol = sm.solve(ring, t=(0, 2), grid={s: 8}, initial={D(w, t): 3 * np.ones(8)}, saveat=[2.0])
    np.testing.assert_allclose(sol[w][-1], 6, rtol=1e-6)
