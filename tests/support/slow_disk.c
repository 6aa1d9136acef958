/* A disk that is held up: preloaded into a server, its fdatasync waits while the file $SLOW_DISK/held exists, and then
 * notes in $SLOW_DISK/synced how many bytes of the file had been written when it was called: so many are safe. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int fdatasync(int fd) {
    static int (*real)(int);
    char held[PATH_MAX], synced[PATH_MAX];
    struct stat file;
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    snprintf(held, sizeof held, "%s/held", getenv("SLOW_DISK"));
    snprintf(synced, sizeof synced, "%s/synced", getenv("SLOW_DISK"));
    fstat(fd, &file);
    while (access(held, F_OK) == 0) usleep(2000);
    int result = real(fd);
    FILE *note = fopen(synced, "w");
    fprintf(note, "%ld", (long)file.st_size);
    fclose(note);
    return result;
}
