"""A dunning policy as data: what is done on which day, when nothing is done, and from which amount on (S2-020)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from dunning.core.notice_kinds import NoticeKind, kind_within

DAYS_MAX = 365
STEPS_MAX = 40
RUNGS_MAX = 10
OWNER_MAX = 200
RETRIES_MAX = 8


class Act(StrEnum):
    """What a step does to the customer."""

    NOTICE = "notice"
    RETRY = "retry"
    RESTRICT = "restrict"
    SUSPEND = "suspend"
    CLOSE = "close"
    HAND_OVER = "hand_over"


ACT_WORDS = {
    Act.NOTICE: "write to the customer",
    Act.RETRY: "charge again",
    Act.RESTRICT: "restrict service",
    Act.SUSPEND: "suspend service",
    Act.CLOSE: "close the customer",
    Act.HAND_OVER: "hand over to people",
}
# What takes something from the customer: the day of the next one is told in every notice before it.
GRAVE = (Act.RESTRICT, Act.SUSPEND, Act.CLOSE, Act.HAND_OVER)


class CountsFrom(StrEnum):
    """From which day on days are counted; where no charge was refused it is the due date either way."""

    DUE = "due"
    FAILURE = "failure"


@dataclass(frozen=True)
class Step:
    """So many days after the day that counts something is done, and perhaps told; day 0 is at once."""

    day: int
    act: Act
    notice: NoticeKind | None = None

    @property
    def is_grave(self) -> bool:
        """Say whether it takes something from the customer."""
        return self.act in GRAVE

    @property
    def words(self) -> str:
        """What is done and told: suspend service (suspended)."""
        return f"{ACT_WORDS[self.act]} ({kind_within(self.notice)})" if self.notice else ACT_WORDS[self.act]


@dataclass(frozen=True)
class Rung:
    """Who of the house is asked about a case that only people go on with, and how many days it has before the next one is."""

    owner: str
    days: int


@dataclass(frozen=True)
class PolicyTerms:
    """The terms of one version of a policy.

    Steps happen at the local hour `at_hour` or later, never within the quiet hours `[quiet_from, quiet_until)`, and with `business_days`
    neither on the `weekend` (0 is Monday) nor on holidays: they are put off, never drawn nearer. Who owes less than the minimum of the
    currency is left alone.
    """

    steps: tuple[Step, ...]
    counts_from: CountsFrom = CountsFrom.FAILURE
    at_hour: time = time(9)
    quiet_from: time = time(20)
    quiet_until: time = time(8)
    business_days: bool = False
    weekend: tuple[int, ...] = (5, 6)
    holidays: tuple[date, ...] = ()
    minimums: tuple[tuple[str, Decimal], ...] = ()
    retries_max: int = 4
    escalation: tuple[Rung, ...] = ()

    def minimum(self, currency: str) -> Decimal:
        """Return from which amount on a debt in a currency is chased."""
        return dict(self.minimums).get(currency, Decimal(0))


class TermsMistake(ValueError):
    """Terms that no policy can have, in words."""


# S0-125..129: past due at once with reminders, suspended on day 14 (14 to 21), churned on day 28 or later.
STANDARD = PolicyTerms(
    steps=(
        Step(0, Act.NOTICE, NoticeKind.PAYMENT_FAILED),
        Step(3, Act.NOTICE, NoticeKind.REMINDER),
        Step(7, Act.NOTICE, NoticeKind.REMINDER),
        Step(11, Act.NOTICE, NoticeKind.WARNING),
        Step(14, Act.SUSPEND, NoticeKind.SUSPENDED),
        Step(21, Act.NOTICE, NoticeKind.FINAL_NOTICE),
        Step(28, Act.CLOSE, NoticeKind.CLOSED),
    )
)
# S1-021..024: reminder on day 1, warning on day 4, soft suspension on day 7, full suspension from day 8 on.
SHORT = PolicyTerms(
    steps=(
        Step(1, Act.NOTICE, NoticeKind.REMINDER),
        Step(4, Act.NOTICE, NoticeKind.WARNING),
        Step(7, Act.RESTRICT, NoticeKind.RESTRICTED),
        Step(8, Act.SUSPEND, NoticeKind.SUSPENDED),
    )
)


def check_terms(terms: PolicyTerms) -> None:
    """Raise TermsMistake where terms make no sense: no steps, days that run backwards, an end that was never announced."""
    if not 1 <= len(terms.steps) <= STEPS_MAX:
        raise TermsMistake(f"a policy has 1 to {STEPS_MAX} steps")
    days = [step.day for step in terms.steps]
    if days != sorted(days) or days[0] < 0 or days[-1] > DAYS_MAX:
        raise TermsMistake(f"the days of the steps run from 0 to at most {DAYS_MAX}, never backwards")
    for place, step in enumerate(terms.steps):
        if step.act is Act.NOTICE and step.notice is None:
            raise TermsMistake(f"step {place + 1} writes to the customer: say which notice")
        if step.is_grave and not any(before.notice for before in terms.steps[:place] if before.day < step.day):
            raise TermsMistake(f"step {place + 1} ({ACT_WORDS[step.act]}) comes without a notice on a day before it")
    acts = [step.act for step in terms.steps]
    if Act.CLOSE in acts and Act.SUSPEND not in acts[: acts.index(Act.CLOSE)]:
        raise TermsMistake("whoever is closed was suspended before")
    if any(acts.count(act) > 1 for act in GRAVE):
        raise TermsMistake("what takes something from the customer happens once")
    if Act.HAND_OVER in acts[:-1]:
        raise TermsMistake("handing over is the last step")
    if Act.CLOSE in acts and not set(acts[acts.index(Act.CLOSE) + 1 :]) <= {Act.NOTICE, Act.HAND_OVER}:
        raise TermsMistake("whoever is closed is only written to, and handed over")
    if not 0 <= terms.retries_max <= RETRIES_MAX:
        raise TermsMistake(f"a card is charged again at most {RETRIES_MAX} times")
    if len(set(terms.weekend)) > 6 or not set(terms.weekend) <= set(range(7)):
        raise TermsMistake("a weekend is days from 0 (Monday) to 6, and not all of them")
    if len(terms.escalation) > RUNGS_MAX or any(
        not 1 <= rung.days <= DAYS_MAX or not rung.owner.strip() or len(rung.owner) > OWNER_MAX
        for rung in terms.escalation
    ):
        raise TermsMistake(f"an escalation path names at most {RUNGS_MAX} owners, each with 1 to {DAYS_MAX} days")
    if any(not amount.is_finite() or amount < 0 for _, amount in terms.minimums):
        raise TermsMistake("a minimum is an amount")


def terms_stored(terms: PolicyTerms) -> dict[str, Any]:
    """Return terms as they are stored and told."""
    return {
        "steps": [
            {"day": step.day, "act": step.act.value, "notice": step.notice.value if step.notice else ""}
            for step in terms.steps
        ],
        "counts_from": terms.counts_from.value,
        "at_hour": terms.at_hour.isoformat("minutes"),
        "quiet_from": terms.quiet_from.isoformat("minutes"),
        "quiet_until": terms.quiet_until.isoformat("minutes"),
        "business_days": terms.business_days,
        "weekend": list(terms.weekend),
        "holidays": [day.isoformat() for day in terms.holidays],
        "minimums": {currency: format(amount, "f") for currency, amount in terms.minimums},
        "retries_max": terms.retries_max,
        "escalation": [{"owner": rung.owner, "days": rung.days} for rung in terms.escalation],
    }


def read_terms(stored: Mapping[str, Any]) -> PolicyTerms:
    """Return the terms that were stored, or that somebody states; raises TermsMistake."""
    try:
        terms = PolicyTerms(
            steps=tuple(_step(one) for one in stored["steps"]),
            counts_from=CountsFrom(stored.get("counts_from", CountsFrom.FAILURE)),
            at_hour=time.fromisoformat(stored.get("at_hour", "09:00")),
            quiet_from=time.fromisoformat(stored.get("quiet_from", "20:00")),
            quiet_until=time.fromisoformat(stored.get("quiet_until", "08:00")),
            business_days=bool(stored.get("business_days", False)),
            weekend=tuple(int(day) for day in stored.get("weekend", (5, 6))),
            holidays=tuple(date.fromisoformat(day) for day in stored.get("holidays", ())),
            minimums=tuple(sorted((code, Decimal(text)) for code, text in stored.get("minimums", {}).items())),
            retries_max=int(stored.get("retries_max", 4)),
            escalation=tuple(Rung(str(one["owner"]), int(one["days"])) for one in stored.get("escalation", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError, InvalidOperation) as problem:
        raise TermsMistake(f"these terms cannot be read: {problem}") from problem
    check_terms(terms)
    return terms


def _step(stored: Mapping[str, Any]) -> Step:
    notice = stored.get("notice") or None
    return Step(int(stored["day"]), Act(stored["act"]), NoticeKind(notice) if notice else None)
