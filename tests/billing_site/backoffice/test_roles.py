"""Who is responsible may do, who is accountable approves, who is consulted or informed sees: by one table, in the groups as `serve` makes them."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse

from billing_site.backoffice.responsibilities import PROCESSES, Process, Role, decides, roles_page
from billing_site.backoffice.roles import DEEDS, ensure_roles
from invoicing.approvals.models import Approval, ApprovedDeed
from tests.billing_site.backoffice.conftest import AT, a_member

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).parents[3]


def may(role: Role, permission: str) -> bool:
    person = User.objects.create_user(f"{role}-{permission}")
    person.groups.add(Group.objects.get(name=role.value))
    return person.has_perm(permission)


def test_the_page_of_the_table_is_what_the_code_says() -> None:
    assert (ROOT / "docs/roles.md").read_text() == roles_page(), "manage.py roles > docs/roles.md"


def test_every_deed_is_somebodys() -> None:
    known = {f"{model._meta.app_label}.{codename}" for model, codename, _ in DEEDS}

    assert known <= {deed for process in PROCESSES for deed in (*process.deeds, *process.seconded)}


@pytest.mark.requirement("S2-027")
@pytest.mark.requirement("S2-028")
@pytest.mark.requirement("S2-029")
@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)
def test_each_part_in_a_process_is_what_its_group_may(process: Process) -> None:
    ensure_roles()
    others = set(process.roles) - {process.responsible, process.accountable}

    assert all(may(process.responsible, deed) for deed in process.deeds)
    assert all(may(process.accountable, decides(deed)) for deed in process.approved)
    assert all(may(process.accountable, deed) for deed in process.seconded)
    assert all(
        Group.objects.get(name=role.value)
        .permissions.filter(content_type__app_label=app, codename__startswith="view_")
        .exists()
        for role in process.roles
        for app in process.seen
        if app != "marketplaces"
    )
    for role in others - {one.responsible for one in PROCESSES}:
        assert not any(may(role, deed) for deed in process.deeds), role


def test_who_only_sees_has_no_deed_at_all() -> None:
    ensure_roles()

    for role in (Role.SUPPORT, Role.AUDITORS, Role.BACKEND, Role.SECURITY):
        own = Group.objects.get(name=role.value).permissions.exclude(codename__startswith="view_")
        assert list(own) == [], role


def test_legal_approves_what_customers_are_told_and_does_nothing_else() -> None:
    ensure_roles()

    own = Group.objects.get(name=Role.LEGAL.value).permissions.exclude(codename__startswith="view_")

    assert [permission.codename for permission in own] == ["approve_templateversion"]
    assert not may(Role.FINANCE, "dunning.approve_templateversion")


def test_who_is_accountable_for_jobs_signs_runs_and_nothing_else(db: Any) -> None:
    sre = a_member("sara", Role.SRE)
    asked = [
        Approval.objects.create(
            deed=deed, subject=f"{deed} 1", digest="d", summary="It", requested_at=AT, requested_by="otto", reason="why"
        )
        for deed in (ApprovedDeed.BILLING_RUN, ApprovedDeed.RELEASE)
    ]

    run, release = (reverse("admin:invoicing_approval_refuse", args=[one.pk]) for one in asked)

    assert (sre.get(run).status_code, sre.get(release).status_code) == (200, 403)
