"""What paying late has cost a customer so far and nobody has charged or waived yet, with the figures that it follows from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import F, Prefetch, QuerySet
from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.money import plain, total, wire
from dunning.core.calendar import local_day
from dunning.core.interest import Objected, Owed, Rate, Stretch, interest, proof_of, stretches_of
from dunning.core.notice_kinds import NoticeKind
from dunning.notices.models import MailEventKind, Notice
from dunning.overdue.models import Audience, OverdueCharge, OverdueKind, OverdueTerms
from dunning.policies.queries import policy_for
from dunning.telling import REFERENCE
from invoicing.credit_notes.models import CreditNote
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceStatus, Objection
from invoicing.payments.models import Payment
from invoicing.tax.models import CustomerTax

# What costs a fee where there is one.
WITH_FEE = (NoticeKind.REMINDER, NoticeKind.WARNING, NoticeKind.FINAL_NOTICE, NoticeKind.COLLECTION_NOTICE)
LATE = (InvoiceStatus.ISSUED, InvoiceStatus.PAID)


@dataclass(frozen=True)
class Accrued:
    """Something that paying late costs: for which invoice, how much, and why so much."""

    kind: OverdueKind
    about: Invoice
    amount: Money
    proof: list[dict[str, Any]]
    first_day: date | None = None
    end_day: date | None = None
    notice: Notice | None = None

    @property
    def words(self) -> str:
        """What stands on the invoice that charges it."""
        if self.kind is OverdueKind.INTEREST:
            assert self.first_day is not None and self.end_day is not None, "interest is of days"
            last = self.end_day - timedelta(days=1)
            return f"Interest for late payment of {self.about.number}, {self.first_day} to {last}"
        if self.kind is OverdueKind.LUMP_SUM:
            return f"Lump sum for late payment of {self.about.number}"
        assert self.notice is not None, "a fee is for a notice"
        return f"Fee for the reminder of {local_day(at=self.notice.planned_at, zone=ZoneInfo(self.about.timezone))}"


def accrued_of(*, customer: Customer, at: datetime) -> list[Accrued]:
    """Return what paying late has cost a customer until yesterday, and was neither charged nor waived: oldest invoice first.

    Nothing costs interest for its part that is objected to, nor what itself charges for late payment: interest bears none.
    """
    terms = _Terms(customer, at=at)
    if not terms.rows:
        return []
    today = local_day(at=at, zone=ZoneInfo(customer.timezone))
    own = OverdueCharge.objects.filter(customer=customer)
    invoices = Invoice.objects.filter(customer=customer, status__in=LATE, due_date__lt=today)
    invoices = invoices.exclude(pk__in=own.exclude(invoice=None).values("invoice"))
    known = list(own.order_by("pk"))
    found: list[Accrued] = []
    for invoice in _with_history(invoices).order_by("due_date", "pk"):
        found += _of_invoice(invoice, terms, [one for one in known if one.about_id == invoice.pk], today)
    return [*found, *_fees(customer, terms, {one.notice_id for one in known}, at=at)]


def terms_of(*, customer: Customer, day: date, at: datetime) -> OverdueTerms | None:
    """Return the terms by which a day costs a customer who pays late; None where it costs nothing."""
    return _Terms(customer, at=at).on(day)


def accrued_total(*, accrued: Iterable[Accrued], currency: str) -> Money:
    """Return what it comes to."""
    return total((one.amount for one in accrued), currency)


def accrued_digest(*, accrued: Iterable[Accrued]) -> str:
    """Return a digest of what was shown: what is charged or waived by it is what somebody saw."""
    return digest_of([[one.words, one.about.pk, wire(one.amount), one.proof] for one in accrued])


class _Terms:
    """The terms that fit one customer, and which of them hold on a day."""

    def __init__(self, customer: Customer, *, at: datetime) -> None:
        # The terms are few, and most houses have none: then nobody asks further.
        every = list(OverdueTerms.objects.order_by("valid_from", "pk"))
        self.currency, self.rows = customer.currency, []
        if not every:
            return
        tax = CustomerTax.objects.filter(customer=customer).first()
        audience = Audience.BUSINESS if tax is not None and tax.vat_id else Audience.CONSUMER
        policy = policy_for(customer=customer, at=at).key
        self.rows = [
            row
            for row in every
            if row.policy in ("", policy)
            and row.country in ("", tax.country if tax else "")
            and row.audience in ("", audience.value)
        ]

    def on(self, day: date) -> OverdueTerms | None:
        """Return the terms of a day."""
        return _closest(row for row in self.rows if row.valid_from <= day)

    def on_record(self, day: date, *, at: datetime) -> OverdueTerms | None:
        """Return the terms of a day of which anybody knew at a moment: they were recorded by then."""
        return _closest(row for row in self.rows if row.valid_from <= day and row.recorded_at <= at)

    @property
    def rates(self) -> list[Rate]:
        """The rates by the day from which each holds."""
        found = []
        for day in sorted({row.valid_from for row in self.rows}):
            row = self.on(day)
            assert row is not None, "some terms have begun on the day on which they begin"
            found.append(Rate(day, row.percent))
        return found

    def amount(self, name: str, row: OverdueTerms | None) -> Money | None:
        """Return a fixed amount of terms in the customer's currency; None where there is none."""
        amount: Money | None = getattr(row, name) if row is not None and row.currency == self.currency else None
        return amount if amount is not None and amount.amount > 0 else None


def _closest(rows: Iterable[OverdueTerms]) -> OverdueTerms | None:
    return max(rows, key=lambda row: (*_closeness(row), row.valid_from, row.pk), default=None)


def _closeness(row: OverdueTerms) -> tuple[bool, bool, bool]:
    return bool(row.policy), bool(row.country), bool(row.audience)


def _of_invoice(invoice: Invoice, terms: _Terms, known: Sequence[OverdueCharge], today: date) -> Iterable[Accrued]:
    assert invoice.due_date is not None, "an issued invoice has a due date"
    owed = _owed(invoice)
    first = invoice.due_date + timedelta(days=1)
    settled = [(one.first_day, one.end_day) for one in known if one.first_day and one.end_day]
    stretches = stretches_of(owed=owed, rates=terms.rates, until=today, settled=settled)
    for run in _runs(stretches):
        amount = interest(stretches=run, currency=invoice.currency)
        if amount.amount > 0:
            yield Accrued(OverdueKind.INTEREST, invoice, amount, proof_of(stretches=run), run[0].start, run[-1].end)
    lump_sum = terms.amount("lump_sum", terms.on(first))
    is_known = any(one.kind == OverdueKind.LUMP_SUM for one in known)
    was_owed = any(owed.at_the_end_of(day) > 0 for day in owed.turns(first=first, until=today))
    if lump_sum is not None and not is_known and was_owed:
        yield Accrued(OverdueKind.LUMP_SUM, invoice, lump_sum, [{"terms": str(terms.on(first)), "due": str(owed.due)}])


def _runs(stretches: Sequence[Stretch]) -> Iterable[list[Stretch]]:
    """Yield stretches that follow each other without a day between them together: each run is charged as one, rounded once."""
    run: list[Stretch] = []
    for one in stretches:
        if run and run[-1].end != one.start:
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def _with_history(invoices: "QuerySet[Invoice]") -> "QuerySet[Invoice]":
    """Return the invoices with what came for them, what is objected to and what was credited: three queries, however many they are."""
    payments = Payment.objects.filter(reversal__isnull=True)
    # Money on account was here when the bank says so, whenever somebody applied it.
    payments = payments.annotate(of_line=F("account_use__allocation__line__booked_on"))
    return invoices.prefetch_related(
        Prefetch("payments", payments.order_by("received_at", "pk")),
        Prefetch("objections", Objection.objects.order_by("pk")),
        Prefetch("credit_notes", CreditNote.objects.order_by("pk")),
    )


def _owed(invoice: Invoice) -> Owed:
    """Return what an invoice asked for: what was credited or given up of it was not, from the beginning."""
    assert invoice.due_date is not None, "an issued invoice has a due date"
    zone = ZoneInfo(invoice.timezone)
    rows: list[Any] = list(invoice.payments.all())
    payments = [
        (local_day(at=one.received_at, zone=zone) if one.of_line is None else one.of_line, one.amount.amount)
        for one in rows
    ]
    # What was settled otherwise is taken off from the first day on.
    otherwise = max(Decimal(0), invoice.amount_paid.amount - sum((amount for _, amount in payments), Decimal(0)))
    whole = invoice.total.amount - invoice.amount_credited.amount - invoice.amount_written_off.amount - otherwise
    objections = tuple(
        Objected(
            _objected(one, invoice),
            local_day(at=one.opened_at, zone=zone),
            local_day(at=one.ended_at, zone=zone) if one.ended_at else None,
        )
        for one in invoice.objections.all()
    )
    return Owed(invoice.due_date, max(Decimal(0), whole), tuple(payments), objections)


def _objected(objection: Objection, invoice: Invoice) -> Decimal:
    """Return what was objected to and not credited since: that is taken off from the beginning, and not a second time."""
    since = [one.offset_amount.amount for one in invoice.credit_notes.all() if one.issued_at > objection.opened_at]
    return max(Decimal(0), objection.amount.amount - sum(since, Decimal(0)))


def _fees(customer: Customer, terms: _Terms, known: set[int | None], *, at: datetime) -> Iterable[Accrued]:
    # What never arrived reminds of nothing.
    sent = Notice.objects.filter(
        customer=customer, kind__in=WITH_FEE, state="sent", reference__startswith=REFERENCE, sending_at__lte=at
    ).exclude(events__kind=MailEventKind.BOUNCE)
    # Nor does what reminds of nothing that was owed, or of charges for late payment alone.
    own = OverdueCharge.objects.filter(customer=customer).exclude(invoice=None)
    was_owed = Invoice.objects.filter(customer=customer, amount_credited__lt=F("total"))
    was_owed = was_owed.exclude(status=InvoiceStatus.VOID).exclude(pk__in=own.values("invoice"))
    of_case: dict[str, int] = {}
    for notice in sent.order_by("sending_at", "pk"):
        assert notice.sending_at is not None, "what was sent was written down"
        about = was_owed.filter(notices__notice=notice).order_by("due_date", "pk").first()
        if about is None:
            continue
        case = notice.reference.split(":")[1]
        of_case[case] = of_case.get(case, 0) + 1
        day = local_day(at=notice.sending_at, zone=ZoneInfo(customer.timezone))
        # A reminder costs what was known to cost something when it was sent.
        row = terms.on_record(day, at=notice.sending_at)
        fee = terms.amount("reminder_fee", row)
        if row is None or fee is None or notice.pk in known or of_case[case] <= row.free_reminders:
            continue
        yield Accrued(
            OverdueKind.REMINDER,
            about,
            fee,
            [{"terms": str(row), "reminder": of_case[case], "sent": day.isoformat(), "fee": plain(fee.amount)}],
            notice=notice,
        )
