/* SPDX-License-Identifier: GPL-2.0 */
/* Sockets with kernel TLS, for tests */
#ifndef __KTLS_H
#define __KTLS_H

#include <errno.h>
#include <string.h>
#include <linux/tls.h>
#include <sys/socket.h>

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#ifndef TLS_1_3_VERSION
#define TLS_1_3_VERSION 0x0304
#endif

static inline int set_ulp(int fd)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) ? -errno : 0;
}

/* Set keys for TLS_TX or TLS_RX, different ones for each generation */
static inline int set_keys(int fd, int direction, __u8 generation)
{
	struct tls12_crypto_info_aes_gcm_128 info = {
		.info.version = TLS_1_3_VERSION,
		.info.cipher_type = TLS_CIPHER_AES_GCM_128,
		.key[0] = generation,
	};

	return setsockopt(fd, SOL_TLS, direction, &info, sizeof(info)) ? -errno : 0;
}

/* Send a record of another @type than data. */
static inline int send_control(int fd, __u8 type, const void *data, int len)
{
	char buf[CMSG_SPACE(1)] = {};
	struct iovec iov = { (void *)data, len };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = buf, .msg_controllen = sizeof(buf),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_TLS;
	cmsg->cmsg_type = TLS_SET_RECORD_TYPE;
	cmsg->cmsg_len = CMSG_LEN(1);
	*CMSG_DATA(cmsg) = type;
	return sendmsg(fd, &msg, 0);
}

/* recvmsg(), with the type of what was read, or 0. Returns the length or an error. */
static inline int recv_typed(int fd, void *data, int len, int flags, __u8 *type)
{
	char buf[CMSG_SPACE(1)] = {};
	struct iovec iov = { data, len };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = buf, .msg_controllen = sizeof(buf),
	};
	int ret = recvmsg(fd, &msg, flags);
	struct cmsghdr *cmsg = ret < 0 ? NULL : CMSG_FIRSTHDR(&msg);

	*type = cmsg ? *CMSG_DATA(cmsg) : 0;
	return ret < 0 ? -errno : ret;
}

/* The type of the record that comes next, its data in @data, or an error */
static inline int recv_type(int fd, void *data, int len, int flags)
{
	__u8 type;
	int ret = recv_typed(fd, data, len, flags, &type);

	return ret > 0 ? type : ret;
}

#endif
