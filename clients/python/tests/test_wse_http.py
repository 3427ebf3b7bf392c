"""What `WSEServer` asks over HTTP, beside the link."""

import contextlib
import json
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fanfare_client.wse_server import WSEServer

CONNECTION = {"connection": {"subscriptions": ["orders", "user:ann:events"]}}


@contextlib.contextmanager
def serving(answer):
    """The address of a server, with `answer(path)`: a status, headers and a body; and what came: paths and credentials."""
    came = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            came.append((self.path, self.headers["Authorization"]))
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.server_address[1]}", came
        finally:
            server.shutdown()
            thread.join()


def server_of(url, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WSEServer("0.0.0.0", 5007, gateway=url, **options)


@pytest.mark.parametrize("path", ["", "/", "/gw", "/gw/", "/gw/api/v1/backend", "/api/v1/backend"])
def test_a_connection_is_asked_for_where_the_gateway_is(path):
    with serving(lambda path: (200, {}, json.dumps(CONNECTION).encode())) as (url, came):
        assert server_of(url + path)._topics_of("0-1-1") == ["orders"]
    prefix = "/gw" if "gw" in path else ""
    assert came == [(f"{prefix}/api/v1/connections/0-1-1", None)]


def test_a_key_is_read_as_from_a_file_and_goes_to_the_given_address_alone():
    with serving(lambda path: (200, {}, b"metrics")) as (elsewhere, theirs):
        where = {"Location": elsewhere.replace("ws:", "http:") + "/metrics"}
        with serving(lambda path: (302, where, b"")) as (url, ours):
            assert server_of(url, api_key="secret\n")._get("/metrics") == b"metrics"
    assert ours == [("/metrics", "Bearer secret")] and theirs == [("/metrics", None)]
