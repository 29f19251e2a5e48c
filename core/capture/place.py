"""Where the program's own code is: the innermost frame that is neither flambeau's nor the standard library's."""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import cache
from types import FrameType

_OWN = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_STANDARD = os.path.abspath(sysconfig.get_paths()["stdlib"]) + os.sep


@cache
def is_of_program(file: str) -> bool:
    """Whether a file's code belongs to the program: to its user, or to a library that stands on flambeau."""
    if file.startswith("<"):
        return False
    path = os.path.abspath(file)
    if path.startswith(_OWN):
        return False
    return not path.startswith(_STANDARD) or f"{os.sep}site-packages{os.sep}" in path


def place_of_program() -> str:
    """ "file.py:12" of the program's own code that runs now; "" where there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if is_of_program(code.co_filename):
            return f"{os.path.basename(code.co_filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
