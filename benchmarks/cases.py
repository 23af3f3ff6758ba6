"""Long benchmarks in cases: one on each processor, each written down when it is done."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
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


def spread(values: list[float], digits: int = 3) -> str:
    """The median, with the least and the greatest."""
    low, *_, high = sorted(values)
    middle = sorted(values)[len(values) // 2]
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
