"""How templates write money, quantities, times and states."""

from datetime import date, datetime
from decimal import Decimal

from django import template
from django.utils.safestring import SafeString
from moneyed import Money

from billing_site.display import figures, pills
from billing_site.kernel.clock import now
from billing_site.kernel.money import plain
from dunning.arrangements.models import Hold
from dunning.arrangements.queries import hold_of
from invoicing.core.tax_document import percent_text
from invoicing.customers.models import Customer

register = template.Library()


@register.filter
def money(amount: Money | None) -> SafeString:
    """Write money: EUR 1,234.50."""
    return figures.NOTHING if amount is None else figures.money(amount)


@register.filter
def money_lines(amounts: list[Money]) -> SafeString:
    """Write one line per currency."""
    return figures.money_list(amounts)


@register.filter
def quantity(amount: Decimal | int | str, unit: str = "") -> str:
    """Write a quantity with thin separators, and its unit where one is given."""
    return figures.quantity(Decimal(amount), unit)


@register.filter
def headed(title: object) -> str:
    """Write a title with a capital, but an id or a key as it is: dp_1 is not Dp_1."""
    text = str(title)
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text


@register.filter
def bare(amount: Decimal) -> str:
    """Write a number without separators and trailing zeros."""
    return plain(amount)


@register.filter
def moment(at: datetime | None) -> SafeString:
    """Write a time with its zone."""
    return figures.NOTHING if at is None else figures.moment(at)


@register.filter
def day(value: date | None) -> SafeString:
    """Write a calendar date."""
    return figures.NOTHING if value is None else figures.day(value)


@register.simple_tag
def age(since: datetime, at: datetime) -> str:
    """Write how long ago something was."""
    return figures.age(since=since, at=at)


@register.simple_tag
def pill(word: str, why: str = "") -> SafeString:
    """Write a state as a pill."""
    return pills.pill(word, why=why)


@register.filter
def percent(value: Decimal) -> str:
    """Write a percentage: 93.1 %, without its sign where an arrow says it."""
    return f"{plain(abs(value))} %"


@register.filter
def rate(value: Decimal) -> str:
    """Write a rate, a fraction of one, as people read it: 0.19 is 19 %."""
    return percent_text(value)


@register.filter
def change(value: Decimal | None) -> str:
    """Write a change in percent with its sign: +4.2 %."""
    return figures.change_text(value)


@register.filter
def figure(amount: Decimal, currency: str) -> SafeString:
    """Write a bare amount in a currency."""
    return figures.figure(amount=amount, currency=currency)


@register.filter
def negated(amount: Money) -> Money:
    """Turn a credit into a positive amount for the column of credits."""
    return -amount


@register.filter
def period(row: object) -> SafeString:
    """Write the billed or service period of an invoice in its own zone, or the word for what bills none."""
    start, end, timezone = row.period_start, row.period_end, row.timezone  # type: ignore[attr-defined]
    return figures.billed(kind=getattr(row, "kind", ""), start=start, end=end, timezone=timezone)


@register.simple_tag
def service(line: object, timezone: str) -> SafeString:
    """Write a line's service period in the invoice's zone."""
    return figures.period(start=line.service_start, end=line.service_end, timezone=timezone)  # type: ignore[attr-defined]


@register.simple_tag
def span(period: object, timezone: str) -> SafeString:
    """Write a period of the core in a zone."""
    return figures.period(start=period.start, end=period.end, timezone=timezone)  # type: ignore[attr-defined]


@register.simple_tag
def invoice_pill(invoice: object, at: datetime) -> SafeString:
    """Write the state of an invoice as a pill."""
    state = pills.state_of_invoice(invoice, at=at)  # type: ignore[arg-type]
    return pills.pill(state)


@register.filter
def balance(amount: Money) -> SafeString:
    """Write what somebody owes, or a credit balance."""
    return figures.balance(amount)


@register.filter
def exact(amount: Decimal | str, currency: str) -> str:
    """Write an amount that is not rounded, with all its digits."""
    return figures.exact_price(amount=Decimal(amount), currency=currency)


@register.simple_tag
def event_pill(state: str) -> SafeString:
    """Write the state of a usage event as a pill."""
    return pills.pill(state.replace("_", " "))


@register.simple_tag
def dunning_hold(customer: Customer) -> Hold | None:
    """Return the hold of a customer that is in force, or None."""
    return hold_of(customer_id=customer.pk, at=now())
