"""Templates of notices: the words of each kind and language, in versions that one person drafts and another approves."""

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now
from django.db.models.lookups import Exact

from billing_site.kernel.guard import Guard
from billing_site.kernel.history import tracked
from billing_site.kernel.model import carved, never_deleted, never_truncated, stays
from dunning.core.notice_kinds import KIND_WORDS, NoticeKind
from dunning.core.wording import BODY_MAX, BUTTON_MAX, SUBJECT_MAX, Words
from invoicing.core.languages import LANGUAGES

KIND_CHOICES = [(kind.value, words) for kind, words in KIND_WORDS.items()]
# Who stands for the house in a version that came with the product.
HOUSE = "the product"


class VersionState(models.TextChoices):
    """How far a version is."""

    DRAFT = "draft", "Draft"
    ASKED = "asked", "Waits for approval"
    APPROVED = "approved", "Approved"
    REFUSED = "refused", "Refused"


VERSION_MOVES = (
    (VersionState.DRAFT, VersionState.ASKED),
    (VersionState.ASKED, VersionState.DRAFT),
    (VersionState.ASKED, VersionState.APPROVED),
    (VersionState.ASKED, VersionState.REFUSED),
)
_MOVES = ", ".join(f"('{start.value}', '{to.value}')" for start, to in VERSION_MOVES)
DECIDED = (VersionState.APPROVED.value, VersionState.REFUSED.value)


class NoticeTemplate(models.Model):
    """What is said in one language by notices of one kind; its versions hold the words."""

    kind = models.CharField(max_length=20, choices=KIND_CHOICES)
    language = models.CharField(max_length=2, choices=[(one.code, one.name) for one in LANGUAGES.values()])
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["NoticeTemplate"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "language"], name="notice_template_is_one_a_kind_and_language"),
            models.CheckConstraint(
                condition=Q(kind__in=[kind.value for kind in NoticeKind]), name="notice_template_is_of_a_known_kind"
            ),
            models.CheckConstraint(
                condition=Q(language__in=list(LANGUAGES)), name="notice_template_is_in_a_known_language"
            ),
        ]
        triggers = [
            stays(noun="notice template", columns=["kind", "language", "created_at"]),
            never_deleted(noun="notice templates"),
            never_truncated(noun="notice templates"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} ({LANGUAGES[self.language].name})"


def _moves_as_stated() -> Guard:
    """Return a trigger by which a version begins as a draft, or comes approved with the product, and then moves as the table says, its words unchanged but in a draft."""
    return Guard(
        name="is_drafted_then_decided",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.Update,
        func=f"""
            IF TG_OP = 'INSERT' THEN
                IF NEW.state <> (CASE WHEN NEW.is_built_in THEN 'approved' ELSE 'draft' END)
                   OR NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM dunning_templateversion
                                      WHERE template_id = NEW.template_id) THEN
                    RAISE EXCEPTION 'version % of template % is drafted first, with the next number', NEW.number, NEW.template_id
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NEW;
            END IF;
            IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN ({_MOVES}) THEN
                RAISE EXCEPTION 'a template version does not go from % to %', OLD.state, NEW.state
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            IF (OLD.state <> 'draft' OR NEW.state <> 'draft')
               AND (OLD.subject, OLD.body, OLD.button) IS DISTINCT FROM (NEW.subject, NEW.body, NEW.button) THEN
                RAISE EXCEPTION 'the words of version % are changed only while it is a draft', OLD.id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )


class TemplateVersion(models.Model):
    """The words of a template as somebody drafted them; once another has approved them they never change. The newest that is approved is in force."""

    template = models.ForeignKey(NoticeTemplate, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField(help_text="Counts the versions of the template.")
    is_built_in = models.BooleanField(default=False, help_text="It came with the product.")
    subject = models.CharField(max_length=SUBJECT_MAX)
    body = models.TextField(max_length=BODY_MAX)
    button = models.CharField(max_length=BUTTON_MAX)
    state = models.CharField(max_length=10, choices=VersionState, default=VersionState.DRAFT)
    drafted_at = models.DateTimeField()
    drafted_by = models.CharField(max_length=200)
    reason = models.CharField(max_length=300, help_text="Why the words are as they are.")
    asked_at = models.DateTimeField(null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=200, blank=True)
    decision_reason = models.CharField(max_length=300, blank=True)
    history = tracked()

    objects = models.Manager["TemplateVersion"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["template", "number"], name="versions_of_a_template_are_numbered"),
            models.CheckConstraint(
                condition=~Q(subject="") & ~Q(body="") & ~Q(button="") & ~Q(drafted_by="") & ~Q(reason=""),
                name="template_version_has_words_and_who_drafted_them_why",
            ),
            models.CheckConstraint(
                condition=Q(state=VersionState.DRAFT, asked_at__isnull=True, decided_at__isnull=True)
                & Q(decided_by="", decision_reason="")
                | Q(state=VersionState.ASKED, asked_at__isnull=False, decided_at__isnull=True)
                & Q(decided_by="", decision_reason="")
                | Q(state__in=DECIDED, asked_at__isnull=False, decided_at__gte=F("asked_at"))
                & ~Q(decided_by="")
                & ~Q(decision_reason=""),
                name="template_version_is_decided_by_somebody_with_reason",
            ),
            models.CheckConstraint(
                condition=Q(decided_by="") | Q(is_built_in=True) | ~Q(Exact(Lower("decided_by"), Lower("drafted_by"))),
                name="template_is_approved_by_another_than_drafted",
            ),
            models.CheckConstraint(
                condition=Q(is_built_in=False) | Q(drafted_by=HOUSE, decided_by=HOUSE, state=VersionState.APPROVED),
                name="built_in_version_is_the_products_own",
            ),
        ]
        indexes = [models.Index(fields=["state"], name="template_version_by_state")]
        triggers = [
            *carved(noun="decided template version", while_open="OLD.state IN ('draft', 'asked')", free_columns=[]),
            stays(
                noun="template version", columns=["template_id", "number", "is_built_in", "drafted_at", "drafted_by"]
            ),
            never_deleted(noun="template versions"),
            _moves_as_stated(),
        ]

    @property
    def words(self) -> Words:
        """The words as the core fills them in."""
        return Words(subject=self.subject, body=self.body, button=self.button)

    def __str__(self) -> str:
        return f"{self.template}, version {self.number}"
