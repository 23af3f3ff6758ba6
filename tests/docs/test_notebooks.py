"""What a notebook shows of systems, models, solutions and fits: formulas in Markdown, and a table.

Markdown is what MyST-NB, Jupyter, VS Code and nbconvert all render with its formulas; HTML outranks
it, and VS Code does not look for formulas in that.
"""

import equinox as eqx
import jax
import numpy as np
import pytest

import sciml as sm
from sciml import D, t

x, y = sm.unknowns("x y", unit="m")
k = sm.parameter("k", 0.5, unit="1/s", description="<decay>")
f = sm.neural("f", eqx.nn.MLP(1, 1, 2, 1, key=jax.random.key(0)))
system = sm.System(
    sm.Eq(D(x), -k * x),
    sm.Eq(D(y, 2), f(y)),
    initial={x: 1, y: 0, D(y): 1},
    observed={"x_half": x / 2},
    name="two_parts",
)


@pytest.fixture(scope="module")
def shown():
    model = sm.compile(system)
    solution = sm.solve(model, t=(0, 1), saveat=[0.0, 0.5, 1.0])
    data = {t: solution.ts, x: solution[x]}
    fitted = sm.fit(
        model, data, key=jax.random.key(0), free=[k], steps=1, polish=None, progress=False
    )
    things = {"system": system, "model": model, "solution": solution, "fit": fitted}
    return {name: thing._repr_mimebundle_() for name, thing in things.items()}


@pytest.mark.parametrize("thing", ["system", "model", "solution", "fit"])
def test_everything_is_shown_as_markdown_and_as_text(shown, thing):
    assert set(shown[thing]) == {"text/plain", "text/markdown"}
    assert "<table>" in shown[thing]["text/markdown"]


@pytest.mark.parametrize("thing", ["system", "model", "fit"])
def test_equations_are_one_displayed_formula(shown, thing):
    formula = shown[thing]["text/markdown"].split("$$")[1]
    assert r"\dot{x} &= - k \, x" in formula
    assert r"\ddot{y} &= f\left(y\right)" in formula
    assert "\n" not in formula  # a blank line would end it


def test_observed_quantities_are_definitions(shown):
    assert r"x_{\mathrm{half}} &:= \frac{x}{2}" in shown["system"]["text/markdown"]


def test_columns_without_any_entry_are_left_out(shown):
    assert "<th>unit</th>" in shown["solution"]["text/markdown"]
    assert "<th>shape</th>" not in shown["solution"]["text/markdown"]


def test_what_users_write_is_escaped(shown):
    assert "&lt;decay&gt;" in shown["system"]["text/markdown"]
    assert "<decay>" in shown["system"]["text/plain"]


def test_a_solution_says_where_it_begins_and_ends(shown):
    row = shown["solution"]["text/plain"].splitlines()[3].split()
    assert row == ["x", "1", f"{np.exp(-0.5):.5g}", f"{np.exp(-0.5):.5g}", "1", "m"]


def test_a_large_system_is_cut_short():
    many = sm.unknowns([f"u{i}" for i in range(80)])
    bundle = sm.System([sm.Eq(D(u), -u) for u in many])._repr_mimebundle_()
    assert r"\text{(30 more)}" in bundle["text/markdown"]
    assert "... 30 more" in bundle["text/markdown"]
    assert "D(u79) = -u79" in bundle["text/plain"]
