"""Every error that this package raises on purpose.

::

    ReplicateJobError
    ├── JobError                    the job is wrong; nothing was sent
    │   ├── UnknownJobError         no job of that key, and no prediction of that id
    │   ├── JobFileError            a job file does not parse; file, line, column
    │   ├── ColumnsError            the columns of a file of rows are not the model's inputs
    │   ├── InputError              inputs do not fit the model's schema; lists every problem
    │   ├── MissingVariableError    a variable that the job needs is not set
    │   ├── ModelNotFoundError      no model, version or deployment of that name
    │   ├── KeyInUseError           the key belongs to a different job
    │   ├── BatchCanceledError      the batch of a fleet was canceled before this row was created
    │   └── RecordingError          a recording cannot be read or written, or lacks what was requested
    ├── APIError                    the API answered with an error; has all fields of the error's body
    │   ├── AuthenticationError     401, 403
    │   ├── PaymentRequiredError    402
    │   ├── NotFoundError           404
    │   ├── InvalidRequestError     400, 422: the request itself is wrong
    │   └── RateLimitError          429, after waiting as long as is sensible
    ├── TransportError              no answer that can be read
    │   ├── NotSentError            the request certainly never reached the API (no connection)
    │   │   └── CertificateError    the server's certificate is not trusted; a retry would fail again
    │   └── NoAnswerError           the request may have reached it (reset, time-out, unreadable body)
    │       ├── AnswerTooLargeError the answer is too large to be read; a retry would fail again
    │       └── UnreadableError     the prediction succeeded, and its output cannot be read; a retry would fail again
    ├── UncertainError              a prediction may exist, but none is certainly the job's; not sent again by itself
    ├── PredictionError             raised by ``Result.raise_for_status``
    │   ├── PredictionFailedError
    │   ├── PredictionCanceledError canceled or aborted
    │   ├── PredictionUnfinishedError  still running when the budget ran out
    │   │   └── JobTimeoutError     the timeout of the call is over; a TimeoutError too; the same key continues
    │   └── RowError                a row of a batch: wrong, refused, or without its saved outputs
    ├── OutputError                 the prediction ended, and not all outputs could be saved; has the result
    │   └── OutputExpiredError      the outputs are gone from the API (404, 410, data_removed)
    ├── JournalError                the journal cannot be used
    │   ├── DamagedError            the journal's row of one job cannot be read
    │   ├── TooLargeError           one job is too large for the journal
    │   ├── JobHeldError            another live process holds this job
    │   └── ClaimLostError          another process took this job over
    ├── ClosedError                 the client is closed, or its event loop has ended
    ├── ForkedError                 this process is a fork of a process that had used this package
    ├── WebhookVerificationError    a webhook that cannot be trusted, or a secret that cannot be read
    └── LocalError                  the built-in server or one of its models cannot start
"""

from replicate_job.base_errors import (
    AnswerTooLargeError,
    APIError,
    AuthenticationError,
    BatchCanceledError,
    CertificateError,
    ClaimLostError,
    ClosedError,
    ColumnsError,
    DamagedError,
    ForkedError,
    InputError,
    InvalidRequestError,
    JobError,
    JobFileError,
    JobHeldError,
    JournalError,
    KeyInUseError,
    LocalError,
    MissingVariableError,
    ModelNotFoundError,
    NoAnswerError,
    NotFoundError,
    NotSentError,
    OutputError,
    OutputExpiredError,
    PaymentRequiredError,
    RateLimitError,
    RecordingError,
    ReplicateJobError,
    TooLargeError,
    TransportError,
    UncertainError,
    UnknownJobError,
    UnreadableError,
    WebhookVerificationError,
)
from replicate_job.job import (
    JobTimeoutError,
    PredictionCanceledError,
    PredictionError,
    PredictionFailedError,
    PredictionUnfinishedError,
    RowError,
)

__all__ = [
    "APIError",
    "AnswerTooLargeError",
    "AuthenticationError",
    "BatchCanceledError",
    "CertificateError",
    "ClaimLostError",
    "ClosedError",
    "ColumnsError",
    "DamagedError",
    "ForkedError",
    "InputError",
    "InvalidRequestError",
    "JobError",
    "JobFileError",
    "JobHeldError",
    "JobTimeoutError",
    "JournalError",
    "KeyInUseError",
    "LocalError",
    "MissingVariableError",
    "ModelNotFoundError",
    "NoAnswerError",
    "NotFoundError",
    "NotSentError",
    "OutputError",
    "OutputExpiredError",
    "PaymentRequiredError",
    "PredictionCanceledError",
    "PredictionError",
    "PredictionFailedError",
    "PredictionUnfinishedError",
    "RateLimitError",
    "RecordingError",
    "ReplicateJobError",
    "RowError",
    "TooLargeError",
    "TransportError",
    "UncertainError",
    "UnknownJobError",
    "UnreadableError",
    "WebhookVerificationError",
]
