"""Say what a line of a bank statement is: the payments it makes, what stays on account, what is none of it; booked, once, and never more than it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from billing_site.kernel.money import is_rounded, round_money, total
from billing_site.kernel.reasons import checked_reason
from invoicing.bank.models import AllocationKind, AllocationReversal, BankAllocation, BankLine
from invoicing.bank.operations import locked_line, next_reference, record_allocation, record_reversal
from invoicing.bank.queries import allocations_in_force, left_of, movements_on_no_statement
from invoicing.core.invoice_life import COLLECTABLE, stage_words
from invoicing.core.posting import (
    BANK,
    BANK_FEES,
    ELSEWHERE,
    ON_ACCOUNT,
    PAYOUTS_IN_TRANSIT,
    STRIPE_CLEARING,
    UNIDENTIFIED,
    PostingLine,
    postings_for_identified,
    postings_for_reversal,
)
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.printed_text import money_text
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import post_entry
from invoicing.payments.models import Payment
from invoicing.payments.payout import Payout
from invoicing.payments.queries import is_withdrawn
from invoicing.payments.reversal import PaymentReversal, ReversalCause
from invoicing.workflows.reverse_payment import check_can_be_reversed, reverse_payment, take_back
from invoicing.workflows.settle_payment import settle_payment

# Where a line goes that is no payment of an invoice.
ACCOUNTS = {
    AllocationKind.ON_ACCOUNT.value: ON_ACCOUNT,
    AllocationKind.KNOWN.value: BANK,
    AllocationKind.PAYOUT.value: STRIPE_CLEARING,
    AllocationKind.FEE.value: BANK_FEES,
    AllocationKind.SET_ASIDE.value: ELSEWHERE,
}


@dataclass(frozen=True)
class Share:
    """What a part of a line is, signed as the line: a payment names its invoice, money on account its customer, what is known its entry.

    A return names the payment that it takes back, a payout of Stripe which it is.
    """

    kind: str
    amount: Money
    invoice_id: int | None = None
    customer_id: int | None = None
    entry_id: int | None = None
    payment_id: int | None = None
    payout_id: int | None = None


@transaction.atomic
def allocate_bank_line(
    *, line_id: int, shares: Sequence[Share], left: Money, at: datetime, actor: str, reason: str
) -> list[BankAllocation]:
    """Allocate parts of a line, all of them or none; returned in the order of the shares.

    `left` is what was left of the line when it was looked at: somebody who was faster is told, not overwritten, and the same click
    twice allocates once. Raises NotFound, InvalidInput for a share that cannot be, Conflict where it is more than is left or open.
    """
    said = checked_reason(reason=reason)
    line = locked_line(line_id=line_id)
    if line is None:
        raise NotFound("there is no such bank line", field="line")
    there = left_of(line=line)
    if there != left:
        message = f"{money_text(money=there)} are left of {line} by now, not {money_text(money=left)}: look at it again"
        raise Conflict(message, field="left", code="line_has_changed")
    _check(line, shares, there)
    # Invoices are locked in one order by everybody who locks several.
    of_payments = dict(Payment.objects.filter(pk__in=[one.payment_id for one in shares]).values_list("pk", "invoice"))
    ordered = sorted(enumerate(shares), key=lambda one: one[1].invoice_id or of_payments.get(one[1].payment_id or 0, 0))
    placed = {place: _allocate(line, share, at=at, actor=actor, reason=said) for place, share in ordered}
    made = [placed[place] for place in range(len(shares))]
    assert left_of(line=line) + total((one.amount for one in made), line.currency) == there, "nothing is lost between"
    return made


def _check(line: BankLine, shares: Sequence[Share], left: Money) -> None:
    if not shares:
        raise InvalidInput("say what the line is", field="shares", code="required")
    for share in shares:
        if share.kind not in AllocationKind.values:
            raise InvalidInput(f"must be one of {', '.join(AllocationKind.values)}", field="kind")
        if share.amount.currency.code != line.currency:
            message = f"the line is in {line.currency}, what is allocated in {share.amount.currency}"
            raise Conflict(message, field="currency")
        if (
            not share.amount.amount
            or (share.amount.amount > 0) != (line.amount.amount > 0)
            or not is_rounded(share.amount)
        ):
            message = f"must be whole minor units of {line.currency}, signed as the line"
            raise InvalidInput(message, field="amount")
        if line.amount.amount < 0 and share.kind in (AllocationKind.PAYMENT, AllocationKind.ON_ACCOUNT):
            raise InvalidInput("money that went out is no payment of a customer", field="kind")
        if line.amount.amount > 0 and share.kind == AllocationKind.RETURN:
            raise InvalidInput("money that came in returns no payment", field="kind")
    whole = total((share.amount for share in shares), line.currency)
    if abs(whole.amount) > abs(left.amount):
        message = f"{money_text(money=whole)} are allocated, {money_text(money=left)} are left of {line}"
        raise Conflict(message, field="amount", code="more_than_is_left")


def _allocate(line: BankLine, share: Share, *, at: datetime, actor: str, reason: str) -> BankAllocation:
    if share.kind == AllocationKind.PAYMENT:
        return _pay(line, share, at=at, actor=actor, reason=reason)
    if share.kind == AllocationKind.RETURN:
        return _return(line, share, at=at, actor=actor, reason=reason)
    customer = _payer(share) if share.kind == AllocationKind.ON_ACCOUNT else None
    entry = _known_entry(line, share) if share.kind == AllocationKind.KNOWN else None
    payout = _payout(line, share) if share.kind == AllocationKind.PAYOUT else None
    made = record_allocation(
        line=line,
        kind=share.kind,
        amount=share.amount,
        customer=customer,
        entry=entry,
        payout=payout,
        at=at,
        actor=actor,
        reason=reason,
    )
    post_entry(
        kind=JournalEntry.Kind.BANK_ALLOCATION,
        reference=made.reference,
        postings=postings_of(allocation=made),
        description=f"{made.get_kind_display()}: {customer or entry or payout or reason}"[:300],
        # What was recorded by hand before the bank booked it is in the books twice from then on.
        occurred_at=max(line.booked_at, entry.occurred_at) if entry else line.booked_at,
        entity=line.account.holder_key,
        held=_held_by_others(made),
    )
    return made


def _pay(line: BankLine, share: Share, *, at: datetime, actor: str, reason: str) -> BankAllocation:
    """Settle a part of an invoice, or all of it; the payment carries the reference of its allocation."""
    invoice = Invoice.objects.select_for_update().filter(pk=share.invoice_id or 0).first()
    if invoice is None:
        raise NotFound("there is no such invoice", field="invoice")
    check_takes(invoice=invoice, amount=share.amount)
    _, reference = next_reference(line=line)
    assert invoice.issued_at is not None, "an invoice that takes money is issued"
    payment = settle_payment(
        invoice_id=invoice.pk,
        channel=SettlementChannel.MANUAL,
        reference=reference,
        amount=share.amount,
        # Nobody pays before there is something to pay: until then the money stands unidentified.
        received_at=max(line.booked_at, invoice.issued_at),
        reason=reason,
        actor=actor,
        held_on=UNIDENTIFIED,
        held_by=line.account.holder_key,
    )
    return record_allocation(
        line=line, kind=AllocationKind.PAYMENT, amount=share.amount, payment=payment, at=at, actor=actor, reason=reason
    )


def _return(line: BankLine, share: Share, *, at: datetime, actor: str, reason: str) -> BankAllocation:
    """Take a payment back whose money went out by this line: all of it, or nothing."""
    payment = Payment.objects.filter(pk=share.payment_id or 0).first()
    if payment is None:
        raise NotFound("there is no such payment", field="payment")
    payment.invoice = Invoice.objects.select_for_update().get(pk=payment.invoice_id)
    if PaymentReversal.objects.filter(payment=payment).exists():
        raise Conflict(f"payment {payment.reference} was taken back already", field="payment", code="reversed")
    check_can_be_reversed(payment=payment, cause=ReversalCause.RETURNED)
    if payment.amount != share.amount * -1:
        message = (
            f"payment {payment.reference} is over {money_text(money=payment.amount)}: a return takes all of it back"
        )
        raise Conflict(message, field="amount", code="not_all_of_it")
    reversal = take_back(
        payment=payment,
        cause=ReversalCause.RETURNED,
        account=UNIDENTIFIED,
        at=line.booked_at,
        actor=actor,
        reason=reason,
        held_by=line.account.holder_key,
    )
    return record_allocation(
        line=line,
        kind=AllocationKind.RETURN,
        amount=share.amount,
        returned=reversal,
        at=at,
        actor=actor,
        reason=reason,
    )


def check_takes(*, invoice: Invoice, amount: Money) -> None:
    """Raise Conflict where an invoice, which is locked, cannot take an amount from the bank."""
    if invoice.status not in COLLECTABLE:
        message = f"invoice {invoice} is {stage_words(invoice.status)}: nothing is open of it"
        raise Conflict(message, field="invoice")
    collects = invoice.settlement_channel == SettlementChannel.STRIPE and invoice.status != InvoiceStatus.WRITTEN_OFF
    if collects and amount < invoice.amount_unpaid and not is_withdrawn(invoice=invoice):
        message = (
            f"Stripe would still collect all of invoice {invoice}: it takes {money_text(money=invoice.amount_unpaid)}, or nothing;"
            " put a part of that on account"
        )
        raise Conflict(message, field="amount", code="stripe_collects")


def _payer(share: Share) -> Customer:
    customer = Customer.objects.filter(pk=share.customer_id or 0).first()
    if customer is None:
        raise NotFound("there is no such customer", field="customer")
    if customer.billed_to is not None:
        message = f"{customer} is billed to {customer.billed_to}, who pays: put the money on that account"
        raise InvalidInput(message, field="customer", code="billed_to_another")
    return customer


def _known_entry(line: BankLine, share: Share) -> JournalEntry:
    known = [one for one in movements_on_no_statement(currency=line.currency) if one.entry.pk == share.entry_id]
    if not known:
        message = "there is no such movement of the bank in the books, or it is on a statement already"
        raise NotFound(message, field="entry")
    left = known[0].left
    if (left.amount > 0) != (share.amount.amount > 0) or abs(share.amount.amount) > abs(left.amount):
        message = f"{money_text(money=left)} of it are on no statement yet, not {money_text(money=share.amount)}"
        raise Conflict(message, field="amount", code="more_than_was_recorded")
    return known[0].entry


def _payout(line: BankLine, share: Share) -> Payout:
    """Return the payout that a share is, locked: no more of it comes to the bank than was sent, and no more goes back."""
    payout = Payout.objects.select_for_update(no_key=True).filter(pk=share.payout_id or 0).first()
    if payout is None:
        raise NotFound("there is no such payout: name it by Stripe's number, po_...", field="payout")
    if payout.currency != line.currency:
        raise Conflict(f"the payout is in {payout.currency}, the line in {line.currency}", field="currency")
    lines = allocations_in_force().filter(payout=payout)
    there = total((round_money(one.amount.amount, line.currency) for one in lines), line.currency)
    after, way = there + share.amount, 1 if payout.amount.amount > 0 else -1
    if after.amount * way < 0 or abs(after.amount) > abs(payout.amount.amount):
        message = (
            f"{money_text(money=there)} of payout {payout} over {money_text(money=payout.amount)} are on lines already"
        )
        raise Conflict(message, field="amount", code="more_than_was_paid_out")
    return payout


@transaction.atomic
def take_back_allocation(*, allocation_id: int, at: datetime, actor: str, reason: str) -> AllocationReversal:
    """Take an allocation back: what it named is left of its line again, in the books, too. A second time changes nothing.

    A payment is reversed by it, and its invoice open again; a returned payment is paid again, by another in its place. Raises InvalidInput at
    `reason`, NotFound, Conflict for money that is used already and where its invoice cannot follow, NeedsApproval for a large payment.
    """
    said = checked_reason(reason=reason)
    line_id = BankAllocation.objects.filter(pk=allocation_id).values_list("line", flat=True).first()
    if line_id is None or locked_line(line_id=line_id) is None:
        raise NotFound("there is no such allocation", field="allocation")
    allocation = BankAllocation.objects.get(pk=allocation_id)
    existing = AllocationReversal.objects.filter(allocation=allocation).first()
    if existing is not None:
        return existing
    if allocation.payment is not None:
        reverse_payment(payment_id=allocation.payment.pk, cause=ReversalCause.MISTAKE, at=at, actor=actor, reason=said)
        return AllocationReversal.objects.get(allocation=allocation)
    if allocation.returned is not None:
        _pay_again(allocation, allocation.returned, at=at, actor=actor, reason=said)
        return record_reversal(allocation=allocation, at=at, actor=actor, reason=said)
    reversal = record_reversal(allocation=allocation, at=at, actor=actor, reason=said)
    post_entry(
        kind=JournalEntry.Kind.BANK_REVERSAL,
        reference=allocation.reference,
        postings=postings_of_reversal(allocation=allocation),
        description=f"Taken back: {allocation.get_kind_display()}, {said}"[:300],
        occurred_at=at,
        entity=allocation.line.account.holder_key,
        held=_held_by_others(allocation),
    )
    return reversal


def _pay_again(
    allocation: BankAllocation, returned: PaymentReversal, *, at: datetime, actor: str, reason: str
) -> Payment:
    """Settle the invoice again whose payment was not returned by the line: its money is there, and the line unidentified."""
    return settle_payment(
        invoice_id=returned.payment.invoice_id,
        channel=SettlementChannel.MANUAL,
        reference=allocation.reference,
        amount=returned.amount,
        received_at=max(at, returned.reversed_at),
        reason=reason,
        actor=actor,
        held_on=UNIDENTIFIED,
        held_by=allocation.line.account.holder_key,
    )


def _held_by_others(allocation: BankAllocation) -> dict[str, str]:
    """Return which account of an allocation's entry stands with another legal entity than the bank line, and with which.

    A customer's money is its seller's debt, and what is recorded already stands where that was booked.
    """
    if allocation.customer is not None:
        return {ON_ACCOUNT: allocation.customer.seller_key}
    if allocation.entry is None:
        return {}
    booked = allocation.entry.postings.filter(account__code=BANK).values_list("legal_entity__key", flat=True)
    return {BANK: booked[:1].get()}


def postings_of(*, allocation: BankAllocation) -> tuple[PostingLine, ...]:
    """Return the postings of an allocation that is no payment."""
    account = PAYOUTS_IN_TRANSIT if allocation.payout_id is not None else ACCOUNTS[allocation.kind]
    return postings_for_identified(amount=allocation.amount, account=account)


def postings_of_reversal(*, allocation: BankAllocation) -> tuple[PostingLine, ...]:
    """Return the postings that take an allocation out of the books."""
    return postings_for_reversal(postings=postings_of(allocation=allocation))
