//! Transactions: several writes that take effect together or not at all.

use super::error::CallError;
use super::table::{CONFLICT_ATTEMPTS, wait_for_conflict};
use super::{Changes, DynamoError, Item, Key, Table};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};

/// One write of a transaction; see [`Table::transact`].
#[derive(Clone, Debug)]
pub enum Write {
    /// Writes a row unless one with its key exists.
    Create(Item),
    /// Writes a row; replaces an existing one.
    Put(Item),
    /// Replaces a row under the condition of the changes, which are otherwise ignored.
    PutIf(Item, Changes),
    /// Changes a row, under the condition of the changes.
    Update(Key, Changes),
    /// Removes a row under the condition of the changes, which are otherwise ignored.
    Delete(Key, Changes),
}

/// Outcome of [`Table::transact`].
#[derive(Debug)]
pub enum Transact {
    /// All writes were applied.
    Done,
    /// No write was applied: the condition of the write at `index` did not hold.
    Refused {
        /// Position of the first write whose condition failed.
        index: usize,
        /// Its current row, if it exists.
        row: Option<Item>,
    },
}
impl Table {
    /// Applies all `writes` (at most 100, each of another row) or none.
    ///
    /// Retried a few times while another transaction changes the same rows: such conflicts last milliseconds.
    ///
    /// # Errors
    /// Transient faults of DynamoDB, a conflict that lasts too long, or a row that it refuses.
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
                // The error's code is that of a cancelled transaction, but one of its rows is invalid: never retried.
                let source = CallError("ValidationError in a transaction".to_owned());
                let action = "writing a transaction to";
                return Err(DynamoError::Call { action, table: self.name.clone(), source, transient: false });
            }
            let conflict = reasons.iter().any(|reason| reason.code() == Some("TransactionConflict"));
            attempt += 1;
            if !conflict || attempt == CONFLICT_ATTEMPTS {
                return Err(self.failed("writing a transaction to", &error));
            }
            wait_for_conflict(attempt).await;
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
                    .set_key(Some(key.to_item()))
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
                    .set_key(Some(key.to_item()))
                    .set_condition_expression(changes.condition_expression())
                    .set_expression_attribute_names(Some(changes.names).filter(|names| !names.is_empty()))
                    .set_expression_attribute_values(Some(changes.values).filter(|values| !values.is_empty()))
                    .return_values_on_condition_check_failure(all_old);
                item.delete(delete.build().map_err(unbuildable)?)
            }
        }
        .build())
    }
}
