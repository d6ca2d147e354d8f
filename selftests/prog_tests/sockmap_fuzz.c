// SPDX-License-Identifier: GPL-2.0
/* Random sequences of the steps of sockmap_recv, compared with its model.
 *
 * Each sequence has a number that reproduces it. A failing one is shortened,
 * and printed as steps that can be added to the table of sockmap_recv.
 *
 * Besides, threads that use one socket concurrently.
 *
 * SOCKMAP_FUZZ=SECONDS[,SEQUENCE[,LETTERS]] in the environment: how long each
 * subtest runs (default: 2 seconds), the number of the first sequence, and
 *   b, r, h   to compare the data read; also poll(), FIONREAD and recv();
 *             also rcv_nxt - copied_seq
 *   w         to read, to peek, and to send with all methods
 *   k         to replace programs, close the map, reset the connection, and change
 *             SO_RCVBUF
 *   l         to have the verdict change, lengthen and shorten records (default: brhwkl)
 *   f         to have allocations fail (CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC);
 *             not together with l, as the verdict drops records that it cannot change
 *   d         to attach the programs by links on the sockets
 *   v         to connect over veth with GRO, with a parser
 *   g         to go on after a failure, until the time is up
 */
#include "sockmap_recv.h"
#include "fault_inject.h"

#define STEPS_MAX 40
#define VETH_MSS 300		/* a record has more packets than an skb has fragments */
#define UNREAD_MAX 30000	/* small enough to keep the window open */
#define RCVBUF_MIN 100000	/* large enough to keep the window open */
#define VETH_RCVBUF 1000000	/* packets over veth are charged so much more memory */
#define BATCH 16		/* sequences per load of the programs */

static __u64 rnd_state;

static unsigned int rnd(unsigned int below)
{
	return rnd_of(&rnd_state, below);
}

static const char *letters = "brhwkl";

static bool multishot, peek_off;

static bool has_multishot(void)
{
	int n, fds[2];
	char c;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		return false;
	n = write(fds[1], "x", 1) == 1 ? uring_read(fds[0], &c, 1, true) : 0;
	close(fds[0]);
	close(fds[1]);
	return n == 1;
}

/* Does TCP have SO_PEEK_OFF? */
static bool has_peek_off(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), none = -1;
	bool ret = !setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &none, sizeof(none));

	close(fd);
	return ret;
}

/* Return: whether the step makes sense in this state. Steps are invented at
 * random, and shortening removes steps that others depend on.
 */
static bool valid(struct recv_test *s, const char *what)
{
	bool begun = s->rec_sent < s->rec_len;
	int n, m, used, room;
	char op, how;

	if (!*what)
		return false;
	op = parse_step(what, &n, &m, &how);
	used = s->unread_end + s->pend_len + s->batch_len;
	room = UNREAD_MAX - passed_len(s) - s->pend_len - s->batch_len;

	if (used > STREAM_MAX - 2 * UNREAD_MAX)
		return false;
	if (s->reset && !strchr("-~sumE", op))
		return false;
	/* a step with '+' needs data that follows */
	if (s->batch_len && !strchr(RECORDS "/", op))
		return false;
	if (strchr(RECORDS, op)) {
		/* Unpatched kernels would crash. */
		if (op == 'N' && !in_place())
			return false;
		if (strchr("HXY", op) && n > CHANGE_MAX)
			return false;
		if (strchr(CHANGED, op) && s->access != CHANGES &&
		    !(op == 'W' && s->access == WRITES))
			return false;
		if (n < CUT + 1 || m < 1 || m > n || n > room || begun || s->fin)
			return false;
		/* without a parser, a record is a segment, so it must be sent with MSG_EOR */
		return s->parser || (m == n && !s->batch_len && (!how || how == '^') &&
				     (s->joined || !s->pend_len));
	}
	switch (op) {
	case '/':
		return begun && n > 0 && n <= s->rec_len - s->rec_sent && !s->fin;
	case 's':
	case 'u':
	case 'm':
	case 'v':
	case 'z':
		if (!n)
			return !readable(s) && !s->fin && s->joined;
		if (op == 'z' && !s->joined && !passed_len(s))
			return false;
		fallthrough;
	case '-':
	case '~':
		if (n < 1 || n > readable(s))
			return false;
		return n <= passed_len(s) || n == readable(s) || s->astray;
	case 'p':
		return n < readable(s);
	case 'J':
		/* Data redirected by a sk_msg program may arrive in several segments. */
		if (!s->parser)
			return false;
		fallthrough;
	case 'I':
		return s->joined && n > CUT && n < room;
	case 'U':
		return !s->joined && n > 0 && n < room && !begun && !s->fin &&
		       (s->parser || !s->pend_len);
	case 'L':
		return s->joined;
	case 'A':
		return !s->joined && !s->astray && !s->fin;
	case 'F':
		return !s->fin;
	case 'K':
		/* Nobody retransmits it. */
		return !strchr(letters, 'f');
	case 'E':
		return s->fin && !readable(s);
	case 'V':
	case 'M':
		return true;
	case 'B':
		return n >= RCVBUF_MIN && !s->veth;
	}
	return false;
}

/* Kinds of steps and of records that a sequence leaves out, so that one that
 * always fails does not hide other failures.
 */
static char without[40];

static void choose_kinds(void)
{
	static const char kinds[] = "/+!%^DRTQGCHXYNWIJ~suzmvpULAVBMK";
	char *end = without;
	int i;

	for (i = 0; kinds[i]; i++)
		if (rnd(2))
			*end++ = kinds[i];
	*end = 0;
}

static int length(void)
{
	static const int most[] = { 8, 100, 100, 1000, 9000 };

	return CUT + 1 + rnd(most[rnd(ARRAY_SIZE(most))]);
}

/* Invent a step, which need not be valid */
static void invent(struct recv_test *s, char *what)
{
	int n = length(), left = s->rec_len - s->rec_sent, all = readable(s);
	static const char * const ways[] = { "", "+", "!", "%", "^" };
	bool all_ways = strchr(letters, 'w');
	const char *how = ways[rnd(3) ? 0 : rnd(all_ways ? ARRAY_SIZE(ways) : 2)];
	char action = "PPPDDRTQ" CHANGED[rnd(strchr(letters, 'l') ? 15 : 8)];

	*what = 0;
	/* a size that can be mapped */
	if (*how && !rnd(3))
		n = PAGE * (1 + rnd(4));
	switch (rnd(strchr(letters, 'k') ? 21 : 17)) {
	case 0 ... 5:
		if (rnd(3))
			sprintf(what, "%c%d%s", action, n, how);
		else
			sprintf(what, "%c%d/%d", action, n, 1 + rnd(n - 1));
		break;
	case 6 ... 8:
		sprintf(what, "/%d", left > 0 && rnd(2) ? 1 + rnd(left) : left);
		break;
	case 9 ... 10:
		if (all_ways && all && all % PAGE == 0 && rnd(2))
			sprintf(what, "z%d", all);
		else
			sprintf(what, "%c%d",
				"---~vszzum"[rnd(all_ways ? 9 + multishot : 4)],
				all > 0 && rnd(2) ? 1 + rnd(all) : all);
		break;
	case 11:
		sprintf(what, "%c%d", "IJ"[rnd(2)], n);
		break;
	case 12:
		sprintf(what, "U%d", n);
		break;
	case 13:
		strcpy(what, "L");
		break;
	case 14:
		strcpy(what, "A");
		break;
	case 15:
		strcpy(what, rnd(12) ? "E" : "F");
		break;
	case 16:
		if (all_ways && peek_off && all > 1)
			sprintf(what, "p%d", 1 + rnd(all - 1));
		break;
	case 17:
		strcpy(what, "V");
		break;
	case 18:
		sprintf(what, "B%d", RCVBUF_MIN + rnd(RCVBUF_MIN));
		break;
	case 19:
		strcpy(what, rnd(8) ? "" : "M");
		break;
	case 20:
		strcpy(what, rnd(20) ? "" : "K");
		break;
	}
	if (strpbrk(what, without))
		*what = 0;
}

struct sequence {
	int family;
	enum access access;
	bool parser;
	bool hasty;
	int n;
	char steps[STEPS_MAX][24];
	char text[STEPS_MAX * 24];
};

/* Have 2% of the allocations that cannot sleep fail */
static void inject_faults(bool on)
{
	set_fault_rate(on ? "2" : "0", "-1");
}

static void begin_faults(struct recv_test *s)
{
	if (strchr(letters, 'f')) {
		s->patience = 20;
		inject_faults(true);
	}
}

static void end_faults(void)
{
	if (strchr(letters, 'f'))
		inject_faults(false);
}

/* FIN must not fail, as TCP does not retry it, nor M, as it creates a map. */
static bool step_with_memory(struct recv_test *s, const char *what)
{
	bool ok;

	end_faults();
	ok = step(s, what);
	begin_faults(s);
	return ok;
}

/* Redirected data is not compared, but would throttle the peer if it stayed unread */
static void drain(int fd)
{
	static __u8 buf[STREAM_MAX];

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

/* Run a step, and compare with the model unless the next data goes into the
 * same segment
 */
static bool take(struct recv_test *s, struct sequence *seq, const char *what)
{
	size_t len = strlen(seq->text);

	snprintf(seq->text + len, sizeof(seq->text) - len, "%s%s", len ? " " : "", what);
	if (!(strchr("FM", *what) ? step_with_memory(s, what) : step(s, what)))
		s->failed = true;
	else if (!s->batch_len)
		check(s, INT_MAX, seq->text);
	drain(s->other);
	drain(s->other_peer);
	return !s->failed;
}

static bool begin(struct recv_test *s, struct sequence *seq)
{
	int size = VETH_RCVBUF;

	seq->text[0] = 0;
	if (!setup(s, seq->family, seq->parser, strchr(letters, 'd'), seq->access))
		return false;
	if (s->veth)
		xsetsockopt(s->sk, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	s->quiet = true;
	s->patience = !!s->veth;
	s->ready = strchr(letters, 'r');
	s->unheld = !strchr(letters, 'h');
	s->hasty = seq->hasty;
	begin_faults(s);
	return true;
}

static void end(struct recv_test *s)
{
	end_faults();
	close_sockets(s);
}

/* Invent steps while running them, as the model tells which are valid */
static bool invent_and_run(struct recv_test *s, struct sequence *seq)
{
	int n = 3 + rnd(STEPS_MAX - 3), tries = 10 * n;
	bool ok = begin(s, seq);

	seq->n = 0;
	while (ok && seq->n < n && tries--) {
		char *what = seq->steps[seq->n];

		invent(s, what);
		if (!valid(s, what))
			continue;
		seq->n++;
		ok = take(s, seq, what);
	}
	end(s);
	return ok;
}

/* Run without step @skip, and without the steps that are invalid without it */
static bool run_without(struct recv_test *s, struct sequence *seq, int skip)
{
	bool ok = begin(s, seq);
	int i;

	for (i = 0; ok && i < seq->n; i++)
		if (i != skip && valid(s, seq->steps[i]))
			ok = take(s, seq, seq->steps[i]);
	end(s);
	return ok;
}

static void remove_step(struct sequence *seq, int i)
{
	seq->n--;
	memmove(seq->steps[i], seq->steps[i + 1], (seq->n - i) * sizeof(seq->steps[0]));
}

/* Whether the same kind of comparison has failed, at any step and with any values. */
static bool same_kind(const char *diff, const char *other)
{
	const char *end = strstr(diff, " after ");
	int len = end ? end - diff : strcspn(diff, ":");

	return !strncmp(diff, other, len) && strchr(" :", other[len]);
}

/* Remove steps, as long as the same kind of comparison as in @diff fails */
static void shorten(struct recv_test *s, struct sequence *seq, const char *diff)
{
	int i;

	for (i = seq->n - 1; i >= 0; i--)
		if (!run_without(s, seq, i) && same_kind(diff, s->diff))
			remove_step(seq, i);
}

/* Shorten with short waits first, as a failing comparison is usually waited for
 * in vain. If the result does not fail with normal waits, shorten again with
 * these.
 */
static void shorten_quickly(struct recv_test *s, struct sequence *seq)
{
	struct sequence whole = *seq;
	char diff[sizeof(s->diff)];

	strcpy(diff, s->diff);
	seq->hasty = !strchr(letters, 'f');
	shorten(s, seq, diff);
	seq->hasty = false;
	if (!run_without(s, seq, -1))
		return;
	*seq = whole;
	shorten(s, seq, diff);
	if (run_without(s, seq, -1))
		printf("# it fails only sometimes\n");
}

static const char * const access_name[] = {
	[LOOKS] = "looks",
	[CHANGES] = "changes",
	[WRITES] = "writes",
};

/* Run sequence number @nr. Return: false if it fails */
static bool fuzz(struct recv_test *s, __u64 nr, bool parser)
{
	static const enum access any[] = { LOOKS, CHANGES, CHANGES, WRITES };
	static struct sequence seq;

	rnd_state = (nr + 1) * 0x9e3779b97f4a7c15ULL;
	seq.family = rnd(2) || s->veth ? AF_INET : AF_INET6;
	seq.access = any[rnd(ARRAY_SIZE(any))];
	seq.parser = parser || s->veth;
	choose_kinds();
	if (invent_and_run(s, &seq))
		return true;
	printf("# sequence %llu, %s%s, %s, the verdict %s: %s\n# fails: %s\n", nr,
	       seq.family == AF_INET ? "IPv4" : "IPv6", s->veth ? " over veth" : "",
	       seq.parser ? "parser" : "no parser", access_name[seq.access], s->diff, seq.text);
	shorten_quickly(s, &seq);
	printf("# shortened: { .steps = \"%s\", .ready = true%s }: %s\n", seq.text,
	       seq.parser ? "" : ", .no_parser = true", s->diff);
	return false;
}

/* Threads that use one socket. One sends, one reads, each with all methods; one
 * adds the socket to the map and removes it, with a verdict that passes
 * everything; others poll. The data read must be the data sent.
 */
struct threads {
	struct recv_test *s;
	__u64 until;
	__u64 sent;		/* bytes, written only by the sender */
	__u64 got;
	int joins;
	bool ended;		/* all data was read, or the reader gave up */
};

static __u8 byte_at(__u64 at)
{
	return at * 2654435761U >> 13;
}

/* At least until the socket was once in the map, unless that does not succeed. */
static bool sends_on(const struct threads *t)
{
	__u64 now = now_ms();

	return !READ_ONCE(t->ended) &&
	       (now < t->until || (!READ_ONCE(t->joins) && now < t->until + 10000));
}

static void *send_all(void *arg)
{
	static const char ways[] = { 0, 0, '^', '!', '%' };
	struct threads *t = arg;
	static __u8 buf[20000];
	__u64 state = 1;
	int i, n, len;
	char how;

	while (sends_on(t)) {
		len = 1 + rnd_of(&state, sizeof(buf));
		for (i = 0; i < len; i++)
			buf[i] = byte_at(t->sent + i);
		how = ways[rnd_of(&state, sizeof(ways))];
		if (how) {
			/* the memory can be reused */
			if (READ_ONCE(t->got) == t->sent)
				t->s->shared_len = 0;
			if (t->s->shared_len + len > SHARED_SIZE)
				how = 0;
			else
				memcpy(t->s->shared + t->s->shared_len, buf, len);
		}
		n = how ? send_shared(t->s, t->s->peer, how, t->s->shared_len, len) :
			  send(t->s->peer, buf, len, 0);
		if (how)
			t->s->shared_len += len;
		if (n <= 0)
			break;
		t->sent += n;
	}
	shutdown(t->s->peer, SHUT_WR);
	return NULL;
}

static bool as_sent(struct threads *t, const __u8 *buf, int n)
{
	int i;

	for (i = 0; i < n; i++)
		if (buf[i] != byte_at(t->got + i))
			return false;
	return true;
}

static void *read_all(void *arg)
{
	struct threads *t = arg;
	struct pollfd pfd = { .fd = t->s->sk, .events = POLLIN };
	static __u8 buf[30000];
	__u64 state = 2;
	int n;

	while (poll(&pfd, 1, 1000 * READ_TIMEOUT_SEC * (1 + t->s->patience)) == 1) {
		n = read_by(t->s->sk, buf, 1 + rnd_of(&state, sizeof(buf)),
			    "--vszum"[rnd_of(&state, 6 + multishot)]);
		if (!n || (n < 0 && errno != EAGAIN) || (n > 0 && !as_sent(t, buf, n)))
			break;
		if (n > 0)
			WRITE_ONCE(t->got, t->got + n);
	}
	WRITE_ONCE(t->ended, true);
	return NULL;
}

static void *join_and_leave(void *arg)
{
	struct threads *t = arg;
	__u64 state = 3;

	while (!READ_ONCE(t->ended)) {
		t->joins += !join(t->s, 0, t->s->sk);
		usleep(rnd_of(&state, 2000));
		leave(t->s, 0);
		usleep(rnd_of(&state, 2000));
	}
	return NULL;
}

static void *look(void *arg)
{
	struct threads *t = arg;
	struct pollfd pfd = { .fd = t->s->sk, .events = POLLIN };
	__u8 buf[100];
	int n;

	while (!READ_ONCE(t->ended)) {
		poll(&pfd, 1, 10);
		ioctl(t->s->sk, FIONREAD, &n);
		recv(t->s->sk, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
		rx_queue(t->s, t->s->sk);
	}
	return NULL;
}

static void run_threads(struct recv_test *s, int seconds)
{
	void *(*run[])(void *) = { send_all, read_all, join_and_leave, look };
	struct threads t = { .s = s, .until = now_ms() + seconds * 1000ULL };
	pthread_t threads[ARRAY_SIZE(run)];
	int i, n = 0;

	if (!setup(s, AF_INET, false, strchr(letters, 'd'), LOOKS) || !step(s, "L") ||
	    !get_shared(s))
		goto out;
	s->pass_all = true;
	if (!attach(s))
		goto out;
	begin_faults(s);
	for (; n < ARRAY_SIZE(run); n++)
		if (!ASSERT_OK(pthread_create(&threads[n], NULL, run[n], &t), "pthread_create"))
			break;
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	end_faults();
	ASSERT_EQ(t.got, t.sent, "bytes read");
	ASSERT_GT(t.joins, 0, "joined");
out:
	cleanup(s);
}

#define FEW 20	/* sequences at least, however slow the machine is */

static void fuzz_for(int seconds, __u64 nr)
{
	__u64 until = now_ms() + seconds * 1000ULL, first = nr;
	bool ok, agree = true;

	do {
		/* the first half of each BATCH has a parser */
		ok = fuzz(&recv_test, nr, nr % BATCH < BATCH / 2);
		agree &= ok;
		if (++nr % (BATCH / 2) == 0)
			cleanup(&recv_test);
	} while ((ok || strchr(letters, 'g')) && (now_ms() < until || nr < first + FEW));
	if (recv_test.skel)
		cleanup(&recv_test);
	printf("# sequences %llu to %llu, %llu bytes were mapped\n", first, nr - 1,
	       mapped_bytes);
	ASSERT_TRUE(agree, "kernel and model agree");
}

static void fuzz_over_veth(int seconds, __u64 nr)
{
	struct veth_pair veth;
	int here = enter_veth(&recv_test, &veth, VETH_MSS);

	if (here >= 0)
		fuzz_for(seconds, nr);
	leave_veth(&recv_test, &veth, here);
}

void test_sockmap_fuzz(void)
{
	const char *env = getenv("SOCKMAP_FUZZ");
	static char given[16];
	int seconds = 2;
	__u64 nr = 1;

	if (env && sscanf(env, "%d,%llu,%15s", &seconds, &nr, given) == 3)
		letters = given;
	multishot = has_multishot();
	peek_off = has_peek_off();
	if (!strchr(letters, 'v') && test__start_subtest("sequences"))
		fuzz_for(seconds, nr);
	if ((!env || strchr(letters, 'v')) && test__start_subtest("sequences_veth"))
		fuzz_over_veth(seconds, nr);
	if (test__start_subtest("threads"))
		run_threads(&recv_test, seconds);
	if (env)
		return;
	letters = "brhwkld";
	if (test__start_subtest("sequences_direct"))
		fuzz_for(seconds, nr);
	if (test__start_subtest("threads_direct"))
		run_threads(&recv_test, seconds);
}
