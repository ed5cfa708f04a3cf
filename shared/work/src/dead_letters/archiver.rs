//! Moving a workflow's dead-letter queues into rows.

use super::{DeadLetter, DeadLetterError, DeadLetters, NewDeadLetter, Subject};
use serde_json::json;
use std::error::Error;
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError, error_chain, metric};
use switchyard_io::dlq::{DeadMessage, Dlq, Dlqs};
use switchyard_io::operator::{Notice, Operator};
use switchyard_io::{Aws, Table};
use tokio::time::Instant;

/// How long a received message is hidden from other receivers.
const VISIBILITY: Duration = Duration::from_secs(60);

/// Moves the messages of a workflow's dead-letter queues into its table.
pub struct Archiver {
    letters: DeadLetters,
    dlqs: Dlqs,
    operator: Operator,
    clock: Clock,
}

impl Archiver {
    /// Reads the setting `table`, which names the workflow's table, `DLQS` and `OPERATOR_BUS`.
    ///
    /// # Errors
    /// A setting is missing or invalid.
    pub fn from_env(aws: &Aws, env: &Env, table: &str, workflow: &str) -> Result<Self, EnvError> {
        Ok(Self {
            letters: DeadLetters::new(Table::from_env(aws, env, table)?, workflow),
            dlqs: Dlqs::from_env(aws, env)?,
            operator: Operator::from_env(aws, env)?,
            clock: Clock::system(),
        })
    }

    /// Archives every message, of whatever tenant. Returns how many.
    ///
    /// # Errors
    /// As for [`Self::run_with`].
    pub async fn run(&self, deadline: Instant) -> Result<u64, DeadLetterError> {
        self.run_with(deadline, |_| Subject::default(), async |_| Ok(())).await
    }

    /// Archives every message. `subject` says what one is about; `archived` is called between the write of its row and the deletion
    /// of the message, so that an error leaves the message in its queue. Returns how many were moved.
    ///
    /// # Errors
    /// The first fault, after all queues were tried; what was not moved stays in its queue.
    pub async fn run_with<E: Error + From<DeadLetterError> + 'static>(
        &self,
        deadline: Instant,
        subject: impl Fn(&DeadMessage) -> Subject,
        mut archived: impl AsyncFnMut(&DeadLetter) -> Result<(), E>,
    ) -> Result<u64, E> {
        let (mut total, mut first_fault) = (0, None);
        for dlq in self.dlqs.all() {
            let mut moved = 0;
            if let Err(error) = self.empty(dlq, deadline, &subject, &mut archived, &mut moved).await {
                tracing::warn!(service = dlq.name, error = error_chain(&error), "a dead-letter queue was not emptied");
                first_fault.get_or_insert(error);
            }
            if moved > 0 {
                metric::count("parked", moved);
                self.operator.tell(Notice::DlqMessage, &json!({"queue": dlq.name, "archived": moved})).await;
            }
            total += moved;
        }
        first_fault.map_or(Ok(total), Err)
    }

    /// Moves one queue's messages and counts them in `moved`. One that cannot be moved does not keep others waiting.
    async fn empty<E: From<DeadLetterError>>(
        &self,
        dlq: &Dlq,
        deadline: Instant,
        subject: &impl Fn(&DeadMessage) -> Subject,
        archived: &mut impl AsyncFnMut(&DeadLetter) -> Result<(), E>,
        moved: &mut u64,
    ) -> Result<(), E> {
        let mut fault = Ok(());
        while Instant::now() < deadline {
            let received = self.dlqs.receive(dlq, VISIBILITY).await.map_err(DeadLetterError::Queue)?;
            if received.is_empty() {
                break;
            }
            for (message, receipt) in received {
                let new = NewDeadLetter::of_message(&dlq.name, &message, subject(&message));
                let letter = DeadLetter::new(new, self.clock.now());
                let kept = match self.letters.archive(&letter).await {
                    Ok(()) => archived(&letter).await,
                    Err(error) => Err(DeadLetterError::Store(error).into()),
                };
                match kept {
                    Ok(()) => {
                        self.dlqs.delete(dlq, &receipt).await.map_err(DeadLetterError::Queue)?;
                        *moved += 1;
                    }
                    Err(error) => fault = Err(error),
                }
            }
        }
        fault
    }
}
