"""The port to whoever decides about tax, and our own table as the default behind it."""

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from invoicing.core.tax import RateOfTax, TaxMissing, TaxTerms
from invoicing.core.tax_rules import DatedRate, Span, TaxQuestion, decide
from invoicing.tax.models import TaxRate


class TaxProvider(Protocol):
    """Who says by which rates an invoice is taxed, named by the setting `TAX_PROVIDER`. Amounts are computed here, whoever it is.

    It is asked in the transaction that bills, with the customer's row locked: one that knows from outside keeps what it
    was told in rows, by a job, and answers from these; what it has not been told yet is TaxMissing, and is listed.
    It is made for some customers, by number, and reads what it has to know of them once, however many questions are about them.
    """

    name: str

    def __init__(self, *, customers: Collection[int]) -> None:
        """Keep of whom it will be asked."""

    def answer(self, *, question: TaxQuestion) -> TaxTerms | TaxMissing:
        """Return the treatment of each day that the question names, or all that has to be known first."""


class TaxTable:
    """Our own table of rates (TaxRate), read once for as many questions as are asked of one instance."""

    name = "table"

    def __init__(self, *, customers: Collection[int]) -> None:
        """Take note of nobody: rates are of places."""

    def answer(self, *, question: TaxQuestion) -> TaxTerms | TaxMissing:
        """Decide by the rules of the core."""
        return decide(question=question, rates=self._rates, provider=self.name)

    @cached_property
    def _rates(self) -> Sequence[DatedRate]:
        return [
            DatedRate(RateOfTax(row.jurisdiction, row.name, row.rate), Span(row.valid_from, row.valid_to))
            for row in TaxRate.objects.order_by("jurisdiction", "name", "valid_from")
        ]


def tax_provider(*, customers: Collection[int]) -> TaxProvider:
    """Return the provider that the installation has chosen, for questions about some customers, by number."""
    chosen: type[TaxProvider] = import_string(settings.TAX_PROVIDER)
    return chosen(customers=customers)
