"""3.2: keys, signatures over the raw text, and the window."""

import pytest

from streams.simulator.binance import errors
from streams.simulator.binance.errors import RefusedRequest
from streams.simulator.binance.signer import Signed, signature_of, verify, verify_frame
from streams.simulator.settings import KeySettings

SECRET = "sim-secret"
KEY = KeySettings(account="alice", secret=SECRET)
KEYS = {"sim-key": KEY}
NOW_MS = 1_800_000_000_000


def code(call) -> int:
    with pytest.raises(RefusedRequest) as refused:
        call()
    return refused.value.answer.code


def signed_query(text: str) -> str:
    return f"{text}&signature={signature_of(text, SECRET)}"


def test_a_signed_query_holds():
    query = signed_query(f"timestamp={NOW_MS}&symbol=BTCUSDT&recvWindow=2000")
    signed = verify(KEYS, "sim-key", query, "", NOW_MS)
    assert signed == Signed(KEY, {"timestamp": str(NOW_MS), "symbol": "BTCUSDT", "recvWindow": "2000"}, NOW_MS, 2_000)


def test_the_raw_text_is_signed_whatever_its_encoding():
    text = f"timestamp={NOW_MS}&newClientOrderId=a%2fb+c"
    assert verify(KEYS, "sim-key", "", signed_query(text), NOW_MS).params["newClientOrderId"] == "a/b c"


def test_query_and_body_are_signed_together():
    signature = signature_of(f"symbol=BTCUSDTtimestamp={NOW_MS}", SECRET)
    body = f"timestamp={NOW_MS}&signature={signature}"
    assert verify(KEYS, "sim-key", "symbol=BTCUSDT", body, NOW_MS).params["symbol"] == "BTCUSDT"


@pytest.mark.parametrize(
    ("api_key", "query", "expected"),
    [
        (None, signed_query(f"timestamp={NOW_MS}"), -2014),
        ("sim-other", signed_query(f"timestamp={NOW_MS}"), -2015),
        ("sim-key", signed_query("symbol=BTCUSDT"), -1102),
        ("sim-key", f"timestamp={NOW_MS}", -1102),
        ("sim-key", signed_query(f"timestamp={NOW_MS}") + "0", -1022),
        ("sim-key", signed_query(f"timestamp={NOW_MS}") + "&symbol=BTCUSDT", -1022),
        ("sim-key", signed_query(f"timestamp={NOW_MS}&recvWindow=60001"), -1131),
        ("sim-key", signed_query(f"timestamp={NOW_MS}&recvWindow=x"), -1100),
    ],
)
def test_what_is_wrong_has_its_code(api_key, query, expected):
    assert code(lambda: verify(KEYS, api_key, query, "", NOW_MS)) == expected


@pytest.mark.parametrize(
    ("ahead_ms", "answer"),
    [
        (999, None),
        (1_000, errors.AHEAD_OF_SERVER),
        (-2_000, None),
        (-2_001, errors.OUTSIDE_WINDOW),
    ],
)
def test_the_window_is_less_than_a_second_ahead_and_recv_window_behind(ahead_ms, answer):
    signed = Signed(KEY, {}, NOW_MS + ahead_ms, 2_000)
    if answer is None:
        signed.check_window(NOW_MS)
        return
    with pytest.raises(RefusedRequest) as refused:
        signed.check_window(NOW_MS)
    assert refused.value.answer == answer


def test_the_default_window_is_five_seconds():
    query = signed_query(f"timestamp={NOW_MS}")
    verify(KEYS, "sim-key", query, "", NOW_MS + 5_000)
    assert code(lambda: verify(KEYS, "sim-key", query, "", NOW_MS + 5_001)) == -1021


def test_frames_are_signed_over_their_sorted_parameters():
    params = {"timestamp": NOW_MS, "apiKey": "sim-key"}
    signature = signature_of(f"apiKey=sim-key&timestamp={NOW_MS}", SECRET)
    assert verify_frame(KEYS, {**params, "signature": signature}, NOW_MS).key is KEY
    assert code(lambda: verify_frame(KEYS, {**params, "signature": "0"}, NOW_MS)) == -1022
    assert code(lambda: verify_frame(KEYS, {"timestamp": NOW_MS}, NOW_MS)) == -2014
