// SPDX-License-Identifier: GPL-2.0
/* A UDP socket with a verdict program is compared with one without. Each receives
 * the same datagrams, except for those that the program drops, and is read in the
 * same way. Any difference is a failure.
 *
 * Steps, with a number n:
 *   P D R I G C N W    send a datagram of n bytes; test_sockmap_udp.h says what the
 *                      programs do to it
 *   Sn:PDP...          send some of n bytes each with UDP_SEGMENT: loopback delivers
 *                      them merged, as GRO does
 *   a b t              send from the first or second peer, and with a TOS of n
 *   r p T q            read into n bytes: plainly, with MSG_PEEK, MSG_TRUNC, both
 *   x                  read from the target of R
 *   w                  wait for the worker that delivers to it
 *   o O                SO_PEEK_OFF: 0, and off
 *   E e                cause an ICMP error, read the error queue
 *   B F                set SO_RCVBUF, send 40 times Pn
 *   A L                attach, and detach, the program
 * Without a program, others than P are sent only if A follows before the next read.
 *
 * SOCKMAP_UDP=SECONDS[,SEQUENCE] in the environment sets how long random sequences are
 * tried, 1 second by default, and the first one.
 */
#include <error.h>
#include <poll.h>
#include <sched.h>
#include <linux/errqueue.h>
#include <linux/in6.h>
#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>

#include "test_progs.h"
#include "sockmap_helpers.h"
#include "clock_rnd.h"
#include "progs/test_sockmap_udp.h"
#include "test_sockmap_udp.skel.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef IPV6_RECVORIGDSTADDR
#define IPV6_RECVORIGDSTADDR 74
#endif

#define LEN_MAX 60000
#define SEGMENTS 30
#define CHANGE_MAX 4000	/* the longest that programs can change */
#define WAIT_MS 500
#define STEPS_MAX 40
#define QUEUED_MAX 30
#define RCVBUF 8000000	/* room for QUEUED_MAX of the longest */
#define FILL 40
#define ACTIONS "PDRIGCNW"

enum { PLAIN, VERDICT };

enum how { MAP, HASH, LINK };

enum access { READS, WRITES, RESIZES };

/* What is compared */
#define DATA	1	/* what is returned, and the flags */
#define NAME	2
#define CMSG	4
#define READY	8	/* poll(), FIONREAD */
#define MEM	16	/* whether memory is charged, and the number of drops */
#define ALL	31

struct udp_test {
	struct test_sockmap_udp *skel;
	int family;
	bool mapped;		/* IPv6 sockets with IPv4-mapped addresses */
	enum how how;
	enum access access;
	bool gro;
	bool connected;
	int look;
	int map;		/* with the program, or -1 */
	struct bpf_link *link;
	int sk[2];
	int other[2];		/* targets of R, connected to the first peer */
	int peer[2];
	int from;		/* which of them */
	bool attached;
	bool unseen;		/* pending datagrams need a verdict before a read */
	int dropped;
	int queued;		/* about how many can be read */
	int redirected;
	__u8 fill;		/* differs from one datagram to the next */
	char diff[256];
};

struct outcome {
	int ret;
	int flags;
	struct sockaddr_in6 name;
	socklen_t namelen;
	char cmsg[2000];
	__u8 data[LEN_MAX + 100];
};

static bool differ(struct udp_test *s, const char *fmt, ...)
{
	va_list args;

	if (!s->diff[0]) {
		va_start(args, fmt);
		vsnprintf(s->diff, sizeof(s->diff), fmt, args);
		va_end(args);
	}
	return false;
}

/* ---- sockets ---- */

static int loopback(const struct udp_test *s)
{
	struct sockaddr_storage addr;
	socklen_t len = 0;
	int fd;

	init_addr_loopback(s->family, &addr, &len);
	if (s->mapped)
		inet_pton(AF_INET6, "::ffff:127.0.0.1",
			  &((struct sockaddr_in6 *)&addr)->sin6_addr);
	fd = socket(s->family, SOCK_DGRAM, 0);
	if (fd >= 0 && bind(fd, (void *)&addr, len)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void addr_of(int fd, struct sockaddr_storage *addr, socklen_t *len)
{
	*len = sizeof(*addr);
	memset(addr, 0, sizeof(*addr));
	getsockname(fd, (void *)addr, len);
}

static int set(int fd, int level, int opt, int val)
{
	return setsockopt(fd, level, opt, &val, sizeof(val));
}

static bool connect_to(int fd, int peer)
{
	struct sockaddr_storage addr;
	socklen_t len;

	addr_of(peer, &addr, &len);
	return !connect(fd, (void *)&addr, len);
}

static bool set_options(struct udp_test *s, int fd)
{
	int err = 0;

	err |= set(fd, SOL_SOCKET, SO_RCVBUFFORCE, RCVBUF);
	err |= set(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
	if (s->family == AF_INET || s->mapped) {
		err |= set(fd, SOL_IP, IP_PKTINFO, 1);
		err |= set(fd, SOL_IP, IP_RECVTOS, 1);
		err |= set(fd, SOL_IP, IP_RECVTTL, 1);
		err |= set(fd, SOL_IP, IP_RECVORIGDSTADDR, 1);
		err |= set(fd, SOL_IP, IP_RECVERR, 1);
	}
	if (s->family == AF_INET6) {
		err |= set(fd, SOL_IPV6, IPV6_RECVPKTINFO, 1);
		err |= set(fd, SOL_IPV6, IPV6_RECVTCLASS, 1);
		err |= set(fd, SOL_IPV6, IPV6_RECVHOPLIMIT, 1);
		err |= set(fd, SOL_IPV6, IPV6_RECVORIGDSTADDR, 1);
		err |= set(fd, SOL_IPV6, IPV6_RECVERR, 1);
	}
	if (s->gro)
		err |= set(fd, SOL_UDP, UDP_GRO, 1);
	return !err;
}

static bool open_sockets(struct udp_test *s)
{
	int i;

	for (i = 0; i < 2; i++)
		s->peer[i] = loopback(s);
	for (i = 0; i < 2; i++) {
		s->sk[i] = loopback(s);
		s->other[i] = loopback(s);
		if (!ASSERT_GE(s->peer[i], 0, "peer") || !ASSERT_GE(s->sk[i], 0, "sk") ||
		    !ASSERT_GE(s->other[i], 0, "other") ||
		    !ASSERT_TRUE(set_options(s, s->sk[i]), "options") ||
		    !ASSERT_TRUE(connect_to(s->other[i], s->peer[0]), "connect"))
			return false;
		if (s->connected &&
		    !ASSERT_TRUE(connect_to(s->sk[i], s->peer[0]), "connect"))
			return false;
	}
	return true;
}

static struct bpf_program *program(struct udp_test *s)
{
	switch (s->access) {
	case READS:
		return s->skel->progs.prog_reads;
	case WRITES:
		return s->skel->progs.prog_writes;
	default:
		return s->skel->progs.prog_resizes;
	}
}

static int put_in_map(int map, int key, int fd)
{
	__u64 value = fd;

	return bpf_map_update_elem(map, &key, &value, BPF_ANY);
}

static bool make_verdict_map(struct udp_test *s)
{
	enum bpf_map_type type = s->how == HASH ? BPF_MAP_TYPE_SOCKHASH : BPF_MAP_TYPE_SOCKMAP;

	if (s->how == LINK)
		return true;
	s->map = bpf_map_create(type, NULL, sizeof(int), sizeof(__u64), 1, NULL);
	return ASSERT_GE(s->map, 0, "map") &&
	       ASSERT_OK(bpf_prog_attach(bpf_program__fd(program(s)), s->map,
					 BPF_SK_SKB_VERDICT, 0), "bpf_prog_attach");
}

static bool setup(struct udp_test *s)
{
	int redirect = bpf_map__fd(s->skel->maps.sock_map);

	s->map = -1;
	s->link = NULL;
	s->from = 0;
	s->dropped = 0;
	s->queued = 0;
	s->redirected = 0;
	s->attached = false;
	s->unseen = false;
	s->diff[0] = 0;
	s->fill = 0;
	memset(s->sk, -1, sizeof(s->sk));
	memset(s->other, -1, sizeof(s->other));
	memset(s->peer, -1, sizeof(s->peer));
	return open_sockets(s) && make_verdict_map(s) &&
	       ASSERT_OK(put_in_map(redirect, 1, s->other[VERDICT]), "sock_map");
}

static void cleanup(struct udp_test *s)
{
	int i;

	bpf_link__destroy(s->link);
	for (i = 0; i < 2; i++) {
		close(s->sk[i]);
		close(s->other[i]);
		close(s->peer[i]);
	}
	if (s->map >= 0)
		close(s->map);
}

static bool attach(struct udp_test *s)
{
	int err;

	/* Pending datagrams can be redirected to the socket itself. */
	if (put_in_map(bpf_map__fd(s->skel->maps.sock_map), 0, s->sk[VERDICT]))
		return differ(s, "error of sock_map");
	if (s->how == LINK) {
		s->link = bpf_program__attach_sock(program(s), s->sk[VERDICT], NULL);
		err = s->link ? 0 : -errno;
	} else {
		err = put_in_map(s->map, 0, s->sk[VERDICT]);
	}
	if (err)
		return differ(s, "error %d of attaching", err);
	s->attached = true;
	s->unseen = false;
	return true;
}

static bool detach(struct udp_test *s)
{
	int key = 0, err = 0;

	if (s->how == LINK)
		bpf_link__destroy(s->link);
	else
		err = bpf_map_delete_elem(s->map, &key);
	s->link = NULL;
	err |= bpf_map_delete_elem(bpf_map__fd(s->skel->maps.sock_map), &key);
	s->attached = false;
	return !err || differ(s, "error of detaching");
}

/* ---- sending ---- */

static __u32 meminfo(int fd, int which)
{
	__u32 mem[SK_MEMINFO_VARS] = {};
	socklen_t len = sizeof(mem);

	getsockopt(fd, SOL_SOCKET, SO_MEMINFO, mem, &len);
	return mem[which];
}

/* How many the program ran on, or had no room */
static __u64 count_runs(struct udp_test *s)
{
	return READ_ONCE(s->skel->bss->runs) - s->dropped +
	       meminfo(s->sk[VERDICT], SK_MEMINFO_DROPS);
}

static bool wait_runs(struct udp_test *s, __u64 runs)
{
	__u64 until = now_ms() + WAIT_MS;

	while (s->attached && count_runs(s) < runs)
		if (now_ms() > until)
			return differ(s, "the program has not run on each");
	return true;
}

static void send_to(struct udp_test *s, int to, const __u8 *buf, int len, int segment)
{
	struct sockaddr_storage addr;
	socklen_t addrlen;
	int n;

	addr_of(to, &addr, &addrlen);
	if (segment)
		set(s->peer[s->from], SOL_UDP, UDP_SEGMENT, segment);
	n = sendto(s->peer[s->from], buf, len, 0, (void *)&addr, addrlen);
	if (n != len)
		differ(s, "error %d of sendto", errno);
	if (segment)
		set(s->peer[s->from], SOL_UDP, UDP_SEGMENT, 0);
}

/* Send to the plain socket what the application must receive. */
static void send_expected(struct udp_test *s, const __u8 *datagram, int len)
{
	static __u8 buf[LEN_MAX + GROW_BY];
	char action = len ? datagram[0] : 'P';
	__u8 *at = buf + GROW_BY;

	memcpy(at, datagram, len);
	if (s->access == RESIZES && action == GROW) {
		at = buf;
		memset(at, 0, GROW_BY);
		len += GROW_BY;
	}
	if (s->access == RESIZES && action == CUT)
		len--;
	if (s->access == RESIZES && action == EMPTY)
		len = 0;
	if (s->access != READS && action == WRITE && len > 1)
		at[1] = ~at[1];

	if (action == DROP || (action == SELF && !s->connected) ||
	    (s->access == RESIZES && !len && strchr("CN", action))) {
		s->dropped++;
	} else if (action == REDIRECT) {
		send_to(s, s->other[PLAIN], at, len, 0);
		s->redirected++;
	} else {
		send_to(s, s->sk[PLAIN], at, len, 0);
		s->queued++;
	}
}

static void make_datagram(struct udp_test *s, __u8 *buf, int len, char action)
{
	int i;

	s->fill++;
	for (i = 0; i < len; i++)
		buf[i] = i ? s->fill + i * 7 + (i >> 8) : action;
}

static bool send_one(struct udp_test *s, int len, char action)
{
	__u64 runs = count_runs(s) + 1;
	static __u8 buf[LEN_MAX];

	make_datagram(s, buf, len, action);
	if (!s->attached && action != 'P')
		s->unseen = true;
	send_expected(s, buf, len);
	send_to(s, s->sk[VERDICT], buf, len, 0);
	return wait_runs(s, runs);
}

static bool send_merged(struct udp_test *s, int len, const char *actions)
{
	int i, n = strspn(actions, ACTIONS);
	__u64 runs = count_runs(s) + n;
	static __u8 buf[LEN_MAX];

	s->unseen |= !s->attached;
	for (i = 0; i < n; i++) {
		make_datagram(s, buf + i * len, len, actions[i]);
		send_expected(s, buf + i * len, len);
	}
	send_to(s, s->sk[VERDICT], buf, n * len, len);
	return wait_runs(s, runs);
}

static bool set_tos(struct udp_test *s, int tos)
{
	int i;

	for (i = 0; i < 2; i++)
		if (s->family == AF_INET || s->mapped)
			set(s->peer[i], SOL_IP, IP_TOS, tos);
		else
			set(s->peer[i], SOL_IPV6, IPV6_TCLASS, tos);
	return true;
}

/* Send to a closed socket. */
static void provoke_error(struct udp_test *s)
{
	int i, closed = s->connected ? s->peer[0] : loopback(s);
	struct sockaddr_storage addr;
	socklen_t len;

	addr_of(closed, &addr, &len);
	close(closed);
	for (i = 0; i < 2; i++)
		sendto(s->sk[i], "E", 1, 0, (void *)&addr, len);
	if (!s->connected)
		return;
	s->peer[0] = socket(s->family, SOCK_DGRAM, 0);
	if (bind(s->peer[0], (void *)&addr, len))
		differ(s, "error %d of bind", errno);
}

/* ---- receiving ---- */

static void note_cmsg(struct outcome *o, struct cmsghdr *cmsg)
{
	int i, n = strlen(o->cmsg), len = cmsg->cmsg_len - CMSG_LEN(0);
	__u8 data[100] = {};

	memcpy(data, CMSG_DATA(cmsg), len < sizeof(data) ? len : sizeof(data));
	if (cmsg->cmsg_level == SOL_SOCKET)
		memset(data, 0, sizeof(data));	/* the time */
	/* The port differs. */
	if (cmsg->cmsg_level != SOL_SOCKET &&
	    cmsg->cmsg_type == (cmsg->cmsg_level == SOL_IP ? IP_ORIGDSTADDR :
							     IPV6_RECVORIGDSTADDR))
		memset(data + 2, 0, 2);
	n += snprintf(o->cmsg + n, sizeof(o->cmsg) - n, " %d/%d:", cmsg->cmsg_level,
		      cmsg->cmsg_type);
	for (i = 0; i < len && i < sizeof(data); i++)
		n += snprintf(o->cmsg + n, sizeof(o->cmsg) - n, "%02x", data[i]);
}

static void receive(int fd, int size, int flags, struct outcome *o)
{
	struct iovec iov = { .iov_base = o->data, .iov_len = size };
	char control[1000];
	struct msghdr msg = {
		.msg_name = &o->name, .msg_namelen = sizeof(o->name),
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;

	memset(&o->name, 0, sizeof(o->name));
	memset(o->data, 0, size);
	o->cmsg[0] = 0;
	o->ret = recvmsg(fd, &msg, flags | MSG_DONTWAIT);
	if (o->ret < 0) {
		o->ret = -errno;
		return;
	}
	o->flags = msg.msg_flags;
	o->namelen = msg.msg_namelen;
	for (cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg))
		note_cmsg(o, cmsg);
}

static bool same(struct udp_test *s, int look, int size, const struct outcome *o)
{
	int first = o[PLAIN].data[0], got = o[VERDICT].data[0];

	if (o[PLAIN].ret != o[VERDICT].ret && look & (DATA | NAME | CMSG))
		return differ(s, "returned %d, not %d", o[VERDICT].ret, o[PLAIN].ret);
	if (o[PLAIN].ret < 0)
		return true;
	if (look & DATA && o[PLAIN].flags != o[VERDICT].flags)
		return differ(s, "flags %#x, not %#x", o[VERDICT].flags, o[PLAIN].flags);
	if (look & DATA && memcmp(o[PLAIN].data, o[VERDICT].data, size))
		return differ(s, "other data, beginning with %02x, not %02x", got, first);
	if (look & NAME && (o[PLAIN].namelen != o[VERDICT].namelen ||
			    memcmp(&o[PLAIN].name, &o[VERDICT].name, sizeof(o->name))))
		return differ(s, "another address, length %d, not %d, port %d, not %d",
			      o[VERDICT].namelen, o[PLAIN].namelen,
			      ntohs(o[VERDICT].name.sin6_port), ntohs(o[PLAIN].name.sin6_port));
	if (look & CMSG && strcmp(o[PLAIN].cmsg, o[VERDICT].cmsg))
		return differ(s, "control messages%s, not%s", o[VERDICT].cmsg, o[PLAIN].cmsg);
	return true;
}

static bool read_both(struct udp_test *s, const int *fds, int look, int size, int flags)
{
	static struct outcome o[2];
	int i;

	for (i = 0; i < 2; i++)
		receive(fds[i], size, flags, &o[i]);
	if (fds == s->sk && o[PLAIN].ret >= 0 && !(flags & (MSG_PEEK | MSG_ERRQUEUE)))
		s->queued--;
	return same(s, look, size, o);
}

/* A worker queues redirected datagrams. */
static bool read_other(struct udp_test *s, int size)
{
	struct pollfd pfd = { .fd = s->other[VERDICT], .events = POLLIN };

	if (s->redirected && poll(&pfd, 1, WAIT_MS) != 1)
		return differ(s, "nothing was redirected");
	if (s->redirected)
		s->redirected--;
	return read_both(s, s->other, s->look & (DATA | NAME), size, 0);
}

/* Nothing has been read from the targets. */
static bool wait_delivered(struct udp_test *s)
{
	int want = meminfo(s->other[PLAIN], SK_MEMINFO_RMEM_ALLOC);
	__u64 until = now_ms() + WAIT_MS;

	while (meminfo(s->other[VERDICT], SK_MEMINFO_RMEM_ALLOC) < want)
		if (now_ms() > until)
			return differ(s, "not all that was redirected is charged");
	return true;
}

/* ---- readiness and memory ---- */

static int events(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN | POLLPRI | POLLOUT };

	return poll(&pfd, 1, 0) < 0 ? -1 : pfd.revents;
}

static int first_length(int fd)
{
	int n = -1;

	ioctl(fd, FIONREAD, &n);
	return n;
}

/* A redirected datagram is charged until a worker has delivered it. */
static int charged_at_last(struct udp_test *s, int plain)
{
	__u64 until = now_ms() + WAIT_MS;
	int got;

	do {
		got = meminfo(s->sk[VERDICT], SK_MEMINFO_RMEM_ALLOC);
	} while (!plain != !got && now_ms() < until && !sched_yield());
	return got;
}

static bool check(struct udp_test *s)
{
	int plain, got;

	if (s->unseen)
		return true;
	plain = events(s->sk[PLAIN]);
	got = events(s->sk[VERDICT]);
	if (s->look & READY && plain != got)
		return differ(s, "poll() says %#x, not %#x", got, plain);
	plain = first_length(s->sk[PLAIN]);
	got = first_length(s->sk[VERDICT]);
	if (s->look & READY && plain != got)
		return differ(s, "FIONREAD says %d, not %d", got, plain);
	plain = meminfo(s->sk[PLAIN], SK_MEMINFO_RMEM_ALLOC);
	got = s->look & MEM ? charged_at_last(s, plain) : 0;
	if (s->look & MEM && !plain != !got)
		return differ(s, "%d bytes charged, not %d", got, plain);
	plain = meminfo(s->sk[PLAIN], SK_MEMINFO_DROPS) + s->dropped;
	got = meminfo(s->sk[VERDICT], SK_MEMINFO_DROPS);
	if (s->look & MEM && plain != got)
		return differ(s, "%d dropped, not %d", got, plain);
	return true;
}

/* ---- steps ---- */

static bool set_both(struct udp_test *s, int level, int opt, int val)
{
	int i;

	for (i = 0; i < 2; i++)
		if (set(s->sk[i], level, opt, val))
			return differ(s, "error %d of setsockopt", errno);
	return true;
}

static bool step(struct udp_test *s, const char *what)
{
	const char *colon = strchr(what, ':');
	int i, n = atoi(what + 1);

	switch (*what) {
	case 'S':
		return send_merged(s, n, colon + 1);
	case 'F':
		for (i = 0; i < FILL; i++)
			if (!send_one(s, n, 'P'))
				return false;
		return true;
	case 'a':
	case 'b':
		s->from = *what - 'a';
		return true;
	case 't':
		return set_tos(s, n);
	case 'r':
		return read_both(s, s->sk, s->look, n, 0);
	case 'p':
		return read_both(s, s->sk, s->look, n, MSG_PEEK);
	case 'T':
		return read_both(s, s->sk, s->look, n, MSG_TRUNC);
	case 'q':
		return read_both(s, s->sk, s->look, n, MSG_PEEK | MSG_TRUNC);
	case 'x':
		return read_other(s, n);
	case 'w':
		return wait_delivered(s);
	case 'o':
		return set_both(s, SOL_SOCKET, SO_PEEK_OFF, 0);
	case 'O':
		return set_both(s, SOL_SOCKET, SO_PEEK_OFF, -1);
	case 'E':
		provoke_error(s);
		return true;
	case 'e':
		return read_both(s, s->sk, s->look, 100, MSG_ERRQUEUE);
	case 'B':
		return set_both(s, SOL_SOCKET, SO_RCVBUF, n);
	case 'A':
		return attach(s);
	case 'L':
		return detach(s);
	}
	return send_one(s, n, *what);
}

static bool run_steps(struct udp_test *s, const char *steps)
{
	const char *at = steps;
	bool ok = true;

	while (*at && ok) {
		ok = step(s, at) && check(s) && !s->diff[0];
		at += strcspn(at, " ");
		if (!ok)
			printf("# %s after %.*s\n", s->diff, (int)(at - steps), steps);
		at += strspn(at, " ");
	}
	return ok;
}

struct row {
	const char *name;
	const char *steps;
	int look;
	bool gro;
	bool connected;
	bool mapped;
	enum access access;
};

static const struct row rows[] = {
	{ "address", "A P10 r100 b P20 r100 a P30 r100", NAME },
	{ "address_connected", "A P10 r100 P20 r100", NAME, .connected = true },
	{ "address_mapped", "A P10 r100 b P20 r100", NAME, .mapped = true },
	{ "cmsg", "A t16 P10 r100 t32 P20 r100", CMSG },
	{ "cmsg_mapped", "A t16 P10 r100 t32 P20 r100", CMSG, .mapped = true },
	{ "boundaries", "A P10 P20 P30 r1000 r1000 r1000 r1000", DATA },
	{ "short_read", "A P100 P20 r10 r100 r100", DATA },
	{ "trunc", "A P100 P50 P5 T10 T10 T10 T10", DATA },
	{ "peek", "A P100 P50 p10 p200 r200 p100 q10 r100 p10", DATA },
	{ "peek_off", "A o P100 p40 p40 p40 r100 P50 p100 O p100 r100", DATA },
	{ "empty", "A P0 P10 P0 r100 r100 r100 r100", DATA | READY },
	{ "no_buffer", "A P10 P20 r0 r10 r10", DATA },
	{ "poll", "A P10 P20 r5 r100 P0 r10 D10", READY },
	{ "drop", "A D10 P10 D20 r100 D1 P20 r100 r100", DATA | READY | MEM },
	{ "long", "A P60000 r60000 P9000 D60000 r60000 P1 r60000", DATA | MEM },
	{ "gro", "A S20:PDPDD S100:DP P30 r1000 r1000 r1000 r1000 r1000", DATA | READY,
	  .gro = true },
	{ "gro_off", "A S20:PDPDD S100:DP P30 r1000 r1000 r1000 r1000 r1000", DATA | READY },
	{ "gro_changed", "A S500:PDWCGP r1000 r1000 r1000 r1000 r1000 r1000", DATA | CMSG,
	  .gro = true, .access = RESIZES },
	{ "pending", "P10 D10 A r100 r100 P20 r100", DATA },
	{ "pending_later", "P10 D10 D20 A P30 D40 r100 r100 r100", ALL },
	{ "pending_cmsg", "t16 P10 b P20 D5 A r100 r100", ALL },
	{ "pending_gro", "S20:PDP S500:DDP P10 A r1000 r1000 r1000 r1000 r1000", DATA | READY | MEM,
	  .gro = true },
	{ "pending_peeked", "P10 p5 P20 A p100 r100 r100", DATA },
	{ "pending_changed", "P10 G10 W20 C30 A r100 r100 r100 r100", ALL, .access = RESIZES },
	{ "detach", "A P10 L r100 P30 r100 r100", DATA },
	{ "detach_all", "A P10 P20 L r100 P30 r100 r100 r100", ALL },
	{ "attach_again", "A P10 L D20 A r100 r100", DATA },
	{ "attach_again_changed", "A W10 G20 L P20 W30 A r100 r100 r100 r100", DATA | READY,
	  .access = RESIZES },
	{ "error", "A E P10 D10 P20 r100 r100 r100 e e", DATA },
	{ "error_connected", "A E P10 D10 P20 r100 r100 r100 e e", DATA, .connected = true },
	{ "error_first", "A P10 E r100 r100 e", DATA },
	{ "rcvbuf", "B20000 A F1000 r2000 r2000 r2000 P1000 P1000 F1000", MEM },
	{ "rcvbuf_empty", "B5000 A F1000 r2000 r2000 r2000 r2000 P5000 P5000 r5000 r5000", MEM },
	{ "writes", "A P10 r1000 W20 r1000 D5 W1 r1000 W500 r1000", DATA, .access = WRITES },
	{ "changed", "A G10 r100 C20 r100 W30 r100 r100", DATA,
	  .access = RESIZES },
	{ "changed_to_nothing", "A N40 C1 P0 r100 r100", DATA | READY | MEM,
	  .access = RESIZES },
	{ "changed_address", "A t16 G10 r100 b G10 r100 C20 r100 W30 r100", NAME | CMSG,
	  .access = RESIZES },
	{ "redirect", "A R10 x1000 P5 R30 x1000 r100 x1000", DATA },
	{ "redirect_boundaries", "A R10 R20 P5 R30 w x1000 x1000 x1000 r100", DATA },
	{ "redirect_short", "A R100 R20 x10 x100", DATA },
	{ "redirect_address", "A R10 x100 P5 R30 x100 r100", NAME },
	{ "redirect_mapped", "A R10 x100 P5 R30 x100 r100", NAME, .mapped = true },
	{ "redirect_self", "A I10 r100 P5 r100 I20 r100 r100", DATA, .connected = true },
	{ "redirect_self_unconnected", "A I10 P5 I20 r100", DATA | READY | MEM },
};

static void run_row(struct udp_test *s, const struct row *row, int family)
{
	s->family = family;
	s->mapped = row->mapped;
	s->how = MAP;
	s->look = row->look;
	s->gro = row->gro;
	s->connected = row->connected;
	s->access = row->access;
	if (setup(s))
		ASSERT_TRUE(run_steps(s, row->steps), "same as without a program");
	cleanup(s);
}

/* ---- random sequences ---- */

static __u64 rnd_state;

static unsigned int rnd(unsigned int below)
{
	return rnd_of(&rnd_state, below);
}

static int length(void)
{
	static const int most[] = { 2, 30, 100, 1500, 9000, 40000 };

	return rnd(most[rnd(ARRAY_SIZE(most))]);
}

static char random_action(struct udp_test *s, int len, bool merged)
{
	char action = rnd(2) ? 'P' : ACTIONS[rnd(strlen(ACTIONS))];

	if (!len || (action == REDIRECT && (s->from || s->redirected >= QUEUED_MAX)))
		return 'P';
	/* Direct writes need linear data, and helpers have limits. */
	if (strchr("GCNW", action) && (len > CHANGE_MAX || (merged && s->access == WRITES)))
		return 'D';
	return action;
}

static void random_merged(struct udp_test *s, char *what)
{
	int i, len = 1 + rnd(rnd(2) ? 50 : 1400), n = 2 + rnd(SEGMENTS - 2);

	what += sprintf(what, "S%d:", len);
	for (i = 0; i < n; i++)
		*what++ = random_action(s, len, true);
	*what = 0;
}

/* Make up a step. Returns false if it makes no sense now. */
static bool random_step(struct udp_test *s, char *what)
{
	int len = length();
	char action;

	switch (rnd(s->unseen ? 8 : 20)) {
	case 0 ... 4:
		if (s->queued >= QUEUED_MAX)
			return false;
		action = random_action(s, len, false);
		if (!s->attached && !s->unseen && rnd(3))
			action = 'P';
		sprintf(what, "%c%d", action, len);
		return true;
	case 5:
		if (s->queued >= QUEUED_MAX || (!s->attached && rnd(3)))
			return false;
		random_merged(s, what);
		return true;
	case 6:
		strcpy(what, s->attached ? "L" : "A");
		return s->attached ? !rnd(3) : true;
	case 7:
		if (rnd(2))
			sprintf(what, "t%d", 4 * rnd(64));
		else
			strcpy(what, s->connected || rnd(2) ? "a" : "b");
		return true;
	case 8 ... 13:
		sprintf(what, "r%d", rnd(2) ? LEN_MAX : len);
		return true;
	case 14:
		sprintf(what, "p%d", len);
		return true;
	case 15:
		sprintf(what, "%c%d", "Tq"[rnd(2)], len);
		return true;
	case 16:
		sprintf(what, "x%d", len);
		return true;
	case 17:
		strcpy(what, rnd(2) ? "o" : "O");
		return true;
	case 18:
		strcpy(what, "E");
		return !rnd(3);
	case 19:
		strcpy(what, "e");
		return true;
	}
	return false;
}

static bool random_sequence(struct udp_test *s, __u64 nr)
{
	static char text[STEPS_MAX * 50];
	int i, n, at = 0;
	bool ok;

	rnd_state = (nr + 1) * 0x9e3779b97f4a7c15ULL;
	s->look = ALL;
	s->mapped = s->family == AF_INET6 && rnd(2);
	s->gro = rnd(2);
	s->connected = rnd(2);
	s->access = rnd(3);
	n = 5 + rnd(STEPS_MAX - 5);
	ok = setup(s);
	text[0] = 0;
	for (i = 0; ok && i < n; i++) {
		char what[50];

		if (!random_step(s, what))
			continue;
		at += snprintf(text + at, sizeof(text) - at, " %s", what);
		ok = step(s, what) && check(s) && !s->diff[0];
	}
	cleanup(s);
	if (!ok)
		printf("# sequence %llu,%s%s%s, access %d: %s after%s\n", nr,
		       s->mapped ? " mapped" : "", s->gro ? " GRO" : "",
		       s->connected ? " connected" : "", s->access,
		       s->diff, text);
	return ok;
}

static void random_for(struct udp_test *s, enum how how, int family, int seconds, __u64 nr)
{
	__u64 until = now_ms() + seconds * 1000ULL, first = nr;
	bool ok;

	s->how = how;
	s->family = family;
	do {
		ok = random_sequence(s, nr++);
	} while (ok && now_ms() < until);
	printf("# sequences %llu to %llu\n", first, nr - 1);
	ASSERT_TRUE(ok, "same as without a program");
}

/* ---- others ---- */

static bool setup_default(struct udp_test *s, int family)
{
	s->family = family;
	s->mapped = false;
	s->how = MAP;
	s->access = READS;
	s->gro = false;
	s->connected = false;
	return setup(s);
}

static ssize_t recv_wait(int fd, void *buf, size_t len)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, WAIT_MS) == 1 ? recv(fd, buf, len, MSG_DONTWAIT) : -1;
}

struct sender {
	struct udp_test *s;
	bool stop;
};

static void *send_dropped(void *arg)
{
	struct sender *sender = arg;
	struct sockaddr_storage addr;
	socklen_t len;

	addr_of(sender->s->sk[VERDICT], &addr, &len);
	while (!READ_ONCE(sender->stop))
		sendto(sender->s->peer[0], "D", 1, 0, (void *)&addr, len);
	return NULL;
}

/* No datagram that the program drops is received after attaching, even if it was
 * about to be queued then.
 */
static void race(struct udp_test *s)
{
	struct sender sender = { .s = s };
	__u64 until = now_ms() + 1000;
	int got = 0, rounds = 0;
	pthread_t thread;
	char c;

	if (!setup_default(s, AF_INET))
		goto out;
	if (!ASSERT_OK(pthread_create(&thread, NULL, send_dropped, &sender), "pthread_create"))
		goto out;
	do {
		/* Attach and detach at any moment. */
		usleep(rnd_of(&rnd_state, 2000));
		if (!ASSERT_TRUE(attach(s), "attach"))
			break;
		while (recv(s->sk[VERDICT], &c, 1, MSG_DONTWAIT) == 1)
			got++;
		usleep(rnd_of(&rnd_state, 200));
		while (recv(s->sk[VERDICT], &c, 1, MSG_DONTWAIT) == 1)
			got++;
		if (!ASSERT_TRUE(detach(s), "detach"))
			break;
		rounds++;
	} while ((now_ms() < until || rounds < 10) && !got);
	WRITE_ONCE(sender.stop, true);
	pthread_join(thread, NULL);
	ASSERT_EQ(got, 0, "received datagrams that the program drops");
	ASSERT_GE(rounds, 10, "rounds");
out:
	cleanup(s);
}

/* The program does not run on what the encapsulation takes. */
static void encap(struct udp_test *s)
{
	static const __u8 esp[20] = { 1 }, ike[20] = { 0, 0, 0, 0, 1 };
	__u64 runs = s->skel->bss->runs;
	char buf[100];

	if (!setup_default(s, AF_INET))
		goto out;
	if (set(s->sk[VERDICT], SOL_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)) {
		printf("%s:SKIP:no UDP_ENCAP_ESPINUDP\n", __func__);
		test__skip();
		goto out;
	}
	if (!ASSERT_TRUE(attach(s), "attach"))
		goto out;
	send_to(s, s->sk[VERDICT], esp, sizeof(esp), 0);
	ASSERT_EQ(s->skel->bss->runs, runs, "runs on ESP packets");
	send_to(s, s->sk[VERDICT], ike, sizeof(ike), 0);
	ASSERT_EQ(s->skel->bss->runs, runs + 1, "runs on IKE packets");
	ASSERT_EQ(recv(s->sk[VERDICT], buf, sizeof(buf), MSG_DONTWAIT), sizeof(ike),
		  "recv");
	ASSERT_OK(memcmp(buf, ike, sizeof(ike)), "data");
out:
	cleanup(s);
}

/* A record of a TCP connection is received as a datagram of the connected peer. */
static void from_tcp(struct udp_test *s, int family)
{
	struct sockaddr_in6 name = {}, peer = {};
	socklen_t len = sizeof(name), peerlen = sizeof(peer);
	struct pollfd pfd = { .events = POLLIN };
	int c = -1, p = -1;
	char buf[10];

	if (!setup_default(s, family) ||
	    !ASSERT_OK(create_pair(family, SOCK_STREAM, &c, &p), "create_pair") ||
	    !ASSERT_OK(put_in_map(s->map, 0, c), "map"))
		goto out;
	xsend(p, "R12", 3, 0);
	pfd.fd = s->other[VERDICT];
	if (!ASSERT_EQ(poll(&pfd, 1, WAIT_MS), 1, "poll"))
		goto out;
	ASSERT_EQ(recvfrom(s->other[VERDICT], buf, 2, MSG_TRUNC, (void *)&name, &len), 3,
		  "recv");
	ASSERT_OK(memcmp(buf, "R1", 2), "data");
	getsockname(s->peer[0], (void *)&peer, &peerlen);
	ASSERT_EQ(len, peerlen, "length of address");
	ASSERT_OK(memcmp(&name, &peer, len), "address");
out:
	close(c);
	close(p);
	cleanup(s);
}

/* A datagram that is redirected to the send side of a socket is sent as one. */
static void send_whole(struct udp_test *s)
{
	static __u8 sent[40000], got[sizeof(sent) + 1];

	if (!setup_default(s, AF_INET) || !ASSERT_TRUE(attach(s), "attach"))
		goto out;
	make_datagram(s, sent, sizeof(sent), SEND);
	send_to(s, s->sk[VERDICT], sent, sizeof(sent), 0);
	ASSERT_EQ(recv_wait(s->peer[0], got, sizeof(got)), sizeof(sent), "recv");
	ASSERT_OK(memcmp(sent, got, sizeof(sent)), "data");
out:
	cleanup(s);
}

/* Datagrams are sent again after one was lost by an ICMP error. */
static void send_after_error(struct udp_test *s)
{
	struct pollfd pfd = { .events = 0 };
	struct sockaddr_storage addr;
	int i, target = -1;
	socklen_t len;
	char c = 0;

	if (!setup_default(s, AF_INET) || !ASSERT_TRUE(attach(s), "attach"))
		goto out;
	target = loopback(s);
	addr_of(target, &addr, &len);
	close(target);
	pfd.fd = s->other[VERDICT];
	if (!ASSERT_OK(connect(pfd.fd, (void *)&addr, len), "connect"))
		goto out;
	send_to(s, s->sk[VERDICT], (__u8 *)"X", 1, 0);
	ASSERT_EQ(poll(&pfd, 1, WAIT_MS), 1, "ICMP error");
	target = socket(AF_INET, SOCK_DGRAM, 0);
	if (!ASSERT_OK(bind(target, (void *)&addr, len), "bind"))
		goto out;
	/* The next one consumes the error. */
	for (i = 0; i < 5 && !c; i++) {
		send_to(s, s->sk[VERDICT], (__u8 *)"X", 1, 0);
		recv_wait(target, &c, 1);
	}
	ASSERT_EQ(c, 'X', "data");
out:
	close(target);
	cleanup(s);
}

/* Redirected datagrams that the target does not read fill the receive buffer of the
 * socket that has received them.
 */
static void redirect_limit(struct udp_test *s)
{
	struct pollfd pfd = { .events = POLLIN };
	static __u8 buf[1000];
	int i, n = 1000;

	if (!setup_default(s, AF_INET) || !ASSERT_TRUE(attach(s), "attach"))
		goto out;
	set(s->other[VERDICT], SOL_SOCKET, SO_RCVBUF, 5000);
	set(s->sk[VERDICT], SOL_SOCKET, SO_RCVBUF, 20000);
	make_datagram(s, buf, sizeof(buf), REDIRECT);
	for (i = 0; i < n; i++)
		send_to(s, s->sk[VERDICT], buf, sizeof(buf), 0);
	ASSERT_GT(meminfo(s->sk[VERDICT], SK_MEMINFO_DROPS), n * 8 / 10, "drops");
	pfd.fd = s->other[VERDICT];
	while (meminfo(s->sk[VERDICT], SK_MEMINFO_RMEM_ALLOC) &&
	       poll(&pfd, 1, WAIT_MS) == 1)
		recv(pfd.fd, buf, sizeof(buf), MSG_DONTWAIT);
	ASSERT_EQ(meminfo(s->sk[VERDICT], SK_MEMINFO_RMEM_ALLOC), 0, "bytes charged");
out:
	cleanup(s);
}

/* A socket in a map cannot become an IPv4 socket: sk_prot would be replaced. */
static void addrform(struct udp_test *s)
{
	s->family = AF_INET6;
	s->mapped = true;
	s->how = MAP;
	s->access = READS;
	s->gro = false;
	s->connected = true;
	if (!setup(s) || !ASSERT_TRUE(attach(s), "attach"))
		goto out;
	ASSERT_EQ(set(s->sk[VERDICT], SOL_IPV6, IPV6_ADDRFORM, AF_INET), -1, "ADDRFORM");
	ASSERT_EQ(errno, EBUSY, "errno");
	detach(s);
	ASSERT_OK(set(s->sk[PLAIN], SOL_IPV6, IPV6_ADDRFORM, AF_INET), "plain ADDRFORM");
out:
	cleanup(s);
}

/* AF_UNIX datagrams that pass keep their boundaries. */
static void unix_boundaries(struct udp_test *s)
{
	int fds[2] = { -1, -1 };
	char buf[100];

	if (!setup_default(s, AF_INET) ||
	    !ASSERT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), "socketpair") ||
	    !ASSERT_OK(put_in_map(s->map, 0, fds[0]), "map"))
		goto out;
	xsend(fds[1], "P2", 2, 0);
	xsend(fds[1], "P23", 3, 0);
	xsend(fds[1], "", 0, 0);
	xsend(fds[1], "P234567", 7, 0);
	xsend(fds[1], "P2345", 5, 0);
	ASSERT_EQ(recv(fds[0], buf, sizeof(buf), MSG_DONTWAIT), 2, "first");
	ASSERT_EQ(recv(fds[0], buf, sizeof(buf), MSG_DONTWAIT), 3, "second");
	ASSERT_EQ(recv(fds[0], buf, sizeof(buf), MSG_DONTWAIT), 0, "empty");
	ASSERT_EQ(recv(fds[0], buf, 4, MSG_DONTWAIT | MSG_TRUNC), 7, "truncated");
	ASSERT_EQ(recv(fds[0], buf, sizeof(buf), MSG_DONTWAIT), 5, "last");
	ASSERT_EQ(recv(fds[0], buf, sizeof(buf), MSG_DONTWAIT), -1, "nothing");
out:
	close(fds[0]);
	close(fds[1]);
	cleanup(s);
}

static bool subtest(const char *name, int family)
{
	char buf[64];

	snprintf(buf, sizeof(buf), "%s%s", name, family == AF_INET ? "" : "_v6");
	return test__start_subtest(buf);
}

static void run_all(struct udp_test *s, int family)
{
	const char *env = getenv("SOCKMAP_UDP");
	int i, seconds = 1;
	__u64 nr = 1;

	if (env)
		sscanf(env, "%d,%llu", &seconds, &nr);
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		if ((family == AF_INET6 || !rows[i].mapped) && subtest(rows[i].name, family))
			run_row(s, &rows[i], family);
	if (subtest("from_tcp", family))
		from_tcp(s, family);
	if (subtest("random_map", family))
		random_for(s, MAP, family, seconds, nr);
	if (subtest("random_hash", family))
		random_for(s, HASH, family, seconds, nr);
	if (subtest("random_link", family))
		random_for(s, LINK, family, seconds, nr);
}

void test_sockmap_udp(void)
{
	static struct udp_test s;
	cpu_set_t cpus, one;

	s.skel = test_sockmap_udp__open_and_load();
	if (!ASSERT_OK_PTR(s.skel, "open_and_load"))
		return;
	/* On one CPU, a datagram is received when sendto() returns. */
	sched_getaffinity(0, sizeof(cpus), &cpus);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	run_all(&s, AF_INET);
	run_all(&s, AF_INET6);
	if (test__start_subtest("send_whole"))
		send_whole(&s);
	if (test__start_subtest("send_after_error"))
		send_after_error(&s);
	if (test__start_subtest("redirect_limit"))
		redirect_limit(&s);
	if (test__start_subtest("addrform"))
		addrform(&s);
	if (test__start_subtest("unix_boundaries"))
		unix_boundaries(&s);
	if (test__start_subtest("encap"))
		encap(&s);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	rnd_state = 1;
	if (test__start_subtest("race"))
		race(&s);
	test_sockmap_udp__destroy(s.skel);
}
