"""Bank statements for tests, written from the standard's structure: CAMT.053 of two versions, and CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from xml.sax.saxutils import escape

from invoicing.bank.models import BankLine
from invoicing.bank.queries import left_of
from invoicing.workflows.allocate_bank_line import Share, allocate_bank_line
from invoicing.workflows.import_bank_statement import Imported, Upload, import_bank_statement
from tests.factories import JULY

OURS = "DE02100100109307118603"
THEIRS = "DE75512108001245126199"
AT = JULY + timedelta(days=20)


@dataclass(frozen=True)
class Entry:
    """A line as the bank has it; a negative amount went out."""

    amount: str
    text: str = ""
    day: date = date(2026, 7, 10)
    reference: str = ""
    name: str = "Acme Inc."
    iban: str = THEIRS
    end_to_end: str = "NOTPROVIDED"
    structured: str = ""
    state: str = "BOOK"
    is_reversal: bool = False
    parts: tuple["Entry", ...] = ()


def camt(
    *entries: Entry, opening: str = "1000.00", version: str = "08", account: str = OURS, currency: str = "USD",
    number: str = "7", closing: str = "", days: tuple[date, date] | None = None,
) -> bytes:  # fmt: skip
    moved = sum((Decimal(one.amount) for one in entries if one.state == "BOOK"), Decimal(0))
    first = days[0] if days else min((one.day for one in entries), default=date(2026, 7, 10))
    last = days[1] if days else max((one.day for one in entries), default=date(2026, 7, 10))
    end = Decimal(closing) if closing else Decimal(opening) + moved
    rows = "".join(_entry(one, currency, version) for one in entries)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version}"><BkToCstmrStmt>
<GrpHdr><MsgId>M{number}</MsgId><CreDtTm>{last}T20:00:00</CreDtTm></GrpHdr>
<Stmt><Id>S{number}</Id><ElctrncSeqNb>{number}</ElctrncSeqNb><CreDtTm>{last}T20:00:00</CreDtTm>
<Acct><Id><IBAN>{account}</IBAN></Id><Ccy>{currency}</Ccy></Acct>
{_balance("OPBD", Decimal(opening), first, currency)}{_balance("CLBD", end, last, currency)}
{rows}</Stmt></BkToCstmrStmt></Document>""".encode()


def _balance(code: str, amount: Decimal, day: date, currency: str) -> str:
    return (
        f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>{_amount(str(amount), currency)}"
        f"<Dt><Dt>{day}</Dt></Dt></Bal>\n"
    )


def _amount(amount: str, currency: str) -> str:
    direction = "DBIT" if amount.startswith("-") else "CRDT"
    return f'<Amt Ccy="{currency}">{amount.lstrip("-")}</Amt><CdtDbtInd>{direction}</CdtDbtInd>'


def _entry(entry: Entry, currency: str, version: str) -> str:
    state = f"<Sts><Cd>{entry.state}</Cd></Sts>" if version >= "08" else f"<Sts>{entry.state}</Sts>"
    reversal = "<RvslInd>true</RvslInd>" if entry.is_reversal else ""
    reference = f"<AcctSvcrRef>{entry.reference}</AcctSvcrRef>" if entry.reference else ""
    details = "".join(_details(one, currency, version, is_part=bool(entry.parts)) for one in entry.parts or (entry,))
    return (
        f"<Ntry>{_amount(entry.amount, currency)}{reversal}{state}<BookgDt><Dt>{entry.day}</Dt></BookgDt>"
        f"<ValDt><Dt>{entry.day}</Dt></ValDt>{reference}<NtryDtls>{details}</NtryDtls></Ntry>\n"
    )


def _details(entry: Entry, currency: str, version: str, *, is_part: bool) -> str:
    role = "Cdtr" if entry.amount.startswith("-") != entry.is_reversal else "Dbtr"
    name = f"<Nm>{escape(entry.name)}</Nm>"
    party = f"<{role}><Pty>{name}</Pty></{role}>" if version >= "08" else f"<{role}>{name}</{role}>"
    account = f"<{role}Acct><Id><IBAN>{entry.iban}</IBAN></Id></{role}Acct>" if entry.iban else ""
    amount = ""
    if is_part:
        stated = f'<Amt Ccy="{currency}">{entry.amount.lstrip("-")}</Amt>'
        amount = stated if version >= "08" else f"<AmtDtls><TxAmt>{stated}</TxAmt></AmtDtls>"
    structured = f"<Strd><CdtrRefInf><Ref>{entry.structured}</Ref></CdtrRefInf></Strd>" if entry.structured else ""
    return (
        f"<TxDtls><Refs><EndToEndId>{escape(entry.end_to_end)}</EndToEndId></Refs>{amount}"
        f"<RltdPties>{party}{account}</RltdPties>"
        f"<RmtInf><Ustrd>{escape(entry.text)}</Ustrd>{structured}</RmtInf></TxDtls>"
    )


def import_camt(*entries: Entry, at: datetime = AT, name: str = "july.xml", **members: object) -> Imported:
    content = camt(*entries, **members)  # type: ignore[arg-type]
    return import_bank_statement(upload=Upload(name, "camt053", content), at=at, actor="ann")


def one_line(*entries: Entry, **members: object) -> BankLine:
    [line] = import_camt(*entries, **members).lines
    return line


def allocate(line: BankLine, *shares: Share, at: datetime = AT, reason: str = "it is his") -> Sequence[object]:
    return allocate_bank_line(
        line_id=line.pk, shares=shares, left=left_of(line=line), at=at, actor="ann", reason=reason
    )
