"""What a collector gets: one file for each case that is handed over, who downloaded it, and who of the house is asked about a case until when."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.ending import ends_once
from billing_site.kernel.model import append_only, fits_currency, money_field
from dunning.cases.models import DunningCase


class HandOverFile(models.Model):
    """The file of a case that was handed over, as it was made then: claims, invoices, statement, notices, with their digests."""

    case = models.OneToOneField(DunningCase, on_delete=models.PROTECT, related_name="hand_over_file")
    name = models.CharField(max_length=150)
    made_at = models.DateTimeField()
    currency = models.CharField(max_length=3)
    amount = money_field(help_text="What was late then, without what is objected to.")
    content = models.BinaryField(help_text="ZIP.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the file.")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["HandOverFile"]()

    class Meta:
        verbose_name = "hand-over file"
        constraints = [
            models.CheckConstraint(condition=Q(digest__regex=r"^[0-9a-f]{64}$"), name="hand_over_file_has_a_digest"),
            fits_currency("amount", name="hand_over_file_amount_fits_its_currency"),
        ]
        triggers = append_only(noun="hand-over files")

    def __str__(self) -> str:
        return self.name


class HandOverDownload(models.Model):
    """Somebody took the file out of the house."""

    file = models.ForeignKey(HandOverFile, on_delete=models.PROTECT, related_name="downloads")
    downloaded_at = models.DateTimeField()
    actor = models.CharField(max_length=200)

    objects = models.Manager["HandOverDownload"]()

    class Meta:
        verbose_name = "download of a hand-over file"
        verbose_name_plural = "downloads of hand-over files"
        constraints = [models.CheckConstraint(condition=~Q(actor=""), name="hand_over_download_has_an_actor")]
        triggers = append_only(noun="downloads of hand-over files")

    def __str__(self) -> str:
        return f"{self.file} by {self.actor}"


class Escalation(models.Model):
    """Somebody of the house is asked to do something about a case until the end of a day; then the next one is."""

    case = models.ForeignKey(DunningCase, on_delete=models.PROTECT, related_name="escalations")
    level = models.PositiveIntegerField(
        help_text="Its place in the path of the policy; 0: somebody assigned it beside that."
    )
    owner = models.CharField(max_length=200)
    until = models.DateField(help_text="Where the customer is.")
    began_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=200, blank=True, default="")
    ended_because = models.CharField(max_length=300, blank=True, default="")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["Escalation"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["case"], condition=Q(ended_at__isnull=True), name="escalation_is_one_at_a_time"
            ),
            models.CheckConstraint(
                condition=~Q(owner="") & ~Q(actor="") & ~Q(reason=""), name="escalation_has_owner_actor_and_reason"
            ),
            models.CheckConstraint(
                condition=Q(ended_at__isnull=True, ended_by="", ended_because="")
                | Q(ended_at__gte=F("began_at")) & ~Q(ended_by="") & ~Q(ended_because=""),
                name="escalation_ends_by_somebody_with_a_reason",
            ),
        ]
        triggers = ends_once(noun="escalation")

    def __str__(self) -> str:
        return f"{self.owner} until {self.until}"
