/* The queue of packets against a plain model: random adding, taking, discarding. */
#include "packet_queue.h"

#include "check.h"

static void add(packet_queue *queue, int64_t number, size_t size)
{
    uint8_t *bytes = packet_queue_reserve(queue, size + 10);
    CHECK(bytes != NULL);
    memset(bytes, (int)(number % 251), size);
    recsvc_packet packet = {.size = size, .pts = number};
    packet_queue_commit(queue, &packet);
}

int main(void)
{
    check_random random = check_random_start();
    packet_queue queue = {0};
    int64_t added = 0;
    int64_t taken = 0;
    for (int round = 0; round < 3000; round++) {
        for (uint32_t i = check_random_below(&random, 6); i > 0; i--)
            add(&queue, added++, 1 + check_random_below(&random, 3000));
        recsvc_packet packets[4];
        size_t count = 0;
        size_t capacity = 1 + check_random_below(&random, 4);
        int status = packet_queue_take(&queue, packets, capacity, &count);
        CHECK_INT(status, taken < added ? RECSVC_OK : RECSVC_EMPTY);
        for (size_t i = 0; i < count; i++, taken++) {
            CHECK_INT(packets[i].pts, taken);
            CHECK_INT(packets[i].data[0], taken % 251);
            CHECK_INT(packets[i].data[packets[i].size - 1], taken % 251);
        }
        if (check_random_below(&random, 2))
            packet_queue_discard_taken(&queue);
    }
    CHECK(packet_queue_reserve(&queue, SIZE_MAX) == NULL);
    CHECK(packet_queue_reserve(&queue, SIZE_MAX / 2) == NULL);
    packet_queue_free(&queue);
    packet_queue_free(&queue);
    return 0;
}
