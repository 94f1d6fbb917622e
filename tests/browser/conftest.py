"""A real Chromium before a live server; every page must stay silent in the console and at home on the network.

The synchronous driver keeps an event loop running in the thread of the tests, where Django then takes
every query for one from a coroutine. No coroutine of ours exists, so the check is off while the driver
lives; the driver ends with its module, so that all other tests keep the check.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PHONE, DESKTOP, WALL = 390, 1280, 2560
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass
class BrowserLog:
    """What a page should not have done. A test that provokes it on purpose clears it."""

    console: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def clear(self) -> None:
        self.console.clear()
        self.foreign.clear()


def chromium_path() -> str:
    """The browser: from CHROMIUM, or Debian's; absent it is a failure where CI says that it should be there."""
    wanted = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if path := shutil.which(wanted):
        return path
    message = f"no browser at {wanted}: apt-get install chromium, or set CHROMIUM"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a module; each of them opens pages of its own."""
    path = chromium_path()
    patch = pytest.MonkeyPatch()
    patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()
    patch.undo()


@pytest.fixture
def browser_log() -> BrowserLog:
    return BrowserLog()


@pytest.fixture
def new_page(chromium: Browser, live_server, browser_log: BrowserLog) -> Iterator[Callable[..., Page]]:
    """Open pages of any width and scheme, each in a browser of its own; at the end none may have misbehaved."""
    contexts = []
    home = urlsplit(live_server.url).netloc

    def open_page(*, width: int = DESKTOP, scheme: str = "light", touch: bool = False) -> Page:
        context = chromium.new_context(
            base_url=live_server.url,
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            has_touch=touch,
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)

        def note_request(request) -> None:
            parts = urlsplit(request.url)
            if parts.scheme not in ("data", "blob") and parts.netloc != home:
                browser_log.foreign.append(request.url)

        page.on("request", note_request)
        page.on("pageerror", lambda error: browser_log.console.append(str(error)))
        page.on(
            "console",
            lambda message: message.type in ("error", "warning") and browser_log.console.append(message.text),
        )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert browser_log.foreign == [], "no page asks another host for anything"
    assert browser_log.console == [], "no page complains in the console"


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    """A page as wide as a desktop, in light colours."""
    return new_page()
