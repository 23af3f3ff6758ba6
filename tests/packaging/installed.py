"""What an installed wheel must do, with the core dependencies alone. `smoke.py` runs this.

Usage: python -I installed.py README.md
"""

import importlib.metadata
import importlib.resources
import re
import sys
import sysconfig
from pathlib import Path


def first_example(readme: Path) -> str:
    found = re.search(r"^```python\n(.*?)^```", readme.read_text(encoding="utf-8"), re.M | re.S)
    assert found, f"{readme} has no Python example"
    return found[1]


def main(readme: str) -> None:
    import sympy

    import sciml
    import sciml.dsl
    import sciml.solvers

    site = Path(sysconfig.get_path("purelib")).resolve()
    for module in (sciml, sciml.dsl, sciml.solvers):
        place = Path(module.__file__).resolve()
        assert place.is_relative_to(site), f"{module.__name__} comes from {place}"

    files = [str(path) for path in importlib.metadata.files("sciml-jax") or ()]
    strays = {path.split("/")[0] for path in files} & {"dsl", "solvers", "tests", "docs"}
    assert not strays, f"the wheel installs at the top level: {strays}"
    assert "sciml/py.typed" in files, "the wheel has no py.typed"

    table = importlib.resources.files("sciml").joinpath("data/hare_lynx.csv").read_text()
    assert "1900,30.0,4.0" in table, "hare_lynx.csv is not the expected table"

    vowels, _ = sciml.data.japanese_vowels()
    assert len(vowels) == 270, "japanese_vowels.npz does not hold the expected series"
    assert len(sciml.data.el_nino()) == 1, "el_nino.csv does not hold the expected series"

    names: dict = {}
    exec(first_example(Path(readme)), names)
    sol, x, y = names["sol"], names["x"], names["y"]
    # a, b, c, d = 1.5, 1, 3, 1: d x - c log x + b y - a log y is conserved.
    conserved = sol[x - 3 * sympy.log(x) + y - 1.5 * sympy.log(y)]
    drift = float(abs(conserved - conserved[0]).max())
    assert drift < 0.05, f"the README's Lotka-Volterra drifts from its invariant by {drift}"
    print(f"sciml-jax {importlib.metadata.version('sciml-jax')}: invariant kept within {drift:.1e}")


if __name__ == "__main__":
    main(sys.argv[1])
