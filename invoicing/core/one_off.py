"""A one-off invoice: stated lines and their sum, for no period."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.money import total, wire
from invoicing.core.contract import ENGINE_VERSION
from invoicing.core.proof import stated_document
from invoicing.core.stated import StatedItem, StatedLine, rate_stated


@dataclass(frozen=True)
class OneOffInvoice:
    """A one-off invoice before it is stored; the digest covers everything that it says."""

    customer: str
    currency: str
    lines: tuple[StatedLine, ...]
    total: Money
    digest: str = field(repr=False)


def assemble_once(*, customer: str, currency: str, items: Sequence[StatedItem]) -> OneOffInvoice:
    """Rate each item and put the lines together, in their order."""
    assert items, "an invoice is about something"
    lines = tuple(
        rate_stated(item=item, reference=f":{item.kind.value}/{position}", currency=currency)
        for position, item in enumerate(items, start=1)
    )
    summed = total((line.amount for line in lines), currency)
    content = {
        "engine": ENGINE_VERSION,
        "customer": customer,
        "currency": currency,
        "lines": [stated_document(line=line) for line in lines],
        "total": wire(summed),
    }
    return OneOffInvoice(customer=customer, currency=currency, lines=lines, total=summed, digest=digest_of(content))
