"""The dashboard as a person meets it: a real Chromium, a real tollhouse, the real simulator behind it.

Screenshots of what was met are left in build/screenshots.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

from proxy.simulator.client import Simulator
from tests.browser import PATIENCE, browser, context
from tests.conftest import LIMITS, ONCE, TIMEOUTS, environ_of
from tests.tollhouse import ROOT, Tollhouse

KEY = "an-admin-key-of-tests"
PICTURES = ROOT / "build" / "screenshots"
MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-5-5", "gemini": "gemini-3.8-flash"}
HOSTILE = "<img src=x onerror=\"document.title='broken into'\">"
DESK = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
BUDGETS = "budgets: [{user: '*', daily: '3'}, {user: spender, daily: '0.01'}, {provider: openai, daily: '0.50'}]\n"
CONFIG = TIMEOUTS + LIMITS + ONCE + BUDGETS
expect.set_options(timeout=PATIENCE)


def surroundings(simulator: Simulator) -> dict[str, str]:
    return {
        **environ_of(simulator),
        "PRIMARY_LLM_PROVIDER": "openai",
        "TOLLHOUSE_ADMIN_KEY": KEY,
        "LLM_DAILY_BUDGET": "0.20",
        "LLM_MONTHLY_BUDGET": "25",
    }


class Visit:
    """Somebody with a browser of his own, and what went wrong while he looked."""

    def __init__(self, house: Tollhouse, looking: BrowserContext) -> None:
        self.house, self.looking = house, looking
        self.page: Page = looking.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _said(self, message: ConsoleMessage) -> None:
        # 503: a server that drains shows its listeners out, and may be asked again before its port is closed.
        refused = ("status of 401", "status of 503", "ERR_CONNECTION", "ERR_INCOMPLETE")
        if message.type in ("error", "warning") and not any(one in message.text for one in refused):
            self.complaints.append(message.text)

    def come(self) -> "Visit":
        self.page.goto(f"{self.house.url}/dashboard")
        return self

    def sign_in(self, key: str = KEY) -> "Visit":
        self.come()
        self.page.get_by_label("Admin key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        return self

    @property
    def headline(self) -> Locator:
        return self.page.locator(".headline")

    def tile(self, provider: str) -> Locator:
        return self.page.locator(f"[data-provider={provider}]")

    def picture(self, name: str, *, whole: bool = True) -> None:
        self.page.evaluate("scrollTo(0, 0)")
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=whole, animations="disabled")

    def scrolls_sideways(self) -> bool:
        wide: bool = self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        return wide


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with browser() as running:
        yield running


@pytest.fixture
def house(simulator: Simulator) -> Iterator[Tollhouse]:
    with Tollhouse.start(surroundings(simulator), config=CONFIG) as house:
        yield house


@pytest.fixture
def visit(house: Tollhouse, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Options of the browser's context come as the parameter, if there is one."""
    with context(chromium, **{"viewport": DESK, **getattr(request, "param", {})}) as looking:
        visit = Visit(house, looking)
        yield visit
        assert visit.complaints == [], "scripts that fail, and what the content security policy has kept out"
        assert {urlsplit(url).netloc for url in visit.asked} <= {urlsplit(house.url).netloc}


def traffic(house: Tollhouse, provider: str = "openai", n: int = 3, user: str = "alice", **more: Any) -> None:
    """So many requests, one after the other, whatever becomes of them."""
    said = {"model": MODELS[provider], "messages": [{"role": "user", "content": "words 100"}], **more}
    headers = {"x-tollhouse-user": user, "x-tollhouse-agent": "crawler"}
    with httpx.Client(timeout=20) as http:
        for _ in range(n):
            http.post(f"{house.url}/v1/chat/completions", json=said, headers=headers)


def broken(simulator: Simulator, house: Tollhouse) -> None:
    """OpenAI fails, and has done so often enough."""
    simulator.fault("openai", "status", status=500)
    traffic(house, n=6)


def test_a_wrong_key_is_refused_in_words_and_the_right_one_opens(visit):
    visit.sign_in("not-the-key")
    expect(visit.page.get_by_role("alert")).to_contain_text("This is not the admin key")
    expect(visit.page.get_by_label("Admin key")).to_be_focused()
    visit.picture("signin", whole=False)
    visit.page.get_by_label("Admin key").fill(KEY)
    visit.page.keyboard.press("Enter")
    expect(visit.headline).to_contain_text("Ready. No request has come yet")
    expect(visit.page.get_by_text("No request has ended yet")).to_be_visible()
    visit.picture("first-run")


def test_the_session_is_out_of_the_reach_of_scripts_and_ends_with_signing_out(visit):
    visit.sign_in()
    expect(visit.headline).to_be_visible()
    (cookie,) = visit.looking.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("tollhouse_session", True, "Strict")
    assert visit.page.evaluate("document.cookie") == ""
    assert KEY not in visit.page.content()
    visit.page.get_by_role("button", name="Sign out").click()
    expect(visit.page.get_by_label("Admin key")).to_be_visible()
    assert visit.looking.cookies() == []
    visit.page.reload()
    expect(visit.page.get_by_label("Admin key")).to_be_visible()


def test_a_vendor_turns_red_says_why_and_is_reset_without_a_reload(visit, house, simulator):
    visit.sign_in()
    traffic(house)
    expect(visit.tile("openai")).to_have_attribute("data-level", "well")
    expect(visit.headline).to_contain_text("All is well")
    broken(simulator, house)
    expect(visit.tile("openai")).to_have_attribute("data-level", "bad")
    expect(visit.tile("openai")).to_contain_text("failing")
    expect(visit.tile("openai")).to_contain_text("5 failures in a row, the last one: an error of its own")
    expect(visit.headline).to_contain_text("Something needs you")
    expect(visit.headline).to_contain_text(re.compile(r"openai is failing since \d\d:\d\d: .*; traffic goes to \w+"))
    expect(visit.tile("openai")).to_contain_text("1 change in 3 hours")
    visit.picture("failing")
    simulator.clear()
    visit.tile("openai").get_by_role("button", name="Reset openai…").click()
    visit.picture("reset", whole=False)
    visit.page.get_by_role("dialog").get_by_role("button", name="Reset openai", exact=True).click()
    expect(visit.page.get_by_role("dialog")).to_have_count(0)
    expect(visit.tile("openai")).to_have_attribute("data-level", "well")
    expect(visit.headline).to_contain_text("All is well")
    assert sum(url.endswith("/dashboard") for url in visit.asked) == 1, "the page was loaded once"


def test_a_reset_that_is_cancelled_resets_nothing(visit, house, simulator):
    broken(simulator, house)
    visit.sign_in()
    visit.tile("openai").get_by_role("button", name="Reset openai…").click()
    visit.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(visit.page.get_by_role("dialog")).to_have_count(0)
    expect(visit.tile("openai")).to_have_attribute("data-level", "bad")
    assert not [url for url in visit.asked if "/reset" in url]


def test_one_model_is_reset_by_its_own_button(visit, house, simulator):
    broken(simulator, house)
    simulator.clear()
    visit.sign_in()
    tile = visit.tile("openai")
    tile.get_by_text("models", exact=False).first.click()
    tile.get_by_role("button", name="Reset gpt-4o", exact=True).click()
    visit.page.get_by_role("dialog").get_by_role("button", name="Reset openai/gpt-4o").click()
    expect(tile).to_have_attribute("data-level", "well")


def test_spend_moves(visit, house):
    visit.sign_in()
    daily = visit.page.locator("[data-budget=all][data-window=day]")
    expect(daily).to_contain_text("$0.20 left of $0.20")
    traffic(house, n=5)
    expect(daily).not_to_contain_text("$0.20 left of")
    expect(daily).to_contain_text("left of $0.20")
    costs = visit.page.locator("section", has=visit.page.get_by_role("heading", name="Costs"))
    expect(costs.get_by_role("row").filter(has_text="openai")).to_be_visible()
    visit.page.get_by_role("tab", name="User").click()
    expect(costs.get_by_role("row").filter(has_text="alice")).to_be_visible()
    costs.get_by_role("radio", name="This month").check()
    expect(costs).to_contain_text(re.compile(r"spent in \d{4}-\d\d"))
    assert daily.locator("canvas").count() == 1
    daily.get_by_text("Figures").click()
    expect(daily.get_by_role("table", name="What was used of daily")).to_contain_text("$0.00")


def test_a_budget_that_is_used_up_is_said_at_the_top(visit, house):
    visit.sign_in()
    traffic(house, n=20, user="spender")
    expect(visit.headline).to_contain_text("The budget “daily of user=spender” is used up")
    visit.picture("used-up")


def test_decisions_say_where_requests_went_and_why(visit, house, simulator):
    broken(simulator, house)
    visit.sign_in()
    latest = visit.page.locator(".decision").first
    expect(latest).to_contain_text("gpt-4o")
    latest.locator("summary").click()
    expect(latest).to_contain_text("Not to be asked")
    expect(latest).to_contain_text("openai/gpt-4o")
    traffic(house, "gemini", 1)
    expect(visit.page.locator(".decision").first).to_contain_text("gemini-3.8-flash")
    expect(visit.page.locator(".decision").nth(1)).to_contain_text("Not to be asked")  # what is open stays open


def test_a_name_is_text_whatever_is_in_it(visit, house):
    traffic(house, user=HOSTILE)
    visit.sign_in()
    visit.page.get_by_role("tab", name="User").click()
    expect(visit.page.get_by_role("rowheader", name=HOSTILE)).to_have_text(HOSTILE)
    visit.page.locator(".decision summary").first.click()
    expect(visit.page.locator(".reasons").first).to_contain_text(HOSTILE)
    assert visit.page.title() == "tollhouse"
    assert visit.page.locator("#app img").count() == 1, "its own sign alone"


@pytest.mark.parametrize("visit", [{"viewport": PHONE, "is_mobile": True}], indirect=True, ids=["360 px"])
def test_nothing_scrolls_sideways_on_a_phone(visit, house, simulator):
    visit.come()
    assert not visit.scrolls_sideways()
    traffic(house, user="a-name-without-an-end-" + "x" * 90)
    traffic(house, n=1, model="a-model-without-an-end-" + "x" * 90)
    broken(simulator, house)
    visit.sign_in()
    expect(visit.headline).to_contain_text("openai is failing")
    visit.page.get_by_role("tab", name="User").click()
    spent = visit.page.locator("#costs-by tbody td.n").first.bounding_box()
    assert spent is not None
    assert spent["x"] + spent["width"] < PHONE["width"] - 20, "a long name cuts no figure off"
    visit.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    expect(visit.page.locator(".reasons").first).to_be_visible()
    assert not visit.scrolls_sideways()
    visit.picture("phone-open")
    visit.page.reload()
    expect(visit.headline).to_contain_text("openai is failing")
    visit.picture("phone")
    visit.tile("openai").get_by_role("button", name="Reset openai…").click()
    assert not visit.scrolls_sideways()
    visit.picture("phone-reset", whole=False)


@pytest.mark.parametrize("visit", [{"viewport": PHONE, "is_mobile": True}], indirect=True, ids=["360 px"])
def test_a_vendor_that_fails_in_part_says_which_models_where_there_is_room(visit, house, simulator):
    traffic(house, n=1)
    simulator.fault("openai", "status", status=500)
    for model in ("gpt-4o-mini-search-preview", "gpt-4o-mini-audio-preview"):
        traffic(house, n=5, model=f"openai/{model}")
    visit.sign_in()
    tile = visit.tile("openai")
    expect(tile).to_have_attribute("data-level", "care")
    expect(tile.locator("header .state")).to_have_text("failing in part")
    expect(tile.locator(".why")).to_contain_text("gpt-4o-mini-audio-preview and 1 more. Since ")
    assert not visit.scrolls_sideways()


def test_the_keyboard_is_enough(visit, house, simulator):
    broken(simulator, house)
    simulator.clear()
    page = visit.come().page
    expect(page.get_by_label("Admin key")).to_be_focused()
    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    button = visit.tile("openai").get_by_role("button", name="Reset openai…")
    expect(button).to_be_visible()
    for _ in range(40):
        if button.evaluate("one => one === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    confirm = page.get_by_role("dialog").get_by_role("button", name="Reset openai", exact=True)
    for _ in range(5):
        if confirm.evaluate("one => one === document.activeElement"):
            break
        page.keyboard.press("Tab")
    expect(confirm).to_be_focused()
    page.keyboard.press("Enter")
    expect(visit.tile("openai")).to_have_attribute("data-level", "well")
    page.get_by_role("tab", name="Provider").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Model")).to_be_focused()
    expect(page.get_by_role("tab", name="Model")).to_have_attribute("aria-selected", "true")


def background(visit: Visit) -> int:
    """How light the page is, from 0 to 255."""
    said = visit.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    return max(int(part) for part in re.findall(r"\d+", said)[:3])


@pytest.mark.parametrize("visit", [{"color_scheme": "dark"}], indirect=True, ids=["dark"])
def test_the_colours_are_the_systems_or_those_that_were_chosen(visit, house, simulator):
    for provider in MODELS:
        traffic(house, provider, stream=True)
    broken(simulator, house)
    visit.sign_in()
    expect(visit.tile("openai")).to_have_attribute("data-level", "bad")
    assert background(visit) < 60
    expect(visit.page.locator("[data-budget=all][data-window=day]")).not_to_contain_text("$0.20 left of")
    visit.picture("dark")
    visit.page.get_by_role("radio", name="Light").check()
    assert background(visit) > 200
    visit.picture("light")
    visit.page.reload()
    expect(visit.headline).to_be_visible()
    assert background(visit) > 200, "it is remembered"
    visit.page.get_by_role("radio", name="Auto").check()
    assert background(visit) < 60


def test_a_lost_connection_is_said_and_comes_back_by_itself(visit, house, simulator):
    traffic(house, n=1)
    visit.sign_in()
    expect(visit.headline).to_contain_text("All is well")
    assert house.stop() == 0, "it drains at once: whoever only looks is not waited for"
    expect(visit.page.get_by_text("Connection lost since")).to_be_visible()
    expect(visit.headline).to_contain_text("All is well")  # what was known stays
    visit.picture("lost", whole=False)
    with Tollhouse.start(surroundings(simulator), "--port", str(house.port), config=CONFIG):
        expect(visit.page.get_by_text("Connection lost since")).to_have_count(0)
        expect(visit.headline).to_contain_text("Ready. No request has come yet")
        visit.page.close()


def test_it_is_told_to_screen_readers(visit, house):
    traffic(house)
    visit.sign_in()
    expect(visit.page.get_by_role("status")).to_contain_text("All is well")
    for landmark in ("banner", "main"):
        expect(visit.page.get_by_role(landmark)).to_have_count(1)
    for name in ("Providers", "Budgets", "Costs"):
        expect(visit.page.get_by_role("region", name=name, exact=True)).to_be_visible()
    for chart in visit.page.locator(".chart").all():
        assert chart.get_attribute("role") == "img"
        assert len(chart.get_attribute("aria-label") or "") > 20
    unnamed = visit.page.evaluate(
        "[...document.querySelectorAll('button, input:not([hidden])')].filter(one => "
        "!(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length)).length"
    )
    assert unnamed == 0
