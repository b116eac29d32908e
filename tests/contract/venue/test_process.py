"""3.2, 3.4: the venue as a process of its own, and its control port."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ccxt.async_support
import pytest

from tests.contract.venue.conftest import SETTINGS, Rig, client_config


@contextmanager
def process(settings_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    command = [sys.executable, "-m", "streams.simulator", "--config", str(settings_path), "--die-with-parent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout
        try:
            yield running, json.loads(running.stdout.readline())
        finally:
            running.kill()


async def test_a_process_says_its_ports_trades_keeps_its_journal_and_ends_on_sigterm(tmp_path: Path):
    journal = tmp_path / "venue" / "journal.jsonl"
    path = tmp_path / "venue.json"
    path.write_text(json.dumps(SETTINGS | {"journal_path": str(journal)}))
    with process(path) as (running, ports):
        assert ports["ready"] is True
        client = ccxt.async_support.binance(client_config(ports["port"], "sim-alice", "sim-alice-secret"))
        try:
            order = await client.create_order("BTC/USDT", "market", "sell", 0.01)
        finally:
            await client.close()
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [entry["sequence"] for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry["order_id"] for entry in entries if entry["kind"] == "fill"] == [int(order["id"])]


def test_a_process_ends_when_its_starter_is_gone(tmp_path: Path):
    path = tmp_path / "venue.json"
    path.write_text(json.dumps(SETTINGS))
    starter = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'streams.simulator', '--config', sys.argv[1],"
        " '--die-with-parent'], stdout=sys.stdout)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", starter, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout
        os.kill(json.loads(running.stdout.readline())["pid"], 0)
        running.kill()
        assert running.stdout.read() == b""  # the pipe ends when the last process that holds it does


async def test_the_control_port_tells_and_takes(rig: Rig):
    base = f"http://127.0.0.1:{rig.server.control_port}/control"
    async with rig.http.get(f"{base}/ready") as reply:
        assert await reply.json() == {"ready": True}
    async with rig.http.get(f"{base}/state") as reply:
        state = await reply.json()
    assert state["accounts"]["bob"] == {"USDT": {"free": "1000", "locked": "0"}, "BNB": {"free": "1", "locked": "0"}}
    assert state["user_streams"] == {"alice": 0, "bob": 0}
    assert (state["tape_is_running"], state["prices"]["BTCUSDT"]) == (False, "52076.005")
    state = await rig.control("balances", {"bob": {"USDT": "5.25"}})
    assert state["accounts"]["bob"]["USDT"]["free"] == "5.25"
    async with rig.http.get(f"{base}/journal?from={state['journal_sequence']}") as reply:
        lines = (await reply.text()).splitlines()
    assert [json.loads(line)["change"] for line in lines] == ["-994.75"]


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("balances", {"carol": {"USDT": "1"}}),
        ("balances", {"bob": {"USDT": "-1"}}),
        ("faults", {"faults": [{"fault": "meteor"}]}),
        ("latency", {"order": -1}),
        ("limits", {"ban_s": 0}),
        ("clock", {"offset_ms": "soon"}),
        ("trading", {"symbol": "XRPUSDT", "open": True}),
    ],
)
async def test_wrong_input_to_the_control_port_changes_nothing(rig: Rig, path: str, document: Any):
    sequence = rig.server.venue.market.journal.sequence
    url = f"http://127.0.0.1:{rig.server.control_port}/control/{path}"
    async with rig.http.post(url, json=document) as reply:
        assert reply.status == 400
        assert (await reply.json())["error"]
    assert rig.server.venue.market.journal.sequence == sequence


async def test_a_journal_that_is_asked_for_wrongly(rig: Rig):
    async with rig.http.get(f"http://127.0.0.1:{rig.server.control_port}/control/journal?from=x") as reply:
        assert reply.status == 400
