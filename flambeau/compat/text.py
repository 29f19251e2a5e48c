"""What torchtext's C++ library gives its Python: classes, and ops that take and give them; SentencePiece among them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final

from flambeau.compat import tokenizing
from flambeau.compat.tokenizing import BERTEncoder, CLIPEncoder, GPT2BPEEncoder, Regex, RegexTokenizer
from flambeau.compat.torch import _classes, _ops
from flambeau.compat.torch._C import ScriptObject
from flambeau.compat.vocabularies import Vectors, Vocab, build_vocab, load_vectors, load_vocab
from flambeau.compat.vocabularies import build_vocab as _build_vocab_from_text_file_using_python_tokenizer
from flambeau.core.tensor import Tensor

__all__ = [
    "BERTEncoder", "CLIPEncoder", "GPT2BPEEncoder", "Regex", "RegexTokenizer", "SentencePiece", "Vectors", "Vocab",
    "_build_vocab_from_text_file", "_build_vocab_from_text_file_using_python_tokenizer",
    "_load_token_and_vectors_from_file", "_load_vocab_from_file",
]  # fmt: skip


def _sentencepiece(asked: str) -> Any:  # Any: a module that need not be installed
    try:
        import sentencepiece  # only who uses its models needs it
    except ImportError as error:
        raise RuntimeError(f"{asked}: needs the package sentencepiece, which is not installed") from error
    return sentencepiece


class SentencePiece:
    """A model of SentencePiece, from the bytes of its file. RuntimeError where they are none."""

    def __init__(self, content: bytes | str):
        self._content = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
        self._model = _sentencepiece("SentencePiece").SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(self._content)
        except (OSError, RuntimeError, ValueError) as error:
            raise RuntimeError(f"SentencePiece: these {len(self._content)} bytes are no model: {error}") from error

    def _return_content(self) -> bytes:
        return self._content

    def EncodeAsPieces(self, text: str) -> list[str]:
        """The pieces of a text."""
        return list(self._model.EncodeAsPieces(text))

    Encode = EncodeAsPieces

    def EncodeAsIds(self, text: str) -> list[int]:
        """The numbers of the pieces of a text."""
        return list(self._model.EncodeAsIds(text))

    def DecodePieces(self, pieces: list[str]) -> str:
        """The text of pieces."""
        return str(self._model.DecodePieces(pieces))

    def DecodeIds(self, ids: list[int]) -> str:
        """The text of pieces' numbers."""
        return str(self._model.DecodeIds(ids))

    def GetPieceSize(self) -> int:
        """How many pieces there are."""
        return int(self._model.GetPieceSize())

    def unk_id(self) -> int:
        """The number of what is unknown."""
        return int(self._model.unk_id())

    def PieceToId(self, piece: str) -> int:
        """A piece's number."""
        return int(self._model.PieceToId(piece))

    def IdToPiece(self, id: int) -> str:
        """A number's piece."""
        return str(self._model.IdToPiece(id))

    def __getstate__(self) -> bytes:
        return self._content

    def __setstate__(self, state: bytes) -> None:
        SentencePiece.__init__(self, state)


class _Script(ScriptObject):
    """An object of a class of ``torch.classes``, which is none of the class that Python code is given."""

    _of: ClassVar[type[Any]]  # Any: one of the classes here

    def __init__(self, *given: Any):  # Any: what the class takes
        self._made = self._of(*given)

    def __getattr__(self, name: str) -> Any:  # Any: an attribute of the class
        if name == "_made" or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__} object has no attribute {name!r}", name=name, obj=self)
        return getattr(self._made, name)

    def __len__(self) -> int:
        return len(self._made)

    def __contains__(self, token: str) -> bool:
        return token in self._made

    def __getitem__(self, token: str) -> Any:  # Any: a number of Vocab, a vector of Vectors
        return self._made[token]

    def __setitem__(self, token: str, value: Tensor) -> None:
        self._made[token] = value


def _build_vocab_from_text_file(
    path: str, min_freq: int, num_cpus: int, tokenizer: Callable[[str], list[str]]
) -> Vocab:
    return build_vocab(path, min_freq, tokenizer)


def _load_vocab_from_file(path: str, min_freq: int, num_cpus: int) -> Vocab:
    return load_vocab(path, min_freq)


def _load_token_and_vectors_from_file(
    path: str, delimiter: str, num_cpus: int, unknown: Tensor | None
) -> tuple[Vectors, list[str]]:
    return load_vectors(path, delimiter, unknown)


def generate_sp_model(filename: str, vocab_size: int, model_type: str, model_prefix: str) -> None:
    """Train a model of SentencePiece on a file, and write it under ``model_prefix``. RuntimeError where it fails."""
    trainer = _sentencepiece("generate_sp_model").SentencePieceTrainer
    try:
        trainer.Train(input=filename, model_prefix=model_prefix, vocab_size=vocab_size, model_type=model_type)
    except (OSError, ValueError) as error:
        raise RuntimeError(f"generate_sp_model: {error}") from error


def load_sp_model(path: str) -> SentencePiece:
    """The model of SentencePiece in a file. RuntimeError where there is none."""
    try:
        return SentencePiece(Path(path).read_bytes())
    except OSError as error:
        raise RuntimeError(f"load_sp_model: {path} can't be read: {error.strerror}") from error


_CLASSES: Final = (BERTEncoder, CLIPEncoder, GPT2BPEEncoder, RegexTokenizer, SentencePiece, Vectors, Vocab)
#: Ops that take and give objects, which no schema tells.
_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "generate_sp_model": generate_sp_model,
    "load_sp_model": load_sp_model,
    "load_sp_model_string": SentencePiece,
    "gpt2_bpe_pre_tokenizer": lambda text: list(tokenizing.gpt2_words(text)),
}


def register(namespace: str = "torchtext") -> None:
    """Enter the classes and ops of torchtext's library under their names."""
    for made in _CLASSES:
        _classes.enter(namespace, made.__name__, type(made.__name__, (_Script,), {"_of": made}))
    for name, fn in _FUNCTIONS.items():
        _ops.enter(namespace, name, fn)
