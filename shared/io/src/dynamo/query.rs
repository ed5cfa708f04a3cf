//! Reads of several rows: a partition, a page of an index, the due rows.

use super::{AttributeValue, DynamoError, Item, Table};
use std::collections::HashMap;

/// The source of a query: the table itself, strongly consistent, or an index `<name>` over `<name>_pk` and `<name>_sk`.
#[derive(Clone, Copy, Debug)]
pub enum Index {
    /// The table, by `pk` and `sk`.
    Table,
    /// A global secondary index, which lags behind the table.
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
    /// The table or an index.
    pub index: Index,
    /// The partition.
    pub hash: String,
    /// The first and the last sort key, both included; `None` for all.
    pub range: Option<(AttributeValue, AttributeValue)>,
    /// Whether the highest sort key comes first.
    pub newest_first: bool,
    /// The most rows.
    pub limit: i32,
    /// The last key of the previous page.
    pub after: Option<Item>,
}

impl Table {
    /// Rows of one partition whose sort key begins with `prefix`, or all of them, in key order.
    ///
    /// # Errors
    /// Transient faults of DynamoDB.
    pub async fn rows(&self, pk: &str, prefix: &str) -> Result<Vec<Item>, DynamoError> {
        let call = self.client.query().table_name(&self.name).consistent_read(true);
        let call = call.expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()));
        // DynamoDB refuses an empty prefix.
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

    /// One page of the whole table, strongly consistent: the rows that have one of these `attributes`, and the key that the
    /// next page starts after. Only for [`crate::reseal`]: no function's role allows it.
    ///
    /// # Errors
    /// Transient faults of DynamoDB, or a role without the right to scan.
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

    /// One page: its rows, and the key that the next page starts after.
    ///
    /// # Errors
    /// Transient faults of DynamoDB.
    pub async fn page(&self, page: Page) -> Result<(Vec<Item>, Option<Item>), DynamoError> {
        self.page_of(page, &[]).await
    }

    /// One page with only these `attributes` (letters, digits, `_`) of each row. The read costs the same, but less is
    /// transferred.
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
}
