"""A backfill is shown with its money effect before anything is kept, and commits what was shown or nothing."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from moneyed import Money

from billing_site.kernel.errors import Conflict
from invoicing.invoices.models import UsageCorrection
from invoicing.workflows import backfill_effect as workflow
from invoicing.workflows.backfill import commit_file, file_effect
from invoicing.workflows.late_changes import late_changes
from invoicing.workflows.preview_invoice import preview_invoice
from invoicing.workflows.run_billing import draft_billing
from metering.core.mapping import read_mapping
from metering.models import EventConflict, UsageEvent, UsageWindow
from metering.rollup import roll_up
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_subscription, use
from tests.invoicing.late import a_billed_july

pytestmark = pytest.mark.django_db

AS_READ = read_mapping(rules=[], zone=None)
AT = SEPTEMBER + timedelta(days=10)


def event(customer_id: str, quantity: str, *, at: datetime, key: str, **members: Any) -> dict[str, Any]:
    """An event as a file has it."""
    return {
        "event_id": key,
        "idempotency_key": key,
        "event_type": "action.consumed",
        "timestamp": at.isoformat(),
        "customer_id": customer_id,
        "quantity": quantity,
        **members,
    }


def a_file(folder: Path, *events: dict[str, Any]) -> Path:
    """A file of events, one a line."""
    path = folder / "old.ndjson"
    path.write_text("\n".join(json.dumps(one) for one in events))
    return path


@pytest.fixture
def old_events(tmp_path: Path) -> Path:
    """Events for July, which is invoiced, August, which is drafted, and September, which runs; one of each kind of trouble."""
    a_billed_july()
    a_subscription(a_customer("cust_second"), key="second", started_at=JULY + timedelta(days=5))
    use("cust_acme", "1", at=AUGUST, key="known")
    use("cust_acme", "1", at=AUGUST, key="other")
    draft_billing(as_of=SEPTEMBER, at=SEPTEMBER)
    return a_file(
        tmp_path,
        event("cust_acme", "1200", at=JULY + timedelta(days=3), key="july"),
        event("cust_acme", "300", at=AUGUST + timedelta(days=3), key="august"),
        event("cust_acme", "50", at=SEPTEMBER + timedelta(days=3), key="september"),
        event("cust_acme", "1", at=AUGUST, key="known"),
        event("cust_acme", "2", at=AUGUST, key="other"),
        event("cust_second", "7", at=JULY, key="too-early"),
        event("cust_nobody", "5", at=JULY, key="nobody"),
        event("cust_acme", "5", at=JULY, key="untyped", event_type="gpu.seconds"),
        event("cust_acme", "-5", at=JULY, key="negative"),
    )


def counts() -> tuple[int, int, int, int]:
    """What a dry run must leave as it is."""
    return (
        UsageEvent.objects.count(),
        UsageWindow.objects.count(),
        EventConflict.objects.count(),
        UsageCorrection.objects.count(),
    )


def test_a_dry_run_tells_what_becomes_of_each_event_and_keeps_nothing(old_events: Path) -> None:
    roll_up()
    before = counts()

    effect = file_effect(path=old_events, mapping=AS_READ, at=AT)

    assert (effect.accepted, effect.duplicates, effect.conflicts, effect.rejected) == (6, 1, 1, 1)
    assert [(one.customer_id, one.accepted, one.duplicates, one.conflicts) for one in effect.customers] == [
        ("cust_acme", 4, 1, 1),
        ("cust_nobody", 1, 0, 0),
        ("cust_second", 1, 0, 0),
    ]
    assert effect.in_no_window == ["1 × gpu.seconds: no meter counts this event type"]
    assert sorted(refusal.partition(":")[0] for refusal in effect.refusals) == ["row 5, other", "row 9, quantity"]
    assert counts() == before


def test_a_dry_run_tells_the_money_on_issued_lines_drafts_and_the_running_period(old_events: Path) -> None:
    effect = file_effect(path=old_events, mapping=AS_READ, at=AT)

    acme, nobody, second = effect.customers
    assert [(one.place, str(one.effect.amount), one.note) for one in acme.money] == [
        ("issued line", "12.00", "On the next invoice"),
        ("draft", "3.00", ""),
        ("running period", "0.50", ""),
    ]
    assert acme.effect == Money("15.50", "USD")
    assert effect.effects == [Money("15.50", "USD")]
    assert [(one.meter, one.difference) for one in acme.quantities] == [("actions", 1550)]
    assert (nobody.name, nobody.unbilled) == ("", ["1 × actions: there is no such customer"])
    assert second.unbilled == ["1 × actions: no subscription was in force"]


def test_what_is_committed_is_what_was_shown_and_committing_again_adds_nothing(old_events: Path) -> None:
    shown = file_effect(path=old_events, mapping=AS_READ, at=AT)

    commit_file(path=old_events, mapping=AS_READ, digest=shown.digest, at=AT)

    [change] = late_changes(at=AT).changes
    assert change.effect == Money("12.00", "USD")
    assert preview_invoice(customer_key="cust_acme", as_of=AT).assembled.total == Money("29.50", "USD")
    again = file_effect(path=old_events, mapping=AS_READ, at=AT)
    assert (again.accepted, again.duplicates, again.effects) == (0, 7, [])


def test_a_commit_is_refused_where_one_figure_would_differ(old_events: Path) -> None:
    shown = file_effect(path=old_events, mapping=AS_READ, at=AT)
    use("cust_acme", "1200", at=JULY + timedelta(days=3), key="july")
    before = UsageEvent.objects.count()

    with pytest.raises(Conflict, match="a figure differs"):
        commit_file(path=old_events, mapping=AS_READ, digest=shown.digest, at=AT)

    assert UsageEvent.objects.count() == before


def test_what_is_late_already_is_no_effect_of_the_file(old_events: Path) -> None:
    use("cust_acme", "100", at=JULY, key="late before")

    acme = file_effect(path=old_events, mapping=AS_READ, at=AT).customers[0]

    assert str(acme.money[0].effect.amount) == "12.00"
    assert acme.money[0].before == Money("2.00", "USD")


def test_a_file_without_anything_new_changes_nothing(tmp_path: Path) -> None:
    a_billed_july()
    use("cust_acme", "1", at=AUGUST, key="known")

    effect = file_effect(path=a_file(tmp_path, event("cust_acme", "1", at=AUGUST, key="known")), mapping=AS_READ, at=AT)

    assert (effect.accepted, effect.duplicates, effect.effects) == (0, 1, [])


def test_a_file_that_is_too_much_for_one_dry_run_is_refused(old_events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "EVENTS_MAX", 7)
    with pytest.raises(Exception, match="split the file"):
        file_effect(path=old_events, mapping=AS_READ, at=AT)

    monkeypatch.setattr(workflow, "EVENTS_MAX", 1000)
    monkeypatch.setattr(workflow, "CUSTOMERS_MAX", 2)
    with pytest.raises(Exception, match="customers: split"):
        file_effect(path=old_events, mapping=AS_READ, at=AT)


def test_the_command_shows_first_and_keeps_when_told(old_events: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = UsageEvent.objects.count()

    with pytest.raises(SystemExit):
        call_command("backfill", str(old_events))
    dry = capsys.readouterr().out
    kept_nothing = UsageEvent.objects.count() == before
    with pytest.raises(SystemExit):
        call_command("backfill", str(old_events), "--commit")

    assert kept_nothing
    assert "accepted 6, duplicates 1, conflicts 1, rejected 1" in dry
    assert "money effect: USD" in dry
    assert "Nothing was kept" in dry
    assert "6 events are accepted" in capsys.readouterr().out
    assert UsageEvent.objects.count() == before + 6


def test_the_command_names_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        call_command("backfill", str(tmp_path / "absent.csv"))
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CommandError, match="nothing was kept"):
        call_command("backfill", str(tmp_path / "odd.csv"))


@pytest.mark.django_db(transaction=True)
def test_a_dry_run_sees_one_moment_and_lets_others_send(tmp_path: Path) -> None:
    a_billed_july()
    path = a_file(tmp_path, event("cust_acme", "1200", at=JULY + timedelta(days=3), key="july"))

    effect = file_effect(path=path, mapping=AS_READ, at=datetime(2026, 9, 1, tzinfo=UTC))

    assert [str(one.effect.amount) for one in effect.customers[0].money] == ["12.00"]
    assert not connection.in_atomic_block
    assert UsageEvent.objects.count() == 1
    assert roll_up().events == 0
