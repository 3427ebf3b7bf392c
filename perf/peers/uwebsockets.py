"""Fan-out by uWebSockets' own topics: `/sub/TOPIC` subscribes, what is said to `/pub/TOPIC` is published.

Python runs once for a connection and once for a publication; what goes out to a thousand
subscribers is one call into uWebSockets.
"""

import sys

from socketify import App, AppListenOptions, OpCode


def upgrade(response, request, context):
    side, topic = request.get_parameter(0), request.get_parameter(1)
    response.upgrade(
        request.get_header("sec-websocket-key"),
        request.get_header("sec-websocket-protocol"),
        request.get_header("sec-websocket-extensions"),
        context,
        (side, topic),
    )


def opened(socket):
    side, topic = socket.get_user_data()
    if side == "sub":
        socket.subscribe(topic)


def message(socket, data, opcode):
    app.publish(socket.get_user_data()[1], data, OpCode.TEXT)


app = App()
app.ws("/:side/:topic", {
    "max_payload_length": 1 << 20,
    "max_backpressure": 256 << 20,
    "idle_timeout": 120,
    "upgrade": upgrade,
    "open": opened,
    "message": message,
})
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"))
app.run()
