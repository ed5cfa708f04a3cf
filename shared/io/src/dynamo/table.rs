//! A table, and the reads and writes of one row.

use super::error::CallError;
use super::{AttributeValue, Changes, DynamoError, Item, Key, Transact, Write};
use crate::Aws;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use switchyard_core::backoff::Backoff;
use switchyard_core::{Env, EnvError, random};

/// Outcome of [`Table::create`].
#[derive(Debug)]
pub enum Create {
    /// The row is new.
    Created,
    /// A row with this key exists.
    Exists(Item),
}

/// Outcome of [`Table::update`].
#[derive(Debug)]
pub enum Update {
    /// The changes were applied; the row after them.
    Applied(Item),
    /// The condition did not hold; the row, if it exists.
    Refused(Option<Item>),
}

/// Attempts at a write that conflicts with a transaction.
pub(super) const CONFLICT_ATTEMPTS: u32 = 8;
/// The waits between those attempts.
const CONFLICT_BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(100));

/// One DynamoDB table with string keys `pk` and `sk`.
#[derive(Clone)]
pub struct Table {
    pub(super) client: Client,
    pub(super) name: String,
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

    /// Writes `row` unless a row with its key exists.
    ///
    /// # Errors
    /// Transient faults of DynamoDB, or a row that it refuses.
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

    /// Writes `row` and `more` in one transaction, unless a row with `row`'s key exists.
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

    /// Removes a row, if it exists.
    ///
    /// # Errors
    /// Transient faults of DynamoDB.
    pub async fn delete(&self, key: &Key) -> Result<(), DynamoError> {
        let call = self.client.delete_item().table_name(&self.name).set_key(Some(key.to_item()));
        call.send().await.map(drop).map_err(|error| self.failed("removing a row from", &error))
    }

    /// Changes one row; without a condition it is created when absent. Retried a few times while a transaction changes the
    /// row.
    ///
    /// # Errors
    /// Transient faults of DynamoDB, a conflict that lasts too long, or changes that it refuses.
    pub async fn update(&self, key: &Key, changes: Changes) -> Result<Update, DynamoError> {
        let returned = if changes.returns_updated_only { ReturnValue::UpdatedNew } else { ReturnValue::AllNew };
        let call = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key.to_item()))
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
                    wait_for_conflict(attempt).await;
                }
                _ => return Err(self.failed("updating a row in", &error)),
            }
        }
    }

    /// Reads one row, strongly consistent.
    ///
    /// # Errors
    /// Transient faults of DynamoDB.
    pub async fn get(&self, key: &Key) -> Result<Option<Item>, DynamoError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key.to_item()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| self.failed("reading a row from", &error))?;
        Ok(answer.item)
    }

    /// Writes `row`; replaces an existing one.
    ///
    /// # Errors
    /// Transient faults of DynamoDB, or a row that it refuses.
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

    /// Checks that the table can be read, with a key that is never written.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn ping(&self) -> Result<(), DynamoError> {
        self.get(&Key { pk: "PING".into(), sk: "PING".into() }).await.map(drop)
    }

    /// Deserializes a row.
    ///
    /// # Errors
    /// The row is not a `T`.
    pub fn read<T: DeserializeOwned>(&self, item: Item) -> Result<T, DynamoError> {
        serde_dynamo::from_item(item).map_err(|source| DynamoError::Shape { table: self.name.clone(), source })
    }

    /// Serializes a row, for [`Write`].
    ///
    /// # Errors
    /// DynamoDB has no form for `row`.
    pub fn to_item<T: Serialize>(&self, row: &T) -> Result<Item, DynamoError> {
        serde_dynamo::to_item(row).map_err(|source| DynamoError::Shape { table: self.name.clone(), source })
    }

    /// Serializes any value, also lists and maps, as an attribute.
    ///
    /// # Errors
    /// DynamoDB has no form for `value`.
    pub fn to_attribute<T: Serialize>(&self, value: &T) -> Result<AttributeValue, DynamoError> {
        serde_dynamo::to_attribute_value(value)
            .map_err(|source| DynamoError::Shape { table: self.name.clone(), source })
    }

    pub(super) fn failed<E, R>(&self, action: &'static str, error: &SdkError<E, R>) -> DynamoError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        R: Debug,
    {
        let (source, transient) = CallError::from_sdk(error);
        DynamoError::Call { action, table: self.name.clone(), source, transient }
    }
}

#[expect(clippy::disallowed_methods, reason = "a conflict lasts milliseconds; a redelivery costs seconds")]
pub(super) async fn wait_for_conflict(attempt: u32) {
    tokio::time::sleep(CONFLICT_BACKOFF.wait(attempt - 1, None, random::fraction())).await;
}

/// The old row in a refusal.
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
