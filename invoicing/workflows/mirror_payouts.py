"""Mirror Stripe's payouts and what moved its balance, and book what that is: payouts, their return, Stripe's fees. Twice changes nothing."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from django.db import transaction

from billing_site.kernel.errors import Conflict
from invoicing.core.posting import PostingLine, postings_for_payout, postings_for_reversal, postings_for_stripe_fee
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.printed_text import money_text
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import NewEntry, post_entries, stripe_holder
from invoicing.payments.intake import find_payout
from invoicing.payments.locks import only_worker
from invoicing.payments.look import looked_to, note_looked, steps_between
from invoicing.payments.models import Payment
from invoicing.payments.payout import GONE_BACK, PAYOUT_MOVES, Payout, PayoutStatus, StripeTransaction
from invoicing.payments.remote import GatewayRefused, GatewayUnavailable
from invoicing.payments.remote_payouts import (
    RemoteBalanceTransaction,
    RemotePayout,
    payouts_between,
    retrieve_payout,
    transactions_between,
    transactions_of_payout,
)
from invoicing.workflows.explain_payouts import fee_to_book, look_again, note_explained

logger = logging.getLogger(__name__)

# News of a payout that failed comes within days (docs.stripe.com/payouts#payout-failures).
LOOKED_BACK = timedelta(days=35)
# Each look begins a little before the last one ended: a list may show late what happened just then.
OVERLAP = timedelta(days=1)
# Stripe counts in seconds: the one that runs is looked at, too.
SECOND = timedelta(seconds=1)
# How much a step asks for: what moved in a day, and of payouts, which are few, what a usual look is about.
STEP, STEP_OF_PAYOUTS = timedelta(days=1), LOOKED_BACK + OVERLAP
BATCH = 500
# The names of the looks.
TRANSACTIONS, PAYOUTS = "balance transactions", "payouts"


def follow_payout(*, stripe_id: str, at: datetime) -> str:
    """Bring one payout to its present state at Stripe, with what it was made of; returns the outcome in words.

    Raises GatewayUnavailable (also while another worker has it: come again), GatewayRefused, Conflict where it moved as none can.
    """
    with only_worker(f"payout {stripe_id}") as alone:
        if not alone:
            raise GatewayUnavailable("The payout is being looked at at this moment.")
        return _mirror(retrieve_payout(stripe_id), at=at)


def _mirror(present: RemotePayout, *, at: datetime) -> str:
    known = Payout.objects.filter(stripe_id=present.id).first()
    listed = present.is_listed and (known is None or not known.is_listed)
    transactions = transactions_of_payout(present.id) if listed else []
    with transaction.atomic():
        payout, before = record_payout(present=present, listed=listed, at=at)
        record_transactions(remote=transactions, payout=payout, at=at)
    told = f"payout of {money_text(money=payout.amount)}: {payout.get_status_display().lower()}"
    if before == payout.status and not transactions:
        return f"nothing to do: {told}"
    return f"{told}, of {len(transactions)} transactions" if transactions else told


def record_payout(*, present: RemotePayout, listed: bool, at: datetime) -> tuple[Payout, str]:
    """Bring a payout to its present state and book it, and its return; returns it and the status before ("": it is new). Raises Conflict."""
    if present.status not in PayoutStatus.values:
        raise Conflict(f"Stripe calls it {present.status}, which is not known here", field="status")
    goes_back = present.status in GONE_BACK
    told: dict[str, Any] = {
        "status": present.status,
        "arrival_date": present.arrival_date,
        "descriptor": present.descriptor[:200],
        "trace": present.trace[:200],
        "failure_code": present.failure_code[:100],
        "failure_message": present.failure_message[:500],
    }
    payout, is_new = Payout.objects.select_for_update(no_key=True).get_or_create(
        stripe_id=present.id,
        defaults={
            **told,
            "currency": present.amount.currency.code,
            "amount": present.amount,
            "is_automatic": present.is_automatic,
            "is_listed": listed,
            "created_at": present.created_at,
            "returned_at": max(at, present.created_at) if goes_back else None,
        },
    )
    before = "" if is_new else payout.status
    if payout.amount != present.amount:
        raise Conflict(f"it is over {payout.amount} here, over {present.amount} at Stripe", field="amount")
    if before and before != present.status and (before, present.status) not in PAYOUT_MOVES:
        raise Conflict(f"it is {before} here and {present.status} at Stripe", field="status")
    if not is_new:
        for name, value in told.items():
            setattr(payout, name, value)
        payout.is_listed = payout.is_listed or listed
        if goes_back and payout.returned_at is None:
            payout.returned_at = max(at, payout.created_at)
        payout.save(update_fields=[*told, "is_listed", "returned_at"])
    post_entries(entries=entries_of(payout=payout))
    return payout, before


def entries_of(*, payout: Payout) -> list[NewEntry]:
    """Return the journal entries that a payout is: it left Stripe's balance, and, where it failed, came back."""
    left = postings_for_payout(amount=payout.amount)
    words, holder = f"Payout {payout.stripe_id} of Stripe", stripe_holder()
    entries = [
        NewEntry(JournalEntry.Kind.PAYOUT.value, payout.stripe_id, left, words, payout.created_at, holder),
    ]
    if payout.returned_at is not None:
        back: Sequence[PostingLine] = postings_for_reversal(postings=left)
        why = f"{words} came back: {payout.failure_message or payout.status}"[:300]
        kind = JournalEntry.Kind.PAYOUT_RETURN.value
        entries.append(NewEntry(kind, payout.stripe_id, back, why, payout.returned_at, holder))
    return entries


@transaction.atomic
def record_transactions(
    *, remote: Iterable[RemoteBalanceTransaction], payout: Payout | None, at: datetime
) -> list[StripeTransaction]:
    """Keep what moved Stripe's balance, each once, with the payout that paid it out; book its fee and say whether it is explained."""
    wanted = {one.id: one for one in remote}
    StripeTransaction.objects.bulk_create(
        [
            StripeTransaction(
                stripe_id=one.id,
                payout=payout,
                kind=one.kind[:100],
                category=one.category[:100],
                currency=one.net.currency.code,
                amount=one.amount,
                fee=one.fee,
                net=one.net,
                source=one.source[:100],
                description=one.description[:500],
                created_at=one.created_at,
            )
            for one in sorted(wanted.values(), key=lambda one: (one.created_at, one.id))
        ],
        ignore_conflicts=True,
    )
    rows = StripeTransaction.objects.filter(stripe_id__in=wanted)
    if payout is not None:
        rows.filter(payout__isnull=True).update(payout=payout)
    here = list(rows.order_by("id"))
    for one in here:
        there = wanted[one.stripe_id]
        if (one.net, one.kind) != (there.net, there.kind):
            raise Conflict(f"transaction {one} moved {one.net} here, {there.net} at Stripe", field="transaction")
    fees = [entry for one in here if (entry := fee_entry_of(one=one)) is not None]
    if fees:
        post_entries(entries=fees)
    note_explained(transactions=[one for one in here if one.explained_at is None], at=at)
    return here


def fee_entry_of(*, one: StripeTransaction) -> NewEntry | None:
    """Return the journal entry of the fee that a transaction brings; None where it brings none."""
    fee = fee_to_book(one=one)
    if not fee.amount:
        return None
    return NewEntry(
        kind=JournalEntry.Kind.STRIPE_FEE.value,
        reference=one.stripe_id,
        postings=postings_for_stripe_fee(amount=fee),
        description=f"Fee of Stripe: {one.description or one.kind} {one.source}"[:300].rstrip(),
        occurred_at=one.created_at,
        entity=stripe_holder(),
    )


def look_at_payouts(*, at: datetime) -> str:
    """Mirror what moved Stripe's balance since the last look, and each payout that is new or not over; returns the outcome in words.

    The oldest first, in steps that are kept: a look that is broken off goes on from there, whatever notices brought meanwhile. Where nobody has paid
    through Stripe it is asked for nothing. One payout or transaction that breaks holds up none behind it; such a payout waits for people from then on
    (`find_payout`), however long they take. Raises GatewayUnavailable.
    """
    first = Payment.objects.filter(channel=SettlementChannel.STRIPE).order_by("received_at").first()
    if first is None:
        return "nobody has paid through Stripe"
    begin, end = first.received_at - OVERLAP, at + SECOND
    known = looked_to(name=TRANSACTIONS)
    moved = 0
    for start, to in steps_between(start=known - OVERLAP if known else begin, end=end, length=STEP):
        moved += _mirror_transactions(transactions_between(start=start, end=to), at=at)
        note_looked(name=TRANSACTIONS, to=to)
    known = looked_to(name=PAYOUTS)
    begun = max(begin, min(known - OVERLAP, at - LOOKED_BACK)) if known else begin
    count = 0
    for start, to in steps_between(start=begun, end=end, length=STEP_OF_PAYOUTS):
        there = payouts_between(start=start, end=to)
        count += len(there)
        for present in reversed(there):
            try:
                _mirror(present, at=at)
            except (Conflict, GatewayRefused):
                logger.exception("payout %s could not be mirrored", present.id)
                find_payout(payout=present.id, status=present.status, at=at)
        note_looked(name=PAYOUTS, to=to)
    return f"{moved} transactions and {count} payouts looked at, {look_again(at=at)} more explained"


def _mirror_transactions(found: Iterator[RemoteBalanceTransaction], *, at: datetime) -> int:
    """Keep what moved Stripe's balance, so many at a time; what is here otherwise than there is logged and left as it is."""
    count = 0
    while batch := list(islice(found, BATCH)):
        try:
            count += len(record_transactions(remote=batch, payout=None, at=at))
        except Conflict:
            count += sum(_mirrored_alone(one, at=at) for one in batch)
    return count


def _mirrored_alone(one: RemoteBalanceTransaction, *, at: datetime) -> bool:
    try:
        record_transactions(remote=[one], payout=None, at=at)
    except Conflict:
        logger.exception("transaction %s could not be mirrored", one.id)
        return False
    return True
