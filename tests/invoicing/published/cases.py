"""The case table: what providers publish about their price models, with the figures as they stand there.

Each file names pages; under a page stand examples. An example is one published figure: a price in the shape of our
catalog file, a quantity, and the amount; or a bill of several lines and its total. `ours` and `why` stand where we charge
something else by design. What we worked out ourselves from a published rate card is `derived`: it is tested, but it is
nobody's word and is not counted.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

# What is published happens in these months.
MARCH, APRIL = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
FOLDER = Path(__file__).resolve().parent
PAGE = {
    *("provider", "title", "url", "read_in"),
    *("prices", "bills", "periods", "changes", "advances", "commitments", "credits"),
}
PRICE = {"what", "currency", "price", "published", "derived"}
FIGURES = {"after", "quantity", "events", "groups", "amount", "ours", "why"}
BILL = {"what", "currency", "lines", "minimum_spend", "maximum_spend", "coupons", "adjusted", "total", "ours", "why"}
PERIOD = {
    *("what", "currency", "cadence", "anchor", "fee", "start", "end", "at", "from", "until"),
    *("share", "amount", "ours", "why"),
}
CHANGED = ("unused", "charged", "additional", "coming", "next")
CHANGE = {"what", "currency", "cadence", "fees", "ours", "why", *CHANGED}
LINE = {"key", "price", "quantity", "amount", "ours"}
Case = TypeVar("Case")


@dataclass(frozen=True)
class Source:
    """Where an example stands; `read_in` where we read it, if that was not the page itself."""

    provider: str
    title: str
    url: str
    read_in: str


@dataclass(frozen=True)
class PriceCase:
    """One published amount for a quantity of one price, or for what comes `after` an earlier quantity.

    `groups` divide it by the values of a matrix, `events` say what each event of it counts. A page that shows more decimals
    than the currency has shows the amount before rounding.
    """

    name: str
    source: Source
    currency: str
    price: Mapping[str, Any]
    after: str
    quantity: str
    events: tuple[str, ...]
    groups: tuple[Mapping[str, Any], ...]
    published: str
    ours: str
    why: str
    is_derived: bool


@dataclass(frozen=True)
class BillLine:
    """One line of a published bill."""

    key: str
    price: Mapping[str, Any]
    quantity: str
    published: str
    ours: str


@dataclass(frozen=True)
class BillCase:
    """One published bill of several lines and its total; `adjusted` is what bounds on spend and coupons make of it."""

    name: str
    source: Source
    currency: str
    lines: tuple[BillLine, ...]
    spend: Mapping[str, str]
    coupons: tuple[Mapping[str, Any], ...]
    adjusted: str
    published: str
    ours: str
    why: str


@dataclass(frozen=True)
class PeriodCase:
    """What a fee comes to in the part of a billing period in which it was in force: the one that runs `on` a day.

    The page says the amount, or the share: then the amount is that share of the fee. It may say `since` and `until` when.
    """

    name: str
    source: Source
    currency: str
    cadence: str
    anchor: str
    fee: str
    start: date
    end: date | None
    on: date
    since: date
    until: date | None
    published: str
    ours: str
    why: str


@dataclass(frozen=True)
class ChangeCase:
    """Another fee within the first month, for people who pay in advance; `fees` by the day from which they hold.

    `published` and `ours` tell what there is to tell of: `unused`, what is given back of the first fee; `charged`, what
    the last fee comes to; `additional`, what the month costs more than was paid; where the fees are invoiced in advance also
    `coming`, the fee of the next period, and `next`, what the next invoice comes to.
    """

    name: str
    source: Source
    currency: str
    cadence: str
    fees: Mapping[date, str]
    published: Mapping[str, str]
    ours: Mapping[str, str]
    why: str


def price_cases() -> list[PriceCase]:
    """All examples of a single price."""
    return list(each("prices", _price_cases))


def bill_cases() -> list[BillCase]:
    """All examples of a whole bill."""
    return list(each("bills", bill_cases_of))


def period_cases() -> list[PeriodCase]:
    """All examples of a fee in a part of a period."""
    return list(each("periods", _period_cases))


def change_cases() -> list[ChangeCase]:
    """All examples of a fee that changes in mid-month."""
    return list(each("changes", _change_cases))


def advance_cases() -> list[ChangeCase]:
    """All examples of a fee that changes within a period for which it was invoiced in advance."""
    return list(each("advances", _change_cases))


@cache
def pages(path: Path) -> list[dict[str, Any]]:
    """The pages of a file, read once for all kinds of examples."""
    return list(yaml.safe_load(path.read_text()))


def each(kind: str, cases: Callable[[Source, Mapping[str, Any]], Iterator[Case]]) -> Iterator[Case]:
    """Yield the examples of a kind, page by page."""
    for path in sorted(FOLDER.glob("*.yaml")):
        for page in pages(path):
            known(page, PAGE, path.name)
            source = Source(page["provider"], page["title"], page["url"], page.get("read_in", ""))
            for entry in page.get(kind, ()):
                yield from cases(source, entry)


def _price_cases(source: Source, entry: Mapping[str, Any]) -> Iterator[PriceCase]:
    known(entry, PRICE, source.url)
    for kind in ("published", "derived"):
        for figures in entry.get(kind, ()):
            known(figures, FIGURES, source.url)
            quantity, after = figures.get("quantity") or _together(figures), figures.get("after", "")
            yield PriceCase(
                name=f"{source.provider}: {entry['what']}, {quantity}" + (f" after {after}" if after else ""),
                source=source,
                currency=entry.get("currency", "USD"),
                price=entry["price"],
                after=after,
                quantity=quantity,
                events=tuple(figures.get("events", ())),
                groups=tuple(figures.get("groups", ())),
                published=figures["amount"],
                ours=figures.get("ours", figures["amount"]),
                why=figures.get("why", ""),
                is_derived=kind == "derived",
            )


def bill_cases_of(source: Source, entry: Mapping[str, Any]) -> Iterator[BillCase]:
    """Yield the one bill of an entry."""
    known(entry, BILL, source.url)
    for line in entry["lines"]:
        known(line, LINE, source.url)
    yield BillCase(
        name=f"{source.provider}: {entry['what']}",
        source=source,
        currency=entry.get("currency", "USD"),
        lines=tuple(
            BillLine(
                line["key"], line["price"], line.get("quantity", "0"), line["amount"], line.get("ours", line["amount"])
            )
            for line in entry["lines"]
        ),
        spend={name: entry[name] for name in ("minimum_spend", "maximum_spend") if name in entry},
        coupons=tuple(
            {"code": f"COUPON{place}", "position": place, **terms}
            for place, terms in enumerate(entry.get("coupons", ()), 1)
        ),
        adjusted=entry.get("adjusted", "0"),
        published=entry["total"],
        ours=entry.get("ours", entry["total"]),
        why=entry.get("why", ""),
    )


def _period_cases(source: Source, entry: Mapping[str, Any]) -> Iterator[PeriodCase]:
    known(entry, PERIOD, source.url)
    published = entry.get("amount") or _part(entry["fee"], entry["share"])
    ours = entry.get("ours", published)
    start = date.fromisoformat(entry["start"])
    yield PeriodCase(
        name=f"{source.provider}: {entry['what']}",
        source=source,
        currency=entry.get("currency", "USD"),
        cadence=entry.get("cadence", "month"),
        fee=entry["fee"],
        anchor=entry.get("anchor", "calendar"),
        start=start,
        end=date.fromisoformat(entry["end"]) if "end" in entry else None,
        on=date.fromisoformat(entry["at"]) if "at" in entry else start,
        since=date.fromisoformat(entry["from"]) if "from" in entry else start,
        until=date.fromisoformat(entry["until"]) if "until" in entry else None,
        published=published,
        ours=_part(entry["fee"], ours) if "share" in entry and "ours" in entry else ours,
        why=entry.get("why", ""),
    )


def _change_cases(source: Source, entry: Mapping[str, Any]) -> Iterator[ChangeCase]:
    known(entry, CHANGE, source.url)
    published = {name: entry[name] for name in CHANGED if name in entry}
    yield ChangeCase(
        name=f"{source.provider}: {entry['what']}",
        source=source,
        currency=entry.get("currency", "USD"),
        cadence=entry.get("cadence", "month"),
        fees={date.fromisoformat(day): fee for day, fee in entry["fees"].items()},
        published=published,
        ours=published | entry.get("ours", {}),
        why=entry.get("why", ""),
    )


def _together(figures: Mapping[str, Any]) -> str:
    """What events, or groups, add up to."""
    parts = figures.get("events") or [group["quantity"] for group in figures["groups"]]
    return str(sum((Decimal(part) for part in parts), Decimal(0)))


def _part(fee: str, share: str) -> str:
    return str(round(Fraction(fee) * Fraction(share), 2))


def known(mapping: Mapping[str, Any], members: set[str], where: str) -> None:
    """Refuse members that mean nothing, and a reason for a figure that is not there."""
    unknown = set(mapping) - members
    assert not unknown, f"{where}: {sorted(unknown)} mean nothing here"
    assert ("why" in mapping) <= ("ours" in mapping), f"{where}: a reason without a figure"


def midnight(day: date | None) -> datetime | None:
    """The first moment of a day."""
    return None if day is None else datetime.combine(day, time(), UTC)
