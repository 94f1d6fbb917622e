"""The general ledger: one account in a span, from its opening to its closing balance, posting by posting; and every account's movement."""

from collections.abc import Iterator

from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.core.posting import RECEIVABLE
from invoicing.ledger.models import Account, JournalEntry, Posting
from invoicing.ledger.queries import AccountMovement, account_by_code, movements_in, postings_of
from invoicing.reports.asking import Question
from invoicing.reports.booked import booked_later_words
from invoicing.reports.report import Cell, Column, ColumnKind, Door, DoorKind, Report, Row, Section, Tie, sums_of

LEDGER_COLUMNS = (
    Column("moment", "Booked", ColumnKind.MOMENT),
    Column("reference", "Reference"),
    Column("description", "Description"),
    Column("debit", "Debit", ColumnKind.MONEY),
    Column("credit", "Credit", ColumnKind.MONEY),
    Column("balance", "Balance", ColumnKind.MONEY),
)
MOVEMENT_COLUMNS = (
    Column("account", "Account"),
    Column("name", "Name", is_name=True),
    Column("opening", "Opening balance", ColumnKind.MONEY),
    Column("debit", "Debit", ColumnKind.MONEY),
    Column("credit", "Credit", ColumnKind.MONEY),
    Column("closing", "Closing balance", ColumnKind.MONEY),
)
LEDGER_DEFINITION = "Every posting to the account in the order in which they are booked (UTC): when things happened, or, where that month was closed, as the next one begins. A debit balance is positive, a credit balance in parentheses."
MOVEMENT_DEFINITION = "What each account had before the span, what was debited and credited in it, and what it had after; a credit balance is in parentheses."


def general_ledger_report(*, question: Question) -> Report:
    """Return the postings of one account in a span; of the receivable account where none is named."""
    account = question.account or account_by_code(code=RECEIVABLE)
    sections = [] if account is None else list(_sections(question, account))
    return Report(
        name="general-ledger",
        title=f"General ledger: {account}" if account else "General ledger",
        asked=f"from {question.start} to {question.end}{question.of_whom}",
        columns=LEDGER_COLUMNS,
        sections=sections,
        definition=LEDGER_DEFINITION,
    )


def account_movements_report(*, question: Question) -> Report:
    """Return what moved on every account in a span."""
    found = movements_in(span=question.span, entity=question.books)
    moved = [one for one in found if question.currency in ("", one.opening.currency.code)]
    sections = []
    for currency in sorted({one.opening.currency.code for one in moved}):
        rows = [_movement_row(one) for one in moved if one.opening.currency.code == currency]
        totals = sums_of(rows=rows, columns=MOVEMENT_COLUMNS, currency=currency)
        tie = Tie("debits", totals["debit"], totals["credit"], "credits")
        sections.append(Section(currency, rows, totals, (tie,)))
    return Report(
        name="account-movements",
        title="Account movements",
        asked=f"from {question.start} to {question.end}{question.of_whom}",
        columns=MOVEMENT_COLUMNS,
        sections=sections,
        definition=MOVEMENT_DEFINITION,
    )


def _movement_row(one: AccountMovement) -> Row:
    cells: dict[str, Cell] = {
        "account": one.account,
        "name": one.name,
        "opening": one.opening,
        "debit": one.debit if one.debit.amount else None,
        "credit": one.credit if one.credit.amount else None,
        "closing": one.closing,
    }
    return Row(cells, {"account": Door(DoorKind.ACCOUNT, one.account), "name": Door(DoorKind.ACCOUNT, one.account)})


def _sections(question: Question, account: Account) -> Iterator[Section]:
    for moved in movements_in(span=question.span, account=account.code, entity=question.books):
        currency = moved.opening.currency.code
        if question.currency not in ("", currency):
            continue
        rows, balance = [Row({"description": "Opening balance", "balance": moved.opening})], moved.opening
        for posting in _postings(question, account, currency):
            amount = round_money(posting.amount.amount, currency)
            balance += amount
            rows.append(_posting_row(posting.entry, amount, balance))
        rows.append(Row({"description": "Closing balance", "balance": balance}))
        totals = sums_of(rows=rows, columns=LEDGER_COLUMNS, currency=currency)
        totals["balance"] = balance
        tie = Tie("closing balance", balance, moved.closing, f"account {account} in the trial balance")
        yield Section(currency, rows, totals, (tie,))


def _postings(question: Question, account: Account, currency: str) -> Iterator[Posting]:
    within = postings_of(entity=question.books).filter(
        account=account,
        currency=currency,
        entry__booked_at__gte=question.span.start,
        entry__booked_at__lt=question.span.end,
    )
    return within.select_related("entry").order_by("entry__booked_at", "entry_id", "id").iterator()


def _posting_row(entry: JournalEntry, amount: Money, balance: Money) -> Row:
    return Row(
        {
            "moment": entry.booked_at,
            "reference": entry.reference,
            "description": f"{entry.description}{booked_later_words(happened=entry.occurred_at, booked=entry.booked_at)}",
            "debit": amount if amount.amount >= 0 else None,
            "credit": -amount if amount.amount < 0 else None,
            "balance": balance,
        },
        {"reference": Door(DoorKind.ENTRY, f"{entry.kind}/{entry.reference}")},
    )
