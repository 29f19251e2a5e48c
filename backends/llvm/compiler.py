"""From the text of a module to functions in memory: LLVM's passes, object code, and the cache of it on disk."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import sys
import threading
import time
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from flambeau.backends.llvm import target as targets
from flambeau.backends.llvm.ir import Function
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64
from flambeau.backends.store import Store
from flambeau.core import config
from flambeau.core.locks import fork_safe, held_over_forks

if TYPE_CHECKING:
    import llvmlite.binding as llvm  # 60 ms: at the first kernel

#: What the builder writes is nearly what should run: to keep variables in registers and to simplify is enough, and
#: takes an eighth of the time of all passes.
_PASSES: Final = ("sroa", "simplify_cfg", "instruction_combine", "new_gvn", "simplify_cfg")
#: Seconds of compiling from which a first run says what it does.
_NOTICE: Final = 1.0

store: Final = Store("llvm", ".o")


class Compiler:
    """Compiles for one target, and loads what is for this machine.

    Attributes:
        compiled: how many modules were compiled, rather than found on disk.
        seconds: how long that took.
    """

    def __init__(self, target: Target):
        import llvmlite.binding as llvm  # 60 ms: at the first kernel

        _keep_whole_over_forks()
        self.target = target
        self.compiled, self.seconds = 0, 0.0
        self._lock = fork_safe(threading.RLock())
        self._loaded: list[Any] = []  # trackers: what they track is unloaded with them
        self._numbers = itertools.count()  # of libraries; one that could not be linked keeps its name
        if target.arch.startswith(("aarch64", "arm")) != targets.host().arch.startswith(("aarch64", "arm")):
            llvm.initialize_all_targets()
            llvm.initialize_all_asmprinters()
        else:
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
        self._machine = llvm.Target.from_triple(target.triple).create_target_machine(
            cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="default", jit=True
        )
        version = ".".join(map(str, llvm.llvm_version_info))
        self.key = f"LLVM {version} {target.triple} {target.cpu} {target.features} {' '.join(_PASSES)}"
        self._jit: Any = None

    def object_code(self, text: str) -> bytes:
        """The object file of a module, from the disk if it was compiled before; ValueError for text that is no IR."""
        key = hashlib.sha256(f"{self.key}\n{text}".encode()).hexdigest()
        return store.get(key, lambda: self.compile(text))

    def compile(self, text: str) -> bytes:
        """The object file of a module, made anew."""
        start = time.perf_counter()
        made: bytes = self._machine.emit_object(self._optimised(text))
        self._count(time.perf_counter() - start)
        return made

    def assembly(self, text: str) -> str:
        """What a module becomes, to be read."""
        found: str = self._machine.emit_assembly(self._optimised(text))
        return found

    def _optimised(self, text: str) -> llvm.ModuleRef:
        import llvmlite.binding as llvm  # 60 ms: at the first kernel

        try:
            parsed = llvm.parse_assembly(text)
            parsed.verify()
        except RuntimeError as error:
            raise ValueError(f"the IR of a kernel is wrong: {error}") from None
        parsed.triple, parsed.data_layout = self.target.triple, str(self._machine.target_data)
        passes = llvm.create_new_module_pass_manager()
        for name in _PASSES:
            getattr(passes, f"add_{name}_pass")()
        passes.run(parsed, llvm.create_pass_builder(self._machine, llvm.create_pipeline_tuning_options(speed_level=2)))
        return parsed

    def load(self, module: Module, names: Iterable[str]) -> dict[str, int]:
        """The addresses of functions of a module, which stay for as long as the process lives."""
        import llvmlite.binding as llvm  # 60 ms: at the first kernel

        names = list(names)
        code = self.object_code(module.text())
        with self._lock:
            if self._jit is None:
                # JITLink lays an object out in one piece. The other linker puts code and constants wherever each finds
                # room, and ends the process where they come to lie more than 2 GB apart.
                self._jit = llvm.create_lljit_compiler(self._machine, use_jit_link=True)
            library = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()  # with the C library
            for name, address in module.externals.items():
                library.import_symbol(name, address)
            for name in names:
                library.export_symbol(name)
            tracker = library.link(self._jit, f"flambeau{next(self._numbers)}")
            self._loaded.append(tracker)
        return {name: tracker[name] for name in names}

    def _count(self, seconds: float) -> None:
        with self._lock:
            before = self.seconds
            self.compiled += 1
            self.seconds += seconds
        if before < _NOTICE <= self.seconds and sys.stderr is not None and sys.stderr.isatty():
            print(f"flambeau: compiling kernels for this processor; kept in {store.folder}", file=sys.stderr)


@cache
def _keep_whole_over_forks() -> None:
    """No fork while another thread is inside LLVM, whose locks its child would find closed for ever."""
    from llvmlite.binding import ffi  # 60 ms: at the first kernel

    held_over_forks(ffi.lib._lock._lock)  # what each of llvmlite's calls holds; it has no public name


_compilers: Final[dict[Target, Compiler]] = {}
_making: Final = fork_safe(threading.RLock())


def compiler_for(target: Target) -> Compiler:
    """The compiler of a target, one for all threads: with another that is dropped its code would go."""
    if target not in _compilers:
        with _making:
            if target not in _compilers:
                _compilers[target] = Compiler(target)
    return _compilers[target]


def load(module: Module, names: Iterable[str]) -> dict[str, int]:
    """The addresses of functions of a module, compiled for its target."""
    return compiler_for(module.target).load(module, names)


def unavailable() -> str | None:
    """Why the CPU's kernels get no machine code; None where they do.

    ConfigError where the setting ``cpu_code`` names a processor that this one is not.
    """
    return _unavailable(config.get("cpu_code"))


@cache
def _unavailable(name: str) -> str | None:
    if name == "none":
        return "the setting cpu_code is none"
    try:
        module = Module(targets.named(name))
        f = Function(module, "canary", [I64], I64)
        f.ret(f.args[0] + 1)
        address = load(module, ["canary"])["canary"]
        if ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(41) != 42:
            return "llvmlite makes code that computes wrong"
    except config.ConfigError:
        raise
    except ImportError as error:
        return f"llvmlite cannot be imported ({error}); pip install llvmlite"
    except Exception as error:  # whatever is broken, numpy computes
        return f"{type(error).__name__}: {error}"
    return None
