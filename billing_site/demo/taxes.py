"""How the demo company charges tax: at home in Germany, to consumers in the Union, in New York; and where its customers are. Its American sister charges none."""

from datetime import date
from decimal import Decimal

from billing_site.demo.company import AMERICAN, CUSTOMERS
from invoicing.customers.models import Customer
from invoicing.tax.operations import add_exemption, add_rate, add_registration, set_customer_tax, set_seller_tax

ACTOR = "demo"
REASON = "the demo company"
# All of it began long before its first invoice.
SINCE = date(2021, 1, 1)
REGISTRATIONS = {"DE": "DE136695976", "EU": "DE136695976", "US-NY": "98-7654321"}
RATES = (("DE", "VAT", "0.19"), ("IE", "VAT", "0.23"), ("US-NY", "Sales tax", "0.08875"))
# By time zone, where that says the country; regions and all others by customer.
COUNTRY_OF_ZONE = {
    "America/New_York": "US",
    "America/Chicago": "US",
    "America/Denver": "US",
    "America/Los_Angeles": "US",
    "America/Anchorage": "US",
    "America/Toronto": "CA",
    "Asia/Kolkata": "IN",
    "Asia/Tokyo": "JP",
    "Australia/Sydney": "AU",
    "Europe/Amsterdam": "NL",
    "Europe/Berlin": "DE",
    "Europe/Dublin": "IE",
    "Europe/Lisbon": "PT",
    "Europe/London": "GB",
    "Europe/Madrid": "ES",
    "Europe/Oslo": "NO",
    "Europe/Paris": "FR",
    "Europe/Rome": "IT",
    "Europe/Tallinn": "EE",
    "Europe/Vienna": "AT",
    "Europe/Zurich": "CH",
    "UTC": "IS",
}
REGION_OF_ZONE = {
    "America/New_York": "NY",
    "America/Chicago": "IL",
    "America/Denver": "CO",
    "America/Los_Angeles": "CA",
    "America/Anchorage": "AK",
    "America/Toronto": "ON",
}
# Elsewhere than their time zone says.
REGIONS = {"cust_northwind": "MA", "cust_deepfield": "PA", "cust_meridian": "CT"}
# Companies elsewhere in the Union account for VAT themselves; Postcard & Sons has no number and pays the Irish rate.
VAT_IDS = {
    "cust_atelier_brune": "FR37805103371",
    "cust_isar_werke": "DE830353668",
    "cust_mistral_logistik": "ATU00029290",
    "cust_nimbus_iberica": "ESB72781644",
    "cust_polder": "NL317367985B01",
    "cust_tessera": "IT03611510441",
    "cust_baltika": "EE105096919",
    "cust_lisboa_labs": "PT517531437",
}
# Sells on what it buys.
EXEMPT = "cust_agora"


def charge_tax() -> None:
    """Say that tax is charged, where the company is registered, and by which rates; a second time changes nothing."""
    set_seller_tax(valid_from=SINCE, country="DE", actor=ACTOR, reason=REASON)
    set_seller_tax(legal_entity=AMERICAN["key"], valid_from=SINCE, country="US", actor=ACTOR, reason=REASON)
    for jurisdiction, number in REGISTRATIONS.items():
        add_registration(jurisdiction=jurisdiction, number=number, valid_from=SINCE, actor=ACTOR, reason=REASON)
    for jurisdiction, name, rate in RATES:
        add_rate(jurisdiction=jurisdiction, name=name, rate=Decimal(rate), valid_from=SINCE, actor=ACTOR, reason=REASON)


def place_customer(*, number: int, customer: Customer) -> None:
    """Say where the customer of that position in CUSTOMERS is taxed; a second time changes nothing."""
    wanted = CUSTOMERS[number]
    set_customer_tax(
        customer=customer,
        country=COUNTRY_OF_ZONE[wanted.timezone],
        region=REGIONS.get(wanted.key, REGION_OF_ZONE.get(wanted.timezone, "")),
        vat_id=VAT_IDS.get(wanted.key, ""),
        actor=ACTOR,
        reason=REASON,
    )
    if wanted.key == EXEMPT:
        add_exemption(
            customer=customer,
            jurisdiction="US-NY",
            law="Exempt from New York sales tax: bought for resale.",
            evidence="resale certificate ST-120 of 2 January 2025",
            valid_from=date(2025, 1, 2),
            actor=ACTOR,
            reason=REASON,
        )
