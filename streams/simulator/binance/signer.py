"""Who asks, may they, and is the request fresh.

The signature covers the raw bytes as they were sent (query, then body), never a re-encoded form: a client that encodes
in another way than we would is still right. The window rule: a timestamp less than one second ahead of the venue, and
not older than recvWindow; it is checked when a request arrives and once more just before the core.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qsl

from streams.simulator.binance import errors
from streams.simulator.binance.errors import RefusedRequest
from streams.simulator.settings import KeySettings

RECV_WINDOW_MS = 5_000
RECV_WINDOW_MS_MAX = 60_000
AHEAD_MS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Signed:
    """A request whose signature held: its key, parameters and window."""

    key: KeySettings
    params: dict[str, str]
    timestamp_ms: int
    recv_window_ms: int

    def check_window(self, now_ms: int) -> None:
        """Raises RefusedRequest (-1021) outside the window."""
        if self.timestamp_ms >= now_ms + AHEAD_MS_MAX:
            raise RefusedRequest(errors.AHEAD_OF_SERVER)
        if now_ms - self.timestamp_ms > self.recv_window_ms:
            raise RefusedRequest(errors.OUTSIDE_WINDOW)


def signature_of(payload: str, secret: str) -> str:
    """HMAC-SHA256 of the payload, in hexadecimal."""
    return hmac.new(secret.encode(), payload.encode(), sha256).hexdigest()


def verify(keys: Mapping[str, KeySettings], api_key: str | None, query: str, body: str, now_ms: int) -> Signed:
    """Check key, signature and window of a REST request, from its raw query and body.

    Raises RefusedRequest as the venue would: key first, then mandatory parameters, signature, window.
    """
    key = _key(keys, api_key)
    params = dict(parse_qsl(query, keep_blank_values=True)) | dict(parse_qsl(body, keep_blank_values=True))
    signature = params.pop("signature", "")
    timestamp_ms, recv_window_ms = _times(params)
    if not signature:
        raise RefusedRequest(errors.missing("signature"))
    if not hmac.compare_digest(signature_of(_unsigned(query) + _unsigned(body), key.secret), signature):
        raise RefusedRequest(errors.BAD_SIGNATURE)
    signed = Signed(key, params, timestamp_ms, recv_window_ms)
    signed.check_window(now_ms)
    return signed


def verify_frame(keys: Mapping[str, KeySettings], params: Mapping[str, object], now_ms: int) -> Signed:
    """Check a signed request on the WebSocket API: parameters sorted by name, joined without encoding."""
    texts = {name: str(value) for name, value in params.items()}
    key = _key(keys, texts.get("apiKey"))
    signature = texts.pop("signature", "")
    timestamp_ms, recv_window_ms = _times(texts)
    payload = "&".join(f"{name}={texts[name]}" for name in sorted(texts))
    if not hmac.compare_digest(signature_of(payload, key.secret), signature):
        raise RefusedRequest(errors.BAD_SIGNATURE)
    signed = Signed(key, texts, timestamp_ms, recv_window_ms)
    signed.check_window(now_ms)
    return signed


def _key(keys: Mapping[str, KeySettings], api_key: str | None) -> KeySettings:
    if not api_key:
        raise RefusedRequest(errors.BAD_KEY_FORMAT)
    key = keys.get(api_key)
    if key is None:
        raise RefusedRequest(errors.NO_RIGHT)
    return key


def _times(params: Mapping[str, str]) -> tuple[int, int]:
    timestamp, window = params.get("timestamp", ""), params.get("recvWindow", str(RECV_WINDOW_MS))
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 16:
        raise RefusedRequest(errors.missing("timestamp"))
    if not window.isascii() or not window.replace(".", "", 1).isdigit() or len(window) > 16:
        raise RefusedRequest(errors.illegal("recvWindow", r"^([0-9]{1,5})(\.[0-9]{1,3})?$"))
    recv_window_ms = int(window.partition(".")[0] or 0)
    if recv_window_ms > RECV_WINDOW_MS_MAX:
        raise RefusedRequest(errors.WINDOW_TOO_LONG)
    return int(timestamp), recv_window_ms


def _unsigned(raw: str) -> str:
    """The raw text without its signature parameter."""
    return "&".join(part for part in raw.split("&") if not part.startswith("signature="))
