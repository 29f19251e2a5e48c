"""What became of a call: whether an error's words are flambeau's own."""

from __future__ import annotations

import opcode
import re
from types import TracebackType

import flambeau as fb

RETURNED, CLEAR, RAW = "returned", "clear", "raw"
ROOT = fb.__file__.rpartition("/flambeau/")[0]
_RAISE = opcode.opmap["RAISE_VARARGS"]
#: What a user can do nothing with, whoever raises it; AttributeErrors and KeyErrors count by their words.
_NEVER = (AssertionError, UnboundLocalError, RecursionError, BufferError, ZeroDivisionError, OverflowError, SystemError,
          NameError)  # fmt: skip
_INSIDES = re.compile(
    r"object (has no attribute|is not (iterable|callable|subscriptable|a mapping)|does not support)|unsupported operand|"
    r"not supported between|cannot unpack|values to unpack|object cannot be interpreted|bad operand type|"
    r"must be real number|takes \d+ positional|takes from \d|unhashable|could not be broadcast|ndarray|ufunc|"
    r"array is too big|Maximum allowed|Unable to allocate|Python int too large|Python integer|cannot convert float|"
    r"has no len\(\)|can't multiply sequence|not all arguments converted|zip\(\)|\.__init__\(\)|invalid literal|"
    r"<locals>|_p\(\)|'NoneType'|argument of type|indices must be|int\(\) argument|string or a real|axis \d+ is out of|"
    r"iteration over|expected .* got|Cannot cast|dtype\('|_array|_key\b|_node|lambda"
)  # fmt: skip
#: Words that flambeau shares with the above.
_OURS = re.compile(r"from_numpy|Expected|expected all tensors|argument '|got ndarray")


def raised_by_us(error: BaseException) -> bool:
    """Whether a ``raise`` of flambeau made the error."""
    tb: TracebackType | None = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    if tb is None:
        return False
    code = tb.tb_frame.f_code
    return ROOT in code.co_filename and "/tests/" not in code.co_filename and code.co_code[tb.tb_lasti] == _RAISE


def judge(error: BaseException, name: str) -> str:
    """CLEAR or RAW; ``name`` is the public name of what was called."""
    text = str(error)
    if raised_by_us(error):
        return RAW if isinstance(error, _NEVER) and not isinstance(error, RuntimeError | ValueError) else CLEAR
    short = name.removesuffix("()").rpartition(".")[2]
    signature = re.match(r"(\w+\.)?(\w+)\(\) (missing|got|takes)", text)
    if isinstance(error, TypeError) and signature and signature.group(2) in (short, "forward"):
        return CLEAR  # Python's own words on the public function
    if isinstance(error, TypeError) and re.match(r"(unsupported operand|.*not supported between)", text):
        return CLEAR if short.startswith("__") else RAW
    return RAW
