"""What waits for people about notices to customers: mails that were not delivered, words to approve, addresses that are not written to."""

from datetime import datetime

from django.db.models import Count, Max, Min
from django.db.models.functions import Coalesce

from billing_site.backoffice.work_queue import WorkQueue, admin_list
from dunning.core.notice_kinds import KIND_WORDS, NoticeKind
from dunning.notices.queries import blocked_addresses, maybe_sent, undelivered, versions_to_approve


def notice_queues(*, at: datetime) -> list[WorkQueue]:
    """Return the queues of notices, those about customers first; one query each."""
    lost = undelivered(at=at).aggregate(
        number_of=Count("id"), oldest=Min(Coalesce("settled_at", "planned_at")), why=Max("why")
    )
    doubted = maybe_sent(at=at).aggregate(number_of=Count("id"), oldest=Min("sending_at"), name=Max("customer__name"))
    asked = versions_to_approve().aggregate(
        number_of=Count("id"), oldest=Min("asked_at"), kind=Max("template__kind"), by=Max("drafted_by")
    )
    blocked = blocked_addresses().aggregate(number_of=Count("id"), oldest=Min("blocked_at"), address=Max("address"))
    return [
        WorkQueue(
            name="Notices not delivered",
            link=admin_list("notice", "state=undeliverable", app="dunning"),
            empty="A notice that a customer could not be sent (no address, one that bounced, a mail server that refuses, Stripe that does not answer for a day) stands here.",
            count=lost["number_of"],
            oldest=lost["oldest"],
            why=lost["why"] or "",
        ),
        WorkQueue(
            name="Notices that may have been sent",
            link=admin_list("notice", "state=doubt", app="dunning"),
            empty="A notice at which the worker died, or the connection broke, while it was sent stands here: it is not sent again by itself.",
            count=doubted["number_of"],
            oldest=doubted["oldest"],
            why=f"nobody knows whether {doubted['name']} was told" if doubted["number_of"] else "",
        ),
        WorkQueue(
            name="Templates to approve",
            link=admin_list("templateversion", "state__exact=asked", app="dunning"),
            empty="What somebody drafts for a notice stands here until somebody of Legal approves or refuses it.",
            count=asked["number_of"],
            oldest=asked["oldest"],
            why=f"{KIND_WORDS[NoticeKind(asked['kind'])]}, by {asked['by']}" if asked["number_of"] else "",
        ),
        WorkQueue(
            name="Addresses that are not written to",
            link=admin_list("blockedaddress", "state=blocked", app="dunning"),
            empty="An address from which mail came back, or whose owner called it unwanted, stands here until somebody lifts that.",
            count=blocked["number_of"],
            oldest=blocked["oldest"],
            why=blocked["address"] or "",
        ),
    ]
