// SPDX-License-Identifier: GPL-2.0
/* sk_msg programs: the data they ran on is what is sent, whatever the sender
 * does with its memory later, and MSG_ZEROCOPY notifies as documented.
 */
#include <error.h>
#include <time.h>
#include <linux/errqueue.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

#include "test_progs.h"
#include "sockmap_helpers.h"
#include "test_sockmap_zerocopy.skel.h"

#define TIMEOUT_SEC 2

struct zc_test {
	struct test_sockmap_zerocopy *skel;
	bool direct;		/* the program is attached by a link, not by the map */
	struct bpf_link *link;
	int map;
	int sk;			/* in slot 0 of the map */
	int peer;
	int other;		/* in slot 1 */
	int other_peer;
};

static bool zc_setup(struct zc_test *t, int family, bool direct)
{
	memset(t, 0, sizeof(*t));
	t->direct = direct;
	t->skel = test_sockmap_zerocopy__open_and_load();
	if (!ASSERT_OK_PTR(t->skel, "open_and_load"))
		return false;
	t->map = bpf_map__fd(t->skel->maps.sock_map);
	return !create_socket_pairs(family, SOCK_STREAM, &t->sk, &t->other, &t->peer,
				    &t->other_peer);
}

static void zc_cleanup(struct zc_test *t)
{
	close(t->sk);
	close(t->peer);
	close(t->other);
	close(t->other_peer);
	bpf_link__destroy(t->link);
	test_sockmap_zerocopy__destroy(t->skel);
}

/* ---- one notification for each successful send() ---------------------- */

static char payload[60000];

/* The next notifications are for @count calls, from call @id on. */
static void notified(int fd, __u32 id, __u32 count)
{
	struct sock_extended_err *err;
	char control[200];
	struct msghdr msg;
	struct cmsghdr *c;
	__u32 seen = 0;

	while (seen < count) {
		msg = (struct msghdr){
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		if (!ASSERT_OK(recvmsg(fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT), "recvmsg"))
			return;
		c = CMSG_FIRSTHDR(&msg);
		if (!ASSERT_OK_PTR(c, "cmsg"))
			return;
		err = (void *)CMSG_DATA(c);
		ASSERT_EQ(err->ee_origin, SO_EE_ORIGIN_ZEROCOPY, "origin");
		ASSERT_EQ(err->ee_code, SO_EE_CODE_ZEROCOPY_COPIED, "code");
		if (!ASSERT_EQ(err->ee_info, id + seen, "first id"))
			return;
		seen += err->ee_data - err->ee_info + 1;
	}
	ASSERT_EQ(seen, count, "notifications");
	ASSERT_ERR(recvmsg(fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT), "no more");
}

static bool set_zerocopy(int fd)
{
	int one = 1;

	return !xsetsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one));
}

/* With a link, the map is only needed for redirects. */
static bool join_directly(struct zc_test *t)
{
	t->link = bpf_program__attach_sock(t->skel->progs.prog_msg, t->sk, NULL);
	return ASSERT_OK_PTR(t->link, "attach_sock") &&
	       !xbpf_map_update_elem(t->map, &u32(1), &u64(t->other), BPF_ANY);
}

static bool join(struct zc_test *t)
{
	int prog = bpf_program__fd(t->skel->progs.prog_msg);

	if (t->direct)
		return join_directly(t);
	return !xbpf_prog_attach(prog, t->map, BPF_SK_MSG_VERDICT, 0) &&
	       !add_to_sockmap(t->map, t->sk, t->other);
}

static char received[sizeof(payload)];

static bool receive(int fd, int len)
{
	int n, got = 0;

	while (got < len) {
		n = recv_timeout(fd, received + got, len - got, 0, TIMEOUT_SEC);
		if (!ASSERT_GT(n, 0, "recv"))
			return false;
		got += n;
	}
	return true;
}

static void notify_pass(struct zc_test *t)
{
	int i;

	if (!set_zerocopy(t->sk) || !join(t))
		return;
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(send(t->sk, payload, sizeof(payload), MSG_ZEROCOPY),
			  sizeof(payload), "send");
		notified(t->sk, i, 1);
		receive(t->peer, sizeof(payload));
	}
	/* without MSG_ZEROCOPY, no notification */
	ASSERT_EQ(send(t->sk, payload, 100, 0), 100, "send");
	ASSERT_EQ(send(t->sk, payload, 100, MSG_ZEROCOPY), 100, "send");
	notified(t->sk, i, 1);
}

static void notify_late(struct zc_test *t)
{
	if (!join(t))
		return;
	ASSERT_EQ(send(t->sk, payload, 100, MSG_ZEROCOPY), 100, "send");
	ASSERT_ERR(recv(t->sk, payload, 1, MSG_ERRQUEUE | MSG_DONTWAIT), "without SO_ZEROCOPY");
	if (!set_zerocopy(t->sk))
		return;
	ASSERT_EQ(send(t->sk, payload, 100, MSG_ZEROCOPY), 100, "send");
	ASSERT_EQ(send(t->sk, payload, 20000, MSG_ZEROCOPY), 20000, "send");
	notified(t->sk, 0, 2);
}

/* The sending socket is notified, not the one that data is redirected to */
static void notify_redirect(struct zc_test *t)
{
	if (!set_zerocopy(t->sk) || !set_zerocopy(t->other) || !join(t))
		return;
	t->skel->bss->redirect = true;
	ASSERT_EQ(send(t->sk, payload, 20000, MSG_ZEROCOPY), 20000, "send");
	receive(t->other_peer, 20000);
	notified(t->sk, 0, 1);
	ASSERT_ERR(recv(t->other, payload, 1, MSG_ERRQUEUE | MSG_DONTWAIT), "the other");
}

static void notify_cork(struct zc_test *t)
{
	if (!set_zerocopy(t->sk) || !join(t))
		return;
	t->skel->bss->cork = 20000;
	ASSERT_EQ(send(t->sk, payload, 5000, MSG_ZEROCOPY), 5000, "send");
	notified(t->sk, 0, 1);
	ASSERT_EQ(send(t->sk, payload, 15000, MSG_ZEROCOPY), 15000, "send");
	notified(t->sk, 1, 1);
	receive(t->peer, 20000);
}

/* A failed call has no id. */
static void notify_drop(struct zc_test *t)
{
	if (!set_zerocopy(t->sk) || !join(t))
		return;
	t->skel->data->verdict = SK_DROP;
	ASSERT_EQ(send(t->sk, payload, 20000, MSG_ZEROCOPY), -1, "send");
	ASSERT_EQ(errno, EACCES, "errno");
	t->skel->data->verdict = SK_PASS;
	ASSERT_EQ(send(t->sk, payload, 20000, MSG_ZEROCOPY), 20000, "send");
	notified(t->sk, 0, 1);
}

/* A drop affects only the message that the program ran on, and all of it. */
static void drop(struct zc_test *t, int apply)
{
	if (!join(t))
		return;
	t->skel->data->verdict = SK_DROP;
	t->skel->bss->apply = apply;
	ASSERT_EQ(send(t->sk, payload, 5000, 0), -1, "send");
	ASSERT_EQ(errno, EACCES, "errno");
	t->skel->data->verdict = SK_PASS;
	t->skel->bss->apply = 0;
	ASSERT_EQ(send(t->sk, payload, 3000, 0), 3000, "send");
	receive(t->peer, 3000);
	ASSERT_ERR(recv(t->peer, payload, 1, MSG_DONTWAIT), "nothing more");
	ASSERT_EQ(t->skel->bss->msgs, 2, "runs");
}

static void drop_one(struct zc_test *t)
{
	drop(t, 0);
}

static void drop_apply(struct zc_test *t)
{
	drop(t, 2000);
}

/* Send until there is no more room, then read all of it. */
static bool fill_and_drain(struct zc_test *t, int size)
{
	int n, sent = 0;

	while ((n = send(t->sk, payload, size, MSG_DONTWAIT)) > 0)
		sent += n;
	if (!ASSERT_EQ(errno, EAGAIN, "errno"))
		return false;
	for (; sent; sent -= n) {
		n = sent < sizeof(payload) ? sent : sizeof(payload);
		if (!receive(t->peer, n))
			return false;
	}
	return true;
}

/*
 * A verdict on data that found no room does not apply to data sent later. With
 * which sizes the room ends within a message depends on the kernel.
 */
static void drop_after_full(struct zc_test *t)
{
	int size;

	if (!join(t))
		return;
	for (size = sizeof(payload); size > 10000; size -= 7000) {
		t->skel->data->verdict = SK_PASS;
		if (!fill_and_drain(t, size))
			return;
		t->skel->data->verdict = SK_DROP;
		if (!ASSERT_EQ(send(t->sk, payload, 100, 0), -1, "send"))
			return;
		ASSERT_EQ(errno, EACCES, "errno");
	}
}

/* Calls that send until there is no more room, the last one only a part of its data */
static void notify_partial(struct zc_test *t)
{
	int n, calls = 0;

	if (!set_zerocopy(t->sk) || !join(t))
		return;
	do {
		n = send(t->sk, payload, sizeof(payload), MSG_ZEROCOPY | MSG_DONTWAIT);
		calls += n > 0;
	} while (n > 0);
	ASSERT_EQ(errno, EAGAIN, "errno");
	notified(t->sk, 0, calls);
}

/* ---- the data the program saw is sent------------------------------------------- */

/* The sender overwrites its memory after the program has run, and before the
 * peer reads.
 */
static void shared(struct zc_test *t, bool by_splice)
{
	int file = memfd_create("shared", 0);
	struct iovec iov = { NULL, 5000 };
	int fds[2], n;

	if (!ASSERT_GE(file, 0, "memfd_create") || !ASSERT_OK(ftruncate(file, 5000), "ftruncate"))
		return;
	iov.iov_base = mmap(NULL, 5000, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (!ASSERT_NEQ(iov.iov_base, MAP_FAILED, "mmap") || !join(t) ||
	    !ASSERT_OK(pipe(fds), "pipe"))
		return;
	memset(iov.iov_base, 'P', 5000);
	if (by_splice) {
		ASSERT_EQ(vmsplice(fds[1], &iov, 1, SPLICE_F_GIFT), 5000, "vmsplice");
		n = splice(fds[0], NULL, t->sk, NULL, 5000, 0);
	} else {
		n = sendfile(t->sk, file, &(off_t){ 0 }, 5000);
	}
	ASSERT_EQ(n, 5000, "sent");
	ASSERT_GT(t->skel->bss->msgs, 0, "runs");
	memset(iov.iov_base, 'D', 5000);
	if (receive(t->peer, 5000))
		ASSERT_TRUE(received[0] == 'P' && received[4999] == 'P', "what was received");
	munmap(iov.iov_base, 5000);
	close(fds[0]);
	close(fds[1]);
	close(file);
}

static void sent_by_sendfile(struct zc_test *t)
{
	shared(t, false);
}

static void sent_by_splice(struct zc_test *t)
{
	shared(t, true);
}

static const struct {
	const char *name;
	void (*run)(struct zc_test *t);
} zc_tests[] = {
	{ "notify_pass",	notify_pass },
	{ "notify_late",	notify_late },
	{ "notify_redirect",	notify_redirect },
	{ "notify_cork",	notify_cork },
	{ "notify_drop",	notify_drop },
	{ "notify_partial",	notify_partial },
	{ "drop",		drop_one },
	{ "drop_apply",		drop_apply },
	{ "drop_after_full",	drop_after_full },
	{ "sendfile",		sent_by_sendfile },
	{ "splice",		sent_by_splice },
};

static void zc_run(int i, int family, bool direct)
{
	struct zc_test t;

	if (zc_setup(&t, family, direct))
		zc_tests[i].run(&t);
	zc_cleanup(&t);
}

static void zc_run_all(bool direct)
{
	char name[64];
	int i;

	for (i = 0; i < ARRAY_SIZE(zc_tests); i++) {
		if (test__start_subtest(zc_tests[i].name))
			zc_run(i, AF_INET, direct);
		snprintf(name, sizeof(name), "%s_v6", zc_tests[i].name);
		if (test__start_subtest(name))
			zc_run(i, AF_INET6, direct);
	}
}

void test_sockmap_zerocopy(void)
{
	zc_run_all(false);
}

void test_sock_link_zerocopy(void)
{
	zc_run_all(true);
}
