/* Preloaded into a server: the disk is slow, or fails, as a file says that is read before each call.
 *
 * DISK_FAULT names the file: microseconds that a write or a sync takes, and the errno that it ends with (0: none).
 * Without the file the disk is as it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* 1 if the call is to fail. */
static int fault(void) {
    const char *path = getenv("DISK_FAULT");
    char text[64] = "";
    long delay = 0;
    int error = 0;
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) > 0) sscanf(text, "%ld %d", &delay, &error);
    close(file);
    if (delay > 0) usleep((useconds_t)delay);
    errno = error;
    return error != 0;
}

#define FAULTY(result, name, parameters, arguments)                                   \
    result name parameters {                                                          \
        if (fault()) return -1;                                                       \
        result(*real) parameters = (result(*) parameters)dlsym(RTLD_NEXT, #name);     \
        return real arguments;                                                        \
    }

FAULTY(int, fsync, (int fd), (fd))
FAULTY(int, fdatasync, (int fd), (fd))
FAULTY(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
FAULTY(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
