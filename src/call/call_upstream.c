/* SPDX-License-Identifier: Apache-2.0
 *
 * Callees that Ficus does not start; see call_upstream.h.
 */
#include "call_upstream.h"

#include "mem.h"

#include <arpa/inet.h>
#include <stdio.h>

/* ---- urls ---- */

static bool is_numeric(int family, struct slice host)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char binary[16];
    if (host.size >= sizeof text)
        return false;
    memcpy(text, host.p, host.size);
    text[host.size] = '\0';
    return inet_pton(family, text, binary) == 1;
}

/* Letters, digits and hyphens between dots (RFC 1123 section 2.1), and a last label that is no number: 10.0.0 is a mistake. */
static bool is_name(struct slice host)
{
    if (host.size == 0 || host.size >= ENV_HOST_SIZE)
        return false;
    bool number = false;
    for (struct slice rest = host; rest.p != NULL;) {
        struct slice label = slice_cut(&rest, '.');
        if (label.size == 0 || label.size > 63 || label.p[0] == '-' || label.p[label.size - 1] == '-')
            return false;
        number = true;
        for (size_t i = 0; i < label.size; i++) {
            char c = label.p[i];
            bool digit = c >= '0' && c <= '9';
            if (!digit && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && c != '-')
                return false;
            number = number && digit;
        }
    }
    return !number;
}

/* ret_port is left alone when there is none. */
static bool port_parse(struct slice text, uint16_t *ret_port)
{
    uint64_t port;
    if (text.p == NULL)
        return true;
    if (text.size > 5 || !slice_to_u64(text, &port) || port < 1 || port > 65535)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

bool call_url_parse(struct slice text, struct call_url *ret_url)
{
    struct call_url u = {.secure = slice_starts(text, SLICE("https://"))};
    if (!u.secure && !slice_starts(text, SLICE("http://")))
        return false;
    u.authority = slice_from(text, u.secure ? 8 : 7);
    u.port = u.secure ? 443 : 80;
    u.is_six = u.authority.size > 0 && u.authority.p[0] == '[';
    struct slice rest = u.authority;
    if (u.is_six) {
        rest = slice_from(rest, 1);
        u.host = slice_cut(&rest, ']');
        if (rest.p == NULL || (rest.size > 0 && rest.p[0] != ':'))
            return false;
        rest = rest.size > 0 ? slice_from(rest, 1) : SLICE_NONE;
    } else {
        u.host = slice_cut(&rest, ':');
    }
    u.is_name = !u.is_six && is_name(u.host);
    if ((!u.is_name && !is_numeric(u.is_six ? AF_INET6 : AF_INET, u.host)) || !port_parse(rest, &u.port))
        return false;
    *ret_url = u;
    return true;
}

const char *call_url_check(struct slice text)
{
    struct call_url url;
    if (call_url_parse(text, &url))
        return NULL;
    return "http:// or https:// with a name or a numeric address and a port, such as https://bank.example:8443 (a path is "
           "said by the routes and calls)";
}

void call_url_address(struct slice host, uint16_t port, char ret_address[CALL_ADDRESS_SIZE])
{
    bool is_six = memchr(host.p, ':', host.size) != NULL;
    (void)snprintf(ret_address, CALL_ADDRESS_SIZE, is_six ? "tcp:[" SLICE_FMT "]:%u" : "tcp:" SLICE_FMT ":%u", SLICE_ARG(host), (unsigned)port);
}

/* ---- the table ---- */

const char *const call_protocol_words[] = {"http/1.1", "h2", "h2c", NULL};

static const struct conf_setting upstream_settings[] = {
    {.name = "url", .type = CONF_STRING, .flags = CONF_REQUIRED, CONF_AT(struct call_upstream, url), .min = 8, .max = 300,
     .check = call_url_check, .example = "https://bank.example:8443", .doc = "Where it is."},
    {.name = "protocol", .type = CONF_ENUM, CONF_AT(struct call_upstream, protocol), .words = call_protocol_words,
     .fallback = CALL_PROTOCOL_ANY, .doc = "What is spoken there; absent: HTTP/1.1, with https what is agreed on."},
    {.name = "name", .type = CONF_STRING, CONF_AT(struct call_upstream, name), .min = 1, .max = 253,
     .example = "bank.example", .doc = "Who its certificate must say it is; absent: the host of the url."},
    {.name = "ca", .type = CONF_STRING, CONF_AT(struct call_upstream, ca), .min = 1, .max = 4096,
     .example = "/etc/shop/bank-ca.pem", .doc = "PEM file of the authorities; absent: those of this machine."},
    {.name = "certificate", .type = CONF_STRING, CONF_AT(struct call_upstream, certificate), .min = 1, .max = 4096,
     .example = "/etc/shop/client.pem", .doc = "PEM file of the certificate that is shown when it asks for one."},
    {.name = "key", .type = CONF_STRING, CONF_AT(struct call_upstream, key), .min = 1, .max = 4096,
     .example = "/etc/shop/client.key", .doc = "PEM file of its key."},
};
const struct conf_table call_upstream_table = CONF_TABLE_OF("upstream", struct call_upstream, upstream_settings);

/* ---- copies ---- */

static bool text_copy(const char **text)
{
    if (*text == NULL)
        return true;
    *text = mem_strdup(*text);
    return *text != NULL;
}

enum ficus_err call_upstream_copy(const struct call_upstream *upstream, struct call_upstream **ret_copy)
{
    if (upstream == NULL) {
        *ret_copy = NULL;
        return FICUS_ERR_OK;
    }
    struct call_upstream *c = mem_zalloc(sizeof *c);
    if (c == NULL)
        return FICUS_ERR_NOMEM;
    *c = *upstream;
    const char **texts[] = {&c->url, &c->name, &c->ca, &c->certificate, &c->key};
    bool fine = true;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) /* all of them, so that what is left is ours or NULL */
        fine = text_copy(texts[i]) && fine;
    if (!fine) {
        call_upstream_free(c);
        return FICUS_ERR_NOMEM;
    }
    *ret_copy = c;
    return FICUS_ERR_OK;
}

void call_upstream_free(struct call_upstream *copy)
{
    if (copy == NULL)
        return;
    const char *texts[] = {copy->url, copy->name, copy->ca, copy->certificate, copy->key};
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        mem_free((void *)(uintptr_t)texts[i]);
    mem_free(copy);
}
