"""A server at a path of another one."""

import pytest
from starlette.testclient import TestClient

from img2img.app.api import create_app
from img2img.app.models import Models
from img2img.app.proxy import RESERVED, root_path_of
from img2img.errors import UsageError


def test_root_paths_are_paths():
    for given, path in {"": "", "/": "", "pictures/": "/pictures", "/a/b": "/a/b"}.items():
        assert root_path_of(given) == path
    for given in ("https://example.org/a", "/a b", "/a?b", "//a//b"):
        with pytest.raises(UsageError, match="--root-path"):
            root_path_of(given)


def test_behind_a_proxy_the_page_is_at_its_path(invert):
    """Whether the proxy leaves the path out of what it passes on, or not."""
    models = Models([str(invert.path)], "cpu")
    with TestClient(create_app(models, root_path="/pictures")) as client:
        for prefix in ("", "/pictures"):
            page = client.get(f"{prefix}/docs").text
            assert '"/pictures/openapi.json"' in page.replace("'", '"')
            assert 'src="/pictures/static/swagger-ui-bundle.js"' in page
            assert client.get(f"{prefix}/static/swagger-ui.css").status_code == 200
            assert client.get(f"{prefix}/readyz").status_code == 200
            schema = client.get(f"{prefix}/openapi.json").json()
            assert schema["servers"] == [{"url": "/pictures"}]


def test_a_path_that_the_server_itself_has_is_refused(invert):
    app = create_app(Models([str(invert.path)], "cpu"))
    firsts = {route.path.split("/")[1] for route in app.routes}
    assert firsts == RESERVED
    for first in sorted(firsts):
        with pytest.raises(UsageError, match=f"has paths that begin with /{first}. Choose"):
            root_path_of(f"{first}/pictures")
    assert root_path_of("/v1x") == "/v1x"
