// uWebSockets as it is meant to be used, for `loadgen --target uwebsockets`: one thread, epoll, no TLS, no compression.
//
//   uwebsockets PORT    listens on 127.0.0.1 until it is stopped
//
//   /sub/TOPIC          subscribes
//   /pub/TOPIC          what is said is published
//   /echo               what is said comes back
//   /greeting           says what the events protocol says first, and nothing more

#include "App.h"

#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using uWS::OpCode;

namespace {

struct Nothing {};

struct Topic {
    std::string name;
};

struct Publication {
    std::string topic;
    std::string message;
    OpCode opcode;
};

// What is common to all paths: nobody is dropped, for being slow or for being silent.
template <typename UserData>
uWS::App::WebSocketBehavior<UserData> behavior() {
    uWS::App::WebSocketBehavior<UserData> common;
    common.compression = uWS::DISABLED;
    common.maxPayloadLength = 1 << 20;
    common.maxBackpressure = 0;
    common.idleTimeout = 0;
    common.sendPingsAutomatically = false;
    return common;
}

// A connection with the topic that its path ends in.
uWS::App::WebSocketBehavior<Topic> on_topic() {
    auto topic = behavior<Topic>();
    topic.upgrade = [](auto *response, auto *request, auto *context) {
        response->template upgrade<Topic>(
            {std::string(request->getParameter(0))},
            request->getHeader("sec-websocket-key"),
            request->getHeader("sec-websocket-protocol"),
            request->getHeader("sec-websocket-extensions"),
            context);
    };
    return topic;
}

constexpr std::string_view GREETING =
    R"({"type":"connection_established","client_id":"c1","authenticated":false,"user":null,"role":null,)"
    R"("data":null,"timestamp":"2026-01-01T00:00:00.000Z"})";

} // namespace

int main(int argc, char **argv) {
    const int port = argc == 2 ? std::atoi(argv[1]) : 0;
    if (port <= 0) {
        std::cerr << "usage: uwebsockets PORT\n";
        return 2;
    }
    uWS::App app;

    // A message handler runs with its own socket corked, and there is one cork for all: from a subscriber's
    // 33rd message of a turn on, each would be a write of its own. After the turn they are joined.
    std::vector<Publication> publications;
    uWS::Loop::get()->addPostHandler(&publications, [&](auto *) {
        for (const auto &[topic, message, opcode] : publications) {
            app.publish(topic, message, opcode);
        }
        publications.clear();
    });

    auto subscriber = on_topic();
    subscriber.open = [](auto *socket) { socket->subscribe(socket->getUserData()->name); };
    auto publisher = on_topic();
    publisher.message = [&](auto *socket, std::string_view message, OpCode opcode) {
        publications.push_back({socket->getUserData()->name, std::string(message), opcode});
    };
    auto echo = behavior<Nothing>();
    echo.message = [](auto *socket, std::string_view message, OpCode opcode) { socket->send(message, opcode); };
    auto greeting = behavior<Nothing>();
    greeting.open = [](auto *socket) { socket->send(GREETING, OpCode::TEXT); };

    app.ws("/sub/:topic", std::move(subscriber))
        .ws("/pub/:topic", std::move(publisher))
        .ws("/echo", std::move(echo))
        .ws("/greeting", std::move(greeting))
        .listen("127.0.0.1", port, [port](auto *listening) {
            if (!listening) {
                std::cerr << "cannot listen on port " << port << '\n';
                std::exit(1);
            }
        })
        .run();
}
