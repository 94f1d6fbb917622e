"""Notices in the admin: the log of what customers were told, word by word, and what waits for somebody."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, confirm_with_reason, moment_column
from billing_site.display.figures import link, moment
from billing_site.display.pills import AMBER, BLUE, GREEN, GREY, RED, pill
from billing_site.kernel.clock import now
from dunning.core.notice_life import NoticeState
from dunning.notices.decisions import drop_notice, say_it_was_sent, send_again
from dunning.notices.models import BLOCKING, MailEventKind, Notice
from dunning.notices.preview import in_theme
from dunning.notices.queries import maybe_sent, undelivered

DECIDE = "dunning.decide_notice"
IN_DOUBT = "in doubt"
TONES = {
    NoticeState.PLANNED: GREY,
    NoticeState.SENDING: BLUE,
    NoticeState.SENT: GREEN,
    NoticeState.NOT_NEEDED: GREY,
    NoticeState.UNDELIVERABLE: RED,
}


@dataclass(frozen=True)
class Decision:
    """What may be decided about a notice that waits for somebody: the deed, and what the page says of it."""

    deed: Callable[..., Notice]
    title: str
    effect: Callable[[Notice], str]
    done: str
    submit: str
    # Said where nobody knows whether it was sent.
    warning: str = ""
    is_dangerous: bool = False


DECISIONS = {
    "send-again": Decision(
        deed=send_again,
        title="Send again",
        effect=lambda notice: (
            f"The invoices are read again, and {notice.customer} is told what is open then, at"
            f" {notice.customer.email or 'no address: enter one first'}. Where nothing is owed any more, nothing is sent."
        ),
        done="It is planned anew, and sent in a moment if it is still needed.",
        submit="Send it again",
        warning="It may have been sent before: then the customer gets it twice.",
    ),
    "was-sent": Decision(
        deed=say_it_was_sent,
        title="It was sent",
        effect=lambda notice: (
            f"Look for the message id {notice.message_id} in the log of your mail server or provider."
            " The notice counts as sent from then on."
        ),
        done="It counts as sent.",
        submit="It was sent",
    ),
    "drop": Decision(
        deed=drop_notice,
        title="Do not send",
        effect=lambda notice: (
            f"{notice.customer} is not told this; what follows is up to whoever decides about the case."
        ),
        done="It is not sent.",
        submit="Do not send it",
        is_dangerous=True,
    ),
}


class StateFilter(admin.SimpleListFilter):
    """By how far it is, and what waits for somebody."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [
            ("waiting", "Waits for somebody"),
            ("doubt", "Nobody knows whether it was sent"),
            ("bounced", "Came back, or called unwanted"),
            *((state.value, state.value.replace("_", " ").capitalize()) for state in NoticeState),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those of the choice."""
        match self.value():
            case "waiting":
                waiting = [
                    *undelivered(at=now()).values_list("pk", flat=True),
                    *maybe_sent(at=now()).values_list("pk", flat=True),
                ]
                return queryset.filter(pk__in=waiting)
            case NoticeState.UNDELIVERABLE.value:
                return queryset.filter(pk__in=undelivered(at=now()).values("pk"))
            case "doubt":
                return queryset.filter(pk__in=maybe_sent(at=now()).values("pk"))
            case "bounced":
                return queryset.filter(events__kind__in=[*BLOCKING, MailEventKind.SOFT_BOUNCE]).distinct()
            case None:
                return queryset
        return queryset.filter(state=self.value())


def notice_pill(notice: Notice) -> SafeString:
    """Show how far a notice is, and why where it was not sent."""
    state = NoticeState(notice.state)
    if state is NoticeState.SENDING and maybe_sent(at=now()).filter(pk=notice.pk).exists():
        return pill(IN_DOUBT, tone=RED, why="nobody knows whether it was sent")
    newest = notice.events.order_by("-occurred_at", "-id").first() if state is NoticeState.SENT else None
    if newest is not None and newest.kind in (*BLOCKING, MailEventKind.SOFT_BOUNCE):
        return pill(newest.get_kind_display().lower(), tone=RED)
    if newest is not None and newest.kind == MailEventKind.DELIVERED:
        return pill("delivered", tone=GREEN)
    shown = AMBER if state is NoticeState.PLANNED and notice.attempt_count else TONES[state]
    return pill(state.value.replace("_", " "), tone=shown, why=notice.why)


@admin.register(Notice)
class NoticeAdmin(ReadOnlyAdmin):
    """What customers were told, and what is about to be told."""

    list_display = ("what", "customer_link", "state_pill", "subject", moment_column("planned_at", "Planned"))
    list_display_links = ("what",)
    list_filter = (StateFilter, "kind", ("planned_at", admin.DateFieldListFilter))
    search_fields = ("customer__name", "customer__key", "to_address", "subject", "reference", "about__invoice__number")
    list_select_related = ("customer",)
    ordering = ("-id",)
    empty_message = (
        "What customers are told about what they owe stands here, word by word, from the moment it is planned."
    )

    @admin.display(description="Notice", ordering="kind")
    def what(self, notice: Notice) -> str:
        """Show its kind."""
        return notice.get_kind_display()

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, notice: Notice) -> SafeString:
        """Link to the customer, with the address under it."""
        page = reverse("admin:invoicing_customer_change", args=[notice.customer_id])
        return format_html(
            '{}<span class="bo-line bo-small bo-faint">{}</span>', link(page, notice.customer), notice.to_address
        )

    @admin.display(description="State", ordering="state")
    def state_pill(self, notice: Notice) -> SafeString:
        """Show how far it is."""
        return notice_pill(notice)

    def get_urls(self) -> list[Any]:
        """Add the pages of what may be decided."""
        return [
            path(
                f"<int:object_id>/{name}/",
                self.admin_site.admin_view(partial(self.decide, decision=decision)),
                name=f"dunning_notice_{name.replace('-', '_')}",
            )
            for name, decision in DECISIONS.items()
        ] + super().get_urls()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what a customer was told, as it was sent, and what became of it."""
        notice: Notice = self.row_or_404(request, object_id)
        in_doubt = maybe_sent(at=now()).filter(pk=notice.pk).exists()
        may_decide = request.user.has_perm(DECIDE)
        waits = in_doubt or undelivered(at=now()).filter(pk=notice.pk).exists()
        context = self.page_context(
            request,
            title=str(notice),
            row=notice,
            state=notice_pill(notice),
            question=question_of(notice, in_doubt=in_doubt, waits=waits),
            light=in_theme(notice.html, "light"),
            dark=in_theme(notice.html, "dark"),
            about=notice.about.select_related("invoice").order_by("invoice__due_date", "invoice_id"),
            story=story_of(notice),
            may_send_again=may_decide and waits,
            may_say_it_was_sent=may_decide and in_doubt,
        )
        return TemplateResponse(request, "backoffice/notice.html", context)

    def decide(self, request: HttpRequest, object_id: int, *, decision: Decision) -> HttpResponse:
        """Ask why, then do what is decided about a notice."""
        notice: Notice = self.row_or_404(request, str(object_id))
        return confirm_with_reason(
            request,
            admin=self,
            row=notice,
            permission=DECIDE,
            deed=lambda **who: decision.deed(notice_id=notice.pk, at=now(), **who),
            done=lambda _: decision.done,
            title=f"{decision.title}: {notice}",
            effect=decision.effect(notice),
            warnings=[decision.warning] if decision.warning and notice.state == NoticeState.SENDING else [],
            submit=decision.submit,
            dangerous=decision.is_dangerous,
        )


def question_of(notice: Notice, *, in_doubt: bool, waits: bool) -> str:
    """Say what is to be done about a notice; "" where nothing is."""
    if in_doubt:
        return "Nobody knows whether it was sent: the worker died, or the connection broke, while it was handed over. It is not sent again by itself."
    if notice.state == NoticeState.UNDELIVERABLE:
        return "The customer was not told. Mend what is in the way, then send it again; or reach the customer another way, and drop it."
    if waits:
        return "It has been tried for more than a day, and still is. See what is in the way; or reach the customer another way, and drop it."
    return ""


def story_of(notice: Notice) -> list[tuple[str, SafeString, str, str]]:
    """Return what happened to a notice, oldest first: what, when, by whom and in which words."""
    rows = [(notice.planned_at, "planned", "", "")]
    if notice.sending_at:
        rows.append((notice.sending_at, "written down", "", str(notice.template_version)))
    rows += [(one.occurred_at, one.get_kind_display().lower(), one.address, one.said) for one in notice.events.all()]
    rows += [(one.decided_at, one.get_kind_display().lower(), one.actor, one.reason) for one in notice.decisions.all()]
    if notice.settled_at:
        rows.append((notice.settled_at, notice.get_state_display().lower(), notice.provider_id, notice.why))
    return [(what, moment(at), who, words) for at, what, who, words in sorted(rows, key=lambda row: row[0])]
