"""Ask Stripe Tax how customers are taxed, ahead of the billing that needs to know it: outside of any transaction, each question by its row."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from time import monotonic

from django.db import transaction

from billing_site.kernel.errors import Conflict
from billing_site.kernel.jobs import queue
from invoicing.core.tax_rules import TaxQuestion
from invoicing.customers.models import Customer
from invoicing.invoices.one_off import day_of
from invoicing.invoices.taxes import tax_question
from invoicing.payments import gateway
from invoicing.payments.locks import only_worker
from invoicing.payments.remote import GatewayRefused, GatewayUnavailable
from invoicing.subscriptions.queries import payers_in_force
from invoicing.tax.asking import begin_inquiry, record_answer, record_refusal
from invoicing.tax.inquiries import TaxAnswer
from invoicing.tax.models import CustomerTax, SellerTax
from invoicing.tax.queries import tax_book
from invoicing.tax.stripe_questions import (
    asks_stripe,
    asks_stripe_for,
    field_in_words,
    is_of_customer,
    missing_for_stripe,
)
from invoicing.tax.stripe_tax import Inquiry, StripeTax
from invoicing.workflows.compute_invoice import ground_of
from invoicing.workflows.run_report import RunReport, due_in_batches, failures_told

logger = logging.getLogger(__name__)

AGAIN_JOB = "invoicing.tasks.ask_stripe_tax_again"
# What is asked about a question: what was not told yet, or everything once more.
AskedOf = Callable[[StripeTax, TaxQuestion, datetime], list[Inquiry]]
AT_ONCE_MAX = 300
BATCH_CUSTOMERS = 200
# Stripe knows the rates of the last and next 31 days; a day is asked about at its noon.
REACH = timedelta(days=31)
NOON = time(12, tzinfo=UTC)
# Refusals of one question that say nothing about its customer: the same call is still on its way, the currency or the day is none of Stripe's.
STILL_ASKED, OF_QUESTION = "idempotency_key_in_use", ("currency", "tax_date")
# So many questions in a row at which Stripe fails are no longer their own fault.
FAULTS_MAX = 3
# How long somebody who has other things to do asks; what is left is missing, and asked next time.
BUDGET = timedelta(seconds=30)
OUT_OF_TIME = "there was no time for more: the rest is asked next time"


@dataclass(frozen=True)
class AskingReport:
    """How many questions were answered and refused, and whether Stripe could not answer any more."""

    told: int = 0
    refused: int = 0
    problem: str = ""


def ask_for_periods(
    *, as_of: datetime, at: datetime, customer_key: str = "", budget: timedelta | None = BUDGET
) -> AskingReport:
    """Ask what the periods that ended by `as_of` need to be taxed and Stripe has not told yet; nothing where it does not decide.

    Whoever bills names what Stripe could not be asked, or did not tell, as missing. `at` is the moment at which it is asked, the present one.
    """
    if not asks_stripe():
        return AskingReport()
    return _ask_all(_of_periods(as_of, at, customer_key), at=at, budget=budget)


def keep_answers_fresh(*, at: datetime) -> AskingReport:
    """Ask what ended periods need, then about today of customers with a subscription in force of whom no answer is fresh; at most some hundred questions."""
    if not asks_stripe():
        return AskingReport()

    def questions() -> Iterator[tuple[int, Inquiry]]:
        yield from _of_periods(at, at, "")
        yield from _of_today(at)

    return _ask_all(islice(questions(), AT_ONCE_MAX), at=at, budget=BUDGET)


def ask_about(*, customer: Customer, at: datetime) -> AskingReport:
    """Ask about today of a customer whose tax data has changed, where no answer to that is fresh."""
    return _ask_all(_of_customers([customer.pk], at), at=at) if asks_stripe() else AskingReport()


@transaction.atomic
def order_answer(*, customer: Customer, at: datetime) -> None:
    """Queue that Stripe is asked once more about a customer, whatever it told before; raises Conflict where it does not decide, or something has to be known first."""
    if not asks_stripe_for(seller=customer.seller_key):
        raise Conflict("our own table of rates decides about this customer: Stripe is not asked", field="customer")
    question = _question_of_today(customer, at)
    if question is None:
        raise Conflict("whoever sells to this customer charges no tax", field="customer")
    if missing := missing_for_stripe(question=question):
        raise Conflict(f"it is not known: {'; '.join(missing)}", field="customer", code="tax_data_missing")
    queue(AGAIN_JOB, customer.pk)


def ask_again(*, customer: Customer, at: datetime) -> AskingReport:
    """Ask about today and what ended periods of a customer need, whatever was told before; the newest word about a day holds."""
    if not asks_stripe():
        return AskingReport()
    question = _question_of_today(customer, at)
    today = [] if question is None else StripeTax(customers=[customer.pk]).inquiries(question=question)
    due = [inquiry for _, inquiry in _of_periods(at, at, customer.key, _every) if inquiry not in today]
    return _ask_all(((customer.pk, inquiry) for inquiry in (*today, *due)), at=at, afresh=True)


def _question_of_today(customer: Customer, at: datetime) -> TaxQuestion | None:
    book = tax_book(customers=[customer.pk])
    return book.question(customer=customer, on=day_of(customer=customer, at=at), days=())


def _ask_all(
    questions: Iterator[tuple[int, Inquiry]], *, at: datetime, budget: timedelta | None = None, afresh: bool = False
) -> AskingReport:
    told = refused = faults = 0
    found = ""
    begun = monotonic()
    for customer_id, inquiry in questions:
        if budget is not None and monotonic() - begun >= budget.total_seconds():
            return AskingReport(told, refused, found or OUT_OF_TIME)
        try:
            answer = _ask(customer_id, inquiry, at=at, afresh=afresh)
        except GatewayUnavailable as problem:
            logger.warning("Stripe Tax cannot be asked about %s now: %s", inquiry.customer_key, problem)
            found = problem.message
            faults += 1
            if problem.is_of_request and faults < FAULTS_MAX:
                continue
            # The next one would fare no better.
            break
        faults = 0
        told += answer is not None and bool(answer.kind)
        refused += answer is not None and not answer.kind
    return AskingReport(told, refused, found)


def _ask(customer_id: int, inquiry: Inquiry, *, at: datetime, afresh: bool) -> TaxAnswer | None:
    """Ask one question and keep what comes back; None where another worker asks about the customer at this moment."""
    with only_worker(f"tax of customer {customer_id}") as alone:
        if not alone:
            return None
        begun = begin_inquiry(customer_id=customer_id, inquiry=inquiry, at=at, afresh=afresh)
        try:
            moment = datetime.combine(inquiry.day, NOON)
            remote = gateway.calculate_tax(asked=inquiry.document, at=moment, idempotency_key=str(begun.key))
        except GatewayRefused as refused:
            if not is_of_customer(param=refused.param, code=refused.code):
                is_of_question = refused.code == STILL_ASKED or refused.param in OF_QUESTION
                raise GatewayUnavailable(refused.message, is_of_request=is_of_question) from refused
            field = field_in_words(param=refused.param)
            logger.warning("Stripe Tax refused the question about %s: %s", inquiry.customer_key, refused)
            return record_refusal(inquiry=begun, message=refused.message, field=field, at=at)
        return record_answer(inquiry=begun, stripe_id=remote.id, body=remote.body, at=at)


def _unanswered(provider: StripeTax, question: TaxQuestion, at: datetime) -> list[Inquiry]:
    return provider.unanswered(question=question, at=at)


def _every(provider: StripeTax, question: TaxQuestion, at: datetime) -> list[Inquiry]:
    return provider.inquiries(question=question)


def _of_periods(
    as_of: datetime, at: datetime, customer_key: str, asked_of: AskedOf = _unanswered
) -> Iterator[tuple[int, Inquiry]]:
    """Yield what is asked before the periods that ended by a moment can be taxed, each once; what is too old for Stripe is left out."""
    report = RunReport()
    for batch in due_in_batches(as_of=as_of, customer_key=customer_key, report=report):
        by_number = {customer.pk: customer for customer, _ in batch.due}
        ground = ground_of(customers=list(by_number.values()), agreements=batch.agreements)
        provider = StripeTax(customers=by_number)
        seen = set()
        for customer, period in batch.due:
            with failures_told(report, customer.key, period):
                contract = ground.contract(customer=customer, period=period)
                question = tax_question(book=ground.book, customer=customer, snapshot=contract.snapshot)
                for inquiry in [] if question is None else asked_of(provider, question, at):
                    known = (customer.pk, inquiry.day, inquiry.digest)
                    if known not in seen and is_in_reach(day=inquiry.day, at=at):
                        seen.add(known)
                        yield customer.pk, inquiry


def _of_today(at: datetime) -> Iterator[tuple[int, Inquiry]]:
    """Yield what has to be asked so that of customers with a subscription in force an answer is fresh."""
    in_force = payers_in_force(at=at)
    taxed = SellerTax.objects.values("legal_entity")
    numbers = list(
        CustomerTax.objects.filter(customer__in=in_force, customer__legal_entity__in=taxed)
        .order_by("customer")
        .values_list("customer", flat=True)
    )
    for first in range(0, len(numbers), BATCH_CUSTOMERS):
        yield from _of_customers(numbers[first : first + BATCH_CUSTOMERS], at)


def _of_customers(numbers: Sequence[int], at: datetime) -> Iterator[tuple[int, Inquiry]]:
    book, provider = tax_book(customers=numbers), StripeTax(customers=numbers)
    for customer in Customer.objects.filter(pk__in=numbers).order_by("id"):
        question = book.question(customer=customer, on=day_of(customer=customer, at=at), days=())
        for inquiry in [] if question is None else provider.unanswered(question=question, at=at):
            yield customer.pk, inquiry


def is_in_reach(*, day: date, at: datetime) -> bool:
    """Say whether Stripe can be asked about a day."""
    return abs(datetime.combine(day, NOON) - at) < REACH
