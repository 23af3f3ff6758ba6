"""Handwritten digits by a neural ODE, with and without costs of the solve in the loss.

``python -m benchmarks.digits [folder]`` trains what is not yet in ``digits.jsonl`` there, each with
three seeds, and writes ``digits.md`` and ``digits.png``. The state is the image of 64 numbers, the
rate a network of 50 hidden units of state and time; a linear map reads the digit off at time 1.
Tsit5 at tolerances of 1e-6; 2000 steps of Adam on batches of 128; float32. Weights of the costs
were chosen on a fifth of the images for training, with another seed (``python -m benchmarks.digits
--choose``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .cases import run_cases, spread

SEEDS = (0, 1, 2)
CHOOSING = 10
ARMS = {  # the weight of the cost, if there is one
    "vanilla": 0.0,
    "STEER": 0.0,
    "TayNODE, K = 3": 0.01,
    "global error": 30.0,
    "global stiffness": 0.1,
    "local error, uniform": 50.0,
    "local error, steps": 50.0,
    "local error, uniform, backsolve": 50.0,
}
TRIED = {
    "TayNODE, K = 3": (0.001, 0.01, 0.1),
    "global error": (10.0, 30.0, 100.0),
    "global stiffness": (0.03, 0.1, 0.3),
    "local error, uniform": (10.0, 30.0, 100.0),
    "local error, steps": (10.0, 30.0, 100.0),
}
STEPS, BATCH, TOLERANCE = 2000, 128, 1e-6


def cost_of(arm: str) -> Any:
    """The cost that an arm adds to its loss."""
    import sciml as sm

    if arm.startswith("TayNODE"):
        return sm.taylor_cost(3)
    if arm == "global error":
        return sm.solver_cost("error", reduce="mean")
    if arm == "global stiffness":
        return sm.solver_cost("stiffness", reduce="max")
    if arm.startswith("local"):
        sampling = "steps" if "steps" in arm else "uniform"
        return sm.solver_cost("error", where="local", sampling=sampling)
    return None


def images(seed: int, *, choosing: bool = False) -> tuple[Any, Any]:
    """Images and digits for training, and for testing: a fifth of all, another one by each seed."""
    import jax.numpy as jnp
    import numpy as np
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    x, y = data.data[order] / 16, data.target[order]
    fifth = len(y) // 5
    if choosing:
        x, y = x[fifth:], y[fifth:]
    part = lambda rows: (jnp.asarray(x[rows], jnp.float32), jnp.asarray(y[rows]))
    return part(slice(fifth, None)), part(slice(fifth))


def module_of(seed: int) -> Any:
    """The rate, in a declared system, and the linear map."""
    import equinox as eqx
    import jax

    import sciml as sm
    from sciml import D, t

    inside, out = jax.random.split(jax.random.key(seed))
    u = sm.unknown("u", shape=64)
    f = sm.neural("f", eqx.nn.MLP(65, 64, 50, 1, jax.numpy.tanh, key=inside))
    system = sm.System(sm.Eq(D(u), f(u, t)), initial={u: [0.0] * 64})
    return sm.compile(system), eqx.nn.Linear(64, 10, key=out)


def states(model: Any, x: Any, *, end: Any = 1.0, **options: Any) -> Any:
    """The solution from one image, of which the end is saved."""
    import diffrax as dfx

    import sciml as sm

    (u,) = model.system.unknowns
    return sm.solve(
        model.replace(initial={u: x}), t=(0, end), saveat=dfx.SaveAt(t1=True), rtol=TOLERANCE,
        atol=TOLERANCE, solver=dfx.Tsit5(), max_steps=32, **options,
    )  # fmt: skip


def train(arm: str, seed: int, weight: float, *, choosing: bool = False) -> dict[str, Any]:
    """One training: accuracy, evaluations of each image, seconds; and the trained module."""
    import jax
    import jax.numpy as jnp
    import optax

    import sciml as sm

    from .descent import descend

    cost = cost_of(arm)
    adjoint = "backsolve" if "backsolve" in arm else "checkpointed"
    (x, y), testing = images(seed, choosing=choosing)

    def loss(module: Any, key: Any, step: Any) -> Any:
        model, readout = module
        first, second, rows = jax.random.split(key, 3)
        chosen = jax.random.choice(rows, len(y), (BATCH,), replace=False)
        end = sm.steer((0.0, 1.0), width=0.5, key=first)[1] if arm == "STEER" else 1.0
        options: dict[str, Any] = {"end": end, "adjoint": adjoint, "regularise": cost}

        def one(x: Any, key: Any) -> tuple[Any, Any, Any]:
            sol = states(model, x, key=key, **options)
            added = 0.0 if cost is None else sol.stats["cost"]
            return readout(sol.ys[-1]), added, sol.stats.get("num_evaluations", 0)

        logits, added, taken = jax.vmap(one)(x[chosen], jax.random.split(second, BATCH))
        task = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y[chosen]))
        return task + weight * jnp.mean(added), jnp.mean(taken * 1.0)

    module, taken, seconds = descend(
        loss, module_of(seed), optimiser=optax.adam(1e-3), steps=STEPS,
        key=jax.random.key(1000 + seed),
    )  # fmt: skip
    training = float(jnp.mean(jnp.stack(taken)))
    (right, counts), (known, _) = predict(module, *testing), predict(module, x, y)
    return {
        "accuracy": 100 * float(right), "training accuracy": 100 * float(known),
        "evaluations": float(jnp.mean(counts)), "most evaluations": int(jnp.max(counts)),
        "evaluations in training": training, "training": seconds, "module": module,
    }  # fmt: skip


def predict(module: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """The share that is right, and the evaluations for each image."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    @eqx.filter_jit
    def run(module: Any, x: Any) -> Any:
        def one(x: Any) -> tuple[Any, Any]:
            sol = states(module[0], x)
            return jnp.argmax(module[1](sol.ys[-1])), sol.stats["num_evaluations"]

        return jax.vmap(one)(x)

    guess, counts = run(module, x)
    return jnp.mean(guess == y), counts * 1.0


def one(case: tuple) -> dict[str, Any]:
    """A case of the benchmark, whose module is saved beside the record."""
    import equinox as eqx

    arm, seed, folder = case
    result = train(arm, seed, ARMS[arm])
    eqx.tree_serialise_leaves(file_of(folder, arm, seed), result.pop("module"))
    return result


def file_of(folder: str, arm: str, seed: int) -> Path:
    """Where the weights of a case are."""
    return Path(folder) / f"digits-{list(ARMS).index(arm)}-{seed}.eqx"


def choose(case: tuple) -> dict[str, Any]:
    """A case of choosing a weight, scored on images that were set aside of those for training."""
    arm, weight = case
    result = train(arm, CHOOSING, weight, choosing=True)
    del result["module"]
    return result


def prediction_times(folder: str) -> dict[str, str]:
    """Seconds to predict the images for testing over those of vanilla, pairs in turn, by seed."""
    import equinox as eqx
    import jax
    import numpy as np

    from .timing import pairs

    found: dict[str, str] = {}

    @eqx.filter_jit
    def run(module: Any, x: Any) -> Any:
        return jax.vmap(lambda x: module[1](states(module[0], x).ys[-1]))(x)

    for arm in ARMS:
        ratios = []
        for seed in SEEDS:
            x = images(seed)[1][0]
            mine, plain = (
                eqx.tree_deserialise_leaves(file_of(folder, which, seed), module_of(seed))
                for which in (arm, "vanilla")
            )
            times = pairs(lambda: run(mine, x), lambda: run(plain, x), count=21)  # noqa: B023
            ratios.append(float(np.median(times[:, 0] / times[:, 1])))
        found[arm] = spread(ratios, 2)
    return found


def table(results: list[dict[str, Any]], times: dict[str, str]) -> str:
    """Medians of the seeds, with the least and the greatest; evaluations also over vanilla's."""
    of = lambda arm, name: [r[name] for r in results if r["case"][0] == arm]
    by_seed = lambda arm: {r["case"][1]: r["evaluations"] for r in results if r["case"][0] == arm}
    plain = by_seed("vanilla")
    lines = [
        "| digits | weight | test accuracy, % | evaluations | over vanilla's | time to predict, "
        "over vanilla's | evaluations in training | training, s |",
        "|---" * 8 + "|",
    ]
    for arm, weight in ARMS.items():
        mine = by_seed(arm)
        ratios = [mine[seed] / plain[seed] for seed in SEEDS]
        cells = [
            arm, f"{weight:g}" if cost_of(arm) else "", spread(of(arm, "accuracy"), 1),
            spread(of(arm, "evaluations"), 1), spread(ratios, 2), times[arm],
            spread(of(arm, "evaluations in training"), 1), spread(of(arm, "training"), 0),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Accuracy over evaluations, a point for each training."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for number, arm in enumerate(ARMS):
        mine = [r for r in results if r["case"][0] == arm]
        x, y = ([r[name] for r in mine] for name in ("evaluations", "accuracy"))
        ax.plot(x, y, "os^vD*Px"[number], label=arm, alpha=0.8)
    ax.set(xlabel="evaluations for an image, mean", ylabel="test accuracy, %", xlim=(0, None))
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=150)


def main(arguments: list[str]) -> None:
    """All cases, their table and their picture; or, to choose weights, the cases of that."""
    folders = [given for given in arguments if not given.startswith("--")]
    folder = Path(folders[0] if folders else ".")
    if "--choose" in arguments:
        cases: list[tuple] = [(arm, weight) for arm, tried in TRIED.items() for weight in tried]
        for result in run_cases(choose, [("vanilla", 0.0), *cases], folder / "choices.jsonl"):
            print(result)
        return
    cases = [(arm, seed, str(folder)) for seed in SEEDS for arm in ARMS]
    results = run_cases(one, cases, folder / "digits.jsonl")
    text = table(results, prediction_times(str(folder)))
    (folder / "digits.md").write_text(text)
    print(text)
    draw(results, folder / "digits.png")


if __name__ == "__main__":
    main(sys.argv[1:])
