//! Every workflow's dead-letter queues, as operators see them: messages that are still in SQS, and archived ones.

use super::{DeadLetter, DeadLetterError, DeadLetters, Filter, Scope};
use std::time::Duration;
use switchyard_core::{ActorId, Clock, Env, EnvError};
use switchyard_io::dlq::{DeadMessage, Dlq, Dlqs, Redrive};
use switchyard_io::{Aws, Table};
use tokio::time::Instant;

/// Most archived dead letters that are counted for one queue.
const MAX_COUNTED: usize = 1_000;

/// Dead letters that are redriven at a time.
const REDRIVE_BATCH: usize = 50;

/// Whether a message's body may be shown to operators.
pub type MayShow = fn(&str) -> bool;

/// One dead-letter queue.
pub struct DeadLetterQueue {
    /// The queue in SQS.
    pub dlq: Dlq,
    letters: DeadLetters,
    may_show: Option<MayShow>,
}

impl DeadLetterQueue {
    /// A message's body, unless it is redacted.
    pub fn shown<'a>(&self, body: &'a str) -> Option<&'a str> {
        Some(body).filter(|body| self.may_show.is_none_or(|may_show| may_show(body)))
    }
}

/// What became of the redrive of one dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedriveOutcome {
    /// The workflow's sweep sends it within a minute.
    Redriven,
    /// It was redriven before.
    AlreadyRedriven,
    /// It is a notification that was given up, which its tenant redrives.
    Notification,
}

/// How far a redrive came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// Messages that SQS moves back.
    pub in_queue: u64,
    /// Archived dead letters that the workflow's sweep sends within a minute.
    pub archived: usize,
    /// Whether all messages that were archived before the call are redriven.
    pub is_complete: bool,
    /// Whether SQS was moving messages of an earlier redrive.
    pub is_moving: bool,
}

/// The dead-letter queues of the stack.
pub struct DeadLetterQueues {
    dlqs: Dlqs,
    queues: Vec<DeadLetterQueue>,
    clock: Clock,
}

impl DeadLetterQueues {
    /// Reads `DLQS`, and `DEAD_LETTER_TABLES`: `<name>=<workflow>:<table>` of each queue, comma-separated. `private` has the
    /// workflows whose messages may hold people's data, each with the messages that may be shown all the same.
    ///
    /// # Errors
    /// A setting is missing or invalid, or a queue has no table.
    pub fn from_env(aws: &Aws, env: &Env, private: &[(&str, MayShow)]) -> Result<Self, EnvError> {
        const SETTING: &str = "DEAD_LETTER_TABLES";
        let dlqs = Dlqs::from_env(aws, env)?;
        let tables = env.required(SETTING)?;
        let letters_of = |name: &str| {
            let (_, archive) = tables.split(',').filter_map(|pair| pair.split_once('=')).find(|(of, _)| *of == name)?;
            let (workflow, table) = archive.split_once(':')?;
            let may_show = private.iter().find(|(of, _)| *of == workflow).map(|(_, may_show)| *may_show);
            Some((DeadLetters::new(Table::named(aws, table), workflow), may_show))
        };
        let queue = |dlq: &Dlq| {
            let reason = || format!("expected {}=<workflow>:<table>", dlq.name);
            let invalid = || EnvError::Invalid { name: SETTING.to_owned(), reason: reason() };
            let (letters, may_show) = letters_of(&dlq.name).ok_or_else(invalid)?;
            Ok(DeadLetterQueue { dlq: dlq.clone(), letters, may_show })
        };
        let queues = dlqs.all().iter().map(queue).collect::<Result<_, EnvError>>()?;
        Ok(Self { dlqs, queues, clock: Clock::system() })
    }

    /// All of them.
    pub fn all(&self) -> &[DeadLetterQueue] {
        &self.queues
    }

    /// The one with a name.
    pub fn find(&self, name: &str) -> Option<&DeadLetterQueue> {
        self.queues.iter().find(|queue| queue.dlq.name == name)
    }

    /// How many messages wait to be redriven: about those in SQS, and archived ones as [`DeadLetters::count`] finds them, at most
    /// 1,000.
    ///
    /// # Errors
    /// SQS or DynamoDB could not be reached.
    pub async fn waiting(&self, queue: &DeadLetterQueue) -> Result<u64, DeadLetterError> {
        let open = Filter { is_open: true, ..messages_of(queue) };
        let in_queue = async { Ok::<_, DeadLetterError>(self.dlqs.waiting(&queue.dlq).await?) };
        let (in_queue, archived) = tokio::try_join!(in_queue, queue.letters.count(&open, MAX_COUNTED))?;
        Ok(in_queue + archived as u64)
    }

    /// Up to ten messages that are still in SQS; they stay there.
    ///
    /// # Errors
    /// SQS could not be reached.
    pub async fn peek(&self, queue: &DeadLetterQueue, limit: u8) -> Result<Vec<DeadMessage>, DeadLetterError> {
        Ok(self.dlqs.peek(&queue.dlq, limit).await?)
    }

    /// The archived dead letters of a queue, newest first, and the cursor of the next page. As for [`DeadLetters::list`].
    ///
    /// # Errors
    /// DynamoDB could not be reached, or the cursor is not valid.
    pub async fn archived(
        &self,
        queue: &DeadLetterQueue,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<DeadLetter>, Option<String>), DeadLetterError> {
        let filter = Filter { queue: Some(queue.dlq.name.clone()), ..Filter::default() };
        queue.letters.list(Scope::All, &filter, cursor, limit).await
    }

    /// The progress of the latest redrive in SQS.
    ///
    /// # Errors
    /// SQS could not be reached.
    pub async fn progress(&self, queue: &DeadLetterQueue) -> Result<Option<Redrive>, DeadLetterError> {
        Ok(self.dlqs.progress(&queue.dlq).await?)
    }

    /// Redrives the messages of a queue that were archived before the call, until the `deadline`, then has SQS move those that are
    /// not archived yet. Notifications that were given up are redriven by their tenants.
    ///
    /// # Errors
    /// SQS or DynamoDB could not be reached; those before are redriven.
    pub async fn redrive(
        &self,
        queue: &DeadLetterQueue,
        actor: &ActorId,
        deadline: Instant,
    ) -> Result<Redriven, DeadLetterError> {
        // Messages that fail again after the call began are left for the next one.
        let now = self.clock.now();
        let open = Filter { is_open: true, older_than: Some(now), ..messages_of(queue) };
        let (mut archived, mut cursor) = (0, None::<String>);
        let is_complete = loop {
            let page = queue.letters.list(Scope::All, &open, cursor.as_deref(), REDRIVE_BATCH).await?;
            for letter in &page.0 {
                let redriven = queue.letters.redrive(letter, actor, now, Duration::ZERO, Vec::new()).await?;
                archived += usize::from(redriven);
            }
            cursor = page.1;
            if cursor.is_none() || Instant::now() >= deadline {
                break cursor.is_none();
            }
        };
        // SQS runs one move at a time.
        let is_moving = self.dlqs.progress(&queue.dlq).await?.is_some_and(|redrive| redrive.is_under_way());
        let in_queue = if is_moving { 0 } else { self.dlqs.waiting(&queue.dlq).await? };
        if in_queue > 0 {
            self.dlqs.redrive(&queue.dlq).await?;
        }
        Ok(Redriven { in_queue, archived, is_complete, is_moving })
    }

    /// Redrives one archived dead letter; `None` when the queue has none with this id.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn redrive_one(
        &self,
        queue: &DeadLetterQueue,
        id: &str,
        actor: &ActorId,
    ) -> Result<Option<RedriveOutcome>, DeadLetterError> {
        let letter = queue.letters.find(id).await?.filter(|letter| letter.queue == queue.dlq.name);
        let Some(letter) = letter else { return Ok(None) };
        if letter.is_given_up {
            return Ok(Some(RedriveOutcome::Notification));
        }
        let redriven = queue.letters.redrive(&letter, actor, self.clock.now(), Duration::ZERO, Vec::new()).await?;
        Ok(Some(if redriven { RedriveOutcome::Redriven } else { RedriveOutcome::AlreadyRedriven }))
    }
}

fn messages_of(queue: &DeadLetterQueue) -> Filter {
    Filter { queue: Some(queue.dlq.name.clone()), is_given_up: Some(false), ..Filter::default() }
}
