#!/usr/bin/env python3
"""The bridge protocol on FastAPI and uvicorn, as a user would write it in an afternoon.

The line that `perf/run bridge` compares the gateway with: the same endpoints and frames,
one process on one core. `perf/peers/setup bridge_fastapi` installs what it needs.

    perf/peers/.installed/bridge_fastapi/bin/python perf/peers/bridge_fastapi.py --port 8090
"""

import argparse
import asyncio
import re
import uuid
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, StrictStr

MENTION = re.compile(r"@([A-Za-z0-9_]+)")
PUBLIC_ACCOUNTS = {"ci_bot", "email_bot", "notification_bot", "system_bot"}
ANSWER_SECONDS_MAX = 30

app = FastAPI()
sockets: dict[str, WebSocket] = {}
# Who was asked and where the answers go, by correlation id.
waiting: dict[Any, tuple[str, asyncio.Queue]] = {}


class Message(BaseModel):
    user_id: StrictStr
    data: dict[str, Any]
    event_type: str | None = None
    event_id: str | None = None
    timestamp: float | None = None


def json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def recipient(message: Message) -> str:
    """The first public account that the text mentions, or the user."""
    texts = (message.data.get(key) for key in ("message", "text", "data", "content", "body"))
    text = next((text for text in texts if isinstance(text, str)), "")
    mentions = MENTION.findall(text) if "@" in text else ()
    return next((name for name in mentions if name in PUBLIC_ACCOUNTS), message.user_id)


async def deliver(message: Message, to: str) -> bool:
    data, user = message.data, message.user_id
    data["original_sender"] = {"user_id": user, "timestamp": data.get("timestamp")}
    data["user_id"] = user
    if data.get("correlation_id") in (None, ""):
        data["correlation_id"] = str(uuid.uuid4())
    if (socket := sockets.get(to)) is None:
        return False
    try:
        await socket.send_text(orjson.dumps(data).decode())
    except (WebSocketDisconnect, RuntimeError):
        return False
    return True


@app.post("/sse/push")
async def push(message: Message) -> Response:
    if await deliver(message, recipient(message)):
        return json({"status": "success", "message": "Message delivered"})
    return json({"status": "partial", "message": "User not connected"})


@app.post("/sse/push/batch")
async def push_batch(messages: list[Message]) -> Response:
    delivered = await asyncio.gather(*(deliver(message, recipient(message)) for message in messages))
    pairs = enumerate(zip(messages, delivered))
    return json({"results": [{"index": i, "user_id": m.user_id, "success": ok} for i, (m, ok) in pairs]})


@app.post("/sse/send")
async def send(message: Message) -> Response:
    correlation = message.data.get("correlation_id") or str(uuid.uuid4())
    if correlation in waiting:
        return json({"detail": "correlation_id already in use"}, 409)
    message.data["correlation_id"] = correlation
    to = recipient(message)
    answers: asyncio.Queue = asyncio.Queue()
    waiting[correlation] = (to, answers)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(message, to, correlation, answers), headers=headers, media_type="text/event-stream")


async def events(message: Message, to: str, correlation: Any, answers: asyncio.Queue):
    def event(content: dict) -> bytes:
        return b"data: " + orjson.dumps(content) + b"\n\n"

    try:
        if not await deliver(message, to):
            yield event({"error": "User not connected", "correlation_id": correlation})
            return
        while True:
            answer = await asyncio.wait_for(answers.get(), ANSWER_SECONDS_MAX)
            yield event(answer)
            if answer.get("type") == "final_response":
                yield event(answer | {"is_final": True})
                return
            if answer.get("is_final"):
                return
    except TimeoutError:
        yield event({"error": "Timeout waiting for response", "correlation_id": correlation})
    finally:
        waiting.pop(correlation, None)


@app.websocket("/ws")
async def connection(socket: WebSocket, user_id: str) -> None:
    await socket.accept()
    if user_id in sockets:
        return await socket.close(1008, "User already connected")
    sockets[user_id] = socket
    try:
        while True:
            try:
                answer = orjson.loads(await socket.receive_text())
                asked, answers = waiting.get(answer.get("correlation_id"), (None, None))
            except (orjson.JSONDecodeError, AttributeError, TypeError):
                continue  # Not JSON, not an object, or an id that cannot be one.
            if asked == user_id:
                answers.put_nowait(answer)
    except WebSocketDisconnect:
        pass
    finally:
        del sockets[user_id]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--ws", default="websockets-sansio", help="uvicorn's WebSocket implementation")
    options = parser.parse_args()
    uvicorn.run(app, port=options.port, loop="uvloop", http="httptools", ws=options.ws, access_log=False, log_level="warning")
