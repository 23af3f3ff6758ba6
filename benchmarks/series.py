"""Accuracy on series with missing values: ours beside a GRU of equal size, and SDEs side by side.

``python -m benchmarks.series [folder]`` runs every case that is not yet in ``series.jsonl`` there,
one on each processor, and writes ``series.md`` and ``series.png``; float32. Long: about an hour and
a half of processor time in all.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .cases import run_cases, spread

SHARES = (0.0, 0.3, 0.5, 0.7)
SEEDS = (0, 1, 2)
TASKS = {
    "speakers": ("GRU", "neural CDE", "linear-noise SDE"),
    "sines": ("naive", "langevin", "linear noise", "geometric"),
    "sea": ("GRU", "neural CDE"),
}
STEPS = {"speakers": 300, "sines": 200, "sea": 400}


def one(case: tuple) -> dict[str, Any]:
    """One training: task, model, share of missing values and seed; its score on the test set."""
    task, model, share, seed = case
    run = {"speakers": speakers, "sea": sea, "sines": sines}[task]
    score, size = run(model, share, seed, STEPS[task])
    return {"score": score, "size": size}


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
    lines = []
    for task, models in TASKS.items():
        heads = [f"{share:.0%} missing" for share in SHARES]
        lines += [f"| {task} | weights | {' | '.join(heads)} |", "|---" * (2 + len(SHARES)) + "|"]
        for model in models:
            size = next(r["size"] for r in results if list(r["case"][:2]) == [task, model])
            cells = [spread(scores(results, task, model, share)) for share in SHARES]
            lines.append(f"| {model} | {size} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def scores(results: list[dict[str, Any]], task: str, model: str, share: float) -> list[float]:
    """Those of all seeds."""
    return [r["score"] for r in results if list(r["case"][:3]) == [task, model, share]]


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Scores over the share that is missing, a panel for each task."""
    import matplotlib.pyplot as plt
    import numpy as np

    labels = {"speakers": "accuracy, nine speakers", "sea": "error of forecasts (K)",
              "sines": "accuracy, sine or not"}  # fmt: skip
    fig, panels = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for ax, (task, models) in zip(panels, TASKS.items(), strict=True):
        for model in models:
            found = np.array([scores(results, task, model, share) for share in SHARES])
            (line,) = ax.plot(SHARES, np.median(found, axis=1), "o-", label=model)
            ax.fill_between(SHARES, found.min(1), found.max(1), alpha=0.15, color=line.get_color())
        ax.set(xlabel="share missing", ylabel=labels[task])
        ax.legend(frameon=False, fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=150)


def main(folder: Path) -> None:
    """All cases, their table and their picture."""
    cases = [
        (task, model, share, seed)
        for task, models in TASKS.items()
        for model in models
        for seed in SEEDS
        for share in SHARES
    ]
    results = run_cases(one, cases, folder / "series.jsonl")
    (folder / "series.md").write_text(table(results))
    print(table(results))
    draw(results, folder / "series.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
