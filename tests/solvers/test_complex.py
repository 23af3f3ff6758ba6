"""Complex unknowns: waves and oscillations against closed forms, and what is asked of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from sympy import Abs, I, conjugate, im, pi, re, sech, sin

import sciml as sm
from sciml import D, t

x = sm.coordinate("x")
psi = sm.unknown("psi", t, x, complex=True)
z = sm.unknown("z", complex=True)
w, k = sm.parameters("w k")
ACCURATE = {"rtol": 1e-9, "atol": 1e-11}
RING = {"domain": {x: (-20, 20)}, "boundary": [sm.Eq(psi.at(x=-20), psi.at(x=20))]}
FREE = sm.System(
    sm.Eq(I * D(psi, t), -D(psi, x, x) / 2),
    initial={psi: sympy.exp(-(x**2) / 2 + 3 * I * x)},
    observed={"density": Abs(psi) ** 2, "flux": conjugate(psi) * D(psi, x)},
    **RING,
)
SPIRAL = sm.System(sm.Eq(D(z), (I * w - k) * z), initial={z: 1 + 2j}, values={w: 3, k: 0.5})


def packet(x, time):
    """The Gaussian packet of unit width and momentum 3."""
    spread = 1 + 1j * time
    return np.exp((-(x**2) / 2 + 3j * x - 4.5j * time) / spread) / np.sqrt(spread)


@pytest.fixture(scope="module")
def spread():
    return sm.solve(FREE, t=(0, 1), grid={x: 256}, scheme="fourier", saveat=[0, 0.5, 1], **ACCURATE)


def test_a_free_wave_packet_spreads_as_in_closed_form(spread):
    expected = packet(spread.model.grid["x"], np.asarray(spread.ts)[:, None])
    assert spread[psi].dtype == complex
    np.testing.assert_allclose(spread[psi], expected, atol=1e-8)
    np.testing.assert_array_equal(spread["psi"], spread[psi])


def test_its_norm_is_conserved(spread):
    norm = np.sum(np.asarray(spread["density"]), axis=1)
    np.testing.assert_allclose(norm, norm[0], rtol=1e-8)
    np.testing.assert_allclose(spread["density"], np.abs(spread[psi]) ** 2, atol=1e-15)


def test_any_expression_of_it_can_be_asked_for(spread):
    nodes, values = spread.model.grid["x"], np.asarray(spread[psi])
    slope = (-nodes + 3j) / (1 + 1j) * packet(nodes, 1.0)
    np.testing.assert_allclose(spread[D(psi, x)][-1], slope, atol=0.02)  # of order 4
    np.testing.assert_allclose(spread[re(psi)], values.real, atol=0)
    np.testing.assert_allclose(spread[im(psi)], values.imag, atol=0)
    np.testing.assert_allclose(spread[Abs(psi)], np.abs(values), atol=1e-15)
    np.testing.assert_allclose(spread[sympy.exp(I) * psi], np.exp(1j) * values, atol=1e-14)
    np.testing.assert_allclose(
        spread["flux"], np.conj(values) * np.asarray(spread[D(psi, x)]), atol=1e-14
    )
    assert spread[psi.at(x=0)].shape == (3,)


def test_a_dataset_holds_complex_numbers(spread):
    table = spread.to_xarray()
    assert set(table.data_vars) == {"psi", "density", "flux"}
    assert table["psi"].dims == ("t", "x")
    assert table["psi"].dtype == complex
    assert table["density"].dtype == float


def test_both_parts_are_drawn_and_films_want_one(spread, tmp_path):
    assert len(spread.plot()) == 2
    spread.plot(Abs(psi))
    for draw in (lambda: spread.slices(psi), lambda: spread.animate(psi, tmp_path / "psi.gif")):
        with pytest.raises(sm.DeclarationError, match=r"psi is complex.*sympy\.Abs"):
            draw()


def test_the_schemes_are_told_of_the_declared_field(spread):
    assert spread.model.schemes == {D(psi, x, x): "Fourier"}
    mixed = sm.compile(FREE, grid={x: 64}, scheme={D(psi, x, x): "fourier"})
    assert mixed.schemes == {D(psi, x, x): "Fourier"}


def test_finite_differences_of_order_8_converge_so():
    errors = []
    for count in (128, 256):
        sol = sm.solve(FREE, t=(0, 0.2), grid={x: count}, order=8, saveat=[0.2], **ACCURATE)
        errors.append(np.max(np.abs(sol[psi][-1] - packet(sol.model.grid["x"], 0.2))))
    assert np.log2(errors[0] / errors[1]) > 6.5


def test_a_soliton_keeps_its_form():
    focusing = sm.System(
        sm.Eq(I * D(psi, t), -D(psi, x, x) / 2 - Abs(psi) ** 2 * psi),
        initial={psi: sech(x)},
        **RING,
    )
    sol = sm.solve(
        focusing, t=(0, 2), grid={x: 256}, scheme="fourier", saveat=[0, 1, 2], **ACCURATE
    )
    turned = np.exp(0.5j * np.asarray(sol.ts))[:, None]
    np.testing.assert_allclose(sol[psi], turned / np.cosh(sol.model.grid["x"]), atol=1e-7)


def test_complex_conditions_of_robin_and_dirichlet_hold():
    damped = (1 + I) / 2
    system = sm.System(
        sm.Eq(D(psi, t), damped * D(psi, x, x)),
        domain={x: (0, 1)},
        boundary=[
            sm.Eq(sm.at(D(psi, x), x=0), I * psi.at(x=0)),
            sm.Eq(psi.at(x=1), sympy.exp(I - damped * t)),
        ],
        initial={psi: sympy.exp(I * x)},
    )
    sol = sm.solve(system, t=(0, 1), grid={x: 33}, solver="stiff", saveat=[0, 1], **ACCURATE)
    expected = np.exp(1j * sol.model.grid["x"] - 0.5 - 0.5j)
    np.testing.assert_allclose(sol[psi][-1], expected, atol=1e-6)


def test_conditions_of_the_parts_count_as_one():
    ends = [sm.Eq(re(psi.at(x=0)), 1), sm.Eq(im(psi.at(x=0)), 0), sm.Eq(psi.at(x=1), I)]
    system = sm.System(sm.Eq(D(psi, t), D(psi, x, x)), domain={x: (0, 1)}, boundary=ends)
    sol = sm.solve(
        system.replace(initial={psi: 1 - x + I * x + sin(pi * x)}),
        t=(0, 3),
        grid={x: 17},
        solver="stiff",
    )
    nodes = sol.model.grid["x"]
    np.testing.assert_allclose(sol[psi][-1], 1 - nodes + 1j * nodes, atol=1e-5)
    with pytest.raises(sm.ModelError, match="psi has too few conditions"):
        sm.check(sm.System(*system.equations, domain={x: (0, 1)}, boundary=ends[:2]))


def test_an_oscillation_without_coordinates():
    sol = sm.solve(SPIRAL, t=(0, 2), **ACCURATE)
    expected = (1 + 2j) * np.exp((3j - 0.5) * np.asarray(sol.ts))
    np.testing.assert_allclose(sol[z], expected, atol=1e-8)
    np.testing.assert_allclose(sol[D(z)], (3j - 0.5) * expected, atol=1e-7)
    looser = sm.solve(SPIRAL, t=(0, 2), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(looser(1.0)[z], (1 + 2j) * np.exp(3j - 0.5), rtol=1e-5)
    assert sol.to_pandas()["z"].dtype == complex
    assert sm.solve(SPIRAL, t=(0, 1), initial={"z": 3j})[z][0] == 3j


def test_arrays_of_complex_numbers():
    v = sm.unknown("v", shape=2, complex=True)
    turning = sm.System(sm.Eq(D(v), np.array([[0, 1j], [1j, 0]]) @ v), initial={v: [1, 0]})
    sol = sm.solve(turning, t=(0, 1), saveat=[1], **ACCURATE)
    np.testing.assert_allclose(sol[v][0], [np.cos(1), 1j * np.sin(1)], atol=1e-8)
    np.testing.assert_allclose(sol[v[1]], 1j * np.sin(1), atol=1e-8)


@pytest.mark.parametrize(
    "function",
    [
        lambda z: z**3 - 2 * z,
        lambda z: sympy.exp(z) / sympy.sqrt(z),
        lambda z: z ** sympy.Rational(1, 3) + 2**z,
        lambda z: sympy.log(z) * conjugate(z) + sympy.arg(z),
        lambda z: sympy.sin(z) + sympy.tanh(z) + 1 / z,
        lambda z: Abs(z) ** 4 + Abs(z) * re(z) * I,
    ],
)
def test_functions_agree_with_those_of_sympy(function):
    model = sm.compile(sm.System(sm.Eq(D(z), function(z)), initial={z: 1 + 0.5j}))
    value = model.evaluate(D(z), 0.0, model.state())
    expected = complex(function(sympy.Float(1) + sympy.I * sympy.Float(0.5)))
    np.testing.assert_allclose(value, expected, rtol=1e-13)


def test_gradients_agree_with_finite_differences():
    model = sm.compile(FREE.replace(equations=[sm.Eq(I * D(psi, t), -k * D(psi, x, x) / 2)],
                                    values={k: 1.0}), grid={x: 64})  # fmt: skip

    def width(stiffness):
        sol = sm.solve(model, t=(0, 0.5), values={k: stiffness}, saveat=[0.5], **ACCURATE)
        return jnp.sum(model.grid["x"] ** 2 * jnp.abs(sol[psi][-1]) ** 2)

    step = 1e-5
    slope = (width(1.0 + step) - width(1.0 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(width)(1.0), slope, rtol=1e-5)


def test_given_arrays_replace_initial_values():
    model = sm.compile(FREE, grid={x: 32})
    wave = np.exp(2j * np.linspace(0, 1, 32))
    for given in (wave, jnp.asarray(wave)):
        sol = sm.solve(model.replace(initial={psi: given}), t=(0, 0.01), saveat=[0])
        np.testing.assert_allclose(sol[psi][0], wave, rtol=1e-15)


def test_parts_are_fitted_and_complex_columns_refused():
    times = np.array([0.0, 1.0, 2.0])
    model = sm.System(sm.Eq(D(z), -k * z), initial={z: 1j}, values={k: 1})
    fitted = sm.fit(
        model, {t: times, im(z): np.exp(-0.5 * times)}, key=jax.random.key(0), progress=False
    )
    np.testing.assert_allclose(fitted.model.parameters["k"], 0.5, atol=1e-5)
    with pytest.raises(sm.DataError, match=r"sympy\.re\(z\) and sympy\.im\(z\)"):
        sm.fit(model, {t: times, z: 1j * times}, key=jax.random.key(0))


def test_a_failure_names_the_part_of_the_users_equation():
    grown = sm.System(sm.Eq(D(z), z**2), initial={z: 1})
    with pytest.raises(sm.SolveError, match=r"real part of D\(z\) = z\*\*2"):
        sm.solve(grown, t=(0, 2))
