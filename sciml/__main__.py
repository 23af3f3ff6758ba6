"""The command line: ``sciml demo``."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path

_QUICK_STEPS = 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status: 0, 2 for bad input, 1 for a failure, 130 if stopped.

    >>> main(["demo", "--data", "no-such-file.csv"])
    2
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    # Imported here: `sciml --help` answers at once.
    from sciml.dsl import DataError, SciMLError

    try:
        return _demo(options)
    except (DataError, SciMLError) as error:
        print(f"sciml {options.command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, DataError) else 1
    except KeyboardInterrupt:
        print(f"sciml {options.command}: stopped, nothing was written", file=sys.stderr)
        return 130


def _demo(options: argparse.Namespace) -> int:
    import jax

    from sciml.demo import Budget, demo

    given = {"steps": options.steps, "seeds": options.seeds}
    if options.quick:
        given = {"steps": options.steps or _QUICK_STEPS, "seeds": options.seeds or 1}
        given["matching"] = _QUICK_STEPS
    budget = Budget(**{name: value for name, value in given.items() if value is not None})
    with jax.enable_x64(True):
        demo(options.output, data=options.data, budget=budget)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sciml", description="Scientific machine learning in JAX, from equations."
    )
    version = f"sciml-jax {importlib.metadata.version('sciml-jax')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", title="commands", metavar="command")
    demo = commands.add_parser(
        "demo",
        help="fit and forecast hare and lynx, and write a report",
        description="Fits the Hudson's Bay records of hare and lynx with a mechanistic model, a "
        "universal differential equation and neural ODEs, trained on the first 70 % of the years "
        "and judged on the rest. Prints tables, and writes pictures and a report.",
    )
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("sciml-demo"),
        metavar="DIR",
        help="folder for the pictures and the report (default: ./sciml-demo)",
    )
    demo.add_argument(
        "--data",
        type=Path,
        metavar="FILE.csv",
        help="other records, with the columns year,hare,lynx (default: 1900 to 1920)",
    )
    demo.add_argument("--steps", type=_count, metavar="N", help="steps of training for each model")
    demo.add_argument("--seeds", type=_count, metavar="N", help="seeds for each model (default: 3)")
    demo.add_argument(
        "--quick", action="store_true", help="one seed and few steps: a look at the output alone"
    )
    return parser


def _count(text: str) -> int:
    """A whole number above zero."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return number


if __name__ == "__main__":
    sys.exit(main())
