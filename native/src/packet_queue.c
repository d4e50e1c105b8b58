#include "packet_queue.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

/* First sizes: a block of sound gives a few packets, a frame gives one. */
enum { BYTES_FIRST = 16 * 1024, ENTRIES_FIRST = 16 };

void packet_queue_discard_taken(packet_queue *queue)
{
    if (queue->taken_count == 0)
        return;
    size_t left = queue->entry_count - queue->taken_count;
    if (left == 0) {
        queue->byte_count = 0;
    } else {
        size_t start = queue->entries[queue->taken_count].offset;
        queue->byte_count -= start;
        memmove(queue->bytes, queue->bytes + start, queue->byte_count);
        memmove(queue->entries, queue->entries + queue->taken_count, left * sizeof *queue->entries);
        for (size_t i = 0; i < left; i++)
            queue->entries[i].offset -= start;
    }
    queue->entry_count = left;
    queue->taken_count = 0;
}

/* Makes room for `needed` items of `item_size` by doubling; 0 when there is no memory. */
static int grow(void **items, size_t *capacity, size_t needed, size_t first, size_t item_size)
{
    if (needed <= *capacity)
        return 1;
    size_t wanted = *capacity ? *capacity : first;
    while (wanted < needed) {
        if (wanted > SIZE_MAX / 2 / item_size)
            return 0;
        wanted *= 2;
    }
    void *grown = realloc(*items, wanted * item_size);
    if (!grown)
        return 0;
    *items = grown;
    *capacity = wanted;
    return 1;
}

uint8_t *packet_queue_reserve(packet_queue *queue, size_t size)
{
    if (size > SIZE_MAX - queue->byte_count)
        return NULL;
    void *bytes = queue->bytes;
    void *entries = queue->entries;
    int done = grow(&bytes, &queue->byte_capacity, queue->byte_count + size, BYTES_FIRST, 1) &&
               grow(&entries, &queue->entry_capacity, queue->entry_count + 1, ENTRIES_FIRST,
                    sizeof *queue->entries);
    /* Either may have moved, also when the other one failed. */
    queue->bytes = bytes;
    queue->entries = entries;
    return done ? queue->bytes + queue->byte_count : NULL;
}

void packet_queue_commit(packet_queue *queue, const recsvc_packet *packet)
{
    assert(queue->entry_count < queue->entry_capacity);
    assert(packet->size <= queue->byte_capacity - queue->byte_count);
    queued_packet *entry = &queue->entries[queue->entry_count++];
    entry->offset = queue->byte_count;
    entry->packet = *packet;
    queue->byte_count += packet->size;
}

int packet_queue_take(packet_queue *queue, recsvc_packet *packets, size_t capacity, size_t *count)
{
    if (!count)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "count is NULL");
    *count = 0;
    if (!packets || capacity == 0)
        return recsvc_fail(RECSVC_ERROR_ARGUMENT, "there is no room for a packet");
    while (*count < capacity && queue->taken_count < queue->entry_count) {
        const queued_packet *entry = &queue->entries[queue->taken_count++];
        packets[*count] = entry->packet;
        packets[*count].data = queue->bytes + entry->offset;
        (*count)++;
    }
    return *count > 0 ? RECSVC_OK : RECSVC_EMPTY;
}

void packet_queue_free(packet_queue *queue)
{
    free(queue->bytes);
    free(queue->entries);
    memset(queue, 0, sizeof *queue);
}
