# SPDX-License-Identifier: GPL-2.0
# Every target is a script of scripts/ or vmtest/; what they do is said there.

TREE ?= bpf-next
ARCH ?= $(shell uname -m)

.PHONY: help deps vmtest test matrix compare fuzz attack bench bench-policy example compliance tree series sync check mbox kernel image selftests
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#: \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

#: make vmtest    get the kernel, apply the series, build, boot, run the selftests
#: make test      the series, the VM runner, both architectures, and that the tests
#:                fail on stock 7.3, 6.12 (x86_64) and 6.1 (arm64) where they must;
#:                PARTS='x86_64 debug' some of it, or more: red-arm64, finds, debug, policy
vmtest:
	@scripts/run "$(TREE)" "$(ARCH)"

test:
	@scripts/test $(PARTS)

#: make matrix    TREES, ARCHS, KINDS='stock image patched': run all there is, as far
#:                as it can be had; a table, a page, JUnit
matrix: deps
	@scripts/matrix

#: make compare   the tree's own tests of sockmap, stock and patched: none worse
compare: deps
	@scripts/in-tree "$(TREE)" compare "$(ARCH)"

#: make fuzz      random sequences for TIME=60 seconds, from number SEED=1 on, with
#:                STOCK, DEBUG, ARCH, IMAGE; LETTERS=brhwkldfgv as sockmap_fuzz.c says;
#:                SEND=1 of what is sent, LETTERS=bnckadrmxzg, sockmap_send_fuzz.c
fuzz: deps
	@scripts/fuzz "$(TREE)" "$(ARCH)"

#: make attack    peers that write to what they have sent, for TIME=60 seconds
attack: deps
	@ATTACK=1 scripts/fuzz "$(TREE)" "$(ARCH)"

#: make bench     what programs cost, in instructions and memory, stock and patched, or
#:                BASE= and COMMIT= of the tree (10-rx, 17-sockmap); what a relay costs
#:                instead, one that splices and Debian's HAProxy
bench: deps
	@scripts/bench "$(TREE)" "$(ARCH)"

#: make bench-policy  what rules with wildcards cost, by classifier: the tables and plots
#:                of Documentation/policy.rst; TEST=1: are the answers right?
bench-policy: deps
	@scripts/bench-policy "$(TREE)" "$(ARCH)"

#: make example   a policy for HTTP requests on an nginx that runs, with curl, in a VM
example: deps
	@scripts/example "$(TREE)" "$(ARCH)"

#: make compliance NGINX_TESTS=/path/to/nginx-tests   nginx's own tests in a VM, plain
#:                and with programs on every TCP connection: no file may end worse;
#:                NGINX_FILES='proxy*.t mail*.t' others than the default, or all
compliance: deps
	@scripts/compliance "$(TREE)" "$(ARCH)"

#: make tree      a git tree with the series on it, to work in; prints its path
#: make series    export the tree's commits to patches/
#: make sync      copy selftests/ into the tree, to be committed there
#: make check     the stored series: checkpatch, sign-off, order, tests in step
#: make mbox      what git send-email takes, in mbox/ or MBOX=, as version REROLL=2; for
#:                stable with the hashes from UPSTREAM=/path/to/linux; mails nothing
tree: deps
	@scripts/tree "$(TREE)"

series: deps
	@scripts/series export "$(TREE)"

sync: deps
	@scripts/series sync "$(TREE)"

check: deps
	@scripts/series check "$(TREE)"

mbox: deps
	@scripts/series mbox "$(TREE)"

#: make kernel    build the kernel; make -s image prints its path on the last line
#: make selftests build the tests alone, one static program
#: make deps      install, or without root name, the tools all this needs
#:
kernel image: deps
	@scripts/kernel "$(TREE)" "$(ARCH)"

selftests: deps
	@scripts/selftests "$(TREE)" "$(ARCH)"

deps:
	@scripts/deps

#: TREE=     bpf-next (default), 7.2, 6.12, 6.8, 6.5, 6.1, 5.15, 5.10 (trees.conf), or
#:           the folder of a kernel source of your own, which is read, not changed
#: TARGET=   which of these a folder of another version is like
#: SERIES=   another folder of patches/ than trees.conf says; empty: none
#: COMMIT=   that commit of the tree (git -C "$(make -s tree)" log)
#: ARCH=     x86_64 or arm64 (default: this machine's)
#: STOCK=1   the kernel without our patches; with RED=1 (vmtest), "ok" is a test
#:           that fails there as selftests/expectations says
#: DEBUG=1   KASAN, lockdep and the like; DEBUG=kcsan: data races
#: TESTS=    only these tests, as test_progs -t takes them
#: TIME=     what vmtest may take, in seconds with KVM (300)
#: IMAGE=    run on this kernel image, build none (vmtest, fuzz, attack, example,
#:           compliance)
#: ACCEL=    tcg, mttcg or kvm (default: KVM where an image was seen to boot with it)
#: FROM=     debian, git or tarball: where a tree is taken from; with UPDATE=1 if
#:           it is there already
#: JOBS=     compilers at the same time (default: the processors)
#: UPDATE=1  take the newest source of a tree; RESET=1 drop your work in it
#: SUBMITTER='Name <mail>'   sign exported patches over to who mails them
