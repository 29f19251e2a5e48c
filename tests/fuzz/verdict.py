"""What became of a call: whether an error's words are flambeau's own."""

from __future__ import annotations

import opcode
import re
from types import TracebackType

import flambeau as fb
from tests.fuzz.catalogue import Target

RETURNED, CLEAR, RAW = "returned", "clear", "raw"
ROOT = fb.__file__.rpartition("/flambeau/")[0]
_RAISE = opcode.opmap["RAISE_VARARGS"]
#: What a user can do nothing with, whoever raises it.
_NEVER = (AssertionError, UnboundLocalError, RecursionError, BufferError, ZeroDivisionError, OverflowError, SystemError,
          NameError)  # fmt: skip
#: Python's own words on a call of a public function, and on an operator.
_CALL = re.compile(r"(?:\w+\.)?(\w+)\(\) (?:missing|got|takes)")
_OPERATOR = re.compile(r"unsupported operand|.*not supported between|can't multiply sequence")
_OF_MAPPINGS = ("__getitem__", "__delitem__", "__contains__", "pop")


def raised_by_us(error: BaseException) -> bool:
    """Whether a ``raise`` of flambeau made the error."""
    tb: TracebackType | None = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    if tb is None:
        return False
    code = tb.tb_frame.f_code
    ours = code.co_filename.startswith("<flambeau ") or ROOT in code.co_filename
    return ours and "/tests/" not in code.co_filename and code.co_code[tb.tb_lasti] == _RAISE


def raised_by_a_user(error: BaseException) -> bool:
    """Whether a function that was given, such as one of an example, raised the error."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    return tb is not None and tb.tb_frame.f_code.co_filename == "<example>"


def judge(error: BaseException, target: Target) -> str:
    """CLEAR or RAW, for what a call of ``target`` raised."""
    text, short = str(error), target.path.removesuffix("()").rpartition(".")[2]
    if raised_by_us(error):
        return RAW if isinstance(error, _NEVER) and not isinstance(error, (RuntimeError, ValueError)) else CLEAR
    if short in _OF_MAPPINGS and (isinstance(error, KeyError) or "unhashable" in text) or isinstance(error, OSError):
        return CLEAR
    if raised_by_a_user(error):
        return CLEAR
    if target.path == "fb.Size" and "tuple" in text:
        return CLEAR  # it is one
    call = _CALL.match(text)
    if isinstance(error, TypeError) and call:
        return (
            CLEAR
            if call.group(1) in (short, getattr(target.fn, "__name__", short), "forward", "__init__", "__new__")
            else RAW
        )
    return CLEAR if short.startswith("__") and _OPERATOR.match(text) else RAW
