"""Tax rules: where a service is taxed, by whom, and which sentence an invoice then needs; over dated facts, without a table or a clock."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from invoicing.core.tax import RateOfTax, TaxKind, TaxMissing, TaxParty, TaxRounding, TaxTerms, TaxTreatment

# Member states of the European Union by their ISO 3166 codes; Northern Ireland is XI for goods only, and so is not here.
EUROPEAN_UNION = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split()  # noqa: SIM905
)
# A registration in the One-Stop Shop of the Union: for consumers in all member states.
ONE_STOP_SHOP = "EU"
# Countries whose rules ask for tax on each line: electronic invoices of Mexico (CFDI) and Brazil (NF-e) sum the taxes of items.
PER_LINE_COUNTRIES = frozenset({"BR", "MX"})

REVERSE_CHARGE = (
    "Reverse charge: VAT is to be accounted for by the recipient (Art. 44 and 196 of Directive 2006/112/EC)."
)
OUTSIDE_UNION = (
    "Not subject to VAT: the place of supply is where the recipient is established, outside the European Union"
    " (Art. 44 and 59 of Directive 2006/112/EC)."
)

CREDIT_SOLD = "Prepaid credit is not taxed when it is sold: the services that it pays for are, when they are invoiced"
DAMAGES = "Interest and costs of late payment are damages, on which no tax is charged."
MULTI_PURPOSE = " (multi-purpose voucher, Art. 30b of Directive 2006/112/EC)"


@dataclass(frozen=True)
class Span:
    """Days from the first, included, to the last, excluded; open at the end where `until` is None."""

    since: date
    until: date | None = None

    def holds(self, day: date) -> bool:
        """Say whether a day is one of them."""
        return self.since <= day and (self.until is None or day < self.until)


@dataclass(frozen=True)
class DatedRate:
    """A rate of a place, and when it is in force."""

    rate: RateOfTax
    span: Span


@dataclass(frozen=True)
class Registration:
    """Where the seller is registered for tax, by which number, and when."""

    jurisdiction: str
    number: str
    span: Span


@dataclass(frozen=True)
class Exemption:
    """Why a customer pays no tax somewhere, and what proves it."""

    jurisdiction: str
    reason: str
    evidence: str
    span: Span


@dataclass(frozen=True)
class SellerFacts:
    """The seller as tax law sees it while an invoice's period ends; `key` says which legal entity it is."""

    country: str
    rounding: TaxRounding
    inclusive: bool
    registrations: tuple[Registration, ...]
    key: str = ""


@dataclass(frozen=True)
class CustomerFacts:
    """What is known of a customer; `country` is empty where nobody has said it, `number_problem` says why a VAT id does not count."""

    name: str
    country: str
    region: str = ""
    number: str = ""
    number_problem: str = ""
    exemptions: tuple[Exemption, ...] = ()
    postal_code: str = ""
    city: str = ""
    line1: str = ""


@dataclass(frozen=True)
class TaxQuestion:
    """What a provider is asked: one invoice's sides, and the days on which its services end; `on` is the day on which its period ends."""

    customer_key: str
    currency: str
    timezone: str
    seller: SellerFacts
    customer: CustomerFacts
    on: date
    days: tuple[date, ...]


class _Missing(Exception):
    """Something has to be known first."""


def rounding_asked(*, country: str) -> TaxRounding:
    """Return how the law of a seller's country asks to round: once for each rate of an invoice, but for countries that tax items.

    The sum for each rate is what EN 16931 (BR-CO-17), the Japanese qualified invoice and most VAT laws ask for.
    """
    return TaxRounding.PER_LINE if country in PER_LINE_COUNTRIES else TaxRounding.PER_INVOICE


def decide(*, question: TaxQuestion, rates: Sequence[DatedRate], provider: str) -> TaxTerms | TaxMissing:
    """Return how the lines of an invoice are taxed by our own table, or everything that has to be known before."""
    by_day: dict[date, TaxTreatment] = {}
    problems: dict[str, None] = {}
    for day in question.days:
        try:
            by_day[day] = _treatment(question, rates, day)
        except _Missing as missing:
            problems[str(missing)] = None
    if problems:
        return TaxMissing(provider=provider, problems=tuple(problems))
    seller, customer = question.seller, question.customer
    return TaxTerms(
        provider=provider,
        rounding=seller.rounding,
        seller=TaxParty(
            seller.country, number=number_of_seller(seller=seller, day=question.days[-1]) if question.days else ""
        ),
        customer=TaxParty(customer.country, customer.region, customer.number),
        timezone=question.timezone,
        by_day=by_day,
        corrected={},
    )


def terms_of_credit(*, question: TaxQuestion, provider: str) -> TaxTerms:
    """Return how an invoice that sells prepaid credit is taxed: not at all, wherever the customer is. It pays for what is taxed later."""
    told = f"{CREDIT_SOLD}{MULTI_PURPOSE if question.seller.country in EUROPEAN_UNION else ''}."
    return _terms_outside_scope(question, told, provider)


def terms_of_damages(*, question: TaxQuestion, provider: str) -> TaxTerms:
    """Return how interest and costs of late payment are taxed: not at all, they pay for no service (in the Union: ECJ C-222/81, BAZ Bausystem)."""
    return _terms_outside_scope(question, DAMAGES, provider)


def _terms_outside_scope(question: TaxQuestion, told: str, provider: str) -> TaxTerms:
    seller, customer = question.seller, question.customer
    treatment = _untaxed(question, TaxKind.OUTSIDE_SCOPE, seller.country, told)
    return TaxTerms(
        provider=provider,
        rounding=seller.rounding,
        seller=TaxParty(seller.country, number=number_of_seller(seller=seller, day=question.days[-1])),
        customer=TaxParty(customer.country, customer.region, customer.number),
        timezone=question.timezone,
        by_day=dict.fromkeys(question.days, treatment),
        corrected={},
    )


def _treatment(question: TaxQuestion, rates: Sequence[DatedRate], day: date) -> TaxTreatment:
    seller, customer = question.seller, question.customer
    if not customer.country:
        raise _Missing(f"the country of {customer.name}")
    if customer.number_problem:
        raise _Missing(customer.number_problem)
    in_force = {one.jurisdiction for one in seller.registrations if one.span.holds(day)}
    if customer.country in EUROPEAN_UNION and seller.country in EUROPEAN_UNION:
        return _within_union(question, rates, day, in_force)
    if not customer.region and any(one.startswith(f"{customer.country}-") for one in in_force):
        raise _Missing(f"the region of {customer.name}: we are registered in regions of {customer.country}")
    places = {customer.country, place_of(country=customer.country, region=customer.region)} & in_force
    if not places:
        if seller.country in EUROPEAN_UNION:
            return _untaxed(question, TaxKind.OUTSIDE_SCOPE, customer.country, OUTSIDE_UNION)
        return _unregistered(question, customer.country)
    return _taxed(question, rates, day, places)


def _within_union(question: TaxQuestion, rates: Sequence[DatedRate], day: date, in_force: set[str]) -> TaxTreatment:
    """Return how a service between two sides in the European Union is taxed."""
    seller, customer = question.seller, question.customer
    if customer.country == seller.country:
        if seller.country not in in_force:
            return _unregistered(question, seller.country)
        return _taxed(question, rates, day, {seller.country})
    if customer.number:
        return _untaxed(question, TaxKind.REVERSE_CHARGE, customer.country, REVERSE_CHARGE)
    if {ONE_STOP_SHOP, customer.country} & in_force:
        return _taxed(question, rates, day, {customer.country})
    # Below the threshold of distance selling (Art. 59c): consumers are taxed where the seller is.
    if seller.country not in in_force:
        return _unregistered(question, seller.country)
    return _taxed(question, rates, day, {seller.country})


def _taxed(question: TaxQuestion, rates: Sequence[DatedRate], day: date, places: set[str]) -> TaxTreatment:
    found = sorted(
        (one.rate for one in rates if one.rate.jurisdiction in places and one.span.holds(day)),
        key=lambda rate: (rate.jurisdiction, rate.name),
    )
    exempt = [one for one in question.customer.exemptions if one.jurisdiction in places and one.span.holds(day)]
    if exempt and {rate.jurisdiction for rate in found} <= {one.jurisdiction for one in exempt}:
        first = exempt[0]
        # It is told by the name of what would be owed there.
        name = next((rate.name for rate in found if rate.jurisdiction == first.jurisdiction), "")
        return _untaxed(question, TaxKind.EXEMPT, first.jurisdiction, first.reason, evidence=first.evidence, name=name)
    if not found:
        raise _Missing(f"a rate of tax in {' or '.join(sorted(places))} on {day.isoformat()}")
    return TaxTreatment(
        kind=TaxKind.TAXED,
        # Who is exempt from the tax of a region owes the country's all the same.
        rates=tuple(
            replace(rate, rate=Decimal(0)) if rate.jurisdiction in {one.jurisdiction for one in exempt} else rate
            for rate in found
        ),
        inclusive=question.seller.inclusive,
        reason=exempt[0].reason if exempt else "",
        evidence=exempt[0].evidence if exempt else "",
    )


def _untaxed(
    question: TaxQuestion, kind: TaxKind, jurisdiction: str, reason: str, *, evidence: str = "", name: str = ""
) -> TaxTreatment:
    of_seller = "VAT" if question.seller.country in EUROPEAN_UNION else "Tax"
    nothing = RateOfTax(jurisdiction, name or of_seller, Decimal(0))
    return TaxTreatment(kind=kind, rates=(nothing,), reason=reason, evidence=evidence)


def _unregistered(question: TaxQuestion, jurisdiction: str) -> TaxTreatment:
    return _untaxed(question, TaxKind.OUTSIDE_SCOPE, jurisdiction, unregistered_reason(jurisdiction=jurisdiction))


def number_of_seller(*, seller: SellerFacts, day: date) -> str:
    """Return the number by which the seller is known at home on a day."""
    numbers: Iterable[str] = (
        one.number for one in seller.registrations if one.jurisdiction == seller.country and one.span.holds(day)
    )
    return next(iter(numbers), "")


def unregistered_reason(*, jurisdiction: str) -> str:
    """Say on an invoice that no tax is charged somewhere, because the seller is not registered there."""
    return f"No tax is charged: the seller is not registered for tax in {jurisdiction}."


def place_of(*, country: str, region: str) -> str:
    """Return the jurisdiction of a region, or of the country where there is none: US-CA, DE."""
    return f"{country}-{region}" if region else country
