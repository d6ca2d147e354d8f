/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by http_policy.c and its BPF programs */
#ifndef __HTTP_POLICY_H
#define __HTTP_POLICY_H

#define RULES_MAX	8
#define RULE_MAX	64	/* bytes of a rule */
#define HEAD_MAX	4096	/* bytes; longer heads are refused */
#define BODY_MAX	65536	/* bytes; longer bodies are refused */

/* The beginning of allowed requests, like "GET /public/": a method and a path prefix */
struct http_rule {
	char text[RULE_MAX];
	__u32 len;
};

#endif
