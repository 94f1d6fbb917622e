"""The client of benchmarks, in a process of its own: everything encoded before, connections kept, no Django.

Reads an order as a line of JSON, says that it is ready, waits for a second line, sends, and tells how it was.
"""

import json
import socket
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.bench.documents import bodies, documents

USAGE = "/api/v1/usage"


class Line:
    """A connection that is kept."""

    def __init__(self, *, port: int, key: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._common = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n".encode()

    def post(self, body: bytes, media_type: str) -> tuple[int, bytes]:
        """Send events."""
        head = f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        return self._ask(b"POST /api/v1/events HTTP/1.1\r\n" + self._common + head, body)

    def post_to(self, address: str, body: bytes, **headers: str) -> tuple[int, bytes]:
        """Send anything anywhere."""
        told = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"POST {address} HTTP/1.1\r\nContent-Length: {len(body)}\r\n{told}".encode()
        return self._ask(head + self._common + b"\r\n", body)

    def get(self, address: str) -> tuple[int, bytes]:
        """Read."""
        return self._ask(f"GET {address} HTTP/1.1\r\n".encode() + self._common + b"\r\n", b"")

    def _ask(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        self._socket.sendall(head + body if len(body) < 10_000 else head)
        if len(body) >= 10_000:
            self._socket.sendall(body)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more()
        fields = received[:end].lower()
        length = int(fields.partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = received[end + 4 :]
        while len(answer) < length:
            answer += self._more()
        return int(fields[9:12]), answer

    def _more(self) -> bytes:
        found = self._socket.recv(65_536)
        if not found:
            raise ConnectionError("the server has closed the connection")
        return found


class Sending:
    """What the threads of one order share."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.size, self.count = int(order["size"]), int(order["count"])
        self.rate = order.get("rate")
        self.probe_every = order.get("probe_every")
        self.expected = order.get("expected", 202)
        span = self.count / (self.rate or 10_000)
        # A stream that is offered in time is stamped in time; the rest of them happened just now.
        self.start = datetime.now(UTC) + (timedelta(seconds=2) if self.rate else -timedelta(seconds=span))
        step = timedelta(seconds=span) / self.count
        found = list(documents(series=order["series"], count=self.count, start=self.start, step=step))
        if self.probe_every:
            for number in range(0, len(found), self.size * self.probe_every):
                found[number].update(customer_id=self.probe(number // self.size), event_type="action.0", quantity="1")
        self.bodies = bodies(found=found, size=self.size, ndjson=bool(order.get("ndjson")))
        if order.get("spoilt"):
            # Not UTF-8 in its first string: received as a whole, and refused before anything else is read.
            self.bodies = [b'"\xff",' + body for body in self.bodies]
        self.media_type = "application/x-ndjson" if order.get("ndjson") else "application/json"
        self.next = 0
        self.guard = threading.Lock()
        self.accepted = 0
        self.latencies: list[float] = []
        self.usage_latencies: list[float] = []
        self.probes: list[tuple[str, float]] = []
        self.missed: list[str] = []
        self.problems: list[str] = []

    def probe(self, request: int) -> str:
        return f"probe-{self.order['series']}-{request:06d}"

    def take(self) -> int | None:
        with self.guard:
            if self.next >= len(self.bodies) or self.problems:
                return None
            self.next += 1
            return self.next - 1

    def run(self, line: Line, began: float) -> None:
        try:
            while (number := self.take()) is not None:
                self.send_one(line, number, began)
        except (OSError, AssertionError) as problem:
            self.problems.append(repr(problem))

    def send_one(self, line: Line, number: int, began: float) -> None:
        due = began + number * self.size / self.rate if self.rate else time.monotonic()
        time.sleep(max(0.0, due - time.monotonic()))
        status, answer = line.post(self.bodies[number], self.media_type)
        answered = time.monotonic()
        assert status == self.expected, f"{status} {answer[:500]!r}"
        # From when it was due: a server that is late makes others late, and that counts.
        self.latencies.append((answered - due) * 1000)
        if status == 202:
            receipt = json.loads(answer)
            assert not receipt["rejected"], receipt["rejected"][:1]
            with self.guard:
                self.accepted += receipt["accepted"]
        if self.probe_every and number % self.probe_every == 0:
            self.probes.append((self.probe(number), answered))
            self.look(line, self.probe(number))

    def look(self, line: Line, customer: str) -> None:
        """Read the usage at the very next request."""
        day = self.start.replace(hour=0, minute=0, second=0, microsecond=0)
        bounds = "&".join(
            f"{name}={moment:%Y-%m-%dT%H:%M:%SZ}"
            for name, moment in (("start", day - timedelta(days=1)), ("end", day + timedelta(days=2)))
        )
        asked = time.monotonic()
        status, answer = line.get(f"{USAGE}?meter=m0&customer_id={customer}&{bounds}")
        self.usage_latencies.append((time.monotonic() - asked) * 1000)
        if status != 200 or json.loads(answer)["total"] != "1":
            self.missed.append(f"{customer}: {status} {answer[:200]!r}")


def main() -> None:
    order = json.loads(sys.stdin.readline())
    sending = Sending(order)
    lines = [Line(port=order["port"], key=order["key"]) for _ in range(int(order.get("connections", 4)))]
    for line in lines:
        line.get("/health")
    say({"ready": True})
    sys.stdin.readline()
    used, began = time.process_time(), time.monotonic()
    threads = [threading.Thread(target=sending.run, args=(line, began)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    if sending.problems:
        print(sending.problems[0], file=sys.stderr, flush=True)
        sys.exit(1)
    say(
        {
            "seconds": seconds,
            "accepted": sending.accepted,
            "requests": len(sending.latencies),
            "cpu_seconds": time.process_time() - used,
            "latencies": sending.latencies,
            "usage_latencies": sending.usage_latencies,
            "probes": sending.probes,
            "missed": sending.missed,
        }
    )


def say(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    main()
