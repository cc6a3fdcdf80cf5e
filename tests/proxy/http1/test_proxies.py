"""Which proxy stands in between: what the environment says is understood as the official SDKs understand it."""

import json
import subprocess
import sys

import pytest

from proxy.http1.proxies import DIRECT, Proxies, ProxyError, read
from proxy.http1.route import route

URLS = [
    "http://example.com",
    "https://example.com",
    "https://example.com:8443",
    "https://www.example.com",
    "https://a.b.example.com:8443",
    "https://wwwexample.com",
    "http://localhost:11434",
    "https://api.localhost",
    "http://127.0.0.1:8000",
    "http://10.1.2.3",
    "https://[::1]:9000",
    "https://[2001:db8::1]",
    "https://api.openai.com",
]

# What the environment says of who is asked without a proxy; the same is said to httpx.
EXCEPTIONS = [
    "",
    "*",
    "example.com",
    "EXAMPLE.com",
    ".example.com",
    "example.com:8443",
    ".example.com:8443",
    "www.example.com, localhost",
    "localhost:11434",
    "localhost",
    "127.0.0.1",
    "127.0.0.1:8000",
    "10.1.2.3,::1",
    "2001:db8::1",
    "https://example.com",
    "http://example.com",
    "all://www.example.com",
    "https://*.example.com",
    "https://*example.com",
    "https://example.com:8443",
    "nobody, api.openai.com,,",
    "example.com,*",
    "com",
]

PROXIES = [
    {"HTTPS_PROXY": "http://p:1"},
    {"HTTP_PROXY": "http://p:1"},
    {"https_proxy": "http://p:2", "HTTPS_PROXY": "http://p:1"},
    {"ALL_PROXY": "http://p:3"},
    {"all_proxy": "p:4", "HTTP_PROXY": "http://p:1"},
    {"HTTPS_PROXY": "", "ALL_PROXY": "http://p:3"},
    {"https_proxy": "", "HTTPS_PROXY": "http://p:3"},
    {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://p:1"},
    {"REQUEST_METHOD": "GET", "http_proxy": "http://p:1"},
    {"HTTPS_PROXY": "https://p"},
    {},
]

ENVIRONMENTS = [
    *({"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:2", "NO_PROXY": said} for said in EXCEPTIONS),
    {"ALL_PROXY": "http://p:3", "no_proxy": "example.com", "NO_PROXY": "localhost"},
    *PROXIES,
]

# For each environment, the proxy of each URL: "host:port", or null.
ORACLE = """
import json, os, sys, httpx

def asked(client, url):
    pool = client._transport_for_url(httpx.URL(url))._pool
    proxy = getattr(pool, "_proxy_url", None)
    return proxy and f"{proxy.host.decode()}:{proxy.port or {b'http': 80, b'https': 443}[proxy.scheme]}"

environments, urls = json.load(sys.stdin)
told = []
for environment in environments:
    os.environ.clear()
    os.environ.update(environment)
    with httpx.Client(verify=False) as client:
        told.append([asked(client, url) for url in urls])
print(json.dumps(told))
"""


def ours(proxies: Proxies, url: str) -> str | None:
    proxy = route(url, proxies).proxy
    return f"{proxy.host}:{proxy.port}" if proxy is not None else None


def test_it_is_understood_as_httpx_understands_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ORACLE], input=json.dumps([ENVIRONMENTS, URLS]), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for environment, theirs in zip(ENVIRONMENTS, told, strict=True):
        assert dict(zip(URLS, [ours(read(environment), url) for url in URLS], strict=True)) == dict(
            zip(URLS, theirs, strict=True)
        ), environment
    assert any(proxy for theirs in told for proxy in theirs)


def test_without_a_word_there_is_no_proxy() -> None:
    assert read({}) == DIRECT
    assert all(ours(DIRECT, url) is None for url in URLS)


@pytest.mark.parametrize(
    ("said", "url", "proxied"),
    [
        ("*.example.com", "http://a.example.com", False),
        ("*.example.com", "http://example.com", True),
        ("10.0.0.0/8", "http://10.1.2.3", False),
        ("10.0.0.0/8", "http://11.1.2.3", True),
        ("10.1.2.3/8", "http://10.9.9.9", False),
        ("fd00::/8", "https://[fd12::1]", False),
        ("fd00::/8", "https://[2001:db8::1]", True),
        ("10.0.0.0/8", "http://ten.example", True),
        (":::::", "http://ten.example", True),
        ("example.com:port", "http://example.com", True),
    ],
)
def test_a_network_and_a_star_may_be_named_too(said: str, url: str, proxied: bool) -> None:
    assert (ours(read({"ALL_PROXY": "http://p:1", "NO_PROXY": said}), url) is not None) is proxied


def test_a_password_goes_to_the_proxy_and_nowhere_else() -> None:
    proxies = read({"ALL_PROXY": "http://us%40er:se%3Acret@p:1"})
    plain, secure = route("http://api.example/v1", proxies), route("https://api.example/v1", proxies)
    assert plain.headers == {"proxy-authorization": "Basic dXNAZXI6c2U6Y3JldA=="}
    assert (plain.before, plain.authority, plain.prefix) == ("http://api.example", "api.example", "/v1")
    assert (secure.before, secure.headers) == ("", {}), "the vendor is no proxy"
    assert secure.proxy is not None
    assert secure.proxy.headers == plain.headers
    assert "dXNA" not in repr(proxies)
    assert "se%3A" not in repr(proxies)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("socks5://u:canary@p:1", "SOCKS proxies are not supported"),
        ("socks5h://p:1", "SOCKS proxies are not supported"),
        ("ftp://canary@p:1", "expected a URL such as http://HOST:PORT"),
        ("http://", "expected a URL such as http://HOST:PORT"),
        ("http://u:canary@p:port", "expected a URL such as http://HOST:PORT"),
        ("http://u:canary@p:0", "expected a URL such as http://HOST:PORT"),
        ("http://[canary", "expected a URL such as http://HOST:PORT"),
    ],
)
@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_used_is_refused_and_not_shown(name: str, url: str, says: str) -> None:
    with pytest.raises(ProxyError, match=says) as caught:
        read({name: url})
    assert str(caught.value).startswith(f"{name}: ")
    assert "canary" not in str(caught.value)
