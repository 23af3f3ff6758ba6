"""A latent ODE of real irregular series, with and without a cost of the solve in its loss.

``python -m benchmarks.latent_cost [folder]`` trains what is not yet in ``latent_cost.jsonl`` there
and writes ``latent_cost.md``. The series are `sciml.data.japanese_vowels`, of 7 to 29 times and
twelve channels, of which half of the values are taken away at random; 270 for training, 370 for
testing. `sciml.nn.LatentODE` by Tsit5 at tolerances of 1e-6; 500 steps on batches of 32; the
weight of a cost falls tenfold along an exponential. Float64.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

from .cases import of_arm, over, run_arms, spread

SEEDS = (0, 1, 2)
ARMS = {"vanilla": 0.0, "global error": 1000.0, "global stiffness": 10.0, "local error": 1000.0}
STEPS, TOLERANCE = 500, 1e-6


def cost_of(arm: str, weight: float) -> Any:
    """The cost that an arm adds to its loss."""
    import optax

    import sciml as sm

    falling = optax.exponential_decay(weight, STEPS, 0.1)
    if arm == "vanilla":
        return None
    if arm.startswith("local"):
        return sm.solver_cost("error", where="local", weight=falling)
    kind = arm.split()[-1]
    reduce = "mean" if kind == "error" else "max"
    return sm.solver_cost(kind, reduce=reduce, weight=falling)


def one(case: tuple) -> dict[str, Any]:
    """One training: on the series for testing, the bound, the error and the evaluations."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import diffrax as dfx
    import jax.numpy as jnp
    import numpy as np

    import sciml as sm

    arm, seed = case
    key = jax.random.key(seed)
    whole = sm.data.japanese_vowels()
    training, testing = (
        part.drop(0.5, key=jax.random.fold_in(key, n)) for n, part in enumerate(whole)
    )
    module = sm.nn.LatentODE(
        sm.unknown("c", shape=12), latent=8, width=32, noise=0.5, key=jax.random.fold_in(key, 2)
    )
    options: dict[str, Any] = {"solver": dfx.Tsit5(), "rtol": TOLERANCE, "atol": TOLERANCE}
    fitted = sm.fit(
        module, training, key=key, mode=sm.Variational(), steps=STEPS, learning_rate=0.005,
        regularise=cost_of(arm, ARMS[arm]), progress=False, **options,
    )  # fmt: skip
    stepping = sm.nn.Stepping(**options)
    batch = fitted.reader.batch(testing)

    def evaluations(times: Any, values: Any) -> Any:
        mean, _ = fitted.module.encode(times, values)
        path = stepping.through(fitted.module.model, times, mean)
        return path.stats["num_evaluations"]

    counts = jax.jit(jax.vmap(evaluations))(batch.times, batch.values)
    shown, full = fitted.predict(testing), whole[1]
    hidden = [
        ((guess - true) / fitted.reader.scaling.scale)[~np.isfinite(seen)]
        for guess, true, seen in zip(shown.values, full.values, testing.values, strict=True)
    ]
    return {
        "bound": fitted.score(testing),
        "error": float(np.sqrt(np.mean(np.concatenate(hidden) ** 2))),
        "evaluations": float(jnp.mean(counts * 1.0)),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Medians of the seeds, with the least and the greatest; ratios of the same seed."""
    of = functools.partial(of_arm, results)
    lines = [
        "| latent ODE | weight | loss (minus the bound, for a series) | error of the values taken "
        "away, deviations | evaluations | over vanilla's |",
        "|---" * 6 + "|",
    ]
    for arm, weight in ARMS.items():
        cells = [
            arm, f"{weight:g}" if weight else "", spread(of(arm, "bound"), 1),
            spread(of(arm, "error")), spread(of(arm, "evaluations"), 1),
            spread(over(results, arm, "evaluations"), 2),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    run_arms(one, ARMS, SEEDS, table, folder / "latent_cost.jsonl")
