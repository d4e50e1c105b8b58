/* Finished packets waiting to be taken; their bytes lie in one buffer that is used again. */
#ifndef RECSVC_PACKET_QUEUE_H
#define RECSVC_PACKET_QUEUE_H

#include "recsvc.h"

/* Where a packet lies, as an offset: the buffer may move while packets are added. */
typedef struct queued_packet {
    size_t offset;
    recsvc_packet packet;
} queued_packet;

typedef struct packet_queue {
    uint8_t *bytes;
    size_t byte_count;
    size_t byte_capacity;
    queued_packet *entries;
    size_t entry_count;
    size_t entry_capacity;
    size_t taken_count;
} packet_queue;

/* Forgets the packets already taken; those not taken stay. Called at the start of every push. */
void packet_queue_discard_taken(packet_queue *queue);

/* Room for one more packet of up to `size` bytes, or NULL (no memory). Valid until the next call;
 * nothing is added before packet_queue_commit. */
uint8_t *packet_queue_reserve(packet_queue *queue, size_t size);

/* Adds the packet whose bytes were written into the reserved room; packet->data is ignored. */
void packet_queue_commit(packet_queue *queue, const recsvc_packet *packet);

/* The public take: checks its arguments, fills `packets`. */
int packet_queue_take(packet_queue *queue, recsvc_packet *packets, size_t capacity, size_t *count);

void packet_queue_free(packet_queue *queue);

#endif
