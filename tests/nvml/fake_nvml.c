/* The part of NVIDIA's NVML that launcher/supervisor/readings/gpus.py asks for, playing readings from the file that FAKE_NVML names.
 *
 * Lines of `key value`: `count 2`, `0.util 87`, `1.power lost`. A value may also be `unsupported`, `lost`, or `hang`, which
 * never returns. The file is read again at each call, so that a test can let time pass. Xid errors are told once: `0.xid 79`
 * is an event when the line `xid_serial N` has a new N.
 *
 * cc -shared -fPIC -o libnvidia-ml.so.1 fake_nvml.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TIMEOUT = 10, GPU_IS_LOST = 15, UNKNOWN = 999 };

struct device { int index; };
static struct device devices[16];

struct utilization { unsigned int gpu, memory; };
struct memory { unsigned long long total, free, used; };
struct event { struct device *device; unsigned long long type, data; unsigned int gpu_instance, compute_instance; };

/* The value of a key; what the call is to return. */
static int lookup(const char *key, char *value, size_t size)
{
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512];
    int found = UNSUPPORTED;
    if (!file)
        return UNKNOWN;
    while (fgets(line, sizeof line, file)) {
        size_t length = strlen(key);
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, size, "%s", line + length + 1);
            found = SUCCESS;
        }
    }
    fclose(file);
    if (found != SUCCESS)
        return found;
    if (strcmp(value, "hang") == 0)
        for (;;)
            pause();
    if (strcmp(value, "lost") == 0)
        return GPU_IS_LOST;
    if (strcmp(value, "unsupported") == 0)
        return UNSUPPORTED;
    return SUCCESS;
}

static int text_of(struct device *device, const char *name, char *value, unsigned int size)
{
    char key[64];
    snprintf(key, sizeof key, "%d.%s", device->index, name);
    return lookup(key, value, size);
}

static int number_of(struct device *device, const char *name, unsigned long long *number)
{
    char value[256];
    int code = text_of(device, name, value, sizeof value);
    if (code == SUCCESS)
        *number = strtoull(value, NULL, 0);
    return code;
}

static int count_of(void)
{
    char value[256];
    return lookup("count", value, sizeof value) == SUCCESS ? atoi(value) : 0;
}

int nvmlInitWithFlags(unsigned int flags)
{
    char value[256];
    int code = lookup("init", value, sizeof value);
    (void)flags;
    return code == SUCCESS ? atoi(value) : code == UNSUPPORTED ? SUCCESS : code;
}

int nvmlShutdown(void) { return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    *count = count_of();
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, struct device **device)
{
    char key[64], value[256];
    if ((int)index >= count_of() || index >= 16)
        return INVALID;
    snprintf(key, sizeof key, "%u.handle", index);
    if (lookup(key, value, sizeof value) == GPU_IS_LOST)
        return GPU_IS_LOST;
    devices[index].index = index;
    *device = &devices[index];
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, struct device **device)
{
    char value[256];
    int count = count_of();
    for (int index = 0; index < count && index < 16; index++) {
        devices[index].index = index;
        if (text_of(&devices[index], "uuid", value, sizeof value) == SUCCESS && strcmp(value, uuid) == 0) {
            *device = &devices[index];
            return SUCCESS;
        }
    }
    return NOT_FOUND;
}

int nvmlDeviceGetName(struct device *device, char *name, unsigned int size) { return text_of(device, "name", name, size); }

int nvmlDeviceGetUUID(struct device *device, char *uuid, unsigned int size) { return text_of(device, "uuid", uuid, size); }

int nvmlDeviceGetIndex(struct device *device, unsigned int *index)
{
    *index = device->index;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(struct device *device, struct utilization *rates)
{
    unsigned long long number = 0;
    int code = number_of(device, "util", &number);
    rates->gpu = number;
    rates->memory = 0;
    return code;
}

int nvmlDeviceGetMemoryInfo(struct device *device, struct memory *memory)
{
    int code = number_of(device, "memory_total", &memory->total);
    if (code == SUCCESS)
        code = number_of(device, "memory_used", &memory->used);
    memory->free = memory->total - memory->used;
    return code;
}

static int small(struct device *device, const char *name, unsigned int *number)
{
    unsigned long long value = 0;
    int code = number_of(device, name, &value);
    *number = value;
    return code;
}

int nvmlDeviceGetPowerUsage(struct device *device, unsigned int *power) { return small(device, "power", power); }

int nvmlDeviceGetEnforcedPowerLimit(struct device *device, unsigned int *limit)
{
    return small(device, "power_limit", limit);
}

int nvmlDeviceGetTemperature(struct device *device, unsigned int sensor, unsigned int *temperature)
{
    return sensor == 0 ? small(device, "temperature", temperature) : INVALID;
}

#ifndef OLD_DRIVER
int nvmlDeviceGetCurrentClocksEventReasons(struct device *device, unsigned long long *reasons)
{
    return number_of(device, "throttle", reasons);
}
#endif

int nvmlDeviceGetCurrentClocksThrottleReasons(struct device *device, unsigned long long *reasons)
{
    return number_of(device, "throttle", reasons);
}

int nvmlDeviceGetTotalEccErrors(struct device *device, int type, int counter, unsigned long long *count)
{
    return type == 1 && counter == 0 ? number_of(device, "ecc", count) : INVALID;
}

int nvmlEventSetCreate(int **set)
{
    static int the_set;
    char value[256];
    *set = &the_set;
    return lookup("events", value, sizeof value);
}

int nvmlDeviceRegisterEvents(struct device *device, unsigned long long types, int *set)
{
    (void)device;
    return types == 8 && set ? SUCCESS : INVALID;
}

int nvmlEventSetWait_v2(int *set, struct event *event, unsigned int timeout)
{
    static long told;
    char value[256];
    int count = count_of();
    (void)set;
    (void)timeout;
    if (lookup("xid_serial", value, sizeof value) != SUCCESS || atol(value) == told)
        return TIMEOUT;
    for (int index = 0; index < count && index < 16; index++)
        if (number_of(&devices[index], "xid", &event->data) == SUCCESS) {
            told = atol(value);
            event->device = &devices[index];
            event->type = 8;
            return SUCCESS;
        }
    return TIMEOUT;
}
