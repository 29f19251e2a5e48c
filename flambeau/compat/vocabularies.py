"""Vocabularies and word vectors, as torchtext's C++ library has them, in Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

import flambeau as fb
from flambeau.core.tensor import Tensor

__all__ = ["Vectors", "Vocab", "build_vocab", "load_vectors", "load_vocab"]

State: TypeAlias = tuple[str, list[int], list[str], list[Tensor]]
#: The version that a pickled object says it has.
_VERSION: Final = {"Vocab": "0.0.2", "Vectors": "0.0.1"}


def _text(asked: str, value: Any) -> str:  # Any: what a caller gives for a token
    if not isinstance(value, str):
        raise TypeError(f"{asked}: a token should be a str, got {type(value).__name__}")
    return value


def _unpacked(asked: str, state: State) -> State:
    if len(state) != 4:
        raise RuntimeError(f"{asked}: a state of 4 parts is needed, got {len(state)}")
    if state[0] != _VERSION[asked]:
        raise RuntimeError(f"{asked}: version {_VERSION[asked]} is read, got {state[0]!r}")
    return state


class Vocab:
    """Numbers for tokens, in order, and one for those that are not among them, ``default_index``, if there is one.

    RuntimeError for a token that comes twice, and for one without a number.

    >>> from flambeau.compat.vocabularies import Vocab
    >>> Vocab(["a", "b"], 0).lookup_indices(["b", "x"])
    [1, 0]
    """

    def __init__(self, tokens: Iterable[str], default_index: int | None = None):
        self._itos: list[str] = []
        self._stoi: dict[str, int] = {}
        self._default = default_index
        for token in tokens:
            if _text("Vocab", token) in self._stoi:
                raise RuntimeError(f"Vocab: the tokens should differ, got {token!r} twice")
            self.append_token(token)

    @property
    def itos_(self) -> list[str]:
        """The tokens."""
        return list(self._itos)

    @property
    def default_index_(self) -> int | None:
        """The number of unknown tokens."""
        return self._default

    def __len__(self) -> int:
        return len(self._itos)

    def __contains__(self, token: object) -> bool:
        return _text("Vocab", token) in self._stoi

    def __getitem__(self, token: str) -> int:
        found = self._stoi.get(_text("Vocab", token), self._default)
        if found is None:
            raise RuntimeError(f"Vocab: {token!r} is not among the tokens, and no default index is set")
        return found

    def set_default_index(self, index: int | None) -> None:
        """Set the number of unknown tokens; None makes them errors."""
        self._default = index

    def get_default_index(self) -> int | None:
        """The number of unknown tokens."""
        return self._default

    def append_token(self, token: str) -> None:
        """Enter a token under the next number."""
        self.insert_token(token, len(self._itos))

    def insert_token(self, token: str, index: int) -> None:
        """Enter a token under ``index``; those from there on move up by one."""
        if not 0 <= index <= len(self._itos):
            raise RuntimeError(f"Vocab: index should be from 0 to {len(self._itos)}, got {index}")
        if _text("Vocab", token) in self._stoi:
            raise RuntimeError(f"Vocab: {token!r} is there already, under {self._stoi[token]}")
        self._itos.insert(index, token)
        for i in range(index, len(self._itos)):
            self._stoi[self._itos[i]] = i

    def lookup_token(self, index: int) -> str:
        """The token of a number."""
        if not 0 <= index < len(self._itos):
            raise RuntimeError(f"Vocab: index should be below {len(self._itos)}, got {index}")
        return self._itos[index]

    def lookup_tokens(self, indices: Iterable[int]) -> list[str]:
        """The tokens of numbers."""
        return [self.lookup_token(i) for i in indices]

    def lookup_indices(self, tokens: list[str]) -> list[int]:
        """The numbers of tokens."""
        if not isinstance(tokens, list):
            raise TypeError(f"Vocab: tokens should be a list, got {type(tokens).__name__}")
        return [self[token] for token in tokens]

    def get_stoi(self) -> dict[str, int]:
        """Each token's number."""
        return dict(self._stoi)

    def get_itos(self) -> list[str]:
        """The tokens, in order."""
        return list(self._itos)

    def __getstate__(self) -> State:
        return _VERSION["Vocab"], [] if self._default is None else [self._default], list(self._itos), []

    def __setstate__(self, state: State) -> None:
        _, numbers, tokens, _ = _unpacked("Vocab", state)
        Vocab.__init__(self, tokens, numbers[0] if numbers else None)


def lines_of(path: str) -> Iterator[str]:
    try:
        text = Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise RuntimeError(f"{path} can't be read: {error.strerror}") from error
    rows = text.split("\n")
    return iter(rows if rows[-1] else rows[:-1])


def build_vocab(path: str, min_freq: int, tokenizer: Callable[[str], list[str]]) -> Vocab:
    """The tokens of a file's lines that come ``min_freq`` times, the most frequent first, equal ones by their letters.

    RuntimeError where the file can't be read.
    """
    counts: Counter[str] = Counter()
    for line in lines_of(path):
        counts.update(tokenizer(line))
    kept = [(token, n) for token, n in counts.items() if n >= min_freq]
    return Vocab(token for token, _ in sorted(kept, key=lambda pair: (-pair[1], pair[0].encode())))


def load_vocab(path: str, min_freq: int) -> Vocab:
    """The words of a file of one to a line that come ``min_freq`` times, in the order in which they do so first."""
    counts: Counter[str] = Counter()
    words = " ".join(lines_of(path)).split()
    for word in words:
        counts[word] += 1
    return Vocab(word for word in dict.fromkeys(words) if counts[word] >= min_freq)


class Vectors:
    """Rows of a matrix for tokens, and one vector for those that are not among them. RuntimeError for a token twice.

    >>> from flambeau.compat.vocabularies import Vectors
    >>> Vectors(["a"], [0], fb.ones(1, 2), fb.zeros(2)).lookup_vectors(["a", "x"])
    tensor([[1., 1.],
            [0., 0.]])
    """

    def __init__(self, tokens: list[str], indices: list[int], vectors: Tensor, unk_tensor: Tensor):
        if len(tokens) != len(indices):
            raise RuntimeError(f"Vectors: {len(tokens)} tokens need as many indices, got {len(indices)}")
        self.stoi: dict[str, int] = {}
        self.vectors_, self.unk_tensor_ = vectors, unk_tensor
        self._touched: dict[str, Tensor] = {}
        for token, index in zip(tokens, indices, strict=True):
            if _text("Vectors", token) in self.stoi:
                raise RuntimeError(f"Vectors: the tokens should differ, got {token!r} twice")
            self.stoi[token] = index

    def __getitem__(self, token: str) -> Tensor:
        if token not in self.stoi:
            return self.unk_tensor_
        if token not in self._touched:
            self._touched[token] = self.vectors_[self.stoi[token]]
        return self._touched[token]

    def lookup_vectors(self, tokens: list[str]) -> Tensor:
        """The rows of tokens."""
        return fb.stack([self[token] for token in tokens])

    def __setitem__(self, token: str, vector: Tensor) -> None:
        if token in self.stoi:
            self.vectors_[self.stoi[token]] = vector
        else:
            self.stoi[token] = self.vectors_.shape[0]
            self.vectors_ = fb.cat([self.vectors_, vector[None]])
        self._touched[token] = vector

    def __len__(self) -> int:
        """How many tokens have been looked up or set: what torchtext's counts."""
        return len(self._touched)

    def get_stoi(self) -> dict[str, int]:
        """Each token's row."""
        return dict(self.stoi)

    def __getstate__(self) -> State:
        return _VERSION["Vectors"], list(self.stoi.values()), list(self.stoi), [self.vectors_, self.unk_tensor_]

    def __setstate__(self, state: State) -> None:
        _, numbers, tokens, (vectors, unknown) = _unpacked("Vectors", state)
        Vectors.__init__(self, tokens, numbers, vectors, unknown)


def load_vectors(path: str, delimiter: str, unknown: Tensor | None = None) -> tuple[Vectors, list[str]]:
    """The vectors of a file of lines of a token, ``delimiter`` and numbers with spaces between, and tokens that repeat.

    Lines of at most two numbers at the top are its head. As in torchtext, a head of h lines moves the rows down by h:
    rows above are 0, and the last h lines are not read.
    """
    if len(delimiter) != 1:
        raise RuntimeError(f"Vectors: the delimiter should be one letter, got {delimiter!r}")
    rows = [line.partition(delimiter)[::2] for line in lines_of(path)]
    head = next((i for i, (_, numbers) in enumerate(rows) if len(numbers.split(" ")) > 2), len(rows))
    body = rows[head:]
    width = len(body[0][1].split()) if body else 0
    values = np.zeros((len(body), width), np.float32)
    places: dict[str, int] = {}
    repeated = []
    for row, (token, numbers) in enumerate(body[: len(body) - head], head):
        values[row] = [float(number) for number in numbers.split()[:width]]
        if token in places:
            repeated.append(token)
        else:
            places[token] = row
    made = fb.zeros(width) if unknown is None else unknown
    return Vectors(list(places), list(places.values()), fb.tensor(values), made), repeated
