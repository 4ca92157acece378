"""The demo's page in a real browser: what a person sees of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.program import serving
from .browser import Browser, Page, chromium, executable

DEMO = "examples.demo.app:app"
PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
SCREENS = {"laptop": (1440, 900), "phone": (390, 844)}

pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(executable() is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that ends its test without an error and without a blocked resource."""
    with browser.page() as page:
        yield page
        assert page.complaints == []


def open_demo(page: Page, url: str) -> None:
    page.go(url)
    await_state(page, "open")


def await_state(page: Page, state: str) -> None:
    page.until(f"document.querySelector('#state')?.dataset.state === '{state}'")


def await_line(page: Page, text: str) -> None:
    lines = "[...document.querySelectorAll('#lines .text')]"
    page.until(f"{lines}.some((line) => line.textContent === {json.dumps(text)})")


def await_value(page: Page, metric: str, pattern: str) -> None:
    value = f"document.querySelector('[data-metric={metric}]').textContent"
    page.until(f"/{pattern}/.test({value})")


def test_metrics_move(page: Page) -> None:
    with serving(DEMO) as server:
        open_demo(page, server.url)
        await_value(page, "cpu", r"^\d+ %$")
        await_value(page, "memory", r"^[\d.]+ [MGT]B$")
        await_value(page, "connections", "^1$")
        await_value(page, "deliveries", r"^[1-9]\d*\/s$")
        await_value(page, "messages", r"^[1-9]\d*\/s$")
        round_trip = "document.querySelector('#round-trip').textContent"
        page.until(f"/^[0-9.]+ ms$/.test({round_trip})")
        chart = "document.querySelector('#machine canvas').toDataURL()"
        before = page.evaluate(chart)
        page.until(f"{chart} !== {json.dumps(before)}")


def test_a_line_reaches_the_other_tab_as_text(browser: Browser, page: Page) -> None:
    with serving(DEMO) as server, browser.page() as other:
        open_demo(page, server.url)
        open_demo(other, server.url)
        await_value(page, "connections", "^2$")
        markup = "<img src=x onerror=alert(1)> & <b>hello</b>"
        page.type("#text", markup)
        await_line(other, markup)
        await_line(page, markup)
        assert page.evaluate("document.querySelectorAll('.line.mine').length") == 1
        assert other.evaluate("document.querySelectorAll('.line.mine').length") == 0
        assert other.evaluate("document.querySelectorAll('.text *').length") == 0
        assert page.evaluate("document.querySelector('#text').value") == ""
        other.type("#text", "And back")
        await_line(page, "And back")
        assert other.complaints == []


def test_a_new_tab_sees_what_was_said(browser: Browser, page: Page) -> None:
    with serving(DEMO) as server, browser.page() as other:
        open_demo(page, server.url)
        page.type("#text", "Said before you came")
        await_line(page, "Said before you came")
        open_demo(other, server.url)
        await_line(other, "Said before you came")


def test_the_page_comes_back_when_the_server_restarts(page: Page) -> None:
    with serving(DEMO) as server:
        open_demo(page, server.url)
        page.type("#text", "Before")
        await_line(page, "Before")
        page.evaluate("window.same = true")
        port = server.port
    await_state(page, "waiting")
    page.type("#text", "Kept")
    page.until("document.querySelector('#refusal').textContent.includes('kept')")
    with serving(DEMO, port=port):
        await_state(page, "open")
        await_line(page, "Before")
        page.type("#text", "")
        await_line(page, "Kept")
        await_value(page, "deliveries", r"^[1-9]\d*\/s$")
        assert page.evaluate("window.same") is True


def test_a_slow_tab_heals(page: Page) -> None:
    page.resize(*SCREENS["laptop"])
    with serving(DEMO) as server:
        open_demo(page, server.url)
        page.evaluate("document.querySelector('#slow').click()")
        await_slow_tab(page, "busy")
        await_slow_tab(page, "healed")
        symbols = page.evaluate("document.querySelectorAll('#quotes li').length")
        # Every share was behind, and every one has its newest quote.
        page.until(
            f"Number(document.querySelector('#healed').textContent) >= {symbols}"
        )
        assert page.evaluate("Number(document.querySelector('#skipped').textContent)")
        page.screenshot(PICTURES / "slow-tab.png")
        await_slow_tab(page, "done")
        assert not page.evaluate("document.querySelector('#slow').disabled")
        # The page itself never noticed.
        await_state(page, "open")


def await_slow_tab(page: Page, state: str) -> None:
    page.until(f"document.querySelector('#slow-state').dataset.state === '{state}'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_the_page_fits_the_screen(page: Page, screen: str, scheme: str) -> None:
    width, height = SCREENS[screen]
    page.resize(width, height, mobile=screen == "phone")
    page.prefer(scheme)
    with serving(DEMO) as server:
        open_demo(page, server.url)
        page.type("#text", f"Hello from a {screen}")
        await_line(page, f"Hello from a {screen}")
        await_value(page, "deliveries", r"^[1-9]\d*\/s$")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        if screen == "laptop":
            assert page.evaluate("document.documentElement.scrollHeight") == height
        picture = PICTURES / f"{screen}-{scheme}.png"
        page.screenshot(picture)
        assert picture.read_bytes().startswith(b"\x89PNG")
