// SPDX-License-Identifier: GPL-2.0
/* poll() on a socket with kernel TLS. There is no program. */
#include <error.h>
#include <poll.h>
#include <netinet/tcp.h>

#include "test_progs.h"
#include "sockmap_helpers.h"
#include "ktls.h"

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

/* poll() reports a KeyUpdate that was decrypted together with data. */
void test_ktls_poll(void)
{
	static const char update[] = { 24, 0, 0, 1, 0 };
	int one = 1, sk = -1, peer = -1, err;
	char buf[100];

	if (!ASSERT_OK(create_pair(AF_INET, SOCK_STREAM, &sk, &peer), "pair"))
		return;
	setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	err = set_ulp(sk);
	if (err == -ENOENT) {
		printf("%s:SKIP:no CONFIG_TLS\n", __func__);
		test__skip();
		goto out;
	}
	if (!ASSERT_OK(err, "ULP") || !ASSERT_OK(set_ulp(peer), "ULP") ||
	    !ASSERT_OK(set_keys(peer, TLS_TX, 0), "TLS_TX") ||
	    !ASSERT_OK(set_keys(sk, TLS_RX, 0), "TLS_RX"))
		goto out;
	ASSERT_EQ(send(peer, "data", 4, 0), 4, "send");
	ASSERT_EQ(send_control(peer, 22, update, sizeof(update)), sizeof(update), "KeyUpdate");
	ASSERT_EQ(recv_type(sk, buf, sizeof(buf), 0), 23, "data");
	ASSERT_TRUE(readable(sk), "KeyUpdate");
	ASSERT_EQ(recv_type(sk, buf, sizeof(buf), MSG_DONTWAIT), 22, "KeyUpdate");
	ASSERT_FALSE(readable(sk), "data");
out:
	close(sk);
	close(peer);
}
