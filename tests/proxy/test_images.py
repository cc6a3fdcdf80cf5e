"""Remote images against a real server on loopback: what is fetched, what is not, and that no way leads inside.

Two seams stand for what a test cannot have: `resolve` for a name server, and `allowed` for the border between outside
and inside, which here runs between addresses of loopback.
"""

import gzip
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from adapters.base import Failure, Fetched, Remote
from proxy.images import MOST_IMAGES, Images, is_public
from proxy.limits import Limits

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 100
GIF = b"GIF89a" + b"\x00" * 10
LOCAL = Limits(images_from_private_networks=True, image=1000, body=2500, image_seconds=20)
CLOSED = Limits(image=1000, image_seconds=20)
PARAM = "messages[0].content[1].image_url.url"


class Site(ThreadingHTTPServer):
    """A web site. `pages` maps a path to what its handler does; `seen` are the requests, as (path, headers)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.pages: dict[str, Callable[[Handler], None]] = {
            "/png": page(PNG, "image/png"),
            "/gif": page(GIF, "image/gif"),
            "/lies": page(PNG, "image/jpeg"),
            "/untyped": page(PNG, None),
            "/heic": page(b"\x00\x00\x00\x18ftypheic", "image/heic; q=1"),
            "/largest": page(PNG.ljust(1000), "image/png"),
            "/html": page(b"<html>", "text/html"),
            "/html-as-png": page(b"<html>", "image/png"),
            "/pdf": page(b"%PDF-1.7", "image/png"),
            "/svg": page(b"<svg/>", "image/svg+xml"),
            "/nothing": page(b"", "image/png"),
            "/declared": page(PNG.ljust(1001), "image/png"),
            "/undeclared": stream(PNG.ljust(1001)),
            "/gzip": page(gzip.compress(PNG), "image/png", ("content-encoding", "gzip")),
            "/silent": hang,
            "/drip": drip,
            "/break": raw(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nabc"),
            "/nonsense": raw(b"what do you want?\r\n\r\n"),
        }
        self.left = threading.Event()  # set when the site closes: whoever hangs goes on


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        path, _, rest = self.path.partition("?")
        self.server.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        if path == "/to":
            self.send_response(302)
            self.send_header("location", rest)
            self.end_headers()
        elif path.startswith("/status/"):
            self.send_error(int(path.rpartition("/")[2]))
        elif path.startswith("/hop/"):  # n redirects, then the image
            left = int(path.rpartition("/")[2])
            self.send_response(307)
            self.send_header("location", f"{left - 1}" if left > 1 else "../png")
            self.end_headers()
        else:
            self.server.pages[path](self)

    def log_message(self, *_: object) -> None:
        pass


def page(body: bytes, kind: str | None, *headers: tuple[str, str]) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        for name, value in (("content-length", str(len(body))), *headers, *([("content-type", kind)] if kind else [])):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def stream(body: bytes) -> Callable[[Handler], None]:
    """Without a length: the end is where the connection ends."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def raw(data: bytes) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.wfile.write(data)

    return answer


def hang(handler: Handler) -> None:
    handler.server.left.wait()


def drip(handler: Handler) -> None:
    """The beginning of an image, whose end does not come."""
    handler.send_response(200)
    handler.send_header("content-length", "500")
    handler.end_headers()
    handler.wfile.write(PNG)
    hang(handler)


@pytest.fixture(scope="module")
def _site() -> Iterator[Site]:
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site
        site.left.set()
        site.shutdown()
        thread.join()


@pytest.fixture
def site(_site: Site) -> Site:
    _site.seen.clear()
    return _site


async def fetch(url: str, limits: Limits = LOCAL, **seams) -> Fetched:
    return (await Images(limits, **seams).fetch([Remote(url, PARAM)]))[url]


async def refusal(url: str, limits: Limits = LOCAL, **seams) -> str:
    """Why it was refused; the rest of what the client hears is always the same."""
    with pytest.raises(Failure) as caught:
        await fetch(url, limits, **seams)
    failure = caught.value
    assert (failure.status, failure.code, failure.param) == (400, "invalid_image_url", PARAM)
    before, _, why = failure.message.partition(": ")
    assert before == f"The image at {PARAM} cannot be used"
    assert why.endswith(".")
    return why[:-1]


# --- what is fetched


@pytest.mark.parametrize(
    ("path", "kind", "data"),
    [
        pytest.param("/png", "image/png", PNG, id="a PNG"),
        pytest.param("/gif", "image/gif", GIF, id="a GIF"),
        pytest.param("/lies", "image/png", PNG, id="bytes are believed, not what is declared"),
        pytest.param("/untyped", "image/png", PNG, id="nothing is declared"),
        pytest.param("/heic", "image/heic", b"\x00\x00\x00\x18ftypheic", id="a type that bytes do not tell"),
        pytest.param("/largest", "image/png", PNG.ljust(1000), id="as large as it may be"),
        pytest.param("/to?/gif", "image/gif", GIF, id="redirected"),
        pytest.param("/hop/3", "image/png", PNG, id="redirected three times"),
        pytest.param("/png#fragment", "image/png", PNG, id="with a fragment"),
    ],
)
async def test_an_image_is_fetched(site, path, kind, data):
    assert await fetch(site.url + path) == Fetched(kind, data)


async def test_a_name_is_connected_to_by_its_address_and_told_to_the_server(site):
    resolver = Resolver(["127.0.0.1"])
    await fetch(f"http://Pictures.test:{site.server_port}/png?a=b", resolve=resolver)
    ((path, headers),) = site.seen
    assert path == "/png?a=b"
    assert headers["host"] == f"pictures.test:{site.server_port}"
    assert resolver.asked == [("pictures.test", site.server_port)]


async def test_a_name_in_another_script_is_asked_for_as_the_net_spells_it(site):
    resolver = Resolver(["127.0.0.1"])
    await fetch(f"http://bücher.test:{site.server_port}/png", resolve=resolver)
    assert resolver.asked[0][0] == "xn--bcher-kva.test"
    assert site.seen[0][1]["host"] == f"xn--bcher-kva.test:{site.server_port}"


async def test_nothing_of_the_proxy_is_told_and_nothing_compressed_is_asked_for(site):
    await fetch(site.url + "/png")
    ((_, headers),) = site.seen
    assert set(headers) == {"host", "accept", "accept-encoding", "connection", "user-agent"}
    assert headers["accept-encoding"] == "identity"


async def test_the_next_address_is_tried_where_nobody_listens_at_the_first(site):
    resolver = Resolver(["127.0.0.2", "127.0.0.1"])
    assert (await fetch(f"http://pictures.test:{site.server_port}/png", resolve=resolver)).data == PNG


async def test_localhost_is_found_at_whichever_address_it_listens(site):
    assert (await fetch(f"http://localhost:{site.server_port}/png")).data == PNG


async def test_ipv6(site):
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    try:
        probe = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
    with probe:
        thread = threading.Thread(target=answer_once, args=(probe,))
        thread.start()
        assert (await fetch(f"http://[::1]:{probe.getsockname()[1]}/png")).data == PNG
        thread.join()


def answer_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(PNG) + PNG)


async def test_several_images_come_each_under_its_url_and_each_once(site):
    wanted = [Remote(site.url + path, f"p{i}") for i, path in enumerate(["/png", "/gif", "/png", "/lies"])]
    found = await Images(LOCAL).fetch(wanted)
    assert {url.rpartition("/")[2]: fetched.media_type for url, fetched in found.items()} == {
        "png": "image/png",
        "gif": "image/gif",
        "lies": "image/png",
    }
    assert sorted(path for path, _ in site.seen) == ["/gif", "/lies", "/png"]


async def test_one_fetcher_serves_many_requests(site):
    images = Images(LOCAL)
    for path in ("/png", "/gif"):
        assert len(await images.fetch([Remote(site.url + path, PARAM)])) == 1


async def test_no_image_is_no_work():
    assert await Images(LOCAL).fetch([]) == {}


# --- what is not


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/hop/4", "it was redirected too often"),
        ("/to?/to", "it was redirected too often"),
        ("/status/404", "its server answered with status 404"),
        ("/status/500", "its server answered with status 500"),
        ("/status/304", "its server answered with status 304"),
        ("/status/302", "its server answered with status 302"),
        ("/html", "it is not a PNG, JPEG, GIF or WebP image (its server calls it 'text/html')"),
        ("/html-as-png", "it is not a PNG, JPEG, GIF or WebP image (its server calls it 'image/png')"),
        ("/pdf", "it is not a PNG, JPEG, GIF or WebP image (its server calls it 'image/png')"),
        ("/svg", "it is not a PNG, JPEG, GIF or WebP image (its server calls it 'image/svg+xml')"),
        ("/nothing", "it is not a PNG, JPEG, GIF or WebP image (its server calls it 'image/png')"),
        ("/declared", "it is larger than 1000 bytes"),
        ("/undeclared", "it is larger than 1000 bytes"),
        ("/gzip", "its server compresses it, though asked not to"),
        ("/break", "it could not be fetched (RemoteProtocolError)"),
        ("/nonsense", "it could not be fetched (RemoteProtocolError)"),
        ("/to?file:///etc/passwd", "expected an http or https URL"),
        ("/to?http://a\tb/", "expected an http or https URL"),
        ("/to?http://a:99999/", "expected an http or https URL"),
        ("/to?http://u:p@127.0.0.1/", "expected a URL without user name and password"),
    ],
)
async def test_an_image_that_cannot_be_used_is_refused(site, path, why):
    assert await refusal(site.url + path) == why


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://127.0.0.1/a.png", "gopher://127.0.0.1/", "data:image/png;base64,AAAA",
        "javascript:1", "/etc/passwd", "//127.0.0.1/a.png", "picture.png", "", "http://", "http:///a.png", "https://:80/",
        "http://a\x00b/", "http://127.0.0.1:99999/", "http://127.0.0.1:0/", "http://127.0.0.1:x/", "http://0177.0.0.1/",
        "http://xn--a/",
        "\ud800", "http://" + "a" * 70_000,
    ],
)  # fmt: skip
async def test_garbage_is_refused(url):
    assert await refusal(url, resolve=unknown) == "expected an http or https URL"


async def unknown(host: str, port: int) -> Sequence[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize("url", ["http://nowhere.test/", "http://[/", "http://a b/", "http://127.0.0.1%00/"])
async def test_a_name_that_nobody_knows_is_refused(url):
    assert await refusal(url, resolve=unknown) == "it could not be fetched (gaierror)"


@pytest.mark.parametrize("host", ["a" * 64 + ".test", "a..test"])
async def test_a_name_that_cannot_be_one_is_refused_before_anybody_is_asked(host):
    assert await refusal(f"http://{host}/") == "expected an http or https URL"


@pytest.mark.parametrize("url", ["http://user@127.0.0.1/", "http://user:word@127.0.0.1/", "http://:@127.0.0.1/"])
async def test_credentials_in_a_url_are_refused_and_not_repeated(url):
    assert await refusal(url) == "expected a URL without user name and password"


@pytest.mark.parametrize("path", ["/silent", "/drip"])
async def test_an_image_that_does_not_come_in_time_is_refused(site, path):
    assert await refusal(site.url + path, Limits(images_from_private_networks=True, image_seconds=0.05)) == (
        "it did not come in time"
    )


async def test_a_name_that_does_not_resolve_in_time_is_refused():
    async def never(host: str, port: int) -> Sequence[str]:
        raise TimeoutError

    assert await refusal("http://pictures.test/", resolve=never) == "it did not come in time"


async def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert await refusal(f"http://127.0.0.1:{port}/") == "it could not be fetched (ConnectError)"


async def test_all_images_of_a_request_together_are_no_larger_than_a_body_may_be(site):
    wanted = [Remote(f"{site.url}/largest?{i}", f"p{i}") for i in range(3)]
    with pytest.raises(Failure, match="all images of the request together are larger than 2500 bytes"):
        await Images(LOCAL).fetch(wanted)


async def test_more_images_than_any_vendor_takes_are_refused_before_one_is_fetched(site):
    wanted = [Remote(f"{site.url}/png?{i}", f"p{i}") for i in range(MOST_IMAGES + 1)]
    with pytest.raises(Failure, match=f"The image at p{MOST_IMAGES} cannot be used: at most {MOST_IMAGES}"):
        await Images(LOCAL).fetch(wanted)
    assert site.seen == []


async def test_where_one_cannot_be_had_nobody_waits_for_the_others(site):
    wanted = [Remote(site.url + "/silent", "p0"), Remote(site.url + "/status/404", "p1")]
    with pytest.raises(Failure, match="The image at p1"):
        await Images(LOCAL).fetch(wanted)


# --- no way inside


class Resolver:
    """A name server that answers each time with the next of its answers, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


INSIDE = "its address is not on the public internet"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "0x7f000001", "2130706433", "017700000001", "0x7f.1", "localhost",
        "0.0.0.0", "0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0xa9fea9fe", "100.100.100.200",
        "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[fe80::1]", "[fd00:ec2::254]",
        "[64:ff9b::7f00:1]", "[64:ff9b::169.254.169.254]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[ff02::1]",
    ],
)  # fmt: skip
async def test_addresses_inside_are_refused_however_they_are_spelled(site, host):
    """No name server is asked: to the resolver of any machine these are addresses, or localhost."""
    assert await refusal(f"http://{host}:{site.server_port}/png", CLOSED) == INSIDE
    assert site.seen == []


@pytest.mark.parametrize(
    "found",
    [["10.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::ffff:10.0.0.1"], []],
    ids=["an address inside", "one outside and one inside", "one inside an IPv6 address", "none at all"],
)
async def test_a_name_that_leads_inside_is_refused(found):
    assert await refusal("http://pictures.test/", CLOSED, resolve=Resolver(found)) == INSIDE


def not_two(address: str) -> bool:
    """A border through loopback: 127.0.0.2 is inside, 127.0.0.1 is not."""
    return address != "127.0.0.2"


@pytest.mark.parametrize("target", ["http://127.0.0.2:{}/png", "//127.0.0.2:{}/png", "http://2130706434:{}/png"])
async def test_a_redirect_to_the_inside_is_refused(site, target):
    url = f"{site.url}/to?{target.format(site.server_port)}"
    assert await refusal(url, CLOSED, allowed=not_two) == INSIDE
    assert [path for path, _ in site.seen] == ["/to?" + target.format(site.server_port)]


async def test_a_redirect_to_a_name_that_leads_inside_is_refused(site):
    resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])
    url = f"http://a.test:{site.server_port}/to?http://b.test:{site.server_port}/png"
    assert await refusal(url, CLOSED, resolve=resolver, allowed=not_two) == INSIDE
    assert [host for host, _ in resolver.asked] == ["a.test", "b.test"]
    assert len(site.seen) == 1


async def test_the_address_that_was_checked_is_the_one_connected_to(site):
    """A name that resolves to the outside when it is checked, and to the inside whenever it is asked again."""
    resolver = Resolver(["127.0.0.1"], ["127.0.0.2"])
    fetched = await fetch(f"http://a.test:{site.server_port}/png", CLOSED, resolve=resolver, allowed=not_two)
    assert fetched.data == PNG
    assert len(resolver.asked) == 1


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "93.184.216.34", "172.15.0.1", "172.32.0.1", "192.167.0.1", "100.63.0.1", "100.128.0.1",
     "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"],
)  # fmt: skip
def test_an_address_outside_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1",
        "127.255.255.255", "168.63.129.16", "169.254.0.1", "169.254.169.254",
        "172.16.0.0", "172.31.255.255", "192.0.0.1", "192.0.0.192",
        "192.0.2.1", "192.88.99.1", "192.168.0.0", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
        "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::7f00:1", "::808:808", "::ffff:10.0.0.1", "::ffff:0:0", "64:ff9b::a00:1", "64:ff9b:1::808:808",
        "100::1", "2001::1", "2001:0:808:808::1", "2001:db8::1", "2002:a00:1::", "2002:7f00:1::", "3fff::1", "5f00::1",
        "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
    ],
)  # fmt: skip
def test_an_address_of_any_special_range_is_not(address):
    assert not is_public(address)
