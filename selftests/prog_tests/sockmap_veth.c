// SPDX-License-Identifier: GPL-2.0
/* Records that arrive over veth with GRO: some in several packets, several in
 * one packet, with more fragments than an skb holds, and so with a frag_list.
 * Loopback has none of that.
 */
#include <error.h>
#include <pthread.h>

#include "veth_pair.h"
#include "test_sockmap_recv.skel.h"

#define READ_TIMEOUT_SEC 5
#define VETH_BYTES 2000000

struct veth_test {
	struct test_sockmap_recv *skel;
	struct veth_pair veth;
	int map;
	int sk;			/* in slot 0 of the map; its peer sends over veth */
	int peer;
	int other;		/* in slot 1 */
	int other_peer;
	__u8 sent[VETH_BYTES + USHRT_MAX];
	int sent_len;
	__u8 wanted[VETH_BYTES + USHRT_MAX];
	int wanted_len;
};

static struct veth_test veth_test;

/* Every third record is dropped, the others get the verdict @action. No other
 * byte of the stream is a valid action, as kernels without the fixes, which
 * find records at wrong places, would panic on one that shortens the record.
 */
static void veth_records(struct veth_test *t, char action)
{
	static const __u16 lens[] = { 60000, 9000, 300, 65535, 1448, 20000, 3, 33000 };
	int i, j, len;
	__u8 *rec;

	t->sent_len = 0;
	t->wanted_len = 0;
	for (i = 0; t->sent_len < VETH_BYTES; i++) {
		rec = t->sent + t->sent_len;
		len = lens[i % ARRAY_SIZE(lens)];
		rec[0] = len >> 8;
		rec[1] = len;
		rec[2] = i % 3 == 2 ? 'D' : action;
		for (j = 3; j < len; j++)
			rec[j] = 0x80 | (i * 7 + j * 3 + j / 256);
		t->sent_len += len;
		if (rec[2] == 'D')
			continue;
		memcpy(t->wanted + t->wanted_len, rec, len);
		t->wanted_len += len;
	}
}

static void *veth_send(void *arg)
{
	struct veth_test *t = arg;
	int n, sent = 0;

	while (sent < t->sent_len) {
		n = send(t->peer, t->sent + sent, t->sent_len - sent, MSG_NOSIGNAL);
		if (n <= 0)
			break;
		sent += n;
	}
	shutdown(t->peer, SHUT_WR);
	return NULL;
}

static void veth_transfer(struct veth_test *t, int reader)
{
	static __u8 buf[sizeof(t->wanted)];
	int n = 0, got = 0, same = 0;
	pthread_t thread;

	if (!ASSERT_OK(pthread_create(&thread, NULL, veth_send, t), "pthread_create"))
		return;
	while (got < t->wanted_len) {
		n = recv_timeout(reader, buf + got, sizeof(buf) - got, MSG_DONTWAIT,
				 READ_TIMEOUT_SEC);
		if (n <= 0)
			break;
		got += n;
	}
	shutdown(t->sk, SHUT_RDWR);
	shutdown(t->peer, SHUT_RDWR);
	pthread_join(thread, NULL);
	while (same < MIN(got, t->wanted_len) && buf[same] == t->wanted[same])
		same++;
	ASSERT_EQ(got, t->wanted_len, "bytes read");
	ASSERT_EQ(same, t->wanted_len, "bytes as they were sent");
}

static bool veth_setup(struct veth_test *t, bool changes)
{
	struct bpf_program *verdict;
	int here;

	memset(t, 0, sizeof(*t));
	t->sk = -1;
	t->peer = -1;
	t->other = -1;
	t->other_peer = -1;
	t->skel = test_sockmap_recv__open_and_load();
	if (!ASSERT_OK_PTR(t->skel, "open_and_load") || !veth_pair_new(&t->veth) ||
	    !veth_pair_connect(&t->veth, &t->sk, &t->peer))
		return false;
	here = nl_enter(&t->veth.ns);
	if (!ASSERT_OK_FD(here, "enter"))
		return false;
	create_pair(AF_INET, SOCK_STREAM, &t->other_peer, &t->other);
	nl_leave(here);
	if (!ASSERT_OK_FD(t->other, "pair"))
		return false;
	t->map = bpf_map__fd(t->skel->maps.sock_map);
	verdict = changes ? t->skel->progs.prog_verdict_changes : t->skel->progs.prog_verdict;
	return !xbpf_prog_attach(bpf_program__fd(t->skel->progs.prog_parser), t->map,
				 BPF_SK_SKB_STREAM_PARSER, 0) &&
	       !xbpf_prog_attach(bpf_program__fd(verdict), t->map,
				 BPF_SK_SKB_STREAM_VERDICT, 0) &&
	       !xbpf_map_update_elem(t->map, &u32(0), &u64(t->sk), BPF_NOEXIST) &&
	       !xbpf_map_update_elem(t->map, &u32(1), &u64(t->other), BPF_NOEXIST);
}

static void veth_cleanup(struct veth_test *t)
{
	int fds[] = { t->sk, t->peer, t->other, t->other_peer };
	int i;

	for (i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	veth_pair_close(&t->veth);
	test_sockmap_recv__destroy(t->skel);
}

static void veth_run(const char *name, char action, bool changes)
{
	struct veth_test *t = &veth_test;

	if (!test__start_subtest(name))
		return;
	if (veth_setup(t, changes)) {
		veth_records(t, action);
		veth_transfer(t, action == 'P' ? t->sk : action == 'T' ? t->other_peer : t->other);
	}
	veth_cleanup(t);
}

void test_sockmap_veth(void)
{
	veth_run("pass", 'P', false);
	veth_run("pass_changes", 'P', true);
	veth_run("redirect_ingress", 'R', false);
	veth_run("redirect_ingress_changes", 'R', true);
	veth_run("redirect_egress", 'T', false);
	veth_run("redirect_egress_changes", 'T', true);
}
