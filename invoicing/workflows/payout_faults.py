"""What is wrong with payouts: transactions that do not come to them, books that say something else, explanations that hold no more."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import QuerySet, Sum
from moneyed import Money

from billing_site.kernel.money import round_money, total
from invoicing.bank.models import AllocationKind, BankAllocation
from invoicing.bank.queries import allocations_in_force
from invoicing.core.posting import PAYOUTS_IN_TRANSIT, STRIPE_CLEARING, postings_for_explanation
from invoicing.invoices.printed_text import money_text
from invoicing.ledger.models import JournalEntry, Posting
from invoicing.ledger.operations import NewEntry, stripe_holder
from invoicing.ledger.queries import trial_balance
from invoicing.payments.payout import GONE_BACK, Payout, StripeTransaction, TransactionExplanation
from invoicing.workflows.explain_payouts import CHUNK, explained
from invoicing.workflows.match_payouts import payouts_on_way
from invoicing.workflows.mirror_payouts import entries_of, fee_entry_of
from invoicing.workflows.unexplained import unexplained, unexplained_sums

Kind = JournalEntry.Kind
KINDS = (Kind.PAYOUT.value, Kind.PAYOUT_RETURN.value, Kind.STRIPE_FEE.value, Kind.EXPLANATION.value)
# A bank takes some days more than Stripe expects before anybody has to ask.
PATIENCE = timedelta(days=5)


def payout_faults() -> Iterator[tuple[str, str]]:
    """Yield (payout, transaction, entry or currency, what is wrong): each is in the books as it is, and what is in transit is what account 1110 says.

    What nobody has explained yet is no fault: it waits at the desk. What was explained and is not any more, is.
    """
    for payout in Payout.objects.filter(is_listed=True).order_by("id"):
        made_of = payout.transactions.exclude(source=payout.stripe_id).aggregate(net=Sum("net"))["net"] or Decimal(0)
        if made_of != payout.amount.amount:
            yield f"payout {payout}", f"it is over {payout.amount.amount}, its transactions come to {made_of}"
    settled = StripeTransaction.objects.filter(explained_at__isnull=False).order_by("id")
    for chunk in _chunks(settled.count()):
        for one in explained(transactions=settled[chunk : chunk + CHUNK]):
            if one.difference.amount:
                left = money_text(money=one.difference)
                yield f"transaction {one.transaction} of Stripe", f"it was explained, and {left} of it are not"
    yield from _out_of_books()
    booked = {one.amount.currency.code: one.amount for one in trial_balance() if one.account == PAYOUTS_IN_TRANSIT}
    on_way = _in_transit()
    for currency in sorted({*booked, *on_way}):
        expected, there = on_way.get(currency, total((), currency)), booked.get(currency, total((), currency))
        if expected != there:
            yield currency, f"{expected.amount} are in transit, account {PAYOUTS_IN_TRANSIT} says {there.amount}"


def _chunks(count: int) -> range:
    return range(0, count, CHUNK)


def _in_transit() -> dict[str, Money]:
    """Return what payouts sent and no line shows, less what lines show of those that went back, by currency."""
    sums: dict[str, Decimal] = {}
    sent = Payout.objects.exclude(status__in=GONE_BACK).order_by().values_list("currency").annotate(Sum("amount"))
    lines = allocations_in_force().filter(kind=AllocationKind.PAYOUT, payout__isnull=False)
    for currency, amount in sent:
        sums[currency] = sums.get(currency, Decimal(0)) + amount
    for currency, amount in lines.order_by().values_list("currency").annotate(Sum("amount")):
        sums[currency] = sums.get(currency, Decimal(0)) - amount
    return {currency: round_money(amount, currency) for currency, amount in sums.items()}


def _out_of_books() -> Iterator[tuple[str, str]]:
    booked: dict[tuple[str, str], dict[str, Money]] = {}
    postings = Posting.objects.filter(entry__kind__in=KINDS)
    rows = postings.values_list("entry__kind", "entry__reference", "account__code", "currency").annotate(Sum("amount"))
    for kind, reference, account, currency, amount in rows:
        booked.setdefault((kind, reference), {})[account] = round_money(amount, currency)
    for entry in _expected():
        if booked.pop((entry.kind, entry.reference), None) != {one.account: one.amount for one in entry.postings}:
            yield f"{entry.kind} {entry.reference}", "the books say something else of it"
    for kind, reference in booked:
        yield f"journal entry {kind} {reference}", "there is nothing that it stands for"


def _expected() -> Iterator[NewEntry]:
    for payout in Payout.objects.order_by("id").iterator(chunk_size=CHUNK):
        yield from entries_of(payout=payout)
    for one in StripeTransaction.objects.order_by("id").iterator(chunk_size=CHUNK):
        if (entry := fee_entry_of(one=one)) is not None:
            yield entry
    for said in TransactionExplanation.objects.select_related("transaction").order_by("id"):
        postings = postings_for_explanation(amount=said.amount, account=said.account)
        at = said.transaction.created_at
        yield NewEntry(Kind.EXPLANATION.value, said.reference, postings, said.reason, at, stripe_holder())


def open_payouts(*, before: datetime) -> Iterator[str]:
    """Yield what is not known of Stripe's balance and payouts before a moment: nothing of ours explains it, or no statement shows it."""
    named = unexplained(before=before)
    for one in named:
        left = money_text(money=one.difference)
        yield f"{left} of transaction {one.transaction} of Stripe ({one.transaction.kind}) are unexplained"
    waiting = StripeTransaction.objects.filter(explained_at__isnull=True, created_at__lt=before).count()
    if waiting > len(named):
        yield f"{waiting - len(named)} more transactions of Stripe are unexplained"
    for payout in payouts_on_way().filter(arrival_date__lt=(before - PATIENCE).date()):
        left = money_text(money=round_money(payout.on_way, payout.currency))
        yield f"{left} of payout {payout}, expected on {payout.arrival_date}, are on no bank statement"
    for nameless in of_no_payout().filter(line__booked_on__lt=before.date()):
        booked = money_text(money=round_money(nameless.amount.amount, nameless.currency))
        yield f"{booked} of bank line {nameless.line} are a payout that nobody named, out of Stripe's balance a second time once it is here: take it back, then match it"


def of_no_payout() -> QuerySet[BankAllocation]:
    """Return the lines, in force, that are a payout without saying which: from before payouts were mirrored, booked from account 1100 themselves."""
    nameless = allocations_in_force().filter(kind=AllocationKind.PAYOUT, payout__isnull=True)
    return nameless.select_related("line").order_by("id")


@dataclass(frozen=True)
class StripeStanding:
    """One currency: what the books say of Stripe's balance (1100), what Stripe's transactions come to, and what lies between.

    `open` is what of that nobody has explained, `unheard` what we booked and no transaction of Stripe's stands for yet.
    """

    currency: str
    booked: Money
    stated: Money
    unexplained_count: int
    open: Money
    in_transit: Money
    on_way: tuple[Payout, ...]

    @property
    def difference(self) -> Money:
        """What Stripe's balance says beyond the books."""
        return self.stated - self.booked

    @property
    def unheard(self) -> Money:
        """What the books have and Stripe has not told of yet."""
        return self.open - self.difference


def stripe_standings() -> list[StripeStanding]:
    """Return Stripe's balance against the books, by currency; Stripe is not asked."""
    booked: dict[tuple[str, str], Money] = {
        (one.account, one.amount.currency.code): one.amount for one in trial_balance()
    }
    sums = StripeTransaction.objects.order_by("currency").values_list("currency").annotate(Sum("net"))
    stated = {currency: round_money(amount, currency) for currency, amount in sums}
    waiting, on_way = {one.currency: one for one in unexplained_sums()}, list(payouts_on_way())
    found = {currency for account, currency in booked if account in (STRIPE_CLEARING, PAYOUTS_IN_TRANSIT)}
    return [
        StripeStanding(
            currency,
            booked.get((STRIPE_CLEARING, currency), total((), currency)),
            stated.get(currency, total((), currency)),
            waiting[currency].count if currency in waiting else 0,
            waiting[currency].difference if currency in waiting else total((), currency),
            booked.get((PAYOUTS_IN_TRANSIT, currency), total((), currency)),
            tuple(one for one in on_way if one.currency == currency),
        )
        for currency in sorted({*found, *stated})
    ]
