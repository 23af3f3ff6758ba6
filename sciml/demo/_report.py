"""The demo's report: one HTML page that holds its pictures and loads nothing."""

from __future__ import annotations

import base64
import html
import importlib.metadata
from collections.abc import Mapping

import sciml as sm
from sciml.dsl import table_html

from ._compare import Budget, Outcome, Split
from ._summary import comparison, estimates, how, log_error, verdict

_STYLE = """
body { max-width: 60rem; margin: 2.5rem auto; padding: 0 1.2rem; color: #222; background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.9rem; margin-bottom: .2rem; } h2 { font-size: 1.25rem; margin-top: 2.4rem; }
.lead { color: #555; font-size: 1.08rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem .35rem 0; border-bottom: 1px solid #ddd; text-align: left; }
th { font-weight: 600; vertical-align: bottom; } td { white-space: nowrap; }
td:first-child { font-weight: 600; }
pre { background: #f6f4ef; padding: .7rem 1rem; border-radius: 6px; overflow-x: auto;
  font-size: .9rem; line-height: 1.45; }
figure { margin: 1.4rem 0; } img { max-width: 100%; height: auto; }
figcaption, footer { color: #555; font-size: .92rem; } footer { margin-top: 3rem; }
"""


def report(
    everything: sm.Fit,
    outcomes: tuple[Outcome, ...],
    parts: Split,
    budget: Budget,
    pictures: Mapping[str, bytes],
    *,
    published: bool,
) -> str:
    """The page, with the pictures inside."""
    first, last = (f"{year:g}" for year in parts.table.times[[0, -1]])
    body = [
        f"<h1>Hare and lynx, {first} to {last}</h1>",
        '<p class="lead">Lynx eat hares. How much of that must a model be told, and how much can '
        "it learn from the records of the fur trade?</p>",
        _figure("data", pictures, f"Pelts of hares and lynx. {parts.table.source}."),
        "<h2>The model of Lotka and Volterra, fitted to every year</h2>",
        f"<p>Errors are log-normal; the root mean square of the log residuals is "
        f"{log_error(everything):.4f}.{_PUBLISHED if published else ''}</p>",
        _table(*estimates(everything, published=published)),
        _figure("all_years", pictures, "The fit, and its residuals on the log scale."),
        "<h2>From all knowledge to none</h2>",
        *(_declared(outcome) for outcome in outcomes),
        f"<h2>What each forecasts after {parts.last:g}</h2>",
        f"<p>{html.escape(how(parts, budget))} The log error is the root mean square of the "
        "logarithm of prediction over record, both species together. Each entry is the median over "
        "the seeds, with the lowest and the highest.</p>",
        _table(*comparison(outcomes, parts)),
        f"<p>{html.escape(verdict(outcomes))}</p>",
        _figure("forecasts", pictures, _FORECASTS),
        _figure("fits", pictures, "The same models over the years that they were trained on."),
    ]
    if "interaction" in pictures:
        body += ["<h2>What was learned</h2>", _figure("interaction", pictures, _INTERACTION)]
    body.append(f"<footer>{html.escape(_made_with())}</footer>")
    return _PAGE.format(
        title=f"Hare and lynx, {first} to {last}", style=_STYLE, body="\n".join(body)
    )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
_PUBLISHED = (
    " The last column holds the posterior means that Carpenter published for the same records "
    "in a case study for Stan (2018); there priors pull the estimates a little."
)
_FORECASTS = (
    "Records (filled where trained on, open where not) and the curves of all seeds; the thick "
    "one is the seed with the middle training error. Shaded years were seen by no model; each "
    "row gives the log error over them."
)
_INTERACTION = (
    "What lynx take from the hares in a year, and what they gain, as functions of both "
    "populations: the product that Lotka and Volterra assume, and what the universal differential "
    "equation found. Dots are the records (filled where trained on): away from them the network "
    "knows nothing."
)


def _declared(outcome: Outcome) -> str:
    fit = outcome.median.fit
    lines = "\n".join(str(equation) for equation in fit.model.system.equations)
    return (
        f"<h3>{html.escape(outcome.contender.name)}</h3><p>{html.escape(outcome.contender.about)}"
        f" {outcome.size} free numbers.</p><pre>{html.escape(lines)}</pre>"
    )


def _table(header: tuple[str, ...], rows: list[list[str]]) -> str:
    return f'<div class="wide">{table_html(header, rows)}</div>'


def _figure(name: str, pictures: Mapping[str, bytes], caption: str) -> str:
    data = base64.b64encode(pictures[name]).decode("ascii")
    caption = html.escape(caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _made_with() -> str:
    names = ("sciml-jax", "jax", "diffrax", "equinox", "optax")
    return "Made by sciml demo with " + ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in names
    )
