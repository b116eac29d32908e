-- The schema `control`: what is agreed on between processes and not derived from any topic.

CREATE SCHEMA IF NOT EXISTS control;

-- Who owns what (a shard's journal, a venue account), under which epoch, until when by this database's clock.
-- An owner of '' is nobody: the lease was given up in order. An epoch never falls; the log that it fences may hold a higher
-- one after this database was restored from a backup, and the next owner then starts above that.
CREATE TABLE control.leases (
    resource text PRIMARY KEY CHECK (resource <> ''),
    owner text NOT NULL,
    epoch bigint NOT NULL CHECK (epoch > 0),
    expires_at timestamptz NOT NULL,
    checkpoint_offset bigint CHECK (checkpoint_offset >= 0)
);

-- Until when no request may be made for a venue account: whoever was told to wait writes it, everybody reads it before a
-- request. It only moves forward.
CREATE TABLE control.budgets (
    account text PRIMARY KEY CHECK (account <> ''),
    paused_until timestamptz NOT NULL,
    cause text NOT NULL DEFAULT ''
);
