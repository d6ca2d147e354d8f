// SPDX-License-Identifier: GPL-2.0
/*
 * guest-test: the command that vmtest/test runs in guests. Each sub-command causes one
 * of the situations that vmtest must distinguish, by means that every kernel has built
 * in. Kernel reports are real, except those of "kmsg".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(99);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

/* Write a line to the kernel log, with the newline that readers need to see it. */
static void log_line(const char *text)
{
	char line[500];
	int n = snprintf(line, sizeof(line), "%s\n", text);
	int fd = open("/dev/kmsg", O_WRONLY);

	if (fd < 0 || write(fd, line, n) != n)
		die("/dev/kmsg");
	close(fd);
}

static int do_exit(char **argv)
{
	return atoi(argv[0]);
}

static int do_signal(char **argv)
{
	raise(atoi(argv[0]));
	return 0;
}

/*
 * spam BYTES: numbered lines with all byte values that a terminal might change, while
 * the kernel writes to its log as well.
 */
static int do_spam(char **argv)
{
	long long left = atoll(argv[0]), line = 0;
	char text[128], said[64];

	while (left > 0) {
		int n = sprintf(text, "%08lld \r\t\x01\x03\x04\x11\x13\x1a\x7f\xff\xc3\xa4 ",
				line);

		memset(text + n, 'a' + line % 26, 79 - n);
		text[79] = '\n';
		n = left < 80 ? left : 80;
		if (fwrite(text, 1, n, stdout) != (size_t)n)
			die("write");
		/* The host runs this only for the expected output. */
		if (line++ % 100 == 0 && !access("/vmtest/config", F_OK)) {
			sprintf(said, "the kernel talks meanwhile, line %lld", line);
			log_line(said);
		}
		left -= n;
	}
	return 0;
}

/* kmsg TEXT...: write each to the kernel log, like a message of the kernel */
static int do_kmsg(char **argv)
{
	for (; *argv; argv++)
		log_line(*argv);
	return 0;
}

/* Stop printing to the console; the kernel log still has all messages. */
static int do_silence(char **argv)
{
	(void)argv;
	write_file("/sys/module/printk/parameters/ignore_loglevel", "0");
	write_file("/proc/sys/kernel/printk", "1");
	return 0;
}

static int do_sysrq(char **argv)
{
	write_file("/proc/sysrq-trigger", argv[0]);
	return 0;
}

static int __attribute__((noreturn)) do_hang(char **argv)
{
	(void)argv;
	puts("about to hang");
	for (;;)
		pause();
}

static void * __attribute__((noreturn)) spin(void *arg)
{
	struct sched_param highest = { .sched_priority = 99 };
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET((long)arg, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) ||
	    sched_setscheduler(0, SCHED_FIFO, &highest))
		die("sched_setscheduler");
	for (;;)
		;
}

/* Use all CPUs forever, with a higher priority than most kernel threads. */
static int __attribute__((noreturn)) do_hog(char **argv)
{
	long cpu, cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t thread;

	(void)argv;
	puts("about to hog");
	fflush(stdout);
	usleep(300000);
	write_file("/proc/sys/kernel/sched_rt_runtime_us", "-1");
	for (cpu = 1; cpu < cpus; cpu++)
		if (pthread_create(&thread, NULL, spin, (void *)cpu))
			die("pthread_create");
	spin(0);
}

static int pipe_fds[2];

static void *write_byte(void *arg)
{
	if (write(pipe_fds[1], arg, 1) < 0)
		die("write");
	return NULL;
}

static void *page_without_content(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fd < 0 || page == MAP_FAILED || ioctl(fd, UFFDIO_API, &api))
		die("userfaultfd");
	range.range.start = (unsigned long)page;
	range.range.len = 4096;
	if (ioctl(fd, UFFDIO_REGISTER, &range))
		die("userfaultfd");
	return page;
}

/*
 * Cause a real kernel report of a hung task: one thread holds the mutex of a pipe and
 * waits for a page that is never supplied, another one waits uninterruptibly for the
 * mutex.
 */
static int do_block(char **argv)
{
	pthread_t holder, waiter;

	(void)argv;
	write_file("/proc/sys/kernel/hung_task_timeout_secs", "1");
	if (pipe(pipe_fds) ||
	    pthread_create(&holder, NULL, write_byte, page_without_content()))
		die("pthread_create");
	usleep(200000);
	if (pthread_create(&waiter, NULL, write_byte, "x"))
		die("pthread_create");
	sleep(argv[0] ? atoi(argv[0]) : 5);
	return 0;
}

static int do_reboot(char **argv)
{
	puts("about to go");
	fflush(stdout);
	usleep(100000);
	if (!strcmp(argv[0], "poweroff"))
		reboot(RB_POWER_OFF);
	else if (!strcmp(argv[0], "reboot"))
		reboot(RB_AUTOBOOT);
	else
		reboot(RB_HALT_SYSTEM);
	return 0;
}

/* taint BITS: set taint bits, as a report does whose text may be lost */
static int do_taint(char **argv)
{
	write_file("/proc/sys/kernel/tainted", argv[0]);
	return 0;
}

static void * __attribute__((noreturn)) switch_tasks(void *arg)
{
	(void)arg;
	for (;;) {
		usleep(1);
		sched_yield();
	}
}

/*
 * patch TIMES: switch a static key in the scheduler, for which the kernel patches its
 * code while all CPUs run it. On x86_64, QEMU with a thread for each CPU soon hangs or
 * crashes in that.
 */
static int do_patch(char **argv)
{
	pthread_t thread;
	int i;

	for (i = 0; i < 3; i++)
		if (pthread_create(&thread, NULL, switch_tasks, NULL))
			die("pthread_create");
	for (i = 0; i < atoi(argv[0]); i++)
		write_file("/proc/sys/kernel/sched_schedstats", i % 2 ? "0" : "1");
	return 0;
}

/* Leave children running, one of them in a session of its own. */
static int do_orphans(char **argv)
{
	int i;

	(void)argv;
	for (i = 0; i < 10; i++) {
		if (fork())
			continue;
		if (i % 2)
			setsid();
		for (;;)
			pause();
	}
	return 0;
}

static void check(int ok, const char *what)
{
	if (ok)
		return;
	printf("missing: %s\n", what);
	exit(1);
}

static int is_mount(const char *path)
{
	struct stat above, there;
	char up[100];

	snprintf(up, sizeof(up), "%s/..", path);
	return !stat(path, &there) && !stat(up, &above) &&
		there.st_dev != above.st_dev;
}

/* Check the environment that init provides for a command */
static int do_environment(char **argv)
{
	struct rlimit limit;
	char name[64] = "";
	long host = atol(argv[0]);
	int fd;

	check(is_mount("/proc") && is_mount("/sys") && is_mount("/dev"), "mounts");
	check(is_mount("/dev/pts") && is_mount("/dev/shm"), "devpts, shm");
	check(is_mount("/sys/fs/cgroup"), "cgroup2");
	check(is_mount("/sys/fs/bpf"), "bpffs");
	check(is_mount("/sys/kernel/debug"), "debugfs");
	check(is_mount("/sys/kernel/tracing"), "tracefs");
	check(!access("/tmp", W_OK) && !access("/run", W_OK), "tmp, run");
	check(!gethostname(name, sizeof(name)) && !strcmp(name, "vmtest"), "name");
	check(labs(time(NULL) - host) < 300, "the time");
	check(!getrlimit(RLIMIT_MEMLOCK, &limit) &&
	      limit.rlim_cur == RLIM_INFINITY, "memlock");
	check(getuid() == 0 && getsid(0) == getpid(), "root in a session");
	check(getenv("HOME") && getenv("PATH") && !getenv("vmtest"), "environment");
	check(isatty(1) && isatty(2) && !isatty(0), "terminal");
	check(getchar() == EOF, "empty input");
	fd = socket(AF_INET, SOCK_STREAM, 0);
	check(fd >= 0 && !listen(fd, 1), "lo");
	puts("all there");
	return 0;
}

static long long time_of_work(void)
{
	struct timespec from, to;
	volatile int i;

	clock_gettime(CLOCK_MONOTONIC, &from);
	for (i = 0; i < 2000000; i++)
		;
	clock_gettime(CLOCK_MONOTONIC, &to);
	return (to.tv_sec - from.tv_sec) * 1000000000LL +
		to.tv_nsec - from.tv_nsec;
}

/*
 * count: print the time of a fixed piece of work, which is always the same if the clock
 * counts instructions. For some seconds after a boot, the kernel uses the only CPU as
 * well: wait, and take the minimum of some tries.
 */
static int do_count(char **argv)
{
	long long least = -1;
	int i;

	(void)argv;
	sleep(10);
	for (i = 0; i < 10; i++) {
		long long took = time_of_work();

		if (least < 0 || took < least)
			least = took;
	}
	printf("%lld\n", least);
	return 0;
}

/* between TEXT STATUS: print a line, a kernel message, and shortly after, another line */
static int do_between(char **argv)
{
	puts("line before");
	fflush(stdout);
	log_line(argv[0]);
	usleep(200000);
	puts("line after");
	return atoi(argv[1]);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(char **argv);
	} commands[] = {
		{ "exit", do_exit },
		{ "signal", do_signal },
		{ "spam", do_spam },
		{ "kmsg", do_kmsg },
		{ "silence", do_silence },
		{ "sysrq", do_sysrq },
		{ "hang", do_hang },
		{ "hog", do_hog },
		{ "block", do_block },
		{ "reboot", do_reboot },
		{ "taint", do_taint },
		{ "patch", do_patch },
		{ "orphans", do_orphans },
		{ "environment", do_environment },
		{ "count", do_count },
		{ "between", do_between },
	};
	size_t i;

	for (i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argv + 2);
	fprintf(stderr, "guest-test: no such command\n");
	return 98;
}
