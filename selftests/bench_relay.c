// SPDX-License-Identifier: GPL-2.0
/* The alternative to programs on the socket: a process that relays between client and
 * server. Each function gets a listening socket and the address of the server, and relays
 * one connection, in a child process of the benchmark. It does not return.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench.h"

#define PIPE_BYTES 65536
#define HAPROXY_CONFIG "/tmp/haproxy.cfg"

struct direction {
	int from, to;
	int pipe[2];
};

static void send_at_once(int sk)
{
	int one = 1;

	if (setsockopt(sk, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		die("TCP_NODELAY");
}

static void add_direction(int epoll, struct direction *d, int from, int to)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = d };

	d->from = from;
	d->to = to;
	send_at_once(to);
	if (pipe(d->pipe) || epoll_ctl(epoll, EPOLL_CTL_ADD, from, &event))
		die("relay");
}

/* Relay the available data. At the end of file of either direction, the relay exits. */
static void move(struct direction *d)
{
	ssize_t n, out;

	n = splice(d->from, NULL, d->pipe[1], NULL, PIPE_BYTES, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0)
		die("splice from the socket");
	if (!n)
		exit(0);
	for (; n; n -= out) {
		out = splice(d->pipe[0], NULL, d->to, NULL, n, SPLICE_F_MOVE);
		if (out <= 0)
			die("splice to the socket");
	}
}

void relay_by_splice(int listener, const struct sockaddr_in *server)
{
	int epoll = epoll_create1(0), client = accept(listener, NULL, NULL);
	int upstream = socket(AF_INET, SOCK_STREAM, 0);
	struct direction there, back;
	struct epoll_event events[2];
	int i, n;

	if (client < 0 || upstream < 0 || connect(upstream, (void *)server, sizeof(*server)))
		die("relay");
	add_direction(epoll, &there, client, upstream);
	add_direction(epoll, &back, upstream, client);
	while ((n = epoll_wait(epoll, events, 2, -1)) > 0)
		for (i = 0; i < n; i++)
			move(events[i].data.ptr);
	die("epoll_wait");
}

/* Debian's defaults except for necessary settings: TCP, one thread, the addresses. Without
 * timeouts, HAProxy prints a warning.
 */
void relay_by_haproxy(int listener, const struct sockaddr_in *server)
{
	FILE *f = fopen(HAPROXY_CONFIG, "w");

	if (!f)
		die(HAPROXY_CONFIG);
	fprintf(f, "global\n\tnbthread 1\n"
		   "defaults\n\tmode tcp\n\ttimeout connect 1m\n"
		   "\ttimeout client 1h\n\ttimeout server 1h\n"
		   "listen bench\n\tbind fd@%d\n\tserver bench 127.0.0.1:%d\n",
		listener, ntohs(server->sin_port));
	if (fclose(f))
		die(HAPROXY_CONFIG);
	execl(HAPROXY, HAPROXY, "-db", "-f", HAPROXY_CONFIG, NULL);
	die(HAPROXY);
}
