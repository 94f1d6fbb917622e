"""The charges of one price in a service: one for usage, one for each quantity of a fee, split where a price of its own begins."""

from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction

from billing_site.kernel.period import Period
from invoicing.catalog.rate_card import OfferedPrice
from invoicing.core.contract import Charge
from invoicing.core.overrides import Override, PricedService, priced_services
from invoicing.core.phases import PlanService, Timeline
from invoicing.subscriptions.models import Subscription


def priced_parts(
    *, timeline: Timeline, period: Period, service: PlanService, overrides: Sequence[Override]
) -> Sequence[PricedService]:
    """Return a service in parts by the prices of its own that hold in it; as a whole where there are none."""
    if not overrides:
        return (PricedService(service, None),)
    return priced_services(timeline=timeline, period=period, service=service, overrides=overrides)


def charges_of_price(
    subscription: Subscription, price: OfferedPrice, services: Sequence[PricedService], *, taken: Collection[str]
) -> Iterator[Charge]:
    """Yield the charges of one price in parts of a service: usage is one in each, a fee one for each quantity."""
    parts = [
        (part.override.price if part.override else price.price, *piece)
        for part in services
        for piece in _pieces(part.service, is_metered=price.meter is not None)
    ]
    for amount, quantity, span, share in parts:
        yield Charge(
            reference=reference_of(f"{subscription.key}/{price.key}", span, taken),
            name=price.name,
            price=amount,
            meter=price.meter,
            unit=price.unit,
            subscription=subscription.key,
            service_period=span,
            share=share,
            quantity=quantity,
        )


def reference_of(name: str, span: Period, taken: Collection[str]) -> str:
    """Return the name of a line: the first of a period has the plain one, later ones say from when."""
    return f"{name}@{span.start.isoformat().replace('+00:00', 'Z')}" if name in taken else name


def _pieces(service: PlanService, *, is_metered: bool) -> list[tuple[int, Period, Fraction]]:
    if is_metered:
        return [(1, service.period, service.share)]
    return [(part.quantity, part.period, part.share) for part in service.parts]
