"""Import a bank statement: the file is kept, each of its lines is kept once for ever and booked, and a job looks at what they pay."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from django.db import transaction

from billing_site.kernel.errors import InvalidInput, TooLarge
from billing_site.kernel.jobs import queue
from invoicing.bank.models import BankAccount, BankFile, BankLine, BankStatement
from invoicing.bank.operations import known_identities, store_file, store_statement
from invoicing.core.bank.camt import read_camt
from invoicing.core.bank.csv_statement import CsvLayout, layout_with, read_csv
from invoicing.core.bank.statement import Statement, StatementLine, identities
from invoicing.core.posting import postings_for_bank_line
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import NewEntry, post_entries

FILE_BYTES_MAX = 20_000_000
MATCH_JOB = "invoicing.tasks.match_bank_file"


@dataclass(frozen=True)
class Upload:
    """A file as it was handed in. `layout` says how a CSV is read, `preset` and `changes` as `layout_with` has them."""

    name: str
    format: str
    content: bytes
    preset: str = "standard"
    changes: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Imported:
    """What an import did: the file, whether its bytes are new, and the lines that were not here yet."""

    file: BankFile
    is_new: bool
    statements: tuple[BankStatement, ...]
    lines: tuple[BankLine, ...]


@dataclass(frozen=True)
class Looked:
    """What importing a statement would do: the lines that are not here yet, and how many are."""

    statement: Statement
    new: tuple[StatementLine, ...]
    known_count: int
    is_first: bool


@transaction.atomic
def import_bank_statement(*, upload: Upload, at: datetime, actor: str) -> Imported:
    """Import a CAMT.053 or CSV file; the same file, or one that overlaps, adds only the lines that are not here yet.

    Each new line is booked as unidentified: the bank account of the books says what the bank says from then on. Raises StatementFault
    naming place and remedy, InvalidInput for a format or layout that there is not, TooLarge.
    """
    statements = read_upload(upload=upload)
    layout = {"preset": upload.preset, **(upload.changes or {})} if upload.format == BankFile.Format.CSV else {}
    file, is_new = store_file(
        name=upload.name, file_format=upload.format, layout=layout, content=upload.content, at=at, actor=actor
    )
    if not is_new:
        return Imported(file, False, tuple(file.statements.order_by("position")), ())
    rows: list[BankStatement] = []
    lines: list[BankLine] = []
    # Accounts are locked in one order, whatever that of the file.
    placed = sorted(enumerate(statements, start=1), key=lambda one: (one[1].account, one[1].currency, one[0]))
    for position, statement in placed:
        row, new = store_statement(file=file, position=position, statement=statement, at=at)
        rows.append(row)
        lines += new
    post_entries(entries=[entry_of(line=line) for line in lines])
    queue(MATCH_JOB, file.pk)
    return Imported(file, True, tuple(rows), tuple(lines))


def look_at_upload(*, upload: Upload) -> tuple[Looked, ...]:
    """Say what importing a file would do, statement by statement, and change nothing; raises as the import does."""
    found = []
    seen: dict[tuple[str, str], set[str]] = {}
    for statement in read_upload(upload=upload):
        named = identities(lines=statement.lines)
        account = BankAccount.objects.filter(identifier=statement.account, currency=statement.currency).first()
        known = known_identities(account=account, among=named) if account else set()
        known |= seen.setdefault((statement.account, statement.currency), set()) & set(named)
        seen[statement.account, statement.currency] |= set(named)
        new = tuple(line for line, name in zip(statement.lines, named, strict=True) if name not in known)
        found.append(Looked(statement, new, len(statement.lines) - len(new), account is None))
    return tuple(found)


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
    )
