"""The identities that every account's rows must satisfy, whatever happened to it."""

from uuid import UUID

from django.db import connection

# Each finds accounts that break one identity: account, what, stored, computed.
_CHECKS = (
    """
    SELECT a.id, 'cash is not the sum of its activities', a.cash_balance, coalesce(s.total, 0)
      FROM mbt_accounts a
      LEFT JOIN (SELECT account_id, sum(amount) AS total FROM mbt_activities GROUP BY account_id) s ON s.account_id = a.id
     WHERE a.cash_balance <> coalesce(s.total, 0)
    """,
    """
    SELECT a.id, 'cash held is not what open orders hold', a.cash_held, coalesce(s.total, 0)
      FROM mbt_accounts a
      LEFT JOIN (SELECT account_id, sum(cash_hold) AS total FROM mbt_orders WHERE closed_at IS NULL GROUP BY account_id) s
        ON s.account_id = a.id
     WHERE a.cash_held <> coalesce(s.total, 0)
    """,
    """
    SELECT account_id, 'position in ' || symbol || ' is not the sum of its fills', sum(held), sum(filled)
      FROM (SELECT account_id, symbol, qty AS held, 0 AS filled FROM mbt_positions
            UNION ALL
            SELECT o.account_id, f.symbol, 0, CASE f.side WHEN 'buy' THEN f.qty ELSE -f.qty END
              FROM mbt_fills f JOIN mbt_orders o ON o.id = f.order_id) t
     GROUP BY account_id, symbol HAVING sum(held) <> sum(filled)
    """,
    """
    SELECT account_id, 'quantity of ' || symbol || ' held is not what open sells offer', sum(held), sum(offered)
      FROM (SELECT account_id, symbol, qty_held AS held, 0 AS offered FROM mbt_positions
            UNION ALL
            SELECT account_id, symbol, 0, qty - filled_qty FROM mbt_orders WHERE closed_at IS NULL AND side = 'sell') t
     GROUP BY account_id, symbol HAVING sum(held) <> sum(offered)
    """,
    """
    SELECT o.account_id, 'order ' || o.id || ' is not filled by its fills', o.filled_qty, coalesce(sum(f.qty), 0)
      FROM mbt_orders o LEFT JOIN mbt_fills f ON f.order_id = o.id
     GROUP BY o.id HAVING o.filled_qty <> coalesce(sum(f.qty), 0)
    """,
    """
    SELECT o.account_id, 'fill ' || f.id || ' is not in the history', f.qty, 0
      FROM mbt_fills f JOIN mbt_orders o ON o.id = f.order_id
     WHERE NOT EXISTS (SELECT 1 FROM mbt_activities a WHERE a.ref_id = f.id)
    """,
    """
    SELECT account_id, 'the cost of ' || symbol || ' is not what its fills left', sum(cost), sum(paid)
      FROM (SELECT account_id, symbol, cost, 0 AS paid FROM mbt_positions
            UNION ALL
            SELECT account_id, symbol, 0, coalesce(realized, 0) - amount FROM mbt_activities WHERE activity_type = 'fill') t
     GROUP BY account_id, symbol HAVING sum(cost) <> sum(paid)
    """,
)


def verify(account_id: UUID | str | None = None) -> tuple[int, list[str]]:
    """How many accounts were checked (one or all), and a sentence per broken identity."""
    problems = []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM mbt_accounts WHERE %(id)s::uuid IS NULL OR id = %(id)s::uuid",
            {"id": account_id},
        )
        checked = cursor.fetchone()[0]
        for sql in _CHECKS:
            cursor.execute(sql)
            problems += [
                f"account {account}: {what}: {stored:f} is stored, {computed:f} is right"
                for account, what, stored, computed in cursor.fetchall()
                if account_id is None or str(account) == str(account_id)
            ]
    return int(checked), problems
