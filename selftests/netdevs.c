// SPDX-License-Identifier: GPL-2.0
/* netdevs: what the network devices of all namespaces do, in one answer that the
 * kernel gives when it is asked. See netdevs.8.
 */
#include <argp.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <linux/if_link.h>
#include <linux/kernel.h>
#include <linux/netdev.h>
#include <linux/nsfs.h>
#include <linux/pkt_sched.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "progs/netdevs.h"
#include "netdevs.skel.h"

#define JSON_VERSION	1
#define NETNS_NAMES	"/run/netns"
#define NETNS_MIN	0xF0000000U	/* inode numbers of namespaces are not below */

enum { OPT_MIN = 256 };

enum key { BY_BYTES, BY_RX, BY_TX, BY_PACKETS, BY_DROPS, BY_ERRORS, BY_BACKLOG, BY_NAME };

static struct {
	bool json, hist, queues, details, exact, verbose;
	bool watch;
	double interval;
	bool interval_given;
	unsigned long long count;	/* of answers, 0: no end */
	enum key sort;
	unsigned int netns;
	const char *name;
	bool pattern;
	unsigned long long top;
	unsigned long long min;
} args = { .interval = 1, .top = ULLONG_MAX };

static const char * const keys[] = {
	[BY_BYTES] = "bytes",
	[BY_RX] = "rx",
	[BY_TX] = "tx",
	[BY_PACKETS] = "packets",
	[BY_DROPS] = "drops",
	[BY_ERRORS] = "errors",
	[BY_BACKLOG] = "backlog",
	[BY_NAME] = "name",
};

/* ---- memory ---------------------------------------------------------------- */

static void *grow(void *p, size_t n, size_t size)
{
	p = reallocarray(p, n, size);
	if (!p) {
		fputs("netdevs: out of memory\n", stderr);
		exit(1);
	}
	return p;
}

/* ---- namespaces ------------------------------------------------------------- */

struct ns_name {
	unsigned int inode;
	char name[NAME_MAX + 1];
};

static struct {
	struct ns_name *ns;
	size_t n;
} names;

static int by_inode(const void *a, const void *b)
{
	unsigned int x = *(const unsigned int *)a, y = *(const unsigned int *)b;

	return x < y ? -1 : x > y;
}

/* What "ip netns" calls them */
static void read_names(void)
{
	DIR *dir = opendir(NETNS_NAMES);
	struct dirent *d;
	struct stat st;

	names.n = 0;
	while (dir && (d = readdir(dir))) {
		if (fstatat(dirfd(dir), d->d_name, &st, 0) || !S_ISREG(st.st_mode) ||
		    st.st_ino < NETNS_MIN || st.st_ino > UINT_MAX)
			continue;
		names.ns = grow(names.ns, names.n + 1, sizeof(*names.ns));
		names.ns[names.n].inode = st.st_ino;
		snprintf(names.ns[names.n++].name, sizeof(names.ns->name), "%s", d->d_name);
	}
	if (dir)
		closedir(dir);
	if (names.n)
		qsort(names.ns, names.n, sizeof(*names.ns), by_inode);
}

static const char *ns_name(unsigned int inode)
{
	struct ns_name *ns = NULL;

	if (names.n)
		ns = bsearch(&inode, names.ns, names.n, sizeof(*ns), by_inode);
	return ns ? ns->name : NULL;
}

/* All of @arg is a number, and not a negative one. */
static bool number(const char *arg, unsigned long long max, unsigned long long *n)
{
	char *end;

	errno = 0;
	*n = strtoull(arg, &end, 0);
	return isdigit((unsigned char)*arg) && !*end && !errno && *n <= max;
}

static unsigned int ns_of_file(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st)) {
		fprintf(stderr, "netdevs: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
		fprintf(stderr, "netdevs: %s: not a network namespace\n", path);
		exit(1);
	}
	close(fd);
	return st.st_ino;
}

/* A name, as ip(8) has it, a path, a process or an inode number */
static unsigned int ns_inode(const char *arg)
{
	char path[PATH_MAX];
	unsigned long long n;

	if (strchr(arg, '/'))
		return ns_of_file(arg);
	snprintf(path, sizeof(path), "%s/%s", NETNS_NAMES, arg);
	if (access(path, F_OK) && number(arg, UINT_MAX, &n)) {
		if (n >= NETNS_MIN)
			return n;
		snprintf(path, sizeof(path), "/proc/%llu/ns/net", n);
	}
	return ns_of_file(path);
}

/* ---- options ------------------------------------------------------------------ */

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "One JSON object a line for each answer, with all counters" },
	{ "watch", 'w', "SECONDS", OPTION_ARG_OPTIONAL,
	  "What changes, each second, or as often as given" },
	{ "count", 'c', "COUNT", 0, "With --watch: end after so many answers" },
	{ "sort", 's', "KEY", 0,
	  "bytes (default), rx, tx, packets, drops, errors, backlog or name" },
	{ "netns", 'n', "NETNS", 0,
	  "Of this namespace: its name, a file, a process or an inode number" },
	{ "dev", 'd', "NAME", 0, "Of this name, or like this shell pattern" },
	{ "top", 't', "COUNT", 0, "The first so many" },
	{ "min", OPT_MIN, "COUNT", 0, "With at least so much of what is sorted by" },
	{ "details", 'D', NULL, 0, "Causes of drops and errors, and every qdisc" },
	{ "queues", 'q', NULL, 0,
	  "What the driver counts by queue, and its byte queue limits" },
	{ "histograms", 'H', NULL, 0,
	  "With --watch: packets found in the qdisc and time spent there" },
	{ "bytes", 'b', NULL, 0, "Exact numbers" },
	{ "verbose", 'v', NULL, 0, "What libbpf says" },
	{}
};

static const char doc[] =
	"What the network devices of all namespaces do: totals, or with --watch what\n"
	"has changed, the largest first. Drops and errors are those of ip -s -s link,\n"
	"qdiscs those of tc -s. k, M and G are 1000, 1000000 and so on; --bytes does\n"
	"without.\n\vExamples:\n"
	"  netdevs --sort drops --min 1          who ever dropped packets\n"
	"  netdevs --watch 5 --sort drops        who does now\n"
	"  netdevs --netns blue --dev 'veth*' --details\n"
	"  netdevs --json | jq '.shown[] | select(.rx.missed_errors > 0)'\n"
	"\n"
	"--histograms costs every packet that is sent on a device shown some maps and a\n"
	"clock, and every other one that is sent a look-up. See netdevs(8).";

static void parse_interval(const char *arg, struct argp_state *state)
{
	char *end;

	args.interval = strtod(arg, &end);
	args.interval_given = true;
	if (*end || !(args.interval >= 0.01 && args.interval <= 1e6))
		argp_error(state, "not a number of seconds: %s", arg);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	unsigned int i;

	switch (key) {
	case 'j':
		args.json = true;
		break;
	case 'H':
		args.hist = true;
		break;
	case 'q':
		args.queues = true;
		break;
	case 'D':
		args.details = true;
		break;
	case 'b':
		args.exact = true;
		break;
	case 'v':
		args.verbose = true;
		break;
	case 'w':
		args.watch = true;
		if (arg)
			parse_interval(arg, state);
		break;
	case 'c':
		if (!number(arg, ULLONG_MAX, &args.count) || !args.count)
			argp_error(state, "not a number of answers: %s", arg);
		break;
	case 's':
		for (i = 0; i < ARRAY_SIZE(keys) && strcmp(arg, keys[i]); i++)
			;
		if (i == ARRAY_SIZE(keys))
			argp_error(state, "cannot sort by %s", arg);
		args.sort = i;
		break;
	case 'n':
		args.netns = ns_inode(arg);
		break;
	case 'd':
		args.name = arg;
		args.pattern = strpbrk(arg, "*?[\\");
		if (!args.pattern && (!*arg || strlen(arg) >= NAME_SIZE))
			argp_error(state, "no device has such a name: %s", arg);
		break;
	case 't':
		if (!number(arg, ULLONG_MAX, &args.top) || !args.top)
			argp_error(state, "not a number of devices: %s", arg);
		break;
	case OPT_MIN:
		if (!number(arg, ULLONG_MAX, &args.min))
			argp_error(state, "not a number: %s", arg);
		break;
	case ARGP_KEY_ARG:
		/* "--watch 5", as others take it */
		if (!args.watch || args.interval_given)
			return ARGP_ERR_UNKNOWN;
		parse_interval(arg, state);
		break;
	case ARGP_KEY_END:
		if (args.hist && !args.watch)
			argp_error(state, "--histograms begin when it starts: they need --watch");
		if (args.count && !args.watch)
			argp_error(state, "--count is for --watch");
		if (args.min && args.sort == BY_NAME)
			argp_error(state, "--min is for numbers, not for --sort name");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* ---- what the kernel answers ----------------------------------------------------- */

/* Totals, or what they have changed by */
struct counts {
	struct rtnl_link_stats64 link;
	struct netdevs_qdisc root, ingress;	/* kind is empty: it has none */
};

struct device {
	struct netdevs_row row;
	struct counts total, change;
	bool known;			/* change is right: it was in the answer before */
	unsigned long long key;
};

struct answer {
	struct timespec at, wall;
	double interval;		/* since the one before, 0: there is none */
	unsigned int looked_at;
	struct device *dev;		/* by ascending reg_id */
	size_t devs;
	struct netdevs_qdisc *qdisc;
	size_t qdiscs;
	struct device **shown;
	size_t n_shown;
};

static void find_qdiscs(const struct answer *a, struct device *d)
{
	const struct netdevs_qdisc *q = a->qdisc + d->row.first_qdisc;
	unsigned int i;

	for (i = 0; i < d->row.qdiscs; i++, q++) {
		if (q->parent == TC_H_ROOT)
			d->total.root = *q;
		else if (q->parent == TC_H_INGRESS)
			d->total.ingress = *q;
	}
}

static void take(struct answer *a, const struct netdevs__bss *some)
{
	struct device *d;
	unsigned int i;

	a->dev = grow(a->dev, a->devs + some->rows_found + 1, sizeof(*a->dev));
	a->qdisc = grow(a->qdisc, a->qdiscs + some->qdiscs_found + 1, sizeof(*a->qdisc));
	memcpy(a->qdisc + a->qdiscs, some->qdiscs, some->qdiscs_found * sizeof(*a->qdisc));
	for (i = 0; i < some->rows_found; i++) {
		if (args.pattern && fnmatch(args.name, some->rows[i].name, 0))
			continue;
		d = &a->dev[a->devs++];
		memset(d, 0, sizeof(*d));
		d->row = some->rows[i];
		d->row.first_qdisc += a->qdiscs;
		d->total.link = d->row.stats;
		find_qdiscs(a, d);
	}
	a->qdiscs += some->qdiscs_found;
	a->looked_at = some->devices;
}

static int pull(struct netdevs *skel, struct answer *a)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int err;

	a->devs = 0;
	a->qdiscs = 0;
	clock_gettime(CLOCK_REALTIME, &a->wall);
	clock_gettime(CLOCK_BOOTTIME, &a->at);
	do {
		err = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.pull), &opts);
		if (err) {
			fprintf(stderr, "netdevs: cannot ask: %s\n", strerror(-err));
			return err;
		}
		take(a, skel->bss);
	} while (skel->bss->next_dev);
	return 0;
}

/* A counter that is less than before has begun anew. */
static __u64 since(__u64 before, __u64 now)
{
	return now >= before ? now - before : now;
}

static void change_qdisc(const struct netdevs_qdisc *before, const struct netdevs_qdisc *now,
			 struct netdevs_qdisc *change)
{
	static const struct netdevs_qdisc none;

	if (before->handle != now->handle || strcmp(before->kind, now->kind))
		before = &none;
	*change = *now;
	change->bytes = since(before->bytes, now->bytes);
	change->packets = since(before->packets, now->packets);
	change->drops = since(before->drops, now->drops);
	change->requeues = since(before->requeues, now->requeues);
	change->overlimits = since(before->overlimits, now->overlimits);
}

static void change(const struct counts *before, const struct counts *now, struct counts *change)
{
	const __u64 *b = (const __u64 *)&before->link, *n = (const __u64 *)&now->link;
	__u64 *c = (__u64 *)&change->link;
	unsigned int i;

	for (i = 0; i < sizeof(now->link) / sizeof(*n); i++)
		c[i] = since(b[i], n[i]);
	change_qdisc(&before->root, &now->root, &change->root);
	change_qdisc(&before->ingress, &now->ingress, &change->ingress);
}

static int by_reg_id(const void *a, const void *b)
{
	__u32 x = ((const struct device *)a)->row.reg_id;
	__u32 y = ((const struct device *)b)->row.reg_id;

	return x < y ? -1 : x > y;
}

static void compare(const struct answer *before, struct answer *a)
{
	struct device *d, *b;

	a->interval = a->at.tv_sec - before->at.tv_sec +
		      (a->at.tv_nsec - before->at.tv_nsec) / 1e9;
	for (d = a->dev; d < a->dev + a->devs; d++) {
		b = before->devs ? bsearch(d, before->dev, before->devs, sizeof(*d),
					   by_reg_id) : NULL;
		if (!b)
			continue;
		d->known = true;
		change(&b->total, &d->total, &d->change);
	}
}

/* ---- which of them, in what order --------------------------------------------- */

static unsigned long long drops(const struct counts *c)
{
	return c->link.rx_dropped + c->link.rx_missed_errors + c->link.tx_dropped +
	       c->root.drops + c->ingress.drops;
}

static unsigned long long key_of(const struct counts *c)
{
	switch (args.sort) {
	case BY_BYTES:
		return c->link.rx_bytes + c->link.tx_bytes;
	case BY_RX:
		return c->link.rx_bytes;
	case BY_TX:
		return c->link.tx_bytes;
	case BY_PACKETS:
		return c->link.rx_packets + c->link.tx_packets;
	case BY_DROPS:
		return drops(c);
	case BY_ERRORS:
		return c->link.rx_errors + c->link.tx_errors;
	case BY_BACKLOG:
		return c->root.backlog;
	case BY_NAME:
		break;
	}
	return 0;
}

static bool moved(const struct device *d)
{
	const struct rtnl_link_stats64 *l = &d->change.link;

	return l->rx_packets || l->tx_packets || l->rx_errors || l->tx_errors ||
	       drops(&d->change) || d->total.root.qlen;
}

static int by_key(const void *a, const void *b)
{
	const struct device *x = *(struct device * const *)a, *y = *(struct device * const *)b;
	int order = 0;

	if (x->key != y->key)
		return x->key > y->key ? -1 : 1;
	if (args.sort == BY_NAME)
		order = strcmp(x->row.name, y->row.name);
	if (!order && x->row.netns != y->row.netns)
		order = x->row.netns < y->row.netns ? -1 : 1;
	return order ?: (x->row.ifindex > y->row.ifindex) - (x->row.ifindex < y->row.ifindex);
}

/* A table of what changes has no place for what does not. */
static void pick(struct answer *a)
{
	bool changes = args.watch && a->interval;
	struct device *d;

	a->n_shown = 0;
	a->shown = grow(a->shown, a->devs + 1, sizeof(*a->shown));
	for (d = a->dev; d < a->dev + a->devs; d++) {
		if (changes && !args.json && (!d->known || !moved(d)))
			continue;
		d->key = key_of(changes ? &d->change : &d->total);
		if (d->key >= args.min)
			a->shown[a->n_shown++] = d;
	}
	qsort(a->shown, a->n_shown, sizeof(*a->shown), by_key);
	if (a->n_shown > args.top)
		a->n_shown = args.top;
}

/* ---- histograms ------------------------------------------------------------------ */

/* Has it packets wait? */
static bool has_queue(const struct device *d)
{
	return d->total.root.kind[0] && strcmp(d->total.root.kind, "noqueue");
}

/* Only the devices that the question includes are watched. What is known of others,
 * which may be gone, is forgotten.
 */
static void watch_devices(struct netdevs *skel, const struct answer *a)
{
	int watched = bpf_map__fd(skel->maps.watched), hists = bpf_map__fd(skel->maps.hists);
	struct netdevs_hist_key key, next_key;
	struct device *d, of = {};
	__u32 one = 1, id, next;
	bool more;

	for (d = a->dev; d < a->dev + a->devs; d++)
		if (has_queue(d))
			bpf_map_update_elem(watched, &d->row.reg_id, &one, BPF_ANY);
	for (more = !bpf_map_get_next_key(watched, NULL, &next); more;) {
		id = next;
		more = !bpf_map_get_next_key(watched, &id, &next);
		of.row.reg_id = id;
		if (!a->devs || !bsearch(&of, a->dev, a->devs, sizeof(of), by_reg_id))
			bpf_map_delete_elem(watched, &id);
	}
	for (more = !bpf_map_get_next_key(hists, NULL, &next_key); more;) {
		key = next_key;
		more = !bpf_map_get_next_key(hists, &key, &next_key);
		if (bpf_map_lookup_elem(watched, &key.reg_id, &one))
			bpf_map_delete_elem(hists, &key);
	}
}

/* Of all CPUs. Returns whether there is one. */
static bool read_hist(struct netdevs *skel, const struct device *d,
		      const struct netdevs_qdisc *q, struct netdevs_hist *sum)
{
	struct netdevs_hist_key key = { d->row.reg_id, q->handle, q->parent };
	size_t words = sizeof(*sum) / sizeof(__u64), i;
	static struct netdevs_hist *each;
	static int cpus;
	int cpu;

	if (!each) {
		cpus = libbpf_num_possible_cpus();
		each = grow(NULL, cpus, sizeof(*each));
	}
	memset(sum, 0, sizeof(*sum));
	if (!args.hist || bpf_map_lookup_elem(bpf_map__fd(skel->maps.hists), &key, each))
		return false;
	for (cpu = 0; cpu < cpus; cpu++)
		for (i = 0; i < words; i++)
			((__u64 *)sum)[i] += ((__u64 *)&each[cpu])[i];
	return true;
}

/* ---- queues ------------------------------------------------------------------------- */

static const struct queue_field {
	const char *name, *words;
	size_t offset;
} queue_fields[] = {
	{ "bytes", "B", offsetof(struct netdevs_queue, bytes) },
	{ "packets", "packets", offsetof(struct netdevs_queue, packets) },
	{ "hw_drops", "dropped", offsetof(struct netdevs_queue, hw_drops) },
	{ "hw_drop_overruns", "overruns", offsetof(struct netdevs_queue, hw_drop_overruns) },
	{ "hw_drop_errors", "bad", offsetof(struct netdevs_queue, hw_drop_errors) },
	{ "alloc_fail", "no memory", offsetof(struct netdevs_queue, alloc_fail) },
	{ "csum_bad", "bad checksums", offsetof(struct netdevs_queue, csum_bad) },
	{ "stop", "stopped", offsetof(struct netdevs_queue, stop) },
	{ "wake", "woken", offsetof(struct netdevs_queue, wake) },
};

static __u64 queue_count(const struct netdevs_queue *q, const struct queue_field *f)
{
	return *(const __u64 *)((const char *)q + f->offset);
}

/* Calls @show for each queue of @type, with what is known of it. */
static void each_queue(struct netdevs *skel, const struct device *d, __u32 type,
		       void (*show)(__u32 type, __u32 i, const struct netdevs_queue *q))
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	__u32 n = type == NETDEV_QUEUE_TYPE_RX ? d->row.rx_queues : d->row.tx_queues;
	__u32 i;

	for (i = 0; i < n; i++) {
		if (i % QUEUES_AT_ONCE == 0) {
			skel->bss->queue_dev = d->row.reg_id;
			skel->bss->queue_type = type;
			skel->bss->queue_first = i;
			skel->bss->queue_last = n;
			if (bpf_prog_test_run_opts(bpf_program__fd(skel->progs.pull_queues),
						   &opts))
				return;
		}
		show(type, i, &skel->bss->queues[i % QUEUES_AT_ONCE]);
	}
}

/* ---- a table ----------------------------------------------------------------- */

static FILE *out;

static const char *human(double v)
{
	static char buf[32][24];
	static int turn;
	char *s = buf[turn++ % 32];
	const char *unit = " kMGTPE";

	if (args.exact) {
		snprintf(s, sizeof(*buf), "%.0f", v);
		return s;
	}
	while (v >= 9999.5 && unit[1]) {
		v /= 1000;
		unit++;
	}
	if (*unit == ' ')
		snprintf(s, sizeof(*buf), "%.0f", v);
	else
		snprintf(s, sizeof(*buf), v < 99.95 ? "%.1f%c" : "%.0f%c", v, *unit);
	return s;
}

/* Others choose the names of their devices, and could send the terminal commands. */
static const char *harmless(const char *name)
{
	static char buf[8][NAME_MAX + 1];
	static int turn;
	char *s = buf[turn++ % 8];
	int i;

	for (i = 0; i < NAME_MAX && name[i]; i++)
		s[i] = isprint((unsigned char)name[i]) ? name[i] : '?';
	s[i] = 0;
	return s;
}

static int wide(int columns)
{
	return args.exact ? 2 * columns : columns;
}

static const char columns[] =
	"%-12s %-15s %*s %*s %*s %*s %*s  %*s %*s %*s %*s  %-10s %*s %*s %*s  %-7s %*s\n";

static void table_head(const struct answer *a)
{
	bool rates = a->interval;
	char when[32];

	strftime(when, sizeof(when), "%F %T", localtime(&a->wall.tv_sec));
	fprintf(out, "%s  %zu of %u devices, ", when, a->n_shown, a->looked_at);
	if (rates)
		fprintf(out, "bytes and packets a second, others in %.2f s\n", a->interval);
	else
		fputs("totals\n", out);
	fprintf(out, columns,
		"NETNS", "DEVICE", wide(7), rates ? "RX B/s" : "RX B",
		wide(7), rates ? "PKTS/s" : "PKTS", wide(6), "DROP", wide(6), "MISSED",
		wide(6), "ERR", wide(7), rates ? "TX B/s" : "TX B",
		wide(7), rates ? "PKTS/s" : "PKTS", wide(6), "DROP", wide(6), "ERR",
		"QDISC", wide(6), "DROP", wide(6), "QUEUED", wide(7), "QUEUE B",
		"INGRESS", wide(6), "DROP");
}

static void nonzero(bool *first, const char *what, const char *name, __u64 n)
{
	if (!n)
		return;
	if (*first)
		fprintf(out, "%30s:", what);
	fprintf(out, "%s %s %s", *first ? "" : ",", name, human(n));
	*first = false;
}

static void table_causes(const struct rtnl_link_stats64 *l)
{
	bool first = true;

	nonzero(&first, "receive", "length errors", l->rx_length_errors);
	nonzero(&first, "receive", "crc errors", l->rx_crc_errors);
	nonzero(&first, "receive", "frame errors", l->rx_frame_errors);
	nonzero(&first, "receive", "fifo errors", l->rx_fifo_errors);
	nonzero(&first, "receive", "over errors", l->rx_over_errors);
	nonzero(&first, "receive", "missed", l->rx_missed_errors);
	nonzero(&first, "receive", "no handler", l->rx_nohandler);
	nonzero(&first, "receive", "other host", l->rx_otherhost_dropped);
	nonzero(&first, "receive", "multicast", l->multicast);
	nonzero(&first, "receive", "compressed", l->rx_compressed);
	if (!first)
		fputc('\n', out);
	first = true;
	nonzero(&first, "transmit", "aborted errors", l->tx_aborted_errors);
	nonzero(&first, "transmit", "carrier errors", l->tx_carrier_errors);
	nonzero(&first, "transmit", "fifo errors", l->tx_fifo_errors);
	nonzero(&first, "transmit", "window errors", l->tx_window_errors);
	nonzero(&first, "transmit", "heartbeat errors", l->tx_heartbeat_errors);
	nonzero(&first, "transmit", "collisions", l->collisions);
	nonzero(&first, "transmit", "compressed", l->tx_compressed);
	if (!first)
		fputc('\n', out);
}

/* As tc writes it: "8001:1", ":1" */
static const char *tc_id(__u32 id, bool major_only)
{
	static char buf[16];
	int n = 0;

	if (id >> 16 || major_only)
		n = snprintf(buf, sizeof(buf), "%x", id >> 16);
	snprintf(buf + n, sizeof(buf) - n, major_only ? ":" : ":%x", id & 0xffff);
	return buf;
}

static void draw(const char *what, const __u64 *count)
{
	static const char * const blocks[] = {
		" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"
	};
	static const char * const ascii[] = { " ", ".", ":", "-", "=", "+", "*", "#", "@" };
	const char * const *level = strcmp(nl_langinfo(CODESET), "UTF-8") ? ascii : blocks;
	int i, last = -1;
	__u64 max = 0;

	for (i = 0; i < BUCKETS; i++) {
		max = count[i] > max ? count[i] : max;
		last = count[i] ? i : last;
	}
	if (last < 0)
		return;
	fprintf(out, "%30s: 0|", what);
	for (i = 0; i <= last; i++)
		fputs(level[count[i] ? 1 + (int)(7.0 * count[i] / max) : 0], out);
	/* The last bucket takes all that is more. */
	if (last == BUCKETS - 1)
		fprintf(out, "|%llu+\n", 1ULL << (last - 1));
	else
		fprintf(out, "|%llu\n", (1ULL << last) - 1);
}

static void table_qdisc(struct netdevs *skel, const struct device *d,
			const struct netdevs_qdisc *q)
{
	struct netdevs_hist h;
	bool has = read_hist(skel, d, q, &h);

	if (!args.details && !has)
		return;
	fprintf(out, "%30s: %s ", "qdisc", harmless(q->kind));
	fputs(tc_id(q->handle, true), out);
	if (q->parent == TC_H_ROOT)
		fputs(" root", out);
	else if (q->parent != TC_H_INGRESS)
		fprintf(out, " parent %s", tc_id(q->parent, false));
	fprintf(out, ", %s B, %s packets, dropped %s, overlimits %s, requeues %s, ",
		human(q->bytes), human(q->packets), human(q->drops), human(q->overlimits),
		human(q->requeues));
	fprintf(out, "queued %s, %s B\n", human(q->qlen), human(q->backlog));
	if (!has)
		return;
	draw("packets before it", h.occupancy);
	draw("us to the driver", h.usecs);
	if (h.dropped || h.untimed)
		fprintf(out, "%30s: dropped %s, time unknown %s\n", "not counted",
			human(h.dropped), human(h.untimed));
}

static void table_queue(__u32 type, __u32 i, const struct netdevs_queue *q)
{
	const char *before = "";
	const struct queue_field *f;

	if (!q->counted && !q->bql_limit && !q->bql_inflight)
		return;
	fprintf(out, "%30s: %s %u ", "queue", type == NETDEV_QUEUE_TYPE_RX ? "rx" : "tx", i);
	for (f = queue_fields; q->counted && f < queue_fields + ARRAY_SIZE(queue_fields); f++) {
		__u64 n = queue_count(q, f);
		bool first = f->offset <= offsetof(struct netdevs_queue, packets);

		if (n == NOT_COUNTED || (!n && !first))
			continue;
		if (first)
			fprintf(out, "%s%s %s", before, human(n), f->words);
		else
			fprintf(out, "%s%s %s", before, f->words, human(n));
		before = ", ";
	}
	if (q->bql_limit || q->bql_inflight)
		fprintf(out, "%s%s of %s B in flight", before, human(q->bql_inflight),
			human(q->bql_limit));
	fputc('\n', out);
}

static void table_row(struct netdevs *skel, const struct answer *a, const struct device *d)
{
	const struct counts *c = a->interval ? &d->change : &d->total;
	const char *name = ns_name(d->row.netns);
	double per = a->interval ?: 1;
	char inode[16];
	unsigned int i;

	snprintf(inode, sizeof(inode), "%u", d->row.netns);
	fprintf(out, columns,
		name ? harmless(name) : inode, harmless(d->row.name),
		wide(7), human(c->link.rx_bytes / per), wide(7), human(c->link.rx_packets / per),
		wide(6), human(c->link.rx_dropped), wide(6), human(c->link.rx_missed_errors),
		wide(6), human(c->link.rx_errors),
		wide(7), human(c->link.tx_bytes / per), wide(7), human(c->link.tx_packets / per),
		wide(6), human(c->link.tx_dropped), wide(6), human(c->link.tx_errors),
		c->root.kind[0] ? harmless(c->root.kind) : "-", wide(6), human(c->root.drops),
		wide(6), human(c->root.qlen), wide(7), human(c->root.backlog),
		c->ingress.kind[0] ? harmless(c->ingress.kind) : "-",
		wide(6), human(c->ingress.drops));
	if (args.details)
		table_causes(&c->link);
	if (args.queues) {
		each_queue(skel, d, NETDEV_QUEUE_TYPE_RX, table_queue);
		each_queue(skel, d, NETDEV_QUEUE_TYPE_TX, table_queue);
	}
	for (i = 0; i < d->row.qdiscs; i++)
		table_qdisc(skel, d, a->qdisc + d->row.first_qdisc + i);
}

/* As much of @text as the terminal has room for, less a line for the cursor */
static void show_part(const char *text)
{
	struct winsize size = {};
	int lines, column = 0;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_row || !size.ws_col) {
		fputs(text, stdout);
		return;
	}
	fputs("\033[H\033[2J", stdout);
	for (lines = 1; *text && lines < size.ws_row; text++) {
		if (*text == '\n') {
			lines++;
			column = 0;
		} else if ((*text & 0xC0) != 0x80) {
			column++;
		}
		if (column <= size.ws_col)
			putchar(*text);
	}
}

static void table(struct netdevs *skel, const struct answer *a)
{
	char *text = NULL;
	size_t len, i;

	out = args.watch && isatty(STDOUT_FILENO) ? open_memstream(&text, &len) : stdout;
	if (!out)
		out = stdout;
	table_head(a);
	for (i = 0; i < a->n_shown; i++)
		table_row(skel, a, a->shown[i]);
	if (out == stdout)
		return;
	fclose(out);
	show_part(text);
	free(text);
}

/* ---- JSON --------------------------------------------------------------------- */

static bool json_more;		/* something is before it in the object or array */

static void json_name(const char *name)
{
	printf(json_more ? ",\"%s\":" : "\"%s\":", name);
	json_more = false;
}

static void json_open(const char *name, char c)
{
	if (name)
		json_name(name);
	else if (json_more)
		putchar(',');
	putchar(c);
	json_more = false;
}

static void json_close(char c)
{
	putchar(c);
	json_more = true;
}

static void json_number(const char *name, unsigned long long n)
{
	if (name)
		json_name(name);
	else if (json_more)
		putchar(',');
	printf("%llu", n);
	json_more = true;
}

static void json_time(const char *name, const struct timespec *t)
{
	json_name(name);
	printf("%lld.%09ld", (long long)t->tv_sec, t->tv_nsec);
	json_more = true;
}

/* The length of the character of UTF-8 that @s begins with, 0 if it does with none */
static int utf8(const char *s)
{
	int len = (*s & 0xE0) == 0xC0 ? 2 : (*s & 0xF0) == 0xE0 ? 3 : (*s & 0xF8) == 0xF0 ? 4 : 0;
	__u32 c = *s & (0x7F >> len), i;

	for (i = 1; i < len; i++) {
		if ((s[i] & 0xC0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3F);
	}
	if ((len == 2 && c < 0x80) || (len == 3 && c < 0x800) || (len == 4 && c < 0x10000) ||
	    c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
		return 0;
	return len;
}

/* A name need not be UTF-8, and JSON has to be. */
static void json_string(const char *name, const char *s)
{
	int len;

	json_name(name);
	putchar('"');
	for (; *s; s++) {
		len = utf8(s);
		if (len) {
			fwrite(s, len, 1, stdout);
			s += len - 1;
		} else if (*s & 0x80) {
			fputs("\\ufffd", stdout);
		} else if (*s == '"' || *s == '\\') {
			printf("\\%c", *s);
		} else if (*s < ' ' || *s == 0x7F) {
			printf("\\u%04x", *s);
		} else {
			putchar(*s);
		}
	}
	putchar('"');
	json_more = true;
}

static void json_counts(const char *name, const __u64 *count)
{
	int i;

	json_open(name, '[');
	for (i = 0; i < BUCKETS; i++)
		json_number(NULL, count[i]);
	json_close(']');
}

static const struct json_field {
	const char *name;
	size_t offset;
} rx_fields[] = {
	{ "bytes", offsetof(struct rtnl_link_stats64, rx_bytes) },
	{ "packets", offsetof(struct rtnl_link_stats64, rx_packets) },
	{ "errors", offsetof(struct rtnl_link_stats64, rx_errors) },
	{ "dropped", offsetof(struct rtnl_link_stats64, rx_dropped) },
	{ "missed_errors", offsetof(struct rtnl_link_stats64, rx_missed_errors) },
	{ "multicast", offsetof(struct rtnl_link_stats64, multicast) },
	{ "length_errors", offsetof(struct rtnl_link_stats64, rx_length_errors) },
	{ "over_errors", offsetof(struct rtnl_link_stats64, rx_over_errors) },
	{ "crc_errors", offsetof(struct rtnl_link_stats64, rx_crc_errors) },
	{ "frame_errors", offsetof(struct rtnl_link_stats64, rx_frame_errors) },
	{ "fifo_errors", offsetof(struct rtnl_link_stats64, rx_fifo_errors) },
	{ "nohandler", offsetof(struct rtnl_link_stats64, rx_nohandler) },
	{ "otherhost_dropped", offsetof(struct rtnl_link_stats64, rx_otherhost_dropped) },
	{ "compressed", offsetof(struct rtnl_link_stats64, rx_compressed) },
	{}
}, tx_fields[] = {
	{ "bytes", offsetof(struct rtnl_link_stats64, tx_bytes) },
	{ "packets", offsetof(struct rtnl_link_stats64, tx_packets) },
	{ "errors", offsetof(struct rtnl_link_stats64, tx_errors) },
	{ "dropped", offsetof(struct rtnl_link_stats64, tx_dropped) },
	{ "carrier_errors", offsetof(struct rtnl_link_stats64, tx_carrier_errors) },
	{ "collisions", offsetof(struct rtnl_link_stats64, collisions) },
	{ "aborted_errors", offsetof(struct rtnl_link_stats64, tx_aborted_errors) },
	{ "fifo_errors", offsetof(struct rtnl_link_stats64, tx_fifo_errors) },
	{ "window_errors", offsetof(struct rtnl_link_stats64, tx_window_errors) },
	{ "heartbeat_errors", offsetof(struct rtnl_link_stats64, tx_heartbeat_errors) },
	{ "compressed", offsetof(struct rtnl_link_stats64, tx_compressed) },
	{}
};

static void json_link(const char *name, const struct rtnl_link_stats64 *stats,
		      const struct json_field *f)
{
	json_open(name, '{');
	for (; f->name; f++)
		json_number(f->name, *(const __u64 *)((const char *)stats + f->offset));
	json_close('}');
}

static void json_qdisc_counts(const struct netdevs_qdisc *q)
{
	json_number("bytes", q->bytes);
	json_number("packets", q->packets);
	json_number("drops", q->drops);
	json_number("overlimits", q->overlimits);
	json_number("requeues", q->requeues);
}

static void json_qdisc(struct netdevs *skel, const struct device *d,
		       const struct netdevs_qdisc *q)
{
	struct netdevs_hist h;

	json_open(NULL, '{');
	json_string("kind", q->kind);
	json_string("handle", tc_id(q->handle, true));
	if (q->parent == TC_H_ROOT) {
		json_name("root");
		fputs("true", stdout);
		json_more = true;
	} else {
		json_string("parent", tc_id(q->parent, false));
	}
	json_qdisc_counts(q);
	json_number("backlog", q->backlog);
	json_number("qlen", q->qlen);
	if (read_hist(skel, d, q, &h)) {
		json_counts("occupancy", h.occupancy);
		json_counts("usecs", h.usecs);
		json_number("dropped", h.dropped);
		json_number("untimed", h.untimed);
	}
	json_close('}');
}

static void json_delta(const struct counts *c)
{
	json_open("delta", '{');
	json_link("rx", &c->link, rx_fields);
	json_link("tx", &c->link, tx_fields);
	if (c->root.kind[0]) {
		json_open("qdisc", '{');
		json_qdisc_counts(&c->root);
		json_close('}');
	}
	if (c->ingress.kind[0]) {
		json_open("ingress", '{');
		json_qdisc_counts(&c->ingress);
		json_close('}');
	}
	json_close('}');
}

static void json_queue(__u32 type, __u32 i, const struct netdevs_queue *q)
{
	const struct queue_field *f;

	json_open(NULL, '{');
	json_number("queue", i);
	for (f = queue_fields; q->counted && f < queue_fields + ARRAY_SIZE(queue_fields); f++)
		if (queue_count(q, f) != NOT_COUNTED)
			json_number(f->name, queue_count(q, f));
	if (type == NETDEV_QUEUE_TYPE_TX) {
		json_number("bql_limit", q->bql_limit);
		json_number("bql_inflight", q->bql_inflight);
	}
	json_close('}');
}

static void json_queues(struct netdevs *skel, const struct device *d)
{
	json_open("queues", '{');
	json_open("rx", '[');
	each_queue(skel, d, NETDEV_QUEUE_TYPE_RX, json_queue);
	json_close(']');
	json_open("tx", '[');
	each_queue(skel, d, NETDEV_QUEUE_TYPE_TX, json_queue);
	json_close(']');
	json_close('}');
}

static void json_device(struct netdevs *skel, const struct answer *a, const struct device *d)
{
	const char *name = ns_name(d->row.netns);
	unsigned int i;

	json_open(NULL, '{');
	json_number("netns", d->row.netns);
	json_number("netns_cookie", d->row.netns_cookie);
	if (name)
		json_string("netns_name", name);
	json_number("ifindex", d->row.ifindex);
	json_number("reg_id", d->row.reg_id);
	json_string("ifname", d->row.name);
	json_link("rx", &d->total.link, rx_fields);
	json_link("tx", &d->total.link, tx_fields);
	json_open("qdiscs", '[');
	for (i = 0; i < d->row.qdiscs; i++)
		json_qdisc(skel, d, a->qdisc + d->row.first_qdisc + i);
	json_close(']');
	if (args.queues)
		json_queues(skel, d);
	if (d->known)
		json_delta(&d->change);
	json_close('}');
}

static void json(struct netdevs *skel, const struct answer *a)
{
	size_t i;

	json_more = false;
	json_open(NULL, '{');
	json_number("version", JSON_VERSION);
	json_time("time", &a->wall);
	json_time("boottime", &a->at);
	if (a->interval) {
		json_name("interval");
		printf("%.9f", a->interval);
		json_more = true;
	}
	if (args.hist) {
		json_open("bounds", '[');
		for (i = 0; i < BUCKETS; i++)
			json_number(NULL, i ? 1ULL << (i - 1) : 0);
		json_close(']');
	}
	json_number("devices", a->looked_at);
	json_open("shown", '[');
	for (i = 0; i < a->n_shown; i++)
		json_device(skel, a, a->shown[i]);
	json_close(']');
	json_close('}');
	putchar('\n');
}

/* ---------------------------------------------------------------------------------- */

static int show(struct netdevs *skel, struct answer *a)
{
	read_names();
	pick(a);
	if (args.json)
		json(skel, a);
	else
		table(skel, a);
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "netdevs: cannot write: %s\n", strerror(errno));
		return -EIO;
	}
	return 0;
}

/* Answers at even intervals, however long each takes */
static void wait_until(struct timespec *next)
{
	double whole = (long long)args.interval;

	next->tv_sec += whole;
	next->tv_nsec += (args.interval - whole) * 1e9;
	if (next->tv_nsec >= 1000000000) {
		next->tv_sec++;
		next->tv_nsec -= 1000000000;
	}
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL) == EINTR)
		;
}

static void forget(struct answer *a)
{
	free(a->dev);
	free(a->qdisc);
	free(a->shown);
}

/* A table of changes begins with the second answer. */
static int run(struct netdevs *skel)
{
	struct answer answers[2] = {}, *a, *before = NULL;
	unsigned long long shown = 0;
	struct timespec next;
	int err, turn = 0;

	clock_gettime(CLOCK_MONOTONIC, &next);
	for (;;) {
		a = &answers[turn];
		turn = !turn;
		err = pull(skel, a);
		if (err)
			break;
		if (args.hist)
			watch_devices(skel, a);
		if (before)
			compare(before, a);
		if (!args.watch || args.json || before) {
			err = show(skel, a);
			shown++;
		}
		if (err || !args.watch || (args.count && shown == args.count))
			break;
		before = a;
		wait_until(&next);
	}
	forget(&answers[0]);
	forget(&answers[1]);
	return err;
}

/* What this kernel lacks, which libbpf would say at length */
static const char *lacks(void)
{
	static const char * const kfuncs[] = { "bpf_iter_netdev_new", "bpf_netdev_get_stats64" };
	static char what[80];
	unsigned int i;
	int id;

	for (i = 0; i < ARRAY_SIZE(kfuncs); i++) {
		id = libbpf_find_vmlinux_btf_id(kfuncs[i], BPF_TRACE_FENTRY);
		if (id > 0)
			continue;
		if (access("/sys/kernel/btf/vmlinux", R_OK))
			return "it has no BTF (CONFIG_DEBUG_INFO_BTF)";
		snprintf(what, sizeof(what), "it has no %s()", kfuncs[i]);
		return what;
	}
	return NULL;
}

static int silent(enum libbpf_print_level level, const char *format, va_list list)
{
	return args.verbose ? vfprintf(stderr, format, list) : 0;
}

static struct netdevs *start(void)
{
	struct netdevs *skel;
	const char *what;
	int err;

	libbpf_set_print(silent);
	what = lacks();
	if (what) {
		fprintf(stderr, "netdevs: not on this kernel: %s\n", what);
		return NULL;
	}
	skel = netdevs__open();
	if (!skel)
		return NULL;
	bpf_program__set_autoload(skel->progs.pull_queues, args.queues);
	bpf_program__set_autoload(skel->progs.arrive, args.hist);
	bpf_program__set_autoload(skel->progs.segmented, args.hist);
	bpf_program__set_autoload(skel->progs.start_xmit, args.hist);
	bpf_program__set_autoload(skel->progs.dropped, args.hist);
	err = netdevs__load(skel);
	if (err) {
		what = err == -EPERM ? "it takes CAP_BPF and CAP_PERFMON" : strerror(-err);
		fprintf(stderr, "netdevs: cannot load its programs: %s\n", what);
		netdevs__destroy(skel);
		return NULL;
	}
	skel->bss->only_netns = args.netns;
	if (args.name && !args.pattern)
		memcpy(skel->bss->only_name, args.name, strlen(args.name));
	skel->bss->all_qdiscs = args.json || args.details || args.hist;
	err = args.hist ? netdevs__attach(skel) : 0;
	if (err) {
		fprintf(stderr, "netdevs: cannot watch qdiscs: %s\n", strerror(-err));
		netdevs__destroy(skel);
		return NULL;
	}
	return skel;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = doc,
	};
	struct netdevs *skel;
	int err;

	setlocale(LC_CTYPE, "");
	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	skel = start();
	if (!skel)
		return 1;
	err = run(skel);
	netdevs__destroy(skel);
	return err ? 1 : 0;
}
