"""Take a payment back: the bank returned its money, or it was recorded by mistake. Record, books and invoice in one transaction, once."""

from datetime import datetime
from typing import Any

from django.db import transaction

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from billing_site.kernel.money import from_minor_units, plain, wire
from billing_site.kernel.reasons import checked_reason
from invoicing.approvals.models import Approval, ApprovedDeed
from invoicing.approvals.operations import NeedsApproval, check_approved, request_approval
from invoicing.bank.models import AllocationReversal, BankAllocation, BankLine
from invoicing.bank.operations import locked_line
from invoicing.bank.queries import allocations_in_force
from invoicing.core.posting import BANK, ON_ACCOUNT, UNIDENTIFIED, postings_for_payment_reversal
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.operations import locked_invoice, take_payment_back
from invoicing.invoices.printed_text import money_text
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import post_entry
from invoicing.payments.models import Payment
from invoicing.payments.operations import record_reversal
from invoicing.payments.reversal import PaymentReversal, ReversalCause


@transaction.atomic
def reverse_payment(
    *, payment_id: int, cause: str, at: datetime, actor: str, reason: str, approval: Approval | None = None
) -> PaymentReversal:
    """Take all of a payment back that came by transfer: its invoice is open again by as much. A second time changes nothing.

    Recorded by mistake, its money is again where it was: an unidentified bank line, on account of the customer, or nowhere. Returned, it
    left the bank, and the line that says so is matched with it when it comes; where the line is here, allocate that instead.
    Raises InvalidInput, NotFound, Conflict for what came through Stripe (code `by_stripe`), what is on a statement
    (`on_a_statement`), and an invoice that is written off; NeedsApproval from the limit of its currency on: `reverse_or_ask` asks.
    """
    said = checked_reason(reason=reason)
    if cause not in ReversalCause.values:
        raise InvalidInput(f"must be one of {', '.join(ReversalCause.values)}", field="cause")
    payment, lines = _locked(payment_id)
    existing = PaymentReversal.objects.filter(payment=payment).first()
    if existing is not None and existing.cause == cause:
        return existing
    if existing is not None:
        message = f"payment {payment.reference} is taken back already: {existing.get_cause_display().lower()}"
        raise Conflict(message, field="payment", code="reversed")
    check_can_be_reversed(payment=payment, cause=cause)
    nothing = from_minor_units(0, payment.currency)
    check_approved(deed=ApprovedDeed.PAYMENT_REVERSAL, amount=payment.amount, alone=nothing, approval=approval)
    account = account_of_mistake(payment=payment) if cause == ReversalCause.MISTAKE else BANK
    reversal = take_back(
        payment=payment,
        cause=ReversalCause(cause),
        account=account,
        at=at,
        actor=actor,
        reason=said,
        approval=approval,
        held_by=payment.bank_allocation.line.account.holder_key if account == UNIDENTIFIED else "",
    )
    if account == UNIDENTIFIED:
        assert lines, "what is unidentified again came by a line"
        AllocationReversal.objects.create(
            allocation=payment.bank_allocation, reversed_at=reversal.reversed_at, actor=actor, reason=said
        )
    return reversal


def take_back(
    *,
    payment: Payment,
    cause: ReversalCause,
    account: str,
    at: datetime,
    actor: str,
    reason: str,
    approval: Approval | None = None,
    held_by: str = "",
) -> PaymentReversal:
    """Record, book and apply the reversal of a payment whose invoice is locked; the caller has looked at whether it may be.

    `held_by` is the legal entity in whose books the account stands, where that is not the customer's seller.
    """
    invoice = Invoice.objects.select_related("customer").get(pk=payment.invoice_id)
    reversal = record_reversal(
        payment=payment,
        cause=cause,
        account=account,
        # A bank tells only the day, and a line may be dated before the payment that it returns.
        reversed_at=max(at, payment.received_at),
        actor=actor,
        reason=reason,
        approval=approval,
    )
    why = f"{reversal.get_cause_display().lower()}, payment {payment.reference}: {reason}"[:300]
    take_payment_back(invoice=invoice, amount=payment.amount, actor=actor, reason=why)
    post_entry(
        kind=JournalEntry.Kind.PAYMENT_REVERSAL,
        reference=f"{payment.channel}:{payment.reference}",
        postings=postings_for_payment_reversal(amount=payment.amount, account=account),
        description=f"Payment {payment.reference} for invoice {invoice.number} taken back: {reason}"[:300],
        occurred_at=reversal.reversed_at,
        entity=invoice.customer.seller_key,
        held={account: held_by} if held_by else None,
    )
    return reversal


def account_of_mistake(*, payment: Payment) -> str:
    """Return the account on which the money of a payment stood before, and to which it goes where the payment was a mistake."""
    if hasattr(payment, "account_use"):
        return ON_ACCOUNT
    return UNIDENTIFIED if hasattr(payment, "bank_allocation") else BANK


def why_not_reversed(*, payment: Payment, cause: str = ReversalCause.RETURNED) -> str:
    """Return why a payment cannot be taken back; nothing where it can."""
    try:
        check_can_be_reversed(payment=payment, cause=cause)
    except Conflict as problem:
        return str(problem.message)
    return ""


def check_can_be_reversed(*, payment: Payment, cause: str) -> None:
    """Raise Conflict where a payment that nobody has reversed cannot be taken back."""
    if payment.channel != SettlementChannel.MANUAL:
        message = f"payment {payment.reference} came through Stripe: a credit note refunds it there, and what its bank takes back is a dispute"
        raise Conflict(message, field="payment", code="by_stripe")
    if payment.invoice.status == InvoiceStatus.WRITTEN_OFF:
        message = (
            f"invoice {payment.invoice} is written off: take that back first, then what was not paid is open as a whole"
        )
        raise Conflict(message, field="invoice", code="written_off")
    if cause != ReversalCause.MISTAKE or account_of_mistake(payment=payment) != BANK:
        return
    if BankAllocation.objects.filter(reference=payment.reference).exists():
        message = f"payment {payment.reference} stands for a return that was a mistake: another line of the bank takes it back"
        raise Conflict(message, field="payment", code="on_a_statement")
    named = {"entry__kind": JournalEntry.Kind.PAYMENT, "entry__reference": f"{payment.channel}:{payment.reference}"}
    matched = allocations_in_force().filter(**named).select_related("line").first()
    if matched is not None:
        message = (
            f"the bank says that payment {payment.reference} came, by line {matched.line}: take back that it was recorded already,"
            " then say there what the line is"
        )
        raise Conflict(message, field="payment", code="on_a_statement")


def _locked(payment_id: int) -> tuple[Payment, list[BankLine]]:
    """Return a payment whose bank line and invoice are locked, in that order, as whoever allocates locks them, and the line."""
    found = Payment.objects.filter(pk=payment_id).values_list(
        "invoice", "bank_allocation__line", "account_use__allocation__line"
    )
    row = found.first()
    if row is None:
        raise NotFound("there is no such payment", field="payment")
    lines = [line for pk in row[1:] if pk is not None and (line := locked_line(line_id=pk))]
    invoice = locked_invoice(invoice_id=row[0])
    payment = Payment.objects.select_related("bank_allocation", "account_use").get(pk=payment_id)
    payment.invoice = invoice
    return payment, lines


@transaction.atomic
def reverse_or_ask(*, payment_id: int, cause: str, at: datetime, actor: str, reason: str) -> PaymentReversal | Approval:
    """Take a payment back, or, from the limit of its currency on, ask for a second person; raises what `reverse_payment` raises."""
    # Locked before, as for a credit note: what is asked for is what was refused.
    payment, _ = _locked(payment_id)
    try:
        return reverse_payment(payment_id=payment_id, cause=cause, at=at, actor=actor, reason=reason)
    except NeedsApproval:
        return request_approval(
            deed=ApprovedDeed.PAYMENT_REVERSAL,
            subject=f"payment {payment.pk}",
            digest=_digest(payment, cause),
            summary=f"{money_text(money=payment.amount)} of invoice {payment.invoice.number} for {payment.invoice.customer_name[:150]}",
            at=at,
            actor=actor,
            reason=reason,
            asked=_asked(payment, cause),
        )


def lock_payment_of(approval: Approval) -> None:
    """Lock the payment that an approval is about, with its bank line and invoice."""
    _locked(_payment_of(approval))


def reverse_as_approved(approval: Approval) -> None:
    """Take the payment back as it was approved, for whoever asked for it; raises Conflict where it stands otherwise by now."""
    assert approval.decided_at is not None, "it is approved"
    payment, _ = _locked(_payment_of(approval))
    cause = approval.asked["cause"]
    if _digest(payment, cause) != approval.digest or PaymentReversal.objects.filter(payment=payment).exists():
        raise Conflict("payment or invoice stand otherwise by now: ask again", code="outdated")
    reverse_payment(
        payment_id=payment.pk,
        cause=cause,
        at=approval.decided_at,
        actor=approval.requested_by,
        reason=approval.reason,
        approval=approval,
    )


def _payment_of(approval: Approval) -> int:
    return int(approval.subject.removeprefix("payment "))


def _digest(payment: Payment, cause: str) -> str:
    said = {"payment": payment.reference, "invoice": payment.invoice.number, "status": payment.invoice.status}
    return digest_of(said | {"cause": cause, "amount": wire(payment.amount), "paid": wire(payment.invoice.amount_paid)})


def _asked(payment: Payment, cause: str) -> dict[str, Any]:
    invoice = payment.invoice
    return {
        "amount": plain(payment.amount.amount),
        "cause": cause,
        "figures": [
            ["Payment", f"{payment.reference}, {payment.received_at:%Y-%m-%d}"],
            ["Why", ReversalCause(cause).label],
            ["Invoice", f"{invoice.number}, due {invoice.due_date}"],
            ["Taken back", money_text(money=payment.amount)],
            ["Open after it", money_text(money=invoice.amount_unpaid + payment.amount)],
        ],
    }
