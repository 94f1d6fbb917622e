"""What may be asked of the bank: what is left of each line, what customers have on account, what is in the books and on no statement."""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import DecimalField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce, Concat
from moneyed import Money

from billing_site.kernel.money import round_money
from billing_site.kernel.period import Period
from billing_site.kernel.written_query import WrittenQuery
from invoicing.bank.models import OWN_ENTRIES, AccountUse, AllocationKind, AllocationReversal, BankAllocation, BankLine
from invoicing.core.posting import BANK, ON_ACCOUNT
from invoicing.customers.models import SettlementChannel
from invoicing.ledger.models import JournalEntry, Posting
from invoicing.payments.reversal import PaymentReversal, ReversalCause

AMOUNT: "DecimalField[Decimal, Decimal]" = DecimalField(max_digits=20, decimal_places=4)
NOTHING = Decimal(0)


def allocations_in_force() -> QuerySet[BankAllocation]:
    """Return the allocations that nobody has taken back."""
    return BankAllocation.objects.filter(~Exists(AllocationReversal.objects.filter(allocation=OuterRef("pk"))))


def uses_in_force() -> QuerySet[AccountUse]:
    """Return what became of money on account, without what an invoice gave back: the payment was a mistake."""
    undone = PaymentReversal.objects.filter(payment=OuterRef("payment"), account=ON_ACCOUNT)
    return AccountUse.objects.filter(~Exists(undone))


def _sum_of(rows: "QuerySet[BankAllocation] | QuerySet[AccountUse] | QuerySet[Posting]", by: str) -> Coalesce:
    summed = rows.order_by().values(by).annotate(of_it=Sum("amount", output_field=AMOUNT)).values("of_it")
    return Coalesce(Subquery(summed, output_field=AMOUNT), NOTHING, output_field=AMOUNT)


def allocated_to(*, payout: Any) -> Coalesce:
    """Return the expression of what bank lines are of a payout, signed as these."""
    return _sum_of(allocations_in_force().filter(payout=payout), "payout")


def with_left(lines: QuerySet[BankLine]) -> QuerySet[Any]:
    """Return lines with `left_amount`: what no allocation names, signed as the line."""
    taken = _sum_of(allocations_in_force().filter(line=OuterRef("pk")), "line")
    return lines.annotate(left_amount=ExpressionWrapper(F("amount") - taken, output_field=AMOUNT))


def open_lines() -> QuerySet[Any]:
    """Return the lines of which something is left, oldest first."""
    return with_left(BankLine.objects.all()).exclude(left_amount=0).order_by("booked_on", "id")


def left_of(*, line: BankLine) -> Money:
    """Return what is left of a line, signed as it is."""
    taken = allocations_in_force().filter(line=line).aggregate(amount=Sum("amount"))["amount"] or NOTHING
    return line.amount - round_money(taken, line.currency)


def with_rest(lots: QuerySet[BankAllocation]) -> QuerySet[Any]:
    """Return lots of money on account with `rest`: what of each is neither applied nor paid back."""
    used = _sum_of(uses_in_force().filter(allocation=OuterRef("pk")), "allocation")
    return lots.annotate(rest=ExpressionWrapper(F("amount") - used, output_field=AMOUNT))


def money_on_account() -> QuerySet[Any]:
    """Return the lots of customers' money on account of which something is there, oldest first."""
    lots = allocations_in_force().filter(kind=AllocationKind.ON_ACCOUNT)
    return with_rest(lots).filter(rest__gt=0).order_by("allocated_at", "id")


def rest_of(*, lot: BankAllocation) -> Money:
    """Return what of a lot is neither applied nor paid back."""
    used = uses_in_force().filter(allocation=lot).aggregate(amount=Sum("amount"))["amount"] or NOTHING
    return lot.amount - round_money(used, lot.currency)


def on_account_of(*, customer_id: int) -> dict[str, Money]:
    """Return what a customer has on account, by currency."""
    found: dict[str, Money] = {}
    for currency, rest in _OF_CUSTOMER.rows(customer=customer_id):
        money = round_money(rest, currency)
        found[currency] = found[currency] + money if currency in found else money
    return found


# Asked before each act of dunning: written once.
_OF_CUSTOMER = WrittenQuery(
    lambda customer: money_on_account().filter(customer=customer).values_list("currency", "rest"), customer=int
)


def payers_of(*, ibans: Collection[str]) -> dict[str, frozenset[int]]:
    """Return for which customers each of these accounts has paid before, as somebody or an exact match has confirmed."""
    rows = (
        allocations_in_force()
        .filter(Q(payment__isnull=False) | Q(customer__isnull=False), line__iban__in=[one for one in ibans if one])
        .annotate(payer=Coalesce("payment__customer", "customer"))
        .values_list("line__iban", "payer")
        .distinct()
    )
    found: dict[str, set[int]] = {}
    for iban, payer in rows:
        found.setdefault(iban, set()).add(payer)
    return {iban: frozenset(payers) for iban, payers in found.items()}


@dataclass(frozen=True)
class BookedMovement:
    """An entry that moved money at the bank otherwise than by a statement, and what of it no line stands for yet; signed."""

    entry: JournalEntry
    left: Money


def _of_mistakes() -> Q:
    """Return the condition of entries of payments that were recorded by hand and by mistake, and of their reversals."""
    wrong = PaymentReversal.objects.filter(cause=ReversalCause.MISTAKE, account=BANK).annotate(
        named=Concat(Value(f"{SettlementChannel.MANUAL}:"), F("payment__reference"))
    )
    kinds = (JournalEntry.Kind.PAYMENT, JournalEntry.Kind.PAYMENT_REVERSAL)
    return Q(kind__in=kinds, reference__in=wrong.values("named"))


def movements_on_no_statement(
    *, currency: str = "", left: Money | None = None, span: Period | None = None
) -> list[BookedMovement]:
    """Return the entries on the bank account that were recorded by hand and are on no statement, or not wholly; oldest first.

    A payment that was a mistake, and its reversal, are none: no bank knows of them.

    Of one currency, of which exactly so much is left, or that happened in a span, where these are given.
    """
    moved = _sum_of(Posting.objects.filter(entry=OuterRef("pk"), account__code=BANK), "entry")
    matched = _sum_of(allocations_in_force().filter(entry=OuterRef("pk")), "entry")
    entries = JournalEntry.objects.filter(postings__account__code=BANK).exclude(kind__in=OWN_ENTRIES)
    entries = entries.exclude(_of_mistakes())
    if currency:
        entries = entries.filter(currency=currency)
    if span is not None:
        entries = entries.filter(occurred_at__gte=span.start, occurred_at__lt=span.end)
    rows: QuerySet[Any] = (
        entries.distinct().annotate(of_bank=moved - matched).exclude(of_bank=0).order_by("occurred_at", "id")
    )
    if left is not None:
        rows = rows.filter(currency=left.currency.code, of_bank=left.amount)
    return [BookedMovement(row, round_money(row.of_bank, row.currency)) for row in rows]
