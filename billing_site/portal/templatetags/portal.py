"""How the portal writes money, quantities and charts."""

from decimal import Decimal

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from moneyed import Money

from billing_site.kernel.money import exponent
from billing_site.portal.queries import DailyUsage
from invoicing.invoices.printed_text import amount_text, date_text, quantity_text

register = template.Library()

CHART_HEIGHT = 96
BAR_WIDTH = 18
BAR_GAP = 4


@register.filter
def money(amount: Money) -> SafeString:
    """Write money with its currency: EUR 1,402.77."""
    figure = amount_text(amount=amount.amount, decimals_min=exponent(amount.currency.code))
    return format_html('<span class="money"><span class="currency">{}</span> {}</span>', amount.currency.code, figure)


@register.filter
def quantity(amount: Decimal) -> str:
    """Write a quantity with separators: 15,000,000."""
    return quantity_text(quantity=amount)


@register.filter
def day(value: object) -> str:
    """Write a date that no country misreads: 1 November 2026."""
    return date_text(day=value)  # type: ignore[arg-type]


@register.filter
def plural(unit: str, amount: Decimal) -> str:
    """Return the unit in the number of the amount: token, tokens."""
    return unit if amount == 1 or not unit or unit.endswith("s") else f"{unit}s"


@register.simple_tag
def bars(usage: DailyUsage) -> SafeString:
    """Draw usage by day as an SVG bar chart that starts at zero."""
    highest = max((value for _, value in usage.days), default=Decimal(0))
    width = len(usage.days) * (BAR_WIDTH + BAR_GAP)
    rectangles = format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}" rx="2"><title>{}: {} {}</title></rect>',
        (
            (
                index * (BAR_WIDTH + BAR_GAP),
                CHART_HEIGHT - _height(value, highest),
                BAR_WIDTH,
                _height(value, highest),
                date_text(day=moment),
                quantity_text(quantity=value),
                plural(usage.unit, value),
            )
            for index, (moment, value) in enumerate(usage.days)
        ),
    )
    return format_html(
        '<svg class="bars" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{} by day">{}</svg>',
        max(width, 31 * (BAR_WIDTH + BAR_GAP)),
        CHART_HEIGHT,
        usage.name,
        rectangles,
    )


def _height(value: Decimal, highest: Decimal) -> int:
    if not value:
        return 0
    return max(1, int(value * CHART_HEIGHT / highest))
