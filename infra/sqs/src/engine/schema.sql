-- All that the engine keeps. Times are epoch milliseconds.

CREATE TABLE queue (
    id          INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused: an old receipt handle cannot hit a new queue
    name        TEXT    NOT NULL UNIQUE,
    attributes  TEXT    NOT NULL, -- JSON object, as SetQueueAttributes takes it
    tags        TEXT    NOT NULL, -- JSON object
    created_ms  INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    messages    INTEGER NOT NULL DEFAULT 0 -- kept by the triggers below, so that counting needs no scan
) STRICT;

CREATE TABLE message (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT, -- order of arrival, and the FIFO SequenceNumber
    queue             INTEGER NOT NULL,
    visible_ms        INTEGER NOT NULL, -- handed out only from then on: end of its delay or of its visibility timeout
    sent_ms           INTEGER NOT NULL,
    receive_count     INTEGER NOT NULL, -- in this queue; what redrive goes by
    prior_receives    INTEGER NOT NULL, -- in the queues it was dead-lettered from
    first_received_ms INTEGER,
    group_id          TEXT,
    dedup_id          TEXT,
    id                TEXT    NOT NULL,
    source            TEXT, -- ARN of the queue it was dead-lettered from
    trace_header      TEXT,
    attributes        TEXT, -- JSON object; NULL when there are none
    body              TEXT    NOT NULL -- last: rows are often read without it
) STRICT;

-- Each ends in the rowid, `seq`.
CREATE INDEX message_due ON message (queue, visible_ms);
CREATE INDEX message_age ON message (queue, sent_ms);
CREATE INDEX message_in_group ON message (queue, group_id) WHERE group_id IS NOT NULL;

CREATE TRIGGER message_added AFTER INSERT ON message BEGIN
    UPDATE queue SET messages = messages + 1 WHERE id = NEW.queue;
END;
CREATE TRIGGER message_removed AFTER DELETE ON message BEGIN
    UPDATE queue SET messages = messages - 1 WHERE id = OLD.queue;
END;

-- One row per group that has messages, FIFO queues only: a receive asks this table which group is next, so that
-- groups locked by messages in flight cost nothing to pass over.
CREATE TABLE fifo_group (
    queue    INTEGER NOT NULL,
    group_id TEXT    NOT NULL,
    head_seq INTEGER NOT NULL, -- its oldest message
    next_ms  INTEGER NOT NULL, -- locked or delayed until then
    PRIMARY KEY (queue, group_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX fifo_group_due ON fifo_group (queue, next_ms, head_seq);

CREATE TABLE deduplication (
    queue      INTEGER NOT NULL,
    scope      TEXT    NOT NULL, -- the group where DeduplicationScope is messageGroup, else empty
    dedup_id   TEXT    NOT NULL,
    expires_ms INTEGER NOT NULL,
    message_id TEXT    NOT NULL, -- of the first message, which may be gone
    seq        INTEGER NOT NULL,
    PRIMARY KEY (queue, scope, dedup_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX deduplication_expiry ON deduplication (expires_ms);

CREATE TABLE move_task (
    handle      TEXT    PRIMARY KEY,
    source      TEXT    NOT NULL, -- ARN
    destination TEXT, -- ARN; NULL sends each message back where it came from
    rate        INTEGER, -- messages per second
    status      TEXT    NOT NULL, -- RUNNING, COMPLETED, CANCELLED, FAILED
    failure     TEXT,
    moved       INTEGER NOT NULL,
    to_move     INTEGER NOT NULL,
    started_ms  INTEGER NOT NULL
) STRICT;
CREATE INDEX move_task_source ON move_task (source, started_ms);
