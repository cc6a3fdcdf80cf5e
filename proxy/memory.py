"""The state of vendors' reasoning that OpenAI's format has no place for, kept between the requests of a conversation.

A client that returns only id, name and arguments of a call loses Gemini's thought signature and Claude's thinking
blocks; both vendors want them back. They are kept by vendor and by the id of the call, in the store that all replicas
share. To lose them is no disaster (the adapters know what to do without), so a store that is away stops nobody.
"""

from collections.abc import Mapping, Sequence

import structlog

from adapters.base import Vendor
from proxy.store import Store, StoreError

SECONDS = 24 * 3600  # an agent's loop may rest over night
_MOST_IDS = 256  # of one request: the latest steps are those that matter


class Memory:
    """Remembers by vendor and id; says so once when the store goes away, and once when it is back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._away = False

    async def recall(self, vendor: Vendor, ids: Sequence[str]) -> Mapping[str, str]:
        """The states of those `ids` that are known; nothing when the store is away."""
        wanted = ids[-_MOST_IDS:]
        try:
            found = await self._store.recall([f"{vendor}:{id}" for id in wanted])
        except StoreError as error:
            self._note(error)
            return {}
        self._note(None)
        return {key.partition(":")[2]: state for key, state in found.items()}

    async def remember(self, vendor: Vendor, states: Mapping[str, str]) -> None:
        """Keep the states of an answer, before the client can ask for them."""
        try:
            await self._store.remember({f"{vendor}:{id}": state for id, state in states.items()}, SECONDS)
        except StoreError as error:
            self._note(error)
        else:
            self._note(None)

    def _note(self, error: StoreError | None) -> None:
        if error is not None and not self._away:
            structlog.get_logger().warning("reasoning state away", why=str(error))
        elif error is None and self._away:
            structlog.get_logger().info("reasoning state back")
        self._away = error is not None
