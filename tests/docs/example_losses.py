"""The losses of the programs in examples/, of a quick run, on whichever framework.

``python -m tests.docs.example_losses`` runs them on PyTorch (2.13.0 made what is checked in), their imports changed and
nothing else, and writes the losses to the JSON beside this file.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LOSSES = Path(__file__).with_suffix(".json")
PROGRAMS = (
    "actor_critic", "char_rnn", "gan", "gpt", "graph_convolution", "image_classifier", "physics_informed",
    "seq2seq_attention", "siamese", "style", "vae", "vision_transformer",
)  # fmt: skip


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("tools", None)


def quick_losses(program: str, framework: str = "flambeau", device: str = "cpu") -> list[float]:
    """What the program's ``main`` returns when its imports name ``framework``."""
    path = EXAMPLES / f"{program}.py"
    text = path.read_text().replace("import flambeau as", f"import {framework} as")
    text = text.replace("from flambeau", f"from {framework}")
    scope: dict[str, object] = {"__name__": program}
    with _importable(EXAMPLES), contextlib.redirect_stdout(io.StringIO()):
        exec(compile(text, str(path), "exec"), scope)
        main = scope["main"]
        assert callable(main)
        losses: list[float] = main(quick=True, device=device)
    return losses


if __name__ == "__main__":
    LOSSES.write_text(json.dumps({p: quick_losses(p, "torch") for p in PROGRAMS}, indent=1) + "\n")
