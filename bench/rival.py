# mypy: disable-error-code="import-not-found,misc,no-any-unimported,untyped-decorator"
"""The yardstick of order_post: the same order taken by FastAPI and asyncpg, as lean as one would write it by hand.

Key checked, account row locked, order, audit row and ledger row inserted, hold updated, in one transaction. It runs
in an environment of its own; its packages are no requirement of the product's.
"""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import asyncpg
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

TABLES = """
CREATE SCHEMA rival;
CREATE TABLE rival.accounts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key_id text UNIQUE NOT NULL,
  secret_hash bytea NOT NULL, cash numeric(18,2) NOT NULL, held numeric(18,2) NOT NULL DEFAULT 0);
CREATE TABLE rival.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account_id bigint NOT NULL
  REFERENCES rival.accounts, client_order_id text NOT NULL, symbol text NOT NULL, side text NOT NULL, qty numeric(18,9) NOT NULL,
  order_type text NOT NULL, limit_price numeric(12,4), time_in_force text NOT NULL, status text NOT NULL,
  accepted_at timestamptz NOT NULL, UNIQUE (account_id, client_order_id));
CREATE TABLE rival.audit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL, account_id bigint NOT NULL,
  action text NOT NULL, order_id bigint NOT NULL, changes jsonb NOT NULL);
CREATE INDEX ON rival.audit (order_id);
CREATE TABLE rival.ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account_id bigint NOT NULL,
  order_id bigint NOT NULL, kind text NOT NULL, amount numeric(18,2) NOT NULL, at timestamptz NOT NULL);
CREATE INDEX ON rival.ledger (account_id, at);
"""


@asynccontextmanager
async def _pool(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["RIVAL_DATABASE_URL"], min_size=2, max_size=8) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=_pool, docs_url=None, openapi_url=None)


class Ticket(BaseModel):
    client_order_id: str = Field(max_length=128)
    symbol: str = Field(pattern=r"^[A-Z0-9. ]{1,21}$")
    side: Literal["buy", "sell"]
    qty: Decimal = Field(gt=0)
    order_type: Literal["limit"]
    time_in_force: Literal["day", "gtc", "ioc", "fok"]
    limit_price: Decimal = Field(gt=0)


class Taken(Ticket):
    id: int
    status: str
    accepted_at: datetime


@app.post("/api/mbt/orders", status_code=201, response_model=Taken)
async def submit(ticket: Ticket, request: Request) -> dict[str, Any]:
    _, _, encoded = request.headers.get("authorization", "").partition(" ")
    key_id, _, secret = base64.b64decode(encoded).decode().partition(":")
    now, hold = datetime.now(UTC), ticket.qty * ticket.limit_price
    async with app.state.pool.acquire() as connection:
        known = await connection.fetchrow(
            "SELECT id, secret_hash FROM rival.accounts WHERE key_id = $1", key_id
        )
        if known is None or not hmac.compare_digest(
            known["secret_hash"], hashlib.sha256(secret.encode()).digest()
        ):
            raise HTTPException(401)
        account = known["id"]
        async with connection.transaction():
            row = await connection.fetchrow(
                "SELECT cash, held FROM rival.accounts WHERE id = $1 FOR UPDATE", account
            )
            if row["cash"] - row["held"] < hold:
                raise HTTPException(403)
            order = await connection.fetchval(
                "INSERT INTO rival.orders (account_id, client_order_id, symbol, side, qty, order_type, limit_price, time_in_force,"
                " status, accepted_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'accepted', $9) RETURNING id",
                account, ticket.client_order_id, ticket.symbol, ticket.side, ticket.qty, ticket.order_type,
                ticket.limit_price, ticket.time_in_force, now,
            )  # fmt: skip
            changes = json.dumps({name: str(value) for name, value in ticket.model_dump().items()})
            await connection.execute(
                "INSERT INTO rival.audit (at, account_id, action, order_id, changes) VALUES ($1, $2, 'order.accepted', $3, $4)",
                now, account, order, changes,
            )  # fmt: skip
            await connection.execute(
                "INSERT INTO rival.ledger (account_id, order_id, kind, amount, at) VALUES ($1, $2, 'hold', $3, $4)",
                account, order, -hold, now,
            )  # fmt: skip
            await connection.execute(
                "UPDATE rival.accounts SET held = held + $2 WHERE id = $1", account, hold
            )
    return {**ticket.model_dump(), "id": order, "status": "accepted", "accepted_at": now}
