"""The client of the webhooks' benchmark, in a process of its own: one request after another when it is due, whether or not those before are answered.

Reads an order as a line of JSON, says that it is ready, waits for a second line, sends, and tells how it was.
"""

import hmac
import json
import sys
import threading
import time
from hashlib import sha256
from typing import Any

from tests.bench.sending import Line, say

# Of an invoice with ten lines, as Stripe sends it, some twelve thousand bytes.
PADDING = [{"id": f"il_{number}", "description": "x" * 900, "amount": number} for number in range(10)]


class Sending:
    """What the threads of one order share."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.rate, self.count, self.times = float(order["rate"]), int(order["count"]), int(order["times"])
        self.bodies = [] if order["empty"] else [self.body(number) for number in range(self.count)]
        self.next = 0
        self.guard = threading.Lock()
        self.latencies: list[float] = []
        self.lateness: list[float] = []
        self.problems: list[str] = []

    def body(self, number: int) -> bytes:
        """One event; where each comes several times, these follow each other."""
        name = f"{self.order['series']}_{number // self.times}"
        subject = {"id": f"in_{name}", "object": "invoice", "metadata": {}, "lines": {"data": PADDING}}
        event = {"id": f"evt_{name}", "object": "event", "type": "invoice.paid", "created": int(time.time())}
        return json.dumps({**event, "data": {"object": subject}, "livemode": False, "request": None}).encode()

    def take(self) -> int | None:
        with self.guard:
            if self.next >= self.count or self.problems:
                return None
            self.next += 1
            return self.next - 1

    def run(self, line: Line, began: float) -> None:
        try:
            while (number := self.take()) is not None:
                due = began + number / self.rate
                time.sleep(max(0.0, due - time.monotonic()))
                self.lateness.append((time.monotonic() - due) * 1000)
                status = self.ask(line, number)
                # From when it was due: an answer that is late makes others late, and that counts.
                self.latencies.append((time.monotonic() - due) * 1000)
                assert status == self.order["expected"], status
        except (OSError, AssertionError) as problem:
            self.problems.append(repr(problem))

    def ask(self, line: Line, number: int) -> int:
        if self.order["empty"]:
            return line.get(self.order["address"])[0]
        body, at = self.bodies[number], int(time.time())
        mac = hmac.new(self.order["secret"].encode(), f"{at}.".encode() + body, sha256).hexdigest()
        told = {"Content_Type": "application/json", "Stripe_Signature": f"t={at},v1={mac}"}
        return line.post_to(self.order["address"], body, **told)[0]


def main() -> None:
    order = json.loads(sys.stdin.readline())
    sending = Sending(order)
    lines = [Line(port=order["port"], key=order["key"]) for _ in range(int(order["connections"]))]
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
    cpu = time.process_time() - used
    say({"seconds": seconds, "latencies": sending.latencies, "lateness": max(sending.lateness), "cpu_seconds": cpu})


if __name__ == "__main__":
    main()
