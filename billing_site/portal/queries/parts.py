"""What an account that another pays for may see of its invoices: its own lines, never those of who pays or of other accounts."""

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from moneyed import Money

from billing_site.kernel.errors import NotFound
from billing_site.kernel.money import total
from billing_site.portal.phrases import phrase
from billing_site.portal.queries.invoice_page import EVENTS_COUNTED_MAX, line_view
from billing_site.portal.queries.lines import LineView, with_shared_days
from billing_site.portal.queries.usage import days_of
from invoicing.customers.models import Customer
from invoicing.invoices.consumers import AccountPart, parts_of_account, with_consumers
from invoicing.invoices.queries import period_shown


@dataclass(frozen=True)
class PartRow:
    """What one invoice charges for the account, and the days that it bills."""

    part: AccountPart
    first_day: date
    last_day: date


@dataclass(frozen=True)
class PartPage:
    """Everything on the page of an account's part: its lines and what they come to."""

    row: PartRow
    zone: ZoneInfo
    at: datetime
    service_days: tuple[date, date] | None
    lines: tuple[LineView, ...]
    total: Money


def part_rows(*, account: Customer) -> tuple[PartRow, ...]:
    """Return what was invoiced for an account, newest first; none for a customer who is billed itself."""
    return tuple(_row(part) for part in parts_of_account(account=account))


def part_page(*, account: Customer, number: str, at: datetime) -> PartPage:
    """Return an account's part of an invoice; raises NotFound for any other number, in the words of an invoice that is not there."""
    part = next((one for one in parts_of_account(account=account) if one.invoice.number == number), None)
    if part is None:
        raise NotFound(phrase("you have no invoice {number}", number=number), field="number")
    zone = ZoneInfo(part.invoice.timezone)
    lines = list(
        with_consumers(part.invoice.lines.filter(subscription__customer=account))
        .select_related(
            "price__plan_version__plan",
            "correction__original__invoice__customer",
            "correction__original__subscription__customer",
        )
        .order_by("position")
    )
    few_events = sum(line.event_count for line in lines) <= EVENTS_COUNTED_MAX
    service_days, views = with_shared_days(
        lines=[line_view(line, counted_again=few_events, zone=zone) for line in lines]
    )
    amount = total((line.amount for line in lines), part.invoice.currency)
    assert amount == part.amount, "a part is the sum of its lines"
    return PartPage(row=_row(part), zone=zone, at=at, service_days=service_days, lines=views, total=amount)


def _row(part: AccountPart) -> PartRow:
    zone = ZoneInfo(part.invoice.timezone)
    period = period_shown(invoice=part.invoice)
    assert period is not None, "what is invoiced once is for who pays"
    return PartRow(part, *days_of(period=period, zone=zone))
