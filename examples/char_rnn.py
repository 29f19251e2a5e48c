"""An LSTM learns to write, letter by letter: `python examples/char_rnn.py`. Graves, arXiv:1308.0850."""

from __future__ import annotations

import numpy as np
from tools import options, set_weights

import flambeau as torch
from flambeau import nn, optim
from flambeau.nn import functional as F

TEXT = """a torch passed from hand to hand keeps one flame. the hand may be of gold or of clay, the flame is the same.
so we keep the flame and ask nothing of the hand. who carries it today will pass it on tomorrow, and the road will
still be lit. a light that needs one lamp goes out with the lamp; a light that any lamp can hold goes on. """
LETTERS = sorted(set(TEXT))


class CharRNN(nn.Module):
    """Letters (N, T) and a state to scores (N, T, letters) and the next state."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(LETTERS), 16)
        self.lstm = nn.LSTM(16, width, num_layers=2, batch_first=True)
        self.scores = nn.Linear(width, len(LETTERS))

    def forward(
        self, letters: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        hidden, state = self.lstm(self.embedding(letters), state)
        return self.scores(hidden), state


def write(model: CharRNN, start: str, length: int, device: str) -> str:
    """Go on from ``start``, always by the likeliest letter."""
    text, state = start, None
    letters = torch.tensor([[LETTERS.index(c) for c in start]], device=device)
    with torch.no_grad():
        for _ in range(length):
            scores, state = model(letters, state)
            letters = scores[:, -1:].argmax(-1)
            text += LETTERS[int(letters.item())]
    return text


def main(quick: bool = False, device: str = "cpu") -> list[float]:
    """Train on a text, write, and return the loss of each step."""
    codes = torch.tensor([LETTERS.index(c) for c in TEXT])
    model = set_weights(CharRNN()).to(device)
    optimizer = optim.RMSprop(model.parameters(), lr=5e-3)
    rng = np.random.default_rng(0)
    losses = []
    for step in range(6 if quick else 300):
        starts = rng.integers(0, len(TEXT) - 33, 16).tolist()
        windows = torch.stack([codes[s : s + 33] for s in starts]).to(device)
        scores, _ = model(windows[:, :-1])
        loss = F.cross_entropy(scores.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 50 == 0:
            print(f"step {step:3}  {loss.item():.4f}  {write(model, 'a light ', 60, device)!r}")
    print(write(model, "the hand ", 120, device))
    with torch.no_grad():
        likeliest = model(codes[None, :-1].to(device))[0][0].argmax(-1).cpu()
    print(f"{(likeliest == codes[1:]).float().mean().item():.0%} of the text's letters are told from those before them")
    return losses


if __name__ == "__main__":
    chosen = options(__doc__)
    main(chosen.quick, chosen.device)
