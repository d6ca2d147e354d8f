# SPDX-License-Identifier: GPL-2.0
# From the CSV of scripts/bench-policy to tables in reStructuredText

function thousands(n,	s)
{
	s = ""
	for (n = n ""; length(n) > 3; n = substr(n, 1, length(n) - 3))
		s = " " substr(n, length(n) - 2) s
	return n s
}

function rule(	i, s)
{
	s = "=========="
	for (i = 1; i <= cells; i++)
		s = s "  " substr("====================", 1, width[i])
	print s
}

function head(	i)
{
	rule()
	printf "%-10s", "classifier"
	for (i = 1; i <= cells; i++)
		printf "  %*s", width[i], title[i]
	print ""
	rule()
}

function column(name, wide)
{
	title[++cells] = name
	width[cells] = wide
}

# One table for each rule set
function figures(set,	i, r, c)
{
	cells = 0
	column("hit", 9); column("p99", 9); column("worst", 9)
	column("miss", 9); column("p99", 9); column("worst", 9)
	column("lines", 7); column("worst", 7); column("B/rule", 7); column("replace", 13)
	print "\n**" family[set] ", " thousands(rules[set]) " rules**\n"
	head()
	for (i = 1; i <= n[set]; i++) {
		r = row[set, i]
		split(r, c, ",")
		printf "%-10s", c[4]
		printf "  %9s  %9s  %9s", thousands(c[6]), thousands(c[7]), thousands(c[8])
		printf "  %9s  %9s  %9s", thousands(c[9]), thousands(c[10]), thousands(c[11])
		printf "  %7s  %7s", thousands(max(c[12], c[15])), thousands(max(c[14], c[17]))
		printf "  %7s  %13s\n", thousands(c[19]), thousands(c[20] + c[21])
	}
	rule()
	for (i = 1; i <= refusals[set]; i++)
		print "\n" refusal[set, i]
}

function max(a, b)
{
	return a + 0 > b + 0 ? a : b
}

function share(value, of)
{
	if (value == "" || of <= 0)
		return "-"
	if (value > 10 * of)
		return sprintf("%d x", value / of + 0.5)
	return sprintf("%.3g %%", 100 * value / of)
}

# The cost of each classifier, as a share of that of N hashes
function compared(	s, i, c, base)
{
	cells = 0
	column("rules", 16); column("N", 6); column("lengths", 7)
	column("hit", 8); column("worst", 8); column("miss", 8); column("worst", 8)
	print "\n**Of the instructions of N hashes**\n"
	head()
	for (s = 1; s <= sets; s++) {
		if (!((s, "hashes") in at))
			continue
		split(at[s, "hashes"], base, ",")
		for (i = 1; i <= n[s]; i++) {
			split(row[s, i], c, ",")
			if (c[4] == "hashes")
				continue
			printf "%-10s  %16s  %6s  %7s  %8s  %8s  %8s  %8s\n", c[4],
			       family[s] " " thousands(rules[s]), base[24], base[25],
			       share(c[6], base[6]),
			       share(c[8], base[8]), share(c[9], base[9]), share(c[11], base[11])
		}
	}
	rule()
}

# The maximum of all sets, as the verifier's work depends on the size of the policy.
function verifier(	s, i, c, insns, time, names, order)
{
	cells = 0
	column("instructions", 12); column("time", 12)
	print "\n**The verifier**: instructions it looks at, and those it takes itself, in thousands\n"
	head()
	for (s = 1; s <= sets; s++)
		for (i = 1; i <= n[s]; i++) {
			split(row[s, i], c, ",")
			if (!(c[4] in insns))
				order[++names] = c[4]
			if (c[22] + 0 > insns[c[4]] + 0) {
				insns[c[4]] = c[22]
				time[c[4]] = c[23]
			}
		}
	for (i = 1; i <= names; i++)
		printf "%-10s  %12s  %12s\n", order[i], thousands(insns[order[i]]),
		       thousands(time[order[i]])
	rule()
}

/^# BPF_MAP_TYPE_HASH/ {
	split($0, hash, ",")
	next
}

/^# Linux / {
	kernel = substr($0, 3)
	next
}

/^#/ || /^family,/ { next }

{
	split($0, f, ",")
	if (f[1] != family[sets] || f[2] != rules[sets]) {
		family[++sets] = f[1]
		rules[sets] = f[2]
	}
	if (f[5] != "") {
		reason = $0
		sub(/^[^"]*"/, "", reason)
		sub(/"$/, "", reason)
		refusal[sets, ++refusals[sets]] = f[4] " does not take them: " reason "."
		next
	}
	row[sets, ++n[sets]] = $0
	at[sets, f[4]] = $0
}

END {
	print "Measured on " kernel ".  \"lines\" are lines of the cache, of 64 bytes, that a"
	print "look-up reads of the policy; N is the number of masks, \"lengths\" what it were if"
	print "a range of ports were one prefix.  One look-up in a"
	print "BPF_MAP_TYPE_HASH of 10 000 such keys takes " hash[2] " instructions, and " hash[5] " if"
	print "there is no such key (medians)."
	compared()
	verifier()
	for (s = 1; s <= sets; s++)
		figures(s)
}
