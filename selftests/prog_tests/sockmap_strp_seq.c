// SPDX-License-Identifier: GPL-2.0
/* tp->copied_seq of a TCP socket in a sockmap with stream parser and verdict.
 *
 * Whatever the verdicts and however the stream is cut, rcv_nxt - copied_seq is
 * the number of held bytes: received in order, and neither read by the
 * application nor dropped nor redirected by a verdict. It decides what a plain
 * socket reads after it left the map, and when it is readable.
 */
#include <error.h>
#include <sched.h>
#include <poll.h>
#include <linux/tcp.h>
#include <sys/stat.h>

#include "test_progs.h"
#include "sockmap_helpers.h"
#include "test_sockmap_strp_seq.skel.h"

#define HELD_TIMEOUT_SEC 2
#define READ_TIMEOUT_SEC 5
#define STREAM_MAX 1000000

struct strp_seq {
	struct test_sockmap_strp_seq *skel;
	int map;
	int family;
	int sk;			/* in slot 0 of the map: the one looked at */
	int peer;		/* sends records to sk */
	int other;		/* in slot 1 */
	int other_peer;
	bool hold_worker;	/* see hold_worker() */
	int reader_tid;
	bool failed;
	/* the record under way */
	__u8 rec[USHRT_MAX];
	int rec_len;
	int rec_sent;
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

static struct strp_seq strp_seq;

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
static int rx_queue(struct strp_seq *s, int fd)
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

/* Compare the kernel with the model. FIN takes a sequence number: whether it
 * counts as held until the application has seen it is left open.
 */
static void check(struct strp_seq *s, int len, const char *when)
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
}

/* Read @len bytes from @fd that must be those at @want */
static bool read_bytes(int fd, const void *want, int len)
{
	__u64 until = now_ms() + READ_TIMEOUT_SEC * 1000;
	static __u8 buf[STREAM_MAX];
	int n, got = 0;

	while (got < len) {
		n = recv_timeout(fd, buf + got, len - got, MSG_DONTWAIT,
				 READ_TIMEOUT_SEC);
		/* What the parser has not seen looks readable */
		if (n < 0 && errno == EAGAIN && look_again(until))
			continue;
		if (n <= 0)
			break;
		got += n;
	}
	return ASSERT_EQ(got, len, "bytes read") &&
	       ASSERT_OK(memcmp(buf, want, len), "what was read");
}

static bool read_unread(struct strp_seq *s, int len)
{
	int end = s->unread_start + len;

	if (!read_bytes(s->sk, s->unread + s->unread_start, len))
		return false;
	while (s->unread_start < end)
		s->held -= s->own[s->unread_start++];
	return true;
}

static void passed(struct strp_seq *s, int len, bool own)
{
	memcpy(s->unread + s->unread_end, s->rec, len);
	memset(s->own + s->unread_end, own, len);
	s->unread_end += len;
}

static void new_record(struct strp_seq *s, char action, int len)
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
static bool send_part(struct strp_seq *s, int fd, int len)
{
	if (!ASSERT_EQ(xsend(fd, s->rec + s->rec_sent, len, MSG_EOR), len, "sent"))
		return false;
	s->rec_sent += len;
	return true;
}

static bool send_record(struct strp_seq *s, int len)
{
	if (!send_part(s, s->peer, len))
		return false;
	s->held += len;
	if (s->rec_sent < s->rec_len)
		return true;

	s->judged++;
	if (s->rec[2] == 'P') {
		passed(s, s->rec_len, true);
		return true;
	}
	s->held -= s->rec_len;
	switch (s->rec[2]) {
	case 'R':
		return read_bytes(s->other, s->rec, s->rec_len);
	case 'T':
		return read_bytes(s->other_peer, s->rec, s->rec_len);
	}
	return true;
}

/* A record redirected into sk: the application reads it there, yet it is none
 * of sk's stream.
 */
static bool redirect_in(struct strp_seq *s, int len)
{
	__u64 until = now_ms() + IO_TIMEOUT_SEC * 1000;
	static __u8 buf[STREAM_MAX];
	int unread, n;

	new_record(s, 'I', len);
	if (!send_part(s, s->other_peer, len))
		return false;
	s->judged++;
	passed(s, len, false);
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
static bool hold_worker(struct strp_seq *s, bool on)
{
	struct sched_param param = { .sched_priority = on };
	static cpu_set_t before;
	cpu_set_t one;

	s->hold_worker = on;
	if (!on)
		sched_setaffinity(0, sizeof(before), &before);
	if (!ASSERT_OK(sched_setscheduler(0, on ? SCHED_FIFO : SCHED_OTHER, &param),
		       "sched_setscheduler"))
		return false;
	if (on) {
		CPU_ZERO(&one);
		CPU_SET(sched_getcpu(), &one);
		sched_getaffinity(0, sizeof(before), &before);
		sched_setaffinity(0, sizeof(one), &one);
	}
	return true;
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
 * L		  the socket leaves the map
 * U<n>		  n bytes that are no record
 * F, E		  FIN; the application sees the end of file
 */
static bool step(struct strp_seq *s, const char *what)
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
	case ']':
		return hold_worker(s, op == '[');
	case '-':
		return read_unread(s, n);
	case 'L':
		return !xbpf_map_delete_elem(s->map, &u32(0));
	case 'U':
		new_record(s, op, n);
		passed(s, n, true);
		s->held += n;
		return send_part(s, s->peer, n);
	case 'F':
		s->fin = 1;
		return ASSERT_OK(shutdown(s->peer, SHUT_WR), "shutdown");
	case 'E':
		return ASSERT_EQ(xrecv_nonblock(s->sk, &op, 1, MSG_DONTWAIT), 0,
				 "end of file");
	}
	return ASSERT_FAIL("unknown: %s", what);
}

static void run_steps(struct strp_seq *s, const char *steps)
{
	const char *at = steps;
	bool ok = true;

	while (*at && ok) {
		ok = step(s, at);
		at += strcspn(at, " ");
		if (!s->hold_worker)
			check(s, at - steps, steps);
		at += strspn(at, " ");
	}
	if (s->hold_worker)
		hold_worker(s, false);
}

/* Records of in total many times the receive buffer, all dropped: the window
 * stays open.
 */
static void window_drop(struct strp_seq *s)
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
static void window_pass(struct strp_seq *s)
{
	struct pollfd pfd = { .fd = s->peer, .events = POLLOUT };
	int n, held, received, size = 65536, sent = 0;

	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	xsetsockopt(s->peer, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));

	while (sent + 4000 < STREAM_MAX) {
		if (s->rec_sent == s->rec_len) {
			new_record(s, 'P', 4000);
			passed(s, 4000, true);
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
	ASSERT_EQ(poll(&pfd, 1, IO_TIMEOUT_SEC * 1000), 1, "room to send again");
}

static void *reader(void *arg)
{
	struct strp_seq *s = arg;
	char buf[100];

	s->reader_tid = sys_gettid();
	return (void *)recv(s->sk, buf, sizeof(buf), 0);
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

/* A record is dropped while the application sleeps in recv() */
static void blocked_read(struct strp_seq *s)
{
	__u64 until = now_ms() + READ_TIMEOUT_SEC * 1000;
	struct timeval timeout = { .tv_sec = IO_TIMEOUT_SEC };
	pthread_t thread;
	void *ret = NULL;

	xsetsockopt(s->sk, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	if (!ASSERT_OK(pthread_create(&thread, NULL, reader, s), "pthread_create"))
		return;
	while (!(READ_ONCE(s->reader_tid) && sleeps(s->reader_tid)) && look_again(until))
		;
	new_record(s, 'D', 100);
	if (send_record(s, 100)) {
		new_record(s, 'P', 100);
		send_record(s, 100);
	}
	pthread_join(thread, &ret);
	ASSERT_EQ((long)ret, 100, "bytes read");
	s->held -= 100;
	check(s, INT_MAX, "reading what came after a dropped record");
}

static bool setup(struct strp_seq *s, int family)
{
	int parser, verdict, err, one = 1;

	*s = (struct strp_seq){ .family = family, .sk = -1, .peer = -1,
				.other = -1, .other_peer = -1 };

	s->skel = test_sockmap_strp_seq__open_and_load();
	if (!ASSERT_OK_PTR(s->skel, "open_and_load"))
		return false;
	s->map = bpf_map__fd(s->skel->maps.sock_map);
	parser = bpf_program__fd(s->skel->progs.prog_parser);
	verdict = bpf_program__fd(s->skel->progs.prog_verdict);

	if (create_socket_pairs(family, SOCK_STREAM, &s->sk, &s->other, &s->peer,
				&s->other_peer))
		return false;
	if (xsetsockopt(s->peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    xsetsockopt(s->other_peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		return false;

	err = bpf_prog_attach(parser, s->map, BPF_SK_SKB_STREAM_PARSER, 0);
	if (err == -EOPNOTSUPP) {
		printf("%s:SKIP:no CONFIG_BPF_STREAM_PARSER\n", __func__);
		test__skip();
		return false;
	}
	if (!ASSERT_OK(err, "attach parser") ||
	    xbpf_prog_attach(verdict, s->map, BPF_SK_SKB_STREAM_VERDICT, 0))
		return false;
	return !add_to_sockmap(s->map, s->sk, s->other);
}

static void cleanup(struct strp_seq *s)
{
	close_fd(&s->sk);
	close_fd(&s->peer);
	close_fd(&s->other);
	close_fd(&s->other_peer);
	test_sockmap_strp_seq__destroy(s->skel);
}

static const struct {
	const char *name;
	const char *steps;
	void (*run)(struct strp_seq *s);
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
};

static void run_test(int i, int family)
{
	if (!setup(&strp_seq, family))
		goto out;
	if (tests[i].run)
		tests[i].run(&strp_seq);
	else
		run_steps(&strp_seq, tests[i].steps);
out:
	cleanup(&strp_seq);
}

void test_sockmap_strp_seq(void)
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
