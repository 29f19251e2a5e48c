"""A reader and a writer turn dates into another order: `python examples/seq2seq_attention.py`.

Two GRUs with attention between them. Bahdanau, Cho & Bengio, arXiv:1409.0473. What is read has different lengths, so
the batches are packed.
"""

from __future__ import annotations

import datetime

import numpy as np
from tools import options, set_weights

import flambeau as torch
from flambeau import nn, optim
from flambeau.nn import functional as F
from flambeau.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
LETTERS = " ,0123456789abcdefghijklmnopqrstuvwxyz-"
START = LETTERS.index(" ")
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Translator(nn.Module):
    """Letters read (N, T), their lengths (N,), letters written (N, S) to the scores of the next (N, S, letters)."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(LETTERS), 16)
        self.reader = nn.GRU(16, width, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * width, width)
        self.writer = nn.GRUCell(16 + 2 * width, width)
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(2 * width, width)
        self.energy = nn.Linear(width, 1, bias=False)
        self.scores = nn.Linear(3 * width, len(LETTERS))

    def forward(self, read: torch.Tensor, lengths: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(self.embedding(read), lengths, batch_first=True, enforce_sorted=False)
        outputs, last = self.reader(packed)
        memory, _ = pad_packed_sequence(outputs, batch_first=True)
        keys = self.key(memory)
        padding = torch.arange(memory.shape[1])[None, :] >= lengths[:, None]
        state = torch.tanh(self.bridge(torch.cat([last[0], last[1]], dim=1)))
        scores = []
        for letter in self.embedding(written).unbind(1):
            energy = self.energy(torch.tanh(self.query(state)[:, None] + keys)).squeeze(-1)
            weights = energy.masked_fill(padding.to(energy.device), -torch.inf).softmax(dim=1)
            seen = torch.einsum("nt,ntd->nd", weights, memory)
            state = self.writer(torch.cat([letter, seen], dim=1), state)
            scores.append(self.scores(torch.cat([state, seen], dim=1)))
        return torch.stack(scores, dim=1)


def dates(rng: np.random.Generator, count: int, device: str) -> Batch:
    """Dates as people write them, their lengths, and as 2024-05-17 after a start."""
    days = [datetime.date(1950, 1, 1) + datetime.timedelta(days=d) for d in rng.integers(0, 36500, count).tolist()]
    styles = [lambda d: f"{d.day} {MONTHS[d.month - 1]} {d.year}", lambda d: f"{MONTHS[d.month - 1]} {d.day}, {d.year}"]
    read = [styles[style](day) for style, day in zip(rng.integers(0, 2, count).tolist(), days, strict=True)]
    codes = [torch.tensor([LETTERS.index(c) for c in text]) for text in read]
    wanted = torch.tensor([[START, *map(LETTERS.index, day.isoformat())] for day in days])
    lengths = torch.tensor([len(text) for text in read])
    return pad_sequence(codes, batch_first=True).to(device), lengths, wanted.to(device)


def main(quick: bool = False, device: str = "cpu") -> list[float]:
    """Train, translate new dates, and return the loss of each step."""
    rng = np.random.default_rng(0)
    model = set_weights(Translator()).to(device)
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for step in range(4 if quick else 250):
        read, lengths, wanted = dates(rng, 64, device)
        scores = model(read, lengths, wanted[:, :-1])
        loss = F.cross_entropy(scores.flatten(0, 1), wanted[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 50 == 0:
            print(f"step {step:3}  loss {loss.item():.4f}")
    read, lengths, wanted = dates(rng, 32 if quick else 200, device)
    written = wanted[:, :1]
    with torch.no_grad():
        for _ in range(10):
            written = torch.cat([written, model(read, lengths, written)[:, -1:].argmax(-1)], dim=1)
    right = (written == wanted).all(1).float().mean().item()
    question, answer = ("".join(LETTERS[i] for i in row[0].tolist()) for row in (read, written))
    print(f"{right:.0%} of new dates are right, such as {question.strip()!r} as {answer.strip()!r}")
    return losses


if __name__ == "__main__":
    chosen = options(__doc__)
    main(chosen.quick, chosen.device)
