"""How the portal writes money, quantities, days, times and charts."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from moneyed import Money

from billing_site.kernel.money import exponent
from billing_site.portal.phrases import counted_words, day_words, phrase, spoken, written
from billing_site.portal.queries.usage import DailyUsage
from invoicing.core.spans import period_text
from invoicing.invoices.printed_text import amount_text, quantity_text

register = template.Library()

CHART_HEIGHT = 96
BAR_WIDTH = 18
BAR_GAP = 4
# A figure of more characters is set smaller, so that it stays on one line of a telephone.
LONG_FIGURE = 13
LONGEST_FIGURE = 20
MARKS = {
    "issued": "●",
    "paid": "✓",
    "overdue": "!",
    "void": "×",
    "written off": "–",
    "credited in full": "✓",
    "equal": "✓",
    "different": "!",
}


@register.filter
def money(amount: Money) -> SafeString:
    """Write money with its currency: EUR 1,402.77."""
    currency = format_html('<span class="currency">{}</span>', amount.currency.code)
    parts = (_figure(amount), currency) if spoken().names_currency_last else (currency, _figure(amount))
    return format_html('<span class="money">{} {}</span>', *parts)


@register.filter
def size(amount: Money) -> str:
    """Return the size class of a big figure: "", "long" or "longest"."""
    length = len(_figure(amount))
    return "longest" if length > LONGEST_FIGURE else "long" if length > LONG_FIGURE else ""


@register.filter
def figure(amount: Money) -> str:
    """Write money without its currency, which stands beside it already: 1,402.77."""
    return _figure(amount)


@register.filter
def range_size(high: Money, low: Money) -> str:
    """Return the size class of a big figure that is a range; one that is a point has that of its figure."""
    return size(high) if high == low else "longest" if len(_figure(high)) + len(_figure(low)) > LONG_FIGURE else "long"


@register.filter
def quantity(amount: Decimal | int, unit: str = "") -> str:
    """Write a quantity with separators and its unit: 15,000,000 actions."""
    text = quantity_text(quantity=Decimal(amount), language=spoken())
    return f"{text} {counted_words(unit, amount)}" if unit else text


@register.filter
def day(value: date) -> str:
    """Write a date that no country misreads: 1 November 2026."""
    return day_words(value)


@register.filter
def through(first: date, last: date) -> str:
    """Write a span of days, both included: 1 – 31 October 2026."""
    return period_text(first=first, last=last, language=spoken())


@register.filter
def moment(at: datetime, zone: ZoneInfo) -> SafeString:
    """Write a time where the customer is, with the zone beside it and UTC on hover."""
    return _moment(at, zone, f" {zone_name(zone)}")


@register.filter
def moment_there(at: datetime, zone: ZoneInfo) -> SafeString:
    """Write the same in a column whose head names the zone."""
    return _moment(at, zone, "")


def _moment(at: datetime, zone: ZoneInfo, beside: str) -> SafeString:
    local, utc = at.astimezone(zone), at.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}, {}{}</time>',
        utc.isoformat(timespec="seconds"),
        f"{utc:%Y-%m-%d %H:%M:%S}",
        day_words(local.date()),
        f"{local:%H:%M}",
        beside,
    )


@register.filter
def zone_words(zone: ZoneInfo) -> str:
    """Name a zone as people do."""
    return zone_name(zone)


@register.simple_tag
def say(text: str, **values: Any) -> SafeString:
    """Say a phrase in the language of the customer whose page it is."""
    return phrase(text, **values)


@register.simple_tag
def tell(value: Any) -> Any:
    """Write money, a number or a day in the language of the customer whose page it is."""
    return written(value, spoken())


@register.simple_tag
def spoken_code() -> str:
    """Return the code of the language of the page."""
    return spoken().code


@register.filter
def isolated(name: str) -> SafeString:
    """Keep a name to itself, in whichever direction it is written."""
    return format_html("<bdi>{}</bdi>", name)


@register.filter
def figures(text: str) -> Decimal:
    """Return the number that a proof has written down, so that it is said in the reader's language."""
    return Decimal(text)


@register.filter
def zone_name(zone: ZoneInfo | str) -> str:
    """Write the name of a time zone for people: America/New York."""
    return str(zone).replace("_", " ")


@register.filter
def pill(state: str) -> SafeString:
    """Write a state as a word in a coloured pill; its mark says the same without colour."""
    return format_html(
        '<span class="pill {}"><span aria-hidden="true">{}</span> {}</span>',
        state,
        MARKS.get(state, "○"),
        phrase(state),
    )


@register.simple_tag
def bars(usage: DailyUsage) -> SafeString:
    """Draw usage by day as bars that start at zero, with room for the days to come; each bar says its figure."""
    _, highest = usage.highest
    rectangles = format_html_join(
        "",
        '<g><rect class="reach" x="{}" y="0" width="{}" height="{}"/>'
        '<rect class="bar" x="{}" y="{}" width="{}" height="{}"/><title>{}: {}</title></g>',
        (
            (
                index * (BAR_WIDTH + BAR_GAP),
                BAR_WIDTH + BAR_GAP,
                CHART_HEIGHT,
                index * (BAR_WIDTH + BAR_GAP) + BAR_GAP // 2,
                CHART_HEIGHT - _height(value, highest),
                BAR_WIDTH,
                _height(value, highest),
                day_words(moment),
                quantity(value, usage.unit),
            )
            for index, (moment, value) in enumerate(usage.days)
        ),
    )
    return format_html(
        '<svg class="bars" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        max(usage.day_count, len(usage.days)) * (BAR_WIDTH + BAR_GAP),
        CHART_HEIGHT,
        phrase("{name} by day", name=usage.name),
        rectangles,
    )


def _height(value: Decimal, highest: Decimal) -> int:
    return max(1, int(value * CHART_HEIGHT / highest)) if value else 0


def _figure(amount: Money) -> str:
    return amount_text(amount=amount.amount, decimals_min=exponent(amount.currency.code), language=spoken())
