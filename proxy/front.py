"""The way in for requests that are traffic: past the framework, whose routing, state and error handling would cost each
of them as much as its translation does. Everything else goes through it.
"""

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from proxy.line import Answer

CHAT = "/v1/chat/completions"


class Front:
    """An ASGI application around one, whose state has `serve`: what is done with a request to `CHAT`; and `answer`: the
    same for a POST that comes past ASGI."""

    def __init__(self, app: Litestar) -> None:
        self._state = app.state
        # Who asks an admin door from behind a proxy on this machine is told apart by what that proxy says.
        self._app = ProxyHeadersMiddleware(app)  # type: ignore[arg-type]  # ASGI's types as litestar and as uvicorn spell it

    @property
    def straight(self) -> dict[bytes, Answer]:
        """What answers on a line, by target: asked by each connection."""
        return {CHAT.encode(): self._state["answer"]}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the application's life."""
        if scope["type"] == ScopeType.HTTP and scope["path"] == CHAT:
            await self._state["serve"](scope, receive, send)
        else:
            await self._app(scope, receive, send)  # type: ignore[arg-type]  # the two spellings again
