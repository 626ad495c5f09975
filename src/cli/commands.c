/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands of ficus: what the command line is read by, and --help and the manual are made of.
 */
#include "cli.h"

static const struct command_option common_options[] = {
    {'f', "file", "FILE", "the manifest (default: ficus.yaml); the state lies beside it in .ficus, or in FICUS_STATE"},
};

#define SET_OPTION                                                                               \
    {                                                                                            \
        0, "set", "KEY=VALUE", "put a value into the manifest: gateway.listen=127.0.0.1:80, services.orders.workers=16" \
    }
/* One rule for all: of what may be any number and comes as it is found, an object a line; of all else one document. */
#define JSON_OPTION                                \
    {                                              \
        0, "json", NULL, "print one JSON document" \
    }
#define JSON_LINES_OPTION                              \
    {                                                  \
        0, "json", NULL, "print JSON, an object a line" \
    }

static const struct command_option up_options[] = {
    {'d', "detach", NULL, "run in the background; return when everything is healthy"},
    {0, "wait", "DURATION", "how long to wait for health (default 30s); with -d the exit code then is 4"},
    SET_OPTION,
};
static const struct command_option down_options[] = {
    {0, "purge", NULL, "also remove data, logs, keys: only what Ficus made, only a folder with its marker"},
};
static const struct command_option restore_options[] = {
    {0, "replace", NULL, "there is data already: move it aside"},
    JSON_OPTION,
};
static const struct command_option new_options[] = {
    {0, "dir", "FOLDER", "where to make it, instead of the folder that include: says"},
};
static const struct command_option doctor_options[] = {
    {0, "tests", NULL, "also what tests need"},
    SET_OPTION,
    JSON_OPTION,
};
static const struct command_option json_options[] = {JSON_OPTION};
static const struct command_option json_lines_options[] = {JSON_LINES_OPTION};
static const struct command_option read_options[] = {
    {0, "after", "OFFSET", "begin behind this offset"},
    {0, "since", "TIME", "begin with what came then or later: 2026-11-30T02:00:00Z, or 10m ago"},
    {0, "subject", "SUBJECT", "only events with this subject"},
    {0, "limit", "COUNT", "at most COUNT events"},
    {0, "follow", NULL, "go on with events as they come, until Ctrl-C"},
    JSON_LINES_OPTION,
};
static const struct command_option publish_options[] = {
    {0, "subject", "SUBJECT", "what it is about; events of one subject keep their order"},
    {0, "data", "JSON", "its data: JSON, @FILE, or @- for what comes on the standard input"},
    {0, "at", "TIME", "not before this time: 2026-11-30T02:00:00Z, or 10m from now"},
    {0, "id", "ID", "its id (default: a new UUID)"},
    JSON_OPTION,
};
static const struct command_option logs_options[] = {
    {0, "trace", "ID", "only lines of this trace id or correlation id: the whole story of one order"},
    {0, "level", "LEVEL", "only lines of this level or worse: debug, info, warn, error"},
    {'n', "lines", "COUNT", "only the last COUNT lines"},
    {0, "follow", NULL, "go on with lines as they are written, until Ctrl-C"},
    JSON_LINES_OPTION,
};
static const struct command_option start_options[] = {
    {0, "wait", "DURATION", "how long to wait until it runs (default 30s)"},
};
static const struct command_option reload_options[] = {
    {0, "wait", "DURATION", "how long to wait for the gateway (default 10s)"},
    JSON_OPTION,
};
static const struct command_option upgrade_options[] = {
    {0, "binary", "FILE", "the new program (default: the file that the running one came from)"},
    {0, "wait", "DURATION", "how long to wait until all run it (default 5m)"},
    JSON_OPTION,
};
static const struct command_option stop_options[] = {
    {0, "kill", NULL, "at once, without time to finish its work"},
    {0, "wait", "DURATION", "how long to wait until it has ended (default 30s)"},
};
static const struct command_option dead_options[] = {
    {0, "all", NULL, "also those that were redriven or dropped"},
    JSON_LINES_OPTION,
};
static const struct command_option skip_options[] = {
    {0, "reason", "TEXT", "why; the dead letter and the hub's log say it"},
    JSON_OPTION,
};
static const struct command_option close_options[] = {
    {0, "all", NULL, "all that nobody has looked after"},
    {0, "consumer", "SERVICE", "of those only this service's"},
};
static const struct command_option rebuild_options[] = {
    {0, "wait", "DURATION", "how long to wait for the end (default 60s)"},
};
static const struct command_option seek_options[] = {
    {0, "to", "PLACE", "start, end, the number of an event (sequence), or a time: 2026-11-21T01:02:03Z"},
};
static const struct command_option consume_options[] = {
    {0, "drain", NULL, "end when there is no event to be had for a second"},
};
static const struct command_option verify_options[] = {
    {0, "head", "POSITION:HASH", "a head of this store that was written down before: is it still in it?"},
    JSON_OPTION,
};
static const struct command_option saga_list_options[] = {
    {0, "all", NULL, "all that have ended, too"},
    {0, "stuck", NULL, "only those that need somebody"},
    {0, "state", "STATE", "running, waiting, undoing, stuck, completed, compensated, terminated; of choreographed ones also orphaned, uncompensated"},
    {0, "saga", "NAME", "only instances of this saga"},
    {0, "limit", "COUNT", "at most so many; where there are more, it says how to go on"},
    {0, "after", "SAGA/ID", "go on behind this one"},
    JSON_LINES_OPTION,
};
static const struct command_option saga_start_options[] = {
    {0, "input", "JSON|@FILE|@-", "what the start event's data would be"},
    JSON_OPTION,
};
static const struct command_option saga_reason_options[] = {
    {0, "reason", "TEXT", "why, for the history"},
    JSON_OPTION,
};
static const struct command_option saga_signal_options[] = {
    {0, "data", "JSON|@FILE|@-", "data of the signal, for {signals.SIGNAL.NAME} of later steps"},
    {0, "refuse", NULL, "refuse it: what was done is undone"},
    {0, "reason", "TEXT", "why, for the history"},
    JSON_OPTION,
};
static const struct command_option test_options[] = {
    {0, "scenario", "NAME", "only this one of its tests"},
    {0, "process", "NAME", "kill only this process: a service, or hub"},
    {0, "only", "KILL", "only this kill: PROCESS:FILE:NUMBER:before or ...:after, as it is printed"},
    {0, "settle", "DURATION", "after so long without a durable write nothing more is to come (default 6s)"},
    {0, "state", "FOLDER", "where to work, and to leave what failed (default: a new folder in TMPDIR)"},
    {0, "wait", "DURATION", "how long the system may take to start (default 30s)"},
    SET_OPTION,
    JSON_OPTION,
};
static const struct command_option config_options[] = {SET_OPTION, JSON_OPTION};
static const struct command_option lint_options[] = {
    {0, "released", "NUMBER", "migrations up to this one came with the version that is running: judge only what later ones do to them"},
    JSON_OPTION,
};
static const struct command_option explain_options[] = {
    {'H', "header", "NAME: VALUE", "a header of the request; may be given several times"},
    SET_OPTION,
    JSON_OPTION,
};
static const struct command_option help_options[] = {
    {0, "man", NULL, "print the manual page (troff)"},
};

#define OPTIONS(list) .options = (list), .option_count = sizeof(list) / sizeof((list)[0])

static const struct command commands[] = {
    {.name = "up",
     .run = cmd_up,
     .operands = "",
     OPTIONS(up_options),
     .doc = "Start the system that the manifest describes",
     .text = "Checks the manifest, prepares the state folder, opens all listening sockets and starts everything in "
             "parallel. In the foreground it shows each process when all are healthy, and stops everything on Ctrl-C "
             "(twice: at once)."},
    {.name = "down",
     .run = cmd_down,
     .operands = "",
     OPTIONS(down_options),
     .doc = "Stop it",
     .text = "Gateway, then services, then hub; each has ten seconds to finish its work. Works also when the "
             "supervisor is dead."},
    {.name = "backup",
     .run = cmd_backup,
     .operands = "FOLDER [SERVICE...]",
     .operand_min = 1,
     .operand_max = COMMAND_OPERANDS_MAX,
     OPTIONS(json_options),
     .doc = "Copy the system's data into a new folder while it runs",
     .text = "Each database is copied as it is at one moment of its own and looked through; requests go on meanwhile. With "
             "them go the system's key, the administrator's password and what services keep beside their database: whoever "
             "can read the folder is the system. Of a stopped system, or a stopped service, the command reads the files "
             "itself. Until all of it is on the disk the folder is called FOLDER.partial. SERVICE: only these; hub is the "
             "event log and the sagas. ficus restore puts it back; docs/backup.md says what it is worth."},
    {.name = "restore",
     .run = cmd_restore,
     .operands = "FOLDER [SERVICE...]",
     .operand_min = 1,
     .operand_max = COMMAND_OPERANDS_MAX,
     OPTIONS(restore_options),
     .doc = "Put a backup into the state folder of a stopped system",
     .text = "Every file is copied and its SHA-256 compared before anything is touched; then all take their places. "
             "Interrupted at any instant, the same command finishes it, and until then ficus up refuses. What was there "
             "before is never overwritten: with --replace it is moved aside, and the command says where. SERVICE: only "
             "these; hub is the event log and the sagas."},
    {.name = "new service",
     .run = cmd_new_service,
     .operands = "NAME",
     .operand_min = 1,
     .operand_max = 1,
     OPTIONS(new_options),
     .doc = "Make a service that builds, is tested and runs",
     .text = "Makes a folder with handlers, migrations, tests, OpenAPI, Makefile and service.yaml where the manifest's "
             "include finds it, such as services/NAME, and says what to do next. Where there is no manifest it makes "
             "one as well. Changes no file that is there."},
    {.name = "doctor",
     .run = cmd_doctor,
     .operands = "",
     OPTIONS(doctor_options),
     .doc = "Look what this machine lacks, and say what to do about it",
     .text = "Kernel, limits, clock, memory; the manifest, its programs and their libraries; the gateway's port, the "
             "state folder, its disk, what runs or is left; compiler and library to build services with. One line "
             "each: ok, warning or problem. The exit code is 1 when there is a problem. Nothing is changed."},
    {.name = "status",
     .run = cmd_status,
     .operands = "",
     OPTIONS(json_options),
     .doc = "Show each process",
     .text = "State, pid, memory (proportional), restarts, address. Needs only the state folder. The exit code is 3 "
             "when no supervisor runs."},
    {.name = "logs",
     .run = cmd_logs,
     .operands = "[SERVICE...]",
     .operand_max = COMMAND_OPERANDS_MAX,
     OPTIONS(logs_options),
     .doc = "Print the logs of all or some processes in the order of time"},
    {.name = "reload",
     .run = cmd_reload,
     .operands = "",
     OPTIONS(reload_options),
     .doc = "Read the manifest again, without losing a request",
     .text = "Checks everything first: with any error nothing changes, and all of them are shown (exit code 2). The "
             "gateway takes over routes, auth, hosts, time limits and files between two requests; those under way end "
             "as they began. If it refuses it keeps what it has, and ficus status says why. Services that take their "
             "part up only when they start are named with the command that does it. The --set of ficus up still "
             "holds. A service that came or left, or another address, takes ficus down and ficus up."},
    {.name = "restart",
     .run = cmd_restart,
     .operands = "SERVICE",
     .operand_min = 1,
     .operand_max = 1,
     OPTIONS(start_options),
     .doc = "Restart a service, the gateway or the hub",
     .text = "The old process finishes its work; new connections wait meanwhile, none is lost. The gateway's new "
             "process starts beside the old one and takes over when it is ready; if it ends or is not ready within "
             "ten seconds, the old one goes on. Gateway and hub run the program file that is there now: so a new "
             "version is taken up."},
    {.name = "upgrade",
     .run = cmd_upgrade,
     .operands = "",
     OPTIONS(upgrade_options),
     .doc = "Have another ficus take over the running system without losing a request",
     .text = "The new program is tried first: it reads the manifest and says whether it can go on with what runs. If not, nothing "
             "has changed, and its reason is shown. Else the supervisor becomes that program, in the same process, with the same children and "
             "sockets, and restarts the hub, the services and the gateway on it, one after another, each as ficus restart does. The first "
             "one that does not come back ends it; the others run on as they were. The manifest is read again on the way, as by ficus reload, "
             "and ${build} is the new program's folder. When the wait is over or on Ctrl-C it goes on without its watcher; ficus status shows how far it is."},
    {.name = "stop",
     .run = cmd_stop,
     .operands = "SERVICE",
     .operand_min = 1,
     .operand_max = 1,
     OPTIONS(stop_options),
     .doc = "Stop a service, the gateway or the hub; the others go on",
     .text = "It finishes its work and stays away until ficus start, ficus restart or the next ficus up; ficus status "
             "shows it as stopped. What others want of it meanwhile waits or is refused, as they declare."},
    {.name = "start",
     .run = cmd_start,
     .operands = "SERVICE",
     .operand_min = 1,
     .operand_max = 1,
     OPTIONS(start_options),
     .doc = "Start what ficus stop has stopped"},
    {.name = "saga list", .run = cmd_saga_list, .operands = "", OPTIONS(saga_list_options), .doc = "List sagas, orchestrated and choreographed ones",
     .text = "All that have not ended; behind them the ten that ended last, and how many more did. --all, --state, --stuck, --limit and "
             "--after list in the order of saga and id, whatever has ended."},
    {.name = "saga show",
     .run = cmd_saga_show,
     .operands = "[SAGA/]ID",
     .operand_min = 1,
     .operand_max = 1,
     OPTIONS(json_options),
     .doc = "Show the history of a saga, and what is missing of a choreographed one",
     .text = "With the saga whose step it is (parent), and those that are its steps (children), each with its state."},
    {.name = "saga describe",
     .run = cmd_saga_describe,
     .operands = "NAME|[SAGA/]ID",
     .operand_min = 1,
     .operand_max = 1,
     OPTIONS(json_options),
     .doc = "Show a saga's definition and how many instances run on each version of it",
     .text = "Of an instance it shows the definition that it began with, and on which it ends whatever the manifest says now."},
    {.name = "saga start",
     .run = cmd_saga_start,
     .operands = "NAME ID",
     .operand_min = 2,
     .operand_max = 2,
     OPTIONS(saga_start_options),
     .doc = "Start a saga without an event",
     .text = "The same again changes nothing and says so; another input for the same ID is an error."},
    {.name = "saga signal",
     .run = cmd_saga_signal,
     .operands = "[SAGA/]ID SIGNAL",
     .operand_min = 2,
     .operand_max = 2,
     OPTIONS(saga_signal_options),
     .doc = "Give or refuse a signal that a saga waits for, such as an approval",
     .text = "A signal that comes before its step is kept until then, and given twice it is given once. A refused one undoes "
             "what was done, at once."},
    {.name = "saga retry",
     .run = cmd_saga_retry,
     .operands = "[SAGA/]ID",
     .operand_min = 1,
     .operand_max = 1,
     OPTIONS(saga_reason_options),
     .doc = "Go on with a stuck saga"},
    {.name = "saga cancel",
     .run = cmd_saga_cancel,
     .operands = "[SAGA/]ID",
     .operand_min = 1,
     .operand_max = 1,
     OPTIONS(saga_reason_options),
     .doc = "Undo what a saga has done, and end it as compensated",
     .text = "Before the pivot only, and not while it is under way; otherwise it is refused with the reason. A call that has no "
             "answer yet counts as perhaps done and is undone, too. Sagas that are its steps are cancelled with it, and waited for."},
    {.name = "saga terminate",
     .run = cmd_saga_terminate,
     .operands = "[SAGA/]ID",
     .operand_min = 1,
     .operand_max = 1,
     OPTIONS(saga_reason_options),
     .doc = "End a saga at once and undo nothing",
     .text = "For what no retry and no cancel can end. It needs --reason. What the saga has done stays as it is, and somebody has to "
             "look after it: ficus saga show names these steps. A saga that is its step goes on; where it is itself the step of another, that step is refused."},
    {.name = "test saga",
     .run = cmd_test_saga,
     .operands = "NAME",
     .operand_min = 1,
     .operand_max = 1,
     OPTIONS(test_options),
     .doc = "Kill every process at every durable write of a saga, and see whether all is as it has to be",
     .text = "Starts a system of its own, with free ports and a state folder of its own, and goes through each test that the "
             "manifest declares for the saga (sagas.NAME.test): some runs undisturbed, in which the durable writes are counted; "
             "then one run for each process, each file that it writes, each of these writes, before it and after it, in which that "
             "process kills itself there as kill -9 would, and is started again. After each run the instance must be at rest, "
             "ended as declared, with no dead letters, and the test's check must find everything as it has to be. Prints each "
             "kill, then a table, and for each failure the command that repeats it alone. The exit code is 0 only when all "
             "kills passed and in each of them the process really died there."},
    {.name = "events topics",
     .run = cmd_events_topics,
     .operands = "",
     OPTIONS(json_lines_options),
     .doc = "List the topics"},
    {.name = "events read",
     .run = cmd_events_read,
     .operands = "TOPIC...",
     .operand_min = 1,
     .operand_max = COMMAND_OPERANDS_MAX,
     OPTIONS(read_options),
     .doc = "Print events of topics, from an offset or a time on",
     .text = "Oldest first, all that the log still holds unless --after or --since says where to begin. A line has offset, time, "
             "topic, subject and data; with --json it is the event as a CloudEvent. Nothing is changed: consumers have offsets "
             "of their own."},
    {.name = "events publish",
     .run = cmd_events_publish,
     .operands = "TOPIC",
     .operand_min = 1,
     .operand_max = 1,
     OPTIONS(publish_options),
     .doc = "Publish an event in the place of the topic's service",
     .text = "Its source is /operator/UID, so that everybody sees that no service said it, and the hub's log has a line. The "
             "command ends when it is synced. Said again with the same --id it is the same event."},
    {.name = "events scheduled",
     .run = cmd_events_scheduled,
     .operands = "",
     OPTIONS(json_lines_options),
     .doc = "List the schedules, and the events that wait for their time",
     .text = "The next due first. Each event has a number, for ficus events unschedule."},
    {.name = "events unschedule",
     .run = cmd_events_unschedule,
     .operands = "NUMBER...",
     .operand_min = 1,
     .operand_max = COMMAND_OPERANDS_MAX,
     .doc = "Remove events that wait for their time",
     .text = "They never come. The hub's log says who removed what."},
    {.name = "events schema",
     .run = cmd_events_schema,
     .operands = "[TOPIC [VERSION]]",
     .operand_max = 2,
     OPTIONS(json_options),
     .doc = "Show the registered schemas of topics",
     .text = "Registered is what ficus up and ficus reload have accepted, so all that events may have been published under. "
             "Without a topic: which topics have how many versions. Schemas are shown without what has no effect, a line each; "
             "the system need not run."},
    {.name = "events dead",
     .run = cmd_events_dead,
     .operands = "",
     OPTIONS(dead_options),
     .doc = "List the dead letters",
     .text = "Events that their consumer's handler has refused ten times, or that ficus events skip left out. Each has a number, and "
             "waits for somebody who removes the reason and says redrive, or says drop."},
    {.name = "events redrive",
     .run = cmd_events_redrive,
     .operands = "[LETTER...]",
     .operand_max = COMMAND_OPERANDS_MAX,
     OPTIONS(close_options),
     .doc = "Have the events of dead letters handled again",
     .text = "By the consumer that refused them alone, behind what it has to do; refused ten times again, they become dead "
             "letters again. Done twice it is done once."},
    {.name = "events drop",
     .run = cmd_events_drop,
     .operands = "[LETTER...]",
     .operand_max = COMMAND_OPERANDS_MAX,
     OPTIONS(close_options),
     .doc = "Note that nothing is to be done about dead letters",
     .text = "They are listed no more but by ficus events dead --all, and may still be redriven."},
    {.name = "events lag",
     .run = cmd_events_lag,
     .operands = "[SERVICE...]",
     .operand_max = COMMAND_OPERANDS_MAX,
     OPTIONS(json_lines_options),
     .doc = "Show how far each consumer is behind",
     .text = "How many events wait for it, since when the oldest does, and what it is doing. Of groups the hub knows the place; "
             "of services that keep it themselves (libficus) it is what they asked for last. Where a group does not get on, the "
             "partition and the reason follow, the event that holds it, since when and after how many deliveries, and the command that "
             "skips it."},
    {.name = "events seek",
     .run = cmd_events_seek,
     .operands = "SERVICE",
     .operand_min = 1,
     .operand_max = 1,
     OPTIONS(seek_options),
     .doc = "Move a consumer group: have events come again, or leave some out",
     .text = "All its partitions go on there. What is under way at that moment does not count any more. Only for groups: a "
             "service that keeps its own place has ficus events rebuild."},
    {.name = "events skip",
     .run = cmd_events_skip,
     .operands = "SERVICE EVENT",
     .operand_min = 2,
     .operand_max = 2,
     OPTIONS(skip_options),
     .doc = "Have a consumer group go on behind an event that it does not get past",
     .text = "One that hangs or kills the service each time, say. EVENT is the number that ficus events lag shows. The event becomes a "
             "dead letter, with who, when and why, in the transaction that moves the group's place; ficus events redrive brings it "
             "back. Only the first event of a partition can be skipped, so that the command said twice skips one event."},
    {.name = "events consume",
     .run = cmd_events_consume,
     .operands = "SERVICE -- COMMAND [ARGUMENT...]",
     .operand_min = 2,
     .operand_max = COMMAND_OPERANDS_MAX - 1, /* a NULL follows them */
     OPTIONS(consume_options),
     .doc = "Run a command for each event of a consumer group",
     .text = "The command gets the event, one CloudEvent in JSON, on its input. Exit code 0: it is done; 65: it is not for this "
             "consumer and does not come again; any other, such as 75: it comes again after a pause, at the tenth time a dead "
             "letter. For groups without to: in the manifest. Several may run at once, each event goes to one of them, and those "
             "of one key one behind the other. A command that takes longer than the group's timeout is killed. Asked "
             "to end, a member lets its command end, and gives back the events that it has not begun."},
    {.name = "events rebuild",
     .run = cmd_events_rebuild,
     .operands = "SERVICE [PROJECTION]",
     .operand_min = 1,
     .operand_max = 2,
     OPTIONS(rebuild_options),
     .doc = "Build a service's read model anew from the events while it serves",
     .text = "A new one is filled beside the old one, which serves until the new one knows as much; then they change places "
             "and the old one is removed. If anything goes wrong the old one stays. When the wait is over, or on "
             "Ctrl-C, the rebuild goes on without its watcher. A projection of the service's event store, by name or "
             "its only one: its tables are made of all events of that store, and a restart of the service goes on with them "
             "(docs/store.md). Of services that the manifest calls rebuildable the whole store, which is made of events of "
             "the log: a restart of the service gives that up. What a topic "
             "keeps: events.retention in the manifest, and for good the newest event of each key of topics with keep: "
             "latest."},
    {.name = "events verify",
     .run = cmd_events_verify,
     .operands = "[SERVICE...]",
     .operand_max = COMMAND_OPERANDS_MAX,
     OPTIONS(verify_options),
     .doc = "Find events that were changed after they were stored",
     .text = "Each event of a service's event store carries a hash over itself and the one before it. All are computed anew, "
             "of all or some services, whether they run or not, and what was changed, removed, inserted or moved is named: "
             "service, position, stream, version. Then the exit code is 1. Who can write the file can also compute all "
             "hashes anew; so write the head that is printed down elsewhere now and then, and give it with --head."},
    {.name = "config check",
     .run = cmd_config_check,
     .operands = "[FILE]",
     .operand_max = 1,
     OPTIONS(config_options),
     .doc = "Check the manifest and show all its errors",
     .text = "FILE may also be one service's part (service.yaml): then it is checked alone, and what it says of other "
             "services and of topics is not judged. Schemas of topics are compared with the version before them, and with what is "
             "registered in the system's state folder, if it has one."},
    {.name = "migrations lint",
     .run = cmd_migrations_lint,
     .operands = "[SERVICE...|FOLDER]",
     .operand_max = COMMAND_OPERANDS_MAX,
     OPTIONS(lint_options),
     .doc = "Find migrations that break the version that is still running",
     .text = "Runs the migrations of all or some services, or of a folder (./migrations), in memory, and compares the schema "
             "before and after each. Dropped and renamed tables and columns, new constraints, changed types and the like are "
             "errors, each with the steps to take instead; so is what cannot run. A comment above the statement, -- "
             "ficus:nolint RULE: REASON, allows what no running version needs any more. The exit code is 1 when there are "
             "errors. No database is touched."},
    {.name = "routes",
     .run = cmd_routes,
     .operands = "",
     OPTIONS(config_options),
     .doc = "List the gateway's routes in their order of precedence",
     .text = "Needs the manifest alone. Of two routes that fit a request the one that stands higher answers; where no "
             "request can fit both, their order means nothing."},
    {.name = "routes explain",
     .run = cmd_routes_explain,
     .operands = "METHOD PATH|URL",
     .operand_min = 2,
     .operand_max = 2,
     OPTIONS(explain_options),
     .doc = "Say which route a request takes and why, and why others like it do not",
     .text = "Needs the manifest alone and decides with the gateway's own code. A path with its query is a request to the "
             "gateway's own address; a URL or -H 'Host: NAME' names another host. The exit code is 1 when no route takes "
             "the request."},
    {.name = "version", .run = cmd_version, .operands = "", .doc = "Print the version"},
    {.name = "help",
     .run = cmd_help,
     .operands = "[COMMAND]",
     .operand_max = 2,
     OPTIONS(help_options),
     .doc = "Explain a command"},
    {.name = "gateway",
     .run = cmd_gateway,
     .operands = "",
     .hidden = true,
     .doc = "The gateway's process, started by ficus up"},
    {.name = "hub", .run = cmd_hub, .operands = "", .hidden = true, .doc = "The hub's process, started by ficus up"},
};

const struct command_table cli_table = {
    .program = "ficus",
    .doc = "run a system of services from one manifest; any of them may be killed at any instant",
    .commands = commands,
    .count = sizeof commands / sizeof commands[0],
    .common = common_options,
    .common_count = sizeof common_options / sizeof common_options[0],
    .text = ".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\nfailed\n.TP\n2\n"
            "wrong usage (also by the word of whoever was asked), or errors in the manifest\n.TP\n3\nnot running\n.TP\n4\nnot healthy in time\n"
            ".SH ENVIRONMENT\n.TP\n.B FICUS_STATE\nthe state folder, instead of .ficus beside the manifest\n"
            ".TP\n.B NO_COLOR\nno colours on a terminal",
};
