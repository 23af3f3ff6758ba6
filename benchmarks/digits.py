"""Handwritten digits by a neural ODE, with and without costs of the solve in the loss.

``python -m benchmarks.digits [folder]`` trains what is not yet in ``digits.jsonl`` there, each with
three seeds, and writes ``digits.md`` and ``digits.png``. The state is an image of 64 numbers, its
rate a network of 50 hidden units of state and time; a linear map reads the digit off at time 1.
Batches of 120 images are solved as one system, as in the publication, by Tsit5 at tolerances of
1e-6; 2000 steps of Adam; float32. Weights of the costs, but that of TayNODE, were chosen on
240 of the images for training, with another seed (``python -m benchmarks.digits --choose``).
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

from .cases import of_arm, over, run_cases, spread

SEEDS = (0, 1, 2)
CHOOSING = 10
ARMS = {  # the weight of the cost, if there is one
    "vanilla": 0.0,
    "STEER": 0.0,
    "TayNODE, K = 3": 1e-6,
    "global error": 30.0,
    "global stiffness": 0.03,
    "local error, uniform": 10.0,
    "local error, steps": 25.0,
    "local error, uniform, backsolve": 10.0,
}
TRIED = {
    "global error": (10.0, 30.0, 100.0),
    "global stiffness": (0.03, 0.1, 0.3),
    "local error, uniform": (10.0, 25.0, 50.0),
    "local error, steps": (10.0, 25.0, 50.0),
}
STEPS, BATCH, TOLERANCE = 2000, 120, 1e-6


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
    """Images and digits for training, and 360 for testing, others for each seed."""
    import jax.numpy as jnp
    import numpy as np
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    x, y = data.data[order] / 16, data.target[order]
    held = 3 * BATCH
    if choosing:
        x, y, held = x[held:], y[held:], 2 * BATCH
    part = lambda rows: (jnp.asarray(x[rows], jnp.float32), jnp.asarray(y[rows]))
    return part(slice(held, None)), part(slice(held))


def module_of(seed: int) -> Any:
    """The rate, in a declared system, and the linear map."""
    import equinox as eqx
    import jax
    import numpy as np

    import sciml as sm
    from sciml import D, t

    class Batched(eqx.Module):
        network: eqx.nn.MLP

        def __call__(self, rows: Any, time: Any) -> Any:
            one = lambda row: self.network(jax.numpy.append(row, time))
            return jax.vmap(one)(rows)

    inside, out = jax.random.split(jax.random.key(seed))
    u = sm.unknown("u", shape=(BATCH, 64))
    f = sm.neural("f", Batched(eqx.nn.MLP(65, 64, 50, 1, jax.numpy.tanh, key=inside)))
    system = sm.System(sm.Eq(D(u), f(u, t)), initial={u: np.zeros((BATCH, 64))})
    return sm.compile(system), eqx.nn.Linear(64, 10, key=out)


def answer(module: Any, x: Any, *, end: Any = 1.0, **options: Any) -> Any:
    """Odds of the digits for a batch of images, and the statistics of the solve."""
    import diffrax as dfx
    import jax

    import sciml as sm

    model, readout = module
    (u,) = model.system.unknowns
    sol = sm.solve(
        model.replace(initial={u: x}), t=(0, end), saveat=dfx.SaveAt(t1=True), rtol=TOLERANCE,
        atol=TOLERANCE, solver=dfx.Tsit5(), max_steps=32, **options,
    )  # fmt: skip
    return jax.vmap(readout)(sol[u][-1]), sol.stats


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
        first, second, rows = jax.random.split(key, 3)
        chosen = jax.random.choice(rows, len(y), (BATCH,), replace=False)
        end = sm.steer((0.0, 1.0), width=0.5, key=first)[1] if arm == "STEER" else 1.0
        odds, stats = answer(
            module, x[chosen], end=end, adjoint=adjoint, regularise=cost, key=second
        )
        task = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(odds, y[chosen]))
        added = 0.0 if cost is None else weight * stats["cost"]
        return task + added, 1.0 * stats.get("num_evaluations", jnp.nan)

    module, taken, seconds = descend(
        loss, module_of(seed), optimiser=optax.adam(1e-3), steps=STEPS,
        key=jax.random.key(1000 + seed),
    )  # fmt: skip
    training = float(jnp.mean(jnp.stack(taken)))
    accuracy, evaluations = judged(module, *testing)
    return {
        "accuracy": accuracy, "training accuracy": judged(module, x, y)[0],
        "evaluations": evaluations, "evaluations in training": training, "training": seconds,
        "module": module,
    }  # fmt: skip


def judged(module: Any, x: Any, y: Any) -> tuple[float, float]:
    """How many of whole batches are right, in per cent, and the evaluations for a batch."""
    import equinox as eqx
    import numpy as np

    ask, right, counts = eqx.filter_jit(answer), [], []
    for first in range(0, len(y) - BATCH + 1, BATCH):
        odds, stats = ask(module, x[first : first + BATCH])
        right.append(np.argmax(odds, axis=1) == y[first : first + BATCH])
        counts.append(int(stats["num_evaluations"]))
    return 100 * float(np.mean(right)), float(np.mean(counts))


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
    import numpy as np

    from .timing import pairs

    found: dict[str, str] = {}
    run = eqx.filter_jit(lambda module, x: answer(module, x)[0])
    for arm in ARMS:
        ratios = []
        for seed in (seed for seed in SEEDS if file_of(folder, arm, seed).exists()):
            x = images(seed)[1][0][:BATCH]
            mine, plain = (
                eqx.tree_deserialise_leaves(file_of(folder, which, seed), module_of(seed))
                for which in (arm, "vanilla")
            )
            times = pairs(*(functools.partial(run, which, x) for which in (mine, plain)), count=21)
            ratios.append(float(np.median(times[:, 0] / times[:, 1])))
        found[arm] = spread(ratios, 2)
    return found


def table(results: list[dict[str, Any]], times: dict[str, str]) -> str:
    """Medians of the seeds, with the least and the greatest; evaluations also over vanilla's."""
    of = functools.partial(of_arm, results)
    lines = [
        "| digits | weight | test accuracy, % | evaluations | over vanilla's | time to predict, "
        "over vanilla's | evaluations in training | training, s |",
        "|---" * 8 + "|",
    ]
    for arm, weight in ARMS.items():
        cells = [
            arm, f"{weight:g}" if cost_of(arm) else "", spread(of(arm, "accuracy"), 1),
            spread(of(arm, "evaluations"), 1), spread(over(results, arm, "evaluations"), 2),
            times[arm],
            spread(of(arm, "evaluations in training"), 1), spread(of(arm, "training"), 0),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Accuracy over evaluations, a point for each training."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for number, arm in enumerate(ARMS):
        x, y = (of_arm(results, arm, name) for name in ("evaluations", "accuracy"))
        ax.plot(x, y, "os^vD*Px"[number], label=arm, alpha=0.8)
    ax.set(xlabel="evaluations for a batch, mean", ylabel="test accuracy, %", xlim=(0, None))
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=150)


def main(arguments: list[str]) -> None:
    """All cases, their table and their picture; or, to choose weights, the cases of that."""
    folders = [given for given in arguments if not given.startswith("--")]
    folder = Path(folders[0] if folders else ".")
    if "--choose" in arguments:
        cases: list[tuple] = [(arm, weight) for arm, tried in TRIED.items() for weight in tried]
        run_cases(choose, [("vanilla", 0.0), *cases], folder / "choices.jsonl")
        return
    last = lambda case: case[0].startswith("TayNODE")  # the slowest
    cases = sorted(((arm, seed, str(folder)) for seed in SEEDS for arm in ARMS), key=last)
    results = run_cases(one, cases, folder / "digits.jsonl")
    text = table(results, prediction_times(str(folder)))
    (folder / "digits.md").write_text(text)
    print(text)
    draw(results, folder / "digits.png")


if __name__ == "__main__":
    main(sys.argv[1:])
