"""Match lines of bank statements: candidates with their reasons for people, and what is beyond doubt by itself."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q

from billing_site.kernel.errors import BillingError
from invoicing.bank.models import AllocationKind, BankLine
from invoicing.bank.queries import BookedMovement, left_of, movements_on_no_statement, open_lines, payers_of
from invoicing.core.bank.statement import StatementLine
from invoicing.core.bank_matching import Candidate, LineFacts, OpenInvoice, candidates, numbers_named
from invoicing.core.invoice_life import COLLECTABLE
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceSeries
from invoicing.invoices.queries import AMOUNT_UNPAID
from invoicing.payments.models import Payment, PushIntent
from invoicing.workflows.allocate_bank_line import Share, allocate_bank_line
from invoicing.workflows.import_bank_statement import Looked
from invoicing.workflows.match_payouts import PayoutCandidate, payouts_for
from invoicing.workflows.match_returns import Returned, returned_by

logger = logging.getLogger(__name__)

ACTOR = "bank matching"
# So many invoices of an amount, or of one payer, are looked at.
INVOICES_MAX = 40
# A movement of a line's amount that was recorded by hand so long before or after it is likely the same: nothing is settled by itself then.
# People are shown older ones, too: nobody is kept from saying that a transfer of last month is this one.
DAYS_APART = timedelta(days=10)
KNOWN_MAX = 8


@dataclass(frozen=True)
class Proposal:
    """What a line may be: invoices that it pays, movements that are in the books already, payments whose money it takes back, payouts of Stripe."""

    candidates: tuple[Candidate, ...]
    known: tuple[BookedMovement, ...]
    returned: tuple[Returned, ...] = ()
    payouts: tuple[PayoutCandidate, ...] = ()


def propose(*, line: BankLine) -> Proposal:
    """Return how what is left of a line can be understood, the best first."""
    left = left_of(line=line)
    movements = movements_on_no_statement(left=left) if left.amount else []
    known = tuple(sorted(movements, key=lambda one: abs(one.entry.occurred_at - line.booked_at))[:KNOWN_MAX])
    payouts = payouts_for(line=line, left=left)
    if left.amount <= 0 or line.is_reversal:
        return Proposal((), known, returned_by(line=line, left=left), payouts)
    named = numbers_named(texts=texts_of(line), prefixes=invoice_prefixes())
    facts = LineFacts(left, texts_of(line), line.name, payers_of(ibans=[line.iban]).get(line.iban, frozenset()))
    invoices = _open_invoices(facts, list(named))
    settled = set(named) - {one.number for one in invoices}
    return Proposal(candidates(line=facts, invoices=invoices, named=named, settled=settled), known, (), payouts)


def texts_of(line: BankLine) -> tuple[str, ...]:
    """Return what of a line may name an invoice."""
    return tuple(filter(None, (line.text, line.structured_reference, line.end_to_end_id)))


def invoice_prefixes() -> list[str]:
    """Return the prefixes under which numbers were issued."""
    return list(InvoiceSeries.objects.order_by("id").values_list("prefix", flat=True))


def _open_invoices(facts: LineFacts, numbers: Sequence[str]) -> list[OpenInvoice]:
    """Return the open invoices that a line may mean: named, of a known payer, of somebody of its name, or of its amount."""
    currency = facts.amount.currency.code
    rows = Invoice.objects.filter(status__in=COLLECTABLE, currency=currency).select_related("customer")
    rows = rows.annotate(unpaid=AMOUNT_UNPAID).filter(unpaid__gt=0).order_by("due_date", "id")
    longest = max(facts.name.split(), key=len, default="")
    by_name = Q(customer__name__icontains=longest) if len(longest) >= 4 else Q(pk__in=())
    found: dict[int, Invoice] = {}
    for wanted in (
        Q(number__in=numbers),
        Q(customer__in=facts.paid_before),
        by_name,
        Q(unpaid=facts.amount.amount),
    ):
        found |= {row.pk: row for row in rows.filter(wanted)[:INVOICES_MAX]}
    return [_as_core(row) for row in found.values()]


def _open_numbered(numbers: Sequence[str], currency: str) -> dict[str, OpenInvoice]:
    """Return the open invoices of these numbers, by number, in one query."""
    rows = Invoice.objects.filter(status__in=COLLECTABLE, currency=currency, number__in=numbers)
    unpaid = rows.annotate(unpaid=AMOUNT_UNPAID).filter(unpaid__gt=0).select_related("customer")
    return {str(row.number): _as_core(row) for row in unpaid}


def _as_core(invoice: Invoice) -> OpenInvoice:
    return OpenInvoice(
        id=invoice.pk,
        number=str(invoice.number),
        customer_id=invoice.customer_id,
        customer_name=invoice.customer.name,
        due_date=invoice.due_date,
        open=invoice.amount_unpaid,
    )


def settle_certain_lines(*, file_id: int | None, at: datetime) -> int:
    """Settle the lines of a file, or all that are open, that name one open invoice and are exactly what is open of it; returns how many.

    Each in a transaction of its own: killed between, the next run goes on. BANK_SETTLES_EXACT switches it off.
    """
    if not settings.BANK_SETTLES_EXACT:
        return 0
    prefixes = invoice_prefixes()
    lines = open_lines().filter(left_amount__gt=0, is_reversal=False)
    if file_id is not None:
        lines = lines.filter(statement__file=file_id)
    named: list[tuple[Any, str]] = []
    for line in lines.iterator(chunk_size=500):
        found = numbers_named(texts=texts_of(line), prefixes=prefixes)
        named += [(line, number) for number, is_literal in found.items() if is_literal]
    # What waits for people is not looked at every hour again: only where the invoice is open with that amount.
    rows = Invoice.objects.filter(status__in=COLLECTABLE, number__in={number for _, number in named})
    unpaid = set(rows.annotate(unpaid=AMOUNT_UNPAID).values_list("number", "currency", "unpaid"))
    fitting = {line.pk: line for line, number in named if (number, line.currency, line.left_amount) in unpaid}
    return sum(_settled_or_told(line, at=at) for line in fitting.values())


def _settled_or_told(line: BankLine, *, at: datetime) -> bool:
    """Settle a line if it is certain; what breaks at one line is told, and those behind it go on."""
    try:
        return settle_if_certain(line=line, at=at)
    except Exception:
        logger.exception("bank line %s could not be looked at", line)
        return False


def settle_if_certain(*, line: BankLine, at: datetime) -> bool:
    """Settle a line where what it pays is beyond doubt; what somebody does to line or invoice meanwhile comes first."""
    found = propose(line=line)
    certain = [one for one in found.candidates if one.is_certain]
    # The same money may be recorded by hand already: then somebody looks.
    if len(certain) != 1 or any(_is_near(one, line.booked_on) for one in found.known):
        return False
    [(invoice, amount)] = certain[0].parts
    if _may_come_otherwise(invoice_id=invoice.id) or _is_reversed(line):
        return False
    try:
        allocate_bank_line(
            line_id=line.pk,
            shares=[Share(AllocationKind.PAYMENT, amount, invoice_id=invoice.id)],
            left=amount,
            at=at,
            actor=ACTOR,
            reason=", ".join(certain[0].reasons)[:300],
        )
    except BillingError as problem:
        logger.warning("bank line %s was not settled by itself: %s", line, problem)
        return False
    return True


def _may_come_otherwise(*, invoice_id: int) -> bool:
    """Say whether an invoice may be paid another way: Stripe collects it, or a transfer for it is in the books and on no statement yet."""
    if PushIntent.objects.filter(invoice=invoice_id).exists():
        return True
    by_hand = Payment.objects.filter(
        invoice=invoice_id,
        channel=SettlementChannel.MANUAL,
        bank_allocation__isnull=True,
        account_use__isnull=True,
    )
    named = {f"{one.channel}:{one.reference}" for one in by_hand}
    return bool(named) and any(one.entry.reference in named for one in movements_on_no_statement())


def _is_reversed(line: BankLine) -> bool:
    """Say whether the bank took the money back: a payment is not taken back here, so that somebody looks before there is one."""
    same = Q(is_reversal=True)
    for name in ("bank_reference", "end_to_end_id"):
        if getattr(line, name):
            same |= Q(**{name: getattr(line, name)})
    later = BankLine.objects.filter(account=line.account_id, booked_on__gte=line.booked_on)
    return later.filter(same, amount=-line.amount.amount).exists()


@dataclass(frozen=True)
class Foreseen:
    """What would become of the new lines of a statement: settled by themselves, with the invoices, or to be looked at."""

    settled: tuple[tuple[StatementLine, OpenInvoice], ...]
    to_look_at: int


def foresee(*, looked: Looked) -> Foreseen:
    """Say which new lines of a statement would settle an invoice by themselves, and change nothing.

    It is what the import would find at this moment: an invoice that two lines name is settled by the first.
    """
    prefixes = invoice_prefixes() if settings.BANK_SETTLES_EXACT else []
    settled: list[tuple[StatementLine, OpenInvoice]] = []
    by_hand = movements_on_no_statement(currency=looked.statement.currency)
    certain: list[tuple[StatementLine, str]] = []
    for line in looked.new:
        texts = tuple(filter(None, (line.text, line.structured_reference, line.end_to_end_id)))
        named = numbers_named(texts=texts, prefixes=prefixes)
        if line.amount.amount > 0 and not line.is_reversal and len(named) == 1 and all(named.values()):
            certain.append((line, next(iter(named))))
    numbered = _open_numbered([number for _, number in certain], looked.statement.currency)
    for line, number in certain:
        one = numbered.get(number)
        if one is None or one.open != line.amount or _is_taken_back(line, looked):
            continue
        if any(other.left == line.amount and _is_near(other, line.booked_on) for other in by_hand):
            continue
        if not _may_come_otherwise(invoice_id=one.id):
            settled.append((line, numbered.pop(number)))
    return Foreseen(tuple(settled), len(looked.new) - len(settled))


def _is_near(movement: BookedMovement, day: date) -> bool:
    return abs(movement.entry.occurred_at.date() - day) <= DAYS_APART


def _is_taken_back(line: StatementLine, looked: Looked) -> bool:
    """Say whether a later line of the same statement takes the money back."""
    return any(
        other.amount == line.amount * -1
        and other.booked_on >= line.booked_on
        and (
            other.is_reversal
            or (line.bank_reference and other.bank_reference == line.bank_reference)
            or (line.end_to_end_id and other.end_to_end_id == line.end_to_end_id)
        )
        for other in looked.statement.lines
    )
