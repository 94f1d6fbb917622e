"""What may happen to bank statements: a file is kept and each of its lines once; lines are allocated, and that is taken back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256

from django.db import connection
from moneyed import Money

from billing_site.kernel.errors import Conflict
from invoicing.bank.models import (
    AccountUse,
    AllocationReversal,
    BankAccount,
    BankAllocation,
    BankFile,
    BankLine,
    BankStatement,
    UseKind,
)
from invoicing.bank.queries import uses_in_force
from invoicing.core.bank.statement import Statement, StatementFault, StatementLine, clipped
from invoicing.customers.models import Customer
from invoicing.entities.models import LegalEntity
from invoicing.entities.operations import entity_by_key, first_entity
from invoicing.ledger.models import JournalEntry
from invoicing.payments.models import Payment
from invoicing.payments.payout import Payout
from invoicing.payments.reversal import PaymentReversal

# A bank is at most so far ahead of us.
AHEAD_MAX = timedelta(days=1)


def store_file(
    *, name: str, file_format: str, layout: Mapping[str, str], content: bytes, at: datetime, actor: str
) -> tuple[BankFile, bool]:
    """Keep a file, once for its bytes; returns it and whether it is new."""
    assert connection.in_atomic_block, "a file commits with its lines, or not at all"
    return BankFile.objects.get_or_create(
        digest=sha256(content).hexdigest(),
        defaults={
            "name": clipped(name) or "statement",
            "format": file_format,
            "layout": dict(layout),
            "content": content,
            "imported_at": at,
            "actor": actor,
        },
    )


@dataclass(frozen=True)
class Placed:
    """A statement beside what is here: from where its lines are counted, what names each of them, and which of them are known."""

    statement: Statement
    counted_from: Mapping[str, int]
    named: tuple[str, ...]
    known: frozenset[str]

    @property
    def new(self) -> tuple[StatementLine, ...]:
        """The lines that are not here yet."""
        named = zip(self.statement.lines, self.named, strict=True)
        return tuple(line for line, name in named if name not in self.known)


def store_statement(
    *, file: BankFile, account: BankAccount, position: int, placed: Placed, at: datetime
) -> tuple[BankStatement, list[BankLine]]:
    """Keep what a file says about an account that was locked before it was placed; returns it and the lines that were not here yet.

    Raises StatementFault for a line of the future.
    """
    assert connection.in_atomic_block, "a statement commits with the entries of its lines, or not at all"
    statement = placed.statement
    row = BankStatement.objects.create(
        file=file,
        account=account,
        position=position,
        number=statement.number,
        currency=statement.currency,
        from_date=statement.from_date,
        to_date=max(statement.from_date, statement.to_date),
        opening=statement.opening.amount if statement.opening is not None else None,
        closing=statement.closing.amount if statement.closing is not None else None,
        line_count=len(statement.lines),
        known_count=len(placed.known),
        counted_from=dict(placed.counted_from),
        remarks=list(statement.remarks),
    )
    new = [
        BankLine(
            statement=row,
            account=account,
            reference=f"BL-{row.pk}-{number}",
            identity=identity,
            place=line.place,
            booked_on=line.booked_on,
            value_on=line.value_on,
            booked_at=_moment(line.booked_on, at=at, place=line.place),
            currency=statement.currency,
            amount=line.amount,
            bank_reference=line.bank_reference,
            end_to_end_id=line.end_to_end_id,
            structured_reference=line.structured_reference,
            name=line.name,
            iban=line.iban,
            text=line.text,
            is_reversal=line.is_reversal,
        )
        for number, (identity, line) in enumerate(zip(placed.named, statement.lines, strict=True), start=1)
        if identity not in placed.known
    ]
    return row, BankLine.objects.bulk_create(new)


def known_identities(*, account: BankAccount, among: Sequence[str]) -> set[str]:
    """Return those of some lines that are here already."""
    rows = BankLine.objects.filter(account=account, identity__in=among)
    return set(rows.values_list("identity", flat=True))


def locked_account(*, statement: Statement, legal_entity: str = "") -> BankAccount:
    """Return the account of a statement, made by its first and locked: a file that overlaps at the same moment sees these lines, or these see its.

    A new one is of the legal entity that is named, else of the one that prints it on documents, else of the first. Raises as `holder_of` does.
    """
    holder = holder_of(statement=statement, legal_entity=legal_entity)
    account, _ = BankAccount.objects.get_or_create(
        identifier=statement.account, currency=statement.currency, defaults={"legal_entity_id": holder}
    )
    return BankAccount.objects.select_for_update(no_key=True).get(pk=account.pk)


def holder_of(*, statement: Statement, legal_entity: str = "") -> str:
    """Return the key of the legal entity whose account a statement is of, or would be; raises NotFound, Conflict where another is named."""
    account = BankAccount.objects.filter(identifier=statement.account, currency=statement.currency).first()
    named = entity_by_key(key=legal_entity).key if legal_entity else ""
    if account is not None:
        if named not in ("", account.legal_entity_id):
            message = (
                f"{account} is an account of {account.legal_entity}, in whose books its lines stand: it stays there"
            )
            raise Conflict(message, field="legal_entity")
        return str(account.legal_entity_id)
    if named:
        return named
    identifier = _bare(statement.account)
    printed = (one.key for one in LegalEntity.objects.order_by("pk") if identifier in _bare(one.bank))
    return next(printed, None) or first_entity().key


def _bare(text: str) -> str:
    """Return a text as IBANs are compared: people write them in groups."""
    return "".join(text.split()).upper()


def _moment(day: date, *, at: datetime, place: str) -> datetime:
    noon = datetime.combine(day, time(12), UTC)
    if noon > at + AHEAD_MAX:
        raise StatementFault(
            f"it is booked on {day}, which has not come yet: is the day written otherwise?", place=place
        )
    return min(noon, at)


def locked_line(*, line_id: int) -> BankLine | None:
    """Return a line, locked until the transaction ends, or None."""
    return BankLine.objects.select_for_update(no_key=True).filter(pk=line_id).first()


def next_reference(*, line: BankLine) -> tuple[int, str]:
    """Return number and reference of the next allocation of a locked line."""
    number = line.allocations.count() + 1
    return number, f"{line.reference}/{number}"


def record_allocation(
    *,
    line: BankLine,
    kind: str,
    amount: Money,
    at: datetime,
    actor: str,
    reason: str,
    payment: Payment | None = None,
    customer: Customer | None = None,
    entry: JournalEntry | None = None,
    returned: PaymentReversal | None = None,
    payout: Payout | None = None,
) -> BankAllocation:
    """Write down what a part of a locked line is; the caller books it in the same transaction."""
    assert connection.in_atomic_block, "an allocation commits with its journal entry, or not at all"
    number, reference = next_reference(line=line)
    return BankAllocation.objects.create(
        line=line,
        number=number,
        reference=reference,
        kind=kind,
        currency=line.currency,
        amount=amount,
        payment=payment,
        customer=customer,
        entry=entry,
        returned=returned,
        payout=payout,
        allocated_at=at,
        actor=actor,
        reason=reason,
    )


def record_reversal(*, allocation: BankAllocation, at: datetime, actor: str, reason: str) -> AllocationReversal:
    """Write down that an allocation was wrong; its line is locked, and the caller takes it out of the books.

    A payment is reversed before it, a returned one has another in its place. Raises Conflict where its money is spent.
    """
    if uses_in_force().filter(allocation=allocation).exists():
        message = f"{allocation} was applied or paid back in part already: only what nobody has used can be taken back"
        raise Conflict(message, field="allocation", code="money_is_used")
    return AllocationReversal.objects.create(allocation=allocation, reversed_at=at, actor=actor, reason=reason)


def record_use(
    *,
    allocation: BankAllocation,
    kind: UseKind,
    amount: Money,
    at: datetime,
    actor: str,
    reason: str,
    payment: Payment | None = None,
) -> AccountUse:
    """Write down what became of a part of a customer's money on account, whose line is locked; the caller books it."""
    assert connection.in_atomic_block, "a use commits with its journal entry, or not at all"
    number, reference = next_use(allocation=allocation)
    return AccountUse.objects.create(
        allocation=allocation,
        number=number,
        reference=reference,
        kind=kind,
        payment=payment,
        currency=allocation.currency,
        amount=amount,
        used_at=at,
        actor=actor,
        reason=reason,
    )


def next_use(*, allocation: BankAllocation) -> tuple[int, str]:
    """Return number and reference of the next use of an allocation whose line is locked."""
    number = allocation.uses.count() + 1
    return number, f"{allocation.reference}/{number}"
