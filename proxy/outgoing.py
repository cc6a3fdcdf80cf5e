"""What is written in one turn of the event loop is handed to the kernel when the turn is over, for all who listen.

To write to somebody who sleeps wakes him, which costs more than all the rest of the write. Whoever listens on many
connections, as a client on the same machine does, is woken once for all of them: the others are in the kernel before he
looks. It costs who is alone one more turn of the loop, some microseconds.
"""

import asyncio
from typing import Any

_AT_ONCE = 64 * 1024  # bytes: so much is a write of its own, so that whoever writes hears when to wait


class Outgoing:
    """A transport that hands over what is written when the turn is over. All else is the transport's own: what ends the
    writing hands over what there is before it does, but `abort`."""

    __slots__ = ("_call_soon", "_parts", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._call_soon = transport, loop.call_soon
        self._parts: list[bytes] = []
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """In the order of calls."""
        if len(data) >= _AT_ONCE:
            self.flush()
            self._transport.write(data)
            return
        parts = self._parts
        if not parts:
            self._call_soon(self.flush)
        parts.append(data)

    def flush(self) -> None:
        """Hand over what there is, now."""
        parts = self._parts
        if parts:
            self._parts = []
            if not self.is_closing():  # nobody would hear it, and a closed transport raises
                self._transport.writelines(parts)

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken."""
        size = self._transport.get_write_buffer_size()
        return size + sum(map(len, self._parts)) if self._parts else size

    def write_eof(self) -> None:
        """Nothing more will be written."""
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Close it once all is sent."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close it now; what was not sent is not sent."""
        self._parts = []
        self._transport.abort()
