// SPDX-License-Identifier: GPL-2.0
/*
 * init: the init process of a vmtest guest.
 *
 * Sets up the guest, runs one command, checks the kernel's state after it, reports
 * to the host and powers off.
 *
 * There are three serial channels to the host: the console for the kernel, one for
 * the command's output, and the status channel for init, so that no output of the
 * kernel or the command can be taken for a result. Each line of the status channel
 * begins with a random word that the host has chosen for this run.
 *
 * The host puts two files into the initramfs:
 *   /vmtest/config  "key value" lines: output, status, word, time, cwd
 *   /vmtest/argv    the command, with a NUL after each argument; empty: only boot
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <linux/random.h>
#include <linux/serial.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define KMEMLEAK	"/sys/kernel/debug/kmemleak"

/* kmemleak reports no objects that are younger than 5 seconds. */
#define KMEMLEAK_AGE	6

/* After 10 seconds, the kernel reports a device that still has references. */
#define NETNS_PATIENCE	15

static struct {
	char output[64];
	char status[64];
	char word[64];
	char cwd[4096];
	long time;
} config = { .cwd = "/" };

struct state {
	unsigned long tainted;
	int lockdep;			/* 1 on, 0 off, -1 not built in */
};

static int console = -1;		/* /dev/kmsg for writing */
static int kmsg = -1;			/* /dev/kmsg for reading */
static int output = -1, status = -1;
static int pty = -1, pty_peer = -1;
static unsigned long long printed;	/* bytes of output so far */

static void power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	/* If it cannot power off: with QEMU's -no-reboot, a reboot also ends the guest. */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static void write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		text += n;
		len -= n;
	}
}

/* Write a line to the kernel log. */
static void __attribute__((format(printf, 1, 2)))
log_line(const char *format, ...)
{
	char line[1000];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	/* Without a newline, readers see the line only after the next one. */
	line[n++] = '\n';
	if (console >= 0)
		write_all(console, line, n);
}

/* The guest cannot be used: write the reason to the kernel log. */
static void __attribute__((noreturn, format(printf, 1, 2)))
give_up(const char *format, ...)
{
	char why[900];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	log_line("<3>vmtest init gives up: %s", why);
	power_off();
	abort();
}

/* Write a line to the status channel. */
static void __attribute__((format(printf, 1, 2)))
tell(const char *format, ...)
{
	char line[1000];
	va_list args;
	int n;

	n = snprintf(line, sizeof(line), "%s ", config.word);
	va_start(args, format);
	n += vsnprintf(line + n, sizeof(line) - n - 1, format, args);
	va_end(args);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	write_all(status, line, n);
}

/* Read the first @size - 1 bytes of a file. */
static bool read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = -1;

	if (fd < 0)
		return false;
	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += n;
	close(fd);
	buf[len] = '\0';
	return n >= 0;
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return ok;
}

static bool is_empty(const char *path)
{
	DIR *dir = opendir(path);
	int entries = 0;

	if (!dir)
		return true;
	while (readdir(dir))
		entries++;
	closedir(dir);
	return entries <= 2;		/* . and .. */
}

/*
 * The guest cannot run without file systems that are needed; the kernel may lack
 * the others.
 */
static void mount_file_systems(void)
{
	static const struct {
		const char *where, *type, *options;
		bool needed;
	} mounts[] = {
		{ "/dev", "devtmpfs", "", true },
		{ "/proc", "proc", "", true },
		{ "/sys", "sysfs", "", true },
		{ "/dev/pts", "devpts", "mode=620,ptmxmode=666", false },
		{ "/dev/shm", "tmpfs", "mode=1777", false },
		{ "/tmp", "tmpfs", "mode=1777", false },
		{ "/run", "tmpfs", "mode=755", false },
		{ "/sys/fs/cgroup", "cgroup2", "", false },
		{ "/sys/fs/bpf", "bpf", "mode=700", false },
		{ "/sys/kernel/debug", "debugfs", "", false },
		{ "/sys/kernel/tracing", "tracefs", "", false },
		{ "/sys/kernel/security", "securityfs", "", false },
	};
	size_t i;

	for (i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		mkdir(mounts[i].where, 0755);
		/* Keep files of the initramfs, such as a command that is in /tmp on the host. */
		if (!strcmp(mounts[i].type, "tmpfs") && !is_empty(mounts[i].where))
			continue;
		if (mount(mounts[i].type, mounts[i].where, mounts[i].type, 0,
			  mounts[i].options) && mounts[i].needed &&
		    errno != EBUSY)
			give_up("cannot mount %s: %s", mounts[i].type,
				strerror(errno));
		if (i == 0)
			console = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	}
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
}

static void copy_value(char *into, size_t size, const char *value)
{
	if (strlen(value) >= size)
		give_up("too long in /vmtest/config: %s", value);
	strcpy(into, value);
}

static void read_config(void)
{
	char text[8192], *line, *next;

	if (!read_file("/vmtest/config", text, sizeof(text)))
		give_up("no /vmtest/config: %s", strerror(errno));
	for (line = text; *line; line = next) {
		char *value;

		next = strchrnul(line, '\n');
		if (*next)
			*next++ = '\0';
		value = strchr(line, ' ');
		if (!value)
			give_up("not \"key value\" in /vmtest/config: %s", line);
		*value++ = '\0';
		if (!strcmp(line, "output"))
			copy_value(config.output, sizeof(config.output), value);
		else if (!strcmp(line, "status"))
			copy_value(config.status, sizeof(config.status), value);
		else if (!strcmp(line, "word"))
			copy_value(config.word, sizeof(config.word), value);
		else if (!strcmp(line, "cwd"))
			copy_value(config.cwd, sizeof(config.cwd), value);
		else if (!strcmp(line, "time"))
			config.time = atol(value);
		else
			give_up("unknown key in /vmtest/config: %s", line);
	}
}

/* Pass all bytes unchanged. */
static void make_raw(int fd)
{
	struct termios term;

	if (tcgetattr(fd, &term))
		return;
	cfmakeraw(&term);
	cfsetspeed(&term, B115200);
	term.c_cflag |= CLOCAL;
	tcsetattr(fd, TCSANOW, &term);
}

/*
 * vmtest gives the third ISA port an interrupt of its own. A kernel without
 * SERIAL_8250_PNP does not know that, uses the traditional one, and the port does
 * not work. So the error is written to the console.
 */
#define ISA_PORT2 0x3e8
#define ISA_PORT2_IRQ 5

static void check_irq(const struct serial_struct *serial)
{
	if (serial->port == ISA_PORT2 && serial->irq != ISA_PORT2_IRQ)
		give_up("the status channel needs CONFIG_SERIAL_8250_PNP built in");
}

static int open_channel(const char *path)
{
	struct serial_struct serial;
	int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		give_up("no channel to the host, %s: %s", path, strerror(errno));
	/* The 8250 driver also has nodes for missing ports. */
	if (!ioctl(fd, TIOCGSERIAL, &serial)) {
		if (serial.type == PORT_UNKNOWN)
			give_up("no channel to the host behind %s: is CONFIG_SERIAL_8250_PCI built in?",
				path);
		check_irq(&serial);
	}
	fcntl(fd, F_SETFL, 0);
	make_raw(fd);
	return fd;
}

static void open_channels(void)
{
	status = open_channel(config.status);
	output = open_channel(config.output);
}

/* "Linux version 6.1.0 (who@where) (compiler) #1 SMP when" */
static void tell_kernel(void)
{
	char version[900] = "Linux version unknown";

	tell("init");
	read_file("/proc/version", version, sizeof(version));
	version[strcspn(version, "\n")] = '\0';
	tell("kernel %s", version);
}

static void raise_limit(int what, rlim_t to)
{
	struct rlimit limit = { to, to };

	setrlimit(what, &limit);
}

static void bring_loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (!ioctl(fd, SIOCGIFFLAGS, &request)) {
		request.ifr_flags |= IFF_UP;
		ioctl(fd, SIOCSIFFLAGS, &request);
	}
	close(fd);
}

static void set_clock(void)
{
	struct timespec host = { .tv_sec = config.time };

	/* A working RTC is more exact than the time that the host stored before the boot. */
	if (time(NULL) < config.time)
		clock_settime(CLOCK_REALTIME, &host);
}

/*
 * getrandom() must not wait for entropy, which a machine without devices collects
 * slowly. A test guest has no secrets.
 */
static void fill_random_pool(void)
{
	struct {
		struct rand_pool_info info;
		char bytes[128];
	} pool = { { .entropy_count = 512, .buf_size = 128 }, { 0 } };
	int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	snprintf(pool.bytes, sizeof(pool.bytes), "%s %ld", config.word,
		 config.time);
	ioctl(fd, RNDADDENTROPY, &pool);
	close(fd);
}

static void set_machine_up(void)
{
	sethostname("vmtest", 6);
	set_clock();
	fill_random_pool();
	bring_loopback_up();
	raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
	raise_limit(RLIMIT_NOFILE, 65536);
	raise_limit(RLIMIT_CORE, 0);
	/* The host requests task dumps through the console when the guest hangs. */
	write_file("/proc/sys/kernel/sysrq", "1");
}

static int lockdep_state(void)
{
	static char text[16384];
	char *found;

	if (!read_file("/proc/lockdep_stats", text, sizeof(text)))
		return -1;
	found = strstr(text, "debug_locks:");
	return found ? atoi(found + strlen("debug_locks:")) != 0 : -1;
}

static void look_at_kernel(struct state *state)
{
	char text[32] = "";

	read_file("/proc/sys/kernel/tainted", text, sizeof(text));
	state->tainted = strtoul(text, NULL, 10);
	state->lockdep = lockdep_state();
}

/* The command as a NULL-terminated array; NULL if there is none. */
static char **read_command(void)
{
	static char text[1 << 18];
	static char *argv[16384];
	int fd = open("/vmtest/argv", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text));
	ssize_t at;
	size_t n = 0;

	if (len < 0)
		give_up("no /vmtest/argv: %s", strerror(errno));
	close(fd);
	if (len == sizeof(text))
		give_up("the command is longer than %zu bytes", sizeof(text));
	for (at = 0; at < len; at += strlen(text + at) + 1) {
		if (n == sizeof(argv) / sizeof(argv[0]) - 1)
			give_up("the command has more than %zu arguments", n);
		argv[n++] = text + at;
	}
	return n ? argv : NULL;
}

static void open_pty(void)
{
	pty = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (pty < 0 || grantpt(pty) || unlockpt(pty))
		give_up("no pseudo-terminal for the command: %s", strerror(errno));
	/* Keep the peer open, so that reading does not fail when the command closes it. */
	pty_peer = open(ptsname(pty), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pty_peer < 0)
		give_up("cannot open %s: %s", ptsname(pty), strerror(errno));
	make_raw(pty_peer);
}

static void __attribute__((noreturn)) exec_command(char **argv)
{
	static char *env[] = {
		"HOME=/root",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"TERM=dumb",
		"USER=root",
	};
	size_t i;
	sigset_t none;
	int null;

	/* NAME=value of the kernel command line is already in the environment. */
	for (i = 0; i < sizeof(env) / sizeof(env[0]); i++)
		putenv(env[i]);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGCHLD, SIG_DFL);
	setsid();
	/*
	 * Programs print complete lines to a terminal at once, so the host gets
	 * the output before a kernel report or a crash.
	 */
	ioctl(pty_peer, TIOCSCTTY, 0);
	null = open("/dev/null", O_RDONLY);
	dup2(null, 0);
	dup2(pty_peer, 1);
	dup2(pty_peer, 2);
	close(null);

	if (chdir(config.cwd))
		dprintf(2, "vmtest: cannot change to %s: %s\n", config.cwd,
			strerror(errno));
	else
		execvp(argv[0], argv);
	tell("not-run %s", strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

/* Relay all output that the command has printed so far. */
static void relay_output(void)
{
	static char buf[16384];
	ssize_t n;

	/* The kernel flushes pending data before a read returns nothing. */
	while ((n = read(pty, buf, sizeof(buf))) > 0) {
		write_all(output, buf, n);
		printed += n;
	}
}

/*
 * Relate kernel messages to the output: for the first message after each part of the
 * output, report its time stamp and the bytes of output so far.
 */
static void note_kernel_messages(void)
{
	static unsigned long long noted = -1ULL;
	unsigned long long usec;
	char record[8192];
	ssize_t n;

	while ((n = read(kmsg, record, sizeof(record) - 1)) > 0 ||
	       (n < 0 && errno == EPIPE)) {
		if (n < 0 || noted == printed)
			continue;
		record[n] = '\0';
		if (sscanf(record, "%*u,%*u,%llu", &usec) != 1)
			continue;
		noted = printed;
		tell("at %llu %llu", usec, printed);
	}
}

/* Reap all dead children. Return: whether @pid was one of them; its status in @how. */
static bool reap(pid_t pid, int *how)
{
	bool found = false;
	pid_t dead;
	int state;

	while ((dead = waitpid(-1, &state, WNOHANG)) > 0) {
		if (dead == pid) {
			*how = state;
			found = true;
		}
	}
	return found;
}

static void on_child(int sig)
{
	(void)sig;
}

static int wait_for_command(pid_t pid)
{
	struct pollfd fds[] = {
		{ .fd = pty, .events = POLLIN },
		{ .fd = kmsg, .events = POLLIN },
	};
	sigset_t none;
	int how = 0;

	sigemptyset(&none);
	for (;;) {
		bool dead = reap(pid, &how);

		/*
		 * Output first, so that the output before a kernel report is
		 * counted when the report is read.
		 */
		relay_output();
		note_kernel_messages();
		if (dead)
			return how;
		ppoll(fds, 2, NULL, &none);
	}
}

/* SIGCHLD is delivered only in ppoll(), so none is missed. */
static void catch_children(void)
{
	struct sigaction action = { .sa_handler = on_child };
	sigset_t children;

	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);
	sigaction(SIGCHLD, &action, NULL);
}

static void tell_death(int how)
{
	if (WIFSIGNALED(how))
		tell("exit %d SIG%s", 128 + WTERMSIG(how),
		     sigabbrev_np(WTERMSIG(how)) ?: "RT");
	else
		tell("exit %d", WEXITSTATUS(how));
}

static void run_command(char **argv)
{
	pid_t pid;

	open_pty();
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kmsg >= 0)
		lseek(kmsg, 0, SEEK_END);
	catch_children();
	tell("command");
	log_line("<6>vmtest-init: the command begins");
	pid = fork();
	if (pid < 0)
		give_up("cannot fork: %s", strerror(errno));
	if (!pid)
		exec_command(argv);
	tell_death(wait_for_command(pid));
	log_line("<6>vmtest-init: the command ended");
}

/* Kill all processes that the command has left, so that their resources are freed. */
static void end_all_processes(void)
{
	int how;

	do {
		kill(-1, SIGKILL);
		while (waitpid(-1, &how, 0) > 0)
			;
	} while (errno == EINTR);
	relay_output();
}

/* Is a worker taking down network namespaces, according to its name? */
static bool netns_cleanup_runs(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	bool found = false;

	while (proc && !found && (entry = readdir(proc))) {
		char path[300], name[64];

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		found = read_file(path, name, sizeof(name)) &&
			strstr(name, "+netns");
	}
	if (proc)
		closedir(proc);
	return found;
}

/*
 * A leaked reference to a network device is reported only while a worker takes down
 * its namespace. Wait for that, which is short if nothing has leaked.
 */
static void wait_for_netns_cleanup(void)
{
	const struct timespec moment = { .tv_nsec = 50 * 1000 * 1000 };
	int tries;

	for (tries = 0; tries < NETNS_PATIENCE * 20; tries++) {
		nanosleep(&moment, NULL);
		if (!netns_cleanup_runs())
			return;
	}
	tell("netns stuck");
}

/* Errors may be found when RCU frees objects: wait for that. */
static void wait_for_rcu(void)
{
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

static void look_for_leaks(void)
{
	static char text[1 << 20];
	int leaks = 0;
	char *line;

	if (access(KMEMLEAK, W_OK))
		return;
	sleep(KMEMLEAK_AGE);
	/* Only objects that two consecutive scans find unreferenced are reported. */
	if (!write_file(KMEMLEAK, "scan") || !write_file(KMEMLEAK, "scan") ||
	    !read_file(KMEMLEAK, text, sizeof(text))) {
		tell("kmemleak off");
		return;
	}
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		leaks += !strncmp(line, "unreferenced object", 19);
		log_line("<4>%s", line);
	}
	tell("kmemleak %d", leaks);
}

static void tell_changes(const struct state *before)
{
	struct state after;

	look_at_kernel(&after);
	tell("tainted %lu %lu", before->tainted, after.tainted);
	tell("lockdep %d %d", before->lockdep, after.lockdep);
}

static void finish(void)
{
	note_kernel_messages();
	tcdrain(output);
	/* The host compares this with the bytes it has received. */
	tell("done %llu", printed);
	tcdrain(status);
	power_off();
}

int main(void)
{
	struct state before;
	char **command;

	mount_file_systems();
	read_config();
	open_channels();
	tell_kernel();
	set_machine_up();
	command = read_command();
	if (command) {
		look_at_kernel(&before);
		run_command(command);
		end_all_processes();
		wait_for_rcu();
		wait_for_netns_cleanup();
		look_for_leaks();
		tell_changes(&before);
	}
	finish();
}
