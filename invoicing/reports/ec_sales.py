"""The EC sales list: what was sold by reverse charge to companies elsewhere in the European Union, by their VAT ids.

Source: the recapitulative statement of Art. 262 to 264 of Directive 2006/112/EC (in Germany the Zusammenfassende Meldung, § 18a UStG).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from moneyed import Money

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.money import round_money, total
from invoicing.core.posting import ACCOUNT_NAMES, PREPAID_CREDIT, RECEIVABLE, REFUNDS_PAYABLE
from invoicing.core.tax import TaxKind
from invoicing.core.tax_rules import EUROPEAN_UNION
from invoicing.reports.asking import Question
from invoicing.reports.report import Column, ColumnKind, Door, DoorKind, Report, Row, Section, Tie
from invoicing.reports.taxed_sales import IS_PREPAID, SOLD, TaxedSales, fetched, taxed_sales
from invoicing.tax.queries import last_checks
from invoicing.tax.vat_ids import read_vat_id

# The kind of supply as the statement writes it: services.
SERVICES = "S"
COLUMNS = (
    Column("vat_id", "VAT id"),
    Column("seller", "Legal entity", is_optional=True),
    Column("country", "Country"),
    Column("kind", "Kind"),
    Column("customer", "Customer", is_name=True),
    Column("documents", "Documents", ColumnKind.NUMBER),
    Column("amount", "Amount", ColumnKind.MONEY),
    # What a register says may change after a month is closed: it is no figure of it.
    Column("mend", "Mend first", is_optional=True, is_name=True),
)
DEFINITION = (
    "What was invoiced in the span (UTC; where its month was closed by then, in the next one) by reverse charge from one member state of the European Union to another, by the VAT id that is stored with the invoice: "
    "kind S is services, and each legal entity files a list of its own. What became void in the span, and its credit notes, count against it, as in the tax report. Amounts are in the currency of the invoices, to the cent: translating into that of the statement, and rounding as it asks, "
    "is left to whoever files it. An id that is missing, is none of its country, or that the register does not know, is mended first."
)

_UNION = ", ".join(f"'{code}'" for code in sorted(EUROPEAN_UNION))
# What the list tells, each line with its document, and which documents these are.
_TOLD = f"""
    {SOLD}, told AS (
        SELECT *, sign * taxable AS moved FROM sold
         WHERE kind = '{TaxKind.REVERSE_CHARGE.value}' AND ordinal = 1 AND jurisdiction IN ({_UNION})
           AND (%(entity)s = '' OR seller = %(entity)s)
           AND tax -> 'seller' ->> 'country' IN ({_UNION}) AND tax -> 'seller' ->> 'country' <> jurisdiction
    ), named AS (SELECT DISTINCT entry_kind, reference, currency FROM told)
"""
_BY_VAT_ID = f"""
    {_TOLD} SELECT told.currency, told.seller, told.tax -> 'customer' ->> 'number', told.jurisdiction,
                   customer.id, customer.key, max(invoice.customer_name), count(DISTINCT told.id), sum(told.moved)
      FROM told JOIN invoicing_invoice invoice ON invoice.id = told.invoice_id
      JOIN invoicing_customer customer ON customer.id = invoice.customer_id
     GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 4, 3, 6
"""
# What the same documents ask for beside that, and what their entries moved.
_BY_DOCUMENT = f"""
    {_TOLD}, asked AS (
        SELECT currency, coalesce(sum(sign * taxable) FILTER (WHERE ordinal = 1), 0) + sum(sign * amount) AS amount
          FROM sold JOIN named USING (entry_kind, reference, currency) GROUP BY currency
    ), prepaid AS (
        SELECT named.currency, sum(document.sign * line.amount) AS amount
          FROM named JOIN document ON document.kind = named.entry_kind AND document.reference = named.reference
          JOIN invoicing_invoiceline line ON line.invoice_id = document.id
         WHERE {IS_PREPAID} GROUP BY named.currency
    ), booked AS (
        SELECT named.currency, sum(posting.amount) AS amount
          FROM named JOIN invoicing_journalentry entry ON entry.kind = named.entry_kind AND entry.reference = named.reference
          JOIN invoicing_posting posting ON posting.entry_id = entry.id
          JOIN invoicing_account account ON account.id = posting.account_id
         WHERE entry.booked_at >= %(start)s AND entry.booked_at < %(end)s
           AND account.code IN ('{RECEIVABLE}', '{PREPAID_CREDIT}', '{REFUNDS_PAYABLE}')
           AND (account.code = '{RECEIVABLE}' OR entry.kind = 'credit_note')
         GROUP BY named.currency
    )
    SELECT asked.currency, asked.amount - (SELECT sum(moved) FROM told WHERE told.currency = asked.currency),
           coalesce(prepaid.amount, 0), coalesce(booked.amount, 0)
      FROM asked LEFT JOIN prepaid USING (currency) LEFT JOIN booked USING (currency)
"""


@dataclass(frozen=True)
class SoldTo:
    """What a legal entity sold to one customer under one VAT id."""

    seller: str
    vat_id: str
    country: str
    customer_id: int
    customer_key: str
    customer_name: str
    documents: int
    amount: Money


@dataclass(frozen=True)
class InBooks:
    """What the documents of the list ask for beside it, less what prepaid credit pays of them, and what their entries moved."""

    beside: Money
    booked: Money


def ec_sales_report(*, question: Question) -> Report:
    """Return what was sold by reverse charge within the Union in a span, by VAT id, and which ids have to be mended first."""
    sold = taxed_sales(question=question)
    told = _told(question)
    in_books = _in_books(question)
    checked = _refused_by_register([one for rows in told.values() for one in rows])
    currencies = {code for code in {*sold, *told} if question.currency in ("", code)}
    return Report(
        name="ec-sales-list",
        title="EC sales list",
        asked=f"invoiced from {question.start} to {question.end}{question.of_whom}",
        columns=COLUMNS,
        sections=[
            _section(code, told.get(code, ()), in_books.get(code), sold.get(code, ()), checked)
            for code in sorted(currencies)
        ],
        definition=DEFINITION,
    )


def _section(
    currency: str,
    told: Sequence[SoldTo],
    in_books: InBooks | None,
    sold: Sequence[TaxedSales],
    refused: Mapping[tuple[int, str], date],
) -> Section:
    amount, nothing = total((one.amount for one in told), currency), total((), currency)
    by_treatment = total((one.once for one in sold if _is_within_union(one)), currency)
    ties = (
        Tie("sold", amount, by_treatment, "reverse charge within the Union in the tax report"),
        Tie(
            "with what else stands in their documents",
            amount + (in_books.beside if in_books else nothing),
            in_books.booked if in_books else nothing,
            f"entries on account {RECEIVABLE} {ACCOUNT_NAMES[RECEIVABLE]} and of credit notes",
        ),
    )
    return Section(currency, _rows(told, refused), {"amount": amount}, ties)


def _rows(told: Sequence[SoldTo], refused: Mapping[tuple[int, str], date]) -> list[Row]:
    """Return a row for each legal entity and VAT id, those that have to be mended first before the others; several customers may have one."""
    by_id: dict[tuple[str, str, str], list[SoldTo]] = {}
    for one in told:
        by_id.setdefault((one.seller, one.country, one.vat_id), []).append(one)
    are_several = len({one.seller for one in told}) > 1
    rows = []
    for (seller, country, vat_id), those in by_id.items():
        customers = {one.customer_key: one.customer_name for one in those}
        problems = [problem for one in those if (problem := _problem(one, refused))]
        row = Row(
            {
                "vat_id": vat_id or None,
                # Each entity files a list of its own; it is said where there are several.
                "seller": seller if are_several else None,
                "country": country,
                "kind": SERVICES,
                "customer": "; ".join(customers.values()),
                "documents": sum(one.documents for one in those),
                "amount": total((one.amount for one in those), those[0].amount.currency.code),
                "mend": "; ".join(dict.fromkeys(problems)) or None,
            },
            {"customer": Door(DoorKind.CUSTOMER, those[0].customer_key)} if len(customers) == 1 else {},
        )
        rows.append(row)
    return sorted(rows, key=lambda row: row.cells["mend"] is None)


def _problem(one: SoldTo, refused: Mapping[tuple[int, str], date]) -> str:
    """Return what has to be mended of a VAT id, or nothing."""
    if not one.vat_id:
        return f"no VAT id of {one.customer_name} is known"
    try:
        read_vat_id(country=one.country, text=one.vat_id)
    except InvalidInput as problem:
        return problem.message
    day = refused.get((one.customer_id, one.vat_id))
    return f"the register did not know it on {day.isoformat()}" if day else ""


def _refused_by_register(told: Sequence[SoldTo]) -> dict[tuple[int, str], date]:
    """Return on which day the register said last that it does not know a VAT id, by customer and id; one query."""
    checks = last_checks(customers={one.customer_id for one in told})
    return {(check.customer_id, check.vat_id): check.checked_at.date() for check in checks if not check.is_valid}


def _is_within_union(one: TaxedSales) -> bool:
    return (
        one.kind == TaxKind.REVERSE_CHARGE.value
        and {one.registered_in, one.jurisdiction} <= EUROPEAN_UNION
        and one.registered_in != one.jurisdiction
    )


def _told(question: Question) -> dict[str, list[SoldTo]]:
    told: dict[str, list[SoldTo]] = {}
    rows = fetched(sql=_BY_VAT_ID, question=question)
    for code, seller, vat_id, country, number, key, name, documents, amount in rows:
        one = SoldTo(seller, vat_id or "", country, number, key, name, documents, round_money(amount, code))
        told.setdefault(code, []).append(one)
    return told


def _in_books(question: Question) -> dict[str, InBooks]:
    return {
        code: InBooks(round_money(beside + prepaid, code), round_money(booked, code))
        for code, beside, prepaid, booked in fetched(sql=_BY_DOCUMENT, question=question)
    }
