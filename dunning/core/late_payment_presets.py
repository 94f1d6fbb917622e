"""What laws say that paying late costs: offered to whoever sets terms, each with its source, and never in force by itself.

The base rates change every half year and are no part of a preset: whoever sets the terms looks the one in force up where it is published.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal


@dataclass(frozen=True)
class LatePaymentPreset:
    """The points over a base rate and the lump sum of a law; `law_since` is from when on it has said so, `base_rate_at` who publishes the base rate."""

    key: str
    name: str
    country: str
    audience: str
    points: Decimal
    currency: str
    lump_sum: Decimal
    source: str
    law_since: date
    base_rate_at: str


BUNDESBANK = "the base rate of § 247 BGB, which the Deutsche Bundesbank publishes for each 1 January and 1 July"
ECB = "the reference rate: that of the ECB's main refinancing operations on the first day of the half-year, or that of the country's central bank"
PRESETS = (
    LatePaymentPreset(
        key="de-companies",
        name="Germany, companies",
        country="DE",
        audience="business",
        points=Decimal(9),
        currency="EUR",
        lump_sum=Decimal(40),
        source="§ 288 (2) and (5) BGB",
        law_since=date(2014, 7, 29),
        base_rate_at=BUNDESBANK,
    ),
    LatePaymentPreset(
        key="de-consumers",
        name="Germany, consumers",
        country="DE",
        audience="consumer",
        points=Decimal(5),
        currency="EUR",
        lump_sum=Decimal(0),
        source="§ 288 (1) BGB",
        law_since=date(2002, 1, 1),
        base_rate_at=BUNDESBANK,
    ),
    LatePaymentPreset(
        key="eu-companies",
        name="European Union, companies: the least that a country's law has",
        country="",
        audience="business",
        points=Decimal(8),
        currency="EUR",
        lump_sum=Decimal(40),
        source="Directive 2011/7/EU, articles 2 (6) and 6 (1)",
        law_since=date(2013, 3, 16),
        base_rate_at=ECB,
    ),
)
BY_KEY = {preset.key: preset for preset in PRESETS}
