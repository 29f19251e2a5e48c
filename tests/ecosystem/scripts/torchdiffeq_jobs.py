"""torchdiffeq: every solver, events, gradients through the solver and by the adjoint."""

from __future__ import annotations

import math
from typing import Any

import jobs
import torch
from jobs import even, gradients, job, tensor
from torch import nn
from torchdiffeq import odeint, odeint_adjoint, odeint_event

ADAPTIVE = ("dopri8", "dopri5", "bosh3", "fehlberg2", "adaptive_heun")
FIXED = ("euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams")


def times(last: float = 1.0, n: int = 6) -> Any:
    return torch.linspace(0.0, last, n).to(jobs.DEVICE)


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
        self.calls = 0

    def forward(self, t: Any, y: Any) -> Any:
        self.calls += 1
        return self.net(torch.cat([y, t.reshape(1, 1).expand(y.shape[0], 1)], -1))


@job
def adaptive_solvers() -> Any:
    """Five solvers of adaptive steps on a linear field."""
    matrix = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]]).to(jobs.DEVICE)
    return {m: odeint(lambda t, y: y @ matrix, tensor(2), times(), method=m, rtol=1e-5, atol=1e-6) for m in ADAPTIVE}


@job
def fixed_solvers() -> Any:
    """Seven solvers of fixed steps on a network."""
    field = even(Field())
    with torch.no_grad():
        plain = {m: odeint(field, tensor(4, 2), times(), method=m) for m in FIXED}
        fine = {m: odeint(field, tensor(4, 2), times(), method=m, options={"step_size": 0.05}) for m in FIXED}
    return plain, fine


@job
def scipy_solver() -> Any:
    """scipy's LSODA through torchdiffeq."""
    with torch.no_grad():
        return odeint(lambda t, y: -y * t, tensor(3), times(), method="scipy_solver", options={"solver": "LSODA"})


@job
def gradients_through_the_solver() -> Any:
    """Gradients by backpropagation through the steps."""
    answers = {}
    for method in ("dopri5", "rk4"):
        field, y0, t = even(Field()), tensor(4, 2, grad=True), times().requires_grad_()
        odeint(field, y0, t, method=method)[-1].pow(2).sum().backward()
        answers[method] = [gradients(field), y0.grad, t.grad]
    return answers


@job
def gradients_by_the_adjoint() -> Any:
    """Gradients by the adjoint equation, also with a seminorm."""
    answers = {}
    for method in ("dopri5", "rk4", "bosh3"):
        field, y0, t = even(Field()), tensor(4, 2, grad=True), times().requires_grad_()
        out = odeint_adjoint(field, y0, t, method=method, rtol=1e-6, atol=1e-7)
        out[1:].pow(2).sum().backward()
        answers[method] = [out, gradients(field), y0.grad, t.grad]
    field, y0 = even(Field()), tensor(4, 2, grad=True)
    out = odeint_adjoint(field, y0, times(), adjoint_options={"norm": "seminorm"}, adjoint_rtol=1e-5)
    out[-1].sum().backward()
    return answers, gradients(field), y0.grad


@job
def tuples() -> Any:
    """A state of two tensors, forwards and backwards in time."""

    def field(t: Any, state: Any) -> Any:
        place, speed = state
        return speed, -place

    start = (tensor(3), tensor(3, seed=1))
    return odeint(field, start, times()), odeint(field, start, times().flip(0), method="rk4")


@job
def a_bouncing_ball() -> Any:
    """The time of an event, and its gradients."""
    start = (torch.tensor([2.0]).to(jobs.DEVICE), torch.tensor([0.0]).to(jobs.DEVICE).requires_grad_())
    gravity = torch.tensor([9.8]).to(jobs.DEVICE).requires_grad_()
    when, states = odeint_event(
        lambda t, s: (s[1], -gravity),
        start,
        torch.tensor(0.0).to(jobs.DEVICE),
        event_fn=lambda t, s: s[0].reshape(()),
        atol=1e-7,
        rtol=1e-6,
        odeint_interface=odeint,
    )
    when.backward()
    return when, math.sqrt(2 * 2 / 9.8), states[1][-1], gravity.grad, start[1].grad


@job
def perturbed_and_complex() -> Any:
    """Perturbed steps, cubic interpolation, a complex state."""
    field = even(Field())
    with torch.no_grad():
        steps = odeint(field, tensor(4, 2), times(), method="rk4", options={"perturb": True, "step_size": 0.1})
        cubic = odeint(
            field, tensor(4, 2), times(1.0, 7), method="rk4", options={"interpolation": "cubic", "step_size": 0.3}
        )
        start = torch.complex(tensor(2), tensor(2, seed=1)) if jobs.DEVICE == "cpu" else None
        turned = None if start is None else odeint(lambda t, z: 1j * z, start, times(), method="rk4")
    return steps, cubic, turned


@job
def training() -> Any:
    """Eight steps of Adam on a neural differential equation."""
    field = even(Field())
    optimizer = torch.optim.Adam(field.parameters(), lr=0.02)
    y0, t = tensor(4, 2), times()
    target = torch.stack([y0 * torch.exp(-s) for s in t.cpu().tolist() for s in [torch.tensor(s).to(jobs.DEVICE)]])
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = (odeint_adjoint(field, y0, t, method="rk4") - target).abs().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    jobs.main("torchdiffeq")
