//! Sealing everything that a table keeps sealed under the current data key, so that an old key can be removed.
//!
//! For the command line only. It reads a table with `Scan`, the one place that does: sealed columns lie on rows of every
//! partition and in no index, and an index would cost on every write for what is done once a year. No function's role may
//! scan. Each domain names its columns beside their rows, as `SEALED`.

use crate::dynamo::{Changes, DynamoError, Item, Key, Table, Update};
use crate::vault::{Sealed, Vault, VaultError};
use aws_sdk_dynamodb::types::AttributeValue;
use std::collections::BTreeMap;
use switchyard_core::{Classify as _, Disposition};

/// Where sealed values stand within an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The attribute is one sealed value.
    Text,
    /// A list of maps, each with a sealed value under this name.
    ListOf(&'static str),
    /// A map whose every value is sealed.
    Map,
}

/// An attribute that holds sealed values.
#[derive(Clone, Copy, Debug)]
pub struct SealedColumn {
    /// Its name.
    pub attribute: &'static str,
    /// How it holds them.
    pub shape: Shape,
    /// What a row's values are sealed for; `None` for rows of another kind.
    pub context: fn(&Item) -> Option<String>,
    /// The row's optimistic lock, raised with the write: a writer who read the row before then reads it again.
    pub lock: Option<&'static str>,
}

/// What a table holds, after the walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sealed values by the key that they are sealed under now.
    pub by_key: BTreeMap<String, u64>,
    /// Values that were sealed anew.
    pub resealed: u64,
    /// Rows that another process changed at the same time; they stay as they are until the next run.
    pub changed: u64,
    /// Values that do not open: their key is not in the secret, or they are not of this place.
    pub unopened: u64,
}

impl Tally {
    /// Whether every value opens and is sealed under `current`: then no other key is needed.
    pub fn needs_only(&self, current: &str) -> bool {
        self.unopened == 0 && self.changed == 0 && self.by_key.keys().all(|key| key == current)
    }
}

/// A walk that could not be finished. What was sealed anew stays so; another run continues.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// DynamoDB could not be reached or refused.
    #[error("walking the table")]
    Store(#[from] DynamoError),
    /// The keys could not be fetched.
    #[error("fetching the data keys")]
    Keys(#[source] VaultError),
}

/// Opens every sealed value and counts them by key; changes nothing.
///
/// # Errors
/// DynamoDB or the keys could not be reached.
pub async fn check(table: &Table, vault: &Vault, columns: &[SealedColumn]) -> Result<Tally, ResealError> {
    walk(table, vault, columns, false).await
}

/// Seals every value that is under another key than the current one anew, each attribute by one write on condition that it
/// is still as it was read. What is under the current key stays as it is, so that a run may be broken off and repeated.
///
/// # Errors
/// DynamoDB or the keys could not be reached.
pub async fn reseal(table: &Table, vault: &Vault, columns: &[SealedColumn]) -> Result<Tally, ResealError> {
    walk(table, vault, columns, true).await
}

async fn walk(table: &Table, vault: &Vault, columns: &[SealedColumn], writes: bool) -> Result<Tally, ResealError> {
    let mut tally = Tally::default();
    let attributes: Vec<_> = columns.iter().map(|column| column.attribute).collect();
    let mut after = None;
    loop {
        let (rows, next) = table.scan_page(&attributes, after).await?;
        for row in &rows {
            for column in columns {
                if let (Some(kept), Some(context)) = (row.get(column.attribute), (column.context)(row)) {
                    let attribute = Attribute { row, column, kept, context: &context };
                    attribute.work_on(table, vault, writes, &mut tally).await?;
                }
            }
        }
        after = next;
        if after.is_none() {
            return Ok(tally);
        }
    }
}

/// One attribute of one row.
struct Attribute<'a> {
    row: &'a Item,
    column: &'a SealedColumn,
    kept: &'a AttributeValue,
    context: &'a str,
}

impl Attribute<'_> {
    async fn work_on(&self, table: &Table, vault: &Vault, writes: bool, tally: &mut Tally) -> Result<(), ResealError> {
        let current = vault.current_key().await.map_err(ResealError::Keys)?;
        let mut anew = self.kept.clone();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for value in sealed_texts(&mut anew, self.column.shape) {
            let sealed = Sealed::from_kept(value.clone());
            let plain = match vault.open(self.context, &sealed).await {
                Ok(plain) => plain,
                Err(error) if error.disposition() == Disposition::Permanent => {
                    tally.unopened += 1;
                    before.push(sealed.key_id().to_owned());
                    after.push(sealed.key_id().to_owned());
                    continue;
                }
                Err(error) => return Err(ResealError::Keys(error)),
            };
            before.push(sealed.key_id().to_owned());
            if writes && sealed.key_id() != current {
                let resealed = vault.seal(self.context, plain.expose()).await.map_err(ResealError::Keys)?;
                after.push(resealed.key_id().to_owned());
                resealed.as_str().clone_into(value);
            } else {
                after.push(sealed.key_id().to_owned());
            }
        }
        let resealed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        let mut keys = after;
        if resealed > 0 {
            if self.replace(table, anew).await? {
                tally.resealed += u64::try_from(resealed).unwrap_or(u64::MAX);
            } else {
                tally.changed += 1;
                keys = before;
            }
        }
        for key in keys {
            *tally.by_key.entry(key).or_default() += 1;
        }
        Ok(())
    }

    /// `false` when the attribute is no longer as it was read.
    async fn replace(&self, table: &Table, anew: AttributeValue) -> Result<bool, ResealError> {
        let (Some(pk), Some(sk)) = (text(self.row, "pk"), text(self.row, "sk")) else { return Ok(false) };
        let mut changes = Changes::new()
            .set(self.column.attribute, anew.clone())
            .only_if(&format!("#{} = ?", self.column.attribute), [self.kept.clone()])
            .without_the_rest();
        if let Some(lock) = self.column.lock {
            changes = changes.add(lock, 1);
        }
        Ok(match table.update(&Key { pk, sk }, changes).await? {
            Update::Applied(_) => true,
            // The SDK repeats a call whose answer was lost: the refusal then comes from our own write.
            Update::Refused(row) => row.is_some_and(|row| row.get(self.column.attribute) == Some(&anew)),
        })
    }
}

/// A row's attribute, where it is a text.
pub fn text(row: &Item, attribute: &str) -> Option<String> {
    row.get(attribute)?.as_s().ok().cloned()
}

fn sealed_texts(value: &mut AttributeValue, shape: Shape) -> Vec<&mut String> {
    fn as_text(value: &mut AttributeValue) -> Option<&mut String> {
        match value {
            AttributeValue::S(text) => Some(text),
            _ => None,
        }
    }
    match (shape, value) {
        (Shape::Text, value) => as_text(value).into_iter().collect(),
        (Shape::ListOf(field), AttributeValue::L(members)) => members
            .iter_mut()
            .filter_map(|member| match member {
                AttributeValue::M(fields) => as_text(fields.get_mut(field)?),
                _ => None,
            })
            .collect(),
        (Shape::Map, AttributeValue::M(fields)) => fields.values_mut().filter_map(as_text).collect(),
        (Shape::ListOf(_) | Shape::Map, _) => Vec::new(),
    }
}
