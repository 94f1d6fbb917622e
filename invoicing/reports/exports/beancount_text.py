"""The journal as text for beancount (https://beancount.github.io/docs/beancount_language_syntax.html): accounts opened, then a transaction an entry."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date

from invoicing.reports.exports.journal import JournalRecord
from invoicing.reports.tabular import amount_text


def journal_as_beancount(
    *, records: Iterable[JournalRecord], codes: Mapping[str, str], start: date, title: str
) -> Iterator[str]:
    """Yield the lines of the file; balances begin with nothing on the first day, so that they are what moved in the span."""
    yield f'option "title" {_text(title)}\n\n'
    for name in sorted(set(codes.values())):
        yield f"{start} open {name}\n"
    for record in records:
        payee = f" {_text(record.customer)}" if record.customer else ""
        yield f"\n{record.day} *{payee} {_text(record.description)}\n"
        yield f"  kind: {_text(record.kind)}\n  reference: {_text(record.reference)}\n  entry: {_text(str(record.number))}\n"
        for line in record.lines:
            yield f"  {codes[line.account]}  {amount_text(line.amount)} {record.currency}\n"


def _text(text: str) -> str:
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'
