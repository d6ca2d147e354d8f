/* SPDX-License-Identifier: GPL-2.0 */
/* The first byte of a datagram tells the verdict program what to do. Others pass. */
#ifndef __TEST_SOCKMAP_UDP_H
#define __TEST_SOCKMAP_UDP_H

#define DROP 'D'
#define REDIRECT 'R'	/* to the socket in slot 1 of sock_map */
#define SEND 'X'	/* redirect to the send side of that socket */
#define SELF 'I'	/* redirect to slot 0, the socket that has received it */
#define GROW 'G'	/* put GROW_BY zeros before it */
#define CUT 'C'		/* cut its last byte */
#define EMPTY 'N'	/* cut all */
#define WRITE 'W'	/* invert its second byte, if it has one */

#define GROW_BY 40	/* more than an IPv4 header and a UDP header */

#endif
