"""``python -m torch.distributed.run``, which the command ``torchrun`` is too: flambeau's launcher."""

from __future__ import annotations

import sys

from flambeau.distributed.launch import main as launch

__all__ = ["main"]


def main(args: list[str] | None = None) -> None:
    """Start a job; SystemExit where it fails."""
    status = launch(args)
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
