"""What the plane's port does with bodies and heads that no AWS client sends."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest

from integration.dev_plane import DevPlane

MIB = 1024 * 1024


@pytest.mark.parametrize("size", [300_000, MIB, 5 * MIB])
def test_a_body_that_is_too_long_is_refused_in_awss_shape(stage: DevPlane, size: int) -> None:
    """413 with a code and a request id, whether or not it is read to its end; the plane serves on."""
    connection = http.client.HTTPConnection(urlsplit(stage.url).netloc, timeout=10)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        connection.request("POST", "/", b"a=" + b"x" * size, kind)
        response = connection.getresponse()
        root = ElementTree.fromstring(response.read())
    finally:
        connection.close()
    assert response.status == 413
    assert response.getheader("x-amzn-requestid")
    assert root.find("{*}Error/{*}Code") is not None or root.find("Error/Code") is not None
    assert stage.client("sts").get_caller_identity()["Account"]


def test_a_head_that_is_too_long_is_refused(stage: DevPlane) -> None:
    """More than any session token needs."""
    connection = http.client.HTTPConnection(urlsplit(stage.url).netloc, timeout=10)
    try:
        connection.request("GET", "/_rolecall/readyz", headers={"X-Long": "x" * 500_000})
        assert connection.getresponse().status in (400, 431)
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        connection.close()
    assert stage.client("sts").get_caller_identity()["Account"]
