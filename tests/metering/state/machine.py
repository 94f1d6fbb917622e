"""Random interleavings of all that can happen to usage, on a PostgreSQL that is killed; after each step all is well.

    python -m tests.metering.state.machine --examples 100 [--seed 1] [--steps 15]

A hypothesis state machine. It sends batches, again, stamped anew, in conflict; cancels, amends; creates and dates back
meters; rolls up, whole or interrupted; lets months pass and consolidates keys; kills writers, sessions and the server
with kill -9 and replays what nobody acknowledged. After every step must hold: each acknowledged event is stored
exactly once; windows and display equal the naive recomputation (tests/metering/reference.py); accepted =
applied + listed + cancelled; whatever was billed recounts equal. Prints the seed and what was done.
"""

import argparse
import contextlib
import functools
import itertools
import os
import random
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.metering.state.house import (
    backend_pid,
    begin_anew,
    house,
    in_a_process,
    kill,
    let_a_month_pass,
    postmaster_pid,
    recover,
)

DONE: Counter[str] = Counter()
MONTHS_MAX = 3
# To kill costs half a second: one time in eight.
DICE = st.integers(0, 7)


class Interrupted(Exception):
    """A rollup was stopped between two statements."""


def told_at_once(step: Callable[..., None]) -> Callable[..., None]:
    """Print a failure when it happens: after a kill the same draws need not lead to it again."""

    @functools.wraps(step)
    def played(*arguments: Any, **named: Any) -> None:
        try:
            step(*arguments, **named)
        except BaseException as error:
            if isinstance(error, AssertionError) or type(error).__module__ != "hypothesis.errors":
                traceback.print_exc(limit=-6)
            raise

    return played


@dataclass
class Told:
    """What the clients know: the events that were acknowledged, by (customer, key), and what became of them."""

    events: dict[tuple[str, str], Any] = field(default_factory=dict)
    cancelled: set[tuple[str, str]] = field(default_factory=set)
    replaced: dict[tuple[str, str], str] = field(default_factory=dict)
    conflicts: int = 0


def play(*, examples: int, steps: int, seed_number: int) -> None:
    """Run the machine in a house of its own; raises the first failure with the steps that lead to it."""
    with house():
        machine = build()
        test = settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate] + ([Phase.shrink] if "STATE_SHRINK" in os.environ else []),
            print_blob=False,
        )
        run_state_machine_as_test(seed(seed_number)(machine), settings=test)


def build() -> type[RuleBasedStateMachine]:
    """Return the machine; the product can be imported only once the house stands."""
    from django.db import Error, connection, transaction

    from billing_site.kernel.errors import BillingError
    from metering.correcting import amend_event, cancel_event
    from metering.doubles import doubled_keys
    from metering.ingest import Receipt, accept_events
    from metering.listing import listing_faults
    from metering.models import EventConflict, Meter, UnappliedEvent
    from metering.operations import backdate_meter
    from metering.partitions import consolidate_keys, faults, open_present_month
    from metering.queries import conservation
    from metering.rollup import roll_up
    from tests.metering import reference
    from tests.metering.state import agreement
    from tests.metering.state.strategies import (
        BASE,
        CUSTOMERS,
        METERS,
        PERIODS,
        QUESTIONS,
        contents,
        event_of,
        make_meter,
    )

    def restamped(event: Any, minutes: int) -> Any:
        """The same event as a client that retries might stamp it."""
        fields = {name: getattr(event, name) for name in event.__struct_fields__}
        later = event.timestamp + timedelta(minutes=minutes)
        return type(event)(**{**fields, "timestamp": later, "event_id": f"retry-{minutes}"})

    def content_of(event: Any) -> tuple[Any, ...]:
        return (event.event_type, event.quantity, event.namespace_id, event.properties)

    class Storm(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            begin_anew()
            self.told = Told()
            self.keys = itertools.count()
            self.turn = itertools.count()
            self.months = 0
            self.settled = True
            self.billed: list[tuple[str, str, Any, Any]] = []
            DONE["examples"] += 1

        # What clients do.

        def send(self, events: Sequence[Any]) -> Any:
            """Send a batch until somebody acknowledges it, and hold the answer against what is known."""
            expected_new = {self.name(event) for event in events} - self.told.events.keys()
            first: dict[tuple[str, str], Any] = {}
            for event in events:
                first.setdefault(self.name(event), self.told.events.get(self.name(event), event))
            wrong = sum(content_of(event) != content_of(first[self.name(event)]) for event in events)
            receipt = accept_events(events=events)
            assert receipt.accepted == len(expected_new), f"{receipt} of {len(expected_new)} new events"
            assert len(receipt.conflicts) == wrong, f"{receipt} of {wrong} contradictions"
            assert receipt.duplicates == len(events) - len(expected_new) - wrong, f"{receipt}"
            self.told.conflicts += wrong
            self.told.events |= {name: first[name] for name in expected_new}
            self.settled = False
            return receipt

        def replay(self, events: Sequence[Any]) -> None:
            """Send again what was not acknowledged: some of it may be stored, all of it is now."""
            receipt: Receipt = accept_events(events=events)
            assert receipt.accepted + receipt.duplicates == len(events), f"{receipt} of {len(events)} events replayed"
            self.told.events |= {self.name(event): event for event in events}
            self.settled = False

        @staticmethod
        def name(event: Any) -> tuple[str, str]:
            return event.customer_id, event.idempotency_key

        def new_events(self, batch: Sequence[dict[str, Any]]) -> list[Any]:
            return [event_of(f"key-{next(self.keys)}", content) for content in batch]

        def known(self, place: int) -> Any:
            names = sorted(self.told.events, key=lambda name: (len(name[1]), name))
            return self.told.events[names[place % len(names)]]

        @initialize(
            keys=st.sets(st.sampled_from(sorted(METERS)), min_size=2, max_size=6),
            batch=st.lists(contents(), min_size=3, max_size=12),
        )
        @told_at_once
        def found(self, keys: set[str], batch: list[dict[str, Any]]) -> None:
            for key in sorted(keys):
                make_meter(key)
            self.send(self.new_events(batch))

        @rule(batch=st.lists(contents(), min_size=1, max_size=10))
        @told_at_once
        def accept(self, batch: list[dict[str, Any]]) -> None:
            DONE["accept"] += 1
            self.send(self.new_events(batch))

        @rule(first=st.lists(contents(), min_size=1, max_size=4), second=st.lists(contents(), min_size=1, max_size=4))
        @told_at_once
        def accept_twice(self, first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
            DONE["accept"] += 2
            self.send(self.new_events(first))
            self.send(self.new_events(second))

        @rule(
            places=st.lists(st.integers(0, 60), min_size=1, max_size=8),
            minutes=st.sampled_from([0, 0, 7, -90]),
            batch=st.lists(contents(), max_size=2),
            size=st.sampled_from([1, 3, 100]),
        )
        @told_at_once
        def send_again(self, places: list[int], minutes: int, batch: list[dict[str, Any]], size: int) -> None:
            DONE["send again"] += 1
            events = [restamped(self.known(place), minutes) if minutes else self.known(place) for place in places]
            events += self.new_events(batch)
            for start in range(0, len(events), size):
                self.send(events[start : start + size])

        @rule(place=st.integers(0, 60), batch=st.lists(contents(), max_size=2), what=st.sampled_from(["q", "n", "p"]))
        @told_at_once
        def contradict(self, place: int, batch: list[dict[str, Any]], what: str) -> None:
            DONE["contradict"] += 1
            known = self.known(place)
            fields = {name: getattr(known, name) for name in known.__struct_fields__}
            other: dict[str, dict[str, Any]] = {
                "q": {"quantity": known.quantity * 0 + 4},
                "n": {"namespace_id": "ns-other"},
                "p": {"properties": {**known.properties, "other": ["\\", None]}},
            }
            self.send([*self.new_events(batch), type(known)(**{**fields, **other[what]})])

        @rule(place=st.integers(0, 60))
        @told_at_once
        def cancel(self, place: int) -> None:
            DONE["cancel"] += 1
            customer, key = self.name(self.known(place))
            if "~amended-" in key:
                return
            cancel_event(customer_id=customer, idempotency_key=key, actor="storm", reason="wrong")
            while (customer, key) in self.told.replaced:
                key = self.told.replaced[customer, key]
            self.told.cancelled.add((customer, key))
            self.settled = False

        @rule(place=st.integers(0, 60), quantity=st.integers(0, 9), at=st.sampled_from([0, 125]))
        @told_at_once
        def amend(self, place: int, quantity: int, at: int) -> None:
            DONE["amend"] += 1
            customer, root = self.name(self.known(place))
            if "~amended-" in root:
                return
            key = root
            while (customer, key) in self.told.replaced:
                key = self.told.replaced[customer, key]
            changes = {"quantity": str(quantity), "timestamp": (BASE + timedelta(minutes=at)).isoformat()}
            known: dict[str, Any] = {"customer_id": customer, "idempotency_key": root, "actor": "storm", "reason": "x"}
            try:
                correction = amend_event(changes=changes, **known)
            except BillingError as refused:
                assert (customer, key) in self.told.cancelled or refused.code == "no_change", refused
                return
            if (customer, key) != (customer, correction.idempotency_key):
                return  # It says so already.
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT idempotency_key FROM metering_usageevent WHERE id = %s", [correction.replacement_number]
                )
                (new_key,) = cursor.fetchone()
            self.told.replaced[customer, key] = new_key
            self.told.cancelled.add((customer, key))
            old = self.told.events[customer, key]
            fields = {name: getattr(old, name) for name in old.__struct_fields__}
            self.told.events[customer, new_key] = type(old)(
                **{
                    **fields,
                    "idempotency_key": new_key,
                    "quantity": old.quantity * 0 + quantity,
                    "timestamp": BASE + timedelta(minutes=at),
                }
            )
            self.settled = False

        # What the house does.

        @rule(key=st.sampled_from(sorted(METERS)), hours=st.sampled_from([None, None, 0, 2]))
        @told_at_once
        def create_meter(self, key: str, hours: int | None) -> None:
            DONE["create meter"] += 1
            if not Meter.objects.filter(key=key).exists():
                make_meter(key, effective_from=None if hours is None else BASE + timedelta(hours=hours))
                self.settled = False

        @rule(place=st.integers(0, 12), half_hours=st.integers(0, 5))
        @told_at_once
        def date_back(self, place: int, half_hours: int) -> None:
            moment = BASE + timedelta(minutes=30 * half_hours)
            later = list(Meter.objects.filter(effective_from__gt=moment).order_by("key").values_list("key", flat=True))
            if later:
                DONE["date back"] += 1
                key = later[place % len(later)]
                backdate_meter(key=key, effective_from=moment, actor="storm", reason="earlier")
                self.settled = False

        @rule(batch=st.sampled_from([1, 2, 5, 200_000]))
        @told_at_once
        def roll_up(self, batch: int) -> None:
            DONE["roll up"] += 1
            roll_up(batch=batch)
            self.settled = True
            self.check_settled()

        @rule(batch=st.sampled_from([1, 3, 200_000]), statements=st.integers(0, 40))
        @told_at_once
        def roll_up_in_part(self, batch: int, statements: int) -> None:
            """Stop between two statements; what was committed until then stays."""
            DONE["roll up in part"] += 1
            left = iter(range(statements))

            def stop(execute: Callable[..., Any], *statement: Any) -> Any:
                if next(left, None) is None:
                    raise Interrupted
                return execute(*statement)

            with contextlib.suppress(Interrupted), connection.execute_wrapper(stop):
                roll_up(batch=batch)

        @precondition(lambda self: self.months < MONTHS_MAX)
        @rule()
        @told_at_once
        def a_month_passes(self) -> None:
            DONE["a month passes"] += 1
            self.months += 1
            let_a_month_pass()

        @rule(opened=st.booleans())
        @told_at_once
        def consolidate(self, opened: bool) -> None:
            DONE["consolidate"] += 1
            if opened:
                open_present_month()
            consolidate_keys()

        # What befalls it.

        @rule(
            batch=st.lists(contents(), min_size=1, max_size=10),
            committed=st.booleans(),
            victim=st.sampled_from(["session", "server"]),
            places=st.lists(st.integers(0, 60), max_size=2),
            dice=DICE,
        )
        @told_at_once
        def kill_while_writing(
            self, batch: list[dict[str, Any]], committed: bool, victim: str, places: list[int], dice: int
        ) -> None:
            """kill -9 of the session, or the server, after the events are written: before the commit, or before the answer."""
            if dice != 4:
                return
            DONE[f"kill {victim} {'after' if committed else 'before'} commit"] += 1
            events = self.new_events(batch)
            events += [restamped(self.known(place), 7) for place in places] if self.told.events else []
            pid = backend_pid() if victim == "session" else postmaster_pid()
            with contextlib.suppress(Error), contextlib.nullcontext() if committed else transaction.atomic():
                accept_events(events=events)
                kill(pid)
                # A session outlives its server until it listens again.
                for _attempt in range(100):
                    backend_pid()
                    time.sleep(0.02)
                raise AssertionError("nobody answers for long who was killed")
            recover(pid)
            self.replay(events)

        @rule(
            batch=st.lists(contents(), min_size=5, max_size=10),
            milliseconds=st.integers(0, 25),
            victim=st.sampled_from(["session", "server"]),
            dice=DICE,
        )
        @told_at_once
        def kill_among_writers(self, batch: list[dict[str, Any]], milliseconds: int, victim: str, dice: int) -> None:
            """Three clients send, a rollup runs, and at any moment something dies; what has an answer counts."""
            if dice != 4:
                return
            DONE[f"kill {victim} among writers"] += 1
            batches = [self.new_events(batch) for _ in range(9)]
            answered: list[Any] = []

            def client(mine: list[list[Any]]) -> None:
                with contextlib.suppress(Error):
                    for events in mine:
                        assert accept_events(events=events).accepted == len(events)
                        answered.extend(events)
                connection.close()

            def keeper() -> None:
                with contextlib.suppress(Error):
                    roll_up(batch=3)
                connection.close()

            pid = backend_pid() if victim == "session" else postmaster_pid()
            threads = [threading.Thread(target=client, args=(batches[start::3],)) for start in range(3)]
            threads.append(threading.Thread(target=keeper))
            for thread in threads:
                thread.start()
            time.sleep(milliseconds / 1000)
            kill(pid)
            for thread in threads:
                thread.join()
            recover(pid)
            stored = agreement.read_world().facts
            assert {self.name(event) for event in answered} <= {(fact.customer, fact.key) for fact in stored}
            for events in batches:
                self.replay(events)

        @rule(batch=st.lists(contents(), min_size=1, max_size=10), dice=DICE, milliseconds=st.integers(0, 30))
        @told_at_once
        def kill_the_writer(self, batch: list[dict[str, Any]], dice: int, milliseconds: int) -> None:
            """kill -9 of the client's own process while it sends."""
            if dice != 4:
                return
            DONE["kill the writer"] += 1
            events = self.new_events(batch)
            said = in_a_process(
                lambda: str(accept_events(events=events).accepted), killed_after_seconds=milliseconds / 1000
            )
            if said:
                DONE["writer had its answer"] += 1
                assert said == str(len(events))
                stored = agreement.read_world().facts
                assert {self.name(event) for event in events} <= {(fact.customer, fact.key) for fact in stored}
            self.replay(events)

        @rule(statements=st.integers(0, 30), dice=DICE)
        @told_at_once
        def kill_while_rolling_up(self, statements: int, dice: int) -> None:
            """kill -9 of the session that rolls up, before one of its statements."""
            if dice != 4:
                return
            DONE["kill while rolling up"] += 1
            left = iter(range(statements))
            pid = backend_pid()

            def strike(execute: Callable[..., Any], *statement: Any) -> Any:
                if next(left, None) is None:
                    kill(pid)
                return execute(*statement)

            with contextlib.suppress(Error), connection.execute_wrapper(strike):
                roll_up(batch=3)
                kill(pid)
            recover(pid)

        # What must hold.

        @invariant()
        @told_at_once
        def all_is_well(self) -> None:
            world = agreement.read_world()
            self.check_stored(world)
            assert not (wrong := agreement.window_differences(world)), wrong
            self.check_display(world)
            self.check_billed(world)
            if next(self.turn) % 3 == 0:
                assert not (unbalanced := [row for row in conservation() if not row.balanced]), unbalanced
                assert not (doubled := doubled_keys()), doubled
                assert not (missing := faults()), missing

        def check_stored(self, world: Any) -> None:
            """Every acknowledged event is stored exactly once, as it was acknowledged; nothing else is."""
            stored = Counter((fact.customer, fact.key) for fact in world.facts)
            assert stored == Counter(self.told.events.keys()), stored - Counter(self.told.events.keys())
            for fact in world.facts:
                event = self.told.events[fact.customer, fact.key]
                told = (event.event_type, event.quantity, event.namespace_id, event.properties)
                assert (fact.event_type, fact.quantity, fact.namespace, fact.properties) == told, (fact, event)
            names = {fact.number: (fact.customer, fact.key) for fact in world.facts}
            assert {names[number] for number in world.cancelled} == self.told.cancelled
            assert sum(EventConflict.objects.values_list("times_seen", flat=True)) == self.told.conflicts

        def check_display(self, world: Any) -> None:
            """Whatever was said counts at once: some questions each time, in turn."""
            if not world.rules:
                return
            turn = next(self.turn) * 5
            for offset in range(3):
                place = turn + offset * 7
                wrong = agreement.display_differences(
                    world,
                    meters=[sorted(world.rules)[place % len(world.rules)]],
                    customers=[CUSTOMERS[place % 2]],
                    periods=[PERIODS[place % len(PERIODS)]],
                    questions=[QUESTIONS[(place // 2) % len(QUESTIONS)]],
                )
                assert wrong == [], wrong

        def check_billed(self, world: Any) -> None:
            """What was billed is recounted as it was known then, for ever; the newest each time, the others in turn."""
            chosen = self.billed[-2:] + ([self.billed[next(self.turn) % len(self.billed)]] if self.billed else [])
            for meter, customer, period, said in chosen:
                wrong = agreement.recount_differences(world, meter=meter, customer=customer, period=period, said=said)
                assert wrong == [], wrong

        def check_settled(self) -> None:
            """After a rollup: accepted = applied + listed + cancelled, and what is billed equals the recount."""
            world = agreement.read_world()
            assert not (unlisted := listing_faults()), unlisted
            listed = set(UnappliedEvent.objects.values_list("number", "meter__key"))
            wanted = set()
            for fact in world.facts:
                if fact.number in world.cancelled:
                    continue
                rules = {key: one for key, one in world.rules.items() if one.event_type == fact.event_type}
                reading = {
                    key: one
                    for key, one in rules.items()
                    if fact.at >= one.effective_from and reference.passes(one, fact)
                }
                wanted |= {(fact.number, key) for key, one in reading.items() if reference.value_of(one, fact) is None}
                if not reading:
                    wanted.add((fact.number, None))
            assert listed == wanted, (listed - wanted, wanted - listed)
            if not world.rules:
                return
            turn = next(self.turn)
            wrong, billed = agreement.billing_differences(
                world, customers=[CUSTOMERS[turn % 2]], periods=[PERIODS[turn % len(PERIODS)]]
            )
            assert wrong == [], wrong
            self.billed += [(meter, customer, period, said) for (meter, customer, period), said in billed.items()]

        @told_at_once
        def teardown(self) -> None:
            """In the end everything is rolled up, everything is asked, and everything billed is recounted."""
            if sys.exc_info()[0] is not None:
                return
            roll_up(batch=2)
            self.check_settled()
            world = agreement.read_world()
            self.check_stored(world)
            assert not (wrong := agreement.window_differences(world)), wrong
            for meter, customer, period, said in self.billed:
                assert (
                    agreement.recount_differences(world, meter=meter, customer=customer, period=period, said=said) == []
                )

    return Storm


def main() -> None:
    """Read the command line and play."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    began = time.monotonic()
    try:
        play(examples=given.examples, steps=given.steps, seed_number=given.seed)
    finally:
        print(", ".join(f"{name}: {count}" for name, count in sorted(DONE.items())), flush=True)
    seconds = time.monotonic() - began
    print(f"{given.examples} examples of at most {given.steps} steps in {seconds:.0f} s: all is well", flush=True)


if __name__ == "__main__":
    main()
