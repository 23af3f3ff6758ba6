"""Runs all benchmarks and writes RESULTS.md: ``python -m benchmarks``, or some by name."""

from __future__ import annotations

import datetime
import importlib
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import jax

from .timing import Row

NAMES = ("imports", "graph_size", "cost", "compile_time", "training", "training_driven", "overhead")
PACKAGES = ("jax", "equinox", "diffrax", "optimistix", "lineax", "sympy", "sympy2jax")
START, END = "<!-- figures: written by python -m benchmarks -->", "<!-- end of figures -->"


def main(names: list[str]) -> None:
    """Prints the rows as they come; a run of all writes them to RESULTS.md."""
    jax.config.update("jax_enable_x64", True)
    rows: list[Row] = []
    for name in names or NAMES:
        for row in importlib.import_module(f"benchmarks.{name}").run():
            print(f"{row.what}: asked {row.asked or '-'}, measured {row.measured}", flush=True)
            rows.append(row)
    if not names:
        write(rows)


def write(rows: list[Row]) -> None:
    """Replaces the figures in RESULTS.md, and leaves the rest of it."""
    path = Path(__file__).with_name("RESULTS.md")
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES)
    lines = [
        START,
        f"{datetime.date.today()}, {os.cpu_count()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}, {versions}; float64.",
        "",
        "| what | asked | measured |",
        "|---|---|---|",
        *(f"| {row.what} | {row.asked} | {row.measured} |" for row in rows),
        END,
    ]
    text = path.read_text()
    before, rest = text.split(START)
    after = rest.split(END)[1]
    path.write_text(before + "\n".join(lines) + after)


if __name__ == "__main__":
    main(sys.argv[1:])
