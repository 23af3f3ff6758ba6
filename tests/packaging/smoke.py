"""sdist -> wheel from that sdist -> fresh environment -> `installed.py` outside the checkout.

Usage: python tests/packaging/smoke.py
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def run(*command: object, cwd: Path) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sciml-smoke-") as scratch:
        top = Path(scratch)
        dist, environment, empty = top / "dist", top / "venv", top / "empty"
        empty.mkdir()

        print("smoke: building the sdist, and the wheel from it", flush=True)
        log = top / "build.log"
        build = [sys.executable, "-m", "build", "--outdir", str(dist), str(CHECKOUT)]
        with log.open("w") as out:
            built = subprocess.run(build, stdout=out, stderr=subprocess.STDOUT, cwd=top)
        if built.returncode:
            sys.exit(log.read_text())
        (wheel,) = dist.glob("*.whl")

        print(f"smoke: installing {wheel.name} into a fresh environment", flush=True)
        venv.create(environment, with_pip=True)
        scripts = environment / ("Scripts" if sys.platform == "win32" else "bin")
        python, constraints = scripts / "python", CHECKOUT / "constraints.txt"
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*install, "-c", constraints, wheel, cwd=empty)

        print("smoke: running outside the checkout", flush=True)
        # -I: no import comes from the script's folder, the working folder or PYTHONPATH.
        claims = CHECKOUT / "tests" / "packaging" / "installed.py"
        run(python, "-I", claims, CHECKOUT / "README.md", cwd=empty)
        run(scripts / "sciml", "--help", cwd=empty)
        if left := sorted(path.name for path in empty.iterdir()):
            sys.exit(f"smoke: files were left behind in the working folder: {left}")
        print("smoke: passed")


if __name__ == "__main__":
    main()
