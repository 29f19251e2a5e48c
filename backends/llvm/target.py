"""The processors that code is made for: what LLVM calls them, and how wide their registers are."""

from __future__ import annotations

import dataclasses
import platform
import sys
from dataclasses import dataclass
from functools import cache
from typing import Final

from flambeau.backends.llvm.types import Type
from flambeau.core import config


@dataclass(frozen=True, slots=True)
class Target:
    """A processor with an operating system.

    Args:
        name: ours, as the setting ``cpu_code`` has it.
        triple, cpu, features: LLVM's.
        register: bytes of a vector register.
        registers: how many there are.
        fma: whether a * b + c is one instruction.
        half: whether float16 is converted by an instruction; without, LLVM calls functions that nobody has.
    """

    name: str
    triple: str
    cpu: str
    features: str
    register: int
    registers: int
    fma: bool
    half: bool

    def __hash__(self) -> int:
        """That of one field: caches of kernels ask at every call."""
        return hash(self.features)

    @property
    def masks(self) -> bool:
        """Whether a masked load or store is one instruction that costs what a whole one does."""
        return self.register == 64

    def lanes(self, type: Type) -> int:
        """How many numbers of a type a register holds."""
        return self.register // type.scalar.bytes

    @property
    def arch(self) -> str:
        """The first part of the triple: x86_64, aarch64, arm64."""
        return self.triple.partition("-")[0]


#: x86 by the width of its registers: the levels that compilers know. LLVM prefers 256 bits even where there are 512.
_LEVELS: Final[dict[str, tuple[str, str, int, int, bool, bool]]] = {
    "sse": ("x86-64-v2", "", 16, 16, False, False),
    "avx2": ("x86-64-v3", "", 32, 16, True, True),
    "avx512": ("x86-64-v4", "-prefer-256-bit", 64, 32, True, True),
}
#: Others, for which code is compiled in tests; the first is what ARM processors run, with features of their own.
ELSEWHERE: Final = (
    Target("neon", "aarch64-unknown-linux-gnu", "generic", "+neon", 16, 32, True, True),
    Target("apple", "arm64-apple-macosx13.0.0", "apple-m1", "", 16, 32, True, True),
    Target("windows", "x86_64-pc-windows-msvc", "x86-64-v3", "", 32, 16, True, True),
    Target("linux", "x86_64-unknown-linux-gnu", "x86-64-v4", "-prefer-256-bit", 64, 32, True, True),
)


def level(name: str, triple: str) -> Target:
    """An x86 processor of one of the levels sse, avx2, avx512."""
    return Target(name, triple, *_LEVELS[name])


@cache
def host() -> Target:
    """This processor, with every feature that it has."""
    import llvmlite.binding as llvm  # 60 ms: at the first kernel

    triple, cpu, found = llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features()
    features = found.flatten()
    if not is_x86():
        return Target("host", triple, cpu, features, 16, 32, True, True)
    for name in reversed(_LEVELS):
        if _has(found, name):
            known = level(name, triple)
            both = ",".join(filter(None, (features, known.features)))
            return dataclasses.replace(known, name="host", cpu=cpu, features=both)
    return Target("host", triple, cpu, features, 16, 16, False, False)


def is_x86() -> bool:
    """Whether this machine is one of Intel's kind, of 64 bits."""
    return platform.machine().lower() in ("x86_64", "amd64") and sys.maxsize > 1 << 32


def _has(found: dict[str, bool], name: str) -> bool:
    needed = {
        "sse": ("sse4.2",),
        "avx2": ("avx2", "fma", "f16c", "bmi2"),
        "avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl"),
    }
    return all(found.get(feature, False) for feature in needed[name])


def runnable() -> list[Target]:
    """What this machine can run: itself, and on x86 the levels that are in it."""
    import llvmlite.binding as llvm  # 60 ms: at the first kernel

    here = host()
    if not is_x86():
        return [here]
    found = llvm.get_host_cpu_features()
    return [here, *(level(name, here.triple) for name in _LEVELS if _has(found, name))]


@cache
def named(name: str) -> Target:
    """The target that the setting ``cpu_code`` names; ConfigError where this machine cannot run it."""
    for target in runnable():
        if target.name == name:
            return target
    able = ", ".join(t.name for t in runnable())
    raise config.ConfigError(f"FLAMBEAU_CPU_CODE={name}: this processor cannot run it; it can run {able}, or none")


def chosen() -> Target | None:
    """The target of the CPU's kernels; None where numpy is to do everything."""
    name: str = config.get("cpu_code")
    return None if name == "none" else named(name)
