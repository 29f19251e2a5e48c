"""From a kernel's text to machine code: NVRTC, with a cache on disk.

CuPy's own way of compiling (RawKernel, RawModule) flushes subnormal float32 numbers to zero, whatever the options say,
so NVRTC is asked directly.
"""

from __future__ import annotations

import hashlib
from typing import Final

from flambeau.backends.launched.device import Raw
from flambeau.backends.store import Store

#: Results do not depend on how a compiler contracts products and sums; subnormal numbers, division and square roots
#: are IEEE's, which is NVRTC's default.
OPTIONS: Final = ("--fmad=false", "--std=c++14")

store: Final = Store("cuda", ".cubin")


class Compiler:
    """Compiles for one device; ``nvrtc`` is CuPy's module, ``capability`` 90 for compute capability 9.0."""

    def __init__(self, nvrtc: Raw, capability: int):
        self.nvrtc, self.capability = nvrtc, capability
        self.version: tuple[int, ...] = tuple(nvrtc.getVersion())
        known = [int(a) for a in nvrtc.getSupportedArchs()]
        newest = max((a for a in known if a <= capability), default=capability)
        # a device that NVRTC does not know yet gets PTX, which its driver compiles
        self.is_native = capability in known
        self.options = (*OPTIONS, f"-arch={'sm' if self.is_native else 'compute'}_{newest}")

    def binary(self, text: str) -> bytes:
        """The program as the driver loads it, from the cache if it was compiled before."""
        key = hashlib.sha256(f"{self.version}\n{self.options}\n{text}".encode()).hexdigest()
        return store.get(key, lambda: self.compile(text))

    def compile(self, text: str) -> bytes:
        """The program; RuntimeError with NVRTC's log where it does not compile."""
        program = self.nvrtc.createProgram(text, "kernel.cu", (), ())
        try:
            self.nvrtc.compileProgram(program, self.options)
            found: bytes = (self.nvrtc.getCUBIN if self.is_native else self.nvrtc.getPTX)(program)
            return found
        except self.nvrtc.NVRTCError as error:
            version = ".".join(map(str, self.version))
            log = self.nvrtc.getProgramLog(program).strip()
            raise RuntimeError(
                f"cuda: NVRTC {version} does not compile a generated kernel ({error}):\n{log}"
            ) from error
        finally:
            self.nvrtc.destroyProgram(program)
