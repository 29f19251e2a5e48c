"""``save`` and ``load``: scripted and traced programs in the files of :mod:`flambeau.export`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flambeau.core.device import DeviceLike
from flambeau.export import ExportError
from flambeau.export import load as load_program
from flambeau.export import save as save_program
from flambeau.jit.scripting import ScriptFunction, ScriptModule
from flambeau.jit.tracing import TopLevelTracedModule

_KIND, _NAME, _TRAINING = "flambeau.jit.kind", "flambeau.jit.name", "flambeau.jit.training"


def save(m: Any, f: Any, _extra_files: Mapping[str, str | bytes] | None = None) -> None:  # Any: see Args
    """Write a scripted or traced function or module to one file.

    Args:
        m: what :func:`script` or :func:`trace` made.
        f: a path, or a file open for writing bytes.
        _extra_files: texts by name that are kept beside.

    Raises:
        TypeError: for anything else; ExportError for a script that can't become a program.

    >>> import io
    >>> file = io.BytesIO()
    >>> fb.jit.save(fb.jit.trace(fb.nn.ReLU(), fb.ones(2)), file)
    >>> fb.jit.load(file)(fb.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if not isinstance(m, (ScriptModule, ScriptFunction)):
        raise TypeError(f"jit.save: m must be scripted or traced, got {type(m).__name__}; call script or trace first")
    module = isinstance(m, ScriptModule)
    own = {_KIND: "module" if module else "function", _NAME: m.original_name,
           _TRAINING: "1" if module and m.training else ""}  # fmt: skip
    save_program(m.program, f, extra_files={**own, **(_extra_files or {})})


def load(
    f: Any, map_location: DeviceLike | None = None, _extra_files: dict[str, Any] | None = None,
    _restore_shapes: bool = False,
) -> Any:  # Any: a path or file, and a function or module  # fmt: skip
    """Read what :func:`save` wrote, or a program of :func:`flambeau.export.save`, as a function or module.

    ExportError for any other file.
    """
    own: dict[str, Any] = {_KIND: "module", _NAME: "", _TRAINING: ""}
    asked = own | (_extra_files or {})
    program = load_program(f, extra_files=asked, device=map_location)
    for name in _extra_files or {}:
        _extra_files[name] = asked[name]  # type: ignore[index]
    if asked[_KIND] == "function":
        return ScriptFunction(None, program, asked[_NAME])
    if asked[_KIND] != "module":
        raise ExportError(f"jit.load: the file holds a {asked[_KIND]!r}, which is neither a module nor a function")
    return TopLevelTracedModule(program, bool(asked[_TRAINING]), asked[_NAME])


__all__ = ["load", "save"]
