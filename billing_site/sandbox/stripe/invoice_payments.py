"""Invoice payments: the link between an invoice and the payment intent that pays it."""

from billing_site.sandbox.stripe import store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.store import Body

STATUSES = ("canceled", "open", "paid")


def list_page(call: Call) -> Body:
    """GET /v1/invoice_payments, narrowed by `invoice`, `payment[payment_intent]`, `status`."""
    members: Body = {}
    invoice, status = call.params.text("invoice"), call.params.choice("status", STATUSES)
    if invoice:
        store.retrieve("invoice", invoice, param="invoice")
        members["invoice"] = invoice
    if status:
        members["status"] = status
    payment = call.params.hash("payment")
    if payment:
        payment.choice("type", ("payment_intent",))
        members["payment"] = {"payment_intent": payment.required("payment_intent")}
        payment.refuse_the_rest()
    found = store.page("invoice_payment", call.params, url="/v1/invoice_payments", members=members)
    call.params.refuse_the_rest()
    return found


def retrieve(call: Call, payment_id: str) -> Body:
    """GET /v1/invoice_payments/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("invoice_payment", payment_id)


def of_invoice(invoice_id: str) -> list[Body]:
    """Return the payments of an invoice, oldest first."""
    return store.matching("invoice_payment", invoice=invoice_id)


def list_of_invoice(invoice_id: str) -> Body:
    """Return the list that an invoice carries when `payments` is expanded."""
    found = of_invoice(invoice_id)
    url = f"/v1/invoice_payments?invoice={invoice_id}"
    return {"object": "list", "data": found, "has_more": False, "url": url}


def create_for(invoice: Body, intent: Body) -> Body:
    """Make the default payment of an invoice that has just been finalised."""
    return store.create(
        "invoice_payment",
        {
            "amount_paid": None,
            "amount_requested": invoice["amount_due"],
            "created": store.timestamp(),
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
            "livemode": False,
            "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        },
    )


def settle(payment: Body) -> Body:
    """Mark a payment as paid in full."""
    payment.update({"amount_paid": payment["amount_requested"], "status": "paid"})
    payment["status_transitions"]["paid_at"] = store.timestamp()
    return store.save(payment)


def cancel(payment: Body) -> Body:
    """Mark a payment as given up."""
    payment["status"] = "canceled"
    payment["status_transitions"]["canceled_at"] = store.timestamp()
    return store.save(payment)
