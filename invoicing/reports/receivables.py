"""What changes what customers owe, and what they have on account, told by the documents themselves: subledgers that their accounts must equal.

Each source says its movements as SQL and names the journal entry that stands for each, by kind and reference. Documents and postings
are two paths to one figure; `receivable_differences` names every movement in which they part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import connection
from moneyed import Money

from billing_site.kernel.money import round_money
from invoicing.core.posting import ON_ACCOUNT, RECEIVABLE
from invoicing.ledger.models import JournalEntry
from invoicing.reports.booked import BOOKED_LATER

# Of each kind of entry on the receivable account: the documents that it stands for.
# Columns: reference of the entry, customer, invoice, currency, amount (what is owed more), moment.
RECEIVABLE_SOURCES: dict[str, str] = {
    JournalEntry.Kind.ISSUE.value: """
        SELECT number AS reference, customer_id, id AS invoice_id, currency, total AS amount, issued_at AS occurred_at
          FROM invoicing_invoice WHERE status <> 'draft'
    """,
    JournalEntry.Kind.PAYMENT.value: """
        SELECT channel || ':' || reference, customer_id, invoice_id, currency, -amount, received_at
          FROM invoicing_payment
    """,
    JournalEntry.Kind.PAYMENT_REVERSAL.value: """
        SELECT payment.channel || ':' || payment.reference, payment.customer_id, payment.invoice_id, undone.currency, undone.amount,
               undone.reversed_at
          FROM invoicing_paymentreversal undone JOIN invoicing_payment payment ON payment.id = undone.payment_id
    """,
    JournalEntry.Kind.REVERSAL.value: """
        SELECT number, customer_id, id, currency, -total, voided_at FROM invoicing_invoice WHERE status = 'void'
    """,
    JournalEntry.Kind.CREDIT_NOTE.value: """
        SELECT number, customer_id, invoice_id, currency, -offset_amount, issued_at
          FROM invoicing_creditnote WHERE offset_amount > 0
    """,
    JournalEntry.Kind.WRITE_OFF.value: """
        SELECT given_up.reference, invoice.customer_id, invoice.id, given_up.currency, -given_up.amount, given_up.written_off_at
          FROM invoicing_writeoff given_up JOIN invoicing_invoice invoice ON invoice.id = given_up.invoice_id
    """,
    JournalEntry.Kind.RECOVERY.value: """
        SELECT recovery.reference, invoice.customer_id, invoice.id, recovery.currency, recovery.amount, recovery.recovered_at
          FROM invoicing_recovery recovery JOIN invoicing_writeoff given_up ON given_up.id = recovery.write_off_id
          JOIN invoicing_invoice invoice ON invoice.id = given_up.invoice_id
    """,
}
# Entries of these kinds never touch what customers owe.
NOT_RECEIVABLE = frozenset(
    kind.value
    for kind in (
        JournalEntry.Kind.CREDIT_SALE,
        JournalEntry.Kind.BREAKAGE,
        JournalEntry.Kind.RECOGNITION,
        JournalEntry.Kind.RECOGNITION_END,
        JournalEntry.Kind.REFUND,
        JournalEntry.Kind.DISPUTE,
        JournalEntry.Kind.DISPUTE_RETURN,
        JournalEntry.Kind.DISPUTE_LOSS,
        JournalEntry.Kind.DISPUTE_FEE,
        JournalEntry.Kind.BANK_LINE,
        JournalEntry.Kind.BANK_ALLOCATION,
        JournalEntry.Kind.BANK_REVERSAL,
        JournalEntry.Kind.PAID_BACK,
        JournalEntry.Kind.PAYOUT,
        JournalEntry.Kind.PAYOUT_RETURN,
        JournalEntry.Kind.STRIPE_FEE,
        JournalEntry.Kind.EXPLANATION,
    )
)

# As above, of what customers have on account: what comes is negative, as it is posted.
ON_ACCOUNT_SOURCES: dict[str, str] = {
    JournalEntry.Kind.BANK_ALLOCATION.value: """
        SELECT lot.reference, lot.customer_id, NULL::bigint, lot.currency, -lot.amount, line.booked_at
          FROM invoicing_bankallocation lot JOIN invoicing_bankline line ON line.id = lot.line_id WHERE lot.kind = 'on_account'
    """,
    JournalEntry.Kind.BANK_REVERSAL.value: """
        SELECT lot.reference, lot.customer_id, NULL::bigint, lot.currency, lot.amount, undone.reversed_at
          FROM invoicing_allocationreversal undone JOIN invoicing_bankallocation lot ON lot.id = undone.allocation_id
         WHERE lot.kind = 'on_account'
    """,
    JournalEntry.Kind.PAYMENT.value: """
        SELECT payment.channel || ':' || payment.reference, payment.customer_id, payment.invoice_id, payment.currency, payment.amount,
               payment.received_at
          FROM invoicing_accountuse applied JOIN invoicing_payment payment ON payment.id = applied.payment_id
    """,
    JournalEntry.Kind.PAYMENT_REVERSAL.value: f"""
        SELECT payment.channel || ':' || payment.reference, payment.customer_id, payment.invoice_id, undone.currency, -undone.amount,
               undone.reversed_at
          FROM invoicing_paymentreversal undone JOIN invoicing_payment payment ON payment.id = undone.payment_id
         WHERE undone.account = '{ON_ACCOUNT}'
    """,
    JournalEntry.Kind.PAID_BACK.value: """
        SELECT given.reference, lot.customer_id, NULL::bigint, given.currency, given.amount, given.used_at
          FROM invoicing_accountuse given JOIN invoicing_bankallocation lot ON lot.id = given.allocation_id
         WHERE given.kind = 'paid_back'
    """,
}


def _movements(sources: dict[str, str]) -> str:
    """Return each movement as it happened, and when it counts in the books: kind, reference, customer_id, invoice_id, currency, amount,
    occurred_at, booked_at.
    """
    told = " UNION ALL ".join(
        f"SELECT '{kind}'::text AS kind, source.* FROM ({sql}) AS source (reference, customer_id, invoice_id, currency, amount, occurred_at)"
        for kind, sql in sources.items()
    )
    return f"""
    SELECT source.*, coalesce(later.booked_at, source.occurred_at) AS booked_at
      FROM ({told}) source LEFT JOIN {BOOKED_LATER} later ON later.kind = source.kind AND later.reference = source.reference
"""


RECEIVABLE_MOVEMENTS = _movements(RECEIVABLE_SOURCES)


@dataclass(frozen=True)
class Subledger:
    """What documents say of customers, and the account of the books that says the same."""

    account: str
    movements: str


OWED = Subledger(RECEIVABLE, RECEIVABLE_MOVEMENTS)
HELD = Subledger(ON_ACCOUNT, _movements(ON_ACCOUNT_SOURCES))


@dataclass(frozen=True)
class Movement:
    """One change of what a customer owes or has: when it happened and when it is booked; `reference` with `kind` names its journal entry."""

    kind: str
    reference: str
    invoice_number: str | None
    due_date: date | None
    amount: Money
    occurred_at: datetime
    booked_at: datetime


@dataclass(frozen=True)
class OpenItem:
    """What is open of one invoice at a moment; without an invoice, what stands to a customer's account otherwise."""

    customer_key: str
    customer_name: str
    invoice_number: str | None
    due_date: date | None
    open: Money


def open_items(
    *, before: datetime, currency: str = "", customer_id: int | None = None, entity: str = ""
) -> list[OpenItem]:
    """Return each invoice of which something was open before a moment, by customer and due date.

    Of one currency, of one customer, or of the customers of one legal entity, only where it is given.
    """
    of_one = "AND customer_id = %(customer)s" if customer_id else ""
    rows = _fetched(
        f"""
        WITH movement AS ({RECEIVABLE_MOVEMENTS})
        SELECT customer.key, customer.name, invoice.number, invoice.due_date, open.currency, open.amount
          FROM (SELECT customer_id, invoice_id, currency, sum(amount) AS amount FROM movement
                 WHERE booked_at < %(before)s AND (%(currency)s = '' OR currency = %(currency)s) {of_one}
                 GROUP BY customer_id, invoice_id, currency HAVING sum(amount) <> 0) open
          JOIN invoicing_customer customer ON customer.id = open.customer_id
          LEFT JOIN invoicing_invoice invoice ON invoice.id = open.invoice_id
         WHERE %(entity)s = '' OR customer.legal_entity_id = %(entity)s
         ORDER BY customer.name, customer.key, invoice.due_date, invoice.number
        """,
        {"before": before, "currency": currency, "customer": customer_id, "entity": entity},
    )
    return [
        OpenItem(key, name, number, due, round_money(amount, code)) for key, name, number, due, code, amount in rows
    ]


def movements_of(*, subledger: Subledger, customer_id: int, start: datetime, end: datetime) -> list[Movement]:
    """Return what changed what a customer owes or has, booked in `[start, end)`, in order, each signed as it is posted."""
    rows = _fetched(
        f"""
        WITH movement AS ({subledger.movements})
        SELECT movement.kind, movement.reference, invoice.number, invoice.due_date, movement.currency, movement.amount,
               movement.occurred_at, movement.booked_at
          FROM movement LEFT JOIN invoicing_invoice invoice ON invoice.id = movement.invoice_id
         WHERE movement.customer_id = %(customer)s
           AND movement.booked_at >= %(start)s AND movement.booked_at < %(end)s
         ORDER BY movement.booked_at, movement.occurred_at, movement.amount DESC, movement.reference
        """,
        {"customer": customer_id, "start": start, "end": end},
    )
    return [
        Movement(kind, reference, number, due, round_money(amount, code), at, booked_at)
        for kind, reference, number, due, code, amount, at, booked_at in rows
    ]


def stood_at(*, subledger: Subledger, customer_id: int, before: datetime) -> dict[str, Money]:
    """Return what a customer owed before a moment, or, below zero, had, by currency, as the documents say."""
    rows = _fetched(
        f"""
        WITH movement AS ({subledger.movements})
        SELECT currency, sum(amount) FROM movement
         WHERE customer_id = %(customer)s AND booked_at < %(before)s GROUP BY currency
        """,
        {"customer": customer_id, "before": before},
    )
    return {code: round_money(amount, code) for code, amount in rows}


def booked_for(*, subledger: Subledger, customer_id: int, before: datetime) -> dict[str, Money]:
    """Return what the entries of a customer's documents left on the subledger's account, in the books of its seller, before a moment, by currency."""
    rows = _fetched(
        f"""
        WITH movement AS ({subledger.movements})
        SELECT posting.currency, sum(posting.amount)
          FROM movement
          JOIN invoicing_journalentry entry ON entry.kind = movement.kind AND entry.reference = movement.reference
          JOIN invoicing_posting posting ON posting.entry_id = entry.id
          JOIN invoicing_account account ON account.id = posting.account_id AND account.code = %(account)s
          JOIN invoicing_customer customer ON customer.id = movement.customer_id AND customer.legal_entity_id = posting.legal_entity_id
         WHERE movement.customer_id = %(customer)s AND entry.booked_at < %(before)s
         GROUP BY posting.currency
        """,
        {"customer": customer_id, "before": before, "account": subledger.account},
    )
    return {code: round_money(amount, code) for code, amount in rows}


def customers_of(*, references: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the name of the customer of each journal entry's document (kind, reference), as the invoice prints it; none for others.

    What an invoice prints never changes, and so does no export of a closed month.
    """
    rows = _fetched(
        f"""
        WITH movement AS ({RECEIVABLE_MOVEMENTS})
        SELECT movement.kind, movement.reference, invoice.customer_name
          FROM movement JOIN invoicing_invoice invoice ON invoice.id = movement.invoice_id
         WHERE movement.reference = ANY(%(references)s)
        """,
        {"references": [reference for _, reference in references]},
    )
    return {(kind, reference): name for kind, reference, name in rows}


def receivable_differences(*, limit: int) -> list[tuple[str, str]]:
    """Return each journal entry on the receivable account whose document says something else, or that stands in another's books than those of
    its customer's seller, and the other way round.
    """
    rows = _fetched(
        f"""
        WITH movement AS (
            SELECT told.*, customer.legal_entity_id AS entity FROM ({RECEIVABLE_MOVEMENTS}) told
              JOIN invoicing_customer customer ON customer.id = told.customer_id
        ), booked AS (
            SELECT entry.kind, entry.reference, posting.currency, posting.legal_entity_id AS entity, sum(posting.amount) AS amount,
                   entry.occurred_at
              FROM invoicing_posting posting
              JOIN invoicing_account account ON account.id = posting.account_id AND account.code = %(account)s
              JOIN invoicing_journalentry entry ON entry.id = posting.entry_id
             GROUP BY entry.kind, entry.reference, posting.currency, posting.legal_entity_id, entry.occurred_at
        )
        SELECT kind, reference, entity, movement.amount, movement.occurred_at, booked.amount, booked.occurred_at
          FROM movement FULL JOIN booked USING (kind, reference, currency, entity)
         WHERE (movement.amount, movement.occurred_at) IS DISTINCT FROM (booked.amount, booked.occurred_at)
           AND NOT (coalesce(movement.amount, 0) = 0 AND coalesce(booked.amount, 0) = 0)
         ORDER BY kind, reference, entity LIMIT %(limit)s
        """,
        {"account": RECEIVABLE, "limit": limit},
    )
    return [
        (
            f"{kind} {reference}",
            f"the document says {_told(amount, at)}, the books of {entity} {_told(booked, booked_at)}",
        )
        for kind, reference, entity, amount, at, booked, booked_at in rows
    ]


def _told(amount: Decimal | None, at: datetime | None) -> str:
    return "nothing" if amount is None or at is None else f"{amount} at {at:%Y-%m-%d %H:%M:%S} UTC"


def _fetched(statement: str, values: dict[str, Any]) -> Sequence[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()
