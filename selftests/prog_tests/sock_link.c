// SPDX-License-Identifier: GPL-2.0
/* Links that attach programs directly to a socket: which programs can be
 * attached to which sockets, how long they stay attached, and which connections
 * inherit them. sockmap_recv tests what such sockets receive.
 */
#include <error.h>
#include <poll.h>
#include <sched.h>
#include <linux/inet_diag.h>
#include <linux/mount.h>
#include <linux/sock_diag.h>
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
#include "netdev_nl.h"
#include "sock_link.h"
#include "test_sock_link.skel.h"

#define WAIT_SEC 5

/* INET_DIAG_BPF_PROGS and what is in it: <linux/inet_diag.h> of the build machine is older. */
#define DIAG_BPF_PROGS 23
enum { DIAG_BPF_PROG_ATTACH_TYPE = 2, DIAG_BPF_PROG_ID, DIAG_BPF_PROG_LINK_ID };

static struct test_sock_link *skel;
static const char zeros[32];

static struct bpf_link *try_attach_pair(struct bpf_program *parser, struct bpf_program *prog,
					int fd, __u32 flags)
{
	LIBBPF_OPTS(bpf_sock_link_opts, opts, .flags = flags);

	opts.parser_fd = parser ? bpf_program__fd(parser) : 0;
	return bpf_program__attach_sock(prog, fd, &opts);
}

static struct bpf_link *try_attach(struct bpf_program *prog, int fd, __u32 flags)
{
	return try_attach_pair(NULL, prog, fd, flags);
}

static struct bpf_link *attach(struct bpf_program *prog, int fd, __u32 flags)
{
	struct bpf_link *link = try_attach(prog, fd, flags);

	ASSERT_OK_PTR(link, "attach");
	return link;
}

/* Attach the verdict @prog together with the parser for the records of these tests */
static struct bpf_link *attach_pair(struct bpf_program *prog, int fd, __u32 flags)
{
	struct bpf_link *link = try_attach_pair(skel->progs.prog_parser, prog, fd, flags);

	ASSERT_OK_PTR(link, "attach");
	return link;
}

/* Return: the error with which attaching both is refused, 0 if it is not */
static int pair_refused(struct bpf_program *parser, struct bpf_program *prog, int fd,
			__u32 flags)
{
	struct bpf_link *link = try_attach_pair(parser, prog, fd, flags);
	int err = link ? 0 : -errno;

	bpf_link__destroy(link);
	return err;
}

static int refused(struct bpf_program *prog, int fd, __u32 flags)
{
	return pair_refused(NULL, prog, fd, flags);
}

/* Update a link that has two programs. If @parser is NULL, the parser stays. */
static int update_pair(struct bpf_link *link, struct bpf_program *parser,
		       struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_link_update_opts, opts);

	opts.new_parser_fd = parser ? bpf_program__fd(parser) : 0;
	return bpf_link_update(bpf_link__fd(link), bpf_program__fd(prog), &opts);
}

struct listener {
	struct bpf_link *link;
	int fd;
};

/* Send a record of @len bytes in the format of sockmap_records.h */
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

/* The programs have run on @judged_bytes in total, and the application reads
 * @len bytes.
 */
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

/* An attached verdict runs, also on data received before; a detached one does not. */
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
	/* The socket is still open. */
	ASSERT_NEQ(link_info(link).sock.sock_cookie, 0, "cookie");
	send_record(peer, 'P', 50);
	check(sk, 0, 50);
	bpf_link__destroy(link);
out:
	close_pair(sk, peer);
}

/* A parser is attached in one step with its verdict: no byte is passed without
 * the parser.
 */
static void parser(void)
{
	struct bpf_link *link = NULL;
	int i, sk, peer;

	if (!tcp_pair(&sk, &peer))
		goto out;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(send(peer, "\0\36P", 3, 0), 3, "half a record");
		link = attach_pair(skel->progs.prog_judge, sk, 0);
		check(sk, 0, 0);
		ASSERT_EQ(send(peer, zeros, 27, 0), 27, "the other half");
		send_record(peer, 'D', 40);
		check(sk, 70, 30);
		ASSERT_EQ(refused(skel->progs.prog_judge, sk, 0), -EBUSY, "another");
		ASSERT_EQ(pair_refused(skel->progs.prog_parser, skel->progs.prog_judge, sk, 0),
			  -EBUSY, "another pair");
		/* detaching removes both in one step */
		ASSERT_EQ(send(peer, "\0\36P", 3, 0), 3, "half a record");
		bpf_link__destroy(link);
		link = NULL;
		check(sk, 0, 3);
	}
out:
	bpf_link__destroy(link);
	close_pair(sk, peer);
}

/* Which parsers are refused, and with which verdicts */
static void parser_refused(void)
{
	struct bpf_program *parser = skel->progs.prog_parser;
	int map = bpf_map__fd(skel->maps.sock_map), fd = bpf_program__fd(parser), sk, peer;

	if (!tcp_pair(&sk, &peer))
		goto out;
	ASSERT_EQ(refused(parser, sk, 0), -EINVAL, "alone");
	ASSERT_EQ(pair_refused(parser, parser, sk, 0), -EINVAL, "two parsers");
	ASSERT_EQ(pair_refused(parser, skel->progs.prog_skb, sk, 0), -EINVAL, "skb verdict");
	ASSERT_EQ(pair_refused(parser, skel->progs.prog_msg_pass, sk, 0), -EINVAL,
		  "msg verdict");
	ASSERT_EQ(pair_refused(skel->progs.prog_parser_changes, skel->progs.prog_judge, sk, 0),
		  -EINVAL, "one that changes packets");
	ASSERT_EQ(pair_refused(skel->progs.prog_msg_pass, skel->progs.prog_judge, sk, 0),
		  -EINVAL, "program of another type");
	/* The slot of the parser is taken, that of the verdict is not. */
	if (!ASSERT_OK(bpf_prog_attach(fd, map, BPF_SK_SKB_STREAM_PARSER, 0), "attach"))
		goto out;
	xbpf_map_update_elem(map, &u32(0), &u64(sk), BPF_ANY);
	ASSERT_EQ(pair_refused(parser, skel->progs.prog_judge, sk, 0), -EBUSY, "slot taken");
	bpf_map_delete_elem(map, &u32(0));
	bpf_prog_detach2(fd, map, BPF_SK_SKB_STREAM_PARSER);
	send_record(peer, 'P', 30);
	check(sk, 0, 30);
out:
	close_pair(sk, peer);
}

/* An update takes effect with the next record. */
static void update(void)
{
	struct bpf_link *link = NULL;
	int sk, peer;

	if (!tcp_pair(&sk, &peer))
		goto out;
	link = attach_pair(skel->progs.prog_drop, sk, 0);
	send_record(peer, 'P', 30);
	check(sk, 30, 0);
	send_record(peer, 'P', 40);
	check(sk, 40, 0);
	ASSERT_OK(bpf_link__update_program(link, skel->progs.prog_pass), "new verdict");
	send_record(peer, 'D', 50);
	check(sk, 50, 50);

	/* The old parser has determined the length of this record. */
	ASSERT_EQ(send(peer, "\0\36Pxxxxxxx", 10, 0), 10, "ten of 30 bytes");
	check(sk, 0, 0);
	ASSERT_OK(update_pair(link, skel->progs.prog_parser_ten, skel->progs.prog_judge),
		  "new ones of both");
	ASSERT_EQ(send(peer, zeros, 20, 0), 20, "the other 20");
	check(sk, 30, 30);
	send_record(peer, 'P', 10);
	send_record(peer, 'D', 10);
	check(sk, 20, 10);
	ASSERT_EQ(skel->bss->judged, 6, "records");

	/* The new parser runs on a record of which the old one did not know the length. */
	ASSERT_OK(update_pair(link, skel->progs.prog_parser, skel->progs.prog_pass), "a header");
	ASSERT_EQ(send(peer, "\0", 1, 0), 1, "half a header");
	check(sk, 0, 0);
	ASSERT_OK(update_pair(link, skel->progs.prog_parser_one, skel->progs.prog_pass),
		  "one byte");
	check(sk, 1, 1);
out:
	bpf_link__destroy(link);
	close_pair(sk, peer);
}

static void update_refused(void)
{
	LIBBPF_OPTS(bpf_link_update_opts, replace, .flags = BPF_F_REPLACE);
	int drop = bpf_program__fd(skel->progs.prog_drop);
	int pass = bpf_program__fd(skel->progs.prog_pass);
	int msg = bpf_program__fd(skel->progs.prog_msg_pass);
	int skb = bpf_program__fd(skel->progs.prog_skb);
	struct bpf_link *pair = NULL, *link = NULL;
	int sk, peer, fd;

	if (!tcp_pair(&sk, &peer))
		goto out;
	pair = attach_pair(skel->progs.prog_drop, sk, 0);
	link = attach(skel->progs.prog_drop, peer, 0);
	fd = bpf_link__fd(link);
	ASSERT_EQ(bpf_link_update(fd, msg, NULL), -EINVAL, "other type");
	ASSERT_EQ(bpf_link_update(fd, skb, NULL), -EINVAL, "other attach type");
	ASSERT_EQ(update_pair(link, skel->progs.prog_parser, skel->progs.prog_pass), -EINVAL,
		  "parser for a link without one");
	ASSERT_EQ(update_pair(pair, skel->progs.prog_parser_changes, skel->progs.prog_pass),
		  -EINVAL, "parser that changes packets");
	ASSERT_EQ(update_pair(pair, skel->progs.prog_judge, skel->progs.prog_pass), -EINVAL,
		  "verdict as parser");
	replace.old_prog_fd = pass;
	ASSERT_EQ(bpf_link_update(fd, pass, &replace), -EPERM, "wrong old program");
	replace.new_parser_fd = 999;
	replace.old_prog_fd = drop;
	ASSERT_EQ(bpf_link_update(bpf_link__fd(pair), pass, &replace), -EBADF, "no parser");
	replace.new_parser_fd = 0;
	ASSERT_OK(bpf_link_update(fd, pass, &replace), "right old program");
	/* the refused updates changed nothing */
	send_record(peer, 'P', 30);
	send_record(peer, 'P', 40);
	check(sk, 70, 0);
	ASSERT_OK(bpf_link__detach(link), "detach");
	ASSERT_EQ(bpf_link_update(fd, drop, NULL), -ENOLINK, "after detach");

	close_fd(&sk);
	sk = -1;
	ASSERT_EQ(bpf_link_update(bpf_link__fd(pair), pass, NULL), -ENOLINK, "after close");
out:
	bpf_link__destroy(link);
	bpf_link__destroy(pair);
	close_pair(sk, peer);
}

/* Links of other types have no parser. */
static void update_others(void)
{
	int cg = test__join_cgroup("/sock_link");
	struct bpf_link *link;

	if (!ASSERT_GE(cg, 0, "cgroup"))
		return;
	link = bpf_program__attach_cgroup(skel->progs.prog_sockops, cg);
	if (ASSERT_OK_PTR(link, "attach"))
		ASSERT_EQ(update_pair(link, skel->progs.prog_parser, skel->progs.prog_sockops),
			  -EINVAL, "update");
	bpf_link__destroy(link);
	close(cg);
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

/* The link reports the socket it is on, or that it is on none. */
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
	link = attach_pair(skel->progs.prog_drop, sk, 0);
	if (!link)
		goto out;
	xgetsockopt(sk, SOL_SOCKET, SO_COOKIE, &cookie, &len);
	ASSERT_OK(stat("/proc/self/ns/net", &st), "stat");
	info = link_info(link);
	ASSERT_EQ(info.type, BPF_LINK_TYPE_SOCK, "type");
	ASSERT_EQ(info.sock.sock_cookie, cookie, "cookie");
	ASSERT_EQ(info.sock.netns_ino, st.st_ino, "netns_ino");
	ASSERT_EQ(info.sock.attach_type, BPF_SK_SKB_STREAM_VERDICT, "attach_type");
	ASSERT_EQ(info.sock.flags, 0, "flags");
	ASSERT_EQ(info.sock.parser_id, id_from_prog_fd(bpf_program__fd(skel->progs.prog_parser)),
		  "parser");
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

/* The last output of bpftool */
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
	link = attach_pair(skel->progs.prog_drop, sk, 0);
	server = socket_loopback(AF_INET, SOCK_STREAM);
	other = attach(skel->progs.prog_msg_pass, server, BPF_F_SOCK_INHERIT);
	if (!link || !other)
		goto out;
	info = link_info(link);
	cookie = info.sock.sock_cookie;
	ns = info.sock.netns_ino;
	bpftool_show(link, false);
	has_said("%u: sock  prog %u  ", info.id, info.prog_id);
	has_said("\tsock_cookie %llu  netns_ino %u  attach_type ", cookie, ns);
	has_said("attach_type sk_skb_stream_verdict  parser %u  sockets 1", info.sock.parser_id);
	bpftool_show(link, true);
	has_said("{\"id\":%u,\"type\":\"sock\",\"prog_id\":%u,", info.id, info.prog_id);
	has_said("\"sock_cookie\":%llu,\"netns_ino\":%u,", cookie, ns);
	has_said("\"attach_type\":\"sk_skb_stream_verdict\",\"parser_id\":%u,",
		 info.sock.parser_id);
	has_said(",\"flags\":[],\"sockets\":1");
	bpftool_show(other, false);
	has_said("attach_type sk_msg_verdict  inherit  sockets 1");
	bpftool_show(other, true);
	has_said("\"attach_type\":\"sk_msg_verdict\",\"flags\":[\"inherit\"]");

	ASSERT_OK(bpf_link__detach(other), "detach");
	bpftool_show(other, false);
	has_said("  detached  attach_type sk_msg_verdict  ");
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

/* The link does not keep the socket open: after close(), the peer gets the end
 * of file.
 */
static void close_socket(void)
{
	struct bpf_link *link = NULL;
	int sk, peer;
	char c;

	if (!tcp_pair(&sk, &peer))
		goto out;
	link = attach_pair(skel->progs.prog_pass, sk, 0);
	close_fd(&sk);
	sk = -1;
	ASSERT_EQ(recv_timeout(peer, &c, 1, 0, WAIT_SEC), 0, "end of file");
	ASSERT_EQ(link_info(link).sock.sock_cookie, 0, "cookie");
out:
	bpf_link__destroy(link);
	close_pair(sk, peer);
}

enum way { LINK, MAP };

/* One program per slot, whether it is attached by a link or by a map */
static const struct {
	const char *prog[2];
	int err;
} slots[] = {
	{ { "prog_drop",     "prog_pass" },       -EBUSY },
	{ { "prog_drop",     "prog_skb" },        -EBUSY },
	{ { "prog_skb",      "prog_drop" },       -EBUSY },
	{ { "prog_skb",      "prog_skb" },        -EBUSY },
	{ { "prog_msg_pass", "prog_msg_drop" },   -EBUSY },
	{ { "prog_msg_pass", "prog_drop" },       0 },
	{ { "prog_drop",     "prog_msg_pass" },   0 },
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
	/* Older kernels have no sockmap links. */
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
	/* all programs are detached */
	send_record(peer, 'P', 30);
	check(sk, 0, 30);
out:
	close_pair(sk, peer);
}

/* The socket may also be in a map without programs. Neither its removal from
 * the map nor the end of a link detaches programs of the other.
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

/* Corked data is sent before data that is sent after the program was detached. */
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

/* A sk_msg verdict: drop, update, detach */
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
	/* no program runs on what the socket receives */
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

/* Programs can be attached to a connection that one end has shut down for sending. */
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

/* sk_psock fits into the slab of 512 bytes; a larger one would take 1024. Debug
 * kernels have larger locks.
 */
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

	/* keep the peer open, as its FIN would be received */
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
	bool parser;
} refusals[] = {
	{ "connected",		connected,	"prog_pass",	0 },
	{ "no file",		no_file,	"prog_pass",	-EBADF },
	{ "no socket",		no_socket,	"prog_pass",	-EINVAL },
	{ "flags for a map",	a_map,		"prog_pass",	-EINVAL, BPF_F_SOCK_INHERIT },
	{ "unconnected",	unconnected,	"prog_pass",	-EOPNOTSUPP },
	{ "unconnected, msg",	unconnected,	"prog_msg_pass", -EOPNOTSUPP },
	{ "closed by the peer",	peer_closed,	"prog_pass",	0 },
	{ "TLS",		tls,		"prog_pass",	-EINVAL },
	{ "raw",		raw,		"prog_pass",	-EOPNOTSUPP },
	{ "UDP",		udp,		"prog_pass",	0 },
	{ "UDP, unbound",	udp_unbound,	"prog_pass",	-EOPNOTSUPP },
	{ "UDP, parser",	udp,		"prog_pass",	-EOPNOTSUPP, 0, true },
	{ "UDP, msg",		udp,		"prog_msg_pass", -EOPNOTSUPP },
	{ "unix",		unix_stream,	"prog_skb",	0 },
	{ "unix, unconnected",	unix_unconnected, "prog_skb",	-EOPNOTSUPP },
	{ "unix, parser",	unix_stream,	"prog_pass",	-EOPNOTSUPP, 0, true },
	{ "unix, msg",		unix_stream,	"prog_msg_pass", -EOPNOTSUPP },
	{ "unknown flag",	connected,	"prog_pass",	-EINVAL, 1U << 31 },
	{ "listening",		listening,	"prog_pass",	-EINVAL },
	{ "listening, inherit",	listening,	"prog_pass",	0, BPF_F_SOCK_INHERIT },
	{ "connected, inherit",	connected,	"prog_pass",	-EINVAL, BPF_F_SOCK_INHERIT },
	{ "UDP, inherit",	udp,		"prog_pass",	-EINVAL, BPF_F_SOCK_INHERIT },
};

/* expected_revision is an attribute of other link types */
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
		ASSERT_EQ(pair_refused(refusals[i].parser ? skel->progs.prog_parser : NULL, prog,
				       fd, refusals[i].flags),
			  refusals[i].err, refusals[i].name);
		close(fd);
		close(1000);
	}
	fd = connected();
	ASSERT_EQ(bpf_link_create(bpf_program__fd(skel->progs.prog_pass), fd,
				  BPF_SK_MSG_VERDICT, NULL), -EINVAL, "wrong attach type");
	ASSERT_EQ(create_with_revision(skel->progs.prog_pass, fd), -EINVAL, "revision");
	close(fd);
	close(1000);
}

/* The same permissions as for adding a socket to a map: without capabilities, a
 * process cannot load a program, but can attach one that it has an fd of to a
 * socket that it has an fd of.
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
	ASSERT_EQ(WEXITSTATUS(status), 7, "load refused, map and link allowed");
	link = attach(skel->progs.prog_drop, sk, 0);
out:
	bpf_link__destroy(link);
	bpf_map_delete_elem(bpf_map__fd(skel->maps.sock_map), &u32(0));
	close_pair(sk, peer);
}

/* Load a verdict that drops, or a sk_msg verdict. @token: a BPF token, or 0 */
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

/* Send an fd number, and wait until the other side is done with it. */
static bool tell(int sock, int fd)
{
	char done;

	return write(sock, &fd, sizeof(fd)) == sizeof(fd) && read(sock, &done, 1) == 1;
}

/* Receive an fd number of @pid. Return: a copy of that fd, or -1 */
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

/* Create a token in a new user namespace, from a bpffs that the other side sets up */
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

/* Allow to load verdicts, and nothing else. */
static bool delegate_verdicts(int fs)
{
	return delegate(fs, "delegate_cmds", 1ULL << BPF_PROG_LOAD) &&
	       delegate(fs, "delegate_progs", 1ULL << BPF_PROG_TYPE_SK_SKB) &&
	       delegate(fs, "delegate_attachs", 1ULL << BPF_SK_SKB_STREAM_VERDICT) &&
	       ASSERT_OK(syscall(__NR_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "bpffs");
}

/* Set up the bpffs of @pid. Return: the token that @pid creates from it */
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

/* With a token of its user namespace, a process may load and attach a verdict. */
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

/* A process with capabilities only in a user namespace needs a token of that
 * namespace.
 */
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

	link = attach(skel->progs.prog_drop, sk, 0);
	close_fd(&sk);
	sk = -1;
	ASSERT_EQ(link_info(link).sock.sock_cookie, 0, "cookie");
	bpf_link__destroy(link);
out:
	close_pair(sk, peer);
}

/* Sockets other than TCP, as with a sockmap */
static void other_kinds(void)
{
	one_kind(AF_INET, SOCK_DGRAM);
	one_kind(AF_INET6, SOCK_DGRAM);
	one_kind(AF_UNIX, SOCK_DGRAM);
	one_kind(AF_UNIX, SOCK_STREAM);
}

/* Older kernels have no vsock in sockmap */
static void vsock(void)
{
	one_kind(AF_VSOCK, SOCK_STREAM);
}

/* Datagrams that do not fit into the receive buffer are dropped. */
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
	l->link = attach_pair(skel->progs.prog_judge, l->fd, BPF_F_SOCK_INHERIT);
	return l->link;
}

static bool listen_judged(struct listener *l, int family)
{
	memset(l, 0, sizeof(*l));
	l->fd = socket_loopback(family, SOCK_STREAM);
	return l->fd >= 0 && judge_listener(l);
}

static void unlisten(struct listener *l)
{
	bpf_link__destroy(l->link);
	if (l->fd >= 0)
		close(l->fd);
}

/* The verdict runs on data sent before accept(), and after it */
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
	ASSERT_EQ(link_info(l.link).sock.nr_socks, 2, "count");
	ASSERT_EQ(refused(skel->progs.prog_pass, sk, 0), -EBUSY, "slot of the connection");
	send_record(c, 'D', 50);
	send_record(c, 'P', 60);
	check(sk, 110, 60);
	close_fd(&sk);
	sk = -1;
	ASSERT_EQ(link_info(l.link).sock.nr_socks, 1, "count");
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

/* An IPv4 connection to an IPv6 listening socket */
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

/* Connections that are in the accept queue when the link is created */
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
	ASSERT_EQ(link_info(l.link).sock.nr_socks, 3, "count");
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

/* A listening socket at the address of @fd with SO_REUSEPORT, or at any address
 * if @fd is -1
 */
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

/* A connection migrates to another listening socket when its own is closed. */
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
	ASSERT_EQ(link_info(l.link).sock.nr_socks, 2, "count");
	send_record(c, 'P', 50);
	check(sk, 50, 50);
out:
	close_pair(sk, c);
	unlisten(&l);
	set_tcp("migrate_req", old);
}

/* An accepted socket becomes a listening socket itself, with a link of its own. */
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

/* Data in a SYN is a dropped record, a passed one, or half a record */
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
	/* for all sockets, without cookies */
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

/* Three records: dropped, passed, dropped */
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

/* Accept and read until all connections were accepted, or accept() times out. */
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

/* Accepted sockets inherit the options of the listening socket: recv() and
 * accept() time out, and close() resets the connection, so that no TIME_WAIT
 * sockets are left.
 */
static bool listen_for_many(int fd)
{
	struct linger reset = { .l_onoff = 1 };
	struct timeval wait = { .tv_sec = 4 * WAIT_SEC };

	return !xsetsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) &&
	       !xsetsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) &&
	       ASSERT_OK(listen(fd, 4096), "listen");
}

/* Clients connect, send and close as fast as they can; the verdict runs on each
 * byte.
 */
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
	ASSERT_FALSE(m.unjudged, "read data that was not passed");
}

static void inherit_many(void)
{
	struct listener l;

	if (listen_judged(&l, AF_INET)) {
		connect_and_judge(&l, MANY);
		/* The listening socket was shut down, too. */
		ASSERT_EQ(link_info(l.link).sock.nr_socks, 0, "count");
	}
	unlisten(&l);
}

/* Attach @prog while the @nth allocation of this thread fails. Return: whether
 * it failed
 */
static bool attach_fail_nth(int fail_nth, int nth, struct bpf_program *prog, int sk,
			    int *link)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	char left = 'x';

	if (prog == skel->progs.prog_judge)
		opts.sock.parser_fd = bpf_program__fd(skel->progs.prog_parser);
	dprintf(fail_nth, "%d", nth);
	*link = bpf_link_create(bpf_program__fd(prog), sk,
				bpf_program__expected_attach_type(prog), &opts);
	if (*link < 0)
		*link = -errno;
	pread(fail_nth, &left, 1, 0);
	dprintf(fail_nth, "0");
	return left == '0';
}

/* Each allocation fails in turn: the program is attached completely, or not at all. */
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
	int sk, peer, verdict = -1, msg = -1;

	if (!tcp_pair(&sk, &peer))
		goto out;
	set_fault(FAILSLAB "verbose", "0");
	set_fault(FAILSLAB "times", "-1");
	set_fault(FAILSLAB "ignore-gfp-wait", "0");
	msg = attach_nomem(skel->progs.prog_msg_drop, sk, peer, 0);
	verdict = attach_nomem(skel->progs.prog_judge, sk, peer, 30);
	set_fault(FAILSLAB "ignore-gfp-wait", "1");
	ASSERT_GE(verdict, 0, "attached");
	ASSERT_EQ(send(sk, "x", 1, 0), -1, "send");
out:
	close(verdict);
	close(msg);
	close_pair(sk, peer);
}

/* The address of a kernel function, and that of the next one */
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

/* Have the next @times allocations of functions called by @name fail. Return:
 * false if the kernel cannot do that
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
	set_fault(FAILSLAB "ignore-gfp-wait", "N");
	set_fault(FAILSLAB "verbose", "0");
	set_fault(FAILSLAB "times", times);
	set_fault(FAILSLAB "probability", "100");
	return true;
}

/* Stop failing allocations. Return: how many have not failed yet */
static int faults_left(void)
{
	int left = failslab_times();

	set_fault(FAILSLAB "probability", "0");
	set_fault(FAILSLAB "ignore-gfp-wait", "Y");
	set_fault(FAILSLAB "require-start", "0");
	set_fault(FAILSLAB "require-end", "18446744073709551615");
	return left;
}

/* A connection that cannot inherit the programs for lack of memory is not
 * established, until the client retransmits.
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
		ASSERT_EQ(faults_left(), 0, "allocations yet to fail");
out:
	close_pair(sk, c);
	unlisten(&l);
}

/* A migrated connection without memory for the programs is aborted; accept()
 * reports that once.
 */
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
		ASSERT_EQ(faults_left(), 0, "allocations yet to fail");
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

/* Update, detach, and closing the listening socket affect the accepted sockets
 * as well
 */
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
	ASSERT_OK(bpf_link__update_program(l.link, skel->progs.prog_drop), "update");
	sk[2] = accept_timeout(l.fd, NULL, NULL, WAIT_SEC);
	for (i = 0; i < 3; i++) {
		send_record(c[i], 'P', 30);
		check(sk[i], 30, 0);
	}
	close_fd(&l.fd);
	l.fd = -1;
	ASSERT_EQ(link_info(l.link).sock.sock_cookie, 0, "cookie");
	ASSERT_EQ(link_info(l.link).sock.nr_socks, 3, "count");
	ASSERT_OK(bpf_link__update_program(l.link, skel->progs.prog_pass), "update");
	for (i = 0; i < 3; i++) {
		send_record(c[i], 'D', 40);
		check(sk[i], 40, 40);
	}
	ASSERT_OK(bpf_link__detach(l.link), "detach");
	ASSERT_EQ(link_info(l.link).sock.nr_socks, 0, "count");
	for (i = 0; i < 3; i++) {
		send_record(c[i], 'D', 50);
		check(sk[i], 0, 50);
		close_pair(sk[i], c[i]);
	}
out:
	unlisten(&l);
}

/* Connections do not inherit programs that were detached from the listening
 * socket before.
 */
static void inherit_detach(void)
{
	struct listener l;
	int c = -1, sk = -1;

	if (!listen_judged(&l, AF_INET))
		goto out;
	bpf_link__destroy(l.link);
	l.link = NULL;
	c = client_of(l.fd);
	sk = accept_timeout(l.fd, NULL, NULL, WAIT_SEC);
	send_record(c, 'D', 30);
	check(sk, 0, 30);
	/* a new link does not cover sockets accepted before */
	l.link = attach(skel->progs.prog_judge, l.fd, BPF_F_SOCK_INHERIT);
	send_record(c, 'D', 30);
	check(sk, 0, 30);
out:
	close_pair(sk, c);
	unlisten(&l);
}

/* A call that holds the socket lock and waits for a page, which unstick() supplies */
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

/* Return: whether @run ends while the call of @s still holds the socket lock */
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

/* The program in a slot of the socket, and the link it is attached by */
struct queried {
	__u32 count, prog, link;
};

static int query_slot(int fd, enum bpf_attach_type type, __u32 flags, struct queried *q)
{
	LIBBPF_OPTS(bpf_prog_query_opts, opts, .query_flags = flags, .prog_ids = &q->prog,
		    .link_ids = &q->link, .count = 1);
	int err;

	memset(q, 0xff, sizeof(*q));
	err = bpf_prog_query_opts(fd, type, &opts);
	q->count = opts.count;
	return err;
}

static void __check_slot(int fd, enum bpf_attach_type type, __u32 flags,
			 struct bpf_program *prog, const struct bpf_link *link)
{
	struct queried q;

	if (!ASSERT_OK(query_slot(fd, type, flags, &q), "query") ||
	    !ASSERT_EQ(q.count, !!prog, "programs") || !prog)
		return;
	ASSERT_EQ(q.prog, id_from_prog_fd(bpf_program__fd(prog)), "program");
	ASSERT_EQ(q.link, link ? link_info(link).id : 0, "link");
}

static void check_slot(int fd, enum bpf_attach_type type, struct bpf_program *prog,
		       const struct bpf_link *link)
{
	__check_slot(fd, type, 0, prog, link);
}

/* Query the slots of a socket: the program of a link, of a map, or none */
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
	ASSERT_EQ(query_slot(sk, BPF_SK_SKB_VERDICT, 0, &q), -EBUSY, "other verdict");
	ASSERT_EQ(query_slot(no_file(), BPF_SK_MSG_VERDICT, 0, &q), -EBADF, "no file");
	ASSERT_EQ(query_slot(sk, BPF_SK_MSG_VERDICT, BPF_F_QUERY_EFFECTIVE, &q), -EINVAL, "flag");
	close_fd(&peer);
	peer = no_socket();
	ASSERT_EQ(query_slot(peer, BPF_SK_MSG_VERDICT, 0, &q), -EINVAL, "no socket");
	if (link)
		ASSERT_OK(bpf_link__detach(link), "detach");
	check_slot(sk, BPF_SK_SKB_STREAM_VERDICT, NULL, NULL);
out:
	bpf_link__destroy(link);
	close_pair(sk, peer);
}

#define MAX_DIAG_PROGS 4

/* What sock_diag tells of the programs of a socket */
struct diag_progs {
	int replies, count;
	__u32 type[MAX_DIAG_PROGS], prog[MAX_DIAG_PROGS], link[MAX_DIAG_PROGS];
};

static __u32 diag_u32(struct rtattr *nest, int type)
{
	struct rtattr *a = nl_find(RTA_DATA(nest), RTA_PAYLOAD(nest), type);

	return a ? *(__u32 *)RTA_DATA(a) : 0;
}

static void read_diag_progs(struct nlmsghdr *h, void *arg)
{
	struct inet_diag_msg *msg = NLMSG_DATA(h);
	struct diag_progs *d = arg;
	struct rtattr *a;
	int len;

	d->replies++;
	a = nl_find((void *)(msg + 1), NLMSG_PAYLOAD(h, sizeof(*msg)), DIAG_BPF_PROGS);
	if (!a)
		return;
	len = RTA_PAYLOAD(a);
	for (a = RTA_DATA(a); RTA_OK(a, len) && d->count < MAX_DIAG_PROGS; a = RTA_NEXT(a, len)) {
		d->type[d->count] = diag_u32(a, DIAG_BPF_PROG_ATTACH_TYPE);
		d->prog[d->count] = diag_u32(a, DIAG_BPF_PROG_ID);
		d->link[d->count++] = diag_u32(a, DIAG_BPF_PROG_LINK_ID);
	}
}

static bool get_diag_progs(int sk, struct diag_progs *d)
{
	struct inet_diag_req_v2 req = {
		.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP,
		.idiag_ext = 1 << (INET_DIAG_INFO - 1), .idiag_states = -1,
		.id.idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE },
	};
	int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	struct sockaddr_in here, there;
	socklen_t len = sizeof(here);
	struct nl_req r;
	bool ok = false;

	memset(d, 0, sizeof(*d));
	if (!ASSERT_GE(nl, 0, "netlink") || xgetsockname(sk, (void *)&here, &len) ||
	    !ASSERT_OK(getpeername(sk, (void *)&there, &len), "getpeername"))
		goto out;
	req.id.idiag_sport = here.sin_port;
	req.id.idiag_src[0] = here.sin_addr.s_addr;
	req.id.idiag_dport = there.sin_port;
	req.id.idiag_dst[0] = there.sin_addr.s_addr;
	nl_start(&r, SOCK_DIAG_BY_FAMILY, 0, &req, sizeof(req));
	ok = ASSERT_OK(nl_talk(nl, &r, read_diag_progs, d), "sock_diag") &&
	     ASSERT_EQ(d->replies, 1, "replies");
out:
	if (nl >= 0)
		close(nl);
	return ok;
}

static void check_diag_prog(const struct diag_progs *d, int i, enum bpf_attach_type type,
			    struct bpf_program *prog, const struct bpf_link *link)
{
	ASSERT_EQ(d->type[i], type, "attach type");
	ASSERT_EQ(d->prog[i], id_from_prog_fd(bpf_program__fd(prog)), "program");
	ASSERT_EQ(d->link[i], link ? link_info(link).id : 0, "link");
}

/* The programs of a socket as ss can show them: of a link, of a map, or none; and only
 * with CAP_NET_ADMIN
 */
static void diag(void)
{
	int map = bpf_map__fd(skel->maps.other_map);
	struct bpf_link *link = NULL;
	struct diag_progs d;
	__u64 caps = 0;
	int sk, peer;

	if (!tcp_pair(&sk, &peer))
		goto out;
	if (!get_diag_progs(sk, &d) || !ASSERT_EQ(d.count, 0, "none yet") ||
	    !ASSERT_OK(bpf_prog_attach(bpf_program__fd(skel->progs.prog_msg_pass), map,
				       BPF_SK_MSG_VERDICT, 0), "attach") ||
	    !ASSERT_OK(bpf_map_update_elem(map, &(int){ 0 }, &sk, BPF_ANY), "add"))
		goto out;
	link = attach_pair(skel->progs.prog_judge, sk, 0);
	if (!link || !get_diag_progs(sk, &d) || !ASSERT_EQ(d.count, 3, "programs"))
		goto out;
	check_diag_prog(&d, 0, BPF_SK_SKB_STREAM_PARSER, skel->progs.prog_parser, link);
	check_diag_prog(&d, 1, BPF_SK_SKB_STREAM_VERDICT, skel->progs.prog_judge, link);
	check_diag_prog(&d, 2, BPF_SK_MSG_VERDICT, skel->progs.prog_msg_pass, NULL);
	if (get_diag_progs(peer, &d))
		ASSERT_EQ(d.count, 0, "of the peer");
	if (ASSERT_OK(cap_disable_effective(1ULL << CAP_NET_ADMIN, &caps), "drop CAP_NET_ADMIN") &&
	    get_diag_progs(sk, &d))
		ASSERT_EQ(d.count, 0, "without CAP_NET_ADMIN");
	ASSERT_OK(cap_enable_effective(caps, NULL), "CAP_NET_ADMIN again");
out:
	bpf_link__destroy(link);
	close_pair(sk, peer);
}

struct two_links {
	struct listener l;
	struct bpf_link *msg;
	int sk;
};

static void *update_links(void *arg)
{
	struct two_links *links = arg;

	ASSERT_OK(update_pair(links->l.link, skel->progs.prog_parser_ten, skel->progs.prog_drop),
		  "update of a verdict and its parser");
	ASSERT_OK(bpf_link__update_program(links->msg, skel->progs.prog_msg_drop),
		  "update of a msg verdict");
	ASSERT_EQ(link_info(links->l.link).sock.nr_socks, 3, "count");
	fdinfo_has(links->l.link, "nr_socks:\t3");
	check_slot(links->sk, BPF_SK_MSG_VERDICT, skel->progs.prog_msg_drop, links->msg);
	check_slot(links->sk, BPF_SK_SKB_STREAM_PARSER, skel->progs.prog_parser_ten,
		   links->l.link);
	return NULL;
}

static void *end_links(void *arg)
{
	struct two_links *links = arg;

	ASSERT_OK(bpf_link__detach(links->l.link), "detach");
	ASSERT_EQ(link_info(links->l.link).sock.nr_socks, 0, "count");
	bpf_link__destroy(links->msg);
	links->msg = NULL;
	return NULL;
}

/* No operation on a link waits for a socket lock that a system call holds. */
static void lock_held(void)
{
	int i, c[2] = { -1, -1 }, sk[2] = { -1, -1 };
	struct stuck s = { .uffd = -1 };
	struct two_links links = {};

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

/* A connection in the accept queue has a program of a map in the slot of the link's. */
static void inherit_waiting_busy(void)
{
	int c = -1, sk = -1, server = -1, cg = test__join_cgroup("/sock_link");
	int map = bpf_map__fd(skel->maps.other_map);
	struct bpf_link *adds = NULL;

	if (!ASSERT_GE(cg, 0, "cgroup") ||
	    !ASSERT_OK(bpf_prog_attach(bpf_program__fd(skel->progs.prog_pass), map,
				       BPF_SK_SKB_STREAM_VERDICT, 0), "attach"))
		goto out;
	adds = bpf_program__attach_cgroup(skel->progs.prog_add_accepted, cg);
	server = socket_loopback(AF_INET, SOCK_STREAM);
	c = client_of(server);
	ASSERT_EQ(refused(skel->progs.prog_drop, server, BPF_F_SOCK_INHERIT), -EBUSY, "busy");
	sk = accept_timeout(server, NULL, NULL, WAIT_SEC);
	send_record(c, 'P', 50);
	check(sk, 50, 50);
	close_pair(sk, c);
	/* The refused link left nothing behind. */
	bpf_link__destroy(adds);
	adds = NULL;
	c = client_of(server);
	sk = accept_timeout(server, NULL, NULL, WAIT_SEC);
	send_record(c, 'P', 50);
	check(sk, 0, 50);
out:
	bpf_link__destroy(adds);
	close_pair(sk, c);
	if (server >= 0)
		close(server);
	if (cg >= 0)
		close(cg);
}

static long slab_of(int cgroup)
{
	static const char name[] = "slab_unreclaimable ";
	int fd = openat(cgroup, "memory.stat", O_RDONLY);
	char buf[8192] = "", *slab;

	ASSERT_GT(read(fd, buf, sizeof(buf) - 1), 0, "memory.stat");
	close(fd);
	slab = strstr(buf, name);
	return ASSERT_OK_PTR(slab, name) ? atol(slab + strlen(name)) : -1;
}

#define WAITING 500

/* What connections inherit is charged to the memory cgroup of the listening
 * socket, before they are accepted.
 */
static void inherit_charged(void)
{
	struct listener l = { .fd = -1 };
	int i, n = 0, c[WAITING], cg = test__join_cgroup("/sock_link_server");
	long before, after;
	__u64 until;

	l.fd = socket_loopback(AF_INET, SOCK_STREAM);
	if (!ASSERT_OK(listen(l.fd, WAITING), "listen") || !judge_listener(&l))
		goto out;
	close(test__join_cgroup("/sock_link_other"));
	before = slab_of(cg);
	for (n = 0; n < WAITING; n++) {
		c[n] = client_of(l.fd);
		if (!ASSERT_GE(c[n], 0, "connect"))
			break;
	}
	ASSERT_EQ(link_info(l.link).sock.nr_socks, WAITING + 1, "count");
	until = now_ms() + WAIT_SEC * 1000;
	/* Slabs charged before may have had free objects, and the kernel brings the
	 * statistics of a memory cgroup up to date every two seconds only.
	 */
	do {
		after = slab_of(cg);
	} while (after >= 0 && after - before < WAITING * 400 && now_ms() < until &&
		 !usleep(10000));
	ASSERT_GE(after - before, WAITING * 400, "charged");
out:
	for (i = 0; i < n; i++)
		close(c[i]);
	unlisten(&l);
	close(cg);
}

/* A link on a cgroup that this process is in */
struct covered {
	struct bpf_link *link;
	int cg;
	int server;	/* created before, outside of that cgroup */
};

static bool join_covered(struct covered *c)
{
	c->link = NULL;
	close(test__join_cgroup("/sock_link_other"));
	c->server = socket_loopback(AF_INET, SOCK_STREAM);
	c->cg = test__join_cgroup("/sock_link_covered");
	return ASSERT_GE(c->server, 0, "listen") && ASSERT_GE(c->cg, 0, "cgroup");
}

static bool cover(struct covered *c, struct bpf_program *prog, bool parser)
{
	if (!join_covered(c))
		return false;
	c->link = parser ? attach_pair(prog, c->cg, 0) : attach(prog, c->cg, 0);
	return c->link;
}

static void uncover(struct covered *c)
{
	bpf_link__destroy(c->link);
	if (c->server >= 0)
		close(c->server);
	if (c->cg >= 0)
		close(c->cg);
	join_cgroup("/sock_link_other");
	remove_cgroup("/sock_link_covered");
}

/* Both ends of a connection have the programs, except sockets created outside
 * of the cgroup.
 */
static void cgroup(void)
{
	int c = -1, sk = -1, server = -1, family;
	struct covered cov;

	if (!cover(&cov, skel->progs.prog_judge, true))
		goto out;
	for (family = AF_INET; family; family = family == AF_INET ? AF_INET6 : 0) {
		/* what a connecting socket receives */
		if (family == AF_INET) {
			c = client_of(cov.server);
			sk = accept_timeout(cov.server, NULL, NULL, WAIT_SEC);
			ASSERT_EQ(link_info(cov.link).sock.nr_socks, 1, "count");
			send_record(sk, 'D', 30);
			send_record(sk, 'P', 40);
			check(c, 70, 40);
			send_record(c, 'D', 50);
			check(sk, 0, 50);
			close_pair(sk, c);
		}
		/* what an accepted socket receives */
		server = socket_loopback(family, SOCK_STREAM);
		c = client_of(server);
		send_record(c, 'D', 30);
		send_record(c, 'P', 40);
		sk = accept_timeout(server, NULL, NULL, WAIT_SEC);
		ASSERT_EQ(link_info(cov.link).sock.nr_socks, 2, "count");
		check(sk, 70, 40);
		send_record(sk, 'P', 40);
		check(c, 40, 40);
		close_pair(sk, c);
		close(server);
		sk = -1;
		c = -1;
		ASSERT_EQ(link_info(cov.link).sock.nr_socks, 0, "count");
	}
	ASSERT_EQ(link_info(cov.link).sock.nr_missed, 0, "missed");
out:
	close_pair(sk, c);
	uncover(&cov);
}

/* The verdict also runs on what the peer sends at once, and on data in the SYN. */
static void cgroup_first_byte(void)
{
	int old = set_tcp("fastopen", 0x607), server = -1, c = -1, sk = -1;
	struct covered cov;

	if (!cover(&cov, skel->progs.prog_judge, true))
		goto out;
	server = socket_loopback(AF_INET, SOCK_STREAM);
	c = fastopen_connect(server, "\0\6Dxyz", 6, 0);
	sk = accept_timeout(server, NULL, NULL, WAIT_SEC);
	check(sk, 6, 0);
	send_record(sk, 'D', 30);
	send_record(sk, 'P', 40);
	check(c, 70, 40);
out:
	close_pair(sk, c);
	if (server >= 0)
		close(server);
	uncover(&cov);
	set_tcp("fastopen", old);
}

/* A sk_msg program runs from the first byte that is sent: no data is sent in
 * the SYN, or by a send() before the connection is established.
 */
static void cgroup_msg(void)
{
	int old = set_tcp("fastopen", 0x607), one = 1, c = -1, sk = -1, fd = -1;
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);
	struct covered cov;

	if (!cover(&cov, skel->progs.prog_msg_drop, false) ||
	    xgetsockname(cov.server, (void *)&addr, &len))
		goto out;
	c = client_of(cov.server);
	sk = accept_timeout(cov.server, NULL, NULL, WAIT_SEC);
	ASSERT_EQ(send(c, "x", 1, 0), -1, "send");
	ASSERT_EQ(errno, EACCES, "errno");
	send_record(sk, 'P', 30);
	check(c, 0, 30);
	close_pair(sk, c);
	c = -1;
	sk = -1;

	fd = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_EQ(sendto(fd, "x", 1, MSG_FASTOPEN, (void *)&addr, len), -1, "fast open");
	ASSERT_EQ(errno, EOPNOTSUPP, "errno");
	xsetsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one));
	ASSERT_OK(connect(fd, (void *)&addr, len), "connect");
	ASSERT_EQ(send(fd, "x", 1, 0), -1, "send");
	sk = accept_timeout(cov.server, NULL, NULL, WAIT_SEC);
	ASSERT_EQ(recv(sk, &one, 1, MSG_DONTWAIT), -1, "recv");
out:
	close_pair(sk, c);
	if (fd >= 0)
		close(fd);
	uncover(&cov);
	set_tcp("fastopen", old);
}

/* Connect @fd to @server: two fill its accept queue, and the third, which does not
 * block, still connects.
 */
static bool fill_accept_queue(int server, int fd[3])
{
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);
	int i;

	if (xgetsockname(server, (void *)&addr, &len) || !ASSERT_OK(listen(server, 1), "listen"))
		return false;
	for (i = 0; i < 3; i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM | (i == 2 ? SOCK_NONBLOCK : 0), 0);
		connect(fd[i], (void *)&addr, len);
	}
	return true;
}

/* No sk_msg program runs while the socket still connects, as the accept queue
 * of the server is full.
 */
static void cgroup_msg_early(void)
{
	int fd[3] = { -1, -1, -1 }, sk[3] = { -1, -1, -1 }, i;
	struct covered cov;
	char c;

	if (!cover(&cov, skel->progs.prog_msg_pass, false) ||
	    !fill_accept_queue(cov.server, fd))
		goto out;
	ASSERT_EQ(send(fd[2], "x", 1, 0), -1, "send");
	ASSERT_EQ(errno, EAGAIN, "errno");
	ASSERT_EQ(skel->bss->sent, 0, "runs");
	ASSERT_OK(fcntl(fd[2], F_SETFL, 0), "block");
	for (i = 0; i < 2; i++)
		sk[i] = accept_timeout(cov.server, NULL, NULL, WAIT_SEC);
	ASSERT_EQ(send(fd[2], "x", 1, 0), 1, "send that waits for the connection");
	ASSERT_EQ(skel->bss->sent, 1, "runs");
	sk[2] = accept_timeout(cov.server, NULL, NULL, WAIT_SEC);
	ASSERT_EQ(recv_timeout(sk[2], &c, 1, 0, WAIT_SEC), 1, "recv");
out:
	for (i = 0; i < 3; i++)
		close_pair(sk[i], fd[i]);
	uncover(&cov);
}

static void __cgroup_update(struct covered *cov, int c, int sk)
{
	ASSERT_OK(bpf_link__update_program(cov->link, skel->progs.prog_drop), "update");
	send_record(sk, 'P', 30);
	check(c, 30, 0);
	ASSERT_OK(bpf_link__detach(cov->link), "detach");
	ASSERT_EQ(link_info(cov->link).sock.cgroup_id, 0, "cgroup");
	ASSERT_EQ(bpf_link_update(bpf_link__fd(cov->link),
				  bpf_program__fd(skel->progs.prog_pass), NULL), -ENOLINK,
		  "update after detach");
	send_record(sk, 'P', 30);
	check(c, 0, 30);
}

/* Update and detach, with sockets and without any */
static void cgroup_update(void)
{
	int c = -1, sk = -1;
	struct covered cov;

	if (!cover(&cov, skel->progs.prog_drop, false))
		goto out;
	ASSERT_OK(bpf_link__update_program(cov.link, skel->progs.prog_pass), "update");
	ASSERT_NEQ(link_info(cov.link).sock.cgroup_id, 0, "cgroup");
	c = client_of(cov.server);
	sk = accept_timeout(cov.server, NULL, NULL, WAIT_SEC);
	send_record(sk, 'P', 30);
	check(c, 30, 30);
	__cgroup_update(&cov, c, sk);
	close_pair(sk, c);
	/* later sockets have no program */
	c = client_of(cov.server);
	sk = accept_timeout(cov.server, NULL, NULL, WAIT_SEC);
	send_record(sk, 'P', 30);
	check(c, 0, 30);
out:
	close_pair(sk, c);
	uncover(&cov);
}

/* Of a cgroup, its ancestors and its descendants, only one may have a link for
 * received data, and one a link for sent data. Other cgroups do not matter.
 */
static void cgroup_busy(void)
{
	static const char * const names[] = { "/a", "/a/b", "/a/b/c", "/d" };
	struct bpf_link *link = NULL, *other = NULL, *msg = NULL;
	int i, fd[4] = { -1, -1, -1, -1 };

	close(test__join_cgroup("/sock_link_other"));
	for (i = 0; i < 4; i++) {
		fd[i] = create_and_get_cgroup(names[i]);
		if (!ASSERT_GE(fd[i], 0, names[i]))
			goto out;
	}
	link = attach(skel->progs.prog_pass, fd[1], 0);
	for (i = 0; i < 3; i++)
		ASSERT_EQ(refused(skel->progs.prog_pass, fd[i], 0), -EBUSY, names[i]);
	other = attach(skel->progs.prog_pass, fd[3], 0);
	msg = attach(skel->progs.prog_msg_pass, fd[0], 0);
	ASSERT_EQ(refused(skel->progs.prog_msg_pass, fd[2], 0), -EBUSY, "msg, descendant");
	ASSERT_EQ(refused(skel->progs.prog_pass, fd[2], BPF_F_SOCK_INHERIT), -EINVAL, "flag");
	ASSERT_EQ(refused(skel->progs.prog_parser, fd[2], 0), -EINVAL, "parser alone");
	bpf_link__destroy(link);
	link = attach(skel->progs.prog_pass, fd[0], 0);
out:
	bpf_link__destroy(msg);
	bpf_link__destroy(other);
	bpf_link__destroy(link);
	for (i = 0; i < 4; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

/* The programs of a cgroup: of a link on it, and on request of one on a cgroup above */
static void cgroup_query(void)
{
	struct covered cov;
	int below = -1;

	if (!cover(&cov, skel->progs.prog_judge, true))
		goto out;
	below = create_and_get_cgroup("/sock_link_covered/below");
	if (!ASSERT_GE(below, 0, "cgroup below"))
		goto out;
	check_slot(cov.cg, BPF_SK_SKB_STREAM_VERDICT, skel->progs.prog_judge, cov.link);
	check_slot(cov.cg, BPF_SK_SKB_STREAM_PARSER, skel->progs.prog_parser, cov.link);
	check_slot(cov.cg, BPF_SK_SKB_VERDICT, NULL, NULL);
	check_slot(cov.cg, BPF_SK_MSG_VERDICT, NULL, NULL);
	check_slot(below, BPF_SK_SKB_STREAM_VERDICT, NULL, NULL);
	__check_slot(below, BPF_SK_SKB_STREAM_VERDICT, BPF_F_QUERY_EFFECTIVE,
		     skel->progs.prog_judge, cov.link);
	ASSERT_OK(bpf_link__detach(cov.link), "detach");
	__check_slot(below, BPF_SK_SKB_STREAM_VERDICT, BPF_F_QUERY_EFFECTIVE, NULL, NULL);
out:
	if (below >= 0)
		close(below);
	remove_cgroup("/sock_link_covered/below");
	uncover(&cov);
}

/* Accepted sockets that inherit programs of another link keep those. */
static void cgroup_missed(void)
{
	struct bpf_link *inherited = NULL;
	int server = -1, c = -1, sk = -1;
	struct covered cov;

	if (!cover(&cov, skel->progs.prog_drop, false))
		goto out;
	server = socket_loopback(AF_INET, SOCK_STREAM);
	inherited = attach(skel->progs.prog_pass, server, BPF_F_SOCK_INHERIT);
	c = client_of(server);
	sk = accept_timeout(server, NULL, NULL, WAIT_SEC);
	send_record(c, 'P', 30);
	check(sk, 30, 30);
	ASSERT_EQ(link_info(cov.link).sock.nr_socks, 1, "the client");
	ASSERT_EQ(link_info(cov.link).sock.nr_missed, 1, "missed");
out:
	bpf_link__destroy(inherited);
	close_pair(sk, c);
	if (server >= 0)
		close(server);
	uncover(&cov);
}

/* Create a connection with records to drop and to pass, which are not read yet. */
static bool pending_pair(int *sk, int *peer)
{
	if (!tcp_pair(sk, peer))
		return false;
	send_record(*peer, 'D', 30);
	send_record(*peer, 'P', 40);
	return true;
}

/* The same in another network namespace, which has a hash table of its own for
 * connections.
 */
static bool pending_pair_elsewhere(int *sk, int *peer)
{
	int old = set_tcp("child_ehash_entries", 64), here;
	struct nl_ns ns;
	bool ok = false;

	if (ASSERT_OK(nl_ns_new(&ns), "network namespace")) {
		ASSERT_OK(nl_link_up(&ns, nl_link_index(&ns, "lo"), true), "lo");
		here = nl_enter(&ns);
		ok = ASSERT_GE(here, 0, "enter") && pending_pair(sk, peer);
		nl_leave(here);
		nl_ns_close(&ns);
	}
	set_tcp("child_ehash_entries", old);
	return ok;
}

/* With BPF_F_SOCK_EXISTING, connections that are older than the link get the
 * programs, which also run on the data received before.
 */
static void cgroup_existing(void)
{
	int c[4] = { -1, -1, -1, -1 }, sk[4] = { -1, -1, -1, -1 }, i;
	struct covered cov;
	char buf[64];

	if (!join_covered(&cov) || !pending_pair(&sk[0], &c[0]) ||
	    !pending_pair_elsewhere(&sk[1], &c[1]) || !pending_pair(&sk[2], &c[2]))
		goto out;
	shutdown(c[2], SHUT_WR);
	if (!wait_closed(sk[2]))
		goto out;
	c[3] = client_of(cov.server);
	sk[3] = accept_timeout(cov.server, NULL, NULL, WAIT_SEC);
	cov.link = attach_pair(skel->progs.prog_judge, cov.cg, 0);
	ASSERT_EQ(link_info(cov.link).sock.nr_socks, 0, "without the flag");
	bpf_link__destroy(cov.link);

	cov.link = attach_pair(skel->progs.prog_judge, cov.cg, BPF_F_SOCK_EXISTING);
	if (!cov.link)
		goto out;
	ASSERT_EQ(link_info(cov.link).sock.flags, BPF_F_SOCK_EXISTING, "flags");
	ASSERT_EQ(link_info(cov.link).sock.nr_socks, 7, "sockets");
	wait_judged(3 * 70);
	ASSERT_EQ(recv(sk[2], buf, sizeof(buf), 0), 40, "half-closed");
	ASSERT_EQ(recv(sk[2], buf, sizeof(buf), 0), 0, "end");
	for (i = 0; i < 4; i++) {
		if (i < 2)
			check(sk[i], i ? 0 : 3 * 70, 40);
		send_record(sk[i], 'D', 30);
		send_record(sk[i], 'P', 40);
		check(c[i], 70, 40);
	}
	send_record(c[3], 'D', 30);
	check(sk[3], 0, 30);	/* not in the cgroup */
	ASSERT_EQ(link_info(cov.link).sock.nr_missed, 0, "missed");
out:
	for (i = 0; i < 4; i++)
		close_pair(sk[i], c[i]);
	uncover(&cov);
}

/* Connections that are not accepted yet, and one that still connects because the
 * accept queue of the server is full
 */
static void cgroup_existing_early(void)
{
	int fd[3] = { -1, -1, -1 }, sk[3] = { -1, -1, -1 }, server = -1, i;
	struct covered cov;

	if (!join_covered(&cov))
		goto out;
	server = socket_loopback(AF_INET, SOCK_STREAM);
	if (!fill_accept_queue(server, fd))
		goto out;
	send_record(fd[0], 'D', 30);
	cov.link = attach_pair(skel->progs.prog_judge, cov.cg, BPF_F_SOCK_EXISTING);
	if (!cov.link)
		goto out;
	ASSERT_EQ(link_info(cov.link).sock.nr_socks, 5, "sockets");
	ASSERT_OK(fcntl(fd[2], F_SETFL, 0), "block");
	for (i = 0; i < 3; i++) {
		sk[i] = accept_timeout(server, NULL, NULL, WAIT_SEC);
		send_record(fd[i], 'P', 40);
		check(sk[i], i ? 40 : 70, 40);
		send_record(sk[i], 'D', 30);
		check(fd[i], 30, 0);
	}
	ASSERT_EQ(link_info(cov.link).sock.nr_socks, 6, "sockets");
out:
	for (i = 0; i < 3; i++)
		close_pair(sk[i], fd[i]);
	if (server >= 0)
		close(server);
	uncover(&cov);
}

/* The connect() of a socket with TCP_FASTOPEN_CONNECT is deferred until it sends:
 * then it gets the programs.
 */
static void cgroup_existing_deferred(void)
{
	int old = set_tcp("fastopen", 0x607), fd = -1, sk = -1, one = 1;
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);
	struct covered cov;

	if (!join_covered(&cov) || xgetsockname(cov.server, (void *)&addr, &len))
		goto out;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	xsetsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one));
	ASSERT_OK(connect(fd, (void *)&addr, len), "connect");
	cov.link = attach_pair(skel->progs.prog_judge, cov.cg, BPF_F_SOCK_EXISTING);
	if (!cov.link)
		goto out;
	send_record(fd, 'P', 40);
	sk = accept_timeout(cov.server, NULL, NULL, WAIT_SEC);
	ASSERT_EQ(link_info(cov.link).sock.nr_socks, 1, "sockets");
	check(sk, 0, 40);
	send_record(sk, 'D', 30);
	check(fd, 30, 0);
	ASSERT_EQ(link_info(cov.link).sock.nr_missed, 0, "missed");
out:
	close_pair(sk, fd);
	uncover(&cov);
	set_tcp("fastopen", old);
}

/* A connection that has another program keeps it. A sk_msg program runs on what
 * is sent from now on. The flag is for cgroups only.
 */
static void cgroup_existing_others(void)
{
	struct bpf_link *other = NULL;
	struct covered cov;
	int c = -1, sk = -1;

	if (!join_covered(&cov) || !tcp_pair(&sk, &c))
		goto out;
	ASSERT_EQ(refused(skel->progs.prog_pass, sk, BPF_F_SOCK_EXISTING), -EINVAL, "socket");
	ASSERT_EQ(refused(skel->progs.prog_pass, cov.cg, BPF_F_SOCK_INHERIT), -EINVAL, "cgroup");
	other = attach(skel->progs.prog_pass, sk, 0);
	cov.link = attach(skel->progs.prog_drop, cov.cg, BPF_F_SOCK_EXISTING);
	ASSERT_EQ(link_info(cov.link).sock.nr_socks, 1, "sockets");
	ASSERT_EQ(link_info(cov.link).sock.nr_missed, 1, "missed");
	send_record(c, 'P', 40);
	check(sk, 40, 40);
	bpf_link__destroy(cov.link);
	cov.link = attach(skel->progs.prog_msg_drop, cov.cg, BPF_F_SOCK_EXISTING);
	ASSERT_EQ(link_info(cov.link).sock.nr_socks, 2, "sockets");
	ASSERT_EQ(send(c, "x", 1, 0), -1, "send");
	ASSERT_EQ(errno, EACCES, "errno");
out:
	bpf_link__destroy(other);
	close_pair(sk, c);
	uncover(&cov);
}

static void *attach_existing(void *arg)
{
	struct covered *cov = arg;

	cov->link = attach_pair(skel->progs.prog_judge, cov->cg, BPF_F_SOCK_EXISTING);
	return NULL;
}

/* The link does not wait for a socket lock that a system call holds. The socket
 * gets the programs when the lock is released.
 */
static void cgroup_existing_locked(void)
{
	struct stuck s = { .uffd = -1 };
	struct covered cov;
	int c = -1, sk = -1;

	if (!join_covered(&cov) || !pending_pair(&sk, &c))
		goto out;
	if (!stick(&s, sk) || !ASSERT_TRUE(in_time(attach_existing, &cov, &s), "link in time") ||
	    !cov.link)
		goto out;
	ASSERT_EQ(link_info(cov.link).sock.nr_socks, 1, "the other socket");
	unstick(&s);
	ASSERT_EQ(link_info(cov.link).sock.nr_socks, 2, "sockets");
	check(sk, 70, 40);
out:
	unstick(&s);
	close_pair(sk, c);
	uncover(&cov);
}

#define EXISTING_PAIRS 200

struct connecting {
	int sk[EXISTING_PAIRS], peer[EXISTING_PAIRS];
	int n;
	bool failed;
};

static void *connect_pairs(void *arg)
{
	struct connecting *pairs = arg;
	int n;

	for (n = 0; n < EXISTING_PAIRS && tcp_pair(&pairs->sk[n], &pairs->peer[n]); n++)
		WRITE_ONCE(pairs->n, n + 1);
	WRITE_ONCE(pairs->failed, n < EXISTING_PAIRS);
	return NULL;
}

/* A connection that is made while the link is created has the programs. */
static void cgroup_existing_race(void)
{
	struct connecting pairs = {};
	struct covered cov;
	pthread_t thread;
	int i;

	if (!join_covered(&cov) ||
	    !ASSERT_OK(pthread_create(&thread, NULL, connect_pairs, &pairs), "thread"))
		goto out;
	while (READ_ONCE(pairs.n) < EXISTING_PAIRS / 4 && !READ_ONCE(pairs.failed))
		sched_yield();
	attach_existing(&cov);
	pthread_join(thread, NULL);
	ASSERT_EQ(pairs.n, EXISTING_PAIRS, "connections");
	ASSERT_EQ(link_info(cov.link).sock.nr_socks, 2 * pairs.n, "sockets");
	ASSERT_EQ(link_info(cov.link).sock.nr_missed, 0, "missed");
out:
	for (i = 0; i < pairs.n; i++)
		close_pair(pairs.sk[i], pairs.peer[i]);
	uncover(&cov);
}

static bool wait_no_cgroup(const struct bpf_link *link)
{
	__u64 until = now_ms() + WAIT_SEC * 1000;

	while (link_info(link).sock.cgroup_id && now_ms() < until)
		sched_yield();
	return ASSERT_EQ(link_info(link).sock.cgroup_id, 0, "cgroup");
}

/* The link stays on a removed cgroup as long as that has sockets. */
static void cgroup_removed(void)
{
	int c = -1, sk = -1;
	struct covered cov;

	if (!cover(&cov, skel->progs.prog_judge, false))
		goto out;
	c = client_of(cov.server);
	sk = accept_timeout(cov.server, NULL, NULL, WAIT_SEC);
	close_fd(&cov.cg);
	cov.cg = -1;
	join_cgroup("/sock_link_other");
	remove_cgroup("/sock_link_covered");
	send_record(sk, 'D', 30);
	check(c, 30, 0);
	close_pair(sk, c);
	c = -1;
	sk = -1;
	wait_no_cgroup(cov.link);
	ASSERT_EQ(bpf_link_update(bpf_link__fd(cov.link),
				  bpf_program__fd(skel->progs.prog_pass), NULL), -ENOLINK,
		  "update");
out:
	close_pair(sk, c);
	uncover(&cov);
}

/* Without memory for the programs, or for the SYN after that, connect() fails,
 * and no programs stay attached.
 */
static void cgroup_nomem(void)
{
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);
	struct covered cov;
	int c = -1, sk = -1;

	if (!cover(&cov, skel->progs.prog_judge, false) ||
	    xgetsockname(cov.server, (void *)&addr, &len))
		goto out;
	if (fail_below("tcp_connect", "1")) {
		c = socket(AF_INET, SOCK_STREAM, 0);
		ASSERT_EQ(connect(c, (void *)&addr, len), -1, "connect");
		ASSERT_EQ(errno, ENOMEM, "errno");
		ASSERT_EQ(faults_left(), 0, "allocations yet to fail");
		ASSERT_TRUE(fail_below("tcp_stream_alloc_skb", "1"), "fail_below()");
		ASSERT_EQ(connect(c, (void *)&addr, len), -1, "connect");
		ASSERT_EQ(errno, ENOBUFS, "errno");
		ASSERT_EQ(faults_left(), 0, "allocations yet to fail");
		ASSERT_EQ(link_info(cov.link).sock.nr_socks, 0, "count");
		ASSERT_OK(connect(c, (void *)&addr, len), "connect again");
	} else {
		c = client_of(cov.server);
	}
	sk = accept_timeout(cov.server, NULL, NULL, WAIT_SEC);
	send_record(sk, 'D', 30);
	send_record(sk, 'P', 30);
	check(c, 60, 30);
out:
	close_pair(sk, c);
	uncover(&cov);
}

/* After a refused or aborted connection, no programs stay attached, and the
 * next connection of the socket has them again.
 */
static void cgroup_again(void)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	struct sockaddr_in addr, closed;
	socklen_t len = sizeof(addr);
	struct covered cov;
	int c = -1, sk = -1, fd;

	if (!cover(&cov, skel->progs.prog_judge, true) ||
	    xgetsockname(cov.server, (void *)&addr, &len))
		goto out;
	fd = socket_loopback(AF_INET, SOCK_STREAM);
	xgetsockname(fd, (void *)&closed, &len);
	close(fd);
	c = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_EQ(connect(c, (void *)&closed, len), -1, "connect");
	ASSERT_EQ(errno, ECONNREFUSED, "errno");
	ASSERT_EQ(link_info(cov.link).sock.nr_socks, 0, "count");
	ASSERT_OK(connect(c, (void *)&addr, len), "connect");
	sk = accept_timeout(cov.server, NULL, NULL, WAIT_SEC);
	send_record(sk, 'D', 30);
	check(c, 30, 0);
	close_fd(&sk);
	ASSERT_OK(connect(c, &unspec, sizeof(unspec)), "disconnect");
	ASSERT_EQ(link_info(cov.link).sock.nr_socks, 0, "count");
	ASSERT_OK(connect(c, (void *)&addr, len), "connect");
	sk = accept_timeout(cov.server, NULL, NULL, WAIT_SEC);
	send_record(sk, 'D', 30);
	send_record(sk, 'P', 40);
	check(c, 70, 40);
out:
	close_pair(sk, c);
	uncover(&cov);
}

/* Everything at once, on sockets that are closed and replaced meanwhile.
 * Failures show in the kernel log.
 */
enum { SK = 100, PEER, LISTENER };

static __u64 race_until;
static int race_cg;

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

static void race_pair_on(int fd)
{
	while (racing()) {
		struct bpf_link *link = try_attach_pair(skel->progs.prog_parser,
							skel->progs.prog_judge, fd, 0);

		if (!link)
			continue;
		update_pair(link, skel->progs.prog_parser_ten, skel->progs.prog_pass);
		bpf_link__destroy(link);
	}
}

static void *race_pair(void *arg)
{
	race_pair_on(SK);
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

/* Connections that inherit programs replace the sockets that other threads use. */
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

/* Sockets that connect and are accepted meanwhile belong to the cgroup. */
static void *race_cgroup(void *arg)
{
	race_pair_on(race_cg);
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

/* The same with unix sockets, which have no parser and no sk_msg programs */
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
	/* No programs are left attached, and they work on a new socket. */
	skel->bss->judged_bytes = 0;
	attach_detach();
}

static void race(void)
{
	static void *(* const racers[])(void *arg) = {
		race_pair, race_verdict, race_msg, race_listener, race_map, race_data,
		race_sockets, race_fork, race_cgroup,
	};
	int fd;

	race_cg = test__join_cgroup("/sock_link_race");
	fd = socket_loopback(AF_INET, SOCK_STREAM);
	dup2(fd, LISTENER);
	close(fd);
	run_racers(racers, ARRAY_SIZE(racers));
	close(LISTENER);
	close(race_cg);
}

static void race_unix(void)
{
	static void *(* const racers[])(void *arg) = {
		race_verdict, race_skb_verdict, race_map, race_data, race_pairs,
		race_fork,
	};

	run_racers(racers, ARRAY_SIZE(racers));
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "attach_detach",	attach_detach },
	{ "parser",		parser },
	{ "parser_refused",	parser_refused },
	{ "update",		update },
	{ "update_refused",	update_refused },
	{ "update_others",	update_others },
	{ "info",		info },
	{ "bpftool",		bpftool },
	{ "half_closed",	half_closed },
	{ "psock_size",		psock_size },
	{ "query",		query },
	{ "diag",		diag },
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
	{ "inherit_charged",	inherit_charged },
	{ "lock_held",		lock_held },
	{ "cgroup",		cgroup },
	{ "cgroup_first_byte",	cgroup_first_byte },
	{ "cgroup_msg",		cgroup_msg },
	{ "cgroup_msg_early",	cgroup_msg_early },
	{ "cgroup_update",	cgroup_update },
	{ "cgroup_busy",	cgroup_busy },
	{ "cgroup_query",	cgroup_query },
	{ "cgroup_missed",	cgroup_missed },
	{ "cgroup_existing",	cgroup_existing },
	{ "cgroup_existing_early",	cgroup_existing_early },
	{ "cgroup_existing_deferred",	cgroup_existing_deferred },
	{ "cgroup_existing_others",	cgroup_existing_others },
	{ "cgroup_existing_locked",	cgroup_existing_locked },
	{ "cgroup_existing_race",	cgroup_existing_race },
	{ "cgroup_removed",	cgroup_removed },
	{ "cgroup_nomem",	cgroup_nomem },
	{ "cgroup_again",	cgroup_again },
	{ "race",		race },
	{ "race_unix",		race_unix },
};

void test_sock_link(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		if (!test__start_subtest(tests[i].name))
			continue;
		skel = test_sock_link__open_and_load();
		if (ASSERT_OK_PTR(skel, "open_and_load") &&
		    has_sock_links(skel->progs.prog_pass))
			tests[i].run();
		test_sock_link__destroy(skel);
	}
}
