/* SPDX-License-Identifier: GPL-2.0 */
/* Helpers for rtnetlink, as the tests of network devices also run where there
 * is no ip and no tc. They return negative error numbers.
 */
#ifndef __NETDEV_NL_H
#define __NETDEV_NL_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* A namespace, and a netlink socket in it */
struct nl_ns {
	int fd;
	int nl;
	__u64 cookie;
};

struct nl_req {
	struct nlmsghdr h;
	char data[1024];
};

static inline void *nl_put(struct nl_req *r, const void *data, int len)
{
	void *at = (char *)r + NLMSG_ALIGN(r->h.nlmsg_len);

	memcpy(at, data, len);
	r->h.nlmsg_len = NLMSG_ALIGN(r->h.nlmsg_len) + len;
	return at;
}

static inline struct rtattr *nl_attr(struct nl_req *r, int type, const void *data, int len)
{
	struct rtattr a = { .rta_len = RTA_LENGTH(len), .rta_type = type };
	struct rtattr *at = nl_put(r, &a, sizeof(a));

	if (len)
		nl_put(r, data, len);
	return at;
}

static inline void nl_str(struct nl_req *r, int type, const char *s)
{
	nl_attr(r, type, s, strlen(s) + 1);
}

static inline void nl_u32(struct nl_req *r, int type, __u32 v)
{
	nl_attr(r, type, &v, sizeof(v));
}

static inline struct rtattr *nl_nest(struct nl_req *r, int type)
{
	return nl_attr(r, type | NLA_F_NESTED, NULL, 0);
}

static inline void nl_end(struct nl_req *r, struct rtattr *nest)
{
	nest->rta_len = (char *)r + r->h.nlmsg_len - (char *)nest;
}

static inline void nl_start(struct nl_req *r, int type, int flags, const void *header, int len)
{
	memset(r, 0, sizeof(*r));
	r->h.nlmsg_len = NLMSG_HDRLEN;
	r->h.nlmsg_type = type;
	r->h.nlmsg_flags = NLM_F_REQUEST | flags;
	nl_put(r, header, len);
}

/* Send a request, and call @msg for each message of the reply */
static inline int nl_talk(int fd, struct nl_req *r,
			  void (*msg)(struct nlmsghdr *h, void *arg), void *arg)
{
	static __thread char buf[1 << 16];
	struct nlmsghdr *h;
	int n;

	/* NLM_F_DUMP has other meanings in NEW requests. */
	if ((r->h.nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
		r->h.nlmsg_flags |= NLM_F_ACK;
	if (send(fd, r, r->h.nlmsg_len, 0) < 0)
		return -errno;
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		for (h = (void *)buf; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (msg)
				msg(h, arg);
		}
	}
	return n ? -errno : -EPIPE;
}

static inline struct rtattr *nl_find(struct rtattr *a, int len, int type)
{
	for (; RTA_OK(a, len); a = RTA_NEXT(a, len))
		if ((a->rta_type & NLA_TYPE_MASK) == type)
			return a;
	return NULL;
}

/* ---- namespaces ---------------------------------------------------------- */

static inline int nl_enter(const struct nl_ns *ns)
{
	int here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	if (here < 0)
		return -errno;
	if (setns(ns->fd, CLONE_NEWNET)) {
		close(here);
		return -errno;
	}
	return here;
}

static inline void nl_leave(int here)
{
	if (setns(here, CLONE_NEWNET))
		abort();
	close(here);
}

/* The namespace of this thread */
static inline int nl_ns_here(struct nl_ns *ns)
{
	socklen_t len = sizeof(ns->cookie);

	ns->fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	ns->nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (ns->fd < 0 || ns->nl < 0 ||
	    getsockopt(ns->nl, SOL_SOCKET, SO_NETNS_COOKIE, &ns->cookie, &len))
		return -errno;
	return 0;
}

static inline int nl_ns_new(struct nl_ns *ns)
{
	int here, err;

	here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (here < 0 || unshare(CLONE_NEWNET))
		return -errno;
	err = nl_ns_here(ns);
	nl_leave(here);
	return err;
}

static inline void nl_ns_close(struct nl_ns *ns)
{
	close(ns->nl);
	close(ns->fd);
}

/* ---- devices -------------------------------------------------------------- */

/* Begin a request for a new link; attributes can be added until nl_talk() */
static inline void nl_link_start(struct nl_req *r, const char *name)
{
	struct ifinfomsg ifi = {};

	nl_start(r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifi, sizeof(ifi));
	nl_str(r, IFLA_IFNAME, name);
}

static inline int nl_link_new(const struct nl_ns *ns, const char *name, const char *kind)
{
	struct rtattr *info;
	struct nl_req r;

	nl_link_start(&r, name);
	info = nl_nest(&r, IFLA_LINKINFO);
	nl_str(&r, IFLA_INFO_KIND, kind);
	nl_end(&r, info);
	return nl_talk(ns->nl, &r, NULL, NULL);
}

static inline int nl_veth_new(const struct nl_ns *ns, const char *name,
			      const struct nl_ns *peer_ns, const char *peer_name)
{
	struct rtattr *info, *data, *peer;
	struct ifinfomsg ifi = {};
	struct nl_req r;

	nl_link_start(&r, name);
	info = nl_nest(&r, IFLA_LINKINFO);
	nl_str(&r, IFLA_INFO_KIND, "veth");
	data = nl_nest(&r, IFLA_INFO_DATA);
	peer = nl_nest(&r, VETH_INFO_PEER);
	nl_put(&r, &ifi, sizeof(ifi));
	nl_str(&r, IFLA_IFNAME, peer_name);
	nl_u32(&r, IFLA_NET_NS_FD, peer_ns->fd);
	nl_end(&r, peer);
	nl_end(&r, data);
	nl_end(&r, info);
	return nl_talk(ns->nl, &r, NULL, NULL);
}

static inline int nl_vlan_new(const struct nl_ns *ns, const char *name, int lower, __u16 id)
{
	struct rtattr *info, *data;
	struct nl_req r;

	nl_link_start(&r, name);
	nl_u32(&r, IFLA_LINK, lower);
	info = nl_nest(&r, IFLA_LINKINFO);
	nl_str(&r, IFLA_INFO_KIND, "vlan");
	data = nl_nest(&r, IFLA_INFO_DATA);
	nl_attr(&r, IFLA_VLAN_ID, &id, sizeof(id));
	nl_end(&r, data);
	nl_end(&r, info);
	return nl_talk(ns->nl, &r, NULL, NULL);
}

static inline void nl_link_keep_index(struct nlmsghdr *h, void *arg)
{
	*(int *)arg = ((struct ifinfomsg *)NLMSG_DATA(h))->ifi_index;
}

/* Return: the ifindex of the device, or an error */
static inline int nl_link_index(const struct nl_ns *ns, const char *name)
{
	struct ifinfomsg ifi = {};
	int ifindex = -ENODEV, err;
	struct nl_req r;

	nl_start(&r, RTM_GETLINK, 0, &ifi, sizeof(ifi));
	nl_str(&r, IFLA_IFNAME, name);
	err = nl_talk(ns->nl, &r, nl_link_keep_index, &ifindex);
	return err ?: ifindex;
}

static inline int nl_link_change(const struct nl_ns *ns, int ifindex, int type, const void *data,
				 int len)
{
	struct ifinfomsg ifi = { .ifi_index = ifindex };
	struct nl_req r;

	nl_start(&r, RTM_NEWLINK, 0, &ifi, sizeof(ifi));
	nl_attr(&r, type, data, len);
	return nl_talk(ns->nl, &r, NULL, NULL);
}

static inline int nl_link_rename(const struct nl_ns *ns, int ifindex, const char *name)
{
	return nl_link_change(ns, ifindex, IFLA_IFNAME, name, strlen(name) + 1);
}

static inline int nl_link_move(const struct nl_ns *ns, int ifindex, const struct nl_ns *to)
{
	return nl_link_change(ns, ifindex, IFLA_NET_NS_FD, &to->fd, sizeof(to->fd));
}

/* The same, and the device gets ifindex @new there */
static inline int nl_link_move_to(const struct nl_ns *ns, int ifindex, const struct nl_ns *to,
				  __u32 new)
{
	struct ifinfomsg ifi = { .ifi_index = ifindex };
	struct nl_req r;

	nl_start(&r, RTM_NEWLINK, 0, &ifi, sizeof(ifi));
	nl_u32(&r, IFLA_NET_NS_FD, to->fd);
	nl_u32(&r, IFLA_NEW_IFINDEX, new);
	return nl_talk(ns->nl, &r, NULL, NULL);
}

static inline int nl_link_up(const struct nl_ns *ns, int ifindex, bool up)
{
	struct ifinfomsg ifi = {
		.ifi_index = ifindex,
		.ifi_flags = up ? IFF_UP : 0,
		.ifi_change = IFF_UP,
	};
	struct nl_req r;

	nl_start(&r, RTM_NEWLINK, 0, &ifi, sizeof(ifi));
	return nl_talk(ns->nl, &r, NULL, NULL);
}

static inline int nl_link_del(const struct nl_ns *ns, int ifindex)
{
	struct ifinfomsg ifi = { .ifi_index = ifindex };
	struct nl_req r;

	nl_start(&r, RTM_DELLINK, 0, &ifi, sizeof(ifi));
	return nl_talk(ns->nl, &r, NULL, NULL);
}

#endif
