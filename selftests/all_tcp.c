// SPDX-License-Identifier: GPL-2.0
/* all_tcp: run programs that pass everything on every TCP connection of a machine,
 * to see whether applications notice.
 *
 *	all_tcp verdict|parser|msg
 *
 * verdict: a stream verdict; parser: the same with a parser that takes all available
 * data as a record; msg: a sk_msg verdict. They are attached by a link on the root
 * cgroup, until SIGTERM. It prints a line when it is ready, and one with its counts at
 * the end. Needs cgroup2 at /sys/fs/cgroup.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "all_tcp.skel.h"

#define CGROUP	"/sys/fs/cgroup"

static void die(const char *what)
{
	fprintf(stderr, "all_tcp: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* A link on the root cgroup covers all sockets. */
static struct bpf_link *cover(struct all_tcp *skel, const char *mode)
{
	struct bpf_program *prog = strcmp(mode, "msg") ? skel->progs.verdict : skel->progs.msg;
	int cgroup = open(CGROUP, O_RDONLY | O_DIRECTORY);
	LIBBPF_OPTS(bpf_sock_link_opts, opts);
	struct bpf_link *link;

	if (!strcmp(mode, "parser"))
		opts.parser_fd = bpf_program__fd(skel->progs.parser);
	link = cgroup < 0 ? NULL : bpf_program__attach_sock(prog, cgroup, &opts);
	if (!link)
		die(CGROUP);
	close(cgroup);
	return link;
}

int main(int argc, char **argv)
{
	const char *mode = argc == 2 ? argv[1] : "";
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);
	struct bpf_link *link;
	struct all_tcp *skel;
	sigset_t end;
	int sig;

	if (strcmp(mode, "verdict") && strcmp(mode, "parser") && strcmp(mode, "msg")) {
		fprintf(stderr, "usage: all_tcp verdict|parser|msg\n");
		return 2;
	}
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigprocmask(SIG_BLOCK, &end, NULL);

	skel = all_tcp__open_and_load();
	if (!skel)
		die("load");
	link = cover(skel, mode);
	printf("ready\n");
	fflush(stdout);
	sigwait(&end, &sig);
	if (bpf_link_get_info_by_fd(bpf_link__fd(link), &info, &len))
		die("link");
	printf("sockets now %u, missed %u, runs %llu, bytes %llu\n", info.sock.nr_socks,
	       info.sock.nr_missed, skel->bss->runs, skel->bss->bytes);
	return 0;
}
