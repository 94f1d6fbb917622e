"""A subscription's plan, quantity and kind are in phases; a plan says how it prorates."""

import billing_site.kernel.guard
import django.contrib.postgres.constraints
import django.contrib.postgres.fields.ranges
import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
import simple_history.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ('invoicing', "0010_ask_what_if"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='HistoricalSubscriptionPhase',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('kind', models.CharField(choices=[('trial', 'Trial'), ('active', 'Active'), ('paused', 'Paused')], max_length=10)),
                ('quantity', models.PositiveIntegerField(default=1, help_text='Seats: flat fees count so often.')),
                ('starts_at', models.DateTimeField()),
                ('ends_at', models.DateTimeField(blank=True, help_text='Empty: until further notice.', null=True)),
                ('history_change_reason', models.TextField(null=True)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
            ],
            options={
                'verbose_name': 'historical subscription phase',
                'verbose_name_plural': 'historical subscription phases',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='SubscriptionPhase',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('trial', 'Trial'), ('active', 'Active'), ('paused', 'Paused')], max_length=10)),
                ('quantity', models.PositiveIntegerField(default=1, help_text='Seats: flat fees count so often.')),
                ('starts_at', models.DateTimeField()),
                ('ends_at', models.DateTimeField(blank=True, help_text='Empty: until further notice.', null=True)),
            ],
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='subscription',
            name='stays_what_it_is',
        ),
        migrations.AddField(
            model_name='historicalplanversion',
            name='proration',
            field=models.CharField(choices=[('second', 'By second'), ('day', 'By calendar day'), ('none', 'Not at all: what begins the period owes the whole')], db_default='second', default='second', help_text='How fees of a billing period are divided where a change, start or end cuts it.', max_length=10),
        ),
        migrations.AddField(
            model_name='planversion',
            name='proration',
            field=models.CharField(choices=[('second', 'By second'), ('day', 'By calendar day'), ('none', 'Not at all: what begins the period owes the whole')], db_default='second', default='second', help_text='How fees of a billing period are divided where a change, start or end cuts it.', max_length=10),
        ),
        migrations.AddConstraint(
            model_name='planversion',
            constraint=models.CheckConstraint(condition=models.Q(('proration__in', ['second', 'day', 'none'])), name='plan_proration_is_known'),
        ),
        migrations.AddField(
            model_name='historicalsubscriptionphase',
            name='history_user',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='historicalsubscriptionphase',
            name='plan_version',
            field=models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='invoicing.planversion'),
        ),
        migrations.AddField(
            model_name='historicalsubscriptionphase',
            name='subscription',
            field=models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='invoicing.subscription'),
        ),
        migrations.AddField(
            model_name='subscriptionphase',
            name='plan_version',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='phases', to='invoicing.planversion'),
        ),
        migrations.AddField(
            model_name='subscriptionphase',
            name='subscription',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='phases', to='invoicing.subscription'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='historicalsubscriptionphase',
            trigger=pgtrigger.compiler.Trigger(name='append_only', sql=billing_site.kernel.guard.GuardSql(func="RAISE EXCEPTION 'history rows of subscription phases are append-only: write a new row instead' USING ERRCODE = 'integrity_constraint_violation'; RETURN NULL;", hash='24525ef382f9afe9f98dc9571a64b892a43324cf', operation='UPDATE OR DELETE', pgid='pgtrigger_append_only_0b4a3', table='invoicing_historicalsubscriptionphase', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='historicalsubscriptionphase',
            trigger=pgtrigger.compiler.Trigger(name='never_truncated', sql=billing_site.kernel.guard.GuardSql(func="RAISE EXCEPTION 'history rows of subscription phases cannot be truncated' USING ERRCODE = 'integrity_constraint_violation'; RETURN NULL;", hash='25c777440d6ed319ae074072ff76c40203350e3f', level='STATEMENT', operation='TRUNCATE', pgid='pgtrigger_never_truncated_e660f', table='invoicing_historicalsubscriptionphase', when='BEFORE')),
        ),
        migrations.AddIndex(
            model_name='subscriptionphase',
            index=models.Index(fields=['subscription', 'starts_at'], name='phase_by_subscription'),
        ),
        migrations.AddConstraint(
            model_name='subscriptionphase',
            constraint=models.CheckConstraint(condition=models.Q(('ends_at__isnull', True), ('ends_at__gt', models.F('starts_at')), _connector='OR'), name='phase_lasts'),
        ),
        migrations.AddConstraint(
            model_name='subscriptionphase',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['trial', 'active', 'paused'])), name='phase_kind_is_known'),
        ),
        migrations.AddConstraint(
            model_name='subscriptionphase',
            constraint=models.CheckConstraint(condition=models.Q(('quantity__gte', 1)), name='phase_quantity_is_at_least_one'),
        ),
        migrations.AddConstraint(
            model_name='subscriptionphase',
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(expressions=[(models.Func('subscription_id', 'subscription_id', models.Value('[]'), function='int8range'), '&&'), (models.Func('starts_at', 'ends_at', function='tstzrange', output_field=django.contrib.postgres.fields.ranges.DateTimeRangeField()), '&&')], name='phases_of_a_subscription_do_not_overlap'),
        ),
        migrations.AlterField(
            model_name="subscription",
            name="plan_version",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="subscriptions",
                to="invoicing.planversion",
            ),
        ),
    ]
