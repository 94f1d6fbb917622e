"""What the bank says of the last days: a statement whose lines settle, are proposed, are known already, or are a mystery; so that the desk can be looked at."""

from datetime import date
from decimal import Decimal
from xml.sax.saxutils import escape

from moneyed import Money

from billing_site.demo.settling import BY_STATEMENT, LEFT_OPEN
from billing_site.kernel.clock import now
from billing_site.kernel.money import total
from invoicing.bank.models import AllocationKind, BankFile, BankLine
from invoicing.bank.queries import left_of, movements_on_no_statement
from invoicing.customers.models import SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.workflows.allocate_bank_line import Share, allocate_bank_line
from invoicing.workflows.import_bank_statement import Upload, import_bank_statement
from invoicing.workflows.match_bank_lines import settle_certain_lines

ACCOUNT = "DE02100100109307118603"
CURRENCY = "EUR"
FILE = "demo-statement.xml"
OPENING = Money("25000", CURRENCY)
FEE, PAYOUT, KNOWN = "demo-fee", "demo-payout", "demo-known"


def bring_bank_statement() -> None:
    """Import one statement, once, and say of some of its lines what they are; the others wait at the desk."""
    if not BankFile.objects.filter(name=FILE).exists():
        import_bank_statement(upload=Upload(FILE, "camt053", _statement()), at=now(), actor="demo")
    settle_certain_lines(file_id=BankFile.objects.get(name=FILE).pk, at=now())
    _say(FEE, AllocationKind.FEE, reason="monthly fee of the account")
    _say(PAYOUT, AllocationKind.SET_ASIDE, reason="payout of Stripe from before these books")
    _say(KNOWN, AllocationKind.KNOWN, reason="recorded by hand when the customer told us")


def _say(reference: str, kind: AllocationKind, *, reason: str) -> None:
    """Allocate what is left of a line."""
    line = BankLine.objects.filter(account__identifier=ACCOUNT, bank_reference=reference).first()
    if line is None or not left_of(line=line).amount:
        return
    left = left_of(line=line)
    entry_id = None
    if kind == AllocationKind.KNOWN:
        same = [one.entry.pk for one in movements_on_no_statement(currency=line.currency) if one.left == left]
        entry_id = same[-1] if same else None
        if entry_id is None:
            return
    share = Share(kind, left, entry_id=entry_id)
    allocate_bank_line(line_id=line.pk, shares=[share], left=left, at=now(), actor="demo", reason=reason)


def _statement() -> bytes:
    """Return the file as the bank would send it."""
    day = now().date()
    lines: list[tuple[str, Money, str, str]] = [
        (FEE, Money("-4.90", CURRENCY), "Kontor Bank", "account fee"),
        (PAYOUT, Money("1000", CURRENCY), "STRIPE TECHNOLOGY EUROPE", "STRIPE PAYOUT"),
        ("demo-mystery", Money("137", CURRENCY), "R. Hansen", "thank you"),
    ]
    owed = Invoice.objects.filter(
        status=InvoiceStatus.ISSUED, settlement_channel=SettlementChannel.MANUAL, currency=CURRENCY
    ).order_by("id")
    for invoice in owed.filter(customer__key=BY_STATEMENT):
        lines.append(
            (f"demo-{invoice.number}", invoice.amount_unpaid, invoice.customer.name, f"Invoice {invoice.number}")
        )
    for invoice in owed.filter(customer__key=LEFT_OPEN).order_by("-id")[:1]:
        too_much = invoice.amount_unpaid + Money("50", CURRENCY)
        lines.append((f"demo-{invoice.number}", too_much, invoice.customer.name, f"Rechnung {invoice.number}"))
    known = [one.left for one in movements_on_no_statement(currency=CURRENCY) if one.left.amount > 0]
    lines += [(KNOWN, known[-1], "Isar Werke AG", "as agreed")] if known else []
    closing = OPENING + total((amount for _, amount, _, _ in lines), CURRENCY)
    entries = "".join(_entry(reference, amount, name, text, day) for reference, amount, name, text in lines)
    return (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt>'
        f"<Stmt><Id>1</Id><Acct><Id><IBAN>{ACCOUNT}</IBAN></Id><Ccy>{CURRENCY}</Ccy></Acct>"
        f"{_balance('OPBD', OPENING, day)}{_balance('CLBD', closing, day)}{entries}</Stmt></BkToCstmrStmt></Document>"
    ).encode()


def _entry(reference: str, amount: Money, name: str, text: str, day: date) -> str:
    role = "Dbtr" if amount.amount > 0 else "Cdtr"
    return (
        f"<Ntry>{_amount(amount)}<Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>{day}</Dt></BookgDt><AcctSvcrRef>{reference}</AcctSvcrRef>"
        f"<NtryDtls><TxDtls><RltdPties><{role}><Pty><Nm>{escape(name)}</Nm></Pty></{role}></RltdPties>"
        f"<RmtInf><Ustrd>{escape(text)}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"
    )


def _balance(code: str, amount: Money, day: date) -> str:
    return f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>{_amount(amount)}<Dt><Dt>{day}</Dt></Dt></Bal>"


def _amount(amount: Money) -> str:
    direction = "CRDT" if amount.amount >= 0 else "DBIT"
    number = abs(amount.amount).quantize(Decimal("0.01"))
    return f'<Amt Ccy="{amount.currency.code}">{number}</Amt><CdtDbtInd>{direction}</CdtDbtInd>'
