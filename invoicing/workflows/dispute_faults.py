"""What is wrong with disputes: more claimed than was paid, money that the books do not say, a balance that no open dispute stands for."""

from collections.abc import Iterator

from django.db.models import Sum
from moneyed import Money

from billing_site.kernel.money import round_money, total
from invoicing.core.dispute_life import CLAIMS, DisputeStatus
from invoicing.core.posting import DISPUTED, INTERCOMPANY
from invoicing.ledger.models import Posting
from invoicing.ledger.queries import trial_balance
from invoicing.payments.dispute import Dispute, DisputeMovement
from invoicing.payments.disputes import held_of
from invoicing.payments.models import Payment
from invoicing.workflows.follow_dispute import ENTRY_KINDS, postings_of


def dispute_faults() -> Iterator[tuple[str, str]]:
    """Yield (dispute, payment, entry or currency, what is wrong): each movement is in the books, and what is held is what account 1150 says."""
    yield from _beyond_payments()
    yield from _out_of_books()
    held: dict[str, list[Money]] = {}
    for dispute in Dispute.objects.prefetch_related("movements").order_by("id"):
        left = held_of(dispute=dispute)
        held.setdefault(dispute.currency, []).append(left)
        if left.amount < 0 or left > dispute.amount or (left.amount and dispute.status == DisputeStatus.LOST):
            yield f"dispute {dispute}", f"{left.amount} are held of {dispute.amount.amount}, and it is {dispute.status}"
    booked = {one.amount.currency.code: one.amount for one in trial_balance() if one.account == DISPUTED}
    for currency in sorted({*held, *booked}):
        expected, there = total(held.get(currency, ()), currency), booked.get(currency, total((), currency))
        if expected != there:
            yield currency, f"{expected.amount} are held for disputes, account {DISPUTED} says {there.amount}"


def _beyond_payments() -> Iterator[tuple[str, str]]:
    claimed = Dispute.objects.filter(status__in=CLAIMS).order_by().values("payment", "currency")
    sums = {row["payment"]: row["claimed"] for row in claimed.annotate(claimed=Sum("amount"))}
    for payment in Payment.objects.filter(pk__in=sums).order_by("id"):
        if sums[payment.pk] > payment.amount.amount:
            yield f"payment {payment.reference}", f"{sums[payment.pk]} are disputed of {payment.amount.amount}"


def _out_of_books() -> Iterator[tuple[str, str]]:
    """Yield the movements whose entry says something else, and entries of disputes that stand for nothing."""
    booked: dict[tuple[str, str], dict[str, Money]] = {}
    kinds = {kind.value for kind in ENTRY_KINDS.values()}
    postings = Posting.objects.filter(entry__kind__in=kinds)
    # What stands between companies follows from who holds the rest.
    postings = postings.exclude(account__code=INTERCOMPANY)
    rows = postings.values_list("entry__kind", "entry__reference", "account__code", "currency").annotate(Sum("amount"))
    for kind, reference, account, currency, amount in rows:
        booked.setdefault((kind, reference), {})[account] = round_money(amount, currency)
    for movement in DisputeMovement.objects.order_by("id"):
        named = (ENTRY_KINDS[movement.kind].value, movement.reference)
        if booked.pop(named, None) != {line.account: line.amount for line in postings_of(movement=movement)}:
            yield f"dispute movement {movement}", f"it is over {movement.amount.amount}, the books say something else"
    for kind, reference in booked:
        yield f"journal entry {kind} {reference}", "there is nothing that it stands for"
