import audit.models
import django.db.models.functions.text
import django.db.models.lookups
from django.db import migrations, models

from audit.canonical import ROW, mac_of_line
from audit.log import MAC_KEY
from raxx.kernel.keys import derive


def sign_what_is_there(apps, schema_editor):
    """Rows written before MACs existed get theirs now, before anything is sealed."""
    unsigned = ROW.replace("encode(l.mac, 'hex')", "''")
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
        lines = []
        with cursor.copy(f"COPY (SELECT {unsigned} FROM audit_log l WHERE l.mac IS NULL) TO STDOUT") as copy:
            lines = [bytes(line).rstrip(b"\n") for line in copy]
        key = derive(MAC_KEY)
        found = [(int(line.split(b"\t", 1)[0]), mac_of_line(key, line)[0]) for line in lines]
        cursor.execute(
            "UPDATE audit_log l SET mac = f.mac FROM unnest(%s::bigint[], %s::bytea[]) AS f (id, mac) WHERE l.id = f.id",
            [[number for number, _ in found], [mac for _, mac in found]],
        )
        cursor.execute("ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only")


# A row may go only when its time is over by the clock of the database and the latest manifest lists it;
# that is what the retention purge writes just before, in the same transaction. Nothing else deletes.
# Everything else stays refused, by triggers that fire in every session: 0002.
GUARDS = """
CREATE FUNCTION audit_refuse_early_delete() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE listed int8multirange;
BEGIN
    SELECT seqs::int8multirange INTO listed FROM audit_manifests ORDER BY id DESC LIMIT 1;
    IF EXISTS (
        SELECT FROM gone LEFT JOIN audit_seal s ON s.entry_id = gone.id
         WHERE listed IS NULL OR s.seq IS NULL OR NOT s.seq <@ listed
            OR gone.recorded_at > clock_timestamp() - interval '2 years')
    THEN
        RAISE EXCEPTION 'audit_log is append-only: DELETE is refused'
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Rows go when their time is over: manage.py audit_purge.';
    END IF;
    RETURN NULL;
END
$$;

DROP TRIGGER audit_log_append_only ON audit_log;
CREATE TRIGGER audit_log_append_only
    BEFORE UPDATE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_log_purge_only
    AFTER DELETE ON audit_log REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_early_delete();
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only;
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_purge_only;
""" + "".join(
    f"""
CREATE TRIGGER {table}_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only;
"""
    for table in ("audit_seal", "audit_checkpoints", "audit_manifests")
)

UNGUARD = "".join(
    f"DROP TRIGGER {table}_append_only ON {table};" for table in ("audit_seal", "audit_checkpoints", "audit_manifests")
) + """
DROP TRIGGER audit_log_purge_only ON audit_log;
DROP FUNCTION audit_refuse_early_delete();
DROP TRIGGER audit_log_append_only ON audit_log;
CREATE TRIGGER audit_log_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('audit', '0002_append_only'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditCheckpoint',
            fields=[
                ('seq', models.BigIntegerField(primary_key=True, serialize=False)),
                ('chain', models.BinaryField(max_length=32)),
                ('at', models.DateTimeField()),
                ('key_id', models.CharField(max_length=16)),
                ('signature', models.BinaryField(max_length=64)),
            ],
            options={'db_table': 'audit_checkpoints'},
        ),
        migrations.CreateModel(
            name='AuditManifest',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('made_at', models.DateTimeField()),
                ('retention', models.CharField(max_length=2)),
                ('cutoff', models.DateTimeField()),
                ('through_id', models.BigIntegerField()),
                ('rows', models.PositiveIntegerField()),
                ('seqs', models.TextField()),
                ('key_id', models.CharField(max_length=16)),
                ('signature', models.BinaryField(max_length=64)),
            ],
            options={
                'db_table': 'audit_manifests',
                'constraints': [models.CheckConstraint(condition=models.Q(('rows__gte', 1)), name='audit_manifest_has_rows'), models.CheckConstraint(condition=models.Q(('retention__in', ('2y', '7y'))), name='audit_manifest_retention_known')],
            },
        ),
        migrations.CreateModel(
            name='AuditSeal',
            fields=[
                ('seq', models.BigIntegerField(primary_key=True, serialize=False)),
                ('entry_id', models.BigIntegerField(unique=True)),
                ('leaf', models.BinaryField(max_length=32)),
                ('chain', models.BinaryField(max_length=32)),
            ],
            options={
                'db_table': 'audit_seal',
                'constraints': [
                    models.CheckConstraint(condition=models.Q(('seq__gte', 1)), name='audit_seal_counts_from_one'),
                    models.CheckConstraint(condition=django.db.models.lookups.Exact(django.db.models.functions.text.Length('leaf'), 32), name='audit_leaf_is_32_bytes'),
                    models.CheckConstraint(condition=django.db.models.lookups.Exact(django.db.models.functions.text.Length('chain'), 32), name='audit_chain_is_32_bytes'),
                ],
            },
        ),
        migrations.CreateModel(
            name='AuditSealer',
            fields=[
                ('id', models.SmallIntegerField(db_default=1, primary_key=True, serialize=False)),
                ('record_id', models.UUIDField()),
                ('floor', models.BigIntegerField(db_default=0)),
                ('ceiling', models.BigIntegerField(db_default=0)),
                ('holders', models.JSONField(default=list)),
            ],
            options={
                'db_table': 'audit_sealer',
                'constraints': [models.CheckConstraint(condition=models.Q(('id', 1)), name='audit_sealer_is_one_row')],
            },
        ),
        migrations.AddField(model_name='auditentry', name='mac', field=models.BinaryField(max_length=16, null=True)),
        migrations.RunPython(sign_what_is_there, migrations.RunPython.noop),
        migrations.AlterField(model_name='auditentry', name='mac', field=models.BinaryField(max_length=16)),
        migrations.AddConstraint(
            model_name='auditentry',
            constraint=models.CheckConstraint(condition=django.db.models.lookups.Exact(django.db.models.functions.text.Length('mac'), 16), name='audit_mac_is_16_bytes'),
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
    ]
