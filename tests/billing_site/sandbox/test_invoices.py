"""From a draft to a paid, failed or void invoice, as Stripe's reference describes it."""

import pytest


def test_an_invoice_is_the_sum_of_its_lines(sandbox):
    customer = sandbox.customer()
    invoice = sandbox.post("/v1/invoices", {"customer": customer, "currency": "eur"})["id"]

    for amount in (1000, 230, -30):
        line = {"invoice": invoice, "customer": customer, "amount": amount, "currency": "eur"}
        sandbox.post("/v1/invoiceitems", line)

    present = sandbox.get(f"/v1/invoices/{invoice}")
    assert (present["total"], present["amount_due"], present["status"]) == (1200, 1200, "draft")
    assert [line["amount"] for line in present["lines"]["data"]] == [1000, 230, -30]


def test_more_than_ten_lines_are_paged_in_the_order_in_which_they_were_added(sandbox):
    customer = sandbox.customer()
    invoice = sandbox.post("/v1/invoices", {"customer": customer})["id"]
    lines = {f"lines[{index}][amount]": index + 1 for index in range(12)}

    present = sandbox.post(f"/v1/invoices/{invoice}/add_lines", lines)

    assert present["total"] == 78
    assert len(present["lines"]["data"]) == 10
    assert present["lines"]["has_more"] is True
    rest = sandbox.get(f"/v1/invoices/{invoice}/lines", starting_after=present["lines"]["data"][-1]["id"])
    assert [line["amount"] for line in rest["data"]] == [11, 12]
    assert rest["has_more"] is False


def test_an_invoice_has_at_most_two_hundred_and_fifty_items(sandbox):
    invoice = sandbox.post("/v1/invoices", {"customer": sandbox.customer()})["id"]
    lines = {f"lines[{index}][amount]": 1 for index in range(251)}

    refused = sandbox.call("POST", f"/v1/invoices/{invoice}/add_lines", lines)
    lines.popitem()
    accepted = sandbox.call("POST", f"/v1/invoices/{invoice}/add_lines", lines)

    assert (refused.status_code, accepted.status_code) == (400, 200)
    assert accepted.json()["total"] == 250


@pytest.mark.requirement("S1-092")
def test_the_card_4242_pays_an_invoice_and_leaves_the_fee_on_the_balance(sandbox):
    invoice = sandbox.open_invoice(sandbox.customer(), amount=10_000)

    paid = sandbox.post(f"/v1/invoices/{invoice}/pay", {"expand[0]": "payments.data.payment.payment_intent"})

    assert (paid["status"], paid["amount_paid"], paid["amount_remaining"]) == ("paid", 10_000, 0)
    intent = paid["payments"]["data"][0]["payment"]["payment_intent"]
    assert intent["status"] == "succeeded"
    charge = sandbox.get(f"/v1/charges/{intent['latest_charge']}", **{"expand[]": "balance_transaction"})
    assert charge["balance_transaction"]["fee"] == 320
    assert charge["balance_transaction"]["net"] == 9_680
    types = [event["type"] for event in sandbox.get("/v1/events", limit=7)["data"]]
    assert {"charge.succeeded", "payment_intent.succeeded", "invoice.paid", "invoice.payment_succeeded"} <= set(types)


@pytest.mark.requirement("S1-093")
def test_the_card_0002_is_declined_when_a_customer_wants_to_keep_it(sandbox):
    card = {"type": "card", "card[number]": "4000000000000002", "card[exp_month]": 12, "card[exp_year]": 2034}
    method = sandbox.post("/v1/payment_methods", card)["id"]
    customer = sandbox.post("/v1/customers", {"name": "Ada"})["id"]

    response = sandbox.call("POST", f"/v1/payment_methods/{method}/attach", {"customer": customer})

    assert response.status_code == 402
    error = response.json()["error"]
    assert (error["type"], error["code"], error["decline_code"]) == ("card_error", "card_declined", "generic_decline")


@pytest.mark.requirement("S1-093")
@pytest.mark.parametrize("token", ["pm_card_chargeDeclined", "pm_card_chargeCustomerFail"])
def test_a_declined_charge_leaves_the_invoice_open_and_on_record(sandbox, token):
    invoice = sandbox.open_invoice(sandbox.customer())

    response = sandbox.call("POST", f"/v1/invoices/{invoice}/pay", {"payment_method": token})

    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (402, "card_error", "card_declined")
    assert sandbox.get(f"/v1/charges/{error['charge']}")["failure_code"] == "card_declined"
    present = sandbox.get(f"/v1/invoices/{invoice}")
    assert (present["status"], present["attempted"], present["attempt_count"]) == ("open", True, 1)
    types = {event["type"] for event in sandbox.get("/v1/events", limit=5)["data"]}
    assert {"invoice.payment_failed", "payment_intent.payment_failed", "charge.failed"} <= types


def test_a_card_that_needs_confirmation_asks_for_the_customer(sandbox):
    invoice = sandbox.open_invoice(sandbox.customer("pm_card_threeDSecure2Required"))

    response = sandbox.call("POST", f"/v1/invoices/{invoice}/pay")

    assert response.status_code == 402
    assert response.json()["error"]["code"] == "invoice_payment_intent_requires_action"
    assert response.json()["error"]["payment_intent"]["status"] == "requires_action"


def test_an_invoice_over_zero_is_paid_by_being_finalised(sandbox):
    invoice = sandbox.post("/v1/invoices", {"customer": sandbox.customer()})["id"]

    finalized = sandbox.post(f"/v1/invoices/{invoice}/finalize", {"expand[]": "payments"})

    assert (finalized["status"], finalized["amount_paid"]) == ("paid", 0)
    assert finalized["payments"]["data"] == []


def test_a_finalised_invoice_can_neither_get_lines_nor_be_finalised_again(sandbox):
    customer = sandbox.customer()
    invoice = sandbox.open_invoice(customer)

    line = sandbox.call("POST", "/v1/invoiceitems", {"invoice": invoice, "customer": customer, "amount": 1})
    again = sandbox.call("POST", f"/v1/invoices/{invoice}/finalize")

    assert line.json()["error"]["code"] == again.json()["error"]["code"] == "invoice_not_editable"


def test_a_paid_invoice_is_not_charged_again_without_a_key(sandbox):
    invoice = sandbox.open_invoice(sandbox.customer())
    sandbox.post(f"/v1/invoices/{invoice}/pay")

    response = sandbox.call("POST", f"/v1/invoices/{invoice}/pay")

    assert (response.status_code, response.json()["error"]["message"]) == (400, "Invoice is already paid")
    assert sandbox.state()["objects"]["charge"] == 1


def test_a_void_invoice_gives_up_its_payment_intent(sandbox):
    invoice = sandbox.open_invoice(sandbox.customer())

    void = sandbox.post(f"/v1/invoices/{invoice}/void", {"expand[]": "payments.data.payment.payment_intent"})

    assert void["status"] == "void"
    assert void["payments"]["data"][0]["payment"]["payment_intent"]["cancellation_reason"] == "void_invoice"
    assert sandbox.call("POST", f"/v1/invoices/{invoice}/pay").status_code == 400


def test_a_number_is_used_once(sandbox):
    customer = sandbox.customer()
    sandbox.post("/v1/invoices", {"customer": customer, "number": "INV-1"})

    response = sandbox.call("POST", "/v1/invoices", {"customer": customer, "number": "INV-1"})

    assert (response.status_code, response.json()["error"]["param"]) == (400, "number")


@pytest.mark.parametrize(
    ("currency", "amount", "accepted"),
    [
        ("kwd", 12340, True),
        ("kwd", 12345, False),
        ("isk", 500, True),
        ("isk", 550, False),
        ("ugx", 100, True),
        ("ugx", 101, False),
        ("jpy", 1, True),
        ("eur", 1, True),
    ],
)
def test_amounts_that_stripe_cannot_charge_are_refused(sandbox, currency, amount, accepted):
    item = {"customer": sandbox.customer(), "amount": amount, "currency": currency}

    response = sandbox.call("POST", "/v1/invoiceitems", item)

    assert response.status_code == (200 if accepted else 400)
    assert accepted or response.json()["error"]["param"] == "amount"


@pytest.mark.parametrize(
    ("amount", "currency", "fee"),
    [(1, "eur", 30), (17, "eur", 30), (18, "eur", 31), (1000, "jpy", 29), (12340, "kwd", 658)],
)
def test_the_fee_is_two_point_nine_percent_and_thirty_cents_in_whole_minor_units(amount, currency, fee):
    from billing_site.sandbox.stripe.currencies import fee_of

    assert fee_of(amount, currency) == fee
