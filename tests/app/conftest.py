import shutil

import pytest
from bundles import attributes, bundle, classes, invert, joint, noise, save  # noqa: F401


@pytest.fixture(scope="module")
def chromium():
    """The browser, without a window."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        pytest.skip("there is no Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
