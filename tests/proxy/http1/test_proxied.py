"""The whole of tollhouse behind a proxy: what the environment names stands between it and its vendor."""

import asyncio
import json

import openai
import pytest

from tests.proxy.http1.authority import Authority
from tests.proxy.http1.test_tls import tunnelling
from tests.proxy.http1.vendor import Caller, vendor
from tests.tollhouse import Tollhouse

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


@pytest.fixture
def anyio_backend() -> str:
    """tollhouse is a process of its own: the loop of this one makes no difference."""
    return "asyncio"


async def answering(caller: Caller) -> None:
    body = json.dumps(ANSWER).encode()
    while True:
        await caller.request()
        caller.say(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )


async def test_vendors_are_asked_through_the_proxy_of_the_environment_and_nobody_sees_its_password(
    authority: Authority,
) -> None:
    async with vendor(answering, authority.server("localhost")) as there, vendor(tunnelling) as between:
        environ = {
            "OPENAI_API_KEY": "sk-canary",
            "OPENAI_BASE_URL": f"https://localhost:{there.port}/v1",
            "SSL_CERT_FILE": str(authority.file),
            "https_proxy": f"http://user:canary@127.0.0.1:{between.port}",
            "NO_PROXY": "example.com",
        }
        house = await asyncio.to_thread(Tollhouse.start, environ)
        try:
            async with openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key="x", max_retries=0) as client:
                for _ in range(2):
                    said = await client.chat.completions.create(
                        model="gpt-4o", messages=[{"role": "user", "content": "Hello"}]
                    )
                    assert said.choices[0].message.content == "Hello"
                shown = await client.get("../providers/configuration", cast_to=dict[str, object])
        finally:
            await asyncio.to_thread(house.stop)
    assert len(between.heard) == 1, "one tunnel, kept"
    assert b"proxy-authorization: Basic dXNlcjpjYW5hcnk=" in between.heard[0][0]
    assert not any(b"proxy-authorization" in head for head, _ in there.heard)
    told = json.dumps(shown)
    assert f"http://127.0.0.1:{between.port}" in told
    for text in (told, house.stderr, house.stdout):
        assert "canary" not in text
        assert "dXNlcjpjYW5hcnk" not in text
