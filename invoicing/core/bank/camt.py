"""CAMT.053 (ISO 20022 bank-to-customer statement), versions 001.02 and later: elements go by their local names, whose places hardly move.

Where they do move, both are read: the state of an entry (`Sts` or `Sts/Cd`), a party's name (`Dbtr/Nm` or `Dbtr/Pty/Nm`), the amount of
a detail (`Amt` or `AmtDtls/TxAmt/Amt`).
"""

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from moneyed import Money

from billing_site.kernel.money import total
from invoicing.core.bank.statement import (
    LINES_MAX,
    TEXT_LENGTH_MAX,
    Statement,
    StatementFault,
    StatementLine,
    check_sums,
    checked_amount,
    checked_currency,
    clipped,
    reference,
)
from invoicing.core.bank.xml_tree import Element, read_tree

AMOUNT = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
BOOKED = "BOOK"
# Codes of balances, the best first: opening booked, previously closed booked, interim on a page of several.
OPENING = ("OPBD", "PRCD", "ITBD")
CLOSING = ("CLBD", "ITBD")


def read_camt(*, content: bytes) -> tuple[Statement, ...]:
    """Return the statements of a CAMT.053 file, each with its booked lines; raises StatementFault naming element and line.

    The lines of each come to its balances, to the cent. A batch that lists its parts is split into them.
    """
    root = read_tree(content=content)
    message = root.find("BkToCstmrStmt")
    if message is None:
        found = root.children[0].name if root.children else root.name
        told = f"this holds {found}, not a bank-to-customer statement (BkToCstmrStmt): export it as CAMT.053"
        raise StatementFault(told, place=f"line {root.line}")
    statements = tuple(_statement(one, number) for number, one in enumerate(message.each("Stmt"), start=1))
    if not statements:
        raise StatementFault("there is no statement (Stmt) in it", place=f"line {message.line}")
    return statements


def _statement(source: Element, number: int) -> Statement:
    place = f"Stmt {number} (line {source.line})"
    account = source.text_of("Acct", "Id", "IBAN") or source.text_of("Acct", "Id", "Othr", "Id")
    if not account:
        raise StatementFault("no account is named (Acct/Id/IBAN or Acct/Id/Othr/Id)", place=place)
    opening, opened_on = _balance(source, OPENING, place=place, last=False)
    closing, closed_on = _balance(source, CLOSING, place=place, last=True)
    currency = source.text_of("Acct", "Ccy") or opening.currency.code
    checked_currency(currency, place=place)
    for balance in (opening, closing):
        if balance.currency.code != currency:
            raise StatementFault(f"the account is in {currency}, a balance in {balance.currency}", place=place)
    lines: list[StatementLine] = []
    remarks: list[str] = []
    for position, entry in enumerate(source.each("Ntry"), start=1):
        where = f"Stmt {number}, Ntry {position} (line {entry.line})"
        state = (entry.text_of("Sts", "Cd") or entry.text_of("Sts")).upper()
        if state != BOOKED:
            remarks.append(f"{where} is not booked ({state or 'no state'}): left out until it is")
            continue
        lines += _lines(entry, currency, where, remarks)
        if len(lines) > LINES_MAX:
            raise StatementFault(f"more than {LINES_MAX} lines in one statement: split the file", place=place)
    days = [line.booked_on for line in lines]
    read = Statement(
        account=clipped(account.replace(" ", ""), length=50).upper(),
        currency=currency,
        number=clipped(
            source.text_of("ElctrncSeqNb") or source.text_of("LglSeqNb") or source.text_of("Id"), length=100
        ),
        from_date=_span_day(source, "FrDtTm", place) or min([opened_on, *days]),
        to_date=_span_day(source, "ToDtTm", place) or max([closed_on, *days]),
        opening=opening,
        closing=closing,
        lines=tuple(lines),
        remarks=tuple(remarks),
    )
    check_sums(statement=read, place=place)
    return read


def _balance(source: Element, codes: Sequence[str], *, place: str, last: bool) -> tuple[Money, date]:
    """Return the booked balance of the best of these codes and its day; of interim ones the first or the last."""
    for code in codes:
        found = [one for one in source.each("Bal") if one.text_of("Tp", "CdOrPrtry", "Cd").upper() == code]
        if found:
            chosen = found[-1 if last else 0]
            where = f"{place}, balance {code} (line {chosen.line})"
            return _signed(chosen, where), _day(chosen, "Dt", where)
    message = f"there is no {'closing' if last else 'opening'} balance ({' or '.join(codes)}): ask the bank for a CAMT.053 with balances"
    raise StatementFault(message, place=place)


def _lines(entry: Element, currency: str, place: str, remarks: list[str]) -> list[StatementLine]:
    """Return the line of a booked entry, or those of its details where these come to its amount."""
    whole = _signed(entry, place)
    if whole.currency.code != currency:
        raise StatementFault(f"the account is in {currency}, the entry in {whole.currency}", place=place)
    if not whole.amount:
        remarks.append(f"{place} is over nothing: left out")
        return []
    details = [one for group in entry.each("NtryDtls") for one in group.each("TxDtls")]
    if len(details) > 1:
        amounts = [_detail_amount(one, whole) for one in details]
        known = [amount for amount in amounts if amount is not None and amount.amount]
        if len(known) == len(details) and total(known, currency) == whole:
            return [
                _line(entry, detail, amount, f"{place}, TxDtls {position}")
                for position, (detail, amount) in enumerate(zip(details, known, strict=True), start=1)
            ]
        remarks.append(f"{place} is a batch whose {len(details)} parts do not come to {whole.amount}: kept as one line")
    only = details[0] if len(details) == 1 else Element("TxDtls", entry.line, {})
    return [_line(entry, only, whole, place)]


def _line(entry: Element, detail: Element, amount: Money, place: str) -> StatementLine:
    is_reversal = entry.text_of("RvslInd").lower() in ("true", "1")
    # A reversal names the parties as the movement did that it reverses.
    other = "Dbtr" if (amount.amount > 0) != is_reversal else "Cdtr"
    parties = detail.find("RltdPties") or detail
    name = parties.text_of(other, "Nm") or parties.text_of(other, "Pty", "Nm")
    ultimate = parties.text_of(f"Ultmt{other}", "Nm") or parties.text_of(f"Ultmt{other}", "Pty", "Nm")
    if ultimate and ultimate != name:
        name = f"{name} ({ultimate})" if name else ultimate
    iban = parties.text_of(f"{other}Acct", "Id", "IBAN") or parties.text_of(f"{other}Acct", "Id", "Othr", "Id")
    told = detail.find("RmtInf")
    texts = [one.text for one in told.each("Ustrd")] if told else []
    structured = [one.text_of("CdtrRefInf", "Ref") for one in told.each("Strd")] if told else []
    extra = [one.text_of("AddtlRmtInf") for one in told.each("Strd")] if told else []
    said = " ".join([*texts, *extra]) or detail.text_of("AddtlTxInf") or entry.text_of("AddtlNtryInf")
    return StatementLine(
        place=place,
        booked_on=_day(entry, "BookgDt", place),
        value_on=_day(entry, "ValDt", place) if entry.find("ValDt") is not None else None,
        amount=amount,
        # NtryRef is left out: banks number it from 1 in each statement, so that it is another in the next file.
        bank_reference=reference(detail.text_of("Refs", "AcctSvcrRef")) or reference(entry.text_of("AcctSvcrRef")),
        end_to_end_id=reference(detail.text_of("Refs", "EndToEndId")),
        structured_reference=clipped(" ".join(filter(None, structured))),
        name=clipped(name),
        iban=clipped(iban.replace(" ", ""), length=50).upper(),
        text=clipped(said, length=TEXT_LENGTH_MAX),
        is_reversal=is_reversal,
    )


def _detail_amount(detail: Element, whole: Money) -> Money | None:
    """Return what a part of a batch is over, or None where it does not say so in the entry's currency."""
    source = detail.find("Amt") or detail.find("AmtDtls", "TxAmt", "Amt")
    if source is None or source.attributes.get("Ccy") != whole.currency.code:
        return None
    place = f"TxDtls (line {detail.line})"
    amount = _amount(source, place)
    direction = detail.text_of("CdtDbtInd")
    is_credit = direction == "CRDT" if direction else whole.amount > 0
    return amount if is_credit else amount * -1


def _signed(source: Element, place: str) -> Money:
    amount = source.find("Amt")
    if amount is None:
        raise StatementFault("there is no amount (Amt)", place=place)
    direction = source.text_of("CdtDbtInd")
    if direction not in ("CRDT", "DBIT"):
        raise StatementFault(f"CdtDbtInd must be CRDT or DBIT, not {direction!r}", place=place)
    return _amount(amount, place) * (1 if direction == "CRDT" else -1)


def _amount(source: Element, place: str) -> Money:
    currency = checked_currency(source.attributes.get("Ccy", ""), place=place)
    text = source.text.strip()
    if not AMOUNT.fullmatch(text):
        raise StatementFault(f"{text[:40]!r} is no amount (Amt)", place=place)
    return checked_amount(Decimal(text), currency=currency, place=place)


def _day(source: Element, name: str, place: str) -> date:
    """Return the day of a date or of a moment, as the bank writes it where it is."""
    text = source.text_of(name, "Dt") or source.text_of(name, "DtTm")
    found = _as_day(text)
    if found is None:
        raise StatementFault(f"{name} must be a day, not {text[:40]!r}", place=place)
    return found


def _span_day(source: Element, name: str, place: str) -> date | None:
    text = source.text_of("FrToDt", name)
    found = _as_day(text)
    if text and found is None:
        raise StatementFault(f"FrToDt/{name} must be a moment, not {text[:40]!r}", place=place)
    return found


def _as_day(text: str) -> date | None:
    day = DAY.match(text)
    try:
        return date.fromisoformat(day[0]) if day else None
    except ValueError:
        return None
