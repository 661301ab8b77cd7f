/* timeline.c - what time is it for the queue, and how long has it run?
 *
 * THE DESIGN
 *
 * The wall clock may be set, by days and in both directions, while mail waits. So nothing in the
 * queue is measured by it. The queue has two clocks of its own. Both begin with the wall time of
 * the day on which queue.db was made, and from then on count what has passed:
 *
 *   now      by this things are due. It counts the time that the machine is up, asleep or not, and
 *            the time for which nobody had the queue open: what fell due meanwhile is due at once.
 *   lived    by this things are old: the give-up age, the delay notice, how long a record is kept.
 *            It counts only the time for which a process had the queue open on a machine that was
 *            awake. A relay that was off over the holidays has not tried anybody for long, and does
 *            not give up at its first failed attempt.
 *
 * How long was nobody there? Within one start of the machine the kernel knows. Over another start
 * there is only the wall clock's word: none but a longer or shorter wait hangs on it. When it went
 * back, no time has passed, and what waited waits for no longer than it had to. When it went ahead,
 * all that waits is due; it leaves as any backlog does, in leases of bounded size through the
 * ceilings of the upstreams. Neither makes anything older.
 *
 * The latest moment is kept in queue.db: at start, at the end and once a minute. A crash forgets up
 * to that minute of age, and of `now` nothing but with the machine. Where none is known, in a
 * queue.db from before there were any or a damaged one, the first of what waits is due.
 *
 * With the moment goes the largest id that was given out, for the same reason: ids are made by the
 * wall clock, and must not come twice.
 *
 * What is shown is wall time: when something came or happened is noted as the wall clock said then;
 * when it is due is told by how far that is from now. */
#include "queue/timeline.h"

#include <string.h>

#include "queue/queue_priv.h"
#include "relay/base/ident.h"

#define DAY_MS        INT64_C(86400000)
#define AWAY_MAX_MS   (400 * DAY_MS) /* more changes nothing: whatever waited is due */
#define SAVE_PAUSE_MS 60000
#define JUMP_MS       60000 /* less is a clock that is kept in time */

/* The wall clock may say anything. 0 is "never" in queue.db, so time begins later. */
static int64_t first_day_ms(int64_t wall_ms)
{
    return wall_ms < DAY_MS ? DAY_MS : wall_ms > TIMELINE_LAST_MS ? TIMELINE_LAST_MS : wall_ms;
}

static int64_t away_ms(const struct timeline_point *last, const struct timeline_point *here)
{
    bool is_same_start =
        here->boot_name[0] != '\0' && strcmp(here->boot_name, last->boot_name) == 0;
    int64_t away = is_same_start && here->boot_ms >= last->boot_ms ? here->boot_ms - last->boot_ms
                                                                   : here->wall_ms - last->wall_ms;

    return away < 0 ? 0 : away > AWAY_MAX_MS ? AWAY_MAX_MS : away;
}

static int64_t wall_lead_ms(void)
{
    return clock_wall_ms() - clock_boot_ms();
}

void timeline_begin(struct timeline *timeline, const struct timeline_point *last,
                    int64_t first_due_ms)
{
    struct timeline_point *began = &timeline->began;

    began->wall_ms = clock_wall_ms();
    began->boot_ms = clock_boot_ms();
    clock_boot_name(began->boot_name);
    timeline->mono_ms = clock_mono_ms();
    timeline->wall_lead_ms = began->wall_ms - began->boot_ms;
    if (last == NULL) {
        began->now_ms = began->lived_ms = first_day_ms(began->wall_ms);
        if (first_due_ms > began->now_ms && first_due_ms <= TIMELINE_LAST_MS)
            began->now_ms = first_due_ms;
    } else {
        began->now_ms = last->now_ms + away_ms(last, began);
        began->lived_ms = last->lived_ms;
    }
}

int64_t timeline_now_ms(const struct timeline *timeline)
{
    return timeline->began.now_ms + clock_boot_ms() - timeline->began.boot_ms;
}

int64_t timeline_lived_ms(const struct timeline *timeline)
{
    return timeline->began.lived_ms + clock_mono_ms() - timeline->mono_ms;
}

void timeline_mark(const struct timeline *timeline, struct timeline_point *point)
{
    *point = timeline->began; /* for the name */
    point->wall_ms = clock_wall_ms();
    point->boot_ms = clock_boot_ms();
    point->now_ms = timeline_now_ms(timeline);
    point->lived_ms = timeline_lived_ms(timeline);
}

int64_t timeline_wall_jump_ms(struct timeline *timeline)
{
    int64_t lead_ms = wall_lead_ms();
    int64_t jump_ms = lead_ms - timeline->wall_lead_ms;

    timeline->wall_lead_ms = lead_ms;
    return jump_ms > -JUMP_MS && jump_ms < JUMP_MS ? 0 : jump_ms;
}

/* --- keeping it ------------------------------------------------------------------------------ */

enum store_result timeline_save(struct queue *queue)
{
    struct timeline_point point;

    queue->save_at_ms = clock_mono_ms() + SAVE_PAUSE_MS;
    /* Many ids are never in the store, and clients were told them. */
    store_use_id(queue->store, ident_last());
    timeline_mark(&queue->timeline, &point);
    return store_save_point(queue->store, &point);
}

static enum store_result save_run(struct queue *queue, struct request *request)
{
    (void)request;
    return timeline_save(queue);
}

struct request *timeline_save_new(void)
{
    static const struct request_kind kind = { .name = "moment", .writes = true, .run = save_run };

    return request_new(sizeof(struct request), &kind, NULL);
}
