"""Vendors prove who they are: certificate and name are verified, whatever stands in between."""

import asyncio
import ssl
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from adapters.base import Call, Failure, Kind, Reading, Warnings
from proxy.http1.pool import Pool
from proxy.http1.proxies import Proxy
from proxy.http1.route import Route, route, tls
from proxy.providers import Provider
from proxy.timeouts import Timeouts
from proxy.upstream import Upstream
from tests.proxy.http1.authority import Authority
from tests.proxy.http1.test_pool import asked, closed
from tests.proxy.http1.vendor import OK, Caller, kind, vendor

ROOT = Path(__file__).resolve().parents[3]


def trusting(authority: Authority, port: int, host: str = "localhost", proxy: Proxy | None = None) -> Route:
    return msgspec.structs.replace(route(f"https://{host}:{port}"), tls=authority.client(), proxy=proxy)


async def test_a_vendor_whose_certificate_is_good_is_asked_by_http_1_over_one_connection(authority: Authority) -> None:
    async with vendor(kind, authority.server("localhost")) as there:
        pool = Pool(trusting(authority, there.port))
        for _ in range(3):
            assert await asked(pool, b"x" * 100_000) == b"ok"
        assert (there.connections, there.protocols) == (1, ["http/1.1"])
        await pool.close()
        await there.empty()


async def test_an_address_is_proved_by_a_certificate_for_it(authority: Authority) -> None:
    async with vendor(kind, authority.server("127.0.0.1")) as there:
        pool = Pool(trusting(authority, there.port, "127.0.0.1"))
        assert await asked(pool) == b"ok"
        await pool.close()


async def test_a_vendor_that_speaks_before_it_is_asked_is_left(authority: Authority) -> None:
    async def script(caller: Caller) -> None:
        caller.say(OK)
        await caller.reader.read()

    async with vendor(script, authority.server("localhost")) as there:
        pool = Pool(trusting(authority, there.port))
        with suppress(ConnectionError):  # it may be heard before TLS is all there, or after
            await asyncio.wait_for(pool.dial(), 20)
        await closed(pool)
        await there.empty()


async def test_who_is_cancelled_while_tls_begins_leaves_nothing_open(authority: Authority) -> None:
    async with vendor(kind, authority.server("localhost")) as there:
        pool = Pool(trusting(authority, there.port))
        for rounds in range(0, 200, 8):  # in between it is connected, TLS begins, and is there
            dialling = asyncio.create_task(pool.dial())
            for _ in range(rounds):
                await asyncio.sleep(0)
            if dialling.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await dialling
            else:
                (await dialling).abort()
        await asked(pool)  # the vendor takes callers in the order in which they came: now it has seen all of them
        await pool.close()
        await there.empty()


@pytest.mark.parametrize(
    ("name", "expired", "host", "code"),
    [
        ("other.example", False, "localhost", 62),
        ("localhost", False, "127.0.0.1", 64),
        ("localhost", True, "localhost", 10),
    ],
    ids=["another host's", "another address's", "expired"],
)
async def test_another_certificate_is_refused(
    authority: Authority, name: str, expired: bool, host: str, code: int
) -> None:
    async with vendor(kind, authority.server(name, expired=expired)) as there:
        pool = Pool(trusting(authority, there.port, host))
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            await asyncio.wait_for(pool.dial(), 20)
        await pool.close()
        assert caught.value.verify_code == code
        assert there.heard == []


def test_nothing_older_than_tls_1_2_is_spoken_and_everything_is_verified() -> None:
    context = tls()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert tls() is context, "to read the authorities takes long"


CALL = Call(path="/v1", body=b"{}", reading=Reading(), warnings=Warnings())


async def failed(url: str) -> Failure:
    one = Provider(name="a", vendor="openai", base_url=url, key=None)
    async with Upstream([one], Timeouts(), agent="t") as upstream:
        with pytest.raises(Failure) as caught:
            async with upstream.send("a", CALL):
                pass
    return caught.value


async def test_a_vendor_of_an_authority_that_nobody_knows_is_unreachable(authority: Authority) -> None:
    async with vendor(kind, authority.server("localhost")) as there:
        failure = await failed(f"https://localhost:{there.port}")
        assert failure.kind is Kind.UNREACHABLE
        assert "its certificate is of an unknown authority" in failure.message
        assert there.heard == []


async def test_a_vendor_that_speaks_no_tls_is_unreachable() -> None:
    async def script(caller: Caller) -> None:
        await caller.reader.read(1)
        caller.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with vendor(script) as there:
        failure = await failed(f"https://localhost:{there.port}")
    assert failure.kind is Kind.UNREACHABLE


ASK = """
import asyncio, os, sys, uvloop
from adapters.base import Call, Failure, Reading, Warnings
from proxy.http1 import proxies
from proxy.providers import Provider
from proxy.timeouts import Timeouts
from proxy.upstream import Upstream

CALL = Call(path="/v1", body=b"{}", reading=Reading(), warnings=Warnings())

async def main():
    providers = [Provider(name=url, vendor="openai", base_url=url, key=None) for url in sys.argv[2:]]
    async with Upstream(providers, Timeouts(), agent="t", proxies=proxies.read(os.environ)) as upstream:
        for one in providers:
            try:
                async with upstream.send(one.name, CALL) as reply:
                    print((await reply.body()).decode())
            except Failure as failure:
                print(failure.kind.name, failure.message)

{"asyncio": asyncio, "uvloop": uvloop}[sys.argv[1]].run(main())
"""


async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except ConnectionError:
        pass
    finally:
        target.close()


async def tunnelling(caller: Caller) -> None:
    """A proxy that lets everybody through."""
    head = await caller.reader.readuntil(b"\r\n\r\n")
    caller.vendor.heard.append((head, b""))
    host, _, port = head.split()[1].rpartition(b":")
    reader, writer = await asyncio.open_connection(host.decode(), int(port))
    caller.say(b"HTTP/1.1 200 Connection established\r\nx-proxy: 1\r\n\r\n")
    async with asyncio.TaskGroup() as group:
        group.create_task(carry(caller.reader, writer))
        group.create_task(carry(reader, caller.writer))


async def test_the_environment_names_a_private_authority_and_a_proxy(authority: Authority) -> None:
    """OpenSSL reads its variable when the process begins to speak TLS: so in a process of its own. The first three
    vendors are reached directly, the others through proxies that are spoken to by TLS themselves."""
    good, other, old = authority.server("localhost"), authority.server("x"), authority.server("localhost", expired=True)
    async with (
        vendor(kind, good) as one,
        vendor(kind, other) as two,
        vendor(kind, old) as three,
        vendor(kind, good) as four,
        vendor(tunnelling, good) as between,
        vendor(kind, good) as asking,
    ):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            ASK,
            type(asyncio.get_running_loop()).__module__.partition(".")[0],
            *(f"https://localhost:{there.port}" for there in (one, two, three, four)),
            "http://api.example.invalid/v1",
            cwd=ROOT,
            env={
                "SSL_CERT_FILE": str(authority.file),
                "HTTPS_PROXY": f"https://u:p@localhost:{between.port}",
                "HTTP_PROXY": f"https://localhost:{asking.port}",
                "NO_PROXY": ",".join(f"all://localhost:{there.port}" for there in (one, two, three)),
            },
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert [head.partition(b"\r\n")[0] for head, _ in between.heard] == [
            f"CONNECT localhost:{four.port} HTTP/1.1".encode()
        ]
        assert b"\r\nproxy-authorization: Basic dTpw\r\n" in between.heard[0][0]
        assert one.protocols == four.protocols == ["http/1.1"]
        assert asking.heard[0][0].startswith(b"POST http://api.example.invalid/v1/v1 HTTP/1.1\r\n")
    reached = "UNREACHABLE The provider could not be reached: its certificate"
    assert out.decode().splitlines() == ["ok", f"{reached} is another host's.", f"{reached} has expired.", "ok", "ok"]


# --- through a proxy


def through(port: int, *, host: str = "127.0.0.1", secure: bool = False) -> Proxy:
    return Proxy(host=host, port=port, secure=secure, headers={"proxy-authorization": "Basic dTpw"})


async def test_through_a_proxy_tls_is_the_vendors_own_and_the_proxy_sees_nothing(authority: Authority) -> None:
    async with vendor(kind, authority.server("localhost")) as there, vendor(tunnelling) as between:
        pool = Pool(trusting(authority, there.port, proxy=through(between.port)))
        for _ in range(3):
            assert await asked(pool, b"secret") == b"ok"
        assert (there.connections, there.protocols, between.connections) == (1, ["http/1.1"], 1)
        name = f"localhost:{there.port}".encode()
        assert between.heard == [
            (b"CONNECT %b HTTP/1.1\r\nhost: %b\r\nproxy-authorization: Basic dTpw\r\n\r\n" % (name, name), b"")
        ]
        assert not any(b"proxy-authorization" in head for head, _ in there.heard)
        await pool.close()
        await between.empty()
        await there.empty()


async def test_a_vendor_behind_a_proxy_proves_who_it_is_all_the_same(authority: Authority) -> None:
    async with vendor(kind, authority.server("other.example")) as there, vendor(tunnelling) as between:
        pool = Pool(trusting(authority, there.port, proxy=through(between.port)))
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.wait_for(pool.dial(), 20)
        await pool.close()
        await between.empty()
        assert there.heard == []


async def test_a_proxy_that_is_spoken_to_by_tls_proves_who_it_is_too(authority: Authority) -> None:
    async with (
        vendor(kind, authority.server("localhost")) as there,
        vendor(tunnelling, authority.server("localhost")) as between,
    ):
        pool = Pool(trusting(authority, there.port, proxy=through(between.port, host="localhost", secure=True)))
        with pytest.raises(ssl.SSLCertVerificationError) as caught:  # the system does not know our authority
            await asyncio.wait_for(pool.dial(), 20)
        assert caught.value.verify_code in (19, 20)
        assert between.heard == []
        await pool.close()


REFUSALS = {
    "a status": (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy answered with status 407"),
    "no HTTP": (b"SSH-2.0\r\n\r\n", "the proxy does not speak HTTP"),
    "words of its own": (b"HTTP/1.1 200 OK\r\n\r\nhello", "the proxy does not speak HTTP"),
    "a head without an end": (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000, "the proxy does not speak HTTP"),
    "nothing": (b"", "the proxy closed the connection"),
}


@pytest.mark.parametrize(("said", "why"), REFUSALS.values(), ids=REFUSALS)
async def test_a_proxy_that_does_not_let_us_through_is_told_of_and_left(
    authority: Authority, said: bytes, why: str
) -> None:
    async def script(caller: Caller) -> None:
        await caller.reader.readuntil(b"\r\n\r\n")
        caller.say(said)
        if said:
            await caller.reader.read()

    async with vendor(script) as between:
        pool = Pool(trusting(authority, 1, proxy=through(between.port)))
        with pytest.raises(ConnectionError, match=why):
            await asyncio.wait_for(pool.dial(), 20)
        await between.empty()
        await pool.close()


async def test_who_is_cancelled_in_a_tunnel_leaves_nothing_open(authority: Authority) -> None:
    heard = asyncio.Event()

    async def script(caller: Caller) -> None:
        await caller.reader.readuntil(b"\r\n\r\n")
        heard.set()
        await caller.reader.read()

    async with vendor(script) as between:
        pool = Pool(trusting(authority, 1, proxy=through(between.port)))
        dialling = asyncio.create_task(pool.dial())
        await heard.wait()
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        await between.empty()
        await pool.close()
