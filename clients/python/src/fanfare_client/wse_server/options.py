"""The options of WSE's constructor, and where in the gateway's configuration each of them is now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The option, its default in WSE 2.5.1, and the key of the gateway's configuration.
OPTIONS: tuple[tuple[str, Any, str], ...] = (
    ("max_connections", 1000, "server.max_connections"),
    ("jwt_secret", None, "auth.jwt_secret_file (RS256, ES256: auth.jwt_public_key_file)"),
    ("jwt_issuer", None, "auth.issuer"),
    ("jwt_audience", None, "auth.audience"),
    ("jwt_cookie_name", None, "auth.cookie_name"),
    ("jwt_previous_secret", None, "auth.previous_secret_file (RS256, ES256: auth.previous_public_key_file)"),
    ("jwt_key_id", None, "auth.jwt_key_id"),
    ("jwt_algorithm", None, "auth.algorithm"),
    ("jwt_private_key", None, "none: tokens are signed where they are issued"),
    ("max_inbound_queue_size", 131_072, "backend.max_pending"),
    ("recovery_enabled", False, "hub.history_size"),
    ("recovery_buffer_size", 128, "hub.history_size"),
    ("recovery_ttl", 300, "hub.history_ttl"),
    ("recovery_max_messages", 500, "hub.history_size"),
    ("recovery_memory_budget", 268_435_456, "hub.max_history_memory"),
    ("presence_enabled", False, 'hub.presence, or presence of a [namespace."..."]'),
    ("presence_max_data_size", 4096, "none: 4,096 bytes"),
    ("presence_max_members", 0, "none: all members are kept"),
    ("rate_limit_capacity", 100_000.0, "wse.rate_capacity"),
    ("rate_limit_refill", 10_000.0, "wse.rate_refill"),
    ("max_message_size", 1_048_576, "wse.max_message_size"),
    ("ping_interval", 25, "wse.ping_interval"),
    ("idle_timeout", 60, "websocket.ping_timeout"),
    ("max_outbound_queue_bytes", 16_777_216, "hub.outbox_max_bytes and hub.max_lag"),
    ("max_subscriptions_per_connection", 0, "wse.max_subscriptions"),
)


def notice(host: str, port: int, given: Mapping[str, Any]) -> str:
    """What the application's author is told once: where clients connect, and where options are set now."""
    text = (
        f"The gateway serves the clients: {host}:{port} is not opened; they connect to server.listen of "
        "fanfare.toml, at wse.path."
    )
    moved = [f"{name}: {key}" for name, default, key in OPTIONS if given[name] != default]
    if moved:
        text += " Options that have no effect here, and the keys of fanfare.toml to set: " + "; ".join(moved) + "."
    return text
