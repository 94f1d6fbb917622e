"""A customer's statement: what was owed and held before, each document and payment of a span, and what is owed and held after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from moneyed import Money

from billing_site.kernel.money import total
from invoicing.core.posting import ON_ACCOUNT, RECEIVABLE
from invoicing.ledger.models import JournalEntry
from invoicing.reports.asking import Question
from invoicing.reports.booked import booked_later_words
from invoicing.reports.receivables import HELD, OWED, Movement, Subledger, booked_for, movements_of, stood_at
from invoicing.reports.report import Column, ColumnKind, Door, DoorKind, Report, Row, Section, Tie, sums_of

COLUMNS = (
    Column("day", "Date", ColumnKind.DAY),
    Column("document", "Document"),
    Column("reference", "Reference"),
    Column("due_date", "Due", ColumnKind.DAY),
    Column("charged", "Charged, taken back", ColumnKind.MONEY),
    Column("paid", "Paid, credited, written off", ColumnKind.MONEY),
    Column("put", "Put on account, used", ColumnKind.MONEY, is_optional=True),
    Column("on_account", "On account", ColumnKind.MONEY, is_optional=True),
    Column("balance", "Balance", ColumnKind.MONEY),
)
# Their references begin with the channel.
OF_PAYMENTS = (JournalEntry.Kind.PAYMENT, JournalEntry.Kind.PAYMENT_REVERSAL)
LESS_ON_ACCOUNT = "Balance less money on account"
ON_ACCOUNT_WORDS = {
    JournalEntry.Kind.BANK_ALLOCATION.value: "Money on account",
    JournalEntry.Kind.BANK_REVERSAL.value: "Money on account, by mistake",
    JournalEntry.Kind.PAID_BACK.value: "Money on account paid back",
    JournalEntry.Kind.PAYMENT.value: "Paid with money on account",
    JournalEntry.Kind.PAYMENT_REVERSAL.value: "On account again",
}
DEFINITION = (
    "Every document that changes what the customer owes or has on account, on the day on which it was issued or received (UTC); where that "
    "month was closed by then, on the first day of the next one. "
    "Opening balance and all that was charged, less what was paid, credited or written off, is the closing balance. "
    "Money on account is the customer's, for no invoice yet: the last line takes it off what is owed."
)


def statement_report(*, question: Question) -> Report:
    """Return the statement of the customer that the question names; empty where it names none."""
    customer = question.customer
    sections = []
    if customer is not None:
        owed, held = (_told_by(subledger, customer.pk, question) for subledger in (OWED, HELD))
        for currency in sorted({*owed.currencies, *held.currencies}):
            if question.currency in ("", currency):
                sections.append(_section(question, currency, owed, held))
    return Report(
        name="statement",
        title=f"Statement of {customer.name}" if customer else "Customer statement",
        asked=f"from {question.start} to {question.end}",
        columns=COLUMNS,
        sections=sections,
        definition=DEFINITION,
    )


@dataclass(frozen=True)
class Told:
    """What a subledger says of a customer, by currency: what stood before the span, what moved in it, and what the books say after it."""

    opening: Mapping[str, Money]
    moved: Sequence[Movement]
    booked: Mapping[str, Money]

    @property
    def currencies(self) -> set[str]:
        """Every currency of which it says something."""
        return {*self.opening, *self.booked, *(one.amount.currency.code for one in self.moved)}


@dataclass
class Step:
    """A document, and what it changed of what is owed, and of what is held, which is below zero in the books."""

    movement: Movement
    owed: Money
    held: Money


def _told_by(subledger: Subledger, customer_id: int, question: Question) -> Told:
    return Told(
        opening=stood_at(subledger=subledger, customer_id=customer_id, before=question.span.start),
        moved=movements_of(
            subledger=subledger, customer_id=customer_id, start=question.span.start, end=question.span.end
        ),
        booked=booked_for(subledger=subledger, customer_id=customer_id, before=question.span.end),
    )


def _section(question: Question, currency: str, owed: Told, held: Told) -> Section:
    nothing = total((), currency)
    opening, balance = owed.opening.get(currency, nothing), owed.opening.get(currency, nothing)
    on_account = -held.opening.get(currency, nothing)
    shown = currency in held.currencies
    rows = [_balance_row(question.start, "Opening balance", balance, on_account if shown else None)]
    for step in _steps(currency, owed, held):
        balance += step.owed
        on_account -= step.held
        rows.append(_row(step, balance, on_account if shown else None))
    rows.append(_balance_row(question.end, "Closing balance", balance, on_account if shown else None))
    if on_account.amount:
        rows.append(_balance_row(question.end, LESS_ON_ACCOUNT, balance - on_account, None))
    totals = sums_of(rows=rows, columns=COLUMNS, currency=currency)
    assert opening + totals["charged"] - totals["paid"] == balance, "a statement adds up"
    totals |= {"balance": balance, "on_account": on_account}
    ties = [
        Tie(
            "closing balance",
            balance,
            owed.booked.get(currency, nothing),
            f"the customer's entries on account {RECEIVABLE} Receivable",
        )
    ]
    if shown:
        there = -held.booked.get(currency, nothing)
        ties.append(
            Tie("money on account", on_account, there, f"the customer's entries on account {ON_ACCOUNT} On account")
        )
    return Section(currency, rows, totals, ties)


def _steps(currency: str, owed: Told, held: Told) -> list[Step]:
    """Return the documents of both subledgers in order; a payment with money on account is one of both."""
    nothing = total((), currency)
    steps: dict[tuple[str, str], Step] = {}
    for told in (owed, held):
        for one in told.moved:
            if one.amount.currency.code == currency:
                step = steps.setdefault((one.kind, one.reference), Step(one, nothing, nothing))
                if told is owed:
                    step.owed += one.amount
                else:
                    step.held += one.amount
    return sorted(
        steps.values(),
        key=lambda step: (
            step.movement.booked_at,
            step.movement.occurred_at,
            -step.movement.amount.amount,
            step.movement.reference,
        ),
    )


def _balance_row(day: date, words: str, balance: Money, on_account: Money | None) -> Row:
    return Row({"day": day, "document": words, "balance": balance, "on_account": on_account})


def _row(step: Step, balance: Money, on_account: Money | None) -> Row:
    one = step.movement
    shown = one.reference.partition(":")[2] if one.kind in OF_PAYMENTS else one.reference
    doors = {"reference": Door(DoorKind.ENTRY, f"{one.kind}/{one.reference}")}
    if one.invoice_number:
        doors["document"] = Door(DoorKind.INVOICE, one.invoice_number)
    is_of_invoice = one.invoice_number is not None
    return Row(
        {
            "day": one.booked_at.date(),
            "document": f"{_document(step)}{booked_later_words(happened=one.occurred_at, booked=one.booked_at)}",
            "reference": shown,
            "due_date": one.due_date if one.kind == JournalEntry.Kind.ISSUE else None,
            "charged": step.owed if is_of_invoice and step.owed.amount >= 0 else None,
            "paid": -step.owed if step.owed.amount < 0 else None,
            "balance": balance,
            "put": -step.held if step.held.amount else None,
            "on_account": on_account,
        },
        doors,
    )


def _document(step: Step) -> str:
    one = step.movement
    if one.kind == JournalEntry.Kind.ISSUE:
        return f"Invoice {one.invoice_number}"
    words = ON_ACCOUNT_WORDS[one.kind] if step.held.amount else str(JournalEntry.Kind(one.kind).label)
    return f"{words}, invoice {one.invoice_number}" if one.invoice_number else words
