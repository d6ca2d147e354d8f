/* SPDX-License-Identifier: GPL-2.0 */
/* What bench.c and its sk_msg programs share */
#ifndef __BENCH_MSG_H
#define __BENCH_MSG_H

#define MSG_SOCKETS	4000	/* pairs, for which there is a slot each */

#endif
