"""Import a bank statement: the file is kept, each of its lines is kept once for ever and booked, and a job looks at what they pay."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from hashlib import sha256

from django.db import transaction

from billing_site.kernel.errors import InvalidInput, TooLarge
from billing_site.kernel.jobs import queue
from billing_site.kernel.money import round_money
from invoicing.bank.models import BankAccount, BankFile, BankLine, BankStatement
from invoicing.bank.operations import (
    Placed,
    holder_of,
    known_identities,
    locked_account,
    store_file,
    store_statement,
)
from invoicing.bank.queries import NOTHING
from invoicing.bank.reconciliation import check_new_lines, with_balances
from invoicing.core.bank.camt import read_camt
from invoicing.core.bank.csv_statement import CsvLayout, layout_with, read_csv
from invoicing.core.bank.pages import Kept, counted_from
from invoicing.core.bank.statement import Statement, StatementLine, identities
from invoicing.core.posting import postings_for_bank_line
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import NewEntry, post_entries

FILE_BYTES_MAX = 20_000_000
MATCH_JOB = "invoicing.tasks.match_bank_file"


@dataclass(frozen=True)
class Upload:
    """A file as it was handed in. `layout` says how a CSV is read, `preset` and `changes` as `layout_with` has them.

    `legal_entity` is the key of whose accounts these are, where somebody says so (`holder_of`).
    """

    name: str
    format: str
    content: bytes
    preset: str = "standard"
    changes: Mapping[str, str] | None = None
    legal_entity: str = ""


@dataclass(frozen=True)
class Imported:
    """What an import did: the file, whether its bytes are new, and the lines that were not here yet."""

    file: BankFile
    is_new: bool
    statements: tuple[BankStatement, ...]
    lines: tuple[BankLine, ...]


@dataclass(frozen=True)
class Looked:
    """What importing a statement would do: the lines that are not here yet, how many are, and the key of the legal entity whose account it is."""

    statement: Statement
    new: tuple[StatementLine, ...]
    known_count: int
    is_first: bool
    holder: str


@transaction.atomic
def import_bank_statement(*, upload: Upload, at: datetime, actor: str) -> Imported:
    """Import a CAMT.053 or CSV file; the same file, or one that overlaps, adds only the lines that are not here yet.

    Each new line is booked as unidentified: the bank account of the books says what the bank says from then on. Raises StatementFault
    naming place and remedy, InvalidInput for a format or layout that there is not, TooLarge, NotFound and Conflict at `legal_entity`.
    """
    statements = read_upload(upload=upload)
    layout = _stored_layout(upload)
    file, is_new = store_file(
        name=upload.name, file_format=upload.format, layout=layout, content=upload.content, at=at, actor=actor
    )
    if not is_new:
        return Imported(file, False, tuple(file.statements.order_by("position")), ())
    rows: list[BankStatement] = []
    lines: list[BankLine] = []
    # Accounts are locked in one order, whatever that of the file.
    ordered = sorted(enumerate(statements, start=1), key=lambda one: (one[1].account, one[1].currency, one[0]))
    for position, statement in ordered:
        account = locked_account(statement=statement, legal_entity=upload.legal_entity)
        placed = _place(account, statement, _Earlier())
        check_new_lines(account=account, statement=statement, new=placed.new, of_format=(upload.format, layout))
        row, new = store_statement(file=file, account=account, position=position, placed=placed, at=at)
        rows.append(row)
        lines += new
    post_entries(entries=[entry_of(line=line) for line in lines])
    queue(MATCH_JOB, file.pk)
    return Imported(file, True, tuple(rows), tuple(lines))


def look_at_upload(*, upload: Upload) -> tuple[Looked, ...]:
    """Say what importing a file would do, statement by statement, and change nothing; raises as the import does."""
    found = []
    earlier: dict[tuple[str, str], _Earlier] = {}
    for statement in read_upload(upload=upload):
        account = BankAccount.objects.filter(identifier=statement.account, currency=statement.currency).first()
        here = earlier.setdefault((statement.account, statement.currency), _Earlier())
        placed = _place(account, statement, here)
        here.identities.update(placed.named)
        here.new.extend(placed.new)
        if statement.opening is not None:
            here.kept.append(_as_kept(statement, placed.counted_from))
        if account is not None and placed.new:
            layout = _stored_layout(upload)
            check_new_lines(account=account, statement=statement, new=here.new, of_format=(upload.format, layout))
        holder = holder_of(statement=statement, legal_entity=upload.legal_entity)
        found.append(Looked(statement, placed.new, len(statement.lines) - len(placed.new), account is None, holder))
    return tuple(found)


@dataclass(frozen=True)
class _Earlier:
    """What the statements of an account that come earlier in a file would bring, while it is looked at."""

    kept: list[Kept] = field(default_factory=list)
    identities: set[str] = field(default_factory=set)
    new: list[StatementLine] = field(default_factory=list)


def _place(account: BankAccount | None, statement: Statement, earlier: _Earlier) -> Placed:
    """Tell which lines of a statement are here already."""
    before = counted_from(statement=statement, kept=[*_kept_near(account, statement), *earlier.kept])
    named = identities(lines=statement.lines, counted_from=before)
    known = known_identities(account=account, among=named) if account is not None else set()
    return Placed(statement, before, tuple(named), frozenset(known | (earlier.identities & set(named))))


def _kept_near(account: BankAccount | None, statement: Statement) -> list[Kept]:
    """Return the statements with balances that are here for the days on which a statement has lines."""
    days = [line.booked_on for line in statement.lines]
    if account is None or not days:
        return []
    rows = with_balances(account=account).filter(from_date__lte=max(days), to_date__gte=min(days))
    return [
        Kept(
            row.from_date,
            row.to_date,
            round_money(row.opening or NOTHING, row.currency),
            round_money(row.closing or NOTHING, row.currency),
            row.counted_from,
            partial(_lines_again, row),
        )
        for row in rows.select_related("file").defer("file__content").order_by("id")
    ]


def _lines_again(row: BankStatement) -> tuple[StatementLine, ...]:
    return read_again(file=row.file)[row.position - 1].lines


def _as_kept(statement: Statement, before: Mapping[str, int]) -> Kept:
    assert statement.opening is not None and statement.closing is not None, "only balances tell pages"
    return Kept(
        statement.from_date,
        statement.to_date,
        statement.opening,
        statement.closing,
        before,
        lambda: statement.lines,
    )


def known_file(*, content: bytes) -> BankFile | None:
    """Return the file with these bytes, where it was imported already."""
    return BankFile.objects.filter(digest=sha256(content).hexdigest()).first()


def read_upload(*, upload: Upload) -> tuple[Statement, ...]:
    """Read a file as its format says; raises as the import does."""
    if len(upload.content) > FILE_BYTES_MAX:
        raise TooLarge(f"the file has more than {FILE_BYTES_MAX:,} bytes: split it", field="file")
    if upload.format == BankFile.Format.CAMT053:
        return read_camt(content=upload.content)
    if upload.format == BankFile.Format.CSV:
        return read_csv(content=upload.content, layout=_layout(upload))
    raise InvalidInput(f"must be one of {', '.join(BankFile.Format.values)}", field="format")


def _layout(upload: Upload) -> CsvLayout:
    return layout_with(preset=upload.preset, changes=upload.changes or {})


def _stored_layout(upload: Upload) -> dict[str, str]:
    return {"preset": upload.preset, **(upload.changes or {})} if upload.format == BankFile.Format.CSV else {}


def read_again(*, file: BankFile) -> tuple[Statement, ...]:
    """Read a file that is kept as it was read when it was imported."""
    said = dict(file.layout)
    preset = str(said.pop("preset", "standard"))
    content = bytes(file.content)
    return read_upload(upload=Upload(file.name, file.format, content, preset, {key: str(said[key]) for key in said}))


def entry_of(*, line: BankLine) -> NewEntry:
    """Return the journal entry that a line is, before anybody knows what it is."""
    return NewEntry(
        kind=JournalEntry.Kind.BANK_LINE,
        reference=line.reference,
        postings=postings_for_bank_line(amount=line.amount),
        description=f"Bank line of {line.booked_on}, {line.account}: {line.name or line.text or 'no name'}"[:300],
        occurred_at=line.booked_at,
        entity=line.account.holder_key,
    )
