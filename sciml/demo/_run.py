"""The demo from records to report."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

import sciml as sm
from sciml.dsl import SciMLError, table_text

from ._compare import CONTENDERS, Budget, Contender, Outcome, Split, fit_all_years, split, train
from ._report import report
from ._summary import as_csv, comparison, estimates, how, log_error, verdict
from ._write import check_folder, write_all


def demo(
    output: Path,
    *,
    data: Path | None = None,
    budget: Budget | None = None,
    contenders: tuple[Contender, ...] = CONTENDERS,
) -> list[Path]:
    """Fits and forecasts hare and lynx, prints the tables, and writes pictures and a report.

    Arguments: the folder `output`; `data`, a file of the form of `sm.data.hare_lynx`, whose records
    are used if there is none; `budget` of the training; `contenders`, the models compared.
    Returns the paths of all files. Nothing is written unless everything is.
    Raises `DataError` for a file that is not the expected table, and for a folder that cannot be
    written.

    >>> from pathlib import Path
    >>> from sciml.demo import Budget, demo
    >>> demo(Path("sciml-demo"), budget=Budget(steps=100, seeds=1))  # doctest: +SKIP
    """
    check_folder(output)
    _need_matplotlib()
    table = sm.data.hare_lynx() if data is None else sm.data.read_pelts(data)
    parts = split(table)
    budget = Budget() if budget is None else budget
    published = data is None
    everything, outcomes = _train_all(parts, budget, contenders)
    _print_estimates(everything, parts, published)
    print(f"\n{how(parts, budget)}\n\n{_aligned(*comparison(outcomes, parts))}")
    print(f"\nMedians, and the lowest to the highest of all seeds. {verdict(outcomes)}")
    pictures = _draw(everything, outcomes, parts)
    page = report(everything, outcomes, parts, budget, pictures, published=published)
    files = {f"{name}.png": picture for name, picture in pictures.items()}
    files |= {"errors.csv": as_csv(outcomes).encode(), "report.html": page.encode()}
    written = write_all(output, files)
    print(f"\nWritten to {output}: {', '.join(path.name for path in written)}")
    print(f"Open {written[-1].absolute().as_uri()}")
    return written


def _train_all(
    parts: Split, budget: Budget, contenders: tuple[Contender, ...]
) -> tuple[sm.Fit, tuple[Outcome, ...]]:
    """The fit of all years, and every contender from every seed, under a progress bar."""
    outcomes = []
    with tqdm(total=1 + len(contenders) * budget.seeds, unit="fit") as bar:
        bar.set_description("all years")
        everything = fit_all_years(parts.table)
        bar.update()
        for contender in contenders:
            bar.set_description(contender.name)
            runs = []
            for seed in range(budget.seeds):
                runs.append(train(contender, seed, parts, budget))
                bar.update()
            outcomes.append(Outcome(contender, tuple(runs)))
        bar.set_description("done")
    return everything, tuple(outcomes)


def _print_estimates(fit: sm.Fit, parts: Split, published: bool) -> None:
    first, last = (f"{year:g}" for year in parts.table.times[[0, -1]])
    print(f"\nLotka-Volterra, fitted to {first}-{last} with log-normal errors\n")
    print(_aligned(*estimates(fit, published=published)))
    print(f"\nroot mean square of the log residuals: {log_error(fit):.4f}")


def _draw(everything: sm.Fit, outcomes: tuple[Outcome, ...], parts: Split) -> dict[str, bytes]:
    """Every picture, by name, as PNG."""
    from . import _pictures as draw  # needs matplotlib, an extra

    figures = {
        "data": draw.draw_data(parts),
        "all_years": draw.draw_all_years(everything, parts),
        "fits": draw.draw_fits(outcomes, parts),
        "forecasts": draw.draw_forecasts(outcomes, parts),
    }
    by_name = {outcome.contender.name: outcome for outcome in outcomes}
    if {"mechanistic", "universal"} <= by_name.keys():
        known, learned = by_name["mechanistic"], by_name["universal"]
        figures["interaction"] = draw.draw_interaction(known, learned, parts)
    return {name: draw.png(figure) for name, figure in figures.items()}


def _need_matplotlib() -> None:
    try:
        import matplotlib as _  # noqa: F401
    except ImportError:
        raise SciMLError("the demo draws pictures: pip install 'sciml-jax[plot]'") from None


def _aligned(header: tuple[str, ...], rows: list[list[str]]) -> str:
    return "\n".join("  " + line for line in table_text(header, rows).splitlines())
