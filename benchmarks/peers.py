"""Training time to equal loss, against torchdiffeq, torchcde and torchsde.

Run by name, ``python -m benchmarks peers``, and not in the default list: it installs torch, into an
environment of its own, ``.venv-peers``, with the versions in ``peers-constraints.txt``, where
`benchmarks.peers_torch` runs. Both halves have the same architecture, initial weights, data,
batches, optimiser, solver, tolerances and steps, in float32, which is the default of both worlds.
What differs: torch takes one step in time for a whole batch, and `jax.vmap` one for each series;
torch keeps all that reverse mode needs, and ours the default checkpoints; each draws its own noise.

The two train in turn, a few steps each, until the loss on a fixed evaluation set (not timed) has
fallen below the threshold; the ratio of single steps is the median over these turns. torch takes
some steps beforehand that are not counted; the first call of ours, which compiles, is told apart.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import sciml as sm
from sciml import D

from .timing import Row, ratio

_HERE = Path(__file__).parent
_ENVIRONMENT = _HERE.parent / ".venv-peers"
_PACKAGES = ("torch", "torchdiffeq", "torchcde", "torchsde")
_BATCH, _MOST = 32, 2000
_TOLERANCES = {"rtol": 1e-4, "atol": 1e-6}  # torchcde's defaults, and ours in float32


@dataclasses.dataclass(frozen=True)
class Task:
    """What is learned: arrays for both, and how ours computes its loss from them."""

    kind: str
    name: str
    peer: str
    module: Any
    weights: dict[str, Any]  # by the names that peers_torch wants
    loss: Callable  # module, arrays of a batch, key -> mean loss
    data: tuple[np.ndarray, ...]  # series first
    test: tuple[np.ndarray, ...]
    prepare: Callable  # arrays -> what loss takes, once for all steps
    options: dict[str, Any]
    rate: float
    threshold: float
    every: int  # steps from one check to the next


def layers(name: str, net: eqx.nn.MLP) -> dict[str, Any]:
    """The weights of a perceptron by name."""
    found = {}
    for number, layer in enumerate(net.layers):
        found |= affine(f"{name}.{number}", layer)
    return found


def affine(name: str, layer: eqx.nn.Linear) -> dict[str, Any]:
    """The weights of an affine map by name."""
    return {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}


def ode() -> Task:
    """The cubic spiral ``u' = A u^3``, 30 times, from starts around (2, 0)."""
    times = jnp.linspace(0.0, 1.5, 30)
    u = sm.unknown("u", shape=2)
    matrix = sm.constant(np.array([[-0.1, 2.0], [-2.0, -0.1]]))
    spiral = sm.compile(sm.System(sm.Eq(D(u), matrix @ u**3), initial={u: [2, 0]}))
    starts = jnp.array([2.0, 0.0]) + 0.1 * jax.random.normal(jax.random.key(1), (160, 2))
    series = jax.vmap(lambda s: sm.solve(spiral, t=(0, 1.5), initial={u: s}, saveat=times).ys)
    whole = np.asarray(jax.jit(series)(starts))
    module = sm.nn.NeuralODE(u, width=64, key=jax.random.key(0))
    stepping = sm.nn.Stepping(solver=dfx.Dopri5(), **_TOLERANCES)

    def loss(module: Any, batch: tuple, key: Any) -> jax.Array:
        run = lambda start: module(times, start, stepping=stepping)
        return jnp.mean((jax.vmap(run)(batch[0][:, 0]) - batch[0]) ** 2)

    return Task(
        "ode", "neural ODE, cubic spiral", "torchdiffeq", module,
        layers("net", module.model.networks["f"]), loss, (whole[:128],), (whole[128:],),
        lambda arrays: arrays, {"times": times, **_TOLERANCES}, 3e-3, 0.1, 10,
    )  # fmt: skip


def spirals(seed: int, count: int = 256, length: int = 100) -> tuple[np.ndarray, ...]:
    """Two classes of noisy decaying spirals, turning either way; Kidger (2022), with time."""
    draw = np.random.default_rng(seed)
    times = np.linspace(0.0, 4 * np.pi, length)
    angle = draw.uniform(0.0, 2 * np.pi, (count, 1)) - 2 * times
    labels = np.arange(count) % 2
    decay = np.exp(-0.3 * times)
    curves = [decay * np.cos(angle) * (1 - 2 * labels[:, None]), decay * np.sin(angle)]
    noisy = np.stack(curves, axis=2) + 0.01 * draw.normal(size=(count, length, 2))
    stamps = np.broadcast_to(times[None, :, None], (count, length, 1))
    whole = np.concatenate([stamps, noisy], axis=2)
    return times.astype(np.float32), whole.astype(np.float32), labels.astype(np.float32)


def cde() -> Task:
    """Two classes of spirals, told apart by a controlled equation."""
    times, values, labels = spirals(0)
    _, *test = spirals(9)
    z, control = sm.unknown("z", shape=8), sm.control("X", channels=3)
    module = sm.nn.NeuralCDE(z, control, outputs=1, width=128, depth=1, key=jax.random.key(1))
    stepping = sm.nn.Stepping(solver=dfx.Dopri5(), **_TOLERANCES)

    def loss(module: Any, batch: tuple, key: Any) -> jax.Array:
        logits = jax.vmap(lambda path: module(path, stepping=stepping)[0])(batch[0])
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, batch[1]))

    def prepare(arrays: tuple) -> tuple:
        return jax.jit(jax.vmap(lambda v: sm.path(times, v)))(arrays[0]), arrays[1]

    weights = {
        **layers("net", module.model.networks["F"].net),
        **layers("encoder", module.encoder),
        **affine("readout", module.readout),
    }
    return Task(
        "cde", "neural CDE, two classes of spirals", "torchcde", module, weights, loss,
        (values, labels), tuple(test), prepare, {"times": times, **_TOLERANCES}, 1e-2, 0.01, 1,
    )  # fmt: skip


def sde() -> Task:
    """A latent SDE on noisy series of an Ornstein-Uhlenbeck process, ``dx = -x dt + 0.5 dW``."""
    times, noise, dt = np.linspace(0.0, 4.0, 41), 0.1, 0.02
    draw = np.random.default_rng(5)
    exact, gap = 0.5 / np.sqrt(2), times[1] - times[0]
    steps = [exact * draw.normal(size=640)]
    for _ in times[1:]:  # exact transitions
        spread = exact * np.sqrt(1 - np.exp(-2 * gap))
        steps.append(np.exp(-gap) * steps[-1] + spread * draw.normal(size=640))
    values = np.stack(steps, axis=1)[:, :, None] + noise * draw.normal(size=(640, 41, 1))
    values = values.astype(np.float32)
    module = sm.nn.LatentSDE(
        sm.unknown("x"), latent=1, width=16, noise=noise, key=jax.random.key(1)
    )
    stamps = jnp.asarray(times, jnp.float32)

    def loss(module: Any, batch: tuple, key: Any) -> jax.Array:
        each = lambda series, key: module.loss(stamps, series, dt0=dt, key=key)
        return jnp.mean(jax.vmap(each)(batch[0], jax.random.split(key, len(batch[0]))))

    networks, encoder = module.model.networks, module.encoder
    weights = {
        **layers("prior", networks["prior"]),
        **layers("posterior", networks["posterior"].net),
        **layers("spread", networks["spread"].net),
        **affine("summary", module.summary),
        **affine("start", module.start),
        **affine("readout", module.readout),
        "prior_start": module.prior_start,
        **{f"encoder.{part}": getattr(encoder, part) for part in
           ("weight_ih", "weight_hh", "bias", "bias_n")},
    }  # fmt: skip
    return Task(
        "sde", "latent SDE, Ornstein-Uhlenbeck", "torchsde", module, weights, loss,
        (values[:512],), (np.tile(values[512:], (4, 1, 1)),), lambda arrays: arrays,
        {"times": stamps, "noise": noise, "dt": dt}, 1e-2, 40.0, 10,
    )  # fmt: skip


def order(count: int) -> np.ndarray:
    """The rows of each step's batch: epochs in random order."""
    draw = np.random.default_rng(0)
    epochs = -(-_MOST * _BATCH // count)
    rows = np.concatenate([draw.permutation(count) for _ in range(epochs)])
    return rows[: _MOST * _BATCH].reshape(_MOST, _BATCH)


class Ours:
    """The training of ours: a jitted step of Adam, given arrays alone."""

    def __init__(self, task: Task) -> None:
        optimiser = optax.adam(task.rate)
        data, test = (
            jax.tree.map(jnp.asarray, task.prepare(arrays)) for arrays in (task.data, task.test)
        )
        state = optimiser.init(eqx.filter(task.module, eqx.is_inexact_array))
        arrays, static = eqx.partition((task.module, state), eqx.is_array)
        self.leaves, tree = jax.tree.flatten(arrays)
        self.order, self.number = order(len(task.data[0])), 0

        @jax.jit
        def step(leaves: list, data: Any, rows: Any, number: Any) -> list:
            module, state = eqx.combine(jax.tree.unflatten(tree, leaves), static)
            batch = jax.tree.map(lambda leaf: leaf[rows], data)
            key = jax.random.fold_in(jax.random.key(0), number)
            slopes = eqx.filter_grad(lambda m: task.loss(m, batch, key))(module)
            updates, state = optimiser.update(slopes, state)
            result = eqx.apply_updates(module, updates), state
            return jax.tree.leaves(eqx.filter(result, eqx.is_array))

        @jax.jit
        def loss(leaves: list, test: Any) -> jax.Array:
            module, _ = eqx.combine(jax.tree.unflatten(tree, leaves), static)
            return task.loss(module, test, jax.random.key(1))

        self.step = lambda leaves, number: step(leaves, data, self.order[number], np.int32(number))
        self.evaluate = lambda: float(loss(self.leaves, test))
        start = time.perf_counter()
        jax.block_until_ready(self.step(self.leaves, 0))
        self.first = time.perf_counter() - start
        self.loss = self.evaluate()

    def train(self, count: int) -> float:
        """So many steps; how long they took."""
        start = time.perf_counter()
        for number in range(self.number, self.number + count):
            self.leaves = self.step(self.leaves, number)
        jax.block_until_ready(self.leaves)
        taken = time.perf_counter() - start
        self.number += count
        self.loss = self.evaluate()
        return taken


class Theirs:
    """The training of theirs, in a process of its own."""

    def __init__(self, task: Task, folder: str) -> None:
        path = Path(folder) / f"{task.kind}.npz"
        arrays = {f"weights.{name}": value for name, value in task.weights.items()}
        arrays |= {f"data.{number}": value for number, value in enumerate(task.data)}
        arrays |= {f"test.{number}": value for number, value in enumerate(task.test)}
        arrays |= task.options | {"order": order(len(task.data[0]))}
        np.savez(path, kind=task.kind, rate=task.rate, **arrays)
        self.process = subprocess.Popen(
            [interpreter(), _HERE / "peers_torch.py", path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        answer = self._answer()
        self.loss, self.threads = answer["loss"], answer["threads"]

    def train(self, count: int) -> float:
        """So many steps; how long they took."""
        print(count, file=self.process.stdin, flush=True)
        answer = self._answer()
        self.loss = answer["loss"]
        return answer["seconds"]

    def close(self) -> None:
        """Ends the process, as its input ends."""
        self.process.communicate()

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"peers_torch.py ended with {self.process.wait()}")
        return json.loads(line)


def interpreter() -> Path:
    """Python of the environment of the peers, which is made if it is missing."""
    python, pins = _ENVIRONMENT / "bin" / "python", _HERE / "peers-constraints.txt"
    ready = _ENVIRONMENT / "ready"
    if not ready.exists() or ready.stat().st_mtime < pins.stat().st_mtime:
        subprocess.run([sys.executable, "-m", "venv", _ENVIRONMENT], check=True)
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, "-c", pins, *_PACKAGES], check=True)
        ready.touch()
    return python


def contest(task: Task, folder: str) -> list[Row]:
    """Trains both in turn until each is below the threshold."""
    ours, theirs = both = Ours(task), Theirs(task, folder)
    taken: tuple[list[float], list[float]] = ([], [])
    print(f"{task.name}; {task.peer} with {theirs.threads} thread(s)")
    print(f"  loss of ours and theirs at first: {ours.loss:.4f} and {theirs.loss:.4f}", flush=True)
    for turn in range(_MOST // task.every):
        late = [which for which in (0, 1) if both[which].loss > task.threshold]
        if not late:
            break
        for which in late if turn % 2 else late[::-1]:
            taken[which].append(both[which].train(task.every))
        steps = task.every * (turn + 1)
        print(f"  after {steps} steps: {ours.loss:.4f} and {theirs.loss:.4f}", flush=True)
    else:
        raise RuntimeError(f"{task.name}: still above {task.threshold:g} after {_MOST} steps")
    theirs.close()
    return rows(task, ours, theirs, taken)


def rows(task: Task, ours: Ours, theirs: Theirs, taken: tuple) -> list[Row]:
    """What is told of a contest."""
    ones, others = map(np.array, taken)
    turns = min(len(ones), len(others))
    times = np.stack([others[:turns], ones[:turns]], axis=1)
    milli = np.median(times, axis=0) / task.every * 1e3
    name = f"{task.name}, {task.peer} over ours in float32"
    pays = ours.first / (np.subtract(*milli) / 1e3)
    return [
        Row(
            f"{name}: training time to a loss of {task.threshold:g}",
            "at least 3",
            f"{others.sum() / ones.sum():.2f}; {others.sum():.1f} against {ones.sum():.1f} s, "
            f"{len(others) * task.every} and {len(ones) * task.every} steps "
            f"to {theirs.loss:.3g} and {ours.loss:.3g}",
        ),
        Row(
            f"{name}: the same, with the first call of ours, which compiles",
            "",
            f"{others.sum() / (ones.sum() + ours.first):.2f}; it takes {ours.first:.1f} s"
            + (f", won back in {pays:.0f} steps" if pays > 0 else ""),
        ),
        Row(
            f"{name}: a training step",
            "at least 3",
            f"{ratio(times)}; {milli[0]:.1f} against {milli[1]:.1f} ms",
        ),
    ]


def run(names: tuple[str, ...] = ("ode", "cde", "sde")) -> list[Row]:
    """The rows of this figure."""
    tasks = {"ode": ode, "cde": cde, "sde": sde}
    with jax.enable_x64(False), tempfile.TemporaryDirectory() as folder:
        return [row for name in names for row in contest(tasks[name](), folder)]
