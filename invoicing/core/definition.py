"""Price definitions: the JSON object of catalog files and the API, read strictly and written canonically."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from billing_site.kernel.errors import FieldError, InvalidFields
from billing_site.kernel.money import plain
from invoicing.core.contract import Price, PriceModel, Tier
from invoicing.core.matrix_definition import read_cells, read_dimensions
from invoicing.core.numbers import Mistake, read_number

PRICE_MEMBERS = (
    "model",
    "unit_amount",
    "tiers",
    "package_size",
    "package_amount",
    "free_units",
    "rate",
    "minimum_amount",
    "maximum_amount",
    "dimensions",
    "cells",
    "default_unit_amount",
    "fixed_amount_per_event",
    "minimum_amount_per_event",
    "maximum_amount_per_event",
)
PER_EVENT = ("fixed_amount_per_event", "minimum_amount_per_event", "maximum_amount_per_event")
# What is no number of its own.
STRUCTURES = ("model", "tiers", "dimensions", "cells")
TIER_MEMBERS = ("up_to", "unit_amount", "flat_amount", "rate")
TIERS_MAX = 100

# What a model must have, and what it may have.
REQUIRED = {
    PriceModel.FLAT: ("unit_amount",),
    PriceModel.PER_UNIT: ("unit_amount",),
    PriceModel.GRADUATED: ("tiers",),
    PriceModel.VOLUME: ("tiers",),
    PriceModel.PACKAGE: ("package_size", "package_amount"),
    PriceModel.PERCENTAGE: ("rate",),
    PriceModel.GRADUATED_PERCENTAGE: ("tiers",),
    PriceModel.MATRIX: ("dimensions", "cells"),
}
BOUNDS = ("minimum_amount", "maximum_amount")
OPTIONAL = {
    **dict.fromkeys(PriceModel, ("free_units", *BOUNDS)),
    PriceModel.FLAT: BOUNDS,
    PriceModel.PERCENTAGE: ("free_units", *BOUNDS, *PER_EVENT),
    PriceModel.MATRIX: ("default_unit_amount", *BOUNDS),
}
TIER_RATES = {
    PriceModel.GRADUATED: "unit_amount",
    PriceModel.VOLUME: "unit_amount",
    PriceModel.GRADUATED_PERCENTAGE: "rate",
}
FRACTION_HINT = "a rate is a fraction of one: write 0.029 for 2.9 %"


def price_from_definition(definition: Mapping[str, Any], *, field: str = "price") -> Price:
    """Read a price object strictly; a member that is null or an empty list counts as absent.

    Raises InvalidFields with every mistake at once, each with its place ("price.tiers[1].up_to"), a
    code and what to do.
    """
    reader = _Reader(field)
    price = reader.price(definition)
    if reader.errors:
        raise InvalidFields(tuple(reader.errors))
    assert price is not None, "without a mistake there is a price"
    return price


def definition_of(price: Price) -> dict[str, Any]:
    """Write a price as its canonical object: decimal strings, and only what belongs to the model and is set."""
    definition: dict[str, Any] = {"model": price.model.value}
    for name in (
        "unit_amount",
        "package_size",
        "package_amount",
        "rate",
        "minimum_amount",
        "maximum_amount",
        "default_unit_amount",
        *PER_EVENT,
    ):
        number = getattr(price, name)
        if number is not None:
            definition[name] = plain(number)
    if price.free_units:
        definition["free_units"] = plain(price.free_units)
    if price.tiers:
        rate_name = TIER_RATES[price.model]
        definition["tiers"] = [
            {
                "up_to": None if tier.up_to is None else plain(tier.up_to),
                rate_name: plain(getattr(tier, rate_name)),
                "flat_amount": plain(tier.flat_amount),
            }
            for tier in price.tiers
        ]
    if price.dimensions:
        definition["dimensions"] = list(price.dimensions)
    if price.cells:
        definition["cells"] = [
            {"values": list(cell.values), "unit_amount": plain(cell.unit_amount)} for cell in price.cells
        ]
    return definition


def quantity_from(text: Any, *, field: str = "quantity") -> Decimal:
    """Read a quantity strictly: not negative, at most 26 digits before and 12 after the point. Raises InvalidFields."""
    number = read_number(text)
    if isinstance(number, Mistake):
        raise InvalidFields((FieldError(field, number.code, number.message),))
    return number


class _Reader:
    """Collects every mistake of one price object instead of stopping at the first."""

    def __init__(self, field: str) -> None:
        self.field = field
        self.errors: list[FieldError] = []

    def wrong(self, place: str, code: str, message: str) -> None:
        field = f"{self.field}.{place}" if self.field and place else self.field or place or "price"
        self.errors.append(FieldError(field, code, message))

    def price(self, definition: Any) -> Price | None:
        """Return the price, or None where there is no telling what was meant."""
        if not isinstance(definition, Mapping):
            self.wrong("", "wrong_type", 'must be an object such as {"model": "per_unit", "unit_amount": "0.01"}')
            return None
        self.members(definition, "", known=PRICE_MEMBERS)
        model = self.model(definition.get("model"))
        if model is None:
            return None

        numbers = {
            name: self.number(definition, name, "")
            for name in PRICE_MEMBERS
            if name not in STRUCTURES and self.belongs(definition, name, model)
        }
        tiers: tuple[Tier, ...] = ()
        if self.belongs(definition, "tiers", model):
            tiers = self.tiers(definition.get("tiers"), model)
        has_dimensions, has_cells = (self.belongs(definition, name, model) for name in ("dimensions", "cells"))
        dimensions = read_dimensions(definition["dimensions"], wrong=self.wrong) if has_dimensions else ()
        cells = read_cells(definition["cells"], dimensions=dimensions, wrong=self.wrong) if has_cells else ()
        price = Price(
            model=model,
            tiers=tiers,
            unit_amount=numbers.get("unit_amount"),
            package_size=numbers.get("package_size"),
            package_amount=numbers.get("package_amount"),
            free_units=numbers.get("free_units") or Decimal(0),
            rate=numbers.get("rate"),
            minimum_amount=numbers.get("minimum_amount"),
            maximum_amount=numbers.get("maximum_amount"),
            dimensions=dimensions,
            cells=cells,
            default_unit_amount=numbers.get("default_unit_amount"),
            **{name: numbers.get(name) for name in PER_EVENT},
        )
        self.relations(price)
        return price

    def members(self, mapping: Mapping[str, Any], place: str, *, known: tuple[str, ...]) -> None:
        for name in mapping:
            if name not in known:
                message = f"is not known here; known are {', '.join(known)}"
                self.wrong(_join(place, str(name)[:100]), "unknown", message)

    def model(self, value: Any) -> PriceModel | None:
        models = [model.value for model in PriceModel]
        if value is None:
            self.wrong("model", "required", f"is missing: write one of {', '.join(models)}")
        elif not isinstance(value, str) or value not in models:
            self.wrong("model", "unknown", f"must be one of {', '.join(models)}")
        else:
            return PriceModel(value)
        return None

    def belongs(self, definition: Mapping[str, Any], name: str, model: PriceModel) -> bool:
        """Say whether the member is there and should be; complain if only one of the two holds."""
        present = definition.get(name) not in (None, [], ())
        if name in REQUIRED[model]:
            if not present:
                self.wrong(name, "required", f"is missing: a {model.value} price needs {' and '.join(REQUIRED[model])}")
            return present
        allowed = name in OPTIONAL[model]
        if present and not allowed:
            if name == "free_units" and read_number(definition[name]) == 0:
                return False
            self.wrong(name, "not_allowed", f"does not belong to a {model.value} price: leave it out")
        return present and allowed

    def number(self, mapping: Mapping[str, Any], name: str, place: str) -> Decimal | None:
        number = read_number(mapping[name])
        if not isinstance(number, Mistake):
            return number
        self.wrong(_join(place, name), number.code, number.message)
        return None

    def tiers(self, value: Any, model: PriceModel) -> tuple[Tier, ...]:
        if not isinstance(value, list | tuple):
            self.wrong("tiers", "wrong_type", 'must be a list such as [{"up_to": null, "unit_amount": "0.01"}]')
            return ()
        if not 1 <= len(value) <= TIERS_MAX:
            self.wrong("tiers", "wrong_length", f"must hold 1 to {TIERS_MAX} tiers")
            return ()
        tiers = []
        floor = Decimal(0)
        for position, entry in enumerate(value):
            tier = self.tier(entry, f"tiers[{position}]", model, floor=floor, is_last=position == len(value) - 1)
            floor = tier.up_to if tier.up_to is not None else floor
            tiers.append(tier)
        return tuple(tiers)

    def tier(self, entry: Any, place: str, model: PriceModel, *, floor: Decimal, is_last: bool) -> Tier:
        if not isinstance(entry, Mapping):
            self.wrong(place, "wrong_type", "must be an object with up_to and what the tier costs")
            return Tier(up_to=None)
        self.members(entry, place, known=TIER_MEMBERS)
        rate_name = TIER_RATES[model]
        if entry.get(rate_name) is None and entry.get("flat_amount") is None:
            message = f'is missing: say what the tier costs, "{rate_name}": "0" if it is free'
            self.wrong(_join(place, rate_name), "required", message)
        numbers = {}
        for name in ("unit_amount", "flat_amount", "rate"):
            number = self.number(entry, name, place) if entry.get(name) is not None else None
            if number and name not in (rate_name, "flat_amount"):
                message = f"does not belong to the tiers of a {model.value} price: leave it out"
                self.wrong(_join(place, name), "not_allowed", message)
            numbers[name] = number or Decimal(0)
        if numbers["rate"] > 1:
            self.wrong(_join(place, "rate"), "above_one", FRACTION_HINT)
        return Tier(up_to=self.bound(entry, place, floor=floor, is_last=is_last), **numbers)

    def bound(self, entry: Mapping[str, Any], place: str, *, floor: Decimal, is_last: bool) -> Decimal | None:
        place = _join(place, "up_to")
        if "up_to" not in entry:
            self.wrong(place, "required", "is missing: write the tier's upper bound, or null in the last tier")
            return None
        if entry["up_to"] is None:
            if not is_last:
                self.wrong(place, "open", "must be a number: only the last tier is open (null)")
            return None
        if is_last:
            self.wrong(place, "not_open", "must be null: the last tier is open, so that no quantity is without a price")
        bound = read_number(entry["up_to"])
        if isinstance(bound, Mistake):
            self.wrong(place, bound.code, bound.message)
            return None
        if bound <= floor:
            self.wrong(place, "not_ascending", f"must be greater than {plain(floor)}, where the tier begins")
        return bound

    def relations(self, price: Price) -> None:
        if price.rate is not None and price.rate > 1:
            self.wrong("rate", "above_one", FRACTION_HINT)
        if price.package_size is not None and price.package_size == 0:
            self.wrong("package_size", "zero", "must be greater than 0: a package holds something")
        if (
            price.minimum_amount is not None
            and price.maximum_amount is not None
            and price.minimum_amount > price.maximum_amount
        ):
            self.wrong("minimum_amount", "above_maximum", "must not be greater than maximum_amount")
        if price.is_per_event:
            self.per_event(price)

    def per_event(self, price: Price) -> None:
        fixed, low, high = (getattr(price, name) for name in PER_EVENT)
        if price.free_units:
            message = "does not belong to a price of each event: which of them would be free?"
            self.wrong("free_units", "not_allowed", message)
        if price.rate == 0 and (low is not None or high is not None):
            self.wrong("rate", "zero", "must be greater than 0 where an event has a minimum or maximum")
        if low is not None and high is not None and low > high:
            message = "must not be greater than maximum_amount_per_event"
            self.wrong("minimum_amount_per_event", "above_maximum", message)
        if fixed is not None and high is not None and fixed > high:
            message = "must not be greater than maximum_amount_per_event"
            self.wrong("fixed_amount_per_event", "above_maximum", message)


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
