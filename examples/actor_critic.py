"""An actor and a critic learn to balance a pole: `python examples/actor_critic.py`.

The cart and its pole are those of Barto, Sutton & Anderson, "Neuronlike adaptive elements that can solve difficult
learning control problems", 1983; the estimates of advantage those of Schulman et al., arXiv:1506.02438.
"""

from __future__ import annotations

import math

import numpy as np
from tools import options, set_weights

import flambeau as torch
from flambeau import nn, optim
from flambeau.nn import functional as F

DISCOUNT, SMOOTHING, LONGEST = 0.99, 0.95, 200


class CartPole:
    """A pole on a cart that is pushed left or right, every 0.02 s, until it falls."""

    GRAVITY, CART, POLE, HALF_LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02

    def __init__(self, rng: np.random.Generator) -> None:
        self.state = rng.uniform(-0.05, 0.05, 4)

    def step(self, right: bool) -> bool:
        """Push, and tell whether the pole still stands."""
        _, speed, angle, turning = self.state.tolist()
        force = self.FORCE if right else -self.FORCE
        total, cos, sin = self.CART + self.POLE, math.cos(angle), math.sin(angle)
        pushed = (force + self.POLE * self.HALF_LENGTH * turning**2 * sin) / total
        bending = (self.GRAVITY * sin - cos * pushed) / (self.HALF_LENGTH * (4 / 3 - self.POLE * cos**2 / total))
        moving = pushed - self.POLE * self.HALF_LENGTH * bending * cos / total
        self.state = self.state + self.SECONDS * np.array([speed, moving, turning, bending])
        return abs(self.state[0]) < 2.4 and abs(self.state[2]) < math.radians(12)


class ActorCritic(nn.Module):
    """States (N, 4) to the logits of both pushes (N, 2) and the return that is expected (N,)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, width), nn.Tanh())
        self.actor, self.critic = nn.Linear(width, 2), nn.Linear(width, 1)

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.body(states)
        return self.actor(hidden), self.critic(hidden).squeeze(-1)


def play(
    model: ActorCritic, rng: np.random.Generator, device: str, *, best: bool = False
) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """One episode: its states (T, 4), its pushes (T,), drawn or always the likelier, and whether the pole fell."""
    cart = CartPole(rng)
    states, pushes, stands = [], [], True
    while stands and len(states) < LONGEST:
        states.append(cart.state.astype(np.float32))
        with torch.no_grad():
            left = model(torch.from_numpy(states[-1]).to(device)[None])[0].softmax(-1)[0, 0].item()
        pushes.append(int((0.5 if best else rng.random()) >= left))
        stands = cart.step(bool(pushes[-1]))
    return torch.from_numpy(np.stack(states)).to(device), torch.tensor(pushes, device=device), not stands


def advantages(values: list[float], fell: bool) -> torch.Tensor:
    """How much better each step went than expected, with a reward of 1 for each, smoothed over the steps to come."""
    following = [*values[1:], 0.0 if fell else values[-1]]
    result, later = [], 0.0
    for value, after in zip(reversed(values), reversed(following), strict=True):
        later = 1 + DISCOUNT * after - value + DISCOUNT * SMOOTHING * later
        result.append(later)
    return torch.tensor(result[::-1])


def main(quick: bool = False, device: str = "cpu") -> list[float]:
    """Learn, and return the loss of each episode."""
    rng = np.random.default_rng(0)
    model = set_weights(ActorCritic()).to(device)
    episodes = 4 if quick else 500
    optimizer = optim.Adam(model.parameters(), lr=7e-3)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, episodes)
    losses, lengths = [], []
    for episode in range(episodes):
        states, pushes, fell = play(model, rng, device)
        logits, values = model(states)
        gain = advantages(values.tolist(), fell).to(device)
        chosen = F.log_softmax(logits, dim=-1).gather(1, pushes[:, None]).squeeze(1)
        entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
        actor = -(chosen * (gain - gain.mean()) / (gain.std() + 1e-6)).mean()
        critic = F.smooth_l1_loss(values, gain + values.detach())
        loss = actor + 0.5 * critic - 0.01 * entropy
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        lengths.append(len(states))
        if episode % 25 == 24:
            print(f"episode {episode + 1:3}  stands for {np.mean(lengths[-25:]):.0f} steps of at most {LONGEST}")
    stood = [len(play(model, rng, device, best=True)[0]) for _ in range(2 if quick else 20)]
    print(f"by its best pushes it stands for {np.mean(stood):.0f} steps of at most {LONGEST}")
    return losses


if __name__ == "__main__":
    chosen = options(__doc__)
    main(chosen.quick, chosen.device)
