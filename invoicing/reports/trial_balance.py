"""The trial balance: every account's balance as of a day, debits and credits, each currency balanced."""

from collections.abc import Sequence

from billing_site.kernel.money import total
from invoicing.ledger.queries import Balance, balances_before
from invoicing.reports.asking import Question
from invoicing.reports.report import Column, ColumnKind, Door, DoorKind, Report, Row, Section, Tie, sums_of

COLUMNS = (
    Column("account", "Account"),
    Column("name", "Name", is_name=True),
    Column("debit", "Debit", ColumnKind.MONEY),
    Column("credit", "Credit", ColumnKind.MONEY),
)
DEFINITION = (
    "The sum of all postings to each account of everything that is booked by the end of the day (UTC). "
    "A balance stands as a debit or as a credit; in each currency both sides come to the same."
)


def trial_balance_report(*, question: Question) -> Report:
    """Return the trial balance as of a day (S0-118)."""
    balances = [
        one for one in balances_before(moment=question.before, entity=question.books) if _is_asked(one, question)
    ]
    currencies = sorted({one.amount.currency.code for one in balances})
    return Report(
        name="trial-balance",
        title="Trial balance",
        asked=f"as of the end of {question.as_of}{question.of_whom}",
        columns=COLUMNS,
        sections=[_section([one for one in balances if one.amount.currency.code == code], code) for code in currencies],
        definition=DEFINITION,
    )


def _section(balances: Sequence[Balance], currency: str) -> Section:
    rows = [
        Row(
            {
                "account": one.account,
                "name": one.name,
                "debit": one.amount if one.amount.amount > 0 else None,
                "credit": -one.amount if one.amount.amount < 0 else None,
            },
            {"account": Door(DoorKind.ACCOUNT, one.account), "name": Door(DoorKind.ACCOUNT, one.account)},
        )
        for one in balances
    ]
    totals = sums_of(rows=rows, columns=COLUMNS, currency=currency)
    tie = Tie("debits", totals["debit"], totals["credit"], "credits")
    assert totals["debit"] - totals["credit"] == total((one.amount for one in balances), currency), (
        "two sides of one sum"
    )
    return Section(currency, rows, totals, (tie,))


def _is_asked(balance: Balance, question: Question) -> bool:
    return question.currency in ("", balance.amount.currency.code)
