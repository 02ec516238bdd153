"""What events read and write: accounts, positions and prices as rows, and the lines of history that they leave."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType
from uuid import UUID

from django.db.models import Case, F, Sum, When

from mbt.engine import account as engine
from mbt.engine import buying_power, margin
from mbt.engine.account import Posting
from mbt.engine.buying_power import AccountType, AccountView, Holding
from mbt.engine.expiry import Instructions
from mbt.engine.means import Means, Prices
from mbt.engine.settlement import owed
from mbt.models import Account, Activity, ExerciseInstruction, Fill, Order, Position, SettlementPrice
from mbt.selectors import adjusted_classes, margin_rules, marks
from mbt.selectors.accounts import instructions_of
from mbt.selectors.markets import QuoteOf, quotes_of, with_tickers
from raxx.kernel.clock import exchange_date, from_ns, to_ns
from raxx.kernel.money import from_ticks, to_ticks
from raxx.market import calendar, listing
from raxx.market.contracts import AssetClass, parse_symbol
from raxx.market.listing import OptionClass, OptionTerms, UnknownDeliverable
from raxx.market.sessions import Sessions

# What these sell is paid when a trade of that day would be.
_SETTLED_LATER = frozenset({engine.Kind.EXERCISE, engine.Kind.ASSIGNMENT, engine.Kind.EXPIRATION})
ONE, ZERO = Decimal(1), Decimal(0)
NONE: Mapping[str, Decimal] = MappingProxyType({})


@dataclass
class State:
    """A locked account and its open positions by symbol, as an event meets them."""

    account: Account
    rows: dict[str, Position]

    @classmethod
    def locked(cls, account_id: UUID) -> "State":
        """Inside a transaction. The account's lock covers its positions: whoever changes them holds it."""
        account = Account.objects.select_for_update().get(pk=account_id)
        return cls(account, _open_rows(account_id))

    @property
    def book(self) -> dict[str, engine.Position]:
        return {symbol: engine.Position(row.qty, row.cost) for symbol, row in self.rows.items()}

    def read_again(self) -> None:
        """After orders were ended: what they had reserved is free."""
        self.account.refresh_from_db(fields=["cash_held"])
        self.rows = _open_rows(self.account.pk)

    @cached_property
    def adjusted(self) -> dict[str, OptionClass]:
        """The adjusted option classes of the account's feed."""
        return adjusted_classes(self.account.feed)

    def terms(self, sessions: Sessions) -> dict[str, OptionTerms]:
        """Of every option that it holds."""
        return terms_of(self.rows, sessions, self.adjusted)

    def instructions(self) -> Instructions:
        """What its owner asked for at expiration."""
        asked: dict[str, dict[str, Decimal]] = {kind: {} for kind in ExerciseInstruction.Kind}
        for row in instructions_of(self.account.pk):
            if row.symbol in self.rows:
                asked[row.kind][row.symbol] = self.rows[row.symbol].qty if row.qty is None else row.qty
        return Instructions(
            do_not_exercise=asked[ExerciseInstruction.Kind.DO_NOT_EXERCISE],
            exercise=asked[ExerciseInstruction.Kind.EXERCISE],
        )

    def view(
        self,
        held: Mapping[str, Decimal],
        *,
        prices: Prices,
        quote_of: QuoteOf,
        at_ns: int,
        cash: Decimal | None = None,
    ) -> AccountView:
        """The account as if it held just this, at the marks now."""
        known = {**marks(quotes_of(with_tickers(held, self.adjusted), quote_of)), **prices}
        return AccountView(
            type=AccountType(self.account.account_type), cash=self.account.cash_balance if cash is None else cash,
            cash_held=self.account.cash_held, holdings={symbol: Holding(qty, ZERO) for symbol, qty in held.items() if qty},
            marks=known, rules=margin_rules(at_ns, self.account.margin_model),
            adjusted=self.adjusted,
            options_level=self.account.options_level, naked_shorts=self.account.naked_shorts,
        )  # fmt: skip

    def means(
        self,
        gone: Iterable[str],
        *,
        prices: Prices,
        quote_of: QuoteOf,
        at_ns: int,
        used: Mapping[str, Decimal] = NONE,
    ) -> Means:
        """What the account has for exercise and assignment once the contracts `gone` are, and of others the quantities
        `used`. Raises NoMark."""
        over = set(gone)
        kept = {
            symbol: row.qty - used.get(symbol, ZERO)
            for symbol, row in self.rows.items()
            if symbol not in over
        }
        view = self.view(kept, prices=prices, quote_of=quote_of, at_ns=at_ns)
        try:
            standing = buying_power.standing(view)
        except margin.UncoveredShort:  # an earlier assignment took the stock that covered it: none is free
            return Means(view.cash - view.cash_held, pledged=kept)
        pledged = {} if view.naked_shorts else margin.covering_shares(standing.requirement.groups)
        if view.type is AccountType.CASH:
            return Means(standing.available, pledged=pledged)
        rate = view.rules.stock_initial
        return Means(standing.available, long_rate=rate, short_rate=rate, pledged=pledged)

    def write(self, postings: Sequence[Posting], *, ref_id: UUID, at: datetime) -> None:
        """Cash, positions and history, line by line."""
        activities = []
        touched: dict[UUID, Position] = {}
        for line, posting in enumerate(postings):
            moves = bool(posting.symbol) and bool(posting.qty or posting.cost)
            closes = False
            if moves:
                row = self.rows.get(posting.symbol) or self._opened(posting.symbol, at)
                closes = row.qty * posting.qty < 0 or not posting.qty
                row.qty += posting.qty
                row.cost += posting.cost
                row.realized += posting.realized
                touched[row.pk] = row
                if not row.qty:
                    row.closed_at, row.qty_held = at, ZERO
                    del self.rows[posting.symbol]  # what comes next opens a new row
            self.account.cash_balance += posting.cash
            if posting.kind in _SETTLED_LATER and posting.qty < 0 and posting.cash > 0:
                self.account.unsettled = owed(
                    self.account.unsettled, posting.cash, day=exchange_date(to_ns(at)),
                    asset_class=parse_symbol(posting.symbol).asset_class, sessions=calendar.of_feed(self.account.feed),
                )  # fmt: skip
            activities.append(Activity(
                account_id=self.account.pk, activity_type=posting.kind, symbol=posting.symbol,
                side=("buy" if posting.qty > 0 else "sell") if posting.qty else "", qty=abs(posting.qty) or None,
                price=from_ticks(posting.price) if posting.price else None, amount=posting.cash,
                cost=posting.cost if moves else None,
                realized=posting.realized if closes or posting.realized else None, ref_id=ref_id, line=line,
                note=posting.note[:300], occurred_at=at,
            ))  # fmt: skip
        self.account.shorts = sum(row.qty < 0 for row in self.rows.values())
        self.account.save(update_fields=["cash_balance", "shorts", "unsettled"])
        for row in touched.values():
            row.save()
        Activity.objects.bulk_create(activities)

    def _opened(self, symbol: str, at: datetime) -> Position:
        instrument = listing.instrument_of(symbol, self.adjusted)
        self.rows[symbol] = Position(
            account_id=self.account.pk, symbol=symbol, asset_class=instrument.asset_class,
            multiplier=instrument.multiplier, qty=ZERO, cost=ZERO, realized=ZERO, opened_at=at,
        )  # fmt: skip
        return self.rows[symbol]


def _open_rows(account_id: UUID) -> dict[str, Position]:
    rows = Position.objects.filter(account_id=account_id, closed_at__isnull=True).order_by("symbol")
    return {row.symbol: row for row in rows}


# -- who is concerned ----------------------------------------------------------------------------------


def options_held(feed: str) -> dict[str, list[UUID]]:
    """The option contracts held on a feed, and by which accounts, in a fixed order."""
    rows = Position.objects.filter(
        account__feed=feed, closed_at__isnull=True, asset_class=AssetClass.OPTION
    ).order_by("account__created_at", "account_id", "symbol")
    found: dict[str, list[UUID]] = {}
    for symbol, account_id in rows.values_list("symbol", "account_id"):
        found.setdefault(symbol, []).append(account_id)
    return found


def fills_between(feed: str, start: datetime, end: datetime) -> dict[UUID, list[Fill]]:
    """The fills of each account of a feed, from `start` on and before `end`."""
    rows = Fill.objects.filter(order__account__feed=feed, filled_at__gte=start, filled_at__lt=end)
    found: dict[UUID, list[Fill]] = {}
    for row in rows.select_related("order").order_by("order__account_id", "order_id", "fill_seq"):
        found.setdefault(row.order.account_id, []).append(row)
    return found


def held_before(feed: str, symbol: str, at: datetime) -> dict[UUID, Decimal]:
    """What each account of a feed held of a symbol just before an instant, by its history."""
    rows = Activity.objects.filter(account__feed=feed, symbol=symbol, occurred_at__lt=at).exclude(side="")
    totals = rows.values("account_id").annotate(
        total=Sum(Case(When(side="buy", then=F("qty")), default=-F("qty")))
    )
    return {row["account_id"]: row["total"] for row in totals.order_by("account_id") if row["total"]}


def open_orders(account_id: UUID) -> list[Order]:
    """In order of acceptance."""
    return list(Order.objects.filter(account_id=account_id, closed_at__isnull=True).order_by("number"))


# -- what is known of contracts and prices -------------------------------------------------------------


def terms_of(
    symbols: Iterable[str], sessions: Sessions, adjusted: Mapping[str, OptionClass] = listing.STANDARD_ONLY
) -> dict[str, OptionTerms]:
    """The terms of those of `symbols` that are options; an adjusted one that nothing describes is left out."""
    found = {}
    for symbol in symbols:
        instrument = parse_symbol(symbol)
        if instrument.asset_class is AssetClass.OPTION:
            try:
                found[symbol] = listing.terms_of(instrument, sessions, adjusted)
            except UnknownDeliverable:
                continue
    return found


def held_terms(feed: str, held: Iterable[str], sessions: Sessions) -> dict[str, OptionTerms]:
    """The terms of the contracts held on a feed."""
    return terms_of(held, sessions, adjusted_classes(feed))


def settles_on(terms: OptionTerms) -> list[str]:
    """The symbols whose prices decide what becomes of the contract."""
    return [symbol for symbol, _ in terms.deliverable.shares] if terms.is_physical else [terms.underlying]


def settlement_prices(feed: str, wanted: Iterable[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
    """The recorded prices (1/10,000 dollar) of (symbol, instant) pairs, where there are any."""
    pairs = set(wanted)
    rows = SettlementPrice.objects.filter(
        feed=feed, symbol__in={symbol for symbol, _ in pairs}, at__in={from_ns(at_ns) for _, at_ns in pairs}
    )
    known = {(row.symbol, row.at): to_ticks(row.price) for row in rows}
    return {
        (symbol, at_ns): known[symbol, from_ns(at_ns)]
        for symbol, at_ns in pairs
        if (symbol, from_ns(at_ns)) in known
    }
