"""Paying an invoice: one attempt to charge a card, and everything that follows from the bank's answer."""

from billing_site.sandbox.stripe import (
    balance_transactions,
    charges,
    disputes,
    invoice_payments,
    invoices,
    payment_intents,
    payment_methods,
    store,
)
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.cards import CONFIRM, TestCard
from billing_site.sandbox.stripe.errors import Declined, invalid
from billing_site.sandbox.stripe.store import Body


def pay(call: Call, invoice_id: str) -> Body:
    """POST /v1/invoices/{id}/pay: charges the given, the invoice's or the customer's default payment method."""
    given = call.params.text("payment_method")
    out_of_band = call.params.boolean("paid_out_of_band")
    call.params.boolean("off_session")
    call.params.refuse_the_rest()
    invoice = store.lock("invoice", invoice_id)
    if invoice["status"] == "paid":
        raise invalid("Invoice is already paid")
    if invoice["status"] not in ("open", "uncollectible"):
        raise invalid(f"This invoice cannot be paid: its status is {invoice['status']}.")
    payment = next(payment for payment in invoice_payments.of_invoice(invoice_id) if payment["is_default"])
    intent = store.lock("payment_intent", payment["payment"]["payment_intent"])
    if out_of_band:
        invoice_payments.cancel(payment)
        payment_intents.cancel(intent["id"])
        return invoices.mark_paid(call, invoice)
    method = _payment_method(invoice, given)
    card = payment_methods.card_of(method)
    invoice["attempted"] = True
    invoice["attempt_count"] += 1
    if card.code == CONFIRM[0]:
        raise _asks_customer(call, invoice, intent, method)
    if card.code:
        raise _declined(call, invoice, intent, method, card)
    charge = charges.create_for(intent, method, card, base_url=call.base_url)
    charge["balance_transaction"] = balance_transactions.create_for(charge)["id"]
    store.save(charge)
    payment_intents.succeed(intent, payment_method=method["id"], charge=charge["id"])
    invoice_payments.settle(payment)
    _mark_customer(invoice, delinquent=False)
    call.announce("charge.succeeded", charge)
    call.announce("payment_intent.succeeded", intent)
    call.announce("invoice_payment.paid", payment)
    paid = invoices.mark_paid(call, invoice)
    if card.disputed:
        is_inquiry = card.disputed == "inquiry"
        disputes.open_of(call, charge, amount=charge["amount"], reason="fraudulent", is_inquiry=is_inquiry)
    return paid


def _payment_method(invoice: Body, given: str | None) -> Body:
    customer = store.retrieve("customer", invoice["customer"])
    default = invoice["default_payment_method"] or customer["invoice_settings"]["default_payment_method"]
    if not (given or default):
        message = (
            "This customer has no attached payment source or default payment method. "
            "Please consider adding a default payment method."
        )
        raise invalid(message, code="resource_missing")
    method = payment_methods.usable(given or default, param="payment_method")
    if method["customer"] not in (None, customer["id"]):
        raise invalid("The payment method belongs to another customer.", param="payment_method")
    return method


def _declined(call: Call, invoice: Body, intent: Body, method: Body, card: TestCard) -> Declined:
    charge = charges.create_for(intent, method, card, base_url=call.base_url)
    error = {
        "advice_code": "try_again_later",
        "charge": charge["id"],
        "code": card.code,
        "decline_code": card.decline_code or None,
        "doc_url": f"https://docs.stripe.com/error-codes#{card.code.replace('_', '-')}",
        "message": card.message,
        "payment_method": presented_method(method),
        "type": "card_error",
    }
    error = {name: member for name, member in error.items() if member is not None}
    payment_intents.fail(intent, charge=charge["id"], error=error)
    store.save(invoice)
    _mark_customer(invoice, delinquent=True)
    call.announce("charge.failed", charge)
    call.announce("payment_intent.payment_failed", intent)
    call.announce("invoice.updated", invoice)
    call.announce("invoice.payment_failed", invoice)
    members = {name: error[name] for name in error if name not in ("message", "type")}
    return Declined(card.message, **members, payment_intent=intent)


def _asks_customer(call: Call, invoice: Body, intent: Body, method: Body) -> Declined:
    payment_intents.require_action(intent, payment_method=method["id"], base_url=call.base_url)
    store.save(invoice)
    call.announce("payment_intent.requires_action", intent)
    call.announce("invoice.payment_action_required", invoice)
    code, decline_code, message = CONFIRM
    return Declined(message, code=code, decline_code=decline_code, payment_intent=intent)


def presented_method(method: Body) -> Body:
    """Return a payment method without what is not Stripe's."""
    return {name: member for name, member in method.items() if not name.startswith("_")}


def _mark_customer(invoice: Body, *, delinquent: bool) -> None:
    customer = store.lock("customer", invoice["customer"])
    customer.update({"delinquent": delinquent, "currency": customer["currency"] or invoice["currency"]})
    store.save(customer)
