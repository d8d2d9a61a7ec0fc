"""What `onehop export` writes, as DuckDB reads it."""

from __future__ import annotations

import subprocess
from datetime import date, datetime, timezone
from pathlib import Path

import duckdb
from conftest import BIN, EVENTS, START, Services


def export(services: Services, source: str, to: Path) -> str:
    """Write a source's history, and return what DuckDB reads it by."""
    subprocess.run(
        [str(BIN / "onehop"), "export", source, "--out", str(to)], env=services.environment, check=True
    )
    return f"read_parquet('{to}/*/*.parquet', hive_partitioning = true)"


def day_of(microseconds: int) -> date:
    return datetime.fromtimestamp(microseconds / 1e6, timezone.utc).date()


def test_days(services: Services, tmp_path: Path) -> None:
    ratings = export(services, "ratings", tmp_path / "ratings")
    with duckdb.connect() as db:
        db.sql("SET TimeZone = 'UTC'")
        # Of the ratings of this test's own stack; other tests push later ones.
        mine = f"{ratings} WHERE epoch_us(event_time) < {START + EVENTS * 1_000_000}"
        days = dict(db.sql(f"SELECT day, count(*) FROM {mine} GROUP BY day").fetchall())
        want: dict[date, int] = {}
        for i in range(EVENTS):
            day = day_of(START + i * 1_000_000)
            want[day] = want.get(day, 0) + 1
        assert days == want
        assert db.sql(f"SELECT count(*) FROM {mine} AND day = CAST(event_time AS DATE)").fetchall() == [
            (EVENTS,)
        ]
        assert db.sql(f"SELECT sum(rating), min(user_id), bool_or(deleted) FROM {mine}").fetchall() == [
            (sum(1 + i % 9 / 2 for i in range(EVENTS)), 0, False)
        ]
        types = dict(row[:2] for row in db.sql(f"DESCRIBE SELECT * FROM {ratings}").fetchall())
    assert types["event_time"] == "TIMESTAMP WITH TIME ZONE"
    assert (types["user_id"], types["rating"], types["day"]) == ("BIGINT", "DOUBLE", "DATE")


def test_lists_and_text(services: Services, tmp_path: Path) -> None:
    movies = export(services, "movies", tmp_path / "movies")
    with duckdb.connect() as db:
        rows = db.sql(f"SELECT title, genres FROM {movies} WHERE movie_id = 1").fetchall()
    assert ("Ä", ["a", "b"]) in rows
