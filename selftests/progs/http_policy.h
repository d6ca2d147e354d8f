/* SPDX-License-Identifier: GPL-2.0 */
/* What http_policy.c of user space and the programs agree on */
#ifndef __HTTP_POLICY_H
#define __HTTP_POLICY_H

#define RULES_MAX	8
#define RULE_MAX	64	/* bytes */
#define HEAD_MAX	4096	/* a longer head is no request */
#define BODY_MAX	65536	/* nor is what has a longer body */

/* How an allowed request begins: "GET /public/", a method and a path prefix */
struct http_rule {
	char text[RULE_MAX];
	__u32 len;
};

#endif
