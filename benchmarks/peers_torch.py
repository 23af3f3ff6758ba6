"""The torch half of `benchmarks.peers`, run by the interpreter of ``.venv-peers``.

``python peers_torch.py task.npz`` builds the model of the task from its initial weights, says so in
a line of JSON, and then trains as many steps as each line of its input asks for, answering with the
seconds that they took and the loss on the evaluation set: ``{"seconds": 0.31, "loss": 1.2}``.

The settings are the fastest of those tried: gradients through the solver rather than by adjoints,
Adam fused, one thread or two by a measurement at the start (tensors of this size gain nothing from
two), torchsde's path told the step. ``torch.compile`` made the networks and fields slower over a
training, 1.4 times for the ODE, and failed or unrolled the loops where it was given the whole loss.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchcde
import torchdiffeq
import torchsde
from torch import nn

THREADS = (1, 2)


def perceptron(weights: dict, name: str, activation: Callable, last: Any = None) -> nn.Sequential:
    """The layers ``name.0``, ``name.1``... with activations between them, from given weights."""
    count = sum(key.startswith(f"{name}.") and key.endswith(".weight") for key in weights)
    layers: list[nn.Module] = [linear(weights, f"{name}.0")]
    for number in range(1, count):
        layers += [activation(), linear(weights, f"{name}.{number}")]
    return nn.Sequential(*layers, *([] if last is None else [last]))


def linear(weights: dict, name: str) -> nn.Linear:
    """An affine map from given weights."""
    weight = weights[f"{name}.weight"]
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(weights[f"{name}.bias"])
    return layer


class NeuralODE(nn.Module):
    """``dy/dt = f(y)``, by torchdiffeq; the loss is the mean square error of the series."""

    def __init__(self, task: dict, weights: dict) -> None:
        super().__init__()
        self.net = perceptron(weights, "net", nn.Tanh)
        self.times = task["times"]
        self.tolerances = {"rtol": float(task["rtol"]), "atol": float(task["atol"])}

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.net(y)

    def loss(self, series: torch.Tensor) -> torch.Tensor:
        found = torchdiffeq.odeint(
            self, series[:, 0], self.times, method="dopri5", **self.tolerances
        )
        return torch.mean((found - series.transpose(0, 1)) ** 2)


class Field(nn.Module):
    """The matrix of a neural CDE."""

    def __init__(self, weights: dict, channels: int) -> None:
        super().__init__()
        self.net = perceptron(weights, "net", nn.ReLU, nn.Tanh())
        self.channels = channels

    def forward(self, t: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.net(z).view(z.size(0), z.size(1), self.channels)


class NeuralCDE(nn.Module):
    """``dz = F(z) dX``, by torchcde; the loss is the cross-entropy of two classes."""

    def __init__(self, task: dict, weights: dict) -> None:
        super().__init__()
        self.field = Field(weights, task["data.0"].shape[-1])
        self.encoder = perceptron(weights, "encoder", nn.ReLU)
        self.readout = linear(weights, "readout")
        self.times = task["times"]
        self.tolerances = {"rtol": float(task["rtol"]), "atol": float(task["atol"])}

    def prepare(self, series: torch.Tensor) -> torch.Tensor:
        """The coefficients of the paths, once for all steps."""
        return torchcde.hermite_cubic_coefficients_with_backward_differences(series, self.times)

    def loss(self, coefficients: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        path = torchcde.CubicSpline(coefficients, self.times)
        states = torchcde.cdeint(
            X=path,
            func=self.field,
            z0=self.encoder(path.evaluate(path.interval[0])),
            t=path.interval,
            adjoint=False,
            method="dopri5",
            **self.tolerances,
        )
        logits = self.readout(states[:, -1])[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(logits, labels)


class LatentSDE(nn.Module):
    """``dz = h(z, c) dt + g(z) dW`` with prior drift f, by torchsde; minus the evidence's bound.

    torchsde wants the drifts of posterior and prior, and the noise, under the names f, h and g.
    """

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, task: dict, weights: dict) -> None:
        super().__init__()
        self.prior = perceptron(weights, "prior", nn.Tanh)
        self.posterior = perceptron(weights, "posterior", nn.Tanh)
        self.spread = perceptron(weights, "spread", nn.Tanh)
        self.summary, self.start = linear(weights, "summary"), linear(weights, "start")
        self.readout = linear(weights, "readout")
        self.prior_start = nn.Parameter(weights["prior_start"].clone())
        size, inputs = weights["encoder.weight_ih"].shape[0] // 3, weights["encoder.weight_ih"]
        self.encoder = nn.GRU(inputs.shape[1], size)
        with torch.no_grad():
            self.encoder.weight_ih_l0.copy_(inputs)
            self.encoder.weight_hh_l0.copy_(weights["encoder.weight_hh"])
            self.encoder.bias_ih_l0.copy_(weights["encoder.bias"])
            self.encoder.bias_hh_l0.zero_()
            self.encoder.bias_hh_l0[2 * size :].copy_(weights["encoder.bias_n"])
        # torch's GRU has two biases for each gate, which would learn twice as fast as one
        mask = torch.cat([torch.zeros(2 * size), torch.ones(size)])
        self.encoder.bias_hh_l0.register_hook(lambda slope: slope * mask)
        self.times = task["times"]
        gaps = torch.diff(self.times, append=self.times[-1:])
        self.gaps = gaps[:, None, None]
        self.noise, self.step = float(task["noise"]), float(task["dt"])
        self.context = torch.zeros(())

    def contextualise(self, series: torch.Tensor) -> torch.Tensor:
        """Reads the series backwards: keeps the context, returns mean and log deviation of z0."""
        values = series.transpose(0, 1)
        gaps = self.gaps.expand(-1, values.size(1), 1)
        inputs = torch.cat([values, torch.ones_like(values), gaps], dim=2)  # nothing is missing
        hidden, last = self.encoder(torch.flip(inputs, (0,)))
        self.context = self.summary(torch.flip(hidden, (0,)))
        return self.start(last[0])

    def f(self, t: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        last = len(self.times) - 2
        left = min(max(int(torch.searchsorted(self.times, t, right=True)) - 1, 0), last)
        share = (t - self.times[left]) / (self.times[left + 1] - self.times[left])
        context = torch.lerp(self.context[left], self.context[left + 1], share)
        return self.posterior(torch.cat([z, context], dim=1))

    def h(self, t: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.prior(z)

    def g(self, t: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return 0.05 + nn.functional.softplus(self.spread(z))

    def loss(self, series: torch.Tensor) -> torch.Tensor:
        mean, logarithm = self.contextualise(series).chunk(2, dim=1)
        deviation = torch.exp(logarithm)
        z0 = mean + deviation * torch.randn_like(mean)
        brownian = torchsde.BrownianInterval(
            self.times[0],
            self.times[-1],
            size=(len(z0), z0.size(1) + 1),  # one more for the divergence
            dtype=z0.dtype,
            dt=self.step,
        )
        states, divergences = torchsde.sdeint(
            self, z0, self.times, bm=brownian, method="euler", dt=self.step, logqp=True
        )
        residuals = (self.readout(states) - series.transpose(0, 1)) / self.noise
        constant = np.log(self.noise) + np.log(2 * np.pi) / 2
        middle, spread = self.prior_start[0], torch.exp(self.prior_start[1])
        ratio = (deviation / spread) ** 2
        at_start = (ratio + ((mean - middle) / spread) ** 2 - 1 - torch.log(ratio)).sum(1) / 2
        likelihood = (residuals**2 / 2 + constant).sum((0, 2))
        return torch.mean(likelihood + at_start + divergences.sum(0))


class Training:
    """A model with its optimiser, data and order of batches."""

    def __init__(self, task: dict, weights: dict) -> None:
        torch.manual_seed(0)
        np.random.seed(0)  # torchsde takes the seeds of its paths from numpy
        make = {"ode": NeuralODE, "cde": NeuralCDE, "sde": LatentSDE}[str(task["kind"])]
        self.model = make(task, weights)
        self.data = [task[name] for name in sorted(task) if name.startswith("data.")]
        self.test = [task[name] for name in sorted(task) if name.startswith("test.")]
        if isinstance(self.model, NeuralCDE):
            for arrays in (self.data, self.test):
                arrays[0] = self.model.prepare(arrays[0])
        self.order = task["order"]
        self.optimiser = torch.optim.Adam(
            self.model.parameters(), lr=float(task["rate"]), fused=True
        )
        self.number = 0

    def train(self, count: int) -> float:
        """So many steps; how long they took."""
        start = time.perf_counter()
        for number in range(self.number, self.number + count):
            rows = self.order[number]
            self.optimiser.zero_grad()
            self.model.loss(*(array[rows] for array in self.data)).backward()
            self.optimiser.step()
        self.number += count
        return time.perf_counter() - start

    def loss(self) -> float:
        """The loss on the evaluation set."""
        with torch.no_grad():
            return float(self.model.loss(*self.test))


def best_threads(training: Training) -> int:
    """The number of threads with the fastest steps; torch's own first calls are slower."""
    training.train(1)
    fastest: dict[int, float] = {}
    for threads in THREADS * 3:
        torch.set_num_threads(threads)
        fastest[threads] = min(fastest.get(threads, np.inf), training.train(1))
    return min(fastest, key=lambda threads: fastest[threads])


def main(path: str) -> None:
    """Answers the lines of the standard input, until it ends."""
    task: dict[str, Any] = {}
    for name, array in np.load(path).items():
        task[name] = torch.from_numpy(array) if array.ndim else array
    weights = {name[8:]: array for name, array in task.items() if name.startswith("weights.")}
    threads = best_threads(Training(task, weights))
    torch.set_num_threads(threads)
    training = Training(task, weights)
    print(json.dumps({"threads": threads, "loss": training.loss()}), flush=True)
    for line in sys.stdin:
        seconds = training.train(int(line))
        print(json.dumps({"seconds": seconds, "loss": training.loss()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
