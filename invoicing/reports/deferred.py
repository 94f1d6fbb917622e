"""What is paid and not earned yet, and when it becomes revenue: fees in advance by service period, commitments and credit when they are used.

Sources: IFRS 15.106 (a contract liability is what was paid before the service), 15.120 (when it is expected to become revenue), and
15.87-88 (a price that changes later changes what was served and what is to be served alike).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Q, QuerySet, Sum
from moneyed import Money

from billing_site.kernel.money import allocate, round_money, total
from invoicing.core.adjustments.commitment import amount_of_step
from invoicing.core.adjustments.credits import CreditKind
from invoicing.core.contract import AdjustmentKind, StepKind
from invoicing.core.posting import ACCOUNT_NAMES, DEFERRED, PREPAID, PREPAID_CREDIT
from invoicing.credit_notes.models import CreditNoteLine
from invoicing.credits.models import CreditEntry
from invoicing.invoices.crediting import PREPAYING, credited_beside
from invoicing.invoices.models import InvoiceLine
from invoicing.invoices.queries import OWED
from invoicing.ledger.queries import balance_of
from invoicing.recognition.queries import recognised_before
from invoicing.reports.asking import Question
from invoicing.reports.booked import Kind, booked_moment, payment_booked, with_booked_entries, with_booked_invoices
from invoicing.reports.report import Column, ColumnKind, Door, DoorKind, Report, Row, Section, Tie, sums_of
from invoicing.subscriptions.agreements import IN_ADVANCE
from invoicing.subscriptions.commitment import CommitmentTranche
from invoicing.top_ups.models import TopUp

MONTHS_SHOWN = 6
ACCOUNTS = (DEFERRED, PREPAID, PREPAID_CREDIT)
DEFINITION = (
    "What stands on the liability accounts at the end of the day (UTC), by what it was paid for. Fees in advance are earned evenly over "
    "their service period, in the customer's days; what is served by the end of a month is revenue of that month, and released for good by the invoice "
    "of that period; what would have been served after the end of a subscription is given back, and no revenue of any month; a credit note while the service "
    "runs lowers all its days alike. Commitments and credit are earned when they are drawn, or when they expire."
)


@dataclass(frozen=True)
class Obligation:
    """What is owed in service for money that was taken: over a service period, or, where that is None, when it is used.

    `ends_on` is the first day without service, where the subscription ends before its service would; `conceded` is what credit notes took
    off its price while it ran: off revenue in the books, although it is for the days to come as well.
    """

    account: str
    customer: str
    customer_name: str
    about: str
    amount: Money
    service: tuple[date, date] | None = None
    subscription_id: int | None = None
    recognised: Money | None = None
    ends_on: date | None = None
    conceded: Money | None = None

    @property
    def left(self) -> Money:
        """What is not revenue yet: what is recognised at the end of a month is no liability at that moment."""
        return self.amount if self.recognised is None else self.amount - self.recognised

    def served_by(self, day: date) -> Money:
        """Return what of it was served by the end of a day; nothing of what is earned when it is used."""
        if self.service is None:
            return total((), self.amount.currency.code)
        return self.spread_over(as_of=day, months=_months_after(day))["served"]

    def spread_over(self, *, as_of: date, months: Sequence[date]) -> dict[str, Money]:
        """Divide it over the days of its service, as `spread` does; what was conceded is taken off days to come, and is served instead.

        So revenue comes to what the days served cost by now, concession included.
        """
        assert self.service is not None, "what is earned when it is used has no days"
        parts = spread(amount=self.amount, service=self.service, as_of=as_of, months=months, ends_on=self.ends_on)
        if self.conceded is not None and self.conceded.amount:
            first, after = self.service
            served = first, after if self.ends_on is None else min(after, max(first, self.ends_on))
            off = (
                spread(amount=self.conceded, service=served, as_of=as_of, months=months)
                if served[0] < served[1]
                else {}
            )
            for key in off.keys() - {"served"}:
                parts[key] -= off[key]
                parts["served"] += off[key]
        return parts


def deferred_revenue_report(*, question: Question) -> Report:
    """Return what of each liability account becomes revenue when, as of a day."""
    months = _months_after(question.as_of)
    columns = _columns(question.as_of, months)
    recognised = recognised_before(moment=question.before, entity=question.books)
    owed = [
        replace(one, recognised=recognised.get(one.subscription_id)) if one.subscription_id else one
        for one in _obligations(before=question.before, entity=question.books)
        if question.currency in ("", one.amount.currency.code)
    ]
    sections = []
    booked = {
        account: balance_of(account=account, before=question.before, entity=question.books) for account in ACCOUNTS
    }
    found = {(one.amount.currency.code, one.account) for one in owed}
    found |= {(code, account) for account in ACCOUNTS for code, one in booked[account].items() if one.amount}
    for currency, account in sorted(found):
        if question.currency not in ("", currency):
            continue
        mine = [one for one in owed if (one.amount.currency.code, one.account) == (currency, account)]
        rows = [_row(one, question.as_of, months) for one in mine]
        totals = sums_of(rows=rows, columns=columns, currency=currency)
        in_books = total((), currency) - booked[account].get(currency, total((), currency))
        tie = Tie("not earned yet", totals["held"], in_books, f"account {account} {ACCOUNT_NAMES[account]}")
        sections.append(Section(currency, rows, totals, (tie,), title=ACCOUNT_NAMES[account]))
    return Report(
        name="deferred-revenue",
        title="Deferred revenue",
        asked=f"as of the end of {question.as_of}{question.of_whom}",
        columns=columns,
        sections=sections,
        definition=DEFINITION,
    )


def spread(
    *, amount: Money, service: tuple[date, date], as_of: date, months: Sequence[date], ends_on: date | None = None
) -> dict[str, Money]:
    """Divide an amount over the days of its service, last day excluded: what is served by a day, each month after it, and later.

    The days from `ends_on` on are not served: what they would have cost is `used` by no month, but given back. Its parts sum to the
    amount, to the cent (largest remainder).
    """
    first, after = service
    served_until = after if ends_on is None else min(after, max(first, ends_on))
    begins = as_of + timedelta(days=1)
    ends = [*months[1:], _next_month(months[-1])]
    bounds = [("served", date.min, begins)]
    bounds += [(_key(month), max(month, begins), end) for month, end in zip(months, ends, strict=True)]
    bounds.append(("later", ends[-1], date.max))
    days = [(key, (min(served_until, end) - max(first, start)).days) for key, start, end in bounds]
    days.append(("used", (after - served_until).days))
    weights = [Decimal(max(number, 0)) for _, number in days]
    return dict(zip((key for key, _ in days), allocate(amount, weights), strict=True))


def _obligations(*, before: datetime, entity: str) -> Iterator[Obligation]:
    yield from fees_in_advance(before=before, entity=entity)
    yield from _commitments(before, entity)
    yield from _prepaid_credit(before, entity)
    yield from _sold_credit(before, entity)


def _sold_by(entity: str, *, path: str = "customer") -> dict[str, str]:
    """Return the condition that the customer at a path buys from this legal entity; none for all of them."""
    return {f"{path}__legal_entity__key": entity} if entity else {}


def _owed(before: datetime, entity: str, **of: Any) -> "QuerySet[InvoiceLine]":
    """Return the lines of some kinds of the invoices that were owed at a moment: booked before it, and not void by then."""
    of |= _sold_by(entity, path="invoice__customer")
    lines = with_booked_invoices(InvoiceLine.objects.filter(**of), path="invoice__")
    return lines.filter(Q(invoice__status__in=OWED) | Q(unbooked__gte=before), booked__lt=before)


def fees_in_advance(*, before: datetime, entity: str) -> Iterator[Obligation]:
    """Yield what is held of each subscription: it is for the service that the last line in advance was about. Credit notes give some of it back.

    Once that service is settled, what is left of it is for no service: it is given back.
    """
    lines = _owed(before, entity, adjustment__in=IN_ADVANCE).select_related("invoice", "subscription__customer")
    released: dict[int, Decimal] = defaultdict(Decimal)
    conceded: dict[int, Decimal] = defaultdict(Decimal)
    noted = booked_moment(kind=Kind.CREDIT_NOTE, reference="note__number", happened="note__issued_at")
    given_back = CreditNoteLine.objects.filter(line__adjustment=AdjustmentKind.IN_ADVANCE).alias(booked=noted)
    for one in given_back.filter(booked__lt=before).values("line", "line__subscription", "amount", "released"):
        released[one["line__subscription"]] += one["released"]
        conceded[one["line"]] += one["amount"] - one["released"]
    held: dict[int, list[InvoiceLine]] = defaultdict(list)
    ordered = lines.order_by("subscription_id", "invoice__period_end", "invoice__period_start", "position")
    for line in ordered.iterator():
        assert line.subscription_id is not None, "fees in advance are of a subscription"
        held[line.subscription_id].append(line)
    for number, those in held.items():
        amount = total((round_money(line.amount.amount, line.currency) for line in those), those[0].currency)
        amount -= round_money(released[number], those[0].currency)
        if not amount.amount:
            continue
        last = _unsettled(those)
        subscription = those[0].subscription
        assert subscription is not None, "fees in advance are of a subscription"
        yield Obligation(
            DEFERRED,
            subscription.customer.key,
            subscription.customer.name,
            subscription.key,
            amount,
            None if last is None else _days_of(last),
            subscription_id=subscription.pk,
            ends_on=None if last is None or subscription.ended_at is None else _day_after(subscription.ended_at, last),
            conceded=None if last is None else round_money(conceded[last.pk], last.currency),
        )


def _unsettled(lines: Sequence[InvoiceLine]) -> InvoiceLine | None:
    """Return the last line in advance, unless a later invoice has settled it without taking more in advance."""
    for line in reversed(lines):
        if line.adjustment == AdjustmentKind.IN_ADVANCE:
            return line
        if not any(one.adjustment == AdjustmentKind.IN_ADVANCE for one in lines if one.invoice_id == line.invoice_id):
            return None
    return None


def _commitments(before: datetime, entity: str) -> Iterator[Obligation]:
    """Yield what is left of each tranche that was paid in advance; what rolled over is its successor's."""
    kinds = (*PREPAYING, AdjustmentKind.COMMITMENT_EXPIRY)
    lines = _owed(before, entity, adjustment__in=kinds).select_related(
        "invoice", "tranche__commitment", "tranche__subscription__customer"
    )
    left: dict[int, Decimal] = defaultdict(Decimal)
    tranches: dict[int, CommitmentTranche] = {}
    for line in lines.order_by("id").iterator():
        tranche = line.tranche
        assert tranche is not None, "a commitment's line names its tranche"
        tranches[tranche.pk] = tranche
        prepaid = credited_beside(lines=[line]).get(PREPAID)
        left[tranche.pk] += prepaid.amount if prepaid else 0
        if line.adjustment == AdjustmentKind.COMMITMENT_EXPIRY and (
            rolled := amount_of_step(rated=line.rated, kind=StepKind.ROLLED_OVER)
        ):
            successor = tranche.commitment.tranches.select_related("subscription__customer").get(
                position=tranche.position + 1
            )
            tranches[successor.pk] = successor
            left[tranche.pk] -= rolled
            left[successor.pk] += rolled
    for number, amount in sorted(left.items()):
        if amount:
            customer = tranches[number].subscription.customer
            about = f"{tranches[number].subscription.key}, commitment until {tranches[number].ends_at:%Y-%m-%d}"
            money = round_money(amount, tranches[number].currency)
            yield Obligation(PREPAID, customer.key, customer.name, about, money)


def _prepaid_credit(before: datetime, entity: str) -> Iterator[Obligation]:
    prepaid = CreditEntry.objects.filter(grant__kind=CreditKind.PREPAID, **_sold_by(entity, path="grant__customer"))
    entries = with_booked_entries(prepaid).filter(booked__lt=before)
    sums = entries.values(
        "grant__key", "grant__expires_at", "grant__customer__key", "grant__customer__name", "currency"
    ).annotate(left=Sum("amount"))
    for row in sums.exclude(left=0).order_by("grant__customer__name", "grant__key"):
        expires_at = row["grant__expires_at"]
        about = f"{row['grant__key']}, {f'expires {expires_at:%Y-%m-%d}' if expires_at else 'does not expire'}"
        yield Obligation(
            PREPAID_CREDIT,
            row["grant__customer__key"],
            row["grant__customer__name"],
            about,
            round_money(row["left"], row["currency"]),
        )


def _sold_credit(before: datetime, entity: str) -> Iterator[Obligation]:
    """Yield the credit that invoices have sold and that is not granted, because they are not paid."""
    sold = with_booked_invoices(TopUp.objects.filter(**_sold_by(entity)), path="invoice__").alias(
        granted=payment_booked(invoice="invoice", happened="grant__granted_at")
    )
    waiting = sold.filter(booked__lt=before).filter(
        Q(grant__isnull=True) | Q(granted__gte=before), Q(unbooked__isnull=True) | Q(unbooked__gte=before)
    )
    for one in waiting.select_related("invoice", "customer").order_by("customer__name", "id"):
        about = f"{one.invoice.number}, not paid yet"
        yield Obligation(PREPAID_CREDIT, one.customer.key, one.customer.name, about, one.amount)


def _days_of(line: InvoiceLine) -> tuple[date, date]:
    """Return the days of a line's service in its customer's calendar, the last one excluded; a part of a day is a day."""
    first = line.service_start.astimezone(ZoneInfo(line.invoice.timezone)).date()
    return first, max(_day_after(line.service_end, line), first + timedelta(days=1))


def _day_after(end: datetime, line: InvoiceLine) -> date:
    """Return the first day in the calendar of a line's customer that is no part of what ends then."""
    local = end.astimezone(ZoneInfo(line.invoice.timezone))
    return local.date() if local.time() == datetime.min.time() else local.date() + timedelta(days=1)


def _row(one: Obligation, as_of: date, months: Sequence[date]) -> Row:
    cells: dict[str, str | Money | None] = {"customer": one.customer_name, "about": one.about, "held": one.left}
    if one.service is None:
        cells["used"] = one.amount
    else:
        first, after = one.service
        cells["about"] = f"{one.about}, {first} to {after - timedelta(days=1)}"
        parts = one.spread_over(as_of=as_of, months=months)
        parts["served"] -= one.amount - one.left
        cells |= {key: part for key, part in parts.items() if part.amount}
    return Row(cells, {"customer": Door(DoorKind.CUSTOMER, one.customer)})


def _columns(as_of: date, months: Sequence[date]) -> list[Column]:
    def money(key: str, title: str) -> Column:
        return Column(key, title, ColumnKind.MONEY, is_optional=True)

    titles = [f"{month:%Y-%m}" for month in months]
    if (as_of + timedelta(days=1)).day != 1:
        titles[0] = f"Rest of {titles[0]}"
    return [
        Column("customer", "Customer", is_name=True),
        Column("about", "For"),
        money("served", "Served, not released"),
        *(money(_key(month), title) for month, title in zip(months, titles, strict=True)),
        money("later", "Later"),
        money("used", "When used or given back"),
        Column("held", "Not earned yet", ColumnKind.MONEY),
    ]


def _key(month: date) -> str:
    return f"month_{month:%Y_%m}"


def _months_after(day: date) -> list[date]:
    """Return the first days of the month of the day after, and of those that follow."""
    months = [(day + timedelta(days=1)).replace(day=1)]
    while len(months) < MONTHS_SHOWN:
        months.append(_next_month(months[-1]))
    return months


def _next_month(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)
