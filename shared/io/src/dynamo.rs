//! DynamoDB as this project uses it: one table per workflow, `pk` and `sk`, and writes whose refusal is an answer.
//!
//! A condition that fails is an outcome ([`Create::Exists`], [`Update::Refused`]) and brings the old row with it
//! (`ALL_OLD`), so that nothing has to be read before it is written.

use crate::Aws;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;
use switchyard_core::backoff::Backoff;
use switchyard_core::{Classify, Disposition, Env, EnvError, error_chain, random};

pub use aws_sdk_dynamodb::types::AttributeValue;

/// One row.
pub type Item = HashMap<String, AttributeValue>;

/// A row's primary key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Key {
    /// Partition key.
    pub pk: String,
    /// Sort key.
    pub sk: String,
}

/// A call to DynamoDB that brought no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum DynamoError {
    /// The call failed, after the SDK's own retries.
    #[error("{action} {table}")]
    Call {
        /// Such as `creating a row in`.
        action: &'static str,
        /// The table.
        table: String,
        /// DynamoDB's error code, or the transport's failure.
        #[source]
        source: CallError,
        /// Throttled, timed out, or a fault of the service.
        transient: bool,
    },
    /// A row that does not read as the type it should hold, or a value that does not write as one.
    #[error("converting a row of {table}")]
    Shape {
        /// The table.
        table: String,
        /// What did not fit.
        #[source]
        source: serde_dynamo::Error,
    },
}

/// The SDK's failure as text: code and message, without request or row.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CallError(pub(crate) String);

/// Error codes that blame the request itself; it will not fare better when repeated. A right that is missing is not
/// among them: somebody will grant it.
const PERMANENT: [&str; 2] = ["InvalidParameterException", "ValidationException"];

impl CallError {
    pub(crate) fn from_sdk<E, R>(error: &SdkError<E, R>) -> (Self, bool)
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        R: Debug,
    {
        match error {
            SdkError::ServiceError(service) => {
                let code = service.err().code().unwrap_or("unknown");
                let transient = !PERMANENT.contains(&code);
                (Self(format!("{code}: {}", service.err().message().unwrap_or_default())), transient)
            }
            // Its sources by `Display` only: the debug form can show the raw answer.
            other => (Self(error_chain(other)), true),
        }
    }
}

impl Classify for DynamoError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Call { transient: true, .. } => Disposition::Retry { after: None },
            Self::Call { .. } | Self::Shape { .. } => Disposition::Permanent,
        }
    }
}

/// Outcome of [`Table::create`].
#[derive(Debug)]
pub enum Create {
    /// The row is new.
    Created,
    /// A row with this key was there; here it is.
    Exists(Item),
}

/// Outcome of [`Table::update`].
#[derive(Debug)]
pub enum Update {
    /// The changes are in; here is the row as it now is.
    Applied(Item),
    /// The condition did not hold; here is the row, if there is one.
    Refused(Option<Item>),
}

/// `SET` and `REMOVE` clauses with a condition, collected by attribute name.
///
/// Names and values always travel as placeholders, so reserved words need no care.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    sets: Vec<String>,
    adds: Vec<String>,
    removes: Vec<String>,
    conditions: Vec<String>,
    names: HashMap<String, String>,
    values: Item,
    is_rest_left_out: bool,
}

impl Changes {
    /// No changes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `attribute` to `value`.
    #[must_use]
    pub fn set(mut self, attribute: &str, value: impl IntoAttribute) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.sets.push(format!("{name} = {value}"));
        self
    }

    /// Sets `attribute` to `value` unless it has a value already.
    #[must_use]
    pub fn set_once(mut self, attribute: &str, value: impl IntoAttribute) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.sets.push(format!("{name} = if_not_exists({name}, {value})"));
        self
    }

    /// Sets `attribute` to `value`, or removes it when there is none.
    #[must_use]
    pub fn set_or_remove(self, attribute: &str, value: Option<impl IntoAttribute>) -> Self {
        match value {
            Some(value) => self.set(attribute, value),
            None => self.remove(attribute),
        }
    }

    /// Adds `amount` to the number in `attribute`; absent counts as zero.
    #[must_use]
    pub fn add(mut self, attribute: &str, amount: i64) -> Self {
        let (name, amount) = (self.name(attribute), self.value(amount));
        self.adds.push(format!("{name} {amount}"));
        self
    }

    /// [`Update::Applied`] holds only the attributes that were set or added to: a counter's row can be long. Transactions answer
    /// no rows in any case.
    #[must_use]
    pub fn without_the_rest(mut self) -> Self {
        self.is_rest_left_out = true;
        self
    }

    /// Removes `attribute`.
    #[must_use]
    pub fn remove(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.removes.push(name);
        self
    }

    /// Adds a condition in DynamoDB's own syntax, where each `?` stands for the next of `values` and every attribute
    /// is written as `#name`. All conditions must hold.
    #[must_use]
    pub fn only_if(mut self, condition: &str, values: impl IntoIterator<Item = AttributeValue>) -> Self {
        let mut values = values.into_iter();
        let mut text = String::new();
        let mut rest = condition.chars().peekable();
        while let Some(char) = rest.next() {
            match char {
                '?' => {
                    if let Some(value) = values.next() {
                        text.push_str(&self.value(value));
                    }
                }
                '#' => {
                    let mut attribute = String::new();
                    while let Some(next) = rest.next_if(|next| next.is_alphanumeric() || *next == '_') {
                        attribute.push(next);
                    }
                    text.push_str(&self.name(&attribute));
                }
                other => text.push(other),
            }
        }
        self.conditions.push(format!("({text})"));
        self
    }

    fn name(&mut self, attribute: &str) -> String {
        let placeholder = format!("#{attribute}");
        self.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    fn value(&mut self, value: impl IntoAttribute) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value.into_attribute());
        placeholder
    }

    fn update_expression(&self) -> String {
        let clause = |word: &str, parts: &[String]| match parts {
            [] => String::new(),
            parts => format!("{word} {} ", parts.join(", ")),
        };
        format!("{}{}{}", clause("SET", &self.sets), clause("ADD", &self.adds), clause("REMOVE", &self.removes))
    }

    fn condition_expression(&self) -> Option<String> {
        Some(self.conditions.join(" AND ")).filter(|text| !text.is_empty())
    }
}

/// One write of a transaction; see [`Table::transact`].
#[derive(Clone, Debug)]
pub enum Write {
    /// Writes a row unless its key is taken.
    Create(Item),
    /// Writes a row, replacing whatever was there.
    Put(Item),
    /// Replaces a row, on the changes' condition; what they would set is ignored.
    PutIf(Item, Changes),
    /// Changes a row, on the changes' own condition.
    Update(Key, Changes),
    /// Removes a row, on the changes' condition; what they would set is ignored.
    Delete(Key, Changes),
}

/// Outcome of [`Table::transact`].
#[derive(Debug)]
pub enum Transact {
    /// Every write is in.
    Done,
    /// Nothing is: the condition of the write at `index` did not hold; here is its row, if there is one.
    Refused {
        /// Position of the first write whose condition failed.
        index: usize,
        /// Its row as it is.
        row: Option<Item>,
    },
}

/// Plain values that DynamoDB can hold.
pub trait IntoAttribute {
    /// The attribute value.
    fn into_attribute(self) -> AttributeValue;
}

impl IntoAttribute for AttributeValue {
    fn into_attribute(self) -> AttributeValue {
        self
    }
}

impl IntoAttribute for &str {
    fn into_attribute(self) -> AttributeValue {
        AttributeValue::S(self.to_owned())
    }
}

impl IntoAttribute for String {
    fn into_attribute(self) -> AttributeValue {
        AttributeValue::S(self)
    }
}

impl IntoAttribute for bool {
    fn into_attribute(self) -> AttributeValue {
        AttributeValue::Bool(self)
    }
}

impl IntoAttribute for i64 {
    fn into_attribute(self) -> AttributeValue {
        AttributeValue::N(self.to_string())
    }
}

/// What a query walks: the table itself, strongly consistent, or an index `<name>` over `<name>_pk` and `<name>_sk`.
#[derive(Clone, Copy, Debug)]
pub enum Index {
    /// The table, by `pk` and `sk`.
    Table,
    /// A global secondary index; its rows lag behind the table's.
    Named(&'static str),
}

impl Index {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Table => None,
            Self::Named(name) => Some(name),
        }
    }

    fn hash(self) -> String {
        self.name().map_or_else(|| "pk".to_owned(), |name| format!("{name}_pk"))
    }

    fn range(self) -> String {
        self.name().map_or_else(|| "sk".to_owned(), |name| format!("{name}_sk"))
    }
}

/// A query for one page.
#[derive(Debug)]
pub struct Page {
    /// Where to look.
    pub index: Index,
    /// The partition.
    pub hash: String,
    /// First and last sort key wanted, both included; all without.
    pub range: Option<(AttributeValue, AttributeValue)>,
    /// Whether the highest sort key comes first.
    pub newest_first: bool,
    /// Most rows wanted.
    pub limit: i32,
    /// Where the page before ended.
    pub after: Option<Item>,
}

/// Attempts at a write that conflicts with a transaction.
const CONFLICT_ATTEMPTS: u32 = 8;
/// Waits between them.
const CONFLICT_BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(100));

/// One DynamoDB table with string keys `pk` and `sk`.
#[derive(Clone)]
pub struct Table {
    client: Client,
    name: String,
}

impl Table {
    /// A handle on the table that the setting `variable` names. Opens no connection.
    ///
    /// # Errors
    /// The setting is missing.
    pub fn from_env(aws: &Aws, env: &Env, variable: &str) -> Result<Self, EnvError> {
        Ok(Self::named(aws, &env.required(variable)?))
    }

    /// A handle on the table with a name. Opens no connection.
    pub fn named(aws: &Aws, name: &str) -> Self {
        Self { client: Client::new(&aws.0), name: name.to_owned() }
    }

    /// Writes `row` unless its key is taken.
    ///
    /// # Errors
    /// Transient faults of DynamoDB, or a row it refuses.
    pub async fn create<T: Serialize>(&self, row: &T) -> Result<Create, DynamoError> {
        let answer = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(self.to_item(row)?))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match answer {
            Ok(_) => Ok(Create::Created),
            Err(error) => match error.as_service_error().map(|service| service.is_conditional_check_failed_exception())
            {
                Some(true) => Ok(Create::Exists(refused_item(error).unwrap_or_default())),
                _ => Err(self.failed("creating a row in", &error)),
            },
        }
    }

    /// Writes `row` and `more` in one transaction, unless `row`'s key is taken.
    ///
    /// # Errors
    /// As [`Table::create`] and [`Table::transact`].
    pub async fn create_with<T: Serialize, M: Serialize>(&self, row: &T, more: &[M]) -> Result<Create, DynamoError> {
        let mut writes = vec![Write::Create(self.to_item(row)?)];
        for row in more {
            writes.push(Write::Put(self.to_item(row)?));
        }
        Ok(match self.transact(writes).await? {
            Transact::Done => Create::Created,
            Transact::Refused { row, .. } => Create::Exists(row.unwrap_or_default()),
        })
    }

    /// All of `writes` (at most 100, each on another row) or none of them.
    ///
    /// Another transaction on the same rows is waited for, a few times: such conflicts pass in milliseconds.
    ///
    /// # Errors
    /// Transient faults of DynamoDB, a conflict that does not pass, or a row it refuses.
    pub async fn transact(&self, writes: Vec<Write>) -> Result<Transact, DynamoError> {
        let items = writes.into_iter().map(|write| self.transact_item(write)).collect::<Result<Vec<_>, _>>()?;
        let mut attempt = 0;
        loop {
            let error = match self.client.transact_write_items().set_transact_items(Some(items.clone())).send().await {
                Ok(_) => return Ok(Transact::Done),
                Err(error) => error,
            };
            let reasons = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    cancelled.cancellation_reasons()
                }
                _ => &[],
            };
            let refused = reasons.iter().position(|reason| reason.code() == Some("ConditionalCheckFailed"));
            if let Some(index) = refused {
                let row = reasons[index].item().filter(|item| !item.is_empty()).cloned();
                return Ok(Transact::Refused { index, row });
            }
            if reasons.iter().any(|reason| reason.code() == Some("ValidationError")) {
                // The transaction as a whole is called cancelled; a row of it will never be taken.
                let source = CallError("ValidationError in a transaction".to_owned());
                let action = "writing a transaction to";
                return Err(DynamoError::Call { action, table: self.name.clone(), source, transient: false });
            }
            let conflict = reasons.iter().any(|reason| reason.code() == Some("TransactionConflict"));
            attempt += 1;
            if !conflict || attempt == CONFLICT_ATTEMPTS {
                return Err(self.failed("writing a transaction to", &error));
            }
            conflict_passes(attempt).await;
        }
    }

    fn transact_item(&self, write: Write) -> Result<TransactWriteItem, DynamoError> {
        let all_old = ReturnValuesOnConditionCheckFailure::AllOld;
        let unbuildable =
            |error| DynamoError::Shape { table: self.name.clone(), source: serde::ser::Error::custom(error) };
        let put = |item: Item| Put::builder().table_name(&self.name).set_item(Some(item));
        let item = TransactWriteItem::builder();
        Ok(match write {
            Write::Create(row) => {
                let put = put(row).condition_expression("attribute_not_exists(pk)");
                item.put(put.return_values_on_condition_check_failure(all_old).build().map_err(unbuildable)?)
            }
            Write::Put(row) => item.put(put(row).build().map_err(unbuildable)?),
            Write::PutIf(row, changes) => {
                let put = put(row)
                    .set_condition_expression(changes.condition_expression())
                    .set_expression_attribute_names(Some(changes.names).filter(|names| !names.is_empty()))
                    .set_expression_attribute_values(Some(changes.values).filter(|values| !values.is_empty()))
                    .return_values_on_condition_check_failure(all_old);
                item.put(put.build().map_err(unbuildable)?)
            }
            Write::Update(key, changes) => {
                let update = aws_sdk_dynamodb::types::Update::builder()
                    .table_name(&self.name)
                    .set_key(Some(key_item(&key)))
                    .update_expression(changes.update_expression())
                    .set_condition_expression(changes.condition_expression())
                    .set_expression_attribute_names(Some(changes.names))
                    .set_expression_attribute_values(Some(changes.values).filter(|values| !values.is_empty()))
                    .return_values_on_condition_check_failure(all_old);
                item.update(update.build().map_err(unbuildable)?)
            }
            Write::Delete(key, changes) => {
                let delete = aws_sdk_dynamodb::types::Delete::builder()
                    .table_name(&self.name)
                    .set_key(Some(key_item(&key)))
                    .set_condition_expression(changes.condition_expression())
                    .set_expression_attribute_names(Some(changes.names).filter(|names| !names.is_empty()))
                    .set_expression_attribute_values(Some(changes.values).filter(|values| !values.is_empty()))
                    .return_values_on_condition_check_failure(all_old);
                item.delete(delete.build().map_err(unbuildable)?)
            }
        }
        .build())
    }

    /// Removes a row; a row that is not there is no error.
    ///
    /// # Errors
    /// Transient faults of DynamoDB.
    pub async fn delete(&self, key: &Key) -> Result<(), DynamoError> {
        let call = self.client.delete_item().table_name(&self.name).set_key(Some(key_item(key)));
        call.send().await.map(drop).map_err(|error| self.failed("removing a row from", &error))
    }

    /// Changes one row; without a condition it is created when absent. A transaction on the row is waited for, a few times.
    ///
    /// # Errors
    /// Transient faults of DynamoDB, a conflict that does not pass, or changes it refuses.
    pub async fn update(&self, key: &Key, changes: Changes) -> Result<Update, DynamoError> {
        let returned = if changes.is_rest_left_out { ReturnValue::UpdatedNew } else { ReturnValue::AllNew };
        let call = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key_item(key)))
            .update_expression(changes.update_expression())
            .set_condition_expression(changes.condition_expression())
            .set_expression_attribute_names(Some(changes.names))
            .set_expression_attribute_values(Some(changes.values).filter(|values| !values.is_empty()))
            .return_values(returned)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let mut attempt = 0;
        loop {
            let error = match call.clone().send().await {
                Ok(output) => return Ok(Update::Applied(output.attributes.unwrap_or_default())),
                Err(error) => error,
            };
            attempt += 1;
            match error.as_service_error() {
                Some(service) if service.is_conditional_check_failed_exception() => {
                    return Ok(Update::Refused(refused_item(error).filter(|item| !item.is_empty())));
                }
                Some(service) if service.is_transaction_conflict_exception() && attempt < CONFLICT_ATTEMPTS => {
                    conflict_passes(attempt).await;
                }
                _ => return Err(self.failed("updating a row in", &error)),
            }
        }
    }

    /// One row, strongly consistent.
    ///
    /// # Errors
    /// Transient faults of DynamoDB.
    pub async fn get(&self, key: &Key) -> Result<Option<Item>, DynamoError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key_item(key)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| self.failed("reading a row from", &error))?;
        Ok(answer.item)
    }

    /// Rows of one partition whose sort key begins with `prefix`, or all of them, in key order.
    ///
    /// # Errors
    /// Transient faults of DynamoDB.
    pub async fn rows(&self, pk: &str, prefix: &str) -> Result<Vec<Item>, DynamoError> {
        let call = self.client.query().table_name(&self.name).consistent_read(true);
        let call = call.expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()));
        // An empty text is no value that a key can be compared with.
        let call = match prefix {
            "" => call.key_condition_expression("pk = :pk"),
            prefix => call
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":prefix", AttributeValue::S(prefix.to_owned())),
        };
        let mut pages = call.into_paginator().items().send();
        let mut rows = Vec::new();
        while let Some(row) = pages.next().await {
            rows.push(row.map_err(|error| self.failed("querying", &error))?);
        }
        Ok(rows)
    }

    /// One page of the whole table, strongly consistent: the rows that have one of these `attributes`, and where the next page
    /// starts unless this was the last. For [`crate::reseal`] alone: no function's role may call it.
    ///
    /// # Errors
    /// Transient faults of DynamoDB, or a role that may not scan.
    pub(crate) async fn scan_page(
        &self,
        attributes: &[&str],
        after: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), DynamoError> {
        let names: HashMap<_, _> = attributes.iter().map(|name| (format!("#{name}"), (*name).to_owned())).collect();
        let has = |name: &String| format!("attribute_exists({name})");
        let filter = names.keys().map(has).collect::<Vec<_>>().join(" OR ");
        let answer = self
            .client
            .scan()
            .table_name(&self.name)
            .consistent_read(true)
            .filter_expression(filter)
            .set_expression_attribute_names(Some(names))
            .set_exclusive_start_key(after)
            .send()
            .await
            .map_err(|error| self.failed("scanning", &error))?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key.filter(|key| !key.is_empty())))
    }

    /// One page of [`Page`]: its rows, and where the next page starts unless this was the last.
    ///
    /// # Errors
    /// Transient faults of DynamoDB.
    pub async fn page(&self, page: Page) -> Result<(Vec<Item>, Option<Item>), DynamoError> {
        self.page_of(page, &[]).await
    }

    /// The same with only these `attributes` (letters, digits, `_`) of each row: reading costs the same, but less is sent.
    ///
    /// # Errors
    /// Transient faults of DynamoDB.
    pub async fn page_of(&self, page: Page, attributes: &[&str]) -> Result<(Vec<Item>, Option<Item>), DynamoError> {
        let names: HashMap<_, _> = attributes.iter().map(|name| (format!("#{name}"), (*name).to_owned())).collect();
        let wanted = names.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let mut conditions = format!("{} = :hash", page.index.hash());
        let mut call = self
            .client
            .query()
            .table_name(&self.name)
            .expression_attribute_values(":hash", AttributeValue::S(page.hash));
        if let Some((from, to)) = page.range {
            conditions.push_str(&format!(" AND {} BETWEEN :from AND :to", page.index.range()));
            call = call.expression_attribute_values(":from", from).expression_attribute_values(":to", to);
        }
        let answer = call
            .key_condition_expression(conditions)
            .set_projection_expression(Some(wanted).filter(|wanted| !wanted.is_empty()))
            .set_expression_attribute_names(Some(names).filter(|names| !names.is_empty()))
            .set_index_name(page.index.name().map(str::to_owned))
            .consistent_read(page.index.name().is_none())
            .scan_index_forward(!page.newest_first)
            .limit(page.limit)
            .set_exclusive_start_key(page.after)
            .send()
            .await
            .map_err(|error| self.failed("querying", &error))?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key))
    }

    /// At most `limit` rows of `shard` in the index `due` whose `due_at` is at or before `now_ms`, most overdue first.
    ///
    /// # Errors
    /// Transient faults of DynamoDB.
    pub async fn due(&self, shard: &str, now_ms: i64, limit: i32) -> Result<Vec<Item>, DynamoError> {
        let answer = self
            .client
            .query()
            .table_name(&self.name)
            .index_name("due")
            .key_condition_expression("due_shard = :shard AND due_at <= :now")
            .expression_attribute_values(":shard", AttributeValue::S(shard.to_owned()))
            .expression_attribute_values(":now", AttributeValue::N(now_ms.to_string()))
            .limit(limit)
            .send()
            .await
            .map_err(|error| self.failed("querying the due index of", &error))?;
        Ok(answer.items.unwrap_or_default())
    }

    /// Writes `row`, replacing whatever was there.
    ///
    /// # Errors
    /// Transient faults of DynamoDB, or a row it refuses.
    pub async fn put<T: Serialize>(&self, row: &T) -> Result<(), DynamoError> {
        self.client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(self.to_item(row)?))
            .send()
            .await
            .map_err(|error| self.failed("writing a row to", &error))?;
        Ok(())
    }

    /// Whether the table answers: reads one key that is never written.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), DynamoError> {
        self.get(&Key { pk: "PING".into(), sk: "PING".into() }).await.map(drop)
    }

    /// Reads a row as `T`.
    ///
    /// # Errors
    /// The row does not hold one.
    pub fn read<T: DeserializeOwned>(&self, item: Item) -> Result<T, DynamoError> {
        serde_dynamo::from_item(item).map_err(|source| DynamoError::Shape { table: self.name.clone(), source })
    }

    /// Writes a row as an item, for [`Write`].
    ///
    /// # Errors
    /// `row` is nothing that DynamoDB can hold.
    pub fn to_item<T: Serialize>(&self, row: &T) -> Result<Item, DynamoError> {
        serde_dynamo::to_item(row).map_err(|source| DynamoError::Shape { table: self.name.clone(), source })
    }

    /// Writes any value, lists and maps too, as an attribute of a row.
    ///
    /// # Errors
    /// `value` is nothing that DynamoDB can hold.
    pub fn to_attribute<T: Serialize>(&self, value: &T) -> Result<AttributeValue, DynamoError> {
        serde_dynamo::to_attribute_value(value)
            .map_err(|source| DynamoError::Shape { table: self.name.clone(), source })
    }

    fn failed<E, R>(&self, action: &'static str, error: &SdkError<E, R>) -> DynamoError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        R: Debug,
    {
        let (source, transient) = CallError::from_sdk(error);
        DynamoError::Call { action, table: self.name.clone(), source, transient }
    }
}

#[expect(clippy::disallowed_methods, reason = "a conflict lasts milliseconds; a redelivery costs seconds")]
async fn conflict_passes(attempt: u32) {
    tokio::time::sleep(CONFLICT_BACKOFF.wait(attempt - 1, None, random::fraction())).await;
}

/// A number in a row; `None` when there is none that fits.
pub fn number<T: FromStr>(row: &Item, attribute: &str) -> Option<T> {
    row.get(attribute)?.as_n().ok()?.parse().ok()
}

fn key_item(key: &Key) -> Item {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(key.pk.clone())),
        ("sk".to_owned(), AttributeValue::S(key.sk.clone())),
    ])
}

/// The old row that came with a refusal.
fn refused_item<E: HasRefusedItem, R>(error: SdkError<E, R>) -> Option<Item> {
    match error {
        SdkError::ServiceError(service) => service.into_err().refused_item(),
        _ => None,
    }
}

trait HasRefusedItem {
    fn refused_item(self) -> Option<Item>;
}

impl HasRefusedItem for aws_sdk_dynamodb::operation::put_item::PutItemError {
    fn refused_item(self) -> Option<Item> {
        match self {
            Self::ConditionalCheckFailedException(refusal) => refusal.item,
            _ => None,
        }
    }
}

impl HasRefusedItem for aws_sdk_dynamodb::operation::update_item::UpdateItemError {
    fn refused_item(self) -> Option<Item> {
        match self {
            Self::ConditionalCheckFailedException(refusal) => refusal.item,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_write_placeholders_for_names_and_values() {
        let changes = Changes::new()
            .set("status", "queued")
            .set("lease_until", 7_i64)
            .remove("due_at")
            .only_if("attribute_exists(#pk) AND #status <> ?", [AttributeValue::S("done".into())]);
        assert_eq!(changes.update_expression(), "SET #status = :v0, #lease_until = :v1 REMOVE #due_at ");
        assert_eq!(changes.conditions, ["(attribute_exists(#pk) AND #status <> :v2)"]);
        assert_eq!(changes.names["#status"], "status");
        assert_eq!(changes.values[":v2"], AttributeValue::S("done".into()));
    }
}
