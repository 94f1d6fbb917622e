"""The jobs that the scheduler and the queue know by name exist and do what their names say."""

import pytest
from django.utils.module_loading import import_string

from invoicing import tasks
from invoicing.invoices.models import Invoice
from invoicing.payments import intake, push, withdrawing
from invoicing.tax.operations import ASK_JOB
from invoicing.workflows import ask_stripe_tax, follow_stripe
from tests.factories import a_plan, a_subscription, usd_fee
from tests.invoicing.payments.building import a_card_customer

pytestmark = pytest.mark.django_db(transaction=True)


def test_every_name_in_the_queue_is_a_job():
    names = [job.task for job in tasks.REGULAR_JOBS]
    names += [push.JOB, withdrawing.JOB, intake.JOB, follow_stripe.MIRROR_JOB, follow_stripe.LOOK_JOB]
    names += [ASK_JOB, ask_stripe_tax.AGAIN_JOB]

    assert all(callable(import_string(name)) for name in names)
    assert len({job.name for job in tasks.REGULAR_JOBS}) == len(tasks.REGULAR_JOBS)


def test_with_nothing_to_do_the_regular_jobs_say_so():
    assert tasks.sweep_payments() == "0 pushes, 0 withdrawals, 0 notices, 0 refunds, 0 charges"
    assert tasks.sweep_open_invoices() == "0 invoices"
    assert tasks.bill_what_is_due() == "0 invoices, 0 held, 0 failures"


@pytest.mark.parametrize(("issues", "status"), [(False, "draft"), (True, "issued")])
def test_the_hourly_run_drafts_and_issues_only_where_it_may(settings, issues, status):
    settings.BILLING_AUTO_ISSUE = issues
    a_plan("pro", usd_fee())
    a_subscription(a_card_customer())

    tasks.bill_what_is_due()

    assert {invoice.status for invoice in Invoice.objects.all()} == {status}
