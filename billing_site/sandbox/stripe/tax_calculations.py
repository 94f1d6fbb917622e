"""Tax calculations: how the lines of a sale are taxed where a customer is, by the made-up rates of `tax_rates.py`. None is kept for reporting."""

import re
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from billing_site.sandbox.stripe import store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.errors import invalid, missing_parameter
from billing_site.sandbox.stripe.forms import Params
from billing_site.sandbox.stripe.store import Body, timestamp
from billing_site.sandbox.stripe.tax_rates import UNION, WORDS, Levy, levies_at

ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
OVERRIDES = ("none", "customer_exempt", "reverse_charge")
REACH_SECONDS = 31 * 24 * 3600
LASTS_SECONDS = 90 * 24 * 3600
LINES_MAX, IDS_MAX = 100, 10
DEFAULT_CODE = "txcd_10103001"
EU_VAT = re.compile(r"(?:EL|[A-Z]{2})[0-9A-Z]{8,12}")
UNKNOWN_PLACE = "The customer's location isn't recognized. Set a valid customer address in order to calculate tax."


def create(call: Call) -> Body:
    """POST /v1/tax/calculations."""
    currency = call.params.currency("currency")
    if currency is None:
        raise missing_parameter("currency")
    details = _details(call.params.hash("customer_details"))
    moment = _moment(call.params)
    lines = call.params.hashes("line_items")
    if not lines:
        raise missing_parameter("line_items")
    if len(lines) > LINES_MAX:
        raise invalid("Up to 100 line items can be given.", param="line_items")
    levies = _levies(details)
    items = [_item(line, levies) for line in lines]
    call.params.refuse_the_rest()
    inclusive = sum(item["amount_tax"] for item in items if item["tax_behavior"] == "inclusive")
    exclusive = sum(item["amount_tax"] for item in items if item["tax_behavior"] == "exclusive")
    body = store.create(
        "tax.calculation",
        {
            "amount_total": sum(item["amount"] for item in items) + exclusive,
            "currency": currency,
            "customer": None,
            "customer_details": details,
            "expires_at": timestamp() + LASTS_SECONDS,
            "livemode": False,
            "ship_from_details": None,
            "shipping_cost": None,
            "tax_amount_exclusive": exclusive,
            "tax_amount_inclusive": inclusive,
            "tax_breakdown": [_summed(item, entry) for item in items for entry in item["_tax_breakdown"]],
            "tax_date": moment,
        },
    )
    store.create_all("tax.calculation_line_item", [{**item, "_calculation": body["id"]} for item in items])
    return body


def retrieve(call: Call, calculation_id: str) -> Body:
    """GET /v1/tax/calculations/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("tax.calculation", calculation_id)


def list_lines(call: Call, calculation_id: str) -> Body:
    """GET /v1/tax/calculations/{id}/line_items."""
    store.retrieve("tax.calculation", calculation_id)
    url, members = _lines_url(calculation_id), {"_calculation": calculation_id}
    found = store.page("tax.calculation_line_item", call.params, url=url, members=members, oldest_first=True)
    call.params.refuse_the_rest()
    return found


def lines_of(calculation_id: str) -> Body:
    """Return the lines of a calculation as it shows them on request."""
    items = store.matching("tax.calculation_line_item", _calculation=calculation_id)
    return {
        "object": "list",
        "data": items,
        "has_more": False,
        "url": _lines_url(calculation_id),
    }


def breakdown_of(item_id: str) -> list[Body]:
    """Return what each place charges of a line, as the line shows it on request."""
    found: list[Body] = store.retrieve("tax.calculation_line_item", item_id)["_tax_breakdown"]
    return found


def _lines_url(calculation_id: str) -> str:
    return f"/v1/tax/calculations/{calculation_id}/line_items"


def _details(given: Params | None) -> Body:
    address = given.hash("address") if given is not None else None
    if given is None or address is None:
        raise missing_parameter("customer_details[address]")
    source = given.choice("address_source", ("billing", "shipping"))
    if source is None:
        raise missing_parameter("customer_details[address_source]")
    told: dict[str, Any] = {name: address.text(name) or None for name in ADDRESS}
    address.refuse_the_rest()
    if told["country"] is None:
        raise missing_parameter("customer_details[address][country]")
    ids = given.hashes("tax_ids")
    if len(ids) > IDS_MAX:
        raise invalid("Up to 10 tax ids can be given.", param="customer_details[tax_ids]")
    override = given.choice("taxability_override", OVERRIDES) or "none"
    known = [_tax_id(one, place) for place, one in enumerate(ids)]
    given.refuse_the_rest()
    return {
        "address": told,
        "address_source": source,
        "ip_address": None,
        "tax_ids": known,
        "taxability_override": override,
    }


def _tax_id(given: Params, place: int) -> Body:
    kind, number = given.required("type"), given.required("value")
    given.refuse_the_rest()
    if kind == "eu_vat" and not EU_VAT.fullmatch(number):
        param = f"customer_details[tax_ids][{place}][value]"
        raise invalid(f"Invalid value for eu_vat: {number[:30]}.", param=param, code="tax_id_invalid")
    return {"type": kind, "value": number}


def _moment(params: Params) -> int:
    moment = params.integer("tax_date", low=0)
    if moment is None:
        return timestamp()
    if abs(moment - timestamp()) > REACH_SECONDS:
        raise invalid("The tax date must be within 31 days of today.", param="tax_date", code="invalid_tax_date")
    return moment


def _levies(details: Body) -> list[Levy]:
    address = details["address"]
    country, param = address["country"], "customer_details[address]"
    if not re.fullmatch(r"[A-Z]{2}", country):
        raise invalid(
            f"Country '{country[:20]}' is unknown. Try using a 2-character alphanumeric country code instead, such as 'US'.",
            param=f"{param}[country]",
        )
    if country == "US" and not address["postal_code"]:
        raise invalid(UNKNOWN_PLACE, param=f"{param}[postal_code]", code="customer_tax_location_invalid")
    levies = levies_at(
        country=country,
        state=address["state"],
        postal_code=address["postal_code"],
        is_company=country in UNION and any(one["type"] == "eu_vat" for one in details["tax_ids"]),
    )
    if levies is None:
        raise invalid(UNKNOWN_PLACE, param=param, code="customer_tax_location_invalid")
    override = details["taxability_override"]
    if override == "none":
        return levies
    first = levies[0]
    return [Levy(first.country, first.state, first.level, first.place, "0", first.tax_type, override)]


def _item(line: Params, levies: list[Levy]) -> Body:
    amount = line.integer("amount", low=0)
    if amount is None:
        raise missing_parameter("line_items[0][amount]")
    behavior = line.choice("tax_behavior", ("exclusive", "inclusive")) or "exclusive"
    quantity = line.integer("quantity", low=1) or 1
    reference, code = line.text("reference") or "L1", line.text("tax_code") or DEFAULT_CODE
    metadata = line.metadata({})
    line.refuse_the_rest()
    whole = sum((_share(levy) for levy in levies), Decimal(0))
    entries = [_entry(amount, levy, contained=whole if behavior == "inclusive" else Decimal(0)) for levy in levies]
    return {
        "amount": amount,
        "amount_tax": sum(entry["amount"] for entry in entries),
        "livemode": False,
        "metadata": metadata or None,
        "product": None,
        "quantity": quantity,
        "reference": reference,
        "tax_behavior": behavior,
        "tax_code": code,
        "_tax_breakdown": entries,
    }


def _share(levy: Levy) -> Decimal:
    return Decimal(levy.percent) * levy.part / 10_000


def _entry(amount: int, levy: Levy, *, contained: Decimal) -> Body:
    taxed = levy.percent != "0"
    net = Decimal(amount) / (1 + contained)
    return {
        "amount": int((net * _share(levy)).quantize(Decimal(1), rounding=ROUND_HALF_UP)),
        "jurisdiction": {
            "country": levy.country,
            "display_name": levy.place,
            "level": levy.level,
            "state": levy.state,
        },
        "sourcing": "destination",
        "tax_rate_details": {
            "display_name": WORDS[levy.tax_type],
            "percentage_decimal": levy.percent,
            "tax_type": levy.tax_type,
        }
        if taxed
        else None,
        "taxability_reason": levy.reason,
        "taxable_amount": int(net * levy.part / 100) if taxed else 0,
    }


def _summed(item: Body, entry: Body) -> Body:
    """Return a tax as the calculation tells it beside its lines: by country and state, without the place's name."""
    details = entry["tax_rate_details"] or {"percentage_decimal": "0", "tax_type": None}
    return {
        "amount": entry["amount"],
        "inclusive": item["tax_behavior"] == "inclusive",
        "tax_rate_details": {
            "country": entry["jurisdiction"]["country"],
            "flat_amount": None,
            "percentage_decimal": details["percentage_decimal"],
            "rate_type": "percentage" if entry["tax_rate_details"] else None,
            "state": entry["jurisdiction"]["state"],
            "tax_type": details["tax_type"],
        },
        "taxability_reason": entry["taxability_reason"],
        "taxable_amount": entry["taxable_amount"],
    }
