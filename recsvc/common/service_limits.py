"""The bounds of a service with many clients, each with its reason and with what happens when it is reached."""

FETCH_BYTES_MAX = 1024 * 1024
FETCH_CREDIT = 8
"""A client fetches a recording's file in ranges of at most this many bytes, and may have so many of them unanswered: on
a network with 50 ms of delay that is 160 MB/s, and the catalog holds no more than 8 MiB for one client. Further ones
are refused."""

SNAPSHOT_RECORDINGS_MAX = 100
"""Recordings of which the answer to a subscription has the number of the next event: the newest ones. A program that
watches everything finds older ones, where there are more, in the catalog."""
