"""Open files on their way through pipes of data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

__all__ = ["StreamWrapper"]


class StreamWrapper:
    """An open file, or what reads like one, that is closed when nobody holds it any more.

    A stream that was taken out of another, ``parent_stream``, closes that one after its last child is closed, if
    :meth:`autoclose` has been said of it or its ``close``. All else is the file's own.

    >>> import io
    >>> from flambeau.utils.data.datapipes.utils.common import StreamWrapper
    >>> list(StreamWrapper(io.StringIO("a")))
    ['a']
    """

    #: Streams that are open, where ``debug_unclosed_streams`` is set.
    session_streams: ClassVar[dict[StreamWrapper, int]] = {}
    debug_unclosed_streams: ClassVar[bool] = False

    def __init__(self, file_obj: Any, parent_stream: StreamWrapper | None = None, name: str | None = None):
        # Any: whatever reads like a file
        if parent_stream is not None and not isinstance(parent_stream, StreamWrapper):
            raise RuntimeError(f"StreamWrapper: parent_stream should be one too, got {type(parent_stream).__name__}")
        self.file_obj, self.parent_stream, self.name = file_obj, parent_stream, name
        self.child_counter, self.close_on_last_child, self.closed = 0, False, False
        if parent_stream is not None:
            parent_stream.child_counter += 1
        if StreamWrapper.debug_unclosed_streams:
            StreamWrapper.session_streams[self] = 1

    @classmethod
    def close_streams(cls, v: Any, depth: int = 0) -> None:  # Any: any nesting of containers
        """Close all streams in lists, tuples and dicts, to ten levels."""
        if depth > 10:
            return
        if isinstance(v, StreamWrapper):
            v.close()
        elif isinstance(v, dict):
            for below in v.values():
                cls.close_streams(below, depth + 1)
        elif isinstance(v, list | tuple):
            for below in v:
                cls.close_streams(below, depth + 1)

    def __getattr__(self, name: str) -> Any:  # Any: an attribute of the file
        if name in ("file_obj", "closed"):
            raise AttributeError(name)  # before __init__ has been there
        return getattr(self.file_obj, name)

    def close(self) -> None:
        """Close the file, and the one that it was taken out of if this was all that held it open."""
        if self.closed:
            return
        StreamWrapper.session_streams.pop(self, None)
        if self.parent_stream is not None:
            self.parent_stream.child_counter -= 1
            if not self.parent_stream.child_counter and self.parent_stream.close_on_last_child:
                self.parent_stream.close()
        with contextlib.suppress(AttributeError):
            self.file_obj.close()
        self.closed = True

    def autoclose(self) -> None:
        """Close this stream when it has no children, or as soon as the last of them is closed."""
        self.close_on_last_child = True
        if not self.child_counter:
            self.close()

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.file_obj)})

    def __del__(self) -> None:
        if not self.__dict__.get("closed", True):
            self.close()

    def __iter__(self) -> Iterator[Any]:
        yield from self.file_obj

    def __next__(self) -> Any:  # Any: a line, or what the file gives
        return next(self.file_obj)

    def __repr__(self) -> str:
        return (
            f"StreamWrapper<{self.file_obj!r}>" if self.name is None else f"StreamWrapper<{self.name},{self.file_obj}>"
        )

    def __getstate__(self) -> Any:  # Any: what is pickled for the wrapper is the file
        return self.file_obj

    def __setstate__(self, state: Any) -> None:
        StreamWrapper.__init__(self, state)
