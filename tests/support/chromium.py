"""
Debian's Chromium, driven by the chromedriver that comes with it: for tests of what a browser shows.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_CHROMEDRIVER = shutil.which("chromedriver")
_OPTIONS = """
    --headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync
    --disable-dev-shm-usage --window-size=1100,900
"""


@contextmanager
def running_chromium(profile: Path, bound: float) -> Iterator[Any]:
    """
    Start it, with a *profile* that is its own and *bound* seconds for a page or a script.
    """
    pytest.importorskip("selenium", reason="no browser tests: selenium is not installed")
    missing = [
        name
        for name, path in [("chromium", _CHROMIUM), ("chromium-driver", _CHROMEDRIVER)]
        if path is None
    ]
    if missing:
        pytest.skip(f"no browser tests: {' and '.join(missing)} not installed (Debian packages)")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = _CHROMIUM
    for option in _OPTIONS.split():
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={profile}")
    # The path is given, so that selenium looks for no driver and downloads none.
    chrome = Chrome(options=options, service=Service(_CHROMEDRIVER))
    try:
        chrome.set_page_load_timeout(bound)
        chrome.set_script_timeout(bound)
        yield chrome
    finally:
        chrome.quit()
