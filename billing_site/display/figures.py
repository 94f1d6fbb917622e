"""How numbers and times are written for staff: money with its currency, quantities with unit, times with zone.

Thousands are parted by commas everywhere, as in the sentences that rating stores with a line: one number is
never written in two ways on one page.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from moneyed import Money

from billing_site.kernel.money import exponent, plain
from billing_site.kernel.words import counted

ONE_OFF = "one-off"
NOTHING = format_html('<span class="bo-faint">–</span>')


def money(amount: Money) -> SafeString:
    """Write rounded money: EUR 1,234.50; a negative amount in parentheses."""
    return figure(amount=amount.amount, currency=amount.currency.code)


def balance(amount: Money) -> SafeString:
    """Write what somebody owes; less than nothing is a credit balance: credit balance EUR 36.00."""
    return format_html("credit balance {}", money(-amount)) if amount.amount < 0 else money(amount)


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
    """Write a quantity with its unit: 15,000,000 tokens, −3 tokens."""
    whole, _, digits = plain(Decimal(amount).copy_abs()).partition(".")
    text = ("−" if amount < 0 else "") + f"{int(whole):,}" + (f".{digits}" if digits else "")
    return f"{text} {counted(unit, amount)}" if unit else text


def change_text(percent: Decimal | None) -> str:
    """Write a change in percent with its sign: +4.2 %, −3.1 %, 0 %; nothing where there is none to tell."""
    if percent is None:
        return "–"
    sign = "+" if percent > 0 else "−" if percent < 0 else ""
    return f"{sign}{int(abs(percent)):,}{plain(abs(percent) % 1)[1:]} %"


def moment(at: datetime) -> SafeString:
    """Write a time in UTC; the page's script turns it to the reader's zone and keeps exact UTC on hover."""
    utc = at.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{} UTC</time>',
        utc.isoformat(),
        utc.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00"),
        f"{utc:%Y-%m-%d %H:%M}",
    )


def moment_text(at: datetime, timezone: str = "UTC") -> str:
    """Write a time in a zone as plain text, for sentences: 2026-12-01 00:00 (Europe/Berlin)."""
    return f"{at.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M} ({timezone})"


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
    """Write a half-open period by its first and last day in its zone, a whole month as 2026-10.

    A period that ends at the hour at which it began ends on the day before, so that periods one after the
    other share no day; times stand only where a period is shorter than that. The empty period is what a one-off invoice bills.
    """
    if start == end:
        return ONE_OFF
    zone = ZoneInfo(timezone)
    first, after = start.astimezone(zone), end.astimezone(zone)
    midnight = first.time() == after.time() == datetime.min.time()
    last = (after - timedelta(days=1) if first.time() == after.time() else after - timedelta(microseconds=1)).date()
    if midnight and first.day == after.day == 1 and (last.year, last.month) == (first.year, first.month):
        return f"{first:%Y-%m}"
    if last < first.date() or (last == first.date() and not midnight):
        return f"{first:%Y-%m-%d %H:%M} to {after:%Y-%m-%d %H:%M}"
    return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"


def billed(*, kind: str, start: datetime, end: datetime, timezone: str) -> SafeString:
    """Write what an invoice bills: its period, or the word for what it is where it bills none."""
    return SafeString("progressive") if kind == "progressive" else period(start=start, end=end, timezone=timezone)


def period(*, start: datetime, end: datetime, timezone: str) -> SafeString:
    """Write a period as `period_text` does: it breaks between its days only, and has its exact bounds on hover."""
    days = period_text(start=start, end=end, timezone=timezone).replace(" to ", " to|").split("|")
    return format_html(
        '<span title="{}">{}</span>',
        exact_period(start=start, end=end, timezone=timezone),
        format_html_join(" ", '<span class="bo-nowrap">{}</span>', ((day,) for day in days)),
    )


def exact_period(*, start: datetime, end: datetime, timezone: str) -> str:
    """Write a half-open period to the minute in its zone, for where the days alone would hide something."""
    if start == end:
        return f"made at {moment_text(start, timezone)}, for no period"
    zone = ZoneInfo(timezone)
    first, after = start.astimezone(zone), end.astimezone(zone)
    return f"{first:%Y-%m-%d %H:%M} to {after:%Y-%m-%d %H:%M} ({timezone})"


def link(url: str, text: object, *, title: str = "") -> SafeString:
    """Write a link: every number is a door."""
    if title:
        return format_html('<a class="bo-link" href="{}" title="{}">{}</a>', url, title, text)
    return format_html('<a class="bo-link" href="{}">{}</a>', url, text)


def bytes_text(size: int) -> str:
    """Write a size in decimal units with three digits: 1.24 GB, 830 bytes."""
    if size < 1000:
        return f"{size} {counted('byte', size)}"
    units = ("kB", "MB", "GB", "TB")
    step = min((len(str(size)) - 1) // 3, len(units))
    amount, unit = Decimal(size).scaleb(-3 * step), units[step - 1]
    return f"{amount:.{2 if amount < 10 else 1 if amount < 100 else 0}f} {unit}"
