"""What a changed policy would have done over the last months: the facts of whoever was late, read at once, and both policies over them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db.models import Q, QuerySet
from django.db.models.functions import MD5

from billing_site.kernel.among import among
from dunning.arrangements.models import Hold, Promise
from dunning.core.backtest import Claim, Gone, History, Stretch, course_of
from dunning.core.comparison import Comparison, Course, compare
from dunning.core.policy import PolicyTerms
from dunning.figures.answering import fetched
from dunning.policies.models import PolicyAssignment, PolicyVersion
from dunning.policies.operations import STANDARD_KEY
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceStatus, Objection
from invoicing.ledger.models import JournalEntry
from invoicing.payments.models import PaymentFailure
from invoicing.reports.receivables import RECEIVABLE_MOVEMENTS
from invoicing.tax.models import CustomerTax

DAYS = 90
CUSTOMERS_AT_ONCE = 500
# What is older and settled has no part in what happened since.
LOOKED_BACK = timedelta(days=365)


@dataclass(frozen=True)
class Trial:
    """Which terms are tried, in place of which policy; "" in place of every one."""

    terms: PolicyTerms
    policy: str


@dataclass(frozen=True)
class PolicyBook:
    """Who was chased by which policy, and which of its versions was in force, at any moment."""

    assignments: Mapping[tuple[int | None, str], list[tuple[datetime, datetime | None, str]]]
    versions: Mapping[str, list[tuple[datetime, PolicyTerms]]]
    countries: Mapping[int, str]

    def key_at(self, *, customer_id: int, at: datetime) -> str:
        """Return which policy a customer was chased by: its own, that of its country, that of everybody else."""
        country = self.countries.get(customer_id, "")
        for whom in ((customer_id, ""), *([(None, country)] if country else []), (None, "")):
            for begun, ended, key in self.assignments.get(whom, ()):
                if begun <= at and (ended is None or at < ended):
                    return key
        return STANDARD_KEY

    def terms_at(self, *, customer_id: int, at: datetime) -> PolicyTerms:
        """Return the terms that were in force for a customer."""
        versions = self.versions[self.key_at(customer_id=customer_id, at=at)]
        begun = [terms for since, terms in versions if since <= at]
        return begun[-1] if begun else versions[0][1]

    @property
    def changes(self) -> list[datetime]:
        """The moments at which any of it became another."""
        found = {since for versions in self.versions.values() for since, _ in versions}
        for rows in self.assignments.values():
            found |= {one for begun, ended, _ in rows for one in (begun, ended) if one}
        return sorted(found)


def late_customers(*, at: datetime, days: int = DAYS) -> list[int]:
    """Return everybody who was late at any moment of the last days, in an order that is nobody's doing and stays: any first part is a fair sample; one query."""
    late = _late(start=at - timedelta(days=days), end=at)
    customers = Customer.objects.filter(pk__in=late.values("customer"))
    return list(customers.order_by(MD5("key"), "pk").values_list("pk", flat=True))


def backtest(*, trial: Trial, at: datetime, customers: Sequence[int], days: int = DAYS) -> Comparison:
    """Compare what the policies in force would have done to customers over the last days with what they would have with the trial's terms.

    So many of them are read at once that it takes little memory, however many they are.
    """
    start = at - timedelta(days=days)
    book = policy_book()
    changes = book.changes

    def course(history: History) -> Course:
        def held(moment: datetime) -> PolicyTerms:
            return book.terms_at(customer_id=history.customer_id, at=moment)

        def tried(moment: datetime) -> PolicyTerms:
            key = book.key_at(customer_id=history.customer_id, at=moment)
            return trial.terms if trial.policy in ("", key) else held(moment)

        return Course(
            history,
            course_of(history=history, terms_at=held, until=at, changes=changes),
            course_of(history=history, terms_at=tried, until=at, changes=changes),
        )

    histories = (
        history
        for first in range(0, len(customers), CUSTOMERS_AT_ONCE)
        for history in histories_of(start=start, end=at, customers=customers[first : first + CUSTOMERS_AT_ONCE])
    )
    return compare(courses=map(course, histories), start=start, end=at)


def policy_book() -> PolicyBook:
    """Return who was ever chased by what; three queries."""
    assignments: dict[tuple[int | None, str], list[tuple[datetime, datetime | None, str]]] = {}
    for row in PolicyAssignment.objects.order_by("set_at", "pk"):
        assignments.setdefault((row.customer_id, row.country), []).append((row.set_at, row.ended_at, row.policy))
    versions: dict[str, list[tuple[datetime, PolicyTerms]]] = {}
    for version in PolicyVersion.objects.order_by("key", "number"):
        versions.setdefault(version.key, []).append((version.in_force_from, version.read))
    return PolicyBook(assignments, versions, dict(CustomerTax.objects.values_list("customer", "country")))


def _issued(*, end: datetime) -> "QuerySet[Invoice]":
    return Invoice.objects.exclude(status=InvoiceStatus.DRAFT).filter(issued_at__lt=end)


def _refused(*, end: datetime) -> "QuerySet[PaymentFailure]":
    return PaymentFailure.objects.filter(occurred_at__lt=end, by_customer=False)


def _late(*, start: datetime, end: datetime) -> "QuerySet[Invoice]":
    """Return the invoices that may have been late at any moment of a span."""
    was_open = (
        Q(status=InvoiceStatus.ISSUED) | Q(paid_at__gte=start) | Q(voided_at__gte=start) | Q(amount_written_off__gt=0)
    )
    refused = _refused(end=end).values("invoice")
    return _issued(end=end).filter(was_open, Q(due_date__lt=end.date()) | Q(pk__in=refused))


def histories_of(*, start: datetime, end: datetime, customers: Sequence[int]) -> Iterator[History]:
    """Yield what is on record of each of some customers who were late in a span; the number of queries does not grow with them."""
    refused = _refused(end=end)
    rows = (
        _issued(end=end)
        .filter(among("customer", customers))
        .filter(Q(status=InvoiceStatus.ISSUED) | Q(issued_at__gte=start - LOOKED_BACK))
    )
    claimed = rows.values("pk")
    gone = _gone(end, invoices=list(rows.values_list("pk", flat=True)))
    refusals: dict[int, list[datetime]] = {}
    of_claims = refused.filter(invoice__in=claimed).order_by("occurred_at", "pk")
    for invoice_id, moment in of_claims.values_list("invoice", "occurred_at"):
        refusals.setdefault(invoice_id, []).append(moment)
    objections: dict[int, list[Stretch]] = {}
    for one in Objection.objects.filter(opened_at__lt=end, invoice__in=claimed):
        objections.setdefault(one.invoice_id, []).append(Stretch(one.opened_at, one.ended_at, one.amount.amount))
    claims: dict[int, list[Claim]] = {}
    for invoice in rows.order_by("customer", "due_date", "pk"):
        assert invoice.issued_at is not None and invoice.due_date is not None, "an issued invoice has its dates"
        claims.setdefault(invoice.customer_id, []).append(
            Claim(
                invoice_id=invoice.pk,
                number=str(invoice.number),
                issued_at=invoice.issued_at,
                due_date=invoice.due_date,
                zone=ZoneInfo(invoice.timezone),
                amount=invoice.total.amount,
                gone=tuple(gone.get(invoice.pk, ())),
                refusals=tuple(refusals.get(invoice.pk, ())),
                objections=tuple(objections.get(invoice.pk, ())),
            )
        )
    waits = _waits(end, customers=customers)
    for customer in Customer.objects.filter(among("pk", customers)).order_by("pk"):
        yield History(
            customer_id=customer.pk,
            currency=customer.currency,
            zone=ZoneInfo(customer.timezone),
            claims=tuple(claims.get(customer.pk, ())),
            waits=tuple(waits.get(customer.pk, ())),
        )


def _gone(end: datetime, *, invoices: Sequence[int]) -> dict[int, list[Gone]]:
    """Return what went off each of the invoices: payments when they were received, credit notes, write-offs, voids."""
    found: dict[int, list[Gone]] = {}
    rows = fetched(
        f"""
        SELECT invoice_id, kind, -amount, occurred_at FROM ({RECEIVABLE_MOVEMENTS}) movement
         WHERE invoice_id = ANY(%(invoices)s) AND kind <> %(issue)s AND occurred_at < %(end)s ORDER BY occurred_at, reference
        """,
        {"issue": JournalEntry.Kind.ISSUE.value, "end": end, "invoices": list(invoices)},
    )
    for invoice_id, kind, amount, moment in rows:
        found.setdefault(invoice_id, []).append(Gone(moment, Decimal(amount), kind == JournalEntry.Kind.PAYMENT.value))
    return found


def _waits(end: datetime, *, customers: Sequence[int]) -> dict[int, list[Stretch]]:
    """Return when steps of customers had to wait for a hold or a promise."""
    found: dict[int, list[Stretch]] = {}
    for hold in Hold.objects.filter(among("customer", customers), starts_at__lt=end):
        ends = [one for one in (hold.until, hold.ended_at) if one is not None]
        found.setdefault(hold.customer_id, []).append(Stretch(hold.starts_at, min(ends) if ends else None))
    promised = Promise.objects.filter(among("case__customer", customers), made_at__lt=end)
    for customer_id, made_at, ended_at in promised.values_list("case__customer", "made_at", "ended_at"):
        found.setdefault(customer_id, []).append(Stretch(made_at, ended_at))
    return found
