"""How much of anything there may be at once, and how long it may take: the section `limits` of the configuration.

Whoever asks for more is told so, by the name of the limit that it met. That an answer comes to its end is the affair of
`timeouts`.
"""

import msgspec

from adapters.extent import Extent
from proxy.timeouts import check_seconds


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What clients may send, how much of it and how long it may take, and what is fetched for it. Bytes and seconds."""

    body: int = 32 * 1024 * 1024
    bodies: int = 512 * 1024 * 1024  # of all requests of a process that are not answered yet
    body_seconds: float = 120.0  # until it has arrived
    head: int = 64 * 1024  # request line and headers
    head_seconds: float = 20.0
    unread_seconds: float = 60.0  # that a client may take nothing of what it was answered
    connections: int = 10_000  # of clients, at once
    concurrent: int = 4_096  # requests, at once
    concurrent_per_key: int | None = None
    depth: int = 200  # of lists and objects in one another
    messages: int = 10_000
    values: int = 250_000  # items and members, in all
    image: int = 20 * 1024 * 1024
    image_seconds: float = 10.0
    images_from_private_networks: bool = False

    @property
    def extent(self) -> Extent:
        """How long and how deep a letter may be."""
        return Extent(depth=self.depth, messages=self.messages, values=self.values)

    def __post_init__(self) -> None:
        for name, limit in msgspec.structs.asdict(self).items():
            if name.endswith("_seconds"):
                check_seconds(name, limit)
            elif type(limit) is int and limit < 1:
                raise ValueError(f"`{name}` must be at least 1")
