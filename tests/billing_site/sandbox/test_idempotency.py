"""A request under one idempotency key has one effect, whatever happens to its answers."""

import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode, urlsplit

import pytest
from django.conf import settings as django_settings

pytestmark = pytest.mark.requirement("S3-033")


def test_the_same_request_with_the_same_key_gets_the_first_answer_again(sandbox):
    first = sandbox.call("POST", "/v1/customers", {"name": "Ada"}, key="one")

    second = sandbox.call("POST", "/v1/customers", {"name": "Ada"}, key="one")

    assert second.json() == first.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.headers["Original-Request"] == first.headers["Request-Id"]
    assert "Idempotent-Replayed" not in first.headers
    assert sandbox.state()["objects"]["customer"] == 1


def test_another_request_with_a_used_key_is_refused(sandbox):
    sandbox.post("/v1/customers", {"name": "Ada"}, key="one")

    response = sandbox.call("POST", "/v1/customers", {"name": "Grace"}, key="one")

    assert response.status_code == 400
    assert response.json()["error"]["type"] == "idempotency_error"


def test_the_same_parameters_at_another_address_are_refused_under_a_used_key(sandbox):
    sandbox.post("/v1/customers", {}, key="one")

    response = sandbox.call("POST", "/v1/invoices", {}, key="one")

    assert response.status_code == 400


def test_eight_threads_with_one_key_make_one_object(sandbox):
    def create(_):
        while True:
            response = sandbox.call("POST", "/v1/customers", {"name": "Ada"}, key="one")
            if response.status_code != 409:
                return response.json()["id"]
            assert response.json()["error"]["code"] == "idempotency_key_in_use"

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(create, range(8)))

    assert len(made) == 1
    assert sandbox.state()["objects"]["customer"] == 1


def test_a_refused_request_may_be_tried_again_with_its_key(sandbox):
    refused = sandbox.call("POST", "/v1/customers", {"nmae": "Ada"}, key="one")

    accepted = sandbox.call("POST", "/v1/customers", {"name": "Ada"}, key="one")

    assert (refused.status_code, accepted.status_code) == (400, 200)


def test_a_decline_is_replayed_too_and_charges_nobody_twice(sandbox):
    invoice = sandbox.open_invoice(sandbox.customer("pm_card_chargeCustomerFail"))
    first = sandbox.call("POST", f"/v1/invoices/{invoice}/pay", key="pay")

    second = sandbox.call("POST", f"/v1/invoices/{invoice}/pay", key="pay")

    assert first.status_code == second.status_code == 402
    assert first.json() == second.json()
    assert sandbox.state()["objects"]["charge"] == 1
    assert sandbox.get(f"/v1/invoices/{invoice}")["attempt_count"] == 1


def test_an_answer_that_is_lost_after_the_effect_is_found_by_repeating_the_request(sandbox):
    import requests

    customer = sandbox.customer()
    sandbox.fault("timeout_after_effect")
    with pytest.raises(requests.ConnectionError):
        sandbox.call("POST", "/v1/invoices", {"customer": customer}, key="invoice")

    repeated = sandbox.call("POST", "/v1/invoices", {"customer": customer}, key="invoice")

    assert repeated.headers["Idempotent-Replayed"] == "true"
    assert [invoice["id"] for invoice in sandbox.get("/v1/invoices")["data"]] == [repeated.json()["id"]]


def test_what_fails_inside_leaves_neither_effect_nor_event_nor_key(sandbox, monkeypatch):
    from billing_site.sandbox import http

    def fail(call):
        raise RuntimeError("the events cannot be written")

    with monkeypatch.context() as broken:
        broken.setattr(http, "record_news", fail)
        response = sandbox.call("POST", "/v1/customers", {"name": "Ada"}, key="one")

    assert response.status_code == 500
    assert response.json()["error"]["type"] == "api_error"
    assert "RuntimeError" not in response.text
    assert sandbox.state()["objects"] == {}
    assert sandbox.call("POST", "/v1/customers", {"name": "Ada"}, key="one").status_code == 200


@pytest.mark.parametrize("sent", [0, 5], ids=["nothing of its body", "a part of its body"])
def test_a_request_whose_client_is_killed_while_it_sends_has_no_effect_and_does_not_spend_its_key(sandbox, sent):
    body = urlencode({"name": "Ada", "email": "ada@example.com"}).encode()
    head = [
        "POST /v1/customers HTTP/1.1",
        "Host: sandbox",
        f"Authorization: Bearer {django_settings.SANDBOX_SECRET_KEY}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(body)}",
        "Idempotency-Key: one",
    ]
    address = urlsplit(sandbox.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as client:
        client.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body[:sent])
        client.shutdown(socket.SHUT_WR)
        told = client.recv(1000)

    assert told.startswith(b"HTTP/1.1 400")
    assert "customer" not in sandbox.state()["objects"]
    again = sandbox.call("POST", "/v1/customers", {"name": "Ada", "email": "ada@example.com"}, key="one")
    assert (again.status_code, again.json()["name"]) == (200, "Ada")
