"""Neural and forcing terms are written as Python that computes the same."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml as sm
from sciml import D
from sciml.export import ExportError, export
from sciml.export._export import _executed
from sciml.export._python import python_source

KEY = jax.random.key(0)
TABLE = jnp.linspace(0.0, 1.0, 6) ** 2


class Attention(eqx.Module):
    """Layers that are neither an MLP nor elementwise."""

    norm: eqx.nn.LayerNorm
    cell: eqx.nn.GRUCell
    filters: eqx.nn.Conv1d

    def __init__(self):
        self.norm = eqx.nn.LayerNorm(3)
        self.cell = eqx.nn.GRUCell(3, 3, key=KEY)
        self.filters = eqx.nn.Conv1d(1, 2, 2, key=KEY)

    def __call__(self, x):
        hidden = self.cell(self.norm(x), jnp.zeros(3, x.dtype))
        mixed = self.filters(hidden[None])
        return jax.nn.softmax(mixed @ mixed.T, axis=0)[0] * jnp.sort(hidden)[:2]


def looped(x):
    total, _ = jax.lax.scan(lambda c, a: (c * a + jnp.sin(a), c), x[0], x * TABLE[1:4])
    powered = jax.lax.while_loop(lambda c: c[1] < 3, lambda c: (c[0] * x[1], c[1] + 1), (total, 0))
    return jax.lax.cond(x[2] > 0, lambda v: v**2, lambda v: -v, powered[0])


def gathered(x):
    order = jnp.argsort(-x)
    return jnp.where(x > 0.5, TABLE[order], jnp.cumsum(x)[::-1]).at[0].get() + jnp.max(x)


TERMS = {
    "sequential": eqx.nn.Sequential(
        [eqx.nn.Linear(3, 4, key=KEY), eqx.nn.Lambda(jax.nn.gelu), eqx.nn.Linear(4, 1, key=KEY)]
    ),
    "relu": eqx.nn.MLP(3, "scalar", 5, 1, key=KEY),
    "learnt": eqx.nn.MLP(3, 1, 4, 1, activation=eqx.nn.PReLU(0.3), key=KEY),
    "attention": Attention(),
    "interpolated": lambda x: jnp.interp(x[0], jnp.linspace(0.0, 1.0, 6), TABLE),
    "looped": looped,
    "gathered": gathered,
    "elementary": lambda x: jnp.sum(
        jnp.arctan2(x, 2.0)
        + jnp.hypot(x, 1.0) ** -0.5
        - jnp.round(jnp.exp2(x)) % 3
        + jnp.clip(x, 0, 1)
    ),
    "large": eqx.nn.MLP(3, 1, 30, 2, activation=jax.nn.silu, key=KEY),
}


def model_of(module, dtype=None):
    x, y, z = sm.unknowns("x y z")
    f = sm.neural("f", module)
    out = f(x, y, z)
    out = out if not out.shape else sm.index(out, 0)
    equations = [sm.Eq(D(x), out), sm.Eq(D(y), -y), sm.Eq(D(z), -z)]
    return sm.compile(sm.System(*equations, initial={x: 0.3, y: 0.8, z: 0.6}), dtype=dtype)


def written(model):
    return _executed(python_source(model, "written", method="tsit5", max_steps=64), "written")


@pytest.mark.parametrize("name", TERMS)
def test_a_term_and_its_derivative_are_written_exactly(name):
    model = model_of(TERMS[name])
    field = written(model)["vector_field"]
    tangent = (jnp.asarray([1.0, -2.0, 0.5]),)
    expected = jax.jit(lambda y: jax.jvp(lambda y: model.vector_field(0.0, y), (y,), tangent))
    received = jax.jit(lambda y: jax.jvp(lambda y: field(0.0, y), (y,), tangent))
    for point in ([0.3, 0.8, 0.6], [1.4, -0.2, -0.9]):
        y = jnp.asarray(point)
        np.testing.assert_allclose(received(y), expected(y), rtol=1e-12, atol=1e-13)


def test_a_network_is_readable():
    source = python_source(
        model_of(eqx.nn.MLP(3, 1, 4, 1, activation=jax.nn.softplus, key=KEY)),
        "written",
        method="tsit5",
        max_steps=64,
    )
    assert "jax.nn.softplus(" in source
    assert 'jnp.matmul(w["layers_0_weight"], x) + w["layers_0_bias"]' in source


@pytest.mark.parametrize("name", ["sequential", "attention", "large"])
def test_everything_is_computed_in_the_type_of_the_state(name):
    field = written(model_of(TERMS[name], jnp.float32))["vector_field"]
    y = jnp.asarray([0.3, 0.8, 0.6], jnp.float32)
    single = jax.jit(field)(0.0, y)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, jax.jit(field)(0.0, y.astype(float)), rtol=1e-4)


def test_a_term_that_cannot_be_written_is_refused_by_name_and_goes_into_the_archive(tmp_path):
    def noisy(x):
        return x[0] + jax.random.normal(jax.random.key(0), (), x.dtype)

    model = model_of(noisy)
    with pytest.raises(ExportError, match='the term f uses .* kind="stablehlo"'):
        export(model, tmp_path / "noisy")
    assert not list(tmp_path.iterdir())
    assert [p.name for p in export(model, tmp_path / "noisy", kind="stablehlo")] == ["noisy.sciml"]


def test_a_term_that_changes_from_call_to_call_is_refused(tmp_path):
    calls = []

    def changing(x):
        calls.append(x)
        return x[0] * len(calls)

    with pytest.raises(ExportError, match="changes from call to call"):
        export(model_of(changing), tmp_path / "changing")
    assert not list(tmp_path.iterdir())


def test_derivatives_of_terms_are_written(tmp_path):
    v, direction = sm.unknown("v", shape=2), sm.constant([0.4, -1.0])
    energy = sm.neural("h", eqx.nn.MLP(5, 1, 4, 1, activation=jax.nn.softplus, key=KEY))
    field = sm.neural("g", eqx.nn.MLP(2, 2, 4, 1, activation=jnp.tanh, key=KEY))
    each = sm.neural("p", eqx.nn.MLP(1, 1, 4, 1, activation=jnp.tanh, key=KEY), pointwise=True)
    x, y, z = sm.unknowns("x y z")
    total = energy(v, x, y, z)
    model = sm.compile(
        sm.System(
            sm.Eq(D(v), sm.gradient(total, v) + D(field(v)).xreplace({D(v): direction})),
            sm.Eq(D(x), sm.gradient(total, x) + sm.gradient(sm.gradient(total, y), z)),
            sm.Eq(D(y), sm.total(sm.gradient(sm.total(each(v) + field(v) ** 2), v))),
            sm.Eq(D(z), -z),
            initial={v: [0.2, 0.5], x: 0.3, y: 0.8, z: 0.6},
        )
    )
    field = written(model)["vector_field"]
    expected, received = (
        jax.jit(jax.value_and_grad(lambda y, f=f: jnp.sum(f(0.0, y) ** 2)))(model.state())
        for f in (model.vector_field, field)
    )
    np.testing.assert_allclose(received[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(received[1], expected[1], rtol=1e-10)
    assert len(export(model, tmp_path / "derived")) == 2
