use super::listed::{listed_at, listed_partition, text, time_of};
use super::{Rows, Store, WORKFLOW, delivery_key, event_key};
use crate::error::SignalsError;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::{hex_sha256, shard_of};
use switchyard_io::dynamo::{Changes, Create, IntoAttribute as _, Item, Key, Transact, Update, Write};
use switchyard_work::outbox::{self, Due};

/// Dead letters are kept for 90 days.
const KEPT_FOR: Duration = Duration::from_secs(90 * 86_400);

/// Partitions of the list of everybody's dead letters.
const LIST_SHARDS: u32 = 4;

/// Dead letters that are fetched at a time.
const FETCHED_TOGETHER: usize = 25;

/// Longest message that is kept whole, in bytes: a row holds 400 KB. Ours have some hundred.
const LONGEST_BODY: usize = 100_000;

/// Whose a dead letter is that names no tenant.
const NOBODY: &str = "-";

/// What could not be done, and is kept until somebody sends it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeadLetterRow {
    pk: String,
    sk: String,
    /// UUID v7 of the time when it was sent first.
    pub(crate) id: String,
    /// The queue it came from: `rules` or `notify`.
    pub(crate) queue: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) event_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delivery_id: Option<String>,
    /// Whether it tells of a notification that was given up; of a message that nobody could deal with otherwise.
    pub(crate) is_given_up: bool,
    /// The message.
    pub(crate) body: String,
    pub(crate) error_code: String,
    pub(crate) error_message: String,
    /// How often it was tried.
    pub(crate) receives: u32,
    pub(crate) first_sent_at: Timestamp,
    pub(crate) archived_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) redriven_at: Option<Timestamp>,
    expires_at: i64,
    by_id_pk: String,
    listed_pk: String,
    listed_sk: String,
    /// While its message is still to be sent again.
    #[serde(flatten)]
    due: Option<Due>,
}

/// What a dead letter tells.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetter<'a> {
    pub(crate) id: String,
    pub(crate) queue: &'a str,
    pub(crate) tenant: Option<&'a str>,
    pub(crate) event_id: Option<&'a str>,
    pub(crate) delivery_id: Option<&'a str>,
    pub(crate) is_given_up: bool,
    pub(crate) body: &'a str,
    pub(crate) error_code: &'a str,
    pub(crate) error_message: &'a str,
    pub(crate) receives: u32,
    pub(crate) first_sent_at: Timestamp,
}

impl DeadLetterRow {
    pub(crate) fn new(letter: DeadLetter<'_>, now: Timestamp) -> Self {
        let Key { pk, sk } = dead_letter_key(letter.tenant, &letter.id);
        let shard = shard_of(&hex_sha256(&[&letter.id]), LIST_SHARDS);
        Self {
            pk,
            sk,
            queue: letter.queue.to_owned(),
            tenant: letter.tenant.map(str::to_owned),
            event_id: letter.event_id.map(str::to_owned),
            delivery_id: letter.delivery_id.map(str::to_owned),
            is_given_up: letter.is_given_up,
            body: letter.body[..letter.body.floor_char_boundary(LONGEST_BODY)].to_owned(),
            error_code: letter.error_code.to_owned(),
            error_message: letter.error_message.to_owned(),
            receives: letter.receives,
            first_sent_at: letter.first_sent_at,
            archived_at: now,
            redriven_at: None,
            expires_at: (now + KEPT_FOR).as_second(),
            by_id_pk: letter.id.clone(),
            listed_pk: everybodys(shard),
            listed_sk: listed_at(now, &letter.id),
            id: letter.id,
            due: None,
        }
    }

    /// Its place in such a list.
    pub(crate) fn place(&self, whose: Whose<'_>) -> String {
        match whose {
            Whose::Tenant(_) => self.id.clone(),
            Whose::Everybody => self.listed_sk.clone(),
        }
    }

    pub(crate) fn key(&self) -> Key {
        Key { pk: self.pk.clone(), sk: self.sk.clone() }
    }
}

/// `changes` that say that a dead letter was sent again, which it can be once.
pub(super) fn redriven(now: Timestamp) -> Changes {
    Changes::new()
        .set("redriven_at", now.to_string())
        .only_if("attribute_exists(#pk) AND attribute_not_exists(#redriven_at)", [])
}

pub(super) fn dead_letter_partition(tenant: Option<&str>) -> String {
    format!("X#{}", tenant.unwrap_or(NOBODY))
}

pub(crate) fn dead_letter_key(tenant: Option<&str>, id: &str) -> Key {
    Key { pk: dead_letter_partition(tenant), sk: id.to_owned() }
}

fn everybodys(shard: u32) -> String {
    listed_partition("dead", &shard.to_string())
}

/// What a message asks for.
#[derive(Clone, Debug)]
pub(crate) enum About {
    Event(Key),
    /// With the attempts that were made when the message was sent.
    Delivery(Key, u32),
    Digest {
        tenant: String,
        rule: String,
        group: String,
    },
}

impl About {
    pub(crate) fn event(tenant: &str, id: &str) -> Self {
        Self::Event(event_key(tenant, id))
    }

    pub(crate) fn delivery(tenant: &str, event_id: &str, id: &str, attempts: u32) -> Self {
        Self::Delivery(delivery_key(tenant, event_id, id), attempts)
    }
}

/// Which dead letters are meant.
#[derive(Clone, Debug, Default)]
pub struct WantedLetters {
    /// Of this queue: `rules` or `notify`.
    pub queue: Option<String>,
    /// With this error code.
    pub reason: Option<String>,
    /// Kept since before then.
    pub older_than: Option<Timestamp>,
    /// Those only that were not sent again.
    pub is_open: bool,
    /// `true` for notifications that were given up, `false` for messages.
    pub is_given_up: Option<bool>,
}

impl WantedLetters {
    /// Whether a row is one, by what of it the index `listed` holds too.
    fn fits(&self, row: &Item) -> bool {
        let is = |attribute, wanted: &Option<String>| {
            wanted.as_deref().is_none_or(|wanted| text(row, attribute) == Some(wanted))
        };
        let kept_at = || text(row, "listed_sk").and_then(time_of);
        let is_given_up = || row.get("is_given_up").and_then(|value| value.as_bool().ok().copied());
        is("queue", &self.queue)
            && is("error_code", &self.reason)
            && self.older_than.is_none_or(|time| kept_at().is_some_and(|kept_at| kept_at < time))
            && !(self.is_open && row.contains_key("redriven_at"))
            && self.is_given_up.is_none_or(|wanted| is_given_up() == Some(wanted))
    }
}

/// Whose dead letters are looked at.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// One tenant's.
    Tenant(&'a str),
    /// All, also those that name no tenant.
    Everybody,
}

impl Store {
    /// Keeps a dead letter; should it be known already, that one stays. What it is about is no longer due then, if the sweep has
    /// sent it `swept` times in vain: it waits for somebody's word.
    pub(crate) async fn bury(
        &self,
        row: &DeadLetterRow,
        about: Option<&About>,
        swept: u32,
    ) -> Result<(), SignalsError> {
        let (Create::Created | Create::Exists(_)) = self.table.create(row).await?;
        let settled = outbox::settled(Changes::new()).only_if("#due_count >= ?", [i64::from(swept).into_attribute()]);
        let (keys, settled) = match about {
            None => return Ok(()),
            Some(About::Event(key)) => (vec![key.clone()], settled),
            // It may have gone on since the message was sent.
            Some(About::Delivery(key, attempts)) => {
                (vec![key.clone()], settled.only_if("#attempts = ?", [i64::from(*attempts).into_attribute()]))
            }
            Some(About::Digest { tenant, rule, group }) => (self.due_of_digest(tenant, rule, group).await?, settled),
        };
        for key in keys {
            let (Update::Applied(_) | Update::Refused(_)) = self.table.update(&key, settled.clone()).await?;
        }
        Ok(())
    }

    /// The newest dead letters that are wanted, at most `limit` of those before `before`, and where the next look goes on if
    /// there may be more.
    pub(crate) async fn dead_letters(
        &self,
        whose: Whose<'_>,
        wanted: &WantedLetters,
        before: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<DeadLetterRow>, Option<String>), SignalsError> {
        let fits = |row: &Item| wanted.fits(row);
        match whose {
            Whose::Tenant(tenant) => {
                let rows = Rows::Of(dead_letter_partition(Some(tenant)));
                let (items, next) = self.look(&rows, before, limit, &fits).await?;
                let rows = items.into_iter().map(|item| self.table.read(item)).collect::<Result<_, _>>()?;
                Ok((rows, next))
            }
            Whose::Everybody => {
                let rows = Rows::Listed((0..LIST_SHARDS).map(everybodys).collect());
                let (items, next) = self.look(&rows, before, limit, &fits).await?;
                let keys = items.into_iter().map(|item| self.table.read(item)).collect::<Result<Vec<Key>, _>>()?;
                let mut rows = Vec::new();
                for keys in keys.chunks(FETCHED_TOGETHER) {
                    rows.extend(try_join_all(keys.iter().map(|key| self.get(key))).await?.into_iter().flatten());
                }
                Ok((rows, next))
            }
        }
    }

    pub(crate) async fn dead_letter(&self, whose: Whose<'_>, id: &str) -> Result<Option<DeadLetterRow>, SignalsError> {
        match whose {
            Whose::Tenant(tenant) => self.get(&dead_letter_key(Some(tenant), id)).await,
            Whose::Everybody => match self.key_of(id).await?.filter(|key| key.pk.starts_with("X#")) {
                Some(key) => self.get(&key).await,
                None => Ok(None),
            },
        }
    }

    /// Removes a dead letter, with the record of that; `false` when there is none.
    pub(crate) async fn forget_dead_letter(&self, row: &DeadLetterRow, record: Write) -> Result<bool, SignalsError> {
        let is_there = Changes::new().only_if("attribute_exists(#pk)", []);
        let done = self.table.transact(vec![Write::Delete(row.key(), is_there), record]).await?;
        Ok(matches!(done, Transact::Done))
    }

    /// Says that a dead letter's message is sent again, before it is; `false` when somebody was faster. Until it is sent
    /// the row is due.
    pub(crate) async fn redrive_dead_letter(
        &self,
        row: &DeadLetterRow,
        record: Write,
        now: Timestamp,
    ) -> Result<bool, SignalsError> {
        let due = Due::at(WORKFLOW, &hex_sha256(&[&row.id]), (now + outbox::GRACE).as_millisecond());
        let changes = outbox::marked(redriven(now), due);
        let done = self.table.transact(vec![Write::Update(row.key(), changes), record]).await?;
        Ok(matches!(done, Transact::Done))
    }

    /// Says that a dead letter's message was sent.
    pub(crate) async fn dead_letter_sent(&self, key: &Key) -> Result<(), SignalsError> {
        let changes = outbox::settled(Changes::new()).only_if("attribute_exists(#pk)", []);
        let (Update::Applied(_) | Update::Refused(_)) = self.table.update(key, changes).await?;
        Ok(())
    }
}
