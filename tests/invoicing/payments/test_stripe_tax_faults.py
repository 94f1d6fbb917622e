"""What goes wrong with Stripe Tax stays where it belongs: with one question, with the account, with the mode; never with whoever stands behind."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from billing_site.sandbox.stripe import tax_calculations
from invoicing.invoices.models import Invoice
from invoicing.payments.remote import GatewayRefused, GatewayUnavailable, RemoteTax
from invoicing.tax.asking import begin_inquiry, record_answer, record_refusal
from invoicing.tax.inquiries import TaxAnswer, TaxInquiry
from invoicing.workflows import ask_stripe_tax
from invoicing.workflows.ask_stripe_tax import ask_again, ask_for_periods, keep_answers_fresh
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.run_billing import draft_billing
from invoicing.workflows.verify import verify
from tests.factories import AUGUST
from tests.invoicing.late import BILLED_AT
from tests.invoicing.payments.test_stripe_tax import a_buyer, a_new_yorker, bill
from tests.invoicing.test_attack_guards import behind_the_triggers
from tests.invoicing.told_tax import answered, levied, new_york

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("stripe_decides")]
DOWN = GatewayUnavailable("Stripe cannot answer now: 500", is_of_request=True)
AWAY = GatewayUnavailable("Stripe cannot answer now: no connection")


@pytest.fixture
def answering(monkeypatch: Any) -> Callable[..., list[str]]:
    """Let a Stripe of our own answer, by postal code; the keys by which it was asked are told."""

    def put(**answers: Any) -> list[str]:
        keys: list[str] = []

        def calculate(*, asked: Any, at: datetime, idempotency_key: str) -> RemoteTax:
            keys.append(idempotency_key)
            answer = answers.get(f"zip{asked['address']['postal_code']}", new_york())
            if isinstance(answer, Exception):
                raise answer
            return RemoteTax(id=answer.get("id") or "", body=answer)

        monkeypatch.setattr(ask_stripe_tax.gateway, "calculate_tax", calculate)
        return keys

    return put


def ask(at: datetime = BILLED_AT, **options: Any) -> tuple[int, int, str]:
    report = ask_for_periods(as_of=AUGUST, at=at, **options)
    return report.told, report.refused, report.problem


def missing() -> list[str]:
    return [failure.message for failure in preview_billing(as_of=AUGUST).failures]


def test_what_the_sandbox_or_a_test_key_told_is_not_charged_in_live_mode(settings: Any) -> None:
    a_new_yorker()
    ask()
    in_sandbox = missing()

    settings.STRIPE_IS_SANDBOX = False
    with_test_key = missing()
    settings.STRIPE_LIVE_MODE = True
    live = missing()

    question = TaxInquiry.objects.get().question
    assert (question["legal_entity"], question["mode"]) == ("main", "sandbox")
    assert in_sandbox == []
    assert ["has not been asked yet" in message for message in (*with_test_key, *live)] == [True, True]


@pytest.mark.parametrize(("is_live_here", "says"), [(False, True), (True, False)])
def test_an_answer_of_the_other_mode_is_refused(
    settings: Any, answering: Callable[..., list[str]], is_live_here: bool, says: bool
) -> None:
    settings.STRIPE_LIVE_MODE = is_live_here
    a_new_yorker()
    answering(zip10001={**new_york(), "livemode": says})

    counts = ask()

    assert counts == (0, 1, "")
    assert "our key is of the other mode" in TaxAnswer.objects.get().refusal


def test_the_nearest_and_newest_word_holds_even_if_it_is_a_refusal() -> None:
    customer = a_new_yorker()
    ask()
    told = TaxAnswer.objects.get().inquiry
    asked = ask_stripe_tax.Inquiry(customer.key, told.day, told.question)

    later = begin_inquiry(customer_id=customer.pk, inquiry=asked, at=BILLED_AT, afresh=True)
    record_refusal(inquiry=later, message="Not any more.", field="address", at=BILLED_AT)
    refused = missing()
    within_a_day = ask(at=BILLED_AT + timedelta(hours=23))
    after_a_day = ask(at=BILLED_AT + timedelta(days=1))

    assert ["Not any more." in message for message in refused] == [True]
    assert (within_a_day, after_a_day) == ((0, 0, ""), (1, 0, ""))
    assert missing() == []


def test_an_older_refusal_about_a_day_further_away_takes_nothing_from_what_was_told() -> None:
    customer = a_new_yorker()
    ask()
    told = TaxAnswer.objects.get().inquiry
    asked = ask_stripe_tax.Inquiry(customer.key, told.day - timedelta(days=3), told.question)

    begun = begin_inquiry(customer_id=customer.pk, inquiry=asked, at=BILLED_AT)
    record_refusal(inquiry=begun, message="Not then.", field="address", at=BILLED_AT)

    assert (missing(), ask()) == ([], (0, 0, ""))


def test_a_question_at_which_stripe_fails_lets_the_next_ones_be_asked(answering: Callable[..., list[str]]) -> None:
    a_buyer("cust_a", "US", postal_code="10002")
    a_new_yorker("cust_b")
    answering(zip10002=DOWN)

    assert ask() == (1, 0, DOWN.message)


@pytest.mark.parametrize(("fault", "calls"), [(DOWN, 3), (AWAY, 1)])
def test_a_stripe_that_is_down_is_left_alone(
    answering: Callable[..., list[str]], fault: GatewayUnavailable, calls: int
) -> None:
    for place in range(5):
        a_buyer(f"cust_{place}", "US", postal_code="10002")
    keys = answering(zip10002=fault)

    assert ask() == (0, 0, fault.message)
    assert len(keys) == calls


def test_a_fault_of_the_server_is_told_from_a_lost_connection(sandbox: Any) -> None:
    for place in range(2):
        a_new_yorker(f"cust_{place}")
    # The SDK tries once more by itself.
    sandbox.fault("http_500", 2)
    after_a_fault = ask()
    sandbox.fault("rate_limit", 2)
    slowed_down = ask()

    assert after_a_fault[:2] == (1, 0)
    assert slowed_down[:2] == (0, 0)


def test_what_was_begun_long_ago_and_what_somebody_wants_again_is_asked_by_another_key(
    answering: Callable[..., list[str]],
) -> None:
    customer = a_new_yorker()
    keys = answering(zip10001=DOWN)

    for minutes in (0, 9, 11, 12):
        ask(at=BILLED_AT + timedelta(minutes=minutes))
    ask_again(customer=customer, at=BILLED_AT + timedelta(minutes=12))

    first, same, other, kept, *again = keys
    assert (first == same, other == kept, first == other) == (True, True, False)
    assert again and not {first, other} & set(again)


def test_asking_ends_after_half_a_minute_and_goes_on_next_time(
    answering: Callable[..., list[str]], monkeypatch: Any
) -> None:
    for place in range(4):
        a_new_yorker(f"cust_{place}")
    answering()
    seconds = iter(range(0, 1000, 16))
    monkeypatch.setattr(ask_stripe_tax, "monotonic", lambda: next(seconds))

    billed = ask()
    kept_fresh = keep_answers_fresh(at=BILLED_AT)
    at_the_shell = ask(budget=None)

    assert billed == (1, 0, ask_stripe_tax.OUT_OF_TIME)
    assert (kept_fresh.told, kept_fresh.problem) == (1, ask_stripe_tax.OUT_OF_TIME)
    assert at_the_shell == (2, 0, "")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": None}, "has no id"),
        ({"line_items": {"data": [{"amount": 1, "tax_breakdown": ["x"]}]}}, "cannot be read"),
    ],
)
def test_an_answer_without_id_or_form_is_kept_as_refused_and_ends_nothing(
    answering: Callable[..., list[str]], change: dict[str, Any], problem: str
) -> None:
    a_buyer("cust_a", "US", postal_code="10002")
    a_new_yorker("cust_b")
    answering(zip10002={**new_york(), **change})

    assert ask() == (1, 1, "")
    assert problem in TaxAnswer.objects.get(kind="").refusal


def test_details_that_are_no_mapping_cannot_be_read() -> None:
    customer = a_new_yorker()
    asked = ask_stripe_tax.Inquiry(customer.key, date(2026, 7, 31), {})
    entry = levied("FR", None, "country", "France", None, reason="reverse_charge")
    body = answered({**entry, "tax_rate_details": "VAT"})

    begun = begin_inquiry(customer_id=customer.pk, inquiry=asked, at=BILLED_AT)
    answer = record_answer(inquiry=begun, stripe_id="taxcalc_1", body=body, at=BILLED_AT)

    assert "cannot be read" in answer.refusal


@pytest.mark.parametrize(
    ("refusal", "kept", "calls"),
    [
        (GatewayRefused("Unknown place.", code="customer_tax_location_invalid"), 1, 2),
        (GatewayRefused("No such id.", param="customer_details[tax_ids][0][value]"), 1, 2),
        (GatewayRefused("No such currency.", param="currency"), 0, 2),
        (GatewayRefused("Activate Stripe Tax first.", code="stripe_tax_inactive"), 0, 1),
        (GatewayRefused("No such tax code.", param="line_items[0][tax_code]"), 0, 1),
    ],
)
def test_what_is_wrong_with_the_account_is_not_kept_against_a_customer(
    answering: Callable[..., list[str]], refusal: GatewayRefused, kept: int, calls: int
) -> None:
    a_buyer("cust_a", "US", postal_code="10002")
    a_new_yorker("cust_b")
    keys = answering(zip10002=refusal)

    told = ask()

    assert told == (calls - 1, kept, "" if kept else refusal.message)
    assert (len(keys), TaxAnswer.objects.filter(kind="").count()) == (calls, kept)


def test_verify_names_a_line_of_another_month_than_its_answer_and_one_that_names_none() -> None:
    a_new_yorker()
    bill()
    answer, number = TaxAnswer.objects.get(), Invoice.objects.get().number
    content = verify()

    behind_the_triggers("UPDATE invoicing_taxinquiry SET day = '2026-06-30'")
    moved = {(one.subject, one.message) for one in verify() if one.check == "taxes hold"}
    behind_the_triggers("UPDATE invoicing_invoice SET tax = tax - 'answers'")
    unnamed = {(one.subject, one.message) for one in verify() if one.check == "taxes hold"}

    said = f"line 1 of 2026-07-31 is taxed by answer {answer.pk} about 2026-06-30"
    assert content == []
    assert (f"invoice {number}", said) in moved
    assert (f"invoice {number}", "line 1 names no answer about 2026-07-31") in unnamed


def test_stripe_is_asked_now_whatever_moment_invoices_are_issued_at(monkeypatch: Any) -> None:
    a_new_yorker()
    later = BILLED_AT + timedelta(days=5)
    monkeypatch.setattr("billing_site.kernel.clock.now", lambda: later)
    monkeypatch.setattr(tax_calculations, "timestamp", lambda: int(later.timestamp()))

    draft_billing(as_of=AUGUST, at=BILLED_AT)

    answer = TaxAnswer.objects.get()
    assert (answer.inquiry.asked_at, answer.told_at) == (later, later)
