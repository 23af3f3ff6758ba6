"""The environment of the stiff solvers' peers, ``.venv-stiff``, made when it is missing.

numbalsoda has no wheel for this Python, and its source wants a Fortran compiler, for its DOP853
alone. So `liblsoda.so`, its LSODA in C++, is built here as its CMakeLists.txt would, from the
unchanged source, and the peers call it by the same interface as its Python half.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

_HERE = Path(__file__).parent
_ENVIRONMENT = _HERE.parent / ".venv-stiff"
_PINS = _HERE / "peers-stiff-constraints.txt"
_PACKAGES = ("scikit-sundae", "scipy", "numba", "sympy")
_LSODA = "numbalsoda==0.3.4"


def interpreter() -> Path:
    """Python of the environment of the peers."""
    python, ready = _ENVIRONMENT / "bin" / "python", _ENVIRONMENT / "ready"
    if not ready.exists() or ready.stat().st_mtime < _PINS.stat().st_mtime:
        subprocess.run([sys.executable, "-m", "venv", _ENVIRONMENT], check=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "-q"]
        subprocess.run([*pip, "install", "-c", _PINS, *_PACKAGES, "scikit-build"], check=True)
        build_lsoda(pip)
        ready.touch()
    return python


def build_lsoda(pip: list) -> None:
    """`liblsoda.so` in the environment; without a C++ compiler that peer is left out."""
    options = ["--no-deps", "--no-build-isolation", "--no-binary", "numbalsoda"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run([*pip, "download", "-d", folder, *options, _LSODA], check=True)
            (archive,) = Path(folder).glob("*.tar.gz")
            with tarfile.open(archive) as opened:
                opened.extractall(folder, filter="data")
            (source,) = Path(folder).glob("numbalsoda-*/src")
            sources = [source / "LSODA.cpp", source / "wrapper.cpp"]
            flags = ["-O3", "-DNDEBUG", "-std=c++11", "-fPIC", "-shared"]
            target = _ENVIRONMENT / "lib" / "liblsoda.so"
            subprocess.run(["g++", *flags, *sources, "-o", target], check=True)
        except (subprocess.CalledProcessError, OSError) as fault:
            print(f"numbalsoda is left out: {fault}", file=sys.stderr)
