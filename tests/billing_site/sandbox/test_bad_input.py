"""Nonsense is refused in Stripe's shape, naming the parameter; nothing of it becomes a 500."""

import pytest
import requests


@pytest.mark.parametrize("secret", ["sk_test_wrong0000000000000000000", "sk_live_wrong0000000000000000000", "x"])
def test_a_wrong_key_is_unauthorised_and_not_repeated_in_full(sandbox, secret):
    response = sandbox.call("GET", "/v1/account", secret=secret)

    assert response.status_code == 401
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert secret not in response.json()["error"]["message"]


def test_no_key_is_unauthorised_even_for_the_sandbox_s_own_addresses(sandbox):
    assert requests.get(f"{sandbox.url}/v1/account", timeout=5).status_code == 401
    assert requests.post(f"{sandbox.url}/_sandbox/reset", timeout=5).status_code == 401


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/unknown", "/v2/core/events", "/v1/%00"])
def test_an_unknown_address_is_not_found_in_stripe_s_shape(sandbox, path):
    response = sandbox.call("GET", path)

    assert response.status_code == 404
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/v1/invoices/in_1", "/v1/customers/cus_1", "/v1/charges/in_1", "/v1/events/evt_1"])
def test_an_unknown_object_is_missing(sandbox, path):
    response = sandbox.call("GET", path)

    assert (response.status_code, response.json()["error"]["code"]) == (404, "resource_missing")


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({}, "customer"),
        ({"customer": ""}, "customer"),
        ({"customer": "cus_1"}, "customer"),
        ({"customer": "CUSTOMER", "currency": "euro"}, "currency"),
        ({"customer": "CUSTOMER", "currency[]": "eur"}, "currency"),
        ({"customer": "CUSTOMER", "auto_advance": "yes"}, "auto_advance"),
        ({"customer": "CUSTOMER", "collection_method": "magic"}, "collection_method"),
        ({"customer": "CUSTOMER", "collection_method": "send_invoice"}, "due_date"),
        ({"customer": "CUSTOMER", "due_date": "2000000000"}, "due_date"),
        ({"customer": "CUSTOMER", "metadata": "x"}, "metadata"),
        ({"customer": "CUSTOMER", "metadata[" + "k" * 41 + "]": "v"}, "metadata[" + "k" * 41 + "]"),
        ({"customer": "CUSTOMER", "metadata[k]": "v" * 501}, "metadata[k]"),
        ({"customer": "CUSTOMER", "totl": "1"}, "totl"),
        ({"customer": "CUSTOMER", "expand[]": "charge"}, "expand"),
        ({"customer": "CUSTOMER", "expand[]": "customer.a.b.c.d"}, "expand"),
        ({"customer": "CUSTOMER", "a[b": "1"}, "a[b"),
        ({"customer": "CUSTOMER", "description": "a\x00b"}, "description"),
    ],
)
def test_a_wrong_parameter_of_an_invoice_is_named(sandbox, params, param):
    customer = sandbox.customer()
    params = {name: customer if value == "CUSTOMER" else value for name, value in params.items()}

    response = sandbox.call("POST", "/v1/invoices", params)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert "invoice" not in sandbox.state()["objects"]


@pytest.mark.parametrize("amount", ["", "1.5", "NaN", "1e3", "9" * 19, "0x10", "١٢"])
def test_an_amount_is_a_whole_number_of_minor_units(sandbox, amount):
    item = {"customer": sandbox.customer(), "currency": "eur", "amount": amount}

    response = sandbox.call("POST", "/v1/invoiceitems", item)

    assert (response.status_code, response.json()["error"]["param"]) == (400, "amount")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\xff\xfe\x00", "application/x-www-form-urlencoded"),
        (b"%ff%fe=%ff", "application/x-www-form-urlencoded"),
        (b'{"name": "Ada"}', "application/json"),
        (b"&" * 1000, "application/x-www-form-urlencoded"),
        (b"a[b]=1&a=2", "application/x-www-form-urlencoded"),
        (b"a=2&a[b]=1", "application/x-www-form-urlencoded"),
        (b"a" + b"[a]" * 100 + b"=1", "application/x-www-form-urlencoded"),
        (b"expand=x", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_is_no_form_is_refused(sandbox, settings, body, content_type):
    headers = {"Authorization": f"Bearer {settings.SANDBOX_SECRET_KEY}", "Content-Type": content_type}

    response = requests.post(f"{sandbox.url}/v1/customers", data=body, headers=headers, timeout=5)

    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_ordered_faults_strike_as_often_as_ordered(sandbox):
    sandbox.fault("http_500", 2)
    sandbox.fault("rate_limit", 1)

    statuses = [sandbox.call("GET", "/v1/account").status_code for _ in range(4)]

    assert statuses == [500, 500, 429, 200]


def test_reset_forgets_everything(sandbox):
    sandbox.open_invoice(sandbox.customer())

    sandbox.post("/_sandbox/reset")

    assert sandbox.state()["objects"] == {}


def test_the_hosted_page_tells_what_is_due(sandbox):
    invoice = sandbox.get(f"/v1/invoices/{sandbox.open_invoice(sandbox.customer())}")

    page = requests.get(invoice["hosted_invoice_url"], timeout=5)

    assert page.status_code == 200
    assert "1230 minor units of EUR" in page.text
