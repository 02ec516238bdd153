"""What an account has for exercise and assignment, and what it lacks for a set of them. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from mbt.engine.account import ZERO, Position
from raxx.kernel.errors import RaxxError
from raxx.kernel.money import CENT, from_ticks
from raxx.market.contracts import Right
from raxx.market.listing import Deliverable, OptionTerms

Book = Mapping[str, Position]
Prices = Mapping[str, int]
EMPTY = Position()


class NoSettlementPrice(RaxxError):
    """Contracts expire and the price of what they deliver is missing: nothing is decided."""

    code = "NO_SETTLEMENT_PRICE"


class Means(msgspec.Struct, frozen=True):
    """What an account has for exercise and assignment.

    `excess`: dollars that are free once the expiring contracts, and what is reserved for them, are gone: in
    a cash account its free cash, in a margin account equity less the requirements of the rest. `long_rate`:
    the part of bought shares that must be the account's own money (1 in a cash account, 0.5 under Reg T).
    `short_rate`: the deposit on shares sold short, None where an account may not be short. `pledged`: shares that
    short calls stand on which stay, where the account may hold no naked call: an exercise must not deliver them.
    """

    excess: Decimal
    long_rate: Decimal = Decimal(1)
    short_rate: Decimal | None = None
    pledged: Mapping[str, Decimal] = {}

    def lacking(self, symbol: str, held: Decimal) -> Decimal:
        """How many shares too few it is to hold so many."""
        if self.short_rate is not None and symbol not in self.pledged:
            return ZERO
        return max(ZERO, self.pledged.get(symbol, ZERO) - held)

    def backing(self, qty: Decimal, price: int) -> Decimal:
        """What `qty` shares add to the excess (short ones take away), beside the cash they cost or brought."""
        rate = 1 - self.long_rate if qty >= 0 else 1 + (self.short_rate or ZERO)
        return qty * from_ticks(price) * rate


class Line(msgspec.Struct, frozen=True):
    """`qty` contracts that are exercised (positive) or assigned (negative)."""

    terms: OptionTerms
    qty: Decimal

    @property
    def sign(self) -> int:
        """1 when shares come in: a call exercised, a put assigned."""
        return 1 if (self.terms.right is Right.CALL) is (self.qty > 0) else -1


def in_the_money(terms: OptionTerms, prices: Prices) -> bool:
    """Whether exercise by exception takes the contract: by at least a cent a share."""
    return terms.intrinsic(prices) >= CENT * terms.multiplier


def effect(lines: Iterable[Line], book: Book, prices: Prices, means: Means) -> tuple[Decimal, Decimal]:
    """What carrying out `lines` together does: the change of the excess, and the dollar value of shares
    that the account would lack although it may not."""
    cash = ZERO
    shares: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for line in lines:
        terms = line.terms
        if not terms.is_physical:
            cash += line.qty * terms.intrinsic(prices)
            continue
        count = line.sign * abs(line.qty)
        cash += count * (terms.deliverable.cash - terms.exercise_cost)
        for symbol, qty in terms.deliverable.shares:
            shares[symbol] += count * qty
    change, forbidden = cash, ZERO
    for symbol, moved in shares.items():
        held = book.get(symbol, EMPTY).qty
        change += means.backing(held + moved, prices[symbol]) - means.backing(held, prices[symbol])
        lacking = means.lacking(symbol, held + moved) - means.lacking(symbol, held)
        forbidden += lacking * from_ticks(prices[symbol])
    return change, max(ZERO, forbidden)


# What an account lacks: the value of shares that it may not be short, then dollars. The first counts first:
# money cannot replace shares.
Strain = tuple[Decimal, Decimal]
NO_STRAIN: Strain = (ZERO, ZERO)


def strain(lines: Iterable[Line], book: Book, prices: Prices, means: Means) -> Strain:
    """What the account lacks to carry out `lines`. Both parts are convex in each quantity."""
    change, forbidden = effect(lines, book, prices, means)
    return forbidden, max(ZERO, -(means.excess + change))


def shortfall(
    contracts: Mapping[str, Decimal], *, book: Book, terms: Mapping[str, OptionTerms], prices: Prices, means: Means
) -> Decimal:  # fmt: skip
    """Dollars, or the value of shares, that the account lacks for exercising (positive) and being assigned
    (negative) all of `contracts` together; 0 when it can."""
    lines = (Line(terms[symbol], qty) for symbol, qty in contracts.items())
    return sum(strain(lines, book, prices, means), ZERO)


def kind_of(terms: OptionTerms) -> tuple[Deliverable, Right]:
    return terms.deliverable, terms.right


def net(lines: Iterable[Line]) -> Mapping[tuple[Deliverable, Right], Decimal]:
    """Exercised less assigned contracts, by what they deliver and right: what does not offset itself."""
    net: dict[tuple[Deliverable, Right], Decimal] = defaultdict(lambda: ZERO)
    for line in lines:
        net[kind_of(line.terms)] += line.qty
    return net


def require_prices(expiring: Iterable[OptionTerms], prices: Prices) -> None:
    """Raises NoSettlementPrice when a price is missing that decides about one of these."""
    for terms in expiring:
        needed = (
            [symbol for symbol, _ in terms.deliverable.shares] if terms.is_physical else [terms.underlying]
        )
        missing = [symbol for symbol in needed if not prices.get(symbol)]
        if missing:
            raise NoSettlementPrice(
                f"{terms.symbol} expires and {missing[0]} has no price. Nothing was decided.",
                field="prices", rule="every underlying of what expires has one price", value=missing[0],
                remedy="Try again when the price is there.",
            )  # fmt: skip
