"""What a message repeats of the error document of a store: its code, and nothing that may be a secret."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ociserver_objects import Bucket, ObjectError
from tests.objects.calls import result_of


@contextmanager
def refusing(document: bytes) -> Iterator[str]:
    """A store that answers each request with an error; its URL."""

    class Refusing(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(400)
            self.send_header("content-length", str(len(document)))
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def in_document(code: str) -> bytes:
    return f"<?xml?><Error><Code>{code}</Code><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>".encode()


@pytest.mark.parametrize(
    "document, answer",
    [
        (in_document("NoSuchBucket"), "400 NoSuchBucket"),
        (in_document(""), "400"),
        (in_document("two words"), "400"),
        (in_document("AKIA/secret"), "400"),
        (in_document("A" * 65), "400"),
        (b"<Code>NoSuchBucket", "400"),
        (b"\xff<Code>NoSuchBucket</Code>", "400"),
    ],
    ids=["a code", "nothing", "words", "a secret", "a long word", "no end", "other bytes"],
)
def test_the_code_and_nothing_else(document: bytes, answer: str) -> None:
    with refusing(document) as endpoint:
        options = {"endpoint": endpoint, "allow_http": "true", "access_key_id": "a", "secret_access_key": "b"}
        bucket = Bucket("s3://bucket", options, retry_s=0.1, timeout_s=5)
        with pytest.raises(ObjectError) as raised:
            result_of(partial(bucket.put, "key", b"content"))
    assert str(raised.value) == f"put: the store answers {answer}"
