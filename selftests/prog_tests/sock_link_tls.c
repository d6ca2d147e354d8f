// SPDX-License-Identifier: GPL-2.0
/* Links that attach programs to the plaintext of TLS sockets */
#include <error.h>
#include <poll.h>
#include <pthread.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>

#include "test_progs.h"
#include "cgroup_helpers.h"
#include "network_helpers.h"
#include "sockmap_helpers.h"
#include "bpftool_link.h"
#include "ktls.h"
#include "thread_sleeps.h"
#include "verifier_refuses.h"
#include "test_sock_link_tls.skel.h"
#include "test_sock_link_tls_fail.skel.h"

#define CHUNK 16384	/* what fits into a TLS record */

static struct test_sock_link_tls *skel;
static int sk = -1;	/* socket with the programs */
static int peer = -1;

static bool set_all_keys(int fd)
{
	return ASSERT_OK(set_keys(fd, TLS_TX, 0), "TLS_TX") &&
	       ASSERT_OK(set_keys(fd, TLS_RX, 0), "TLS_RX");
}

static void set_timeout(int fd)
{
	struct timeval tv = { .tv_sec = 3 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}

static void close_pair(void)
{
	close(sk);
	close(peer);
	sk = -1;
	peer = -1;
}

static bool plain_pair(int family)
{
	int one = 1;

	if (!ASSERT_OK(create_pair(family, SOCK_STREAM, &sk, &peer), "pair"))
		return false;
	setsockopt(sk, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	set_timeout(sk);
	set_timeout(peer);
	memset(skel->bss, 0, sizeof(*skel->bss));
	return true;
}

static bool enable_tls(void)
{
	return ASSERT_OK(set_ulp(sk), "ULP") && ASSERT_OK(set_ulp(peer), "ULP") &&
	       set_all_keys(sk) && set_all_keys(peer);
}

static bool tls_pair(void)
{
	return plain_pair(AF_INET6) && enable_tls();
}

static struct bpf_link *try_attach(struct bpf_program *parser, struct bpf_program *prog,
				   int fd, __u32 flags)
{
	LIBBPF_OPTS(bpf_sock_link_opts, opts, .flags = flags);

	opts.parser_fd = parser ? bpf_program__fd(parser) : 0;
	return bpf_program__attach_sock(prog, fd, &opts);
}

static int refused(struct bpf_program *parser, struct bpf_program *prog, int fd)
{
	struct bpf_link *link = try_attach(parser, prog, fd, 0);
	int err = link ? 0 : -errno;

	bpf_link__destroy(link);
	return err;
}

/* A new pair, with the programs attached before keys are set */
static struct bpf_link *attached_pair(struct bpf_program *parser, struct bpf_program *prog)
{
	struct bpf_link *link;

	if (!plain_pair(AF_INET))
		return NULL;
	link = try_attach(parser, prog, sk, 0);
	if (ASSERT_OK_PTR(link, "attach") && enable_tls())
		return link;
	bpf_link__destroy(link);
	return NULL;
}

static struct bpf_link *msg_pair(void)
{
	return attached_pair(NULL, skel->progs.msg_verdict);
}

static struct bpf_link *rec_pair(struct bpf_program *parser)
{
	return attached_pair(parser, skel->progs.verdict);
}

static int send_str(const char *s, int flags)
{
	int n = send(sk, s, strlen(s), flags);

	return n < 0 ? -errno : n;
}

/* What the other end reads next is @s. */
static void reads(int fd, const char *s)
{
	char buf[2 * CHUNK] = {};
	int n = recv(fd, buf, strlen(s), MSG_WAITALL);

	if (ASSERT_EQ(n, strlen(s), "recv"))
		ASSERT_STREQ(buf, s, "data");
}

/* recv() on @fd fails at once with @err. */
static void fails(int fd, int err)
{
	char c;
	int n = recv(fd, &c, 1, MSG_DONTWAIT);

	if (ASSERT_EQ(n, -1, "recv"))
		ASSERT_EQ(-errno, err, "errno");
}

/* Verifier, and what can be attached to the same socket */

#define SKB_REFUSED	"cannot use helper bpf_"

static const struct {
	const char *name, *why;
} fails_to_load[] = {
	{ "skb_store_bytes",	SKB_REFUSED "skb_store_bytes" },
	{ "skb_pull_data",	SKB_REFUSED "skb_pull_data" },
	{ "skb_change_tail",	SKB_REFUSED "skb_change_tail" },
	{ "skb_change_head",	SKB_REFUSED "skb_change_head" },
	{ "skb_adjust_room",	SKB_REFUSED "skb_adjust_room" },
	{ "skb_redirect",	SKB_REFUSED "sk_redirect_map" },
	{ "msg_push_data",	SKB_REFUSED "msg_push_data" },
	{ "msg_pop_data",	SKB_REFUSED "msg_pop_data" },
	{ "msg_pull_data",	SKB_REFUSED "msg_pull_data" },
	{ "msg_apply_bytes",	SKB_REFUSED "msg_apply_bytes" },
	{ "msg_cork_bytes",	SKB_REFUSED "msg_cork_bytes" },
	{ "msg_redirect",	SKB_REFUSED "msg_redirect_map" },
	{ "parser_store_bytes",	SKB_REFUSED "skb_store_bytes" },
	{ "skb_write",		"cannot write into packet" },
	{ "msg_write",		"cannot write into packet" },
	{ "ctx_write",		"invalid bpf_context access" },
	{ "dynptr_write",	"the prog does not allow writes to packet data" },
	{ "helper_write",	"helper access to the packet is not allowed" },
	{ "kfunc_write",	"cannot write into packet" },
	{ "func_write",		"cannot write into packet" },
};

static void test_verifier(void)
{
	size_t size;
	const void *elf = test_sock_link_tls_fail__elf_bytes(&size);
	int i;

	for (i = 0; i < ARRAY_SIZE(fails_to_load); i++)
		verifier_refuses(elf, size, fails_to_load[i].name, fails_to_load[i].why);
}

static void extension_refused(const char *name)
{
	struct test_sock_link_tls_fail *fail = test_sock_link_tls_fail__open();
	struct bpf_program *prog;
	libbpf_print_fn_t print;

	if (!ASSERT_OK_PTR(fail, "open"))
		return;
	prog = bpf_object__find_program_by_name(fail->obj, name);
	bpf_program__set_autoload(prog, true);
	bpf_program__set_attach_target(prog, bpf_program__fd(skel->progs.target),
				       "replaceable");
	print = libbpf_set_print(NULL);
	ASSERT_ERR(test_sock_link_tls_fail__load(fail), name);
	libbpf_set_print(print);
	test_sock_link_tls_fail__destroy(fail);
}

static void test_extension(void)
{
	extension_refused("ext_store_bytes");
	extension_refused("ext_write");
}

static void test_tail_call(void)
{
	int map = bpf_map__fd(skel->maps.jmp), key = 0;
	int plain = bpf_program__fd(skel->progs.plain_verdict);
	int verdict = bpf_program__fd(skel->progs.verdict);

	ASSERT_ERR(bpf_map_update_elem(map, &key, &plain, 0), "one that may write");
	ASSERT_OK(bpf_map_update_elem(map, &key, &verdict, 0), "one that only reads");
}

/* The error of a link of @prog as @type */
static int link_as(struct bpf_program *prog, enum bpf_attach_type type)
{
	int fd = bpf_link_create(bpf_program__fd(prog), sk, type, NULL);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

static void test_types(void)
{
	int udp = socket(AF_INET, SOCK_DGRAM, 0);

	if (!plain_pair(AF_INET))
		goto out;
	ASSERT_EQ(link_as(skel->progs.plain_msg, BPF_SK_MSG_TLS), -EINVAL, "msg");
	ASSERT_EQ(link_as(skel->progs.msg_verdict, BPF_SK_MSG_VERDICT), -EINVAL, "tls msg");
	ASSERT_EQ(link_as(skel->progs.plain_verdict, BPF_SK_SKB_TLS), -EINVAL, "skb");
	ASSERT_EQ(link_as(skel->progs.verdict, BPF_SK_SKB_STREAM_VERDICT), -EINVAL, "tls skb");
	ASSERT_EQ(refused(skel->progs.plain_parser, skel->progs.verdict, sk), -EINVAL, "parser");
	ASSERT_EQ(refused(skel->progs.parser, skel->progs.plain_verdict, sk), -EINVAL,
		  "tls parser");
	ASSERT_EQ(refused(NULL, skel->progs.verdict, udp), -EOPNOTSUPP, "udp");
	ASSERT_OK(refused(skel->progs.parser, skel->progs.verdict, sk), "both");
out:
	close(udp);
	close_pair();
}

/* Programs on plaintext exclude others, and sockmap; TLS excludes the latter. */
static void test_excluded(void)
{
	int map = bpf_map_create(BPF_MAP_TYPE_SOCKMAP, NULL, 4, 4, 1, NULL), zero = 0;
	struct bpf_link *link, *other;

	if (!plain_pair(AF_INET))
		goto out;
	link = try_attach(NULL, skel->progs.verdict, sk, 0);
	ASSERT_OK_PTR(link, "attach");
	ASSERT_EQ(refused(NULL, skel->progs.other_verdict, sk), -EBUSY, "twice");
	ASSERT_EQ(refused(NULL, skel->progs.plain_verdict, sk), -EBUSY, "stream verdict");
	ASSERT_EQ(refused(NULL, skel->progs.plain_msg, sk), -EBUSY, "msg verdict");
	ASSERT_EQ(bpf_map_update_elem(map, &zero, &sk, 0), -EBUSY, "map");
	ASSERT_OK(set_ulp(sk), "ULP with programs on plaintext");
	other = try_attach(NULL, skel->progs.msg_verdict, sk, 0);
	ASSERT_OK_PTR(other, "the other direction, with TLS");
	bpf_link__destroy(other);
	bpf_link__destroy(link);
	ASSERT_EQ(refused(NULL, skel->progs.plain_verdict, sk), -EINVAL, "stream verdict, TLS");
	ASSERT_EQ(bpf_map_update_elem(map, &zero, &sk, 0), -EINVAL, "map, TLS");

	link = try_attach(NULL, skel->progs.plain_msg, peer, 0);
	ASSERT_OK_PTR(link, "attach");
	ASSERT_EQ(refused(NULL, skel->progs.msg_verdict, peer), -EBUSY, "other kind");
	ASSERT_EQ(set_ulp(peer), -EINVAL, "ULP");
	bpf_link__destroy(link);
out:
	close(map);
	close_pair();
}

/* Sending */

static void test_send(void)
{
	struct bpf_link *link = msg_pair();

	if (!link)
		goto out;
	ASSERT_EQ(send_str("hello", 0), 5, "passed");
	ASSERT_EQ(send_str("bad!", 0), -EACCES, "dropped");
	ASSERT_EQ(send_str("bad!", 0), -EACCES, "dropped again");
	ASSERT_EQ(send_str(" world", 0), 6, "passed after a drop");
	reads(peer, "hello world");
	ASSERT_EQ(skel->bss->msgs, 4, "messages");
	ASSERT_EQ(skel->bss->msg_size[1], 4, "size");
	ASSERT_EQ(skel->bss->load_err, -EFAULT, "behind the end");
	bpf_link__destroy(link);
	ASSERT_EQ(send_str("free!", 0), 5, "no program");
	reads(peer, "free!");
	ASSERT_EQ(skel->bss->msgs, 4, "messages");
out:
	close_pair();
}

/* A record only has passed data, however long it stays open. */
static void test_send_more(void)
{
	struct bpf_link *link = msg_pair();

	if (!link)
		goto out;
	ASSERT_EQ(send_str("one ", MSG_MORE), 4, "passed");
	ASSERT_EQ(send_str("bad!", MSG_MORE), -EACCES, "dropped");
	ASSERT_EQ(send_str("two ", MSG_MORE), 4, "passed");
	ASSERT_EQ(send_str("bad!", 0), -EACCES, "dropped");
	fails(peer, -EAGAIN);
	ASSERT_EQ(send_str("three", 0), 5, "passed");
	reads(peer, "one two three");
	fails(peer, -EAGAIN);
	ASSERT_EQ(skel->bss->msgs, 5, "messages");
	ASSERT_EQ(skel->bss->msg_size[2], 4, "only what is new");
	bpf_link__destroy(link);
out:
	close_pair();
}

/* The program sees all bytes of each chunk, in however many pages, and the call returns
 * what was sent.
 */
static void test_send_long(void)
{
	struct bpf_link *link = msg_pair();
	static char buf[2 * CHUNK + 1000], got[sizeof(buf)];
	int i, at;

	if (!link)
		goto out;
	memset(buf, 'x', sizeof(buf));
	for (i = 0; i < 20; i++) {
		if (!ASSERT_EQ(send(sk, buf, CHUNK - 3 * i, 0), CHUNK - 3 * i, "send") ||
		    !ASSERT_EQ(skel->bss->msg_size[i], CHUNK - 3 * i, "size") ||
		    !ASSERT_EQ(skel->bss->msg_sum[i], 'x' * (CHUNK - 3 * i), "sum"))
			break;
		recv(peer, got, CHUNK - 3 * i, MSG_WAITALL);
	}
	/* Not in the first piece, nor in the second */
	buf[sizeof(buf) - 1] = '!';
	ASSERT_EQ(send(sk, buf, sizeof(buf), 0), 2 * CHUNK, "sent");
	ASSERT_EQ(send(sk, buf + 2 * CHUNK, 1000, 0), -1, "dropped");
	ASSERT_EQ(errno, EACCES, "errno");
	for (at = 0; at < 2 * CHUNK; at += i) {
		i = recv(peer, got + at, sizeof(got) - at, 0);
		if (i <= 0)
			break;
	}
	ASSERT_EQ(at, 2 * CHUNK, "received");
	ASSERT_OK(memcmp(buf, got, at), "data");
	fails(peer, -EAGAIN);
	bpf_link__destroy(link);
out:
	close_pair();
}

/* After a drop, the application can still send an alert. */
static void test_send_control(void)
{
	struct bpf_link *link = msg_pair();
	char buf[4];

	if (!link)
		goto out;
	ASSERT_EQ(send_str("bad!", 0), -EACCES, "dropped");
	ASSERT_EQ(send_control(sk, 21, "!!", 2), 2, "alert");
	ASSERT_EQ(recv_type(peer, buf, sizeof(buf), 0), 21, "alert");
	ASSERT_EQ(skel->bss->msgs, 1, "messages");
	bpf_link__destroy(link);
out:
	close_pair();
}

/* Spliced pages are copied before the program runs: changing them later has no effect. */
static void test_splice(void)
{
	static char pages[2 * 4096];
	char *page = (void *)(((long)pages + 4095) & ~4095L);
	struct iovec iov = { page, 4096 };
	struct bpf_link *link = msg_pair();
	int pipefd[2] = { -1, -1 };
	char got[4096];

	if (!link || !ASSERT_OK(pipe(pipefd), "pipe"))
		goto out;
	memset(page, 'a', 4096);
	ASSERT_EQ(vmsplice(pipefd[1], &iov, 1, 0), 4096, "vmsplice");
	ASSERT_EQ(splice(pipefd[0], NULL, sk, NULL, 4096, SPLICE_F_MORE),
		  4096, "splice");
	ASSERT_EQ(skel->bss->msg_sum[0], 'a' * 4096, "sum");
	memset(page, '!', 4096);
	ASSERT_EQ(send_str("z", 0), 1, "the end of the record");
	ASSERT_EQ(recv(peer, got, sizeof(got), MSG_WAITALL), sizeof(got), "recv");
	ASSERT_EQ(got[0] + got[sizeof(got) - 1], 'a' + 'a', "what the program saw");
	reads(peer, "z");

	ASSERT_EQ(vmsplice(pipefd[1], &iov, 1, 0), 4096, "vmsplice");
	ASSERT_EQ(splice(pipefd[0], NULL, sk, NULL, 4096, 0), -1, "splice");
	ASSERT_EQ(errno, EACCES, "errno");
	fails(peer, -EAGAIN);
out:
	bpf_link__destroy(link);
	close(pipefd[0]);
	close(pipefd[1]);
	close_pair();
}

static void test_sendfile(void)
{
	struct bpf_link *link = msg_pair();
	char name[] = "/tmp/sock_link_tls.XXXXXX";
	int fd = mkstemp(name);
	off_t off = 0;

	if (!link || !ASSERT_GE(fd, 0, "file"))
		goto out;
	unlink(name);
	ASSERT_EQ(write(fd, "good bad!", 9), 9, "write");
	ASSERT_EQ(sendfile(sk, fd, &off, 5), 5, "passed");
	reads(peer, "good ");
	ASSERT_EQ(sendfile(sk, fd, &off, 4), -1, "dropped");
	ASSERT_EQ(errno, EACCES, "errno");
	ASSERT_EQ(off, 5, "offset");
	fails(peer, -EAGAIN);
out:
	bpf_link__destroy(link);
	close(fd);
	close_pair();
}

/* The program does not run before keys are set, and runs on all data afterwards. */
static void test_before_keys(void)
{
	struct bpf_link *link;

	if (!plain_pair(AF_INET6))
		goto out;
	link = try_attach(NULL, skel->progs.msg_verdict, sk, 0);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto out;
	ASSERT_EQ(send_str("hello!", 0), 6, "handshake");
	reads(peer, "hello!");
	ASSERT_OK(set_ulp(sk), "ULP");
	ASSERT_OK(set_ulp(peer), "ULP");
	ASSERT_EQ(send_str("done!", 0), 5, "handshake, with the ULP");
	reads(peer, "done!");
	ASSERT_EQ(skel->bss->msgs, 0, "messages");
	ASSERT_TRUE(set_all_keys(sk) && set_all_keys(peer), "keys");
	ASSERT_EQ(send_str("bad!", 0), -EACCES, "dropped");
	ASSERT_OK(set_keys(sk, TLS_TX, 1), "other keys");
	ASSERT_EQ(send_str("bad!", 0), -EACCES, "dropped");
	bpf_link__destroy(link);
out:
	close_pair();
}

static void test_info(void)
{
	LIBBPF_OPTS(bpf_prog_query_opts, query);
	struct bpf_link_info info;
	struct bpf_link *link = msg_pair();

	if (!link)
		goto out;
	info = link_info(link);
	ASSERT_EQ(info.sock.attach_type, BPF_SK_MSG_TLS, "attach type");
	ASSERT_EQ(info.sock.nr_socks, 1, "sockets");
	ASSERT_NEQ(info.sock.sock_cookie, 0, "cookie");
	ASSERT_OK(bpf_prog_query_opts(sk, BPF_SK_MSG_TLS, &query), "query");
	ASSERT_EQ(query.prog_cnt, 1, "programs");
	query.prog_cnt = 0;
	ASSERT_OK(bpf_prog_query_opts(sk, BPF_SK_MSG_VERDICT, &query), "query");
	ASSERT_EQ(query.prog_cnt, 0, "programs of another type");
	close_pair();
	info = link_info(link);
	ASSERT_EQ(info.sock.nr_socks, 0, "sockets once it is closed");
	ASSERT_EQ(info.sock.sock_cookie, 0, "cookie");
	bpf_link__destroy(link);
out:
	close_pair();
}

/* A connection that has inherited the msg program, @connects or is accepted */
static void check_inherited(int server, bool connects)
{
	int one = 1, fd = accept(server, NULL, NULL);

	if (!ASSERT_GE(fd, 0, "accept"))
		return;
	if (connects) {
		peer = fd;
	} else {
		peer = sk;
		sk = fd;
	}
	setsockopt(sk, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	set_timeout(peer);
	memset(skel->bss, 0, sizeof(*skel->bss));
	ASSERT_EQ(send_str("handshake!", 0), 10, "handshake");
	reads(peer, "handshake!");
	if (!enable_tls())
		return;
	ASSERT_EQ(send_str("bad!", 0), -EACCES, "dropped");
	ASSERT_EQ(send_str("good", 0), 4, "passed");
	reads(peer, "good");
}

static void test_inherit(int family)
{
	int server = socket_loopback(family, SOCK_STREAM);
	struct bpf_link_info info;
	struct bpf_link *link;

	if (!ASSERT_GE(server, 0, "server"))
		return;
	link = try_attach(NULL, skel->progs.msg_verdict, server, BPF_F_SOCK_INHERIT);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto out;
	sk = connect_to_fd(server, 3000);
	if (ASSERT_GE(sk, 0, "connect"))
		check_inherited(server, false);
	info = link_info(link);
	ASSERT_EQ(info.sock.nr_socks, 2, "sockets");
	/* A connection that is not accepted */
	close_pair();
	sk = connect_to_fd(server, 3000);
	ASSERT_GE(sk, 0, "connect");
	close(server);
	server = -1;
	info = link_info(link);
	ASSERT_EQ(info.sock.nr_socks, 0, "sockets");
out:
	bpf_link__destroy(link);
	close(server);
	close_pair();
}

static void test_cgroup(void)
{
	int server = socket_loopback(AF_INET, SOCK_STREAM);
	int cg = test__join_cgroup("/sock_link_tls");
	struct bpf_link *link = NULL;

	if (!ASSERT_GE(server, 0, "server") || !ASSERT_GE(cg, 0, "cgroup"))
		goto out;
	link = try_attach(NULL, skel->progs.msg_verdict, cg, 0);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto out;
	ASSERT_EQ(refused(NULL, skel->progs.plain_verdict, cg), -EBUSY, "other kind");
	sk = connect_to_fd(server, 3000);
	if (ASSERT_GE(sk, 0, "connect"))
		check_inherited(server, true);
out:
	bpf_link__destroy(link);
	close(server);
	close(cg);
	close_pair();
}

/* Receiving */

static char stream[1 << 18];

/* Write a record: 'P' is passed, 'D' is dropped. Returns the end of the record. */
static char *put(char *at, int len, char action)
{
	int i;

	at[0] = len >> 8;
	at[1] = len;
	for (i = 2; i < len; i++)
		at[i] = i == 2 ? action : 'a' + i % 26;
	return at + len;
}

/* Send what is at @from in TLS records of @cut bytes. */
static void send_cut(const char *from, int len, int cut)
{
	int n;

	for (; len > 0; len -= n, from += n) {
		n = len < cut ? len : cut;
		if (!ASSERT_EQ(send(peer, from, n, 0), n, "send"))
			return;
	}
}

static void reads_mem(const char *what, int len)
{
	static char buf[sizeof(stream)];
	int n = recv(sk, buf, len, MSG_WAITALL);

	if (ASSERT_EQ(n, len, "recv"))
		ASSERT_OK(memcmp(buf, what, len), "data");
}

static bool readable(void)
{
	struct pollfd p = { .fd = sk, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

/* The verdict sees complete records, however they are split into TLS records. */
static void test_recv_cut(int cut)
{
	static const int lens[] = { 3, 100, 5, 20000, 3, 3, 40, 17 };
	struct bpf_link *link = rec_pair(skel->progs.parser);
	char *end = stream;
	int i;

	if (!link)
		goto out;
	for (i = 0; i < ARRAY_SIZE(lens); i++)
		end = put(end, cut < 100 ? lens[i] % 1000 + 3 : lens[i], 'P');
	send_cut(stream, end - stream, cut);
	reads_mem(stream, end - stream);
	fails(sk, -EAGAIN);
	ASSERT_EQ(skel->bss->verdicts, ARRAY_SIZE(lens), "records");
	ASSERT_EQ(skel->bss->wrong, 0, "of another length");
	ASSERT_EQ(skel->bss->write_err, -EINVAL, "dynptr");
out:
	bpf_link__destroy(link);
	close_pair();
}

/* An incomplete record can neither be read, nor is it reported by poll(). */
static void test_recv_incomplete(void)
{
	struct bpf_link *link = rec_pair(skel->progs.parser);

	if (!link)
		goto out;
	put(stream, 50, 'P');
	put(stream + 50, 20, 'P');
	send_cut(stream, 60, 60);
	reads_mem(stream, 50);
	fails(sk, -EAGAIN);
	ASSERT_FALSE(readable(), "readable");
	send_cut(stream + 60, 9, 9);
	fails(sk, -EAGAIN);
	ASSERT_FALSE(readable(), "readable");
	send_cut(stream + 69, 1, 1);
	ASSERT_TRUE(readable(), "readable");
	reads_mem(stream + 50, 20);
	ASSERT_EQ(skel->bss->verdicts, 2, "records");
	/* A FIN in the middle of a record is the end of file. */
	send_cut(stream, 10, 10);
	shutdown(peer, SHUT_WR);
	ASSERT_EQ(recv(sk, stream, 1, 0), 0, "end of file");
out:
	bpf_link__destroy(link);
	close_pair();
}

/* After a drop, passed data can be read, then each call fails. */
static void test_recv_drop(void)
{
	struct bpf_link *link = rec_pair(skel->progs.parser);
	char *end;

	if (!link)
		goto out;
	end = put(put(put(stream, 30, 'P'), 40, 'D'), 10, 'P');
	send_cut(stream, end - stream, CHUNK);
	ASSERT_TRUE(readable(), "readable");
	reads_mem(stream, 30);
	fails(sk, -EACCES);
	fails(sk, -EACCES);
	ASSERT_TRUE(readable(), "readable");
	send_cut(stream, 30, 30);
	fails(sk, -EACCES);
	ASSERT_EQ(skel->bss->verdicts, 2, "records");
	ASSERT_EQ(send_str("still sent", 0), 10, "send");
	reads(peer, "still sent");
	bpf_link__destroy(link);
	fails(sk, -EACCES);
out:
	close_pair();
}

/* What was passed before a drop can be read, whatever programs come afterwards. */
static void test_recv_drop_attach(void)
{
	struct bpf_link *link;

	if (!tls_pair())
		goto out;
	put(put(stream, 50, 'P'), 20, 'D');
	send_cut(stream, 70, 70);
	link = try_attach(skel->progs.parser, skel->progs.verdict, sk, 0);
	ASSERT_OK_PTR(link, "attach");
	reads_mem(stream, 10);
	bpf_link__destroy(link);
	reads_mem(stream + 10, 5);
	link = try_attach(skel->progs.parser, skel->progs.verdict, sk, 0);
	ASSERT_OK_PTR(link, "attach");
	reads_mem(stream + 15, 35);
	fails(sk, -EACCES);
	bpf_link__destroy(link);
out:
	close_pair();
}

static void test_parser_error(int ret, int err)
{
	struct bpf_link *link = rec_pair(skel->progs.parser);

	if (!link)
		goto out;
	skel->bss->parser_ret = ret;
	put(stream, 30, 'P');
	send_cut(stream, 30, 30);
	fails(sk, err);
	fails(sk, err);
	ASSERT_EQ(skel->bss->verdicts, 0, "records");
out:
	bpf_link__destroy(link);
	close_pair();
}

/* Without a parser, each TLS record is one for the verdict. */
static void test_no_parser(void)
{
	struct bpf_link *link = rec_pair(NULL);
	char *end;

	if (!link)
		goto out;
	end = put(put(stream, 30, 'P'), 50, 'P');
	send_cut(stream, 30, 30);
	send_cut(stream + 30, 50, 50);
	reads_mem(stream, end - stream);
	ASSERT_EQ(skel->bss->verdicts, 2, "records");
	ASSERT_EQ(skel->bss->wrong, 0, "of another length");
	put(stream, 30, 'D');
	send_cut(stream, 30, 30);
	fails(sk, -EACCES);
out:
	bpf_link__destroy(link);
	close_pair();
}

/* Control records overtake an incomplete record, and its rest can be decrypted with the
 * key that is set after a KeyUpdate.
 */
static void test_control(void)
{
	struct bpf_link *link = rec_pair(skel->progs.parser);
	static const char update[] = { 24, 0, 0, 1, 0 };
	char buf[100];

	if (!link)
		goto out;
	put(stream, 30, 'P');
	put(stream + 30, 40, 'P');
	send_cut(stream, 50, 50);
	ASSERT_EQ(send_control(peer, 22, update, sizeof(update)), sizeof(update), "KeyUpdate");
	ASSERT_OK(set_keys(peer, TLS_TX, 1), "new key");
	send_cut(stream + 50, 20, 20);
	ASSERT_EQ(recv_type(sk, buf, sizeof(buf), 0), 23, "data");
	ASSERT_OK(memcmp(buf, stream, 30), "data");
	ASSERT_TRUE(readable(), "KeyUpdate");
	ASSERT_EQ(recv_type(sk, buf, sizeof(buf), MSG_DONTWAIT), 22, "KeyUpdate");
	fails(sk, -EKEYEXPIRED);
	ASSERT_FALSE(readable(), "data");
	ASSERT_OK(set_keys(sk, TLS_RX, 1), "new key");
	reads_mem(stream + 30, 40);
	ASSERT_EQ(skel->bss->verdicts, 2, "records");
	send_cut(stream, 20, 20);
	ASSERT_EQ(send_control(peer, 21, update, 2), 2, "alert");
	ASSERT_EQ(recv_type(sk, buf, sizeof(buf), MSG_DONTWAIT), 21, "alert");
	fails(sk, -EAGAIN);
out:
	bpf_link__destroy(link);
	close_pair();
}

/* Other methods to read */
static void test_recv_methods(void)
{
	struct bpf_link *link = rec_pair(skel->progs.parser);
	int pipefd[2] = { -1, -1 };
	char buf[100];

	if (!link || !ASSERT_OK(pipe(pipefd), "pipe"))
		goto out;
	put(stream, 30, 'P');
	put(stream + 30, 40, 'P');
	send_cut(stream, 60, 7);
	ASSERT_EQ(recv(sk, buf, sizeof(buf), MSG_PEEK), 30, "peek");
	ASSERT_EQ(recv(sk, buf, sizeof(buf), MSG_PEEK), 30, "peek again");
	ASSERT_EQ(recv(sk, buf, 10, 0), 10, "a part");
	ASSERT_EQ(splice(sk, NULL, pipefd[1], NULL, sizeof(buf), 0), 20, "splice");
	ASSERT_EQ(splice(sk, NULL, pipefd[1], NULL, sizeof(buf), SPLICE_F_NONBLOCK), -1, "splice");
	ASSERT_EQ(errno, EAGAIN, "incomplete");
	send_cut(stream + 60, 10, 10);
	ASSERT_EQ(splice(sk, NULL, pipefd[1], NULL, sizeof(buf), 0), 40, "splice");
	ASSERT_EQ(read(pipefd[0], buf, sizeof(buf)), 60, "pipe");
	ASSERT_OK(memcmp(buf, stream + 10, 60), "data");
	ASSERT_EQ(skel->bss->verdicts, 2, "records");
	put(stream, 30, 'D');
	send_cut(stream, 30, 30);
	ASSERT_EQ(splice(sk, NULL, pipefd[1], NULL, sizeof(buf), 0), -1, "splice");
	ASSERT_EQ(errno, EACCES, "dropped");
out:
	bpf_link__destroy(link);
	close(pipefd[0]);
	close(pipefd[1]);
	close_pair();
}

/* New programs run on data that was decrypted but not read. */
static void test_attach_unread(void)
{
	struct bpf_link *link = NULL;
	char buf[200], *end;

	if (!tls_pair())
		goto out;
	end = put(put(put(stream, 30, 'P'), 30, 'P'), 30, 'D');
	send_cut(stream, end - stream, 70);
	ASSERT_EQ(recv(sk, buf, 90, MSG_PEEK | MSG_WAITALL), 90, "peek");
	ASSERT_EQ(recv(sk, buf, 30, 0), 30, "read");
	link = try_attach(skel->progs.parser, skel->progs.verdict, sk, 0);
	ASSERT_OK_PTR(link, "attach");
	ASSERT_EQ(recv(sk, buf, sizeof(buf), 0), 30, "passed");
	ASSERT_OK(memcmp(buf, stream + 30, 30), "data");
	fails(sk, -EACCES);
	ASSERT_EQ(skel->bss->verdicts, 2, "records");
out:
	bpf_link__destroy(link);
	close_pair();
}

static int reader_tid;
static long reader_errno;

static void *reader(void *arg)
{
	long ret;

	__atomic_store_n(&reader_tid, sys_gettid(), __ATOMIC_SEQ_CST);
	ret = recv(sk, arg, 100, 0);
	reader_errno = errno;
	return (void *)ret;
}

/* Start a thread that reads, and wait until it sleeps. */
static bool start_reader(pthread_t *thread, char *buf)
{
	int i, tid;

	reader_tid = 0;
	if (!ASSERT_OK(pthread_create(thread, NULL, reader, buf), "thread"))
		return false;
	for (i = 0; i < 10000; i++) {
		tid = __atomic_load_n(&reader_tid, __ATOMIC_SEQ_CST);
		if (tid && thread_sleeps(tid))
			return true;
		usleep(1000);
	}
	ASSERT_TRUE(false, "reader sleeps");
	return true;
}

/* A reader that sleeps while a verdict is attached does not get what that drops. */
static void test_attach_blocked(void)
{
	struct bpf_link *link;
	pthread_t thread;
	char buf[100];
	void *ret;

	if (!tls_pair() || !start_reader(&thread, buf))
		goto out;
	link = try_attach(NULL, skel->progs.verdict, sk, 0);
	ASSERT_OK_PTR(link, "attach");
	put(stream, 30, 'D');
	send_cut(stream, 30, 30);
	pthread_join(thread, &ret);
	ASSERT_EQ((long)ret, -1, "recv");
	ASSERT_EQ(reader_errno, EACCES, "errno");
	ASSERT_EQ(skel->bss->verdicts, 1, "records");
	bpf_link__destroy(link);
out:
	close_pair();
}

/* A reader that sleeps because of an incomplete record gets it after the detach. */
static void test_detach_blocked(void)
{
	struct bpf_link *link = rec_pair(skel->progs.parser);
	pthread_t thread;
	char buf[100];
	void *ret;

	if (!link)
		goto out;
	put(stream, 30, 'D');
	send_cut(stream, 20, 20);
	fails(sk, -EAGAIN);
	if (!start_reader(&thread, buf))
		goto out;
	bpf_link__destroy(link);
	link = NULL;
	pthread_join(thread, &ret);
	ASSERT_EQ((long)ret, 20, "recv");
	ASSERT_OK(memcmp(buf, stream, 20), "data");
	ASSERT_EQ(skel->bss->verdicts, 0, "records");
out:
	bpf_link__destroy(link);
	close_pair();
}

/* The length that a parser has returned is not used after it was replaced. */
static void test_other_parser(void)
{
	struct bpf_link *link = rec_pair(skel->progs.parser);

	if (!link)
		goto out;
	put(stream, 30, 'P');
	put(stream + 30, 20, 'D');
	skel->bss->parser_ret = 50;
	send_cut(stream, 40, 40);
	fails(sk, -EAGAIN);
	bpf_link__destroy(link);
	skel->bss->parser_ret = 0;
	link = try_attach(skel->progs.parser, skel->progs.verdict, sk, 0);
	ASSERT_OK_PTR(link, "attach");
	send_cut(stream + 40, 10, 10);
	reads_mem(stream, 30);
	fails(sk, -EACCES);
	ASSERT_EQ(skel->bss->wrong, 0, "of another length");
out:
	bpf_link__destroy(link);
	close_pair();
}

static void *send_slowly(void *arg)
{
	int i;

	for (i = 0; i < 20; i++) {
		if (send(peer, stream + i, 1, MSG_NOSIGNAL) != 1)
			break;
		usleep(100000);
	}
	return NULL;
}

/* A peer that sends a record byte by byte does not extend SO_RCVTIMEO. */
static void test_recv_timeout(void)
{
	struct bpf_link *link = rec_pair(skel->progs.parser);
	struct timeval tv = { .tv_usec = 300000 };
	struct timespec start, end;
	pthread_t thread;
	char buf[100];

	if (!link)
		goto out;
	put(stream, 90, 'P');
	setsockopt(sk, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (!ASSERT_OK(pthread_create(&thread, NULL, send_slowly, NULL), "thread"))
		goto out;
	clock_gettime(CLOCK_MONOTONIC, &start);
	ASSERT_EQ(recv(sk, buf, sizeof(buf), 0), -1, "recv");
	ASSERT_EQ(errno, EAGAIN, "errno");
	clock_gettime(CLOCK_MONOTONIC, &end);
	/* The peer sends for 2 s. */
	ASSERT_LT((end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000,
		  1500, "ms");
	pthread_join(thread, NULL);
out:
	bpf_link__destroy(link);
	close_pair();
}

/* An incomplete record can be read after a detach. Another verdict can be set. */
static void test_detach_incomplete(void)
{
	struct bpf_link *link = rec_pair(skel->progs.parser);

	if (!link)
		goto out;
	put(stream, 30, 'P');
	send_cut(stream, 30, 30);
	reads_mem(stream, 30);
	ASSERT_OK(bpf_link__update_program(link, skel->progs.other_verdict), "update");
	put(stream, 30, 'D');
	send_cut(stream, 30, 30);
	reads_mem(stream, 30);
	ASSERT_EQ(skel->bss->other, 1, "other verdict");
	send_cut(stream, 20, 3);
	fails(sk, -EAGAIN);
	bpf_link__destroy(link);
	reads_mem(stream, 20);
	send_cut(stream, 30, 4);
	reads_mem(stream, 30);
	ASSERT_EQ(skel->bss->verdicts, 1, "records");
out:
	close_pair();
}

/* Records of 64 KiB complete, also in TLS records of one byte, and longer than 128 KiB
 * is an error.
 */
static void test_long_records(void)
{
	struct bpf_link *link = rec_pair(skel->progs.parser);
	int i;

	if (!link)
		goto out;
	put(stream, 65535, 'P');
	for (i = 0; i < 3; i++) {
		send_cut(stream, 65535, i == 1 ? 1000 : 16000);
		reads_mem(stream, 65535);
	}
	send_cut(stream, 3000, 1);
	fails(sk, -EAGAIN);
	send_cut(stream + 3000, 65535 - 3000, CHUNK);
	reads_mem(stream, 65535);
	ASSERT_EQ(skel->bss->verdicts, 4, "records");
	ASSERT_EQ(skel->bss->wrong, 0, "of another length");
	skel->bss->parser_ret = 128 * 1024 + 1;
	send_cut(stream, 10, 10);
	fails(sk, -EMSGSIZE);
out:
	bpf_link__destroy(link);
	close_pair();
}

/* A connection inherits parser and verdict, from the first byte after the keys. */
static void test_inherit_recv(void)
{
	int server = socket_loopback(AF_INET, SOCK_STREAM);
	struct bpf_link *link;

	if (!ASSERT_GE(server, 0, "server"))
		return;
	link = try_attach(skel->progs.parser, skel->progs.verdict, server, BPF_F_SOCK_INHERIT);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto out;
	peer = connect_to_fd(server, 3000);
	if (!ASSERT_GE(peer, 0, "connect"))
		goto out;
	sk = accept(server, NULL, NULL);
	if (!ASSERT_GE(sk, 0, "accept"))
		goto out;
	set_timeout(sk);
	memset(skel->bss, 0, sizeof(*skel->bss));
	put(put(stream, 30, 'P'), 30, 'D');
	send_cut(stream, 60, 60);
	reads_mem(stream, 60);
	ASSERT_EQ(skel->bss->verdicts, 0, "records before the keys");
	if (!ASSERT_OK(set_ulp(sk), "ULP") || !ASSERT_OK(set_ulp(peer), "ULP") ||
	    !ASSERT_OK(set_keys(peer, TLS_TX, 0), "TLS_TX"))
		goto out;
	/* Data that arrives before TLS_RX */
	send_cut(stream, 60, 25);
	if (!ASSERT_OK(set_keys(sk, TLS_RX, 0), "TLS_RX"))
		goto out;
	reads_mem(stream, 30);
	fails(sk, -EACCES);
	ASSERT_EQ(skel->bss->verdicts, 2, "records");
out:
	bpf_link__destroy(link);
	close(server);
	close_pair();
}

/* BPF_F_SOCK_TLS_ONLY */

enum { CCS = 20, ALERT = 21, HANDSHAKE = 22, DATA = 23 };

/* Write the header of a TLS record, and @len bytes that are not encrypted. */
static char *put_tls(char *at, __u8 type, int len)
{
	char header[] = { type, 3, 3, len >> 8, len };

	memcpy(at, header, sizeof(header));
	memset(at + sizeof(header), 'a', len);
	return at + sizeof(header) + len;
}

static struct bpf_link *attach_tls_only(int server)
{
	struct bpf_link *link = try_attach(skel->progs.parser, skel->progs.verdict, server,
					   BPF_F_SOCK_INHERIT | BPF_F_SOCK_TLS_ONLY);

	ASSERT_OK_PTR(link, "attach");
	memset(skel->bss, 0, sizeof(*skel->bss));
	return link;
}

/* A connection whose end @sk has inherited the flag */
static struct bpf_link *tls_only_pair(void)
{
	int one = 1, server = socket_loopback(AF_INET, SOCK_STREAM);
	struct bpf_link *link = attach_tls_only(server);

	if (link) {
		peer = connect_to_fd(server, 3000);
		sk = accept(server, NULL, NULL);
		setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		set_timeout(sk);
		set_timeout(peer);
	}
	close(server);
	if (!link || (ASSERT_GE(sk, 0, "accept") && ASSERT_GE(peer, 0, "connect")))
		return link;
	bpf_link__destroy(link);
	return NULL;
}

/* What comes next cannot be read, by no call. */
static void key_rejected(void)
{
	int n = -1, pipefd[2];
	char c;

	if (!ASSERT_OK(pipe(pipefd), "pipe"))
		return;
	ASSERT_TRUE(readable(), "readable");
	fails(sk, -EKEYREJECTED);
	fails(sk, -EKEYREJECTED);
	ASSERT_EQ(recv(sk, &c, 1, MSG_PEEK), -1, "peek");
	ASSERT_EQ(errno, EKEYREJECTED, "peek");
	ASSERT_EQ(splice(sk, NULL, pipefd[1], NULL, 1, SPLICE_F_NONBLOCK), -1, "splice");
	ASSERT_EQ(errno, EKEYREJECTED, "splice");
	ASSERT_OK(ioctl(sk, FIONREAD, &n), "FIONREAD");
	ASSERT_EQ(n, 0, "FIONREAD");
	close(pipefd[0]);
	close(pipefd[1]);
}

/* The handshake of TLS 1.2 can be read, but then no application data. */
static void test_tls_only_12(int cut)
{
	struct bpf_link *link = tls_only_pair();
	char *end;

	if (!link)
		return;
	end = put_tls(put_tls(put_tls(stream, HANDSHAKE, 300), CCS, 1), HANDSHAKE, 40);
	end = put_tls(put_tls(end, ALERT, 2), HANDSHAKE, 0);
	put_tls(end, DATA, 100);
	send_cut(stream, end + 105 - stream, cut);
	reads_mem(stream, end - stream);
	key_rejected();
	ASSERT_EQ(send_str("alert", 0), 5, "send");
	reads(peer, "alert");
	ASSERT_EQ(skel->bss->verdicts, 0, "records");
	bpf_link__destroy(link);
	close_pair();
}

/* Of TLS 1.3, one record of the type of application data can be read. TLS gets the next
 * one if the application sets the key after it has arrived.
 */
static void test_tls_only_13(void)
{
	struct bpf_link *link = tls_only_pair();
	char *end;

	if (!link)
		return;
	end = put_tls(put_tls(put_tls(stream, HANDSHAKE, 300), CCS, 1), DATA, 60);
	send_cut(stream, end - stream, CHUNK);
	reads_mem(stream, end - stream);
	fails(sk, -EAGAIN);
	if (!ASSERT_OK(set_ulp(sk), "ULP") || !ASSERT_OK(set_ulp(peer), "ULP") ||
	    !set_all_keys(peer))
		goto out;
	put(put(put(stream, 30, 'P'), 20, 'D'), 10, 'P');
	send_cut(stream, 60, 7);
	key_rejected();
	if (!set_all_keys(sk))
		goto out;
	reads_mem(stream, 30);
	fails(sk, -EACCES);
	ASSERT_EQ(skel->bss->verdicts, 2, "records");
	ASSERT_EQ(send_str("sent", 0), 4, "send");
	reads(peer, "sent");
out:
	bpf_link__destroy(link);
	close_pair();
}

/* After a HelloRetryRequest, TLS 1.3 looks like 1.2 until the application sets the key
 * for what it sends.
 */
static void test_tls_only_retry(void)
{
	struct bpf_link *link = tls_only_pair();
	char *finished, *end;

	if (!link)
		return;
	finished = put_tls(put_tls(put_tls(stream, HANDSHAKE, 300), CCS, 1), HANDSHAKE, 300);
	end = put_tls(finished, DATA, 60);
	send_cut(stream, end - stream, CHUNK);
	reads_mem(stream, finished - stream);
	key_rejected();
	if (!ASSERT_OK(set_ulp(sk), "ULP") || !ASSERT_OK(set_keys(sk, TLS_TX, 0), "TLS_TX"))
		goto out;
	reads_mem(finished, end - finished);
	send_cut(finished, end - finished, CHUNK);
	key_rejected();
out:
	bpf_link__destroy(link);
	close_pair();
}

/* Without TLS, nothing can be read, not even less than a header. */
static void test_tls_only_plain(void)
{
	struct bpf_link *link = tls_only_pair();
	char c;

	if (!link)
		return;
	send_cut("GET", 3, 3);
	fails(sk, -EAGAIN);
	ASSERT_FALSE(readable(), "readable");
	send_cut(" / HTTP/1.1\r\n", 13, 13);
	key_rejected();
	bpf_link__destroy(link);
	reads(sk, "GET / HTTP/1.1\r\n");
	close_pair();

	link = tls_only_pair();
	if (!link)
		return;
	send_cut("GET", 3, 3);
	shutdown(peer, SHUT_WR);
	ASSERT_EQ(recv(sk, &c, 1, 0), 0, "end of file");
	bpf_link__destroy(link);
	close_pair();
}

/* Connections that wait to be accepted are covered, with what they have received. */
static void test_tls_only_waiting(void)
{
	int server = socket_loopback(AF_INET, SOCK_STREAM);
	struct pollfd p = { .fd = server, .events = POLLIN };
	struct bpf_link *link;

	peer = connect_to_fd(server, 3000);
	send_cut("GET / HTTP/1.1\r\n", 16, 16);
	ASSERT_EQ(poll(&p, 1, 3000), 1, "connection");
	link = attach_tls_only(server);
	sk = accept(server, NULL, NULL);
	if (link && ASSERT_GE(sk, 0, "accept")) {
		set_timeout(sk);
		ASSERT_EQ(recv(sk, stream, 1, 0), -1, "recv");
		key_rejected();
	}
	bpf_link__destroy(link);
	close(server);
	close_pair();
}

/* A reader that waits for the rest of a header gets the part after the detach. */
static void test_tls_only_detach(void)
{
	struct bpf_link *link = tls_only_pair();
	pthread_t thread;
	char buf[100];
	void *ret;

	if (!link)
		return;
	send_cut("abc", 3, 3);
	if (start_reader(&thread, buf)) {
		bpf_link__destroy(link);
		link = NULL;
		pthread_join(thread, &ret);
		ASSERT_EQ((long)ret, 3, "recv");
	}
	bpf_link__destroy(link);
	close_pair();
}

/* Where the flag is refused */
static void test_tls_only_flags(void)
{
	int server = socket_loopback(AF_INET, SOCK_STREAM), cg = test__join_cgroup("/tls_only");
	const __u32 both = BPF_F_SOCK_INHERIT | BPF_F_SOCK_TLS_ONLY;
	struct bpf_link *link;

	if (!plain_pair(AF_INET))
		goto out;
	link = try_attach(NULL, skel->progs.verdict, sk, BPF_F_SOCK_TLS_ONLY);
	ASSERT_EQ(link ? 0 : errno, EINVAL, "connection");
	link = try_attach(NULL, skel->progs.verdict, sk, both);
	ASSERT_EQ(link ? 0 : errno, EINVAL, "connection, inherit");
	link = try_attach(NULL, skel->progs.verdict, server, BPF_F_SOCK_TLS_ONLY);
	ASSERT_EQ(link ? 0 : errno, EINVAL, "server, not inherit");
	link = try_attach(NULL, skel->progs.msg_verdict, server, both);
	ASSERT_EQ(link ? 0 : errno, EINVAL, "sent data");
	link = try_attach(NULL, skel->progs.plain_verdict, server, both);
	ASSERT_EQ(link ? 0 : errno, EINVAL, "data of TCP");
	link = try_attach(NULL, skel->progs.verdict, cg, BPF_F_SOCK_TLS_ONLY);
	ASSERT_EQ(link ? 0 : errno, EINVAL, "cgroup");
out:
	close(cg);
	close(server);
	close_pair();
}

/* Connections that use TLS already get the programs of their cgroup, at both ends. */
static void test_cgroup_existing(void)
{
	int cg = test__join_cgroup("/sock_link_tls");
	struct bpf_link *link, *sends = NULL;

	if (!ASSERT_GE(cg, 0, "cgroup") || !tls_pair())
		goto out;
	put(put(stream, 30, 'P'), 30, 'D');
	send_cut(stream, 45, 45);
	link = try_attach(skel->progs.parser, skel->progs.verdict, cg, BPF_F_SOCK_EXISTING);
	sends = try_attach(NULL, skel->progs.msg_verdict, cg, BPF_F_SOCK_EXISTING);
	if (ASSERT_OK_PTR(link, "attach") && ASSERT_OK_PTR(sends, "attach")) {
		ASSERT_EQ(link_info(link).sock.nr_socks, 2, "sockets");
		ASSERT_EQ(link_info(link).sock.nr_missed, 0, "missed");
		ASSERT_EQ(send_str("bad!", 0), -EACCES, "dropped");
		send_cut(stream + 45, 15, 15);
		reads_mem(stream, 30);
		fails(sk, -EACCES);
	}
	bpf_link__destroy(link);
	bpf_link__destroy(sends);
out:
	close(cg);
	close_pair();
}

/* What bpftool shows of a link */
static void test_bpftool(void)
{
	struct bpf_link *link = rec_pair(skel->progs.parser);
	char out[4096];

	if (!link)
		goto out;
	bpftool_link_show(link, true, out, sizeof(out));
	ASSERT_HAS_SUBSTR(out, "\"attach_type\":\"sk_skb_tls\"", "bpftool link show");
out:
	bpf_link__destroy(link);
	close_pair();
	link = tls_only_pair();
	if (!link)
		return;
	bpftool_link_show(link, true, out, sizeof(out));
	ASSERT_HAS_SUBSTR(out, "\"tls_only\"", "bpftool link show");
	bpf_link__destroy(link);
	close_pair();
}

/* On a kernel that cannot load the programs, each subtest fails. */
static bool start(const char *subtest)
{
	return test__start_subtest(subtest) && ASSERT_OK_PTR(skel, "skeleton");
}

void test_sock_link_tls(void)
{
	skel = test_sock_link_tls__open_and_load();

	if (start("verifier"))
		test_verifier();
	if (start("extension"))
		test_extension();
	if (start("tail_call"))
		test_tail_call();
	if (start("types"))
		test_types();
	if (start("excluded"))
		test_excluded();
	if (start("send"))
		test_send();
	if (start("send_more"))
		test_send_more();
	if (start("send_long"))
		test_send_long();
	if (start("send_control"))
		test_send_control();
	if (start("splice"))
		test_splice();
	if (start("sendfile"))
		test_sendfile();
	if (start("before_keys"))
		test_before_keys();
	if (start("info"))
		test_info();
	if (start("inherit"))
		test_inherit(AF_INET);
	if (start("inherit6"))
		test_inherit(AF_INET6);
	if (start("cgroup"))
		test_cgroup();
	if (start("recv_cut_1"))
		test_recv_cut(1);
	if (start("recv_cut_7"))
		test_recv_cut(7);
	if (start("recv_cut_1000"))
		test_recv_cut(1000);
	if (start("recv_joined"))
		test_recv_cut(CHUNK);
	if (start("recv_incomplete"))
		test_recv_incomplete();
	if (start("recv_drop"))
		test_recv_drop();
	if (start("recv_drop_attach"))
		test_recv_drop_attach();
	if (start("parser_error"))
		test_parser_error(-EPROTONOSUPPORT, -EPROTONOSUPPORT);
	if (start("parser_error_reserved"))
		test_parser_error(-EAGAIN, -EPROTO);
	if (start("no_parser"))
		test_no_parser();
	if (start("control_overtakes"))
		test_control();
	if (start("recv_methods"))
		test_recv_methods();
	if (start("attach_unread"))
		test_attach_unread();
	if (start("attach_blocked"))
		test_attach_blocked();
	if (start("detach_incomplete"))
		test_detach_incomplete();
	if (start("detach_blocked"))
		test_detach_blocked();
	if (start("other_parser"))
		test_other_parser();
	if (start("recv_timeout"))
		test_recv_timeout();
	if (start("inherit_recv"))
		test_inherit_recv();
	if (start("cgroup_existing"))
		test_cgroup_existing();
	if (start("bpftool"))
		test_bpftool();
	if (start("long_records"))
		test_long_records();
	if (start("tls_only_12"))
		test_tls_only_12(CHUNK);
	if (start("tls_only_12_cut"))
		test_tls_only_12(7);
	if (start("tls_only_13"))
		test_tls_only_13();
	if (start("tls_only_retry"))
		test_tls_only_retry();
	if (start("tls_only_plain"))
		test_tls_only_plain();
	if (start("tls_only_waiting"))
		test_tls_only_waiting();
	if (start("tls_only_detach"))
		test_tls_only_detach();
	if (start("tls_only_flags"))
		test_tls_only_flags();

	test_sock_link_tls__destroy(skel);
}
