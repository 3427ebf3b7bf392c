"""Encodings of frames. Values in, bytes out, and back."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Codec(Protocol):
    #: The value of the parameter `format`.
    name: str
    #: Whether frames are text frames.
    is_text: bool

    def encode(self, value: dict[str, Any]) -> bytes:
        """Raises `ValueError`, `TypeError` or `OverflowError` for what the encoding does not have."""

    def join(self, values: Sequence[bytes]) -> bytes:
        """An array of encoded values."""

    def decode(self, frame: bytes) -> Any:
        """Raises `ValueError` for what is not one encoded value."""


class Json:
    name = "json"
    is_text = True

    def __init__(self, plain: Callable[[Any], Any] | None = None) -> None:
        """`plain` makes JSON of what is none; without it, that is a `TypeError`."""
        self._plain = plain

    def encode(self, value: dict[str, Any]) -> bytes:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=self._plain)
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            # Half a surrogate pair, which JSON can say and UTF-8 cannot. A client's own, sent back to it,
            # must not be an error here.
            encoded = _SURROGATES.sub("\ufffd", text).encode()
        if _nests_too_deep(encoded):
            # The gateway would take nothing of its frame, in which other operations may be.
            raise ValueError(f"the operation nests deeper than {DEPTH_MAX} levels")
        return encoded

    def join(self, values: Sequence[bytes]) -> bytes:
        return b"[" + b",".join(values) + b"]"

    def decode(self, frame: bytes) -> Any:
        try:
            return json.loads(frame, parse_float=_float)
        except RecursionError as error:
            raise ValueError("nested too deep") from error
        except json.JSONDecodeError:
            raise
        except ValueError:
            # A number with more digits than Python takes for an integer (4,300). JSON allows it, so a
            # client can send it, and must not stop the link with it.
            return json.loads(frame, parse_float=_float, parse_int=_integer)


class Msgpack:
    name = "msgpack"
    is_text = False

    def __init__(self) -> None:
        try:
            import msgpack
        except ImportError:
            raise ValueError(
                'format="msgpack" needs the package msgpack: pip install "fanfare-client[msgpack]"'
            ) from None
        self._json = Json()
        self._packer = msgpack.Packer(autoreset=True)
        self._unpack = msgpack.unpackb

    def encode(self, value: dict[str, Any]) -> bytes:
        # What JSON does not have, the gateway does not take.
        packed: bytes = self._packer.pack(json.loads(self._json.encode(value)))
        return packed

    def join(self, values: Sequence[bytes]) -> bytes:
        header: bytes = self._packer.pack_array_header(len(values))
        return header + b"".join(values)

    def decode(self, frame: bytes) -> Any:
        try:
            value = self._unpack(frame, strict_map_key=False, unicode_errors="replace")
            return _bounded(value) if any(infinity in frame for infinity in _INFINITIES) else value
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(f"not msgpack: {error!r}") from error


def codec_of(name: str) -> Codec:
    if name == "json":
        return Json()
    if name == "msgpack":
        return Msgpack()
    raise ValueError(f'format is "json" or "msgpack", not {name!r}')


#: Levels of arrays and objects in an operation: the gateway's limit, less the array that joins operations.
DEPTH_MAX = 63

_SURROGATES = re.compile("[\ud800-\udfff]")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_INFINITIES = (b"\xcb\x7f\xf0\0\0\0\0\0\0", b"\xcb\xff\xf0\0\0\0\0\0\0")


def _nests_too_deep(encoded: bytes) -> bool:
    """Cost: two passes of `count`; one in Python only where there are many brackets."""
    if encoded.count(b"[") + encoded.count(b"{") <= DEPTH_MAX:
        return False
    depth = 0
    for bracket in _STRING.sub(b"", encoded).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEPTH_MAX:
            return True
    return False


# A client can send a number beyond those of 64 bits. It becomes the largest of them: JSON has no infinity, so one
# could not be sent back.


def _float(text: str) -> float:
    value = float(text)
    return max(-sys.float_info.max, min(sys.float_info.max, value))


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return _float(digits)


def _bounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_bounded(item) for item in value]
    return _float(str(value)) if isinstance(value, float) and math.isinf(value) else value
