"""A small world in virtual time, which records the truth: who created what at Replicate, and for which job.

The client, the flow and the SQLite journal in it are the real ones. Everything around them is simulated: an account at
Replicate (``account``), the network (``wire``), machines' clocks and event loops (``clocks``, ``loop``), disks
(``disk``) and processes (``process``). ``plan`` draws what goes wrong, ``play`` runs it, ``judge`` checks that every
promise was kept.

The product may rely on these rules of the world, and on no others:

- A create request acts, if it does, before it ends for its client: by an answer, a break, a cancellation, or the death
  of its process.
- 400, 401, 402, 403, 404, 413, 422, 429 and a refused connection mean that it did not act. Any other outcome is open.
- A connection is made within five seconds, or not at all.
- The list shows a prediction within 60 s of its creation, and no later than one that was created 10 s after it.
  Its pages can fail, break off, come in any order or ignore the filters.
- ``created_at`` is right. When a create request is sent, the machine's clock or the ``Date`` header is right.
- Inputs come back as they were sent, with three exceptions: a secret is replaced by a note, a data URL by the URL of a
  file (which can be readable or not), and a default may be added.
- An hour after its end a prediction's input is deleted.
"""
