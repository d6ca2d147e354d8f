// SPDX-License-Identifier: GPL-2.0
/* Links that attach programs straight to a socket: what can be attached where,
 * how long it lasts, and who inherits it. What is received then is in
 * sockmap_recv.
 */
#include <error.h>
#include <poll.h>
#include <sched.h>
#include <linux/mount.h>
#include <linux/userfaultfd.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <bpf/btf.h>

#include "test_progs.h"
#include "testing_helpers.h"
#include "clock_rnd.h"
#include "cap_helpers.h"
#include "cgroup_helpers.h"
#include "network_helpers.h"
#include "sockmap_helpers.h"
#include "trace_helpers.h"
#include "fault_inject.h"
#include "bpftool_link.h"
#include "test_sock_link.skel.h"
#include "test_sock_link_add.skel.h"

#define WAIT_SEC 5

static struct test_sock_link *skel;
static const char zeros[32];

static struct bpf_link *try_attach(struct bpf_program *prog, int fd, __u32 flags)
{
	LIBBPF_OPTS(bpf_sock_link_opts, opts, .flags = flags);

	return bpf_program__attach_sock(prog, fd, &opts);
}

static struct bpf_link *attach(struct bpf_program *prog, int fd, __u32 flags)
{
	struct bpf_link *link = try_attach(prog, fd, flags);

	ASSERT_OK_PTR(link, "attach");
	return link;
}

/* The error it is refused with, 0 if not */
static int refused(struct bpf_program *prog, int fd, __u32 flags)
{
	struct bpf_link *link = try_attach(prog, fd, flags);
	int err = link ? 0 : -errno;

	bpf_link__destroy(link);
	return err;
}

struct listener {
	struct bpf_link *parser;
	struct bpf_link *verdict;
	int fd;
};

/* Add a socket to links that were made with BPF_F_SOCK_NONE, or take it off: to that
 * of the verdict and, if there is one, that of the parser in the same step.
 */
static int update_sock(const struct bpf_link *verdict, const struct bpf_link *parser,
		       int fd, __u32 flags)
{
	LIBBPF_OPTS(bpf_link_update_opts, opts, .flags = flags);

	if (parser)
		opts.parser_link_fd = bpf_link__fd(parser);
	return bpf_link_update(bpf_link__fd(verdict), fd, &opts);
}

static int add_to(const struct bpf_link *link, int fd)
{
	return update_sock(link, NULL, fd, BPF_F_SOCK_ADD);
}

static int del_from(const struct bpf_link *link, int fd)
{
	return update_sock(link, NULL, fd, BPF_F_SOCK_DEL);
}

static int update_both(const struct listener *l, int fd, __u32 flags)
{
	return update_sock(l->verdict, l->parser, fd, flags);
}

/* The error that the socket is refused with by a link that others could share */
static int refused_by_shared(struct bpf_program *prog, int fd, __u32 flags)
{
	struct bpf_link *link = try_attach(prog, 0, flags | BPF_F_SOCK_NONE);
	int err = link ? add_to(link, fd) : -errno;

	bpf_link__destroy(link);
	return err;
}

/* A record of @len bytes, as sockmap_records.h has it */
static bool send_record(int fd, char action, int len)
{
	__u8 rec[256] = { len >> 8, len, action };

	return ASSERT_EQ(send(fd, rec, len, MSG_EOR), len, "send");
}

static void wait_judged(__u64 bytes)
{
	__u64 until = now_ms() + WAIT_SEC * 1000;

	while (READ_ONCE(skel->bss->judged_bytes) < bytes && now_ms() < until)
		sched_yield();
	ASSERT_EQ(skel->bss->judged_bytes, bytes, "judged bytes");
}

/* The programs have seen so many bytes in all, and the socket reads @len. */
static void check(int fd, __u64 judged_bytes, int len)
{
	char buf[1024];
	int n, got = 0;

	wait_judged(judged_bytes);
	while (got < len) {
		n = recv_timeout(fd, buf, sizeof(buf), MSG_DONTWAIT, WAIT_SEC);
		if (n <= 0)
			break;
		got += n;
	}
	ASSERT_EQ(got, len, "bytes read");
	ASSERT_EQ(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), -1, "more to read");
	skel->bss->judged_bytes = 0;
}

static bool tcp_pair(int *sk, int *peer)
{
	int one = 1;

	*sk = -1;
	*peer = -1;
	return !create_pair(AF_INET, SOCK_STREAM, sk, peer) &&
	       !xsetsockopt(*peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void close_pair(int sk, int peer)
{
	if (sk >= 0)
		close(sk);
	if (peer >= 0)
		close(peer);
}

/* Attached, a verdict judges; what was there before, too. Detached, it does not. */
static void attach_detach(void)
{
	struct bpf_link *link;
	int sk, peer;

	if (!tcp_pair(&sk, &peer))
		goto out;
	send_record(peer, 'P', 20);
	link = attach(skel->progs.prog_drop, sk, 0);
	send_record(peer, 'P', 30);
	check(sk, 50, 0);
	bpf_link__destroy(link);
	send_record(peer, 'P', 30);
	check(sk, 0, 30);

	link = attach(skel->progs.prog_pass, sk, 0);
	send_record(peer, 'P', 40);
	check(sk, 40, 40);
	ASSERT_OK(bpf_link__detach(link), "detach");
	/* Its socket is still open. */
	ASSERT_NEQ(link_info(link).sock.sock_cookie, 0, "cookie");
	send_record(peer, 'P', 50);
	check(sk, 0, 50);
	bpf_link__destroy(link);
out:
	close_pair(sk, peer);
}

/* Parser, then verdict: not a byte is judged without the parser. */
static void parser_first(void)
{
	struct bpf_link *parser = NULL, *verdict = NULL;
	int sk, peer;

	if (!tcp_pair(&sk, &peer))
		goto out;
	send_record(peer, 'P', 30);
	parser = attach(skel->progs.prog_parser, sk, 0);
	check(sk, 0, 30);
	ASSERT_EQ(send(peer, "\0\36P", 3, 0), 3, "half a record");
	verdict = attach(skel->progs.prog_judge, sk, 0);
	check(sk, 0, 0);
	ASSERT_EQ(send(peer, zeros, 27, 0), 27, "the other half");
	check(sk, 30, 30);

	/* and a skb verdict goes without one */
	bpf_link__destroy(verdict);
	verdict = NULL;
	ASSERT_EQ(refused(skel->progs.prog_skb, sk, 0), -EBUSY, "skb verdict");
	bpf_link__destroy(parser);
	parser = NULL;

	verdict = attach(skel->progs.prog_judge, sk, 0);
	ASSERT_EQ(refused(skel->progs.prog_parser, sk, 0), -EBUSY, "parser after verdict");
out:
	bpf_link__destroy(verdict);
	bpf_link__destroy(parser);
	close_pair(sk, peer);
}

/* Without its parser, the verdict waits for another. */
static void parser_gone(void)
{
	struct bpf_link *parser = NULL, *verdict = NULL;
	int sk, peer;

	if (!tcp_pair(&sk, &peer))
		goto out;
	parser = attach(skel->progs.prog_parser, sk, 0);
	verdict = attach(skel->progs.prog_judge, sk, 0);
	bpf_link__destroy(parser);
	send_record(peer, 'P', 30);
	check(sk, 0, 0);
	parser = attach(skel->progs.prog_parser, sk, 0);
	check(sk, 30, 30);

	bpf_link__destroy(parser);
	parser = NULL;
	send_record(peer, 'D', 40);
	check(sk, 0, 0);
	bpf_link__destroy(verdict);
	verdict = NULL;
	check(sk, 0, 40);
out:
	bpf_link__destroy(verdict);
	bpf_link__destroy(parser);
	close_pair(sk, peer);
}

/* An update counts from the next record on. */
static void update(void)
{
	struct bpf_link *parser = NULL, *verdict = NULL;
	int sk, peer;

	if (!tcp_pair(&sk, &peer))
		goto out;
	parser = attach(skel->progs.prog_parser, sk, 0);
	verdict = attach(skel->progs.prog_drop, sk, 0);
	send_record(peer, 'P', 30);
	check(sk, 30, 0);
	send_record(peer, 'P', 40);
	check(sk, 40, 0);
	ASSERT_OK(bpf_link__update_program(verdict, skel->progs.prog_pass), "update");
	send_record(peer, 'D', 50);
	check(sk, 50, 50);

	/* A record begun is as long as the old parser said. */
	ASSERT_EQ(send(peer, "\0\36Pxxxxxxx", 10, 0), 10, "ten of 30 bytes");
	check(sk, 0, 0);
	ASSERT_OK(bpf_link__update_program(parser, skel->progs.prog_parser_ten), "update");
	ASSERT_EQ(send(peer, zeros, 20, 0), 20, "the other 20");
	check(sk, 30, 30);
	send_record(peer, 'P', 20);
	check(sk, 20, 20);
	ASSERT_EQ(skel->bss->judged, 6, "records");
out:
	bpf_link__destroy(verdict);
	bpf_link__destroy(parser);
	close_pair(sk, peer);
}

static void update_refused(void)
{
	LIBBPF_OPTS(bpf_link_update_opts, replace, .flags = BPF_F_REPLACE);
	int drop = bpf_program__fd(skel->progs.prog_drop);
	int pass = bpf_program__fd(skel->progs.prog_pass);
	int msg = bpf_program__fd(skel->progs.prog_msg_pass);
	int skb = bpf_program__fd(skel->progs.prog_skb);
	int changes = bpf_program__fd(skel->progs.prog_parser_changes);
	struct bpf_link *parser = NULL, *link = NULL;
	int sk, peer, fd;

	if (!tcp_pair(&sk, &peer))
		goto out;
	parser = attach(skel->progs.prog_parser, sk, 0);
	link = attach(skel->progs.prog_drop, sk, 0);
	fd = bpf_link__fd(link);
	ASSERT_EQ(bpf_link_update(fd, msg, NULL), -EINVAL, "other type");
	ASSERT_EQ(bpf_link_update(fd, skb, NULL), -EINVAL, "other attach type");
	ASSERT_EQ(bpf_link_update(bpf_link__fd(parser), changes, NULL), -EINVAL,
		  "parser that changes packets");
	replace.old_prog_fd = pass;
	ASSERT_EQ(bpf_link_update(fd, pass, &replace), -EPERM, "wrong old program");
	replace.old_prog_fd = drop;
	ASSERT_OK(bpf_link_update(fd, pass, &replace), "right old program");
	ASSERT_OK(bpf_link__detach(link), "detach");
	ASSERT_EQ(bpf_link_update(fd, drop, NULL), -ENOLINK, "after detach");
	bpf_link__destroy(link);

	link = attach(skel->progs.prog_drop, sk, 0);
	close_fd(&sk);
	sk = -1;
	ASSERT_EQ(bpf_link_update(bpf_link__fd(link), pass, NULL), -ENOLINK, "after close");
out:
	bpf_link__destroy(link);
	bpf_link__destroy(parser);
	close_pair(sk, peer);
}

static void fdinfo_has(struct bpf_link *link, const char *what)
{
	char path[64], buf[1024] = {};
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", bpf_link__fd(link));
	fd = open(path, O_RDONLY);
	if (!ASSERT_GE(fd, 0, "open fdinfo"))
		return;
	ASSERT_GT(read(fd, buf, sizeof(buf) - 1), 0, "read fdinfo");
	ASSERT_HAS_SUBSTR(buf, what, "fdinfo");
	close(fd);
}

/* The link says which socket it is on, and that it is on none. */
static void info(void)
{
	struct bpf_link_info info;
	struct bpf_link *link = NULL;
	socklen_t len = sizeof(__u64);
	char want[64];
	__u64 cookie;
	struct stat st;
	int sk, peer;

	if (!tcp_pair(&sk, &peer))
		goto out;
	link = attach(skel->progs.prog_drop, sk, BPF_F_SOCK_ZEROCOPY);
	if (!link)
		goto out;
	xgetsockopt(sk, SOL_SOCKET, SO_COOKIE, &cookie, &len);
	ASSERT_OK(stat("/proc/self/ns/net", &st), "stat");
	info = link_info(link);
	ASSERT_EQ(info.type, BPF_LINK_TYPE_SOCK, "type");
	ASSERT_EQ(info.sock.sock_cookie, cookie, "cookie");
	ASSERT_EQ(info.sock.netns_ino, st.st_ino, "netns_ino");
	ASSERT_EQ(info.sock.attach_type, BPF_SK_SKB_STREAM_VERDICT, "attach_type");
	ASSERT_EQ(info.sock.flags, BPF_F_SOCK_ZEROCOPY, "flags");
	ASSERT_EQ(info.sock.nr_socks, 1, "count");
	snprintf(want, sizeof(want), "cookie:\t%llu\n", cookie);
	fdinfo_has(link, want);

	close_fd(&sk);
	sk = -1;
	info = link_info(link);
	ASSERT_EQ(info.sock.sock_cookie, 0, "cookie after close");
	ASSERT_EQ(info.sock.netns_ino, 0, "netns_ino after close");
	ASSERT_EQ(info.sock.nr_socks, 0, "count after close");
	fdinfo_has(link, "cookie:\t0\n");
out:
	bpf_link__destroy(link);
	close_pair(sk, peer);
}

/* In what bpftool printed last */
static char bpftool_said[4096];

static void has_said(const char *fmt, ...)
{
	char want[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(want, sizeof(want), fmt, args);
	va_end(args);
	ASSERT_HAS_SUBSTR(bpftool_said, want, "bpftool link show");
}

static void bpftool_show(const struct bpf_link *link, bool json)
{
	bpftool_link_show(link, json, bpftool_said, sizeof(bpftool_said));
}

static void bpftool(void)
{
	struct bpf_link *link = NULL, *other = NULL;
	unsigned long long cookie;
	struct bpf_link_info info;
	int sk, peer, server = -1;
	__u32 ns;

	if (!tcp_pair(&sk, &peer))
		goto out;
	link = attach(skel->progs.prog_drop, sk, BPF_F_SOCK_ZEROCOPY);
	server = socket_loopback(AF_INET, SOCK_STREAM);
	other = attach(skel->progs.prog_parser, server, BPF_F_SOCK_INHERIT);
	if (!link || !other)
		goto out;
	info = link_info(link);
	cookie = info.sock.sock_cookie;
	ns = info.sock.netns_ino;
	bpftool_show(link, false);
	has_said("%u: sock  prog %u  ", info.id, info.prog_id);
	has_said("\tsock_cookie %llu  netns_ino %u  attach_type ", cookie, ns);
	has_said("attach_type sk_skb_stream_verdict  zerocopy  sockets 1");
	bpftool_show(link, true);
	has_said("{\"id\":%u,\"type\":\"sock\",\"prog_id\":%u,", info.id, info.prog_id);
	has_said("\"sock_cookie\":%llu,\"netns_ino\":%u,", cookie, ns);
	has_said("\"attach_type\":\"sk_skb_stream_verdict\",\"flags\":");
	has_said(",\"flags\":[\"zerocopy\"],\"sockets\":1");
	bpftool_show(other, false);
	has_said("attach_type sk_skb_stream_parser  inherit  sockets 1");
	bpftool_show(other, true);
	has_said("\"flags\":[\"inherit\"]");

	ASSERT_OK(bpf_link__detach(other), "detach");
	bpftool_show(other, false);
	has_said("  detached  attach_type sk_skb_stream_parser  ");
	bpftool_show(other, true);
	has_said("\"state\":\"detached\"");
	close_fd(&sk);
	bpftool_show(link, false);
	has_said("\n\tclosed  attach_type sk_skb_stream_verdict  ");
	bpftool_show(link, true);
	has_said("\"state\":\"closed\"");
out:
	bpf_link__destroy(other);
	bpf_link__destroy(link);
	close_pair(sk, peer);
	if (server >= 0)
		close(server);
}

/* What the peer writes to a page after it has sent it reaches the reader if the
 * programs only observe, and not otherwise.
 */
static void observer(__u32 flags, char expected)
{
	int sk, peer, file = memfd_create("shared", 0);
	struct bpf_link *link = NULL;
	char page[256];

	if (!tcp_pair(&sk, &peer) || !ASSERT_GE(file, 0, "memfd_create"))
		goto out;
	link = attach(skel->progs.prog_pass, sk, flags);
	memset(page, 'a', sizeof(page));
	ASSERT_EQ(pwrite(file, page, sizeof(page), 0), sizeof(page), "pwrite");
	ASSERT_EQ(sendfile(peer, file, &(off_t){ 0 }, sizeof(page)), sizeof(page), "sendfile");
	wait_judged(sizeof(page));
	memset(page, 'b', sizeof(page));
	ASSERT_EQ(pwrite(file, page, sizeof(page), 0), sizeof(page), "pwrite");
	ASSERT_EQ(recv_timeout(sk, page, sizeof(page), MSG_WAITALL, WAIT_SEC), sizeof(page),
		  "recv");
	ASSERT_EQ(page[0], expected, "what was read");
	skel->bss->judged_bytes = 0;
out:
	bpf_link__destroy(link);
	close_pair(sk, peer);
	close(file);
}

static void zerocopy(void)
{
	observer(0, 'a');
	observer(BPF_F_SOCK_ZEROCOPY, 'b');
}

/* The link does not keep the socket open: the peer sees the end of file. */
static void close_socket(void)
{
	struct bpf_link *parser = NULL, *verdict = NULL;
	int sk, peer;
	char c;

	if (!tcp_pair(&sk, &peer))
		goto out;
	parser = attach(skel->progs.prog_parser, sk, 0);
	verdict = attach(skel->progs.prog_pass, sk, 0);
	close_fd(&sk);
	sk = -1;
	ASSERT_EQ(recv_timeout(peer, &c, 1, 0, WAIT_SEC), 0, "end of file");
	ASSERT_EQ(link_info(verdict).sock.sock_cookie, 0, "cookie");
	ASSERT_EQ(link_info(parser).sock.sock_cookie, 0, "cookie");
out:
	bpf_link__destroy(verdict);
	bpf_link__destroy(parser);
	close_pair(sk, peer);
}

enum way { LINK, MAP };

/* One program a slot, whichever way it comes */
static const struct {
	const char *prog[2];
	int err;
} slots[] = {
	{ { "prog_drop",     "prog_pass" },       -EBUSY },
	{ { "prog_drop",     "prog_skb" },        -EBUSY },
	{ { "prog_skb",      "prog_drop" },       -EBUSY },
	{ { "prog_skb",      "prog_skb" },        -EBUSY },
	{ { "prog_parser",   "prog_parser_ten" }, -EBUSY },
	{ { "prog_msg_pass", "prog_msg_drop" },   -EBUSY },
	{ { "prog_msg_pass", "prog_drop" },       0 },
	{ { "prog_drop",     "prog_msg_pass" },   0 },
	{ { "prog_parser",   "prog_drop" },       0 },
};

struct attached {
	struct bpf_program *prog;
	struct bpf_link *link;
	struct bpf_link *map_link;
	int map;
};

static int put_on(struct attached *a, const char *name, int fd, enum way way, int map)
{
	struct bpf_program *prog = bpf_object__find_program_by_name(skel->obj, name);

	memset(a, 0, sizeof(*a));
	a->prog = prog;
	a->map = -1;
	if (way == LINK) {
		a->link = try_attach(prog, fd, 0);
		return a->link ? 0 : -errno;
	}
	/* There have not always been links of maps. */
	a->map_link = bpf_program__attach_sockmap(prog, map);
	if (!a->map_link &&
	    !ASSERT_OK(bpf_prog_attach(bpf_program__fd(prog), map,
				       bpf_program__expected_attach_type(prog), 0),
		       "attach to map"))
		return -EINVAL;
	a->map = map;
	return bpf_map_update_elem(map, &u32(0), &u64(fd), BPF_ANY);
}

static void take_off(struct attached *a)
{
	bpf_link__destroy(a->link);
	if (a->map < 0)
		return;
	bpf_map_delete_elem(a->map, &u32(0));
	if (a->map_link)
		bpf_link__destroy(a->map_link);
	else
		bpf_prog_detach2(bpf_program__fd(a->prog), a->map,
				 bpf_program__expected_attach_type(a->prog));
}

static void slot_taken(void)
{
	int maps[] = { bpf_map__fd(skel->maps.sock_map), bpf_map__fd(skel->maps.other_map) };
	static const enum way ways[][2] = { { LINK, LINK }, { LINK, MAP }, { MAP, LINK } };
	struct attached first, second;
	int i, w, sk, peer;

	if (!tcp_pair(&sk, &peer))
		goto out;
	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		for (w = 0; w < ARRAY_SIZE(ways); w++) {
			ASSERT_OK(put_on(&first, slots[i].prog[0], sk, ways[w][0], maps[0]),
				  slots[i].prog[0]);
			ASSERT_EQ(put_on(&second, slots[i].prog[1], sk, ways[w][1], maps[1]),
				  slots[i].err, slots[i].prog[1]);
			take_off(&second);
			take_off(&first);
		}
	}
	/* and all is as it was */
	send_record(peer, 'P', 30);
	check(sk, 0, 30);
out:
	close_pair(sk, peer);
}

/* A map without programs may hold the socket; it takes none along when it goes,
 * and neither does the link.
 */
static void beside_map(void)
{
	int map = bpf_map__fd(skel->maps.sock_map);
	struct bpf_link *link = NULL, *msg = NULL;
	int sk, peer;

	if (!tcp_pair(&sk, &peer))
		goto out;
	xbpf_map_update_elem(map, &u32(0), &u64(sk), BPF_ANY);
	link = attach(skel->progs.prog_drop, sk, 0);
	msg = attach(skel->progs.prog_msg_drop, sk, 0);
	xbpf_map_delete_elem(map, &u32(0));
	send_record(peer, 'P', 30);
	check(sk, 30, 0);
	ASSERT_EQ(send(sk, "x", 1, 0), -1, "send");
	xbpf_map_update_elem(map, &u32(0), &u64(sk), BPF_ANY);
	bpf_link__destroy(link);
	link = NULL;
	send_record(peer, 'P', 40);
	check(sk, 0, 40);
	ASSERT_EQ(send(sk, "x", 1, 0), -1, "send");
	bpf_link__destroy(msg);
	msg = NULL;
	ASSERT_EQ(send(sk, "x", 1, 0), 1, "send");
	ASSERT_EQ(bpf_map_update_elem(map, &u32(1), &u64(sk), BPF_NOEXIST), 0, "in the map");
out:
	bpf_link__destroy(link);
	bpf_link__destroy(msg);
	bpf_map_delete_elem(map, &u32(0));
	bpf_map_delete_elem(map, &u32(1));
	close_pair(sk, peer);
}

/* What a program has corked is sent before what comes after it. */
static void msg_cork(void)
{
	struct bpf_link *rx = NULL, *link = NULL;
	char buf[10];
	int sk, peer;

	if (!tcp_pair(&sk, &peer))
		goto out;
	rx = attach(skel->progs.prog_pass, sk, 0);
	link = attach(skel->progs.prog_msg_cork, sk, 0);
	ASSERT_EQ(send(sk, "abc", 3, 0), 3, "send");
	ASSERT_EQ(recv(peer, buf, sizeof(buf), MSG_DONTWAIT), -1, "corked");
	bpf_link__destroy(link);
	link = NULL;
	ASSERT_EQ(send(sk, "defg", 4, 0), 4, "send");
	ASSERT_EQ(recv_timeout(peer, buf, 7, MSG_WAITALL, WAIT_SEC), 7, "recv");
	ASSERT_STRNEQ(buf, "abcdefg", 7, "what was sent");
out:
	bpf_link__destroy(link);
	bpf_link__destroy(rx);
	close_pair(sk, peer);
}

/* A msg verdict: drop, update, detach */
static void msg(void)
{
	struct bpf_link *link = NULL;
	int sk, peer;

	if (!tcp_pair(&sk, &peer))
		goto out;
	link = attach(skel->progs.prog_msg_drop, sk, 0);
	ASSERT_EQ(send(sk, "abc", 3, 0), -1, "send");
	ASSERT_EQ(errno, EACCES, "errno");
	ASSERT_OK(bpf_link__update_program(link, skel->progs.prog_msg_pass), "update");
	ASSERT_EQ(send(sk, "abc", 3, 0), 3, "send");
	ASSERT_EQ(skel->bss->sent, 2, "messages judged");
	bpf_link__destroy(link);
	link = NULL;
	ASSERT_EQ(send(sk, "abc", 3, 0), 3, "send");
	ASSERT_EQ(skel->bss->sent, 2, "messages judged");
	check(peer, 0, 6);
	/* receiving was never judged */
	send_record(peer, 'P', 30);
	check(sk, 0, 30);
out:
	bpf_link__destroy(link);
	close_pair(sk, peer);
}

static bool wait_closed(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLRDHUP };

	return ASSERT_EQ(poll(&pfd, 1, WAIT_SEC * 1000), 1, "POLLRDHUP");
}

/* A connection that one of both has closed for its own part still has the other. */
static void half_closed(void)
{
	struct bpf_link *link = NULL;
	int sk, peer;
	char c;

	if (!tcp_pair(&sk, &peer))
		goto out;
	send_record(peer, 'P', 30);
	shutdown(peer, SHUT_WR);
	if (!wait_closed(sk))
		goto out;
	link = attach(skel->progs.prog_drop, sk, 0);
	wait_judged(30);
	ASSERT_EQ(recv(sk, &c, 1, MSG_DONTWAIT), 0, "recv");
	skel->bss->judged_bytes = 0;
	bpf_link__destroy(link);
	link = NULL;
	close_pair(sk, peer);

	if (!tcp_pair(&sk, &peer))
		goto out;
	shutdown(sk, SHUT_WR);
	if (!wait_closed(peer))
		goto out;
	link = attach(skel->progs.prog_judge, sk, 0);
	send_record(peer, 'D', 30);
	send_record(peer, 'P', 40);
	check(sk, 70, 40);
out:
	bpf_link__destroy(link);
	close_pair(sk, peer);
}

static int size_of(const struct btf *btf, const char *name)
{
	int id = btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT);

	return ASSERT_GT(id, 0, name) ? btf__resolve_size(btf, id) : -1;
}

/* A byte more, and each socket with a program takes 1024. Debug kernels have larger locks. */
static void psock_size(void)
{
	struct btf *btf = btf__load_vmlinux_btf();

	if (!ASSERT_OK_PTR(btf, "BTF"))
		return;
	if (size_of(btf, "spinlock") == 4)
		ASSERT_LE(size_of(btf, "sk_psock"), 512, "size");
	btf__free(btf);
}

static int unconnected(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static int peer_closed(void)
{
	int sk, peer;
	char c;

	if (!tcp_pair(&sk, &peer))
		return -1;
	close(peer);
	recv_timeout(sk, &c, 1, 0, WAIT_SEC);
	return sk;
}

static int connected(void)
{
	int sk, peer;

	/* its FIN would be seen */
	if (!tcp_pair(&sk, &peer))
		return -1;
	dup2(peer, 1000);
	close(peer);
	return sk;
}

static int listening(void)
{
	return socket_loopback(AF_INET, SOCK_STREAM);
}

static int tls(void)
{
	int sk = connected();

	xsetsockopt(sk, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls"));
	return sk;
}

static int udp(void)
{
	return socket_loopback(AF_INET, SOCK_DGRAM);
}

static int udp_unbound(void)
{
	return socket(AF_INET, SOCK_DGRAM, 0);
}

static int unix_stream(void)
{
	int fd[2] = { -1, -1 };

	socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
	dup2(fd[1], 1000);
	close(fd[1]);
	return fd[0];
}

static int unix_unconnected(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int raw(void)
{
	return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static int no_socket(void)
{
	return open("/dev/null", O_RDONLY);
}

static int a_map(void)
{
	return dup(bpf_map__fd(skel->maps.sock_map));
}

static int no_file(void)
{
	return 999;
}

static const struct {
	const char *name;
	int (*fd)(void);
	const char *prog;
	int err;
	__u32 flags;
	int add_err;	/* if that is another when it is added to a link of others */
} refusals[] = {
	{ "connected",		connected,	"prog_pass",	0 },
	{ "no file",		no_file,	"prog_pass",	-EBADF },
	{ "no socket",		no_socket,	"prog_pass",	-EINVAL, 0, -ENOTSOCK },
	{ "flags for a map",	a_map,		"prog_pass",	-EINVAL, BPF_F_SOCK_ZEROCOPY,
				-ENOTSOCK },
	{ "unconnected",	unconnected,	"prog_pass",	-EOPNOTSUPP },
	{ "unconnected, msg",	unconnected,	"prog_msg_pass", -EOPNOTSUPP },
	{ "closed by the peer",	peer_closed,	"prog_pass",	0 },
	{ "TLS",		tls,		"prog_pass",	-EINVAL },
	{ "raw",		raw,		"prog_pass",	-EOPNOTSUPP },
	{ "UDP",		udp,		"prog_pass",	0 },
	{ "UDP, unbound",	udp_unbound,	"prog_pass",	-EOPNOTSUPP },
	{ "UDP, parser",	udp,		"prog_parser",	-EOPNOTSUPP },
	{ "UDP, msg",		udp,		"prog_msg_pass", -EOPNOTSUPP },
	{ "unix",		unix_stream,	"prog_skb",	0 },
	{ "unix, unconnected",	unix_unconnected, "prog_skb",	-EOPNOTSUPP },
	{ "unix, parser",	unix_stream,	"prog_parser",	-EOPNOTSUPP },
	{ "unix, msg",		unix_stream,	"prog_msg_pass", -EOPNOTSUPP },
	{ "unknown flag",	connected,	"prog_pass",	-EINVAL, 1U << 31 },
	{ "parser that changes", connected,	"prog_parser_changes", -EINVAL },
	{ "listening",		listening,	"prog_pass",	-EINVAL },
	{ "listening, inherit",	listening,	"prog_pass",	0, BPF_F_SOCK_INHERIT },
	{ "listening, all flags", listening,	"prog_pass",	0,
				BPF_F_SOCK_INHERIT | BPF_F_SOCK_ZEROCOPY },
	{ "connected, inherit",	connected,	"prog_pass",	-EINVAL, BPF_F_SOCK_INHERIT },
	{ "UDP, inherit",	udp,		"prog_pass",	-EINVAL, BPF_F_SOCK_INHERIT },
};

/* What there is for links of other kinds */
static int create_with_revision(struct bpf_program *prog, int fd)
{
	union bpf_attr attr = {};
	int ret;

	attr.link_create.prog_fd = bpf_program__fd(prog);
	attr.link_create.target_fd = fd;
	attr.link_create.attach_type = BPF_SK_SKB_STREAM_VERDICT;
	attr.link_create.tcx.expected_revision = 1;
	ret = syscall(__NR_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
	if (ret < 0)
		return -errno;
	close(ret);
	return 0;
}

static void refusals_of_all(void)
{
	struct bpf_program *prog;
	int i, fd;

	for (i = 0; i < ARRAY_SIZE(refusals); i++) {
		prog = bpf_object__find_program_by_name(skel->obj, refusals[i].prog);
		fd = refusals[i].fd();
		ASSERT_EQ(refused(prog, fd, refusals[i].flags), refusals[i].err,
			  refusals[i].name);
		ASSERT_EQ(refused_by_shared(prog, fd, refusals[i].flags),
			  refusals[i].add_err ?: refusals[i].err, refusals[i].name);
		close(fd);
		close(1000);
	}
	fd = connected();
	ASSERT_EQ(refused(skel->progs.prog_pass, fd, BPF_F_SOCK_NONE), -EINVAL,
		  "none and a socket");
	ASSERT_EQ(bpf_link_create(bpf_program__fd(skel->progs.prog_pass), fd,
				  BPF_SK_MSG_VERDICT, NULL), -EINVAL, "wrong attach type");
	ASSERT_EQ(create_with_revision(skel->progs.prog_pass, fd), -EINVAL, "revision");
	close(fd);
	close(1000);
}

/* As who may add a socket to a map: who has the program and the socket may. Who
 * has no capability gets no program.
 */
static void privileges(void)
{
	struct bpf_insn insns[] = { BPF_MOV64_IMM(BPF_REG_0, 1), BPF_EXIT_INSN() };
	int sk, peer, pid, status, bits = 0;
	struct bpf_link *link;

	link = NULL;
	if (!tcp_pair(&sk, &peer))
		goto out;
	pid = fork();
	if (!pid) {
		if (syscall(__NR_setresuid, 65534, 65534, 65534))
			_exit(64);
		bits |= bpf_prog_load(BPF_PROG_TYPE_SK_SKB, NULL, "GPL", insns, 2, NULL) == -EPERM;
		bits |= (bpf_map_update_elem(bpf_map__fd(skel->maps.sock_map), &u32(0),
					     &u64(sk), BPF_ANY) == 0) << 1;
		bits |= (bpf_link_create(bpf_program__fd(skel->progs.prog_pass), sk,
					 BPF_SK_SKB_STREAM_VERDICT, NULL) >= 0) << 2;
		_exit(bits);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid, "waitpid");
	ASSERT_EQ(WEXITSTATUS(status), 7, "load refused, map and link as one");
	link = attach(skel->progs.prog_drop, sk, 0);
out:
	bpf_link__destroy(link);
	bpf_map_delete_elem(bpf_map__fd(skel->maps.sock_map), &u32(0));
	close_pair(sk, peer);
}

/* A verdict that drops, or a msg verdict; with a token, or 0 */
static int load_by(int token, enum bpf_prog_type type, enum bpf_attach_type attach_type)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = attach_type);
	struct bpf_insn insns[] = { BPF_MOV64_IMM(BPF_REG_0, SK_DROP), BPF_EXIT_INSN() };

	opts.prog_flags = token ? BPF_F_TOKEN_FD : 0;
	opts.token_fd = token;
	return bpf_prog_load(type, NULL, "GPL", insns, ARRAY_SIZE(insns), &opts);
}

static int load_verdict(int token)
{
	return load_by(token, BPF_PROG_TYPE_SK_SKB, BPF_SK_SKB_STREAM_VERDICT);
}

/* Tell the number of a file, and wait until the other side has done with it. */
static bool tell(int sock, int fd)
{
	char done;

	return write(sock, &fd, sizeof(fd)) == sizeof(fd) && read(sock, &done, 1) == 1;
}

/* A file of @pid that it tells the number of, or -1 */
static int get_told(int sock, int pid)
{
	int pidfd = syscall(__NR_pidfd_open, pid, 0), fd = -1;

	if (read(sock, &fd, sizeof(fd)) == sizeof(fd) && fd >= 0)
		fd = syscall(__NR_pidfd_getfd, pidfd, fd, 0);
	close(pidfd);
	return fd;
}

static bool delegate(int fs, const char *what, __u64 mask)
{
	char value[32];

	snprintf(value, sizeof(value), "%#llx", mask);
	return ASSERT_OK(syscall(__NR_fsconfig, fs, FSCONFIG_SET_STRING, what, value, 0), what);
}

/* In a user namespace of its own, whose bpffs the other side has made */
static int token_of_own(int sock)
{
	int fs, mnt, dir;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return -1;
	fs = syscall(__NR_fsopen, "bpf", 0);
	if (!tell(sock, fs))
		return -1;
	mnt = syscall(__NR_fsmount, fs, 0, 0);
	dir = openat(mnt, ".", O_RDONLY | O_DIRECTORY);
	return bpf_token_create(dir, NULL);
}

/* Verdicts may be loaded there, and nothing else. */
static bool delegate_verdicts(int fs)
{
	return delegate(fs, "delegate_cmds", 1ULL << BPF_PROG_LOAD) &&
	       delegate(fs, "delegate_progs", 1ULL << BPF_PROG_TYPE_SK_SKB) &&
	       delegate(fs, "delegate_attachs", 1ULL << BPF_SK_SKB_STREAM_VERDICT) &&
	       ASSERT_OK(syscall(__NR_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "bpffs");
}

/* The token that @pid makes, with what it is allowed */
static int token_for(int sock, int pid)
{
	int fs = get_told(sock, pid), token = -1;

	if (delegate_verdicts(fs) && write(sock, "", 1) == 1) {
		token = get_told(sock, pid);
		ASSERT_EQ(write(sock, "", 1), 1, "write");
	}
	close(fs);
	return token;
}

/* With the token of its namespace, it may load and so attach. */
static int with_own_token(int sock, int sk, int peer)
{
	int prog, bits = 0, token = token_of_own(sock);
	char c;

	if (token < 0 || !tell(sock, token))
		return 64;
	bits |= load_verdict(0) == -EPERM;
	prog = load_verdict(token);
	bits |= (bpf_link_create(prog, sk, BPF_SK_SKB_STREAM_VERDICT, NULL) >= 0) << 1;
	bits |= (send(peer, "x", 1, 0) == 1 && recv(sk, &c, 1, MSG_DONTWAIT) < 0) << 2;
	bits |= (load_by(token, BPF_PROG_TYPE_SK_MSG, BPF_SK_MSG_VERDICT) == -EPERM) << 3;
	cap_disable_effective(1ULL << CAP_NET_ADMIN | 1ULL << CAP_SYS_ADMIN, NULL);
	bits |= (load_verdict(token) == -EPERM) << 4;
	return bits;
}

static int with_other_token(int token)
{
	if (unshare(CLONE_NEWUSER))
		return 64;
	return load_verdict(token) == -EPERM;
}

static int exit_status(int pid)
{
	int status = -1;

	ASSERT_EQ(waitpid(pid, &status, 0), pid, "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Who has no capability but in a user namespace needs a token of that namespace. */
static void tokens(void)
{
	int sk, peer, pid, token = -1, sock[2] = { -1, -1 };

	if (!tcp_pair(&sk, &peer) ||
	    !ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sock), "socketpair"))
		goto out;
	pid = fork();
	if (!pid) {
		close(sock[0]);
		_exit(with_own_token(sock[1], sk, peer));
	}
	close_fd(&sock[1]);
	sock[1] = -1;
	token = token_for(sock[0], pid);
	ASSERT_GE(token, 0, "token");
	close_fd(&sock[0]);
	sock[0] = -1;
	ASSERT_EQ(exit_status(pid), 31, "own token");

	pid = fork();
	if (!pid)
		_exit(with_other_token(token));
	ASSERT_EQ(exit_status(pid), 1, "token of another namespace");
out:
	close(token);
	close_pair(sock[0], sock[1]);
	close_pair(sk, peer);
}

static void one_kind(int family, int type)
{
	int sk = -1, peer = -1;
	struct bpf_link *link;

	if (create_pair(family, type, &sk, &peer))
		goto out;
	link = attach(skel->progs.prog_drop, sk, 0);
	if (!link)
		goto out;
	send_record(peer, 'P', 30);
	check(sk, 30, 0);
	ASSERT_OK(bpf_link__update_program(link, skel->progs.prog_pass), "update");
	send_record(peer, 'P', 40);
	check(sk, 40, 40);
	bpf_link__destroy(link);
	send_record(peer, 'P', 50);
	check(sk, 0, 50);

	link = attach(skel->progs.prog_drop, 0, BPF_F_SOCK_NONE);
	ASSERT_OK(add_to(link, sk), "add");
	send_record(peer, 'P', 30);
	check(sk, 30, 0);
	ASSERT_OK(del_from(link, sk), "take off");
	send_record(peer, 'P', 40);
	check(sk, 0, 40);
	bpf_link__destroy(link);

	link = attach(skel->progs.prog_drop, sk, 0);
	close_fd(&sk);
	sk = -1;
	ASSERT_EQ(link_info(link).sock.sock_cookie, 0, "cookie");
	bpf_link__destroy(link);
out:
	close_pair(sk, peer);
}

/* Sockets other than TCP, as in a map */
static void other_kinds(void)
{
	one_kind(AF_INET, SOCK_DGRAM);
	one_kind(AF_INET6, SOCK_DGRAM);
	one_kind(AF_UNIX, SOCK_DGRAM);
	one_kind(AF_UNIX, SOCK_STREAM);
}

/* Which sockmap has not always known */
static void vsock(void)
{
	one_kind(AF_VSOCK, SOCK_STREAM);
}

/* Datagrams that nobody reads are lost when the receive buffer is full. */
static void udp_memory(void)
{
	int i, sk = -1, peer = -1, got = 0, size = 10000;
	struct bpf_link *link = NULL;
	char buf[1000] = "\3\350P";

	if (create_pair(AF_INET, SOCK_DGRAM, &sk, &peer) ||
	    setsockopt(sk, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)))
		goto out;
	link = attach(skel->progs.prog_pass, sk, 0);
	for (i = 0; i < 200; i++)
		ASSERT_EQ(send(peer, buf, sizeof(buf), 0), sizeof(buf), "send");
	while (recv(sk, buf, sizeof(buf), MSG_DONTWAIT) == sizeof(buf))
		got++;
	ASSERT_GT(got, 0, "received");
	ASSERT_LT(got, 50, "received");
	skel->bss->judged_bytes = 0;
out:
	bpf_link__destroy(link);
	close_pair(sk, peer);
}

static int client_of(int fd)
{
	int one = 1, c = connect_to_fd(fd, WAIT_SEC * 1000);

	if (c >= 0)
		setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return c;
}

static bool judge_listener(struct listener *l)
{
	l->parser = attach(skel->progs.prog_parser, l->fd, BPF_F_SOCK_INHERIT);
	l->verdict = attach(skel->progs.prog_judge, l->fd, BPF_F_SOCK_INHERIT);
	return l->parser && l->verdict;
}

static bool listen_judged(struct listener *l, int family)
{
	memset(l, 0, sizeof(*l));
	l->fd = socket_loopback(family, SOCK_STREAM);
	return l->fd >= 0 && judge_listener(l);
}

static void unlisten(struct listener *l)
{
	bpf_link__destroy(l->verdict);
	bpf_link__destroy(l->parser);
	if (l->fd >= 0)
		close(l->fd);
}

/* Of what is sent before accept(), and after */
static void __inherit(int family)
{
	int c = -1, sk = -1;
	struct listener l;

	if (!listen_judged(&l, family))
		goto out;
	c = client_of(l.fd);
	send_record(c, 'D', 30);
	send_record(c, 'P', 40);
	sk = accept_timeout(l.fd, NULL, NULL, WAIT_SEC);
	check(sk, 70, 40);
	ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 2, "count");
	ASSERT_EQ(refused(skel->progs.prog_pass, sk, 0), -EBUSY, "slot of the connection");
	send_record(c, 'D', 50);
	send_record(c, 'P', 60);
	check(sk, 110, 60);
	close_fd(&sk);
	sk = -1;
	ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 1, "count");
out:
	close_pair(sk, c);
	unlisten(&l);
}

static void inherit(void)
{
	__inherit(AF_INET);
}

static void inherit_v6(void)
{
	__inherit(AF_INET6);
}

/* An IPv4 connection to an IPv6 socket */
static void inherit_mapped(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	int c = -1, sk = -1, off = 0;
	struct bpf_link *link = NULL;
	socklen_t len = sizeof(any);
	int fd;

	fd = socket(AF_INET6, SOCK_STREAM, 0);
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (!ASSERT_OK(bind(fd, (void *)&any, len), "bind") ||
	    !ASSERT_OK(listen(fd, 1), "listen"))
		goto out;
	getsockname(fd, (void *)&any, &len);
	link = attach(skel->progs.prog_judge, fd, BPF_F_SOCK_INHERIT);
	addr.sin_port = any.sin6_port;
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	c = socket(AF_INET, SOCK_STREAM, 0);
	if (!ASSERT_OK(connect(c, (void *)&addr, sizeof(addr)), "connect"))
		goto out;
	send_record(c, 'D', 30);
	sk = accept_timeout(fd, NULL, NULL, WAIT_SEC);
	check(sk, 30, 0);
	send_record(c, 'P', 40);
	check(sk, 40, 40);
out:
	bpf_link__destroy(link);
	close_pair(sk, c);
	close(fd);
}

/* Connections that wait to be accepted when the link is made */
static void inherit_waiting(void)
{
	struct listener l = {};
	int i, c[2], sk;

	l.fd = socket_loopback(AF_INET, SOCK_STREAM);
	for (i = 0; i < 2; i++) {
		c[i] = client_of(l.fd);
		send_record(c[i], 'D', 30);
		send_record(c[i], 'P', 40);
	}
	if (!judge_listener(&l))
		goto out;
	ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 3, "count");
	check(-1, 140, 0);
	for (i = 0; i < 2; i++) {
		sk = accept_timeout(l.fd, NULL, NULL, WAIT_SEC);
		check(sk, 0, 40);
		send_record(c[i], 'P', 50);
		check(sk, 50, 50);
		close_fd(&sk);
	}
out:
	close_pair(c[0], c[1]);
	unlisten(&l);
}

static int set_tcp(const char *name, int value)
{
	char path[64];
	int old = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/tcp_%s", name);
	f = fopen(path, "r+");
	if (!ASSERT_OK_PTR(f, path))
		return -1;
	ASSERT_EQ(fscanf(f, "%d", &old), 1, "old value");
	rewind(f);
	fprintf(f, "%d", value);
	fclose(f);
	return old;
}

/* Another socket at the address of @fd, or at any if that is -1 */
static int listen_again(int fd)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int again = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	socklen_t len = sizeof(addr);

	if ((fd >= 0 && getsockname(fd, (void *)&addr, &len)) ||
	    setsockopt(again, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
	    bind(again, (void *)&addr, len) || listen(again, 1))
		ASSERT_FAIL("listen: %d", errno);
	return again;
}

/* A connection goes over to another listening socket when its own is closed. */
static void inherit_migrated(void)
{
	int c, sk = -1, old = set_tcp("migrate_req", 1), first = listen_again(-1);
	struct listener l = { .fd = -1 };

	c = client_of(first);
	send_record(c, 'D', 30);
	send_record(c, 'P', 40);
	l.fd = listen_again(first);
	if (!judge_listener(&l))
		goto out;
	close(first);
	sk = accept_timeout(l.fd, NULL, NULL, WAIT_SEC);
	check(sk, 70, 40);
	ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 2, "count");
	send_record(c, 'P', 50);
	check(sk, 50, 50);
out:
	close_pair(sk, c);
	unlisten(&l);
	set_tcp("migrate_req", old);
}

/* What was accepted listens itself, with programs for those that it accepts. */
static void inherit_relisten(void)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	struct listener l[2] = {};
	int c = -1, sk = -1;

	l[1].fd = -1;
	if (!listen_judged(&l[0], AF_INET))
		goto out;
	c = client_of(l[0].fd);
	l[1].fd = accept_timeout(l[0].fd, NULL, NULL, WAIT_SEC);
	close_fd(&c);
	if (!ASSERT_OK(connect(l[1].fd, &unspec, sizeof(unspec)), "disconnect") ||
	    !ASSERT_OK(listen(l[1].fd, 1), "listen") || !judge_listener(&l[1]))
		goto out;
	c = client_of(l[1].fd);
	send_record(c, 'D', 30);
	send_record(c, 'P', 40);
	sk = accept_timeout(l[1].fd, NULL, NULL, WAIT_SEC);
	check(sk, 70, 40);
out:
	close_pair(sk, c);
	unlisten(&l[1]);
	unlisten(&l[0]);
}

/* Of the data in a SYN: dropped, passed, or half a record */
static void inherit_fastopen(void)
{
	static const struct {
		char data[8];
		int len, judged, read;
	} syns[] = {
		{ "\0\6Dxyz", 6, 6, 0 },
		{ "\0\6Pxyz", 6, 6, 6 },
		{ "\0\7Pxyz", 6, 0, 0 },
	};
	/* for all, without cookies */
	int i, c, sk, old = set_tcp("fastopen", 0x607);
	struct tcp_info ti;
	struct pollfd pfd;
	struct listener l;
	socklen_t len;

	if (!listen_judged(&l, AF_INET))
		goto out;
	for (i = 0; i < ARRAY_SIZE(syns); i++) {
		c = fastopen_connect(l.fd, syns[i].data, syns[i].len, 0);
		sk = accept_timeout(l.fd, NULL, NULL, WAIT_SEC);
		pfd = (struct pollfd){ .fd = sk, .events = POLLIN };
		ASSERT_EQ(poll(&pfd, 1, 0), !!syns[i].read, "readable");
		len = sizeof(ti);
		xgetsockopt(sk, IPPROTO_TCP, TCP_INFO, &ti, &len);
		ASSERT_NEQ(ti.tcpi_options & TCPI_OPT_SYN_DATA, 0, "data in the SYN");
		check(sk, syns[i].judged, syns[i].read);
		if (!syns[i].judged) {
			ASSERT_EQ(send(c, "x", 1, 0), 1, "send the rest");
			check(sk, 7, 7);
		}
		send_record(c, 'P', 40);
		check(sk, 40, 40);
		close_pair(sk, c);
	}
out:
	unlisten(&l);
	set_tcp("fastopen", old);
}

#define MANY 10000
#define CLIENTS 4
#define READERS 2

/* One dropped, one passed, one dropped */
static const char three[30] = "\0\12D-------\0\12P+++++++\0\12D------";

struct many {
	struct sockaddr_in addr;
	int fd;
	int each;		/* connections of each client */
	int connected;
	int accepted;
	__u64 read;
	bool unjudged;
};

static void *connect_many(void *arg)
{
	struct many *m = arg;
	bool ok = true;
	int i, c;

	for (i = 0; ok && i < m->each; i++) {
		c = socket(AF_INET, SOCK_STREAM, 0);
		ok = !connect(c, (void *)&m->addr, sizeof(m->addr)) &&
		     send(c, three, sizeof(three), 0) == sizeof(three);
		close(c);
		__sync_fetch_and_add(&m->connected, ok);
	}
	return NULL;
}

/* Until all are, or no more come. */
static void *read_many(void *arg)
{
	struct many *m = arg;
	char buf[100];
	int n, sk;

	while ((sk = accept(m->fd, NULL, NULL)) >= 0) {
		while ((n = recv(sk, buf, sizeof(buf), 0)) > 0) {
			__sync_fetch_and_add(&m->read, n);
			if (n > 10 || memcmp(buf, three + 10, n))
				m->unjudged = true;
		}
		close(sk);
		if (__sync_add_and_fetch(&m->accepted, 1) == CLIENTS * m->each)
			shutdown(m->fd, SHUT_RD);
	}
	return NULL;
}

/* What is accepted has the options of the listening socket: to wait for it ends at
 * some time, and to close it leaves nothing behind, no TIME_WAIT either.
 */
static bool listen_for_many(int fd)
{
	struct linger reset = { .l_onoff = 1 };
	struct timeval wait = { .tv_sec = 4 * WAIT_SEC };

	return !xsetsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) &&
	       !xsetsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) &&
	       ASSERT_OK(listen(fd, 4096), "listen");
}

/* Clients connect, send and go as fast as they can; each byte is judged. */
static void connect_and_judge(struct listener *l, int total)
{
	pthread_t clients[CLIENTS], readers[READERS];
	struct many m = { .fd = l->fd, .each = total / CLIENTS };
	socklen_t len = sizeof(m.addr);
	int i;

	if (!listen_for_many(l->fd) || xgetsockname(l->fd, (void *)&m.addr, &len))
		return;
	for (i = 0; i < READERS; i++)
		xpthread_create(&readers[i], NULL, read_many, &m);
	for (i = 0; i < CLIENTS; i++)
		xpthread_create(&clients[i], NULL, connect_many, &m);
	for (i = 0; i < CLIENTS; i++)
		xpthread_join(clients[i], NULL);
	for (i = 0; i < READERS; i++)
		xpthread_join(readers[i], NULL);
	ASSERT_EQ(m.connected, total, "connected");
	ASSERT_EQ(m.accepted, total, "accepted");
	ASSERT_EQ(skel->bss->judged, total * 3ULL, "records judged");
	ASSERT_EQ(skel->bss->judged_bytes, total * sizeof(three), "bytes judged");
	ASSERT_EQ(m.read, total * 10ULL, "bytes read");
	ASSERT_FALSE(m.unjudged, "read what is not passed");
}

static void inherit_many(void)
{
	struct listener l;

	if (listen_judged(&l, AF_INET)) {
		connect_and_judge(&l, MANY);
		/* It does not listen any more, either. */
		ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 0, "count");
	}
	unlisten(&l);
}

/* Attach it while the @nth allocation of this thread fails; true if that came about */
static bool attach_fail_nth(int fail_nth, int nth, struct bpf_program *prog, int sk,
			    int *link)
{
	char left = 'x';

	dprintf(fail_nth, "%d", nth);
	*link = bpf_link_create(bpf_program__fd(prog), sk,
				bpf_program__expected_attach_type(prog), NULL);
	if (*link < 0)
		*link = -errno;
	pread(fail_nth, &left, 1, 0);
	dprintf(fail_nth, "0");
	return left == '0';
}

/* Each of the allocations fails in turn: the program is attached, or is not. */
static int attach_nomem(struct bpf_program *prog, int sk, int peer, int judged)
{
	int fail_nth = open("/proc/thread-self/fail-nth", O_RDWR);
	int nth = 1, link = -1;
	bool failed;

	do {
		if (link >= 0)
			close(link);
		failed = attach_fail_nth(fail_nth, nth++, prog, sk, &link);
		if (link < 0 && !ASSERT_EQ(link, -ENOMEM, "attach"))
			break;
		send_record(peer, 'P', 30);
		check(sk, link >= 0 ? judged : 0, 30);
	} while (failed);
	close(fail_nth);
	return link;
}

static void attach_all_nomem(void)
{
	int sk, peer, parser = -1, verdict = -1, msg = -1;

	if (!tcp_pair(&sk, &peer))
		goto out;
	set_fault(FAILSLAB "verbose", "0");
	set_fault(FAILSLAB "times", "-1");
	set_fault(FAILSLAB "ignore-gfp-wait", "0");
	msg = attach_nomem(skel->progs.prog_msg_drop, sk, peer, 0);
	parser = attach_nomem(skel->progs.prog_parser, sk, peer, 0);
	verdict = attach_nomem(skel->progs.prog_judge, sk, peer, 30);
	set_fault(FAILSLAB "ignore-gfp-wait", "1");
	ASSERT_GE(verdict, 0, "attached");
	ASSERT_EQ(send(sk, "x", 1, 0), -1, "send");
out:
	close(verdict);
	close(parser);
	close(msg);
	close_pair(sk, peer);
}

/* Where in the kernel a function begins, and the next one */
static bool function_range(const char *name, unsigned long *start, unsigned long *end)
{
	unsigned long long found;
	unsigned long addr;
	FILE *f;

	if (kallsyms_find(name, &found))
		return false;
	*start = found;
	*end = ULONG_MAX;
	f = fopen("/proc/kallsyms", "r");
	while (f && fscanf(f, "%lx%*[^\n]", &addr) == 1)
		if (addr > *start && addr < *end)
			*end = addr;
	if (f)
		fclose(f);
	return *end != ULONG_MAX;
}

/* The next @times that a function called by @name wants memory, there is none; false
 * where that cannot be had.
 */
static bool fail_below(const char *name, const char *times)
{
	unsigned long start, end;
	char value[32];

	if (!ASSERT_TRUE(function_range(name, &start, &end), name))
		return false;
	snprintf(value, sizeof(value), "%lu", end);
	if (!set_fault(FAILSLAB "require-end", value))
		return false;
	snprintf(value, sizeof(value), "%lu", start);
	set_fault(FAILSLAB "require-start", value);
	set_fault(FAILSLAB "verbose", "0");
	set_fault(FAILSLAB "times", times);
	set_fault(FAILSLAB "probability", "100");
	return true;
}

/* How many of them are left. No more fail. */
static int faults_left(void)
{
	char left[16] = "";
	int fd = open(FAILSLAB "times", O_RDONLY);

	ASSERT_GT(read(fd, left, sizeof(left) - 1), 0, "times");
	close(fd);
	set_fault(FAILSLAB "probability", "0");
	set_fault(FAILSLAB "require-start", "0");
	set_fault(FAILSLAB "require-end", "18446744073709551615");
	return atoi(left);
}

/* Each time that the programs cannot be inherited, the connection does not come about,
 * until the client tries again.
 */
static void inherit_nomem(void)
{
	int c = -1, sk = -1;
	struct listener l;
	bool faults;

	if (!listen_judged(&l, AF_INET))
		goto out;
	faults = fail_below("sock_link_inherit", "3");
	c = client_of(l.fd);
	send_record(c, 'D', 30);
	send_record(c, 'P', 40);
	sk = accept_timeout(l.fd, NULL, NULL, 4 * WAIT_SEC);
	check(sk, 70, 40);
	if (faults)
		ASSERT_EQ(faults_left(), 0, "allocations that have yet to fail");
out:
	close_pair(sk, c);
	unlisten(&l);
}

/* If it cannot have the programs, it is gone: accept() says so, and goes on with others. */
static void inherit_migrated_nomem(void)
{
	int i, c[2], sk = -1, old = set_tcp("migrate_req", 1), first = listen_again(-1);
	struct listener l = { .fd = -1 };

	for (i = 0; i < 2; i++) {
		c[i] = client_of(first);
		send_record(c[i], 'P', 40);
	}
	l.fd = listen_again(first);
	if (!judge_listener(&l)) {
		close(first);
		goto out;
	}
	close(first);
	if (fail_below("sock_link_accept", "1")) {
		ASSERT_EQ(accept_timeout(l.fd, NULL, NULL, WAIT_SEC), -1, "accept");
		ASSERT_EQ(errno, ECONNABORTED, "errno");
		ASSERT_EQ(faults_left(), 0, "allocations that have yet to fail");
	} else {
		close(accept_timeout(l.fd, NULL, NULL, WAIT_SEC));
	}
	skel->bss->judged_bytes = 0;
	sk = accept_timeout(l.fd, NULL, NULL, WAIT_SEC);
	check(sk, 40, 40);
out:
	close(sk);
	close_pair(c[0], c[1]);
	unlisten(&l);
	set_tcp("migrate_req", old);
}

/* The link has them all: update, detach, and the listening socket's end */
static void inherit_update(void)
{
	struct listener l;
	int i, c[3], sk[3];

	if (!listen_judged(&l, AF_INET))
		goto out;
	for (i = 0; i < 2; i++) {
		c[i] = client_of(l.fd);
		sk[i] = accept_timeout(l.fd, NULL, NULL, WAIT_SEC);
	}
	c[2] = client_of(l.fd);
	ASSERT_OK(bpf_link__update_program(l.verdict, skel->progs.prog_drop), "update");
	sk[2] = accept_timeout(l.fd, NULL, NULL, WAIT_SEC);
	for (i = 0; i < 3; i++) {
		send_record(c[i], 'P', 30);
		check(sk[i], 30, 0);
	}
	close_fd(&l.fd);
	l.fd = -1;
	ASSERT_EQ(link_info(l.verdict).sock.sock_cookie, 0, "cookie");
	ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 3, "count");
	ASSERT_OK(bpf_link__update_program(l.verdict, skel->progs.prog_pass), "update");
	for (i = 0; i < 3; i++) {
		send_record(c[i], 'D', 40);
		check(sk[i], 40, 40);
	}
	ASSERT_OK(bpf_link__detach(l.verdict), "detach");
	ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 0, "count");
	for (i = 0; i < 3; i++) {
		send_record(c[i], 'D', 50);
		check(sk[i], 0, 50);
		close_pair(sk[i], c[i]);
	}
out:
	unlisten(&l);
}

/* What a listening socket had is not inherited when it is gone. */
static void inherit_detach(void)
{
	struct listener l;
	int c = -1, sk = -1;

	if (!listen_judged(&l, AF_INET))
		goto out;
	bpf_link__destroy(l.verdict);
	l.verdict = NULL;
	c = client_of(l.fd);
	sk = accept_timeout(l.fd, NULL, NULL, WAIT_SEC);
	send_record(c, 'D', 30);
	check(sk, 0, 30);
	/* nor does it come to those that are there */
	l.verdict = attach(skel->progs.prog_judge, l.fd, BPF_F_SOCK_INHERIT);
	send_record(c, 'D', 30);
	check(sk, 0, 30);
out:
	close_pair(sk, c);
	unlisten(&l);
}

/* A call that has the socket lock, and waits for a page that is given by unstick() */
struct stuck {
	int sk;
	int uffd;
	char *page;
	pthread_t thread;
	bool sends;
};

static void *send_page(void *arg)
{
	struct stuck *s = arg;

	send(s->sk, s->page, 1, MSG_NOSIGNAL);
	return NULL;
}

static bool stick(struct stuck *s, int sk)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	struct pollfd pfd = { .events = POLLIN };
	int size = getpagesize();

	s->sk = sk;
	s->uffd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	s->page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (unsigned long)s->page;
	reg.range.len = size;
	if (!ASSERT_OK_FD(s->uffd, "userfaultfd") ||
	    !ASSERT_OK(ioctl(s->uffd, UFFDIO_API, &api), "UFFDIO_API") ||
	    !ASSERT_OK(ioctl(s->uffd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER"))
		return false;
	s->sends = ASSERT_OK(pthread_create(&s->thread, NULL, send_page, s), "thread");
	pfd.fd = s->uffd;
	return s->sends && ASSERT_EQ(poll(&pfd, 1, WAIT_SEC * 1000), 1, "page fault");
}

static void unstick(struct stuck *s)
{
	struct uffdio_zeropage zero = { .range.len = getpagesize() };

	zero.range.start = (unsigned long)s->page;
	if (s->sends) {
		ASSERT_OK(ioctl(s->uffd, UFFDIO_ZEROPAGE, &zero), "UFFDIO_ZEROPAGE");
		pthread_join(s->thread, NULL);
	}
	if (s->uffd >= 0)
		close(s->uffd);
	munmap(s->page, getpagesize());
	*s = (struct stuck){ .uffd = -1 };
}

/* Does @run end, though a call on a socket does not? */
static bool in_time(void *(*run)(void *arg), void *arg, struct stuck *s)
{
	struct timespec until;
	pthread_t thread;
	bool ends;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_SEC;
	if (!ASSERT_OK(pthread_create(&thread, NULL, run, arg), "thread"))
		return false;
	ends = !pthread_timedjoin_np(thread, NULL, &until);
	if (!ends) {
		unstick(s);
		pthread_join(thread, NULL);
	}
	return ends;
}

/* Which program the socket has in a slot, and of which link */
struct queried {
	__u32 count, prog, link;
};

static int query_slot(int fd, enum bpf_attach_type type, struct queried *q)
{
	LIBBPF_OPTS(bpf_prog_query_opts, opts, .prog_ids = &q->prog, .link_ids = &q->link,
		    .count = 1);
	int err;

	memset(q, 0xff, sizeof(*q));
	err = bpf_prog_query_opts(fd, type, &opts);
	q->count = opts.count;
	return err;
}

static void check_slot(int fd, enum bpf_attach_type type, struct bpf_program *prog,
		       const struct bpf_link *link)
{
	struct queried q;

	if (!ASSERT_OK(query_slot(fd, type, &q), "query") ||
	    !ASSERT_EQ(q.count, !!prog, "programs") || !prog)
		return;
	ASSERT_EQ(q.prog, id_from_prog_fd(bpf_program__fd(prog)), "program");
	ASSERT_EQ(q.link, link ? link_info(link).id : 0, "link");
}

/* Which program a socket has in each slot: of a link, of a map, or none */
static void query(void)
{
	int map = bpf_map__fd(skel->maps.other_map);
	struct bpf_link *link = NULL;
	struct queried q;
	int sk, peer;

	if (!tcp_pair(&sk, &peer))
		goto out;
	check_slot(sk, BPF_SK_SKB_STREAM_VERDICT, NULL, NULL);
	if (!ASSERT_OK(bpf_prog_attach(bpf_program__fd(skel->progs.prog_msg_pass), map,
				       BPF_SK_MSG_VERDICT, 0), "attach") ||
	    !ASSERT_OK(bpf_map_update_elem(map, &(int){ 0 }, &sk, BPF_ANY), "add"))
		goto out;
	link = attach(skel->progs.prog_pass, sk, 0);
	check_slot(sk, BPF_SK_SKB_STREAM_PARSER, NULL, NULL);
	check_slot(sk, BPF_SK_SKB_STREAM_VERDICT, skel->progs.prog_pass, link);
	check_slot(sk, BPF_SK_MSG_VERDICT, skel->progs.prog_msg_pass, NULL);
	ASSERT_EQ(query_slot(sk, BPF_SK_SKB_VERDICT, &q), -EBUSY, "other verdict");
	ASSERT_EQ(query_slot(no_file(), BPF_SK_MSG_VERDICT, &q), -EBADF, "no file");
	close_fd(&peer);
	peer = no_socket();
	ASSERT_EQ(query_slot(peer, BPF_SK_MSG_VERDICT, &q), -EINVAL, "no socket");
	if (link)
		ASSERT_OK(bpf_link__detach(link), "detach");
	check_slot(sk, BPF_SK_SKB_STREAM_VERDICT, NULL, NULL);
out:
	bpf_link__destroy(link);
	close_pair(sk, peer);
}

struct three_links {
	struct listener l;
	struct bpf_link *msg;
	int sk;
};

static void *update_links(void *arg)
{
	struct three_links *links = arg;

	ASSERT_OK(bpf_link__update_program(links->l.parser, skel->progs.prog_parser_ten),
		  "update of a parser");
	ASSERT_OK(bpf_link__update_program(links->l.verdict, skel->progs.prog_drop),
		  "update of a verdict");
	ASSERT_OK(bpf_link__update_program(links->msg, skel->progs.prog_msg_drop),
		  "update of a msg verdict");
	ASSERT_EQ(link_info(links->l.verdict).sock.nr_socks, 3, "count");
	fdinfo_has(links->l.verdict, "nr_socks:\t3");
	check_slot(links->sk, BPF_SK_MSG_VERDICT, skel->progs.prog_msg_drop, links->msg);
	return NULL;
}

static void *end_links(void *arg)
{
	struct three_links *links = arg;

	ASSERT_OK(bpf_link__detach(links->l.verdict), "detach");
	ASSERT_EQ(link_info(links->l.verdict).sock.nr_socks, 0, "count");
	bpf_link__destroy(links->l.parser);
	links->l.parser = NULL;
	bpf_link__destroy(links->msg);
	links->msg = NULL;
	return NULL;
}

/* No link waits for a socket that is in use, for as long as the application likes. */
static void lock_held(void)
{
	int i, c[2] = { -1, -1 }, sk[2] = { -1, -1 };
	struct stuck s = { .uffd = -1 };
	struct three_links links = {};

	if (!listen_judged(&links.l, AF_INET))
		goto out;
	for (i = 0; i < 2; i++) {
		c[i] = client_of(links.l.fd);
		sk[i] = accept_timeout(links.l.fd, NULL, NULL, WAIT_SEC);
	}
	links.msg = attach(skel->progs.prog_msg_pass, sk[0], 0);
	links.sk = sk[0];
	if (!stick(&s, sk[0]) ||
	    !ASSERT_TRUE(in_time(update_links, &links, &s), "update in time"))
		goto out;
	send_record(c[1], 'P', 10);
	check(sk[1], 10, 0);
	if (!ASSERT_TRUE(in_time(end_links, &links, &s), "end in time"))
		goto out;
	send_record(c[0], 'D', 10);
	unstick(&s);
	check(sk[0], 0, 10);
out:
	unstick(&s);
	for (i = 0; i < 2; i++)
		close_pair(sk[i], c[i]);
	bpf_link__destroy(links.msg);
	unlisten(&links.l);
}

/* Links of no socket, to add some to */
static bool make_shared(struct listener *l, __u32 flags)
{
	l->fd = -1;
	l->parser = attach(skel->progs.prog_parser, 0, BPF_F_SOCK_NONE | flags);
	l->verdict = attach(skel->progs.prog_judge, 0, BPF_F_SOCK_NONE | flags);
	return l->parser && l->verdict;
}

/* The same, for programs to add theirs */
static bool load_adders(struct test_sock_link_add **adders, struct listener *l,
			__u32 flags)
{
	bool made = make_shared(l, flags);

	*adders = test_sock_link_add__open_and_load();
	if (!ASSERT_OK_PTR(*adders, "open_and_load") || !made)
		return false;
	(*adders)->bss->links[0] = link_info(l->parser).id;
	(*adders)->bss->links[1] = link_info(l->verdict).id;
	return true;
}

/* Programs that add sockets as SOCK_OPS programs see them: sockets made later on */
struct sockops {
	struct test_sock_link_add *adders;
	struct bpf_link *attached;
	int cg;
};

static bool attach_sockops(struct sockops *o, struct listener *l, __u32 flags)
{
	o->attached = NULL;
	o->cg = test__join_cgroup("/sock_link");
	if (!load_adders(&o->adders, l, flags) || !ASSERT_GE(o->cg, 0, "cgroup"))
		return false;
	o->attached = bpf_program__attach_cgroup(o->adders->progs.add_established, o->cg);
	return ASSERT_OK_PTR(o->attached, "attach_cgroup");
}

static void detach_sockops(struct sockops *o)
{
	bpf_link__destroy(o->attached);
	o->attached = NULL;
	test_sock_link_add__destroy(o->adders);
	o->adders = NULL;
	if (o->cg >= 0)
		close(o->cg);
	o->cg = -1;
}

static void add_sockops(void)
{
	static const struct {
		int op;
		bool passive;
	} ops[] = {
		{ BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, true },
		{ BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, false },
	};
	int i, server = -1, c, sk, other;
	struct listener l;
	struct sockops o;

	if (!attach_sockops(&o, &l, 0))
		goto out;
	server = socket_loopback(AF_INET, SOCK_STREAM);
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		o.adders->bss->op = ops[i].op;
		memset(o.adders->bss->errs, -1, sizeof(o.adders->bss->errs));
		c = client_of(server);
		sk = accept_timeout(server, NULL, NULL, WAIT_SEC);
		ASSERT_OK(o.adders->bss->errs[0], "add the parser");
		ASSERT_OK(o.adders->bss->errs[1], "add the verdict");
		ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 1, "count");
		other = ops[i].passive ? c : sk;
		sk = ops[i].passive ? sk : c;
		send_record(other, 'D', 30);
		send_record(other, 'P', 40);
		check(sk, 70, 40);
		close_pair(sk, other);
		ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 0, "count");
	}
	/* another op */
	o.adders->bss->op = BPF_SOCK_OPS_TCP_CONNECT_CB;
	c = client_of(server);
	ASSERT_EQ(o.adders->bss->errs[1], -EOPNOTSUPP, "before the connection");
	close(c);
	/* what is gone, and what is for no one else */
	o.adders->bss->op = BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB;
	ASSERT_OK(bpf_link__detach(l.parser), "detach");
	bpf_link__destroy(l.verdict);
	l.verdict = NULL;
	c = client_of(server);
	ASSERT_EQ(o.adders->bss->errs[0], -ENOLINK, "detached");
	ASSERT_EQ(o.adders->bss->errs[1], -ENOENT, "destroyed");
	l.verdict = attach(skel->progs.prog_judge, c, 0);
	o.adders->bss->links[1] = link_info(l.verdict).id;
	close(client_of(server));
	ASSERT_EQ(o.adders->bss->errs[1], -EINVAL, "of a socket");
	close(c);
out:
	detach_sockops(&o);
	unlisten(&l);
	if (server >= 0)
		close(server);
}

/* Whoever listens, and who connects to them */
static void add_listen(void)
{
	int c = -1, sk = -1;
	struct listener l;
	struct sockops o;

	if (!attach_sockops(&o, &l, BPF_F_SOCK_INHERIT))
		goto out;
	o.adders->bss->op = BPF_SOCK_OPS_TCP_LISTEN_CB;
	memset(o.adders->bss->errs, -1, sizeof(o.adders->bss->errs));
	l.fd = socket_loopback(AF_INET, SOCK_STREAM);
	ASSERT_OK(o.adders->bss->errs[0], "add the parser");
	ASSERT_OK(o.adders->bss->errs[1], "add the verdict");
	o.adders->bss->op = BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB;
	c = client_of(l.fd);
	ASSERT_EQ(o.adders->bss->errs[1], -EINVAL, "add a connection");
	send_record(c, 'D', 30);
	send_record(c, 'P', 40);
	sk = accept_timeout(l.fd, NULL, NULL, WAIT_SEC);
	check(sk, 70, 40);
	ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 2, "count");
out:
	close_pair(sk, c);
	detach_sockops(&o);
	unlisten(&l);
}

/* One of them has a program in that place. */
static void inherit_waiting_busy(void)
{
	int c = -1, sk = -1, server = -1;
	struct listener l;
	struct sockops o;

	if (!attach_sockops(&o, &l, 0))
		goto out;
	server = socket_loopback(AF_INET, SOCK_STREAM);
	o.adders->bss->op = BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB;
	c = client_of(server);
	ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 1, "count");
	ASSERT_EQ(refused(skel->progs.prog_drop, server, BPF_F_SOCK_INHERIT), -EBUSY, "busy");
	sk = accept_timeout(server, NULL, NULL, WAIT_SEC);
	send_record(c, 'P', 50);
	check(sk, 50, 50);
	close_pair(sk, c);
	c = -1;
	sk = -1;
	/* Nothing is left of it. */
	detach_sockops(&o);
	c = client_of(server);
	sk = accept_timeout(server, NULL, NULL, WAIT_SEC);
	send_record(c, 'P', 50);
	check(sk, 0, 50);
out:
	close_pair(sk, c);
	detach_sockops(&o);
	unlisten(&l);
	if (server >= 0)
		close(server);
}

/* User space adds sockets, with data in any state, and takes them off again. */
static void add_given(void)
{
	int i, sk[] = { -1, -1 }, peer[] = { -1, -1 };
	struct listener l;

	if (!make_shared(&l, 0))
		goto out;
	for (i = 0; i < 2; i++) {
		if (!tcp_pair(&sk[i], &peer[i]))
			goto out;
		send_record(peer[i], 'D', 20);
		send_record(peer[i], 'P', 30);
		ASSERT_OK(add_to(l.parser, sk[i]), "add to the parser");
		ASSERT_OK(add_to(l.verdict, sk[i]), "add to the verdict");
		ASSERT_EQ(add_to(l.verdict, sk[i]), -EBUSY, "add it again");
		ASSERT_EQ(link_info(l.verdict).sock.nr_socks, i + 1, "count");
		check(sk[i], 50, 30);
	}
	ASSERT_OK(bpf_link__update_program(l.verdict, skel->progs.prog_drop), "update");
	for (i = 0; i < 2; i++) {
		send_record(peer[i], 'P', 40);
		check(sk[i], 40, 0);
	}
	/* off again, one by one, and one by closing it */
	ASSERT_OK(del_from(l.verdict, sk[0]), "take off");
	ASSERT_EQ(del_from(l.verdict, sk[0]), -ENOENT, "take it off again");
	ASSERT_OK(del_from(l.parser, sk[0]), "take off");
	ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 1, "count");
	for (i = 0; i < 2; i++) {
		send_record(peer[i], 'P', 50);
		check(sk[i], i ? 50 : 0, i ? 0 : 50);
	}
	close_fd(&sk[1]);
	ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 0, "count");
	ASSERT_OK(add_to(l.verdict, sk[0]), "add to the verdict alone");
	send_record(peer[0], 'P', 60);
	check(sk[0], 60, 0);
	ASSERT_OK(bpf_link__detach(l.verdict), "detach");
	ASSERT_EQ(add_to(l.verdict, sk[0]), -ENOLINK, "detached");
out:
	for (i = 0; i < 2; i++)
		close_pair(sk[i], peer[i]);
	unlisten(&l);
}

/* Not a byte is judged without the parser, whenever they come and go. */
static void add_given_both(void)
{
	int i, sk = -1, peer = -1;
	struct listener l;

	if (!make_shared(&l, 0) || !tcp_pair(&sk, &peer))
		goto out;
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(send(peer, "\0\36P", 3, 0), 3, "half a record");
		ASSERT_OK(update_both(&l, sk, BPF_F_SOCK_ADD), "add");
		ASSERT_EQ(update_both(&l, sk, BPF_F_SOCK_ADD), -EBUSY, "add again");
		check(sk, 0, 0);
		ASSERT_EQ(send(peer, zeros, 27, 0), 27, "the other half");
		send_record(peer, 'D', 40);
		check(sk, 70, 30);
		ASSERT_EQ(send(peer, "\0\36P", 3, 0), 3, "half a record");
		ASSERT_OK(update_both(&l, sk, BPF_F_SOCK_DEL), "take off");
		ASSERT_EQ(link_info(l.parser).sock.nr_socks, 0, "count");
		ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 0, "count");
		check(sk, 0, 3);
	}
	/* one that is on one of them */
	ASSERT_OK(add_to(l.parser, sk), "add to the parser");
	ASSERT_EQ(update_both(&l, sk, BPF_F_SOCK_ADD), -EBUSY, "the slot of the parser");
	ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 0, "count");
	ASSERT_EQ(update_both(&l, sk, BPF_F_SOCK_DEL), -ENOENT, "take off one");
	ASSERT_EQ(link_info(l.parser).sock.nr_socks, 0, "count");
	/* one that is detached */
	ASSERT_OK(bpf_link__detach(l.parser), "detach");
	ASSERT_EQ(update_both(&l, sk, BPF_F_SOCK_ADD), -ENOLINK, "without the parser");
	send_record(peer, 'D', 30);
	check(sk, 0, 30);
out:
	close_pair(sk, peer);
	unlisten(&l);
}

static void add_given_msg(void)
{
	struct bpf_link *link = attach(skel->progs.prog_msg_drop, 0, BPF_F_SOCK_NONE);
	int sk, peer;

	if (!tcp_pair(&sk, &peer) || !link)
		goto out;
	ASSERT_OK(add_to(link, peer), "add");
	ASSERT_EQ(send(peer, "x", 1, 0), -1, "send");
	ASSERT_OK(del_from(link, peer), "take off");
	send_record(peer, 'P', 30);
	check(sk, 0, 30);
out:
	bpf_link__destroy(link);
	close_pair(sk, peer);
}

/* What the link and the flags have to be; what the socket has to be, refusals has. */
static void add_given_refused(void)
{
	LIBBPF_OPTS(bpf_link_update_opts, opts);
	static const __u32 flags[] = {
		BPF_F_SOCK_ADD | BPF_F_SOCK_DEL, BPF_F_SOCK_ADD | BPF_F_REPLACE,
		BPF_F_SOCK_DEL | BPF_F_REPLACE, BPF_F_SOCK_ADD | 1U << 31,
	};
	struct bpf_link *none = attach(skel->progs.prog_pass, 0, BPF_F_SOCK_NONE);
	struct bpf_link *own = NULL, *other = NULL;
	struct listener both = { .fd = -1 };
	int i, sk, peer, cg = test__join_cgroup("/sock_link");

	if (!tcp_pair(&sk, &peer) || !none || !ASSERT_GE(cg, 0, "cgroup"))
		goto out;
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		opts.flags = flags[i];
		ASSERT_EQ(bpf_link_update(bpf_link__fd(none), sk, &opts), -EINVAL, "flags");
	}
	opts.flags = BPF_F_SOCK_ADD;
	opts.old_prog_fd = bpf_program__fd(skel->progs.prog_pass);
	ASSERT_EQ(bpf_link_update(bpf_link__fd(none), sk, &opts), -EINVAL, "and a program");
	ASSERT_EQ(del_from(none, sk), -ENOENT, "take off what is not there");
	ASSERT_EQ(del_from(none, 999), -EBADF, "take off no file");

	own = attach(skel->progs.prog_pass, peer, 0);
	both.parser = none;
	both.verdict = none;
	ASSERT_EQ(update_both(&both, sk, BPF_F_SOCK_ADD), -EINVAL, "no parser");
	both.parser = own;
	ASSERT_EQ(update_both(&both, sk, BPF_F_SOCK_ADD), -EINVAL, "one of a socket");
	ASSERT_EQ(add_to(own, sk), -EINVAL, "a link of one socket");
	ASSERT_EQ(del_from(own, peer), -EINVAL, "its socket");
	other = bpf_program__attach_cgroup(skel->progs.prog_sockops, cg);
	both.parser = other;
	ASSERT_EQ(update_both(&both, sk, BPF_F_SOCK_ADD), -EINVAL, "parser of another kind");
	ASSERT_EQ(add_to(other, sk), -EINVAL, "a link of another kind");
	send_record(peer, 'P', 30);
	check(sk, 0, 30);
out:
	bpf_link__destroy(other);
	bpf_link__destroy(own);
	bpf_link__destroy(none);
	close_pair(sk, peer);
	if (cg >= 0)
		close(cg);
}

/* A listening socket: what waits to be accepted there, what comes, and what comes
 * when it is taken off.
 */
static void add_given_listener(void)
{
	struct bpf_link *link = attach(skel->progs.prog_judge, 0,
				       BPF_F_SOCK_NONE | BPF_F_SOCK_INHERIT);
	int fd = socket_loopback(AF_INET, SOCK_STREAM), c[3], sk[3], i;

	for (i = 0; i < 3; i++) {
		if (i == 1)
			ASSERT_OK(add_to(link, fd), "add");
		if (i == 2)
			ASSERT_OK(del_from(link, fd), "take off");
		c[i] = client_of(fd);
	}
	for (i = 0; i < 3; i++) {
		sk[i] = accept_timeout(fd, NULL, NULL, WAIT_SEC);
		send_record(c[i], 'D', 30);
		check(sk[i], i < 2 ? 30 : 0, i < 2 ? 0 : 30);
	}
	ASSERT_EQ(link_info(link).sock.nr_socks, 2, "count");
	for (i = 0; i < 3; i++)
		close_pair(sk[i], c[i]);
	bpf_link__destroy(link);
	close(fd);
}

/* Of other kinds, a program does not know whether they are closed right now. */
static void add_udp(void)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = zeros, .data_size_in = sizeof(zeros));
	struct test_sock_link_add *adders = NULL;
	int fd = socket_loopback(AF_INET, SOCK_DGRAM);
	struct sockaddr_in addr = {};
	socklen_t len = sizeof(addr);
	struct listener l;

	if (!load_adders(&adders, &l, 0))
		goto out;
	getsockname(fd, (void *)&addr, &len);
	adders->bss->udp = true;
	adders->bss->tuple.ipv4.saddr = addr.sin_addr.s_addr;
	adders->bss->tuple.ipv4.daddr = addr.sin_addr.s_addr;
	adders->bss->tuple.ipv4.dport = addr.sin_port;
	ASSERT_OK(bpf_prog_test_run_opts(bpf_program__fd(adders->progs.add_looked_up), &run),
		  "test_run");
	ASSERT_EQ(adders->bss->errs[1], -EOPNOTSUPP, "add the verdict");
out:
	test_sock_link_add__destroy(adders);
	unlisten(&l);
	close(fd);
}

static void add_lookup(void)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = zeros, .data_size_in = sizeof(zeros));
	struct test_sock_link_add *adders = NULL;
	struct sockaddr_in local, remote;
	socklen_t len = sizeof(local);
	struct listener l = { .fd = -1 };
	int sk, peer, prog;

	if (!tcp_pair(&sk, &peer) || !load_adders(&adders, &l, 0))
		goto out;
	getsockname(sk, (void *)&local, &len);
	getpeername(sk, (void *)&remote, &len);
	adders->bss->tuple.ipv4.saddr = remote.sin_addr.s_addr;
	adders->bss->tuple.ipv4.sport = remote.sin_port;
	adders->bss->tuple.ipv4.daddr = local.sin_addr.s_addr;
	adders->bss->tuple.ipv4.dport = local.sin_port;
	send_record(peer, 'D', 20);
	send_record(peer, 'P', 30);
	prog = bpf_program__fd(adders->progs.add_looked_up);
	ASSERT_OK(bpf_prog_test_run_opts(prog, &run), "test_run");
	ASSERT_OK(adders->bss->errs[0], "add the parser");
	ASSERT_OK(adders->bss->errs[1], "add the verdict");
	check(sk, 50, 30);
	ASSERT_OK(bpf_prog_test_run_opts(prog, &run), "test_run");
	ASSERT_EQ(adders->bss->errs[1], -EBUSY, "add it again");
	ASSERT_EQ(link_info(l.verdict).sock.nr_socks, 1, "count");
	ASSERT_OK(bpf_link__update_program(l.verdict, skel->progs.prog_drop), "update");
	send_record(peer, 'P', 30);
	check(sk, 30, 0);
	bpf_link__destroy(l.verdict);
	l.verdict = NULL;
	send_record(peer, 'D', 30);
	check(sk, 0, 30);
out:
	test_sock_link_add__destroy(adders);
	unlisten(&l);
	close_pair(sk, peer);
}

/* All at once, on sockets that are closed and replaced meanwhile: what is looked
 * for is in the kernel log.
 */
enum { SK = 100, PEER, LISTENER };

static __u64 race_until;

static bool racing(void)
{
	return now_ms() < race_until;
}

static void race_link(struct bpf_program *prog, struct bpf_program *other, int fd,
		      __u32 flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
	enum bpf_attach_type type = bpf_program__expected_attach_type(prog);
	struct bpf_link_info info = {};
	__u32 i = 0, len = sizeof(info);

	while (racing()) {
		int link = bpf_link_create(bpf_program__fd(prog), fd, type, &opts);

		if (link < 0)
			continue;
		if (other)
			bpf_link_update(link, bpf_program__fd(other), NULL);
		if (i++ & 1)
			bpf_link_detach(link);
		bpf_link_get_info_by_fd(link, &info, &len);
		close(link);
	}
}

static void *race_parser(void *arg)
{
	race_link(skel->progs.prog_parser, skel->progs.prog_parser_ten, SK, 0);
	return NULL;
}

static void *race_verdict(void *arg)
{
	race_link(skel->progs.prog_judge, skel->progs.prog_pass, SK, 0);
	return NULL;
}

static void *race_msg(void *arg)
{
	race_link(skel->progs.prog_msg_drop, skel->progs.prog_msg_pass, SK, 0);
	return NULL;
}

/* A link stays, the socket comes and goes. */
static void *race_given(void *arg)
{
	struct bpf_link *link = try_attach(skel->progs.prog_drop, 0, BPF_F_SOCK_NONE);

	while (racing()) {
		add_to(link, SK);
		bpf_link__update_program(link, skel->progs.prog_drop);
		del_from(link, SK);
	}
	bpf_link__destroy(link);
	return NULL;
}

static void *race_listener(void *arg)
{
	race_link(skel->progs.prog_judge, skel->progs.prog_drop, LISTENER,
		  BPF_F_SOCK_INHERIT);
	return NULL;
}

static void *race_map(void *arg)
{
	int map = bpf_map__fd(skel->maps.sock_map);

	while (racing()) {
		bpf_map_update_elem(map, &u32(0), &u64(SK), BPF_ANY);
		bpf_map_delete_elem(map, &u32(0));
	}
	return NULL;
}

static void *race_data(void *arg)
{
	char rec[20] = "\0\24P", buf[100];

	while (racing()) {
		send(PEER, rec, sizeof(rec), MSG_DONTWAIT | MSG_NOSIGNAL);
		send(SK, rec, sizeof(rec), MSG_DONTWAIT | MSG_NOSIGNAL);
		recv(SK, buf, sizeof(buf), MSG_DONTWAIT);
		recv(PEER, buf, sizeof(buf), MSG_DONTWAIT);
	}
	return NULL;
}

/* What inherits comes and goes, and takes the place of what others work on. */
static void *race_sockets(void *arg)
{
	while (racing()) {
		int sk = -1, c = connect_to_fd(LISTENER, WAIT_SEC * 1000);

		if (c >= 0)
			sk = accept_timeout(LISTENER, NULL, NULL, WAIT_SEC);
		dup2(sk, SK);
		dup2(c, PEER);
		close_pair(sk, c);
	}
	return NULL;
}

static void *race_fork(void *arg)
{
	int pid;

	while (racing()) {
		pid = fork();
		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
	return NULL;
}

/* The same of unix sockets, which have no parser and no sk_msg programs */
static void *race_skb_verdict(void *arg)
{
	race_link(skel->progs.prog_skb, NULL, SK, 0);
	return NULL;
}

static void *race_pairs(void *arg)
{
	int fd[2];

	while (racing()) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd))
			continue;
		dup2(fd[0], SK);
		dup2(fd[1], PEER);
		close_pair(fd[0], fd[1]);
	}
	return NULL;
}

static void run_racers(void *(* const racers[])(void *arg), int n)
{
	pthread_t threads[10];
	int i;

	race_until = now_ms() + 2000;
	for (i = 0; i < n; i++)
		xpthread_create(&threads[i], NULL, racers[i], NULL);
	for (i = 0; i < n; i++)
		xpthread_join(threads[i], NULL);
	close(SK);
	close(PEER);
	/* The programs are free of all that, and the next socket is as any. */
	skel->bss->judged_bytes = 0;
	attach_detach();
}

static void race(void)
{
	static void *(* const racers[])(void *arg) = {
		race_parser, race_verdict, race_msg, race_given, race_listener,
		race_map, race_data, race_sockets, race_fork,
	};
	int fd = socket_loopback(AF_INET, SOCK_STREAM);

	dup2(fd, LISTENER);
	close(fd);
	run_racers(racers, ARRAY_SIZE(racers));
	close(LISTENER);
}

static void race_unix(void)
{
	static void *(* const racers[])(void *arg) = {
		race_verdict, race_skb_verdict, race_given, race_map, race_data,
		race_pairs, race_fork,
	};

	run_racers(racers, ARRAY_SIZE(racers));
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "attach_detach",	attach_detach },
	{ "parser_first",	parser_first },
	{ "parser_gone",	parser_gone },
	{ "update",		update },
	{ "update_refused",	update_refused },
	{ "info",		info },
	{ "bpftool",		bpftool },
	{ "half_closed",	half_closed },
	{ "psock_size",		psock_size },
	{ "query",		query },
	{ "zerocopy",		zerocopy },
	{ "close_socket",	close_socket },
	{ "slot_taken",		slot_taken },
	{ "beside_map",		beside_map },
	{ "msg",		msg },
	{ "msg_cork",		msg_cork },
	{ "refused",		refusals_of_all },
	{ "privileges",		privileges },
	{ "tokens",		tokens },
	{ "udp_memory",		udp_memory },
	{ "other_kinds",	other_kinds },
	{ "vsock",		vsock },
	{ "inherit",		inherit },
	{ "inherit_v6",		inherit_v6 },
	{ "inherit_mapped",	inherit_mapped },
	{ "inherit_waiting",	inherit_waiting },
	{ "inherit_waiting_busy", inherit_waiting_busy },
	{ "inherit_migrated",	inherit_migrated },
	{ "inherit_relisten",	inherit_relisten },
	{ "inherit_fastopen",	inherit_fastopen },
	{ "inherit_many",	inherit_many },
	{ "attach_nomem",	attach_all_nomem },
	{ "inherit_nomem",	inherit_nomem },
	{ "inherit_migrated_nomem", inherit_migrated_nomem },
	{ "inherit_update",	inherit_update },
	{ "inherit_detach",	inherit_detach },
	{ "lock_held",		lock_held },
	{ "add_sockops",	add_sockops },
	{ "add_listen",		add_listen },
	{ "add_lookup",		add_lookup },
	{ "add_udp",		add_udp },
	{ "add_given",		add_given },
	{ "add_given_both",	add_given_both },
	{ "add_given_msg",	add_given_msg },
	{ "add_given_refused",	add_given_refused },
	{ "add_given_listener",	add_given_listener },
	{ "race",		race },
	{ "race_unix",		race_unix },
};

static bool has_links(void)
{
	int fd = socket_loopback(AF_INET, SOCK_STREAM);
	int err = refused(skel->progs.prog_pass, fd, BPF_F_SOCK_INHERIT);

	close(fd);
	return ASSERT_OK(err, "link");
}

void test_sock_link(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		if (!test__start_subtest(tests[i].name))
			continue;
		skel = test_sock_link__open_and_load();
		if (ASSERT_OK_PTR(skel, "open_and_load") && has_links())
			tests[i].run();
		test_sock_link__destroy(skel);
	}
}
