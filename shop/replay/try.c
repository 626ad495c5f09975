/* SPDX-License-Identifier: Apache-2.0 */
#include "replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BACKOFF_MS_MIN = 100,
    BACKOFF_MS_MAX = 2000,
    REQUEST_TIMEOUT_MS = 20000,
    SIGN_IN_WAIT_MS = 200,
    RETRY_AFTER_S_MAX = 10
};

struct
try {
    struct run *run;
    struct try_request request;
    void (*done)(void *arg, const struct outcome *o);
    void *arg;
    unsigned tries;
    int64_t begun_us, tried_ms;
};

static void try_once(void *arg);

/* Jitter only spreads load; its quality does not matter. */
static int64_t jitter(int64_t max)
{
    return max <= 0 ? 0 : random() % (max + 1);
}

int64_t try_backoff_ms(unsigned tries, int retry_after_s)
{
    if (retry_after_s >= 0) {
        int64_t s = retry_after_s > RETRY_AFTER_S_MAX ? RETRY_AFTER_S_MAX : retry_after_s;
        return s * 1000 + jitter(BACKOFF_MS_MIN);
    }
    int64_t ceiling = tries >= 6 ? BACKOFF_MS_MAX : (int64_t)BACKOFF_MS_MIN << (tries - 1);
    ceiling = ceiling > BACKOFF_MS_MAX ? BACKOFF_MS_MAX : ceiling;
    return ceiling / 2 + jitter(ceiling / 2);
}

bool try_is_open(const struct ficus_client_answer *a)
{
    return a->status == 0 || a->status >= 500 || a->status == 429 || a->status == 408 || a->status == 425 ||
           (a->status == 409 && a->retry_after_s >= 0);
}

void try_note(struct run *run, const char *kind, int64_t begun_ms, int status)
{
    if (run->requests != NULL && kind != NULL)
        fprintf(run->requests, "%lld %lld %s %d\n", (long long)begun_ms, (long long)wall_ms(), kind, status);
}

static void try_end(struct try *t, const struct outcome *o)
{
    t->run->open--;
    t->done(t->arg, o);
    if (t->request.body != NULL)
        explicit_bzero(t->request.body, strlen(t->request.body));
    free(t->request.path);
    free(t->request.body);
    free(t);
}

static void try_again(struct try *t, int64_t wait_ms, const char *error)
{
    int64_t spent_ms = (ficus_client_now_us(t->run->client) - t->begun_us) / 1000;
    if (spent_ms + wait_ms > t->run->options.patience_ms) {
        try_end(t, &(struct outcome){.error = error, .tries = t->tries});
        return;
    }
    t->run->retries++;
    if (ficus_client_after(t->run->client, wait_ms, try_once, t) != 0)
        die("out of memory");
}

static void try_answered(void *arg, const struct ficus_client_answer *a)
{
    struct try *t = arg;
    t->run->on_the_wire--;
    try_note(t->run, t->request.kind, t->tried_ms, a->status);
    if (t->request.statuses != NULL)
        text_printf(t->request.statuses, "%s%d", t->request.statuses->size == 0 ? "" : ",", a->status);
    if (try_is_open(a)) {
        char said[64];
        snprintf(said, sizeof said, "answered %d", a->status);
        try_again(t, try_backoff_ms(t->tries, a->retry_after_s), a->error == NULL ? said : a->error);
    } else if (a->status == 401 && t->request.user != NULL) {
        if (!t->request.user->signing_in)
            user_sign_in(t->request.user, NULL, NULL);
        try_again(t, SIGN_IN_WAIT_MS + try_backoff_ms(t->tries, -1), "answered 401");
    } else {
        try_end(t, &(struct outcome){a->status, a->body, a->location, NULL, t->tries});
    }
}

static void try_once(void *arg)
{
    struct try *t = arg;
    const struct try_request *q = &t->request;
    const struct ficus_client_request r = {
        .method = q->method,
        .path = q->path,
        .body = q->body,
        .authorization = q->user == NULL ? NULL : q->user->authorization,
        .key = q->key,
        .timeout_ms = REQUEST_TIMEOUT_MS,
    };
    t->tries++;
    t->tried_ms = wall_ms();
    t->run->on_the_wire++;
    if (ficus_client_send(t->run->client, &r, try_answered, t) != 0)
        die("%s %s cannot be sent", q->method, q->path);
}

void try_send(struct run *run, const struct try_request *q, void (*done)(void *arg, const struct outcome *o), void *arg)
{
    struct try *t = util_alloc(sizeof *t);
    *t = (struct try){
        .run = run, .request = *q, .done = done, .arg = arg, .begun_us = ficus_client_now_us(run->client)};
    run->open++;
    try_once(t);
}

/* ---- signing in ---- */

struct sign_in {
    struct user *user;
    void (*done)(void *arg, const struct outcome *o);
    void *arg;
};

static void signed_in(void *arg, const struct outcome *o)
{
    struct sign_in *s = arg;
    struct user *u = s->user;
    u->signing_in = false;
    if (o->status == 201) {
        struct ficus_doc *d = ficus_doc_parse(o->body);
        const char *token = d == NULL ? NULL : ficus_doc_str(d, ficus_json_get(ficus_doc_root(d), "token"));
        if (token != NULL) {
            free(u->authorization);
            u->authorization = util_printf("Bearer %s", token);
        }
        ficus_doc_free(d);
    }
    if (s->done != NULL)
        s->done(s->arg, o);
    free(s);
}

void user_sign_in(struct user *u, void (*done)(void *arg, const struct outcome *o), void *arg)
{
    struct sign_in *s = util_alloc(sizeof *s);
    *s = (struct sign_in){u, done, arg};
    u->signing_in = true;
    struct text body = {0};
    text_str(&body, "{\"email\":");
    text_json(&body, u->email);
    text_str(&body, ",\"password\":");
    text_json(&body, u->password);
    text_str(&body, "}");
    try_send(u->run, &(struct try_request){.method = "POST", .path = util_strdup("/api/v1/sessions"), .body = body.p},
             signed_in, s);
}
