"""A neural SDE of a spiral's mean and variance, at published size, with and without a cost.

``python -m benchmarks.spiral_sde [folder]`` trains what is not yet in ``spiral_sde.jsonl`` there
and writes ``spiral_sde.md``. Drift of 50 hidden units of the cubes of the state, affine noise, 250
steps of AdaBelief on 100 paths, 30 times; the loss is the sum of squared errors of means and
variances, those of 10 000 paths of ``du1 = (-a u1^3 + b u2^3) dt + g u1 dW1``,
``du2 = (-b u1^3 - a u2^3) dt + g u2 dW2`` with a = 0.1, b = 2, g = 0.2 from (2, 0). Published with
SOSRI at tolerances of 0.3; Diffrax has SPaRK, which takes the least number of steps that there can
be at 0.3 (12 evaluations), so that nothing could be saved: here at 0.003. Float64.

Source: Pal, Ma, Shah, Rackauckas, Opening the blackbox (2021), section 4.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

from .cases import of_arm, over, run_arms, spread

SEEDS = (0, 1, 2)
ARMS = {"vanilla": 0.0, "global error": 1.0, "local error": 20.0}
STEPS, PATHS, TOLERANCE = 250, 100, 0.003


def moments() -> tuple[Any, Any]:
    """Means and variances of the truth at the 30 times, by Euler and Maruyama in small steps."""
    import numpy as np

    random, inner = np.random.default_rng(0), 100
    u, found = np.tile([2.0, 0.0], (10_000, 1)), []
    step = 1 / 29 / inner
    matrix = np.array([[-0.1, 2.0], [-2.0, -0.1]])
    for _ in range(29):
        found.append(u)
        for _ in range(inner):
            noise = random.normal(size=u.shape) * np.sqrt(step)
            u = u + (u**3 @ matrix.T) * step + 0.2 * u * noise
    found.append(u)
    paths = np.stack(found)
    return paths.mean(axis=1), paths.var(axis=1)


def cost_of(arm: str) -> Any:
    """The cost that an arm adds to its loss."""
    import sciml as sm

    if arm == "vanilla":
        return None
    where, _ = arm.split()
    return sm.solver_cost("error", where=where, sampling="steps")


def model_of(seed: int) -> Any:
    """The neural SDE, compiled."""
    import equinox as eqx
    import jax

    import sciml as sm
    from sciml import D

    one, two = jax.random.split(jax.random.key(seed))
    x, noise = sm.unknown("x", shape=2), sm.brownian("W", shape=2)
    f = sm.neural("drift", eqx.nn.MLP(2, 2, 50, 1, jax.numpy.tanh, key=one))
    g = sm.neural("noise", eqx.nn.Linear(2, 2, key=two))
    equation = sm.Eq(D(x), f(x**3) + g(x) * D(noise))
    return sm.compile(sm.System(equation, initial={x: [2.0, 0.0]}, calculus="stratonovich"))


def one(case: tuple) -> dict[str, Any]:
    """One training: its loss and the evaluations for a path, on 1000 new paths."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import diffrax as dfx
    import jax.numpy as jnp
    import numpy as np
    import optax

    import sciml as sm

    from .descent import descend

    arm, seed = case
    cost, weight = cost_of(arm), ARMS[arm]
    mean, variance = moments()
    control = dfx.PIDController(rtol=TOLERANCE, atol=TOLERANCE)

    def paths(model: Any, key: Any, count: int, cost: Any = None) -> tuple[Any, Any, Any]:
        def path(key: Any) -> tuple[Any, Any, Any]:
            sol = sm.solve(
                model, t=(0, 1), saveat=np.linspace(0, 1, 30), key=key, dt0=0.01,
                solver=dfx.SPaRK(), stepsize_controller=control, regularise=cost,
            )  # fmt: skip
            return sol.ys, sol.stats["num_evaluations"], sol.stats.get("cost", 0.0)

        ys, taken, added = jax.vmap(path)(jax.random.split(key, count))
        gaps = jnp.sum((ys.mean(axis=0) - mean) ** 2 + (ys.var(axis=0) - variance) ** 2)
        return gaps, jnp.mean(taken * 1.0), jnp.mean(added)

    def loss(model: Any, key: Any, step: Any) -> tuple[Any, Any]:
        gaps, taken, added = paths(model, key, PATHS, cost)
        return gaps + weight * added, taken

    model, taken, seconds = descend(
        loss, model_of(seed), optimiser=optax.adabelief(0.01), steps=STEPS,
        key=jax.random.key(1000 + seed),
    )  # fmt: skip
    gaps, evaluations, _ = jax.jit(lambda key: paths(model, key, 1000))(jax.random.key(77))
    return {
        "loss": float(gaps), "evaluations": float(evaluations),
        "evaluations in training": float(np.mean(taken)), "training": seconds,
    }  # fmt: skip


def table(results: list[dict[str, Any]]) -> str:
    """Medians of the seeds, with the least and the greatest; ratios of the same seed."""
    of = functools.partial(of_arm, results)
    lines = [
        "| spiral SDE | weight | loss | over vanilla's | evaluations of the drift for a path | "
        "over vanilla's | training, s |",
        "|---" * 7 + "|",
    ]
    for arm, weight in ARMS.items():
        cells = [
            arm, f"{weight:g}" if weight else "", spread(of(arm, "loss")),
            spread(over(results, arm, "loss"), 2), spread(of(arm, "evaluations"), 1),
            spread(over(results, arm, "evaluations"), 2), spread(of(arm, "training"), 0),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    run_arms(one, ARMS, SEEDS, table, folder / "spiral_sde.jsonl")
