"""A small world in virtual time, which keeps the truth by itself: who created what at Replicate, and for which job.

The client, the flow and the SQLite journal in it are the real ones. Only what lies outside of them is made here: an
account at Replicate (``account``), the network (``wire``), machines' clocks and event loops (``clocks``, ``loop``),
disks (``disk``) and processes (``process``). ``plan`` draws what goes wrong, ``play`` lets it happen, ``judge`` says
whether every promise was kept.

What holds in this world, and nothing more may be relied on:

- A create acts before its request ends for its client: by an answer, a break, a cancellation, or its process's death.
- 400, 401, 402, 403, 404, 413, 422, 429 and a refused connection mean that it did not act. Everything else is open.
- A connection is made within five seconds, or not.
- The list shows a prediction at most 60 s after it was created, and at most as soon as it shows one that was created
  10 s later. Its pages can fail, break off, come in odd order or without regard to the filters.
- ``created_at`` is right. Of the machine's clock and the ``Date`` header, one is right when a create is sent.
- Inputs come back as they were sent, but: secrets are replaced by a note, a data URL by the URL of a file (which can be
  read, or not), and a default may be added.
- An hour after its end a prediction's input is gone.
"""
