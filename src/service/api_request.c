/* SPDX-License-Identifier: Apache-2.0
 *
 * What a handler may ask about its request or event.
 */
#include "service_impl.h"

#include "timefmt.h"

const char *ficus_param(struct ficus_req *req, const char *name)
{
    if (req->route == NULL || name == NULL)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < req->route->segment_count; i++) {
        if (!req->route->segments[i].is_param)
            continue;
        if (slice_eq_str(req->route->segments[i].text, name))
            return req->params[n].p;
        n++;
    }
    return NULL;
}

const char *ficus_query_param(struct ficus_req *req, const char *name)
{
    bool ok = true;
    if (req->query.p == NULL || name == NULL)
        return NULL;
    struct slice value = http_query_get(req->query, name, &req->arena, &ok);
    if (!ok || value.p == NULL || (value.size > 0 && memchr(value.p, '\0', value.size) != NULL))
        return NULL;
    return arena_strdup(&req->arena, value);
}

const char *ficus_header(struct ficus_req *req, const char *name)
{
    struct slice wanted = slice_str(name);
    for (size_t i = 0; name != NULL && i < req->field_count; i++)
        if (slice_eq_nocase(req->fields[i].name, wanted))
            return req->fields[i].value.p;
    return NULL;
}

const char *ficus_user(struct ficus_req *req)
{
    return req->user;
}

bool ficus_has_role(struct ficus_req *req, const char *role)
{
    for (size_t i = 0; role != NULL && i < req->role_count; i++)
        if (slice_eq_str(req->roles[i], role))
            return true;
    return false;
}

const char *ficus_caller(struct ficus_req *req)
{
    return req->caller;
}

const struct ficus_json *ficus_body(struct ficus_req *req)
{
    /* Behind a NUL the rest would go unseen. */
    if (req->body_json == NULL && (req->body_size == 0 || memchr(req->body, '\0', req->body_size) == NULL))
        req->body_json = ficus_json_parse(req, req->body);
    if (req->body_json == NULL && !req->is_failed) {
        if (req->body_size == 0)
            answer_problem(req, 400, "json", "this needs a JSON body");
        else
            answer_problem(req, 400, "json", "the body is not valid JSON");
    }
    return req->body_json;
}

const char *ficus_event_topic(struct ficus_req *req)
{
    return req->event.topic.p;
}

const char *ficus_event_subject(struct ficus_req *req)
{
    return req->event.subject.p;
}

const char *ficus_event_id(struct ficus_req *req)
{
    return req->event.id.p;
}

int64_t ficus_event_time_ms(struct ficus_req *req)
{
    int64_t ms = 0;
    return req->event.time.p != NULL && time_parse(req->event.time, &ms) ? ms : 0;
}
