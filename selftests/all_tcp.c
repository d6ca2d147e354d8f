// SPDX-License-Identifier: GPL-2.0
/* all_tcp: run programs that pass everything on every TCP connection of a machine,
 * to see whether applications notice.
 *
 *	all_tcp verdict|parser|msg
 *
 * verdict: a stream verdict; parser: one with a parser, whose records are what is
 * there; msg: a msg verdict. Sockets that listen or connect while it runs are added,
 * and all that those accept, until it gets SIGTERM. It prints a line when it is
 * ready, and one with what it has counted at the end. Needs cgroup2 at /sys/fs/cgroup.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "all_tcp.skel.h"

#define CGROUP	"/sys/fs/cgroup"

static void die(const char *what)
{
	fprintf(stderr, "all_tcp: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The id of a link of @prog that has no socket yet */
static __u32 link_without_socket(struct bpf_program *prog, __u32 flags)
{
	LIBBPF_OPTS(bpf_sock_link_opts, opts, .flags = BPF_F_SOCK_NONE | flags);
	struct bpf_link *link = bpf_program__attach_sock(prog, 0, &opts);
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);

	if (!link || bpf_link_get_info_by_fd(bpf_link__fd(link), &info, &len))
		die("link");
	return info.id;
}

static void make_links(struct all_tcp *skel, const char *mode)
{
	struct bpf_program *last = strcmp(mode, "msg") ? skel->progs.verdict : skel->progs.msg;

	if (!strcmp(mode, "parser")) {
		skel->bss->for_listeners[0] = link_without_socket(skel->progs.parser,
								  BPF_F_SOCK_INHERIT);
		skel->bss->for_clients[0] = link_without_socket(skel->progs.parser, 0);
	}
	skel->bss->for_listeners[1] = link_without_socket(last, BPF_F_SOCK_INHERIT);
	skel->bss->for_clients[1] = link_without_socket(last, 0);
}

/* All sockets are below the root of the cgroups. */
static void watch(struct all_tcp *skel)
{
	int cgroup = open(CGROUP, O_RDONLY | O_DIRECTORY);

	if (cgroup < 0 || !bpf_program__attach_cgroup(skel->progs.add_socket, cgroup))
		die(CGROUP);
}

int main(int argc, char **argv)
{
	const char *mode = argc == 2 ? argv[1] : "";
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
	make_links(skel, mode);
	watch(skel);
	printf("ready\n");
	fflush(stdout);
	sigwait(&end, &sig);
	printf("listeners %llu, clients %llu, accepted %llu, missed %llu, refused %llu (%d), runs %llu, bytes %llu\n",
	       skel->bss->listeners, skel->bss->clients, skel->bss->accepted,
	       skel->bss->missed, skel->bss->refused, skel->bss->refused_err,
	       skel->bss->runs, skel->bss->bytes);
	return 0;
}
