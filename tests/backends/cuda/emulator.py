"""Running CUDA C on a processor: a kernel's text compiled by g++ behind a header that gives CUDA's names a meaning.

The threads of a block take turns, from the first or from the last: one runs until it reaches ``__syncthreads`` or its
end, then the next. So shared memory (undefined when a block begins) and barriers mean what they do on a GPU; a barrier
that not all threads reach is an error; and atomics need no care. What differs: PTX instructions (two, for float16) are
replaced, and mathematical functions are those of the C library.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

COMPILER = shutil.which("g++")
_FLAGS = ("-std=c++14", "-O1", "-w", "-fPIC", "-ffp-contract=off", "-fno-strict-aliasing", "-fwrapv")
FOLDER = Path(tempfile.gettempdir()) / f"flambeau-emulated-cuda-{os.getuid() if hasattr(os, 'getuid') else 0}"

_HEADER = r"""
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <utility>
struct Index3 { unsigned x, y, z; };
static Index3 threadIdx, blockIdx, blockDim, gridDim;
struct float2 { float x, y; };
struct double2 { double x, y; };
static inline float2 make_float2(float x, float y) { float2 v = {x, y}; return v; }
static inline double2 make_double2(double x, double y) { double2 v = {x, y}; return v; }
template <class T, class F> static inline T bits_as(F v) { T t; memcpy(&t, &v, sizeof t); return t; }
static inline int __float_as_int(float v) { return bits_as<int>(v); }
static inline unsigned __float_as_uint(float v) { return bits_as<unsigned>(v); }
static inline float __uint_as_float(unsigned v) { return bits_as<float>(v); }
static inline long long __double_as_longlong(double v) { return bits_as<long long>(v); }
static inline double __longlong_as_double(long long v) { return bits_as<double>(v); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }
template <class T> static inline T atomicCAS(T *p, T old, T next) {
  T seen = *p;
  if (seen == old) *p = next;
  return seen;
}
template <class T> static inline T atomicAdd(T *p, T v) { T seen = *p; *p = seen + v; return seen; }
#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static __attribute__((section("cuda_shared")))
extern char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

// -- the threads of a block
enum { STACK = 1 << 16, MOST = 1024 };
static jmp_buf turns[MOST], caller;
static char finished[MOST], started[MOST];
static int running;
static ucontext_t fresh, origin;
static char *stacks;
static void (*call_)(void **);
static void **arguments_;
static int stopped[MOST], diverged;  // the line of the barrier that each thread waits at
static void wait_(int line) { int me = running; stopped[me] = line; if (!_setjmp(turns[me])) _longjmp(caller, 1); }
#define __syncthreads() wait_(__LINE__)
static void enter() { call_(arguments_); finished[running] = 1; _longjmp(caller, 1); }
static void take_turns(int threads, int backwards) {
  if (!stacks) stacks = (char *)malloc((size_t)MOST * STACK);
  memset(finished, 0, sizeof finished); memset(started, 0, sizeof started);
  for (volatile int left = 1; left;) {
    left = 0;
    for (volatile int turn = 0; turn < threads; turn++) {
      volatile int t = backwards ? threads - 1 - turn : turn;
      if (finished[t]) continue;
      running = t; threadIdx.x = t;
      if (!_setjmp(caller)) {
        if (started[t]) _longjmp(turns[t], 1);
        started[t] = 1;
        getcontext(&fresh);
        fresh.uc_stack.ss_sp = stacks + (size_t)t * STACK; fresh.uc_stack.ss_size = STACK; fresh.uc_link = 0;
        makecontext(&fresh, enter, 0);
        setcontext(&fresh);
      }
      if (!finished[t]) left = 1;
    }
    for (int t = 1; t < threads; t++)
      if (finished[t] != finished[0] || (!finished[t] && stopped[t] != stopped[0])) diverged = 1;
  }
}

// -- calling a kernel with the addresses of its arguments
template <class F> struct Kernel;
template <class... A> struct Kernel<void (*)(A...)> {
  static void (*fn)(A...);
  template <size_t... I> static void with(void **v, std::index_sequence<I...>) {
    fn(*(typename std::remove_cv<A>::type *)v[I]...);
  }
  static void call(void **v) { with(v, std::index_sequence_for<A...>()); }
};
template <class... A> void (*Kernel<void (*)(A...)>::fn)(A...);
template <class... A> static int launch_(void (*fn)(A...), void **v, unsigned blocks, unsigned threads, int barriers,
                                          int backwards) {
  typedef Kernel<void (*)(A...)> K;
  K::fn = fn; call_ = K::call; arguments_ = v; diverged = 0;
  gridDim = {blocks, 1, 1}; blockDim = {threads, 1, 1};
  for (unsigned b = 0; b < blocks; b++) {
    blockIdx = {backwards ? blocks - 1 - b : b, 0, 0};
    if (__start_cuda_shared) memset(__start_cuda_shared, 0xA5, __stop_cuda_shared - __start_cuda_shared);
    if (barriers) { take_turns(threads, backwards); continue; }
    for (unsigned t = 0; t < threads; t++) { threadIdx = {backwards ? threads - 1 - t : t, 0, 0}; K::call(v); }
  }
  return diverged;
}
"""
#: PTX that the texts contain, and C++ for it.
_INSTRUCTIONS = {
    'asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));': "{ _Float16 y; memcpy(&y, &h, 2); x = (float)y; }",
    'asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));': "{ _Float16 y = (_Float16)x; memcpy(&h, &y, 2); }",
}
_KERNEL = re.compile(r'KERNEL (\w+)\(|extern "C" __global__ void (\w+)\(')


@cache
def _header() -> Path:
    """The header, precompiled."""
    text = _HEADER.encode()
    path = FOLDER / f"cuda-{hashlib.sha256(text).hexdigest()[:16]}.h"
    done = path.with_suffix(".h.gch")
    if not done.exists():
        FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(text)
        _gcc(["-x", "c++-header", str(path)], done)
    return path


def _gcc(arguments: Sequence[str], target: Path) -> None:
    made = target.with_name(f"{target.name}.{os.getpid()}")
    ran = subprocess.run([str(COMPILER), *_FLAGS, *arguments, "-o", str(made)], capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"g++: {ran.stderr[:4000]}")
    os.replace(made, target)


def translated(text: str) -> str:
    """A program's text as C++, with an entry that calls each of its kernels."""
    for instruction, meaning in _INSTRUCTIONS.items():
        text = text.replace(instruction, meaning)
    if "asm(" in text:
        raise RuntimeError("a kernel has PTX instructions that the emulator does not know")
    body = text.partition("#define STORE(p, i, v)")[2] or text  # behind the prelude, where BARRIER is only defined
    barriers = int("BARRIER" in body or "__syncthreads" in body)
    names = [a or b for a, b in _KERNEL.findall(body)]
    entries = "".join(
        f'extern "C" int run_{n}(void **v_, unsigned blocks_, unsigned threads_, int backwards_) '
        f"{{ return launch_(&{n}, v_, blocks_, threads_, {barriers}, backwards_); }}\n"
        for n in names
    )
    return text + "\n" + entries


@cache
def library(text: str) -> Any:
    """A program's text, compiled and loaded."""
    header = _header()
    source = translated(text)
    key = hashlib.sha256(f"{header}{_FLAGS}{source}".encode()).hexdigest()[:32]
    target = FOLDER / f"{key}.so"
    if not target.exists():
        file = FOLDER / f"{key}-{os.getpid()}.cpp"
        file.write_text(source)
        try:
            _gcc(["-shared", "-include", str(header), str(file)], target)
        finally:
            file.unlink()
    return ctypes.PyDLL(str(target))  # under the interpreter's lock: a program's threads share static memory


def run(text: str, name: str, blocks: int, threads: int, arguments: Sequence[Any], backwards: bool = False) -> None:
    """Run a kernel: arguments are pointers as ints, numpy scalars, or host arrays that stand for structs.

    ``backwards`` takes blocks and threads in the other order, on which nothing may depend.
    """
    held = [np.asarray([a], np.uint64) if isinstance(a, int) else np.ascontiguousarray(a) for a in arguments]
    pointers = (ctypes.c_void_p * len(held))(*[a.ctypes.data for a in held])
    if getattr(library(text), f"run_{name}")(pointers, ctypes.c_uint(blocks), ctypes.c_uint(threads), int(backwards)):
        raise RuntimeError(f"{name}: the threads of a block wait at different barriers")
