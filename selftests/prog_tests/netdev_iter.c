// SPDX-License-Identifier: GPL-2.0
/* Iterators of network namespaces and devices. Whatever exists for a whole walk
 * must be shown exactly once, whatever changes meanwhile and however it is
 * read.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>

#include "cap_helpers.h"
#include "netdev_test.h"
#include "verifier_refuses.h"
#include "bpftool_link.h"
#include "thread_sleeps.h"
#include "progs/test_netdev_iter.h"
#include "test_netdev_iter.skel.h"
#include "test_netdev_iter_fail.skel.h"

#define NSES 3			/* namespaces of a test */
#define DEVS 4			/* devices in each, besides the loopback device */
#define EVENT_TIMEOUT_MS 60000
#define MOVES 50

static const size_t buffers[] = { 1, 7, 100, 4096, 65536 };

struct iters {
	struct test_netdev_iter *skel;
	struct nl_ns ns[NSES];
	int dev[NSES][DEVS];		/* ifindexes */
};

static struct netdev_seen seen[NETDEV_ITER_MAX];

/* ---- walks --------------------------------------------------------------- */

/* One read() of a binary iterator. Return: the number of bytes, 0 at the end */
static int read_some(int fd, size_t size, size_t *have)
{
	size_t room = sizeof(seen) - *have;
	int n;

	n = read(fd, (char *)seen + *have, size < room ? size : room);
	if (n > 0)
		*have += n;
	return n;
}

/* Read the rest in reads of @size bytes. Return: the number of records in seen[] */
static int read_rest(int fd, size_t size, size_t have)
{
	int n;

	while ((n = read_some(fd, size, &have)) > 0)
		;
	if (!ASSERT_OK(n, "read the iterator") ||
	    !ASSERT_EQ(have % sizeof(*seen), 0, "a whole number of records"))
		return -1;
	return have / sizeof(*seen);
}

/* Does the kernel have the open-coded iterators, too? */
static bool open_coded(const struct iters *t)
{
	return bpf_program__autoload(t->skel->progs.open_netdev);
}

static bool needs_kfuncs(const struct iters *t)
{
	return !open_coded(t) && kernel_lacks_kfuncs();
}

static int walk_fd(struct bpf_link *link)
{
	int fd = bpf_iter_create(bpf_link__fd(link));

	ASSERT_OK_FD(fd, "create iterator");
	return fd;
}

static int walk(struct bpf_link *link, size_t size)
{
	int fd = walk_fd(link), n;

	if (fd < 0)
		return -1;
	n = read_rest(fd, size, 0);
	close(fd);
	return n;
}

/* A complete walk over a seq_file, in reads of @size bytes */
static int walk_prog(struct bpf_program *prog, size_t size)
{
	struct bpf_link *link = bpf_program__attach_iter(prog, NULL);
	int n;

	if (!ASSERT_OK_PTR(link, "attach"))
		return -1;
	n = walk(link, size);
	bpf_link__destroy(link);
	return n;
}

/* A complete walk with an open-coded iterator, by a program that runs once */
static int walk_open(struct iters *t, struct bpf_program *prog)
{
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts);

	if (!ASSERT_OK(bpf_prog_test_run_opts(bpf_program__fd(prog), &opts), "run") ||
	    !ASSERT_EQ(opts.retval, 0, "returned"))
		return -1;
	memcpy(seen, t->skel->bss->seen, sizeof(seen));
	return t->skel->bss->seen_count;
}

/* The same from a tracing program, which runs in the next system call of this
 * process
 */
static int walk_traced(struct iters *t, struct bpf_program *prog)
{
	struct bpf_link *link;

	t->skel->bss->seen_count = 0;
	link = bpf_program__attach(prog);
	if (!ASSERT_OK_PTR(link, "attach"))
		return -1;
	t->skel->bss->pid = getpid();
	syscall(__NR_getpgid, 0);
	t->skel->bss->pid = 0;
	bpf_link__destroy(link);
	memcpy(seen, t->skel->bss->seen, sizeof(seen));
	return t->skel->bss->seen_count;
}

/* How many of the @n records show the namespace with this cookie */
static int count_netns(int n, __u64 cookie)
{
	int count = 0;

	while (n-- > 0)
		count += seen[n].netns_cookie == cookie;
	return count;
}

static int count_reg_id(int n, __u32 reg_id)
{
	int count = 0;

	while (n-- > 0)
		count += seen[n].reg_id == reg_id;
	return count;
}

static int count_dev(int n, const struct nl_ns *ns, __u32 ifindex)
{
	int count = 0;

	while (n-- > 0)
		count += seen[n].netns_cookie == ns->cookie && seen[n].ifindex == ifindex;
	return count;
}

static const struct netdev_seen *find_dev(int n, const struct nl_ns *ns, __u32 ifindex)
{
	while (n-- > 0)
		if (seen[n].netns_cookie == ns->cookie && seen[n].ifindex == ifindex)
			return &seen[n];
	return NULL;
}

/* ---- namespaces and devices------------------------------------------------- */

static int new_dummy(const struct nl_ns *ns, const char *name)
{
	int err = nl_link_new(ns, name, "dummy");

	return err ?: nl_link_index(ns, name);
}

static bool make_devices(struct iters *t)
{
	char name[IFNAMSIZ];
	int i, j;

	for (i = 0; i < NSES; i++) {
		for (j = 0; j < DEVS; j++) {
			snprintf(name, sizeof(name), "d%d.%d", i, j);
			t->dev[i][j] = new_dummy(&t->ns[i], name);
			if (!ASSERT_GT(t->dev[i][j], 0, name))
				return false;
		}
	}
	return true;
}

static bool shows_all(int n)
{
	return ASSERT_GE(n, NSES * (DEVS + 1), "devices");
}

/* Each device of the tests is shown once, in its namespace and with its name;
 * no other is
 */
static void check_devices(struct iters *t, int n, const char *form)
{
	const struct netdev_seen *s;
	char name[IFNAMSIZ];
	int i, j;

	if (!shows_all(n))
		return;
	for (i = 0; i < NSES; i++) {
		ASSERT_EQ(count_netns(n, t->ns[i].cookie), DEVS + 1, form);
		for (j = 0; j < DEVS; j++) {
			snprintf(name, sizeof(name), "d%d.%d", i, j);
			if (ASSERT_EQ(count_dev(n, &t->ns[i], t->dev[i][j]), 1, form)) {
				s = find_dev(n, &t->ns[i], t->dev[i][j]);
				ASSERT_STREQ(s->name, name, form);
				ASSERT_EQ(count_reg_id(n, s->reg_id), 1, form);
			}
		}
	}
}

/* Make a veth pair between both: its end in @from disappears when @ns is taken down. */
static int watch_netns(const struct nl_ns *ns, const struct nl_ns *from)
{
	int group = RTNLGRP_LINK;
	char name[IFNAMSIZ];

	snprintf(name, sizeof(name), "watch%d", ns->fd);
	ASSERT_OK(nl_veth_new(from, name, ns, "peer"), "veth");
	ASSERT_OK(setsockopt(from->nl, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group,
			     sizeof(group)), "listen");
	return nl_link_index(from, name);
}

static void wait_for_dellink(const struct nl_ns *ns, int ifindex)
{
	char buf[8192];
	int n, gone = 0;

	while (!gone) {
		struct pollfd p = { .fd = ns->nl, .events = POLLIN };
		struct nlmsghdr *h = (void *)buf;

		if (!ASSERT_EQ(poll(&p, 1, EVENT_TIMEOUT_MS), 1, "device disappears"))
			return;
		n = recv(ns->nl, buf, sizeof(buf), 0);
		for (; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n))
			gone |= h->nlmsg_type == RTM_DELLINK &&
				((struct ifinfomsg *)NLMSG_DATA(h))->ifi_index == ifindex;
	}
}

/* ---- both forms show the same ---------------------------------------------- */

static void check_netns(struct iters *t, int n, const char *form)
{
	int i, at;

	for (i = 0; i < NSES; i++)
		ASSERT_EQ(count_netns(n, t->ns[i].cookie), 1, form);
	/* in the order of their creation */
	for (i = 0, at = 0; i < NSES && at < n; at++)
		i += seen[at].netns_cookie == t->ns[i].cookie;
	ASSERT_EQ(i, NSES, form);
}

static void netns(struct iters *t)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(buffers); i++)
		check_netns(t, walk_prog(t->skel->progs.seq_netns, buffers[i]), "seq_file");
	if (open_coded(t))
		check_netns(t, walk_open(t, t->skel->progs.open_netns), "open-coded");
	if (open_coded(t))
		check_netns(t, walk_open(t, t->skel->progs.open_netns_resumed), "resumed");
}

static void netdev(struct iters *t)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(buffers); i++)
		check_devices(t, walk_prog(t->skel->progs.seq_netdev, buffers[i]),
			      "seq_file");
	if (!open_coded(t))
		return;
	check_devices(t, walk_open(t, t->skel->progs.open_netdev), "open-coded");
	check_devices(t, walk_open(t, t->skel->progs.open_nested), "nested");
	check_devices(t, walk_open(t, t->skel->progs.open_netdev_resumed), "resumed");
	check_devices(t, walk_traced(t, t->skel->progs.trace_netdev), "tracepoint");
	check_devices(t, walk_traced(t, t->skel->progs.probe_netdev), "kprobe");
}

/* The program is called once at the end, and nothing is shown after that */
static void past_end(struct iters *t)
{
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts);
	struct bpf_link *link;
	size_t have = 0;
	int fd;

	t->skel->bss->end_calls = 0;
	link = bpf_program__attach_iter(t->skel->progs.seq_netdev, NULL);
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	fd = walk_fd(link);
	if (fd < 0)
		goto out;
	read_rest(fd, 4096, 0);
	ASSERT_GT(new_dummy(&t->ns[0], "late"), 0, "one more device");
	ASSERT_EQ(read_some(fd, 4096, &have), 0, "read after the end");
	ASSERT_EQ(t->skel->bss->end_calls, 1, "calls at the end");
	close(fd);
	if (!open_coded(t))
		goto out;
	ASSERT_OK(bpf_prog_test_run_opts(bpf_program__fd(t->skel->progs.open_past_end), &opts),
		  "run");
	ASSERT_EQ(opts.retval, 0, "shown after the end");
out:
	bpf_link__destroy(link);
}

/* ---- narrowed --------------------------------------------------------------- */

static void by_netns(struct iters *t)
{
	struct bpf_link *link;
	int i, j, n;

	link = attach_to(t->skel->progs.seq_netdev, t->ns[1].fd, 0);
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	for (i = 0; i < ARRAY_SIZE(buffers); i++) {
		n = walk(link, buffers[i]);
		ASSERT_EQ(n, DEVS + 1, "devices");
		ASSERT_EQ(count_netns(n, t->ns[1].cookie), n, "of the namespace");
		for (j = 0; j < DEVS; j++)
			ASSERT_EQ(count_dev(n, &t->ns[1], t->dev[1][j]), 1, "shown");
	}
	bpf_link__destroy(link);
}

/* Walk from a device to the others of its namespace */
static void neighbours(struct iters *t)
{
	int n, i, j;

	if (needs_kfuncs(t))
		return;
	n = walk_prog(t->skel->progs.seq_neighbours, 4096);
	for (i = 0; i < NSES; i++)
		for (j = 0; j < DEVS; j++) {
			const struct netdev_seen *s = find_dev(n, &t->ns[i], t->dev[i][j]);

			if (ASSERT_OK_PTR(s, "shown"))
				ASSERT_EQ(s->reg_id, DEVS + 1, "devices there");
		}
}

/* A NULL namespace is an error; it does not mean all namespaces. */
static void bad_args(struct iters *t)
{
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts);

	if (needs_kfuncs(t))
		return;
	ASSERT_OK(bpf_prog_test_run_opts(bpf_program__fd(t->skel->progs.open_bad_args), &opts),
		  "run");
	ASSERT_EQ(opts.retval, 0, "devices");
}

static void by_device(struct iters *t)
{
	struct bpf_link *link;
	int i, here;

	for (i = 0; i < 2; i++) {
		/* The second time, in the namespace of the caller */
		here = i ? nl_enter(&t->ns[1]) : -1;
		link = attach_to(t->skel->progs.seq_netdev, i ? 0 : t->ns[1].fd, t->dev[1][2]);
		if (i)
			nl_leave(here);
		if (!ASSERT_OK_PTR(link, "attach"))
			return;
		ASSERT_EQ(walk(link, 1), 1, "devices");
		ASSERT_EQ(count_dev(1, &t->ns[1], t->dev[1][2]), 1, "the device");
		bpf_link__destroy(link);
	}
}

/* A link follows its device to another namespace, and shows nothing when the
 * device is gone. The ifindex changes on the move, as it is taken in all
 * namespaces here.
 */
static void device_moves(struct iters *t)
{
	int ifindex = t->dev[1][2], now;
	struct bpf_link_info info = {};
	struct bpf_link *link;
	__u32 len = sizeof(info);
	char target[16];

	link = attach_to(t->skel->progs.seq_netdev, t->ns[1].fd, ifindex);
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	ASSERT_OK(nl_link_move(&t->ns[1], ifindex, &t->ns[0]), "move");
	now = nl_link_index(&t->ns[0], "d1.2");
	ASSERT_NEQ(now, ifindex, "has a new index");
	ASSERT_EQ(walk(link, 100), 1, "devices");
	ASSERT_EQ(count_dev(1, &t->ns[0], now), 1, "where it is now");

	info.iter.target_name = ptr_to_u64(target);
	info.iter.target_name_len = sizeof(target);
	ASSERT_OK(bpf_link_get_info_by_fd(bpf_link__fd(link), &info, &len), "info");
	ASSERT_STREQ(target, "netdev", "target");
	ASSERT_EQ(info.iter.netdev.netns_cookie, t->ns[0].cookie, "namespace");
	ASSERT_EQ(info.iter.netdev.ifindex, now, "ifindex");
	ASSERT_EQ(info.iter.netdev.reg_id, seen[0].reg_id, "reg_id");

	ASSERT_OK(nl_link_del(&t->ns[0], now), "delete");
	ASSERT_EQ(walk(link, 100), 0, "devices left");
	ASSERT_OK(bpf_link_get_info_by_fd(bpf_link__fd(link), &info, &len), "info");
	ASSERT_EQ(info.iter.netdev.ifindex, 0, "ifindex of none");
	bpf_link__destroy(link);
}

static void netns_gone(struct iters *t)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);
	struct bpf_link *link;
	struct nl_ns ns;
	int watched;

	if (!ASSERT_OK(nl_ns_new(&ns), "namespace"))
		return;
	watched = watch_netns(&ns, &t->ns[0]);
	link = attach_to(t->skel->progs.seq_netdev, ns.fd, 0);
	if (ASSERT_OK_PTR(link, "attach")) {
		ASSERT_EQ(walk(link, 100), 2, "loopback and veth");
		ASSERT_OK(bpf_link_get_info_by_fd(bpf_link__fd(link), &info, &len), "info");
		ASSERT_EQ(info.iter.netdev.netns_cookie, ns.cookie, "namespace");
		ASSERT_EQ(info.iter.netdev.reg_id, 0, "no device");
		nl_ns_close(&ns);
		wait_for_dellink(&t->ns[0], watched);
		ASSERT_EQ(walk(link, 100), 0, "devices");
	}
	bpf_link__destroy(link);
}

static void bad_links(struct iters *t)
{
	int file = open("/proc/self/status", O_RDONLY);

	ASSERT_ERR_PTR(attach_to(t->skel->progs.seq_netdev, file, 0), "not a namespace");
	ASSERT_ERR_PTR(attach_to(t->skel->progs.seq_netdev, 1 << 20, 0), "no file");
	ASSERT_ERR_PTR(attach_to(t->skel->progs.seq_netdev, t->ns[0].fd, 1 << 20),
		       "no device");
	ASSERT_ERR_PTR(attach_to(t->skel->progs.seq_netdev, 0, 1 << 20), "none here");
	close(file);
}

/* The value of @key in the link's fdinfo */
static long long fdinfo_value(struct bpf_link *link, const char *key)
{
	long long value = -1;
	char path[64], line[128];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", bpf_link__fd(link));
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			value = atoll(line + strlen(key));
	if (f)
		fclose(f);
	return value;
}

static void link_fdinfo(struct iters *t)
{
	struct bpf_link *link;

	link = attach_to(t->skel->progs.seq_netdev, t->ns[1].fd, t->dev[1][0]);
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	ASSERT_EQ(fdinfo_value(link, "netns_cookie:"), t->ns[1].cookie, "namespace");
	ASSERT_EQ(fdinfo_value(link, "ifindex:"), t->dev[1][0], "device");
	bpf_link__destroy(link);

	link = bpf_program__attach_iter(t->skel->progs.seq_netdev, NULL);
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	ASSERT_EQ(fdinfo_value(link, "netns_cookie:"), -1, "no namespace");
	ASSERT_EQ(fdinfo_value(link, "ifindex:"), -1, "no device");
	bpf_link__destroy(link);
}

static void link_bpftool(struct iters *t)
{
	unsigned long long cookie = t->ns[1].cookie;
	char said[4096], want[128];
	struct bpf_link *link;

	link = attach_to(t->skel->progs.seq_netdev, t->ns[1].fd, t->dev[1][0]);
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	bpftool_link_show(link, false, said, sizeof(said));
	snprintf(want, sizeof(want), "target_name netdev  netns_cookie %llu  ", cookie);
	ASSERT_HAS_SUBSTR(said, want, "namespace");
	snprintf(want, sizeof(want), "  ifindex %u  ", t->dev[1][0]);
	ASSERT_HAS_SUBSTR(said, want, "device");
	bpftool_link_show(link, true, said, sizeof(said));
	snprintf(want, sizeof(want), "\"target_name\":\"netdev\",\"netns_cookie\":%llu,", cookie);
	ASSERT_HAS_SUBSTR(said, want, "namespace");
	snprintf(want, sizeof(want), "\"ifindex\":%u", t->dev[1][0]);
	ASSERT_HAS_SUBSTR(said, want, "device");
	bpf_link__destroy(link);
}

/* ---- no references are kept ------------------------------------------------------------ */

/* Sleepable programs are refused: one that sleeps would keep a device from
 * being destroyed.
 */
static void sleepable(struct iters *t)
{
	if (needs_kfuncs(t))
		return;
	ASSERT_ERR_PTR(bpf_program__attach_iter(t->skel->progs.seq_netdev_sleepable, NULL),
		       "devices");
	ASSERT_ERR_PTR(bpf_program__attach_iter(t->skel->progs.seq_netns_sleepable, NULL),
		       "namespaces");
}

/* Link info reports a device's namespace and ifindex as of the same moment. The
 * device has a different ifindex in each of two namespaces.
 */
static const int index_in[2] = { 100, 200 };

static void *move_thread(void *arg)
{
	struct iters *t = arg;
	int i, at;

	for (i = 0; i < MOVES; i++) {
		at = i % 2;
		nl_link_move_to(&t->ns[at], index_in[at], &t->ns[!at], index_in[!at]);
	}
	return NULL;
}

static void link_info_moving(struct iters *t)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info), at;
	struct bpf_link *link;
	int asked, wrong = 0;
	pthread_t thread;

	ASSERT_OK(nl_link_move_to(&t->ns[1], t->dev[1][0], &t->ns[0], index_in[0]), "move");
	link = attach_to(t->skel->progs.seq_netdev, t->ns[0].fd, index_in[0]);
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	if (!ASSERT_OK(pthread_create(&thread, NULL, move_thread, t), "thread"))
		goto out;
	for (asked = 0; pthread_tryjoin_np(thread, NULL); asked++) {
		bpf_link_get_info_by_fd(bpf_link__fd(link), &info, &len);
		at = info.iter.netdev.netns_cookie == t->ns[1].cookie;
		wrong += info.iter.netdev.ifindex != index_in[at];
	}
	printf("%d queries during %d moves\n", asked, MOVES);
	ASSERT_EQ(wrong, 0, "namespace and ifindex of different moments");
out:
	bpf_link__destroy(link);
}

/* ---- shown exactly once -------------------------------------------------------- */

/* A walk over all devices that pauses after one of them. The kernel has found
 * the next device, but it is in no buffer yet.
 */
struct halt {
	struct bpf_link *link;
	int fd;
	size_t have;
};

static bool halt_at(struct iters *t, struct halt *h, const struct nl_ns *ns, int ifindex)
{
	h->have = 0;
	h->link = bpf_program__attach_iter(t->skel->progs.seq_netdev, NULL);
	if (!ASSERT_OK_PTR(h->link, "attach"))
		return false;
	h->fd = walk_fd(h->link);
	while (h->fd >= 0 && read_some(h->fd, 1, &h->have) > 0)
		if (h->have % sizeof(*seen) == 0 &&
		    find_dev(h->have / sizeof(*seen), ns, ifindex))
			return true;
	ASSERT_FAIL("not shown");
	close(h->fd);
	bpf_link__destroy(h->link);
	return false;
}

static int go_on(struct halt *h)
{
	int n = read_rest(h->fd, 1, h->have);

	close(h->fd);
	bpf_link__destroy(h->link);
	return n;
}

static bool ours(struct iters *t, const struct netdev_seen *s)
{
	int i;

	for (i = 0; i < NSES; i++)
		if (s->netns_cookie == t->ns[i].cookie)
			return true;
	return false;
}

/* Devices move from a namespace that was shown to one that was not yet, and the
 * reverse; and the device that comes next moves as well.
 */
static void moved(struct iters *t)
{
	struct halt h;
	int n, i;

	if (!halt_at(t, &h, &t->ns[1], t->dev[1][1]))
		return;
	ASSERT_OK(nl_link_move(&t->ns[0], t->dev[0][0], &t->ns[2]), "first to last");
	ASSERT_OK(nl_link_move(&t->ns[2], t->dev[2][3], &t->ns[0]), "last to first");
	ASSERT_OK(nl_link_move(&t->ns[1], t->dev[1][2], &t->ns[0]), "the next");
	ASSERT_OK(nl_link_move(&t->ns[1], t->dev[1][1], &t->ns[2]), "the last");
	n = go_on(&h);
	shows_all(n);
	for (i = 0; i < n; i++)
		ASSERT_EQ(count_reg_id(n, seen[i].reg_id), 1, seen[i].name);
	for (i = 0; i < 4; i++) {
		static const char * const names[] = { "d0.0", "d2.3", "d1.2", "d1.1" };
		int k, found = 0;

		for (k = 0; k < n; k++)
			found += ours(t, &seen[k]) && !strcmp(seen[k].name, names[i]);
		ASSERT_EQ(found, 1, names[i]);
	}
}

static void renamed(struct iters *t)
{
	struct halt h;
	int n;

	if (!halt_at(t, &h, &t->ns[1], t->dev[1][1]))
		return;
	ASSERT_OK(nl_link_rename(&t->ns[1], t->dev[1][0], "zzz"), "rename");
	ASSERT_OK(nl_link_rename(&t->ns[1], t->dev[1][2], "aaa"), "rename");
	n = go_on(&h);
	ASSERT_EQ(count_dev(n, &t->ns[1], t->dev[1][0]), 1, "behind");
	ASSERT_EQ(count_dev(n, &t->ns[1], t->dev[1][2]), 1, "ahead");
}

/* The device that the iterator is at is deleted, and the walk continues after
 * it. Deleting would hang if the iterator held a reference.
 */
static void device_destroyed(struct iters *t)
{
	struct halt h;
	int n, j;

	if (!halt_at(t, &h, &t->ns[1], t->dev[1][0]))
		return;
	ASSERT_OK(nl_link_del(&t->ns[1], t->dev[1][0]), "delete the last one shown");
	ASSERT_OK(nl_link_del(&t->ns[1], t->dev[1][1]), "delete the next one");
	n = go_on(&h);
	ASSERT_EQ(count_dev(n, &t->ns[1], t->dev[1][1]), 0, "deleted");
	for (j = 2; j < DEVS; j++)
		ASSERT_EQ(count_dev(n, &t->ns[1], t->dev[1][j]), 1, "alive");
}

/* The same for namespaces: the last one shown and the next one are destroyed. */
static void netns_destroyed(struct iters *t)
{
	struct nl_ns ns[4], watch;
	int i, n, fd, watched[2];
	struct bpf_link *link;
	size_t have = 0;

	if (!ASSERT_OK(nl_ns_new(&watch), "namespace"))
		return;
	for (i = 0; i < ARRAY_SIZE(ns); i++)
		if (!ASSERT_OK(nl_ns_new(&ns[i]), "namespace"))
			return;
	for (i = 0; i < 2; i++)
		watched[i] = watch_netns(&ns[1 + i], &watch);
	link = bpf_program__attach_iter(t->skel->progs.seq_netns, NULL);
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	fd = walk_fd(link);
	while (read_some(fd, 1, &have) > 0)
		if (!(have % sizeof(*seen)) &&
		    count_netns(have / sizeof(*seen), ns[1].cookie))
			break;

	for (i = 0; i < 2; i++) {
		nl_ns_close(&ns[1 + i]);
		wait_for_dellink(&watch, watched[i]);
	}
	n = read_rest(fd, 1, have);
	close(fd);
	ASSERT_EQ(count_netns(n, ns[0].cookie), 1, "before");
	ASSERT_EQ(count_netns(n, ns[1].cookie), 1, "shown, then destroyed");
	ASSERT_EQ(count_netns(n, ns[2].cookie), 0, "destroyed, then not shown");
	ASSERT_EQ(count_netns(n, ns[3].cookie), 1, "after");
	nl_ns_close(&ns[0]);
	nl_ns_close(&ns[3]);
	nl_ns_close(&watch);
	bpf_link__destroy(link);
}

/* A namespace without users is not shown, though a worker takes it down only later. */
static void dying(struct iters *t)
{
	int i, n, here, fd;
	__u64 cookie;

	for (i = 0; i < 20; i++) {
		here = open("/proc/thread-self/ns/net", O_RDONLY);
		if (!ASSERT_OK_FD(here, "here") || !ASSERT_OK(unshare(CLONE_NEWNET), "unshare"))
			return;
		fd = open("/proc/thread-self/ns/net", O_RDONLY);
		nl_leave(here);
		n = walk_prog(t->skel->progs.seq_netns, 100);
		if (!ASSERT_GT(n, 0, "namespaces"))
			return;
		cookie = seen[n - 1].netns_cookie;
		close(fd);
		if (open_coded(t)) {
			n = walk_open(t, t->skel->progs.open_netns);
			ASSERT_EQ(count_netns(n, cookie), 0, "open-coded");
		}
		n = walk_prog(t->skel->progs.seq_netns, 100);
		ASSERT_EQ(count_netns(n, cookie), 0, "seq_file");
	}
}

/* ---- a device whose references outlive its namespace -------------------- */

/* sendto() on a packet socket holds a reference to the device while it waits
 * for room in the send buffer, which is full of frames queued in a tbf of
 * another device.
 */
struct holder {
	pthread_t thread;
	int fd;
	int ifindex;
	int tid;	/* set before sendto() */
	int err;	/* error of sendto() */
};

static void ignore_signal(int sig)
{
}

static void *hold_thread(void *arg)
{
	struct holder *h = arg;

	__atomic_store_n(&h->tid, syscall(__NR_gettid), __ATOMIC_RELEASE);
	h->err = send_frame(h->fd, h->ifindex, FRAME_LEN, 0) < 0 ? errno : 0;
	return NULL;
}

/* Fill the send buffer of a socket. Frames that are being sent free their room a
 * little later.
 */
static bool fill_send_buffer(int fd, int ifindex)
{
	int busy = 0, sent = 0;

	while (busy < 10 && sent < BURST + RING) {
		if (send_frame(fd, ifindex, FRAME_LEN, MSG_DONTWAIT) < 0) {
			usleep(1000);
			busy++;
		} else {
			sent++;
			busy = 0;
		}
	}
	return ASSERT_LT(sent, BURST + RING, "send buffer is full");
}

static void hold_end(struct holder *h)
{
	pthread_kill(h->thread, SIGUSR2);
	pthread_join(h->thread, NULL);
	ASSERT_EQ(h->err, EINTR, "the device was held");
	close(h->fd);
}

/* Hold a reference to device @name in @ns until hold_end() */
static bool hold_start(struct holder *h, const struct nl_ns *ns, const char *name)
{
	struct sigaction action = { .sa_handler = ignore_signal };
	int full, one = 1, tid, i;
	bool sleeps = false;

	sigaction(SIGUSR2, &action, NULL);
	memset(h, 0, sizeof(*h));
	full = new_dummy(ns, "full");
	h->ifindex = nl_link_index(ns, name);
	h->fd = packet_socket(ns);
	if (!ASSERT_GT(full, 0, "dummy") || !ASSERT_GT(h->ifindex, 0, name) ||
	    !ASSERT_OK_FD(h->fd, "packet socket"))
		return false;
	ASSERT_OK(setsockopt(h->fd, SOL_SOCKET, SO_SNDBUF, &one, sizeof(one)), "SO_SNDBUF");
	ASSERT_OK(nl_link_up(ns, full, true), "up");
	ASSERT_OK(nl_link_up(ns, h->ifindex, true), "up");
	ASSERT_OK(qdisc_new(ns, full, TC_H_ROOT, 0x10000, "tbf"), "tbf");
	if (!fill_send_buffer(h->fd, full) ||
	    !ASSERT_OK(pthread_create(&h->thread, NULL, hold_thread, h), "thread"))
		return false;
	for (i = 0; i < EVENT_TIMEOUT_MS && !sleeps; i++) {
		usleep(1000);
		tid = __atomic_load_n(&h->tid, __ATOMIC_ACQUIRE);
		sleeps = tid && thread_sleeps(tid);
	}
	if (!ASSERT_TRUE(sleeps, "the thread waits for room"))
		hold_end(h);
	return sleeps;
}

struct deleter {
	pthread_t thread;
	struct nl_ns ns;
	int ifindex;
	int err;
	bool done;
};

static void *delete_thread(void *arg)
{
	struct deleter *d = arg;

	d->err = nl_link_del(&d->ns, d->ifindex);
	__atomic_store_n(&d->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Delete device @name in @ns. That takes until nothing refers to it or its peer */
static bool delete_start(struct deleter *d, const struct nl_ns *ns, const char *name)
{
	int here = nl_enter(ns), err;

	memset(d, 0, sizeof(*d));
	err = nl_ns_here(&d->ns);
	nl_leave(here);
	if (!ASSERT_OK(err, "namespace"))
		return false;
	d->ifindex = nl_link_index(ns, name);
	if (!ASSERT_OK(pthread_create(&d->thread, NULL, delete_thread, d), "thread"))
		return false;
	while (nl_link_index(ns, name) != -ENODEV)
		usleep(10000);
	return true;
}

static void delete_end(struct deleter *d)
{
	pthread_join(d->thread, NULL);
	ASSERT_OK(d->err, "delete");
	nl_ns_close(&d->ns);
}

#define REBROADCASTS 3		/* of NETDEV_UNREGISTER, one per second */

/* A veth device is deleted while its peer is referenced, and the peer's
 * namespace is destroyed meanwhile. Waiting for the references, the kernel
 * repeats NETDEV_UNREGISTER, and notifiers must not look up the device in the
 * dead namespace.
 */
static void held_netns_gone(struct iters *t)
{
	struct deleter d;
	struct holder h;
	struct nl_ns ns;
	int watched;

	/* Unpatched kernels would crash. */
	if (needs_kfuncs(t) || !ASSERT_OK(nl_ns_new(&ns), "namespace"))
		return;
	ASSERT_OK(nl_veth_new(&t->ns[0], "v0", &t->ns[1], "v1"), "veth");
	watched = watch_netns(&ns, &t->ns[2]);
	if (!hold_start(&h, &t->ns[1], "v1"))
		return;
	ASSERT_OK(nl_link_move(&t->ns[1], h.ifindex, &ns), "move");
	if (delete_start(&d, &t->ns[0], "v0")) {
		nl_ns_close(&ns);
		wait_for_dellink(&t->ns[2], watched);
		sleep(REBROADCASTS);
		ASSERT_FALSE(__atomic_load_n(&d.done, __ATOMIC_ACQUIRE), "deleted while held");
		hold_end(&h);
		delete_end(&d);
	}
	ASSERT_GT(new_dummy(&t->ns[0], "after"), 0, "one more device");
}

/* ---- churn -------------------------------------------------------------------- */

#define CHURN_STEPS 40		/* minimum for each thread */

struct churn {
	struct iters *t;
	pthread_t thread;
	void (*step)(struct iters *t, int i);
	int steps;
	bool stop;
};

static void churn_create(struct iters *t, int i)
{
	const struct nl_ns *ns = &t->ns[i % NSES];
	int ifindex = new_dummy(ns, "goes");

	if (ifindex > 0)
		nl_link_del(ns, ifindex);
}

static void churn_netns(struct iters *t, int i)
{
	struct nl_ns ns;

	if (nl_ns_new(&ns))
		return;
	new_dummy(&ns, "dies");
	nl_ns_close(&ns);
}

/* d0.0 moves around the namespaces, and is renamed each time */
static void churn_move(struct iters *t, int i)
{
	char from[IFNAMSIZ], to[IFNAMSIZ];
	int ifindex;

	snprintf(from, sizeof(from), i ? "at%d" : "d0.0", i);
	snprintf(to, sizeof(to), "at%d", i + 1);
	ifindex = nl_link_index(&t->ns[i % NSES], from);
	nl_link_rename(&t->ns[i % NSES], ifindex, to);
	nl_link_move(&t->ns[i % NSES], ifindex, &t->ns[(i + 1) % NSES]);
}

static void *churn_thread(void *arg)
{
	struct churn *c = arg;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
		c->step(c->t, c->steps);
		__atomic_fetch_add(&c->steps, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static bool all_survive(int n, const __u32 *survivor, const char *form)
{
	int i, once = 0;

	for (i = 0; i < NSES * DEVS; i++)
		once += count_reg_id(n, survivor[i]) == 1;
	return ASSERT_EQ(once, NSES * DEVS, form);
}

static bool all_there(struct iters *t, int n, const char *form)
{
	int i, once = 0;

	for (i = 0; i < NSES; i++)
		once += count_netns(n, t->ns[i].cookie) == 1;
	return ASSERT_EQ(once, NSES, form);
}

static bool survive_open(struct iters *t, const __u32 *survivor)
{
	int n = walk_open(t, t->skel->progs.open_netdev);

	return all_survive(n, survivor, "open-coded") &&
	       all_there(t, walk_open(t, t->skel->progs.open_netns), "open-coded");
}

static void churn(struct iters *t)
{
	struct churn c[] = {
		{ t, .step = churn_create },
		{ t, .step = churn_netns },
		{ t, .step = churn_move },
	};
	__u32 survivor[NSES * DEVS];
	int i, j, n, walks = 0, busy;
	/* Each thread needs netlink sockets of its own */
	struct iters own[ARRAY_SIZE(c)];

	n = walk_prog(t->skel->progs.seq_netdev, 4096);
	for (i = 0; i < NSES * DEVS; i++) {
		const struct netdev_seen *s;

		s = find_dev(n, &t->ns[i / DEVS], t->dev[i / DEVS][i % DEVS]);
		if (!ASSERT_OK_PTR(s, "survivor"))
			return;
		survivor[i] = s->reg_id;
	}
	for (i = 0; i < ARRAY_SIZE(c); i++) {
		own[i] = *t;
		for (j = 0; j < NSES; j++) {
			int here = nl_enter(&t->ns[j]);

			own[i].ns[j].nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC,
						 NETLINK_ROUTE);
			nl_leave(here);
		}
		c[i].t = &own[i];
		if (!ASSERT_OK(pthread_create(&c[i].thread, NULL, churn_thread, &c[i]),
			       "thread"))
			return;
	}
	do {
		size_t size = buffers[walks % ARRAY_SIZE(buffers)];

		n = walk_prog(t->skel->progs.seq_netdev, size);
		if (!all_survive(n, survivor, "seq_file"))
			break;
		n = walk_prog(t->skel->progs.seq_netns, size);
		if (!all_there(t, n, "seq_file"))
			break;
		if (open_coded(t) && !survive_open(t, survivor))
			break;
		walks++;
		for (i = 0, busy = 0; i < ARRAY_SIZE(c); i++)
			busy += __atomic_load_n(&c[i].steps, __ATOMIC_RELAXED) < CHURN_STEPS;
	} while (busy);
	for (i = 0; i < ARRAY_SIZE(c); i++) {
		__atomic_store_n(&c[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(c[i].thread, NULL);
		for (j = 0; j < NSES; j++)
			close(own[i].ns[j].nl);
	}
	printf("%d walks, steps %d %d %d\n", walks, c[0].steps, c[1].steps, c[2].steps);
}

/* ---- what the verifier rejects ------------------------------------------------- */

static const struct {
	const char *prog;
	const char *why;
	bool no_perfmon;	/* load without CAP_SYS_ADMIN and CAP_PERFMON */
} refused[] = {
	{ "netns_without_rcu", "requires RCU critical section protection" },
	{ "netdev_without_rcu", "requires RCU critical section protection" },
	{ "device_after_unlock", "must be a rcu pointer" },
	{ "qdisc_after_unlock", "must be a rcu pointer" },
	{ "netns_after_unlock", "must be a rcu pointer" },
	{ "next_after_unlock", "expected an RCU CS" },
	{ "next_after_destroy", "expected an initialized iter_netdev" },
	{ "next_without_new", "expected an initialized iter_netns" },
	{ "no_destroy", "Unreleased reference" },
	{ "unchecked", "Possibly NULL pointer passed" },
	{ "unchecked_seq", "Possibly NULL pointer passed" },
	{ "dev_net_unchecked", "invalid mem access" },
	{ "write_device", "only read is supported" },
	{ "not_a_device", "expected pointer to STRUCT net_device" },
	{ "netns_unprivileged", "CAP_PERFMON", true },
	{ "netdev_unprivileged", "CAP_PERFMON", true },
	{ "made_up_qdisc", "is scalar" },
	{ "stats_anywhere", "is not allowed" },
	{ "short_stats", "invalid" },
};

/* ---------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(struct iters *t);
} tests[] = {
	{ "netns", netns },
	{ "netdev", netdev },
	{ "past_end", past_end },
	{ "by_netns", by_netns },
	{ "by_device", by_device },
	{ "neighbours", neighbours },
	{ "bad_args", bad_args },
	{ "device_moves", device_moves },
	{ "netns_gone", netns_gone },
	{ "bad_links", bad_links },
	{ "link_fdinfo", link_fdinfo },
	{ "link_bpftool", link_bpftool },
	{ "sleepable", sleepable },
	{ "link_info_moving", link_info_moving },
	{ "moved", moved },
	{ "renamed", renamed },
	{ "device_destroyed", device_destroyed },
	{ "netns_destroyed", netns_destroyed },
	{ "dying", dying },
	{ "held_netns_gone", held_netns_gone },
	{ "churn", churn },
};

static void run(struct test_netdev_iter *skel, void (*test)(struct iters *t))
{
	struct iters t = { .skel = skel };
	int i, made = 0;

	if (!skel)
		return;
	memset(skel->bss, 0, sizeof(*skel->bss));
	for (; made < NSES; made++)
		if (!ASSERT_OK(nl_ns_new(&t.ns[made]), "namespace"))
			goto out;
	if (make_devices(&t))
		test(&t);
out:
	for (i = 0; i < made; i++)
		nl_ns_close(&t.ns[i]);
}

static struct test_netdev_iter *load(void)
{
	struct test_netdev_iter *skel = test_netdev_iter__open();
	struct bpf_program *prog;

	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	if (!kernel_has_kfuncs())
		bpf_object__for_each_program(prog, skel->obj)
			if (prog != skel->progs.seq_netns && prog != skel->progs.seq_netdev)
				bpf_program__set_autoload(prog, false);
	if (ASSERT_OK(test_netdev_iter__load(skel), "load"))
		return skel;
	test_netdev_iter__destroy(skel);
	return NULL;
}

static void refuses(const void *elf, size_t size, int i)
{
	__u64 caps = 1ULL << CAP_SYS_ADMIN | 1ULL << CAP_PERFMON, old = 0;

	if (refused[i].no_perfmon &&
	    !ASSERT_OK(cap_disable_effective(caps, &old), "drop capabilities"))
		return;
	verifier_refuses(elf, size, refused[i].prog, refused[i].why);
	if (refused[i].no_perfmon)
		ASSERT_OK(cap_enable_effective(old, NULL), "restore capabilities");
}

void test_netdev_iter(void)
{
	struct test_netdev_iter *skel = NULL;
	size_t size;
	const void *elf = test_netdev_iter_fail__elf_bytes(&size);
	char name[64];
	int i;

	for (i = 0; i < ARRAY_SIZE(tests); i++)
		if (test__start_subtest(tests[i].name) && !kernel_lacks_targets())
			run(skel = skel ?: load(), tests[i].run);
	for (i = 0; i < ARRAY_SIZE(refused); i++) {
		snprintf(name, sizeof(name), "refuses_%s", refused[i].prog);
		if (test__start_subtest(name) && !kernel_lacks_kfuncs())
			refuses(elf, size, i);
	}
	test_netdev_iter__destroy(skel);
}
