"""Fixtures: the server's page in a real Chromium. What went wrong in the page fails a test at its end."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from browser import browser

CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PATIENCE_MS = 120_000  # a busy machine is no failure
REFUSED = (
    "Failed to load resource: the server responded with a status of 4"  # Chromium's word for an answer 4xx
)
SCENE = "#scenes button[aria-pressed=true]"


class PageBrowser:
    """Opens the page of a server, and notes what it complains of and whom it asks.

    A new session of the browser takes seconds of processor time, so pages with the same options share one.

    Args:
        chromium: The browser.
        url: Address of the server.
    """

    def __init__(self, chromium, url):
        self.chromium, self.url = chromium, url
        self.pages = {}  # by the options of their sessions
        self.complaints, self.foreign_requests = [], []
        self.expects_refusals = False

    def open(self, fragment="", refused=False, ready=SCENE, **options):
        """Open the page, without anything that it kept before, and wait until its example scene is there.

        Args:
            fragment: The part of the address from `#` on.
            refused: The test makes the server refuse a request, which Chromium writes to the console.
            ready: What to wait for.
            options: Of the session, such as `viewport` or `color_scheme`.
        """
        self.expects_refusals = refused
        options = {"viewport": {"width": 1280, "height": 800}} | options
        page = self.pages.get(str(options))
        if page is None:
            page = self.pages[str(options)] = self._new_page(options)
        else:
            page.evaluate("localStorage.clear(); sessionStorage.clear()")
        page.goto("about:blank")  # a page whose fragment alone changes is not loaded again
        page.goto(f"{self.url}/{fragment}")
        page.wait_for_selector(ready)
        return page

    def _new_page(self, options):
        permissions = ["clipboard-read", "clipboard-write", "camera"]
        context = self.chromium.new_context(permissions=permissions, **options)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"a script ran: {dialog.message}"))
        page.on("request", self._check)
        return page

    def _note(self, message):
        if message.type not in ("error", "warning"):
            return
        if not (self.expects_refusals and message.text.startswith(REFUSED)):
            self.complaints.append(f"{message.text} {message.location}")

    def _check(self, request):
        if not request.url.startswith((f"{self.url}/", "data:", "blob:", "about:")):
            self.foreign_requests.append(request.url)

    def close(self):
        for page in self.pages.values():
            page.context.close()


@contextmanager
def page_browser(chromium, url):
    opened = PageBrowser(chromium, url)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def watched(opened):
    """Fail if anything went wrong in the pages during the block."""
    opened.complaints.clear()
    opened.foreign_requests.clear()
    yield opened
    assert not opened.complaints, opened.complaints
    assert not opened.foreign_requests, opened.foreign_requests


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=browser(), args=["--no-sandbox", *CAMERA])
        yield launched
        launched.close()
