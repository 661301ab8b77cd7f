/* http_load.c - how many requests a second does an HTTP server answer on connections kept open?
 *
 *     http_load PORT PATH KEYFILE [CONNECTIONS [SECONDS]]      16 5
 *
 * Each connection asks, waits for the whole answer and asks again. An answer that is not 200, or a
 * connection that ends, ends the run. Prints requests a second and the latency. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 256
#define ANSWER_MAX      16384
#define SAMPLES_MAX     4000000

struct connection {
    char answer[ANSWER_MAX];
    size_t len;
    double began_us;
};

struct load {
    char request[512];
    size_t request_len;
    struct pollfd polls[CONNECTIONS_MAX];
    struct connection *connections;
    size_t count;
    double *samples;
    size_t done;
};

static void fail(const char *what)
{
    fprintf(stderr, "http_load: %s\n", what);
    exit(1);
}

static double now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int connect_to(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        fail("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static void ask(struct load *load, size_t i)
{
    load->connections[i].len = 0;
    load->connections[i].began_us = now_us();
    if (send(load->polls[i].fd, load->request, load->request_len, MSG_NOSIGNAL) !=
        (ssize_t)load->request_len)
        fail("a request could not be sent");
}

/* Is all of it there? */
static int is_whole(const struct connection *connection)
{
    const char *end = strstr(connection->answer, "\r\n\r\n");
    const char *length = strstr(connection->answer, "Content-Length: ");

    if (end == NULL || length == NULL)
        return 0;
    if (strncmp(connection->answer, "HTTP/1.1 200 ", 13) != 0)
        fail(connection->answer);
    size_t head = (size_t)(end + 4 - connection->answer);
    return connection->len >= head + strtoul(length + 16, NULL, 10);
}

static void read_answer(struct load *load, size_t i)
{
    struct connection *connection = &load->connections[i];
    ssize_t got = recv(load->polls[i].fd, connection->answer + connection->len,
                       ANSWER_MAX - 1 - connection->len, 0);

    if (got <= 0)
        fail("a connection ended");
    connection->len += (size_t)got;
    connection->answer[connection->len] = '\0';
    if (!is_whole(connection))
        return;
    if (load->done < SAMPLES_MAX)
        load->samples[load->done] = now_us() - connection->began_us;
    load->done++;
    ask(load, i);
}

static void run_until(struct load *load, double end_us)
{
    while (now_us() < end_us) {
        if (poll(load->polls, load->count, 1000) <= 0)
            fail("no answer for a second");
        for (size_t i = 0; i < load->count; i++)
            if (load->polls[i].revents != 0)
                read_answer(load, i);
    }
}

static int compare(const void *a, const void *b)
{
    double one = *(const double *)a, other = *(const double *)b;

    return one < other ? -1 : one > other;
}

static void report(struct load *load, double seconds)
{
    size_t samples = load->done < SAMPLES_MAX ? load->done : SAMPLES_MAX;

    if (samples == 0)
        fail("nothing was answered");
    qsort(load->samples, samples, sizeof(load->samples[0]), compare);
    printf("%.0f requests/s, p50 %.0f us, p99 %.0f us\n", (double)load->done / seconds,
           load->samples[samples / 2], load->samples[samples * 99 / 100]);
}

static void read_key(const char *path, char *key, size_t size)
{
    FILE *file = fopen(path, "r");

    if (file == NULL || fgets(key, (int)size, file) == NULL)
        fail("the key cannot be read");
    key[strcspn(key, "\n")] = '\0';
    fclose(file);
}

int main(int argc, char **argv)
{
    struct load load = { .count = argc > 4 ? strtoul(argv[4], NULL, 10) : 16 };
    double seconds = argc > 5 ? strtod(argv[5], NULL) : 5;
    char key[128];

    if (argc < 4 || load.count < 1 || load.count > CONNECTIONS_MAX)
        fail("usage: http_load PORT PATH KEYFILE [CONNECTIONS [SECONDS]]");
    read_key(argv[3], key, sizeof(key));
    load.request_len = (size_t)snprintf(load.request, sizeof(load.request),
                                        "GET %s HTTP/1.1\r\nHost: localhost\r\n"
                                        "Authorization: Bearer %s\r\n\r\n",
                                        argv[2], key);
    load.connections = calloc(load.count, sizeof(*load.connections));
    load.samples = calloc(SAMPLES_MAX, sizeof(*load.samples));
    if (load.connections == NULL || load.samples == NULL)
        fail("out of memory");
    for (size_t i = 0; i < load.count; i++) {
        load.polls[i] = (struct pollfd){ .fd = connect_to(atoi(argv[1])), .events = POLLIN };
        ask(&load, i);
    }
    run_until(&load, now_us() + 500e3); /* to warm up */
    load.done = 0;
    double began = now_us();
    run_until(&load, began + seconds * 1e6);
    report(&load, (now_us() - began) / 1e6);
    free(load.connections);
    free(load.samples);
    return 0;
}
