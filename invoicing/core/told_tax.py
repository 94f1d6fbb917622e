"""What a provider of tax outside this house told about one place, and how an invoice is taxed by it; amounts are ours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from billing_site.kernel.money import plain
from invoicing.core.tax import LineTax, RateOfTax, TaxKind, TaxTreatment
from invoicing.core.tax_rules import (
    EUROPEAN_UNION,
    OUTSIDE_UNION,
    REVERSE_CHARGE,
    Exemption,
    TaxQuestion,
    place_of,
    unregistered_reason,
)

REVERSE_CHARGE_ELSEWHERE = "Reverse charge: tax is to be accounted for by the recipient."
NOT_SUBJECT, EXEMPT_THERE = "Not subject to tax in {place}.", "Exempt from tax in {place}."


@dataclass(frozen=True)
class ToldTax:
    """How a customer is taxed, as told: the rates of each place that taxes; of what is not taxed one rate of zero, which says where.

    `is_registered` is False where the seller does not collect there.
    """

    kind: TaxKind
    rates: tuple[RateOfTax, ...]
    is_registered: bool = True

    def __post_init__(self) -> None:
        assert self.rates, "what is told says where"
        assert self.kind is TaxKind.TAXED or not any(one.rate for one in self.rates), "what is not taxed has no rate"


def rates_document(*, told: ToldTax) -> list[dict[str, str]]:
    """Return the rates that were told as JSON, exact."""
    return [{"jurisdiction": one.jurisdiction, "name": one.name, "rate": plain(one.rate)} for one in told.rates]


def told_from(*, kind: str, rates: Sequence[dict[str, Any]], is_registered: bool) -> ToldTax:
    """Return what was told from what is kept of it."""
    return ToldTax(
        TaxKind(kind),
        tuple(RateOfTax(one["jurisdiction"], one["name"], Decimal(one["rate"])) for one in rates),
        is_registered,
    )


def is_exempt(*, question: TaxQuestion, day: date) -> bool:
    """Say whether an exemption frees the customer from all tax that it could owe on a day: of its country, or in the United States of its state, which have none above."""
    customer = question.customer
    whole = {customer.country}
    if customer.country == "US":
        whole.add(place_of(country=customer.country, region=customer.region))
    return any(one.jurisdiction in whole and one.span.holds(day) for one in customer.exemptions)


def treatment_told(*, told: ToldTax, question: TaxQuestion, day: date) -> TaxTreatment:
    """Return how a line of a day is taxed: by the rates that were told, less what the customer's exemptions of that day take off, with the sentence that the law asks for."""
    first = told.rates[0]
    exemptions = [one for one in question.customer.exemptions if one.span.holds(day)]
    if told.kind is TaxKind.TAXED:
        return _taxed(told, exemptions, question)
    if told.kind is TaxKind.EXEMPT:
        for one in exemptions:
            if _covers(one, first):
                return TaxTreatment(TaxKind.EXEMPT, (first,), reason=one.reason, evidence=one.evidence)
        return TaxTreatment(TaxKind.EXEMPT, (first,), reason=EXEMPT_THERE.format(place=first.jurisdiction))
    return TaxTreatment(told.kind, (first,), reason=_reason(told, question))


def differs_from_told(*, told: ToldTax, stored: Sequence[LineTax]) -> bool:
    """Say whether the taxes that are stored with a line are others than were told; an exemption, which has its evidence, lowers a rate to nothing."""
    known = {(one.jurisdiction, one.name): one.rate for one in told.rates}
    for one in stored:
        rate = known.get((one.jurisdiction, one.name))
        if rate is None or (one.rate != rate and (one.rate or not one.evidence)):
            return True
    is_all_exempt = all(one.kind is TaxKind.EXEMPT and one.evidence for one in stored)
    return not is_all_exempt and (len(stored) != len(told.rates) or any(one.kind is not told.kind for one in stored))


def _taxed(told: ToldTax, exemptions: Sequence[Exemption], question: TaxQuestion) -> TaxTreatment:
    applied = [one for one in exemptions if any(_covers(one, rate) for rate in told.rates)]
    rates = tuple(
        replace(rate, rate=Decimal(0)) if any(_covers(one, rate) for one in applied) else rate for rate in told.rates
    )
    if applied and not any(rate.rate for rate in rates):
        return TaxTreatment(TaxKind.EXEMPT, rates[:1], reason=applied[0].reason, evidence=applied[0].evidence)
    return TaxTreatment(
        kind=TaxKind.TAXED,
        rates=rates,
        inclusive=question.seller.inclusive,
        reason=applied[0].reason if applied else "",
        evidence=applied[0].evidence if applied else "",
    )


def _covers(exemption: Exemption, rate: RateOfTax) -> bool:
    """Say whether an exemption is of a rate's place: a country's rates are its own, a state's those of its counties and cities, too."""
    country = rate.jurisdiction.partition("-")[0]
    return exemption.jurisdiction == rate.jurisdiction or (exemption.jurisdiction == country == "US")


def _reason(told: ToldTax, question: TaxQuestion) -> str:
    place, country = told.rates[0].jurisdiction, question.customer.country
    within = {country, question.seller.country} <= EUROPEAN_UNION
    if told.kind is TaxKind.REVERSE_CHARGE:
        return REVERSE_CHARGE if within else REVERSE_CHARGE_ELSEWHERE
    if question.seller.country in EUROPEAN_UNION and country not in EUROPEAN_UNION:
        return OUTSIDE_UNION
    return NOT_SUBJECT.format(place=place) if told.is_registered else unregistered_reason(jurisdiction=place)
