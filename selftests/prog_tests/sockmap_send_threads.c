// SPDX-License-Identifier: GPL-2.0
/* Threads that send concurrently: on one socket with a sk_msg program, or each
 * on a socket of its own, where the programs redirect to the same target.
 *
 * Each byte identifies the thread that sent it and its place in what that
 * thread sent. All bytes of a thread must arrive, in order and once, whatever
 * other threads send in between. Calls are blocking, and so must return all
 * bytes they were given. The program must run once on each byte that is not
 * corked or applied to.
 *
 * SOCKMAP_SEND_FUZZ=SECONDS in the environment: how long all subtests together
 * run (default: only the first subtest, for a moment)
 */
#include <error.h>
#include <poll.h>

#include "test_progs.h"
#include "sockmap_helpers.h"
#include "clock_rnd.h"
#include "progs/test_sockmap_send_fuzz.h"
#include "test_sockmap_send_fuzz.skel.h"

#define SENDERS 3
#define SENDER_MAX 20000
#define SENDER_PERIOD 31	/* with a sender's number in the bits above: less than 0x80 */
#define PATIENCE_MS 10000

enum { PEER, EGRESS, INGRESS };

struct threads {
	struct test_sockmap_send_fuzz *skel;
	int map;
	int sk[SENDERS];	/* in slots 0, 2, 3 of the map; or all the same socket */
	int peer[SENDERS];
	int other;		/* in slot 1 */
	int other_peer;
};

struct sender {
	int sk;
	int id;
	__u64 until;
	__u64 sent;
	__u64 got;
	int ret, err;		/* of a call that did not return all it was given */
	bool ended;
	char data[SENDER_MAX + SENDER_PERIOD];
};

static const struct thread_mode {
	const char *name;
	struct send_op ops[OPS];
	int to;
	bool judged;		/* the program runs once on each byte */
} thread_modes[] = {
	{ "pass",		{ }, PEER, true },
	{ "push",		{ { '+', 0, 4 } }, PEER, true },
	{ "apply",		{ { 'a', 0, 7000 } }, PEER },
	{ "cork",		{ { 'c', 0, 30000 } }, PEER },
	{ "cork_push",		{ { 'c', 0, 30000 }, { '+', 500, 4 } }, PEER },
	{ "redirect",		{ { 'e' } }, EGRESS, true },
	{ "redirect_push",	{ { 'e' }, { '+', 1000, 4 } }, EGRESS, true },
	{ "redirect_cork",	{ { 'e' }, { 'c', 0, 30000 } }, EGRESS },
	{ "ingress",		{ { 'i' } }, INGRESS, true },
	{ "ingress_cork",	{ { 'i' }, { 'c', 0, 30000 } }, INGRESS },
};

static void *keep_sending(void *arg)
{
	struct sender *s = arg;
	__u64 state = s->id + 1;
	int i, n;

	for (i = 0; i < sizeof(s->data); i++)
		s->data[i] = s->id << 5 | i % SENDER_PERIOD;
	while (now_ms() < s->until) {
		n = 1 + rnd_of(&state, rnd_of(&state, 2) ? 100 : SENDER_MAX);
		s->ret = send(s->sk, s->data + s->sent % SENDER_PERIOD, n, MSG_NOSIGNAL);
		s->err = errno;
		if (s->ret != n)
			break;
		s->ret = 0;
		s->sent += n;
	}
	WRITE_ONCE(s->ended, true);
	return NULL;
}

static bool in_order(struct sender *senders, const __u8 *data, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		struct sender *s = &senders[data[i] >> 5 & 3];

		if (data[i] & 0x80)
			continue;
		if ((data[i] & 0x1f) != s->got % SENDER_PERIOD)
			return false;
		s->got++;
	}
	return true;
}

/* Have all threads ended, and has all of their data arrived? */
static bool all_arrived(struct sender *senders)
{
	int i;

	for (i = 0; i < SENDERS; i++)
		if (!READ_ONCE(senders[i].ended) || senders[i].got < senders[i].sent)
			return false;
	return true;
}

static bool receive_of_all(struct sender *senders, int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	__u64 until = now_ms() + PATIENCE_MS;
	static __u8 data[100000];
	bool ended = false;
	int n, i;

	while (!all_arrived(senders)) {
		for (i = 0; i < SENDERS && READ_ONCE(senders[i].ended); i++)
			;
		/* Shutting down releases corked data. */
		for (n = 0; n < SENDERS && i == SENDERS && !ended; n++)
			shutdown(senders[n].sk, SHUT_WR);
		ended = i == SENDERS;
		/* poll() has a timeout, as a sender that ends causes no event. */
		if (poll(&pfd, 1, 10) != 1) {
			if (now_ms() > until)
				return false;
			continue;
		}
		n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
		if ((n < 0 && errno != EAGAIN) || (n > 0 && !in_order(senders, data, n)))
			return ASSERT_TRUE(n < 0, "in order");
		if (!n)
			return all_arrived(senders);
		until = now_ms() + PATIENCE_MS;
	}
	return true;
}

static void check_senders(struct threads *t, const struct thread_mode *mode,
			  struct sender *senders, bool received)
{
	__u64 sent = 0;
	int i;

	for (i = 0; i < SENDERS; i++) {
		if (senders[i].got != senders[i].sent || senders[i].ret)
			received = false;
		sent += senders[i].sent;
		if (!received)
			printf("# %d: %llu sent, %llu received, returns %d, %d\n", i,
			       senders[i].sent, senders[i].got, senders[i].ret,
			       senders[i].err);
		ASSERT_GT(senders[i].got, 0, "progress");
	}
	if (!ASSERT_TRUE(received, "received") || !mode->judged)
		return;
	ASSERT_EQ(t->skel->bss->judged, sent, mode->name);
}

static void close_sockets(struct threads *t)
{
	int i;

	for (i = 0; i < SENDERS; i++) {
		if (!i || t->sk[i] != t->sk[0]) {
			close(t->sk[i]);
			close(t->peer[i]);
		}
	}
	close(t->other);
	close(t->other_peer);
}

static bool open_sockets(struct threads *t, bool own)
{
	int i, buf = 10000, slot[] = { 0, 2, 3 };

	memset(t->sk, 0xff, sizeof(*t) - offsetof(struct threads, sk));
	if (create_socket_pairs(AF_INET, SOCK_STREAM, &t->sk[0], &t->other, &t->peer[0],
				&t->other_peer) ||
	    xsetsockopt(t->other, SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf)) ||
	    xbpf_map_update_elem(t->map, &u32(1), &u64(t->other), BPF_ANY))
		return false;
	for (i = 0; i < SENDERS; i++) {
		if (i && !own) {
			t->sk[i] = t->sk[0];
			continue;
		}
		if ((i && create_pair(AF_INET, SOCK_STREAM, &t->sk[i], &t->peer[i])) ||
		    xsetsockopt(t->sk[i], SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf)) ||
		    xbpf_map_update_elem(t->map, &u32(slot[i]), &u64(t->sk[i]), BPF_ANY))
			return false;
	}
	return true;
}

static void send_and_receive(struct threads *t, const struct thread_mode *mode, int ms)
{
	int to[] = { t->peer[0], t->other_peer, t->other };
	static struct sender senders[SENDERS];
	pthread_t threads[SENDERS];
	int i, n = 0;
	bool ok;

	memset(senders, 0, sizeof(senders));
	for (; n < SENDERS; n++) {
		senders[n].id = n;
		senders[n].until = now_ms() + ms;
		senders[n].sk = t->sk[n];
		if (pthread_create(&threads[n], NULL, keep_sending, &senders[n]))
			break;
	}
	ok = n == SENDERS && receive_of_all(senders, to[mode->to]);
	for (i = 0; i < n && !ok; i++)
		shutdown(senders[i].sk, SHUT_RDWR);
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	check_senders(t, mode, senders, ok);
}

static bool corks(const struct thread_mode *mode)
{
	return mode->ops[0].what == 'c' || mode->ops[1].what == 'c';
}

/* On a kernel that leaves a corked byte behind, one thread may free the message
 * that another one adds to, which panics. This finds out first.
 */
static bool cork_is_sound(struct threads *t, const struct thread_mode *mode)
{
	bool ok;
	char c;

	if (!open_sockets(t, false))
		return false;
	ok = ASSERT_EQ(send(t->sk[0], "", 1, 0), 1, "send") &&
	     ASSERT_OK(shutdown(t->sk[0], SHUT_WR), "shutdown") &&
	     ASSERT_EQ(recv_timeout(mode->to == PEER ? t->peer[0] :
				    mode->to == EGRESS ? t->other_peer : t->other, &c, 1, 0, 1),
		       1, "corked, before the FIN");
	close_sockets(t);
	return ok;
}

static void run_threads(const struct thread_mode *mode, bool own, int ms)
{
	struct threads t = {};

	t.skel = test_sockmap_send_fuzz__open_and_load();
	if (!ASSERT_OK_PTR(t.skel, "open_and_load"))
		return;
	t.map = bpf_map__fd(t.skel->maps.sock_map);
	memcpy(t.skel->bss->scripts[0].ops, mode->ops, sizeof(mode->ops));
	t.skel->bss->budget = INT_MAX;	/* no limit for the program's corking */
	if (!xbpf_prog_attach(bpf_program__fd(t.skel->progs.prog_send), t.map,
			      BPF_SK_MSG_VERDICT, 0) &&
	    (!corks(mode) || cork_is_sound(&t, mode)) && open_sockets(&t, own)) {
		send_and_receive(&t, mode, ms);
		close_sockets(&t);
	}
	test_sockmap_send_fuzz__destroy(t.skel);
}

void test_sockmap_send_threads(void)
{
	const char *env = getenv("SOCKMAP_SEND_FUZZ");
	int i, ms = (env ? atoi(env) : 4) * 1000 / (ARRAY_SIZE(thread_modes) + 5);
	char name[64];

	/* The others depend on races, which a faulty kernel may win in a short run. */
	for (i = 0; i < (env ? ARRAY_SIZE(thread_modes) : 1); i++) {
		if (test__start_subtest(thread_modes[i].name))
			run_threads(&thread_modes[i], false, ms);
		snprintf(name, sizeof(name), "%s_by_all", thread_modes[i].name);
		/* Each sender makes progress, however much room the others take. */
		if (thread_modes[i].to != PEER && test__start_subtest(name))
			run_threads(&thread_modes[i], true, ms);
	}
}
