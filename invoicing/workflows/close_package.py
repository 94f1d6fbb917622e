"""The package of a closed month: certificate, checklist, reports as they were, and the journal for every system that can take it.

It is a ZIP, written while it is read: however long the journal is, it takes little memory. Its bytes follow from rows that never change
and from the certificate alone, so that they are the same each time.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any

from billing_site.kernel.errors import Conflict
from invoicing.closing.models import MonthClose
from invoicing.closing.queries import Month, close_in_force
from invoicing.reports.exports.datev import DatevClient
from invoicing.reports.exports.export import CSV, ExportSettings, JournalFile, export_journal
from invoicing.reports.models import BookkeepingSystem
from invoicing.reports.tabular import csv_lines, safe_text
from invoicing.workflows.close_certificate import question_of

# A file without it could not be larger than 2 GB; it is there for all, so that all are written alike.
ZIP64 = True
CHECKLIST = ("check", "title", "state", "found", "summary", "signed_by", "signed_at", "reason", "digest")
Chunks = Iterable[bytes]


@dataclass(frozen=True)
class Package:
    """A file that is written while it is read."""

    name: str
    chunks: Iterator[bytes]


def package_of(*, month: Month) -> Package:
    """Return the package of a closed month; raises Conflict where it is not closed, or was closed together with a later one."""
    close = close_in_force(month=month)
    if close is None:
        raise Conflict(f"{month} has no close in force, and so no package", field="month", code="not_closed")
    return Package(f"month-{close.month:%Y-%m}-close-{close.pk}.zip", _zipped(close))


def certificate_text(*, close: MonthClose) -> str:
    """Write the certificate of a close, with its digest, as the file that people keep."""
    document = {"certificate": close.certificate, "digest": close.digest}
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class _Sink(io.RawIOBase):
    """Takes what is written until it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def writable(self) -> bool:
        """It takes bytes."""
        return True

    def write(self, chunk: Any) -> int:
        """Keep a chunk."""
        self.written.append(bytes(chunk))
        return len(chunk)

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        chunk = b"".join(self.written)
        self.written.clear()
        return chunk


def _zipped(close: MonthClose) -> Iterator[bytes]:
    sink, sums = _Sink(), []
    with zipfile.ZipFile(sink, "w") as archive:
        for name, chunks in _files(close):
            digest = hashlib.sha256()
            with archive.open(_entry(close, name), "w", force_zip64=ZIP64) as file:
                for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
                    if taken := sink.taken():
                        yield taken
            sums.append(f"{digest.hexdigest()}  {name}\n")
        with archive.open(_entry(close, "SHA256SUMS"), "w", force_zip64=ZIP64) as file:
            file.write("".join(sums).encode())
    yield sink.taken()


def _entry(close: MonthClose, name: str) -> zipfile.ZipInfo:
    moment = close.closed_at.astimezone(UTC)
    entry = zipfile.ZipInfo(name, date_time=moment.timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _files(close: MonthClose) -> Iterator[tuple[str, Chunks]]:
    yield "certificate.json", [certificate_text(close=close).encode()]
    yield "checklist.csv", _checklist(close.certificate["checklist"])
    for report in close.reports.order_by("name"):
        yield f"reports/{report.name}.csv", [report.content.encode()]
    for file in _journals(close):
        yield f"journal/{file.name}", file.chunks
    if missing := _missing(close.certificate["exports"]):
        yield "README.txt", [missing.encode()]


def _missing(exports: dict[str, Any]) -> str:
    """Say which systems have no journal here, and why: as it was when the month was closed."""
    refused = [
        f"{system.label} is missing: {exports[system.value]['refused']}.\n"
        for system in BookkeepingSystem
        if "refused" in exports.get(system.value, {})
    ]
    return "".join(refused)


def _checklist(checks: list[dict[str, Any]]) -> Chunks:
    rows = ([safe_text(str(one.get(name, ""))) for name in CHECKLIST] for one in checks)
    return (line.encode() for line in csv_lines(rows=iter([list(CHECKLIST), *rows])))


def _journals(close: MonthClose) -> Iterator[JournalFile]:
    """Yield the journal as CSV and as each system takes it, made with what accounts and settings were when the month was closed."""
    exports = close.certificate["exports"]
    told = exports["settings"]
    settings = ExportSettings(
        datev=DatevClient(told["consultant_number"], told["client_number"], told["fiscal_month"]),
        xero_tax_rate=told["xero_tax_rate"],
        title=told["title"],
        client_numbers=told.get("client_numbers", {}),
    )
    wanted: list[tuple[str, str, str, dict[str, str] | None]] = [(CSV, "", "", None)]
    for system in BookkeepingSystem.values:
        made = exports.get(system, {})
        # Closes of before there were books of each legal entity name none.
        of_each = product(made.get("currencies", ()), made.get("entities", [""]))
        wanted += [(system, currency, entity, made["accounts"]) for currency, entity in of_each]
    for form, currency, entity, accounts in wanted:
        question = question_of(month=Month(close.month), currency=currency, entity=entity)
        at: datetime = close.closed_at
        yield export_journal(form=form, question=question, settings=settings, at=at, accounts=accounts)
