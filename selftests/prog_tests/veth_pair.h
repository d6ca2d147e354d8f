/* SPDX-License-Identifier: GPL-2.0 */
/* Connections over veth with GRO. Unlike over loopback, a record arrives in
 * several packets, in skbs with a frag_list.
 */
#ifndef __VETH_PAIR_H
#define __VETH_PAIR_H

#include <error.h>
#include <stdio.h>
#include <linux/ethtool.h>
#include <linux/if_addr.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include "test_progs.h"
#include "sockmap_helpers.h"
#include "netdev_nl.h"

#define VETH_ADDR 0x0a070001	/* 10.7.0.1; the peer has the next address */
#define VETH_GRO_NS 2000000	/* GRO waits this long for more packets of a send() */

struct veth_pair {
	struct nl_ns ns;	/* for the receiving sockets, with the programs */
	struct nl_ns peer_ns;
	int mss;		/* of the peers' sockets, if not 0 */
};

static inline int veth_addr(const struct nl_ns *ns, int ifindex, __u32 addr)
{
	struct ifaddrmsg ifa = {
		.ifa_family = AF_INET,
		.ifa_prefixlen = 24,
		.ifa_index = ifindex,
	};
	struct nl_req r;

	addr = htonl(addr);
	nl_start(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &ifa, sizeof(ifa));
	nl_attr(&r, IFA_LOCAL, &addr, sizeof(addr));
	return nl_talk(ns->nl, &r, NULL, NULL);
}

static inline int veth_ethtool(const char *name, __u32 cmd, __u32 value)
{
	struct ethtool_value v = { .cmd = cmd, .data = value };
	struct ifreq ifr = { .ifr_data = (void *)&v };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), ret;

	strcpy(ifr.ifr_name, name);
	ret = ioctl(fd, SIOCETHTOOL, &ifr) ? -errno : 0;
	close(fd);
	return ret;
}

static inline int veth_write(const char *dir, const char *name, const char *file, int value)
{
	char path[100];
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "%s/class/net/%s/%s", dir, name, file);
	f = fopen(path, "w");
	if (!f)
		return -errno;
	n = fprintf(f, "%d\n", value);
	return fclose(f) || n < 0 ? -EIO : 0;
}

/* The packets of one send() arrive one by one: have GRO wait for the last one. */
static inline int veth_gro_waits(const char *name)
{
	char dir[] = "/tmp/sysfs-XXXXXX";
	int ret;

	if (!mkdtemp(dir))
		return -errno;
	/* sysfs of this network namespace */
	ret = mount("sysfs", dir, "sysfs", 0, NULL) ? -errno : 0;
	if (!ret) {
		ret = veth_write(dir, name, "gro_flush_timeout", VETH_GRO_NS);
		umount(dir);
	}
	rmdir(dir);
	return ret;
}

/* Without TSO, each segment is a packet; the receiver's GRO merges them. */
static inline int veth_up(const struct nl_ns *ns, const char *name, __u32 addr)
{
	int ifindex = nl_link_index(ns, name), here = nl_enter(ns), ret;

	if (ifindex < 0 || here < 0)
		return -ENODEV;
	ret = veth_ethtool(name, ETHTOOL_STSO, 0) ?:
	      veth_ethtool(name, ETHTOOL_SGSO, 0) ?:
	      veth_ethtool(name, ETHTOOL_SGRO, 1) ?:
	      veth_gro_waits(name) ?:
	      veth_addr(ns, ifindex, addr) ?:
	      nl_link_up(ns, ifindex, true);
	nl_leave(here);
	return ret;
}

static inline void veth_pair_close(struct veth_pair *v)
{
	if (v->peer_ns.fd > 0)
		nl_ns_close(&v->peer_ns);
	if (v->ns.fd > 0)
		nl_ns_close(&v->ns);
}

/* Return: false on failure. If the kernel has no veth, the test is skipped. */
static inline bool veth_pair_new(struct veth_pair *v)
{
	int lo, err;

	memset(v, 0, sizeof(*v));
	if (!ASSERT_OK(nl_ns_new(&v->ns), "namespace") ||
	    !ASSERT_OK(nl_ns_new(&v->peer_ns), "namespace"))
		return false;
	lo = nl_link_index(&v->ns, "lo");
	err = nl_veth_new(&v->ns, "veth0", &v->peer_ns, "veth1");
	if (err == -EOPNOTSUPP) {
		test__skip();
		return false;
	}
	return ASSERT_OK(nl_link_up(&v->ns, lo, true), "lo") && ASSERT_OK(err, "veth") &&
	       ASSERT_OK(veth_up(&v->ns, "veth0", VETH_ADDR), "veth0") &&
	       ASSERT_OK(veth_up(&v->peer_ns, "veth1", VETH_ADDR + 1), "veth1");
}

/* Connect @fd in one namespace with @peer in the other */
static inline bool veth_pair_connect(struct veth_pair *v, int *fd, int *peer)
{
	int listener, here = nl_enter(&v->ns), peer_here, err = 0;
	struct sockaddr_storage addr = {};
	struct sockaddr_in *in = (void *)&addr;
	socklen_t len = sizeof(*in);
	bool ok;

	if (!ASSERT_OK_FD(here, "enter"))
		return false;
	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(VETH_ADDR);
	listener = xsocket(AF_INET, SOCK_STREAM, 0);
	ok = !xbind(listener, sockaddr(&addr), len) && !xlisten(listener, 1) &&
	     !xgetsockname(listener, sockaddr(&addr), &len);
	peer_here = nl_enter(&v->peer_ns);
	*peer = xsocket(AF_INET, SOCK_STREAM, 0);
	if (v->mss)
		ok = ok && !xsetsockopt(*peer, IPPROTO_TCP, TCP_MAXSEG, &v->mss,
					sizeof(v->mss));
	if (ok)
		err = connect(*peer, sockaddr(&addr), len);
	nl_leave(peer_here);
	if (ok && ASSERT_OK(err, "connect"))
		*fd = accept_timeout(listener, NULL, NULL, IO_TIMEOUT_SEC);
	close(listener);
	nl_leave(here);
	return ok && ASSERT_OK_FD(*fd, "accept");
}

#endif
