"""A policy may close a customer and hand the debt over to collectors some time later, who is told of it; who comes back between is chased anew."""

import pytest

from dunning.core.notice_kinds import NoticeKind
from dunning.core.policy import STANDARD, Act, PolicyTerms, Step, TermsMistake, check_terms, terms_stored
from dunning.notices.models import Notice
from dunning.policies.operations import assign_policy, publish_policy
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice
from invoicing.workflows.move_life_cycle import sweep_life_cycles
from tests.dunning.chasing import WHO, case_of, late_customer, local, turn
from tests.factories import AUGUST, a_subscription

pytestmark = pytest.mark.django_db

COLLECTED = (
    *STANDARD.steps,
    Step(35, Act.NOTICE, NoticeKind.COLLECTION_NOTICE),
    Step(45, Act.HAND_OVER),
)


@pytest.fixture
def invoice() -> Invoice:
    made = late_customer()
    terms = terms_stored(PolicyTerms(steps=COLLECTED))
    publish_policy(key="firm", name="Firm", terms=terms, in_force_from=AUGUST, at=AUGUST, **WHO)
    assign_policy(policy="firm", customer=made.customer, country="", at=AUGUST, **WHO)
    return made


def grave_steps(customer: Customer) -> list[tuple[str, str]]:
    steps = case_of(customer).steps.exclude(act="notice").order_by("number")
    return [(f"{step.done_at:%m-%d}", step.act) for step in steps]


def test_who_is_closed_hears_of_the_collectors_before_they_get_the_claim(invoice: Invoice) -> None:
    customer = invoice.customer

    turn(local("2026-08-16 09:00", customer), local("2026-10-02 09:00", customer))

    assert grave_steps(customer) == [("08-29", "suspend"), ("09-12", "close"), ("09-29", "hand_over")]
    assert case_of(customer).state == "handed_over"
    notice = Notice.objects.get(kind="collection_notice")
    assert (notice.state, str(notice.acts_on)) == ("sent", "2026-09-29")
    assert "29 September 2026" in notice.text and "collection agency" in notice.text


def test_who_comes_back_before_that_is_chased_from_the_first_step_on_and_not_handed_over(invoice: Invoice) -> None:
    customer = invoice.customer
    turn(local("2026-08-16 09:00", customer), local("2026-09-13 09:00", customer))
    first = case_of(customer)
    back = local("2026-09-20 12:00", customer)
    a_subscription(customer, started_at=back, key="sub_again")
    sweep_life_cycles(at=back)

    turn(back, local("2026-10-02 09:00", customer))

    first.refresh_from_db()
    assert (first.state, grave_steps(customer)[:1]) == ("superseded", [])
    assert case_of(customer) != first and case_of(customer).state == "open"


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((*COLLECTED, Step(50, Act.NOTICE, NoticeKind.REMINDER)), "handing over is the last step"),
        ((*STANDARD.steps, Step(30, Act.RETRY)), "only written to, and handed over"),
    ],
)
def test_nothing_else_follows_on_the_end(steps: tuple[Step, ...], said: str) -> None:
    with pytest.raises(TermsMistake, match=said):
        check_terms(PolicyTerms(steps=steps))
