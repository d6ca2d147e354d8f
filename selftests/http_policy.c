// SPDX-License-Identifier: GPL-2.0
/* http_policy: let a running server receive only the requests that rules allow.
 * This is an example of programs on a listening socket, which all accepted
 * connections inherit. The server needs no change, and no proxy in front of it.
 *
 *	http_policy [--tls] PID 'GET /public/' 'POST /form' ...
 *
 * A rule is the beginning of allowed requests: a method and a path prefix. PID
 * is the process that has the listening sockets; with nginx, this is the
 * master. The policy is removed when http_policy ends.
 *
 * A refused request, and anything that is not valid HTTP/1.1, ends its
 * connection: the server does not see it, and recv() returns an error.
 * Connections accepted before the policy was attached are not subject to it.
 *
 * With --tls, the rules are for requests inside TLS. The server must use kernel TLS.
 * From connections on which it does not, it can read nothing but the handshake.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "progs/http_policy.h"
#include "http_policy.skel.h"

#define SOCKETS_MAX	1024

static void die(const char *what)
{
	fprintf(stderr, "http_policy: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct http_policy *load(char **texts, bool tls)
{
	struct http_policy *skel = http_policy__open();
	size_t len;
	int i;

	if (skel && tls) {
		bpf_program__set_expected_attach_type(skel->progs.http_parser, BPF_SK_SKB_TLS);
		bpf_program__set_expected_attach_type(skel->progs.http_policy, BPF_SK_SKB_TLS);
	}
	if (!skel || http_policy__load(skel))
		die("load");
	for (i = 0; texts[i]; i++) {
		len = strlen(texts[i]);
		errno = EINVAL;
		if (i == RULES_MAX || len > RULE_MAX || !strstr(texts[i], " /"))
			die(texts[i]);
		memcpy(skel->bss->rules[i].text, texts[i], len);
		skel->bss->rules[i].len = len;
	}
	return skel;
}

static void attach(struct http_policy *skel, int fd)
{
	LIBBPF_OPTS(bpf_sock_link_opts, opts, .flags = BPF_F_SOCK_INHERIT,
		    .parser_fd = bpf_program__fd(skel->progs.http_parser));

	if (bpf_program__expected_attach_type(skel->progs.http_policy) == BPF_SK_SKB_TLS)
		opts.flags |= BPF_F_SOCK_TLS_ONLY;
	if (!bpf_program__attach_sock(skel->progs.http_policy, fd, &opts))
		die("attach");
}

static bool has(int fd, int option, int value)
{
	socklen_t len = sizeof(int);
	int got;

	return !getsockopt(fd, SOL_SOCKET, option, &got, &len) && got == value;
}

/* Is this a listening TCP socket? */
static bool is_listening(int fd)
{
	return has(fd, SO_ACCEPTCONN, 1) && has(fd, SO_PROTOCOL, IPPROTO_TCP);
}

/* Was the socket not found by another descriptor before? */
static bool is_new(int fd)
{
	static uint64_t cookies[SOCKETS_MAX];
	socklen_t len = sizeof(cookies[0]);
	static int n;
	int i;

	errno = E2BIG;
	if (n == SOCKETS_MAX ||
	    getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookies[n], &len))
		die("listening socket");
	for (i = 0; cookies[i] != cookies[n]; i++)
		;
	if (i < n)
		return false;
	n++;
	return true;
}

/* Attach to all listening sockets of a process. Return: their number */
static int attach_all(struct http_policy *skel, const char *pid)
{
	int pidfd = syscall(__NR_pidfd_open, atoi(pid), 0);
	struct dirent *entry;
	int fd, n = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", atoi(pid));
	dir = opendir(path);
	if (pidfd < 0 || !dir)
		die(pid);
	while ((entry = readdir(dir))) {
		fd = syscall(__NR_pidfd_getfd, pidfd, atoi(entry->d_name), 0);
		if (fd < 0)
			continue;
		if (is_listening(fd) && is_new(fd)) {
			attach(skel, fd);
			n++;
		}
		close(fd);
	}
	closedir(dir);
	close(pidfd);
	return n;
}

int main(int argc, char **argv)
{
	struct http_policy *skel;
	sigset_t end;
	int sig, n;
	bool tls;

	tls = argc > 1 && !strcmp(argv[1], "--tls");
	argc -= tls;
	argv += tls;
	if (argc < 3) {
		fprintf(stderr, "usage: http_policy [--tls] PID 'METHOD /PREFIX'...\n");
		return 2;
	}
	sigemptyset(&end);
	sigaddset(&end, SIGINT);
	sigaddset(&end, SIGTERM);
	sigprocmask(SIG_BLOCK, &end, NULL);

	skel = load(argv + 2, tls);
	n = attach_all(skel, argv[1]);
	errno = ENOENT;
	if (!n)
		die("listening socket");
	printf("attached to %d sockets\n", n);
	fflush(stdout);
	sigwait(&end, &sig);
	printf("passed %llu, refused %llu\n", skel->bss->passed, skel->bss->refused);
	return 0;
}
