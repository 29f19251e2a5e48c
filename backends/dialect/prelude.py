"""What OpenCL C and CUDA C++ call differently: one set of macros and type names for all kernel texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType


@dataclass(frozen=True)
class Target:
    """What a kernel text is for: the language, the style of device, and what the device has."""

    language: str = "opencl"  # or "cuda"
    cpu: bool = True  # each work-item loops over many elements, for the vectoriser
    fp64: bool = True
    int64_atomics: bool = False
    lanes: int = 16  # float32 numbers in a vector register of a processor


#: Short C names: of a value in a register, and of an element in memory.
REGISTER: Final = {
    dt.bool_: "i32", dt.uint8: "u8", dt.int8: "i8", dt.uint16: "u16", dt.int16: "i16", dt.uint32: "u32",
    dt.int32: "i32", dt.uint64: "u64", dt.int64: "i64", dt.float16: "f32", dt.bfloat16: "f32", dt.float32: "f32",
    dt.float64: "f64", dt.complex64: "c64", dt.complex128: "c128",
}  # fmt: skip
STORED: Final = REGISTER | {dt.bool_: "u8", dt.float16: "f16", dt.bfloat16: "u16"}

_OPENCL = """
#pragma OPENCL FP_CONTRACT OFF
#define KERNEL kernel void
#define GLOBAL global
#define LOCAL local
#define RESTRICT restrict
#define DEVICE static inline
#define GID ((i64)get_global_id(0))
#define GSIZE ((i64)get_global_size(0))
#define LID ((int)get_local_id(0))
#define LSIZE ((int)get_local_size(0))
#define GROUP ((i64)get_group_id(0))
#define GROUPS ((i64)get_num_groups(0))
#define BARRIER barrier(CLK_LOCAL_MEM_FENCE)
#define BARRIER_ALL barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)
typedef char i8; typedef uchar u8; typedef short i16; typedef ushort u16; typedef int i32; typedef uint u32;
typedef long i64; typedef ulong u64; typedef float f32; typedef half f16; typedef float2 c64;
#define AS_i32(x) as_int(x)
#define AS_u32(x) as_uint(x)
#define AS_f32(x) as_float(x)
#define AS_i64(x) as_long(x)
#define MAKE_c64(a, b) ((float2)((a), (b)))
#define MULHI(a, b) mul_hi((u32)(a), (u32)(b))
#define CAS(p, old, new) atomic_cmpxchg((volatile global u32 *)(p), (old), (new))
#define CAS64(p, old, new) atom_cmpxchg((volatile global u64 *)(p), (old), (new))
#define LOAD_f16(p, i) vload_half((i), (p))
#define STORE_f16(p, i, v) vstore_half_rte((v), (i), (p))
static inline float half_rounded(float x) {
  ushort h;
  vstore_half_rte(x, 0, (private half *)&h);
  return vload_half(0, (private const half *)&h);
}
#if defined(__clang__) && FLAMBEAU_CPU
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#define UNROLL _Pragma("unroll")
#else
#define INDEPENDENT
#define UNROLL
#endif
"""
_OPENCL_FP64 = """
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
typedef double f64; typedef double2 c128;
#define AS_f64(x) as_double(x)
#define MAKE_c128(a, b) ((double2)((a), (b)))
"""
_CUDA = """
#define KERNEL extern "C" __global__ void
#define GLOBAL
#define LOCAL __shared__
#define RESTRICT __restrict__
#define DEVICE static __device__ __forceinline__
#define GID ((i64)blockIdx.x * blockDim.x + threadIdx.x)
#define GSIZE ((i64)gridDim.x * blockDim.x)
#define LID ((int)threadIdx.x)
#define LSIZE ((int)blockDim.x)
#define GROUP ((i64)blockIdx.x)
#define GROUPS ((i64)gridDim.x)
#define BARRIER __syncthreads()
#define BARRIER_ALL __syncthreads()
typedef signed char i8; typedef unsigned char u8; typedef short i16; typedef unsigned short u16; typedef int i32;
typedef unsigned int u32; typedef long long i64; typedef unsigned long long u64; typedef float f32;
typedef double f64; typedef unsigned short f16; typedef float2 c64; typedef double2 c128;
#define AS_i32(x) __float_as_int(x)
#define AS_u32(x) __float_as_uint(x)
#define AS_f32(x) __uint_as_float((u32)(x))
#define AS_i64(x) __double_as_longlong(x)
#define AS_f64(x) __longlong_as_double((i64)(x))
#define MAKE_c64(a, b) make_float2((a), (b))
#define MAKE_c128(a, b) make_double2((a), (b))
#define MULHI(a, b) __umulhi((u32)(a), (u32)(b))
#define CAS(p, old, new) atomicCAS((u32 *)(p), (old), (new))
#define CAS64(p, old, new) atomicCAS((u64 *)(p), (old), (new))
#define INDEPENDENT
#define UNROLL _Pragma("unroll")
DEVICE f32 half_load(u16 h) { f32 x; asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h)); return x; }
DEVICE u16 half_store(f32 x) { u16 h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x)); return h; }
#define LOAD_f16(p, i) half_load((p)[i])
#define STORE_f16(p, i, v) ((p)[i] = half_store(v))
DEVICE f32 half_rounded(f32 x) { return half_load(half_store(x)); }
"""
_COMMON = """
DEVICE f32 bf16_load(u16 h) { return AS_f32((u32)h << 16); }
DEVICE u16 bf16_store(f32 x) {
  u32 b = AS_u32(x);
  return (u16)(x != x ? (b >> 16) | 64 : (b + 0x7fff + ((b >> 16) & 1)) >> 16);
}
DEVICE f32 bf16_rounded(f32 x) { return bf16_load(bf16_store(x)); }
#define LOAD_bf16(p, i) bf16_load((p)[i])
#define STORE_bf16(p, i, v) ((p)[i] = bf16_store(v))
#define LOAD(p, i) ((p)[i])
#define STORE(p, i, v) ((p)[i] = (v))
"""


def prelude(target: Target) -> str:
    """The text that stands before every kernel of a target."""
    if target.language == "cuda":
        return _CUDA + _COMMON
    style = f"#define FLAMBEAU_CPU {int(target.cpu)}\n"
    if target.int64_atomics:
        style += "#pragma OPENCL EXTENSION cl_khr_int64_base_atomics : enable\n"
    return style + _OPENCL + (_OPENCL_FP64 if target.fp64 else "") + _COMMON


def load(dtype: DType, pointer: str, index: str) -> str:
    """The text that reads an element into a register."""
    return f"{_ACCESS.get(dtype, ('LOAD', ''))[0]}({pointer}, {index})"


def store(dtype: DType, pointer: str, index: str, value: str) -> str:
    """The text that rounds a register to an element."""
    value = f"(u8)({value})" if dtype is dt.bool_ else value
    return f"{_ACCESS.get(dtype, ('', 'STORE'))[1]}({pointer}, {index}, {value})"


def rounded(dtype: DType, value: str) -> str:
    """The text of a value in a register as memory of its dtype would give it back."""
    name = {dt.float16: "half_rounded", dt.bfloat16: "bf16_rounded"}.get(dtype)
    return value if name is None else f"{name}({value})"


_ACCESS: Final = {dt.float16: ("LOAD_f16", "STORE_f16"), dt.bfloat16: ("LOAD_bf16", "STORE_bf16")}
