"""Monthly recurring revenue and its movements, by month and by customer, from the contracts in force; tied to what was invoiced and booked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction

from moneyed import Money

from billing_site.kernel.money import round_money, total
from billing_site.kernel.period import Period
from invoicing.core.recurring import FeeInForce, MrrMovement, movement_of
from invoicing.customers.models import Customer
from invoicing.reports.asking import Question, midnight
from invoicing.reports.fees import fees_in_force
from invoicing.reports.recurring_ties import INSTANT, currencies_invoiced, recurring_ties
from invoicing.reports.report import Cell, Column, ColumnKind, Door, DoorKind, Report, Row, Section, sums_of

MOVEMENTS = tuple(Column(move.value, move.value.capitalize(), ColumnKind.MONEY) for move in MrrMovement)
MONTH_COLUMNS = (
    Column("month", "Month"),
    Column("opening", "MRR before", ColumnKind.MONEY),
    *MOVEMENTS,
    Column("closing", "MRR at its end", ColumnKind.MONEY),
    Column("customers", "Paying customers", ColumnKind.NUMBER),
)
CUSTOMER_COLUMNS = (
    Column("customer", "Customer", is_name=True),
    Column("customer_id", "Key"),
    Column("opening", "MRR before", ColumnKind.MONEY),
    *MOVEMENTS,
    Column("closing", "MRR at the end", ColumnKind.MONEY),
)
DEFINITION = (
    "MRR at a moment: the flat fees of all subscriptions that are charged then, times seats, at the prices agreed, each normalised to a month "
    "(a year a twelfth, a quarter a third, a week 52/12), a customer's sum rounded once. Usage, minimum spend, commitments, one-off charges, "
    "discounts, credit and tax are no part of it; trials and pauses come to nothing. A month compares its last moment (UTC) with that of the "
    "month before: a customer without MRR before is new, or reactivated if it ever had any; without any after, churned; else it expanded or "
    "contracted. Source: the five movements of MRR as subscription analytics define them (ChartMogul, Baremetrics)."
)


@dataclass(frozen=True)
class _Book:
    """The fees of the customers of one currency, with their names and the months that are looked at."""

    currency: str
    customers: dict[int, Customer]
    fees: dict[int, list[FeeInForce]]
    months: list[date]

    def amount(self, customer: int, moment: datetime) -> Money:
        """Return a customer's recurring revenue at a moment."""
        return _monthly(self.fees[customer], moment, self.currency)

    def moves(self, customer: int) -> list[tuple[Money, MrrMovement | None, Money]]:
        """Return for each month the amount before it, why it moved, and the amount at its end."""
        moments = [midnight(day=month) - INSTANT for month in (*self.months, next_month(self.months[-1]))]
        amounts = [self.amount(customer, moment) for moment in moments]
        first = min(fee.starts_at for fee in self.fees[customer])
        return [
            (before, movement_of(before=before, after=after, paid_earlier=first <= moment), after)
            for before, after, moment in zip(amounts, amounts[1:], moments, strict=False)
        ]


def mrr_report(*, question: Question) -> Report:
    """Return the recurring revenue of each month that the span touches, and why it moved."""
    return _report(question, "mrr", "Monthly recurring revenue", MONTH_COLUMNS)


def mrr_by_customer_report(*, question: Question) -> Report:
    """Return each customer's recurring revenue before and after the months of the span, and why it moved."""
    return _report(question, "mrr-by-customer", "Recurring revenue by customer", CUSTOMER_COLUMNS)


def months_of(*, question: Question) -> list[date]:
    """Return the first days of the months that a span touches."""
    months = [question.start.replace(day=1)]
    while next_month(months[-1]) <= question.end:
        months.append(next_month(months[-1]))
    return months


def next_month(month: date) -> date:
    """Return the first day of the month after."""
    return (month + timedelta(days=31)).replace(day=1)


def _monthly(fees: Sequence[FeeInForce], moment: datetime, currency: str) -> Money:
    """Return what fees come to in a month, rounded once."""
    return round_money(sum((fee.monthly for fee in fees if fee.holds_at(moment)), Fraction(0)), currency)


def _report(question: Question, name: str, title: str, columns: Sequence[Column]) -> Report:
    months = months_of(question=question)
    span = Period(midnight(day=months[0]), midnight(day=next_month(months[-1])))
    by_month = columns is MONTH_COLUMNS
    sections = []
    for book in _books(question, months, span):
        rows = list(_month_rows(book) if by_month else _customer_rows(book))
        totals = sums_of(rows=rows, columns=columns, currency=book.currency)
        if by_month:
            # A column of balances has no sum: the first and the last say where the movements lead.
            totals["opening"], totals["closing"] = rows[0].cells["opening"], rows[-1].cells["closing"]  # type: ignore[assignment]
        moved = total((totals[column.key] for column in MOVEMENTS), book.currency)
        assert totals["opening"] + moved == totals["closing"], "recurring revenue moves for a reason"
        customer = question.customer.pk if question.customer else None
        # Fees of several months lie between several ends of a month.
        closing = totals["closing"] if len(months) == 1 else None
        ties = recurring_ties(
            fees=book.fees,
            currency=book.currency,
            span=span,
            customer=customer,
            closing=closing,
            entity=question.books,
        )
        if rows or any(tie.booked.amount for tie in ties):
            sections.append(Section(book.currency, rows, totals, ties))
    return Report(
        name=name,
        title=title,
        asked=f"{months[0]:%Y-%m} to {months[-1]:%Y-%m}{question.of_whom}",
        columns=columns,
        sections=sections,
        definition=DEFINITION,
    )


def _books(question: Question, months: list[date], span: Period) -> Iterator[_Book]:
    customers = Customer.objects.order_by("name", "key")
    # Who is billed for accounts owes what they agreed to; an account is looked at by itself where it is asked for.
    customers = customers.filter(pk=question.customer.pk) if question.customer else customers.filter(billed_to=None)
    if question.entity:
        customers = customers.filter(legal_entity__key=question.books)
    invoiced = currencies_invoiced(span=span, entity=question.books)
    by_currency: dict[str, dict[int, Customer]] = {code: {} for code in invoiced}
    for customer in customers:
        by_currency.setdefault(customer.currency, {})[customer.pk] = customer
    asked = [code for code in sorted(by_currency) if question.currency in ("", code)]
    fees = fees_in_force(customers=[customer for code in asked for customer in by_currency[code].values()])
    for currency in asked:
        those = by_currency[currency]
        yield _Book(currency, those, {number: fees[number] for number in those if number in fees}, months)


def _month_rows(book: _Book) -> Iterator[Row]:
    nothing = total((), book.currency)
    moves = [book.moves(customer) for customer in book.fees]
    for place, month in enumerate(book.months):
        cells: dict[str, Cell] = {"month": f"{month:%Y-%m}"}
        of_month = [mine[place] for mine in moves]
        cells["opening"] = total((before for before, _, _ in of_month), book.currency)
        for move in MrrMovement:
            changes = [after - before for before, why, after in of_month if why is move]
            cells[move.value] = total(changes, book.currency) if changes else None
        cells["closing"] = total((after for _, _, after in of_month), book.currency)
        cells["customers"] = sum(1 for _, _, after in of_month if after > nothing)
        yield Row(cells)


def _customer_rows(book: _Book) -> Iterator[Row]:
    for number, customer in book.customers.items():
        if number not in book.fees:
            continue
        moves = book.moves(number)
        cells: dict[str, Cell] = {"customer": customer.name, "customer_id": customer.key}
        cells["opening"], cells["closing"] = moves[0][0], moves[-1][2]
        for move in MrrMovement:
            changes = [after - before for before, why, after in moves if why is move]
            cells[move.value] = total(changes, book.currency) if changes else None
        if any(before.amount or after.amount for before, _, after in moves):
            yield Row(cells, {"customer": Door(DoorKind.CUSTOMER, customer.key)})
