"""Tokenizers of torchtext's C++ library: regular expressions, byte pairs of GPT-2 and CLIP, and BERT's word pieces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final

from flambeau.compat.vocabularies import Vocab, lines_of

__all__ = ["BERTEncoder", "CLIPEncoder", "GPT2BPEEncoder", "Regex", "RegexTokenizer"]

# -- regular expressions -----------------------------------------------------------------------------
#: What RE2 means otherwise than Python: classes are of ASCII's letters, white space without \v, and have names.
_WITHIN: Final = {r"\s": r"\t\n\f\r ", r"\w": "0-9A-Za-z_", r"\d": "0-9"}
_ALONE: Final = {
    **{k: f"[{v}]" for k, v in _WITHIN.items()}, **{k.upper(): f"[^{v}]" for k, v in _WITHIN.items()}, r"\z": r"\Z",
    r"\b": r"(?:(?<=[0-9A-Za-z_])(?![0-9A-Za-z_])|(?<![0-9A-Za-z_])(?=[0-9A-Za-z_]))",
}  # fmt: skip
_POSIX: Final = {
    "alpha": "A-Za-z", "digit": "0-9", "alnum": "A-Za-z0-9", "upper": "A-Z", "lower": "a-z", "space": r"\t\n\v\f\r ",
    "punct": r"!-/:-@\[-`{-~", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f", "blank": r"\t ", "cntrl": r"\x00-\x1f\x7f",
    "graph": "!-~", "print": " -~",
}  # fmt: skip
_LOOK: Final = re.compile(r"\\.|\[\^?\]?|.", re.DOTALL)


def _in_python(pattern: str) -> str:
    """A pattern of RE2's language as Python's."""
    named = re.sub(r"\[:(\w+):\]", lambda m: _POSIX.get(m[1], m[0]), pattern)
    made, inside = [], False  # inside: between brackets
    for look in _LOOK.finditer(named):
        sign = look[0]
        if sign in (_WITHIN if inside else _ALONE):
            made.append((_WITHIN if inside else _ALONE)[sign])
        elif sign.startswith("["):
            made.append("\\" + sign if inside else sign)
            inside = not inside or not sign.endswith("]")
        else:
            inside = inside and sign != "]"
            made.append(sign)
    return "".join(made)


def _compiled(pattern: str) -> Any:  # Any: a pattern of re or of the package regex
    """A pattern of RE2's language. RuntimeError where it is none, or needs the package regex, which is not there."""
    text = _in_python(pattern)
    try:
        if re.search(r"\\[pP]", text):
            try:
                import regex  # only patterns with classes of Unicode need it
            except ImportError as error:
                raise RuntimeError(f"Regex: {pattern!r} needs the package regex, which is not installed") from error
            return regex.compile(text)
        return re.compile(text)
    except (re.error, ValueError) as error:
        raise RuntimeError(f"Regex: {pattern!r} is no pattern: {error}") from error


def _replaced(pattern: Any, text: str, rewrite: str) -> str:  # Any: a pattern of re or of the package regex
    """All matches rewritten, \\0 to \\9 by the match's parts; an empty match is none right after another.

    As in RE2, what comes after a backslash before anything else than a digit or another one is left out.
    """
    parts = re.split(r"(\\[\d\\])", rewrite)
    if wrong := [i for i, p in enumerate(parts) if "\\" in p and not i % 2]:
        parts = [*parts[: wrong[0]], parts[wrong[0]].partition("\\")[0]]
    made, last = [], -1
    done = 0
    for match in pattern.finditer(text):
        if match.start() == match.end() == last:
            continue
        made.append(text[done : match.start()])
        for p in parts:
            made.append(p if not p.startswith("\\") else "\\" if p == "\\\\" else match[int(p[1])] or "")
        done = last = match.end()
    return "".join([*made, text[done:]])


class Regex:
    """A pattern of RE2's language. RuntimeError for what is none.

    >>> from flambeau.compat.tokenizing import Regex
    >>> Regex("[bc]+").Sub("abba", "-")
    'a-a'
    """

    def __init__(self, pattern: str):
        self._pattern, self._compiled = pattern, _compiled(pattern)

    def Sub(self, text: str, rewrite: str) -> str:
        """All matches rewritten; ``\\1`` is the first group."""
        return _replaced(self._compiled, text, rewrite)

    def __getstate__(self) -> str:
        return self._pattern

    def __setstate__(self, state: str) -> None:
        Regex.__init__(self, state)


class RegexTokenizer:
    """Replaces by patterns of RE2's language, one after the other, and splits at spaces.

    ``to_lower`` first makes the letters A to Z small. RuntimeError where there are not as many replacements.

    >>> from flambeau.compat.tokenizing import RegexTokenizer
    >>> RegexTokenizer(["[,.]+"], [" "], True).forward("One,two.. three")
    ['one', 'two', 'three']
    """

    def __init__(self, patterns: list[str], replacements: list[str], to_lower: bool):
        if len(patterns) != len(replacements):
            raise RuntimeError(
                f"RegexTokenizer: {len(patterns)} patterns need as many replacements, got {len(replacements)}"
            )
        self.patterns_, self.replacements_, self.to_lower_ = list(patterns), list(replacements), to_lower
        self._compiled = [_compiled(pattern) for pattern in patterns]

    def forward(self, text: str) -> list[str]:
        """The tokens of a text."""
        if self.to_lower_:
            text = re.sub("[A-Z]+", lambda m: m[0].lower(), text)
        for pattern, rewrite in zip(self._compiled, self.replacements_, strict=True):
            text = _replaced(pattern, text, rewrite)
        return [token for token in text.split(" ") if token]

    def __getstate__(self) -> tuple[list[str], list[str], bool]:
        return self.patterns_, self.replacements_, self.to_lower_

    def __setstate__(self, state: tuple[list[str], list[str], bool]) -> None:
        RegexTokenizer.__init__(self, *state)


# -- byte pairs --------------------------------------------------------------------------------------
_GPT2: Final = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+", re.ASCII)
_CLIP: Final = re.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[A-Za-z]+|[0-9]|[^\t\n\f\r A-Za-z0-9]+",
    re.ASCII | re.IGNORECASE,
)
_BLANK: Final = " \t\n\v\f\r"


def _shadow(text: str) -> str:
    """The text with letters, numbers and signs beyond ASCII as one letter, number or sign of it."""
    return text if text.isascii() else "".join(
        c if c < "\x80" else "a" if c.isalpha() else "0" if unicodedata.category(c)[0] == "N" else "!" for c in text
    )  # fmt: skip


def gpt2_words(text: str) -> Iterator[str]:
    """Words with the space before them, as GPT-2 has them; of more white space the last goes to the word if a space."""
    carried = ""
    shadow = _shadow(text)
    for match in _GPT2.finditer(shadow):
        word = text[match.start() : match.end()]
        if word.strip(_BLANK):
            yield carried + word
            carried = ""
        elif match.end() == len(text):
            yield word
        else:
            if word[:-1]:
                yield word[:-1]
            carried = word[-1] if word[-1] == " " else ""
            if not carried:
                yield word[-1]


class GPT2BPEEncoder:
    """Byte pair encoding of words as GPT-2 does it (Sennrich et al., arXiv:1508.07909), with special tokens kept whole.

    ``bpe_encoder`` gives a number for each token, ``bpe_merge_ranks`` the rank of a pair joined by ``seperator``,
    ``byte_encoder`` a letter for each byte.
    """

    def __init__(
        self, bpe_encoder: dict[str, int], bpe_merge_ranks: dict[str, int], seperator: str,
        byte_encoder: dict[int, str], caching_enabled: bool,
    ):  # fmt: skip
        self.bpe_encoder_, self.bpe_merge_ranks_ = dict(bpe_encoder), dict(bpe_merge_ranks)
        self.seperator_, self.byte_encoder_ = seperator, dict(byte_encoder)
        self._caching, self._known = caching_enabled, dict[str, list[str]]()
        self._tokens = {number: token for token, number in bpe_encoder.items()}
        self._bytes = {letter: byte for byte, letter in byte_encoder.items()}
        self._special: dict[str, None] = {}  # in the order in which they were added
        self._added: dict[str, int] = {}

    def _ends(self, letters: list[str]) -> list[str]:
        return letters

    def _pieces(self, word: str) -> list[str]:
        """The tokens of one word: the pair of least rank is joined everywhere, until there is none."""
        if word in self._special:
            letters = [word]
        else:
            letters = [self.byte_encoder_[byte] for byte in word.encode("utf-8", "surrogateescape")]
        whole = "".join(letters)
        if (known := self._known.get(whole)) is not None:
            return known
        parts = self._ends(letters)
        while len(parts) > 1:
            ranks = [self.bpe_merge_ranks_.get(a + self.seperator_ + b) for a, b in pairwise(parts)]
            there = [rank for rank in ranks if rank is not None]
            if not there:
                break
            at = ranks.index(min(there))
            parts = _joined(parts, parts[at], parts[at + 1])
        if self._caching:
            self._known[whole] = parts
        return parts

    def _words(self, text: str) -> Iterator[str]:
        if not self._special:
            yield from gpt2_words(text)
            return
        signs = ("".join("\\" + c if c in "|[]" else c for c in token) for token in self._special)
        last = 0
        for match in re.finditer("|".join(signs), text):
            before = text[last : match.start()]
            yield from self._apart(before[:-1] if before and before[-1] in _BLANK else before)
            yield from self._apart(match[0])
            last = match.end() + (text[match.end() : match.end() + 1] in tuple(_BLANK))
        yield from self._apart(text[last:])

    def _apart(self, chunk: str) -> Iterator[str]:
        return iter([chunk]) if chunk in self._special else gpt2_words(chunk)

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text."""
        return [piece for word in self._words(text) for piece in self._pieces(word)]

    def encode(self, text: str) -> list[int]:
        """The numbers of the tokens of a text. IndexError for a token without one."""
        found = []
        for word in self._words(text):
            if word in self._added:
                found.append(self._added[word])
                continue
            for piece in self._pieces(word):
                if piece not in self.bpe_encoder_:
                    raise IndexError(f"{type(self).__name__}: token {piece!r} has no number")
                found.append(self.bpe_encoder_[piece])
        return found

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens' numbers; special ones stand between spaces. IndexError for an unknown number."""
        added = {number: token for token, number in self._added.items()}
        made, was_special = b"", False
        for i, number in enumerate(tokens):
            token = added.get(number) or self._tokens.get(number)
            if token is None:
                raise IndexError(f"{type(self).__name__}: number {number} has no token")
            special = number in added or token in self._special
            if special and i and not was_special:
                made += b" "
            made += token.encode() if special else bytes(self._bytes[letter] for letter in token)
            if special and i != len(tokens) - 1:
                made += b" "
            was_special = special
        return made.decode()

    def add_special_tokens(self, standard: dict[str, str], additional: list[str]) -> int:
        """Keep tokens whole, and number those that have no number; how many those are."""
        before = len(self._added)
        for token in (*standard.values(), *additional):
            if token not in self._added:
                self._special[token] = None
                if token not in self.bpe_encoder_:
                    self._added[token] = len(self.bpe_encoder_) + len(self._added)
        return len(self._added) - before

    def __getstate__(self) -> tuple[dict[str, int], dict[str, int], str, dict[int, str], bool]:
        return self.bpe_encoder_, self.bpe_merge_ranks_, self.seperator_, self.byte_encoder_, self._caching

    def __setstate__(self, state: tuple[dict[str, int], dict[str, int], str, dict[int, str], bool]) -> None:
        self.__init__(*state)  # type: ignore[misc]  # CLIPEncoder has the same


def _joined(parts: list[str], first: str, second: str) -> list[str]:
    made, i = [], 0
    while i < len(parts):
        both = i + 1 < len(parts) and parts[i] == first and parts[i + 1] == second
        made.append(first + second if both else parts[i])
        i += 1 + both
    return made


class CLIPEncoder(GPT2BPEEncoder):
    """:class:`GPT2BPEEncoder` with CLIP's words, single digits, and a mark at each word's end."""

    def _ends(self, letters: list[str]) -> list[str]:
        if "".join(letters) in ("<|startoftext|>", "<|endoftext|>"):
            return ["".join(letters)]
        return [*letters[:-1], f"{letters[-1]}</w>"]

    def _words(self, text: str) -> Iterator[str]:
        return (text[m.start() : m.end()] for m in _CLIP.finditer(_shadow(text)))


# -- word pieces -------------------------------------------------------------------------------------
_IDEOGRAPHS: Final = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def _is_sign(c: str) -> bool:
    return c != " " and (c.isascii() and c.isprintable() and not c.isalnum() or unicodedata.category(c)[0] == "P")


def _clean(text: str, strip: bool) -> str:
    made = []
    for c in text:
        kind = unicodedata.category(c)
        if c in "\t\n\r" or kind == "Zs":
            made.append(" ")
        elif c not in "\ufffd\u0d04" and kind[0] != "C" and not (strip and kind == "Mn"):
            made.append(c)
    return "".join(made)


def _spaced(text: str, keep: bool) -> str:
    """Ideographs, and signs unless ``keep``, between spaces."""
    made = []
    for c in text:
        alone = any(low <= ord(c) <= high for low, high in _IDEOGRAPHS) or (_is_sign(c) and not keep)
        made.append(f" {c} " if alone else c)
    return "".join(made)


class BERTEncoder:
    """BERT's tokenizer: words, signs and ideographs, cut into the longest pieces of a vocabulary, "##" inside a word.

    ``vocab_file`` has a piece to a line. ``strip_accents`` given, whatever it is, takes accents away, as in torchtext;
    None does so with ``do_lower_case``. Words in ``never_split`` keep their signs and letters. Wu et al.,
    arXiv:1609.08144; RuntimeError where the file can't be read, or "[UNK]" is needed and not in it.
    """

    def __init__(self, vocab_file: str, do_lower_case: bool, strip_accents: bool | None, never_split: Iterable[str]):
        pieces = dict.fromkeys(line or "\n" for line in lines_of(vocab_file))
        self.__setstate__((do_lower_case, strip_accents, list(never_split), list(pieces)))

    def _words(self, text: str) -> Iterator[str]:
        strip = self._lower if self._strip is None else True
        for word in filter(None, text.split(" ")):
            keep = word in self._never
            given = unicodedata.normalize("NFD", word.split("\0")[0]) if strip else word
            made = _spaced(_clean(given, strip and not keep), keep)
            if self._lower and not keep:
                made = "".join(c.lower()[0] for c in made)  # one letter for one, as Unicode's simple mapping has it
            yield from filter(None, made.split(" "))

    def _pieces(self, word: str) -> list[str]:
        if len(word.encode("utf-8", "surrogateescape")) > 100:
            return ["[UNK]"]
        found, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in self._vocab:
                    found.append(piece)
                    start = end
                    break
            else:
                return ["[UNK]"]
        return found

    def tokenize(self, text: str) -> list[str]:
        """The pieces of a text."""
        return [piece for word in self._words(text) for piece in self._pieces(word)]

    def encode(self, text: str) -> list[int]:
        """The numbers of the pieces of a text."""
        return [self._vocab[piece] for piece in self.tokenize(text)]

    def batch_tokenize(self, texts: list[str]) -> list[list[str]]:
        """:meth:`tokenize` of each."""
        return [self.tokenize(text) for text in texts]

    def batch_encode(self, texts: list[str]) -> list[list[int]]:
        """:meth:`encode` of each."""
        return [self.encode(text) for text in texts]

    def __getstate__(self) -> tuple[bool, bool | None, list[str], list[str]]:
        return self._lower, self._strip, self._never, self._vocab.itos_

    def __setstate__(self, state: tuple[bool, bool | None, list[str], list[str]]) -> None:
        self._lower, self._strip, never, pieces = state
        self._never, self._vocab = list(never), Vocab(pieces)
