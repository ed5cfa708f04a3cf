//! StartMessageMoveTask: redriving a dead-letter queue.

use super::messages::{Purpose, available, transfer};
use super::{Engine, Queue, begin, refresh_group};
use crate::new_id;
use crate::{Error, MoveTask, Result, queue_name};
use rusqlite::{OptionalExtension as _, Row, params};
use std::sync::Arc;

const TASK: &str = "handle, source, destination, rate, status, failure, moved, to_move, started_ms";

impl Engine {
    pub(crate) fn start_move(
        &mut self,
        source_arn: &str,
        destination_arn: Option<&str>,
        max_per_second: Option<u32>,
        now: i64,
    ) -> Result<String> {
        let no_destination = "The resource that you specified for the DestinationArn parameter doesn't exist.";
        let source = self.move_source(source_arn)?;
        if self.dead_letter_sources(&source).next().is_none() {
            return Err(Error::InvalidParameterValue(
                "Source queue must be configured as a Dead Letter Queue.".to_owned(),
            ));
        }
        if let Some(arn) = destination_arn {
            let destination = self.queue(queue_name(arn)).map_err(|_| Error::ResourceNotFound(no_destination))?;
            if destination.attributes.fifo != source.attributes.fifo {
                return Err(Error::parameter(
                    "DestinationArn",
                    arn,
                    "Source and destination must be of the same type.",
                ));
            }
        }
        if max_per_second.is_some_and(|rate| !(1..=500).contains(&rate)) {
            let reason = "Must be between 1 and 500.".to_owned();
            return Err(Error::parameter("MaxNumberOfMessagesPerSecond", max_per_second.unwrap_or_default(), &reason));
        }
        if self.moves(&source, 1)?.first().is_some_and(|latest| latest.status == "RUNNING") {
            return Err(Error::UnsupportedOperation(
                "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
            ));
        }
        let handle = new_id();
        let to_move = self.counts(&source, now)?.visible;
        self.db.execute(
            "INSERT INTO move_task (handle, source, destination, rate, status, moved, to_move, started_ms)
             VALUES (?1, ?2, ?3, ?4, 'RUNNING', 0, ?5, ?6)",
            params![handle, source.arn(), destination_arn, max_per_second, to_move, now],
        )?;
        Ok(handle)
    }

    /// The queues with `queue` as their dead-letter queue.
    pub(crate) fn dead_letter_sources(&self, queue: &Queue) -> impl Iterator<Item = &Arc<Queue>> {
        let is_target = move |other: &&Arc<Queue>| {
            other.attributes.redrive.as_ref().is_some_and(|policy| policy.target() == queue.name)
        };
        self.queues().filter(is_target)
    }

    /// The queue that a task empties, or is to empty.
    pub(crate) fn move_source(&self, source_arn: &str) -> Result<Arc<Queue>> {
        let missing = "The resource that you specified for the SourceArn parameter doesn't exist.";
        self.queue(queue_name(source_arn)).map_err(|_| Error::ResourceNotFound(missing))
    }

    /// The latest tasks that empty a queue, newest first.
    pub(crate) fn moves(&self, source: &Queue, limit: usize) -> Result<Vec<MoveTask>> {
        Ok(self
            .db
            .prepare_cached(&format!(
                "SELECT {TASK} FROM move_task WHERE source = ?1 ORDER BY started_ms DESC, rowid DESC LIMIT ?2"
            ))?
            .query_map(params![source.arn(), limit], read_task)?
            .collect::<rusqlite::Result<_>>()?)
    }

    /// Moves up to `limit` messages in one transaction. Returns the updated task.
    pub(crate) fn continue_move(&mut self, handle: &str, limit: usize, now: i64) -> Result<MoveTask> {
        let mut task = self.find_move(handle)?;
        if task.status != "RUNNING" {
            return Ok(task);
        }
        let Ok(source) = self.queue(queue_name(&task.source_arn)) else {
            return self.end_move(task, Err("AWS.SimpleQueueService.NonExistentQueue"));
        };
        let left = usize::try_from(task.to_move.saturating_sub(task.moved)).unwrap_or(limit);
        let tx = begin(&mut self.db)?;
        let batch = available(&tx, &source, limit.min(left), now)?;
        let mut outcome = if batch.is_empty() { Some(Ok(())) } else { None };
        let mut woken: Vec<Arc<Queue>> = Vec::new();
        for message in batch {
            let Some(destination) = task.destination_arn.as_deref().or(message.source.as_deref()) else {
                outcome = Some(Err("CouldNotDetermineMessageSource"));
                break;
            };
            let Some(target) = self.queues.get(queue_name(destination)) else {
                outcome = Some(Err("AWS.SimpleQueueService.NonExistentQueue"));
                break;
            };
            transfer(&tx, &message, target, &Purpose::Redrive, now)?;
            if let Some(group) = &message.group_id {
                refresh_group(&tx, &source, group)?;
            }
            task.moved += 1;
            woken.push(Arc::clone(target));
        }
        tx.prepare_cached("UPDATE move_task SET moved = ?2 WHERE handle = ?1")?.execute(params![handle, task.moved])?;
        tx.commit()?;
        woken.dedup_by_key(|queue| queue.id);
        woken.iter().for_each(|queue| queue.arrivals.notify_waiters());
        outcome.map_or(Ok(task.clone()), |outcome| self.end_move(task, outcome))
    }

    /// Stops a task; what it moved stays moved.
    pub(crate) fn cancel_move(&mut self, handle: &str) -> Result<u64> {
        let task = self.find_move(handle)?;
        if task.status != "RUNNING" {
            return Err(Error::UnsupportedOperation("Only active tasks can be cancelled."));
        }
        self.db.execute("UPDATE move_task SET status = 'CANCELLED' WHERE handle = ?1", [handle])?;
        Ok(task.moved)
    }

    /// Fails the tasks of an earlier process, which do not continue.
    pub(super) fn fail_interrupted_moves(&mut self) -> Result<()> {
        self.db
            .execute("UPDATE move_task SET status = 'FAILED', failure = 'Interrupted' WHERE status = 'RUNNING'", [])?;
        Ok(())
    }

    fn find_move(&self, handle: &str) -> Result<MoveTask> {
        self.db
            .prepare_cached(&format!("SELECT {TASK} FROM move_task WHERE handle = ?1"))?
            .query_row([handle], read_task)
            .optional()?
            .ok_or(Error::ResourceNotFound(
                "The resource that you specified for the TaskHandle parameter doesn't exist.",
            ))
    }

    fn end_move(&self, mut task: MoveTask, outcome: std::result::Result<(), &str>) -> Result<MoveTask> {
        task.status = if outcome.is_ok() { "COMPLETED" } else { "FAILED" }.to_owned();
        task.failure = outcome.err().map(str::to_owned);
        self.db.execute(
            "UPDATE move_task SET status = ?2, failure = ?3 WHERE handle = ?1",
            params![task.handle, task.status, task.failure],
        )?;
        Ok(task)
    }
}

fn read_task(row: &Row<'_>) -> rusqlite::Result<MoveTask> {
    Ok(MoveTask {
        handle: row.get(0)?,
        source_arn: row.get(1)?,
        destination_arn: row.get(2)?,
        max_per_second: row.get(3)?,
        status: row.get(4)?,
        failure: row.get(5)?,
        moved: row.get(6)?,
        to_move: row.get(7)?,
        started_ms: row.get(8)?,
    })
}
