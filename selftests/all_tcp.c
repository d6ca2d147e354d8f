// SPDX-License-Identifier: GPL-2.0
/* all_tcp: run programs that pass everything on every TCP connection of a machine,
 * to see whether applications notice.
 *
 *	all_tcp verdict|parser|msg|tls [COMMAND...]
 *
 * verdict: a stream verdict; parser: the same with a parser that takes all available
 * data as a record; msg: a sk_msg verdict; tls: parser and both verdicts for the
 * plaintext of TLS. They are attached by a link on the root cgroup, until SIGTERM or
 * the end of COMMAND. It prints a line when it is ready, and one with its counts at the
 * end. Needs cgroup2 at /sys/fs/cgroup.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
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
static struct bpf_link *cover(struct bpf_program *prog, struct bpf_program *parser)
{
	int cgroup = open(CGROUP, O_RDONLY | O_DIRECTORY);
	LIBBPF_OPTS(bpf_sock_link_opts, opts);
	struct bpf_link *link;

	opts.parser_fd = parser ? bpf_program__fd(parser) : 0;
	link = cgroup < 0 ? NULL : bpf_program__attach_sock(prog, cgroup, &opts);
	if (!link)
		die(CGROUP);
	close(cgroup);
	return link;
}

static struct bpf_link *cover_mode(struct all_tcp *skel, const char *mode)
{
	if (!strcmp(mode, "msg"))
		return cover(skel->progs.msg, NULL);
	if (!strcmp(mode, "tls")) {
		cover(skel->progs.tls_msg, NULL);
		return cover(skel->progs.tls_verdict, skel->progs.tls_parser);
	}
	return cover(skel->progs.verdict, strcmp(mode, "parser") ? NULL : skel->progs.parser);
}

static struct all_tcp *load(bool tls)
{
	struct all_tcp *skel = all_tcp__open();

	if (!skel)
		die("open");
	bpf_program__set_autoload(skel->progs.tls_parser, tls);
	bpf_program__set_autoload(skel->progs.tls_verdict, tls);
	bpf_program__set_autoload(skel->progs.tls_msg, tls);
	if (all_tcp__load(skel))
		die("load");
	return skel;
}

static int run(char **argv, const sigset_t *end)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		sigprocmask(SIG_UNBLOCK, end, NULL);
		execvp(*argv, argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
	const char *mode = argc >= 2 ? argv[1] : "";
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);
	struct bpf_link *link;
	struct all_tcp *skel;
	sigset_t end;
	int sig, ret = 0;

	if (strcmp(mode, "verdict") && strcmp(mode, "parser") && strcmp(mode, "msg") &&
	    strcmp(mode, "tls")) {
		fprintf(stderr, "usage: all_tcp verdict|parser|msg|tls [COMMAND...]\n");
		return 2;
	}
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigprocmask(SIG_BLOCK, &end, NULL);

	skel = load(!strcmp(mode, "tls"));
	link = cover_mode(skel, mode);
	printf("ready\n");
	fflush(stdout);
	if (argc > 2)
		ret = run(argv + 2, &end);
	else
		sigwait(&end, &sig);
	if (bpf_link_get_info_by_fd(bpf_link__fd(link), &info, &len))
		die("link");
	printf("sockets now %u, missed %u, runs %llu, bytes %llu\n", info.sock.nr_socks,
	       info.sock.nr_missed, skel->bss->runs, skel->bss->bytes);
	return ret;
}
