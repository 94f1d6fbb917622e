"""How numbers and times are written for staff: money with its currency, quantities with thin separators, times with zone."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from moneyed import Money

from billing_site.kernel.money import exponent, plain
from billing_site.kernel.words import counted

THIN = "\N{NARROW NO-BREAK SPACE}"
NOTHING = format_html('<span class="bo-faint">–</span>')


def money(amount: Money) -> SafeString:
    """Write rounded money: EUR 1,234.50; a negative amount in parentheses."""
    return figure(amount=amount.amount, currency=amount.currency.code)


def figure(*, amount: Decimal, currency: str) -> SafeString:
    """Write a rounded amount of a currency: JPY 1,234, KWD (0.250)."""
    return format_html(
        '<span class="bo-money"><span class="bo-currency">{}</span> {}</span>', currency, figure_text(amount, currency)
    )


def figure_text(amount: Decimal, currency: str) -> str:
    """Write an amount without its currency, with the currency's decimals and parentheses for a negative one."""
    text = f"{abs(amount):,.{exponent(currency)}f}"
    return f"({text})" if amount < 0 else text


def money_text(amount: Money) -> str:
    """Write money as plain text, for messages and confirmations: EUR 1,234.50."""
    return f"{amount.currency.code} {figure_text(amount.amount, amount.currency.code)}"


def money_list(amounts: Iterable[Money]) -> SafeString:
    """Write one line per currency; currencies are never added up."""
    lines = format_html_join("", '<span class="bo-line">{}</span>', ((money(amount),) for amount in amounts))
    return lines or NOTHING


def exact_price(*, amount: Decimal, currency: str) -> str:
    """Write a unit price with all its digits, at least the currency's: EUR 0.0004."""
    whole, _, digits = plain(abs(amount)).partition(".")
    decimals = digits.ljust(exponent(currency), "0")
    text = f"{int(whole):,}{'.' + decimals if decimals else ''}"
    return f"{currency} ({text})" if amount < 0 else f"{currency} {text}"


def quantity(amount: Decimal | int, unit: str = "") -> str:
    """Write a quantity with thin separators and its unit: 15 000 000 tokens."""
    whole, _, digits = plain(Decimal(amount)).partition(".")
    text = f"{int(whole):,}".replace(",", THIN) + (f".{digits}" if digits else "")
    return f"{text} {counted(unit, amount)}" if unit else text


def moment(at: datetime) -> SafeString:
    """Write a time in UTC; the page's script turns it to the reader's zone and keeps exact UTC on hover."""
    utc = at.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{} UTC</time>',
        utc.isoformat(),
        utc.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00"),
        f"{utc:%Y-%m-%d %H:%M}",
    )


def age(*, since: datetime, at: datetime) -> str:
    """Write how long ago something was, in its two greatest units at most: 3 h, 2 d."""
    seconds = int((at - since).total_seconds())
    if seconds < 0:
        return "in " + age(since=at, at=since)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:,} {unit}"
    return f"{seconds} s"


def day(value: date) -> SafeString:
    """Write a calendar date: 2026-11-30."""
    return format_html('<span class="bo-nowrap">{}</span>', value.isoformat())


def period_text(*, start: datetime, end: datetime, timezone: str) -> str:
    """Write a half-open period by its first and last day in its zone; a whole month as 2026-10."""
    zone = ZoneInfo(timezone)
    first, after = start.astimezone(zone), end.astimezone(zone)
    last = (after - timedelta(microseconds=1)).date()
    midnight = first.time() == after.time() == datetime.min.time()
    if midnight and first.day == after.day == 1 and (last.year, last.month) == (first.year, first.month):
        return f"{first:%Y-%m}"
    if midnight:
        return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return f"{first:%Y-%m-%d %H:%M} to {after:%Y-%m-%d %H:%M}"


def link(url: str, text: object, *, title: str = "") -> SafeString:
    """Write a link: every number is a door."""
    if title:
        return format_html('<a class="bo-link" href="{}" title="{}">{}</a>', url, title, text)
    return format_html('<a class="bo-link" href="{}">{}</a>', url, text)
