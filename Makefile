# SPDX-License-Identifier: GPL-2.0
# Every target runs a script of scripts/, which describes itself at its head.

TREE ?= bpf-next
ARCH ?= $(shell uname -m)

.PHONY: help deps vmtest test matrix compare fuzz attack bench bench-policy example compliance tree series sync check mbox kernel image selftests
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#: \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

#: make vmtest    fetch the kernel, apply the series, build, boot, run the selftests
#: make test      check the series and the VM runner, run the tests on both architectures,
#:                and check that they fail where they must on stock 7.3, 6.12 (x86_64)
#:                and 6.1 (arm64); PARTS='series example' runs only these parts, and
#:                x86_64, red-arm64, finds, debug and policy run only when named
vmtest:
	@scripts/run "$(TREE)" "$(ARCH)"

test:
	@scripts/test $(PARTS)

#: make matrix    run the tests on every kernel that can be had; writes a table, an HTML
#:                page and JUnit; TREES=, ARCHS=, KINDS='stock image patched' select
matrix: deps
	@scripts/matrix

#: make compare   run the kernel's own sockmap tests, stock and patched: none may get worse
compare: deps
	@scripts/in-tree "$(TREE)" compare "$(ARCH)"

#: make fuzz      run random sequences on receiving sockets for TIME=60 seconds, beginning
#:                with number SEED=1; takes STOCK, DEBUG, ARCH, IMAGE; LETTERS=brhwkldfgv
#:                select steps and checks (sockmap_fuzz.c); SEND=1 tests senders instead
#:                (LETTERS=bnckadrmxzfg, sockmap_send_fuzz.c)
fuzz: deps
	@scripts/fuzz "$(TREE)" "$(ARCH)"

#: make attack    run peers that change data after they have sent it, for TIME=60 seconds
attack: deps
	@ATTACK=1 scripts/fuzz "$(TREE)" "$(ARCH)"

#: make bench     count the instructions and the memory that programs cost, stock and
#:                patched, or two commits of the tree (BASE=10-rx COMMIT=17-sockmap), and
#:                those of a relay instead: one that splices, and Debian's HAProxy
bench: deps
	@scripts/bench "$(TREE)" "$(ARCH)"

#: make bench-policy  measure what wildcard rules cost, and write the tables and plots of
#:                Documentation/policy.rst; TEST=1 tests the classifiers instead
bench-policy: deps
	@scripts/bench-policy "$(TREE)" "$(ARCH)"

#: make example   attach a policy for HTTP requests to a running nginx, in a VM, and try
#:                it with curl; TLS=1.2 or TLS=1.3: the requests are in TLS
example: deps
	@scripts/example "$(TREE)" "$(ARCH)"

#: make compliance NGINX_TESTS=/path/to/nginx-tests   run nginx's own tests in a VM, plain
#:                and with programs on every TCP connection: no file may end worse;
#:                NGINX_FILES='proxy*.t mail*.t' or all: other files than the default
compliance: deps
	@scripts/compliance "$(TREE)" "$(ARCH)"

#: make tree      make a git tree with the series applied, to work in; prints its path
#: make series    export the tree's commits to patches/
#: make sync      copy selftests/ into the tree, to be committed there
#: make check     check the stored series (checkpatch, sign-off, order, selftests in step)
#:                and the documentation (spelling, reStructuredText)
#: make mbox      write what git send-email takes to mbox/, or MBOX=; REROLL=2 makes it
#:                version 2; for stable, UPSTREAM=/path/to/linux has the hashes of the
#:                commits; mails nothing
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

#: make kernel    build the kernel; make -s image prints the image's path, as last line
#: make selftests build the tests only, one static program
#: make deps      install the tools that all this needs, or, if not root, name them
#:
kernel image: deps
	@scripts/kernel "$(TREE)" "$(ARCH)"

selftests: deps
	@scripts/selftests "$(TREE)" "$(ARCH)"

deps:
	@scripts/deps

#: TREE=     bpf-next (default), 7.2, 6.12, 6.8, 6.5, 6.1, 5.15, 5.10 (trees.conf), or
#:           the folder of a kernel source of yours, which is read and never changed
#: TARGET=   for a folder whose version is not in trees.conf: the tree that it is like
#: SERIES=   apply another folder of patches/ than trees.conf says; empty: apply none
#: COMMIT=   build that commit of the tree (git -C "$(make -s tree)" log)
#: ARCH=     x86_64 or arm64 (default: this machine's)
#: STOCK=1   use the kernel without the patches; with RED=1 (vmtest), "ok" means that a
#:           test fails there as selftests/expectations says
#: DEBUG=1   build with KASAN, lockdep and the like; DEBUG=kcsan: with KCSAN
#: TESTS=    run only these tests, in the form of test_progs -t
#: TIME=     limit for vmtest, in seconds with KVM (300)
#: IMAGE=    run this kernel image, build none (vmtest, fuzz, attack, example,
#:           compliance)
#: ACCEL=    tcg, mttcg or kvm (default: KVM if an image has booted with it)
#: FROM=     debian, git or tarball: where to take a tree from; for a tree that exists
#:           already, with UPDATE=1
#: JOBS=     number of compilers at the same time (default: the number of processors)
#: UPDATE=1  take the newest source of a tree
#: RESET=1   drop changes in the tree that patches/ does not have
#: SUBMITTER='Name <mail>'   sign exported patches over to this person
