// SPDX-License-Identifier: GPL-2.0
/* Receiving on a TCP socket with a verdict program and, in most tests, a stream
 * parser, which are attached by a sockmap or by links on the socket.
 */
#include <linux/if_packet.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "sockmap_recv.h"
#include "thread_sleeps.h"

#define RACE_MS 200
#define RACE_ROUNDS 40	/* at least; the attacker has an even chance in each */
#define RACE_RECORD 5000
#define RACE_VETH_MSS 200	/* over veth, a record arrives as a list of skbs */
#define RING_RECORD 3000
#define BUSY_POLL_USEC 20000000	/* for longer than a test waits */
#define BUSY_NS 20000000	/* after this much CPU time, a reader is not asleep */
#define COME_AND_GO 3000	/* times; as many nested calls would overflow the stack */

static void run_steps(struct recv_test *s, const char *steps)
{
	const char *at = steps;
	bool ok = true;

	while (*at && ok && !s->failed) {
		ok = step(s, at);
		at += strcspn(at, " ");
		if (!s->hold_worker && !s->again && !s->batch_len)
			check(s, at - steps, steps);
		at += strspn(at, " ");
	}
	release_worker(s);
}

/* Dropped records of many times the receive buffer's size in total: the window
 * stays open.
 */
static void window_drop(struct recv_test *s)
{
	int i, size = 65536, records = 256;
	struct timeval timeout = { .tv_sec = IO_TIMEOUT_SEC };

	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	xsetsockopt(s->peer, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));

	for (i = 0; i < records; i++) {
		new_record(s, 'D', 16000);
		if (!send_record(s, 16000, 0))
			return;
	}
	check(s, INT_MAX, "dropped records");
}

#define FLOW_LEN 1000000	/* more than all buffers hold */
#define FLOW_PIECE 1000		/* sent at once */
#define FLOW_MS 300		/* the sender is throttled if nothing is accepted for so long */
#define LATE_MS 1000		/* time limit for a record, longer than a slow machine may pause */

/* Records of one length, a divisor of FLOW_PIECE */
struct flow {
	int record;
	char action;
};

/* The byte of a flow at position @at */
static __u8 flow_byte(const struct flow *f, int at)
{
	const __u8 head[] = { f->record >> 8, f->record & 0xff, f->action };
	int off = at % f->record;

	return off < sizeof(head) ? head[off] : at / f->record * 7 + off;
}

/* Send the rest of the piece at @at, as far as there is room */
static int flow_send(int fd, const struct flow *f, int at)
{
	int i, n, len = FLOW_PIECE - at % FLOW_PIECE;
	__u8 buf[FLOW_PIECE];

	for (i = 0; i < len; i++)
		buf[i] = flow_byte(f, at + i);
	n = send(fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? 0 : n;
}

static bool has_room(int fd, int msec)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };

	return poll(&pfd, 1, msec) == 1 && pfd.revents == POLLOUT;
}

/* Send FLOW_LEN bytes, or until there is no room for @msec. Return: the bytes sent */
static int flow_until_full(int fd, const struct flow *f, int msec)
{
	int n, sent = 0;

	do {
		n = flow_send(fd, f, sent);
		sent += n;
	} while (sent < FLOW_LEN && (n || has_room(fd, msec)));
	return sent;
}

static int flow_read_within(int sec, int fd, const struct flow *f, int at)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	__u8 buf[3 * FLOW_PIECE];
	int i, n = -1;

	if (poll(&pfd, 1, sec * 1000) == 1)
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	for (i = 0; i < n; i++)
		if (buf[i] != flow_byte(f, at + i))
			return -EBADMSG;
	return n;
}

static int flow_read(int fd, const struct flow *f, int at)
{
	return flow_read_within(READ_TIMEOUT_SEC, fd, f, at);
}

static void wait_at_most(int fd, int msec)
{
	struct timeval timeout = { .tv_sec = msec / 1000, .tv_usec = msec % 1000 * 1000 };

	xsetsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
}

static void small_buffers(struct recv_test *s)
{
	int fds[] = { s->sk, s->peer, s->other, s->other_peer };
	int i, size = 65536;

	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		xsetsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
		xsetsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
}

/* Nobody reads what is sent, and the peer is throttled. */
static int flow_held_back(struct recv_test *s, const struct flow *f, int msec)
{
	int sent;

	small_buffers(s);
	sent = flow_until_full(s->peer, f, msec);
	return ASSERT_LT(sent, FLOW_LEN, "sent before anything was read") ? sent : -1;
}

/* Fill all buffers, then read from @reader, where the records go to, and send
 * on. The last record is incomplete for longer than its time limit while the
 * peer is throttled, and must not time out.
 */
static bool flow(struct recv_test *s, const struct flow *f, int reader)
{
	int n, sent, got = 0, total;

	wait_at_most(s->sk, LATE_MS);
	sent = flow_held_back(s, f, LATE_MS + FLOW_MS);
	wait_at_most(s->sk, 0);
	if (sent < 0)
		return false;
	total = sent / FLOW_PIECE * FLOW_PIECE + FLOW_LEN;
	while (got < total) {
		while (sent < total) {
			n = flow_send(s->peer, f, sent);
			if (!n)
				break;
			sent += n;
		}
		n = flow_read(reader, f, got);
		if (n <= 0)
			break;
		got += n;
	}
	return ASSERT_EQ(got, total, "bytes that arrive");
}

static void flow_to_end(struct recv_test *s, const struct flow *f, int reader)
{
	if (!flow(s, f, reader))
		return;
	shutdown(s->peer, SHUT_WR);
	ASSERT_EQ(flow_read(s->sk, f, 0), 0, "end of file");
}

static void flow_pass(struct recv_test *s)
{
	const struct flow f = { 1000, 'P' };

	flow_to_end(s, &f, s->sk);
}

/* Short records that nobody reads are charged little more memory than full segments. */
static int flow_short(struct recv_test *s, const struct flow *f)
{
	int sent = flow_held_back(s, f, FLOW_MS);
	__u32 mem[SK_MEMINFO_VARS] = {};
	socklen_t len = sizeof(mem);

	xgetsockopt(s->sk, SOL_SOCKET, SO_MEMINFO, mem, &len);
	ASSERT_LE(mem[SK_MEMINFO_RMEM_ALLOC], 3 * mem[SK_MEMINFO_RCVBUF], "memory");
	return sent;
}

static void flow_end(struct recv_test *s, const struct flow *f, int want)
{
	int n, got = 0;

	shutdown(s->peer, SHUT_WR);
	while ((n = flow_read(s->sk, f, got)) > 0)
		got += n;
	ASSERT_EQ(n, 0, "end of file");
	ASSERT_EQ(got, want, "bytes that arrive");
}

static void short_poll(struct recv_test *s)
{
	const struct flow f = { 20, 'P' };
	int sent = flow_short(s, &f);

	flow_end(s, &f, sent / f.record * f.record);
}

/* Data that no verdict ran on for lack of room can be read once the program is
 * detached.
 */
static void short_leave(struct recv_test *s)
{
	const struct flow f = { 20, 'P' };
	int sent = flow_short(s, &f);

	ASSERT_OK(leave(s, 0), "leaving");
	flow_end(s, &f, sent);
}

/* One call reads all of it: it waits as long as more data follows */
static void short_wait_all(struct recv_test *s)
{
	const struct flow f = { 20, 'P' };
	int sent = flow_short(s, &f);
	static __u8 buf[FLOW_LEN];

	shutdown(s->peer, SHUT_WR);
	wait_at_most(s->sk, IO_TIMEOUT_SEC * 1000);
	ASSERT_EQ(recv(s->sk, buf, sizeof(buf), MSG_WAITALL), sent / f.record * f.record,
		  "bytes that arrive");
}

static void flow_redirect(struct recv_test *s)
{
	const struct flow f = { 1000, 'R' };

	flow_to_end(s, &f, s->other);
}

static void flow_egress(struct recv_test *s)
{
	const struct flow f = { 1000, 'T' };

	flow_to_end(s, &f, s->other_peer);
}

/* A socket that cannot send redirected data can still receive and read its own. */
static void egress_blocked(struct recv_test *s)
{
	const struct flow f = { 1000, 'T' };
	__u8 buf[2];

	small_buffers(s);
	flow_until_full(s->peer, &f, FLOW_MS);
	new_record(s, 'P', sizeof(buf) + 1);
	xsend(s->other_peer, s->rec, s->rec_len, 0);
	shutdown(s->other_peer, SHUT_WR);
	wait_at_most(s->other, READ_TIMEOUT_SEC * 1000);
	ASSERT_EQ(recv(s->other, buf, sizeof(buf), MSG_WAITALL), sizeof(buf), "record");
	ASSERT_EQ(recv(s->other, buf, sizeof(buf), 0), 1, "the rest of it");
	ASSERT_EQ(recv(s->other, buf, sizeof(buf), 0), 0, "end of file");
}

#define RELAY_LEN (300 * FLOW_PIECE)

/* The application has read the end of file, and closes or shuts down the other
 * socket, or removes it from the map. Redirected data that waits for room to be
 * sent is still sent, and before the FIN.
 */
static void relay(struct recv_test *s, bool leaves, bool closes)
{
	const struct flow f = { 1000, 'T' };
	int n, got = 0, sent = 0, size = 4096, large = 1 << 22;
	char c;

	/* The buffers hold all of it between the two sockets. */
	if (xsetsockopt(s->sk, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof(large)) ||
	    xsetsockopt(s->other, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) ||
	    xsetsockopt(s->other_peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)))
		return;
	while (sent < RELAY_LEN && has_room(s->peer, READ_TIMEOUT_SEC * 1000))
		sent += flow_send(s->peer, &f, sent);
	shutdown(s->peer, SHUT_WR);
	if (!ASSERT_EQ(recv_timeout(s->sk, &c, 1, 0, IO_TIMEOUT_SEC), 0, "end of file"))
		return;
	if (leaves)
		bpf_map_delete_elem(s->map, &u32(1));
	if (closes) {
		close_fd(&s->other);
		s->other = -1;
	} else {
		ASSERT_OK(shutdown(s->other, SHUT_WR), "shutdown");
	}
	/* With such a small window, TCP waits for timers. */
	while ((n = flow_read_within(10, s->other_peer, &f, got)) > 0)
		got += n;
	ASSERT_EQ(n, 0, "end of file");
	ASSERT_EQ(got, RELAY_LEN, "bytes that arrive");
}

static void relay_shutdown(struct recv_test *s)
{
	relay(s, false, false);
}

static void relay_close(struct recv_test *s)
{
	relay(s, false, true);
}

static void relay_leave(struct recv_test *s)
{
	relay(s, true, true);
}

struct sender {
	pthread_t thread;
	int fd;
	const struct flow *flow;
};

static void *send_flow(void *arg)
{
	struct sender *sender = arg;

	flow_until_full(sender->fd, sender->flow, IO_TIMEOUT_SEC * 1000);
	return NULL;
}

/* A worker delivers redirected records to a socket that also receives from its
 * own peer.
 */
static void redirect_race(struct recv_test *s)
{
	const struct flow own = { 1000, 'P' }, in = { 1000, 'I' };
	struct sender senders[] = {
		{ .fd = s->peer, .flow = &own },
		{ .fd = s->other_peer, .flow = &in },
	};
	struct pollfd pfd = { .fd = s->sk, .events = POLLIN };
	static __u8 buf[STREAM_MAX];
	int n, started = 0, got = 0;

	/* Without redirects first, which also sets small buffers. */
	if (!flow(s, &own, s->sk))
		return;
	for (; started < ARRAY_SIZE(senders); started++)
		if (!ASSERT_OK(pthread_create(&senders[started].thread, NULL, send_flow,
					      &senders[started]), "pthread_create"))
			break;
	do {
		n = poll(&pfd, 1, READ_TIMEOUT_SEC * 1000);
		if (n == 1)
			n = recv(s->sk, buf, sizeof(buf), MSG_DONTWAIT);
		got += n > 0 ? n : 0;
	} while (n > 0 && got < 2 * FLOW_LEN);
	while (started--) {
		shutdown(senders[started].fd, SHUT_RDWR);
		pthread_join(senders[started].thread, NULL);
	}
	ASSERT_EQ(got, 2 * FLOW_LEN, "bytes that arrive");
}

/* Passed records that nobody reads close the window, and reading opens it. */
static void window_pass(struct recv_test *s)
{
	struct pollfd pfd = { .fd = s->peer, .events = POLLOUT };
	int n, held, received, size = 65536, sent = 0;

	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	xsetsockopt(s->peer, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));

	while (sent + 4000 < STREAM_MAX) {
		if (s->rec_sent == s->rec_len) {
			new_record(s, 'P', 4000);
			passed(s, s->rec, 4000, true);
		}
		n = send(s->peer, s->rec + s->rec_sent, s->rec_len - s->rec_sent,
			 MSG_EOR | MSG_DONTWAIT);
		if (n < 0)
			break;
		s->rec_sent += n;
		sent += n;
	}
	ASSERT_EQ(n < 0 ? errno : 0, EAGAIN, "sending on and on");
	/* a window probe adds a few bytes now and then */
	do {
		received = bytes_received(s->sk);
		held = rx_queue(s, s->sk);
	} while (bytes_received(s->sk) != received);
	ASSERT_EQ(held, received, "held bytes when the window is full");

	if (!read_unread(s, sent / 4000 * 4000, '-'))
		return;
	s->held = sent % 4000;
	s->judged = sent / 4000;
	check(s, INT_MAX, "reading all");
	ASSERT_EQ(poll(&pfd, 1, READ_TIMEOUT_SEC * 1000), 1, "room to send again");
}

static int unread(int fd)
{
	int n = -1;

	return ioctl(fd, FIONREAD, &n) ? -errno : n;
}

/* -1 if the thread has exited */
static int times_slept(int tid)
{
	char path[64], line[128];
	int n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (n < 0 && fgets(line, sizeof(line), f))
		sscanf(line, "voluntary_ctxt_switches: %d", &n);
	fclose(f);
	return n;
}

/* The thread exists and does not sleep, for instance on the socket lock. */
static bool is_awake(int tid)
{
	return !thread_sleeps(tid) && times_slept(tid) >= 0;
}

struct reader {
	pthread_t thread;
	int (*read)(int fd, void *buf, int len, int flags);
	int fd;
	int len;
	int flags;
	int tid;
	int ret;
	int err;
	__u8 buf[10000];
};

static int recv_read(int fd, void *buf, int len, int flags)
{
	return recv(fd, buf, len, flags);
}

static void *read_in_thread(void *arg)
{
	struct reader *r = arg;

	WRITE_ONCE(r->tid, sys_gettid());
	r->ret = r->read(r->fd, r->buf, r->len, r->flags);
	r->err = errno;
	return NULL;
}

/* Start a thread and wait until it sleeps in @read */
static bool start_reader_by(struct recv_test *s, struct reader *r, int len, int flags,
			    int (*read)(int fd, void *buf, int len, int flags))
{
	__u64 until = now_ms() + READ_TIMEOUT_SEC * 1000;

	*r = (struct reader){ .read = read, .fd = s->sk, .len = len, .flags = flags };
	wait_at_most(s->sk, READ_TIMEOUT_SEC * 1000);
	if (!ASSERT_OK(pthread_create(&r->thread, NULL, read_in_thread, r), "pthread_create"))
		return false;
	while (!(READ_ONCE(r->tid) && thread_sleeps(r->tid)) && look_again(until))
		;
	return true;
}

static bool start_reader(struct recv_test *s, struct reader *r, int len, int flags)
{
	return start_reader_by(s, r, len, flags, recv_read);
}

static bool reads(struct reader *r, int len, const char *what)
{
	pthread_join(r->thread, NULL);
	return ASSERT_EQ(r->ret, len, what);
}

/* Programs are attached and detached while the application sleeps in recv().
 * Each change wakes it up, to wait on the right queue.
 */
static void come_and_go(struct recv_test *s)
{
	static struct reader r;
	__u64 until, end = now_ms() + READ_TIMEOUT_SEC * 1000 / 2;
	int i, slept = 0;

	if (!start_reader(s, &r, 100, 0))
		return;
	for (i = 0; i < COME_AND_GO && times_slept(r.tid) != slept && now_ms() < end; i++) {
		slept = times_slept(r.tid);
		if (!ASSERT_OK(i % 2 ? join(s, 0, s->sk) : leave(s, 0), "join, leave"))
			break;
		until = now_ms() + 200;
		while (times_slept(r.tid) == slept && now_ms() < until)
			sched_yield();
	}
	if (i % 2)
		join(s, 0, s->sk);
	new_record(s, 'P', 100);
	send_record(s, 100, 0);
	reads(&r, 100, "bytes read");
}

/* A record is dropped while the application sleeps in recv() */
static void blocked_read(struct recv_test *s)
{
	static struct reader r;

	if (!start_reader(s, &r, 100, 0))
		return;
	new_record(s, 'D', 100);
	if (send_record(s, 100, 0)) {
		new_record(s, 'P', 100);
		send_record(s, 100, 0);
	}
	reads(&r, 100, "bytes read");
	s->held -= 100;
	check(s, INT_MAX, "reading what came after a dropped record");
}

/* recv(MSG_WAITALL) reads across record boundaries, also with MSG_PEEK */
static void waits_for_all(struct recv_test *s, int peek)
{
	__u64 until = now_ms() + READ_TIMEOUT_SEC * 1000;
	static struct reader r;
	int slept;

	if (!start_reader(s, &r, 300, MSG_WAITALL | peek))
		return;
	slept = times_slept(r.tid);
	new_record(s, 'P', 100);
	send_record(s, 100, 0);
	/* after reading that, it sleeps again or returns */
	while ((times_slept(r.tid) == slept || is_awake(r.tid) ||
		(!peek && unread(s->sk) > 0)) && look_again(until))
		;
	new_record(s, 'D', 100);
	send_record(s, 100, 0);
	new_record(s, 'P', 200);
	send_record(s, 200, 0);
	reads(&r, 300, "recv(MSG_WAITALL)");
	ASSERT_EQ(unread(s->sk), peek ? 300 : 0, "FIONREAD");
}

static void wait_all(struct recv_test *s)
{
	waits_for_all(s, 0);
}

static void wait_all_peek(struct recv_test *s)
{
	waits_for_all(s, MSG_PEEK);
}

/* The peer sends a record to drop and one to pass, while a thread sleeps in a read */
static void drop_and_pass(struct recv_test *s)
{
	new_record(s, 'D', 100);
	send_record(s, 100, 0);
	new_record(s, 'P', 70);
	send_record(s, 30, 0);
	send_record(s, 40, 0);
}

/* A thread sleeps in a read of a plain socket when the socket is added to the map */
static void join_blocked_in(struct recv_test *s,
			    int (*read)(int fd, void *buf, int len, int flags))
{
	static struct reader r;

	if (!step(s, "L") || !start_reader_by(s, &r, 300, 0, read))
		return;
	if (step(s, "A"))
		drop_and_pass(s);
	reads(&r, 70, "what was passed");
}

static void join_blocked(struct recv_test *s)
{
	join_blocked_in(s, recv_read);
}

static void splice_join_blocked(struct recv_test *s)
{
	join_blocked_in(s, splice_read);
}

/* A thread sleeps in splice() from a socket with a verdict */
static void splice_blocked(struct recv_test *s)
{
	static struct reader r;

	if (!start_reader_by(s, &r, 300, 0, splice_read))
		return;
	drop_and_pass(s);
	reads(&r, 70, "what was passed");
}

/* Part of a record becomes readable when the socket is removed from the map */
static void leave_blocked(struct recv_test *s)
{
	static struct reader r;

	if (!start_reader(s, &r, 300, 0))
		return;
	new_record(s, 'P', 100);
	if (send_record(s, 60, 0)) {
		received(s);
		step(s, "L");
	}
	reads(&r, 60, "what was not judged");
}

/* sendfile() from the socket, then tee() from the pipe it filled */
static void sendfile_tee(struct recv_test *s)
{
	__u8 buf[1000];
	int a[2], b[2];

	run_steps(s, "P1000");
	fcntl(s->sk, F_SETFL, O_NONBLOCK);
	if (!ASSERT_OK(pipe(a), "pipe") || !ASSERT_OK(pipe(b), "pipe"))
		return;
	ASSERT_EQ(sendfile(a[1], s->sk, NULL, sizeof(buf)), sizeof(buf), "sendfile");
	ASSERT_EQ(tee(a[0], b[1], sizeof(buf), SPLICE_F_NONBLOCK), sizeof(buf), "tee");
	fcntl(b[0], F_SETFL, O_NONBLOCK);
	ASSERT_EQ(read(b[0], buf, sizeof(buf)), sizeof(buf), "read");
	ASSERT_OK(memcmp(buf, s->unread, sizeof(buf)), "what was read");
	s->unread_start += sizeof(buf);
	s->held -= sizeof(buf);
	check(s, INT_MAX, "sendfile()");
	close(a[0]);
	close(a[1]);
	close(b[0]);
	close(b[1]);
}

/* TLS is refused, as it would replace recvmsg(). */
static void tls_refused(struct recv_test *s)
{
	int err = setsockopt(s->sk, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls"));

	if (err && errno == ENOENT) {
		printf("%s:SKIP:no CONFIG_TLS\n", __func__);
		test__skip();
		return;
	}
	ASSERT_ERR(err, "TCP_ULP");
}

struct packet {
	struct ethhdr eth;
	struct iphdr ip;
	struct tcphdr tcp;
	__u8 data[RING_RECORD];
} __packed;

/* The sum of @len bytes, an even number, for the Internet checksum. */
static __u32 add_up(const void *data, int len, __u32 sum)
{
	const __u16 *at = data;

	for (; len > 0; len -= 2)
		sum += *at++;
	return sum;
}

static __u16 checksum(__u32 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* A packet as the peer would send it after @ahead other bytes, for a packet socket */
static bool forge(struct recv_test *s, struct packet *p, int ahead)
{
	struct sockaddr_in from, to;
	socklen_t len = sizeof(from);
	int on = 1, off = TCP_REPAIR_OFF_NO_WP;
	__u32 seq[2];
	int tcp_len = sizeof(p->tcp) + sizeof(p->data);
	struct iphdr ip;
	__u32 sum;

	if (xsetsockopt(s->peer, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)))
		return false;
	queue_seqs(s->peer, seq);
	if (xsetsockopt(s->peer, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)) ||
	    xgetsockname(s->peer, (void *)&from, &len) ||
	    xgetsockname(s->sk, (void *)&to, &len))
		return false;
	memset(p, 0, offsetof(struct packet, data));
	p->eth.h_proto = htons(ETH_P_IP);
	ip = (struct iphdr){
		.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP,
		.tot_len = htons(sizeof(ip) + tcp_len),
		.saddr = from.sin_addr.s_addr, .daddr = to.sin_addr.s_addr,
	};
	ip.check = checksum(add_up(&ip, sizeof(ip), 0));
	p->ip = ip;
	p->tcp.source = from.sin_port;
	p->tcp.dest = to.sin_port;
	p->tcp.seq = htonl(seq[1] + ahead);
	p->tcp.ack_seq = htonl(seq[0]);
	p->tcp.doff = sizeof(p->tcp) / 4;
	p->tcp.ack = 1;
	p->tcp.window = htons(1000);
	memcpy(p->data, s->rec, sizeof(p->data));
	sum = add_up(&ip.saddr, 8, htons(IPPROTO_TCP) + htons(tcp_len));
	p->tcp.check = checksum(add_up((void *)p + offsetof(struct packet, tcp), tcp_len, sum));
	return true;
}

/* A process with CAP_NET_RAW, in a container for instance, sends from memory
 * that it has mapped, by PACKET_TX_RING, and writes to it afterwards.
 */
static void packet_ring(struct recv_test *s)
{
	struct sockaddr_ll lo = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP),
				  .sll_ifindex = if_nametoindex("lo") };
	struct tpacket_req req = { .tp_block_size = 1 << 16, .tp_block_nr = 1,
				   .tp_frame_size = 1 << 16, .tp_frame_nr = 1 };
	int version = TPACKET_V2, fd = -1;
	struct tpacket2_hdr *frame = MAP_FAILED;
	struct packet *packet;

	fd = xsocket(AF_PACKET, SOCK_RAW, 0);
	if (fd < 0 || xsetsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) ||
	    xsetsockopt(fd, SOL_PACKET, PACKET_TX_RING, &req, sizeof(req)))
		goto out;
	frame = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!ASSERT_NEQ(frame, MAP_FAILED, "mmap"))
		goto out;
	packet = (void *)frame + TPACKET2_HDRLEN - sizeof(lo);
	new_record(s, 'P', RING_RECORD);
	if (!forge(s, packet, 0))
		goto out;
	frame->tp_len = sizeof(*packet);
	frame->tp_status = TP_STATUS_SEND_REQUEST;
	if (!ASSERT_EQ(sendto(fd, NULL, 0, 0, (void *)&lo, sizeof(lo)), sizeof(*packet), "sendto"))
		goto out;
	s->judged++;
	judged(s);
	memset(packet->data, 'D', RING_RECORD);
	read_bytes(s, s->sk, s->rec, RING_RECORD, '-');
out:
	if (frame != MAP_FAILED)
		munmap(frame, 1 << 16);
	close_fd(&fd);
}

/* There is no more data to read, and recv() fails with @err */
static void fails(struct recv_test *s, int err)
{
	ASSERT_EQ(recv(s->sk, s->pend, 1, MSG_DONTWAIT), -1, "recv");
	ASSERT_EQ(errno, err, "errno");
}

/* Segments that overlap have different bytes: the peer sends @records, and after them
 * the beginning of a record to be dropped. An earlier segment has a record to be passed
 * in its place. The verdict is for what can be read, which is the first.
 */
static void overlap(struct recv_test *s, int records)
{
	struct sockaddr_ll lo = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP),
				  .sll_ifindex = if_nametoindex("lo") };
	int i, n = 0, fd = xsocket(AF_PACKET, SOCK_RAW, 0);
	static struct packet packet;
	__u8 buf[RING_RECORD];

	new_record(s, 'P', RING_RECORD);
	if (fd < 0 || !forge(s, &packet, records * 3) ||
	    !ASSERT_EQ(sendto(fd, &packet, sizeof(packet), 0, (void *)&lo, sizeof(lo)),
		       sizeof(packet), "sendto"))
		goto out;
	for (i = 0; i < records; i++, n += 3)
		memcpy(buf + n, "\0\3P", 3);
	memcpy(buf + n, s->rec, 2);
	buf[n + 2] = 'D';
	ASSERT_EQ(send(s->peer, buf, n + 3, 0), n + 3, "send");
	s->judged += records + 1;
	judged(s);
	ASSERT_EQ(recv(s->sk, buf, sizeof(buf), MSG_DONTWAIT), n, "passed records");
	fails(s, EAGAIN);
out:
	close_fd(&fd);
}

static void overlap_one(struct recv_test *s)
{
	overlap(s, 1);
}

/* As many as the programs run on before the worker goes on */
static void overlap_budget(struct recv_test *s)
{
	overlap(s, 64);
}

struct racer {
	pthread_t thread;
	__u8 *action;
	unsigned int writes;
	bool stop;
};

static void *write_in_thread(void *arg)
{
	struct racer *r = arg;
	int i;

	for (i = 0; !READ_ONCE(r->stop); i++) {
		WRITE_ONCE(*r->action, "DP"[i % 2]);
		WRITE_ONCE(r->writes, i);
	}
	return NULL;
}

/* Wait until the attacker has written each value at least once. */
static void written(struct racer *r)
{
	unsigned int before = READ_ONCE(r->writes);

	while (READ_ONCE(r->writes) - before < 3)
		sched_yield();
}

/* The pages stay in the pipe while the attacker writes. */
static int splice_and_wait(int fd, __u8 *buf, int len, struct racer *r)
{
	int n, fds[2];

	if (!ASSERT_OK(pipe(fds), "pipe"))
		return -1;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	n = splice(fd, NULL, fds[1], NULL, len, 0);
	fcntl(fd, F_SETFL, 0);
	written(r);
	if (n > 0)
		n = read(fds[0], buf, n);
	close(fds[0]);
	close(fds[1]);
	return n;
}

/* The whole pages stay mapped while the attacker writes; the rest is copied. */
static int map_and_wait(int fd, __u8 *buf, int len, struct racer *r)
{
	struct tcp_zerocopy_receive zc = {
		.length = len / PAGE * PAGE,
		.copybuf_address = (unsigned long)buf + PAGE,
		.copybuf_len = len % PAGE,
	};
	socklen_t size = sizeof(zc);
	void *map;

	map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	if (!ASSERT_NEQ(map, MAP_FAILED, "mmap"))
		return -1;
	zc.address = (unsigned long)map;
	if (getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &zc, &size))
		zc.length = 0;
	written(r);
	memcpy(buf, map, zc.length);
	munmap(map, len);
	mapped_bytes += zc.length;
	if (!zc.length)
		return recv(fd, buf, len, MSG_DONTWAIT);
	return zc.length + zc.copybuf_len;
}

static int race_read(int fd, __u8 *buf, int len, char how, struct racer *r)
{
	switch (how) {
	case 's':
		return splice_and_wait(fd, buf, len, r);
	case 'z':
		if (in_place())
			return map_and_wait(fd, buf, len, r);
	}
	return recv(fd, buf, len, MSG_DONTWAIT);
}

/* An attacker keeps writing to the memory that is sent. A record that the
 * verdict has passed must be delivered as the verdict saw it. @ways: the
 * methods to send and to read
 */
static void race(struct recv_test *s, const char *ways)
{
	struct timeval timeout = { .tv_sec = READ_TIMEOUT_SEC };
	const char *env = getenv("SOCKMAP_RACE");
	__u64 until, mapped = mapped_bytes;
	int len = RACE_RECORD, rounds = 0, got = 0;
	__u8 buf[RACE_RECORD];
	struct racer r = {};
	bool won = false;

	if (!get_shared(s))
		return;
	/* do not wait forever if the reader reads nothing */
	xsetsockopt(s->peer, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	r.action = &s->shared[2];
	new_record(s, 'P', len);
	memcpy(s->shared, s->rec, len);
	if (!ASSERT_OK(pthread_create(&r.thread, NULL, write_in_thread, &r), "pthread_create"))
		return;
	until = now_ms() + (env ? atoi(env) * 1000 : RACE_MS);
	do {
		if (!same(s, send_shared(s, s->peer, ways[0], 0, len), len, "sent"))
			break;
		s->judged++;
		judged(s);
		if (!same(s, s->skel->bss->judged, s->judged, "judged records"))
			break;
		/* On a single CPU, let the attacker run now */
		written(&r);
		for (; race_read(s->sk, buf, len, ways[1], &r) == len; got++)
			won |= !same(s, !memcmp(buf, s->rec, len), true,
				     "delivered as the verdict saw it");
	} while (!won && (++rounds < RACE_ROUNDS || now_ms() < until));
	if (!won)
		ASSERT_GT(got, 0, "records delivered");
	if (ways[1] == 'z' && in_place() && !won)
		ASSERT_GT(mapped_bytes, mapped, "bytes mapped");
	r.stop = true;
	pthread_join(r.thread, NULL);
}

static void catch(int sig)
{
}

/* A signal interrupts recv() */
static void interrupted(struct recv_test *s)
{
	struct sigaction sa = { .sa_handler = catch }, old;
	static struct reader r;

	sigaction(SIGUSR1, &sa, &old);
	if (start_reader(s, &r, 100, 0)) {
		/* recv() is not restarted, as the socket has a timeout */
		pthread_kill(r.thread, SIGUSR1);
		pthread_join(r.thread, NULL);
		ASSERT_EQ(r.ret, -1, "recv");
		ASSERT_EQ(r.err, EINTR, "errno");
	}
	sigaction(SIGUSR1, &old, NULL);
}

static bool is_readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

/* SO_RCVLOWAT counts only bytes that can be read */
static void lowat(struct recv_test *s)
{
	int low = 250;

	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
	run_steps(s, "P200 D300");
	ASSERT_FALSE(is_readable(s->sk), "readable with 200 bytes");
	run_steps(s, "P1000/900");
	ASSERT_FALSE(is_readable(s->sk), "readable with 200 bytes and a part");
	run_steps(s, "/100");
	ASSERT_TRUE(is_readable(s->sk), "readable with 1200 bytes");
}

/* Lowering SO_RCVLOWAT makes the socket readable, whether part of a record
 * follows or not.
 */
static void lowat_lowered(struct recv_test *s)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	int low = 250, ep = epoll_create1(0);

	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
	if (!ASSERT_GE(ep, 0, "epoll_create1") ||
	    !ASSERT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, s->sk, &ev), "epoll_ctl"))
		goto out;
	run_steps(s, "P100 P100");
	low = 201;
	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 0, "events below SO_RCVLOWAT");
	low = 200;
	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 1, "events when SO_RCVLOWAT is reached");
	run_steps(s, "P300/100");
	low = 100;
	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 1, "events with part of a record behind");
	run_steps(s, "/200");
out:
	close(ep);
}

/* Edge-triggered epoll: events only for data that can be read */
static void edge(struct recv_test *s)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	int ep = epoll_create1(0);

	if (!ASSERT_GE(ep, 0, "epoll_create1") ||
	    !ASSERT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, s->sk, &ev), "epoll_ctl"))
		goto out;
	run_steps(s, "D100 P100/50");
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 0, "events with nothing to read");
	run_steps(s, "/50");
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 1, "events for a record");
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 0, "events for the same data");
	run_steps(s, "P100");
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 1, "events for another");
	run_steps(s, "D100 P100/50");
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 0, "events with nothing more to read");
	run_steps(s, "L");
	/* A worker wakes the readers. */
	ASSERT_EQ(epoll_wait(ep, &ev, 1, READ_TIMEOUT_SEC * 1000), 1,
		  "events for data without a verdict");
out:
	close(ep);
}

static bool event(int ep, int fd)
{
	struct epoll_event ev = {};

	return epoll_wait(ep, &ev, 1, READ_TIMEOUT_SEC * 1000) == 1 && ev.data.fd == fd;
}

static int connect_to(struct recv_test *s, int listener)
{
	int fd = xsocket(s->family, SOCK_STREAM, 0);
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (fd < 0 || xgetsockname(listener, sockaddr(&addr), &len) ||
	    xconnect(fd, sockaddr(&addr), len)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A listening socket in the map reports connections, and these report their data. */
static void listener(struct recv_test *s)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	int fd = socket_loopback(s->family, SOCK_STREAM), client = -1, sk = -1;
	int ep = epoll_create1(0);

	ev.data.fd = fd;
	if (fd < 0 ||
	    xbpf_map_update_elem(s->judge, &u32(1), &u64(fd), BPF_ANY) ||
	    !ASSERT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), "epoll_ctl"))
		goto out;
	client = connect_to(s, fd);
	if (client < 0 || !ASSERT_TRUE(event(ep, fd), "a connection"))
		goto out;
	sk = xaccept_nonblock(fd, NULL, NULL);
	ev.data.fd = sk;
	if (sk < 0 || !ASSERT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, sk, &ev), "epoll_ctl"))
		goto out;
	xsend(client, "x", 1, 0);
	ASSERT_TRUE(event(ep, sk), "its data");
out:
	close_fd(&client);
	close_fd(&sk);
	close_fd(&fd);
	close(ep);
}

static bool signalled(int sig, int msec)
{
	struct timespec timeout = { .tv_sec = msec / 1000, .tv_nsec = msec % 1000 * 1000000 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	return sigtimedwait(&set, NULL, &timeout) == sig;
}

/* SIGIO is sent only for data that can be read */
static void sigio(struct recv_test *s)
{
	sigset_t set, old;

	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	fcntl(s->sk, F_SETOWN, getpid());
	fcntl(s->sk, F_SETFL, O_ASYNC);
	run_steps(s, "D100 P100/50");
	ASSERT_FALSE(signalled(SIGIO, 0), "SIGIO with nothing to read");
	run_steps(s, "/50");
	ASSERT_TRUE(signalled(SIGIO, READ_TIMEOUT_SEC * 1000), "SIGIO for a record");
	run_steps(s, "R100 D100 P100/50");
	ASSERT_FALSE(signalled(SIGIO, 0), "SIGIO with nothing more to read");
	fcntl(s->sk, F_SETFL, 0);
	while (signalled(SIGIO, 0))
		;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* With the smallest receive buffer, a record of that size is passed */
static void big_record(struct recv_test *s)
{
	struct pollfd pfd = { .fd = s->sk, .events = POLLIN };
	int size = 0, rcvbuf;
	socklen_t len = sizeof(rcvbuf);

	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	xgetsockopt(s->sk, SOL_SOCKET, SO_RCVBUF, &rcvbuf, &len);
	new_record(s, 'P', rcvbuf);
	if (!send_record(s, rcvbuf / 3, 0) || !send_record(s, rcvbuf - rcvbuf / 3, 0))
		return;
	ASSERT_EQ(poll(&pfd, 1, READ_TIMEOUT_SEC * 1000), 1, "POLLIN");
	if (!read_unread(s, rcvbuf, '-'))
		return;
	check(s, INT_MAX, "reading it");

	/* a longer one is an error */
	new_record(s, 'P', rcvbuf + 1);
	send_part(s, s->peer, rcvbuf + 1, 0);
	ASSERT_EQ(poll(&pfd, 1, READ_TIMEOUT_SEC * 1000), 1, "POLLIN");
	fails(s, EMSGSIZE);
}

/* An incomplete record times out, after the application has read the passed data */
static void timed_out(struct recv_test *s)
{
	struct pollfd pfd = { .fd = s->sk, .events = POLLIN };

	wait_at_most(s->sk, 200);
	run_steps(s, "P100 P100/50");
	if (!read_unread(s, 100, '-'))
		return;
	ASSERT_EQ(poll(&pfd, 1, READ_TIMEOUT_SEC * 1000), 1, "POLLIN");
	fails(s, ETIMEDOUT);
}

/* The peer resets the connection: the error comes after the passed data */
static void reset(struct recv_test *s)
{
	struct pollfd pfd = { .fd = s->sk };

	run_steps(s, "P100 D100 P100/50");
	reset_by_peer(s);
	ASSERT_EQ(poll(&pfd, 1, READ_TIMEOUT_SEC * 1000), 1, "POLLERR");
	if (!read_unread(s, 100, '-'))
		return;
	fails(s, ECONNRESET);
	ASSERT_EQ(recv(s->sk, s->pend, 1, MSG_DONTWAIT), 0, "end of file");
}

/* After shutdown(SHUT_RD), the application reads data that still arrives, then
 * the end of file.
 */
static void shutdown_read(struct recv_test *s)
{
	static struct reader r;

	if (!start_reader(s, &r, 100, 0))
		return;
	shutdown(s->sk, SHUT_RD);
	reads(&r, 0, "recv() that sleeps");
	s->fin = 1;
	s->unheld = true;	/* no FIN was received */
	run_steps(s, "P100 P1000/400 -100 /600 -1000 E");
}

/* After shutdown(SHUT_WR), the socket still receives. */
static void shutdown_write(struct recv_test *s)
{
	shutdown(s->sk, SHUT_WR);
	ASSERT_EQ(recv(s->peer, s->batch, 1, 0), 0, "end of file at the peer");
	run_steps(s, "D100 P100 P1000/400 -100 /600 -1000");
}

/* The receiver delays ACKs, so the sender keeps its data, and FIN is in a
 * segment of its own.
 */
static void fin_alone(struct recv_test *s)
{
	int zero = 0;

	xsetsockopt(s->sk, IPPROTO_TCP, TCP_QUICKACK, &zero, sizeof(zero));
	run_steps(s, "P100 P1000/400 F -100 E");
}

/* MSG_PEEK with SO_PEEK_OFF, MSG_TRUNC without a buffer */
static void peek_trunc(struct recv_test *s)
{
	__u8 buf[300];
	int off = 0;

	run_steps(s, "P100 P100");
	if (!ASSERT_OK(setsockopt(s->sk, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)),
		       "SO_PEEK_OFF"))
		return;
	ASSERT_EQ(recv(s->sk, buf, 60, MSG_PEEK), 60, "peek");
	ASSERT_EQ(recv(s->sk, buf + 60, 60, MSG_PEEK), 60, "peek more");
	ASSERT_EQ(recv(s->sk, buf + 120, 100, MSG_PEEK), 80, "peek the rest");
	ASSERT_OK(memcmp(buf, s->unread, 200), "what was peeked");
	ASSERT_EQ(recv(s->sk, NULL, 150, MSG_TRUNC), 150, "discard");
	s->unread_start += 150;
	s->held -= 150;
	check(s, INT_MAX, "discarding");
	read_unread(s, 50, '-');
}

/* Send @len more bytes of a record with @flags, without running the model's verdict */
static bool send_more(struct recv_test *s, int len, int flags)
{
	if (!same(s, xsend(s->peer, s->rec + s->rec_sent, len, flags), len, "sent"))
		return false;
	memcpy(s->pend + s->pend_len, s->rec + s->rec_sent, len);
	s->rec_sent += len;
	s->pend_len += len;
	s->held += len;
	return true;
}

/* Urgent data is treated as normal data. */
static void out_of_band(struct recv_test *s)
{
	int i;

	for (i = 0; i < 3; i++) {
		new_record(s, 'P', 100);
		if (!send_record(s, 40, 0) || !send_more(s, 1, MSG_OOB) ||
		    !send_record(s, 59, 0))
			return;
		check(s, INT_MAX, "urgent data");
	}
	new_record(s, 'P', 100);
	if (send_more(s, 1, MSG_OOB) && send_record(s, 99, 0) && read_unread(s, 400, '-'))
		check(s, INT_MAX, "reading it");
}

/* TCP collapses skbs when received data exceeds the receive buffer: here, those
 * of part of a record, behind others that nobody reads. Unpatched kernels might
 * crash then, and fail an earlier check instead.
 */
static void collapse(struct recv_test *s)
{
	int i, size = 0;

	run_steps(s, "P100 P100/50");
	if (s->failed)
		return;
	run_steps(s, "/50 -200");
	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	for (i = 0; i < 100; i++) {
		new_record(s, 'P', 100);
		if (!send_record(s, 1, 0) || !send_record(s, 99, 0))
			return;
	}
	new_record(s, 'P', 100);
	for (i = 0; i < 10; i++)
		if (!send_record(s, 1, 0))
			return;
	if (!read_unread(s, 10000, '-') || !send_record(s, 90, 0))
		return;
	check(s, INT_MAX, "collapsing");
	if (read_unread(s, 100, '-'))
		check(s, INT_MAX, "reading it");
}

/* Whatever the parser returns, the application gets an error number that it can
 * expect.
 */
static void parser_errors(struct recv_test *s)
{
	static const struct {
		int ret, err;
	} errors[] = {
		{ -EIO, EIO }, { -ENOMEM, EPROTO }, { -ENOTBLK, EPROTO }, { -5000, EPROTO },
	};
	struct pollfd pfd = { .fd = s->sk, .events = POLLIN };
	int i;

	for (i = 0; i < ARRAY_SIZE(errors) && !s->failed; i++) {
		s->skel->bss->parse_error = errors[i].ret;
		new_record(s, 'P', 100);
		if (!send_more(s, 100, 0))
			return;
		ASSERT_EQ(poll(&pfd, 1, READ_TIMEOUT_SEC * 1000), 1, "POLLIN");
		fails(s, errors[i].err);
		s->skel->bss->parse_error = 0;
		run_steps(s, "L -100 A P50 -50");
	}
}

/* The other socket cannot send redirected data: it reports an error, and still
 * receives.
 */
static void egress_failed(struct recv_test *s)
{
	struct pollfd pfd = { .fd = s->other };

	if (!ASSERT_OK(shutdown(s->other, SHUT_WR), "shutdown"))
		return;
	new_record(s, 'T', 100);
	s->judged++;
	if (!send_part(s, s->peer, 100, 0))
		return;
	ASSERT_EQ(poll(&pfd, 1, READ_TIMEOUT_SEC * 1000), 1, "POLLERR");
	ASSERT_EQ(recv(s->other, s->batch, 1, MSG_DONTWAIT), -1, "recv");
	ASSERT_EQ(errno, EPIPE, "errno");
	run_steps(s, "R100 P100 -100 I100 -100");
}

/* A failed map update leaves none of the map's programs on the socket. */
static void insert_refused(struct recv_test *s)
{
	int map = bpf_map_create(BPF_MAP_TYPE_SOCKMAP, "refuses", 4, 4, 1, NULL);

	if (!ASSERT_OK_FD(map, "create map") || !step(s, "L") ||
	    xbpf_prog_attach(bpf_program__fd(verdict(s)), map, BPF_SK_SKB_STREAM_VERDICT, 0) ||
	    xbpf_map_update_elem(map, &u32(0), &u64(s->other_peer), BPF_ANY) ||
	    xbpf_map_update_elem(s->map, &u32(0), &u64(s->sk), BPF_ANY))
		goto out;
	ASSERT_EQ(bpf_map_update_elem(map, &u32(0), &u64(s->sk), BPF_NOEXIST), -EEXIST,
		  "insert");
	run_steps(s, "D100 -100 A P100 D50 P30 -130");
out:
	close(map);
}

/* A map with a parser refuses a UDP socket. A map with only a verdict accepts it. */
static void progs_refused(struct recv_test *s)
{
	int parser = bpf_program__fd(s->skel->progs.prog_parser);
	int fd, i, maps[3] = { -1, -1, -1 };

	fd = socket_loopback(s->family, SOCK_DGRAM);
	if (fd < 0)
		return;
	for (i = 0; i < ARRAY_SIZE(maps); i++) {
		maps[i] = bpf_map_create(BPF_MAP_TYPE_SOCKMAP, "refuses", 4, 4, 1, NULL);
		if (!ASSERT_OK_FD(maps[i], "create map"))
			goto out;
		if (i && xbpf_prog_attach(bpf_program__fd(verdict(s)), maps[i],
					  BPF_SK_SKB_STREAM_VERDICT, 0))
			goto out;
	}
	if (xbpf_prog_attach(parser, maps[1], BPF_SK_SKB_STREAM_PARSER, 0) ||
	    xbpf_map_update_elem(maps[0], &u32(0), &u64(fd), BPF_ANY))
		goto out;
	ASSERT_EQ(bpf_map_update_elem(maps[1], &u32(0), &u64(fd), BPF_ANY), -EOPNOTSUPP,
		  "parser");
	ASSERT_OK(bpf_map_update_elem(maps[2], &u32(0), &u64(fd), BPF_ANY), "verdict");
out:
	for (i = 0; i < ARRAY_SIZE(maps); i++)
		close_fd(&maps[i]);
	close(fd);
}

/* The socket is disconnected and connected again: no state of the old
 * connection is left.
 */
static void disconnect(struct recv_test *s)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	int fd;

	run_steps(s, "P100 D50 P1000/400");
	fd = socket_loopback(s->family, SOCK_STREAM);
	if (fd < 0 || !ASSERT_OK(connect(s->sk, &unspec, sizeof(unspec)), "disconnect") ||
	    xgetsockname(fd, sockaddr(&addr), &len) || xconnect(s->sk, sockaddr(&addr), len))
		goto out;
	close_fd(&s->peer);
	s->peer = accept_timeout(fd, NULL, NULL, IO_TIMEOUT_SEC);
	if (!ASSERT_OK_FD(s->peer, "accept"))
		goto out;
	s->joined = false;
	s->held = 0;
	s->pend_len = 0;
	s->rec_sent = s->rec_len;
	s->unread_start = s->unread_end;
	s->copied = 0;
	run_steps(s, "U300 -300 D100 P100 A -100 P1000/400 /600 -1000");
out:
	close_fd(&fd);
}

/* A sockops program adds a connection to the map as soon as it is established.
 * It receives a record before it is accepted.
 */
static void before_accept(struct recv_test *s)
{
	struct bpf_link *link = NULL;
	int cgroup, fd;

	run_steps(s, "L");
	close_fd(&s->sk);
	close_fd(&s->peer);
	s->sk = -1;
	s->peer = -1;
	s->copied = 0;
	cgroup = test__join_cgroup("/sockmap_recv");
	fd = socket_loopback(s->family, SOCK_STREAM);
	if (!ASSERT_OK_FD(cgroup, "cgroup") || fd < 0 ||
	    xbpf_prog_attach(bpf_program__fd(s->skel->progs.prog_parser), s->map,
			     BPF_SK_SKB_STREAM_PARSER, 0) ||
	    xbpf_prog_attach(bpf_program__fd(s->skel->progs.prog_verdict), s->map,
			     BPF_SK_SKB_STREAM_VERDICT, 0))
		goto out;
	link = bpf_program__attach_cgroup(s->skel->progs.prog_sockops, cgroup);
	s->peer = connect_to(s, fd);
	if (!ASSERT_OK_PTR(link, "attach_cgroup") || s->peer < 0)
		goto out;
	s->joined = true;
	new_record(s, 'D', 100);
	if (!send_record(s, 100, 0))
		goto out;
	s->sk = accept_timeout(fd, NULL, NULL, IO_TIMEOUT_SEC);
	if (!ASSERT_OK_FD(s->sk, "accept"))
		goto out;
	check(s, INT_MAX, "accept()");
	run_steps(s, "P50 P1000/400 -50 /600 -1000");
out:
	bpf_link__destroy(link);
	close_fd(&fd);
	close_fd(&cgroup);
}

/* Closing with unread data resets the connection, as for any socket; dropped
 * data is not unread.
 */
static void close_after(struct recv_test *s, const char *steps, int len, int err)
{
	char c;

	run_steps(s, steps);
	close_fd(&s->sk);
	s->sk = -1;
	errno = 0;
	ASSERT_EQ(recv_timeout(s->peer, &c, 1, 0, IO_TIMEOUT_SEC), len, "recv");
	ASSERT_EQ(errno, err, "errno");
}

static void close_read(struct recv_test *s)
{
	close_after(s, "D100 P200 -200", 0, 0);
}

static void close_unread(struct recv_test *s)
{
	close_after(s, "D100 P200 -100", -1, ECONNRESET);
}

static void close_unread_left(struct recv_test *s)
{
	close_after(s, "P200 L", -1, ECONNRESET);
}

/* A socket receives like a plain one if its only program is for what it sends,
 * or if the verdict passes everything: the same questions, to one of each, have
 * the same answers.
 */
struct answers {
	int n;
	struct {
		const char *what;
		long value;
	} of[32];
};

static void answer(struct answers *a, const char *what, long value)
{
	if (a->n < ARRAY_SIZE(a->of)) {
		a->of[a->n].what = what;
		a->of[a->n++].value = value;
	}
}

static void answer_err(struct answers *a, const char *what, long ret)
{
	answer(a, what, ret < 0 ? -errno : ret);
}

/* Have a sk_msg program run on what the socket sends, by a map or by a link */
static bool judge_sent(struct recv_test *s, int *map)
{
	struct bpf_program *prog = s->skel->progs.prog_msg;

	if (s->direct) {
		s->links[0] = bpf_program__attach_sock(prog, s->sk, NULL);
		return ASSERT_OK_PTR(s->links[0], "attach_sock");
	}
	*map = bpf_map_create(BPF_MAP_TYPE_SOCKMAP, "msg_only", 4, 4, 1, NULL);
	return ASSERT_OK_FD(*map, "create map") &&
	       !xbpf_prog_attach(bpf_program__fd(prog), *map, BPF_SK_MSG_VERDICT, 0) &&
	       !xbpf_map_update_elem(*map, &u32(0), &u64(s->sk), BPF_ANY);
}

/* Ask a plain socket, and one with programs: a verdict, or only a sk_msg program */
static bool ask_both(struct recv_test *s, bool verdict, struct answers *plain,
		     struct answers *progs, void (*ask)(struct recv_test *s, struct answers *a))
{
	int family = s->family, map = -1;
	bool ok, direct = s->direct;

	memset(plain, 0, sizeof(*plain));
	memset(progs, 0, sizeof(*progs));
	if (!step(s, "L"))
		return false;
	ask(s, plain);
	close_sockets(s);
	ok = setup(s, family, true, direct, LOOKS) &&
	     (verdict || (step(s, "L") && judge_sent(s, &map)));
	if (ok)
		ask(s, progs);
	if (map >= 0)
		close(map);
	return ok;
}

static bool same_answers(const struct answers *a, const struct answers *b)
{
	int i;

	for (i = 0; i < a->n && i < b->n; i++)
		if (a->of[i].value != b->of[i].value)
			return false;
	return a->n == b->n;
}

/* Both may have spurious wakeups. So ask again: only a difference in each try
 * is a failure.
 */
static void as_plain(struct recv_test *s, bool verdict,
		     void (*ask)(struct recv_test *s, struct answers *a))
{
	struct answers plain, progs;
	bool direct = s->direct;
	int i, family = s->family;

	for (i = 0; i < 3; i++) {
		if (!ask_both(s, verdict, &plain, &progs, ask))
			return;
		if (same_answers(&plain, &progs))
			break;
		close_sockets(s);
		if (!setup(s, family, true, direct, LOOKS))
			return;
	}
	ASSERT_EQ(progs.n, plain.n, "answers");
	for (i = 0; i < plain.n && i < progs.n; i++)
		ASSERT_EQ(progs.of[i].value, plain.of[i].value, plain.of[i].what);
}

/* The socket receives @len bytes, which may be too few for SO_RCVLOWAT. */
static void come(struct recv_test *s, int len, int flags)
{
	static const __u8 buf[1000];

	s->held = rx_queue(s, s->sk) + len;
	xsend(s->peer, buf, len, flags);
	received(s);
}

static int events_of(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN | POLLPRI | POLLRDHUP };

	poll(&pfd, 1, 0);
	return pfd.revents;
}

/* Read @len bytes. Return: whether a control message of @type came with them;
 * its data in @data
 */
static bool recv_control(int fd, int len, int level, int type, void *data, int size, long *n)
{
	char control[CMSG_SPACE(3 * sizeof(struct timespec)) + CMSG_SPACE(sizeof(int))];
	char buf[1000];
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;

	*n = recvmsg(fd, &msg, MSG_DONTWAIT);
	for (c = *n < 0 ? NULL : CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level == level && c->cmsg_type == type) {
			memcpy(data, CMSG_DATA(c), size);
			return true;
		}
	}
	return false;
}

/* Return: the bytes read, plus 1000 times the bytes left according to TCP_INQ */
static long recv_inq(int fd, int len)
{
	int one = 1, zero = 0, inq = -1;
	long n;

	xsetsockopt(fd, IPPROTO_TCP, TCP_INQ, &one, sizeof(one));
	recv_control(fd, len, IPPROTO_TCP, TCP_CM_INQ, &inq, sizeof(inq), &n);
	xsetsockopt(fd, IPPROTO_TCP, TCP_INQ, &zero, sizeof(zero));
	return n + 1000 * inq;
}

static void ask_reads(struct recv_test *s, struct answers *a)
{
	__u8 buf[1000];
	int off = 10;

	answer(a, "events of nothing", events_of(s->sk));
	answer(a, "FIONREAD of nothing", unread(s->sk));
	answer_err(a, "recv() of nothing", recv(s->sk, buf, 100, MSG_DONTWAIT));
	come(s, 500, 0);
	answer(a, "events", events_of(s->sk));
	answer(a, "FIONREAD", unread(s->sk));
	answer_err(a, "peek", recv(s->sk, buf, 1000, MSG_PEEK | MSG_DONTWAIT));
	answer_err(a, "SO_PEEK_OFF",
		   setsockopt(s->sk, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)));
	answer_err(a, "peek there", recv(s->sk, buf, 1000, MSG_PEEK | MSG_DONTWAIT));
	answer_err(a, "discard", recv(s->sk, NULL, 100, MSG_TRUNC | MSG_DONTWAIT));
	answer(a, "TCP_INQ", recv_inq(s->sk, 100));
	answer_err(a, "splice()", splice_read(s->sk, buf, 100, MSG_DONTWAIT));
	answer_err(a, "io_uring", uring_read(s->sk, buf, 100, false));
	answer_err(a, "multishot", uring_read(s->sk, buf, 50, true));
	answer_err(a, "recv()", recv(s->sk, buf, 1000, MSG_DONTWAIT));
	answer_err(a, "splice() of nothing", splice_read(s->sk, buf, 100, MSG_DONTWAIT));
	answer_err(a, "io_uring of nothing", uring_read(s->sk, buf, 100, false));
	come(s, 100, 0);
	shutdown(s->peer, SHUT_WR);
	answer_err(a, "all and more", recv(s->sk, buf, 200, MSG_WAITALL));
	answer(a, "events at the end", events_of(s->sk));
	answer_err(a, "recv() at the end", recv(s->sk, buf, 100, 0));
}

static void answer_read(struct answers *a, struct reader *r, const char *what)
{
	pthread_join(r->thread, NULL);
	answer(a, what, r->ret < 0 ? -r->err : r->ret);
}

/* Send until there is no more room, even after the peer has received all that
 * is in flight.
 */
static void fill(struct recv_test *s)
{
	struct pollfd pfd = { .fd = s->sk, .events = POLLOUT };
	__u64 until = now_ms() + READ_TIMEOUT_SEC * 1000;
	static __u8 buf[100000];
	int left, unsent;

	do {
		while (send(s->sk, buf, sizeof(buf), MSG_DONTWAIT) > 0)
			;
		if (ioctl(s->sk, SIOCOUTQ, &left) || ioctl(s->sk, SIOCOUTQNSD, &unsent))
			break;
	} while ((left > unsent || poll(&pfd, 1, 0)) && look_again(until));
}

/* The socket becomes writable, which also wakes threads that wait to receive. */
static void make_room(struct recv_test *s, struct reader *r)
{
	struct pollfd pfd = { .fd = s->sk, .events = POLLOUT };
	__u64 until = now_ms() + READ_TIMEOUT_SEC * 1000;
	int slept = times_slept(r->tid);
	static __u8 buf[100000];

	while (poll(&pfd, 1, 1) == 0 && look_again(until))
		recv(s->peer, buf, sizeof(buf), MSG_DONTWAIT);
	while (times_slept(r->tid) == slept && look_again(until))
		;
}

static void ask_waits(struct recv_test *s, struct answers *a)
{
	struct sigaction sa = { .sa_handler = catch }, old;
	static struct reader r;
	__u8 buf[200] = {};
	int size = 65536;

	xsetsockopt(s->sk, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	fill(s);
	if (!start_reader(s, &r, 100, 0))
		return;
	make_room(s, &r);
	xsend(s->peer, buf, 100, 0);
	answer_read(a, &r, "recv() while there is room to send");

	if (!start_reader(s, &r, 300, MSG_WAITALL))
		return;
	xsend(s->peer, buf, 100, 0);
	xsend(s->peer, buf, 200, 0);
	answer_read(a, &r, "recv(MSG_WAITALL)");

	if (!start_reader_by(s, &r, 100, 0, splice_read))
		return;
	xsend(s->peer, buf, 100, 0);
	answer_read(a, &r, "splice()");

	sigaction(SIGUSR1, &sa, &old);
	if (start_reader(s, &r, 100, 0)) {
		pthread_kill(r.thread, SIGUSR1);
		answer_read(a, &r, "recv() and a signal");
	}
	sigaction(SIGUSR1, &old, NULL);

	if (!start_reader(s, &r, 100, 0))
		return;
	reset_by_peer(s);
	answer_read(a, &r, "recv() and a reset");
}

static void ask_events(struct recv_test *s, struct answers *a)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET };
	int i, low = 150, ep = epoll_create1(0);
	sigset_t set, old;
	__u8 buf[1000];

	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	sigaddset(&set, SIGURG);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	fcntl(s->sk, F_SETOWN, getpid());
	fcntl(s->sk, F_SETFL, O_ASYNC);
	if (!ASSERT_GE(ep, 0, "epoll_create1") ||
	    !ASSERT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, s->sk, &ev), "epoll_ctl"))
		goto out;
	for (i = 0; i < 3; i++) {
		come(s, 100, 0);
		answer(a, "event", epoll_wait(ep, &ev, 1, 0));
		answer(a, "no other", epoll_wait(ep, &ev, 1, 0));
		answer(a, "SIGIO", signalled(SIGIO, 0));
	}
	recv(s->sk, buf, 300, MSG_DONTWAIT);
	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
	come(s, 100, 0);
	answer(a, "event below SO_RCVLOWAT", epoll_wait(ep, &ev, 1, 0));
	answer(a, "poll() below SO_RCVLOWAT", events_of(s->sk));
	come(s, 100, 0);
	answer(a, "event for more", epoll_wait(ep, &ev, 1, 0));
	answer(a, "poll() for more", events_of(s->sk));
	recv(s->sk, buf, 200, MSG_DONTWAIT);
	come(s, 100, 0);
	low = 100;
	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
	answer(a, "event once it is lowered", epoll_wait(ep, &ev, 1, 0));
	recv(s->sk, buf, 100, MSG_DONTWAIT);
	signalled(SIGIO, 0);

	come(s, 1, MSG_OOB);
	answer(a, "SIGURG", signalled(SIGURG, 0));
	answer(a, "POLLPRI", events_of(s->sk));
	answer_err(a, "MSG_OOB", recv(s->sk, buf, 1, MSG_OOB | MSG_DONTWAIT));
out:
	fcntl(s->sk, F_SETFL, 0);
	signalled(SIGIO, 0);
	signalled(SIGURG, 0);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(ep);
}

static void msg_only_reads(struct recv_test *s)
{
	as_plain(s, false, ask_reads);
}

static void msg_only_waits(struct recv_test *s)
{
	as_plain(s, false, ask_waits);
}

static void msg_only_events(struct recv_test *s)
{
	as_plain(s, false, ask_events);
}

/* Another socket's sk_msg program redirects to this one, which has only a
 * sk_msg program.
 */
static bool redirect_msgs(struct recv_test *s, int *map)
{
	return judge_sent(s, map) && judge_sender(s) &&
	       !xbpf_map_update_elem(s->map, &u32(0), &u64(s->sk), BPF_ANY);
}

/* The socket gets @len bytes, by a redirect ('J') or from its peer ('P'). */
static void come_by(struct recv_test *s, char how, int len)
{
	__u8 buf[300];

	memset(buf, how, len);
	xsend(how == 'J' ? s->other_peer : s->peer, buf, len, 0);
}

/* The same, for a thread that sleeps in recv(): wait up to @msec for it to read
 * them and to sleep again.
 */
static void come_to(struct recv_test *s, struct reader *r, char how, int len, int msec)
{
	__u64 until = now_ms() + msec;
	int slept = times_slept(r->tid);

	come_by(s, how, len);
	while ((times_slept(r->tid) == slept || is_awake(r->tid) || unread(s->sk) > 0) &&
	       look_again(until))
		;
}

/* A single call reads all that arrives in @steps, like "J100 P200". With
 * MSG_WAITALL, it must read each of them at once; otherwise it may.
 */
static void reads_all(struct recv_test *s, const char *steps, int flags, const char *what)
{
	int msec = flags & MSG_WAITALL ? READ_TIMEOUT_SEC * 1000 : 100;
	static struct reader r;
	__u8 want[300];
	char how;
	int len, n, total = 0;

	if (!start_reader(s, &r, sizeof(want), flags))
		return;
	for (; sscanf(steps, " %c%d%n", &how, &len, &n) == 2; steps += n) {
		memset(want + total, how, len);
		total += len;
		if (steps[n])
			come_to(s, &r, how, len, msec);
		else
			come_by(s, how, len);
	}
	if (reads(&r, total, what))
		ASSERT_OK(memcmp(r.buf, want, total), "bytes in order");
}

/* recv(MSG_WAITALL) counts both redirected and received data. */
static void msg_only_wait_all(struct recv_test *s)
{
	static struct reader r;
	int map = -1;

	if (!step(s, "L") || !redirect_msgs(s, &map))
		goto out;
	reads_all(s, "J100 J200", MSG_WAITALL, "redirected");
	reads_all(s, "J100 P200", MSG_WAITALL, "redirected, received");
	reads_all(s, "P100 J200", MSG_WAITALL, "received, redirected");
	reads_all(s, "J100 P100 J50 P50", MSG_WAITALL, "in turn");
	if (!start_reader(s, &r, 300, MSG_WAITALL))
		goto out;
	come_to(s, &r, 'J', 100, READ_TIMEOUT_SEC * 1000);
	shutdown(s->peer, SHUT_WR);
	reads(&r, 100, "up to the end of file");
	ASSERT_EQ(recv(s->sk, r.buf, 1, 0), 0, "end of file");
out:
	close(map);
}

/* SO_RCVLOWAT counts both as well, in recv() and for poll(). */
static void msg_only_lowat(struct recv_test *s)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	int low = 150, map = -1, ep = epoll_create1(0);
	__u64 until;
	__u8 buf[300];

	if (!ASSERT_OK_FD(ep, "epoll_create1") || !step(s, "L") || !redirect_msgs(s, &map))
		goto out;
	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
	reads_all(s, "J100 J50", 0, "redirected");
	reads_all(s, "J100 P50", 0, "redirected, received");

	if (!ASSERT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, s->sk, &ev), "epoll_ctl"))
		goto out;
	come_by(s, 'J', 100);
	until = now_ms() + READ_TIMEOUT_SEC * 1000;
	while (unread(s->sk) < 100 && look_again(until))
		;
	ASSERT_EQ(events_of(s->sk), 0, "poll() below SO_RCVLOWAT");
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 0, "event below SO_RCVLOWAT");
	come_by(s, 'P', 50);
	ASSERT_EQ(epoll_wait(ep, &ev, 1, READ_TIMEOUT_SEC * 1000), 1, "event at SO_RCVLOWAT");
	ASSERT_EQ(events_of(s->sk), POLLIN, "poll() at SO_RCVLOWAT");
	ASSERT_EQ(recv(s->sk, buf, sizeof(buf), MSG_DONTWAIT), 150, "recv()");
out:
	close(map);
	close(ep);
}

/* A thread sleeps in recv() when a redirect to its socket becomes possible. */
static void msg_only_join(struct recv_test *s)
{
	static struct reader r;
	int map = -1;

	if (!step(s, "L") || !start_reader(s, &r, 100, 0))
		return;
	if (redirect_msgs(s, &map))
		come_by(s, 'J', 100);
	reads(&r, 100, "recv()");
	close(map);
}

/* Send a record, and wait until FIONREAD reports all of it */
static void record_comes(struct recv_test *s, int len, char how)
{
	__u64 until = now_ms() + READ_TIMEOUT_SEC * 1000;

	new_record(s, 'P', len);
	send_part(s, s->peer, len, how);
	while (unread(s->sk) < len && look_again(until))
		;
}

/* Return: whether a read of @len bytes has a receive timestamp */
static bool recv_stamped(int fd, int len)
{
	struct timespec stamp;
	long n;

	return recv_control(fd, len, SOL_SOCKET, SO_TIMESTAMPNS, &stamp, sizeof(stamp), &n) &&
	       n == len;
}

/* Wait until a kernel worker has turned on timestamps. */
static void start_stamps(struct recv_test *s)
{
	__u64 until = now_ms() + READ_TIMEOUT_SEC * 1000;
	int one = 1;

	xsetsockopt(s->sk, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one));
	do {
		record_comes(s, 100, 0);
	} while (!recv_stamped(s->sk, 100) && look_again(until));
}

/* Return: the bytes read by io_uring, plus 1000 if it reports that there are
 * more, which it knows from msghdr.msg_get_inq
 */
static long recv_uring(int fd, int len, bool multishot)
{
	__u32 flags = 0;
	__u8 buf[1000];
	long n;

	n = uring_read_flags(fd, buf, len, multishot, &flags);
	return n + (flags & IORING_CQE_F_SOCK_NONEMPTY ? 1000 : 0);
}

static void ask_uring(struct recv_test *s, struct answers *a)
{
	record_comes(s, 500, 0);
	answer(a, "io_uring of a part", recv_uring(s->sk, 100, false));
	answer(a, "multishot of a part", recv_uring(s->sk, 100, true));
	answer(a, "io_uring of the rest", recv_uring(s->sk, 300, false));
	record_comes(s, 100, 0);
	answer(a, "io_uring of all", recv_uring(s->sk, 100, false));
	record_comes(s, 100, 0);
	answer(a, "multishot of all", recv_uring(s->sk, 100, true));
	record_comes(s, 100, 0);
	shutdown(s->peer, SHUT_WR);
	while (!(events_of(s->sk) & POLLRDHUP))
		sched_yield();
	answer(a, "io_uring before the end", recv_uring(s->sk, 100, false));
	answer(a, "io_uring at the end", recv_uring(s->sk, 100, false));
}

/* io_uring does not report part of a record, or dropped data, as data to read. */
static void uring_inq(struct recv_test *s)
{
	as_plain(s, true, ask_uring);
	close_sockets(s);
	if (!setup(s, s->family, true, s->direct, LOOKS))
		return;
	run_steps(s, "P100 P100/50");
	ASSERT_EQ(recv_uring(s->sk, 50, false), 1050, "io_uring of a part");
	ASSERT_EQ(recv_uring(s->sk, 50, false), 50, "io_uring, part of a record left");
	s->unread_start += 100;
	s->held -= 100;
	run_steps(s, "/50 D100 P10/5");
	ASSERT_EQ(recv_uring(s->sk, 100, true), 100, "multishot, nothing that can be read left");
}

struct busy_reader {
	pthread_t thread;
	int fd;
	int ret;
	long slept;
	__u8 buf[100];
};

static void *read_busily(void *arg)
{
	struct rusage before, after;
	struct busy_reader *r = arg;

	getrusage(RUSAGE_THREAD, &before);
	r->ret = recv(r->fd, r->buf, sizeof(r->buf), 0);
	getrusage(RUSAGE_THREAD, &after);
	r->slept = after.ru_nvcsw - before.ru_nvcsw;
	return NULL;
}

/* Wait until the thread has polled in recv() for BUSY_NS of CPU time; a
 * sleeping one does not.
 */
static void wait_until_busy(struct busy_reader *r)
{
	__u64 until = now_ms() + READ_TIMEOUT_SEC * 1000;
	struct timespec used = {};
	clockid_t clock;

	if (!ASSERT_OK(pthread_getcpuclockid(r->thread, &clock), "clock"))
		return;
	do {
		clock_gettime(clock, &used);
	} while (!used.tv_sec && used.tv_nsec < BUSY_NS && look_again(until));
}

static void ask_busy(struct recv_test *s, struct answers *a)
{
	static struct busy_reader r;
	int id = 0, usec = BUSY_POLL_USEC;
	socklen_t len = sizeof(id);

	record_comes(s, 100, 0);
	answer(a, "recv()", recv(s->sk, r.buf, sizeof(r.buf), MSG_DONTWAIT));
	xgetsockopt(s->sk, SOL_SOCKET, SO_INCOMING_NAPI_ID, &id, &len);
	answer(a, "SO_INCOMING_NAPI_ID", id > 0);
	ASSERT_GT(id, 0, "NAPI of the device");

	xsetsockopt(s->sk, SOL_SOCKET, SO_BUSY_POLL, &usec, sizeof(usec));
	r = (struct busy_reader){ .fd = s->sk };
	if (!ASSERT_OK(pthread_create(&r.thread, NULL, read_busily, &r), "pthread_create"))
		return;
	wait_until_busy(&r);
	new_record(s, 'P', 100);
	send_part(s, s->peer, 100, 0);
	pthread_join(r.thread, NULL);
	answer(a, "recv() that polls", r.ret);
	answer(a, "what it reads", memcmp(r.buf, s->rec, sizeof(r.buf)));
	answer(a, "whether it slept", r.slept > 0);
	ASSERT_EQ(r.slept, 0, "times that it slept");
}

/* A reader that waits in recv() busy-polls the device. */
static void busy_poll(struct recv_test *s)
{
	as_plain(s, true, ask_busy);
}

static void ask_passed(struct recv_test *s, struct answers *a)
{
	struct tcp_zerocopy_receive zc = { .length = 16384 };
	socklen_t size = sizeof(zc);
	__u8 buf[5000];
	int off = 10;
	void *map;

	start_stamps(s);
	record_comes(s, 5000, 0);
	answer(a, "events", events_of(s->sk));
	answer(a, "FIONREAD", unread(s->sk));
	answer(a, "recv() of a part, and TCP_INQ", recv_inq(s->sk, 100));
	answer(a, "SO_TIMESTAMPNS", recv_stamped(s->sk, 100));
	xsetsockopt(s->sk, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off));
	answer_err(a, "MSG_PEEK", recv(s->sk, buf, 100, MSG_PEEK));
	answer_err(a, "MSG_TRUNC", recv(s->sk, NULL, 100, MSG_TRUNC | MSG_DONTWAIT));
	answer_err(a, "splice()", splice_read(s->sk, buf, 1000, MSG_DONTWAIT));
	answer_err(a, "the rest", recv(s->sk, buf, sizeof(buf), MSG_DONTWAIT));

	/* Unpatched kernels would crash, and have failed by now. */
	if (!in_place())
		return;
	/* Pages of the sender, which the kernel copies before they are queued */
	record_comes(s, 16384, '^');
	map = mmap(NULL, 16384, PROT_READ, MAP_SHARED, s->sk, 0);
	if (!ASSERT_NEQ(map, MAP_FAILED, "mmap"))
		return;
	zc.address = (unsigned long)map;
	answer_err(a, "TCP_ZEROCOPY_RECEIVE",
		   getsockopt(s->sk, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &zc, &size));
	answer(a, "bytes mapped", zc.length);
	answer(a, "recv_skip_hint", zc.recv_skip_hint);
	ASSERT_GT(zc.length, 0, "bytes mapped");
	ASSERT_OK(memcmp(map, s->rec, zc.length), "what is mapped");
	answer(a, "FIONREAD after that", unread(s->sk));
	munmap(map, 16384);
}

/* Passed data can be read by every method that plain TCP has. */
static void passed_as_plain(struct recv_test *s)
{
	as_plain(s, true, ask_passed);
}

static const struct {
	const char *name;
	const char *steps;
	void (*run)(struct recv_test *s);
	bool ready;
	bool no_parser;
	bool v4;		/* over IPv4 only */
	const char *race;	/* the methods to send and to read */
	bool veth;		/* over veth with GRO */
} tests[] = {
	/* records with the same verdict */
	{ "unread",		"P100 P100 -50 -100 -50" },
	{ "read_each",		"P100 -100 P1000 -1000 P3 -3" },
	{ "drop",		"D100 D60000 D3" },
	{ "redirect_ingress",	"R100 R60000" },
	{ "redirect_egress",	"T100 T60000" },
	{ "half_pass",		"P1000/400 /600 -1000" },
	{ "half_drop",		"D1000/400 /600" },
	{ "half_redirect",	"R1000/400 /600 T1000/400 /600" },
	{ "half_header",	"P100/1 /99 D100/1 /99 -100" },
	{ "pieces",		"P4000/1000 /1000 /1000 /1000 -4000" },

	/* records with different verdicts */
	{ "mix_read_late",	"P100 D200 P300 R400 P500 T600 -100 -300 -500" },
	{ "mix_read_early",	"D50 P100 -50 R70 -50 T90 P100 D10 -100" },
	{ "mix_half",		"P100 D1000/400 -100 /600 P200 R1000/1 /999 -200" },
	{ "mix_half_unread",	"P100 P1000/400 -60 /600 -40 D500/499 /1 -1000" },

	/* changed in length by the verdict; shortening panics kernels without the fix */
	{ "changed",		"G100 -108 H100 -108 X100 -108 C100 -97 Y100 -97 P10 -10" },
	{ "cut_to_nothing",	"G100 -108 N100 P10 -10 N60000 N3 P100 -100" },
	{ "cut_to_nothing_verdict", "N100 P10 -10 N9000 P100 -100", .no_parser = true },

	/* after removal from the map, the stream continues where it was */
	{ "unread_then_leave",	"P100 P100 -200 L U300 -300" },
	{ "read_then_leave",	"P100 -100 D100 R100 T100 L U300 -300" },
	{ "drop_then_leave",	"P100 D100 -100 L U300 -300" },
	{ "redirect_then_leave", "R100 P100 T100 -100 L U300 -300" },

	/* records redirected from another socket */
	{ "redirected_in",	"I100 P200 -100 -200" },
	{ "redirected_in_between", "P200 I100 -200 P300 -400 I100 I100 -200" },
	{ "redirected_in_unread", "P200 I100 P300 -200 -100 -300" },
	{ "redirected_in_queued", "[ I100 P200 ] -100 -200" },

	{ "fin_read",		"P100 -100 D100 P100 -100 F E" },
	{ "fin_unread",		"P100 P100 F -100 -100 E" },
	{ "fin_dropped",	"P100 D100 R100 F -100 E" },

	{ "come_and_go",	.run = come_and_go, .v4 = true },
	{ "blocked_read",	.run = blocked_read },
	{ "window_drop",	.run = window_drop },
	{ "window_pass",	.run = window_pass },
	{ "flow_pass",		.run = flow_pass },
	{ "short_poll",		.run = short_poll },
	{ "short_leave",	.run = short_leave },
	{ "short_wait_all",	.run = short_wait_all },
	{ "flow_redirect",	.run = flow_redirect },
	{ "flow_egress",	.run = flow_egress },
	{ "egress_blocked",	.run = egress_blocked },
	{ "relay_shutdown",	.run = relay_shutdown },
	{ "relay_close",	.run = relay_close },
	{ "relay_leave",	.run = relay_leave },
	{ "redirect_race",	.run = redirect_race },

	/* readiness */
	{ "ready_half",		"P167/36 /111 /20 -167", .ready = true },
	{ "ready_behind",	"P66 P5163/2000 /2000 -66 /1163 -5163", .ready = true },
	{ "ready_mix",		"D100 P100 R100 P1000/400 T100/1 -100", .ready = true },
	{ "ready_verdict",	"D100 P100 P100 -50 D100 R100 -150", .ready = true,
							.no_parser = true },

	/* overlapping segments, after a retransmission */
	{ "resent",		"P60 O30 P40 -100", .ready = true },
	{ "resent_half",	"P100/60 O30 /40 P50 -150", .ready = true },
	{ "resent_verdict",	"P60 O30 P40 -100", .ready = true, .no_parser = true },

	/* removal from the map with data in every state */
	{ "leave_unread",	"P100 P100 -50 L U300 -450", .ready = true },
	{ "leave_unread_verdict", "P100 P100 -50 L U300 -450", .ready = true,
							.no_parser = true },
	{ "leave_half",		"P1000/400 L /600 -1000", .ready = true },
	{ "leave_half_header",	"P100/1 L -1 /99 -99", .ready = true },
	{ "replace",		"P1000/400 V /600 D100 P100/50 L V A /50 -1100", .ready = true },
	{ "leave_mix",		"P100 D50 P100 R30 P1000/400 L U300 -150 -750", .ready = true },
	{ "map_closed",		"P100 D50 P1000/400 M -100 /600 -1000 A P50 -50", .ready = true },
	{ "leave_redirected_in", "I100 P200 L U300 -600", .ready = true },
	{ "leave_backlog",	"[ I100 P200 L ] U50 -350" },
	{ "leave_fin",		"P100 P1000/400 L F -500 E", .ready = true },

	/* addition to the map with data in the receive queue */
	{ "join_pass",		"L P100 A -100 P50 -50", .ready = true },
	{ "join_drop",		"L D100 A P50 -50", .ready = true },
	{ "join_drop_verdict",	"L D100 A P50 -50", .ready = true, .no_parser = true },
	{ "join_mix",		"L D100 P100 R50 D1000/500 A /500 -100", .ready = true },
	{ "rejoin",		"P100 L A P100 -200", .ready = true },
	{ "rejoin_half",	"P1000/400 L A /600 -1000", .ready = true },
	{ "rejoin_unread",	"P100 P50 -20 L D100 P70 A -200 L U10 -10", .ready = true },

	/* all methods to read */
	{ "splice",		"P100 P3000 s50 s3050", .ready = true },
	{ "splice_half",	"P1000/400 s0 /600 P100 s1000 -100", .ready = true },
	{ "splice_verdict",	"D100 s0 P100 s100", .ready = true, .no_parser = true },
	{ "splice_redirected_in", "I100 P200 s300", .ready = true },
	{ "splice_join",	"L D100 P1000/400 A s0 /600 s1000", .ready = true },
	{ "splice_leave",	"P100 P1000/400 L s100 s200 -200", .ready = true },
	{ "splice_fin",		"P100 D100 F s100 E", .ready = true },
	{ "zerocopy",		"P100 P30000 z100 z30000", .ready = true },
	{ "zerocopy_half",	"P9000/5000 z0 /4000 z9000", .ready = true },
	{ "zerocopy_join",	"L D100 P9000/5000 A z0 /4000 z9000", .ready = true },
	{ "zerocopy_leave",	"P9000 P9000/5000 L z9000 -5000", .ready = true },
	{ "io_uring",		"D100 u0 P1000/400 u0 /600 P100 u1000 u100", .ready = true },
	{ "splice_blocked",	.run = splice_blocked },
	{ "splice_join_blocked", .run = splice_join_blocked },
	{ "sendfile_tee",	.run = sendfile_tee },
	{ "tls_refused",	.run = tls_refused },
	{ "multishot",		"D100 m0 P1000/400 m0 /600 P100 m1000 m100", .ready = true },
	{ "io_uring_join",	"L D100 P1000/400 A u0 /600 u1000", .ready = true },

	/* memory that the sender can still write to */
	{ "sendfile",		"P9000! D100! P100! -9100" },
	{ "sendfile_half",	"P9000/4000! /5000! -9000" },
	{ "sendfile_redirect",	"R9000! T9000!" },
	{ "sendfile_verdict",	"P9000! -9000 D9000! P100! -100", .no_parser = true },
	{ "sendfile_change",	"G9000! -9008" },
	{ "vmsplice",		"P9000% D100% P100% -9100" },
	{ "vmsplice_verdict",	"P9000% -9000", .no_parser = true },
	{ "msg_zerocopy",	"P9000^ D100^ P100^ -9100" },
	{ "join_sendfile",	"L P9000! P100% A -9100" },
	{ "packet_ring",	.run = packet_ring, .v4 = true },
	{ "overlap",		.run = overlap_one, .v4 = true },
	{ "overlap_budget",	.run = overlap_budget, .v4 = true },
	{ "race_sendfile",	.race = "!-" },
	{ "race_sendfile_splice", .race = "!s" },
	{ "race_sendfile_map",	.race = "!z" },
	{ "race_sendfile_veth",	.race = "!-", .v4 = true, .veth = true },
	{ "race_sendfile_veth_splice", .race = "!s", .v4 = true, .veth = true },
	{ "race_vmsplice",	.race = "%-" },
	{ "race_vmsplice_splice", .race = "%s" },
	{ "race_vmsplice_map",	.race = "%z" },
	{ "race_msg_zerocopy",	.race = "^-" },
	{ "race_msg_zerocopy_splice", .race = "^s" },
	{ "race_msg_zerocopy_map", .race = "^z" },
	{ "race_msg_zerocopy_veth", .race = "^-", .v4 = true, .veth = true },

	/* end of file */
	{ "fin_cut",		"P100 P1000/400 F -100 E", .ready = true },
	{ "fin_alone",		.run = fin_alone, .ready = true },
	{ "shutdown_read",	.run = shutdown_read, .ready = true },
	{ "shutdown_write",	.run = shutdown_write, .ready = true },
	{ "reset",		.run = reset },
	{ "timed_out",		.run = timed_out },

	/* reading and waiting */
	{ "wait_all",		.run = wait_all },
	{ "wait_all_peek",	.run = wait_all_peek },
	{ "join_blocked",	.run = join_blocked },
	{ "leave_blocked",	.run = leave_blocked },
	{ "interrupted",	.run = interrupted },
	{ "lowat",		.run = lowat },
	{ "lowat_lowered",	.run = lowat_lowered },
	{ "edge",		.run = edge },
	{ "sigio",		.run = sigio },
	{ "listener",		.run = listener },
	{ "big_record",		.run = big_record },
	{ "peek_trunc",		.run = peek_trunc },
	{ "urgent",		.run = out_of_band, .ready = true },
	{ "collapse",		.run = collapse, .ready = true },
	{ "parser_errors",	.run = parser_errors, .ready = true },
	{ "egress_failed",	.run = egress_failed },
	{ "insert_refused",	.run = insert_refused, .ready = true },
	{ "progs_refused",	.run = progs_refused, .ready = true },
	{ "disconnect",		.run = disconnect, .ready = true },
	{ "before_accept",	.run = before_accept, .ready = true },
	{ "close_read",		.run = close_read },
	{ "close_unread",	.run = close_unread },
	{ "close_unread_left",	.run = close_unread_left },

	{ "passed_as_plain",	.run = passed_as_plain },
	{ "uring_inq",		.run = uring_inq },
	{ "busy_poll",		.run = busy_poll, .v4 = true, .veth = true },

	/* only a program for what the socket sends */
	{ "msg_only_reads",	.run = msg_only_reads },
	{ "msg_only_waits",	.run = msg_only_waits },
	{ "msg_only_events",	.run = msg_only_events },
	{ "msg_only_wait_all",	.run = msg_only_wait_all },
	{ "msg_only_lowat",	.run = msg_only_lowat },
	{ "msg_only_join",	.run = msg_only_join },
};

/* Sequences of steps are run with IPv6 by a program that may change records, to
 * which the kernel shows a copy.
 */
static void run_once(int i, int family, bool direct)
{
	const char *steps = tests[i].steps;
	bool changes = steps && (family == AF_INET6 || strpbrk(steps, CHANGED));

	if (!setup(&recv_test, family, !tests[i].no_parser, direct, changes ? CHANGES : LOOKS))
		goto out;
	recv_test.ready = tests[i].ready;
	if (tests[i].race)
		race(&recv_test, tests[i].race);
	else if (tests[i].run)
		tests[i].run(&recv_test);
	else
		run_steps(&recv_test, tests[i].steps);
out:
	cleanup(&recv_test);
}

static void run_over_veth(int i, bool direct)
{
	struct veth_pair veth;
	int here = enter_veth(&recv_test, &veth, RACE_VETH_MSS);

	if (here >= 0)
		run_once(i, AF_INET, direct);
	leave_veth(&recv_test, &veth, here);
}

static void run_test(int i, int family, bool direct)
{
	int tries = 10;

	if (tests[i].veth) {
		run_over_veth(i, direct);
		return;
	}
	do {
		run_once(i, family, direct);
	} while (recv_test.again && --tries);
	ASSERT_FALSE(recv_test.again, "the worker was not held");
}

static void run_tests(bool direct)
{
	char name[64];
	int i;

	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		if (test__start_subtest(tests[i].name))
			run_test(i, AF_INET, direct);
		snprintf(name, sizeof(name), "%s_v6", tests[i].name);
		if (!tests[i].v4 && test__start_subtest(name))
			run_test(i, AF_INET6, direct);
	}
}

void test_sockmap_recv(void)
{
	run_tests(false);
}

void test_sock_link_recv(void)
{
	run_tests(true);
}
