"""Chromium without a window, driven through playwright."""

import contextlib
import io
import shutil

from PIL import Image
from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WINDOW = {"width": 1280, "height": 800}


@contextlib.contextmanager
def page(profile):
    """A page of a browser that knows nothing yet; console messages and failed requests are in its `said`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=shutil.which("chromium"),
            headless=True,
            args=FLAGS,
            viewport=WINDOW,
        )
        try:
            one = browser.new_page()
            one.set_default_timeout(60_000)
            one.said = []
            one.on("console", lambda message: one.said.append(f"{message.type}: {message.text}"))
            one.on("requestfailed", lambda request: one.said.append(f"failed: {request.url}"))
            yield one
        finally:
            browser.close()


def picture(locator):
    """What an element looks like."""
    return Image.open(io.BytesIO(locator.screenshot())).convert("RGB")
