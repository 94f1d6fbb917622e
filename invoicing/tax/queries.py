"""What may be asked about tax: the facts of both sides of a sale, for one customer or for many at once."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from invoicing.core.tax import TaxRounding
from invoicing.core.tax_rules import CustomerFacts, Exemption, Registration, SellerFacts, Span, TaxQuestion
from invoicing.customers.models import Customer
from invoicing.tax.models import CustomerTax, SellerTax, TaxExemption, TaxRegistration, VatIdCheck


@dataclass(frozen=True)
class TaxBook:
    """What is known of sellers and of some customers; a seller without settings charges no tax."""

    settings: Sequence[SellerTax]
    registrations: Sequence[TaxRegistration] = ()
    customers: Mapping[int, CustomerTax] | None = None
    exemptions: Sequence[TaxExemption] = ()
    unknown_ids: Collection[tuple[int, str]] = ()

    def question(self, *, customer: Customer, on: date, days: Iterable[date]) -> TaxQuestion | None:
        """Return what a provider is asked about an invoice whose period ends `on` that day; None where no tax is charged then."""
        seller = customer.seller_key
        chosen = settings_on(settings=[row for row in self.settings if row.legal_entity_id == seller], day=on)
        if chosen is None:
            return None
        return TaxQuestion(
            customer_key=customer.key,
            currency=customer.currency,
            timezone=customer.timezone,
            seller=SellerFacts(
                country=chosen.country,
                rounding=TaxRounding(chosen.rounding),
                inclusive=chosen.prices_include_tax,
                registrations=tuple(
                    Registration(row.jurisdiction, row.number, Span(row.valid_from, row.valid_to))
                    for row in self.registrations
                    if row.legal_entity_id == seller
                ),
                key=seller,
            ),
            customer=self._facts(customer),
            on=on,
            days=tuple(sorted({on, *days})),
        )

    def _facts(self, customer: Customer) -> CustomerFacts:
        row = (self.customers or {}).get(customer.pk)
        if row is None:
            return CustomerFacts(name=customer.name, country="")
        return CustomerFacts(
            name=customer.name,
            country=row.country,
            region=row.region,
            number=row.vat_id,
            number_problem=f"a VAT id of {customer.name} that its register knows: it does not know {row.vat_id}"
            if (customer.pk, row.vat_id) in self.unknown_ids
            else "",
            exemptions=tuple(
                Exemption(one.jurisdiction, one.reason, one.evidence, Span(one.valid_from, one.valid_to))
                for one in self.exemptions
                if one.customer_id == customer.pk
            ),
            postal_code=row.postal_code,
            city=row.city,
            line1=row.line1,
        )


def tax_book(*, customers: Collection[int]) -> TaxBook:
    """Return what is known of sellers and of customers, by number: five queries, one where no tax is charged."""
    settings = list(SellerTax.objects.order_by("valid_from", "id"))
    if not settings:
        return TaxBook(settings=())
    return TaxBook(
        settings=settings,
        registrations=list(TaxRegistration.objects.order_by("jurisdiction", "valid_from")),
        customers={row.customer_id: row for row in CustomerTax.objects.filter(customer__in=customers)},
        exemptions=list(TaxExemption.objects.filter(customer__in=customers).order_by("jurisdiction", "valid_from")),
        unknown_ids={(one.customer_id, one.vat_id) for one in last_checks(customers=customers) if not one.is_valid},
    )


def last_checks(*, customers: Collection[int]) -> list[VatIdCheck]:
    """Return what registers said last about each VAT id of customers, by number."""
    checks = VatIdCheck.objects.filter(customer__in=customers).order_by("customer", "vat_id", "-id")
    return list(checks.distinct("customer", "vat_id"))


def settings_on(*, settings: Sequence[SellerTax], day: date) -> SellerTax | None:
    """Return which of a seller's settings hold on a day: the latest begun by then, of several the newest."""
    begun = [row for row in settings if row.valid_from <= day]
    return max(begun, key=lambda row: (row.valid_from, row.pk), default=None)


def last_check(*, row: CustomerTax) -> VatIdCheck | None:
    """Return what the register said last about a customer's present VAT id."""
    return VatIdCheck.objects.filter(customer=row.customer_id, vat_id=row.vat_id).order_by("-id").first()
