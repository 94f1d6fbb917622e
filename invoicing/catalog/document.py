"""The catalog file: read strictly, every mistake told with its place."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, TypeVar, cast

from billing_site.kernel.errors import FieldError, InvalidFields
from billing_site.kernel.money import exponent
from billing_site.kernel.period import as_utc
from billing_site.kernel.text import is_storable
from invoicing.catalog.coupon_document import CouponEntry, read_coupon
from invoicing.catalog.effective import moment_mistake
from invoicing.catalog.spend import SpendEntry, read_spend
from invoicing.core.contract import Cadence, Price, PriceModel
from invoicing.core.definition import definition_of, price_from_definition
from invoicing.core.phases import Proration, TiersOnChange
from metering.core.definition import MeterDefinition, check_meter
from metering.core.parsing import read_moment

Choice = TypeVar("Choice", bound=StrEnum)

KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,100}")
METER_FIELDS = (
    "key",
    "name",
    "event_type",
    "aggregation",
    "value_property",
    "unit",
    "filters",
    "dimensions",
    "effective_from",
)
PLAN_FIELDS = (
    "key",
    "name",
    "product",
    "cadence",
    "proration",
    "tiers_on_change",
    "effective_from",
    "effective_to",
    "add_on_to",
    "prices",
    "spend",
)
USAGE_MODELS = tuple(model.value for model in PriceModel if model is not PriceModel.FLAT)
PRICE_IDENTITY = ("key", "name", "meter", "currency", "in_advance")


@dataclass(frozen=True)
class MeterEntry:
    """One meter of the file."""

    key: str
    name: str
    event_type: str
    aggregation: str = "sum"
    value_property: str = ""
    unit: str = "unit"
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    dimensions: Sequence[str] = ()
    effective_from: datetime | None = None


@dataclass(frozen=True)
class ProductEntry:
    """One product of the file."""

    key: str
    name: str


@dataclass(frozen=True)
class PriceEntry:
    """One price of a plan in one currency."""

    key: str
    name: str
    meter: str
    currency: str
    price: Price
    in_advance: bool = False

    def document(self) -> dict[str, Any]:
        """Return the canonical form, as in the catalog file."""
        identity = {"key": self.key, "name": self.name, "meter": self.meter or None, "currency": self.currency}
        # Named only where it is so: rate cards of before it was known keep their digests.
        when = {"in_advance": True} if self.in_advance else {}
        return identity | when | definition_of(self.price)


@dataclass(frozen=True)
class PlanEntry:
    """One plan with its rate card, and when it is sold: not part of the card, for who has it keeps it."""

    key: str
    name: str
    product: str
    cadence: Cadence
    prices: tuple[PriceEntry, ...]
    proration: Proration = Proration.SECOND
    tiers_on_change: TiersOnChange = TiersOnChange.RESET
    effective_from: datetime | None = None
    effective_to: datetime | None = None
    add_on_to: tuple[str, ...] = ()
    spend: tuple[SpendEntry, ...] = ()

    def rate_card(self) -> dict[str, Any]:
        """Return what a plan version consists of, canonical: its digest tells whether a new version is needed.

        What is as it is by default is left out, so that digests of before it was known stay the same.
        """
        card: dict[str, Any] = {
            "cadence": self.cadence.value,
            "prices": [price.document() for price in self.prices],
        }
        if self.spend:
            card["spend"] = [entry.document() for entry in self.spend]
        return card | terms_on_change(proration=self.proration, tiers_on_change=self.tiers_on_change)


def terms_on_change(*, proration: Proration, tiers_on_change: TiersOnChange) -> dict[str, Any]:
    """Return what a rate card says about changes within a period, where it is not as by default."""
    terms: dict[str, Any] = {}
    if proration is not Proration.SECOND:
        terms["proration"] = proration.value
    if tiers_on_change is not TiersOnChange.RESET:
        terms["tiers_on_change"] = tiers_on_change.value
    return terms


@dataclass(frozen=True)
class Catalog:
    """A whole catalog file."""

    meters: tuple[MeterEntry, ...]
    products: tuple[ProductEntry, ...]
    plans: tuple[PlanEntry, ...]
    coupons: tuple[CouponEntry, ...] = ()


def read_catalog(*, document: Any) -> Catalog:
    """Read a catalog document strictly; raises InvalidFields with the path of each mistake."""
    reader = _Reader()
    root = reader.mapping(document, "", known=("meters", "products", "plans", "coupons"))
    catalog = Catalog(
        meters=tuple(reader.meter(*entry) for entry in reader.entries(root, "meters")),
        products=tuple(reader.product(*entry) for entry in reader.entries(root, "products")),
        plans=tuple(reader.plan(*entry) for entry in reader.entries(root, "plans")),
        coupons=reader.coupons(reader.entries(root, "coupons")),
    )
    reader.raise_if_wrong()
    return catalog


def price_mistakes(*, document: Mapping[str, Any]) -> tuple[FieldError, ...]:
    """Return what is wrong with one price as it would stand in a catalog file, each mistake at its member."""
    reader = _Reader()
    reader.price(document, "")
    return tuple(reader.errors)


class _Reader:
    """Collects every mistake instead of stopping at the first."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def wrong(self, field: str, code: str, message: str) -> None:
        self.errors.append(FieldError(field or "catalog", code, message))

    def raise_if_wrong(self) -> None:
        if self.errors:
            raise InvalidFields(tuple(self.errors))

    def mapping(self, value: Any, path: str, *, known: Sequence[str]) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            self.wrong(path, "wrong_type", "must be an object")
            return {}
        for name in value:
            if name not in known:
                self.wrong(_join(path, str(name)), "unknown", f"is not known here; known are {', '.join(known)}")
        return value

    def entries(self, parent: Mapping[str, Any], name: str, path: str = "") -> list[tuple[Any, str]]:
        value = parent.get(name, [])
        if not isinstance(value, list):
            self.wrong(_join(path, name), "wrong_type", "must be a list")
            return []
        entries = [(entry, f"{_join(path, name)}[{index}]") for index, entry in enumerate(value)]
        if name != "prices":
            keys = Counter(entry["key"] for entry in value if isinstance(entry, Mapping) and _has_key(entry))
            for key in sorted(key for key, number_of in keys.items() if number_of > 1):
                self.wrong(_join(path, name), "duplicate", f"holds the key {key!r} twice")
        return entries

    def text(self, entry: Mapping[str, Any], name: str, path: str, *, default: str | None = None) -> str:
        value = entry.get(name, default)
        if value is None:
            self.wrong(_join(path, name), "required", "is missing")
            return ""
        if (
            not isinstance(value, str)
            or (default is None and not value.strip())
            or len(value) > 200
            or not is_storable(value)
        ):
            self.wrong(_join(path, name), "wrong_type", "must be a text of 1 to 200 characters")
            return ""
        return value

    def choice(self, entry: Mapping[str, Any], name: str, path: str, *, default: Choice) -> Choice:
        """Read one of a few words; where it is another one, say which there are."""
        kind = type(default)
        value = self.text(entry, name, path, default=default.value)
        words = [member.value for member in kind]
        if value in words:
            return kind(value)
        self.wrong(_join(path, name), "unknown", f"must be one of {', '.join(words)}")
        return default

    def key(self, entry: Mapping[str, Any], path: str) -> str:
        key = self.text(entry, "key", path)
        if key and not KEY_PATTERN.fullmatch(key):
            self.wrong(_join(path, "key"), "invalid", "use 1 to 100 letters, digits, _ and -")
        return key

    def keys(self, entry: Mapping[str, Any], name: str, path: str) -> tuple[str, ...]:
        """Read a list of keys, each once."""
        value = entry.get(name) or []
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.wrong(_join(path, name), "wrong_type", "must be a list of keys")
            return ()
        return tuple(dict.fromkeys(value))

    def meter(self, value: Any, path: str) -> MeterEntry:
        entry = self.mapping(value, path, known=METER_FIELDS)
        key = self.key(entry, path)
        meter = MeterEntry(
            key=key,
            name=self.text(entry, "name", path, default=key),
            event_type=self.text(entry, "event_type", path),
            aggregation=self.text(entry, "aggregation", path, default="sum"),
            value_property=self.text(entry, "value_property", path, default=""),
            unit=self.text(entry, "unit", path, default="unit"),
            filters=entry.get("filters") or {},
            dimensions=entry.get("dimensions") or (),
            effective_from=self.moment(entry, "effective_from", path),
        )
        # What is not a text of the right kind is told already.
        told = {error.field for error in self.errors}
        for error in check_meter(definition=MeterDefinition(**vars(meter))):
            if _join(path, error.field) not in told:
                self.wrong(_join(path, error.field), error.code, error.message)
        return meter

    def moment(self, entry: Mapping[str, Any], name: str, path: str) -> datetime | None:
        """Read a time with an offset, or a day, which begins in UTC; YAML reads both by itself."""
        value = entry.get(name)
        if isinstance(value, str):
            try:
                value = read_moment(text=value)
            except ValueError:
                self.wrong(_join(path, name), "not_a_time", "must be a time with an offset: 2026-07-01T00:00:00Z")
                return None
        if isinstance(value, date) and not isinstance(value, datetime):
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        return cast(datetime | None, value)

    def stated_moment(self, entry: Mapping[str, Any], name: str, path: str) -> datetime | None:
        """Read a time or a day that must carry its offset; in UTC."""
        value = self.moment(entry, name, path)
        if value is None:
            return None
        if not isinstance(value, datetime):
            self.wrong(_join(path, name), "not_a_time", "must be a time with an offset: 2026-07-01T00:00:00Z")
        elif mistake := moment_mistake(moment=value, field=_join(path, name)):
            self.errors.append(mistake)
        else:
            return as_utc(value)
        return None

    def product(self, value: Any, path: str) -> ProductEntry:
        entry = self.mapping(value, path, known=("key", "name"))
        key = self.key(entry, path)
        return ProductEntry(key=key, name=self.text(entry, "name", path, default=key))

    def plan(self, value: Any, path: str) -> PlanEntry:
        entry = self.mapping(value, path, known=PLAN_FIELDS)
        key = self.key(entry, path)
        cadence = self.choice(entry, "cadence", path, default=Cadence.MONTH)
        proration = self.choice(entry, "proration", path, default=Proration.SECOND)
        prices = tuple(self.price(*price) for price in self.entries(entry, "prices", path))
        if not prices:
            self.wrong(_join(path, "prices"), "required", "must hold at least one price")
        identities = Counter((price.key, price.currency) for price in prices)
        for price_key, currency in sorted(pair for pair, number_of in identities.items() if number_of > 1):
            self.wrong(_join(path, "prices"), "duplicate", f"holds {price_key!r} in {currency} twice")
        spend, mistakes = read_spend(entry.get("spend", []), path=_join(path, "spend"))
        self.errors += mistakes
        for currency in sorted({one.currency for one in spend} - {price.currency for price in prices} - {""}):
            self.wrong(_join(path, "spend"), "no_price", f"names {currency}, in which the plan has no price")
        return PlanEntry(
            key=key,
            name=self.text(entry, "name", path, default=key),
            product=self.text(entry, "product", path),
            cadence=cadence,
            prices=prices,
            proration=proration,
            tiers_on_change=self.choice(entry, "tiers_on_change", path, default=TiersOnChange.RESET),
            effective_from=self.stated_moment(entry, "effective_from", path),
            effective_to=self.stated_moment(entry, "effective_to", path),
            add_on_to=self.keys(entry, "add_on_to", path),
            spend=spend,
        )

    def coupons(self, values: Sequence[tuple[Any, str]]) -> tuple[CouponEntry, ...]:
        """Read the coupons of the file; a code stands there once."""
        coupons: list[CouponEntry] = []
        for value, path in values:
            coupon, mistakes = read_coupon(document=value, path=path)
            self.errors += mistakes
            if coupon.code and coupon.code in {one.code for one in coupons}:
                self.wrong(_join(path, "code"), "duplicate", f"stands twice: {coupon.code}")
            coupons.append(coupon)
        return tuple(coupons)

    def price(self, value: Any, path: str) -> PriceEntry:
        entry = value if isinstance(value, Mapping) else self.mapping(value, path, known=())
        key = self.key(entry, path)
        currency = self.text(entry, "currency", path)
        try:
            exponent(currency)
        except KeyError:
            self.wrong(_join(path, "currency"), "unknown", "must be an ISO 4217 code such as EUR")
        definition = {name: member for name, member in entry.items() if name not in PRICE_IDENTITY}
        try:
            price = price_from_definition(definition, field=path)
        except InvalidFields as problem:
            self.errors.extend(problem.errors)
            price = _ANY_PRICE
        meter = self.text(entry, "meter", path, default="") if entry.get("meter") is not None else ""
        # What the model should be is told already where it is none.
        model = entry.get("model")
        if not meter and model in USAGE_MODELS:
            self.wrong(_join(path, "meter"), "required", "is missing: a price of usage names its meter")
        if meter and model == PriceModel.FLAT.value:
            self.wrong(_join(path, "meter"), "not_allowed", "does not belong to a flat price")
        return PriceEntry(
            key=key,
            name=self.text(entry, "name", path, default=key),
            meter=meter,
            currency=currency,
            price=price,
            in_advance=self.in_advance(entry, path),
        )

    def in_advance(self, entry: Mapping[str, Any], path: str) -> bool:
        """Read whether a fee is invoiced before its period; usage is known only after it."""
        value = entry.get("in_advance")
        if value is not None and not isinstance(value, bool):
            self.wrong(_join(path, "in_advance"), "wrong_type", "must be true or false")
        elif value and entry.get("model") in USAGE_MODELS:
            message = "does not belong to a price of usage: only a flat fee is known in advance"
            self.wrong(_join(path, "in_advance"), "not_allowed", message)
        return value is True


_ANY_PRICE = price_from_definition({"model": "flat", "unit_amount": "0"})


def _has_key(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("key"), str)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
