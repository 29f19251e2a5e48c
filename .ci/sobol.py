"""Writes flambeau/sobol.bin: the direction numbers of Sobol sequences that Joe and Kuo chose, new-joe-kuo-6.21201.

    python .ci/sobol.py

They are read from scipy, which has that table. S. Joe and F. Y. Kuo, SIAM J. Sci. Comput. 30 (2008), 2635-2654. For
each dimension after the first stand the inner coefficients of its polynomial and, of its degree's many odd numbers, all
bits but the last: what is known beforehand is left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.stats

TARGET = Path(__file__).parent.parent / "flambeau" / "sobol.bin"


def packed(polynomials: list[int], numbers: np.ndarray) -> bytes:
    """The bits of all dimensions, one after the other: the degree in 5, the coefficients, the numbers."""
    bits = []
    for polynomial, row in zip(polynomials, numbers.tolist(), strict=True):
        degree = polynomial.bit_length() - 1
        bits.append(format(degree, "05b"))
        if degree > 1:
            bits.append(format((polynomial ^ (1 << degree)) >> 1, f"0{degree - 1}b"))
        bits += [format(row[i] >> 1, f"0{i}b") for i in range(1, degree)]
    text = "".join(bits)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


def main() -> None:
    table = np.load(Path(scipy.stats.__file__).parent / "_sobol_direction_numbers.npz")
    TARGET.write_bytes(packed(table["poly"].tolist()[1:], table["vinit"][1:]))
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
