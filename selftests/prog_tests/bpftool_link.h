/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel and bpftool show of a link */
#ifndef __BPFTOOL_LINK_H
#define __BPFTOOL_LINK_H

#include <sys/wait.h>

#include "test_progs.h"

/* bpftool as built with the selftests; flavors of test_progs run in a folder below */
#define BPFTOOL "tools/sbin/bpftool"

static inline struct bpf_link_info link_info(const struct bpf_link *link)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);

	ASSERT_OK(bpf_link_get_info_by_fd(bpf_link__fd(link), &info, &len), "link info");
	return info;
}

/* Run "bpftool link show" for a link; @out is "" if there is no bpftool. Its
 * exit status is not checked, as for a single link it is that of an earlier
 * error. bpftool_helpers.h is not used, as it needs a shell, which the guest
 * may not have.
 */
static inline void bpftool_link_show(const struct bpf_link *link, bool json, char *out,
				     int size)
{
	char id[16], *argv[] = { "bpftool", "link", "show", "id", id, json ? "-j" : NULL, NULL };
	int fds[2], n, len = 0;
	pid_t pid;

	*out = 0;
	snprintf(id, sizeof(id), "%u", link_info(link).id);
	if (!ASSERT_OK(pipe(fds), "pipe"))
		return;
	pid = fork();
	if (!pid) {
		dup2(fds[1], STDOUT_FILENO);
		execv("./" BPFTOOL, argv);
		execv("../" BPFTOOL, argv);
		_exit(127);
	}
	close(fds[1]);
	while ((n = read(fds[0], out + len, size - 1 - len)) > 0)
		len += n;
	close(fds[0]);
	waitpid(pid, NULL, 0);
	out[len] = 0;
}

#endif
