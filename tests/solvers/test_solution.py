"""Solutions answer to every kind of expression, at saved times and between them."""

from __future__ import annotations

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import sciml as sm
from sciml import D, t

# x = cos(w t) with unit amplitude, and an array that decays: all expressions have closed forms.
x, z = sm.unknown("x", unit="m", description="position"), sm.unknown("z")
u = sm.unknown("u", shape=(2, 3))
w, k = sm.parameter("w", 2.0), sm.parameter("k", [1.0, 2.0, 3.0])
START = np.arange(1.0, 7.0).reshape(2, 3)
SYSTEM = sm.System(
    sm.Eq(D(x, 2), -(w**2) * x),
    sm.Eq(z, x**2 + sm.index(u, (0, 0))),
    sm.Eq(D(u), -k * u),
    initial={x: 1, D(x): 0, u: START},
    observed={"energy": D(x) ** 2 / 2 + w**2 * x**2 / 2},
    name="both",
)
OPTIONS = {"t": (0, 3), "rtol": 1e-9, "atol": 1e-9, "solver": dfx.Tsit5()}


@pytest.fixture(scope="module")
def sol():
    return sm.solve(SYSTEM, **OPTIONS)


@pytest.fixture(scope="module")
def batch():
    solve = lambda rate: sm.solve(SYSTEM, values={w: rate}, **OPTIONS)
    return eqx.filter_vmap(solve)(jnp.array([1.0, 2.0]))


def close(found, exact):
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-7)


def exact_u(ts):
    return START * np.exp(-np.multiply.outer(ts, [1.0, 2.0, 3.0]))[:, None, :]


def test_unknowns_are_asked_for_by_symbol_or_name(sol):
    ts = np.asarray(sol.ts)
    assert ts.shape == (201,)
    close(sol[x], np.cos(2 * ts))
    close(sol["x"], np.cos(2 * ts))
    close(sol[u], exact_u(ts))


def test_rates_of_every_order_are_asked_for(sol):
    ts = np.asarray(sol.ts)
    close(sol[D(x)], -2 * np.sin(2 * ts))
    close(sol["D(x)"], -2 * np.sin(2 * ts))
    close(sol[D(x, 2)], -4 * np.cos(2 * ts))
    close(sol[D(x, 3)], 8 * np.sin(2 * ts))
    close(sol[D(u)], -np.array([1.0, 2.0, 3.0]) * exact_u(ts))


def test_time_parameters_and_numbers_are_expressions_too(sol):
    close(sol[t], sol.ts)
    close(sol["t"], sol.ts)
    assert float(sol[w]) == float(sol["w"]) == 2.0
    close(sol[k], [1, 2, 3])
    close(sol[t * w], 2 * sol.ts)
    close(sol[sympy.pi], np.full(201, np.pi))


def test_expressions_of_several_symbols_are_computed(sol):
    ts = np.asarray(sol.ts)
    close(sol[x + D(x) / w], np.cos(2 * ts) - np.sin(2 * ts))
    close(sol[sympy.sin(x) * t], np.sin(np.cos(2 * ts)) * ts)
    close(sol[u[1, 2]], exact_u(ts)[:, 1, 2])
    close(sol[sm.matmul(u, k)], exact_u(ts) @ [1.0, 2.0, 3.0])
    close(sol[x > 0], np.cos(2 * ts) > 0)


def test_what_was_eliminated_or_observed_stays_indexable(sol):
    ts = np.asarray(sol.ts)
    close(sol[z], np.cos(2 * ts) ** 2 + exact_u(ts)[:, 0, 0])
    close(sol["energy"], np.full(201, 2.0))
    close(sol[2 * z], 2 * sol["z"])
    close(sol[D(z)], -2 * np.sin(4 * ts) - exact_u(ts)[:, 0, 0])


def test_dense_output_is_evaluated_at_a_time_and_at_arrays_of_times(sol):
    assert sol(0.7)[x].shape == ()
    close(sol(0.7)[x], np.cos(1.4))
    close(sol(0.7)[u], exact_u(np.array([0.7]))[0])
    ts = np.array([[0.1, 0.2], [0.3, 3.0]])
    close(sol(ts)[x + t], np.cos(2 * ts) + ts)
    assert sol(ts)[u].shape == (2, 2, 2, 3)
    close(sol(3.0)[x], sol[x][-1])


def test_times_outside_of_the_interval_are_refused(sol):
    with pytest.raises(sm.DeclarationError, match=r"t = 3.5 is outside .* \(0.0, 3.0\)"):
        sol(3.5)
    with pytest.raises(sm.DeclarationError, match="outside"):
        sol([1.0, np.nan])


def test_without_dense_output_the_cure_is_named(sol):
    sol = eqx.tree_at(lambda s: s.interpolation, sol, None)
    with pytest.raises(sm.DeclarationError, match=r"saveat=diffrax.SaveAt\(dense=True\)"):
        sol(0.5)


@pytest.mark.parametrize("wanted", [0, -1, None, (x, z), [x], slice(2), 1.5])
def test_what_is_no_expression_is_refused(sol, wanted):
    with pytest.raises(sm.DeclarationError, match=r"indexed by one expression .* sol\[x\]\[-1\]"):
        sol[wanted]


def test_symbols_that_the_system_does_not_have_are_named(sol):
    with pytest.raises(sm.DeclarationError, match="q is not a declared symbol"):
        sol[x + sympy.Symbol("q")]
    with pytest.raises(sm.DeclarationError, match="'q' is no symbol of this system; it has x"):
        sol["q"]


def test_to_pandas_has_a_column_for_each_scalar(sol):
    frame = sol.to_pandas()
    elements = [f"u[{i}, {j}]" for i in range(2) for j in range(3)]
    assert sorted(frame.columns) == sorted(["x", "D(x)", *elements, "energy", "z"])
    assert frame.index.name == "t"
    close(frame["u[1, 0]"], sol[u[1, 0]])
    close(frame.loc[frame.index[7], "x"], sol[x][7])


def test_to_xarray_has_dimensions_units_and_descriptions(sol):
    data = sol.to_xarray()
    assert data["u"].dims == ("t", "u_0", "u_1")
    assert data["x"].attrs == {"units": "m", "description": "position"}
    close(data["energy"], 2.0 * np.ones(201))
    close(data["u"].sel(t=0.0), START)


def test_a_batch_has_its_axis_first_for_every_kind_of_expression(sol, batch):
    ts = np.asarray(sol.ts)
    exact = np.cos(np.multiply.outer([1.0, 2.0], ts))
    assert batch.ts.shape == (2, 201)
    close(batch[x], exact)
    close(batch["x"], exact)
    close(batch[2 * x + t], 2 * exact + ts)
    close(batch[t], np.stack([ts, ts]))
    close(batch[w], [1.0, 2.0])
    close(batch[k * w], np.multiply.outer([1.0, 2.0], np.tile([1.0, 2.0, 3.0], (201, 1))))
    close(batch["energy"], np.multiply.outer([0.5, 2.0], np.ones(201)))
    assert batch[u].shape == (2, 201, 2, 3)
    close(batch[D(x, 2)], -np.array([[1.0], [4.0]]) * exact)


def test_a_batch_has_dense_output(batch):
    close(batch(0.7)[x], np.cos([0.7, 1.4]))
    close(batch([0.7, 1.0])[2 * x], 2 * np.cos([[0.7, 1.0], [1.4, 2.0]]))
    with pytest.raises(sm.DeclarationError, match="outside"):
        batch(3.1)


def test_a_batch_goes_to_xarray_but_to_no_table(batch):
    data = batch.to_xarray()
    assert data["u"].dims == ("batch_0", "t", "u_0", "u_1")
    close(data["x"].sel(t=3.0), np.cos([3.0, 6.0]))
    with pytest.raises(sm.DeclarationError, match="to_xarray"):
        batch.to_pandas()


def test_batches_of_batches_are_indexed_too():
    decay = sm.System(sm.Eq(D(z), -w * z), initial={z: 1})

    def solve(start, rate):
        return sm.solve(decay, t=(0, 1), initial={z: start}, values={w: rate}, saveat=[0.5, 1.0])

    rates, starts = jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 5.0])
    both = jax.vmap(lambda s: jax.vmap(lambda r: solve(s, r))(rates))(starts)
    exact = np.multiply.outer(starts, np.exp(-np.multiply.outer(rates, [0.5, 1.0])))
    np.testing.assert_allclose(both[2 * z], 2 * exact, rtol=1e-5)
    assert both[w].shape == (2, 3)


def test_members_of_a_batch_that_were_saved_at_other_times_keep_them():
    decay = sm.System(sm.Eq(D(z), -z), initial={z: 1})

    def solve(end):
        return sm.solve(decay, t=(0, end), saveat=jnp.array([0.5, 1.0]) * end)

    data = jax.vmap(solve)(jnp.array([1.0, 2.0])).to_xarray()
    assert data["z"].dims == ("batch_0", "step")
    close(data["t"], [[0.5, 1.0], [1.0, 2.0]])


def test_solutions_print_their_names_times_and_counts(sol):
    text = str(sol)
    steps = int(sol.stats["num_steps"])
    assert text.startswith(f"Solution of both: 201 times, t = 0 to 3; {steps} steps")
    assert [row.split()[0] for row in text.splitlines()[3:]] == ["x", "u", "D(x)"]
    assert sol._repr_mimebundle_()["text/plain"] == text


def test_batches_and_traced_solutions_print_too(batch):
    assert str(batch).startswith("Solution of both: 2 solves, 201 times")
    texts = []
    eqx.filter_jit(lambda sol: texts.append(str(sol)))(batch)
    assert texts == ["Solution of both, traced"]


def test_the_result_of_a_good_solve_says_so(sol):
    assert sol.result == dfx.RESULTS.successful
