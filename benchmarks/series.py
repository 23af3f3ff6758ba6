"""Accuracy on series with missing values: ours beside a GRU of equal size, and SDEs side by side.

``python -m benchmarks.series [folder]`` runs every case that is not yet in ``series.jsonl`` there,
one on each processor, and writes ``series.md`` and ``series.png``; float32. Long: about an hour and
a half of processor time in all.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

SHARES = (0.0, 0.3, 0.5, 0.7)
SEEDS = (0, 1, 2)
TASKS = {
    "speakers": ("GRU", "neural CDE", "linear-noise SDE"),
    "sines": ("naive", "langevin", "linear noise", "geometric"),
    "sea": ("GRU", "neural CDE", "linear-noise SDE"),
}
STEPS = {"speakers": 300, "sines": 200, "sea": 600}
_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def one(case: tuple[str, str, float, int]) -> dict[str, Any]:
    """One training: task, model, share of missing values and seed; its score on the test set."""
    start = time.time()
    task, model, share, seed = case
    run = {"speakers": speakers, "sea": sea, "sines": sines}[task]
    score, size = run(model, share, seed, STEPS[task])
    seconds = time.time() - start
    print(
        f"{task}, {model}, {share:.0%} missing, seed {seed}: {score:.4f} ({seconds:.0f} s)",
        flush=True,
    )
    return {"task": task, "model": model, "share": share, "seed": seed, "score": score,
            "size": size, "seconds": seconds}  # fmt: skip


def _module(
    model: str, channels: int, outputs: int, key: Any, *, hidden: int, width: int, steps: int = 50
) -> Any:
    import jax

    import sciml as sm

    from .series_models import controlled, recurrent_of_size, size_of, stochastic

    first, second = jax.random.split(key)
    cde = controlled(channels, hidden=hidden, width=width, key=first)
    if model == "neural CDE":
        return sm.nn.Readout(cde, outputs, key=second)
    if model == "GRU":
        weights = size_of(sm.nn.Readout(cde, outputs, key=second))
        return recurrent_of_size(weights, channels, outputs, key=second)
    kind = {"linear-noise SDE": "linear noise"}.get(model, model)
    system = stochastic(kind, channels, hidden=hidden, width=2 * width, key=first)
    return sm.nn.Readout(system, outputs, steps=steps, key=second)


def speakers(model: str, share: float, seed: int, steps: int) -> tuple[float, int]:
    """The share of the utterances for testing whose speaker is found."""
    import jax

    import sciml as sm

    key = jax.random.key(seed)
    training, testing = (
        part.drop(share, key=jax.random.fold_in(key, number))
        for number, part in enumerate(sm.data.japanese_vowels())
    )
    module = _module(model, 12, 9, key, hidden=16, width=32)
    fitted = sm.fit(
        module, training, key=key, mode=sm.Classification(), validation=0.2, steps=steps,
        learning_rate=0.003 if model != "GRU" else 0.01, progress=False,
    )  # fmt: skip
    return fitted.score(testing, key=key), fitted.size


def sea(model: str, share: float, seed: int, steps: int) -> tuple[float, int]:
    """Root mean square error of forecasts of twelve months from two years, in kelvin."""
    import jax
    import numpy as np

    import sciml as sm

    key = jax.random.key(seed)
    whole = sm.data.el_nino()
    months = lambda first, last: (
        whole.between(first, last).drop(share, key=key).windows(36, stride=2)
    )
    training, validation = months(1950, 1986), months(1986, 1996)
    testing = whole.between(1996, 2011).windows(36)
    module = _module(model, 1, 12, key, hidden=8, width=32)
    fitted = sm.fit(
        module, training, key=key, mode=sm.Regression(ahead=12), validation=validation, steps=steps,
        learning_rate=0.01, progress=False,
    )  # fmt: skip
    read = testing._rows([np.arange(36) < 24] * len(testing)).drop(share, key=key)
    truth = np.stack(testing["temperature"])[:, 24:]
    guess = fitted.predict(read, key=key)[..., 0]
    return float(np.sqrt(np.mean((guess - truth) ** 2))), fitted.size


def sines(model: str, share: float, seed: int, steps: int) -> tuple[float, int]:
    """Accuracy on processes with a sine in them or not; all data and weights from the seed."""
    import jax

    import sciml as sm

    from .series_models import sines as draw

    key = jax.random.key(seed)
    first, second = jax.random.split(key)
    training = draw(first).drop(share, key=first)
    testing = draw(second, count=1000).drop(share, key=second)
    module = _module(model, 1, 2, key, hidden=8, width=16, steps=25)
    fitted = sm.fit(
        module, training, key=key, mode=sm.Classification(), validation=0.2, steps=steps,
        learning_rate=0.01, progress=False,
    )  # fmt: skip
    return fitted.score(testing, key=key), fitted.size


def table(results: list[dict[str, Any]]) -> str:
    """Medians of the seeds, with the least and the greatest."""
    import numpy as np

    lines = []
    for task, models in TASKS.items():
        mine = [r for r in results if r["task"] == task]
        if not mine:
            continue
        heads = [f"{share:.0%} missing" for share in SHARES]
        lines += [f"| {task} | weights | {' | '.join(heads)} |", "|---" * (2 + len(SHARES)) + "|"]
        for model in models:
            rows = [r for r in mine if r["model"] == model]
            cells = []
            for share in SHARES:
                scores = [r["score"] for r in rows if r["share"] == share]
                low, middle, high = np.min(scores), np.median(scores), np.max(scores)
                cells.append(f"{middle:.3f} ({low:.3f} to {high:.3f})")
            lines.append(f"| {model} | {rows[0]['size']} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Scores over the share that is missing, a panel for each task."""
    import matplotlib.pyplot as plt
    import numpy as np

    labels = {"speakers": "accuracy, nine speakers", "sea": "error of forecasts (K)",
              "sines": "accuracy, sine or not"}  # fmt: skip
    fig, panels = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for ax, (task, models) in zip(panels, TASKS.items(), strict=True):
        for model in models:
            scores = np.array([
                [r["score"] for r in results
                 if (r["task"], r["model"], r["share"]) == (task, model, share)]
                for share in SHARES
            ])  # fmt: skip
            (line,) = ax.plot(SHARES, np.median(scores, axis=1), "o-", label=model)
            ax.fill_between(
                SHARES, scores.min(1), scores.max(1), alpha=0.15, color=line.get_color()
            )
        ax.set(xlabel="share missing", ylabel=labels[task])
        ax.legend(frameon=False, fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=150)


def main(folder: Path) -> None:
    """The cases that are not done yet."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = _ONE_THREAD
    record = folder / "series.jsonl"
    results = (
        [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    )
    done = {(r["task"], r["model"], r["share"], r["seed"]) for r in results}
    every = [
        (task, model, share, seed)
        for task, models in TASKS.items()
        for model in models
        for seed in SEEDS
        for share in SHARES
    ]
    context = multiprocessing.get_context("spawn")
    with context.Pool(os.cpu_count(), maxtasksperchild=1) as pool, record.open("a") as file:
        for result in pool.imap_unordered(one, [case for case in every if case not in done]):
            results.append(result)
            print(json.dumps(result), file=file, flush=True)
    (folder / "series.md").write_text(table(results))
    print(table(results))
    draw(results, folder / "series.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
