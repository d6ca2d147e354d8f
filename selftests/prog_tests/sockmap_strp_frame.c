// SPDX-License-Identifier: GPL-2.0
/* However a stream is cut into segments, the parser of a sockmap sees it from
 * the first byte of a record on, and the verdict sees exactly one whole record.
 */
#include <error.h>
#include <netinet/tcp.h>

#include "test_progs.h"
#include "sockmap_helpers.h"
#include "test_sockmap_strp_frame.skel.h"

#define READ_TIMEOUT_SEC 3
#define STREAM_MAX 400000

struct strp_frame {
	struct test_sockmap_strp_frame *skel;
	int map;
	int sk;			/* socket with the programs */
	int peer;
	bool pull;		/* the verdict pulls and changes its records */
	/* the stream that the peer sends, and the records of it that are passed */
	__u8 stream[STREAM_MAX];
	int len;
	__u8 passed[STREAM_MAX];
	int passed_len;
	int records;
};

static struct strp_frame strp_frame;

static void clear_stream(struct strp_frame *s)
{
	s->len = 0;
	s->passed_len = 0;
	s->records = 0;
}

static void add_record(struct strp_frame *s, char action, int len)
{
	__u8 *rec = s->stream + s->len;
	int i;

	rec[0] = len >> 8;
	rec[1] = len;
	rec[2] = action;
	for (i = 3; i < len; i++)
		rec[i] = i * 7 + s->records;
	s->len += len;
	s->records++;
	if (action != 'P')
		return;
	memcpy(s->passed + s->passed_len, rec, len);
	if (s->pull)
		s->passed[s->passed_len + 2] = 'p';
	s->passed_len += len;
}

/* Records of the lengths in @lens, negative for dropped ones; 0 is the end */
static void set_stream(struct strp_frame *s, const int *lens)
{
	clear_stream(s);
	for (; *lens; lens++)
		add_record(s, *lens > 0 ? 'P' : 'D', abs(*lens));
}

/* Every third record is dropped; lengths are from 3 to 2 + @spread */
static void set_long_stream(struct strp_frame *s, int len, int spread)
{
	unsigned int x = 1;

	clear_stream(s);
	while (s->len < len) {
		x = x * 1103515245 + 12345;
		add_record(s, s->records % 3 ? 'P' : 'D', 3 + (x >> 8) % spread);
	}
}

static bool send_all(struct strp_frame *s, int from, int to)
{
	return ASSERT_EQ(xsend(s->peer, s->stream + from, to - from, 0), to - from,
			 "sent");
}

/* The application reads exactly the passed records. When the last one can be
 * read, the verdict has run on all records before it.
 */
static bool read_passed(struct strp_frame *s)
{
	static __u8 buf[STREAM_MAX];
	int n, got = 0;

	while (got < s->passed_len) {
		n = recv_timeout(s->sk, buf + got, sizeof(buf) - got, MSG_DONTWAIT,
				 READ_TIMEOUT_SEC);
		if (n <= 0)
			break;
		got += n;
	}
	return ASSERT_EQ(got, s->passed_len, "bytes read") &&
	       ASSERT_OK(memcmp(buf, s->passed, got), "what was read") &&
	       ASSERT_EQ(s->skel->bss->misframed, 0, "misframed records");
}

static bool attach(struct strp_frame *s)
{
	return !xbpf_map_update_elem(s->map, &u32(0), &u64(s->sk), BPF_NOEXIST);
}

/* Streams that end with a passed record, each sent in one call */
static void one_segment(struct strp_frame *s)
{
	static const int streams[][6] = {
		{ -100, 100 },
		{ 100, -100, 3 },
		{ 3, -3, 3, -4, 5 },
		{ 5000, -20, 3000, -7000, 30 },
		{ -9000, -9000, 9000 },
	};
	int i;

	if (!attach(s))
		return;
	for (i = 0; i < ARRAY_SIZE(streams); i++) {
		set_stream(s, streams[i]);
		if (!send_all(s, 0, s->len) || !read_passed(s))
			return;
	}
}

/* The same stream in two segments, cut after each of its bytes */
static void each_cut(struct strp_frame *s)
{
	static const int stream[] = { 20, -30, 10, -3, 40, 0 };
	int cut;

	if (!attach(s))
		return;
	set_stream(s, stream);
	for (cut = 1; cut < s->len; cut++) {
		if (!send_all(s, 0, cut) || !send_all(s, cut, s->len) ||
		    !read_passed(s))
			return;
	}
}

/* Many small records in segments with many fragments */
static void small_records(struct strp_frame *s)
{
	if (!attach(s))
		return;
	set_long_stream(s, 60000, 200);
	add_record(s, 'P', 3);
	if (send_all(s, 0, s->len))
		read_passed(s);
}

/* Records that are longer than a fragment and begin in the middle of one */
static void long_records(struct strp_frame *s)
{
	int sent;

	if (!attach(s))
		return;
	set_long_stream(s, 90000, 9000);
	add_record(s, 'P', 3);
	for (sent = 0; sent < s->len; sent += 10007)
		if (!send_all(s, sent, MIN(sent + 10007, s->len)))
			return;
	read_passed(s);
}

/* Data received before the socket is added is in skbs that TCP has coalesced */
static void coalesced(struct strp_frame *s)
{
	int sent, before;

	set_long_stream(s, 20000, 300);
	add_record(s, 'P', 3);
	before = s->len;
	add_record(s, 'D', 100);
	add_record(s, 'P', 100);
	for (sent = 0; sent < before; sent += 500)
		if (!send_all(s, sent, MIN(sent + 500, before)))
			return;
	if (attach(s) && send_all(s, before, s->len))
		read_passed(s);
}

static bool setup(struct strp_frame *s, int family, bool pull)
{
	int one = 1;

	memset(s, 0, sizeof(*s));
	s->sk = -1;
	s->peer = -1;
	s->pull = pull;

	s->skel = test_sockmap_strp_frame__open_and_load();
	if (!ASSERT_OK_PTR(s->skel, "open_and_load"))
		return false;
	s->map = bpf_map__fd(s->skel->maps.sock_map);
	if (create_pair(family, SOCK_STREAM, &s->peer, &s->sk) ||
	    xsetsockopt(s->peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		return false;
	return !xbpf_prog_attach(bpf_program__fd(s->skel->progs.prog_parser),
				 s->map, BPF_SK_SKB_STREAM_PARSER, 0) &&
	       !xbpf_prog_attach(bpf_program__fd(pull ? s->skel->progs.prog_verdict_pull :
							s->skel->progs.prog_verdict),
				 s->map, BPF_SK_SKB_STREAM_VERDICT, 0);
}

static void cleanup(struct strp_frame *s)
{
	if (s->sk >= 0)
		close(s->sk);
	if (s->peer >= 0)
		close(s->peer);
	test_sockmap_strp_frame__destroy(s->skel);
}

static const struct {
	const char *name;
	void (*run)(struct strp_frame *s);
} tests[] = {
	{ "one_segment",	one_segment },
	{ "each_cut",		each_cut },
	{ "small_records",	small_records },
	{ "long_records",	long_records },
	{ "coalesced",		coalesced },
};

static void run_test(int i, int family, bool pull)
{
	char name[64];

	snprintf(name, sizeof(name), "%s%s%s", tests[i].name, pull ? "_pull" : "",
		 family == AF_INET6 ? "_v6" : "");
	if (!test__start_subtest(name))
		return;
	if (setup(&strp_frame, family, pull))
		tests[i].run(&strp_frame);
	cleanup(&strp_frame);
}

void test_sockmap_strp_frame(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		run_test(i, AF_INET, false);
		run_test(i, AF_INET6, false);
		run_test(i, AF_INET, true);
	}
}
