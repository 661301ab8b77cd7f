#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include <openssl/ssl.h>

#include "relay/base/alloc.h"
#include "relay/base/macros.h"
#include "relay/net/stream_priv.h"
#include "tests/support/harness_certs.h"
#include "tests/support/harness_net.h"

#define HANDSHAKE_MS 20000

static struct certs certs;
static struct tls_context *server_tls, *client_tls;
static const char *const ways[] = { "plain", "TLS" };
enum { PLAIN, TLS };

static int make_contexts(void **state)
{
    struct why why = { "" };

    (void)state;
    certs_open(&certs);
    char *certificate = certs_path(&certs, "test", ".pem"),
         *key = certs_path(&certs, "test", ".key");
    bool ok = tls_make_self_signed(certificate, key, "mail.example", &why);
    if (ok) {
        server_tls = tls_context_server(
            &(struct tls_server_options){ .certificate = certificate, .key = key }, &why);
        client_tls = tls_context_client(
            &(struct tls_client_options){ .verify = true, .ca_file = certificate }, &why);
    }
    if (server_tls == NULL || client_tls == NULL)
        print_error("%s\n", why.text);
    free(certificate);
    free(key);
    return server_tls == NULL || client_tls == NULL;
}

static int free_contexts(void **state)
{
    (void)state;
    tls_context_unref(server_tls);
    tls_context_unref(client_tls);
    certs_close(&certs);
    return 0;
}

/* Compares what a side got with a text, and says both. */
#define assert_got(side, text)                                                                     \
    do {                                                                                           \
        struct slice got_ = buf_slice(&(side)->got);                                               \
        if (!slice_equal(got_, slice_of(text)))                                                    \
            fail_msg("got '%.*s', want '%s'", SLICE_ARG(got_), text);                              \
    } while (0)

static void accept_tls(struct side *server)
{
    stream_start_tls_server(server->stream, server_tls, HANDSHAKE_MS);
}

static void connect_tls(struct side *client, enum side_event event)
{
    if (event == SIDE_CONNECTED)
        stream_start_tls_client(client->stream, client_tls, "mail.example", HANDSHAKE_MS);
}

/* --- a long echo ----------------------------------------------------------------------------- */

#define ECHO_BYTES (3 * 1024 * 1024)

struct echo {
    char *text;
    size_t said, heard;
    unsigned seed;
    bool tls;
};

static size_t some(struct echo *echo, size_t most)
{
    return 1 + (size_t)rand_r(&echo->seed) % most;
}

/* Says more until enough waits to be written. */
static void echo_say(struct side *client)
{
    struct echo *echo = client->extra;

    while (echo->said < ECHO_BYTES && stream_unwritten(client->stream) <= STREAM_HIGH_WATER) {
        size_t len = some(echo, echo->said % 3 == 0 ? 100000 : 100);
        if (len > ECHO_BYTES - echo->said)
            len = ECHO_BYTES - echo->said;
        stream_write(client->stream, slice_make(echo->text + echo->said, len));
        echo->said += len;
    }
}

static void echo_client(struct side *client, enum side_event event)
{
    struct echo *echo = client->extra;

    if (event == SIDE_CONNECTED && echo->tls)
        connect_tls(client, event);
    else if (event == SIDE_CONNECTED || event == SIDE_SECURE || event == SIDE_DRAINED)
        echo_say(client);
    else if (event == SIDE_DATA && echo->heard == ECHO_BYTES)
        side_finish(client);
}

static size_t echo_hear(struct side *client, struct slice data)
{
    struct echo *echo = client->extra;

    assert_true(echo->heard + data.len <= ECHO_BYTES);
    assert_memory_equal(data.data, echo->text + echo->heard, data.len);
    echo->heard += data.len;
    return data.len;
}

/* Takes a part, says it back, and asks for the rest at once or when its output has left. */
static size_t echo_back(struct side *server, struct slice data)
{
    struct echo *echo = server->other->extra;
    struct slice part = slice_first(data, some(echo, data.len));

    stream_write(server->stream, part);
    stream_pause(server->stream);
    if (stream_unwritten(server->stream) <= STREAM_HIGH_WATER)
        stream_resume(server->stream);
    return part.len;
}

static void echo_server(struct side *server, enum side_event event)
{
    if (event == SIDE_DRAINED)
        stream_resume(server->stream);
}

static void a_long_echo_comes_back_whole_whatever_the_cuts(void **state)
{
    char *text = xmalloc(ECHO_BYTES);

    (void)state;
    for (size_t i = 0; i < ECHO_BYTES; i++)
        text[i] = (char)(i * 31 + i / 255);
    for (unsigned i = 0; i < 6; i++) {
        struct echo echo = { .text = text, .seed = i, .tls = i % 2 == TLS };
        struct pair pair;
        pair_open(&pair);
        pair.client.extra = &echo;
        pair.client.on = echo_client;
        pair.client.eat = echo_hear;
        pair.server.on = echo_server;
        pair.server.eat = echo_back;
        pair.on_accepted = echo.tls ? accept_tls : NULL;
        pair_connect(&pair);
        loop_run(&pair.loop);
        if (echo.heard != ECHO_BYTES)
            fail_msg("%s, seed %u: heard %zu; client: %s; server: %s", ways[echo.tls], i,
                     echo.heard, pair.client.error, pair.server.error);
        assert_int_equal(pair.server.counts[SIDE_END], 1);
        assert_int_equal(pair.server.end, STREAM_EOF);
        assert_int_equal(pair.client.counts[SIDE_END], 0); /* it finished: no event any more */
        assert_true(pair.client.counts[SIDE_DRAINED] > 0);
        assert_int_equal(pair.client.counts[SIDE_SECURE], echo.tls);
        assert_int_equal(pair.server.counts[SIDE_SECURE], echo.tls);
        pair_close(&pair);
    }
    free(text);
}

/* --- input ----------------------------------------------------------------------------------- */

static size_t eat_lines(struct side *side, struct slice data)
{
    size_t used = 0, end;

    while ((end = slice_find(slice_from(data, used), '\n')) != SLICE_NONE)
        used += end + 1;
    side_take(side, slice_first(data, used));
    return used;
}

static void say_the_rest(struct side *client, enum side_event event)
{
    if (event == SIDE_DATA) {
        side_say(client, "d\n");
        side_finish(client);
    }
}

static void ask_for_more(struct side *server, enum side_event event)
{
    if (event == SIDE_DATA && server->counts[SIDE_DATA] == 1)
        side_say(server, "go on");
}

static void say_a_line_and_a_half(struct side *client)
{
    side_say(client, "ab\nc");
}

static void plain_line_and_a_half(struct side *client, enum side_event event)
{
    if (event == SIDE_CONNECTED)
        say_a_line_and_a_half(client);
    say_the_rest(client, event);
}

static void secure_line_and_a_half(struct side *client, enum side_event event)
{
    connect_tls(client, event);
    if (event == SIDE_SECURE)
        say_a_line_and_a_half(client);
    say_the_rest(client, event);
}

static void what_is_left_is_shown_again_with_what_comes_behind_it(void **state)
{
    (void)state;
    for (int way = PLAIN; way <= TLS; way++) {
        struct pair pair;
        pair_open(&pair);
        pair.server.eat = eat_lines;
        pair.server.on = ask_for_more;
        pair.client.on = way == TLS ? secure_line_and_a_half : plain_line_and_a_half;
        pair.on_accepted = way == TLS ? accept_tls : NULL;
        pair_connect(&pair);
        loop_run(&pair.loop);
        assert_got(&pair.server, "ab\ncd\n");
        assert_int_equal(pair.server.counts[SIDE_DATA], 2);
        assert_int_equal(pair.server.end, STREAM_EOF);
        pair_close(&pair);
    }
}

static size_t pause_and_leave_all(struct side *server, struct slice data)
{
    (void)data;
    stream_pause(server->stream);
    stream_set_deadline(server->stream, 20); /* goes on then */
    server->eat = NULL;
    return 0;
}

static void resume_at_deadline(struct side *server, enum side_event event)
{
    if (event == SIDE_DATA)
        return;
    if (event == SIDE_DEADLINE) {
        assert_int_equal(server->counts[SIDE_DATA], 1); /* nothing was shown meanwhile */
        assert_int_equal(server->counts[SIDE_END], 0);
        stream_resume(server->stream);
        stream_resume(server->stream);
    }
}

#define FLOOD_BYTES (8 * 1024 * 1024)

static void flood(struct side *client, enum side_event event)
{
    static const char bytes[20000];
    size_t *left = client->extra;

    if (event == SIDE_END)
        return;
    while (*left > 0 && stream_unwritten(client->stream) <= STREAM_HIGH_WATER) {
        size_t len = *left < sizeof(bytes) ? *left : sizeof(bytes);
        stream_write(client->stream, slice_make(bytes, len));
        *left -= len;
    }
    if (*left == 0)
        side_finish(client);
}

static void flood_tls(struct side *client, enum side_event event)
{
    if (event == SIDE_CONNECTED)
        connect_tls(client, event);
    else
        flood(client, event);
}

static void while_the_owner_is_paused_the_peer_has_to_wait(void **state)
{
    (void)state;
    for (int way = PLAIN; way <= TLS; way++) {
        size_t left = FLOOD_BYTES;
        struct pair pair;
        pair_open(&pair);
        pair.client.extra = &left;
        pair.client.on = way == TLS ? flood_tls : flood;
        pair.server.eat = pause_and_leave_all;
        pair.server.on = resume_at_deadline;
        pair.on_accepted = way == TLS ? accept_tls : NULL;
        pair_connect(&pair);
        loop_run(&pair.loop);
        if (buf_len(&pair.server.got) != FLOOD_BYTES)
            fail_msg("%s: got %zu: %s, %s", ways[way], buf_len(&pair.server.got), pair.server.error,
                     pair.client.error);
        assert_int_equal(pair.server.counts[SIDE_DEADLINE], 1);
        assert_int_equal(pair.server.end, STREAM_EOF);
        pair_close(&pair);
    }
}

/* A paused stream takes in at most what one read brings, and leaves the rest to the kernel. */
static size_t hold_input(struct side *server, struct slice data)
{
    (void)data;
    stream_pause(server->stream);
    stream_set_deadline(server->stream, 30);
    return 0;
}

static void close_at_deadline(struct side *server, enum side_event event)
{
    if (event == SIDE_DEADLINE) {
        struct stream *s = server->stream;
        assert_true(buf_len(&s->kept) <= LOOP_READ_BYTES);
        assert_true(buf_len(&s->sealed) <= LOOP_READ_BYTES);
        side_close(server);
    }
}

static void what_a_paused_stream_holds_is_bounded(void **state)
{
    (void)state;
    for (int way = PLAIN; way <= TLS; way++) {
        size_t left = 64 * FLOOD_BYTES;
        struct pair pair;
        pair_open(&pair);
        pair.client.extra = &left;
        pair.client.on = way == TLS ? flood_tls : flood;
        pair.server.eat = hold_input;
        pair.server.on = close_at_deadline;
        pair.on_accepted = way == TLS ? accept_tls : NULL;
        pair_connect(&pair);
        loop_run(&pair.loop);
        assert_int_equal(pair.server.counts[SIDE_DATA], 1);
        assert_int_equal(pair.client.end, STREAM_RESET);
        assert_true(left > 0);
        pair_close(&pair);
    }
}

static size_t leave_everything(struct side *server, struct slice data)
{
    assert_true(data.len < STREAM_INPUT_MAX + LOOP_READ_BYTES);
    if (server->counts[SIDE_DATA] == 1)
        stream_set_deadline(server->stream, 30);
    return 0;
}

static void what_an_owner_leaves_is_bounded_even_when_it_does_not_pause(void **state)
{
    size_t left = 64 * FLOOD_BYTES;
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.client.extra = &left;
    pair.client.on = flood;
    pair.server.eat = leave_everything;
    pair.server.on = close_at_deadline;
    pair_connect(&pair);
    loop_run(&pair.loop);
    assert_int_equal(pair.server.counts[SIDE_DEADLINE], 1);
    pair_close(&pair);
}

/* --- fairness -------------------------------------------------------------------------------- */

struct turns {
    uint64_t turn;
    unsigned in_turn, most;
};

static size_t count_in_turn(struct side *server, struct slice data)
{
    struct turns *turns = server->extra;

    if (turns->turn != server->loop->turn)
        turns->in_turn = 0;
    turns->turn = server->loop->turn;
    if (++turns->in_turn > turns->most)
        turns->most = turns->in_turn;
    return data.len;
}

struct flooder {
    int fd;
    pthread_t thread;
    struct buf got;
    int error;
};

static void *flood_socket(void *owner)
{
    static const char bytes[1 << 20];
    struct flooder *flooder = owner;

    for (int i = 0; i < 64; i++)
        socket_send(flooder->fd, slice_make(bytes, sizeof(bytes)));
    close(flooder->fd);
    return NULL;
}

static void a_busy_peer_gets_its_share_of_a_turn_and_no_more(void **state)
{
    struct turns turns = { 0 };
    struct flooder flooder;
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.server.extra = &turns;
    pair.server.eat = count_in_turn;
    flooder.fd = pair_socket(&pair);
    pthread_create(&flooder.thread, NULL, flood_socket, &flooder);
    loop_run(&pair.loop);
    pthread_join(flooder.thread, NULL);
    assert_int_equal(pair.server.end, STREAM_EOF);
    if (turns.most > 2)
        fail_msg("%u reads in one turn", turns.most);
    pair_close(&pair);
}

/* --- output ---------------------------------------------------------------------------------- */

static void reply_in_pieces(struct side *server, enum side_event event)
{
    if (event != SIDE_DATA)
        return;
    for (int i = 0; i < 10; i++)
        side_say(server, "250 ok\r\n");
}

static void ask(struct side *client)
{
    side_say(client, "?");
}

static void ask_plain(struct side *client, enum side_event event)
{
    if (event == SIDE_CONNECTED)
        ask(client);
    else if (event == SIDE_DATA)
        side_finish(client);
}

static void ask_secure(struct side *client, enum side_event event)
{
    connect_tls(client, event);
    if (event == SIDE_SECURE)
        ask(client);
    else if (event == SIDE_DATA)
        side_finish(client);
}

static void small_writes_of_one_turn_leave_together(void **state)
{
    (void)state;
    for (int way = PLAIN; way <= TLS; way++) {
        struct pair pair;
        pair_open(&pair);
        pair.server.on = reply_in_pieces;
        pair.client.on = way == TLS ? ask_secure : ask_plain;
        pair.on_accepted = way == TLS ? accept_tls : NULL;
        pair_connect(&pair);
        loop_run(&pair.loop);
        assert_int_equal(buf_len(&pair.client.got), 80);
        assert_int_equal(pair.client.counts[SIDE_DATA], 1);
        pair_close(&pair);
    }
}

struct reply_letter {
    struct letter letter;
    struct side *side;
    uint64_t posted_turn;
};

static void deliver_reply(struct letter *letter)
{
    struct reply_letter *reply = container_of(letter, struct reply_letter, letter);

    for (int i = 0; i < 10; i++)
        side_say(reply->side, "250 ok\r\n");
    stream_resume(reply->side->stream);
}

static size_t wait_for_letter(struct side *server, struct slice data)
{
    struct reply_letter *reply = server->extra;

    stream_pause(server->stream);
    reply->side = server;
    reply->letter.deliver = deliver_reply;
    mailbox_post(&server->loop->mailbox, &reply->letter);
    return data.len;
}

static void replies_that_a_letter_brings_leave_together_too(void **state)
{
    (void)state;
    for (int way = PLAIN; way <= TLS; way++) {
        struct reply_letter reply;
        struct pair pair;
        pair_open(&pair);
        pair.server.extra = &reply;
        pair.server.eat = wait_for_letter;
        pair.client.on = way == TLS ? ask_secure : ask_plain;
        pair.on_accepted = way == TLS ? accept_tls : NULL;
        pair_connect(&pair);
        loop_run(&pair.loop);
        assert_int_equal(buf_len(&pair.client.got), 80);
        assert_int_equal(pair.client.counts[SIDE_DATA], 1);
        pair_close(&pair);
    }
}

static void write_much(struct side *server)
{
    static char bytes[4 * 1024 * 1024];

    stream_write(server->stream, slice_make(bytes, STREAM_HIGH_WATER));
    stream_write(server->stream, SLICE("x"));
    assert_int_equal(stream_unwritten(server->stream), STREAM_HIGH_WATER + 1);
    stream_write(server->stream, slice_make(bytes, sizeof(bytes)));
}

static void write_little(struct side *server)
{
    static char bytes[STREAM_HIGH_WATER];

    stream_write(server->stream, slice_make(bytes, sizeof(bytes)));
}

static void finish_when_drained(struct side *server, enum side_event event)
{
    if (event == SIDE_DRAINED) {
        assert_int_equal(stream_unwritten(server->stream), 0);
        side_finish(server);
    }
}

static void drained_is_said_once_and_only_after_the_high_water_mark(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.on_accepted = write_much;
    pair.server.on = finish_when_drained;
    pair_connect(&pair);
    loop_run(&pair.loop);
    assert_int_equal(pair.server.counts[SIDE_DRAINED], 1);
    assert_int_equal(buf_len(&pair.client.got), STREAM_HIGH_WATER + 1 + 4 * 1024 * 1024);
    pair_close(&pair);

    pair_open(&pair);
    pair.on_accepted = write_little;
    int fd = pair_socket(&pair);
    shutdown(fd, SHUT_WR);
    loop_run(&pair.loop);
    assert_int_equal(pair.server.counts[SIDE_DRAINED], 0);
    close(fd);
    pair_close(&pair);
}

static void write_without_end(struct side *server)
{
    static char bytes[1024 * 1024];

    for (int i = 0; i < 66; i++)
        stream_write(server->stream, slice_make(bytes, sizeof(bytes)));
    stream_pause(server->stream);
}

static void an_owner_that_never_stops_writing_loses_the_connection_not_the_memory(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.on_accepted = write_without_end;
    int fd = pair_socket(&pair);
    loop_run(&pair.loop);
    assert_int_equal(pair.server.counts[SIDE_END], 1);
    assert_int_equal(pair.server.end, STREAM_RESET);
    assert_non_null(strstr(pair.server.error, "too much output"));
    close(fd);
    pair_close(&pair);
}

/* --- deadlines ------------------------------------------------------------------------------- */

static void set_and_move_deadline(struct side *server)
{
    stream_set_deadline(server->stream, 1);
    stream_set_deadline(server->stream, 100000);
    stream_set_deadline(server->stream, 10);
}

static void set_it_again_once(struct side *server, enum side_event event)
{
    if (event != SIDE_DEADLINE)
        return;
    if (server->counts[SIDE_DEADLINE] == 1)
        stream_set_deadline(server->stream, 10);
    else
        side_close(server);
}

static void a_deadline_fires_once_for_each_time_it_is_set(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.on_accepted = set_and_move_deadline;
    pair.server.on = set_it_again_once;
    pair_connect(&pair);
    loop_run(&pair.loop);
    assert_int_equal(pair.server.counts[SIDE_DEADLINE], 2);
    assert_int_equal(pair.client.end, STREAM_EOF);
    pair_close(&pair);
}

static void unset_deadline(struct side *server)
{
    stream_set_deadline(server->stream, 1);
    stream_set_deadline(server->stream, 0);
    server->other->on = NULL;
    stream_set_deadline(server->other->stream, 50); /* fires later, on the other side */
}

static void close_client(struct side *client, enum side_event event)
{
    if (event == SIDE_DEADLINE)
        side_close(client);
}

static void unset_server_watch_client(struct side *server)
{
    unset_deadline(server);
    server->other->on = close_client;
}

static void a_deadline_that_was_unset_does_not_fire(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.on_accepted = unset_server_watch_client;
    pair_connect(&pair);
    loop_run(&pair.loop);
    assert_int_equal(pair.server.counts[SIDE_DEADLINE], 0);
    assert_int_equal(pair.client.counts[SIDE_DEADLINE], 1);
    assert_int_equal(pair.server.end, STREAM_EOF);
    pair_close(&pair);
}

/* --- ends ------------------------------------------------------------------------------------ */

/* Like a session that waits for the disk at each line. */
static size_t one_line_at_a_time(struct side *server, struct slice data)
{
    size_t end = slice_find(data, '\n');

    if (end == SLICE_NONE)
        return 0;
    side_take(server, slice_first(data, end + 1));
    stream_pause(server->stream);
    stream_set_deadline(server->stream, 5);
    return end + 1;
}

static void answer_at_deadline(struct side *server, enum side_event event)
{
    if (event != SIDE_DEADLINE)
        return;
    side_say(server, "250 ok\r\n");
    stream_resume(server->stream);
}

static void commands_and_fin_at_once_get_all_their_answers(void **state)
{
    struct pair pair;
    struct buf got;

    (void)state;
    buf_init(&got, 1000);
    pair_open(&pair);
    pair.server.eat = one_line_at_a_time;
    pair.server.on = answer_at_deadline;
    int fd = pair_socket(&pair);
    socket_send(fd, SLICE("one\r\ntwo\r\nthree\r\nhalf"));
    shutdown(fd, SHUT_WR);
    loop_run(&pair.loop);
    assert_got(&pair.server, "one\r\ntwo\r\nthree\r\n");
    assert_int_equal(pair.server.counts[SIDE_END], 1);
    assert_int_equal(pair.server.end, STREAM_EOF);
    assert_int_equal(socket_read_all(fd, &got), 0);
    assert_true(slice_equal(buf_slice(&got), SLICE("250 ok\r\n250 ok\r\n250 ok\r\n")));
    close(fd);
    buf_free(&got);
    pair_close(&pair);
}

static void write_at_the_end(struct side *server, enum side_event event)
{
    static char bytes[200000];

    if (event == SIDE_END) {
        memset(bytes, 'b', sizeof(bytes));
        stream_write(server->stream, slice_make(bytes, sizeof(bytes)));
    }
}

static void what_is_written_in_the_last_event_still_goes_out(void **state)
{
    struct pair pair;
    struct buf got;

    (void)state;
    buf_init(&got, 1000000);
    pair_open(&pair);
    pair.server.on = write_at_the_end;
    int fd = pair_socket(&pair);
    shutdown(fd, SHUT_WR);
    loop_run(&pair.loop);
    assert_int_equal(socket_read_all(fd, &got), 0);
    assert_int_equal(buf_len(&got), 200000);
    close(fd);
    buf_free(&got);
    pair_close(&pair);
}

static void say_bye_and_finish(struct side *server, enum side_event event)
{
    if (event == SIDE_DATA) {
        side_say(server, "421 bye\r\n");
        side_finish(server);
    }
}

static void *talk_on_and_read(void *owner)
{
    static const char bytes[1 << 20];
    struct flooder *flooder = owner;

    for (int i = 0; i < 16; i++)
        socket_send(flooder->fd, slice_make(bytes, sizeof(bytes)));
    shutdown(flooder->fd, SHUT_WR);
    flooder->error = socket_read_all(flooder->fd, &flooder->got);
    close(flooder->fd);
    return NULL;
}

static void finishing_with_unread_input_does_not_destroy_the_last_reply(void **state)
{
    (void)state;
    for (int early = 0; early < 2; early++) {
        struct flooder flooder;
        struct pair pair;

        buf_init(&flooder.got, 1000);
        pair_open(&pair);
        if (early)
            stream_leave_early(&pair.loop);
        pair.server.on = say_bye_and_finish;
        flooder.fd = pair_socket(&pair);
        pthread_create(&flooder.thread, NULL, talk_on_and_read, &flooder);
        loop_run(&pair.loop);
        pthread_join(flooder.thread, NULL);
        assert_int_equal(pair.server.counts[SIDE_DATA], 1);
        assert_int_equal(pair.server.counts[SIDE_END], 0);
        assert_int_equal(flooder.error, 0);
        assert_true(slice_equal(buf_slice(&flooder.got), SLICE("421 bye\r\n")));
        buf_free(&flooder.got);
        pair_close(&pair);
    }
}

struct patience {
    struct loop_timer timer; /* fires before our patience is over */
    bool is_over, is_closed;
};

static void on_patience_over(void *owner)
{
    struct patience *patience = owner;

    patience->is_over = !patience->is_closed;
}

static void on_let_go(void *owner)
{
    struct patience *patience = owner;

    patience->is_closed = true;
    loop_timer_close(&patience->timer, NULL);
}

static void say_bye_and_leave_early(struct side *server, enum side_event event)
{
    say_bye_and_finish(server, event);
    if (event == SIDE_DATA)
        stream_leave_early(server->loop);
}

static void watch_the_end(struct side *server)
{
    stream_at_close(server->stream, on_let_go, server->extra);
}

/* Before or after it took its leave. */
static void who_has_got_everything_and_says_nothing_is_not_waited_for(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        struct patience patience = { .is_over = false };
        struct buf got;
        struct pair pair;

        buf_init(&got, 1000);
        pair_open(&pair);
        loop_timer_init(&pair.loop, &patience.timer, on_patience_over, &patience);
        loop_timer_start(&patience.timer, 1500, 0);
        pair.server.on = late ? say_bye_and_leave_early : say_bye_and_finish;
        pair.on_accepted = watch_the_end;
        pair.server.extra = &patience;
        if (!late)
            stream_leave_early(&pair.loop);
        int fd = pair_socket(&pair);
        socket_send(fd, SLICE("hello"));
        loop_run(&pair.loop); /* the peer never closes */
        assert_true(patience.is_closed);
        assert_false(patience.is_over);
        assert_int_equal(socket_read_all(fd, &got), 0);
        assert_true(slice_equal(buf_slice(&got), SLICE("421 bye\r\n")));
        close(fd);
        buf_free(&got);
        pair_close(&pair);
    }
}

static void say_bye_and_leave_now(struct side *server, enum side_event event)
{
    say_bye_and_finish(server, event);
    if (event == SIDE_DATA)
        stream_leave_by(server->loop, 0);
}

static void who_must_leave_has_said_its_last_words_and_waits_for_nobody(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        struct buf got;
        struct pair pair;

        buf_init(&got, 1000);
        pair_open(&pair);
        pair.server.on = late ? say_bye_and_leave_now : say_bye_and_finish;
        int fd = pair_socket(&pair);
        socket_send(fd, SLICE("hello"));
        if (!late)
            stream_leave_by(&pair.loop, 0);
        loop_run(&pair.loop); /* the peer never closes */
        assert_true(list_is_empty(&pair.loop.leaving));
        assert_int_equal(pair.loop.finishing, 0);
        assert_int_equal(socket_read_all(fd, &got), 0);
        assert_true(slice_equal(buf_slice(&got), SLICE("421 bye\r\n")));
        close(fd);
        buf_free(&got);
        pair_close(&pair);
    }
}

static void a_reset_is_told_once(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    int fd = pair_socket(&pair);
    socket_send(fd, SLICE("some bytes"));
    socket_reset(fd);
    loop_run(&pair.loop);
    assert_int_equal(pair.server.counts[SIDE_END], 1);
    assert_int_equal(pair.server.end, STREAM_RESET);
    assert_string_not_equal(pair.server.error, "");
    pair_close(&pair);
}

static void write_and_pause(struct side *server)
{
    stream_pause(server->stream);
    write_much(server);
}

static void a_paused_owner_hears_at_once_that_its_output_is_lost(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.on_accepted = write_and_pause;
    int fd = pair_socket(&pair);
    socket_reset(fd);
    loop_run(&pair.loop);
    assert_int_equal(pair.server.counts[SIDE_END], 1);
    assert_int_equal(pair.server.end, STREAM_RESET);
    pair_close(&pair);
}

static void write_in_the_dark(struct side *server)
{
    write_much(server);
}

static void the_last_words_of_a_peer_that_hung_up_are_heard(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.on_accepted = write_in_the_dark;
    int fd = pair_socket(&pair);
    socket_send(fd, SLICE("421 too busy\r\n"));
    close(fd);
    loop_run(&pair.loop);
    assert_got(&pair.server, "421 too busy\r\n");
    assert_int_equal(pair.server.counts[SIDE_END], 1); /* EOF or RESET, as the kernel has it */
    pair_close(&pair);
}

static void a_refused_connection_is_unreachable_and_told_later(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    struct sockaddr_in address = pair_address(&pair);
    listener_close(pair.listener);
    pair.listener = NULL;
    loop_run(&pair.loop);
    pair.client.stream =
        stream_connect(&pair.loop, (struct sockaddr *)&address, &side_events, &pair.client);
    assert_int_equal(pair.client.counts[SIDE_END], 0);
    loop_run(&pair.loop);
    assert_int_equal(pair.client.counts[SIDE_END], 1);
    assert_int_equal(pair.client.end, STREAM_UNREACHABLE);
    assert_string_equal(pair.client.error, "connection refused");
    pair_close(&pair);
}

/* --- an owner that leaves at any moment ------------------------------------------------------ */

struct leaving {
    enum side_event when;
    void (*leave)(struct side *side);
    bool tls;
};

static void leave_when(struct side *side, enum side_event event)
{
    static const char bytes[1024 * 1024];
    struct leaving *leaving = side->extra;

    if (event == leaving->when) {
        side_say(side, "x"); /* also with something to do */
        leaving->leave(side);
        return;
    }
    if (event == SIDE_CONNECTED && leaving->tls)
        connect_tls(side, event);
    else if (event == SIDE_CONNECTED || event == SIDE_SECURE)
        stream_write(side->stream, slice_make(bytes, sizeof(bytes)));
}

static void greet(struct side *server)
{
    side_say(server, "220 hello\r\n");
    stream_set_deadline(server->other->stream, 30);
    stream_set_deadline(server->stream, 60);
}

static void greet_tls(struct side *server)
{
    accept_tls(server);
    greet(server);
}

static void end_the_test(struct side *server, enum side_event event)
{
    if (event == SIDE_DEADLINE)
        side_close(server);
}

static void count_closed(void *owner)
{
    ++*(unsigned *)owner;
}

static void an_owner_may_leave_in_any_event_and_hears_no_more(void **state)
{
    static void (*const leaves[])(struct side *) = { side_close, side_finish };

    (void)state;
    for (enum side_event when = SIDE_DATA; when <= SIDE_END; when++)
        for (size_t i = 0; i < ARRAY_LEN(leaves); i++)
            for (int way = PLAIN; way <= TLS; way++) {
                struct leaving leaving = { when, leaves[i], way == TLS };
                struct pair pair;
                if (when == SIDE_SECURE && way == PLAIN)
                    continue;
                pair_open(&pair);
                pair.client.extra = &leaving;
                pair.client.on = leave_when;
                pair.server.on = end_the_test;
                pair.on_accepted = way == TLS ? greet_tls : greet;
                unsigned closed = 0;
                pair_connect(&pair);
                stream_at_close(pair.client.stream, count_closed, &closed);
                loop_run(&pair.loop); /* the harness asserts that nothing follows */
                if (pair.client.counts[when] != 1 || closed != 1)
                    fail_msg("%s, event %d: %u times", ways[way], (int)when,
                             pair.client.counts[when]);
                pair_close(&pair);
            }
}

/* --- TLS ------------------------------------------------------------------------------------- */

static size_t take_starttls(struct side *server, struct slice data)
{
    if (stream_is_secure(server->stream)) {
        side_take(server, data);
        return data.len;
    }
    size_t line = slice_find(data, '\n') + 1;
    assert_int_equal(data.len, line + strlen("injected\r\n"));
    side_say(server, "220 go ahead\r\n");
    accept_tls(server);
    side_say(server, "220 secure\r\n"); /* waits for the handshake */
    return line;
}

static void starttls_client(struct side *client, enum side_event event)
{
    if (event == SIDE_CONNECTED)
        side_say(client, "STARTTLS\r\ninjected\r\n");
    if (event == SIDE_DATA && client->counts[SIDE_DATA] == 1)
        stream_start_tls_client(client->stream, client_tls, "mail.example", HANDSHAKE_MS);
    if (event == SIDE_DATA && client->counts[SIDE_DATA] == 2) {
        side_say(client, "inside");
        side_finish(client);
    }
}

static void starttls_throws_away_what_came_in_clear(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.server.eat = take_starttls;
    pair.client.on = starttls_client;
    pair_connect(&pair);
    loop_run(&pair.loop);
    assert_got(&pair.server, "inside");
    assert_got(&pair.client, "220 go ahead\r\n220 secure\r\n");
    assert_string_equal(pair.client.tls, "TLSv1.3 TLS_AES_256_GCM_SHA384");
    assert_string_equal(pair.server.tls, pair.client.tls);
    assert_int_equal(pair.server.end, STREAM_EOF);
    pair_close(&pair);
}

static size_t leave_and_start_later(struct side *server, struct slice data)
{
    if (stream_is_secure(server->stream)) {
        side_take(server, data);
        return data.len;
    }
    stream_pause(server->stream);
    stream_set_deadline(server->stream, 5);
    return 0;
}

static void start_at_deadline(struct side *server, enum side_event event)
{
    if (event == SIDE_DEADLINE) {
        side_say(server, "220 go ahead\r\n");
        accept_tls(server); /* still paused: that must not hold up the handshake */
    } else if (event == SIDE_SECURE) {
        side_say(server, "220 secure\r\n");
        stream_resume(server->stream);
    }
}

static void tls_may_begin_outside_an_event_and_while_paused(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.server.eat = leave_and_start_later;
    pair.server.on = start_at_deadline;
    pair.client.on = starttls_client;
    pair_connect(&pair);
    loop_run(&pair.loop);
    assert_got(&pair.server, "inside");
    assert_got(&pair.client, "220 go ahead\r\n220 secure\r\n");
    pair_close(&pair);
}

static void accept_tls_impatiently(struct side *server)
{
    stream_start_tls_server(server->stream, server_tls, 30);
}

static void a_handshake_that_does_not_go_on_is_ended(void **state)
{
    static const struct {
        const char *label;
        struct slice sent;
    } rows[] = {
        { "silence", { NULL, 0 } },
        { "half a ClientHello", SLICE("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pair pair;
        struct buf got;
        buf_init(&got, 1000);
        pair_open(&pair);
        pair.on_accepted = accept_tls_impatiently;
        int fd = pair_socket(&pair);
        socket_send(fd, rows[i].sent);
        loop_run(&pair.loop);
        if (pair.server.counts[SIDE_END] != 1 || pair.server.end != STREAM_TLS_FAILED ||
            strstr(pair.server.error, "too long") == NULL)
            fail_msg("%s: end %d: %s", rows[i].label, (int)pair.server.end, pair.server.error);
        socket_read_all(fd, &got);
        assert_int_equal(buf_len(&got), 0);
        close(fd);
        buf_free(&got);
        pair_close(&pair);
    }
}

static void greet_after_tls(struct side *server)
{
    accept_tls(server);
    side_say(server, "220 this must never be seen in clear\r\n");
}

static void a_failed_handshake_leaves_an_alert_and_no_clear_text(void **state)
{
    static const struct {
        const char *label;
        struct slice sent;
        bool alert;
    } rows[] = {
        { "mail", SLICE("EHLO x\r\nQUIT\r\n"), false },
        { "a bad record", SLICE("\x16\x03\x01\x00\x05garbage that follows"), true },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pair pair;
        struct buf got;
        buf_init(&got, 1000);
        pair_open(&pair);
        pair.on_accepted = greet_after_tls;
        int fd = pair_socket(&pair);
        socket_send(fd, rows[i].sent);
        shutdown(fd, SHUT_WR);
        loop_run(&pair.loop);
        assert_int_equal(pair.server.end, STREAM_TLS_FAILED);
        assert_int_equal(pair.server.counts[SIDE_SECURE], 0);
        if (socket_read_all(fd, &got) != 0 || buf_len(&got) != (rows[i].alert ? 7u : 0u))
            fail_msg("%s: %zu bytes came back", rows[i].label, buf_len(&got));
        if (rows[i].alert)
            assert_int_equal(buf_slice(&got).data[0], 21);
        close(fd);
        buf_free(&got);
        pair_close(&pair);
    }
}

static void connect_with_the_wrong_name(struct side *client, enum side_event event)
{
    if (event == SIDE_CONNECTED)
        stream_start_tls_client(client->stream, client_tls, "other.example", HANDSHAKE_MS);
}

static void a_certificate_for_another_name_ends_both_sides(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.on_accepted = accept_tls;
    pair.client.on = connect_with_the_wrong_name;
    pair_connect(&pair);
    loop_run(&pair.loop);
    assert_int_equal(pair.client.end, STREAM_TLS_FAILED);
    assert_non_null(strstr(pair.client.error, "hostname mismatch"));
    assert_int_equal(pair.client.counts[SIDE_SECURE], 0);
    assert_int_equal(pair.server.end, STREAM_TLS_FAILED); /* our alert has reached it */
    assert_non_null(strstr(pair.server.error, "alert"));
    pair_close(&pair);
}

static void close_when_heard(struct side *client, enum side_event event)
{
    connect_tls(client, event);
    if (event == SIDE_SECURE)
        side_say(client, "half a mess");
    if (event == SIDE_DATA)
        side_close(client); /* FIN, but no close_notify */
}

static void acknowledge(struct side *server, enum side_event event)
{
    if (event == SIDE_DATA)
        side_say(server, "heard");
}

static void an_end_without_close_notify_is_told_apart(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.on_accepted = accept_tls;
    pair.server.on = acknowledge;
    pair.client.on = close_when_heard;
    pair_connect(&pair);
    loop_run(&pair.loop);
    assert_got(&pair.server, "half a mess");
    assert_int_equal(pair.server.counts[SIDE_END], 1);
    assert_int_equal(pair.server.end, STREAM_TRUNCATED);
    pair_close(&pair);
}

/* A client of OpenSSL's own, blocking, on a thread of its own. */
struct stranger {
    int fd;
    void (*talk)(SSL *ssl, int fd);
    pthread_t thread;
    bool secure;
};

static void *run_stranger(void *owner)
{
    struct stranger *stranger = owner;
    SSL_CTX *ssl_ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ssl_ctx);

    SSL_set_fd(ssl, stranger->fd);
    stranger->secure = SSL_connect(ssl) == 1;
    if (stranger->secure)
        stranger->talk(ssl, stranger->fd);
    SSL_free(ssl);
    SSL_CTX_free(ssl_ctx);
    close(stranger->fd);
    return NULL;
}

static void meet_stranger(struct pair *pair, void (*talk)(SSL *ssl, int fd))
{
    struct stranger stranger = { .fd = pair_socket(pair), .talk = talk };
    int size = 4096;

    setsockopt(stranger.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    if (pair->on_accepted == NULL)
        pair->on_accepted = accept_tls;
    pthread_create(&stranger.thread, NULL, run_stranger, &stranger);
    loop_run(&pair->loop);
    pthread_join(stranger.thread, NULL);
    assert_true(stranger.secure);
}

static void talk_garbage(SSL *ssl, int fd)
{
    char byte;

    SSL_write(ssl, "before\r\n", 8);
    SSL_read(ssl, &byte, 1);
    socket_send(fd, SLICE("\x17\x03\x03\x00\x20 this record was never encrypted ..."));
    while (recv(fd, &byte, 1, 0) > 0)
        continue;
}

static void a_forged_record_ends_the_connection(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.server.on = acknowledge;
    meet_stranger(&pair, talk_garbage);
    assert_got(&pair.server, "before\r\n");
    assert_int_equal(pair.server.end, STREAM_TLS_FAILED);
    pair_close(&pair);
}

static void talk_then_half_close(SSL *ssl, int fd)
{
    char byte;

    (void)fd;
    SSL_write(ssl, "one\r\ntwo\r\n", 10);
    SSL_shutdown(ssl); /* close_notify; still reads */
    for (size_t i = 0; i < strlen("250 ok\r\n250 ok\r\n"); i++)
        if (SSL_read(ssl, &byte, 1) != 1)
            abort();
    if (SSL_read(ssl, &byte, 1) != 0 ||
        SSL_get_shutdown(ssl) != (SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN))
        abort(); /* our close_notify came behind the answers */
}

static void a_half_closed_tls_connection_gets_its_answers_and_our_close_notify(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.server.eat = one_line_at_a_time;
    pair.server.on = answer_at_deadline;
    meet_stranger(&pair, talk_then_half_close);
    assert_got(&pair.server, "one\r\ntwo\r\n");
    assert_int_equal(pair.server.counts[SIDE_END], 1);
    assert_int_equal(pair.server.end, STREAM_EOF);
    pair_close(&pair);
}

static void talk_key_updates(SSL *ssl, int fd)
{
    char bytes[4096];

    for (int i = 0; i < 100000; i++) {
        SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED);
        if (SSL_write(ssl, "x", 1) != 1)
            break; /* we have been cut off */
    }
    while (recv(fd, bytes, sizeof(bytes), 0) > 0)
        continue;
}

static void accept_tls_with_a_small_buffer(struct side *server)
{
    int size = 4096;

    uv_send_buffer_size(&server->stream->uv.handle, &size); /* so that it is soon full */
    accept_tls(server);
}

static void a_peer_that_makes_tls_talk_and_does_not_listen_is_cut_off(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair);
    pair.on_accepted = accept_tls_with_a_small_buffer;
    meet_stranger(&pair, talk_key_updates);
    assert_int_equal(pair.server.counts[SIDE_END], 1);
    assert_non_null(strstr(pair.server.error, "does not take what TLS has to say"));
    pair_close(&pair);
}

/* --- cost ------------------------------------------------------------------------------------ */

static void an_idle_stream_owns_no_buffers(void **state)
{
    (void)state;
    for (int way = PLAIN; way <= TLS; way++) {
        struct pair pair;
        pair_open(&pair);
        pair.server.on = reply_in_pieces;
        pair.client.on = way == TLS ? ask_secure : ask_plain;
        pair.on_accepted = way == TLS ? accept_tls : NULL;
        pair_connect(&pair);
        while (pair.client.counts[SIDE_DATA] == 0)
            uv_run(&pair.loop.uv, UV_RUN_ONCE);
        struct stream *s = pair.server.stream;
        const struct buf *const bufs[] = { &s->kept, &s->sealed, &s->out, &s->wire, &s->flight };
        for (size_t i = 0; i < ARRAY_LEN(bufs); i++)
            if (bufs[i]->data != NULL)
                fail_msg("%s: buffer %zu", ways[way], i);
        pair_close(&pair);
    }
    assert_true(sizeof(struct stream) <= 1280);
}

static void every_end_has_a_text(void **state)
{
    (void)state;
    for (enum stream_end end = STREAM_EOF; end <= STREAM_UNREACHABLE; end++)
        assert_non_null(stream_end_text(end));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_echo_comes_back_whole_whatever_the_cuts),
        cmocka_unit_test(what_is_left_is_shown_again_with_what_comes_behind_it),
        cmocka_unit_test(while_the_owner_is_paused_the_peer_has_to_wait),
        cmocka_unit_test(what_a_paused_stream_holds_is_bounded),
        cmocka_unit_test(what_an_owner_leaves_is_bounded_even_when_it_does_not_pause),
        cmocka_unit_test(a_busy_peer_gets_its_share_of_a_turn_and_no_more),
        cmocka_unit_test(small_writes_of_one_turn_leave_together),
        cmocka_unit_test(replies_that_a_letter_brings_leave_together_too),
        cmocka_unit_test(drained_is_said_once_and_only_after_the_high_water_mark),
        cmocka_unit_test(an_owner_that_never_stops_writing_loses_the_connection_not_the_memory),
        cmocka_unit_test(a_deadline_fires_once_for_each_time_it_is_set),
        cmocka_unit_test(a_deadline_that_was_unset_does_not_fire),
        cmocka_unit_test(commands_and_fin_at_once_get_all_their_answers),
        cmocka_unit_test(what_is_written_in_the_last_event_still_goes_out),
        cmocka_unit_test(finishing_with_unread_input_does_not_destroy_the_last_reply),
        cmocka_unit_test(who_has_got_everything_and_says_nothing_is_not_waited_for),
        cmocka_unit_test(who_must_leave_has_said_its_last_words_and_waits_for_nobody),
        cmocka_unit_test(a_reset_is_told_once),
        cmocka_unit_test(a_paused_owner_hears_at_once_that_its_output_is_lost),
        cmocka_unit_test(the_last_words_of_a_peer_that_hung_up_are_heard),
        cmocka_unit_test(a_refused_connection_is_unreachable_and_told_later),
        cmocka_unit_test(an_owner_may_leave_in_any_event_and_hears_no_more),
        cmocka_unit_test(starttls_throws_away_what_came_in_clear),
        cmocka_unit_test(tls_may_begin_outside_an_event_and_while_paused),
        cmocka_unit_test(a_handshake_that_does_not_go_on_is_ended),
        cmocka_unit_test(a_failed_handshake_leaves_an_alert_and_no_clear_text),
        cmocka_unit_test(a_certificate_for_another_name_ends_both_sides),
        cmocka_unit_test(an_end_without_close_notify_is_told_apart),
        cmocka_unit_test(a_forged_record_ends_the_connection),
        cmocka_unit_test(a_half_closed_tls_connection_gets_its_answers_and_our_close_notify),
        cmocka_unit_test(a_peer_that_makes_tls_talk_and_does_not_listen_is_cut_off),
        cmocka_unit_test(an_idle_stream_owns_no_buffers),
        cmocka_unit_test(every_end_has_a_text),
    };

    alarm(300);
    return cmocka_run_group_tests(tests, make_contexts, free_contexts);
}
