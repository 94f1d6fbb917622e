"""E-invoices as files: Cross Industry Invoice (ZUGFeRD, Factur-X) and UBL 2.1 (Peppol), valid against their schemas.

The library `factur-x` writes both from one table of business terms (the BT and BG of EN 16931).
"""

from decimal import Decimal
from typing import Any, Final

from facturx import generate_cii_xml, generate_ubl_xml  # type: ignore[import-untyped]
from stdnum import iban

from billing_site.kernel.money import plain
from invoicing.e_invoices.statement import EInvoice, Party, StatedLine, Vat, VatCategory

PROFILE: Final = "en16931"
COMMERCIAL_INVOICE, CREDIT_NOTE, PARTIAL_INVOICE = "380", "381", "326"
PIECE: Final = "C62"
EMAIL: Final = "EM"
# UNTDID 1153: the number by which a seller knows a customer.
INTERNAL_CUSTOMER: Final = "IT"
TRANSFER, UNDEFINED_MEANS = "58", "1"
EXEMPTION_CODES: Final = {
    VatCategory.REVERSE_CHARGE: "VATEX-EU-AE",
    VatCategory.OUTSIDE_SCOPE: "VATEX-EU-O",
}


def cii_file(*, e_invoice: EInvoice) -> bytes:
    """Write a Cross Industry Invoice (profile EN 16931), which stands in the PDF too; the same invoice gives the same bytes."""
    return _utf8(generate_cii_xml(_terms(e_invoice), level=PROFILE, check_schematron=None))


def ubl_file(*, e_invoice: EInvoice) -> bytes:
    """Write a UBL 2.1 invoice, or credit note (EN 16931); the same statement gives the same bytes."""
    return _utf8(generate_ubl_xml(_terms(e_invoice), level=PROFILE, check_schematron=None))


def _utf8(content: bytes | str) -> bytes:
    return content if isinstance(content, bytes) else content.encode()


def _terms(e_invoice: EInvoice) -> dict[str, Any]:
    """Return the business terms of EN 16931; the library writes what is in its table, and changes it."""
    days = e_invoice.days or (e_invoice.issued_on, e_invoice.issued_on)
    terms: dict[str, Any] = {
        "BT-1": e_invoice.number,
        "BT-2": e_invoice.issued_on,
        "BT-3": _type(e_invoice),
        "BT-5": e_invoice.currency,
        "BT-10": e_invoice.buyer_reference,
        "BT-20": e_invoice.payment_terms,
        "BT-72": days[1],
        "BT-83": e_invoice.number,
        "BT-106": _money(e_invoice.net.amount),
        "BT-109": _money(e_invoice.net.amount),
        "BT-110": _money(e_invoice.tax.amount),
        "BT-112": _money((e_invoice.net + e_invoice.tax).amount),
        "BT-115": _money(e_invoice.due.amount),
        "BG-4": _party(e_invoice.seller, tells_number=_tells_numbers(e_invoice)),
        "BG-7": _party(e_invoice.buyer, tells_number=_tells_numbers(e_invoice)),
        "BG-23": [
            {
                "BT-116": _money(one.taxable.amount),
                "BT-117": _money(one.tax.amount),
                **_category(one.vat, "BT-118", "BT-119"),
            }
            | _exemption(one.vat)
            for one in e_invoice.sums
        ],
        "BG-25": [_line(line) for line in e_invoice.lines],
        **_means(e_invoice),
    }
    if before := (e_invoice.corrects, *e_invoice.preceding) if e_invoice.corrects else e_invoice.preceding:
        terms["BG-3"] = [{"BT-25": one.number, "BT-26": one.issued_on} for one in before]
    if e_invoice.days is not None:
        terms |= {"BT-73": days[0], "BT-74": days[1]}
    if e_invoice.due_on is not None:
        terms["BT-9"] = e_invoice.due_on
    if e_invoice.prepaid.amount:
        terms["BT-113"] = _money(e_invoice.prepaid.amount)
    return terms


def _type(e_invoice: EInvoice) -> str:
    """Return the kind of document (UNTDID 1001): what is charged of a running period is a partial invoice, its last one an ordinary one."""
    if e_invoice.corrects is not None:
        return CREDIT_NOTE
    return PARTIAL_INVOICE if e_invoice.is_partial else COMMERCIAL_INVOICE


def _tells_numbers(e_invoice: EInvoice) -> bool:
    """Say whether VAT numbers may be told: where nothing is within the scope of VAT they must not (BR-O-02)."""
    return any(one.vat.category is not VatCategory.OUTSIDE_SCOPE for one in e_invoice.sums)


def _party(party: Party, *, tells_number: bool) -> dict[str, Any]:
    """Return a side of the sale; a fourth line of its address and more stand in the third."""
    first, second, *more = (*party.address, "", "")
    address = {"addr_l1": first, "addr_l2": second, "addr_l3": ", ".join(filter(None, more))}
    found: dict[str, Any] = {"name": party.name, "country_code": party.country}
    found |= {name: line for name, line in address.items() if line}
    if party.email:
        found |= {"einvoicing_addr": party.email, "einvoicing_addr_schemeid": EMAIL}
    if party.vat_number and tells_number:
        found["vat_identifier"] = party.vat_number
    return found


def _means(e_invoice: EInvoice) -> dict[str, str]:
    """Return how to pay: by transfer where the seller's bank details hold an IBAN."""
    for word in e_invoice.bank.replace("IBAN", "\n").splitlines():
        if iban.is_valid(number := word.strip(" :")):
            return {"BT-81": TRANSFER, "BT-84": iban.compact(number)}
    return {"BT-81": UNDEFINED_MEANS}


def _line(line: StatedLine) -> dict[str, Any]:
    found: dict[str, Any] = {
        "BT-126": str(line.number),
        "BT-129": plain(line.quantity),
        "BT-130": PIECE,
        "BT-131": _money(line.amount.amount),
        "BT-146": plain(line.price),
        "BT-153": line.name,
        "BT-154": line.description,
        **_category(line.vat, "BT-151", "BT-152"),
    }
    if line.allowances:
        found["BG-27"] = [{"amount": _money(one.amount.amount), "reason": one.reason} for one in line.allowances]
    if line.days is not None:
        found |= {"BT-134": line.days[0], "BT-135": line.days[1]}
    if line.account:
        # The object on which the line is based, as its seller identifies it; its name is a note for people.
        found |= {"BT-128": {INTERNAL_CUSTOMER: line.account}, "BT-127-00": [{"BT-127": line.account_name}]}
    return found


def _category(vat: Vat, code: str, percent: str) -> dict[str, str]:
    """Return category and rate; what is outside the scope of VAT has no rate (BR-O-05)."""
    if vat.category is VatCategory.OUTSIDE_SCOPE:
        return {code: vat.category.value}
    return {code: vat.category.value, percent: plain(vat.rate * 100)}


def _exemption(vat: Vat) -> dict[str, str]:
    if not vat.reason:
        return {}
    code = EXEMPTION_CODES.get(vat.category)
    return {"BT-120": vat.reason} | ({"BT-121": code} if code else {})


def _money(amount: Decimal) -> str:
    """Write an amount with all decimals of its currency, as money is held."""
    return format(amount, "f")
