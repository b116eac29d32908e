"""How every Kafka client of ours gets in: TLS, SASL, and the one sentence that says why a broker does not let us.

aiokafka only logs why a bootstrap failed and then says "unable to bootstrap". So each start knocks first, with one connection
of the same kind: what only a person can change (a certificate, a password, a protocol) is refused at once with the setting
to correct, and everything else may be waited for.
"""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from streams.domain.errors import RefusedError
from streams.gateways.kafka_header_names import read_any_names
from streams.ports.log import KafkaConnection

KNOCK_TIMEOUT_MS = 10_000
# The first bytes of a TLS alert, where a client without TLS reads the length of an answer.
TLS_ALERT = 0x1503


class _TokenFile(AbstractTokenProvider):
    """OAUTHBEARER: whoever rotates the token writes a file; each connect reads it anew."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def token(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]  its base lacks a type
        """The bearer token as it stands in the file."""
        return (await asyncio.to_thread(Path(self._path).read_text)).strip()


def client_args(connection: KafkaConnection) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes. Raises RefusedError when TLS files are unreadable.

    From here on the consumers of this process read records with any header names.
    """
    read_any_names()
    arguments: dict[str, Any] = {
        "bootstrap_servers": connection.bootstrap,
        "security_protocol": connection.security_protocol,
    }
    if connection.security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = connection.sasl_mechanism
        if connection.sasl_token_file:
            arguments["sasl_oauth_token_provider"] = _TokenFile(connection.sasl_token_file)
        else:
            arguments["sasl_plain_username"] = connection.sasl_username
            arguments["sasl_plain_password"] = connection.sasl_password
    if connection.security_protocol.endswith("SSL"):
        arguments["ssl_context"] = _tls_context(connection)
    return arguments


def _tls_context(connection: KafkaConnection) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=connection.ssl_cafile)
    except (OSError, ssl.SSLError) as error:
        raise RefusedError(
            f"kafka.tls_cafile: {connection.ssl_cafile} is not a readable PEM file of certificates ({error}); correct the path"
        ) from None
    if connection.ssl_certfile:
        try:
            context.load_cert_chain(connection.ssl_certfile, connection.ssl_keyfile)
        except (OSError, ssl.SSLError) as error:
            raise RefusedError(
                f"kafka.tls_certfile and kafka.tls_keyfile: {connection.ssl_certfile} and {connection.ssl_keyfile} are not "
                f"a readable PEM certificate and its key ({error}); correct the paths"
            ) from None
    return context


async def knock(connection: KafkaConnection, timeout_ms: int = KNOCK_TIMEOUT_MS) -> None:
    """Open and close one connection to the first bootstrap server that answers in that time, TLS and SASL included.

    Raises RefusedError naming the setting that a person must correct, KafkaError or OSError when no server can be reached.
    """
    arguments = client_args(connection)
    refusal: RefusedError | None = None
    away: Exception | None = None
    for host, port, _family in collect_hosts(arguments.pop("bootstrap_servers")):
        server = f"{host}:{port}"
        try:
            opened = await create_conn(host, port, request_timeout_ms=timeout_ms, **arguments)
            try:
                # Versions are told before a login; the first real question shows whether one is wanted.
                await opened.send(MetadataRequest([]))
            finally:
                opened.close()
        except (KafkaError, OSError) as error:
            sentence = _refusal(connection, server, error)
            refusal, away = (RefusedError(sentence), away) if sentence else (refusal, _away(connection, server, error))
        else:
            return
    raise refusal or away or KafkaConnectionError("kafka.bootstrap names no server")


def _refusal(connection: KafkaConnection, server: str, error: BaseException) -> str | None:
    """What a person must correct, or None when waiting may help."""
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return (
                    f"kafka.tls_cafile: the certificate of {server} is not trusted ({cause.verify_message}); "
                    f"the authority that signed it must stand in {connection.ssl_cafile or 'the file this key names'}"
                )
            case ssl.SSLError():
                return (
                    f"kafka.tls_certfile and kafka.tls_keyfile: {server} ends the TLS handshake ({cause.reason}); name the "
                    f"client certificate that it asks for (now {connection.ssl_certfile or 'none'})"
                )
            case UnsupportedSaslMechanismError() | IllegalSaslStateError():
                return (
                    f"kafka.sasl_mechanism: {server} does not offer {connection.sasl_mechanism}; "
                    "name one that it offers, or correct kafka.security_protocol"
                )
            case SaslAuthenticationFailed() | AuthenticationFailedError():
                keys = "kafka.sasl_username and kafka.sasl_password (or kafka.sasl_password_file)"
                if connection.sasl_token_file:
                    keys = f"kafka.sasl_token_file ({connection.sasl_token_file})"
                return f"{keys}: {server} refuses {connection.sasl_username or 'the token'} ({cause}); correct them"
            case asyncio.IncompleteReadError() if (cause.expected or 0) >> 16 == TLS_ALERT:
                return (
                    f"kafka.security_protocol: {server} speaks TLS, and {connection.security_protocol} does not; "
                    "correct the protocol or the port in kafka.bootstrap"
                )
            case _:
                pass
    return None


def _away(connection: KafkaConnection, server: str, error: Exception) -> Exception:
    """The error with words: a server that hangs up may be going down, or may be asked in the wrong protocol."""
    if isinstance(error, ConnectionResetError | KafkaConnectionError):
        return KafkaConnectionError(
            f"{server} closes the connection: it is going down, or kafka.security_protocol {connection.security_protocol} "
            "is not what it speaks"
        )
    return error if str(error) else KafkaConnectionError(f"{server}: {error!r}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
