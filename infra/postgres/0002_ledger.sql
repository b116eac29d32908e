-- Schema `ledger`: derived from orders.ledger, rebalance.signals and venue.latency, offsets included. It may be dropped and
-- rebuilt from the topics; the result is equal to the byte. Times come from the events, never from the database's clock.
-- Tables that grow are partitioned by month of `at` (UTC); there is no default partition, because its rows would block the
-- month they belong to. A partitioned key must contain `at`, which is a function of the event, so a repeat meets itself.

CREATE SCHEMA ledger;

CREATE DOMAIN ledger.amount AS numeric(38, 18) CHECK (VALUE <> 'NaN');

-- Where the projection stands; written in the transaction of the rows.
CREATE TABLE ledger.projection_offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (topic, partition)
);

-- The newest entry of each account.
CREATE TABLE ledger.heads (
    account text PRIMARY KEY,
    sequence bigint NOT NULL CHECK (sequence >= 1),
    entry_hash text NOT NULL,
    at timestamptz NOT NULL
);

-- Every entry of the books, in the order of (account, sequence).
CREATE TABLE ledger.entries (
    account text NOT NULL,
    sequence bigint NOT NULL,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    event_id text NOT NULL,
    portfolio text,
    command_id text,
    target_command_id text,
    client_order_id text,
    attempt integer,
    symbol text,
    side text,
    state text,
    flow_id text,
    halt_ids text[] NOT NULL,
    cause text,
    flags text[] NOT NULL,
    previous_hash text NOT NULL,
    entry_hash text NOT NULL,
    value_sha256 text NOT NULL,
    source_partition integer NOT NULL,
    source_offset bigint NOT NULL,
    trace_id text,
    PRIMARY KEY (account, sequence, at)
) PARTITION BY RANGE (at);
CREATE INDEX ON ledger.entries (command_id);

-- Double entry: the signed lines of each entry; they sum to zero for each asset.
CREATE TABLE ledger.postings (
    account text NOT NULL,
    sequence bigint NOT NULL,
    line integer NOT NULL,
    at timestamptz NOT NULL,
    ledger_account text NOT NULL,
    asset text NOT NULL,
    amount ledger.amount NOT NULL,
    PRIMARY KEY (account, sequence, line, at)
) PARTITION BY RANGE (at);

-- Each trade once; `kind` fill_unplaced marks one that no remembered order explains and that was not posted.
CREATE TABLE ledger.fills (
    account text NOT NULL,
    sequence bigint NOT NULL,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    portfolio text NOT NULL,
    command_id text NOT NULL,
    client_order_id text NOT NULL,
    venue_order_id text,
    symbol text NOT NULL,
    side text NOT NULL,
    trade_id text NOT NULL,
    price_quote ledger.amount NOT NULL,
    quantity_base ledger.amount NOT NULL,
    quote_amount ledger.amount NOT NULL,
    fee_asset text NOT NULL,
    fee_amount ledger.amount NOT NULL,
    flags text[] NOT NULL,
    PRIMARY KEY (account, sequence, at)
) PARTITION BY RANGE (at);
CREATE INDEX ON ledger.fills (command_id);

-- One row for each command, as its newest entry leaves it.
CREATE TABLE ledger.orders (
    command_id text PRIMARY KEY,
    account text NOT NULL,
    portfolio text NOT NULL,
    symbol text NOT NULL,
    target_command_id text,
    side text,
    quantity_base ledger.amount,
    price_limit_quote ledger.amount,
    price_mid_quote ledger.amount,
    state text NOT NULL,
    attempt integer,
    client_order_id text,
    venue_order_id text,
    filled_base ledger.amount NOT NULL,
    filled_quote ledger.amount NOT NULL,
    fills integer NOT NULL,
    cause text,
    flags text[] NOT NULL,
    first_at timestamptz NOT NULL,
    intended_at timestamptz,
    accepted_at timestamptz,
    first_fill_at timestamptz,
    last_fill_at timestamptz,
    ended_at timestamptz,
    last_at timestamptz NOT NULL,
    first_sequence bigint NOT NULL,
    last_sequence bigint NOT NULL,
    trace_id text
);
CREATE INDEX ON ledger.orders (first_at);
CREATE INDEX ON ledger.orders (portfolio, first_at);

-- The sum of all postings of an account's books by ledger account and asset; holdings stand in `assets:<account>`.
CREATE TABLE ledger.balances (
    account text NOT NULL,
    ledger_account text NOT NULL,
    asset text NOT NULL,
    amount ledger.amount NOT NULL,
    PRIMARY KEY (account, ledger_account, asset)
);

-- Decisions, held-back triggers, halts: what the portfolio fold said, whole in `body`. `event_id` is the message's own id.
CREATE TABLE ledger.signals (
    event_id text NOT NULL,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    portfolio text NOT NULL,
    signal_id text NOT NULL,
    decision_number bigint NOT NULL,
    reason text,
    nav_quote ledger.amount,
    body jsonb NOT NULL,
    value_sha256 text NOT NULL,
    source_partition integer NOT NULL,
    source_offset bigint NOT NULL,
    trace_id text,
    PRIMARY KEY (event_id, at)
) PARTITION BY RANGE (at);
CREATE INDEX ON ledger.signals (portfolio, at);

-- Which decision ordered which command.
CREATE TABLE ledger.legs (
    command_id text PRIMARY KEY,
    event_id text NOT NULL,
    signal_id text NOT NULL,
    portfolio text NOT NULL,
    account text NOT NULL,
    symbol text NOT NULL,
    side text NOT NULL,
    quantity_base ledger.amount NOT NULL,
    price_mid_quote ledger.amount NOT NULL,
    price_cap_quote ledger.amount NOT NULL
);

-- How each portfolio stood when it was last observed; `assets` has weights, targets, drifts and marks of each asset.
CREATE TABLE ledger.portfolio_state (
    portfolio text PRIMARY KEY,
    at timestamptz NOT NULL,
    incarnation text NOT NULL,
    decision_number bigint NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    nav_quote ledger.amount,
    band ledger.amount NOT NULL,
    threshold ledger.amount NOT NULL,
    assets jsonb NOT NULL,
    time_total_ms bigint NOT NULL,
    time_in_band_ms bigint NOT NULL
);

-- The newest probe of each venue; `probe_ms` NULL is a failed one.
CREATE TABLE ledger.venue_latency (
    venue text PRIMARY KEY,
    at timestamptz NOT NULL,
    probe_ms bigint,
    order_ms bigint,
    socket_age_ms bigint,
    budget_left bigint,
    clock_offset_ms bigint
);

-- What filled orders cost against the mid at decision: above zero is worse than the mid.
CREATE VIEW ledger.order_costs AS
SELECT
    o.*,
    round(o.filled_quote / o.filled_base, 18) AS price_average_quote,
    CASE o.side WHEN 'buy' THEN 1 ELSE -1 END
        * (o.filled_quote - round(o.filled_base * o.price_mid_quote, 18)) AS shortfall_quote,
    round(
        CASE o.side WHEN 'buy' THEN 10000 ELSE -10000 END
        * (o.filled_quote / (o.filled_base * o.price_mid_quote) - 1), 6
    ) AS shortfall_bp
FROM ledger.orders AS o
WHERE o.filled_base > 0 AND o.price_mid_quote > 0;

-- What plans wanted but could not do, and why.
CREATE VIEW ledger.debts AS
SELECT
    s.at,
    s.portfolio,
    s.signal_id,
    d.debt ->> 'asset' AS asset,
    (d.debt ->> 'amount_quote')::ledger.amount AS amount_quote,
    d.debt ->> 'cause' AS cause
FROM ledger.signals AS s
CROSS JOIN LATERAL jsonb_array_elements(s.body -> 'debts') AS d (debt)
WHERE s.kind = 'decided';
