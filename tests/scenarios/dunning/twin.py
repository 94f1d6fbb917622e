"""Stripe in memory, in place of the gateway's functions: it answers by the script of each customer, is down for hours, and tells its news unreliably."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from moneyed import Money

from invoicing.payments import gateway, patience
from invoicing.payments.remote import CardDeclined, GatewayUnavailable, RemoteEvent, RemoteInvoice, remote_event

# What of the gateway is played.
PLAYED = (
    "ensure_customer",
    "create_invoice",
    "add_invoice_lines",
    "finalize_invoice",
    "pay_invoice",
    "void_invoice",
    "mark_uncollectible",
    "retrieve_invoice",
    "find_invoices_by_metadata",
    "verified_event",
)
DOWN = "Stripe is down."
# What the bank answers to a debit that takes days.
UNDER_WAY = "under way"


@dataclass
class Twin:
    """Stripe's side: its invoices, and what the world has to say about them."""

    # What the bank answers to a charge of an invoice: a decline code, "" where it pays. What is told of it afterwards.
    bank: Callable[[str], str]
    tell: Callable[[str, RemoteInvoice], None]
    # Called whenever the product asks for an invoice: somebody may pay in that very second.
    asked: Callable[[str], None]
    paid: Callable[[str], None]
    is_down: bool = False
    invoices: dict[str, RemoteInvoice] = field(default_factory=dict)
    answers: dict[str, RemoteInvoice | CardDeclined] = field(default_factory=dict)
    charges: int = 0

    @contextmanager
    def played(self) -> Iterator[None]:
        """Let the product talk to this Stripe, and wait for no chance."""
        with ExitStack() as stack:
            for name in PLAYED:
                stack.enter_context(patch.object(gateway, name, getattr(self, name)))
            stack.enter_context(patch.object(patience, "secrets", SimpleNamespace(randbelow=lambda _: 0)))
            yield

    def _answer(self) -> None:
        if self.is_down:
            raise GatewayUnavailable(DOWN)

    def ensure_customer(self, *, reference: str, **_: Any) -> str:
        self._answer()
        return f"cus_{reference}"

    def create_invoice(
        self, *, customer: str, currency: str, number: str, metadata: Any, due_at: datetime | None, **_: Any
    ) -> RemoteInvoice:
        self._answer()
        nothing = Money(0, currency)
        made = RemoteInvoice(
            id=f"in_{number}",
            customer=customer,
            number=number,
            status="draft",
            currency=currency,
            total=nothing,
            amount_paid=nothing,
            payment_reference="",
            failure_code="",
            failure_message="",
            hosted_url=f"https://stripe.example/{number}",
            is_charged=due_at is None,
            metadata=dict(metadata),
        )
        return self.invoices.setdefault(made.id, made)

    def add_invoice_lines(self, *, invoice: str, lines: Any, **_: Any) -> RemoteInvoice:
        self._answer()
        present = self.invoices[invoice]
        total = sum((line.amount for line in lines), Money(0, present.currency))
        return self._change(invoice, total=total)

    def finalize_invoice(self, *, present: RemoteInvoice, expected_total: Money, **_: Any) -> RemoteInvoice:
        self._answer()
        known = self.invoices[present.id]
        assert known.total == expected_total, "the lines come to the total"
        return self._change(known.id, status="open") if known.status == "draft" else known

    def pay_invoice(self, *, invoice: str, idempotency_key: str) -> RemoteInvoice:
        self._answer()
        present = self.invoices[invoice]
        if present.status != "open":
            return present
        if idempotency_key not in self.answers:
            self.answers[idempotency_key] = self._charge(invoice)
        known = self.answers[idempotency_key]
        if isinstance(known, CardDeclined):
            raise known
        return known

    def _charge(self, invoice: str) -> RemoteInvoice | CardDeclined:
        assert not self.invoices[invoice].is_under_way, "nobody is charged while a payment is under way"
        self.charges += 1
        reference, code = f"ch_{self.charges}_{invoice}", self.bank(invoice)
        if code == UNDER_WAY:
            return self._change(invoice, is_under_way=True, payment_reference=reference, failure_code="")
        if code:
            self._refuse(invoice, reference, code)
            return CardDeclined(f"declined: {code}", code="card_declined", decline_code=code)
        return self._settle(invoice, reference)

    def _refuse(self, invoice: str, reference: str, code: str) -> None:
        told = {"payment_reference": reference, "failure_code": code, "failure_message": f"declined: {code}"}
        self.tell("invoice.payment_failed", self._change(invoice, is_under_way=False, **told))

    def pay_on_page(self, invoice: str) -> None:
        """The customer pays on Stripe's page, if it is open there."""
        if self.is_payable(invoice):
            self.charges += 1
            self._settle(invoice, f"ch_{self.charges}_{invoice}")

    def is_payable(self, invoice: str) -> bool:
        """Say whether an invoice's page asks for money."""
        present = self.invoices.get(invoice)
        return present is not None and present.status == "open" and not present.is_under_way

    def debit_on_page(self, invoice: str) -> None:
        """The customer has its account debited on Stripe's page: that takes days, and nobody is told of it."""
        self.charges += 1
        self._change(invoice, is_under_way=True, payment_reference=f"ch_{self.charges}_{invoice}", failure_code="")

    def decide(self, invoice: str, code: str) -> None:
        """The bank has decided about a debit that was under way: a code refuses it, "" pays."""
        present = self.invoices[invoice]
        if not present.is_under_way:
            # It was withdrawn, and the debit with it.
            return
        if code:
            self._refuse(invoice, present.payment_reference, code)
        else:
            self._settle(invoice, present.payment_reference)

    def _settle(self, invoice: str, reference: str) -> RemoteInvoice:
        paid = self.invoices[invoice].total
        settled = self._change(
            invoice, status="paid", is_under_way=False, amount_paid=paid, payment_reference=reference
        )
        self.paid(invoice)
        self.tell("invoice.paid", settled)
        return settled

    def void_invoice(self, *, invoice: str, **_: Any) -> RemoteInvoice:
        self._answer()
        return self._change(invoice, status="void", is_under_way=False)

    def mark_uncollectible(self, *, invoice: str, **_: Any) -> RemoteInvoice:
        self._answer()
        return self._change(invoice, status="uncollectible", is_under_way=False)

    def retrieve_invoice(self, invoice: str) -> RemoteInvoice:
        self._answer()
        self.asked(invoice)
        return self.invoices[invoice]

    def find_invoices_by_metadata(self, *, customer: str, key: str, value: str, **_: Any) -> list[RemoteInvoice]:
        self._answer()
        return [one for one in self._of_customer(customer) if one.metadata.get(key) == value]

    def verified_event(self, *, payload: bytes, signature: str) -> RemoteEvent:
        return remote_event(json.loads(payload))

    def _of_customer(self, customer: str) -> list[RemoteInvoice]:
        return [one for one in self.invoices.values() if one.customer == customer]

    def _change(self, invoice: str, **changes: Any) -> RemoteInvoice:
        self.invoices[invoice] = replace(self.invoices[invoice], **changes)
        return self.invoices[invoice]


def event_of(kind: str, invoice: RemoteInvoice, *, number: int, at: datetime) -> bytes:
    """Return an event as Stripe would send it."""
    return json.dumps(
        {
            "id": f"evt_{number}",
            "object": "event",
            "type": kind,
            "created": int(at.timestamp()),
            "data": {"object": {"object": "invoice", "id": invoice.id, "metadata": dict(invoice.metadata)}},
        }
    ).encode()
