"""The encodings of the link's frames. Values in, bytes out, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
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

    def encode(self, value: dict[str, Any]) -> bytes:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        try:
            return text.encode()
        except UnicodeEncodeError:
            # Half a surrogate pair, which JSON can say and UTF-8 cannot. A client's own, sent back to it,
            # must not be an error here.
            return _SURROGATES.sub("\ufffd", text).encode()

    def join(self, values: Sequence[bytes]) -> bytes:
        return b"[" + b",".join(values) + b"]"

    def decode(self, frame: bytes) -> Any:
        try:
            return json.loads(frame)
        except RecursionError as error:
            raise ValueError("nested too deep") from error
        except json.JSONDecodeError:
            raise
        except ValueError:
            # A number with more digits than Python takes for an integer (4,300). JSON allows it, so a
            # client can send it, and must not stop the link with it.
            return json.loads(frame, parse_int=_number)


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
        self._packer = msgpack.Packer(autoreset=True, unicode_errors="replace")
        self._unpack = msgpack.unpackb

    def encode(self, value: dict[str, Any]) -> bytes:
        packed: bytes = self._packer.pack(value)
        return packed

    def join(self, values: Sequence[bytes]) -> bytes:
        header: bytes = self._packer.pack_array_header(len(values))
        return header + b"".join(values)

    def decode(self, frame: bytes) -> Any:
        try:
            return self._unpack(frame, strict_map_key=False, unicode_errors="replace")
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


_SURROGATES = re.compile("[\ud800-\udfff]")


def _number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)
