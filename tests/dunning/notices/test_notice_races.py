"""Two workers at once, two plans at once, a block at the moment of sending: a customer is told once, or not at all."""

import pytest
from django.core import mail
from django.db import transaction

from dunning.core.notice_kinds import NoticeKind
from dunning.notices.models import Notice
from dunning.notices.outbox import plan_notice
from dunning.notices.sending import send_notice
from dunning.notices.template_operations import install_built_ins
from dunning.notices.templates import TemplateVersion
from invoicing.customers.models import Customer
from tests.dunning.notices.telling import NOW, an_open_invoice, planned
from tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_workers_send_one_mail() -> None:
    install_built_ins(at=NOW)
    notice = planned(an_open_invoice())

    results = at_once(*[lambda: send_notice(notice_id=notice.pk, at=NOW)] * 4)

    assert not [one for one in results if isinstance(one, Exception)]
    assert len(mail.outbox) == 1
    assert Notice.objects.get().state == "sent"


def test_two_that_plan_the_same_plan_one() -> None:
    invoice = an_open_invoice()

    def plan() -> int:
        with transaction.atomic():
            return plan_notice(
                customer=Customer.objects.get(),
                kind=NoticeKind.REMINDER,
                reference="the same",
                invoice_ids=[invoice.pk],
                acts_on=None,
                at=NOW,
            ).pk

    results = at_once(*[plan] * 4)

    assert results == [Notice.objects.get().pk] * 4
    assert Notice.objects.get().about.count() == 1


def test_two_that_install_the_products_words_install_them_once() -> None:
    results = at_once(*[lambda: install_built_ins(at=NOW)] * 2)

    assert sum(results) == len(NoticeKind) * 2
    assert TemplateVersion.objects.count() == len(NoticeKind) * 2
