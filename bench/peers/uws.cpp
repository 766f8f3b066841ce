// A fan-out server on uWebSockets, with its topics. Build it with the sources of uWebSockets, and of uSockets in it:
//
//   make -C uWebSockets/uSockets
//   c++ -O2 -std=c++20 -IuWebSockets/src -IuWebSockets/uSockets/src uws.cpp uWebSockets/uSockets/uSockets.a -lz -o uws
//
//   uws ADDRESS PORT
//
// It speaks the plain dialect of package servers.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "App.h"

struct User {
	int number = -1;
};
using Socket = uWS::WebSocket<false, true, User>;

int main(int argc, char **argv)
{
	if (argc != 3) {
		std::fprintf(stderr, "usage: uws ADDRESS PORT\n");
		return 2;
	}
	std::vector<Socket *> clients; // by number; null if the client has left
	uWS::App app;
	uWS::App::WebSocketBehavior<User> behavior;
	behavior.compression = uWS::DISABLED;
	behavior.idleTimeout = 0;
	behavior.sendPingsAutomatically = false;
	behavior.maxBackpressure = 16 << 20;
	behavior.maxPayloadLength = 64 << 10;
	behavior.message = [&](Socket *socket, std::string_view message, uWS::OpCode) {
		if (message.empty())
			return;
		switch (message[0]) {
		case 'S':
		case 'T': {
			char text[10];
			socket->getUserData()->number = static_cast<int>(clients.size());
			std::snprintf(text, sizeof text, "S%08zx", clients.size());
			clients.push_back(socket);
			socket->subscribe(message[0] == 'S' ? "bench" : message.substr(1, 4));
			socket->send(std::string_view(text, 9), uWS::BINARY);
			break;
		}
		case 'P':
			app.publish("bench", message, uWS::BINARY);
			break;
		case 'G':
			app.publish(message.substr(1, 4), message, uWS::BINARY);
			break;
		case 'D': {
			auto to = std::strtoul(std::string(message.substr(1, 8)).c_str(), nullptr, 16);
			if (to < clients.size() && clients[to])
				clients[to]->send(message, uWS::BINARY);
		}
		}
	};
	behavior.close = [&](Socket *socket, int, std::string_view) {
		if (int number = socket->getUserData()->number; number >= 0)
			clients[static_cast<size_t>(number)] = nullptr;
	};
	app.ws<User>("/*", std::move(behavior)).listen(argv[1], std::atoi(argv[2]), [](auto *listening) {
		if (!listening) {
			std::fprintf(stderr, "uws: can't listen\n");
			std::exit(1);
		}
	}).run();
}
