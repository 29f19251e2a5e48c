"""What PyTorch answers to the mixed calls of :mod:`tests.ops.promotion`, in a file of a few hundred kilobytes.

Every table has a text with one letter for each cell: the dtype of the result, or why there is none. Where the texts
of several tables are the same, it stands once. The values are fingerprints, of one cell in ``STRIDE``: a weighted sum
of the elements as a float32. ``python -m tests.ops.recorded_promotion`` asks PyTorch (2.13.0 made what is checked in)
and writes the file; ``compare`` holds a module with its API against PyTorch itself, every value included.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.ops.promotion import DTYPES, NUMBERS, WIDE, Table, cell, made, tables

FILE: Final = Path(__file__).with_name("recorded_promotion.json")
#: One cell in so many has its value in the file.
STRIDE: Final = 3
LETTERS: Final = dict(zip(
    ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64",
     "complex128", "uint16", "uint32", "uint64"), "bBcsilehfdFDSIL", strict=True))  # fmt: skip
#: The call raises. Others: it is one of :func:`free`; no tensor but a number or a text; several results.
RAISES, FREE, PLAIN, SEVERAL = "!", ".", "v", "*"
TOLERANCES: Final = {"float16": 4e-3, "bfloat16": 3e-2}


#: Where PyTorch answers and no answer is wanted here: a power of bools, which it has by a number alone; the reciprocal
#: of a bool tensor times what promotes with no bool; an order of complex numbers, where there is but one; a product of
#: bools that is a bool again in one function of many. And the place of the largest bool, which it does not give.
MEANT: Final = {
    *((name, (dtype, "True")) for name in ("pow", "Tensor.pow", "operator.pow", "Tensor.pow_", "operator.ipow")
      for dtype in ("bool", "bool.")),
    *(("pow(out)", ("bool", "True", out)) for out in DTYPES),
    ("pow of numbers", ("True", "True")), ("operator.truediv", ("2**63", "bool")),
    ("operator.truediv", ("2**63", "bool.")), ("addr", ("bool", "bool", "bool")),
    *((name, (dtype,)) for name in ("mode", "cummax0") for dtype in ("complex64.", "complex128.")),

}  # fmt: skip


def free(table: Table, names: tuple[str, ...], answer: Any) -> bool:
    """Whether nothing is asked where PyTorch raises: these are the differences that are meant.

    A number stands for any tensor operand, as the array API's standard has it; float16 with a complex number is
    complex64, as there is no complex32; unsigned integers of more than 8 bits promote, by that standard; kernels
    that PyTorch's CPU lacks for a dtype are there.
    """
    if answer[0] == "complex32":
        return True
    if answer[0] != "!":
        return False
    _, kind, text = answer
    wanted = "must be Tensor, not" in text or "invalid combination of arguments" in text
    return (
        "argmax(): does not support bool" in text
        or kind == "NotImplementedError"
        or "ComplexHalf" in text
        or "INTERNAL ASSERT" in text
        or kind == "TypeError"
        and wanted
        and any(n in NUMBERS for n in names)
        or any(n.rstrip(".") in WIDE for n in (*names, table.name.split()[-1]))
    )


def letter(table: Table, names: tuple[str, ...], answer: Any) -> str:
    if (table.name, names) in MEANT:
        return FREE
    if isinstance(answer, list):
        return SEVERAL
    if answer == "complex32":
        return FREE
    if not isinstance(answer, tuple):
        return PLAIN
    if free(table, names, answer):
        return FREE
    return RAISES if answer[0] == "!" else LETTERS[answer[0]]


def fingerprint(answer: Any) -> float:
    """One number for the values of a result."""
    if isinstance(answer, list):
        return float(sum((i + 1) * fingerprint(a) for i, a in enumerate(answer)))
    if isinstance(answer, tuple):
        host = answer[2].astype(np.complex128 if answer[2].dtype.kind == "c" else np.float64)
        with np.errstate(all="ignore"):
            parts = host.real + 0.7 * host.imag if host.dtype.kind == "c" else host
            return float(np.float32((parts * (1 + 0.37 * np.arange(parts.size))).sum() + 0.01 * sum(answer[1])))
    if isinstance(answer, str):
        return float(zlib.crc32(answer.encode()) % 2**20)
    number = complex(answer)
    return float(np.float32(number.real + 0.7 * number.imag))


def rows(T: Any, device: str = "cpu", step: int = 1) -> Iterator[tuple[Table, list[tuple[str, ...]], list[Any]]]:
    """Each table with its cells and T's answers, of one cell in ``step``."""
    for number, table in enumerate(tables()):
        names = list(table.cells())[number % step :: step]
        with T.device(device):
            yield table, names, [cell(T, table, n, lambda *a: made(*a, device=device)) for n in names]


def record() -> None:
    """Write the file, from PyTorch."""
    T = importlib.import_module("torch")
    texts: dict[str, int] = {}
    index: dict[str, int] = {}
    values: list[float] = []
    for table, names, answers in rows(T):
        text = "".join(map(letter, [table] * len(names), names, answers))
        index[table.name] = texts.setdefault(text, len(texts))
        values += [fingerprint(a) for a, c in list(zip(answers, text, strict=True))[::STRIDE] if c not in "!."]
    packed = zlib.compress(np.array(values, np.float32).view("u1").reshape(-1, 4).T.tobytes(), 9)
    whole = zlib.compress("\n".join(texts).encode(), 9)
    FILE.write_text(json.dumps({
        "index": index, "letters": base64.b85encode(whole).decode(), "values": base64.b85encode(packed).decode(),
    }, indent=1) + "\n")  # fmt: skip


@cache
def recorded() -> tuple[dict[str, str], dict[str, list[float]]]:
    """By table, the letters, and the values of every ``STRIDE``th cell (nan where there is none)."""
    held = json.loads(FILE.read_text())
    texts = zlib.decompress(base64.b85decode(held["letters"])).decode().split("\n")
    raw = np.frombuffer(zlib.decompress(base64.b85decode(held["values"])), "u1")
    values = iter(raw.reshape(4, -1).T.copy().view(np.float32).reshape(-1).tolist())
    letters = {name: texts[i] for name, i in held["index"].items()}
    marks = {n: [next(values) if c not in "!." else 0.0 for c in text[::STRIDE]] for n, text in letters.items()}
    return letters, marks


def close(found: float, wanted: float, names: tuple[str, ...], table: Table) -> bool:
    if found == wanted or found != found and wanted != wanted:
        return True
    tolerance = max([1e-5, *(TOLERANCES.get(n.rstrip("."), 0) for n in (*names, table.name.split()[-1]))])
    return abs(found - wanted) <= tolerance * (abs(wanted) + 1)


def differences(T: Any, device: str = "cpu", step: int = 1) -> Iterator[str]:
    """Where T's answers on a device are not the recorded ones."""
    letters, marks = recorded()
    for number, (table, names, answers) in enumerate(rows(T, device, step)):
        text, values = letters[table.name], marks[table.name]
        for place, (n, answer) in enumerate(zip(names, answers, strict=True)):
            at = number % step + place * step
            wanted = text[at]
            unsupported = (
                isinstance(answer, tuple)
                and answer[0] == "!"
                and any(words in answer[2] for words in ("does not support", "do not exist on this device"))
            )
            if wanted == FREE or unsupported:  # a device may lack a dtype
                continue
            found = letter(table, n, answer) if not (isinstance(answer, tuple) and answer[0] == "!") else RAISES
            if found != wanted:
                yield f"{table.name} of {', '.join(n)}: {answer}, wanted {wanted}"
            elif wanted == RAISES or at % STRIDE:
                continue
            elif not close(fingerprint(answer), values[at // STRIDE], n, table):
                yield f"{table.name} of {', '.join(n)}: {answer}, other values are wanted"


if __name__ == "__main__":
    if sys.argv[1:] == ["flambeau"]:
        found = list(differences(importlib.import_module("flambeau")))
        print(*found, f"{len(found)} of {sum(map(len, recorded()[0].values()))} cells differ", sep="\n")
    else:
        record()
