"""What a policy would have done over recorded facts: tables of cases, and laws that hold for any history."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dunning.core.backtest import Claim, Gone, History, Stretch, course_of
from dunning.core.calendar import is_allowed
from dunning.core.comparison import Course, compare
from dunning.core.notice_kinds import NoticeKind
from dunning.core.policy import SHORT, STANDARD, Act, PolicyTerms, Step

BEGIN, END = datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
UTC_ZONE = ZoneInfo("UTC")
DUE = date(2026, 8, 15)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def a_claim(**fields: Any) -> Claim:
    known: dict[str, Any] = {
        "invoice_id": 1,
        "number": "INV-1",
        "issued_at": BEGIN,
        "due_date": DUE,
        "zone": UTC_ZONE,
        "amount": Decimal(31),
    }
    return Claim(**(known | fields))


def a_history(*claims: Claim, **fields: Any) -> History:
    return History(
        **({"customer_id": 1, "currency": "USD", "zone": UTC_ZONE, "claims": claims or (a_claim(),)} | fields)
    )


def days(history: History, terms: PolicyTerms = STANDARD) -> list[str]:
    """The steps as "08-16 notice", case after case."""
    chases = course_of(history=history, terms_at=lambda _: terms, until=END)
    return [f"{one.at:%m-%d} {one.step.act}" for chase in chases for one in chase.taken]


def paid(text: str, amount: str = "31") -> Gone:
    return Gone(at(text), Decimal(amount), is_payment=True)


def test_who_never_pays_gets_every_step_on_its_day() -> None:
    assert days(a_history()) == [
        "08-16 notice", "08-18 notice", "08-22 notice", "08-26 notice", "08-29 suspend", "09-05 notice", "09-12 close",
    ]  # fmt: skip
    assert days(a_history(), SHORT) == ["08-16 notice", "08-19 notice", "08-22 restrict", "08-23 suspend"]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (a_history(a_claim(gone=(paid("08-18 09:00"),))), ["08-16 notice"]),
        (a_history(a_claim(gone=(paid("08-18 09:01"),))), ["08-16 notice", "08-18 notice"]),
        (a_history(a_claim(gone=(paid("08-14 00:00"),))), []),
        (a_history(a_claim(gone=(paid("08-17 00:00", "30"),)))  , ["08-16 notice", "08-18 notice", "08-22 notice", "08-26 notice", "08-29 suspend", "09-05 notice", "09-12 close"]),
        # A hold that ends at night: what was due comes in the morning, and what follows keeps its distance.
        (a_history(waits=(Stretch(at("08-17 00:00"), at("08-21 03:00")),), claims=(a_claim(gone=(paid("08-30 00:00"),)),)), ["08-16 notice", "08-21 notice", "08-25 notice", "08-29 notice"]),
        (a_history(waits=(Stretch(at("08-17 00:00"), None),)), ["08-16 notice"]),
        (a_history(a_claim(objections=(Stretch(at("08-17 00:00"), None, Decimal(31)),))), ["08-16 notice"]),
        # Decided, what is objected to is chased from the first step on.
        (a_history(a_claim(objections=(Stretch(at("08-17 00:00"), at("08-20 12:00"), Decimal(31)),), gone=(paid("08-23 00:00"),))), ["08-16 notice", "08-20 notice", "08-22 notice"]),
        # Days are counted from the refusal before the due date; the first step is at once.
        (a_history(a_claim(refusals=(at("08-03 12:00"),), gone=(paid("08-08 00:00"),))), ["08-03 notice", "08-06 notice"]),
        # The oldest is paid: the next one is a case of its own.
        (
            a_history(a_claim(gone=(paid("08-24 12:00"),)), a_claim(invoice_id=2, due_date=date(2026, 8, 22), gone=(paid("08-26 12:00"),))),
            ["08-16 notice", "08-18 notice", "08-22 notice", "08-24 notice", "08-26 notice"],
        ),
    ],
)  # fmt: skip
def test_facts_decide_which_steps_are_taken(history, expected) -> None:
    assert days(history) == expected


def test_too_little_is_left_alone_until_it_is_enough() -> None:
    terms = replace(SHORT, minimums=(("USD", Decimal(50)),))
    more = a_claim(invoice_id=2, due_date=date(2026, 9, 1))

    assert days(a_history(), terms) == []
    assert days(a_history(a_claim(), more), terms)[:2] == ["09-02 notice", "09-05 notice"]


def test_a_gentler_policy_spares_who_pays_before_its_step_and_says_what_came_before_each() -> None:
    late = a_history(a_claim(gone=(paid("08-28 12:00"),)))
    never = a_history(a_claim(), customer_id=2)
    courses = [
        Course(
            one,
            course_of(history=one, terms_at=lambda _: SHORT, until=END),
            course_of(history=one, terms_at=lambda _: STANDARD, until=END),
        )
        for one in (late, never)
    ]

    found = compare(courses=courses, start=BEGIN, end=END)

    assert (found.held.acts[Act.SUSPEND], found.tried.acts[Act.SUSPEND], found.tried.acts[Act.CLOSE]) == (2, 1, 1)
    assert [(one.customer_id, one.spared, one.burdened, one.has_paid) for one in found.differences] == [
        (1, (Act.RESTRICT, Act.SUSPEND), (), True),
        (2, (Act.RESTRICT,), (Act.CLOSE,), False),
    ]
    before_suspension = next(one for one in found.tried.ladder if one.step.act is Act.SUSPEND)
    assert (before_suspension.taken, before_suspension.spared, before_suspension.paid) == (1, 1, {"USD": Decimal(31)})
    assert sum((sum(one.paid.values()) for one in found.held.ladder), Decimal(0)) == 0, "it came after the last step"


moments = some.datetimes(datetime(2026, 7, 1), datetime(2026, 10, 31), timezones=some.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)
stretches = some.builds(
    lambda start, hours, ends: Stretch(start, start + timedelta(hours=hours) if ends else None),
    moments, some.integers(1, 400), some.booleans(),
)  # fmt: skip
claims = some.builds(
    lambda due, gone, refusals, objected: (due, tuple(gone), tuple(sorted(refusals)), objected),
    some.dates(date(2026, 7, 5), date(2026, 10, 20)),
    some.lists(some.builds(Gone, at=moments, amount=some.sampled_from([Decimal(5), Decimal(31)]), is_payment=some.booleans()), max_size=3),
    some.lists(moments, max_size=2),
    some.none() | stretches,
)  # fmt: skip


@some.composite
def histories(draw: Any) -> History:
    """Anybody, with up to three invoices, payments, refusals, holds and objections."""
    zone = ZoneInfo(draw(some.sampled_from(["Asia/Kathmandu", "America/Sao_Paulo", "America/New_York"])))
    found = [
        Claim(
            invoice_id=number,
            number=f"INV-{number}",
            issued_at=datetime(2026, 6, 30, tzinfo=UTC),
            due_date=due,
            zone=zone,
            amount=Decimal(31),
            gone=gone,
            refusals=refusals,
            objections=(replace(objected, amount=Decimal(31)),) if objected else (),
        )
        for number, (due, gone, refusals, objected) in enumerate(draw(some.lists(claims, min_size=1, max_size=3)))
    ]
    return History(1, "USD", zone, tuple(found), tuple(draw(some.lists(stretches, max_size=2))))


GENTLE = PolicyTerms(
    steps=(Step(5, Act.NOTICE, NoticeKind.REMINDER), Step(30, Act.HAND_OVER)), business_days=True, at_hour=time(10)
)


@settings(max_examples=120, deadline=None)
@given(history=histories(), terms=some.sampled_from([STANDARD, SHORT, GENTLE]))
def test_laws_of_any_course(history, terms) -> None:
    chases = course_of(history=history, terms_at=lambda _: terms, until=END)

    for chase in chases:
        assert [one.number for one in chase.taken] == list(range(1, len(chase.taken) + 1)), "in order, each once"
        assert chase.settled_at is None or chase.anchor.open_at(chase.settled_at) == 0
        for one in chase.taken:
            assert one.amount > 0 and one.due_at <= one.at <= END
            assert chase.settled_at is None or one.at < chase.settled_at, "who has paid is left alone"
            assert chase.anchor.open_at(one.at) > 0
            assert is_allowed(at=one.at, terms=terms, zone=history.zone)
            assert not any(wait.holds(one.at) for wait in history.waits)
    opened = [chase.opened_at for chase in chases]
    assert opened == sorted(opened)
    again = course_of(history=history, terms_at=lambda _: terms, until=END)
    same = compare(courses=[Course(history, chases, again)], start=BEGIN, end=END)
    assert same.differences == () and same.held == same.tried, "a policy against itself"
