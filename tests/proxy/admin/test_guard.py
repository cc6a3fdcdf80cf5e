"""Who comes in, through a real application: keys, sessions, pages of others, and who guesses too often."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from litestar import Litestar, get, post
from litestar.datastructures import State

from proxy.admin import signin
from proxy.admin.guard import guard, guard_unless_near
from proxy.admin.session import COOKIE, SECONDS, Sessions
from proxy.admin.throttle import MOST
from proxy.api import refuse
from proxy.auth import Keyring
from proxy.environment import Secret

KEY = "admin-key"
BEARER = {"authorization": f"Bearer {KEY}"}
OUTSIDE, HERE = "203.0.113.7", "127.0.0.1"
OURS = {"origin": "http://tollhouse.example"}
THEIRS = {"origin": "https://evil.example"}
FOUR = {"message", "type", "param", "code"}


class Clock:
    now = 1_795_435_200.0

    def __call__(self) -> float:
        return self.now


@get("/seen", guards=[guard], sync_to_thread=False)
def seen() -> str:
    return "seen"


@get("/near", guards=[guard_unless_near], sync_to_thread=False)
def near() -> str:
    return "near"


@post("/done", guards=[guard], status_code=200, sync_to_thread=False)
def done() -> str:
    return "done"


def application(key: str | None = KEY, clock: Clock | None = None, **state: Any) -> Litestar:
    secret = Secret(key) if key else None
    said = {
        "admin": Keyring((secret,) if secret else ()),
        "sessions": Sessions(secret, wall=clock or Clock()),
        **state,
    }
    return Litestar(
        (seen, near, done, *signin.HANDLERS),
        exception_handlers={Exception: refuse},
        openapi_config=None,
        logging_config=None,
        state=State(said),
    )


def client(app: Litestar, address: str = OUTSIDE, url: str = "http://tollhouse.example") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=(address, 40_000))  # type: ignore[arg-type]  # Litestar's scopes are typed more narrowly
    return httpx.AsyncClient(transport=transport, base_url=url)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def browser(clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who has signed in; it keeps cookies."""
    async with client(application(clock=clock)) as browser:
        assert (await browser.post("/dashboard/session", json={"key": KEY})).status_code == 204
        yield browser


def code(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error.keys() == FOUR
    assert KEY not in answer.text
    return str(error["code"])


# --- the admin key


@pytest.mark.parametrize(("method", "url"), [("GET", "/seen"), ("POST", "/done"), ("GET", "/near")])
@pytest.mark.parametrize("headers", [{}, OURS, THEIRS, {"sec-fetch-site": "cross-site"}])
async def test_with_the_admin_key_it_does_not_matter_who_asks(method, url, headers):
    async with client(application()) as asker:
        assert (await asker.request(method, url, headers={**BEARER, **headers})).status_code == 200
        assert code(await asker.request(method, url, headers=headers), 401) == "invalid_api_key"


async def test_where_no_sessions_are_kept_the_key_alone_holds():
    app = application()
    del app.state["sessions"]
    async with client(app) as asker:
        assert (await asker.get("/seen", headers=BEARER)).status_code == 200
        assert code(await asker.get("/seen"), 401) == "invalid_api_key"
        assert (await asker.post("/dashboard/session", json={"key": KEY})).cookies == {}
        assert (await asker.get("/dashboard/session")).json()["signed_in"] is False


# --- sessions


async def test_a_session_opens_what_the_key_opens(browser):
    assert (await browser.get("/seen")).status_code == 200
    assert (await browser.post("/done", headers=OURS)).status_code == 200
    assert (await browser.post("/done", headers={"sec-fetch-site": "same-origin"})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="who does not say where he is from"),
        pytest.param(THEIRS, id="a page of somebody else"),
        pytest.param({"sec-fetch-site": "same-site"}, id="a page of a neighbour"),
        pytest.param({"sec-fetch-site": "cross-site", **OURS}, id="a page that says two things"),
        pytest.param({"sec-fetch-site": "none"}, id="nobody's page"),
    ],
)
async def test_a_session_changes_nothing_for(browser, headers):
    assert code(await browser.post("/done", headers=headers), 403) == "cross_site_request"
    assert (await browser.get("/seen", headers=headers)).status_code == 200


async def test_a_session_ends_after_half_an_hour(browser, clock):
    clock.now += SECONDS - 1
    assert (await browser.get("/seen")).status_code == 200
    clock.now += 1
    assert code(await browser.get("/seen"), 401) == "invalid_api_key"


async def test_a_wrong_key_is_wrong_whatever_the_cookie_says(browser):
    assert code(await browser.get("/seen", headers={"authorization": "Bearer wrong"}), 401) == "invalid_api_key"


async def test_a_cookie_that_is_no_session_opens_nothing():
    async with client(application()) as asker:
        for text in ("", "x", "9999999999.x." + "0" * 64):
            assert code(await asker.get("/seen", headers={"cookie": f"{COOKIE}={text}"}), 401) == "invalid_api_key"


# --- signing in and out


def crumbs(answer: httpx.Response) -> set[str]:
    """What the cookie says of itself."""
    (cookie,) = answer.headers.get_list("set-cookie")
    name, *rest = cookie.split("; ")
    assert name.startswith(f"{COOKIE}=")
    return {part.lower() for part in rest}


@pytest.mark.parametrize(
    ("url", "headers", "secure"),
    [
        ("http://tollhouse.example", {}, set()),
        ("https://tollhouse.example", {}, {"secure"}),
        ("http://tollhouse.example", {"x-forwarded-proto": "https"}, {"secure"}),
    ],
)
async def test_the_cookie_is_for_our_pages_alone(url, headers, secure):
    async with client(application(), url=url) as asker:
        answer = await asker.post("/dashboard/session", json={"key": KEY}, headers=headers)
    assert answer.status_code == 204
    assert answer.headers["cache-control"] == "no-store"
    assert crumbs(answer) == {"httponly", "samesite=strict", "path=/", f"max-age={SECONDS}"} | secure


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"key": "wrong"}', 401),
        (b'{"key": ""}', 401),
        (b'{"key": "\\ud83d\\ude00"}', 401),
        (b'{"key": "\\ud800"}', 400),
        (b'{"key": "admin-key", "remember": true}', 400),
        (b'{"key": 5}', 400),
        (b"{}", 400),
        (b"[]", 400),
        (b"", 400),
        (b"key=admin-key", 400),
        (b"\xff", 400),
        (b'{"key": "' + b"x" * 20_000 + b'"}', 413),
    ],
)
async def test_who_signs_in_wrongly_hears_what_is_wrong(body, status):
    async with client(application()) as asker:
        answer = await asker.post("/dashboard/session", content=body)
    code(answer, status)
    assert "set-cookie" not in answer.headers


async def test_a_page_of_somebody_else_signs_nobody_in_or_out():
    async with client(application()) as asker:
        for method in ("POST", "DELETE"):
            answer = await asker.request(method, "/dashboard/session", json={"key": KEY}, headers=THEIRS)
            assert code(answer, 403) == "cross_site_request"
            assert "set-cookie" not in answer.headers


async def test_to_sign_out_takes_the_cookie_away(browser):
    answer = await browser.delete("/dashboard/session", headers=OURS)
    assert answer.status_code == 204
    assert "max-age=0" in crumbs(answer)
    assert browser.cookies == {}
    assert code(await browser.get("/seen"), 401) == "invalid_api_key"


async def test_the_state_tells_whether_one_must_sign_in_and_whether_one_has(browser):
    said = {"needed": True, "signed_in": True, "expires_at": "2026-11-23T12:30:00.000Z"}
    answer = await browser.get("/dashboard/session")
    assert (answer.json(), answer.headers["cache-control"]) == (said, "no-store")
    async with client(application()) as stranger:
        nothing = {"signed_in": False, "expires_at": None}
        assert (await stranger.get("/dashboard/session")).json() == {"needed": True, **nothing}
    async with client(application(None)) as anybody:
        assert (await anybody.get("/dashboard/session")).json() == {"needed": False, **nothing}


async def test_a_session_that_is_half_over_begins_anew_when_the_page_looks(browser, clock):
    clock.now += SECONDS / 2
    assert "set-cookie" not in (await browser.get("/dashboard/session")).headers
    clock.now += 1
    answer = await browser.get("/dashboard/session")
    assert f"max-age={SECONDS}" in crumbs(answer)
    assert answer.json()["expires_at"] == "2026-11-23T12:45:01.000Z"
    clock.now += SECONDS - 1
    assert (await browser.get("/seen")).status_code == 200
    clock.now += 1
    assert "set-cookie" not in (await browser.get("/dashboard/session")).headers


async def test_without_an_admin_key_there_is_nothing_to_sign_in_to():
    async with client(application(None), HERE, "http://localhost:8080") as asker:
        answer = await asker.post("/dashboard/session", json={"key": "whatever"})
    assert (answer.status_code, answer.headers.get("set-cookie")) == (204, None)


# --- who guesses


@pytest.mark.parametrize("door", ["seen", "session"])
async def test_after_ten_wrong_keys_no_key_is_looked_at_for_a_minute(clock, door):
    app = application(clock=clock)

    async def guess(asker: httpx.AsyncClient, key: str) -> httpx.Response:
        if door == "session":
            return await asker.post("/dashboard/session", json={"key": key})
        return await asker.get("/seen", headers={"authorization": f"Bearer {key}"})

    async with client(app) as guesser, client(app, "198.51.100.9") as other:
        for _ in range(MOST):
            assert code(await guess(guesser, "wrong"), 401) == "invalid_api_key"
            clock.now += 1
        answer = await guess(guesser, KEY)
        assert code(answer, 429) == "too_many_attempts"
        assert answer.headers["retry-after"] == "50"
        assert "50 s" in answer.json()["error"]["message"]
        assert (await guess(other, KEY)).is_success
        clock.now += 49.5
        assert (await guess(guesser, KEY)).headers["retry-after"] == "1"
        clock.now += 0.5
        assert (await guess(guesser, KEY)).is_success


async def test_who_shows_no_key_guesses_none_and_who_has_signed_in_stays_so(browser):
    for _ in range(MOST):
        await browser.get("/seen", headers={"authorization": "Bearer wrong"})
    assert (await browser.get("/seen")).status_code == 200
    async with client(browser._transport.app) as stranger:
        for _ in range(MOST + 1):
            assert code(await stranger.get("/seen"), 401) == "invalid_api_key"


# --- without an admin key


@pytest.mark.parametrize(
    ("address", "url", "headers", "expected"),
    [
        pytest.param(HERE, "http://localhost:8080", {}, None, id="a program here"),
        pytest.param("::1", "http://[::1]:8080", {}, None, id="a program here, by IPv6"),
        pytest.param(HERE, "http://localhost:8080", {"origin": "http://localhost:8080"}, None, id="our page"),
        pytest.param(HERE, "http://localhost:8080", THEIRS, "cross_site_request", id="a page of somebody else"),
        pytest.param(HERE, "http://localhost:8080", {"origin": "null"}, "cross_site_request", id="a sandboxed page"),
        pytest.param(
            HERE, "http://localhost:8080", {"sec-fetch-site": "cross-site"}, "cross_site_request", id="a form elsewhere"
        ),
        pytest.param(HERE, "http://rebound.example:8080", {}, "host_not_allowed", id="a name that leads here"),
        pytest.param(
            HERE,
            "http://rebound.example:8080",
            {"x-forwarded-for": OUTSIDE, "origin": "http://rebound.example:8080"},
            "host_not_allowed",
            id="its page that calls itself a proxy",
        ),
        pytest.param(
            OUTSIDE,
            "http://rebound.example:8080",
            {"x-forwarded-for": OUTSIDE, "origin": "http://rebound.example:8080"},
            "host_not_allowed",
            id="the same page, as the server tells it: with the address that it claims",
        ),
    ],
)
async def test_an_open_house_is_open_to(address, url, headers, expected):
    async with client(application(None), address, url) as asker:
        answer = await asker.post("/done", headers=headers)
        assert (code(answer, 403) if expected else answer.status_code) == (expected or 200)
        for door in ("/seen", "/near"):
            answer = await asker.get(door, headers=headers)
            refused = expected == "host_not_allowed"
            assert (code(answer, 403) if refused else answer.status_code) == (expected if refused else 200)


async def test_a_house_that_is_open_to_the_world_has_any_name_but_no_page_of_others_changes_it():
    async with client(application(None, anonymous=True), HERE, "http://any.example") as asker:
        assert (await asker.post("/done")).status_code == 200
        assert (await asker.post("/done", headers={"origin": "http://any.example"})).status_code == 200
        assert (await asker.get("/near")).status_code == 200
        assert code(await asker.post("/done", headers=THEIRS), 403) == "cross_site_request"


async def test_with_a_key_any_name_will_do():
    async with client(application(), HERE, "http://rebound.example") as asker:
        assert (await asker.get("/seen", headers=BEARER)).status_code == 200
        assert code(await asker.get("/near"), 401) == "invalid_api_key"


async def test_who_does_not_say_whom_he_calls_is_no_browser():
    async with client(application(None), HERE, "http://localhost") as asker:
        request = asker.build_request("POST", "/done")
        del request.headers["host"]
        assert (await asker.send(request)).status_code == 200
