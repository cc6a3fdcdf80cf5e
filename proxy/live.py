"""`tollhouse check --live`: does each vendor answer, and does it take its key? One request each that costs nothing."""

import asyncio
from collections.abc import Mapping, Sequence

import httpx

from adapters import ADAPTERS
from adapters.base import Kind, Vendor
from proxy.providers import Provider
from proxy.upstream import credentials

_LISTS: Mapping[Vendor, str] = {"openai": "/models", "anthropic": "/v1/models", "gemini": "/v1beta/models"}


def ask(providers: Sequence[Provider], *, seconds: float = 10.0) -> dict[str, str | None]:
    """What is wrong with each provider, by its name; None if nothing is. No key is ever part of it."""
    return asyncio.run(_ask_all(providers, seconds))


async def _ask_all(providers: Sequence[Provider], seconds: float) -> dict[str, str | None]:
    async with httpx.AsyncClient(timeout=seconds) as client:
        findings = await asyncio.gather(*(_ask(client, provider, seconds) for provider in providers))
    return {provider.name: finding for provider, finding in zip(providers, findings, strict=True)}


async def _ask(client: httpx.AsyncClient, provider: Provider, seconds: float) -> str | None:
    adapter = ADAPTERS[provider.vendor, "chat"]
    try:
        async with asyncio.timeout(seconds):
            answer = await client.get(provider.base_url + _LISTS[provider.vendor], headers=dict(credentials(provider)))
    except (TimeoutError, httpx.TimeoutException):
        return f"unreachable (no answer from {provider.base_url} in {seconds:g} seconds)"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: IDNA knows no such name
        return f"unreachable ({error or type(error).__name__}, at {provider.base_url})"
    if answer.status_code == 200:
        return None
    headers = {name.lower(): value for name, value in answer.headers.items()}
    failure = adapter.error(answer.status_code, headers, answer.content)
    # A page, a redirect and the like are no vendor's words on a key, whatever the client deserves to hear of them.
    if failure.kind is Kind.KEY and answer.status_code in (400, 401, 403):
        return f"{'key refused' if provider.key else 'a key is wanted'} (status {answer.status_code})"
    return f"unreachable ({provider.base_url} answers with status {answer.status_code})"
