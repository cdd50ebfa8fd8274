/* Lets a process believe that it may use as many cores as the variable CORES says. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <string.h>

int sched_getaffinity(pid_t process, size_t size, cpu_set_t *set) {
    (void)process;
    memset(set, 0, size);
    int cores = atoi(getenv("CORES"));
    for (int core = 0; core < cores; core++)
        CPU_SET_S(core, size, set);
    return 0;
}
