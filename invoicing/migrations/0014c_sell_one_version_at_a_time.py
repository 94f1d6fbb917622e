"""One version of a plan is sold at a time; a published one keeps its beginning."""

import billing_site.kernel.guard
import django.contrib.postgres.constraints
import django.contrib.postgres.fields.ranges
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("invoicing", "0014b_date_what_is_published"),
    ]

    operations = [
        pgtrigger.migrations.AddTrigger(
            model_name='planversion',
            trigger=pgtrigger.compiler.Trigger(name='carved_in_stone', sql=billing_site.kernel.guard.GuardSql(func="\n                IF (OLD.published_at IS NULL) THEN\n                    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;\n                    RETURN NEW;\n                END IF;\n                IF TG_OP = 'DELETE' THEN\n                    RAISE EXCEPTION 'published plan versions % cannot be deleted', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                IF to_jsonb(OLD) - ARRAY['effective_to']::text[] IS DISTINCT FROM to_jsonb(NEW) - ARRAY['effective_to']::text[] THEN\n                    RAISE EXCEPTION 'published plan versions % cannot be changed', OLD.id USING ERRCODE = 'integrity_constraint_violation';\n                END IF;\n                RETURN NEW;\n            ", hash='92cc8a45358bb6c43e37e05ba257d02f11f87473', operation='UPDATE OR DELETE', pgid='pgtrigger_carved_in_stone_16c92', table='invoicing_planversion', when='BEFORE')),
        ),
        migrations.AddConstraint(
            model_name='planversion',
            constraint=models.CheckConstraint(condition=models.Q(('effective_to__isnull', True), ('effective_from__isnull', True), ('effective_to__gte', models.F('effective_from')), _connector='OR'), name='plan_version_is_sold_forwards'),
        ),
        migrations.AddConstraint(
            model_name='planversion',
            constraint=django.contrib.postgres.constraints.ExclusionConstraint(condition=models.Q(('published_at__isnull', False)), expressions=[(models.Func('plan', 'plan', models.Value('[]'), function='int8range'), '&&'), (models.Func('effective_from', 'effective_to', function='tstzrange', output_field=django.contrib.postgres.fields.ranges.DateTimeRangeField()), '&&')], name='versions_of_a_plan_are_sold_one_at_a_time'),
        ),
    ]
