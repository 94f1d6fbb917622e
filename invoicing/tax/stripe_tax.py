"""Stripe Tax behind the port: it decides from what Stripe told and rows keep, and calls nobody.

Who asks Stripe is `workflows/ask_stripe_tax.py`. An answer about a day holds for the days around it, at most `STRIPE_TAX_ANSWER_DAYS`
away and in the same month: rates change as months begin.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings

from billing_site.kernel.digest import digest_of
from invoicing.core.tax import TaxMissing, TaxParty, TaxTerms, TaxTreatment
from invoicing.core.tax_rules import TaxQuestion, number_of_seller
from invoicing.core.told_tax import treatment_told
from invoicing.tax.inquiries import TaxAnswer
from invoicing.tax.provider import TaxTable
from invoicing.tax.stripe_questions import asks_stripe_for, days_asked, inquiry_document, missing_for_stripe

REFUSED_FOR = timedelta(days=1)
NOT_ASKED = "the rates of {day} where {name} is: Stripe has not been asked yet; it is before the next billing run, or at once by “Ask Stripe again” on the customer's page, up to 31 days after that day"
REFUSED = "{what} of {name}: Stripe Tax does not know how it is taxed: {refusal}"


@dataclass(frozen=True)
class Inquiry:
    """A question that Stripe has to be asked: what, about which day, of which customer by its key."""

    customer_key: str
    day: date
    document: dict[str, Any]

    @property
    def digest(self) -> str:
        """What is asked, as one word."""
        return digest_of(self.document)


class StripeTax:
    """What Stripe told about some customers, read once for all questions about them; of other legal entities than its account's our table decides."""

    name = "stripe_tax"

    def __init__(self, *, customers: Collection[int]) -> None:
        self._customers = tuple(customers)
        self._table = TaxTable(customers=customers)
        self._read_since: date | None = None
        self._answers: dict[tuple[str, str], list[TaxAnswer]] = {}

    def answer(self, *, question: TaxQuestion) -> TaxTerms | TaxMissing:
        """Return how each day is taxed by what Stripe told about it, or what has to be known first."""
        if not asks_stripe_for(seller=question.seller.key):
            return self._table.answer(question=question)
        problems = dict.fromkeys(missing_for_stripe(question=question))
        by_day: dict[date, TaxTreatment] = {}
        answers: dict[date, int] = {}
        for day, asked in {} if problems else days_asked(question=question).items():
            found = self._told(question, asked)
            if isinstance(found, str):
                problems[found] = None
                continue
            by_day[day] = treatment_told(told=found.told, question=question, day=asked)
            answers[day] = found.pk
        if problems:
            return TaxMissing(provider=self.name, problems=tuple(problems))
        seller, customer = question.seller, question.customer
        return TaxTerms(
            provider=self.name,
            rounding=seller.rounding,
            seller=TaxParty(seller.country, number=number_of_seller(seller=seller, day=question.days[-1])),
            customer=TaxParty(customer.country, customer.region, customer.number),
            timezone=question.timezone,
            by_day=by_day,
            corrected={},
            answers=answers,
        )

    def inquiries(self, *, question: TaxQuestion) -> list[Inquiry]:
        """Return what Stripe is asked about a question, day by day; nothing where our table decides, or something else is missing first."""
        if not asks_stripe_for(seller=question.seller.key) or missing_for_stripe(question=question):
            return []
        return [
            Inquiry(question.customer_key, day, inquiry_document(question=question, day=day))
            for day in sorted(set(days_asked(question=question).values()))
        ]

    def unanswered(self, *, question: TaxQuestion, at: datetime) -> list[Inquiry]:
        """Return what Stripe has to be asked before a question can be answered. What it refused is asked again after a day."""
        return [
            inquiry
            for inquiry in self.inquiries(question=question)
            if (known := self._nearest(question, inquiry.day)) is None
            or (not known.kind and at - known.told_at >= REFUSED_FOR)
        ]

    def _told(self, question: TaxQuestion, day: date) -> TaxAnswer | str:
        """Return the answer that tells about a day; or why there is none, in words."""
        name = question.customer.name
        found = self._nearest(question, day)
        if found is None:
            return NOT_ASKED.format(day=day.isoformat(), name=name)
        if not found.kind:
            return REFUSED.format(what=field_named(found.refused_field), name=name, refusal=found.refusal)
        return found

    def _nearest(self, question: TaxQuestion, day: date) -> TaxAnswer | None:
        """Return the answer to the same question that holds on a day: about the nearest day, of several the newest, a refusal like any other."""
        self._read(since=day)
        digest = digest_of(inquiry_document(question=question, day=day))
        known = [one for one in self._answers.get((question.customer_key, digest), ()) if holds(one.inquiry.day, day)]
        return min(known, key=lambda one: (abs(one.inquiry.day - day), -one.pk), default=None)

    def _read(self, *, since: date) -> None:
        """Read what was told of all customers about a day and later ones, once: most questions are about the same days."""
        first = since - answer_days()
        if self._read_since is not None and self._read_since <= first:
            return
        self._read_since = first
        self._answers = {}
        rows = TaxAnswer.objects.filter(inquiry__customer__in=self._customers, inquiry__day__gte=first)
        for row in rows.select_related("inquiry__customer").defer("body").order_by("id"):
            known = self._answers.setdefault((row.inquiry.customer.key, row.inquiry.question_digest), [])
            known.append(row)


def answer_days() -> timedelta:
    """Return how far an answer reaches."""
    return timedelta(days=settings.STRIPE_TAX_ANSWER_DAYS)


def holds(asked: date, day: date) -> bool:
    """Say whether what was told about one day holds on another."""
    return is_same_month(asked, day) and abs(asked - day) <= answer_days()


def is_same_month(one: date, other: date) -> bool:
    """Say whether two days share their month, beyond which no answer holds whatever the settings say."""
    return (one.year, one.month) == (other.year, other.month)


def field_named(field: str) -> str:
    """Return a field of a customer's tax data in words."""
    return {"": "the place", "vat_id": "the VAT id", "line1": "the street"}.get(field, f"the {field.replace('_', ' ')}")


def last_answers(*, customer_id: int, count: int) -> Sequence[TaxAnswer]:
    """Return what Stripe told last about a customer, newest first."""
    rows = TaxAnswer.objects.filter(inquiry__customer=customer_id).select_related("inquiry")
    return list(rows.defer("body").order_by("-id")[:count])
