/* A preloaded library that writes down, for each file of a process, up to which length it was synced. After the
 * process has been killed, the test cuts every file to that length: what a power cut leaves at the least.
 * Lines: "S <size> <path>" after fsync or fdatasync, "R <old>\t<new>" after rename. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void record(const char *line, size_t length) {
    const char *path = getenv("UNSYNCED_RECORD");
    if (path == NULL) return;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return;
    if (write(fd, line, length) < 0) abort();
    close(fd);
}

static void synced(int fd) {
    char link[64], path[PATH_MAX], line[PATH_MAX + 64];
    struct stat state;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0 || fstat(fd, &state) != 0 || !S_ISREG(state.st_mode)) return;
    path[length] = 0;
    int n = snprintf(line, sizeof line, "S %lld %s\n", (long long)state.st_size, path);
    record(line, (size_t)n);
}

int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    int result = real(fd);
    if (result == 0) synced(fd);
    return result;
}

int fdatasync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    int result = real(fd);
    if (result == 0) synced(fd);
    return result;
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    int result = real(from, to);
    if (result == 0) {
        char line[2 * PATH_MAX + 8];
        int n = snprintf(line, sizeof line, "R %s\t%s\n", from, to);
        record(line, (size_t)n);
    }
    return result;
}
