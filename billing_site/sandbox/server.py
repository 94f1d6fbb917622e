"""The sandbox's own small server: one process, a thread for each connection, connections kept open."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RD, socket
from threading import Thread, current_thread
from typing import Any
from urllib.parse import urlsplit

from django.db import DatabaseError, connection

from billing_site.sandbox.delivery import Deliverer
from billing_site.sandbox.http import BODY_BYTES_MAX, Answer, Request, answer

IDLE_CONNECTION_SECONDS = 60


class SandboxServer(ThreadingHTTPServer):
    """Listens on loopback; the threads die with the process."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, Handler)
        self._open: dict[Thread, socket] = {}

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Remember the connection while it is open."""
        self._open[current_thread()] = request
        try:
            super().process_request_thread(request, client_address)
        finally:
            del self._open[current_thread()]

    def hang_up(self) -> None:
        """Close the connections that clients keep open, and wait for the requests in progress."""
        for thread, connected in list(self._open.items()):
            with suppress(OSError):
                connected.shutdown(SHUT_RD)
            thread.join(timeout=5)


class Handler(BaseHTTPRequestHandler):
    """Translates between the socket and `answer`."""

    protocol_version = "HTTP/1.1"
    server_version = "sandbox"
    timeout = IDLE_CONNECTION_SECONDS
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer()

    def do_POST(self) -> None:
        """Answer a POST."""
        self._answer()

    def do_DELETE(self) -> None:
        """Answer a DELETE."""
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing about ordinary requests."""

    def finish(self) -> None:
        """Give back the thread's database connection when the client hangs up."""
        try:
            super().finish()
        finally:
            connection.close()

    def _answer(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > 2 * BODY_BYTES_MAX:
            self.close_connection = True
            self._write(Answer(400, {"error": {"message": "Bad Content-Length", "type": "invalid_request_error"}}))
            return
        body = self.rfile.read(int(length))
        address = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        _keep_connection()
        given = answer(Request(self.command, address.path, address.query, headers, body))
        if given.lost:
            self.close_connection = True
            return
        self._write(given)

    def _write(self, given: Answer) -> None:
        encoded = given.encoded()
        self.send_response(given.status)
        for name, value in given.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", given.content_type)
        self.send_header("Content-Length", str(len(encoded)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(encoded)


def _keep_connection() -> None:
    """Use the thread's database connection again unless it has failed before."""
    if connection.connection is None:
        return
    connection.close_at = None
    if connection.errors_occurred:
        try:
            usable = connection.is_usable()
        except DatabaseError:
            usable = False
        if not usable:
            connection.close()
        connection.errors_occurred = False


@contextmanager
def running(*, host: str, port: int) -> Iterator[SandboxServer]:
    """Serve and deliver in threads of this process; port 0 takes a free one, `server_port` tells which."""
    server = SandboxServer((host, port))
    deliverer = Deliverer()
    listener = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="sandbox-listener", daemon=True)
    listener.start()
    deliverer.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        server.hang_up()
        deliverer.stop()
        listener.join(timeout=5)
        deliverer.join(timeout=15)
