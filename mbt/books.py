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
    SELECT account_id, 'position in ' || symbol || ' is not the sum of its history', sum(held), sum(moved)
      FROM (SELECT account_id, symbol, qty AS held, 0 AS moved FROM mbt_positions
            UNION ALL
            SELECT account_id, symbol, 0, CASE side WHEN 'buy' THEN qty ELSE -qty END FROM mbt_activities WHERE side <> '') t
     GROUP BY account_id, symbol HAVING sum(held) <> sum(moved)
    """,
    """
    SELECT account_id, 'fills of ' || symbol || ' are not those of its history', sum(filled), sum(moved)
      FROM (SELECT o.account_id, f.symbol, CASE f.side WHEN 'buy' THEN f.qty ELSE -f.qty END AS filled, 0 AS moved
              FROM mbt_fills f JOIN mbt_orders o ON o.id = f.order_id
            UNION ALL
            SELECT account_id, symbol, 0, CASE side WHEN 'buy' THEN qty ELSE -qty END
              FROM mbt_activities WHERE activity_type = 'fill') t
     GROUP BY account_id, symbol HAVING sum(filled) <> sum(moved)
    """,
    """
    SELECT account_id, 'quantity of ' || symbol || ' held is not what open orders close', sum(held), sum(offered)
      FROM (SELECT account_id, symbol, qty_held AS held, 0 AS offered FROM mbt_positions
            UNION ALL
            SELECT o.account_id, h.key, 0, h.value::numeric
              FROM mbt_orders o, jsonb_each_text(o.position_holds) h WHERE o.closed_at IS NULL) t
     GROUP BY account_id, symbol HAVING sum(held) <> sum(offered)
    """,
    """
    SELECT account_id, 'order ' || id || ' is not filled by its fills', filled_qty * ratios, filled
      FROM (SELECT o.account_id, o.id, o.filled_qty, coalesce(sum(f.qty), 0) AS filled,
                   coalesce((SELECT sum((leg ->> 'ratio')::numeric) FROM jsonb_array_elements(o.legs) leg), 1) AS ratios
              FROM mbt_orders o LEFT JOIN mbt_fills f ON f.order_id = o.id GROUP BY o.id) t
     WHERE filled_qty * ratios <> filled
    """,
    """
    SELECT o.account_id, 'fill ' || f.id || ' is not in the history', f.qty, 0
      FROM mbt_fills f JOIN mbt_orders o ON o.id = f.order_id
     WHERE NOT EXISTS (SELECT 1 FROM mbt_activities a WHERE a.ref_id = f.id)
    """,
    """
    SELECT account_id, 'the cost of ' || symbol || ' is not what its history left', sum(cost), sum(paid)
      FROM (SELECT account_id, symbol, cost, 0 AS paid FROM mbt_positions
            UNION ALL
            SELECT account_id, symbol, 0, coalesce(cost, coalesce(realized, 0) - amount) FROM mbt_activities
             WHERE side <> '' OR cost IS NOT NULL) t
     GROUP BY account_id, symbol HAVING sum(cost) <> sum(paid)
    """,
    """
    SELECT a.id, 'the count of short positions is wrong', a.shorts, count(p.id)
      FROM mbt_accounts a LEFT JOIN mbt_positions p ON p.account_id = a.id AND p.closed_at IS NULL AND p.qty < 0
     GROUP BY a.id HAVING a.shorts <> count(p.id)
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
