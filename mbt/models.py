"""Paper trading's tables. PostgreSQL refuses what the domain forbids; services decide the rest.

A foreign key goes without an index of its own where another index already begins with it.
"""

from django.conf import settings
from django.db import models
from django.db.models import F, Func, Q, Value

from raxx.kernel.ids import new_id

# In PostgreSQL NaN is greater than every number, so each amount also has an upper bound.
MONEY_MAX = 10**13
QTY_MAX = 10**9


class Account(models.Model):
    """A simulated account. Its cash changes only by activities; `cash_held` is what open orders reserve."""

    class Type(models.TextChoices):
        CASH = "cash"
        MARGIN = "margin"

    class Status(models.TextChoices):
        ACTIVE = "active"
        RESTRICTED = "restricted"
        CLOSED = "closed"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="mbt_account"
    )
    account_type = models.CharField(max_length=8, choices=Type.choices, default=Type.CASH)
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.ACTIVE)
    feed = models.CharField(max_length=64)  # an account trades on the tape that it sees
    cash_balance = models.DecimalField(max_digits=18, decimal_places=2)
    cash_held = models.DecimalField(max_digits=18, decimal_places=2, default=0)
    # What its owner may do and how its orders are taken to fill: docs/rules/fills.md, docs/rules/margin.md.
    options_level = models.PositiveSmallIntegerField(default=2)
    naked_shorts = models.BooleanField(default=False)
    fill_preference = models.CharField(max_length=12, default="conservative")
    size_cap = models.BooleanField(default=False)
    latency_ms = models.PositiveIntegerField(default=0)
    # The name of what it pays beside the price of a fill: mbt.engine.fees.SCHEDULES.
    fee_schedule = models.CharField(max_length=24, default="regulatory", db_default="regulatory")
    # The name of what time costs it and earns it: mbt.services.events.interest.INTEREST_SCHEDULES.
    interest_schedule = models.CharField(max_length=24, default="standard", db_default="standard")
    # How many positions are short: an order of an account without any need not read its positions.
    shorts = models.PositiveIntegerField(default=0)
    # mbt.engine.margin.Model and mbt.engine.daytrades.Model.
    margin_model = models.CharField(max_length=16, default="reg_t", db_default="reg_t")
    day_trade_rules = models.CharField(max_length=16, default="by_date", db_default="by_date")
    # Proceeds agreed and still to come, dollars by the day (ISO) on which they settle; days gone by may linger.
    unsettled = models.JSONField(default=dict)
    # Until the day before this one purchases are paid with settled cash, because of `restriction` (a Breach).
    restricted_until = models.DateField(null=True)
    restriction = models.CharField(max_length=16, default="", db_default="")
    # A pattern day trader's since then. What it was worth at the last close: kept for margin accounts only.
    pattern_since = models.DateField(null=True)
    closing_on = models.DateField(null=True)
    closing_equity = models.DecimalField(max_digits=18, decimal_places=2, null=True)
    closing_maintenance = models.DecimalField(max_digits=18, decimal_places=2, null=True)
    # Since this instant of its feed the engine leaves it alone, because of this: mbt.services.fills.isolation.
    set_aside_at = models.DateTimeField(null=True)
    set_aside_because = models.CharField(max_length=100, default="", db_default="")
    created_at = models.DateTimeField()

    class Meta:
        db_table = "mbt_accounts"
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    cash_held__gte=0,
                    cash_held__lt=MONEY_MAX,
                    cash_balance__gt=-MONEY_MAX,
                    cash_balance__lt=MONEY_MAX,
                )
                & (Q(account_type="margin") | Q(cash_held=0) | Q(cash_held__lte=F("cash_balance"))),
                name="account_never_promises_more_cash_than_it_has",
            ),
        ]

    def __str__(self) -> str:
        return f"account {self.pk}"


class Order(models.Model):
    """One order. Status, side, type and TIF are the values of `mbt.engine.orders`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    # Order of acceptance over all accounts: at one instant of the feed the lower number goes first.
    number = models.BigIntegerField(
        unique=True, editable=False, db_default=Func(Value("mbt_order_numbers"), function="nextval")
    )
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="orders", db_index=False)
    client_order_id = models.CharField(max_length=128)
    # A digest of what was asked for: the same client_order_id may only name the same terms again.
    fingerprint = models.CharField(max_length=64, default="")
    symbol = models.CharField(max_length=21)  # "" for a package
    asset_class = models.CharField(max_length=8)
    multiplier = models.PositiveIntegerField()
    side = models.CharField(max_length=4)
    qty = models.DecimalField(max_digits=18, decimal_places=9)
    notional = models.DecimalField(max_digits=18, decimal_places=2, null=True)
    order_type = models.CharField(max_length=16)
    limit_price = models.DecimalField(max_digits=12, decimal_places=4, null=True)  # a package's is signed
    stop_price = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    trail_price = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    trail_percent = models.DecimalField(max_digits=7, decimal_places=4, null=True)
    time_in_force = models.CharField(max_length=4)
    hours = models.CharField(max_length=8, default="regular")
    fill_preference = models.CharField(max_length=12, default="conservative")
    size_cap = models.BooleanField(default=False)
    legs = models.JSONField(default=list)  # of a package: symbol, side, ratio, multiplier, effect
    # Orders that belong together: an entry and its exits; exits of one group share their quantity.
    order_class = models.CharField(max_length=8, default="simple")
    role = models.CharField(max_length=12, default="")
    entry = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="exits")
    group_id = models.UUIDField(null=True)
    status = models.CharField(max_length=16)
    reason = models.CharField(max_length=40, default="")
    cash_hold = models.DecimalField(max_digits=18, decimal_places=2, default=0)
    position_holds = models.JSONField(default=dict)  # symbol: quantity of the position that it closes
    filled_qty = models.DecimalField(max_digits=18, decimal_places=9, default=0)
    filled_avg_price = models.DecimalField(max_digits=14, decimal_places=6, null=True)
    replaces = models.OneToOneField("self", on_delete=models.CASCADE, null=True, related_name="replaced_by")
    # Instants of the account's feed.
    accepted_at = models.DateTimeField()
    arrives_ns = models.BigIntegerField(default=0)  # from when it acts, when that is later than accepted_at
    working_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    # What the receipt needs: the quote the order met first, and those that could not be used.
    arrival = models.JSONField(null=True)
    refusals = models.JSONField(default=dict)
    progress = models.JSONField(default=dict)  # a stop's mark and trigger: mbt.engine.orders.Progress
    nearest = models.JSONField(
        null=True
    )  # how near the market came without a fill: mbt.engine.nearest.Nearest

    class Meta:
        db_table = "mbt_orders"
        indexes = [
            models.Index(fields=["account", "-number"], name="mbt_orders_by_account"),
            models.Index(fields=["status"], name="mbt_orders_open", condition=Q(closed_at__isnull=True)),
        ]
        constraints = [
            models.UniqueConstraint(fields=["account", "client_order_id"], name="order_submitted_once"),
            models.CheckConstraint(condition=Q(qty__gt=0, qty__lt=QTY_MAX), name="order_quantity_positive"),
            models.CheckConstraint(
                condition=Q(filled_qty__gte=0, filled_qty__lte=F("qty")), name="order_never_overfilled"
            ),
            # SQL lets a CHECK pass on NULL, so the limit branch also says NOT NULL.
            models.CheckConstraint(
                condition=Q(
                    order_type__in=["limit", "stop_limit"],
                    limit_price__isnull=False,
                    limit_price__gt=-(10**8),
                    limit_price__lt=10**8,
                )
                | Q(~Q(order_type__in=["limit", "stop_limit"]), limit_price__isnull=True),
                name="order_limit_price_iff_limit",
            ),
            models.CheckConstraint(
                condition=Q(symbol="") | Q(limit_price__isnull=True) | Q(limit_price__gt=0),
                name="order_limit_price_positive_but_for_packages",
            ),
            models.CheckConstraint(
                condition=Q(
                    order_type__in=["stop", "stop_limit"], stop_price__isnull=False, stop_price__lt=10**8
                )
                | Q(~Q(order_type__in=["stop", "stop_limit"]), stop_price__isnull=True),
                name="order_stop_price_iff_stop",
            ),
            models.CheckConstraint(
                condition=Q(order_type="trailing_stop", trail_price__gt=0, trail_percent__isnull=True)
                | Q(order_type="trailing_stop", trail_percent__gt=0, trail_price__isnull=True)
                | Q(~Q(order_type="trailing_stop"), trail_price__isnull=True, trail_percent__isnull=True),
                name="order_one_trail_iff_trailing",
            ),
            models.CheckConstraint(
                condition=Q(
                    status__in=["held", "accepted", "new", "partially_filled"], closed_at__isnull=True
                )
                | Q(
                    status__in=["filled", "canceled", "expired", "replaced", "rejected"],
                    closed_at__isnull=False,
                    cash_hold=0,
                ),
                name="order_closed_iff_terminal_and_holds_nothing",
            ),
            models.CheckConstraint(
                condition=Q(cash_hold__gte=0, cash_hold__lt=MONEY_MAX), name="order_hold_sane"
            ),
        ]

    def __str__(self) -> str:
        return f"order {self.pk}"


class Fill(models.Model):
    """One execution, with the NBBO and the rule that gave it: enough to replay and explain it for ever."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="fills", db_index=False)
    fill_seq = models.PositiveIntegerField(default=1)
    symbol = models.CharField(max_length=21)
    side = models.CharField(max_length=4)
    qty = models.DecimalField(max_digits=18, decimal_places=9)
    price = models.DecimalField(max_digits=12, decimal_places=4)
    filled_at = models.DateTimeField()
    nbbo_bid = models.DecimalField(max_digits=12, decimal_places=4)
    nbbo_bid_size = models.PositiveIntegerField()
    nbbo_ask = models.DecimalField(max_digits=12, decimal_places=4)
    nbbo_ask_size = models.PositiveIntegerField()
    quote_ns = models.BigIntegerField()  # the quote's own stamp: its place in the tape
    feed = models.CharField(max_length=64)
    rule = models.CharField(max_length=24)
    rule_version = models.PositiveSmallIntegerField()

    class Meta:
        db_table = "mbt_fills"
        constraints = [
            models.UniqueConstraint(fields=["order", "fill_seq"], name="fill_recorded_once"),
            models.CheckConstraint(condition=Q(qty__gt=0, qty__lt=QTY_MAX), name="fill_quantity_positive"),
            models.CheckConstraint(condition=Q(price__gt=0, price__lt=10**8), name="fill_price_positive"),
        ]

    def __str__(self) -> str:
        return f"fill {self.pk}"


class Position(models.Model):
    """What an account holds of one symbol, from its first share to its last. One open row per symbol."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="positions")
    symbol = models.CharField(max_length=21)
    asset_class = models.CharField(max_length=8)
    multiplier = models.PositiveIntegerField()
    qty = models.DecimalField(max_digits=18, decimal_places=9)
    qty_held = models.DecimalField(max_digits=18, decimal_places=9, default=0)  # offered by open sells
    cost = models.DecimalField(max_digits=18, decimal_places=2)
    realized = models.DecimalField(max_digits=18, decimal_places=2, default=0)
    avg_entry_price = models.GeneratedField(
        expression=F("cost") / Func(F("qty") * F("multiplier"), Value(0), function="NULLIF"),
        output_field=models.DecimalField(max_digits=24, decimal_places=9, null=True),
        db_persist=True,
    )
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "mbt_positions"
        constraints = [
            models.UniqueConstraint(
                fields=["account", "symbol"], condition=Q(closed_at__isnull=True), name="position_open_once"
            ),
            models.CheckConstraint(
                condition=Q(qty__gt=-QTY_MAX, qty__lt=QTY_MAX, qty_held__gte=0)
                & (Q(qty_held__lte=F("qty")) | Q(qty_held__lte=-F("qty"))),
                name="position_never_promises_more_than_it_has",
            ),
            models.CheckConstraint(
                condition=Q(~Q(qty=0), closed_at__isnull=True) | Q(closed_at__isnull=False, qty=0, cost=0),
                name="position_closed_iff_empty",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.qty} {self.symbol}"


class Activity(models.Model):
    """One line of the account's history. Cash is the sum of the amounts; nothing is ever removed or changed."""

    class Type(models.TextChoices):
        FILL = "fill"
        FEE = "fee"
        DIVIDEND = "dividend"
        INTEREST = "interest"
        EXPIRATION = "expiration"
        EXERCISE = "exercise"
        ASSIGNMENT = "assignment"
        CORPORATE_ACTION = "corporate_action"
        ADJUSTMENT = "adjustment"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="activities", db_index=False)
    activity_type = models.CharField(max_length=20, choices=Type.choices)
    symbol = models.CharField(max_length=21, default="")
    side = models.CharField(max_length=4, default="")
    qty = models.DecimalField(max_digits=18, decimal_places=9, null=True)
    price = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    amount = models.DecimalField(max_digits=18, decimal_places=2)
    cost = models.DecimalField(max_digits=18, decimal_places=2, null=True)  # change of the position's cost
    realized = models.DecimalField(max_digits=18, decimal_places=2, null=True)
    order = models.ForeignKey(Order, on_delete=models.CASCADE, null=True, related_name="activities")
    ref_id = models.UUIDField()  # what caused it: the fill, or the event, of which it is line `line`
    line = models.PositiveSmallIntegerField(default=0, db_default=0)
    note = models.CharField(max_length=300, default="")
    occurred_at = models.DateTimeField()

    class Meta:
        db_table = "mbt_activities"
        indexes = [models.Index(fields=["account", "-id"], name="mbt_activities_by_account")]
        constraints = [
            models.UniqueConstraint(fields=["ref_id", "line"], name="activity_recorded_once"),
            models.CheckConstraint(
                condition=Q(amount__gt=-MONEY_MAX, amount__lt=MONEY_MAX), name="activity_amount_sane"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.activity_type} {self.amount}"


class SettlementPrice(models.Model):
    """The one price of an underlying at an instant, by which its options are settled. Never changed."""

    class Source(models.TextChoices):
        OFFICIAL = "official"  # the closing or opening price, as its market published it
        MIDDLE = "middle"  # of the last NBBO on this feed

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    feed = models.CharField(max_length=64)
    symbol = models.CharField(max_length=21)
    at = models.DateTimeField()  # the close or the open that it is the price of
    price = models.DecimalField(max_digits=12, decimal_places=4)
    source = models.CharField(max_length=8, choices=Source.choices)

    class Meta:
        db_table = "mbt_settlement_prices"
        constraints = [
            models.UniqueConstraint(fields=["feed", "symbol", "at"], name="settlement_price_once"),
            models.CheckConstraint(
                condition=Q(price__gt=0, price__lt=10**8), name="settlement_price_positive"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.price} at {self.at}"


class CorporateAction(models.Model):
    """A corporate action that has taken effect on a feed, for every account that it concerned."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    feed = models.CharField(max_length=64)
    name = models.CharField(max_length=120)  # unique in the life of a feed
    event = models.JSONField()  # mbt.engine.corporate.Event
    classes_before = models.JSONField(default=dict)  # the adjusted option classes as they were until then
    applied_at = models.DateTimeField()

    class Meta:
        db_table = "mbt_corporate_actions"
        constraints = [models.UniqueConstraint(fields=["feed", "name"], name="corporate_action_once")]

    def __str__(self) -> str:
        return self.name


class AdjustedClass(models.Model):
    """What the contracts of a root deliver on a feed since a corporate action changed them, or made them."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    feed = models.CharField(max_length=64)
    root = models.CharField(max_length=6)
    terms = models.JSONField()  # raxx.market.listing.OptionClass

    class Meta:
        db_table = "mbt_adjusted_classes"
        constraints = [models.UniqueConstraint(fields=["feed", "root"], name="adjusted_class_once")]

    def __str__(self) -> str:
        return f"{self.root} on {self.feed}"


class InterestAccrual(models.Model):
    """One calendar day of what an account owes or has: mbt.engine.interest.Accrual. Posted once a month."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="accruals", db_index=False)
    day = models.DateField()
    kind = models.CharField(max_length=8)
    symbol = models.CharField(max_length=21, default="")
    balance = models.DecimalField(max_digits=18, decimal_places=2)
    amount = models.DecimalField(max_digits=40, decimal_places=26)
    days_in_year = models.PositiveSmallIntegerField()
    shares = models.DecimalField(max_digits=18, decimal_places=9, default=0)

    class Meta:
        db_table = "mbt_interest_accruals"
        constraints = [
            models.UniqueConstraint(fields=["account", "day", "kind", "symbol"], name="a_day_accrues_once"),
            models.CheckConstraint(condition=Q(amount__gte=0, balance__gte=0), name="accrual_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.symbol} {self.day}"


class ExerciseInstruction(models.Model):
    """What a holder has asked for at the expiration of a contract. `qty` None: all of it, however many there are."""

    class Kind(models.TextChoices):
        DO_NOT_EXERCISE = "do_not_exercise"
        EXERCISE = "exercise"  # although it is not in the money

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="instructions", db_index=False
    )
    symbol = models.CharField(max_length=21)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    qty = models.DecimalField(max_digits=18, decimal_places=9, null=True)
    # Instants of the account's feed.
    given_at = models.DateTimeField()
    cutoff_at = models.DateTimeField()  # until then it can be taken back
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "mbt_exercise_instructions"
        constraints = [
            models.UniqueConstraint(
                fields=["account", "symbol"],
                condition=Q(withdrawn_at__isnull=True),
                name="instruction_in_force_once",
            ),
            models.CheckConstraint(
                condition=Q(qty__isnull=True) | Q(qty__gt=0, qty__lt=QTY_MAX),
                name="instruction_quantity_positive",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.symbol}"


class Violation(models.Model):
    """A purchase of a cash account that was sold too early: docs/rules/settlement.md. Never changed."""

    class Kind(models.TextChoices):
        GOOD_FAITH = "good_faith"
        FREE_RIDING = "free_riding"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="violations", db_index=False)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    day = models.DateField()  # of the sale
    symbol = models.CharField(max_length=21)
    purchase = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="+", db_index=False)
    sale = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="+", db_index=False)
    fine_from = models.DateField()  # the first day on which the same sale would have been in order
    message = models.CharField(max_length=300)
    remedy = models.CharField(max_length=300)
    found_at = models.DateTimeField()

    class Meta:
        db_table = "mbt_violations"
        constraints = [
            models.UniqueConstraint(fields=["account", "purchase"], name="violation_recorded_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.day}"


class Halt(models.Model):
    """Trading in a symbol ("*": in everything) stands still from `from_ns` until before `until_ns`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    feed = models.CharField(max_length=64)
    symbol = models.CharField(max_length=21)
    from_ns = models.BigIntegerField()
    until_ns = models.BigIntegerField(null=True)  # None while nobody knows
    reason = models.CharField(max_length=8)

    class Meta:
        db_table = "mbt_halts"
        constraints = [
            models.UniqueConstraint(fields=["feed", "symbol", "from_ns"], name="halt_recorded_once"),
            models.CheckConstraint(
                condition=Q(until_ns__isnull=True) | Q(until_ns__gte=F("from_ns")),
                name="halt_ends_after_it_began",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} halted: {self.reason}"


class EngineState(models.Model):
    """How far the engine of one feed has come: every quote up to `position_ns` is matched and settled, and what a
    day brings by itself (expirations, fees) is carried out up to `events_ns`, which is 0 before the first."""

    feed = models.CharField(max_length=64, primary_key=True)
    position_ns = models.BigIntegerField()
    events_ns = models.BigIntegerField(default=0, db_default=0)
    updated_at = models.DateTimeField()

    class Meta:
        db_table = "mbt_engine_state"

    def __str__(self) -> str:
        return f"engine of {self.feed}"
