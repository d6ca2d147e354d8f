// SPDX-License-Identifier: GPL-2.0
/* The most expensive streams that a peer can send to a parser and a verdict.
 * The number of their runs, the bytes they are shown, the work done at a time,
 * and the memory used must be bounded in proportion to the bytes received,
 * however the stream is cut.
 */
#include <error.h>
#include <poll.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <bpf/btf.h>

#include "veth_pair.h"
#include "test_sockmap_worst.skel.h"

#define READ_TIMEOUT_SEC 5
#define WORST_SEC 30		/* time limit of a test */
#define FULL_MS 300		/* the sender is throttled if nothing is accepted for so long */
#define PIECE 1024		/* TCP_BPF_COPY */
#define BUDGET 64		/* TCP_BPF_BUDGET */
#define WORST_LEN 60000		/* one skb over loopback */
#define BYTEWISE_LEN 20000
#define WORST_RCVBUF 65536
#define WORST_MAX 250000	/* more than fits into all buffers */

struct worst_test {
	struct test_sockmap_worst *skel;
	struct veth_pair veth;
	int map;
	int sk;			/* in slot 0, with the programs */
	int peer;
	int other;		/* in slot 1 */
	int other_peer;
	struct bpf_link *links[2];
	__u64 until;		/* when to give up */
	__u8 stream[WORST_MAX];
	__u8 buf[WORST_MAX];
	__u8 want[WORST_MAX];
};

static struct worst_test worst_test;

struct worst_case {
	const char *name;
	int len;		/* length of the stream */
	int segment;		/* bytes sent in one call */
	int record;
	int header;		/* bytes of a record that the parser needs */
	const char *actions;	/* verdicts of the records, in turn */
	bool at_once;		/* count verdicts per data_ready call */
	bool veth;
};

static bool worst_connect(struct worst_test *t, bool veth)
{
	int one = 1, here = -1;

	if (veth) {
		if (!veth_pair_new(&t->veth) ||
		    !veth_pair_connect(&t->veth, &t->sk, &t->peer))
			return false;
		here = nl_enter(&t->veth.ns);
		if (!ASSERT_OK_FD(here, "enter"))
			return false;
	} else if (create_pair(AF_INET, SOCK_STREAM, &t->sk, &t->peer)) {
		return false;
	}
	create_pair(AF_INET, SOCK_STREAM, &t->other, &t->other_peer);
	if (here >= 0)
		nl_leave(here);
	return t->other >= 0 &&
	       !xsetsockopt(t->peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* The function that runs the programs on received data; without the series, the
 * strparser's
 */
static const char *data_ready(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	bool series;

	series = btf && btf__find_by_name_kind(btf, "tcp_bpf_data_ready", BTF_KIND_FUNC) > 0;
	btf__free(btf);
	return series ? "tcp_bpf_data_ready" : "sk_psock_strp_data_ready";
}

static bool worst_load(struct worst_test *t, bool at_once)
{
	struct bpf_program *progs[2];
	int i;

	t->skel = test_sockmap_worst__open();
	if (!ASSERT_OK_PTR(t->skel, "open"))
		return false;
	progs[0] = t->skel->progs.data_ready_starts;
	progs[1] = t->skel->progs.data_ready_ends;
	for (i = 0; i < ARRAY_SIZE(progs); i++)
		if (!at_once)
			bpf_program__set_autoload(progs[i], false);
		else if (!ASSERT_OK(bpf_program__set_attach_target(progs[i], 0, data_ready()),
				    "attach target"))
			return false;
	if (!ASSERT_OK(test_sockmap_worst__load(t->skel), "load"))
		return false;
	for (i = 0; at_once && i < ARRAY_SIZE(progs); i++) {
		t->links[i] = bpf_program__attach(progs[i]);
		if (!ASSERT_OK_PTR(t->links[i], "attach"))
			return false;
	}
	return true;
}

static bool worst_setup(struct worst_test *t, const struct worst_case *c)
{
	struct timeval timeout = { .tv_sec = READ_TIMEOUT_SEC };
	socklen_t len = sizeof(__u64);
	__u64 cookie;

	if (!worst_load(t, c->at_once) || !worst_connect(t, c->veth) ||
	    xgetsockopt(t->sk, SOL_SOCKET, SO_COOKIE, &cookie, &len) ||
	    xsetsockopt(t->peer, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)))
		return false;
	t->skel->bss->cookie = cookie;
	t->skel->bss->record = c->record;
	t->skel->bss->header = c->header;
	t->map = bpf_map__fd(t->skel->maps.sock_map);
	return !xbpf_prog_attach(bpf_program__fd(t->skel->progs.prog_parser), t->map,
				 BPF_SK_SKB_STREAM_PARSER, 0) &&
	       !xbpf_prog_attach(bpf_program__fd(t->skel->progs.prog_verdict), t->map,
				 BPF_SK_SKB_STREAM_VERDICT, 0) &&
	       !xbpf_map_update_elem(t->map, &u32(0), &u64(t->sk), BPF_NOEXIST) &&
	       !xbpf_map_update_elem(t->map, &u32(1), &u64(t->other), BPF_NOEXIST);
}

static void worst_cleanup(struct worst_test *t)
{
	int i, fds[] = { t->sk, t->peer, t->other, t->other_peer };

	for (i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	for (i = 0; i < ARRAY_SIZE(t->links); i++)
		bpf_link__destroy(t->links[i]);
	veth_pair_close(&t->veth);
	test_sockmap_worst__destroy(t->skel);
}

/* Fill @len bytes from @at on with records; the last one may be incomplete */
static void worst_records(struct worst_test *t, const struct worst_case *c, int at, int len)
{
	int i, end = at + len;

	memset(t->stream + at, 0x80, len);
	for (i = 0; at < end; at += c->record, i++)
		t->stream[at] = c->actions[i % strlen(c->actions)];
}

/* Copy the records of @action in the first @len bytes of the stream to t->want. */
static int worst_passed(struct worst_test *t, const struct worst_case *c, int len, char action)
{
	int at, passed = 0;

	for (at = 0; at + c->record <= len; at += c->record) {
		if (t->stream[at] != action)
			continue;
		memcpy(t->want + passed, t->stream + at, c->record);
		passed += c->record;
	}
	return passed;
}

static bool worst_read(struct worst_test *t, int fd, int len)
{
	int n, got = 0;

	while (got < len && get_time_ns() < t->until) {
		n = recv_timeout(fd, t->buf + got, len - got, 0, READ_TIMEOUT_SEC);
		if (n <= 0)
			break;
		got += n;
	}
	return ASSERT_EQ(got, len, "bytes read") &&
	       ASSERT_OK(memcmp(t->buf, t->want, len), "what was read");
}

/* The end of file comes after all data has been processed. */
static bool worst_end(struct worst_test *t)
{
	shutdown(t->peer, SHUT_WR);
	return ASSERT_EQ(recv_timeout(t->sk, t->buf, 1, 0, READ_TIMEOUT_SEC), 0,
			 "end of file");
}

/* How many times a length can grow by an eighth, from PIECE bytes up to @len */
static int eighths(int len)
{
	int n = 0, seen;

	for (seen = PIECE; seen < len; seen += seen / 8)
		n++;
	return n;
}

/* A parser that finds the length of a record in the first bytes of an skb runs
 * once. If the record begins with the skb, it is shown the whole skb, otherwise
 * a copy of PIECE bytes (tcp_bpf_parse()).
 *
 * A parser that does not find the length in up to PIECE bytes runs again with
 * each segment; beyond that, only when the data has grown by an eighth, or
 * after a jiffy (tcp_bpf_defer_parse()). Each time, it is shown a piece, then the
 * skb, then all data of the record.
 */
static void worst_parsed(struct worst_test *t, const struct worst_case *c, int records)
{
	__u64 runs, shown, early, len = c->header, ticks = t->skel->bss->ticks;

	if (c->header <= 1) {
		runs = records;
		shown = c->len + (__u64)PIECE * records;
	} else {
		early = MIN(c->header, PIECE);
		runs = 3 * (early + eighths(len) + ticks) * records;
		/* len + len * 8/9 + ... */
		shown = 3 * (early * early / 2 + 9 * len + ticks * len) * records;
	}
	ASSERT_LE(t->skel->bss->parsed, runs, "runs of the parser");
	ASSERT_LE(t->skel->bss->shown, shown, "bytes shown to the parser");
}

/* tcp_bpf_run_one() runs one more than the budget. */
static void worst_at_once(struct worst_test *t)
{
	ASSERT_LE(t->skel->bss->at_once, BUDGET + 1, "most runs of the verdict per call");
	ASSERT_GT(t->skel->bss->at_once, 1, "runs of the verdict counted");
}

static void worst_cut(struct worst_test *t, const struct worst_case *c)
{
	int n, sent = 0, passed, records = c->len / c->record;

	worst_records(t, c, 0, c->len);
	passed = worst_passed(t, c, c->len, 'P');
	/* MSG_EOR: no segment has data of two calls */
	for (; sent < c->len; sent += n) {
		n = send(t->peer, t->stream + sent, MIN(c->segment, c->len - sent),
			 MSG_NOSIGNAL | MSG_EOR);
		if (n <= 0)
			break;
	}
	if (!ASSERT_EQ(sent, c->len, "bytes sent") || !worst_read(t, t->sk, passed) ||
	    !worst_end(t))
		return;
	ASSERT_EQ(t->skel->bss->judged, records, "runs of the verdict");
	worst_parsed(t, c, records);
	if (c->at_once)
		worst_at_once(t);
}

static void worst_print(struct worst_test *t, const struct worst_case *c)
{
	const struct test_sockmap_worst__bss *bss = t->skel->bss;

	printf("%s: %llu runs of the verdict, %llu at once; %llu of the parser, shown %llu bytes\n",
	       c->name, bss->judged, bss->at_once, bss->parsed, bss->shown);
}

static void worst_run(const struct worst_case *c,
		      void (*run)(struct worst_test *t, const struct worst_case *c))
{
	struct worst_test *t = &worst_test;

	if (!test__start_subtest(c->name))
		return;
	t->skel = NULL;
	t->sk = -1;
	t->peer = -1;
	t->other = -1;
	t->other_peer = -1;
	memset(t->links, 0, sizeof(t->links));
	memset(&t->veth, 0, sizeof(t->veth));
	t->until = get_time_ns() + WORST_SEC * 1000000000ULL;
	if (worst_setup(t, c)) {
		run(t, c);
		worst_print(t, c);
	}
	worst_cleanup(t);
}

static void small_buffers(struct worst_test *t)
{
	int i, size = WORST_RCVBUF / 2, fds[] = { t->sk, t->other, t->peer };

	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		xsetsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
		xsetsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
}

/* Send until there is no more room. Return: the number of bytes sent, -1 if all
 * were.
 */
static int send_until_full(struct worst_test *t)
{
	struct pollfd pfd = { .fd = t->peer, .events = POLLOUT };
	int n, sent = 0;

	do {
		n = send(t->peer, t->stream + sent, MIN(WORST_MAX - sent, WORST_RCVBUF),
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		sent += MAX(n, 0);
	} while (sent < WORST_MAX && get_time_ns() < t->until &&
		 (n > 0 || (poll(&pfd, 1, FULL_MS) == 1 && pfd.revents == POLLOUT)));
	return ASSERT_LT(sent, WORST_MAX, "sent before anything was read") ? sent : -1;
}

static __u32 rmem_alloc(int fd)
{
	__u32 mem[SK_MEMINFO_VARS] = {};
	socklen_t len = sizeof(mem);

	xgetsockopt(fd, SOL_SOCKET, SO_MEMINFO, mem, &len);
	return mem[SK_MEMINFO_RMEM_ALLOC];
}

/* Data that is dropped behind unread data still uses memory. When that exceeds
 * twice the receive buffer, programs no longer run (tcp_bpf_throttled()), and
 * TCP accepts data only until its receive buffer is full.
 */
static void worst_holes(struct worst_test *t, const struct worst_case *c)
{
	int sent;

	small_buffers(t);
	worst_records(t, c, 0, WORST_MAX);
	sent = send_until_full(t);
	if (sent < 0)
		return;
	ASSERT_LE(rmem_alloc(t->sk), 3 * WORST_RCVBUF, "memory");
	if (!worst_read(t, t->sk, worst_passed(t, c, sent, 'P')) || !worst_end(t))
		return;
	ASSERT_EQ(t->skel->bss->judged, sent / c->record, "runs of the verdict");
	ASSERT_EQ(rmem_alloc(t->sk), 0, "memory at the end");
	worst_at_once(t);
}

/* Records to be dropped follow records that are redirected to a socket which
 * nobody reads. When the receive buffer of that socket is full, and as much is
 * queued for it, no program runs any more. When the socket is read, all
 * continues.
 */
static void worst_held_back(struct worst_test *t, const struct worst_case *c)
{
	int sent, records, first;

	small_buffers(t);
	worst_records(t, c, 0, WORST_MAX);
	sent = send_until_full(t);
	if (sent < 0)
		return;
	records = sent / c->record;
	first = t->skel->bss->judged;
	ASSERT_LT(first, records, "records processed");
	ASSERT_LE(t->skel->bss->parsed, first + 1, "runs of the parser");
	ASSERT_LE(rmem_alloc(t->sk), 2 * WORST_RCVBUF, "memory");
	ASSERT_LE(rmem_alloc(t->other), 2 * WORST_RCVBUF, "memory of the other socket");
	if (!worst_read(t, t->other, worst_passed(t, c, sent, 'R')) || !worst_end(t))
		return;
	ASSERT_EQ(t->skel->bss->judged, records, "runs of the verdict");
	ASSERT_LE(t->skel->bss->parsed, records + 1, "runs of the parser");
	ASSERT_EQ(rmem_alloc(t->sk), 0, "memory at the end");
	worst_at_once(t);
}

void test_sockmap_worst(void)
{
	static const struct worst_case cases[] = {
		{ "short_pass", WORST_LEN, WORST_LEN, 1, 1, "P", .at_once = true },
		{ "short_drop", WORST_LEN, WORST_LEN, 1, 1, "D", .at_once = true },
		{ "short_mix", WORST_LEN, WORST_LEN, 1, 1, "PD", .at_once = true },
		{ "short_veth", WORST_LEN, WORST_LEN, 1, 1, "P", .at_once = true,
		  .veth = true },
		{ "header", BYTEWISE_LEN, 1, BYTEWISE_LEN, BYTEWISE_LEN, "P" },
		{ "header_drop", BYTEWISE_LEN, 1, BYTEWISE_LEN, BYTEWISE_LEN, "D" },
		{ "segments", BYTEWISE_LEN, 1, BYTEWISE_LEN, 3, "P" },
		{ "segments_drop", BYTEWISE_LEN, 1, BYTEWISE_LEN, 3, "D" },
	};
	static const struct worst_case holes = {
		.name = "holes", .record = 1, .header = 1, .actions = "PD", .at_once = true,
	};
	static const struct worst_case held_back = {
		.name = "held_back", .record = 100, .header = 1, .actions = "RD",
		.at_once = true,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++)
		worst_run(&cases[i], worst_cut);
	worst_run(&holes, worst_holes);
	worst_run(&held_back, worst_held_back);
}
