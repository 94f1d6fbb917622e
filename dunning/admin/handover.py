"""On a case: who of the house is asked about it, and the file that collectors get."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse

from billing_site.display.admin import actor_of, attempt_asked, confirmation, go
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from dunning.admin.forms import OwnerForm
from dunning.admin.holds import ARRANGE, HoldPages
from dunning.handover.operations import assign_case, take_file

DOWNLOAD = "dunning.download_handoverfile"


class HandOverPages(HoldPages):
    """The pages by which somebody is asked, and the file is downloaded."""

    def get_urls(self) -> list[Any]:
        """Add them."""
        view = self.admin_site.admin_view
        return [
            path("<int:object_id>/assign/", view(self.assign), name="dunning_dunningcase_assign"),
            path("<int:object_id>/file/", view(self.file), name="dunning_dunningcase_file"),
            *super().get_urls(),
        ]

    def assign(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Ask somebody to do something about it."""
        if not request.user.has_perm(ARRANGE):
            raise PermissionDenied
        case = self.row_or_404(request, str(object_id))
        form = OwnerForm(request.POST or None, path=case.policy.read.escalation)
        page, title = reverse("admin:dunning_dunningcase_change", args=[object_id]), "Ask somebody"
        if request.method == "POST" and form.is_valid():
            who = {"actor": actor_of(request), "reason": form.cleaned_data["reason"]}
            asked = {name: form.cleaned_data[name] for name in ("owner", "until")}
            if attempt_asked(
                request,
                form,
                lambda: assign_case(case_id=object_id, at=now(), **asked, **who),
                done=lambda one: f"Asked: {one}.",
            ):
                return go(page)
        effect = "They hear of it by e-mail; who has no address there, by ALERT_EMAIL. Whoever was asked before is not asked any more. When the day is over the next one of the policy's path is asked; after the last it stands in the queue."
        return confirmation(
            request, admin=self, title=title, effect=effect, form=form, submit=title, back=page, row=case
        )

    def file(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Hand out the file, and write down who took it."""
        if not request.user.has_perm(DOWNLOAD):
            raise PermissionDenied
        try:
            file = take_file(case_id=object_id, at=now(), actor=actor_of(request))
        except BillingError as problem:
            messages.error(request, problem.message)
            return go(reverse("admin:dunning_dunningcase_change", args=[object_id]))
        return HttpResponse(
            bytes(file.content),
            content_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{file.name}"', "X-SHA256": file.digest},
        )
