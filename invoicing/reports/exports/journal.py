"""The journal of a span, line by line: what every export is made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice

from moneyed import Money

from billing_site.kernel.money import round_money
from billing_site.kernel.period import Period
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.queries import CHUNK, entries_in
from invoicing.reports.booked import booked_later_words
from invoicing.reports.receivables import customers_of


@dataclass(frozen=True)
class JournalLine:
    """One posting of an entry: a debit is positive. `entity` is the key of the legal entity in whose books it stands."""

    account: str
    account_name: str
    amount: Money
    entity: str = ""


@dataclass(frozen=True)
class JournalRecord:
    """One journal entry with its postings that move something, and whom its documents are about, where they are a customer's."""

    number: int
    kind: str
    kind_name: str
    reference: str
    description: str
    customer: str
    currency: str
    occurred_at: datetime
    booked_at: datetime
    recorded_at: datetime
    lines: tuple[JournalLine, ...]

    @property
    def day(self) -> date:
        """The day of the books (UTC) on which it is booked."""
        return self.booked_at.date()

    @property
    def title(self) -> str:
        """What it is in a line: Invoice issued INV-2026-00001."""
        return f"{self.kind_name} {self.reference}"


def journal_in(*, span: Period, currency: str = "", entity: str = "") -> Iterator[JournalRecord]:
    """Yield the entries of a span in the order in which they are booked, of one currency where it is given; any number in little memory.

    Of one legal entity, where it is given, each entry has the postings in its books: they balance by themselves.
    Postings of nothing are left out: they move no account. An entry of such postings alone is left out with them.
    """
    entries = entries_in(span=span, currency=currency, entity=entity)
    while chunk := list(islice(entries, CHUNK)):
        customers = customers_of(references=[(entry.kind, entry.reference) for entry in chunk])
        for entry in chunk:
            lines = tuple(
                JournalLine(
                    one.account.code,
                    one.account.name,
                    round_money(one.amount.amount, entry.currency),
                    one.legal_entity_id,
                )
                for one in entry.postings.all()
                if one.amount.amount
            )
            if lines:
                yield _record(entry, lines, customers.get((entry.kind, entry.reference), ""))


def pairs_of(*, lines: Sequence[JournalLine]) -> list[tuple[str, str, Money]]:
    """Return the postings of an entry as pairs (debited account, credited account, amount).

    For systems whose journal knows two accounts a row. The pairs debit and credit every account with what the entry did, exactly.
    """
    debits = [(one.account, one.amount) for one in lines if one.amount.amount > 0]
    credits = [(one.account, -one.amount) for one in lines if one.amount.amount < 0]
    pairs = []
    while debits and credits:
        (debited, left), (credited, right) = debits[0], credits[0]
        amount = min(left, right)
        pairs.append((debited, credited, amount))
        debits[:1] = [(debited, left - amount)] if left > amount else []
        credits[:1] = [(credited, right - amount)] if right > amount else []
    assert not debits and not credits, "an entry balances"
    return pairs


def _record(entry: JournalEntry, lines: tuple[JournalLine, ...], customer: str) -> JournalRecord:
    return JournalRecord(
        number=entry.pk,
        kind=entry.kind,
        kind_name=entry.get_kind_display(),
        reference=entry.reference,
        description=f"{entry.description}{booked_later_words(happened=entry.occurred_at, booked=entry.booked_at)}",
        customer=customer,
        currency=entry.currency,
        occurred_at=entry.occurred_at,
        booked_at=entry.booked_at,
        recorded_at=entry.recorded_at,
        lines=lines,
    )
