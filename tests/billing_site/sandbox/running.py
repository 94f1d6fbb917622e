"""A sandbox in threads of the test's process, a client that speaks its wire format, and a listener for its webhooks."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests
import stripe
from django.conf import settings as django_settings

from billing_site.sandbox.server import running

PATIENCE_SECONDS = 15


@dataclass
class Client:
    """Speaks Stripe's form encoding to one sandbox."""

    url: str

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        return self.call("GET", path, params).json()

    def post(self, path: str, params: dict[str, Any] | None = None, *, key: str | None = None) -> dict[str, Any]:
        response = self.call("POST", path, params or {}, key=key)
        assert response.status_code == 200, response.text
        return response.json()

    def call(
        self, method: str, path: str, params: dict[str, Any] | None = None, *, key: str | None = None, secret: str = ""
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {secret or django_settings.SANDBOX_SECRET_KEY}"}
        if key:
            headers["Idempotency-Key"] = key
        where = {"params": params} if method == "GET" else {"data": params}
        return requests.request(method, self.url + path, headers=headers, timeout=10, **where)

    def fault(self, kind: str, times: int = 1) -> None:
        self.post("/_sandbox/faults", {"kind": kind, "times": times})

    def state(self) -> dict[str, Any]:
        return self.get("/_sandbox/state")

    def wait_until_delivered(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.state()["pending_deliveries"]:
            assert time.monotonic() < deadline, f"webhooks are still pending: {self.state()}"
            time.sleep(0.05)

    def customer(self, token: str = "pm_card_visa") -> str:
        customer = self.post("/v1/customers", {"name": "Ada", "email": "ada@example.com"})["id"]
        method = self.post(f"/v1/payment_methods/{token}/attach", {"customer": customer})["id"]
        self.post(f"/v1/customers/{customer}", {"invoice_settings[default_payment_method]": method})
        return customer

    def open_invoice(self, customer: str, *, amount: int = 1230, currency: str = "eur") -> str:
        invoice = self.post("/v1/invoices", {"customer": customer, "currency": currency})["id"]
        self.post(
            "/v1/invoiceitems", {"invoice": invoice, "customer": customer, "amount": amount, "currency": currency}
        )
        return self.post(f"/v1/invoices/{invoice}/finalize")["id"]


@dataclass
class Listener:
    """Takes webhooks; `answers` are the next statuses, 200 after they are used up."""

    url: str
    received: list[tuple[bytes, str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def events(self) -> list[stripe.Event]:
        secret = django_settings.SANDBOX_WEBHOOK_SECRET
        return [stripe.Webhook.construct_event(body, signature, secret) for body, signature in self.received]


@contextmanager
def running_sandbox(settings: Any, monkeypatch: Any) -> Iterator[Client]:
    """Run a sandbox on a free port and point the gateway and dj-stripe to it."""
    with running(host="127.0.0.1", port=0) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        settings.STRIPE_API_HOST = url
        monkeypatch.setattr(stripe, "api_base", url)
        yield Client(url)


@contextmanager
def listening(settings: Any) -> Iterator[Listener]:
    """Listen for the sandbox's webhooks on a free port."""
    listener = Listener("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = listener.answers.pop(0) if listener.answers else 200
            listener.received.append((body, self.headers["Stripe-Signature"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    listener.url = settings.SANDBOX_WEBHOOK_URL = f"http://127.0.0.1:{server.server_port}/webhooks/stripe"
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()
