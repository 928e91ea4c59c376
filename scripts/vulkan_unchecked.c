/*
 * Stands in the place of the Vulkan loader and opens devices without robust buffer
 * access: `scripts/bounds.sh` puts it before the real one, whose path is in
 * REAL_VULKAN. Vulkan's validation layer reports what a shader reads or writes outside
 * of its buffers only where the driver does not confine it.
 *
 * Structures and numbers are of the Vulkan specification, 1.4: VkDeviceCreateInfo,
 * VkPhysicalDeviceFeatures2 and VkPhysicalDeviceRobustness2Features. In the features of
 * Vulkan 1.0, `robustBufferAccess` is the first.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*function)(void);

struct chained {
    int32_t type;
    const struct chained *next;
};

struct device_create_info {
    int32_t type;
    const struct chained *next;
    uint32_t flags;
    uint32_t queue_count;
    const void *queues;
    uint32_t layer_count;
    const char *const *layers;
    uint32_t extension_count;
    const char *const *extensions;
    uint32_t *features;
};

enum { FEATURES_2 = 1000059000, ROBUSTNESS_2 = 1000286000 };

static void *loader;
static function (*real_instance_function)(void *, const char *);
static int32_t (*real_create_device)(void *, const struct device_create_info *, const void *, void **);

static void load(void) {
    if (loader)
        return;
    const char *path = getenv("REAL_VULKAN");
    loader = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!loader) {
        fprintf(stderr, "REAL_VULKAN is not the path of a Vulkan loader: %s\n", path ? dlerror() : "not set");
        exit(1);
    }
    real_instance_function = (function(*)(void *, const char *))dlsym(loader, "vkGetInstanceProcAddr");
}

/* The caller's structures are changed: they live no longer than this call. */
static int32_t create_device(void *adapter, const struct device_create_info *info, const void *allocator,
                             void **device) {
    if (info->features)
        info->features[0] = 0;
    for (const struct chained *next = info->next; next; next = next->next) {
        uint32_t *flags = (uint32_t *)(next + 1);
        if (next->type == FEATURES_2)
            flags[0] = 0;
        if (next->type == ROBUSTNESS_2)
            flags[0] = flags[1] = 0;
    }
    return real_create_device(adapter, info, allocator, device);
}

function vkGetInstanceProcAddr(void *instance, const char *name) {
    load();
    function found = real_instance_function(instance, name);
    if (!found || strcmp(name, "vkCreateDevice") != 0)
        return found;
    real_create_device =
        (int32_t(*)(void *, const struct device_create_info *, const void *, void **))found;
    return (function)create_device;
}
