// SPDX-License-Identifier: GPL-2.0
/* sk_msg programs that push, pop and pull data, cork messages and apply
 * verdicts: the peer must receive exactly what the program has made of the
 * messages, and the sender must be told how many bytes of its own data were
 * sent.
 *
 * The program executes one script per run, and the last one again for all
 * further runs. Scripts are separated by ';':
 *   +S/L, -S/L, =S/L	push, pop, pull L bytes at S, where $ is the end
 *   aN, cN, d, p		apply the verdict to N bytes, cork N bytes, drop, pass
 *			without a redirect
 *   N*			repeat the next operation N times
 * A model executes the same scripts.
 */
#include <error.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>

#include "test_progs.h"
#include "sockmap_helpers.h"
#include "progs/test_sockmap_msg.h"
#include "test_sockmap_msg.skel.h"

#define TIMEOUT_SEC 1
#define MSG_MAX 300000
#define ANY 0x100	/* a pushed byte that the program has not written */

struct msg_test {
	int family;
	struct test_sockmap_msg *skel;
	struct msg_script scripts[SCRIPTS];
	int n_scripts;
	int map;
	int sk;			/* in slot 0 of the map */
	int peer;
	int other;		/* in slot 1 */
	int other_peer;

	/* model */
	__u16 msg[MSG_MAX];	/* of the current run, or corked */
	int len;
	__u16 out[MSG_MAX];	/* expected by the receiver */
	int out_len;
	int runs;
	__u32 apply;
	__u32 cork;
	__u32 apply_left;
	__u32 cork_left;
	unsigned int sent;	/* bytes of payload */
};

/* ---- scripts ------------------------------------------------------------- */

static bool parse_op(const char **s, struct msg_op *op)
{
	char *end;

	op->what = *(*s)++;
	if (strchr("+-=", op->what)) {
		if (**s == '$') {
			op->start = MSG_END;
			end = (char *)*s + 1;
		} else {
			op->start = strtoul(*s, &end, 10);
		}
		if (*end != '/')
			return false;
		*s = end + 1;
	}
	if (!strchr("dp", op->what)) {
		op->len = strtoul(*s, &end, 10);
		if (end == *s)
			return false;
		*s = end;
	}
	return strchr("+-=acdp", op->what);
}

/* Parse one script, up to the end or a ';' */
static bool parse_script(const char **s, struct msg_script *script)
{
	int times, n = 0;
	char *end;

	memset(script, 0, sizeof(*script));
	while (**s && **s != ';') {
		if (**s == ' ') {
			(*s)++;
			continue;
		}
		times = strtoul(*s, &end, 10);
		if (*end == '*')
			*s = end + 1;
		else
			times = 1;
		if (n + times > OPS || !parse_op(s, &script->ops[n]))
			return false;
		for (n++; times > 1; times--, n++)
			script->ops[n] = script->ops[n - 1];
	}
	return true;
}

static bool load_scripts(struct msg_test *t)
{
	__u32 i;

	for (i = 0; i < t->n_scripts; i++)
		if (xbpf_map_update_elem(bpf_map__fd(t->skel->maps.scripts), &i,
					 &t->scripts[i], BPF_ANY))
			return false;
	t->skel->bss->n_scripts = t->n_scripts;
	t->skel->bss->runs = 0;
	t->runs = 0;
	return true;
}

static bool set_scripts(struct msg_test *t, const char *s)
{
	t->n_scripts = 0;
	for (;; s++) {
		if (!ASSERT_LT(t->n_scripts, SCRIPTS, "scripts") ||
		    !ASSERT_TRUE(parse_script(&s, &t->scripts[t->n_scripts++]), s))
			return false;
		if (!*s)
			return load_scripts(t);
	}
}

/* ---- the model ----------------------------------------------------------- */

/* Return: whether the message is dropped */
static bool model_run(struct msg_test *t)
{
	int i, j, n = t->runs < t->n_scripts ? t->runs : t->n_scripts - 1;
	struct msg_op *op = t->scripts[n].ops;
	__u32 start;
	bool drop = false;

	t->runs++;
	t->apply = 0;
	t->cork = 0;
	for (i = 0; i < OPS && op->what; i++, op++) {
		start = op->start == MSG_END ? t->len : op->start;
		switch (op->what) {
		case '+':
			memmove(t->msg + start + op->len, t->msg + start,
				(t->len - start) * sizeof(*t->msg));
			for (j = 0; j < op->len; j++)
				t->msg[start + j] = j < FILL ? 0x80 + i : ANY;
			t->len += op->len;
			break;
		case '-':
			t->len -= op->len;
			memmove(t->msg + start, t->msg + start + op->len,
				(t->len - start) * sizeof(*t->msg));
			break;
		case 'a':
			t->apply = op->len;
			break;
		case 'c':
			t->cork = op->len;
			break;
		case 'd':
			drop = true;
			break;
		}
	}
	return drop;
}

static void model_pass(struct msg_test *t, int len)
{
	memcpy(t->out + t->out_len, t->msg, len * sizeof(*t->msg));
	t->out_len += len;
	t->len -= len;
	memmove(t->msg, t->msg + len, t->len * sizeof(*t->msg));
}

/* @len bytes are sent through the program. Return: whether they are dropped */
static bool model_send(struct msg_test *t, const char *data, int len)
{
	int i;

	for (i = 0; i < len; i++)
		t->msg[t->len + i] = data[i];
	t->len += len;
	if (t->cork_left) {
		t->cork_left = len > t->cork_left ? 0 : t->cork_left - len;
		if (t->cork_left)
			return false;
	}
	do {
		if (!t->apply_left) {
			if (model_run(t)) {
				t->len = 0;
				return true;
			}
			if (t->cork > t->len) {
				t->cork_left = t->cork - t->len;
				return false;
			}
			t->apply_left = t->apply;
		}
		if (t->apply_left && t->apply_left < t->len) {
			len = t->apply_left;
			t->apply_left = 0;
		} else {
			len = t->len;
			if (t->apply_left)
				t->apply_left -= len;
		}
		model_pass(t, len);
	} while (t->len);
	return false;
}

/* ---- what is sent and received ------------------------------------------- */

static bool msg_setup(struct msg_test *t, int family)
{
	memset(t, 0, sizeof(*t));
	t->family = family;
	t->sk = -1;
	t->peer = -1;
	t->other = -1;
	t->other_peer = -1;
	t->skel = test_sockmap_msg__open_and_load();
	if (!ASSERT_OK_PTR(t->skel, "open_and_load"))
		return false;
	t->map = bpf_map__fd(t->skel->maps.sock_map);
	return !create_socket_pairs(family, SOCK_STREAM, &t->sk, &t->other, &t->peer,
				    &t->other_peer) &&
	       !xbpf_prog_attach(bpf_program__fd(t->skel->progs.prog_msg), t->map,
				 BPF_SK_MSG_VERDICT, 0) &&
	       !add_to_sockmap(t->map, t->sk, t->other);
}

static void msg_cleanup(struct msg_test *t)
{
	close(t->sk);
	close(t->peer);
	close(t->other);
	close(t->other_peer);
	test_sockmap_msg__destroy(t->skel);
}

/* No byte of it equals a pushed one; no size is a multiple of its period. */
static void payload(struct msg_test *t, char *data, int len)
{
	int i;

	for (i = 0; i < len; i++)
		data[i] = t->sent++ % 127;
}

/* Receive what the model expects, and nothing more */
static bool receive_all(struct msg_test *t, int fd)
{
	static __u8 data[MSG_MAX];
	int n, i, got = 0;

	while (got < t->out_len) {
		n = recv_timeout(fd, data + got, t->out_len - got, MSG_DONTWAIT, TIMEOUT_SEC);
		if (n <= 0) {
			ASSERT_EQ(got, t->out_len, "received");
			return false;
		}
		got += n;
	}
	for (i = 0; i < got; i++)
		if (t->out[i] != ANY && t->out[i] != data[i])
			break;
	t->out_len = 0;
	return ASSERT_EQ(i, got, "bytes as they should be") &&
	       ASSERT_EQ(recv(fd, data, 1, MSG_DONTWAIT), -1, "nothing more");
}

/* The socket that receives what the program passes */
static int receiver(struct msg_test *t)
{
	switch (t->skel->bss->redirect) {
	case 0:
		return t->peer;
	case 1:
		return t->other_peer;
	default:
		return t->other;
	}
}

static bool send_one(struct msg_test *t, int len)
{
	static char data[MSG_MAX];
	bool dropped;
	int n;

	payload(t, data, len);
	dropped = model_send(t, data, len);
	n = send(t->sk, data, len, 0);
	if (!ASSERT_EQ(n, dropped ? -1 : len, "send"))
		return false;
	return receive_all(t, receiver(t)) &&
	       ASSERT_EQ(t->skel->bss->failed_ops, 0, "failed ops") &&
	       ASSERT_EQ(t->skel->bss->runs, t->runs, "runs");
}

/* Send messages of sizes like "100 20", and compare what is received after each. */
static bool send_all(struct msg_test *t, const char *sends)
{
	char *end;
	int len;

	for (;; sends = end) {
		len = strtoul(sends, &end, 10);
		if (end == sends)
			return true;
		if (!send_one(t, len))
			return false;
	}
}

/* Kernels where the ends of the ring can meet might crash in the next step. */
static bool ring_is_sound(struct msg_test *t)
{
	return getenv("SOCKMAP_MSG_DARE") ||
	       (set_scripts(t, "20*+$/1;") && send_all(t, "1 1"));
}

/* ---- what a script does to a message ------------------------------------- */

static const struct {
	const char *name;
	const char *scripts;
	const char *sends;
	int redirect;
	enum { GOES_ON, SHUTDOWN, CLOSE } end;	/* after 100 bytes */
	int arrives;
} cases[] = {
	/* The ring has 17 elements at most. The data sent takes one, each push
	 * in the middle two more, any other push one more.
	 */
	{ "push_start_full",	"20*+0/1", "100 1" },
	{ "push_end_16",	"16*+$/1", "100 1" },
	{ "push_end_17",	"17*+$/1", "100 1" },
	{ "push_end",		"20*+$/1", "100 1" },
	{ "push_end_large",	"15*+$/1 3*+$/5000 +$/9", "20000 1" },
	{ "push_middle_full",	"20*+50/1", "100 100" },
	{ "push_middle_16",	"14*+$/1 +50/9 +50/2 +7/1", "100 100" },
	{ "push_end_pull",	"16*+$/1 =0/116 +$/2 =1/50", "100 100" },
	{ "push_end_pop",	"16*+$/1 -50/9 +$/2 -3/60", "100 100" },
	{ "pop_middle_full",	"16*+$/1 -50/9 -100/2 -0/3", "100" },
	{ "pop_all_full",	"16*+$/1 -0/116 3*+0/5", "100 100" },
	{ "pop_all",		"-0/100;", "100 20" },
	{ "pull_full",		"16*+$/1 =90/15 =0/116", "100" },
	{ "one_byte",		"+$/1 -0/1 =0/1 +1/1 +0/1 -1/1", "1 1" },
	/* apply_bytes moves the start of the ring, so that it wraps. */
	{ "wrapped_push_end",	"10*+$/9 a185; 20*+$/1", "100" },
	{ "wrapped_push_start",	"10*+$/9 a185; 20*+0/1", "100" },
	{ "wrapped_pull",	"10*+$/9 a155; 10*+$/1 =2/15 =0/45", "100" },
	{ "wrapped_pop",	"10*+$/9 a155; 12*+$/1 -2/9 -34/4 -0/7", "100" },
	{ "wrapped_pop_all",	"10*+$/9 a155; 10*+$/1 -0/45 +0/4", "100" },

	/* The verdict of a run is for the data it ran on. */
	{ "cork",		"c200;", "100 50 50 10" },
	{ "cork_once",		"c200; ;", "100 100 10 50" },
	{ "cork_shortened",	"c200; -0/150;", "100 100 10" },
	{ "cork_pushed",	"c200 +$/4; +0/3 -2/1;", "100 96 10" },
	{ "apply",		"a10;", "100" },
	{ "apply_once",		"a10; ;", "100 20" },
	{ "apply_more",		"a150; -0/1;", "100 100" },
	/* Data appended to the rest of a message */
	{ "cork_after_apply",	"a9; c400; ;", "265 7 137 5" },
	{ "cork_after_more",	"a9; c400; ;", "265 30 114 5" },
	{ "cork_all_popped",	"-0/50 c100; ;", "50 60 40 5" },

	{ "redirect_full",	"20*+$/1 20*+50/2", "100 100", 1 },
	{ "redirect_ingress_full", "20*+$/1 20*+50/2", "100 100", 2 },
	{ "redirect_cork",	"c200; ;", "100 100 10", 1 },
	{ "redirect_cork_apply", "c200; a150; ;", "100 100 10", 1 },
	{ "redirect_ingress_cork_apply", "c200; a150; ;", "100 100 10", 2 },
	{ "redirect_pop_all",	"-0/100; ;", "100 20", 1 },
	{ "redirect_ingress_pop_all", "-0/100; ;", "100 20", 2 },
	/* At the end, the program runs again, on what it has corked. */
	{ "cork_shutdown",	"c200;", .end = SHUTDOWN, .arrives = 100 },
	{ "cork_close",		"c200;", .end = CLOSE, .arrives = 100 },
	{ "cork_close_again",	"c200; c300", .end = CLOSE, .arrives = 100 },
	{ "cork_close_apply",	"c200; a10; c300", .end = CLOSE, .arrives = 100 },
	{ "cork_close_drop",	"c200; d", .end = CLOSE },
	{ "cork_shutdown_drop",	"c200; d", .end = SHUTDOWN },
	{ "cork_close_redirect", "c200;", .redirect = 1, .end = CLOSE, .arrives = 100 },
	{ "cork_shutdown_ingress", "c200;", .redirect = 2, .end = SHUTDOWN, .arrives = 100 },
};

static int socket_error(int fd)
{
	int err = -1;
	socklen_t len = sizeof(err);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
	return err;
}

/* The connection ends with corked data. The program runs on it again, and
 * according to its verdict, @arrives bytes are received.
 */
static void cork_end(struct msg_test *t, bool closes, int arrives)
{
	char data[100], got[sizeof(data) + 1];
	int n, len = 0;

	payload(t, data, sizeof(data));
	ASSERT_EQ(send(t->sk, data, sizeof(data), 0), sizeof(data), "send");
	if (closes) {
		close(t->sk);
		t->sk = -1;
	} else {
		ASSERT_OK(shutdown(t->sk, SHUT_WR), "shutdown");
	}
	do {
		n = recv_timeout(receiver(t), got + len, sizeof(got) - len, 0, TIMEOUT_SEC);
		len += n > 0 ? n : 0;
	} while (n > 0 && len < arrives);
	ASSERT_EQ(len, arrives, "received");
	ASSERT_MEMEQ(got, data, arrives, "bytes as they should be");
	ASSERT_EQ(recv_timeout(t->peer, got, 1, 0, TIMEOUT_SEC), 0, "end of file");
	if (!closes)
		ASSERT_EQ(socket_error(t->sk), arrives ? 0 : EACCES, "SO_ERROR");
}

static void run_case(struct msg_test *t, int i)
{
	t->skel->bss->redirect = cases[i].redirect;
	if (!set_scripts(t, cases[i].scripts))
		return;
	if (cases[i].end)
		cork_end(t, cases[i].end == CLOSE, cases[i].arrives);
	else
		send_all(t, cases[i].sends);
}

/* The program fills the ring and corks. There is no room for more data, so the
 * corked data is sent.
 */
static void cork_full(struct msg_test *t)
{
	char data[100];

	if (!set_scripts(t, "16*+$/1; ;"))
		return;
	payload(t, data, sizeof(data));
	model_send(t, data, sizeof(data));	/* the model has no limit of elements */
	t->scripts[0].ops[16] = (struct msg_op){ .what = 'c', .len = 1000 };
	if (!load_scripts(t))
		return;
	ASSERT_EQ(send(t->sk, data, sizeof(data), 0), sizeof(data), "send");
	ASSERT_EQ(send(t->sk, data, 0, 0), 0, "send nothing");
	if (receive_all(t, t->peer)) {
		t->runs = 1;
		send_all(t, "100 1");
	}
}

static void drop_full(struct msg_test *t)
{
	if (ring_is_sound(t) && set_scripts(t, "20*+$/1 d"))
		ASSERT_EQ(send(t->sk, "x", 1, 0), -1, "send");
}

/* The ring is filled twice. On kernels where its ends can meet, the slot behind
 * the last element has the length of an old element, 1, so only one byte is
 * allocated for the copy of 20000 bytes.
 */
static void push_end_stale(struct msg_test *t)
{
	__u32 i;

	if (!ring_is_sound(t) || !set_scripts(t, "34*+$/1"))
		return;
	for (i = 18; i < 33; i++)
		t->scripts[0].ops[i].start = i - 17;
	t->scripts[0].ops[32].len = 20000;
	t->scripts[0].ops[33].start = 15 + 20000;
	if (load_scripts(t))
		send_one(t, 1);
}

/* ---- random scripts ------------------------------------------------------ */

static unsigned int rnd_state;

static unsigned int rnd(unsigned int below)
{
	rnd_state = rnd_state * 1103515245 + 12345;
	return (rnd_state >> 16) % below;
}

/* A script for a message of @len bytes; @letter: 'c'ork or 'a'pply */
static void random_script(struct msg_script *script, int len, int ops, char letter)
{
	int i, start, n;

	memset(script, 0, sizeof(*script));
	for (i = 0; i < ops;) {
		struct msg_op *op = &script->ops[i];

		start = rnd(len + 1);
		n = 1 + rnd(rnd(8) ? 20 : 3000);
		*op = (struct msg_op){ .start = start, .len = n };
		switch (rnd(16)) {
		case 0 ... 8:
			op->what = '+';
			if (!rnd(3))
				op->start = MSG_END;
			len += n;
			break;
		case 9 ... 11:
			if (start + n > len)
				continue;
			op->what = '-';
			len -= n;
			break;
		case 12 ... 13:
			if (start + n > len)
				continue;
			op->what = '=';
			break;
		default:
			op->what = letter;
			op->len = 1 + rnd(2 * len + 1);
			break;
		}
		i++;
	}
}

/* The rest of a partly passed message gets another script, which does nothing. */
static bool random_sends(struct msg_test *t, unsigned int seed)
{
	bool cork;
	int i, len;

	rnd_state = seed;
	cork = rnd(2);
	for (i = 0; i < 3; i++) {
		len = 1 + rnd(rnd(2) ? 100 : 9000);
		memset(t->scripts, 0, sizeof(t->scripts));
		t->n_scripts = 2;
		/* Few pushes, as a full ring would end corking. */
		if (!t->apply_left)
			random_script(&t->scripts[0], t->len + len,
				      cork ? 2 : 1 + rnd(OPS - 1), cork ? 'c' : 'a');
		if (!load_scripts(t) || !send_one(t, len))
			return false;
	}
	/* Corked data is sent with the next data. */
	memset(t->scripts, 0, sizeof(t->scripts));
	return load_scripts(t) && (!t->cork_left || send_one(t, t->cork_left));
}

static void random_scripts(struct msg_test *t)
{
	int i;

	if (!ring_is_sound(t))
		return;
	for (i = 1; i <= 300; i++) {
		if (!random_sends(t, i)) {
			fprintf(stdout, "seed %d\n", i);
			return;
		}
	}
}

/* ---- a full send buffer -------------------------------------------------- */

/* Pushed bytes are no payload: without them, the payload must be complete and
 * in order.
 */
static bool drain(struct msg_test *t, int fd, unsigned int *received, unsigned int *pushed)
{
	static __u8 data[65536];
	int n, i;

	while ((n = recv(fd, data, sizeof(data), MSG_DONTWAIT)) > 0) {
		for (i = 0; i < n; i++) {
			if (data[i] >= 0x80) {
				(*pushed)++;
				continue;
			}
			if (data[i] != *received % 127) {
				ASSERT_EQ(data[i], *received % 127, "payload");
				fprintf(stdout, "after %u bytes\n", *received);
				return false;
			}
			(*received)++;
		}
	}
	return ASSERT_EQ(errno, EAGAIN, "errno");
}

#define PARTIAL_TOTAL 3000000

static void partial(struct msg_test *t, const char *scripts, int redirect, int size)
{
	int one = 1, buf = 20000, n, fd, idle = 0;
	unsigned int received = 0, pushed = 0, sent = 0;
	static char data[MSG_MAX];

	t->skel->bss->redirect = redirect;
	fd = receiver(t);
	if (!set_scripts(t, scripts) ||
	    xsetsockopt(t->sk, SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf)) ||
	    xsetsockopt(t->other, SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf)) ||
	    xsetsockopt(t->sk, SOL_TCP, TCP_NODELAY, &one, sizeof(one)))
		return;
	while (sent < PARTIAL_TOTAL) {
		t->sent = sent;
		n = PARTIAL_TOTAL - sent < size ? PARTIAL_TOTAL - sent : size;
		payload(t, data, n);
		n = send(t->sk, data, n, MSG_DONTWAIT);
		if (n > 0) {
			sent += n;
			continue;
		}
		if (!ASSERT_EQ(n, -1, "send") || !ASSERT_EQ(errno, EAGAIN, "errno") ||
		    !drain(t, fd, &received, &pushed))
			return;
		usleep(1000);
	}
	while (received < PARTIAL_TOTAL && idle++ < 200) {
		if (!drain(t, fd, &received, &pushed))
			return;
		usleep(10000);
	}
	ASSERT_EQ(received, PARTIAL_TOTAL, "received");
	ASSERT_EQ(t->skel->bss->failed_ops, 0, "failed ops");
}

static void partial_pass(struct msg_test *t)
{
	partial(t, "=0/1", 0, 50000);
}

static void partial_start(struct msg_test *t)
{
	partial(t, "+0/4", 0, 50000);
}

static void partial_middle(struct msg_test *t)
{
	partial(t, "+64/4", 0, 50000);
}

static void partial_end(struct msg_test *t)
{
	partial(t, "+$/4", 0, 50000);
}

static void partial_apply(struct msg_test *t)
{
	partial(t, "+0/4 +$/4 a9000", 0, 50000);
}

static void partial_cork(struct msg_test *t)
{
	partial(t, "c90000", 0, 60000);
}

static void partial_redirect(struct msg_test *t)
{
	partial(t, "+64/4 +$/4", 1, 50000);
}

static void receive_these(struct msg_test *t, int fd, const char *data, int len)
{
	int i;

	for (i = 0; i < len; i++)
		t->out[i] = data[i];
	t->out_len = len;
	receive_all(t, fd);
}

/* The redirect of one run does not affect what the next run passes. */
static void redirect_then_pass(struct msg_test *t)
{
	char data[100];

	t->skel->bss->redirect = 1;
	if (!set_scripts(t, "a10; p"))
		return;
	payload(t, data, sizeof(data));
	ASSERT_EQ(send(t->sk, data, sizeof(data), 0), sizeof(data), "send");
	receive_these(t, t->other_peer, data, 10);
	receive_these(t, t->peer, data + 10, sizeof(data) - 10);
}

static void redirect_cork_then_pass(struct msg_test *t)
{
	char data[200];

	t->skel->bss->redirect = 1;
	if (!set_scripts(t, "c200; p"))
		return;
	payload(t, data, sizeof(data));
	ASSERT_EQ(send(t->sk, data, 100, 0), 100, "send");
	ASSERT_EQ(send(t->sk, data + 100, 100, 0), 100, "send");
	receive_these(t, t->peer, data, sizeof(data));
}

/* If a redirect fails, send() fails, even for corked data whose send() has
 * succeeded.
 */
static void redirect_cork_error(struct msg_test *t)
{
	char data[200];

	t->skel->bss->redirect = 1;
	if (!set_scripts(t, "c200;"))
		return;
	payload(t, data, sizeof(data));
	ASSERT_EQ(send(t->sk, data, 100, 0), 100, "send");
	ASSERT_OK(shutdown(t->other, SHUT_WR), "shutdown");
	ASSERT_EQ(send(t->sk, data + 100, 100, MSG_NOSIGNAL), -1, "send");
	ASSERT_EQ(errno, EPIPE, "errno");
}

/* When the program is detached, corked data is sent unchanged, before any later
 * data.
 */
static void cork_leave(struct msg_test *t)
{
	char data[200];

	if (!set_scripts(t, "c300;"))
		return;
	payload(t, data, sizeof(data));
	ASSERT_EQ(send(t->sk, data, 100, 0), 100, "send");
	ASSERT_OK(bpf_map_delete_elem(t->map, &u32(0)), "delete");
	receive_these(t, t->peer, data, 100);

	if (xbpf_map_update_elem(t->map, &u32(0), &u64(t->sk), BPF_NOEXIST))
		return;
	t->skel->bss->runs = 0;
	ASSERT_EQ(send(t->sk, data, 100, 0), 100, "send");
	ASSERT_OK(bpf_map_delete_elem(t->map, &u32(0)), "delete");
	ASSERT_EQ(send(t->sk, data + 100, 100, 0), 100, "send");
	receive_these(t, t->peer, data, 200);
}

/* A new program runs on the corked data, unless that was sent before it was
 * attached.
 */
static void cork_replace(struct msg_test *t)
{
	char data[100];

	if (!set_scripts(t, "c300;"))
		return;
	payload(t, data, sizeof(data));
	ASSERT_EQ(send(t->sk, data, sizeof(data), 0), sizeof(data), "send");
	ASSERT_OK(bpf_map_delete_elem(t->map, &u32(0)), "delete");
	if (!xbpf_map_update_elem(t->map, &u32(0), &u64(t->sk), BPF_NOEXIST))
		receive_these(t, t->peer, data, sizeof(data));
}

/* Disconnecting discards corked data. */
static void cork_disconnect(struct msg_test *t)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	char c;

	if (!set_scripts(t, "c300;"))
		return;
	ASSERT_EQ(send(t->sk, "x", 1, 0), 1, "send");
	ASSERT_OK(connect(t->sk, &unspec, sizeof(unspec)), "connect");
	ASSERT_EQ(recv_timeout(t->peer, &c, 1, 0, TIMEOUT_SEC), -1, "recv");
	ASSERT_EQ(errno, ECONNRESET, "errno");
	ASSERT_EQ(t->skel->bss->runs, 1, "runs");
}

#define FULL_MS 100	/* without room for so long, there will be none */

/* Send until there is no more room. After POLLOUT, send() must succeed. */
static bool send_until_full(struct msg_test *t, unsigned int *sent)
{
	struct pollfd pfd = { .fd = t->sk, .events = POLLOUT };
	static char data[10000];
	int n, room = 0;

	while (*sent < PARTIAL_TOTAL) {
		t->sent = *sent;
		payload(t, data, sizeof(data));
		n = send(t->sk, data, sizeof(data), MSG_DONTWAIT);
		if (n > 0) {
			*sent += n;
			room = 0;
			continue;
		}
		if (!ASSERT_EQ(errno, EAGAIN, "errno") || !ASSERT_EQ(room, 0, "POLLOUT, full"))
			return false;
		room = poll(&pfd, 1, FULL_MS);
		if (!room)
			return true;
	}
	return ASSERT_LT(*sent, PARTIAL_TOTAL, "sent before anything was read");
}

static void *send_rest(void *arg)
{
	struct msg_test *t = arg;
	static char data[200000];

	payload(t, data, sizeof(data));
	return (void *)(long)send(t->sk, data, sizeof(data), 0);
}

/* Nobody reads redirected data, so the sender has to wait, in poll() and in send(). */
static void redirect_waits(struct msg_test *t, int redirect)
{
	struct pollfd pfd = { .fd = t->sk, .events = POLLOUT };
	unsigned int sent = 0, received = 0, pushed = 0;
	int buf = 50000, tries = 0, fd;
	pthread_t thread;
	void *ret;

	t->skel->bss->redirect = redirect;
	fd = receiver(t);
	if (!set_scripts(t, "") ||
	    xsetsockopt(t->sk, SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf)) ||
	    xsetsockopt(t->other, SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf)) ||
	    xsetsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buf, sizeof(buf)) ||
	    !send_until_full(t, &sent))
		return;
	while (received < sent && tries++ < 200) {
		if (!drain(t, fd, &received, &pushed))
			return;
		usleep(1000);
	}
	if (!ASSERT_EQ(received, sent, "received") ||
	    !ASSERT_EQ(poll(&pfd, 1, TIMEOUT_SEC * 1000), 1, "POLLOUT, empty") ||
	    !send_until_full(t, &sent))
		return;
	t->sent = sent;
	if (!ASSERT_OK(pthread_create(&thread, NULL, send_rest, t), "pthread_create"))
		return;
	for (tries = 0; received < sent + 200000 && tries < 500; tries++) {
		if (!drain(t, fd, &received, &pushed))
			break;
		usleep(10000);
	}
	ASSERT_EQ(received, sent + 200000, "received of both");
	shutdown(t->sk, SHUT_WR);
	pthread_join(thread, &ret);
	ASSERT_EQ((long)ret, 200000, "send");
}

/* A sender that was removed from the map does not wait for the data it has
 * redirected.
 */
static void redirect_waits_leave(struct msg_test *t)
{
	struct pollfd pfd = { .fd = t->sk, .events = POLLOUT };
	int buf = 50000, epfd;
	struct epoll_event ev = { .events = EPOLLOUT | EPOLLET };
	unsigned int sent = 0;

	t->skel->bss->redirect = 2;
	epfd = epoll_create1(0);
	if (!ASSERT_OK_FD(epfd, "epoll_create1"))
		return;
	if (set_scripts(t, "") &&
	    !xsetsockopt(t->sk, SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf)) &&
	    !xsetsockopt(t->other, SOL_SOCKET, SO_RCVBUF, &buf, sizeof(buf)) &&
	    send_until_full(t, &sent) &&
	    ASSERT_OK(epoll_ctl(epfd, EPOLL_CTL_ADD, t->sk, &ev), "epoll_ctl") &&
	    ASSERT_EQ(epoll_wait(epfd, &ev, 1, 0), 0, "EPOLLOUT, full")) {
		ASSERT_OK(bpf_map_delete_elem(t->map, &u32(0)), "delete");
		ASSERT_EQ(epoll_wait(epfd, &ev, 1, TIMEOUT_SEC * 1000), 1, "EPOLLOUT, left");
		ASSERT_EQ(poll(&pfd, 1, 0), 1, "POLLOUT, left");
	}
	close(epfd);
}

static void redirect_egress_waits(struct msg_test *t)
{
	redirect_waits(t, 1);
}

static void redirect_ingress_waits(struct msg_test *t)
{
	redirect_waits(t, 2);
}

#define CHARGED 8000000

static long memory_current(int cgroup)
{
	int fd = openat(cgroup, "memory.current", O_RDONLY);
	char buf[32] = "";

	ASSERT_GT(read(fd, buf, sizeof(buf) - 1), 0, "memory.current");
	close(fd);
	return atol(buf);
}

/* Pages charged to tcp_mem, except the per-CPU reserves */
static long memory_of_tcp(void)
{
	FILE *f = fopen("/proc/net/sockstat", "r");
	char line[200];
	long mem = -1;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "TCP: %*s %*s %*s %*s %*s %*s %*s %*s mem %ld", &mem) == 1)
			break;
	if (f)
		fclose(f);
	ASSERT_GE(mem, 0, "TCP: mem");
	return mem;
}

/* Redirected data is charged to the memory cgroup of the sender, and to
 * tcp_mem, until it is read.
 */
static void redirect_charged(struct msg_test *t)
{
	int n, family = t->family, small = 20000, large = 4 * CHARGED;
	unsigned int received = 0, pushed = 0, sent = 0;
	int cgroup = test__join_cgroup("/sockmap_msg");
	static char data[10000];
	long before, tcp_before;

	if (!ASSERT_GE(cgroup, 0, "cgroup"))
		return;
	msg_cleanup(t);
	if (!msg_setup(t, family) || !set_scripts(t, "") ||
	    xsetsockopt(t->sk, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large)) ||
	    xsetsockopt(t->other, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)))
		goto out;
	t->skel->bss->redirect = 2;
	before = memory_current(cgroup);
	tcp_before = memory_of_tcp();
	for (; sent < CHARGED; sent += n) {
		payload(t, data, sizeof(data));
		n = send(t->sk, data, sizeof(data), MSG_DONTWAIT);
		if (!ASSERT_EQ(n, sizeof(data), "send"))
			goto out;
	}
	ASSERT_GT(memory_current(cgroup), before + CHARGED / 2, "charged");
	ASSERT_GT(memory_of_tcp(), tcp_before + CHARGED / 2 / getpagesize(), "tcp_mem");
	while (received < sent && drain(t, t->other, &received, &pushed))
		usleep(1000);
	ASSERT_LT(memory_current(cgroup), before + CHARGED / 2, "charged when all is read");
	ASSERT_LT(memory_of_tcp(), tcp_before + CHARGED / 2 / getpagesize(),
		  "tcp_mem when all is read");
out:
	close(cgroup);
}

#define TURN_LARGE 200000
#define TURN_SMALL 100
#define TURNS 50

static void *send_large(void *arg)
{
	static char data[TURN_LARGE];
	struct msg_test *t = arg;

	memset(data, 'a', sizeof(data));
	return (void *)(long)send(t->sk, data, sizeof(data), 0);
}

static void *send_small(void *arg)
{
	struct msg_test *t = arg;
	char data[TURN_SMALL];
	long i, sent = 0;

	memset(data, 'b', sizeof(data));
	for (i = 0; i < TURNS; i++)
		sent += send(t->sk, data, sizeof(data), 0);
	return (void *)sent;
}

#define TURN_TOTAL (TURN_LARGE + TURNS * TURN_SMALL)

/* The messages in @data are in the order in which the program has run on them. */
static void check_log(struct msg_test *t, const char *data, int len)
{
	int run, end, off = 0;

	if (!ASSERT_LT(t->skel->bss->runs, LOGGED, "runs"))
		return;
	for (run = 0; run < t->skel->bss->runs; run++) {
		end = MIN(off + (int)t->skel->bss->log_sizes[run], len);
		while (off < end && data[off] == t->skel->bss->log_first[run])
			off++;
		if (!ASSERT_EQ(off, end, "bytes of one message"))
			return;
	}
	ASSERT_EQ(off, len, "bytes that the program has seen");
}

/* A thread waits for room within its message while another one sends: data is
 * received in the order of the verdicts.
 */
static void in_turn(struct msg_test *t)
{
	struct pollfd pfd = { .fd = t->peer, .events = POLLIN };
	static char data[TURN_TOTAL];
	pthread_t large, small;
	int n, got, buf = 20000;
	void *ret;

	if (!set_scripts(t, "") ||
	    xsetsockopt(t->sk, SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf)) ||
	    xsetsockopt(t->peer, SOL_SOCKET, SO_RCVBUF, &buf, sizeof(buf)) ||
	    !ASSERT_OK(pthread_create(&large, NULL, send_large, t), "pthread_create"))
		return;
	ASSERT_EQ(poll(&pfd, 1, TIMEOUT_SEC * 1000), 1, "POLLIN");
	ASSERT_EQ(send(t->sk, "b", 1, MSG_DONTWAIT), -1, "send");
	ASSERT_EQ(errno, EAGAIN, "errno");
	ASSERT_OK(pthread_create(&small, NULL, send_small, t), "pthread_create");
	for (got = 0; got < TURN_TOTAL; got += n) {
		n = recv_timeout(t->peer, data + got, TURN_TOTAL - got, 0, TIMEOUT_SEC);
		if (!ASSERT_GT(n, 0, "recv")) {
			shutdown(t->sk, SHUT_RDWR);
			break;
		}
	}
	pthread_join(large, &ret);
	ASSERT_EQ((long)ret, TURN_LARGE, "send");
	pthread_join(small, &ret);
	ASSERT_EQ((long)ret, TURNS * TURN_SMALL, "send");
	check_log(t, data, got);
}

/* Popped bytes are not sent if there is no room for the rest of the message. */
static void full_pop(struct msg_test *t)
{
	int n, buf = 20000;
	char data[100];

	t->skel->bss->redirect = 1;
	if (!set_scripts(t, "-0/60") ||
	    xsetsockopt(t->other, SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf)) ||
	    xsetsockopt(t->other_peer, SOL_SOCKET, SO_RCVBUF, &buf, sizeof(buf)))
		return;
	payload(t, data, sizeof(data));
	do {
		n = send(t->sk, data, sizeof(data), MSG_DONTWAIT);
	} while (n == sizeof(data));
	ASSERT_EQ(n, -1, "send");
	ASSERT_EQ(errno, EAGAIN, "errno");
}

/* Close the socket with a RST. */
static bool close_by_reset(int *fd)
{
	struct linger reset = { .l_onoff = 1 };

	if (xsetsockopt(*fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)))
		return false;
	close(*fd);
	*fd = -1;
	return true;
}

static void wait_reset(int fd)
{
	struct pollfd pfd = { .fd = fd };

	ASSERT_EQ(poll(&pfd, 1, TIMEOUT_SEC * 1000), 1, "poll");
}

/* As without a program, one send() returns the error, and the next ones EPIPE. */
static void error_once(struct msg_test *t)
{
	if (!set_scripts(t, "") || !close_by_reset(&t->peer))
		return;
	wait_reset(t->sk);
	ASSERT_EQ(send(t->sk, "x", 1, MSG_NOSIGNAL), -1, "send");
	ASSERT_EQ(errno, ECONNRESET, "errno");
	ASSERT_EQ(send(t->sk, "x", 1, MSG_NOSIGNAL), -1, "send again");
	ASSERT_EQ(errno, EPIPE, "errno again");
}

enum ending { RESETS, ENDS_AND_RESETS, SHUTS_DOWN };

/* The result of a send(): whether it sent data, its error, and whether there
 * was a SIGPIPE
 */
struct told {
	bool sent;
	int err;
	bool sigpipe;
};

#define CALLS 3

struct teller {
	int fd;
	struct told told[CALLS];
};

/* Nobody reads, so the first send() waits until the connection ends. */
static void *send_and_tell(void *arg)
{
	struct teller *teller = arg;
	static char data[MSG_MAX];
	struct timespec now = {};
	sigset_t sigpipe;
	int i, n;

	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &sigpipe, NULL);
	for (i = 0; i < CALLS; i++) {
		n = send(teller->fd, data, sizeof(data), 0);
		teller->told[i] = (struct told){
			.sent = n > 0,
			.err = n < 0 ? errno : 0,
			.sigpipe = sigtimedwait(&sigpipe, NULL, &now) == SIGPIPE,
		};
	}
	return NULL;
}

/* End the connection while send() waits for room, after it has sent part of its
 * data.
 */
static bool end_connection(struct teller *teller, int *peer, enum ending how)
{
	struct pollfd pfd = { .fd = *peer, .events = POLLIN };
	pthread_t thread;
	int buf = 20000;
	bool ok;

	if (xsetsockopt(teller->fd, SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf)) ||
	    xsetsockopt(*peer, SOL_SOCKET, SO_RCVBUF, &buf, sizeof(buf)) ||
	    !ASSERT_OK(pthread_create(&thread, NULL, send_and_tell, teller),
		       "pthread_create"))
		return false;
	ok = ASSERT_EQ(poll(&pfd, 1, TIMEOUT_SEC * 1000), 1, "POLLIN");
	if (how == SHUTS_DOWN || !ok)
		shutdown(teller->fd, SHUT_WR);
	if (how == ENDS_AND_RESETS)
		shutdown(*peer, SHUT_WR);
	if (how != SHUTS_DOWN)
		ok = close_by_reset(peer) && ok;
	pthread_join(thread, NULL);
	return ok;
}

/* An error occurs after part of the data of a send() was sent. As without a
 * program, this send() returns how much that was, and the next one returns the
 * error.
 */
static void error_part(struct msg_test *t, const char *scripts, enum ending how)
{
	struct teller with = { .fd = t->sk }, without = {};
	int i, peer;

	if (!set_scripts(t, scripts) ||
	    create_pair(t->family, SOCK_STREAM, &without.fd, &peer))
		return;
	if (end_connection(&without, &peer, how) && end_connection(&with, &t->peer, how)) {
		ASSERT_TRUE(with.told[0].sent, "some is sent");
		for (i = 0; i < CALLS; i++) {
			ASSERT_EQ(with.told[i].sent, without.told[i].sent, "sent");
			ASSERT_EQ(with.told[i].err, without.told[i].err, "errno");
			ASSERT_EQ(with.told[i].sigpipe, without.told[i].sigpipe, "SIGPIPE");
		}
	}
	close(without.fd);
	close(peer);
}

static void error_part_reset(struct msg_test *t)
{
	error_part(t, "", RESETS);
}

static void error_part_apply(struct msg_test *t)
{
	error_part(t, "a9000", RESETS);
}

static void error_part_end_reset(struct msg_test *t)
{
	error_part(t, "", ENDS_AND_RESETS);
}

static void error_part_shutdown(struct msg_test *t)
{
	error_part(t, "", SHUTS_DOWN);
}

/* When the target of a redirect was reset, the target reports ECONNRESET, and
 * the sender that redirects to it gets EPIPE.
 */
static void redirect_error(struct msg_test *t)
{
	t->skel->bss->redirect = 1;
	if (!set_scripts(t, "") || !close_by_reset(&t->other_peer))
		return;
	wait_reset(t->other);
	ASSERT_EQ(send(t->sk, "x", 1, MSG_NOSIGNAL), -1, "send");
	ASSERT_EQ(errno, EPIPE, "errno");
	ASSERT_EQ(socket_error(t->other), ECONNRESET, "SO_ERROR of the other");
	ASSERT_EQ(socket_error(t->sk), 0, "SO_ERROR");
}

/* Corked data cannot be sent after a reset: no send() reports that, only SO_ERROR. */
static void cork_reset(struct msg_test *t)
{
	struct epoll_event ev = { .events = EPOLLET };
	int epfd = epoll_create1(0);
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (ASSERT_OK_FD(epfd, "epoll_create1") && set_scripts(t, "c200") &&
	    ASSERT_EQ(send(t->sk, "x", 1, 0), 1, "send") &&
	    ASSERT_OK(epoll_ctl(epfd, EPOLL_CTL_ADD, t->sk, &ev), "epoll_ctl") &&
	    close_by_reset(&t->peer)) {
		ASSERT_EQ(epoll_wait(epfd, &ev, 1, TIMEOUT_SEC * 1000), 1, "EPOLLERR");
		/* TCP_INFO takes the socket lock, so the reset was processed
		 * after this.
		 */
		ASSERT_OK(getsockopt(t->sk, SOL_TCP, TCP_INFO, &info, &len), "TCP_INFO");
		epoll_wait(epfd, &ev, 1, 0);
		ASSERT_OK(bpf_map_delete_elem(t->map, &u32(0)), "delete");
		ASSERT_EQ(epoll_wait(epfd, &ev, 1, TIMEOUT_SEC * 1000), 1, "EPOLLERR again");
		ASSERT_EQ(socket_error(t->sk), ECONNRESET, "SO_ERROR");
		ASSERT_EQ(socket_error(t->sk), 0, "SO_ERROR, reported");
	}
	close(epfd);
}

/* There is no room for a message that the program has changed. The program runs
 * on what is sent next, although it has applied its verdict to more bytes.
 */
static void full_apply(struct msg_test *t)
{
	struct pollfd pfd = { .fd = t->sk, .events = POLLOUT };
	unsigned int received = 0, pushed = 0;
	static char data[20000];
	int n, runs, buf = 4608;

	if (!set_scripts(t, "a10000; +0/10 a10000;") ||
	    xsetsockopt(t->sk, SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf)))
		return;
	payload(t, data, sizeof(data));
	n = send(t->sk, data, 15000, MSG_DONTWAIT | MSG_EOR);
	if (!ASSERT_EQ(n, 10000, "send") || !drain(t, t->peer, &received, &pushed))
		return;
	runs = t->skel->bss->runs;
	ASSERT_EQ(poll(&pfd, 1, TIMEOUT_SEC * 1000), 1, "POLLOUT");
	ASSERT_EQ(send(t->sk, data + n, 20, MSG_DONTWAIT), 20, "send");
	ASSERT_EQ(t->skel->bss->runs, runs + 1, "runs");
}

/* Sending from an unreadable address */
static void unreadable(struct msg_test *t)
{
	if (!set_scripts(t, ""))
		return;
	ASSERT_EQ(send(t->sk, (void *)1, 100, 0), -1, "send");
	ASSERT_EQ(errno, EFAULT, "errno");
	send_one(t, 10);
}

/* Corked data fills the ring to the last element. No two sends share an
 * element, as another socket sends in between.
 */
static void cork_full_sent(struct msg_test *t)
{
	char data[100];
	int i;

	if (!set_scripts(t, "c1000"))
		return;
	payload(t, data, sizeof(data));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(send(t->sk, data + i, 1, 0), 1, "send");
		ASSERT_EQ(send(t->peer, "x", 1, 0), 1, "send");
	}
	ASSERT_OK(bpf_map_delete_elem(t->map, &u32(0)), "delete");
	receive_these(t, t->peer, data, 20);
}

static const struct {
	const char *name;
	void (*run)(struct msg_test *t);
} msg_tests[] = {
	{ "unreadable",		unreadable },
	{ "cork_full_sent",	cork_full_sent },
	{ "full_apply",		full_apply },
	{ "cork_full",		cork_full },
	{ "partial_pass",	partial_pass },
	{ "partial_start",	partial_start },
	{ "partial_middle",	partial_middle },
	{ "partial_end",	partial_end },
	{ "partial_apply",	partial_apply },
	{ "partial_cork",	partial_cork },
	{ "partial_redirect",	partial_redirect },
	{ "redirect_then_pass",	redirect_then_pass },
	{ "redirect_cork_then_pass", redirect_cork_then_pass },
	{ "redirect_cork_error", redirect_cork_error },
	{ "cork_leave",		cork_leave },
	{ "cork_replace",	cork_replace },
	{ "cork_disconnect",	cork_disconnect },
	{ "in_turn",		in_turn },
	{ "redirect_egress_waits", redirect_egress_waits },
	{ "redirect_ingress_waits", redirect_ingress_waits },
	{ "redirect_waits_leave", redirect_waits_leave },
	{ "redirect_charged",	redirect_charged },
	{ "full_pop",		full_pop },
	{ "drop_full",		drop_full },
	{ "error_once",		error_once },
	{ "error_part_reset",	error_part_reset },
	{ "error_part_apply",	error_part_apply },
	{ "error_part_end_reset", error_part_end_reset },
	{ "error_part_shutdown", error_part_shutdown },
	{ "redirect_error",	redirect_error },
	{ "cork_reset",		cork_reset },
	{ "push_end_stale",	push_end_stale },
	{ "random",		random_scripts },
};

static struct msg_test msg_test;

static void msg_run(int i, int family)
{
	struct msg_test *t = &msg_test;

	if (msg_setup(t, family)) {
		if (i < ARRAY_SIZE(cases))
			run_case(t, i);
		else
			msg_tests[i - ARRAY_SIZE(cases)].run(t);
	}
	msg_cleanup(t);
}

static const char *msg_name(int i)
{
	if (i < ARRAY_SIZE(cases))
		return cases[i].name;
	return msg_tests[i - ARRAY_SIZE(cases)].name;
}

void test_sockmap_msg(void)
{
	char name[64];
	int i;

	for (i = 0; i < ARRAY_SIZE(cases) + ARRAY_SIZE(msg_tests); i++) {
		if (test__start_subtest(msg_name(i)))
			msg_run(i, AF_INET);
		snprintf(name, sizeof(name), "%s_v6", msg_name(i));
		if (test__start_subtest(name))
			msg_run(i, AF_INET6);
	}
}
