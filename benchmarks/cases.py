"""Long benchmarks in cases: one on each processor, each written down when it is done."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def run_cases(
    one: Callable[[tuple], dict[str, Any]], cases: list[tuple], record: Path
) -> list[dict[str, Any]]:
    """The results of the cases: of those that `record` (lines of JSON) has not, by running them."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = _ONE_THREAD
    lines = record.read_text().splitlines() if record.exists() else []
    results = [json.loads(line) for line in lines]
    done = {tuple(result["case"]) for result in results}
    left = [(one, case) for case in cases if case not in done]
    context = multiprocessing.get_context("spawn")
    with context.Pool(os.cpu_count()) as pool, record.open("a") as file:
        for result in pool.imap_unordered(_timed, left):
            print(result, flush=True)
            results.append(result)
            print(json.dumps(result), file=file, flush=True)
    return [result for result in results if tuple(result["case"]) in cases]


def _timed(given: tuple[Callable[[tuple], dict[str, Any]], tuple]) -> dict[str, Any]:
    one, case = given
    start = time.time()
    return {"case": case, **one(case), "seconds": round(time.time() - start)}


def _by_seed(results: list[dict[str, Any]], arm: str, name: str) -> dict[int, float]:
    return {r["case"][1]: r[name] for r in results if r["case"][0] == arm}


def of_arm(results: list[dict[str, Any]], arm: str, name: str) -> list[float]:
    """A quantity of one arm, of cases ``(arm, seed, ...)``."""
    return list(_by_seed(results, arm, name).values())


def over(results: list[dict[str, Any]], arm: str, name: str) -> list[float]:
    """The same over that of the arm "vanilla" with the same seed."""
    plain = _by_seed(results, "vanilla", name)
    return [mine / plain[seed] for seed, mine in _by_seed(results, arm, name).items()]


def run_arms(
    one: Callable[[tuple], dict[str, Any]],
    arms: Iterable[str],
    seeds: Iterable[int],
    table: Callable[[list[dict[str, Any]]], str],
    record: Path,
) -> None:
    """All cases ``(arm, seed)``, and their table beside the record."""
    text = table(run_cases(one, [(arm, seed) for seed in seeds for arm in arms], record))
    record.with_suffix(".md").write_text(text)
    print(text)


def spread(values: list[float], digits: int = 3) -> str:
    """The median, with the least and the greatest."""
    low, *_, high = sorted(values)
    middle = sorted(values)[len(values) // 2]
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
