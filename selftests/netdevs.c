// SPDX-License-Identifier: GPL-2.0
/* netdevs: show statistics of the network devices of all namespaces, sorted and
 * filtered in the kernel. This is an example of querying state when it is
 * needed, instead of tracing every event.
 */
#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/nsfs.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "progs/netdevs.h"
#include "netdevs.skel.h"

enum { OPT_MIN = 256 };

static struct {
	bool json;
	bool hist;
	int watch;		/* interval in seconds, 0: once */
	enum netdevs_key sort;
	unsigned int netns;
	const char *name;
	unsigned int top;
	unsigned long long min;
} args = { .top = ROWS_MAX };

static const char * const keys[] = {
	[BY_BYTES] = "bytes",
	[BY_PACKETS] = "packets",
	[BY_DROPS] = "drops",
	[BY_ERRORS] = "errors",
	[BY_BACKLOG] = "backlog",
};

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "One JSON object per query" },
	{ "watch", 'w', "SECONDS", OPTION_ARG_OPTIONAL, "Repeat every second, or every SECONDS" },
	{ "histograms", 'H', NULL, 0,
	  "Packets found in the qdisc and time spent there, since netdevs started" },
	{ "sort", 's', "KEY", 0, "Sort by bytes (default), packets, drops, errors or backlog" },
	{ "netns", 'n', "NETNS", 0, "Only this network namespace: its inode number, or a file" },
	{ "dev", 'd', "NAME", 0, "Only devices whose names begin with NAME" },
	{ "top", 't', "COUNT", 0, "At most COUNT devices" },
	{ "min", OPT_MIN, "COUNT", 0, "Only devices with at least COUNT of the sort key" },
	{}
};

/* Parse all of @arg as a number that is not negative. */
static bool number(const char *arg, unsigned long long max, unsigned long long *n)
{
	char *end;

	errno = 0;
	*n = strtoull(arg, &end, 0);
	return isdigit(*arg) && !*end && !errno && *n <= max;
}

static unsigned int netns_number(const char *name)
{
	unsigned long long n;
	struct stat st;
	int fd;

	if (number(name, UINT_MAX, &n))
		return n;
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		fprintf(stderr, "netdevs: %s: %s\n", name, strerror(errno));
		exit(1);
	}
	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
		fprintf(stderr, "netdevs: %s: not a network namespace\n", name);
		exit(1);
	}
	close(fd);
	return st.st_ino;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	unsigned long long n;
	unsigned int i;

	switch (key) {
	case 'j':
		args.json = true;
		break;
	case 'H':
		args.hist = true;
		break;
	case 'w':
		if (!number(arg ?: "1", INT_MAX, &n) || !n)
			argp_error(state, "not a number of seconds: %s", arg);
		args.watch = n;
		break;
	case 's':
		for (i = 0; i < sizeof(keys) / sizeof(*keys) && strcmp(arg, keys[i]); i++)
			;
		if (i == sizeof(keys) / sizeof(*keys))
			argp_error(state, "cannot sort by %s", arg);
		args.sort = i;
		break;
	case 'n':
		args.netns = netns_number(arg);
		break;
	case 'd':
		if (strlen(arg) >= NAME_SIZE)
			argp_error(state, "too long for the name of a device: %s", arg);
		args.name = arg;
		break;
	case 't':
		if (!number(arg, ROWS_MAX, &n) || !n)
			argp_error(state, "not a number of devices from 1 to %d", ROWS_MAX);
		args.top = n;
		break;
	case OPT_MIN:
		if (!number(arg, ULLONG_MAX, &args.min))
			argp_error(state, "not a number: %s", arg);
		break;
	case ARGP_KEY_END:
		if (args.hist && !args.watch)
			argp_error(state, "--histograms needs --watch");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* ---- a table ----------------------------------------------------------------- */

static const char *human(unsigned long long n)
{
	static char buf[16][16];
	static int turn;
	char *s = buf[turn++ % 16];
	const char *unit = " kMGTPE";
	double v = n;

	while (v >= 10000 && unit[1]) {
		v /= 1000;
		unit++;
	}
	snprintf(s, 16, *unit == ' ' ? "%.0f" : "%.0f%c", v, *unit);
	return s;
}

static void table_head(void)
{
	printf("%-10s %-15s %8s %8s %8s %8s %7s %7s  %-10s %7s %7s\n", "NETNS", "DEVICE",
	       "RX BYTES", "RX PKTS", "TX BYTES", "TX PKTS", "DROPS", "ERRORS", "QDISC", "QUEUED",
	       "BACKLOG");
}

static void draw(const char *what, const __u32 *count)
{
	static const char * const level[] = {
		" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"
	};
	__u32 max = 0;
	int i, last = -1;

	for (i = 0; i < BUCKETS; i++) {
		max = count[i] > max ? count[i] : max;
		last = count[i] ? i : last;
	}
	if (last < 0)
		return;
	printf("%26s  0|", what);
	for (i = 0; i <= last; i++)
		fputs(level[count[i] ? 1 + (__u64)count[i] * 7 / max : 0], stdout);
	/* The last bucket has all larger values. */
	if (last == BUCKETS - 1)
		printf("|%llu+\n", 1ULL << (last - 1));
	else
		printf("|%llu\n", (1ULL << last) - 1);
}

/* Names of devices are not trusted: they could contain escape sequences for the
 * terminal.
 */
static const char *harmless(const char *name)
{
	static char buf[NAME_SIZE];
	int i;

	for (i = 0; i < NAME_SIZE - 1 && name[i]; i++)
		buf[i] = isprint((unsigned char)name[i]) ? name[i] : '?';
	buf[i] = 0;
	return buf;
}

static void table_row(const struct netdevs_row *r)
{
	printf("%-10u %-15s %8s %8s %8s %8s %7s %7s  %-10s %7u %7s\n", r->netns, harmless(r->name),
	       human(r->rx_bytes), human(r->rx_packets), human(r->tx_bytes),
	       human(r->tx_packets), human(r->drops), human(r->errors), r->qdisc, r->qlen,
	       human(r->backlog));
	if (args.hist) {
		draw("packets before it", r->occupancy);
		draw("us in the qdisc", r->usecs);
	}
}

/* ---- JSON --------------------------------------------------------------------- */

/* Other bytes are escaped, as JSON must be UTF-8, and a name need not be. */
static void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if (isprint((unsigned char)*s))
			putchar(*s);
		else
			printf("\\u%04x", (unsigned char)*s);
	}
	putchar('"');
}

static void json_counts(const char *name, const __u32 *count)
{
	int i;

	printf(",\"%s\":[", name);
	for (i = 0; i < BUCKETS; i++)
		printf("%s%u", i ? "," : "", count[i]);
	putchar(']');
}

static void json_row(const struct netdevs_row *r, bool first)
{
	printf("%s{\"netns\":%u,\"ifindex\":%u,\"reg_id\":%u,\"ifname\":", first ? "" : ",",
	       r->netns, r->ifindex, r->reg_id);
	json_string(r->name);
	printf(",\"rx_bytes\":%llu,\"rx_packets\":%llu,\"tx_bytes\":%llu,\"tx_packets\":%llu",
	       r->rx_bytes, r->rx_packets, r->tx_bytes, r->tx_packets);
	printf(",\"drops\":%llu,\"errors\":%llu,\"qlen\":%u,\"backlog\":%u,\"qdisc\":",
	       r->drops, r->errors, r->qlen, r->backlog);
	json_string(r->qdisc);
	if (args.hist) {
		json_counts("occupancy", r->occupancy);
		json_counts("usecs", r->usecs);
	}
	putchar('}');
}

/* ---------------------------------------------------------------------------------- */

static int show(struct netdevs *skel)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	const struct netdevs__bss *a = skel->bss;
	unsigned int i;
	int err;

	do {
		err = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.pull), &opts);
		if (err) {
			fprintf(stderr, "netdevs: cannot run the program: %s\n", strerror(-err));
			return err;
		}
	} while (a->next_dev);
	if (args.json)
		printf("{\"devices\":%u,\"shown\":[", a->devices);
	else
		table_head();
	for (i = 0; i < a->rows_found; i++) {
		const struct netdevs_row *r = &a->rows[a->order[i]];

		if (args.json)
			json_row(r, !i);
		else
			table_row(r);
	}
	printf(args.json ? "]}\n" : "%u of %u devices\n", a->rows_found, a->devices);
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "netdevs: cannot write: %s\n", strerror(errno));
		return -EIO;
	}
	return 0;
}

static void ask(struct netdevs *skel)
{
	skel->bss->sort_by = args.sort;
	skel->bss->only_netns = args.netns;
	skel->bss->at_least = args.min;
	skel->data->rows_wanted = args.top;
	if (args.name)
		snprintf(skel->bss->only_name, sizeof(skel->bss->only_name), "%s", args.name);
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Show statistics of the network devices of all namespaces.",
	};
	struct netdevs *skel;
	int err;

	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	skel = netdevs__open();
	if (!skel)
		return 1;
	bpf_program__set_autoload(skel->progs.enqueue, args.hist);
	bpf_program__set_autoload(skel->progs.dequeue, args.hist);
	err = netdevs__load(skel);
	if (err) {
		fprintf(stderr, "netdevs: cannot load the programs: %s\n", strerror(-err));
		goto out;
	}
	ask(skel);
	err = args.hist ? netdevs__attach(skel) : 0;
	if (err)
		fprintf(stderr, "netdevs: cannot trace qdiscs: %s\n", strerror(-err));
	while (!err) {
		if (args.watch && !args.json && isatty(STDOUT_FILENO))
			printf("\033[H\033[2J");
		err = show(skel);
		if (!args.watch)
			break;
		sleep(args.watch);
	}
out:
	netdevs__destroy(skel);
	return err ? 1 : 0;
}
