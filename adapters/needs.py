"""What must be at hand before a request can be translated: found here, fetched by the proxy."""

from collections.abc import Callable, Iterator

from adapters import wire
from adapters.base import Remote
from adapters.conversation import plain_id


def images(chat: wire.Chat, vendors_own: Callable[[str], bool]) -> list[Remote]:
    """The images by URL that the vendor will not fetch for itself (`vendors_own` says which it will)."""
    found = []
    for i, message in enumerate(chat.messages):
        if isinstance(message.content, str) or not isinstance(message, wire.User | wire.Tool):
            continue
        for j, part in enumerate(message.content):
            if isinstance(part, wire.ImagePart) and not part.image_url.url.lower().startswith("data:"):
                url = part.image_url.url
                if not vendors_own(url):
                    found.append(Remote(url, f"messages[{i}].content[{j}].image_url.url"))
    return found


def calls(chat: wire.Chat) -> Iterator[tuple[wire.Assistant, list[str]]]:
    """The assistant's messages that call tools, each with the ids of its calls."""
    for message in chat.messages:
        if isinstance(message, wire.Assistant) and message.tool_calls:
            yield message, [plain_id(call.id) for call in message.tool_calls]
