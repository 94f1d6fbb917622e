"""A customer's statement: what was owed before, each document and payment of a span, and what is owed after it."""

from datetime import date

from moneyed import Money

from billing_site.kernel.money import total
from invoicing.core.posting import RECEIVABLE
from invoicing.ledger.models import JournalEntry
from invoicing.reports.asking import Question
from invoicing.reports.booked import booked_later_words
from invoicing.reports.receivables import Movement, booked_for, movements_of, owed_by
from invoicing.reports.report import Column, ColumnKind, Door, DoorKind, Report, Row, Section, Tie, sums_of

COLUMNS = (
    Column("day", "Date", ColumnKind.DAY),
    Column("document", "Document"),
    Column("reference", "Reference"),
    Column("due_date", "Due", ColumnKind.DAY),
    Column("charged", "Charged, taken back", ColumnKind.MONEY),
    Column("paid", "Paid, credited, written off", ColumnKind.MONEY),
    Column("balance", "Balance", ColumnKind.MONEY),
)
# Their references begin with the channel.
OF_PAYMENTS = (JournalEntry.Kind.PAYMENT, JournalEntry.Kind.PAYMENT_REVERSAL)
DEFINITION = (
    "Every document that changes what the customer owes, on the day on which it was issued or received (UTC); where that "
    "month was closed by then, on the first day of the next one. "
    "Opening balance and all that was charged, less what was paid, credited or written off, is the closing balance."
)


def statement_report(*, question: Question) -> Report:
    """Return the statement of the customer that the question names; empty where it names none."""
    customer = question.customer
    sections = []
    if customer is not None:
        opening = owed_by(customer_id=customer.pk, before=question.span.start)
        booked = booked_for(customer_id=customer.pk, before=question.span.end)
        moved = movements_of(customer_id=customer.pk, start=question.span.start, end=question.span.end)
        found = {*opening, *booked, *(one.amount.currency.code for one in moved)}
        for currency in sorted(found):
            if question.currency in ("", currency):
                mine = [one for one in moved if one.amount.currency.code == currency]
                nothing = total((), currency)
                sections.append(
                    _section(question, currency, opening.get(currency, nothing), mine, booked.get(currency, nothing))
                )
    return Report(
        name="statement",
        title=f"Statement of {customer.name}" if customer else "Customer statement",
        asked=f"from {question.start} to {question.end}",
        columns=COLUMNS,
        sections=sections,
        definition=DEFINITION,
    )


def _section(question: Question, currency: str, opening: Money, moved: list[Movement], booked: Money) -> Section:
    rows = [_balance_row(question.start, "Opening balance", opening)]
    balance = opening
    for one in moved:
        balance += one.amount
        rows.append(_movement_row(one, balance))
    rows.append(_balance_row(question.end, "Closing balance", balance))
    totals = sums_of(rows=rows, columns=COLUMNS, currency=currency)
    assert opening + totals["charged"] - totals["paid"] == balance, "a statement adds up"
    totals["balance"] = balance
    tie = Tie("closing balance", balance, booked, f"the customer's entries on account {RECEIVABLE} Receivable")
    return Section(currency, rows, totals, (tie,))


def _balance_row(day: date, words: str, balance: Money) -> Row:
    return Row({"day": day, "document": words, "balance": balance})


def _movement_row(one: Movement, balance: Money) -> Row:
    shown = one.reference.partition(":")[2] if one.kind in OF_PAYMENTS else one.reference
    doors = {"reference": Door(DoorKind.ENTRY, f"{one.kind}/{one.reference}")}
    if one.invoice_number:
        doors["document"] = Door(DoorKind.INVOICE, one.invoice_number)
    return Row(
        {
            "day": one.booked_at.date(),
            "document": f"{_document(one)}{booked_later_words(happened=one.occurred_at, booked=one.booked_at)}",
            "reference": shown,
            "due_date": one.due_date if one.kind == JournalEntry.Kind.ISSUE else None,
            "charged": one.amount if one.amount.amount >= 0 else None,
            "paid": -one.amount if one.amount.amount < 0 else None,
            "balance": balance,
        },
        doors,
    )


def _document(one: Movement) -> str:
    if one.kind == JournalEntry.Kind.ISSUE:
        return f"Invoice {one.invoice_number}"
    words = str(JournalEntry.Kind(one.kind).label)
    return f"{words}, invoice {one.invoice_number}" if one.invoice_number else words
