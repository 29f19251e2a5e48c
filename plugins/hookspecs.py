"""The hooks of flambeau's plugins: functions with these names at the top of a plugin's module.

The module is what an entry point of the group ``flambeau`` names, and the entry point's own name says when
it is imported: ``npu`` when the device type "npu" is asked for, ``cpu.fast`` (a device type, a dot and a word
of the plugin's own) beside the backend of "cpu". Nothing else is imported before.

A function of such a name is a hook by its name alone. The marker ``flambeau.plugins.hookimpl`` is for
pluggy's options. A name that starts with ``flambeau_`` and is none of these quarantines the plugin, since it
is a misspelt hook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import pluggy

from flambeau.backends.base import Backend, Kernel
from flambeau.core.dtype import DType

PROJECT = "flambeau"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class RegisterKernel(Protocol):
    """What ``flambeau_register_kernels`` gets: puts a kernel over a device's own.

    ``make(next_kernel)`` returns the kernel; ``next_kernel`` is the one below it, or None. The highest
    priority runs first; two of one priority whose dtypes overlap (None: every dtype) are an error.
    """

    def __call__(
        self, device_type: str, op_name: str, make: Callable[[Kernel | None], Kernel], *,
        dtypes: Iterable[DType] | None = None, priority: int = 0,
    ) -> None: ...  # fmt: skip


@hookspec
def flambeau_backends() -> Backend | Iterable[Backend]:  # type: ignore[empty-body]
    """The backends that this plugin gives: one for each of its entry points, made here and now.

    Called once, when one of their device types is first asked for. A backend without a usable device is
    returned all the same: its ``unavailable_reason()`` says why and what would help.
    """


@hookspec
def flambeau_register_kernels(register: RegisterKernel) -> None:
    """Register kernels for devices that other plugins or flambeau itself own (overlays).

    Called once, right after the backends of the plugin, or before the first use of the device type that the
    entry point's name starts with.
    """
