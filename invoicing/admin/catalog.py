"""Products, plans, versions and prices: drafts are edited and published, published versions only looked at."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Model, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSplitDateTimeWidget

from billing_site.display.admin import (
    ReasonedForm,
    ReasonForm,
    TrackedAdmin,
    actor_of,
    add_field_errors,
    attempt,
    confirm_with_reason,
    confirmation,
    go,
    history_of,
    moment_column,
)
from billing_site.display.figures import NOTHING, link, moment_text
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.history import save_with_reason
from invoicing.admin.approvals import waits_words
from invoicing.admin.draft_problems import problems_of_draft
from invoicing.admin.plans_in_force import plans_in_force
from invoicing.admin.version_form import SpendInline, VersionForm, spend_said
from invoicing.catalog.draft import draft_next_version
from invoicing.catalog.effective import sell_until
from invoicing.catalog.models import Plan, PlanVersion, Price, Product
from invoicing.catalog.operations import price_document
from invoicing.catalog.price_words import price_in_full, price_in_words, spend_in_words
from invoicing.catalog.queries import with_rates
from invoicing.subscriptions.queries import phases_in_force
from invoicing.workflows.publish_prices import publish_or_ask

PUBLISH = "invoicing.publish_planversion"
ASK = "invoicing.ask_whatif"
MIGRATE = "invoicing.migrate_subscribers"


class EndSaleForm(ReasonForm):
    """Until when a version is sold."""

    effective_to = forms.SplitDateTimeField(
        label="Sold until (UTC)",
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget(),
        help_text="Empty: until another version is sold.",
    )
    field_order = ("effective_to", "reason")


class PlanForm(ReasonedForm):
    """A plan's name, what it is sold with, and why."""

    def clean_add_on_to(self) -> QuerySet[Plan]:
        """Refuse add-ons of add-ons."""
        others: QuerySet[Plan] = self.cleaned_data["add_on_to"]
        if others.filter(Q(add_on_to__isnull=False) | Q(pk=self.instance.pk)).exists():
            raise forms.ValidationError("One of these is an add-on itself, or this very plan.")
        if others and self.instance.pk and self.instance.add_ons.exists():
            raise forms.ValidationError("Other plans are add-ons to this one.")
        return others


class NamedAdmin(TrackedAdmin):
    """A product or plan: a key that stays and a name that may change."""

    form = ReasonedForm
    search_fields = ("key", "name")
    ordering = ("name",)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Keep the key: files and the API name rows by it."""
        return ("key",) if obj else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save with actor and reason in the history."""
        save_with_reason(obj, actor=actor_of(request), reason=form.cleaned_data["reason"])


@admin.register(Product)
class ProductAdmin(NamedAdmin):
    """What is sold."""

    list_display = ("key", "name", "plan_count")
    fields = ("key", "name", "reason")
    add_title = "Add a product"
    add_words = "What is sold; plans say for how much."
    empty_message = "Products come from `manage.py load_catalog` or are created here."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Count the plans of each product."""
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.annotate(number_of_plans=Count("plans"))

    @admin.display(description="Plans", ordering="number_of_plans")
    def plan_count(self, product: Any) -> SafeString:
        """Link to the product's plans."""
        plans = reverse("admin:invoicing_plan_changelist") + f"?product__id__exact={product.pk}"
        return link(plans, product.number_of_plans)


@admin.register(Plan)
class PlanAdmin(NamedAdmin):
    """A named offer and its versions."""

    list_display = ("key", "name", "product", "newest", "subscriber_count")
    list_filter = ("product",)
    list_select_related = ("product",)
    form = PlanForm
    autocomplete_fields = ("add_on_to",)
    fields = ("key", "name", "product", "add_on_to", "reason")
    change_form_outer_after_template = "backoffice/plan_versions.html"
    add_title = "Add a plan"
    add_words = "A plan is sold once its first version has prices and is published: draft it on the next page."
    empty_message = "Plans come from `manage.py load_catalog` or are created here."
    actions_detail = ("draft_version",)

    def get_urls(self) -> list[Any]:
        """Add the page that says who is on which version."""
        page = path("in-force/", self.admin_site.admin_view(self.in_force), name="invoicing_plan_in_force")
        return [page, *super().get_urls()]

    def in_force(self, request: HttpRequest) -> HttpResponse:
        """Show each published version with who is on it, and who will be."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = self.page_context(
            request,
            title="Who is on which version",
            page=plans_in_force(at=now()),
            may_migrate=request.user.has_perm(MIGRATE),
        )
        return TemplateResponse(request, "backoffice/plans_in_force.html", context)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Add the newest published version and how many subscriptions run."""
        newest = PlanVersion.objects.filter(plan=OuterRef("pk"), published_at__isnull=False).order_by("-number")
        running = (
            phases_in_force(at=now())
            .filter(plan_version__plan=OuterRef("pk"))
            .order_by()
            .values("plan_version__plan")
            .annotate(number=Count("pk"))
        )
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.annotate(
            newest_number=Subquery(newest.values("number")[:1]),
            newest_id=Subquery(newest.values("pk")[:1]),
            number_of_subscribers=Subquery(running.values("number")),
        )

    @admin.display(description="Published", ordering="newest_number")
    def newest(self, plan: Any) -> SafeString:
        """Link to the newest published version."""
        if plan.newest_id is None:
            return NOTHING
        return link(reverse("admin:invoicing_planversion_change", args=[plan.newest_id]), f"v{plan.newest_number}")

    @admin.display(description="Subscriptions", ordering="number_of_subscribers")
    def subscriber_count(self, plan: Any) -> SafeString:
        """Link to the running subscriptions of any version."""
        return _subscribers(f"plan={plan.pk}", plan.number_of_subscribers or 0)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the versions below the form."""
        versions = [
            (
                version,
                "published" if version.published_at else "draft",
                sale_in_words(version=version, at=now()) if version.published_at else "",
                _subscribers(f"version={version.pk}", version.number_of_subscribers),
            )
            for version in PlanVersion.objects.filter(plan_id=object_id)
            .annotate(number_of_subscribers=Count("phases", filter=Q(phases__in=phases_in_force(at=now()))))
            .order_by("-number")
        ]
        return super().change_view(request, object_id, form_url, {"versions": versions, **(extra_context or {})})

    @action(description="Draft the next version", url_path="draft")
    def draft_version(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Copy the newest version into a draft, after confirmation."""
        plan = self.row_or_404(request, object_id)
        if not request.user.has_perm("invoicing.add_planversion"):
            raise PermissionDenied
        form = ReasonForm(request.POST or None)
        page = reverse("admin:invoicing_plan_change", args=[plan.pk])
        if request.method == "POST" and form.is_valid():
            version = attempt(
                request,
                lambda: draft_next_version(
                    plan_id=plan.pk, actor=actor_of(request), reason=form.cleaned_data["reason"]
                ),
                done=lambda drafted: f"{drafted} is a draft: edit its prices, then publish it.",
            )
            return go(reverse("admin:invoicing_planversion_change", args=[version.pk]) if version else page)
        return confirmation(
            request,
            admin=self,
            title=f"Draft the next version of {plan.name}",
            effect=f"{'The newest version is copied with its prices and tiers.' if plan.versions.exists() else 'It is the first one, and empty: give it prices.'} Nobody is charged by a draft.",
            form=form,
            submit="Make the draft",
            back=page,
            row=plan,
        )


@admin.register(PlanVersion)
class PlanVersionAdmin(TrackedAdmin):
    """One state of a plan: a page of prices in words; a draft can be edited and published."""

    list_display = ("plan", "number", "state", "cadence", moment_column("published_at", "Published"))
    list_filter = ("plan",)
    list_select_related = ("plan",)
    search_fields = ("plan__key", "plan__name")
    ordering = ("plan__name", "-number")
    form = VersionForm
    fields = ("cadence", "proration", "tiers_on_change", "effective_from", "effective_to", "reason")
    inlines = (SpendInline,)
    actions_detail = ("publish", "end_sale")

    @admin.display(description="State")
    def state(self, version: PlanVersion) -> SafeString:
        """Show whether it is a draft."""
        return pill("published" if version.published_at else "draft")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Versions are drafted from the plan's page."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Only drafts change."""
        is_draft = not isinstance(obj, PlanVersion) or obj.published_at is None
        return is_draft and bool(super().has_change_permission(request, obj))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save the draft with actor and reason."""
        save_with_reason(obj, actor=actor_of(request), reason=form.cleaned_data["reason"])

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save the least and most that a subscription owes; the history says what it was before."""
        before = spend_said(form.instance)
        super().save_related(request, form, formsets, change)
        if (after := spend_said(form.instance)) != before:
            told = f"{form.cleaned_data['reason']} ({before} → {after})"
            save_with_reason(form.instance, actor=actor_of(request), reason=told)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the rate card in words; the form for its terms opens with ?edit=1."""
        if "edit" in request.GET or request.method == "POST":
            return super().change_view(request, object_id, form_url, extra_context)
        version = self.row_or_404(request, object_id)
        prices = with_rates(version.prices.all()).order_by("currency", "position", "id")
        context = self.page_context(
            request,
            title=str(version),
            row=version,
            state="published" if version.published_at else "draft",
            prices=_beside_those_before(version, prices),
            spend=[
                (row.currency, spend_in_words(row=row, cadence=version.cadence))
                for row in version.spend.order_by("currency")
            ],
            subscribers=_subscribers(
                f"version={version.pk}", phases_in_force(at=now()).filter(plan_version=version).count()
            ),
            problems=problems_of_draft(version=version) if version.published_at is None else [],
            may_change=self.has_change_permission(request, version),
            may_ask=request.user.has_perm(ASK),
            may_publish=version.published_at is None and request.user.has_perm(PUBLISH),
            may_end_sale=_is_for_sale(version) and request.user.has_perm(PUBLISH),
            sale=sale_in_words(version=version, at=now()),
            changes=history_of(version),
        )
        return TemplateResponse(request, "backoffice/plan_version.html", context)

    @action(description="Publish", url_path="publish")
    def publish(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Publish the draft after a confirmation that says what changes for whom."""
        version = self.row_or_404(request, object_id)
        older = phases_in_force(at=now()).filter(plan_version__plan=version.plan).count()
        begins = moment_text(version.effective_from) if version.effective_from else "now"
        return confirm_with_reason(
            request,
            admin=self,
            row=version,
            permission=PUBLISH,
            deed=lambda **who: publish_or_ask(version_id=version.pk, at=now(), **who),
            done=lambda published: (
                waits_words(published) or f"{published} is published and immutable; new subscriptions can start on it."
            ),
            title=f"Publish {version}",
            effect=f"{version.prices.count()} prices become immutable. {older} running subscriptions of "
            f"{version.plan.name} keep the version that they have; new ones take this one from {begins} on.",
            submit=f"Publish version {version.number}",
            warnings=problems_of_draft(version=version),
        )

    @action(description="End its sale", url_path="end-sale")
    def end_sale(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask until when a published version is sold; who has it keeps it."""
        version = self.row_or_404(request, object_id)
        if not request.user.has_perm(PUBLISH):
            raise PermissionDenied
        page = reverse("admin:invoicing_planversion_change", args=[version.pk])
        form = EndSaleForm(request.POST or None, initial={"effective_to": version.effective_to})
        if request.method == "POST" and form.is_valid():
            try:
                sell_until(
                    version_id=version.pk,
                    until=form.cleaned_data["effective_to"],
                    at=now(),
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                )
            except BillingError as problem:
                add_field_errors(form, problem)
            else:
                self.message_user(
                    request, f"{version}: {sale_in_words(version=self.row_or_404(request, object_id), at=now())}."
                )
                return go(page)
        running = phases_in_force(at=now()).filter(plan_version=version).count()
        return confirmation(
            request,
            admin=self,
            title=f"End the sale of {version}",
            effect=f"{running} running subscriptions keep it. New ones cannot take it from that moment on, unless somebody names it.",
            form=form,
            submit="End its sale",
            back=page,
            row=version,
        )


def _beside_those_before(version: PlanVersion, prices: Iterable[Price]) -> list[tuple[Price, list[str], str]]:
    """Return each price in words, and what the published version before says of it; both in full where these differ."""
    before = version.plan.versions.filter(number__lt=version.number, published_at__isnull=False).order_by("-number")
    last = before.first()
    if last is None:
        return [(price, price_in_words(price=price, cadence=version.cadence), "") for price in prices]
    known = {(price.key, price.currency): price for price in with_rates(last.prices.all())}
    rows = []
    for price in prices:
        was, told = known.get((price.key, price.currency)), f"Not in version {last.number}."
        words = price_in_full(price=price, cadence=version.cadence)
        if was is not None:
            said = price_in_full(price=was, cadence=last.cadence)
            if said == words and price_document(price=was) == price_document(price=price):
                rows.append((price, price_in_words(price=price, cadence=version.cadence), ""))
                continue
            if was.name != price.name:
                said = [f"{was.name}:", *said]
            told = f"Version {last.number}: {'other values.' if said == words else ' '.join(said)}"
        rows.append((price, words, told))
    return rows


def sale_in_words(*, version: PlanVersion, at: datetime) -> str:
    """Return when a version is sold, as people say it."""
    if version.is_never_sold:
        return "replaced before it was sold"
    begins, ends = version.effective_from, version.effective_to
    from_words = f"{'sold' if begins is None or begins <= at else 'to be sold'} {f'from {moment_text(begins)}' if begins else 'from the start'}"
    return f"{from_words}, until {moment_text(ends)}" if ends else from_words


def _is_for_sale(version: PlanVersion) -> bool:
    is_over = version.effective_to is not None and version.effective_to <= now()
    return version.published_at is not None and not is_over


def _subscribers(query: str, number: int) -> SafeString:
    return link(f"{reverse('admin:invoicing_subscription_changelist')}?state=running&{query}", number)
