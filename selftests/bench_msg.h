/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by bench.c and its sk_msg programs */
#ifndef __BENCH_MSG_H
#define __BENCH_MSG_H

#define MSG_SOCKETS	4000	/* pairs of sockets, with a slot for each socket */

#endif
