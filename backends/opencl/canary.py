"""Build and run a small program on an OpenCL device, in a process of its own, before the device counts.

A driver may crash or hang in the attempt, and some enumerate devices for which they cannot build anything. Run as
a script, with no import of flambeau: ``python canary.py PLATFORM DEVICE`` prints "ok" or the reason.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import pyopencl as cl

_SOURCE = """
kernel void canary(global const float *x, global float *y, const int n) {
  float total = 0;
  for (int i = 0; i < n; i++) total += sqrt(x[i]) * (i & 1 ? 1.0f : -1.0f);
  y[get_global_id(0)] = total + get_global_id(0);
}
"""


def sing(device: Any) -> str:
    """Run the canary on a pyopencl device; "ok" or what went wrong."""
    context = cl.Context([device])
    queue = cl.CommandQueue(context)
    x = np.arange(64, dtype=np.float32)
    y = np.zeros(4, np.float32)
    flags = cl.mem_flags
    source = cl.Buffer(context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=x)
    target = cl.Buffer(context, flags.READ_WRITE, y.nbytes)
    kernel = cl.Program(context, _SOURCE).build().canary
    kernel(queue, (4,), (1,), source, target, np.int32(64))
    cl.enqueue_copy(queue, y, target)
    queue.finish()
    signs = np.where(np.arange(64) % 2, 1.0, -1.0)
    expected = float((np.sqrt(x) * signs).sum()) + np.arange(4)
    return "ok" if np.allclose(y, expected, atol=1e-3) else f"a test program gave {y.tolist()}, not {expected.tolist()}"


def main() -> None:
    warnings.simplefilter("ignore")
    platform, device = int(sys.argv[1]), int(sys.argv[2])
    try:
        print(sing(cl.get_platforms()[platform].get_devices()[device]))
    except Exception as error:
        print(" ".join(f"{type(error).__name__}: {error}".split())[:400])


if __name__ == "__main__":
    main()
