"""Issue: drafts get their numbers, dates and seals; from then on they are carved in stone."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import connection
from django.db.models import prefetch_related_objects

from billing_site.kernel.among import among
from billing_site.kernel.errors import Conflict
from billing_site.kernel.history import update_all_with_reason
from invoicing.customers.queries import names_of_accounts
from invoicing.invoices.event_roots import lacks_roots, root_over_lines
from invoicing.invoices.lifecycle import move
from invoicing.invoices.models import Invoice, InvoiceLine, InvoiceSeries, InvoiceStatus, TaxState
from invoicing.invoices.numbering import locked_series, number_of, year_of
from invoicing.invoices.parties import PARTY_FIELDS, copy_parties, sellers_of
from invoicing.invoices.sealing import invoice_seal, line_digest
from invoicing.invoices.taxes import missing_tax, taxes_of

# Lines by the number of their invoice, in the order of the document.
LinesOf = Mapping[int, list[InvoiceLine]]
NOTHING_WRITTEN: LinesOf = {}
ISSUED_FIELDS = (
    "status",
    "billing_run",
    "series",
    "number",
    "issued_at",
    "due_date",
    "previous_seal",
    "seal",
    *PARTY_FIELDS,
)


def issue_all(
    *, invoices: Sequence[Invoice], at: datetime, actor: str, reason: str, written: LinesOf = NOTHING_WRITTEN
) -> list[tuple[Invoice, list[InvoiceLine]]]:
    """Give drafts, which are locked with their customers, their numbers in this order, dates and seals; return them with their lines.

    Each is issued by its customer's legal entity, and states it. Numbers are gapless per series: number, seal and issue commit
    together or not at all. Raises Conflict for what is no draft, for a period that has not ended, for lines that are not what was rated, for those that do not say which events they
    count, and where tax data is missing (code `tax_data_missing`). The number of queries does not grow with the drafts.
    `written` are the lines that this transaction has digested and stored itself: nobody else has seen them, and they are not read back.
    """
    assert connection.in_atomic_block, "they are locked"
    lines_of = _lines_of(invoices, written)
    for invoice in invoices:
        _refuse_unready(invoice, at=at)
    series_of = _locked_series(invoices, at=at)
    # Read again now that nobody can change them: the database refuses an invoice that names its seller otherwise.
    customers = [invoice.customer for invoice in invoices]
    sellers, accounts = sellers_of(customers=customers), names_of_accounts(customers=customers)
    for invoice in invoices:
        copy_parties(invoice=invoice, customer=invoice.customer, sellers=sellers, accounts=accounts)
        series = series_of[invoice.customer.seller_key, invoice.timezone]
        move(invoice=invoice, to=InvoiceStatus.ISSUED)
        invoice.series = series
        invoice.number = number_of(series=series, ordinal=series.next_number)
        invoice.issued_at = at
        invoice.due_date = at.astimezone(ZoneInfo(invoice.timezone)).date() + timedelta(
            days=invoice.customer.net_terms_days
        )
        invoice.previous_seal = series.last_seal
        lines = lines_of[invoice.pk]
        if invoice.pk not in written:
            _refuse_unrated(invoice, lines)
        taxes = taxes_of(lines=lines) if invoice.tax is not None else ()
        invoice.seal = invoice_seal(invoice=invoice, line_digests=[line.digest for line in lines], taxes=taxes)
        series.next_number += 1
        series.last_seal = invoice.seal
    update_all_with_reason(invoices, fields=ISSUED_FIELDS, actor=actor, reason=reason)
    for series in {series.pk: series for series in series_of.values()}.values():
        series.save(update_fields=["next_number", "last_seal"])
    return [(invoice, lines_of[invoice.pk]) for invoice in invoices]


def _lines_of(invoices: Sequence[Invoice], written: LinesOf) -> dict[int, list[InvoiceLine]]:
    """Return the stored lines of invoices by their numbers, with what they draw on, and with their taxes where there are any."""
    found = {invoice.pk: written.get(invoice.pk, []) for invoice in invoices}
    if unread := found.keys() - written.keys():
        for row in InvoiceLine.objects.filter(among("invoice", unread)).order_by("invoice_id", "position"):
            found[row.invoice_id].append(row)
    drawing = [line for lines in found.values() for line in lines if line.credit_grant_id is not None]
    prefetch_related_objects(drawing, "credit_grant")
    taxed = [line for invoice in invoices if invoice.tax is not None for line in found[invoice.pk]]
    prefetch_related_objects(taxed, "taxes")
    return found


def _refuse_unready(invoice: Invoice, *, at: datetime) -> None:
    refuse_unended(period_end=invoice.period_end, at=at)
    if invoice.tax_state == TaxState.MISSING:
        missing = "; ".join(missing_tax(invoice=invoice))
        raise Conflict(f"{invoice} cannot be taxed, it is not known: {missing}", field="tax", code="tax_data_missing")


def refuse_unended(*, period_end: datetime, at: datetime) -> None:
    """Raise Conflict for a period that lasts longer than `at`: it cannot be issued yet."""
    if at < period_end:
        raise Conflict(f"the period lasts until {period_end.isoformat()}: its usage is not complete", field="at")


def _locked_series(invoices: Sequence[Invoice], *, at: datetime) -> dict[tuple[str, str], InvoiceSeries]:
    """Return the series in which invoices of each seller and time zone are numbered: at New Year a seller has two; all are locked in one order."""
    places = {(invoice.customer.seller_key, invoice.customer.timezone) for invoice in invoices}
    years = {(seller, zone): (seller, year_of(issued_at=at, timezone=zone)) for seller, zone in places}
    sellers = sellers_of(customers=[invoice.customer for invoice in invoices])
    by_year = {
        (seller, year): locked_series(legal_entity=seller, name=sellers[seller].invoice_prefix, year=year)
        for seller, year in sorted(set(years.values()))
    }
    return {place: by_year[year] for place, year in years.items()}


def _refuse_unrated(invoice: Invoice, lines: Sequence[InvoiceLine]) -> None:
    """Raise Conflict where stored lines are not what was rated: somebody had the time to change them."""
    if lacks_roots(lines=lines) or root_over_lines(lines=lines) != invoice.events_root:
        raise Conflict(f"{invoice} does not say which events it counts: refresh the draft", code="outdated")
    for line in lines:
        if line_digest(line=line) != line.digest:
            raise Conflict(f"line {line.position} of {invoice} is not what was rated: delete the draft, bill again")
