"""Chromium, as the distribution packs it, without a window."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, sync_playwright

_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@contextmanager
def open_page(user: str, password: str) -> Iterator[Page]:
    """A page of a browser that logs in where it is asked to."""
    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing: CI installs it", pytrace=False)
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        try:
            context = browser.new_context(
                http_credentials={"username": user, "password": password}, viewport={"width": 1280, "height": 720}
            )
            yield context.new_page()
        finally:
            browser.close()
