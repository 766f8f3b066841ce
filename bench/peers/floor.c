// A minimal fan-out server in C: one thread, one epoll loop, one write of a prebuilt frame per subscriber. See
// cmd/floor-go, which is the same in Go.
//
//	floor-c ADDRESS PORT each|coalesce
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FD = 65536, MAX_BATCH = 1024, READ_BYTES = 65536, EVENTS = 256 };

struct client {
	char open, used;
	int kept; // bytes of carry
	char *carry;
};

static struct client clients[MAX_FD];
static int subscribers[MAX_FD], subscribed;
static int epoll_fd, listener, coalesce;
static char buf[READ_BYTES];
static char *frame; // the prebuilt frame, MAX_BATCH times
static int frame_size, published;

static const char accepted[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			       "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static void write_all(int fd, const char *b, size_t n)
{
	while (n > 0) {
		ssize_t wrote = write(fd, b, n);
		if (wrote >= 0) {
			b += wrote;
			n -= (size_t)wrote;
		} else if (errno == EAGAIN) {
			struct pollfd p = {.fd = fd, .events = POLLOUT};
			poll(&p, 1, 1000);
		} else if (errno != EINTR) {
			return;
		}
	}
}

static int watch(int fd)
{
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

static void leave(int fd)
{
	for (int i = 0; i < subscribed; i++)
		if (subscribers[i] == fd) {
			memmove(subscribers + i, subscribers + i + 1, (size_t)(subscribed - i - 1) * sizeof *subscribers);
			subscribed--;
			break;
		}
	free(clients[fd].carry);
	memset(&clients[fd], 0, sizeof clients[fd]);
	close(fd);
}

static void accept_all(void)
{
	int fd, one = 1;
	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		if (fd >= MAX_FD || watch(fd) < 0) {
			close(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		clients[fd].used = 1;
	}
}

// All messages have the same length, between 126 and 65,535 bytes.
static void build(const unsigned char *payload, int length)
{
	if (frame)
		return;
	frame_size = length + 4;
	frame = malloc((size_t)frame_size * MAX_BATCH);
	if (!frame)
		exit(1);
	for (int i = 0; i < MAX_BATCH; i++) {
		char *f = frame + (size_t)i * (size_t)frame_size;
		f[0] = (char)0x82;
		f[1] = 126;
		f[2] = (char)(length >> 8);
		f[3] = (char)length;
		memcpy(f + 4, payload, (size_t)length);
	}
}

static void flush(void)
{
	size_t n = (size_t)published * (size_t)frame_size;
	published = 0;
	for (int i = 0; n > 0 && i < subscribed; i++)
		write_all(subscribers[i], frame, n);
}

static void message(int fd, const unsigned char *mask, const unsigned char *payload, int length)
{
	char text[16];
	unsigned to = 0;
	switch (payload[0] ^ mask[0]) {
	case 'S':
		subscribers[subscribed++] = fd;
		snprintf(text, sizeof text, "\x82\x09S%08x", (unsigned)fd);
		write_all(fd, text, 11);
		break;
	case 'P':
		build(payload, length);
		if (++published == MAX_BATCH || !coalesce)
			flush();
		break;
	case 'D':
		build(payload, length);
		for (int i = 1; i <= 8; i++) {
			unsigned char d = payload[i] ^ mask[i & 3];
			to = to << 4 | (unsigned)(d >= 'a' ? d - 'a' + 10 : d - '0');
		}
		if (to < MAX_FD && clients[to].used)
			write_all((int)to, frame, (size_t)frame_size);
	}
}

// Returns the number of bytes of b that were consumed.
static int handle(int fd, struct client *c, const char *b, int n)
{
	int used = 0;
	if (!c->open) {
		const char *end = memmem(b, (size_t)n, "\r\n\r\n", 4);
		if (!end)
			return 0;
		c->open = 1;
		used = (int)(end - b) + 4;
		write_all(fd, accepted, sizeof accepted - 1);
	}
	while (n - used >= 7) {
		const unsigned char *f = (const unsigned char *)b + used;
		int head = 6, length = f[1] & 0x7f;
		if (length == 126) {
			head = 8;
			length = f[2] << 8 | f[3];
		}
		if (n - used < head + length)
			break;
		message(fd, f + head - 4, f + head, length);
		used += head + length;
	}
	return used;
}

static void read_from(int fd)
{
	struct client *c = &clients[fd];
	if (c->kept)
		memcpy(buf, c->carry, (size_t)c->kept);
	ssize_t n = read(fd, buf + c->kept, sizeof buf - (size_t)c->kept);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		leave(fd);
		return;
	}
	int all = c->kept + (int)n, used = handle(fd, c, buf, all);
	c->kept = all - used;
	if (c->kept) {
		c->carry = realloc(c->carry, (size_t)c->kept);
		if (!c->carry)
			exit(1);
		memcpy(c->carry, buf + used, (size_t)c->kept);
	}
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: floor-c ADDRESS PORT each|coalesce\n");
		return 2;
	}
	coalesce = strcmp(argv[3], "coalesce") == 0;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2]))};
	int one = 1;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (inet_pton(AF_INET, argv[1], &at.sin_addr) != 1 || bind(listener, (struct sockaddr *)&at, sizeof at) < 0 ||
	    listen(listener, 4096) < 0 || watch(listener) < 0) {
		perror("floor-c");
		return 1;
	}
	for (;;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(epoll_fd, events, EVENTS, -1);
		if (n < 0 && errno != EINTR) {
			perror("floor-c");
			return 1;
		}
		for (int i = 0; i < n; i++)
			if (events[i].data.fd == listener)
				accept_all();
			else
				read_from(events[i].data.fd);
		flush();
	}
}
