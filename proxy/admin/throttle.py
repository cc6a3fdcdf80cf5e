"""How often somebody may guess a key: ten wrong ones within a minute, then nothing until the minute is over. Pure.

Whoever is held back is so with the right key as well, or he could go on guessing: by the answer he would know it.
"""

from collections import OrderedDict, deque
from ipaddress import IPv6Address, ip_address

MOST = 10  # wrong keys ...
WINDOW = 60.0  # ... in so many seconds
ADDRESSES = 4_096  # that are remembered; the one that was wrong longest ago is forgotten first
_NETWORK = 64  # bits of an IPv6 address: who has one has all of its network


class Throttle:
    """One per process. Times in seconds of one clock."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Seconds for which no key is looked at from there; 0: it is."""
        times = self._wrong.get(_place(address))
        if times is None or len(times) < MOST:
            return 0.0
        return max(0.0, times[0] + WINDOW - now)

    def failed(self, address: str, now: float) -> None:
        """A key from there was wrong."""
        place = _place(address)
        times = self._wrong.setdefault(place, deque(maxlen=MOST))
        times.append(now)
        self._wrong.move_to_end(place)
        if len(self._wrong) > ADDRESSES:
            self._wrong.popitem(last=False)


def _place(address: str) -> str:
    """Whom an address stands for."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if not isinstance(known, IPv6Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(int(known) >> (128 - _NETWORK))
