/* SPDX-License-Identifier: Apache-2.0
 *
 * shop-replay: pushes real invoices through the shop's gateway, as its customers would, and writes down what was
 * answered. Whether the shop did right is for reconcile.py to say, which shares no code with it.
 */
#include "replay.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const char usage_text[] =
    "Usage: shop-replay --file CSV[.gz] --admin FILE [options]\n"
    "  --file FILE      the invoices\n"
    "  --admin FILE     admin.json of the shop's state folder\n"
    "  --url URL        the gateway (default http://127.0.0.1:8080); with https SSL_CERT_FILE names whom to believe\n"
    "  --rate R         orders a second, or \"max\" (default 40)\n"
    "  --bunch N        so many arrive at once; the rate stays (default 1)\n"
    "  --loops N        play the file N times with fresh keys (default 1)\n"
    "  --conns N        connections at once; with --rate max also orders at once (default 256, max: 64)\n"
    "  --visits P%      share of the orders that come with a search, a cart and a watched event stream (default 100%)\n"
    "  --streams N      event streams at once, on connections of their own (default 2048)\n"
    "  --seed N         of the seeded cancellations (default 1)\n"
    "  --invoices N     as if the file ended behind its N-th invoice\n"
    "  --patience S     repeat a request for at most so many seconds (default 120)\n"
    "  --run FILE       where to write what was answered, with passwords (default build/replay-run.json)\n"
    "  --status FILE    rewrite this small JSON file every 25 ms\n"
    "  --requests FILE  write a line for each request of the orders: begin and end in ms, kind, status\n"
    "  --load-only      bring in products and stock, place no orders\n"
    "  --plan           print what the file means as JSON and talk to no shop\n"
    "  --quiet          no progress line\n"
    "SIGINT or SIGTERM ends the orders; what is under way is finished; a second one ends that too.\n";

enum option_id {
    O_FILE = 256,
    O_ADMIN,
    O_URL,
    O_RATE,
    O_BUNCH,
    O_LOOPS,
    O_CONNS,
    O_SEED,
    O_INVOICES,
    O_PATIENCE,
    O_RUN,
    O_STATUS,
    O_VISITS,
    O_STREAMS,
    O_REQUESTS,
    O_LOAD,
    O_PLAN,
    O_QUIET,
    O_HELP
};

static const struct option long_options[] = {
    {"file", required_argument, NULL, O_FILE},
    {"admin", required_argument, NULL, O_ADMIN},
    {"url", required_argument, NULL, O_URL},
    {"rate", required_argument, NULL, O_RATE},
    {"bunch", required_argument, NULL, O_BUNCH},
    {"loops", required_argument, NULL, O_LOOPS},
    {"conns", required_argument, NULL, O_CONNS},
    {"seed", required_argument, NULL, O_SEED},
    {"invoices", required_argument, NULL, O_INVOICES},
    {"patience", required_argument, NULL, O_PATIENCE},
    {"run", required_argument, NULL, O_RUN},
    {"status", required_argument, NULL, O_STATUS},
    {"visits", required_argument, NULL, O_VISITS},
    {"streams", required_argument, NULL, O_STREAMS},
    {"requests", required_argument, NULL, O_REQUESTS},
    {"load-only", no_argument, NULL, O_LOAD},
    {"plan", no_argument, NULL, O_PLAN},
    {"quiet", no_argument, NULL, O_QUIET},
    {"help", no_argument, NULL, O_HELP},
    {NULL, 0, NULL, 0},
};

static void usage_error(const char *what, const char *value)
{
    fprintf(stderr, "shop-replay: %s: %s\n%s", what, value, usage_text);
    exit(2);
}

static uint64_t number_read(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || n < min || n > max)
        usage_error(name, text);
    return n;
}

static double rate_read(const char *text)
{
    char *end;
    if (strcmp(text, "max") == 0)
        return 0;
    double rate = strtod(text, &end);
    if (*end != '\0' || !(rate > 0 && rate <= 1e6))
        usage_error("--rate", text);
    return rate;
}

static unsigned percent_read(const char *text)
{
    char number[4];
    size_t size = strlen(text);
    if (size < 2 || size > sizeof number || text[size - 1] != '%')
        usage_error("--visits", text);
    memcpy(number, text, size - 1);
    number[size - 1] = '\0';
    return (unsigned)number_read("--visits", number, 0, 100);
}

static void option_take(struct options *o, int id, const char *value)
{
    switch (id) {
    case O_FILE:
        o->file = value;
        break;
    case O_ADMIN:
        o->admin_path = value;
        break;
    case O_URL:
        o->url = value;
        break;
    case O_RATE:
        o->rate = rate_read(value);
        break;
    case O_BUNCH:
        o->bunch = number_read("--bunch", value, 1, 1000);
        break;
    case O_LOOPS:
        o->loops = (int64_t)number_read("--loops", value, 1, 10000);
        break;
    case O_CONNS:
        o->conns = number_read("--conns", value, 1, 1024);
        break;
    case O_SEED:
        o->seed = number_read("--seed", value, 0, UINT64_MAX);
        break;
    case O_INVOICES:
        o->invoices_max = number_read("--invoices", value, 1, 100000000);
        break;
    case O_PATIENCE:
        o->patience_ms = (int64_t)number_read("--patience", value, 1, 86400) * 1000;
        break;
    case O_RUN:
        o->run_path = value;
        break;
    case O_STATUS:
        o->status_path = value;
        break;
    case O_VISITS:
        o->visits_percent = percent_read(value);
        break;
    case O_STREAMS:
        o->streams_max = number_read("--streams", value, 1, 3072);
        break;
    case O_REQUESTS:
        o->requests_path = value;
        break;
    case O_LOAD:
        o->load_only = true;
        break;
    case O_PLAN:
        o->plan_only = true;
        break;
    case O_QUIET:
        o->quiet = true;
        break;
    case O_HELP:
        fputs(usage_text, stdout);
        exit(0);
    default:
        fputs(usage_text, stderr);
        exit(2);
    }
}

static void options_read(struct options *o, int argc, char **argv)
{
    *o = (struct options){.url = "http://127.0.0.1:8080",
                          .rate = 40,
                          .bunch = 1,
                          .loops = 1,
                          .seed = 1,
                          .visits_percent = 100,
                          .streams_max = 2048,
                          .patience_ms = 120000,
                          .run_path = "build/replay-run.json"};
    int id;
    while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        option_take(o, id, optarg);
    if (optind < argc)
        usage_error("unexpected", argv[optind]);
    if (o->file == NULL)
        usage_error("missing", "--file");
    if (o->admin_path == NULL && !o->plan_only)
        usage_error("missing", "--admin");
    if (o->conns == 0)
        o->conns = o->rate > 0 ? 256 : 64;
}

static bool play(struct run *run)
{
    report_begin(run);
    if (!setup_admin(run))
        return false;
    report_begin(run);
    if (!setup_products(run))
        return false;
    if (run->options.load_only)
        return true;
    report_begin(run);
    if (!setup_users(run) || run->stopping)
        return false;
    orders_prepare(run);
    report_begin(run);
    orders_run(run);
    return true;
}

static void run_free(struct run *run)
{
    ficus_client_free(run->client);
    for (size_t i = 0; i < run->job_count; i++) {
        free(run->jobs[i].key);
        free(run->jobs[i].id);
        free(run->jobs[i].error);
        free(run->jobs[i].cancel_key);
        free(run->jobs[i].cancel_error);
        text_done(&run->jobs[i].statuses);
        text_done(&run->jobs[i].watch.events);
        free(run->jobs[i].watch.error);
    }
    for (size_t i = 0; run->users != NULL && i < run->plan.user_count; i++) {
        free(run->users[i].email);
        free(run->users[i].password);
        free(run->users[i].authorization);
    }
    free(run->admin.email);
    free(run->admin.password);
    free(run->admin.authorization);
    free(run->users);
    free(run->jobs);
    free(run->arrivals);
    free(run->latencies.us);
    free(run->searches.times.us);
    free(run->carts.times.us);
    free(run->watches.times.us);
    plan_free(&run->plan);
}

static int plan_print(const struct run *run)
{
    struct text t = {0};
    plan_write(&run->plan, &t);
    fwrite(t.p, 1, t.size, stdout);
    text_done(&t);
    return 0;
}

/* Each connection is an open file, and a shell allows 1,024 of them when nobody asks for more. */
static void files_raise(size_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("cannot raise the limit of open files: %s", strerror(errno));
}

static bool all_well(const struct run *run)
{
    const struct errands *all[] = {&run->searches, &run->carts, &run->watches};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]->wrong + all[i]->failed > 0)
            return false;
    return run->failed == 0 && run->cancels_failed == 0;
}

static int replay(struct run *run)
{
    size_t conns = run->options.conns + run->options.streams_max;
    files_raise(conns + 64);
    random_hex(run->id, 8);
    run->started_ms = wall_ms();
    run->phase = "start";
    run->client = ficus_client_new(run->options.url, conns);
    if (run->client == NULL)
        usage_error("--url must be http://ADDRESS:PORT or https://ADDRESS:PORT", run->options.url);
    if (run->options.requests_path != NULL && (run->requests = fopen(run->options.requests_path, "we")) == NULL)
        die("%s: %s", run->options.requests_path, strerror(errno));
    report_header(run);
    fflush(stdout);
    bool played = play(run);
    run->ended_ms = wall_ms();
    report_end(run);
    if (run->requests != NULL && fclose(run->requests) != 0)
        die("%s: %s", run->options.requests_path, strerror(errno));
    report_print(run);
    if (run->job_count > 0 && !report_run_file(run))
        return 1;
    return played && all_well(run) ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct run run = {0};
    options_read(&run.options, argc, argv);
    plan_make(&run.plan, run.options.file, run.options.seed, run.options.invoices_max);
    int rc = run.options.plan_only ? plan_print(&run) : replay(&run);
    run_free(&run);
    return rc;
}
