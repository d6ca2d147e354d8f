// SPDX-License-Identifier: GPL-2.0
/* What is received on a TCP socket in a sockmap with a verdict, and mostly a
 * stream parser.
 *
 * Whatever the verdicts, however the stream is cut, and whenever the socket
 * joins or leaves the map: the application reads exactly what was passed, or
 * not judged, in order. poll() and FIONREAD tell what it can read. And
 * rcv_nxt - copied_seq is the number of held bytes: received in order, and
 * neither read by the application nor dropped nor redirected by a verdict.
 */
#include <error.h>
#include <sched.h>
#include <poll.h>
#include <linux/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "test_progs.h"
#include "sockmap_helpers.h"
#include "test_sockmap_recv.skel.h"

#define HELD_TIMEOUT_SEC 1
#define READ_TIMEOUT_SEC 2
#define STREAM_MAX 1000000

struct recv_test {
	struct test_sockmap_recv *skel;
	int map;
	int family;
	int sk;			/* in slot 0 of the map: the one looked at */
	int peer;		/* sends records to sk */
	int other;		/* in slot 1 */
	int other_peer;
	bool hold_worker;	/* see hold_worker() */
	cpu_set_t cpus;		/* to run on when it is released */
	bool again;		/* it was not held, by no fault of the kernel */
	bool failed;
	bool parser;
	bool joined;		/* is in the map */
	bool ready;		/* compare poll(), FIONREAD and recv() as well */
	/* the record under way */
	__u8 rec[USHRT_MAX];
	int rec_len;
	int rec_sent;
	/* received and not judged */
	__u8 pend[STREAM_MAX];
	int pend_len;
	/* what the kernel must have come to */
	int held;
	int fin;
	__u64 judged;
	unsigned int copied;
	/* what the application reads, and whether that is of sk's own stream */
	__u8 unread[STREAM_MAX];
	bool own[STREAM_MAX];
	int unread_start;
	int unread_end;
};

static struct recv_test recv_test;

static __u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

/* True as long as it makes sense to look again */
static bool look_again(__u64 until)
{
	if (now_ms() >= until)
		return false;
	usleep(1000);
	return true;
}

/* rcv_nxt - copied_seq, as every kernel shows it */
static int rx_queue(struct recv_test *s, int fd)
{
	const char *path = s->family == AF_INET ? "/proc/net/tcp" : "/proc/net/tcp6";
	unsigned long ino;
	unsigned int rxq;
	struct stat st;
	char line[512];
	int ret = -1;
	FILE *f;

	if (fstat(fd, &st))
		return -1;
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (ret < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*d: %*s %*s %*x %*x:%x %*x:%*x %*x %*u %*d %lu",
			   &rxq, &ino) == 2 && ino == st.st_ino)
			ret = rxq;
	fclose(f);
	return ret;
}

static unsigned int bytes_received(int fd)
{
	struct tcp_info info = {};
	socklen_t len = sizeof(info);

	xgetsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len);
	return info.tcpi_bytes_received;
}

/* poll(), FIONREAD and recv() tell the same */
static void check_ready(struct recv_test *s, int len, const char *when)
{
	struct pollfd pfd = { .fd = s->sk, .events = POLLIN };
	int want = s->unread_end - s->unread_start + (s->joined ? 0 : s->pend_len);
	static __u8 buf[STREAM_MAX];
	char name[80];
	int n;

	snprintf(name, sizeof(name), "FIONREAD after %.*s", len, when);
	if (ASSERT_OK(ioctl(s->sk, FIONREAD, &n), "ioctl"))
		s->failed |= !ASSERT_EQ(n, want, name);
	snprintf(name, sizeof(name), "POLLIN after %.*s", len, when);
	s->failed |= !ASSERT_EQ(poll(&pfd, 1, 0), want || s->fin, name);

	/* To look further than what was passed takes a read */
	if (!s->joined && s->unread_start != s->unread_end)
		want = s->unread_end - s->unread_start;
	errno = 0;
	n = recv(s->sk, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
	snprintf(name, sizeof(name), "recv(MSG_PEEK) after %.*s", len, when);
	if (!want && !s->fin)
		s->failed |= !ASSERT_TRUE(n < 0 && errno == EAGAIN, name);
	else
		s->failed |= !ASSERT_EQ(n, want, name);
}

/* Compare the kernel with the model. FIN takes a sequence number: whether it
 * counts as held until the application has seen it is left open.
 */
static void check(struct recv_test *s, int len, const char *when)
{
	__u64 until = now_ms() + HELD_TIMEOUT_SEC * 1000;
	unsigned int copied;
	char name[80];
	int held;

	while (s->skel->bss->judged != s->judged && !s->failed && look_again(until))
		;
	/* once is enough to wait for what does not come */
	do {
		held = rx_queue(s, s->sk);
		if (held == s->held || held == s->held + s->fin)
			break;
	} while (!s->failed && look_again(until));
	copied = bytes_received(s->sk) - held;

	snprintf(name, sizeof(name), "held bytes after %.*s", len, when);
	if (held != s->held + s->fin)
		s->failed |= !ASSERT_EQ(held, s->held, name);
	snprintf(name, sizeof(name), "copied_seq after %.*s", len, when);
	s->failed |= !ASSERT_GE(copied, s->copied, name);
	s->copied = copied;

	s->failed |= !ASSERT_EQ(s->skel->bss->judged, s->judged, "judged records");
	s->failed |= !ASSERT_EQ(rx_queue(s, s->other), 0, "held bytes of the other socket");
	if (s->ready)
		check_ready(s, len, when);
}

/* Read @len bytes from @fd that must be those at @want */
static bool read_bytes(int fd, const void *want, int len)
{
	static __u8 buf[STREAM_MAX];
	int n, got = 0;

	while (got < len) {
		n = recv_timeout(fd, buf + got, len - got, MSG_DONTWAIT,
				 READ_TIMEOUT_SEC);
		if (n <= 0)
			break;
		got += n;
	}
	return ASSERT_EQ(got, len, "bytes read") &&
	       ASSERT_OK(memcmp(buf, want, len), "what was read");
}

/* Of the bytes passed, and then of those that no one judges */
static bool read_unread(struct recv_test *s, int len)
{
	int passed = s->unread_end - s->unread_start;
	static __u8 want[STREAM_MAX];
	int pend = 0;

	if (len > passed) {
		pend = len - passed;
		len = passed;
	}
	memcpy(want, s->unread + s->unread_start, len);
	memcpy(want + len, s->pend, pend);
	if (!read_bytes(s->sk, want, len + pend))
		return false;

	while (len--)
		s->held -= s->own[s->unread_start++];
	s->held -= pend;
	s->pend_len -= pend;
	memmove(s->pend, s->pend + pend, s->pend_len);
	return true;
}

static void passed(struct recv_test *s, const void *data, int len, bool own)
{
	memcpy(s->unread + s->unread_end, data, len);
	memset(s->own + s->unread_end, own, len);
	s->unread_end += len;
}

/* The length of the record that comes next, 0 if it is not complete */
static int complete(struct recv_test *s)
{
	int len;

	if (!s->parser)
		return s->pend_len;
	len = s->pend_len < 2 ? INT_MAX : s->pend[0] << 8 | s->pend[1];
	return len <= s->pend_len ? len : 0;
}

/* What parser and verdict do */
static bool judge(struct recv_test *s)
{
	bool ok = true;
	int len;

	while (ok && s->joined && (len = complete(s))) {
		s->judged++;
		if (s->pend[2] == 'P')
			passed(s, s->pend, len, true);
		else
			s->held -= len;
		if (s->pend[2] == 'R')
			ok = read_bytes(s->other, s->pend, len);
		if (s->pend[2] == 'T')
			ok = read_bytes(s->other_peer, s->pend, len);
		s->pend_len -= len;
		memmove(s->pend, s->pend + len, s->pend_len);
	}
	return ok;
}

static void new_record(struct recv_test *s, char action, int len)
{
	int i;

	for (i = 3; i < len; i++)
		s->rec[i] = i * 7 + s->judged;
	s->rec[0] = len >> 8;
	s->rec[1] = len;
	s->rec[2] = action;
	s->rec_len = len;
	s->rec_sent = 0;
}

/* MSG_EOR: no segment holds bytes of two records */
static bool send_part(struct recv_test *s, int fd, int len)
{
	if (!ASSERT_EQ(xsend(fd, s->rec + s->rec_sent, len, MSG_EOR), len, "sent"))
		return false;
	s->rec_sent += len;
	return true;
}

static bool send_record(struct recv_test *s, int len)
{
	const __u8 *data = s->rec + s->rec_sent;

	if (!send_part(s, s->peer, len))
		return false;
	memcpy(s->pend + s->pend_len, data, len);
	s->pend_len += len;
	s->held += len;
	return judge(s);
}

static bool received(struct recv_test *s)
{
	__u64 until = now_ms() + READ_TIMEOUT_SEC * 1000;
	int want = s->held;

	while (rx_queue(s, s->sk) < want && look_again(until))
		;
	return true;
}

/* A record redirected into sk: the application reads it there, yet it is none
 * of sk's stream.
 */
static bool redirect_in(struct recv_test *s, int len)
{
	__u64 until = now_ms() + READ_TIMEOUT_SEC * 1000;
	static __u8 buf[STREAM_MAX];
	int unread, n;

	new_record(s, 'I', len);
	if (!send_part(s, s->other_peer, len))
		return false;
	s->judged++;
	passed(s, s->rec, len, false);
	if (s->hold_worker)
		return true;

	unread = s->unread_end - s->unread_start;
	do {
		n = recv(s->sk, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
	} while (n < unread && look_again(until));
	return ASSERT_EQ(n, unread, "readable bytes");
}

/* Redirected records are delivered by a worker on this CPU. Keep it from
 * running, so that sk's own records come upon one that still waits for it.
 */
static bool hold_worker(struct recv_test *s)
{
	struct sched_param param = { .sched_priority = 1 };
	cpu_set_t one;

	sched_getaffinity(0, sizeof(s->cpus), &s->cpus);
	if (!ASSERT_OK(sched_setscheduler(0, SCHED_FIFO, &param), "sched_setscheduler"))
		return false;
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	s->hold_worker = true;
	return ASSERT_OK(sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
}

/* A machine that stands still for a second makes the scheduler run others than
 * a real-time task, and all was in vain: @s->again.
 */
static bool release_worker(struct recv_test *s)
{
	struct sched_param param = {};
	int delivered = 0;

	if (!s->hold_worker)
		return true;
	if (s->joined)
		ioctl(s->sk, FIONREAD, &delivered);
	s->again = s->skel->bss->judged != s->judged || delivered;
	s->hold_worker = false;
	sched_setaffinity(0, sizeof(s->cpus), &s->cpus);
	return ASSERT_OK(sched_setscheduler(0, SCHED_OTHER, &param), "sched_setscheduler") &&
	       !s->again;
}

/* Steps, each followed by a comparison with the model:
 *
 * P, D, R, T<n>  a record of n bytes to pass, to drop, to redirect to the other
 *		  socket's ingress, to have the other socket transmit
 *    .../<m>	  only its first m bytes
 * /<m>		  m more bytes of it
 * I<n>		  a record redirected into the socket from the other one
 * [ ... ]	  not delivered (nor looked at) before the bracket closes
 * -<n>		  the application reads n bytes
 * L, A		  the socket leaves the map; joins it
 * U<n>		  n bytes that are no record
 * F, E		  FIN; the application sees the end of file
 */
static bool step(struct recv_test *s, const char *what)
{
	int n = 0, m = 0;
	char op;

	if (sscanf(what, "%c%d/%d", &op, &n, &m) < 3)
		m = n;

	switch (op) {
	case 'P':
	case 'D':
	case 'R':
	case 'T':
		new_record(s, op, n);
		return send_record(s, m);
	case '/':
		return send_record(s, n);
	case 'I':
		return redirect_in(s, n);
	case '[':
		return hold_worker(s);
	case ']':
		return release_worker(s);
	case '-':
		return read_unread(s, n);
	case 'L':
		s->joined = false;
		return !xbpf_map_delete_elem(s->map, &u32(0));
	case 'A':
		/* It is judged at once: nothing comes later */
		received(s);
		if (xbpf_map_update_elem(s->map, &u32(0), &u64(s->sk), BPF_ANY))
			return false;
		s->joined = true;
		return judge(s);
	case 'U':
		new_record(s, op, n);
		return send_record(s, n);
	case 'F':
		/* Nobody will read the beginning of a record */
		if (s->joined) {
			s->held -= s->pend_len;
			s->pend_len = 0;
		}
		s->fin = 1;
		return ASSERT_OK(shutdown(s->peer, SHUT_WR), "shutdown");
	case 'E':
		return ASSERT_EQ(xrecv_nonblock(s->sk, &op, 1, MSG_DONTWAIT), 0,
				 "end of file");
	}
	return ASSERT_FAIL("unknown: %s", what);
}

static void run_steps(struct recv_test *s, const char *steps)
{
	const char *at = steps;
	bool ok = true;

	while (*at && ok && !s->failed) {
		ok = step(s, at);
		at += strcspn(at, " ");
		if (!s->hold_worker && !s->again)
			check(s, at - steps, steps);
		at += strspn(at, " ");
	}
	release_worker(s);
}

/* Records of in total many times the receive buffer, all dropped: the window
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
		if (!send_record(s, 16000))
			return;
	}
	check(s, INT_MAX, "dropped records");
}

/* Passed records that nobody reads close the window, and reading opens it */
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
	/* a window probe brings a little more now and then */
	do {
		received = bytes_received(s->sk);
		held = rx_queue(s, s->sk);
	} while (bytes_received(s->sk) != received);
	ASSERT_EQ(held, received, "held bytes when the window is full");

	if (!read_unread(s, sent / 4000 * 4000))
		return;
	s->held = sent % 4000;
	s->judged = sent / 4000;
	check(s, INT_MAX, "reading all");
	ASSERT_EQ(poll(&pfd, 1, READ_TIMEOUT_SEC * 1000), 1, "room to send again");
}

static bool sleeps(int tid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(f);
	return state == 'S';
}

static void set_timeout(int fd, int sec)
{
	struct timeval timeout = { .tv_sec = sec };

	xsetsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
}

struct reader {
	pthread_t thread;
	int fd;
	int len;
	int flags;
	int tid;
	int ret;
	int err;
	__u8 buf[10000];
};

static void *read_in_thread(void *arg)
{
	struct reader *r = arg;

	WRITE_ONCE(r->tid, sys_gettid());
	r->ret = recv(r->fd, r->buf, r->len, r->flags);
	r->err = errno;
	return NULL;
}

/* Have a thread sleep in recv() */
static bool start_reader(struct recv_test *s, struct reader *r, int len, int flags)
{
	__u64 until = now_ms() + READ_TIMEOUT_SEC * 1000;

	*r = (struct reader){ .fd = s->sk, .len = len, .flags = flags };
	set_timeout(s->sk, READ_TIMEOUT_SEC);
	if (!ASSERT_OK(pthread_create(&r->thread, NULL, read_in_thread, r), "pthread_create"))
		return false;
	while (!(READ_ONCE(r->tid) && sleeps(r->tid)) && look_again(until))
		;
	return true;
}

static bool reads(struct reader *r, int len, const char *what)
{
	pthread_join(r->thread, NULL);
	return ASSERT_EQ(r->ret, len, what);
}

/* A record is dropped while the application sleeps in recv() */
static void blocked_read(struct recv_test *s)
{
	static struct reader r;

	if (!start_reader(s, &r, 100, 0))
		return;
	new_record(s, 'D', 100);
	if (send_record(s, 100)) {
		new_record(s, 'P', 100);
		send_record(s, 100);
	}
	reads(&r, 100, "bytes read");
	s->held -= 100;
	check(s, INT_MAX, "reading what came after a dropped record");
}

/* recv(MSG_WAITALL) goes on over the ends of records */
static void wait_all(struct recv_test *s)
{
	__u64 until = now_ms() + READ_TIMEOUT_SEC * 1000;
	static struct reader r;
	int unread;

	if (!start_reader(s, &r, 300, MSG_WAITALL))
		return;
	new_record(s, 'P', 100);
	send_record(s, 100);
	/* when it has read that, it goes on or returns */
	while (!ioctl(s->sk, FIONREAD, &unread) && unread && look_again(until))
		;
	new_record(s, 'D', 100);
	send_record(s, 100);
	new_record(s, 'P', 200);
	send_record(s, 200);
	reads(&r, 300, "recv(MSG_WAITALL)");
}

/* A thread sleeps in recv() of a plain socket when it joins the map */
static void join_blocked(struct recv_test *s)
{
	static struct reader r;

	if (!step(s, "L") || !start_reader(s, &r, 300, 0))
		return;
	if (step(s, "A")) {
		new_record(s, 'D', 100);
		send_record(s, 100);
		new_record(s, 'P', 70);
		send_record(s, 30);
		send_record(s, 40);
	}
	reads(&r, 70, "what was passed");
}

/* The beginning of a record becomes readable when the socket leaves the map */
static void leave_blocked(struct recv_test *s)
{
	static struct reader r;

	if (!start_reader(s, &r, 300, 0))
		return;
	new_record(s, 'P', 100);
	if (send_record(s, 60) && received(s))
		step(s, "L");
	reads(&r, 60, "what was not judged");
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
		/* No restart: the socket has a time-out */
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

/* SO_RCVLOWAT counts what can be read */
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

/* An event for what can be read, none for what cannot */
static void edge(struct recv_test *s)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	int ep = epoll_create1(0);

	if (!ASSERT_GE(ep, 0, "epoll_create1") ||
	    !ASSERT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, s->sk, &ev), "epoll_ctl"))
		goto out;
	run_steps(s, "D100 P100/50");
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 0, "events for nothing to read");
	run_steps(s, "/50");
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 1, "events for a record");
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 0, "events for the same again");
	run_steps(s, "P100");
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 1, "events for another");
	run_steps(s, "D100 P100/50");
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 0, "events for nothing more to read");
	run_steps(s, "L");
	ASSERT_EQ(epoll_wait(ep, &ev, 1, 0), 1, "events for what is not judged any more");
out:
	close(ep);
}

/* The largest record the parser admits, with a receive buffer that small */
static void big_record(struct recv_test *s)
{
	int size = 0, rcvbuf;
	socklen_t len = sizeof(rcvbuf);
	__u64 until;

	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	xgetsockopt(s->sk, SOL_SOCKET, SO_RCVBUF, &rcvbuf, &len);
	new_record(s, 'P', rcvbuf);
	if (!send_record(s, rcvbuf / 3) || !send_record(s, rcvbuf - rcvbuf / 3))
		return;
	until = now_ms() + READ_TIMEOUT_SEC * 1000;
	while (!is_readable(s->sk) && look_again(until))
		;
	if (!read_unread(s, rcvbuf))
		return;
	check(s, INT_MAX, "reading it");

	/* and none that is longer */
	new_record(s, 'P', rcvbuf + 1);
	send_part(s, s->peer, rcvbuf + 1);
	until = now_ms() + READ_TIMEOUT_SEC * 1000;
	while (!is_readable(s->sk) && look_again(until))
		;
	ASSERT_EQ(recv(s->sk, s->pend, 1, MSG_DONTWAIT), -1, "recv");
	ASSERT_EQ(errno, EMSGSIZE, "errno");
}

/* Time-out of the parser: after what was passed */
static void timed_out(struct recv_test *s)
{
	struct timeval timeout = { .tv_usec = 200000 };
	struct pollfd pfd = { .fd = s->sk };

	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	run_steps(s, "P100 P100/50");
	ASSERT_EQ(poll(&pfd, 1, READ_TIMEOUT_SEC * 1000), 1, "POLLERR");
	if (!read_unread(s, 100))
		return;
	ASSERT_EQ(recv(s->sk, s->pend, 1, MSG_DONTWAIT), -1, "recv");
	ASSERT_EQ(errno, ETIMEDOUT, "errno");
}

/* Reset by the peer: after what was passed */
static void reset(struct recv_test *s)
{
	struct linger linger = { .l_onoff = 1 };
	struct pollfd pfd = { .fd = s->sk };

	run_steps(s, "P100 D100 P100/50");
	xsetsockopt(s->peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close_fd(&s->peer);
	s->peer = -1;
	ASSERT_EQ(poll(&pfd, 1, READ_TIMEOUT_SEC * 1000), 1, "POLLERR");
	if (!read_unread(s, 100))
		return;
	ASSERT_EQ(recv(s->sk, s->pend, 1, MSG_DONTWAIT), -1, "recv");
	ASSERT_EQ(errno, ECONNRESET, "errno");
	ASSERT_EQ(recv(s->sk, s->pend, 1, MSG_DONTWAIT), 0, "end of file");
}

/* MSG_PEEK where SO_PEEK_OFF says, MSG_TRUNC without a buffer */
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
	read_unread(s, 50);
}

static bool attach(struct recv_test *s)
{
	int parser = bpf_program__fd(s->skel->progs.prog_parser);
	int verdict = bpf_program__fd(s->skel->progs.prog_verdict);
	int err;

	err = s->parser ? bpf_prog_attach(parser, s->map, BPF_SK_SKB_STREAM_PARSER, 0) : 0;
	if (err == -EOPNOTSUPP) {
		printf("%s:SKIP:no CONFIG_BPF_STREAM_PARSER\n", __func__);
		test__skip();
		return false;
	}
	return ASSERT_OK(err, "parser") &&
	       !xbpf_prog_attach(verdict, s->map, BPF_SK_SKB_STREAM_VERDICT, 0);
}

static bool setup(struct recv_test *s, int family, bool parser)
{
	int one = 1;

	memset(s, 0, sizeof(*s));
	s->family = family;
	s->parser = parser;
	s->sk = -1;
	s->peer = -1;
	s->other = -1;
	s->other_peer = -1;

	s->skel = test_sockmap_recv__open_and_load();
	if (!ASSERT_OK_PTR(s->skel, "open_and_load"))
		return false;
	s->map = bpf_map__fd(s->skel->maps.sock_map);

	if (create_socket_pairs(family, SOCK_STREAM, &s->sk, &s->other, &s->peer,
				&s->other_peer))
		return false;
	if (xsetsockopt(s->peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    xsetsockopt(s->other_peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		return false;

	if (!attach(s) || add_to_sockmap(s->map, s->sk, s->other))
		return false;
	s->joined = true;
	return true;
}

static void cleanup(struct recv_test *s)
{
	close_fd(&s->sk);
	close_fd(&s->peer);
	close_fd(&s->other);
	close_fd(&s->other_peer);
	test_sockmap_recv__destroy(s->skel);
}

static const struct {
	const char *name;
	const char *steps;
	void (*run)(struct recv_test *s);
	bool ready;
	bool no_parser;
} tests[] = {
	/* records of one fate */
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

	/* one after the other */
	{ "mix_read_late",	"P100 D200 P300 R400 P500 T600 -100 -300 -500" },
	{ "mix_read_early",	"D50 P100 -50 R70 -50 T90 P100 D10 -100" },
	{ "mix_half",		"P100 D1000/400 -100 /600 P200 R1000/1 /999 -200" },
	{ "mix_half_unread",	"P100 P1000/400 -60 /600 -40 D500/499 /1 -1000" },

	/* a stream goes on where it was left */
	{ "unread_then_leave",	"P100 P100 -200 L U300 -300" },
	{ "read_then_leave",	"P100 -100 D100 R100 T100 L U300 -300" },
	{ "drop_then_leave",	"P100 D100 -100 L U300 -300" },
	{ "redirect_then_leave", "R100 P100 T100 -100 L U300 -300" },

	/* another socket's records in this one's queue */
	{ "redirected_in",	"I100 P200 -100 -200" },
	{ "redirected_in_between", "P200 I100 -200 P300 -400 I100 I100 -200" },
	{ "redirected_in_unread", "P200 I100 P300 -200 -100 -300" },
	{ "redirected_in_queued", "[ I100 P200 ] -100 -200" },

	{ "fin_read",		"P100 -100 D100 P100 -100 F E" },
	{ "fin_unread",		"P100 P100 F -100 -100 E" },
	{ "fin_dropped",	"P100 D100 R100 F -100 E" },

	{ "blocked_read",	.run = blocked_read },
	{ "window_drop",	.run = window_drop },
	{ "window_pass",	.run = window_pass },

	/* what can be read now */
	{ "ready_half",		"P167/36 /111 /20 -167", .ready = true },
	{ "ready_behind",	"P66 P5163/2000 /2000 -66 /1163 -5163", .ready = true },
	{ "ready_mix",		"D100 P100 R100 P1000/400 T100/1 -100", .ready = true },
	{ "ready_verdict",	"D100 P100 P100 -50 D100 R100 -150", .ready = true,
							.no_parser = true },

	/* leaving the map with data in every state */
	{ "leave_unread",	"P100 P100 -50 L U300 -450", .ready = true },
	{ "leave_unread_verdict", "P100 P100 -50 L U300 -450", .ready = true,
							.no_parser = true },
	{ "leave_half",		"P1000/400 L /600 -1000", .ready = true },
	{ "leave_half_header",	"P100/1 L -1 /99 -99", .ready = true },
	{ "leave_mix",		"P100 D50 P100 R30 P1000/400 L U300 -150 -750", .ready = true },
	{ "leave_redirected_in", "I100 P200 L U300 -600", .ready = true },
	{ "leave_backlog",	"[ I100 P200 L ] U50 -350" },
	{ "leave_fin",		"P100 P1000/400 L F -500 E", .ready = true },

	/* joining it with data there */
	{ "join_pass",		"L P100 A -100 P50 -50", .ready = true },
	{ "join_drop",		"L D100 A P50 -50", .ready = true },
	{ "join_drop_verdict",	"L D100 A P50 -50", .ready = true, .no_parser = true },
	{ "join_mix",		"L D100 P100 R50 D1000/500 A /500 -100", .ready = true },
	{ "rejoin",		"P100 L A P100 -200", .ready = true },
	{ "rejoin_half",	"P1000/400 L A /600 -1000", .ready = true },
	{ "rejoin_unread",	"P100 P50 -20 L D100 P70 A -200 L U10 -10", .ready = true },

	/* the end */
	{ "fin_cut",		"P100 P1000/400 F -100 E", .ready = true },
	{ "reset",		.run = reset },
	{ "timed_out",		.run = timed_out },

	/* ways to read and to wait */
	{ "wait_all",		.run = wait_all },
	{ "join_blocked",	.run = join_blocked },
	{ "leave_blocked",	.run = leave_blocked },
	{ "interrupted",	.run = interrupted },
	{ "lowat",		.run = lowat },
	{ "edge",		.run = edge },
	{ "big_record",		.run = big_record },
	{ "peek_trunc",		.run = peek_trunc },
};

static void run_once(int i, int family)
{
	if (!setup(&recv_test, family, !tests[i].no_parser))
		goto out;
	recv_test.ready = tests[i].ready;
	if (tests[i].run)
		tests[i].run(&recv_test);
	else
		run_steps(&recv_test, tests[i].steps);
out:
	cleanup(&recv_test);
}

static void run_test(int i, int family)
{
	int tries = 10;

	do {
		run_once(i, family);
	} while (recv_test.again && --tries);
	ASSERT_FALSE(recv_test.again, "a worker that waits");
}

void test_sockmap_recv(void)
{
	char name[64];
	int i;

	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		if (test__start_subtest(tests[i].name))
			run_test(i, AF_INET);
		snprintf(name, sizeof(name), "%s_v6", tests[i].name);
		if (test__start_subtest(name))
			run_test(i, AF_INET6);
	}
}
