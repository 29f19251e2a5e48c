"""What the programs in this folder share. They are written for PyTorch, and run on it unchanged."""

from __future__ import annotations

import argparse

import torch


def options(description: str, *preferred: str) -> argparse.Namespace:
    """``--quick`` and ``--device``; the latter is the first of ``preferred`` that is there, else the CPU."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    parser.add_argument("--device", help=f"where to compute (default: {', '.join(preferred)} or cpu, what is there)")
    chosen = parser.parse_args()
    chosen.device = chosen.device or next(filter(available, preferred), "cpu")
    return chosen


def available(device: str) -> bool:
    """Whether a tensor can be made on the device."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, NotImplementedError, AssertionError):  # PyTorch raises each of them for some device
        return False
    return True
