/* SPDX-License-Identifier: Apache-2.0
 *
 * The participant of sagas.py: a service on libficus that answers each step at once and keeps nothing, so that what is
 * measured is the engine. Of each last step it tells the load, by a byte into the named pipe of the setting "tell".
 */
#include <ficus/ficus.h>

#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

static int step(struct ficus_req *req)
{
    return ficus_reply_empty(req, 204);
}

static int last(struct ficus_req *req)
{
    /* Full: the load is gone, and needs to hear of nothing. */
    if (write((int)(intptr_t)ficus_data(req), "", 1) != 1)
        ficus_log(req, "warn", "bench.tell", "the load does not read");
    return ficus_reply_empty(req, 204);
}

static int start(struct ficus_req *req)
{
    const char *path = ficus_setting(req, "tell");
    /* Also for reading: opening does not wait, and there is always an end that reads. */
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return ficus_problem(req, 500, "tell", "settings.tell must name a pipe");
    ficus_set_data(req, (void *)(intptr_t)fd);
    return 0;
}

static void stop(void *data)
{
    close((int)(intptr_t)data);
}

int main(int argc, char **argv)
{
    static const struct ficus_route routes[] = {
        {.method = "PUT", .path = "/v1/first/{id}", .handler = step},
        {.method = "DELETE", .path = "/v1/first/{id}", .handler = step},
        {.method = "PUT", .path = "/v1/second/{id}", .handler = step},
        {.method = "DELETE", .path = "/v1/second/{id}", .handler = step},
        {.method = "PUT", .path = "/v1/third/{id}", .handler = last},
        {0},
    };
    static const struct ficus_service service = {.name = "participant", .routes = routes, .start = start, .stop = stop};
    return ficus_main(&service, argc, argv);
}
