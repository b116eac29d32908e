"""Migrations: numbered files, applied once, never edited, never behind the database."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streams.domain.errors import RefusedError, UnreachableError
from streams.gateways import postgres

OURS = ("0001_control.sql", "0002_ledger.sql", "0003_control_budgets.sql")


def files(directory: Path, **texts: str) -> Path:
    directory.mkdir(exist_ok=True)
    for name, text in texts.items():
        (directory / f"{name}.sql").write_text(text)
    return directory


LEDGER = "CREATE SCHEMA ledger;" + "".join(
    f"CREATE TABLE ledger.{table} (at timestamptz NOT NULL) PARTITION BY RANGE (at);" for table in postgres.MONTHLY
)


def test_the_programs_own_files_apply_once_and_a_second_run_applies_nothing(empty_database_url: str):
    with pytest.raises(RefusedError, match=r"lacks 0001_control.sql, 0002_ledger.sql, 0003_control_budgets.sql; run"):
        postgres.require_schema(empty_database_url)
    assert postgres.migrate(empty_database_url) == OURS
    assert postgres.migrate(empty_database_url) == ()
    postgres.require_schema(empty_database_url)


def test_a_database_with_a_newer_schema_is_refused(empty_database_url: str):
    postgres.migrate(empty_database_url)
    with postgres.connect(empty_database_url) as connection:
        connection.execute("INSERT INTO control.migrations (number, name, sha256) VALUES (9999, '9999_ledger_more.sql', 'x')")
    for start in (postgres.require_schema, postgres.migrate, postgres.recreate_ledger):
        with pytest.raises(RefusedError, match=r"9999_ledger_more.sql.*newer than this program"):
            start(empty_database_url)


def test_a_file_that_was_edited_after_it_was_applied_is_refused(empty_database_url: str, tmp_path: Path):
    before = files(tmp_path / "before", **{"0001_control": "SELECT 1", "0002_ledger": LEDGER})
    after = files(tmp_path / "after", **{"0001_control": "SELECT 2", "0002_ledger": LEDGER})
    postgres.migrate(empty_database_url, before)
    with pytest.raises(RefusedError, match=r"0001_control.sql was edited"):
        postgres.migrate(empty_database_url, after)


def test_a_file_that_fails_leaves_nothing_behind(empty_database_url: str, tmp_path: Path):
    broken = files(tmp_path / "sql", **{"0001_control": "CREATE TABLE control.good ()", "0002_ledger": LEDGER + "nonsense"})
    with pytest.raises(Exception, match="nonsense"):
        postgres.migrate(empty_database_url, broken)
    mended = files(tmp_path / "mended", **{"0001_control": "CREATE TABLE control.good ()", "0002_ledger": LEDGER})
    assert len(postgres.migrate(empty_database_url, mended)) == 2


def test_many_roles_that_start_at_once_apply_each_file_once(empty_database_url: str):
    with ThreadPoolExecutor(6) as pool:
        applied = list(pool.map(postgres.migrate, [empty_database_url] * 6))
    assert sorted(applied) == [()] * 5 + [OURS]


@pytest.mark.parametrize("names", [["1_control"], ["0001_control", "0003_ledger"], ["0001-control"], []])
def test_names_and_numbers_are_as_they_must_be(tmp_path: Path, names: list[str]):
    with pytest.raises(RefusedError):
        postgres.migrations(files(tmp_path / "sql", **dict.fromkeys(names, "SELECT 1")))


def test_a_database_that_is_not_there_is_unreachable():
    with pytest.raises(UnreachableError, match="database"):
        postgres.require_schema("postgresql://nobody@127.0.0.1:1/none")


def test_months_ahead_cross_the_year(empty_database_url: str):
    postgres.migrate(empty_database_url)
    with postgres.connect(empty_database_url) as connection:
        postgres.ensure_partitions(connection, [(2024, 12), (2025, 1), (9999, 12)])
        postgres.ensure_partitions(connection, [(2024, 12)])
        connection.execute(
            "INSERT INTO ledger.postings VALUES ('a', 1, 0, '2024-12-31 23:59:59.999+00', 'x', 'BTC', 1),"
            " ('a', 2, 0, '2025-01-01 00:00:00+00', 'x', 'BTC', 1), ('a', 3, 0, '9999-12-31 23:59:59.999+00', 'x', 'BTC', 1)"
        )
        found = connection.execute("SELECT tableoid::regclass::text FROM ledger.postings ORDER BY sequence").fetchall()
    assert [name for (name,) in found] == [f"ledger.postings_{month}" for month in ("2024_12", "2025_01", "9999_12")]


def test_not_a_number_is_no_amount(empty_database_url: str):
    postgres.migrate(empty_database_url)
    with pytest.raises(Exception, match="amount_check"), postgres.connect(empty_database_url) as connection:
        connection.execute("INSERT INTO ledger.balances VALUES ('a', 'x', 'BTC', 'NaN')")
