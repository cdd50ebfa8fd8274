/* Preloaded into a process: writes down what it changes below a folder, and when it answers requests.
 *
 * RECORD_ROOT: the folder; nothing outside of it is looked at. RECORD_LOG: the file to write to.
 *
 * A record is written while the lock is held under which the change was made, so that the order in the log is
 * the order in which things happened, in several processes too. A sync has two records: only what was written
 * before it began is certain when it has ended. Nothing is really synced: the log decides what a power cut
 * takes. An answer is recorded before it is sent: what comes later in the log cannot count for it.
 *
 * What is not recorded must not happen: a shared writable mapping, a second descriptor of an open file, or a
 * call that is known here and not recorded, ends the process. What is not known here is noticed by comparing
 * the folder with the log. SQLite's index of its log (-shm) is left out: it is made anew after a crash.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FD 65536
#define PATH_SIZE 4096
#define SYNC_US 1000 /* about what a disk takes, so that others go on meanwhile */
#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

enum { OPEN = 'O', CLOSE = 'C', WRITE = 'W', TRUNCATE = 'T', SYNC_BEGIN = 'b', SYNC_END = 'e', UNLINK = 'U',
       MKDIR = 'M', ANSWER = 'A' };

struct header {
    uint8_t op;
    uint8_t created;
    uint16_t zero;
    int32_t pid;
    int32_t fd;
    uint32_t length; /* of what follows */
    uint64_t offset; /* or a size, or the address of the client that is answered */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint8_t tracked[MAX_FD];
static char root[PATH_SIZE];
static size_t root_length;
static int log_fd = -1;
static pid_t owner;

__attribute__((constructor)) static void start(void) {
    const char *folder = getenv("RECORD_ROOT"), *path = getenv("RECORD_LOG");
    if (!folder || !path) return;
    owner = getpid();
    root_length = strlen(folder);
    memcpy(root, folder, root_length + 1);
    REAL(open);
    int fd = real(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    /* Out of the way of numbers that programs count on. */
    log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 1000);
    close(fd);
}

static void fail(const char *what) {
    fprintf(stderr, "recorder: %s is not recorded\n", what);
    abort();
}

static void lock(void) {
    pthread_mutex_lock(&mutex);
    while (flock(log_fd, LOCK_EX) != 0)
        if (errno != EINTR) fail("the log cannot be locked, and this");
}

static void unlock(void) {
    flock(log_fd, LOCK_UN);
    pthread_mutex_unlock(&mutex);
}

/* The absolute path, if it is one to record. */
static int below(int folder, const char *path, char *whole) {
    if (log_fd < 0) return 0;
    if (path[0] == '/') {
        snprintf(whole, PATH_SIZE, "%s", path);
    } else {
        char link[64], base[PATH_SIZE / 2];
        snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return 0;
        base[length] = 0;
        snprintf(whole, PATH_SIZE, "%s/%s", base, path);
    }
    size_t length = strlen(whole);
    if (length >= 4 && strcmp(whole + length - 4, "-shm") == 0) return 0;
    return strncmp(whole, root, root_length) == 0 && (whole[root_length] == '/' || whole[root_length] == 0);
}

static void note(uint8_t op, int fd, uint64_t offset, const void *data, size_t length, uint8_t created) {
    struct header header = {op, created, 0, owner, fd, (uint32_t)length, offset};
    struct iovec parts[2] = {{&header, sizeof header}, {(void *)data, length}};
    REAL(writev);
    if (real(log_fd, parts, 2) != (ssize_t)(sizeof header + length)) fail("the disk is full, and this");
}

static int is_open(int fd) { return fd >= 0 && fd < MAX_FD && tracked[fd]; }

static int is_tracked(int fd) {
    if (!is_open(fd)) return 0;
    if (getpid() != owner) fail("what a forked process does");
    return 1;
}

/* Opening and closing */

static int has_mode(int flags) { return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE; }

static int opened(int folder, const char *path, int flags, mode_t mode) {
    REAL(openat);
    char whole[PATH_SIZE];
    if (!below(folder, path, whole)) return real(folder, path, flags, mode);
    if ((flags & O_TMPFILE) == O_TMPFILE) fail("a file without a name");
    if (getpid() != owner) fail("what a forked process opens");
    lock();
    struct stat status;
    int existed = fstatat(folder, path, &status, 0) == 0;
    int fd = real(folder, path, flags, mode), error = errno;
    if (fd >= MAX_FD) fail("a descriptor so high");
    if (fd >= 0) {
        tracked[fd] = 1;
        note(OPEN, fd, 0, whole, strlen(whole), !existed);
        if (existed && (flags & O_TRUNC)) note(TRUNCATE, fd, 0, "", 0, 0);
    }
    unlock();
    errno = error;
    return fd;
}

#define MODE                                                          \
    mode_t mode = 0;                                                  \
    if (has_mode(flags)) {                                            \
        va_list rest;                                                 \
        va_start(rest, flags);                                        \
        mode = va_arg(rest, mode_t);                                  \
        va_end(rest);                                                 \
    }
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags, mode); }

int close(int fd) {
    REAL(close);
    /* What a process that was forked closes, its parent keeps open; it may even share our memory. */
    if (!is_open(fd) || getpid() != owner) return real(fd);
    lock();
    tracked[fd] = 0;
    note(CLOSE, fd, 0, "", 0, 0);
    int result = real(fd), error = errno;
    unlock();
    errno = error;
    return result;
}

/* Changing files */

static ssize_t written(int fd, const void *data, size_t count, off64_t offset) {
    REAL(pwrite64);
    if (!is_tracked(fd)) return real(fd, data, count, offset);
    lock();
    ssize_t result = real(fd, data, count, offset);
    int error = errno;
    if (result > 0) note(WRITE, fd, (uint64_t)offset, data, (size_t)result, 0);
    unlock();
    errno = error;
    return result;
}
ssize_t pwrite(int fd, const void *data, size_t count, off_t offset) { return written(fd, data, count, offset); }
ssize_t pwrite64(int fd, const void *data, size_t count, off64_t offset) { return written(fd, data, count, offset); }

static int truncated(int fd, off64_t size) {
    REAL(ftruncate64);
    if (!is_tracked(fd)) return real(fd, size);
    lock();
    int result = real(fd, size), error = errno;
    if (result == 0) note(TRUNCATE, fd, (uint64_t)size, "", 0, 0);
    unlock();
    errno = error;
    return result;
}
int ftruncate(int fd, off_t size) { return truncated(fd, size); }
int ftruncate64(int fd, off64_t size) { return truncated(fd, size); }

/* It is as if the file was made longer. */
static int allocated(int fd, off64_t offset, off64_t length) {
    REAL(posix_fallocate64);
    if (!is_tracked(fd)) return real(fd, offset, length);
    lock();
    int error = real(fd, offset, length);
    struct stat status;
    if (fstat(fd, &status) != 0) fail("a file without a size");
    note(TRUNCATE, fd, (uint64_t)status.st_size, "", 0, 0);
    unlock();
    return error;
}
int posix_fallocate(int fd, off_t offset, off_t length) { return allocated(fd, offset, length); }
int posix_fallocate64(int fd, off64_t offset, off64_t length) { return allocated(fd, offset, length); }

static int synced(int fd, int (*real)(int)) {
    if (!is_tracked(fd)) return log_fd < 0 ? real(fd) : 0;
    lock();
    note(SYNC_BEGIN, fd, 0, "", 0, 0);
    unlock();
    usleep(SYNC_US);
    lock();
    note(SYNC_END, fd, 0, "", 0, 0);
    unlock();
    return 0;
}
int fsync(int fd) { REAL(fsync); return synced(fd, real); }
int fdatasync(int fd) { REAL(fdatasync); return synced(fd, real); }

/* Names */

static int named(uint8_t op, int folder, const char *path, int (*act)(int, const char *, int), int argument) {
    char whole[PATH_SIZE];
    if (!below(folder, path, whole)) return act(folder, path, argument);
    lock();
    int result = act(folder, path, argument), error = errno;
    if (result == 0) note(op, -1, 0, whole, strlen(whole), 0);
    unlock();
    errno = error;
    return result;
}
static int real_unlinkat(int folder, const char *path, int flags) { REAL(unlinkat); return real(folder, path, flags); }
static int real_mkdirat(int folder, const char *path, int mode) { REAL(mkdirat); return real(folder, path, (mode_t)mode); }
int unlink(const char *path) { return named(UNLINK, AT_FDCWD, path, real_unlinkat, 0); }
int unlinkat(int folder, const char *path, int flags) { return named(UNLINK, folder, path, real_unlinkat, flags); }
int mkdir(const char *path, mode_t mode) { return named(MKDIR, AT_FDCWD, path, real_mkdirat, (int)mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return named(MKDIR, folder, path, real_mkdirat, (int)mode); }

/* Answers: each goes out in one call that begins with it. */

static void answered(int fd, const void *data, size_t count) {
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;
    if (log_fd < 0 || count < 10 || memcmp(data, "HTTP/1.1 ", 9) != 0 || ((const char *)data)[9] == '1') return;
    if (getpeername(fd, (struct sockaddr *)&peer, &size) != 0 || peer.sin_family != AF_INET) return;
    lock();
    note(ANSWER, fd, ntohl(peer.sin_addr.s_addr), "", 0, 0);
    unlock();
}

ssize_t write(int fd, const void *data, size_t count) {
    REAL(write);
    if (is_tracked(fd)) fail("write");
    answered(fd, data, count);
    return real(fd, data, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (is_tracked(fd)) fail("writev");
    if (count > 0) answered(fd, parts[0].iov_base, parts[0].iov_len);
    return real(fd, parts, count);
}

ssize_t send(int fd, const void *data, size_t count, int flags) {
    REAL(send);
    answered(fd, data, count);
    return real(fd, data, count, flags);
}

/* What is not recorded */

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
    REAL(mmap64);
    if (is_tracked(fd) && (flags & MAP_SHARED) && (protection & PROT_WRITE)) fail("a shared mapping");
    return real(address, length, protection, flags, fd, offset);
}
void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap64(address, length, protection, flags, fd, offset);
}

#define CONTROL(name)                                                 \
    int name(int fd, int command, ...) {                              \
        REAL(name);                                                   \
        va_list rest;                                                 \
        va_start(rest, command);                                      \
        void *argument = va_arg(rest, void *);                        \
        va_end(rest);                                                 \
        if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && is_tracked(fd)) fail(#name); \
        return real(fd, command, argument);                           \
    }
CONTROL(fcntl)
CONTROL(fcntl64)

#define REFUSED(name, result, declared, called, is_refused)           \
    result name declared {                                            \
        REAL(name);                                                   \
        char whole[PATH_SIZE];                                        \
        (void)whole;                                                  \
        if (is_refused) fail(#name);                                  \
        return real called;                                           \
    }
#define IS_BELOW(path) below(AT_FDCWD, path, whole)
REFUSED(dup, int, (int fd), (fd), is_tracked(fd))
REFUSED(dup2, int, (int fd, int other), (fd, other), is_tracked(fd) || is_tracked(other))
REFUSED(dup3, int, (int fd, int other, int flags), (fd, other, flags), is_tracked(fd) || is_tracked(other))
REFUSED(pwritev, ssize_t, (int fd, const struct iovec *parts, int count, off_t offset), (fd, parts, count, offset),
        is_tracked(fd))
REFUSED(pwritev64, ssize_t, (int fd, const struct iovec *parts, int count, off64_t offset), (fd, parts, count, offset),
        is_tracked(fd))
REFUSED(copy_file_range, ssize_t, (int from, off64_t *start, int fd, off64_t *offset, size_t length, unsigned flags),
        (from, start, fd, offset, length, flags), is_tracked(fd))
REFUSED(fallocate, int, (int fd, int mode, off_t offset, off_t length), (fd, mode, offset, length), is_tracked(fd))
REFUSED(fallocate64, int, (int fd, int mode, off64_t offset, off64_t length), (fd, mode, offset, length),
        is_tracked(fd))
REFUSED(sync_file_range, int, (int fd, off64_t offset, off64_t length, unsigned flags), (fd, offset, length, flags),
        is_tracked(fd))
REFUSED(syncfs, int, (int fd), (fd), is_tracked(fd))
REFUSED(truncate, int, (const char *path, off_t size), (path, size), IS_BELOW(path))
REFUSED(truncate64, int, (const char *path, off64_t size), (path, size), IS_BELOW(path))
REFUSED(rmdir, int, (const char *path), (path), IS_BELOW(path))
REFUSED(rename, int, (const char *old, const char *new), (old, new), IS_BELOW(old) || IS_BELOW(new))
REFUSED(renameat, int, (int from, const char *old, int to, const char *new), (from, old, to, new),
        below(from, old, whole) || below(to, new, whole))
REFUSED(link, int, (const char *old, const char *new), (old, new), IS_BELOW(old) || IS_BELOW(new))
REFUSED(symlink, int, (const char *old, const char *new), (old, new), IS_BELOW(new))
