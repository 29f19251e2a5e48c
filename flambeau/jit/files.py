"""``save`` and ``load``: scripted and traced programs in the files of :mod:`flambeau.export`."""

from __future__ import annotations

from typing import Any

from flambeau.core.device import DeviceLike
from flambeau.export import ExportError
from flambeau.export import load as load_program
from flambeau.jit.scripting import KIND, NAME, TRAINING, ScriptFunction, save
from flambeau.jit.tracing import TopLevelTracedModule


def load(
    f: Any, map_location: DeviceLike | None = None, _extra_files: dict[str, Any] | None = None,
    _restore_shapes: bool = False,
) -> Any:  # Any: a path or file, and a function or module  # fmt: skip
    """Read what :func:`save` wrote, or a program of :func:`flambeau.export.save`, as a function or module.

    ExportError for any other file.
    """
    own: dict[str, Any] = {KIND: "module", NAME: "", TRAINING: ""}
    asked = own | (_extra_files or {})
    program = load_program(f, extra_files=asked, device=map_location)
    for name in _extra_files or {}:
        _extra_files[name] = asked[name]  # type: ignore[index]
    if asked[KIND] == "function":
        return ScriptFunction(None, program, asked[NAME])
    if asked[KIND] != "module":
        raise ExportError(f"jit.load: the file holds a {asked[KIND]!r}, which is neither a module nor a function")
    return TopLevelTracedModule(program, bool(asked[TRAINING]), asked[NAME])


__all__ = ["load", "save"]
