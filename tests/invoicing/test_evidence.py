"""The chain of evidence: what is carved is taken in once, what was rewritten as a whole is found by an anchor kept elsewhere."""

import json
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client

from billing_site.kernel.clock import now
from billing_site.serving.diagnosis import diagnose
from invoicing.catalog.models import PlanVersion
from invoicing.evidence.anchors import anchor_of_day, make_anchor
from invoicing.evidence.chain import block_digest, extend_chain
from invoicing.evidence.models import Anchor, EvidenceBlock, EvidenceRow, EvidenceShape
from invoicing.invoices.models import Invoice
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.verify import Finding, verify, verify_chains
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, settle_constraints, use
from tests.invoicing.test_attack_guards import behind_the_triggers, run_sql

pytestmark = pytest.mark.django_db


@pytest.fixture
def invoice() -> Invoice:
    a_plan()
    a_subscription(a_customer())
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    settle_constraints()
    return invoice


def found(subject: str) -> list[str]:
    return [finding.message for finding in verify_chains() if finding.subject == subject]


def known(table: str) -> int:
    return EvidenceRow.objects.filter(shape_id__in=EvidenceShape.objects.filter(table_name=table)).count()


def test_a_row_is_taken_in_once_and_a_draft_not_before_it_is_issued(invoice: Invoice) -> None:
    draft_billing(as_of=SEPTEMBER, at=SEPTEMBER)

    first, second = extend_chain(at=SEPTEMBER), extend_chain(at=SEPTEMBER)

    assert (first > 10, second) == (True, 0)
    assert (known("invoicing_invoice"), known("invoicing_invoiceline")) == (1, 2)
    issue_billing(as_of=SEPTEMBER, at=SEPTEMBER)
    extend_chain(at=SEPTEMBER)
    assert (known("invoicing_invoice"), known("invoicing_invoiceline")) == (2, 4)
    settle_constraints()
    assert verify() == []


def test_blocks_are_cut_and_continue_each_other(invoice: Invoice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invoicing.evidence.chain.ROWS_A_BLOCK", 4)

    taken = extend_chain(at=SEPTEMBER)

    blocks = list(EvidenceBlock.objects.order_by("number"))
    assert sum(block.row_count for block in blocks) == taken == blocks[-1].last_row
    assert len(blocks) == -(-taken // 4)
    assert [block.previous_digest for block in blocks[1:]] == [block.digest for block in blocks[:-1]]
    assert verify_chains() == []


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO invoicing_evidencerow (number, shape_id, row_id, digest) VALUES (1000000, 1, 999, ''), (1, 1, 998, '')",
        "INSERT INTO invoicing_evidenceblock SELECT number + 1, made_at, first_row + row_count, 1, 'x', 'y', 'z'"
        " FROM invoicing_evidenceblock",
        "INSERT INTO invoicing_evidenceblock SELECT number + 2, made_at, first_row + row_count, 1, 'x', digest, 'z'"
        " FROM invoicing_evidenceblock",
    ],
)
def test_nobody_adds_to_a_closed_block_or_beside_the_chain(invoice: Invoice, statement: str) -> None:
    extend_chain(at=SEPTEMBER)

    with pytest.raises(DatabaseError):
        run_sql(statement)


def test_a_column_that_a_migration_adds_is_evidence_from_then_on_for_every_row(invoice: Invoice) -> None:
    extend_chain(at=SEPTEMBER)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE invoicing_posting ADD COLUMN cost_centre text NOT NULL DEFAULT 'none'")
    assert verify_chains() == []

    taken = extend_chain(at=SEPTEMBER)
    behind_the_triggers("UPDATE invoicing_posting SET cost_centre = 'forged' WHERE amount > 0")

    [posting] = [finding for finding in verify_chains() if finding.subject.startswith("invoicing_posting")]
    assert taken == known("invoicing_posting") / 2
    assert posting.message.startswith("it is not as it was carved")


@pytest.mark.parametrize(
    ("statement", "column"),
    [
        ("UPDATE invoicing_invoice SET status = 'void'", "status"),
        ("UPDATE invoicing_customer SET net_terms_days = 90", "net_terms_days"),
        ("UPDATE invoicing_planversion SET effective_to = now()", "effective_to"),
    ],
)
def test_what_may_move_and_was_moved_without_a_trace_is_found(invoice: Invoice, statement: str, column: str) -> None:
    behind_the_triggers(statement)

    messages = [finding.message for finding in verify_chains() if finding.check == "carved rows are as they were"]

    assert messages == [f"its history says something else of {column}"]


def test_what_a_migration_changed_without_a_word_is_told_to_the_history(invoice: Invoice) -> None:
    told = import_module("invoicing.migrations.0030b_tell_histories_what_migrations_changed").TELL
    behind_the_triggers("UPDATE invoicing_planversion SET effective_to = '2027-01-01 00:00+00'")
    assert verify_chains() != []

    for _ in range(2):
        with connection.cursor() as cursor:
            cursor.execute(told)

    assert verify_chains() == []
    [version] = PlanVersion.objects.all()
    assert [entry.history_change_reason for entry in version.history.order_by("-history_id")][:2] == [
        "migration: what migrations had changed",
        "test: set up",
    ]


def write_everything_anew() -> None:
    """What a superuser does who knows the code: forge a row, forget all evidence, and take everything in again."""
    for forgery in (
        "UPDATE invoicing_historicalcustomer SET name = 'Forged Ltd'",
        "UPDATE invoicing_customer SET name = 'Forged Ltd'",
        "DELETE FROM invoicing_anchor",
        "DELETE FROM invoicing_evidenceblock",
        "DELETE FROM invoicing_evidencerow",
    ):
        behind_the_triggers(forgery)
    extend_chain(at=SEPTEMBER)


def test_a_chain_that_was_written_anew_is_found_by_an_anchor_that_somebody_kept(
    invoice: Invoice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "anchor.json"
    call_command("anchor", to=kept)
    call_command("verify", chains=True, anchor=[kept])
    assert "all equal" in capsys.readouterr().out

    write_everything_anew()

    assert verify_chains() == [], "without the anchor nobody could tell"
    with pytest.raises(SystemExit, match="1"):
        call_command("verify", chains=True, anchor=[kept])
    assert "the chain was written anew" in " ".join(capsys.readouterr().out.split())


def test_an_anchor_still_holds_when_the_chain_has_grown(invoice: Invoice) -> None:
    anchor = make_anchor(at=SEPTEMBER)
    assert anchor is not None
    issue_billing(as_of=SEPTEMBER, at=SEPTEMBER)
    extend_chain(at=SEPTEMBER)
    settle_constraints()

    assert verify(anchors=[anchor.document]) == []


def test_an_anchor_in_the_database_is_compared_each_time(invoice: Invoice) -> None:
    anchor = make_anchor(at=SEPTEMBER)
    assert anchor is not None
    last = EvidenceBlock.objects.get()
    last.made_at = AUGUST
    behind_the_triggers(
        f"UPDATE invoicing_evidenceblock SET made_at = '{AUGUST:%Y-%m-%d} 00:00+00', digest = '{block_digest(block=last)}'"
    )

    assert found(f"invoicing_anchor {anchor.pk}") == ["block 1 has another digest: the chain was written anew"]


def test_an_invoice_that_an_anchor_names_is_missed_when_its_seal_is_another(invoice: Invoice) -> None:
    anchor = make_anchor(at=SEPTEMBER)
    assert anchor is not None
    series = [{"prefix": "INV-2026", "count": 1, "seal": "another"}]

    findings = verify_chains(anchors=[{**anchor.document, "series": series}])

    assert [finding.message for finding in findings] == [
        "document 1 of series INV-2026 is not there, or has another seal"
    ]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', '{"version": 2, "block": 1}', "\x00"])
def test_a_file_that_is_no_anchor_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "anchor.json"
    file.write_text(text)

    with pytest.raises(CommandError, match="json is no anchor of version 1"):
        call_command("verify", anchor=[file])
    with pytest.raises(CommandError, match="No such file"):
        call_command("verify", anchor=[tmp_path / "nothing.json"])


def test_an_anchor_is_not_written_over_another(invoice: Invoice, tmp_path: Path) -> None:
    kept = tmp_path / "anchor.json"
    kept.write_text("kept")

    with pytest.raises(CommandError, match="is kept, not replaced"):
        call_command("anchor", to=kept)
    assert kept.read_text() == "kept"


def test_the_day_has_one_anchor_and_it_goes_to_whom_the_settings_name(invoice: Invoice, settings: Any) -> None:
    settings.ANCHOR_EMAIL = ["auditor@example.com"]

    first = anchor_of_day(at=SEPTEMBER)
    again = anchor_of_day(at=SEPTEMBER + timedelta(hours=2))
    next_day = anchor_of_day(at=SEPTEMBER + timedelta(days=1))

    assert first == again != next_day
    message = mail.outbox[0]
    assert (message.to, message.subject) == (["auditor@example.com"], f"Anchor of 2026-09-01: {first.digest}")
    assert json.loads(message.attachments[0][1]) == first.document


def test_nothing_is_anchored_before_anything_is_carved() -> None:
    assert anchor_of_day(at=SEPTEMBER) is None
    assert Anchor.objects.count() == 0


def test_the_doctor_tells_how_old_the_last_anchor_is(invoice: Invoice) -> None:
    def told() -> tuple[str, str]:
        [finding] = [finding for finding in diagnose() if finding.subject == "evidence"]
        return finding.state, finding.found

    assert told() == ("ok", "nothing is carved in stone yet")
    extend_chain(at=now())
    assert told()[1].endswith("no anchor was made yet")
    make_anchor(at=now() - timedelta(days=3))
    assert told()[0] == "note"
    make_anchor(at=now())
    assert told()[0] == "ok"


def test_staff_download_an_anchor_from_its_list(invoice: Invoice, client: Client) -> None:
    anchor = make_anchor(at=SEPTEMBER)
    assert anchor is not None
    client.force_login(User.objects.create_superuser("admin"))

    page = client.get("/admin/invoicing/anchor/")
    file = client.get(f"/admin/invoicing/anchor/{anchor.pk}/file/")

    assert f"/admin/invoicing/anchor/{anchor.pk}/file/" in page.content.decode()
    assert json.loads(file.content) == anchor.document
    assert file["Content-Disposition"] == 'attachment; filename="anchor-2026-09-01-1.json"'


def test_what_a_check_cannot_read_is_a_finding_and_the_others_go_on(invoice: Invoice) -> None:
    behind_the_triggers("UPDATE invoicing_invoiceline SET rated = '{}' WHERE kind = 'charge'")

    findings = verify()

    assert {finding.check for finding in findings} >= {"lines rate again"}
    assert all(isinstance(finding, Finding) for finding in findings)
