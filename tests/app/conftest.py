import shutil
from functools import partialmethod

import pytest
from bundles import attributes, bundle, classes, invert, joint, noise, save  # noqa: F401
from starlette.testclient import TestClient


@pytest.fixture(autouse=True, scope="session")
def _named_localhost():
    """Starlette's client calls the server `testserver`, a name that it does not answer to."""
    named = partialmethod(TestClient.__init__, base_url="http://localhost")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TestClient, "__init__", named)
        yield


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
