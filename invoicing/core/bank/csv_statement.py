"""Bank statements as CSV: which column is what and how numbers and dates are written is stated by a layout, never guessed."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from moneyed import Money

from billing_site.kernel.errors import InvalidInput
from invoicing.core.bank.statement import (
    LINES_MAX,
    TEXT_LENGTH_MAX,
    Statement,
    StatementFault,
    StatementLine,
    checked_amount,
    checked_currency,
    clipped,
    reference,
)

# What a column may be; `text` may be several. Either `amount`, or `paid_in` and `paid_out`.
FIELDS = (
    "account", "currency", "booked_on", "value_on", "amount", "paid_in", "paid_out", "name", "iban", "text",
    "bank_reference", "end_to_end_id", "structured_reference", "state",
)  # fmt: skip
NUMBERS = {
    ".": re.compile(r"[+-]?([0-9]{1,3}(,[0-9]{3})+|[0-9]{1,18})(\.[0-9]{1,18})?"),
    ",": re.compile(r"[+-]?([0-9]{1,3}(\.[0-9]{3})+|[0-9]{1,18})(,[0-9]{1,18})?"),
}
DATE_FORMATS = ("%Y-%m-%d", "%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y")
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t"}


@dataclass(frozen=True)
class CsvLayout:
    """How a bank writes its CSV. `columns` names the column of each field, or "=CONSTANT"; those of `text` are joined."""

    name: str
    delimiter: str
    decimal_mark: str
    date_format: str
    columns: Mapping[str, Sequence[str]]
    encoding: str = "utf-8-sig"
    # What stands in the column `state` of a line that is booked; empty: every line is.
    booked_words: Sequence[str] = field(default=())


LAYOUTS = {
    layout.name: layout
    for layout in (
        CsvLayout(
            "standard", ",", ".", "%Y-%m-%d",
            {"account": ["account"], "currency": ["currency"], "booked_on": ["booked_on"], "value_on": ["value_on"],
             "amount": ["amount"], "name": ["name"], "iban": ["iban"], "text": ["text"],
             "bank_reference": ["bank_reference"], "end_to_end_id": ["end_to_end_id"]},
        ),
        CsvLayout(
            "german", ";", ",", "%d.%m.%y",
            {"account": ["Auftragskonto"], "currency": ["Waehrung"], "booked_on": ["Buchungstag"],
             "value_on": ["Valutadatum"], "amount": ["Betrag"], "name": ["Beguenstigter/Zahlungspflichtiger"],
             "iban": ["Kontonummer/IBAN"], "text": ["Verwendungszweck"], "end_to_end_id": ["Kundenreferenz (End-to-End)"],
             "state": ["Info"]},
            encoding="cp1252", booked_words=("Umsatz gebucht",),
        ),
        CsvLayout(
            "british", ",", ".", "%d/%m/%Y",
            {"booked_on": ["Date"], "text": ["Description", "Reference"], "paid_in": ["Paid in"], "paid_out": ["Paid out"],
             "currency": ["=GBP"]},
        ),
        CsvLayout(
            "american", ",", ".", "%m/%d/%Y",
            {"booked_on": ["Date"], "text": ["Description"], "amount": ["Amount"], "currency": ["=USD"]},
        ),
    )
}  # fmt: skip


def layout_with(*, preset: str, changes: Mapping[str, str]) -> CsvLayout:
    """Return a preset with other columns or ways of writing: `{"text": "Memo", "account": "=DE02…", "decimal": ",", ...}`.

    Raises InvalidInput naming what is no preset, field or way of writing.
    """
    if preset not in LAYOUTS:
        raise InvalidInput(f"must be one of {', '.join(LAYOUTS)}", field="layout")
    layout = LAYOUTS[preset]
    columns = {name: list(titles) for name, titles in layout.columns.items()}
    for name, value in changes.items():
        if name in FIELDS:
            columns[name] = [value] if value else []
            for other in {"amount": ("paid_in", "paid_out"), "paid_in": ("amount",), "paid_out": ("amount",)}.get(
                name, ()
            ):
                columns.pop(other, None)
        else:
            layout = _written_otherwise(layout, name, value)
    return replace(layout, columns={name: titles for name, titles in columns.items() if titles})


def _written_otherwise(layout: CsvLayout, name: str, value: str) -> CsvLayout:
    ways = {
        "decimal": (tuple(NUMBERS), "decimal_mark"),
        "date": (DATE_FORMATS, "date_format"),
        "delimiter": (tuple(DELIMITERS), "delimiter"),
        "encoding": (("utf-8-sig", "cp1252", "iso-8859-1"), "encoding"),
    }
    if name not in ways:
        raise InvalidInput(f"{name!r} is no field: {', '.join((*FIELDS, *ways))}", field="map")
    allowed, attribute = ways[name]
    if value not in allowed:
        raise InvalidInput(f"{name} must be one of {' '.join(allowed)}", field="map")
    written: dict[str, Any] = {attribute: DELIMITERS.get(value, value)}
    return replace(layout, **written)


def read_csv(*, content: bytes, layout: CsvLayout) -> tuple[Statement, ...]:
    """Return one statement for each account and currency of a CSV file, without balances; raises StatementFault naming the line.

    Lines without a reference of the bank are told apart by their place among equals of a day: export whole days.
    """
    rows = _rows(content, layout)
    remarks: list[str] = []
    found: dict[tuple[str, str], list[StatementLine]] = {}
    for number, row in rows:
        line = _line(row, layout, f"line {number}", remarks)
        if line is not None:
            account = clipped(_value(row, layout, "account").replace(" ", ""), length=50).upper()
            if not account:
                message = "no account is stated: map account to its column, or to =IBAN"
                raise StatementFault(message, place=f"line {number}")
            found.setdefault((account, line.amount.currency.code), []).append(line)
    if not found:
        raise StatementFault("there is no booked line in it", place="the file")
    return tuple(
        Statement(
            account=account,
            currency=currency,
            number="",
            from_date=min(line.booked_on for line in lines),
            to_date=max(line.booked_on for line in lines),
            opening=None,
            closing=None,
            lines=tuple(lines),
            remarks=tuple(remarks),
        )
        for (account, currency), lines in found.items()
    )


def _rows(content: bytes, layout: CsvLayout) -> list[tuple[int, dict[str, str]]]:
    try:
        text = content.decode(layout.encoding)
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise StatementFault(
            f"is not written in {layout.encoding}: state another encoding", place=f"line {number}"
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=layout.delimiter, strict=True)
    needed = {title for titles in layout.columns.values() for title in titles if not title.startswith("=")}
    optional = {title for name in ("value_on", "bank_reference", "end_to_end_id", "name", "iban", "structured_reference")
                for title in layout.columns.get(name, ())}  # fmt: skip
    head: list[str] | None = None
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if head is None:
                # Some banks write the account and the span above the titles.
                if needed - optional <= set(cells):
                    head = cells
                elif reader.line_num > 30:
                    break
                continue
            if len(cells) != len(head):
                message = (
                    f"has {len(cells)} columns, the titles have {len(head)}: is the delimiter {layout.delimiter!r}?"
                )
                raise StatementFault(message, place=f"line {reader.line_num}")
            rows.append((reader.line_num, dict(zip(head, cells, strict=True))))
            if len(rows) > LINES_MAX:
                raise StatementFault(f"more than {LINES_MAX} lines in one file: split it", place="the file")
    except csv.Error as error:
        raise StatementFault(f"is no CSV: {error}", place=f"line {reader.line_num}") from None
    if head is None:
        message = (
            f"no line has the titles {', '.join(sorted(needed - optional))}: choose another layout, or map the columns"
        )
        raise StatementFault(message, place="the file")
    return rows


def _line(row: Mapping[str, str], layout: CsvLayout, place: str, remarks: list[str]) -> StatementLine | None:
    state = _value(row, layout, "state")
    if layout.booked_words and state not in layout.booked_words:
        remarks.append(f"{place} is not booked ({state or 'no state'}): left out until it is")
        return None
    amount = _amount(row, layout, place)
    if not amount.amount:
        remarks.append(f"{place} is over nothing: left out")
        return None
    value_on = _value(row, layout, "value_on")
    return StatementLine(
        place=place,
        booked_on=_day(_value(row, layout, "booked_on"), layout, place),
        value_on=_day(value_on, layout, place) if value_on else None,
        amount=amount,
        bank_reference=reference(_value(row, layout, "bank_reference")),
        end_to_end_id=reference(_value(row, layout, "end_to_end_id")),
        structured_reference=clipped(_value(row, layout, "structured_reference")),
        name=clipped(_value(row, layout, "name")),
        iban=clipped(_value(row, layout, "iban").replace(" ", ""), length=50).upper(),
        text=clipped(_value(row, layout, "text"), length=TEXT_LENGTH_MAX),
    )


def _amount(row: Mapping[str, str], layout: CsvLayout, place: str) -> Money:
    currency = checked_currency(_value(row, layout, "currency"), place=place)
    if "amount" in layout.columns:
        return _number(_value(row, layout, "amount"), layout, currency, place)
    paid_in, paid_out = (_value(row, layout, name) for name in ("paid_in", "paid_out"))
    if not paid_in and not paid_out:
        raise StatementFault("neither what was paid in nor what was paid out is stated", place=place)
    parts = [_number(text, layout, currency, place) for text in (paid_in, paid_out) if text]
    if any(part.amount < 0 for part in parts):
        raise StatementFault("what was paid in or out is written without a sign", place=place)
    moved_in = parts[0] if paid_in else Money(0, currency)
    return moved_in - (parts[-1] if paid_out else Money(0, currency))


def _number(text: str, layout: CsvLayout, currency: str, place: str) -> Money:
    if not NUMBERS[layout.decimal_mark].fullmatch(text):
        message = (
            f"{text[:40]!r} is no number with {layout.decimal_mark!r} before its decimals: state the other, if it is"
        )
        raise StatementFault(message, place=place)
    thousands = "," if layout.decimal_mark == "." else "."
    return checked_amount(Decimal(text.replace(thousands, "").replace(",", ".")), currency=currency, place=place)


def _day(text: str, layout: CsvLayout, place: str) -> date:
    try:
        return datetime.strptime(text, layout.date_format).replace(tzinfo=UTC).date()
    except ValueError:
        message = f"{text[:40]!r} is no day written as {layout.date_format}: state how days are written"
        raise StatementFault(message, place=place) from None


def _value(row: Mapping[str, str], layout: CsvLayout, name: str) -> str:
    titles = layout.columns.get(name, ())
    return " ".join(title[1:] if title.startswith("=") else row.get(title, "") for title in titles).strip()
