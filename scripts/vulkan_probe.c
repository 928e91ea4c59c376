/* Lists the Vulkan devices of this process, one per line: name, then type.
 * Exit status 1: none, or Vulkan is not usable. It declares the few types it
 * needs itself (the Vulkan specification's layouts), so a C compiler is enough. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct application_info {
    uint32_t type;
    const void *next;
    const char *name;
    uint32_t version;
    const char *engine;
    uint32_t engine_version, api_version;
};

struct instance_info {
    uint32_t type;
    const void *next;
    uint32_t flags;
    const struct application_info *application;
    uint32_t layers;
    const char *const *layer_names;
    uint32_t extensions;
    const char *const *extension_names;
};

/* VkPhysicalDeviceProperties is 824 bytes; the tail is not looked at. */
struct properties {
    uint32_t api, driver, vendor, device, type;
    char name[256];
    uint64_t tail[256];
};

typedef void (*any_fn)(void);
typedef any_fn (*get_fn)(void *, const char *);
typedef int (*create_fn)(const struct instance_info *, const void *, void **);
typedef int (*enumerate_fn)(void *, uint32_t *, void **);
typedef void (*properties_fn)(void *, struct properties *);

static int fail(const char *what, int code) {
    fprintf(stderr, "%s (%d)\n", what, code);
    return 1;
}

int main(void) {
    static const char *const types[] = {"other", "integrated", "discrete", "virtual", "cpu"};
    void *library = dlopen("libvulkan.so.1", RTLD_NOW);
    if (!library)
        return fail(dlerror(), 0);
    get_fn get = (get_fn)dlsym(library, "vkGetInstanceProcAddr");
    create_fn create = get ? (create_fn)get(NULL, "vkCreateInstance") : NULL;
    if (!create)
        return fail("libvulkan.so.1 has no vkCreateInstance", 0);

    struct application_info application = {.type = 0, .api_version = (1u << 22) | (1u << 12)};
    struct instance_info info = {.type = 1, .application = &application};
    void *instance = NULL;
    int result = create(&info, NULL, &instance);
    if (result != 0)
        return fail("vkCreateInstance failed", result);
    enumerate_fn enumerate = (enumerate_fn)get(instance, "vkEnumeratePhysicalDevices");
    properties_fn describe = (properties_fn)get(instance, "vkGetPhysicalDeviceProperties");
    if (!enumerate || !describe)
        return fail("the Vulkan instance lacks its first functions", 0);

    uint32_t count = 32;
    void *devices[32];
    result = enumerate(instance, &count, devices);
    if (result < 0)
        return fail("vkEnumeratePhysicalDevices failed", result);
    for (uint32_t i = 0; i < count; i++) {
        struct properties p = {0};
        describe(devices[i], &p);
        printf("%s (%s)\n", p.name, types[p.type < 5 ? p.type : 0]);
    }
    return count ? 0 : fail("no Vulkan device", 0);
}
