-- Request weight is counted for each address, so a pause holds for the whole venue, whichever account was refused.
ALTER TABLE control.budgets RENAME COLUMN account TO venue;
