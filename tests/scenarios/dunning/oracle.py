"""What should have happened to a customer, worked out from what happened to it: in days, without a database and without the code of dunning."""

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from tests.scenarios.dunning.facts import LADDERS, Fact, Look, Record, Rule, Timeline

NEVER = ("stolen_card", "lost_card")
BY_CUSTOMER = ("authentication_required", "expired_card")
AFTER_PAYDAY = ("insufficient_funds",)
SOON = ("processing_error", "try_again_later")
GRAVE = ("restrict", "suspend", "close", "hand_over")
GONE = ("suspended", "churned")
HOURS = (1, 6, 24, 72)
DAYS = (3, 4, 5, 7)
WEEK, TRIAL = timedelta(days=7), timedelta(days=14)


@dataclass
class Bill:
    """An invoice as far as the product knows of it."""

    number: int
    due: date
    left: Decimal
    is_charged: bool
    is_pushed: bool = False
    is_paid_twice: bool = False
    is_under_way: bool = False
    objected: Decimal = Decimal(0)
    refusals: list[tuple[datetime, str, str]] = field(default_factory=list)

    @property
    def open(self) -> Decimal:
        return self.left - self.objected


@dataclass
class Pledge:
    """A promise: what was late then, until when how much, and what came since."""

    made_at: datetime
    bills: tuple[int, ...]
    days: tuple[tuple[date, Decimal], ...]
    paid: Decimal = Decimal(0)
    told: set[date] = field(default_factory=set)

    def missing(self) -> date | None:
        """The day of the first instalment that what was paid does not cover."""
        sum_so_far = Decimal(0)
        for day, amount in self.days:
            sum_so_far += amount
            if sum_so_far > self.paid:
                return day
        return None


@dataclass
class Chase:
    """A case: with which invoice and day it began, how far it is."""

    number: int
    anchor: int
    day: date
    refused_at: datetime | None
    opened_at: datetime
    done: int = 0
    delay: int = 0
    last_on: date | None = None
    is_open: bool = True
    is_handed_over: bool = False
    since: datetime | None = None
    pledge: Pledge | None = None
    # The moments of the steps that told something, and by how many days its mail was late; None: it never left.
    told: dict[datetime, int | None] = field(default_factory=dict)


class Oracle:
    """One customer, look by look."""

    def __init__(self, record: Record) -> None:
        self.record, self.zone, self.ladder = record, record.zone, LADDERS[record.policy]
        self.bills: dict[int, Bill] = {}
        # The means of payment that it gave, each with the moment; a bank's refusal may be older than its news.
        self.cards: list[tuple[datetime, str]] = []
        self.chase: Chase | None = None
        self.opened: list[tuple[datetime, int]] = []
        self.holds: dict[str, datetime | None] = {}
        self.state = "trial"
        self.since: datetime | None = None
        self.runs: list[list[datetime | None]] = []
        self.is_restricted = False
        # What was told when of which invoices; what was not needed by then has told nothing.
        self.told: dict[tuple[str, datetime], set[int]] = {}
        self.restored: set[int] = set()
        self.recoveries: list[datetime] = []
        self.came_back: datetime | None = None
        self.is_followed = True
        self.tried: set[tuple[Any, ...]] = set()
        self.steps: list[tuple[int, int, str, str, str, datetime]] = []
        self.notices: list[tuple[str, datetime]] = []
        self.moves: list[tuple[str, str, datetime]] = []
        self.charges: list[tuple[int, datetime]] = []

    def state_at(self, at: datetime) -> str:
        """What the customer is in the end, whether or not anybody came by to record it."""
        return [self.state, *self._moves_due(at)][-1]

    def live(self, looks: list[Look]) -> Timeline:
        """Go through all looks and return what should have come of them."""
        place, facts = 0, self.record.facts
        for look in looks:
            while place < len(facts) and facts[place].number < look.begins:
                if look.lives and facts[place].number > look.lives:
                    break
                self._hear(facts[place])
                place += 1
            if look.lives:
                self._follow(look.at)
                while place < len(facts) and facts[place].number < look.begins:
                    self._hear(facts[place])
                    place += 1
            meanwhile = []
            while place < len(facts) and facts[place].number < look.ends:
                meanwhile.append(facts[place])
                place += 1
            self._look(look, meanwhile)
        # Nobody looks any more, but what was heard after the last decision counts for what the customer is in the end.
        for fact in facts[place:]:
            self._hear(fact)
        return Timeline(tuple(self.steps), tuple(self.notices), tuple(self.moves), tuple(self.charges))

    def _hear(self, fact: Fact) -> None:
        bill = self.bills.get(fact.invoice)
        match fact.what:
            case "issued":
                assert fact.moment is not None
                self.bills[fact.invoice] = Bill(fact.invoice, fact.moment.date(), fact.amount, fact.said == "stripe")
            case "known":
                assert bill is not None and fact.moment is not None
                bill.left -= fact.amount
                self.is_followed = self.is_followed and (bill.left > 0 or self.state not in ("past_due", "suspended"))
                pledge = self.chase.pledge if self.chase else None
                if pledge and fact.invoice in pledge.bills and self._counts(fact, pledge):
                    pledge.paid += fact.amount
            case "credited":
                assert bill is not None
                bill.left -= fact.amount
            case "pushed":
                assert bill is not None
                bill.is_pushed = True
            case "under way" | "debit decided":
                assert bill is not None
                bill.is_under_way = fact.what == "under way"
            case "paid twice":
                assert bill is not None
                bill.is_paid_twice = True
            case "refused":
                assert bill is not None and fact.moment is not None
                bill.refusals.append((fact.moment, fact.said, self._card(fact.moment)))
            case "followed":
                self.is_followed = True
                self._follow(fact.at)
            case "card":
                self.cards.append((fact.at, fact.said))
            case "held":
                self.holds[fact.said] = fact.moment
            case "lifted":
                self.holds.pop(fact.said, None)
            case "promised":
                assert self.chase is not None
                self.chase.pledge = Pledge(fact.at, tuple(self._late(fact.at)), fact.days)
            case "withdrawn":
                if self.chase:
                    self.chase.pledge = None
            case "objected":
                assert bill is not None
                bill.objected = fact.amount
            case "decided":
                assert bill is not None
                bill.objected = Decimal(0)
            case "mailed":
                told = self.chase.told if self.chase else {}
                # That a promise is broken may be told in the same moment as a step, and be there sooner.
                if fact.said == "step" and fact.moment in told and told[fact.moment] is None:
                    sent, decided = (one.astimezone(self.zone).date() for one in (fact.at, fact.moment))
                    told[fact.moment] = (sent - decided).days
            case "dropped":
                assert fact.moment is not None
                self.told.pop((fact.said, fact.moment), None)
            case "starts":
                self.runs.append([fact.moment, None])
            case "ends":
                self.runs[-1][1] = fact.moment

    def _counts(self, fact: Fact, pledge: Pledge) -> bool:
        """A bank tells the day only: what came on the day of a promise and was heard of after it was made counts for it."""
        assert fact.moment is not None
        began = datetime.combine(pledge.made_at.astimezone(self.zone).date(), time(), self.zone)
        return fact.moment >= pledge.made_at or (fact.moment >= began and fact.at >= pledge.made_at)

    def _late(self, at: datetime) -> dict[int, Bill]:
        today = at.astimezone(self.zone).date()
        return {
            number: bill
            for number, bill in sorted(self.bills.items(), key=lambda one: (one[1].due, one[0]))
            if bill.open > 0 and (bill.due < today or bill.refusals)
        }

    def _chased(self, at: datetime) -> dict[int, Bill]:
        today = at.astimezone(self.zone).date()
        return {
            n: bill
            for n, bill in self._late(at).items()
            if not bill.is_under_way and (self.ladder.from_failure or bill.due < today)
        }

    # The life of the customer.

    def _owes(self, at: datetime) -> bool:
        return bool(self._late(at))

    def _moves_due(self, at: datetime) -> list[str]:
        """The states that follow by themselves."""
        found: list[str] = []
        state, since = self.state, self.since
        while True:
            began = [run for run in self.runs if run[0] is not None and run[0] <= at]
            if state == "trial" and any(since is None or run[1] is None or run[1] > since for run in began):
                state = "active"
            elif state == "trial" and at >= (since or self.record.registered_at) + TRIAL:
                state = "churned"
            elif state == "active" and self._owes(at):
                state = "past_due"
            elif state == "active" and self.runs and all(run[1] is not None and run[1] <= at for run in self.runs):
                state = "churned"
            elif state in ("past_due", "suspended") and not self._owes(at):
                state = "active"
            elif state == "churned" and not found and any(run[1] is None or at < run[1] for run in began):
                state = "trial"
            else:
                return found
            found.append(state)
            since = at
            if state == "churned":
                return found

    def _follow(self, at: datetime) -> None:
        for state in self._moves_due(at):
            self._move(state, at)

    def _move(self, state: str, at: datetime) -> None:
        self.moves.append((self.state, state, at))
        if self.state == "suspended" and state == "active":
            self.recoveries.append(at)
        if self.state == "churned":
            self.came_back = at
        self.state, self.since = state, at
        if state == "churned":
            for run in self.runs:
                if run[1] is None or run[1] > at:
                    run[1] = at

    def _is_refused(self, at: datetime) -> bool:
        return self.state_at(at) in ("suspended", "churned")

    # A look.

    def _look(self, look: Look, meanwhile: list[Fact]) -> None:
        at = look.at
        if not self.is_followed:
            # Whoever was late and has paid is recorded as what it is by the next job of the worker.
            self._follow(at)
            self.is_followed = True
        pledge = self.chase.pledge if self.chase else None
        is_deaf = pledge is not None and self._must_judge(at) and self._cannot_be_asked(look, self._asked(pledge, at))
        if self._must_judge(at) and not is_deaf:
            # Before a promise is broken Stripe is asked; what it says counts from here on.
            assert pledge is not None
            asked = self._asked(pledge, at)
            for fact in meanwhile:
                self._hear(fact)
            meanwhile = []
            is_deaf = self._cannot_be_asked(look, asked)
        if not is_deaf:
            self._judge(at)
        self._close(at)
        known = set(self._late(at))
        if self.chase is None:
            self._open(at)
            if self.chase is None and not known:
                self.is_restricted = False
        self._take(look, meanwhile)
        for fact in meanwhile:
            self._hear(fact)
        self._charge_again(at, known)
        self._restore(at)
        self._tell_new(at)

    def _cannot_be_asked(self, look: Look, numbers: tuple[int, ...]) -> bool:
        """Say whether Stripe has invoices among these and does not answer, or says that it took more than is open: then nothing is done."""
        asked = [self.bills[n] for n in numbers if self.bills[n].is_pushed and self.bills[n].left > 0]
        return any(look.is_without_stripe or bill.is_paid_twice for bill in asked)

    def _asked(self, pledge: Pledge, at: datetime) -> tuple[int, ...]:
        return (*pledge.bills, *self._besides(pledge, at))

    def _is_held(self, at: datetime) -> bool:
        return any(until is None or until > at for until in self.holds.values())

    def _is_allowed(self, at: datetime) -> bool:
        local = at.astimezone(self.zone)
        return self._is_working(local.date()) and not self._is_quiet(local.time())

    def _is_working(self, day: date) -> bool:
        return day.weekday() not in self.ladder.days_off and day not in self.ladder.holidays

    def _is_quiet(self, hour: time) -> bool:
        return hour >= self.ladder.quiet[0] or hour < self.ladder.quiet[1]

    def _tell(self, kind: str, bills: Any, at: datetime) -> None:
        self.notices.append((kind, at))
        self.told[kind, at] = set(bills)

    # Promises.

    def _must_judge(self, at: datetime) -> bool:
        pledge = self.chase.pledge if self.chase else None
        if pledge is None or self._is_held(at) or not self._is_allowed(at):
            return False
        return self._missed(pledge, at) or bool(self._besides(pledge, at))

    def _besides(self, pledge: Pledge, at: datetime) -> tuple[int, ...]:
        """What else has been late for a week and is worth chasing."""
        today = at.astimezone(self.zone).date()
        found = [n for n, bill in self._chased(at).items() if n not in pledge.bills and bill.due + WEEK < today]
        found = [n for n in found if not self._is_never_charged(self.bills[n])]
        return tuple(found) if sum(self.bills[n].open for n in found) >= self.ladder.minimum else ()

    def _missed(self, pledge: Pledge, at: datetime) -> bool:
        day = pledge.missing()
        if day is None:
            return False
        day += timedelta(days=1)
        while day.weekday() >= 5:
            day += timedelta(days=1)
        return day < at.astimezone(self.zone).date()

    def _judge(self, at: datetime) -> None:
        chase = self.chase
        if chase is None or chase.pledge is None:
            return
        pledge, today, late = chase.pledge, at.astimezone(self.zone).date(), self._late(at)
        of_it = [number for number in late if number in pledge.bills]
        if pledge.missing() is None:
            chase.pledge = None
        elif self._is_held(at) or not self._is_allowed(at):
            return
        elif self._besides(pledge, at):
            chase.pledge = None
        elif of_it and not any(late[number].is_under_way for number in of_it):
            day = pledge.missing()
            assert day is not None
            if self._missed(pledge, at):
                self._tell("promise_broken", of_it, at)
                chase.pledge = None
            elif day - timedelta(days=2) <= today and day not in pledge.told:
                pledge.told.add(day)
                self._tell("instalment_due", of_it, at)

    # Cases.

    def _close(self, at: datetime) -> None:
        chase, late = self.chase, self._late(at)
        if chase is None:
            return
        if chase.anchor in late:
            is_back = chase.since and self.came_back and self.came_back >= chase.since
            if not chase.is_open and is_back and chase.pledge is None:
                self.chase = None
            return
        if chase.pledge is not None and any(number in chase.pledge.bills for number in late):
            return
        self.chase = None
        if late:
            return
        was = self.is_restricted or self.state == "suspended"
        was = was or any(moved_at >= chase.opened_at for moved_at in self.recoveries)
        self.is_restricted = False
        if was and not self._is_refused(at):
            self._tell_restored(chase.number, chase.anchor, at)

    def _tell_restored(self, case: int, anchor: int, at: datetime) -> None:
        if case not in self.restored:
            self.restored.add(case)
            self._tell("restored", [anchor], at)

    def _open(self, at: datetime) -> None:
        chased = self._chased(at)
        if not chased or sum(bill.open for bill in chased.values()) < self.ladder.minimum:
            return
        number = min(chased, key=lambda one: (self._first_day(self.bills[one])[0], one))
        self.opened.append((at, number))
        self.chase = Chase(len(self.opened), number, *self._first_day(self.bills[number]), at)

    def _first_day(self, bill: Bill) -> tuple[date, datetime | None]:
        if not bill.refusals or not self.ladder.from_failure:
            return bill.due, None
        first = min(moment for moment, _, _ in bill.refusals)
        day = first.astimezone(self.zone).date()
        return (day, first) if day <= bill.due else (bill.due, None)

    # Steps.

    def _due(self, chase: Chase) -> datetime:
        rule, hour = self.ladder.rules[chase.done], self.ladder.hour
        if chase.refused_at is not None and rule.day == 0 and chase.delay == 0:
            return self._put_off(chase.refused_at.astimezone(self.zone))
        days = rule.day if chase.refused_at is not None else max(rule.day, 1)
        due = self._put_off(datetime.combine(chase.day + timedelta(days=days + chase.delay), hour, self.zone))
        if (
            chase.last_on is not None
            and due.date() <= chase.last_on
            and rule.day > self.ladder.rules[chase.done - 1].day
        ):
            due = self._put_off(datetime.combine(chase.last_on + timedelta(days=1), hour, self.zone))
        return due

    def _put_off(self, local: datetime) -> datetime:
        while True:
            tomorrow = local.date() + timedelta(days=1)
            if not self._is_working(local.date()):
                local = datetime.combine(tomorrow, self.ladder.hour, self.zone)
            elif local.time() < self.ladder.quiet[1]:
                local = datetime.combine(local.date(), self.ladder.quiet[1], self.zone)
            elif local.time() >= self.ladder.quiet[0]:
                local = datetime.combine(tomorrow, self.ladder.quiet[1], self.zone)
            else:
                return local

    def _take(self, look: Look, meanwhile: list[Fact]) -> None:
        chase, at = self.chase, look.at
        if chase is None or not chase.is_open or chase.done == len(self.ladder.rules):
            return
        due = self._due(chase)
        if due > at or self._is_held(at) or chase.pledge is not None or not self._is_allowed(at):
            return
        if self.ladder.rules[chase.done].act in GRAVE and not self._has_heard(chase, due, at):
            return
        late = self._chased(at)
        is_asked = chase.anchor in late and sum(bill.open for bill in late.values()) >= self.ladder.minimum
        if is_asked and self._cannot_be_asked(look, tuple(self._late(at))):
            return
        for fact in meanwhile:
            self._hear(fact)
        meanwhile.clear()
        if self._cannot_be_asked(look, tuple(self._late(at))):
            return
        chased = self._chased(at)
        untried = {n for n, bill in chased.items() if self._is_never_charged(bill)}
        if chase.anchor not in chased or chase.anchor in untried:
            return
        bills = {n: bill for n, bill in chased.items() if n not in untried}
        if sum(bill.open for bill in bills.values()) < self.ladder.minimum:
            return
        rule = self.ladder.rules[chase.done]
        outcome = self._act(rule, bills, at)
        if outcome == "waits":
            return
        notice = self._notice(rule, bills, at) if outcome == "done" else ""
        chase.done += 1
        today = at.astimezone(self.zone).date()
        chase.delay += max(0, (today - due.date()).days)
        chase.last_on = today
        if notice:
            chase.told[at] = None
        self.steps.append((chase.number, chase.done, rule.act, outcome, notice, at))
        if rule.act == "hand_over" or chase.done == len(self.ladder.rules):
            chase.is_open, chase.since, chase.is_handed_over = False, at, rule.act == "hand_over"

    def _has_heard(self, chase: Chase, due: datetime, at: datetime) -> bool:
        """Nothing is taken from whoever was never written to, nor sooner after a mail than it was decided before."""
        late = [days for days in chase.told.values() if days is not None]
        return bool(late) and due.date() + timedelta(days=min(late)) <= at.astimezone(self.zone).date()

    def _is_never_charged(self, bill: Bill) -> bool:
        return not bill.refusals and bill.is_charged and not bill.is_pushed and bool(self._card())

    def _act(self, rule: Rule, bills: dict[int, Bill], at: datetime) -> str:
        if rule.act == "retry":
            found = [
                bill.number
                for bill in bills.values()
                if bill.is_pushed and not bill.objected and self._newest(bill)[1] not in NEVER
            ]
            self.charges += [(number, at) for number in found]
            return "done" if found else "skipped"
        if rule.act == "restrict":
            state = self.state_at(at)
            if state in ("trial", *GONE):
                return "waits" if state == "trial" else "skipped"
            self.is_restricted = True
        if rule.act in ("suspend", "close"):
            to = "suspended" if rule.act == "suspend" else "churned"
            if self.state == to:
                return "skipped"
            # Who cannot be moved is left as it was: what was due by itself is undone with it.
            kept = (self.state, self.since, list(self.moves), list(self.recoveries), self.came_back)
            runs = [list(run) for run in self.runs]
            self._follow(at)
            if self.state == to or (self.state, to) in (("past_due", "suspended"), ("suspended", "churned")):
                if self.state != to:
                    self._move(to, at)
                return "done"
            self.state, self.since, self.moves, self.recoveries, self.came_back = kept
            self.runs = runs
            if self.state_at(at) == "trial":
                return "waits"
            return "waits" if self.state in ("active", "past_due") and to == "suspended" else "skipped"
        return "done"

    def _newest(self, bill: Bill) -> tuple[datetime | None, str, str]:
        return max(bill.refusals, key=lambda one: one[0]) if bill.refusals else (None, "", "")

    def _notice(self, rule: Rule, bills: dict[int, Bill], at: datetime) -> str:
        if not rule.notice:
            return ""
        kind = rule.notice
        codes = [self._newest(bill)[1] for bill in bills.values() if bill.refusals]
        is_first = not any(before.notice for before in self.ladder.rules[: self.ladder.rules.index(rule)])
        oldest = min(bills.values(), key=lambda one: (one.due, one.number), default=None)
        if kind == "reminder" and is_first and oldest and self._newest(oldest)[1] == "authentication_required":
            kind = "action_required"
        if kind == "payment_failed":
            kind = "reminder" if not codes else kind
            kind = "action_required" if "authentication_required" in codes else kind
        if kind == "payment_failed" and (self.is_restricted or self.state in GONE):
            kind = "reminder"
        # Nobody is warned of what he has lost.
        if (kind == "warning" and self.state in GONE) or (kind == "final_notice" and self.state == "churned"):
            kind = "reminder"
        self._tell(kind, bills, at)
        return kind

    # Cards.

    def _charge_again(self, at: datetime, known: set[int]) -> None:
        chase = self.chase
        if chase is None or chase.is_handed_over or chase.pledge is not None or self._is_held(at):
            return
        for number, bill in self._late(at).items():
            if number not in known or not bill.refusals or bill.objected or not bill.is_pushed or bill.is_under_way:
                continue
            moment, code, card = self._newest(bill)
            assert moment is not None
            if card != self._card():
                self._try(bill, (bill.number, moment, self._card()), at)
            else:
                again = self._next_try(moment, code, len(bill.refusals))
                if again is not None and again <= at and len(bill.refusals) <= self.ladder.retries:
                    self._try(bill, (bill.number, moment), at)

    def _card(self, at: datetime | None = None) -> str:
        """The means of payment that it had at a moment, or now; "": none."""
        return next((card for since, card in reversed(self.cards) if at is None or since <= at), "")

    def _try(self, bill: Bill, reference: tuple[Any, ...], at: datetime) -> None:
        if reference not in self.tried:
            self.tried.add(reference)
            self.charges.append((bill.number, at))

    def _next_try(self, moment: datetime, code: str, number: int) -> datetime | None:
        if code in NEVER + BY_CUSTOMER:
            return None
        place = min(number, 4) - 1
        if code in SOON:
            return moment + timedelta(hours=HOURS[place])
        day = moment.astimezone(self.zone).date() + timedelta(days=1 if code in AFTER_PAYDAY else DAYS[place])
        while code in AFTER_PAYDAY and day.day not in (1, 15):
            day += timedelta(days=1)
        return datetime.combine(day, time(10), self.zone)

    # What is told besides.

    def _restore(self, at: datetime) -> None:
        for moved_at in self.recoveries:
            case = sum(1 for opened_at, _ in self.opened if opened_at <= moved_at)
            if at - WEEK < moved_at and case and not self._is_refused(at):
                self._tell_restored(case, self.opened[case - 1][1], at)

    def _tell_new(self, at: datetime) -> None:
        chase = self.chase
        if chase is None or chase.is_open or chase.is_handed_over or chase.pledge is not None:
            return
        if self._is_held(at) or not self._is_allowed(at):
            return
        told = {number for bills in self.told.values() for number in bills}
        new = [n for n, b in self._chased(at).items() if n not in told and not self._is_never_charged(b)]
        if new:
            self._tell("reminder", new, at)
